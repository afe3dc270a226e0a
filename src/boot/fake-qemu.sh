#!/usr/bin/env bash
# Plays qemu and a guest for the tests of src/boot/run.rs and tests/suite.rs. A word among the arguments says what happens:
# fake=<what>.
# bash, not sh: the inherited sockets have numbers above 9. Frames as in src/boot/wire.rs.
set -eu

for word in "$@"; do
    case $word in
        socket,id=*) name=${word#socket,id=} && declare "${name%%,*}=${word##*fd=}" ;;
        kvm) accel=kvm ;;
        *fake=*) what=${word##*fake=} what=${what%% *} ;;
    esac
done

frame() { printf "$1" >&"$control"; }
hello() { frame '\001\004\0\0\0\001\0\0\0'; }
ready() { frame '\002\0\0\0\0'; }
kernel() { printf '[ 1.0] %s\n' "$@" >&"$console"; }
panic() {
    kernel "VERIFY3(a == b) failed" "Kernel panic - not syncing: x"
    printf '{"event": "GUEST_PANICKED"}\n' >&"$qmp"
}
# ended STATUS TEXT: the program wrote this and ended.
ended() {
    printf '%s\n' "$2" >&"$stdout"
    printf -v numbers '\\%03o\\%03o\\%03o' "$1" $(((${#2} + 1) % 256)) $(((${#2} + 1) / 256))
    frame '\004\021\0\0\0'"$numbers"'\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
    wait_for_quit
}
wait_for_quit() {
    while read -r line <&"$qmp"; do
        case $line in *'"quit"'*) exit 0 ;; esac
    done
}

# KVM that opens but does not work.
if [ "${accel-}" = kvm ]; then
    echo "failed to initialize kvm: No such device" >&2
    exit 1
fi

case $what in
    program) # writes "out" and "error", ends with status 7
        hello; ready
        printf out >&"$stdout"
        printf error >&"$stderr"
        frame '\004\021\0\0\0\007\003\0\0\0\0\0\0\0\005\0\0\0\0\0\0\0'
        wait_for_quit
        ;;
    short) # says that there is one byte more than it sends, and goes away
        hello; ready
        printf out >&"$stdout"
        frame '\004\021\0\0\0\0\004\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
        ;;
    complaint)
        hello; ready
        printf '[ 1.0] WARNING: possible circular locking dependency detected\n' >&"$console"
        frame '\004\021\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
        wait_for_quit
        ;;
    poweroff)
        hello; ready
        printf '{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}\n' >&"$qmp"
        ;;
    each) # the shell's command is one word for what happens, and then a text
        hello; ready
        while IFS= read -r -d '' word <&"$control" && [ "$word" != -c ]; do :; done
        IFS= read -r -d '' line <&"$control"
        case $line in
            pass*) ended 0 "$line" ;;
            fail*) ended 3 "$line" ;;
            panic*) panic ;;
            lost*) ;;
            hang*) wait_for_quit ;;
        esac
        ;;
    suite) # the group that the runfile on stdin names says what happens
        hello; ready
        while read -r line <&"$stdin" && [ "${line#'[tests/'}" = "$line" ]; do :; done
        group=${line#'[tests/functional/'} group=${group%]}
        path=/usr/share/zfs/zfs-tests/tests/functional/$group
        first="Test: $path/setup (run as root) [00:01] [PASS]"
        report="Tests with results other than PASS that are"
        kernel "ZTS run $path/setup" "of setup" "ZTS run $path/one"
        case $group in
            good) ended 0 "$first
Test: $path/one (run as root) [00:02] [PASS]
Test: $path/two (run as root) [00:03] [FAIL]
$report expected:
    FAIL $group/two (Known issue)
$report unexpected:" ;;
            bad) ended 1 "$first
Test: $path/one (run as root) [00:02] [FAIL]
Test: $path/two (run as root) [00:03] [PASS]
$report unexpected:
    FAIL $group/one (expected PASS)" ;;
            panics) printf '%s\n' "$first" >&"$stdout"; panic ;;
            lost) printf '%s\n' "$first" >&"$stdout" ;;
        esac
        ;;
    panic)
        hello; ready
        printf before >&"$stdout"
        printf '[ 1.0] BUG: unable to handle page fault\n[ 1.1] Kernel panic - not syncing: x\n' >&"$console"
        printf '{"event": "GUEST_PANICKED"}\n' >&"$qmp"
        ;;
    hook)
        hello
        frame '\003\004\0\0\0hook'
        wait_for_quit
        ;;
    refuse)
        echo "qemu: bad option" >&2
        exit 1
        ;;
esac

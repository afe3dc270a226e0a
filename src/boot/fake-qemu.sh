#!/usr/bin/env bash
# Plays qemu and a guest for the tests of src/boot/run.rs. The last argument says what happens: fake=<what>.
# bash, not sh: the inherited sockets have numbers above 9. Frames as in src/boot/wire.rs.
set -eu

for word in "$@"; do
    case $word in
        socket,id=*) name=${word#socket,id=} && declare "${name%%,*}=${word##*fd=}" ;;
        kvm) accel=kvm ;;
        fake=*) what=${word#fake=} ;;
    esac
done

frame() { printf "$1" >&"$control"; }
hello() { frame '\001\004\0\0\0\001\0\0\0'; }
ready() { frame '\002\0\0\0\0'; }
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

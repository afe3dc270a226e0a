#!/usr/bin/env bash
# Plays qemu and a guest for the tests of src/boot/run.rs and tests/suite.rs. A word among the arguments says what happens:
# fake=<what>.
# bash, not sh: the inherited sockets have numbers above 9. Frames as in src/boot/wire.rs.
# shellcheck disable=SC2034,SC2059,SC2154 # names of sockets are assigned by `declare`, and formats are what frames are
set -eu
LC_ALL=C

for word in "$@"; do
    case $word in
        # A channel, which nobody serves.
        socket,id=*.*) ;;
        socket,id=*) name=${word#socket,id=} && declare "${name%%,*}=${word##*fd=}" ;;
        kvm) accel=kvm ;;
        # What the guest writes to /out; of one of several machines the run's own out lies above.
        local,id=share1,path=*) out=${word#*path=} out=${out%%,*} ;;
        defer) incoming=yes ;;
        memory-backend-file,*) memory=${word##*share=} path=${word##*mem-path=} path=${path%%,*} ;;
        *node-name=disk0,*) disk=${word##*file.filename=} disk=${disk%%,*} ;;
        *fake=*) what=${word##*fake=} what=${what%% *} ;;
        --version) echo "QEMU emulator version 7.2.22" && exit ;;
    esac
done

# `at:FILE` takes the word from FILE, so that the same machine does another thing later.
[ "${what#at:}" = "$what" ] || read -r what <"${what#at:}"

# The schema of its commands: by this one a machine's state moves as a stream alone.
schema='[]'

# A pipe to which nobody ever writes: a read from it with a limit is a pause.
exec {never}<> <(:)

synced() { frame '\007\001\0\0\0\001'; }
frame() { printf "$1" >&"$control"; }
# Speaks, or goes on from where it was saved; then stands still to be saved if that is wanted, until the first frame comes.
hello() {
    if [ "${incoming-}" ]; then
        wait_for migrate-incoming
        event '{"event": "RESUME"}'
    else
        frame '\001\004\0\0\0\011\0\0\0'
    fi
    until read -t 0 <&"$control"; do obey; done
    take
    next=$kind
}
# Takes one of the host's frames.
take() {
    byte
    kind=$byte
    byte
    printf -v length %d "'$byte"
    # The three bytes of a length that are 0, and what it has to say.
    for ((; length > -3; length--)); do byte; done
}
# Has no time limit: a read with one could lose the byte.
byte() { IFS= read -r -d '' -n 1 byte <&"$control" || exit 0; }
awake() { frame '\006\001\0\0\0\0'; }
# The hooks are done, if it was told to run any (H is MOUNT); stands still to be saved if that is wanted, until it is woken (G is WAKE).
ready() {
    if [ "$next" = H ]; then
        frame '\002\0\0\0\0'
        woken
    fi
    awake
}
woken() {
    until [ "$kind" = G ]; do
        while ! read -t 0 <&"$control"; do obey; done
        take
    done
}
# Obeys what qemu is told.
obey() {
    if ! read -t 0 <&"$qmp"; then
        read -r -t 0.01 _ <&"$never" || return 0
    fi
    IFS= read -r line <&"$qmp" || exit 0
    case $line in
        *'"query-qmp-schema"'*) event "{\"id\": \"schema\", \"return\": $schema}" ;;
        *'"migrate"'*) stand_still ;;
        *'"quit"'*) exit 0 ;;
    esac
}
stand_still() {
    remember saved
    event '{"event": "STOP"}'
    event '{"event": "MIGRATION_PASS", "data": {"pass": 2}}'
    event '{"event": "MIGRATION", "data": {"status": "completed"}}'
    wait_for cont
    # Not yet: it is asked again.
    event '{"id": "cont", "error": {"class": "GenericError", "desc": "Migration is not finalized yet"}}'
    wait_for cont
    remember later
}
# Writes to the guest's memory.
remember() { printf '%s' "$1" 1<>"$path"; }
event() { printf '%s\n' "$1" >&"$qmp"; }
kernel() { printf '[ 1.0] %s\n' "$@" >&"$console"; }
panic() {
    kernel "VERIFY3(a == b) failed" "Kernel panic - not syncing: x"
    event '{"event": "GUEST_PANICKED"}'
}
# As Linux 6.12 and 7.3 print a WARN.
warn() {
    kernel "------------[ cut here ]------------" "refcount_t: underflow; use-after-free." \
        "WARNING: CPU: 0 PID: 12 at lib/refcount.c:28 refcount_warn_saturate+0xba/0x110" "Call Trace:" " zpl_put+0x1/0x2 [zfs]" \
        "---[ end trace 0000000000000000 ]---"
}
new_warn() {
    kernel "------------[ cut here ]------------" "WARNING: module/zfs/dbuf.c:12 at dbuf_find+0x1/0x2, CPU#0: txg_sync/12" \
        "---[ end trace 0000000000000000 ]---"
}
# As `-action shutdown=pause` has it, the machine stands still after its end until quiz has seen what it wants.
reset() {
    event '{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}'
    event '{"event": "STOP"}'
    wait_for quit
}
# ended STATUS TEXT: the program wrote this and ended.
ended() {
    printf '%s\n' "$2" >&"$stdout"
    printf -v numbers '\\%03o\\%03o\\%03o' "$1" $(((${#2} + 1) % 256)) $(((${#2} + 1) / 256))
    frame '\004\021\0\0\0'"$numbers"'\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
    synced
    wait_for quit
}
wait_for() {
    while read -r line <&"$qmp"; do
        case $line in
            *"\"$1\""*) return ;;
            # Its memory lies nowhere.
            *'"human-monitor-command"'*) event '{"id": "human", "return": "no"}' ;;
            *'"query-qmp-schema"'*) event "{\"id\": \"schema\", \"return\": $schema}" ;;
        esac
    done
    exit 0
}

# KVM that opens but does not work, or not at once.
if [ "${accel-}" = kvm ]; then
    case $what in
        kvm-works) ;;
        kvm-silent)
            wait_for quit
            exit 0
            ;;
        kvm-slow) ;;
        kvm-killed) # qemu is killed, as by a host that has no memory left
            kill -KILL $$
            ;;
        kvm-internal-early) # KVM has an internal error while the kernel boots
            kernel 'Linux version'
            event '{"event": "STOP"}'
            wait_for query-status
            event '{"return": {"status": "internal-error", "running": false}, "id": "status"}'
            wait_for quit
            exit 0
            ;;
        kvm-aborts) # qemu aborts while the kernel boots
            kernel 'Linux version'
            echo "kvm_buf_set_msrs: Assertion \`ret == cpu->kvm_msr_buf->nmsrs' failed." >&2
            kill -ABRT $$
            ;;
        kvm-device-aborts) # qemu aborts while the kernel boots, which takes its time
            kernel 'Linux version'
            read -r -t 1.2 _ <&"$never" || :
            echo "/home/kvm/qemu-kvm: ../hw/virtio/virtio.c:1: virtio_reset: Assertion \`x' failed." >&2
            kill -ABRT $$
            ;;
        kvm-no-memory) # the host has no memory for KVM while the kernel boots
            kernel 'Linux version'
            printf '%s\n' "error: kvm run failed Cannot allocate memory" "RAX=0000000000000000 RBX=0000000000000000" >&2
            event '{"event": "STOP"}'
            wait_for query-status
            event '{"return": {"status": "internal-error", "running": false}, "id": "status"}'
            wait_for quit
            exit 0
            ;;
        kvm-interrupted) # the host is interrupted each time KVM is opened
            echo "ioctl(KVM_CREATE_VM) failed: 4 Interrupted system call" >&2
            exit 1
            ;;
        kvm-busy-once:*)
            if [ ! -e "${what#*:}" ]; then
                : >"${what#*:}"
                echo "ioctl(KVM_CREATE_VM) failed: 16 Device or resource busy" >&2
                exit 1
            fi
            ;;
        *)
            echo "failed to initialize kvm: No such device" >&2
            exit 1
            ;;
    esac
fi
case $what in
    kvm-works | kvm-silent | kvm-killed | kvm-internal-early | kvm-aborts | kvm-device-aborts | kvm-no-memory | kvm-interrupted | kvm-busy-once:*) what=program ;;
    kvm-slow) # speaks at once, and takes its time
        kernel 'Linux version'
        read -r -t 1 _ <&"$never" || what=program
        ;;
esac

case $what in
    program) # writes "out" and "error", ends with status 7
        hello; ready
        printf out >&"$stdout"
        printf error >&"$stderr"
        frame '\004\021\0\0\0\007\003\0\0\0\0\0\0\0\005\0\0\0\0\0\0\0'
        synced
        wait_for quit
        ;;
    restore-breaks) # cannot be restored, but boots
        if [ "${incoming-}" ]; then
            echo "error while loading state" >&2
            exit 1
        fi
        hello; ready
        ended 7 out
        ;;
    hooks-break) # where it goes on from a base, behind what they wrote to a disk; else it ends with 7 if that is empty
        hello
        if [ "${incoming-}" ]; then
            echo dirt 1<>"$disk" >&1
            exit 1
        fi
        ready
        read -r dirt <"$disk" || :
        ended $((${#dirt} > 0 ? 1 : 7)) "$dirt"
        ;;
    loud:*) # writes more than a pipe holds, once that file is there
        hello; ready
        until [ -e "${what#*:}" ]; do read -r -t 0.05 _ <&"$never" || :; done
        printf '%100000s' x >&"$stdout"
        frame '\004\021\0\0\0\007\240\206\001\0\0\0\0\0\0\0\0\0\0\0\0\0'
        synced
        wait_for quit
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
        synced
        wait_for quit
        ;;
    warn-*) # complains and ends with that status
        hello; ready
        warn
        printf -v number '\\%03o' "${what#warn-}"
        frame '\004\021\0\0\0'"$number"'\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
        synced
        wait_for quit
        ;;
    late-warn) # the kernel complains, and its console says so when the program has long ended
        hello; ready
        frame '\004\021\0\0\0\007\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
        frame '\007\001\0\0\0\003'
        sleep 0.5
        warn
        kernel "quiz: the program is over"
        wait_for quit
        ;;
    late-panic | late-panic-reset) # the kernel gives up when the program has ended; nobody resets it, or it does so itself
        hello; ready
        frame '\004\021\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
        sleep 0.2
        panic
        [ "$what" = late-panic ] || reset
        wait_for quit
        ;;
    writes) # writes a file to /out
        hello; ready
        echo result >"$out/result"
        frame '\004\021\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
        synced
        wait_for quit
        ;;
    exit-*) # ends with that status
        hello; ready
        printf -v number '\\%03o' "${what#exit-}"
        frame '\004\021\0\0\0'"$number"'\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
        synced
        wait_for quit
        ;;
    reset) # the guest resets itself
        hello; ready
        reset
        ;;
    hook-panics)
        hello
        panic
        reset
        ;;
    host-full) # qemu cannot write a disk's file
        hello; ready
        event '{"event": "BLOCK_IO_ERROR", "data": {"device": "", "nospace": true, "node-name": "disk0", "reason": "No space left on device", "operation": "write", "action": "stop"}}'
        event '{"event": "STOP"}'
        wait_for query-status
        event '{"return": {"status": "io-error", "running": false}, "id": "status"}'
        wait_for quit
        ;;
    kvm-internal) # KVM has an internal error, which only qemu's state tells
        hello; ready
        event '{"event": "STOP"}'
        wait_for query-status
        event '{"return": {"status": "internal-error", "running": false}, "id": "status"}'
        wait_for quit
        ;;
    halt)
        hello; ready
        kernel 'reboot: System halted'
        wait_for quit
        ;;
    deaf) # the user wants an end, and nobody hears it
        hello; ready
        kill -TERM "$PPID"
        wait_for quit
        ;;
    stacks) # says much when it is looked at
        hello; ready
        wait_for chardev-send-break
        for n in {1..200}; do kernel "stack $n of 200"; done
        wait_for quit
        ;;
    unsynced) # a file system of the guest is stuck
        hello; ready
        frame '\004\021\0\0\0\007\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
        wait_for quit
        ;;
    hang)
        hello; ready
        wait_for quit
        ;;
    lives) # until it is told to end
        kernel 'Linux version 7.3.4 (quiz@quiz) #1'
        hello; ready
        while byte; do
            [ "$byte" != C ] || break # SIGNAL
        done
        kernel 'the last word'
        ended 143 bye
        ;;
    hangup) # the user's terminal goes away
        hello; ready
        kill -HUP "$PPID"
        wait_for quit
        ;;
    killed)
        hello; ready
        kill -KILL $$
        ;;
    poweroff)
        hello; ready
        event '{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}'
        ;;
    each) # the shell's command is one word for what happens, and then a text
        hello; ready
        while IFS= read -r -d '' word <&"$control" && [ "$word" != -c ]; do :; done
        IFS= read -r -d '' line <&"$control"
        case $line in
            pass*) ended 0 "$line" ;;
            fail*) ended 3 "$line" ;;
            missing*) ended 127 "$line" ;;
            elsewhere*) ended 126 "$line" ;;
            warn*) warn; ended 0 "$line" ;;
            panic*) panic ;;
            lost*) reset ;;
            hang*) wait_for quit ;;
            wall*) mkdir "$out/../../../out/${line#wall }"; ended 0 "$line" ;; # something is in the way of a result
        esac
        ;;
    suite) # the group that the runfile on stdin names says what happens
        hello; ready
        while read -r line <&"$stdin" && [ "${line#'[tests/'}" = "$line" ]; do :; done
        group=${line#'[tests/functional/'} group=${group%]}
        path=/usr/share/zfs/zfs-tests/tests/functional/$group
        first="Test: $path/setup (run as root) [00:01] [PASS]"
        report="Tests with results other than PASS that are"
        [ "$group" != hooks ] || new_warn
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
            warns | hooks)
                [ "$group" != warns ] || warn
                kernel "WARNING: Pool 't' has encountered an uncorrectable I/O failure and has been suspended." "ZTS run $path/two"
                ended 0 "$first
Test: $path/one (run as root) [00:02] [PASS]
Test: $path/two (run as root) [00:03] [PASS]
$report unexpected:" ;;
            spoils) # something is in the way of the kernel's log
                : >"$out/../../../out/functional.spoils"
                ended 0 "$first
Test: $path/one (run as root) [00:02] [PASS]
$report unexpected:" ;;
            panics) printf '%s\n' "$first" >&"$stdout"; panic ;;
            lost) printf '%s\n' "$first" >&"$stdout"; reset ;;
        esac
        ;;
    panic-and-stays)
        hello; ready; panic; reset
        ;;
    panic)
        hello; ready
        printf before >&"$stdout"
        printf '[ 1.0] BUG: unable to handle page fault\n[ 1.1] Kernel panic - not syncing: x\n' >&"$console"
        event '{"event": "GUEST_PANICKED"}'
        ;;
    hook)
        hello
        frame '\003\004\0\0\0hook'
        wait_for quit
        ;;
    snapshot | snapshot-by-file | snapshot-with-*) # says something while it boots
        case $what in
            *-by-file)
                schema='[{"name": "migrate", "arg-type": "1"}, {"name": "1", "members": [{"name": "channels", "type": "[2]"}]},
                    {"name": "[2]", "element-type": "2"}, {"name": "2", "members": [{"name": "addr", "type": "3"}]},
                    {"name": "3", "members": [{"name": "transport", "type": "4"}]}, {"name": "4", "members": [{"name": "file"}]}]'
                schema=${schema//$'\n'/}
                ;;
            *-with-warnings)
                echo "qemu-system-x86_64: warning: fd: migration to a file is deprecated. Use file: instead." >&2
                ;;
        esac
        if [ -z "${incoming-}" ]; then
            kernel booted
            [ "$what" != snapshot-with-complaint ] || kernel "BUG: Bad page state in process modprobe  pfn:00012"
        fi
        hello; ready
        frame '\004\021\0\0\0\007\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
        synced
        wait_for quit
        ;;
    unsaved) # qemu cannot save it
        hello
        frame '\002\0\0\0\0'
        wait_for migrate
        event '{"id": "snapshot", "error": {"class": "GenericError", "desc": "a device"}}'
        woken
        awake
        frame '\004\021\0\0\0\007\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
        synced
        wait_for quit
        ;;
    unable) # qemu does not know how to save anything
        wait_for migrate-set-capabilities
        event '{"id": "able", "error": {"class": "GenericError", "desc": "a capability"}}'
        hello
        frame '\002\0\0\0\0'
        woken
        awake
        frame '\004\021\0\0\0\007\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
        synced
        wait_for quit
        ;;
    vetoed) # a hook does not want it
        hello
        frame '\002\004\0\0\0hook'
        woken
        awake
        frame '\004\021\0\0\0\007\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
        synced
        wait_for quit
        ;;
    silent) # complains, and says nothing else
        echo "qemu-system-x86_64: warning: a device is deprecated" >&2
        ;;
    mute) # runs, and says nothing
        wait_for quit
        ;;
    refuse)
        echo "qemu: bad option" >&2
        exit 1
        ;;
esac

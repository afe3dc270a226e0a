#!/usr/bin/env bash
# Plays qemu and a guest for the tests of src/boot/run.rs. The last argument says what happens: fake=<what>.
# bash, not sh: the inherited sockets have numbers above 9. Frames as in src/boot/wire.rs.
set -eu

for word in "$@"; do
    case $word in
        socket,id=*) name=${word#socket,id=} && declare "${name%%,*}=${word##*fd=}" ;;
        kvm) accel=kvm ;;
        -incoming) incoming=yes ;;
        fake=*) what=${word#fake=} ;;
    esac
done

frame() { printf "$1" >&"$control"; }
hello() { frame '\001\004\0\0\0\002\0\0\0'; }
awake() { frame '\006\0\0\0\0'; }
ready() { frame '\002\0\0\0\0'; awake; }
event() { printf '%s\n' "$1" >&"$qmp"; }
wait_for() {
    while read -r line <&"$qmp"; do
        case $line in *"\"$1\""*) return ;; esac
    done
    exit 0
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
        wait_for quit
        ;;
    short) # says that there is one byte more than it sends, and goes away
        hello; ready
        printf out >&"$stdout"
        frame '\004\021\0\0\0\0\004\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
        ;;
    poweroff)
        hello; ready
        event '{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}'
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
    snapshot) # can be saved, and restored when the words ask for it
        if [ "${incoming-}" ]; then
            wait_for migrate-incoming
            event '{"event": "RESUME"}'
        else
            hello
            printf '[ 1.0] booted\n' >&"$console"
            frame '\002\0\0\0\0'
            wait_for migrate
            event '{"event": "MIGRATION", "data": {"status": "completed"}}'
            wait_for cont
            # Not yet: it is asked again.
            event '{"id": "cont", "error": {"class": "GenericError", "desc": "Migration is not finalized yet"}}'
            wait_for cont
        fi
        awake
        frame '\004\021\0\0\0\007\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
        wait_for quit
        ;;
    unsaved) # qemu cannot save it
        hello
        frame '\002\0\0\0\0'
        wait_for migrate
        event '{"id": "snapshot", "error": {"class": "GenericError", "desc": "a device"}}'
        awake
        frame '\004\021\0\0\0\007\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
        wait_for quit
        ;;
    vetoed) # a hook does not want it
        hello
        frame '\002\004\0\0\0hook'
        awake
        frame '\004\021\0\0\0\007\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
        wait_for quit
        ;;
    refuse)
        echo "qemu: bad option" >&2
        exit 1
        ;;
esac

# Compiles the kernel once more, with -g. That changes no instruction and no address (gcc's -g, and kernel.config stays as it is, which the
# kernel has in its memory), so what is said about one of them is true of the other; and whether it is, is looked at.

build=/quiz/scratch/build
. /quiz/in/make

take_config
# Debug information of the compiler's own version, in vmlinux and modules alike; the assembler's sources, too.
kernel all KCFLAGS=-g KAFLAGS=-g
check_config
release="$(cat "$build/include/config/kernel.release")"

# What of a file comes into memory, but for the note with the build's id, which is a sum of all of it.
loaded() { objcopy -O binary --remove-section=.notes --remove-section='.note*' "$1" "$2"; }

# same OURS KERNEL'S
same() {
    loaded "$1" ours
    loaded "$2" theirs
    cmp ours theirs && return 0
    echo "error: ${1#"$build/"} with debug information has other code or data than the kernel's own" >&2
    exit 1
}

mkdir -p /quiz/out/symbols
same "$build/vmlinux" /quiz/in/image/vmlinux
cp "$build/vmlinux" /quiz/out/symbols/
kernel -s modules_install DEPMOD=true INSTALL_MOD_PATH=/quiz/scratch/modules
find "modules/lib/modules/$release" -name '*.ko' >list
while read -r module; do
    text="$(size -A "$module" | awk '$1 ~ /^\.(text|data|rodata|bss)/ { print $1, $2 }')"
    [ "$text" = "$(size -A "/quiz/in/$module" | awk '$1 ~ /^\.(text|data|rodata|bss)/ { print $1, $2 }')" ] || {
        echo "error: $module with debug information is another one than the kernel's own" >&2
        exit 1
    }
done <list
mv modules/lib /quiz/out/symbols/
find /quiz/out/symbols/lib -type l -delete

# Writes the image's description. It names what it is made of by digest and holds nothing of one run or one user, so that
# all runs of all worktrees share it.
set -eu

has() { grep -q "^CONFIG_$1=y" /quiz/in/config; }

{
    echo "arch = \"$QUIZ_ARCH\""
    echo "kernel = \"$QUIZ_DIGEST_KERNEL\""
    # vmlinux has a PVH entry, and needs no unpacking. KASAN instruments the C code behind that entry, too, which runs before
    # there is any shadow memory to look at: the machine would reset without a word.
    { [ -e /quiz/in/kernel/vmlinux ] && has PVH && ! has KASAN; } || echo 'start = "bzImage"'
    [ ! -e /quiz/in/kernel/initrd ] || echo 'initrd = "initrd"'
    sed -n 's/^CONFIG_HZ=/hz = /p; s/^CONFIG_NR_CPUS=/cpus = /p' /quiz/in/config
    echo "layers = ["
    for layer in $QUIZ_DIGEST_AGENT $QUIZ_DIGEST_WORK ${QUIZ_DIGEST_LAYERS-} $QUIZ_DIGEST_ROOTFS; do
        echo "    \"$layer\","
    done
    echo "]"
} >/quiz/out/description

# Writes the image's manifest. It names what it is made of by digest and holds nothing of one run or one user, so that
# all runs of all worktrees share it.
set -eu

{
    echo "arch = \"$QUIZ_ARCH\""
    echo "kernel = \"$QUIZ_DIGEST_KERNEL\""
    echo "layers = ["
    for layer in $QUIZ_DIGEST_AGENT $QUIZ_DIGEST_WORK ${QUIZ_DIGEST_LAYERS-} $QUIZ_DIGEST_ROOTFS; do
        echo "    \"$layer\","
    done
    echo "]"
} >/quiz/out/manifest

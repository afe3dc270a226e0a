# Writes the image's manifest. It names what it is made of by digest and holds nothing of one run or one user, so that
# all runs of all worktrees share it.
set -eu

cat >/quiz/out/manifest <<END
arch = "$QUIZ_ARCH"
kernel = "$QUIZ_DIGEST_KERNEL"
layers = [
    "$QUIZ_DIGEST_WORK",
    "$QUIZ_DIGEST_ROOTFS",
]
END

# Compiles the module against one kernel. It needs nothing of OpenZFS, so an edit there does not make it again.
set -eu

cp /quiz/recipe/quiz-spl-seed.c .
echo 'obj-m := quiz-spl-seed.o' >Kbuild
# Linux 7 warns when another pahole is there than when it was configured, which made BTF of it or had none. Nothing here makes BTF: without a
# vmlinux no module gets any.
# shellcheck disable=SC2016 # The variable is make's, and the kernel's Makefile knows it.
# shellcheck disable=SC2086 # One word, or none.
make -C /quiz/in/devel M="$PWD" $QUIZ_KBUILD 'PAHOLE_VERSION=$(CONFIG_PAHOLE_VERSION)' modules

release="$(cat /quiz/in/devel/include/config/kernel.release)"
mkdir -p "/quiz/out/modules/lib/modules/$release/extra"
objcopy --strip-debug quiz-spl-seed.ko "/quiz/out/modules/lib/modules/$release/extra/quiz-spl-seed.ko"

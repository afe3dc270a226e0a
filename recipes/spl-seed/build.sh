# Compiles the module against one kernel. It needs nothing of OpenZFS, so an edit there does not make it again.
set -eu

cp /quiz/recipe/quiz-spl-seed.c .
echo 'obj-m := quiz-spl-seed.o' >Kbuild
make -C /quiz/in/devel M="$PWD" modules

release="$(cat /quiz/in/devel/include/config/kernel.release)"
mkdir -p "/quiz/out/modules/lib/modules/$release/extra"
objcopy --strip-debug quiz-spl-seed.ko "/quiz/out/modules/lib/modules/$release/extra/quiz-spl-seed.ko"

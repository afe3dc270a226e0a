# Builds OpenZFS's modules in their tree. The guest gets them without debug info; what gdb wants goes to `symbols`.

cd tree
# Complete messages with the folder they speak of, one target's at a time; not -s, with which kbuild names no file.
make -w --output-sync -C module

release="$(cat /quiz/in/devel/include/config/kernel.release)"
modules="/quiz/out/modules/lib/modules/$release/extra"
symbols="/quiz/out/symbols/lib/modules/$release/extra"
mkdir -p "$modules" "$symbols"
# As kbuild lists them, not as they lie there: an earlier build may have left others. Newer kernels name the objects.
for module in $(sed 's/\.o$/.ko/' module/modules.order); do
    case "$module" in
    /*) ;;
    *) module="module/$module" ;;
    esac
    name="${module##*/}"
    objcopy --strip-debug "$module" "$modules/$name"
    objcopy --only-keep-debug "$module" "$symbols/$name.debug"
done

perl /quiz/in/devel/scripts/quiz-compile-commands.pl /quiz/in/devel module >/quiz/out/compile-commands

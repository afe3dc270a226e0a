# Builds OpenZFS's modules in their tree. The guest gets them without debug info; what gdb wants goes to `symbols`.

cd tree
# The zstd of OpenZFS 2.4 and newer calls a user land's address sanitizer where the compiler has one on, as in a kernel with KASAN, which has no such
# functions. This is its own switch.
flags=
if grep -q '^CONFIG_KASAN=y' /quiz/in/devel/.config && [ -e module/zstd/lib/common/portability_macros.h ]; then
    flags=-DZSTD_ADDRESS_SANITIZER=0
fi

# Complete messages with the folder they speak of, one target's at a time; not -s, with which kbuild names no file.
# Linux 7 warns when another pahole is there than when it was configured; but without a vmlinux no module gets BTF, which alone would need it.
# shellcheck disable=SC2016 # The variable is make's, and the kernel's Makefile knows it.
make -w --output-sync -C module ${flags:+"KCFLAGS=$flags"} 'PAHOLE_VERSION=$(CONFIG_PAHOLE_VERSION)'

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

perl /quiz/in/commands /quiz/in/devel module >/quiz/out/compile-commands

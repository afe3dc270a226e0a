# Read with `.` by the scripts of stages that compile OpenZFS's modules, in the folder of their tree.

# make_modules [FLAG...]: compiles them, each with these flags besides.
make_modules() {
    # The zstd of OpenZFS 2.4 and newer calls a user land's address sanitizer where the compiler has one on, as in a kernel with KASAN, which has no
    # such functions. This is its own switch.
    if grep -q '^CONFIG_KASAN=y' /quiz/in/devel/.config && [ -e module/zstd/lib/common/portability_macros.h ]; then
        set -- "$@" -DZSTD_ADDRESS_SANITIZER=0
    fi
    # Complete messages with the folder they speak of, one target's at a time; not -s, with which kbuild names no file.
    # Linux 7 warns when another pahole is there than when it was configured; but without a vmlinux no module gets BTF, which alone would need it.
    # shellcheck disable=SC2016 # The variable is make's, and the kernel's Makefile knows it.
    make -w --output-sync -C module ${1:+"KCFLAGS=$*"} ${1:+"KAFLAGS=$*"} 'PAHOLE_VERSION=$(CONFIG_PAHOLE_VERSION)'
}

# list_modules: their files. As kbuild lists them, not as they lie there: an earlier build may have left others. Newer kernels name the objects.
list_modules() {
    sed -e 's/\.o$/.ko/' -e 's|^[^/]|module/&|' module/modules.order
}

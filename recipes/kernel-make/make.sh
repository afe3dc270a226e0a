# Read with `.` by the scripts of stages that compile a kernel. The same source and config give the same bytes: no time, host, user or
# build count gets in, and the folders have the same names everywhere. `kernel` calls make, in the folder `$build`.

export ARCH="$QUIZ_ARCH"
export KBUILD_BUILD_USER=quiz KBUILD_BUILD_HOST=quiz KBUILD_BUILD_VERSION=1
KBUILD_BUILD_TIMESTAMP="$(date -u -d "@$SOURCE_DATE_EPOCH")"
export KBUILD_BUILD_TIMESTAMP

# Kconfig looks by itself whether the compiler has headers for plugins, another package that no key knows. It finds a folder without.
export LIBRARY_PATH=/quiz/scratch/no-plugins
mkdir -p "$(gcc -print-search-dirs | sed -n 's/^libraries: =\([^:]*\).*/\1/p')/plugin"

build="${build:-/quiz/scratch/build}"
mkdir -p "$build"

# gcc 15 takes C23 where no standard is named, and there `bool` is a word of the language. The boot code of x86 named none
# before Linux 6.14 and the stable releases of early 2025.
compiler=gcc
case "$QUIZ_KBUILD" in
CC=*) compiler="${QUIZ_KBUILD#CC=}" ;;
LLVM=-*) compiler="clang${QUIZ_KBUILD#LLVM=}" ;;
LLVM=*) compiler=clang ;;
esac
cc=
if [ "$ARCH" = x86_64 ] && ! grep -qE 'std=gnu11|CC_FLAGS_DIALECT' /quiz/src/arch/x86/Makefile &&
    [ "$(echo __STDC_VERSION__ | $compiler -E -P -x c -)" \> 201710L ]; then
    cc="$compiler -std=gnu11"
fi
# shellcheck disable=SC2086 # One word, or none.
kernel() { make -C /quiz/src O="$build" $QUIZ_KBUILD ${cc:+"CC=$cc"} "$@"; }

# Takes the config of the stage kernel-config, if it is another one than last time.
take_config() {
    cmp -s /quiz/in/config "$build/.config" && return 0
    cp /quiz/in/config "$build/.config"
    chmod u+w "$build/.config"
    kernel olddefconfig
}

# What make made of it has to be the same.
check_config() {
    cmp -s /quiz/in/config "$build/.config" && return 0
    echo "error: the tools that build the kernel resolve another config than the stage kernel-config did:" >&2
    diff /quiz/in/config "$build/.config" >&2
    # The next build shall not take it for the right one.
    rm "$build/.config"
    exit 1
}

# Opens the kernel's own menu (make menuconfig) over its resolved .config. What it leaves is only an editor's file: the stage
# kernel-config-lines resolves it.

[ -t 0 ] || {
    echo 'error: the menu needs a terminal: quiz kernel config' >&2
    exit 1
}

export KBUILD_BUILD_USER=quiz KBUILD_BUILD_HOST=quiz
export ARCH="$QUIZ_ARCH"

# As in kernel-config: no headers for plugins of the compiler, so that the same symbols are visible.
export LIBRARY_PATH=/quiz/scratch/no-plugins
mkdir -p "$(gcc -print-search-dirs | sed -n 's/^libraries: =\([^:]*\).*/\1/p')/plugin"

mkdir build
cat /quiz/in/config >build/.config
# The terminal has to be that of its session, so that it hears of another size and of Ctrl-C.
# shellcheck disable=SC2086 # One word, or none.
setsid -cw make -s -C /quiz/src O=/quiz/scratch/build $QUIZ_KBUILD menuconfig
cat build/.config >/quiz/out/config

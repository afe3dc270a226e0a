# Resolves an edited .config of the kernel with the Kconfig of its own source, and writes what was asked for before and after the edit:
# the difference of the two is what somebody changed, without what follows from it.

export KBUILD_BUILD_USER=quiz KBUILD_BUILD_HOST=quiz
export ARCH="$QUIZ_ARCH"

# As in kernel-config: no headers for plugins of the compiler, so that the same symbols are visible.
export LIBRARY_PATH=/quiz/scratch/no-plugins
mkdir -p "$(gcc -print-search-dirs | sed -n 's/^libraries: =\([^:]*\).*/\1/p')/plugin"

kconfig() {
    # shellcheck disable=SC2086 # One word, or none.
    make -s -C /quiz/src O=/quiz/scratch/build $QUIZ_KBUILD "$@" >>kconfig.log 2>&1 || {
        cat kconfig.log >&2
        exit 1
    }
}

mkdir build
cat /quiz/in/config >build/.config
kconfig savedefconfig
cat build/defconfig >/quiz/out/before

[ -z "${QUIZ_OPT_EDITED:-}" ] || cat "$QUIZ_OPT_EDITED" >build/.config
cat /quiz/options/set >>build/.config
kconfig olddefconfig
kconfig savedefconfig
cat build/defconfig >/quiz/out/after
cat build/.config >/quiz/out/config

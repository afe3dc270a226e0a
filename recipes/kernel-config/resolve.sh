# Resolves the .config of the kernel with the Kconfig of its own source.
#
# First the base: everything off but what base.config and <arch>.config name, so that nothing is built because a prompt
# has a default of y. Then the lines that profiles and the user add, as people know it from .config and olddefconfig:
# what they make visible takes its default. In the end check.pl compares what was asked for with what came out.

export KBUILD_BUILD_USER=quiz KBUILD_BUILD_HOST=quiz

export ARCH="$QUIZ_ARCH"

base="/quiz/recipe/base.config /quiz/recipe/$QUIZ_ARCH.config"
[ -e "/quiz/recipe/$QUIZ_ARCH.config" ] || {
    echo "error: there is no base config for $QUIZ_ARCH yet: recipes/kernel-config/$QUIZ_ARCH.config" >&2
    exit 1
}
printf '%s\n' "${QUIZ_OPT_LINES:-}" >lines

# plain FILE...: all config lines in the one form that Kconfig reads, `CONFIG_X=value`.
plain() {
    sed -n -E \
        -e 's/^[[:space:]]+//; s/[[:space:]]+$//' \
        -e 's/[[:space:]]*# if present$//' \
        -e 's/^#[[:space:]]*(CONFIG_)?([A-Za-z0-9_]+) is not set$/CONFIG_\2=n/p' \
        -e 's/^(CONFIG_)?([A-Za-z0-9_]+=.*)$/CONFIG_\2/p' "$@"
}

# The kernel's own build finds it out when all is compiled.
if plain lines | grep '^CONFIG_DEBUG_INFO_BTF=' | tail -n 1 | grep -q '=y$' && ! command -v pahole >/dev/null; then
    echo 'error: CONFIG_DEBUG_INFO_BTF=y needs pahole, which a kernel is built with only when a profile asks for it' >&2
    echo 'error: turn on the profile perf, or one of your own with: [tools] pahole = "dwarves"' >&2
    exit 1
fi

kconfig() {
    make -s -C /quiz/src O=/quiz/scratch/build "$@" >>kconfig.log 2>&1 || {
        cat kconfig.log >&2
        exit 1
    }
}

mkdir build
plain $base >base
KCONFIG_ALLCONFIG=/quiz/scratch/base kconfig allnoconfig
plain lines >>build/.config
kconfig olddefconfig

perl /quiz/recipe/check.pl /quiz/src build/.config $base lines

cp build/.config /quiz/out/config

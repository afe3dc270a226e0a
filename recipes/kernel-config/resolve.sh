# Resolves the .config of the kernel with the Kconfig of its own source.
#
# First the base: everything off but what base.config and <arch>.config name, so that nothing is built because a prompt
# has a default of y; or the user's own whole .config, and over it what the guest cannot do without. Then the lines that
# profiles and the user add, as people know it from .config and olddefconfig: what they make visible takes its default. In
# the end check.pl compares what was asked for with what came out.

export KBUILD_BUILD_USER=quiz KBUILD_BUILD_HOST=quiz

export ARCH="$QUIZ_ARCH"

# Kconfig looks by itself whether the compiler has headers for plugins, another package that no key knows. It finds a folder without.
export LIBRARY_PATH=/quiz/scratch/no-plugins
mkdir -p "$(gcc -print-search-dirs | sed -n 's/^libraries: =\([^:]*\).*/\1/p')/plugin"

base="/quiz/recipe/base.config /quiz/recipe/$QUIZ_ARCH.config"
[ -e "/quiz/recipe/$QUIZ_ARCH.config" ] || {
    echo "error: there is no base config for $QUIZ_ARCH yet: recipes/kernel-config/$QUIZ_ARCH.config" >&2
    exit 1
}
lines=/quiz/options/lines
file="${QUIZ_OPT_CONFIG_FILE:-}"

# plain FILE...: all config lines in the one form that Kconfig reads, `CONFIG_X=value`. Of alternatives the first comes last:
# where a choice offers both, the last line counts.
plain() {
    sed -n -E \
        -e 's/^[[:space:]]+//; s/[[:space:]]*(# if present)?$//' \
        -e 's/^#[[:space:]]*(CONFIG_)?([A-Za-z0-9_]+) is not set$/CONFIG_\2=n/p' \
        -e 's/^(CONFIG_)?([A-Za-z0-9_]+=.*)$/CONFIG_\2/p' "$@" |
        awk '{ n = split($0, all, / or CONFIG_/); for (; n > 1; n--) print "CONFIG_" all[n]; print all[1] }'
}
# own CLASS...: quiz's lines of these classes, without what they are for.
own() {
    awk -v classes=" $* " '/^CONFIG_/ {
        match($0, / +# /)
        class = substr($0, RSTART + RLENGTH)
        if (!sub(/: .*/, "", class) || class !~ /^(needed|menu)$/) class = "wanted"
        if (index(classes, " " class " ")) print substr($0, 1, RSTART - 1)
    }' $base | plain
}

# The kernel's own build finds it out when all is compiled.
if plain $lines | grep '^CONFIG_DEBUG_INFO_BTF=' | tail -n 1 | grep -q '=y$' && ! command -v pahole >/dev/null; then
    echo 'error: CONFIG_DEBUG_INFO_BTF=y needs pahole, which a kernel is built with only when a profile asks for it' >&2
    echo 'error: turn on the profile perf, or one of your own with: [tools] pahole = "dwarves"' >&2
    exit 1
fi

kconfig() {
    # shellcheck disable=SC2086 # One word, or none.
    make -s -C /quiz/src O=/quiz/scratch/build $QUIZ_KBUILD "$@" >>kconfig.log 2>&1 || {
        cat kconfig.log >&2
        exit 1
    }
}

# A whole .config, not some lines: Kconfig wrote it.
is_whole() {
    [ -n "$file" ] && grep -qE '^(# Automatically generated file; DO NOT EDIT|CONFIG_CC_VERSION_TEXT=)' "$file"
}
# What a distribution's own build brings along, or its packages, and no other build has.
not_of_a_distribution() {
    if ! command -v pahole >/dev/null; then
        echo CONFIG_DEBUG_INFO_BTF=n
    fi
    # Keys that lie in its source package, and a key for modules that each build would make anew.
    echo 'CONFIG_SYSTEM_TRUSTED_KEYS=""'
    echo 'CONFIG_SYSTEM_REVOCATION_KEYS=""'
    echo CONFIG_MODULE_SIG=n
    echo CONFIG_SECURITY_LOCKDOWN_LSM=n
}

mkdir build
if is_whole; then
    plain "$file" >build/.config
    not_of_a_distribution >left-out
    cat left-out >>build/.config
    own menu needed >>build/.config
else
    own wanted menu needed >base
    KCONFIG_ALLCONFIG=/quiz/scratch/base kconfig allnoconfig
    [ -z "$file" ] || plain "$file" >>build/.config
    : >left-out
fi
plain $lines >>build/.config
kconfig olddefconfig

# Whether Rust can be had is a test in Kconfig, whose words it does not show.
if plain $lines | grep '^CONFIG_RUST=' | tail -n 1 | grep -q '=y$' && grep -qs '^config RUST_IS_AVAILABLE' /quiz/src/init/Kconfig &&
    ! grep -q '^CONFIG_RUST_IS_AVAILABLE=y' build/.config; then
    echo 'error: CONFIG_RUST=y: this kernel does not take the Rust that is there:' >&2
    # shellcheck disable=SC2086 # One word, or none.
    make -s -C /quiz/src O=/quiz/scratch/build $QUIZ_KBUILD rustavailable 2>&1 | sed -n -e '/^\*\** *$/d' -e 's/^\*\*\* *\(.*[^ ]\) *$/error: \1/p' >&2
    if command -v rustc >/dev/null; then
        echo 'error: another suite of Debian has another one, such as QUIZ_KERNEL_TOOLCHAIN=trixie' >&2
    else
        echo 'error: turn on the profile rust, which brings it' >&2
    fi
    exit 1
fi

kind=lines
! is_whole || kind=whole
perl /quiz/recipe/check.pl /quiz/src build/.config "$kind" "${file:--}" left-out $lines $base

if grep -q '^CONFIG_SYSTEM_TRUSTED_KEYRING=y' build/.config && [ ! -e /usr/include/openssl/opensslv.h ]; then
    echo 'error: CONFIG_SYSTEM_TRUSTED_KEYRING=y is built with the headers of OpenSSL: kernel.packages = ["libssl-dev"] brings them, with toolchain.suite = "host" apt-get install libssl-dev' >&2
    exit 1
fi
cp build/.config /quiz/out/config

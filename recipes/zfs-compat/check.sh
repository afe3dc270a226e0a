# Compares META's range of kernels with the kernel's version, which Kconfig writes into the head of each config, and the kernel's config with what OpenZFS cannot do without.

field() { sed -n "s/^$1:[[:space:]]*//p" /quiz/in/meta/META; }

zfs="$(field Name) $(field Version)"
kernel="$(sed -n -E 's|^# Linux/[^ ]+ ([0-9]+\.[0-9]+).* Kernel Configuration$|\1|p' /quiz/in/config | head -n 1)"
[ -n "$kernel" ] || {
    echo 'error: the config does not say of which Linux it is: the line "# Linux/… Kernel Configuration" is missing'
    exit 1
}
least="$(field Linux-Minimum)"
most="$(field Linux-Maximum)"
bad=

newest() { printf '%s\n' "$@" | sort -V | tail -n 1; }

# OpenZFS's own switch for a kernel that is newer than META says; configure only warns then.
experimental="$(grep -xE -e '--(enable-linux-experimental(=.*)?|disable-linux-experimental)' /quiz/options/configure | tail -n 1)"
switch=
if grep -qs 'linux-experimental' /quiz/in/meta/config/kernel.m4; then
    switch=', or [zfs] configure = ["--enable-linux-experimental"]'
    case "$experimental" in
    --enable-linux-experimental | --enable-linux-experimental=yes) most= ;;
    esac
fi
if [ -n "$most" ] && [ "$(newest "$kernel" "$most")" != "$most" ]; then
    echo "error: META of $zfs says Linux-Maximum $most, and this is Linux $kernel: take quiz -k $most, a newer OpenZFS$switch"
    bad=1
fi
if [ -n "$least" ] && [ "$(newest "$kernel" "$least")" != "$kernel" ]; then
    echo "error: $zfs supports Linux from $least on (META: Linux-Minimum), and this is Linux $kernel"
    bad=1
fi

# What config/kernel-config-defined.m4 and the modules themselves refuse to go without.
for symbol in MODULES BLOCK ZLIB_INFLATE ZLIB_DEFLATE; do
    grep -q "^CONFIG_$symbol=[ym]" /quiz/in/config || {
        echo "error: OpenZFS needs CONFIG_$symbol, which this kernel's config has not"
        bad=1
    }
done
! grep -q '^CONFIG_TRIM_UNUSED_KSYMS=y' /quiz/in/config || {
    echo "error: OpenZFS cannot be built for a kernel with CONFIG_TRIM_UNUSED_KSYMS=y"
    bad=1
}
[ -z "$bad" ] || exit 1
echo "$zfs on Linux $kernel" >/quiz/out/ok

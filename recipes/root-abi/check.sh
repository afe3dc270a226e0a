# Programs are compiled on this machine and run in the guest: the root's GLIBC must have every version of a symbol they ask for.

there="$(awk '$1 == "Package:" { it = $2 } it == "libc6" && $1 == "Version:" { print $2; exit }' /quiz/in/debs/Packages)"
bad=
for layer in /quiz/in/layers/*; do
    [ -d "$layer" ] || continue
    wanted="$(find "$layer" -type f \( -perm -100 -o -name '*.so*' \) -exec grep -aohE 'GLIBC_2(\.[0-9]+)+' {} + |
        sed 's/^GLIBC_//' | sort -uV | tail -n 1)"
    if [ -n "$wanted" ] && [ "$(printf '%s\n' "$wanted" "${there%%-*}" | sort -V | tail -n 1)" != "${there%%-*}" ]; then
        echo "error: ${layer##*/} was compiled against GLIBC $wanted, and the root has ${there:-none}"
        bad=1
    fi
done
if [ -n "$bad" ]; then
    echo "error: take a root of this machine's own suite or a newer one (rootfs.suite)"
    exit 1
fi
echo "${there:-no C library}" >/quiz/out/ok

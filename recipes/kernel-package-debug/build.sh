# Puts the distribution's debug information where the other kernels have theirs. Its modules come apart, the code in one package and what a debugger
# reads in another: a debugger unwinds by tables that only the first has, so each pair becomes one file.

cd /quiz/in/modules
release="$(ls lib/modules)"
debug=/quiz/in/package/usr/lib/debug
vmlinux="$debug/boot/vmlinux-$release"
[ -e "$vmlinux" ] || vmlinux="$debug/lib/modules/$release/vmlinux"
[ -e "$vmlinux" ] || {
    echo "error: the package of debug information has no vmlinux of $release" >&2
    exit 1
}
symbols=/quiz/out/symbols
mkdir "$symbols"

id() { readelf -n "$1" 2>/dev/null | sed -n 's/^ *Build ID: //p'; }
# same NAME CODE DEBUG: ends unless both are of one build. Without an id nothing would be known, and two that have none are not the same.
same() {
    wanted="$(id "$2")"
    [ -n "$wanted" ] || {
        echo "error: the kernel's $1 has no build id: whose debug information it has cannot be told" >&2
        exit 1
    }
    [ "$wanted" = "$(id "$3")" ] || {
        echo "error: the debug information of $1 is of another one than the kernel's" >&2
        exit 1
    }
}

# The kernel in a bzImage lies packed where the head says (boot.rst of Linux's Documentation: setup_sects, payload_offset, payload_length). Behind what
# has no size of its own it stands in four bytes (size_append in scripts/Makefile.lib).
image=/quiz/in/image/bzImage
number() { od -An -t "u$2" -j "$1" -N "$2" "$image" | tr -d ' '; }
sectors="$(number 497 1)"
[ "$sectors" != 0 ] || sectors=4
length="$(number 588 4)"
tail -c "+$(((sectors + 1) * 512 + $(number 584 4) + 1))" "$image" | head -c "$length" >/quiz/scratch/packed
unsized() { head -c "$((length - 4))" /quiz/scratch/packed; }
case "$(od -An -t x1 -N 4 /quiz/scratch/packed | tr -d ' ')" in
fd377a58) unsized | xz -dc >/quiz/scratch/kernel ;;
28b52ffd) unsized | zstd -qdc >/quiz/scratch/kernel ;;
1f8b*) gzip -dc /quiz/scratch/packed >/quiz/scratch/kernel ;;
*)
    echo "error: the kernel is packed in a way that is not known here (gzip, xz and zstd are): whose debug information it has cannot be told" >&2
    exit 1
    ;;
esac
same vmlinux /quiz/scratch/kernel "$vmlinux"
cp "$vmlinux" "$symbols/vmlinux"
rm /quiz/scratch/packed /quiz/scratch/kernel

code=/quiz/scratch/code.ko
find "lib/modules/$release" -name '*.ko*' | sort >/quiz/scratch/all
: >/quiz/scratch/without
while read -r path; do
    module="${path%.ko*}.ko"
    case "$path" in
    *.xz) xz -dc "$path" >"$code" ;;
    *.zst) zstd -qdc "$path" >"$code" ;;
    *.gz) gzip -dc "$path" >"$code" ;;
    *) cat "$path" >"$code" ;;
    esac
    [ -e "$debug/$module" ] || {
        echo "$module" >>/quiz/scratch/without
        continue
    }
    same "$module" "$code" "$debug/$module"
    mkdir -p "$symbols/${module%/*}"
    eu-unstrip -o "$symbols/$module" "$code" "$debug/$module"
done </quiz/scratch/all
missing="$(wc -l </quiz/scratch/without)"
[ "$missing" = 0 ] || {
    cat /quiz/scratch/without
    echo "warning: $missing of $(wc -l </quiz/scratch/all) modules have no debug information in the package (the log names them)"
}

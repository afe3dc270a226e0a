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
cp "$vmlinux" "$symbols/vmlinux"

id() { readelf -n "$1" 2>/dev/null | sed -n 's/^ *Build ID: //p'; }
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
    [ "$(id "$code")" = "$(id "$debug/$module")" ] || {
        echo "error: the debug information of $module is of another one than the kernel's" >&2
        exit 1
    }
    mkdir -p "$symbols/${module%/*}"
    eu-unstrip -o "$symbols/$module" "$code" "$debug/$module"
done </quiz/scratch/all
missing="$(wc -l </quiz/scratch/without)"
[ "$missing" = 0 ] || {
    cat /quiz/scratch/without
    echo "warning: $missing of $(wc -l </quiz/scratch/all) modules have no debug information in the package (the log names them)"
}

# devel.sh FOLDER: what is linked with the libraries of this build, made into the new FOLDER, each file where it lies here.
#
# A shared library stands there as one that has the same name and symbols and no code: linking asks for no more, so its bytes
# stay the same while only its code changes. An object's size is a part of it, because a program may hold a copy.

devel="$1"

# stub LIBRARY FILE
stub() {
    readelf -W --dyn-syms "$1" | awk '
        $1 ~ /^[0-9]+:$/ && $7 != "UND" && ($5 == "GLOBAL" || $5 == "WEAK") {
            name = $8
            sub(/@.*/, "", name)
            type = $4 == "OBJECT" || $4 == "TLS" ? $4 : "FUNC"
            size = $3 ~ /^0x/ ? $3 : $3 + 0
            print name, type, type == "FUNC" ? 1 : size, $5
        }' | LC_ALL=C sort -u | awk '
        {
            print $2 == "TLS" ? ".section .tbss,\"awT\",%nobits" : $2 == "OBJECT" ? ".bss" : ".text"
            print ($4 == "WEAK" ? ".weak " : ".globl ") $1
            print ".type " $1 ", %" ($2 == "FUNC" ? "function" : $2 == "TLS" ? "tls_object" : "object")
            print ".balign 32"
            print $1 ":"
            print ".size " $1 ", " $3
            print ".zero " $3
        }
        END { print ".section .note.GNU-stack,\"\",%progbits" }' >/quiz/scratch/stub.s
    soname="$(readelf -d "$1" | sed -n 's/.*Library soname: \[\(.*\)\]/\1/p')"
    gcc -shared -nostdlib -Wl,--build-id=none "-Wl,-soname,$soname" -o "$2" /quiz/scratch/stub.s
}

mkdir "$devel"
find . -name 'lib*.la' ! -path './tests/*' ! -path '*/.libs/*' | sort | while read -r la; do
    folder="${la%/*}"
    mkdir -p "$devel/$folder/.libs"
    cp "$la" "$devel/$folder/"
    name="$(basename "$la" .la)"
    for file in "$folder/.libs/$name.so" "$folder/.libs/$name".so.* "$folder/.libs/$name.a"; do
        if [ -L "$file" ]; then
            cp -P "$file" "$devel/$folder/.libs/"
        elif [ -e "$file" ]; then
            case "$file" in
            # What libtool leaves between two steps.
            *T) ;;
            *.a) cp "$file" "$devel/$folder/.libs/" ;;
            *) stub "$file" "$devel/$folder/.libs/${file##*/}" ;;
            esac
        fi
    done
done

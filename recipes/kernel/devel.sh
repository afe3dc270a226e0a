# devel.sh list SOURCE BUILD: names, whole, all files that `make -C DEVEL M=...` needs when source and build folder are gone.
# devel.sh copy SOURCE BUILD NAMES DEVEL: puts those in the file NAMES together in the new folder DEVEL, an absolute path.
#
# It is what Debian's linux-headers packages hold, as one folder that is source and build folder at once. Nothing gets in
# that changes with a .c file alone (objects, .cmd files, vmlinux): a kernel with the same interface has the same devel, and
# what was built against it is not built again. Module.symvers is that interface, seen from the linker.

source="$2"
build="$3"
# Only the folder of the architecture that was built has generated headers.
arch="$(cd "$build" && echo arch/*/include/generated | cut -d / -f 2)"

of_source() {
    cd "$source"
    find . "arch/$arch" -maxdepth 1 \( -name 'Makefile*' -o -name 'Kbuild*' \)
    find "arch/$arch" -name Kbuild.platforms -o -name Platform
    find include scripts "arch/$arch/include" ! -type d ! -path 'scripts/kconfig/*' ! -path 'scripts/coccinelle/*' \
        ! -path 'scripts/dtc/*' ! -path 'scripts/gdb/*' ! -path 'scripts/package/*'
}

of_build() {
    cd "$build"
    echo .config
    echo Module.symvers
    [ ! -e tools/objtool/objtool ] || echo tools/objtool/objtool
    find include "arch/$arch/include" scripts ! -type d ! -name '*.o' ! -name '.*.cmd' \
        ! -path 'include/config/*' ! -path 'scripts/kconfig/*' ! -path '*.d'
    echo include/config/auto.conf
    echo include/config/kernel.release
}

# copy FROM NAMES: the files that are named below FROM, as they lie there. One that is not there is an error, which a pipeline alone would hide.
copy() {
    sed -n "s|^$1/||p" "$2" >/quiz/scratch/devel.part
    rm -f /quiz/scratch/devel.failed
    { tar -C "$1" -cf - -T /quiz/scratch/devel.part || : >/quiz/scratch/devel.failed; } | tar -C "$devel" -xf -
    [ ! -e /quiz/scratch/devel.failed ]
}

case "$1" in
list)
    (of_source) >/quiz/scratch/devel.source
    (of_build) >/quiz/scratch/devel.build
    # What both have is the build's.
    awk -v source="$source/" -v build="$build/" \
        'NR == FNR { made[$0]; print build $0; next } !($0 in made) { print source $0 }' \
        /quiz/scratch/devel.build /quiz/scratch/devel.source | sort
    ;;
copy)
    devel="$5"
    mkdir "$devel"
    copy "$source" "$4"
    copy "$build" "$4"
    ;;
esac

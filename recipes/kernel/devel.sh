# devel.sh list SOURCE BUILD: names, whole, all files that `make -C DEVEL M=...` needs when source and build folder are gone.
# devel.sh copy SOURCE BUILD DEVEL: puts them together in the new folder DEVEL, an absolute path.
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

# copy FROM LIST: the files that the list names, as they lie below FROM. One that is not there is an error, which a pipeline alone would hide.
copy() {
    rm -f /quiz/scratch/devel.failed
    { tar -C "$1" -cf - -T "$2" || : >/quiz/scratch/devel.failed; } | tar -C "$devel" -xf -
    [ ! -e /quiz/scratch/devel.failed ]
}

(of_source) >/quiz/scratch/devel.source
(of_build) >/quiz/scratch/devel.build
case "$1" in
list)
    sed "s|^|$source/|" /quiz/scratch/devel.source | sort
    sed "s|^|$build/|" /quiz/scratch/devel.build | sort
    ;;
copy)
    devel="$4"
    mkdir "$devel"
    copy "$source" /quiz/scratch/devel.source
    copy "$build" /quiz/scratch/devel.build
    ;;
esac

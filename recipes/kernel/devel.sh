# devel.sh SOURCE BUILD DEVEL: puts together what `make -C DEVEL M=...` needs when source and build folder are gone.
#
# It is what Debian's linux-headers packages hold, as one folder that is source and build folder at once. Nothing gets in
# that changes with a .c file alone (objects, .cmd files, vmlinux): a kernel with the same interface has the same devel, and
# what was built against it is not built again. Module.symvers is that interface, seen from the linker.

source="$1"
build="$2"
devel="$3"
# Only the folder of the architecture that was built has generated headers.
arch="$(cd "$build" && echo arch/*/include/generated | cut -d / -f 2)"

# copy FROM: the files that the list names, as they lie below FROM. One that is not there is an error; a pipe would hide it.
list=/quiz/scratch/devel.list
copy() {
    tar -C "$1" -cf /quiz/scratch/devel.tar -T "$list"
    tar -C "$devel" -xf /quiz/scratch/devel.tar
}

mkdir "$devel"
cd "$source"
{
    find . "arch/$arch" -maxdepth 1 \( -name 'Makefile*' -o -name 'Kbuild*' \)
    find "arch/$arch" -name Kbuild.platforms -o -name Platform
    find include scripts "arch/$arch/include" ! -type d ! -path 'scripts/kconfig/*' ! -path 'scripts/coccinelle/*' \
        ! -path 'scripts/dtc/*' ! -path 'scripts/gdb/*' ! -path 'scripts/package/*'
} >"$list"
copy "$source"

cd "$build"
{
    echo .config
    echo Module.symvers
    [ ! -e tools/objtool/objtool ] || echo tools/objtool/objtool
    find include "arch/$arch/include" scripts ! -type d ! -name '*.o' ! -name '.*.cmd' \
        ! -path 'include/config/*' ! -path 'scripts/kconfig/*' ! -path '*.d'
    echo include/config/auto.conf
    echo include/config/kernel.release
} >"$list"
copy "$build"

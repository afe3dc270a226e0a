# Builds the kernel out of its read-only source.
#
# The build folder may be that of an earlier build of the same config; then make goes on in it, and what is made of headers
# and modules is made again only if one of them is newer than it, or another set of them is there.

build=/quiz/scratch/build
. /quiz/in/make

take_config
# bzImage is the x86 name; `all` makes the default image of every architecture, and the modules.
kernel all
check_config
release="$(cat "$build/include/config/kernel.release")"

mkdir -p /quiz/out/image /quiz/out/symbols
[ -e image_name ] || kernel -s image_name >image_name.new
[ -e image_name ] || mv image_name.new image_name
strip -s -o /quiz/out/image/vmlinux "$build/vmlinux"
cp "$build/$(cat image_name)" /quiz/out/image/
cp "$build/vmlinux" "$build/System.map" /quiz/out/symbols/

# is_current RESULT: whether RESULT was made of exactly the files that RESULT.files names, none of them is newer, and RESULT.sum,
# of the contents of files that each build writes anew, is the same. RESULT.newer are the files that are newer; it is not there where RESULT was
# made of others.
is_current() {
    rm -f "$1.newer"
    [ -e "$1.made" ] && cmp -s "$1.files" "$1.files.made" || return 1
    xargs -r -d '\n' -a "$1.files" sh -c 'made="$1"; shift; exec find "$@" -prune -newer "$made" -print' sh "$1.made" >"$1.found" || return 1
    mv "$1.found" "$1.newer"
    cmp -s "$1.sum" "$1.sum.made" && [ ! -s "$1.newer" ]
}
# keep OUTPUT [FILE]: says that it is what it was in the last result, if quiz offers that. Otherwise it has to be copied out. With FILE
# `.over`, that it is so but for what is copied out.
keep() {
    case " $QUIZ_KEPT " in
    *" $1 "*) echo "$1" >>"/quiz/out/${2:-.kept}" ;;
    *) return 1 ;;
    esac
}
# was_made RESULT: what is_current looks at the next time.
was_made() {
    cp "$1.files" "$1.files.made"
    cp "$1.sum" "$1.sum.made"
    mv "$1.now" "$1.made"
}

# Modules go to the guest without debug info, which stays in `symbols`. Who puts all modules of a guest together makes
# the index of depmod.
install_modules() { kernel -s modules_install DEPMOD=true "$@"; }
find "$build" -name '*.ko' | sort >modules.files
(cd "$build" && cat modules.order modules.builtin modules.builtin.modinfo) | sha256sum >modules.sum
if ! is_current modules || ! keep modules; then
    rm -rf modules modules.made
    : >modules.now
    mkdir -p modules/stripped modules/symbols
    install_modules INSTALL_MOD_PATH=/quiz/scratch/modules/stripped INSTALL_MOD_STRIP=1
    rm -f "modules/stripped/lib/modules/$release/build" "modules/stripped/lib/modules/$release/source"
    if grep -q '^CONFIG_DEBUG_INFO=y' "$build/.config"; then
        install_modules INSTALL_MOD_PATH=/quiz/scratch/modules/symbols
        find modules/symbols/lib -type l -delete
    fi
    was_made modules
    cp -a modules/stripped /quiz/out/modules
fi
cp -a modules/symbols/. /quiz/out/symbols/

# For editors.
perl /quiz/in/commands "$build" "$build" >/quiz/out/compile-commands
: >/quiz/out/rust-project
if grep -q '^CONFIG_RUST=y' "$build/.config"; then
    if kernel -s rust-analyzer; then
        cp "$build/rust-project.json" /quiz/out/rust-project
    else
        echo "warning: editors are told nothing of this kernel's Rust"
    fi
fi

sh -eu /quiz/recipe/devel.sh list /quiz/src "$build" | grep -v '/Module.symvers$' >devel.files
sha256sum <"$build/Module.symvers" >devel.sum
if ! is_current devel || ! keep devel; then
    # Thousands of files: only those that are other, if the last result has the rest.
    if [ ! -e devel.newer ] || ! keep devel .over; then cp devel.files devel.newer; fi
    echo "$build/Module.symvers" >>devel.newer
    rm -f devel.made
    : >devel.now
    # Not by way of the scratch folder: to move them from there is to copy them once more, since it is another mount.
    sh -eu /quiz/recipe/devel.sh copy /quiz/src "$build" devel.newer /quiz/out/devel
    was_made devel
fi

# Builds the kernel out of its read-only source. The same source and config give the same bytes: no time, host, user or
# build count gets in, and the folders have the same names everywhere. The build folder may be that of an earlier build of the
# same config; then make goes on in it.

export ARCH="$QUIZ_ARCH"
export KBUILD_BUILD_USER=quiz KBUILD_BUILD_HOST=quiz KBUILD_BUILD_VERSION=1
KBUILD_BUILD_TIMESTAMP="$(date -u -d "@$SOURCE_DATE_EPOCH")"
export KBUILD_BUILD_TIMESTAMP

build=/quiz/scratch/build
mkdir -p "$build"
if ! cmp -s /quiz/in/config "$build/.config"; then
    cp /quiz/in/config "$build/.config"
    chmod u+w "$build/.config"
fi

kernel() { make -C /quiz/src O="$build" "$@"; }

kernel olddefconfig
cmp -s /quiz/in/config "$build/.config" || {
    echo "error: the tools that build the kernel resolve another config than the stage kernel-config did:" >&2
    diff /quiz/in/config "$build/.config" >&2
    exit 1
}
# bzImage is the x86 name; `all` makes the default image of every architecture, and the modules.
kernel all
release="$(cat "$build/include/config/kernel.release")"

mkdir -p /quiz/out/image /quiz/out/symbols /quiz/out/modules
strip -s -o /quiz/out/image/vmlinux "$build/vmlinux"
cp "$build/$(kernel -s image_name)" /quiz/out/image/
cp "$build/vmlinux" "$build/System.map" /quiz/out/symbols/

# Modules go to the guest without debug info, which stays in `symbols`. Who puts all modules of a guest together makes
# the index of depmod.
install_modules() { kernel -s modules_install DEPMOD=true "$@"; }
install_modules INSTALL_MOD_PATH=/quiz/out/modules INSTALL_MOD_STRIP=1
rm -f "/quiz/out/modules/lib/modules/$release/build" "/quiz/out/modules/lib/modules/$release/source"
if grep -q '^CONFIG_DEBUG_INFO=y' "$build/.config"; then
    install_modules INSTALL_MOD_PATH=/quiz/out/symbols
    find /quiz/out/symbols/lib -type l -delete
fi

sh -eu /quiz/recipe/devel.sh /quiz/src "$build" /quiz/out/devel

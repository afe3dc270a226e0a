# Lays the packages of headers over each other: the common files, the architecture's, and the programs of kbuild. They lie in three
# folders that know each other by absolute links.

cd /quiz/in/package/usr
# only NAME [AND]: the one folder of headers whose name is like that.
only() {
    found="$(find src -maxdepth 1 -type d -name "$@")"
    [ -d "$found" ] || {
        echo "error: one folder of headers was expected ($*), and there is: $found" >&2
        exit 1
    }
    echo "$found"
}
# Ubuntu's are called otherwise: the plain one belongs to all flavours.
if [ -n "$(find src -maxdepth 1 -name 'linux-headers-*-common')" ]; then
    common="$(only 'linux-headers-*-common')"
    own="$(only 'linux-headers-*' ! -name '*-common')"
else
    own="$(only 'linux-headers-*-generic')"
    common="${own%-generic}"
fi

devel=/quiz/out/devel
mkdir "$devel"
cp -R "$common/." "$devel/"
chmod -R u+w "$devel"
for name in scripts tools; do
    [ ! -L "$devel/$name" ] || rm "$devel/$name"
    for kbuild in lib/linux-kbuild-*/"$name"; do
        [ ! -d "$kbuild" ] || {
            mkdir -p "$devel/$name"
            cp -R "$kbuild/." "$devel/$name/"
        }
    done
done
# vmlinux has only what BTF of modules is made of. The Makefile and the variables would lead to other places.
tar -C "$own" -cf /quiz/scratch/own.tar --exclude=./vmlinux --exclude=./Makefile --exclude=./.kernelvariables --exclude=./scripts --exclude=./tools .
tar -C "$devel" -xf /quiz/scratch/own.tar
chmod -R u+w "$devel"
# Ubuntu's has its programs of kbuild there.
[ ! -d "$own/scripts" ] || [ -L "$own/scripts" ] || cp -R "$own/scripts/." "$devel/scripts/"

# The programs of kbuild and the flags in the config are of the compiler that the kernel was made with.
suite_of_it='name its suite, such as kernel.toolchain = "trixie", or take another kernel'
own="$(gcc -dumpversion | cut -d . -f 1)"
theirs="$(($(sed -n 's/^CONFIG_GCC_VERSION=//p' "$devel/.config") / 10000))"
[ "$own" = "$theirs" ] || {
    echo "error: this kernel was compiled by gcc $theirs, and scripts here have gcc $own: $suite_of_it" >&2
    exit 1
}
# It wants arguments and says so; what cannot start says something else.
said=/quiz/scratch/fixdep.log
"$devel/scripts/basic/fixdep" >"$said" 2>&1 || ! grep -q 'not found\|No such file' "$said" || {
    cat "$said" >&2
    echo "error: the programs that come with this kernel's headers do not run here: $suite_of_it" >&2
    exit 1
}
# It is called by another name here.
sed -i "s|^\(CONFIG_CC_VERSION_TEXT=\"\{0,1\}\)[^\"]*|\1$(gcc --version | head -n 1)|" "$devel/include/config/auto.conf"
# Debian's Makefile of the headers says the release, and this file only what it was made of.
sed -n 's/^#define UTS_RELEASE "\(.*\)"$/\1/p' "$devel/include/generated/utsrelease.h" >"$devel/include/config/kernel.release"

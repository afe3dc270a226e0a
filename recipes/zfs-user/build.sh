# Builds and installs the user land: libraries, programs, and what they read. Not the test suite, not the manual pages.

. /quiz/in/lib

cd tree
if [ ! -e lib ]; then
    echo "warning: this OpenZFS is modules alone: the guest gets no zpool and no zfs"
    mkdir /quiz/out/install /quiz/out/devel
    echo '[]' >/quiz/out/compile-commands
    exit 0
fi
make_gets_on

if [ -e lib/Makefile ]; then
    layout=many
    parts="lib cmd etc udev"
    libraries="$(printf "$PWD/%s/.libs:" lib/lib*)"
    set --
else
    # From 2.2 on there is one Makefile: of it not the suite (scripts_), what only lies in the source (noinst_), headers, and
    # what is made of these folders.
    layout=one
    parts=.
    libraries="$PWD/.libs"
    others='(^|_)(scripts|noinst)_|_HEADERS | (contrib|man|rpm|tests)/'
    # shellcheck disable=SC2046 # a word each
    set -- SUBDIRS= ALL_LOCAL= $(lists | grep -E "$others" | sed 's/ .*/=/') \
        INSTALL_DATA_HOOKS="$(of_make '$(INSTALL_DATA_HOOKS)' | tr ' ' '\n' | grep -vE '^(man|scripts)-' | tr '\n' ' ')"
fi
# Another release's objects, with other names for the same sources: an editor would be told of both.
if [ -e ../built ] && [ "$(cat ../layout 2>/dev/null)" != "$layout" ]; then
    find lib cmd module \( -name '*.o' -o -name '*.lo' -o -name '.*.command' \) -delete
fi
echo "$layout" >../layout
# Where the linker finds the libraries of libraries: they carry no run paths (see zfs-configure-user). Only where this tree makes them: a scratch
# folder that was another release's still has those.
export LD_LIBRARY_PATH="$libraries"
# Objects do not depend on their Makefile, and flags stand there: where it changed, all of its folder is compiled.
if [ -e ../built ]; then
    find lib cmd -name Makefile -newer ../built | while read -r makefile; do
        find "${makefile%/*}" -maxdepth 1 \( -name '*.o' -o -name '*.lo' \) -delete
    done
fi
: >../built.now
for part in $parts; do
    from_make -s -C "$part" CC=/quiz/recipe/cc "$@" all
done
mv ../built.now ../built

install=/quiz/scratch/install
rm -rf "$install"
for part in $parts; do
    make -s -C "$part" "$@" install DESTDIR="$install" >/quiz/scratch/install.log 2>&1 || {
        cat /quiz/scratch/install.log
        exit 1
    }
done

# In the root /sbin and /lib are links into /usr; folders of these names, laid over it, would hide the shell.
for top in bin sbin lib; do
    if [ -d "$install/$top" ]; then
        mkdir -p "$install/usr/$top"
        cp -a "$install/$top/." "$install/usr/$top/"
        rm -rf "${install:?}/$top"
    fi
done
rm -rf "$install/usr/include" "$install/usr/share/man" "$install/usr/share/doc" "$install/usr/src" \
    "$install/usr/lib/pkgconfig" "$install/usr/share/pkgconfig" "$install/usr/share/locale" "$install/usr/share/initramfs-tools"
find "$install" -name '*.la' -delete
find "$install/usr" -type f \( -perm -100 -o -name '*.so*' \) | while read -r file; do
    case "$(head -c 4 "$file" | tr -d '\177')" in
    ELF) echo "$file" ;;
    esac
done | xargs -r strip --strip-unneeded
mkdir /quiz/out/install
cp -a "$install/." /quiz/out/install/

sh -eu /quiz/recipe/devel.sh /quiz/out/devel

# One line for each object whose source is there; a comma between them.
{
    echo '['
    find lib cmd module -name '.*.command' -exec cat {} + |
        perl -ne 'print if m{"directory": "([^"]*)", "file": "([^"]*)"} && -e ($2 =~ m{^/} ? $2 : "$1/$2")' | sed '$!s/$/,/'
    echo ']'
} >/quiz/out/compile-commands

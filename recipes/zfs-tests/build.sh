# Builds and installs the test suite: below /usr/share/zfs, as its packages do. Its programs are linked with libraries of this
# same source, which the stage zfs-user built; of the shared ones the symbols are enough.

. /quiz/in/lib

cd tree
if [ ! -e tests/zfs-tests ]; then
    echo "error: this OpenZFS has no test suite (there is no tests/zfs-tests)"
    exit 1
fi
make_gets_on

# Where the linker finds the libraries of libraries: they carry no run paths (see zfs-configure-user).
LD_LIBRARY_PATH="$(printf "$PWD/%s/.libs:" lib/lib* .)"
export LD_LIBRARY_PATH

# Those of zfs-user, which lie among the sources: nothing here makes one.
libraries="$(find . -name 'lib*.la' ! -path './tests/*' ! -path '*/.libs/*' | sed 's|^\./||')"
# make is told below not to look at them; so when one has changed, all programs are linked again.
if [ -e ../built ] && find . -name 'lib*.a' -newer ../built -o -name 'lib*.so*' -newer ../built | grep -q .; then
    find tests -type f -perm -100 ! -name '*.*' -delete
fi
: >../built.now

if [ -e lib/Makefile ]; then
    parts="tests scripts"
    set --
else
    # From 2.2 on there is one Makefile for all of it. Its lists that belong to the suite begin with `scripts_`. A make that make
    # starts knows of no `-o` but by automake's own variable.
    parts=.
    # shellcheck disable=SC2046 # a word each
    set -- SUBDIRS=tests/zfs-tests/tests $(lists | grep -E '^[a-z]' | grep -vE '^((no)?dist_)?scripts_' | sed 's/ .*/=/') \
        "AM_MAKEFLAGS=$(printf -- '-o %s ' $libraries)" INSTALL_DATA_HOOKS=scripts-install-data-hook INSTALL_EXEC_HOOKS=
fi
install=/quiz/scratch/install
rm -rf "$install"
for part in $parts; do
    from_make -s -C "$part" "$@" all
    make -s -C "$part" "$@" install DESTDIR="$install" >/quiz/scratch/install.log 2>&1 || {
        cat /quiz/scratch/install.log
        exit 1
    }
done
mv ../built.now ../built
mkdir -p /quiz/out/install/usr/share
cp -a "$install/usr/share/zfs" /quiz/out/install/usr/share/

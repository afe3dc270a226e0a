# Builds and installs the test suite: below /usr/share/zfs, as its packages do. Its programs are linked with libraries of this
# same source, which are built here and installed by the stage zfs-user.

cd tree
# What make would compare with its own inputs to run configure again: that is another stage's business.
touch -d @1000000000 configure config.status zfs_config.h.in aclocal.m4
[ -e include/zfs_gitrev.h ] || echo '#define ZFS_META_GITREV "unknown"' >include/zfs_gitrev.h

# Where the linker finds the libraries of libraries: they carry no run paths (see zfs-configure-user).
LD_LIBRARY_PATH="$(printf "$PWD/%s/.libs:" lib/lib* .)"
export LD_LIBRARY_PATH

if [ -e lib/Makefile ]; then
    make -s -w --output-sync -C lib all
    parts="tests scripts"
else
    # From 2.2 on there is one Makefile for all of it.
    parts=.
fi
install=/quiz/scratch/install
rm -rf "$install"
for part in $parts; do
    make -s -w --output-sync -C "$part" all
    make -s -C "$part" install DESTDIR="$install" >/quiz/scratch/install.log 2>&1 || {
        cat /quiz/scratch/install.log
        exit 1
    }
done
mkdir -p /quiz/out/install/usr/share
cp -a "$install/usr/share/zfs" /quiz/out/install/usr/share/

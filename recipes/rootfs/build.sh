#!/bin/sh
# Installs the packages of /quiz/in/debs into an empty root and packs it as one squashfs image, owners and modes kept.
# Works without network, and without a second user id: who owns a file is kept beside it by fakeroot, whoever runs this; the bytes are
# the same. In a user namespace that has one id, a real chown to another one fails, so it is not even tried.
set -eu

if [ -z "${FAKEROOTKEY-}" ]; then
    export FAKEROOTDONTTRYCHOWN=1
    exec fakeroot-sysv sh -eu "$0"
fi
root=/quiz/scratch/root

# apt complains when its own folder of settings is not there.
mkdir -p /etc/apt/apt.conf.d /etc/apt/preferences.d 2>/dev/null || :

# The root's own programs are to be fooled, too, so fakeroot's library lies there meanwhile, for which their C library must be new enough.
fake=$(dirname "$(find /usr/lib -name libfakeroot-sysv.so | head -n 1)")
needed=$(grep -ao 'GLIBC_2\.[0-9]*' "$fake/libfakeroot-sysv.so" | sort -Vu | tail -n 1)
there=$(sed -n '/^Package: libc6$/,/^$/s/^Version: //p' /quiz/in/debs/Packages)
dpkg --compare-versions "$there" ge "${needed#GLIBC_}" || {
    echo "error: the root's libc6 $there is older than what fakeroot needs here ($needed): set toolchain.suite to the suite of the root" \
        "(rootfs.suite)"
    exit 1
}

# Exactly the packages that are there, whatever their priority: so variant `custom`, which adds none of its own.
# The first hook makes bin, lib and sbin links into usr/ before anything is unpacked, as every Debian since 12 has them. /dev and /proc are
# the sandbox's: a namespace with one id cannot mount a /dev/pts of mmdebstrap's kind.
sed -n 's/^Package: //p' /quiz/in/debs/Packages >/quiz/scratch/names
names=$(paste -s -d , /quiz/scratch/names)
TMPDIR=/quiz/scratch mmdebstrap --verbose --mode=root --variant=custom --format=directory \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --skip=check/qemu,chroot/mount \
    --extract-hook="mkdir -p \"\$1$fake\" && cp $fake/*.so \"\$1$fake/\"" \
    --extract-hook='set -e; for dir in dev proc; do mount --rbind "/$dir" "$1/$dir"; done' \
    --customize-hook='set -e; for dir in dev proc; do umount --lazy "$1/$dir"; done' \
    --include="$names" \
    --dpkgopt=force-unsafe-io \
    --aptopt='Acquire::Languages "none"' --aptopt='APT::Sandbox::User "root"' \
    '' "$root" 'deb [trusted=yes] copy:/quiz/in/debs ./'

cd "$root"
# The library goes again, unless it is of a package of the root.
grep -qx libfakeroot /quiz/scratch/names || rm -rf ".$fake"

# What nobody reads in a test machine.
rm -rf usr/share/doc usr/share/man usr/share/info usr/share/locale usr/share/lintian usr/share/bug
# Names of hardware that a virtual machine does not have, 20 MB of them.
rm -rf usr/lib/udev/hwdb.d usr/lib/udev/hwdb.bin etc/udev/hwdb.bin
# What differs from run to run, or names this place.
rm -rf var/cache/ldconfig/aux-cache var/cache/apt var/lib/apt/lists var/lib/systemd/random-seed etc/.pwd.lock
rm -f etc/apt/sources.list etc/apt/sources.list.d/* etc/apt/apt.conf.d/*mmdebstrap etc/dpkg/dpkg.cfg.d/*mmdebstrap
# Keys that everybody would share are none; the arrays are those of the machine that built it.
rm -f etc/ssh/ssh_host_* etc/mdadm/mdadm.conf
rm -f var/cache/debconf/*-old var/lib/dpkg/*-old etc/*- etc/resolv.conf
rm -rf dev/*
find var/log var/tmp tmp run -mindepth 1 ! -type d -exec rm -f {} +
: > etc/machine-id

# A program that asks for its locale, as `uname` does, opens one file then, not thirteen: 20 ms of a cold boot under an emulator.
if [ -x usr/bin/localedef ] && [ -d usr/lib/locale/C.utf8 ]; then
    chroot . localedef --add-to-archive /usr/lib/locale/C.utf8 >/dev/null
fi

# root needs no password; where it is kept depends on whether the package `passwd` is there.
for file in etc/passwd etc/shadow; do
    if [ -e "$file" ]; then
        sed -i 's/^root:[*!]*:/root::/' "$file"
    fi
done
echo quiz > etc/hostname
printf '127.0.0.1 localhost quiz\n::1 localhost\n' > etc/hosts

# The only times in the image. mksquashfs refuses these options while SOURCE_DATE_EPOCH is set.
time=$SOURCE_DATE_EPOCH
unset SOURCE_DATE_EPOCH
mksquashfs "$root" /quiz/out/layer -comp lz4 -noappend -no-progress -quiet \
    -mkfs-time "$time" -all-time "$time" -processors "$QUIZ_JOBS"

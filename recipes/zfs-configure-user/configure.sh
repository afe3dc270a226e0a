# Runs configure for the user land, where the build will lie: Makefiles and libtool carry the path.

. /quiz/in/lib

# A source package of the modules alone, such as Debian's zfs-dkms, has nothing to configure here.
if [ ! -e /quiz/src/lib ]; then
    mkdir /quiz/out/tree
    exit 0
fi

lay_out
# The guest has no libunwind, and configure takes what it finds here.
set --
! knows libunwind || set -- --without-libunwind
configure "$@" --with-config=user --disable-static \
    --prefix=/usr --sbindir=/usr/sbin --libdir=/usr/lib --sysconfdir=/etc --localstatedir=/var \
    --with-mounthelperdir=/usr/sbin --with-udevdir=/usr/lib/udev \
    --disable-systemd --disable-sysvinit --disable-pam --disable-pyzfs --without-python

# Libraries lie where the loader looks by itself. Without run paths into the build nothing is linked again to be installed.
sed -i -e 's/^hardcode_into_libs=.*/hardcode_into_libs=no/' \
    -e 's/^hardcode_libdir_flag_spec=.*/hardcode_libdir_flag_spec=""/' \
    -e 's/^runpath_var=.*/runpath_var=NO_RUN_PATH/' tree/libtool

keep_what_configure_made

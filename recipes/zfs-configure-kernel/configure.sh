# Runs configure for the kernel modules. Its checks of the kernel, three quarters of its time, are hundreds of small modules;
# bin/make remembers what came of each, so that only a check that is new, or meets another kernel or compiler, is compiled.

. /quiz/in/lib

QUIZ_CHECKS_BASE="$QUIZ_DIGEST_DEVEL $(gcc --version | head -n 1) $(ld --version | head -n 1)"
export QUIZ_CHECKS_BASE
export TEST_JOBS="$QUIZ_JOBS"
PATH="/quiz/recipe/bin:$PATH"

configure --with-config=kernel --with-linux=/quiz/in/devel --with-linux-obj=/quiz/in/devel --without-python

# Known only where there is git; without it the file says so.
[ -e tree/include/zfs_gitrev.h ] || echo '#define ZFS_META_GITREV "unknown"' >tree/include/zfs_gitrev.h

keep_what_configure_made

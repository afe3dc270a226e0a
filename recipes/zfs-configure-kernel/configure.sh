# Runs configure for the kernel modules. Its checks of the kernel, three quarters of its time, are hundreds of small modules;
# bin/make remembers what came of each, so that only a check that is new, or meets another kernel or compiler, is compiled.

. /quiz/in/lib

QUIZ_CHECKS_BASE="$QUIZ_DIGEST_DEVEL $(gcc --version | head -n 1) $(ld --version | head -n 1) ${QUIZ_DIGEST_TOOLCHAIN-} $QUIZ_KBUILD"
export QUIZ_CHECKS_BASE
export TEST_JOBS="$QUIZ_JOBS"
PATH="/quiz/recipe/bin:$PATH"

lay_out
# With lock debugging the kernel's headers turn mutex_lock and its like into symbols that are exported to GPL modules alone,
# and a module of another license ends lockdep when it is loaded. OpenZFS's own way out, for builds that nobody else gets, is
# another word in META; it comes into the text of each check, too, so that remembered answers do not mix.
if grep -q '^CONFIG_DEBUG_LOCK_ALLOC=y' /quiz/in/devel/.config && grep -q '^License:[[:space:]]*CDDL$' tree/META; then
    sed -i 's/^\(License:[[:space:]]*\)CDDL$/\1GPL/' tree/META
    echo 'warning: for a kernel with lock debugging (CONFIG_DEBUG_LOCK_ALLOC) OpenZFS is built as if its license were the GPL:' \
        'modules for this machine, not to be passed on'
fi

# The modules' Makefile gets it from configure.
# shellcheck disable=SC2086 # One word, or none.
configure --with-config=kernel --with-linux=/quiz/in/devel --with-linux-obj=/quiz/in/devel --without-python ${QUIZ_KBUILD:+KERNEL_$QUIZ_KBUILD}

# Known only where there is git; without it the file says so.
[ -e tree/include/zfs_gitrev.h ] || echo '#define ZFS_META_GITREV "unknown"' >tree/include/zfs_gitrev.h

keep_what_configure_made

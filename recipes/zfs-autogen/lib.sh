# What both runs of configure have in common, and all stages that call OpenZFS's make.

# from_make ARGUMENT...: make, with complete messages and the folder they speak of, one target's at a time. Where it has no rule
# for a file, that is said: with `-j` it is not make's last line.
from_make() {
    # One of a run that was killed is no word on this one.
    rm -f /quiz/scratch/make.failed
    {
        make -w --output-sync "$@" 2>&1 || echo failed >/quiz/scratch/make.failed
    } | tee /quiz/scratch/make.out
    [ -e /quiz/scratch/make.failed ] || return 0
    sed -n "s/^.*\*\*\* No rule to make target '\([^']*\)', needed by '\([^']*\)'.*/\1 \2/p" /quiz/scratch/make.out |
        head -n 1 | while read -r wanted target; do
            echo "error: OpenZFS's Makefile makes $target out of $wanted, which is not in the source, or not among the paths" \
                "that this stage sees of it"
            echo "error: quiz knows the layouts of OpenZFS 2.1 to 2.4.99, and this is $(sed -n 's/^Version: *//p' META); with a" \
                "newer one, a recipe of your own in .quiz/recipes can add the path"
        done
    exit 1
}

# of_make TEXT: what make makes of it with the variables of the Makefile.
of_make() { printf '$(info %s)\nof-make:\n\t@:\n' "$1" | make -s --no-print-directory -f Makefile -f - of-make; }

# lists: of the one Makefile of OpenZFS 2.2 and later each list of things to build or install, such as sbin_PROGRAMS, and the
# first thing in it. One that is empty on make's command line is neither built nor installed.
lists() {
    names="$(sed -n -E 's/^(\w+_(PROGRAMS|SCRIPTS|DATA|MANS|HEADERS|LTLIBRARIES)) \+?=.*/\1/p' Makefile | tr '\n' ' ')"
    of_make "\$(foreach list,$names,\$(info \$(list) \$(firstword \$(\$(list)))))"
}

# make_gets_on: what make would compare with its own inputs to run configure again is another stage's business.
make_gets_on() {
    touch -d @1000000000 configure config.status zfs_config.h.in aclocal.m4
    [ -e include/zfs_gitrev.h ] || echo '#define ZFS_META_GITREV "unknown"' >include/zfs_gitrev.h
}

# lay_out: ./tree, as configure wants it.
lay_out() {
    mkdir tree
    cp -R /quiz/src/. tree
    cp -R --remove-destination /quiz/in/autogen/. tree
    chmod -R u+w tree
}

# knows WORD: whether this OpenZFS's configure has an argument of that name.
knows() { grep -q -e "--with-$1" -e "--enable-$1" tree/configure; }

# configure ARGUMENT...: runs it in ./tree, with the user's arguments behind. What it says goes to a file: 2,000 lines of
# "checking" hide the one that matters.
configure() {
    old_ifs="$IFS"
    IFS='
'
    
    set -- "$@" ${QUIZ_OPT_CONFIGURE:-}
    IFS="$old_ifs"
    (cd tree && sh ./configure "$@") >configure.out 2>&1 || {
        why
        exit 1
    }
    grep '^configure: WARNING: ' configure.out || :
    # Where versions are shown, the place for the digest of the source: the stage zfs fills it in. It ends with a byte that no
    # other text ends with, because the linker lets a text be the tail of another.
    sed -i 's/^\(#define ZFS_META_\(ALIAS\|RELEASE\) ".*\)"$/\1-@quiz-tree@\x01"/' tree/zfs_config.h
}

# The reason out of config.log: the check that failed, with the compiler's words, and configure's own error.
why() {
    grep -A12 '^configure: error: ' configure.out || tail -n 20 configure.out
    [ -e tree/config.log ] || return 0
    echo '-- the last check in config.log:'
    awk '/^## Cache variables/ { exit } /^configure:[0-9]+: checking/ { n = 0 } { lines[n++] = $0 }
        END { for (i = 0; i < n && i < 25; i++) print lines[i] }' tree/config.log
}

# The output is what was not there before or has changed, without logs and dependencies: what make writes itself is not ours.
keep_what_configure_made() {
    mkdir /quiz/out/tree
    cd tree
    rm -rf build config.log config.cache autom4te.cache
    find . -name .deps -prune -exec rm -rf {} +
    find . -type f | while read -r file; do
        for old in "/quiz/in/autogen/$file" "/quiz/src/$file"; do
            [ -e "$old" ] && break
        done
        if ! cmp -s "$file" "$old"; then
            mkdir -p "/quiz/out/tree/${file%/*}"
            cp -p "$file" "/quiz/out/tree/$file"
        fi
    done
}

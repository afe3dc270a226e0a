# What both runs of configure have in common.

# lay_out: ./tree, as configure wants it.
lay_out() {
    mkdir tree
    cp -R /quiz/src/. tree
    cp -R --remove-destination /quiz/in/autogen/. tree
    chmod -R u+w tree
}

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

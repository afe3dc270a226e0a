#!/bin/sh
# Another machine as the host of quiz: a root, entered as a container is, with mounts, processes, /proc and /dev of its own. It shares the
# kernel, the network and the Rust toolchain with this machine, and nothing else. Runs as root.
#
#   tests/hosts.sh new SUITE ROOT         makes ROOT of Debian, as a machine on which only what Rust and a clone need was ever installed
#   tests/hosts.sh bare ROOT QUIZ         makes ROOT of busybox, bubblewrap, qemu and the program QUIZ: nothing else is there
#   tests/hosts.sh run ROOT USER COMMAND  runs a shell's COMMAND as USER, in USER's copy of this repository; the folder CACHE is there, too
#
# What is downloaded for `new` is kept beside ROOT, as SUITE.tar.
set -eu

die() {
    echo "tests/hosts.sh: $*" >&2
    exit 1
}

# The ordinary user in the root.
user=dev
# Where the toolchain is seen.
rust=/opt/rust
here=$(cd "$(dirname "$0")/.." && pwd)

# The sources of this machine with the name of the suite replaced, as stanzas, the form in which Debian 13 has them.
sources() {
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
    # shellcheck disable=SC2016 # The names are apt's.
    apt-get indextargets --format '$(LABEL) $(REPO_URI) $(RELEASE)' 'Created-By: Packages' 'Origin: Debian' |
        sort -u |
        awk -v old="$codename" -v new="$1" -v key="$2" '
            $1 ~ /^Debian(-Security)?$/ && index($3, old) == 1 && $3 !~ /backports|proposed/ {
                print "Types: deb\nURIs: " $2 "\nSuites: " new substr($3, length(old) + 1)
                print "Components: main\nSigned-By: " key "\n"
            }'
}

# What this machine's apt was told of proxies and of dates, which holds for every Debian here.
network() { apt-config dump | grep -E '^Acquire::(https?::|Check-)' || :; }

base() {
    suite=$1 tar=$2 key=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -e "$key" ] || die "$key is missing: apt-get install debian-archive-keyring"
    stanzas=$(sources "$suite" "$key")
    [ -n "$stanzas" ] || die "apt on this machine has no source of Debian whose suite could be replaced (or apt-get update never ran)"
    conf=$tar.conf
    network >"$conf"
    # What a person has who has Rust and a clone: a linker, git, certificates.
    echo "$stanzas" | mmdebstrap --quiet --mode=root --variant=minbase --format=tar --aptopt="$conf" \
        --include=ca-certificates,git,gcc,libc6-dev \
        --customize-hook="upload $conf /etc/apt/apt.conf.d/90host" \
        "$suite" "$tar.new" -
    mv "$tar.new" "$tar"
}

# A copy of what is committed here, new each time.
copy() {
    rm -rf "$2"
    mkdir -p "$2"
    git -C "$here" archive HEAD | tar -x -m -C "$2"
    chroot "$1" chown -R "$3:" "${2#"$1"}"
}

new() {
    suite=$1 root=$2 tar=$(dirname "$2")/$1.tar
    mkdir -p "$(dirname "$root")"
    [ -e "$tar" ] || base "$suite" "$tar"
    rm -rf --one-file-system "$root"
    mkdir "$root"
    tar -x --numeric-owner -C "$root" -f "$tar"
    chroot "$root" useradd --create-home --shell /bin/sh "$user"
    copy "$root" "$root/root/quiz" root
    copy "$root" "$root/home/$user/quiz" "$user"
}

# A program, and the libraries that it names, at their own paths.
program() {
    libraries=$(ldd "$2" | grep -o '/[^ ]*')
    for file in "$2" $libraries; do
        mkdir -p "$1$(dirname "$file")"
        cp -L "$file" "$1$file"
    done
}

bare() {
    root=$1 busybox=$(command -v busybox) || die "busybox is missing: apt-get install busybox-static"
    rm -rf --one-file-system "$root"
    mkdir -p "$root/usr/bin" "$root/usr/lib" "$root/usr/lib64" "$root/root/quiz" "$root/etc" "$root/proc" "$root/sys" "$root/dev" "$root/tmp"
    for name in bin lib lib64; do ln -s "usr/$name" "$root/$name"; done
    cp -L "$busybox" "$root/usr/bin/busybox"
    # dpkg and rpm are left out, as this host shall know no packages.
    for name in $("$busybox" --list | grep -vE '^(dpkg|rpm)'); do ln -s busybox "$root/usr/bin/$name" 2>/dev/null || :; done
    qemu=$(command -v qemu-system-x86_64)
    program "$root" "$(command -v bwrap)"
    program "$root" "$qemu"
    # Debian's qemu loads its accelerators.
    for file in /usr/lib/x86_64-linux-gnu/qemu/accel-*.so; do
        [ ! -e "$file" ] || program "$root" "$file"
    done
    mkdir "$root/usr/share"
    cp -rL /usr/share/qemu "$root/usr/share/qemu"
    program "$root" "$2"
    ln -s "$2" "$root/usr/bin/quiz"
    chmod 1777 "$root/tmp"
    # The ordinary user has no range of further ids: there is no /etc/subuid.
    printf '%s\n' root:x:0:0:root:/root:/bin/sh "$user:x:1000:1000:$user:/home/$user:/bin/sh" >"$root/etc/passwd"
    printf '%s\n' root:x:0: "$user:x:1000:" >"$root/etc/group"
    mkdir -p "$root/home/$user/quiz"
    chown -R 1000:1000 "$root/home/$user"
}

run() {
    root=$1 who=$2 command=$3
    toolchain=$(cd "$here" && rustc --print sysroot)
    [ "$toolchain" != /usr ] || die "the Rust toolchain lies in /usr, and cannot be shown to another root: install it by rustup"
    case $who in root) home=/root ;; *) home=/home/$who ;; esac
    export root who home command toolchain rust
    exec unshare --mount --pid --ipc --uts --fork --kill-child --propagation private sh -eu "$0" enter
}

# In its own namespaces, as their first process.
enter() {
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
    mount -t tmpfs -o mode=755,nosuid tmpfs "$root/dev"
    mkdir "$root/dev/pts" "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
    mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/dev/shm"
    for node in null zero full random urandom tty; do
        : >"$root/dev/$node"
        mount --bind "/dev/$node" "$root/dev/$node"
    done
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    for n in 0/stdin 1/stdout 2/stderr; do ln -s "/proc/self/fd/${n%/*}" "$root/dev/${n#*/}"; done
    mkdir -p "$root$rust"
    for pair in "$toolchain:$rust" /etc/resolv.conf /etc/ssl/certs/ca-certificates.crt; do
        from=${pair%%:*} to=$root${pair#*:}
        mkdir -p "$(dirname "$to")"
        [ -e "$to" ] || : >"$to"
        mount --bind "$from" "$to"
        mount -o remount,bind,ro "$to"
    done
    if [ -n "${CACHE-}" ]; then
        mkdir -p "$root$CACHE"
        mount --bind "$CACHE" "$root$CACHE"
    fi
    hostname host
    cd "$root"
    mkdir -p .old
    pivot_root . .old
    umount -l .old 2>/dev/null || umount -l /.old
    rmdir /.old
    set -- env -i "PATH=$rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" "HOME=$home" "USER=$who" TERM=dumb \
        ${http_proxy:+"http_proxy=$http_proxy"} ${https_proxy:+"https_proxy=$https_proxy"} ${no_proxy:+"no_proxy=$no_proxy"} \
        sh -c "cd ~/quiz && $command"
    if [ "$who" != root ]; then
        # busybox has no runuser.
        # shellcheck disable=SC2016 # The shell of su reads it.
        if command -v runuser >/dev/null; then set -- runuser -u "$who" -- "$@"; else set -- su -c 'exec "$@"' -- "$who" sh "$@"; fi
    fi
    # Not exec: the first process of a PID namespace must outlive what it starts, and reap.
    "$@"
}

case ${1-} in
new) [ $# = 3 ] || die "usage: tests/hosts.sh new SUITE ROOT" ;;
bare) [ $# = 3 ] || die "usage: tests/hosts.sh bare ROOT QUIZ" ;;
run) [ $# = 4 ] || die "usage: tests/hosts.sh run ROOT USER COMMAND" ;;
enter) ;;
*) die "usage: tests/hosts.sh new SUITE ROOT | bare ROOT QUIZ | run ROOT USER COMMAND" ;;
esac
"$@"

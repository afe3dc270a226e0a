# Compiles the kernel once more, with -g. That changes no instruction and no address (gcc promises it of -g; and the config stays as it is, which
# the kernel has in its memory), so what is said about one of them is true of the other; and whether it is, is looked at.

build=/quiz/scratch/build
. /quiz/in/make

take_config
# Debug information of the compiler's own version, in vmlinux and modules alike; of the assembler's sources, too.
kernel all KCFLAGS=-g KAFLAGS=-g
check_config
release="$(cat "$build/include/config/kernel.release")"

# The build's ids are sums over all of a file, debug information included. vmlinux has its own in a note, and those of the vDSOs, whose files are
# among its data.
id() { readelf -n "$1" | sed -n 's/^ *Build ID: //p'; }
# loaded FILE INTO: what of a file comes into memory, but for its own notes.
loaded() { objcopy -O binary --remove-section=.notes --remove-section='.note*' "$1" "$2"; }

loaded "$build/vmlinux" ours
loaded /quiz/in/image/vmlinux theirs
find "$build/arch" -name 'vdso*.so' | while read -r vdso; do id "$vdso"; done >ids
perl -e '
    sub contents { open(my $file, "<:raw", $_[0]) or die "$_[0]: $!"; local $/; <$file> }
    my ($ours, $theirs) = (contents("ours"), contents("theirs"));
    for my $id (map { pack("H*", $_) } grep { length } split(/\n/, contents("ids"))) {
        for (my $at = 0; ($at = index($ours, $id, $at)) >= 0; $at += length($id)) {
            substr($_, $at, length($id)) = "\0" x length($id) for $ours, $theirs;
        }
    }
    exit($ours eq $theirs ? 0 : 1);
' || {
    echo "error: vmlinux with debug information has other code or data than the kernel's own" >&2
    exit 1
}

# as_named OURS KERNEL'S SECTION: a debugger finds what belongs to a kernel in memory by the build's id that it has there.
as_named() {
    rm -f note
    objcopy -O binary --only-section="$3" "$2" note
    [ ! -s note ] || objcopy --update-section "$3=note" "$1"
}

mkdir -p /quiz/out/symbols
cp "$build/vmlinux" /quiz/out/symbols/
as_named /quiz/out/symbols/vmlinux /quiz/in/image/vmlinux .notes
rm -rf modules
kernel -s modules_install DEPMOD=true INSTALL_MOD_PATH=/quiz/scratch/modules
find "modules/lib/modules/$release" -name '*.ko' >list
sizes() { size -A "$1" | awk '$1 ~ /^\.(text|data|rodata|bss)/ { print $1, $2 }'; }
while read -r module; do
    [ "$(sizes "$module")" = "$(sizes "/quiz/in/$module")" ] || {
        echo "error: $module with debug information is another one than the kernel's own" >&2
        exit 1
    }
    as_named "$module" "/quiz/in/$module" .note.gnu.build-id
done <list
cp -a modules/lib /quiz/out/symbols/
find /quiz/out/symbols/lib -type l -delete

# gdb's commands of the kernel (lx-ps, lx-symbols …), where it has them: Python, with the numbers of this build in one file.
if grep -q '^scripts_gdb:' /quiz/src/Makefile; then
    # Links of an earlier build may lead nowhere.
    rm -rf "$build/scripts/gdb"
    if kernel -s scripts_gdb; then
        mkdir -p /quiz/out/symbols/scripts
        cp -RL "$build/scripts/gdb" /quiz/out/symbols/scripts/
        find /quiz/out/symbols/scripts \( -name '.*.cmd' -o -name '__pycache__' -o -name Makefile \) -prune -exec rm -r {} +
        cp -L /quiz/src/scripts/gdb/vmlinux-gdb.py /quiz/out/symbols/
    else
        echo "warning: gdb gets no commands of this kernel's own"
    fi
fi

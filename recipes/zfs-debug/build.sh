# Compiles OpenZFS's modules once more, with -g. That changes no instruction, so what is said about one of them is true of the other; and
# whether it is, is looked at.

cd tree
. /quiz/in/make
make_modules -g

# plain FILE INTO: without what debug information adds, and without the build's id, which is a sum over all of the file.
plain() { objcopy --strip-debug --remove-section=.note.gnu.build-id "$1" "$2"; }

release="$(cat /quiz/in/devel/include/config/kernel.release)"
extra="lib/modules/$release/extra"
mkdir -p "/quiz/out/symbols/$extra"
for module in $(list_modules); do
    name="${module##*/}"
    guests="/quiz/in/modules/$extra/$name"
    plain "$module" /quiz/scratch/ours
    plain "$guests" /quiz/scratch/theirs
    cmp -s /quiz/scratch/ours /quiz/scratch/theirs || {
        echo "error: $name with debug information is another one than that which the guest has" >&2
        exit 1
    }
    # A debugger finds what belongs to a module in memory by the build's id that it has there.
    rm -f /quiz/scratch/note
    objcopy -O binary --only-section=.note.gnu.build-id "$guests" /quiz/scratch/note
    cp "$module" "/quiz/out/symbols/$extra/"
    [ ! -s /quiz/scratch/note ] ||
        objcopy --update-section .note.gnu.build-id=/quiz/scratch/note "/quiz/out/symbols/$extra/$name"
done

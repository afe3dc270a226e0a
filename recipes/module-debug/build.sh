# Compiles the modules of a folder once more, with -g. That changes no instruction, so what is said about one of them is true of the other; and
# whether it is, is looked at.

cd tree
rm -f Module.symvers
# As in the recipe module, whose script says why. What stands in debug information for this folder is its own: all such folders are compiled at one
# place, and a debugger has to know where each lies. What says its file's name (WARN) says what it says in the guest.
place="-fdebug-prefix-map=$PWD=/quiz/module/$QUIZ_OPT_NAME"
# shellcheck disable=SC2016 # The variable is make's, and the kernel's Makefile knows it.
# shellcheck disable=SC2086 # One word, or none.
make -w --output-sync -C /quiz/in/devel M="$PWD" $QUIZ_KBUILD 'PAHOLE_VERSION=$(CONFIG_PAHOLE_VERSION)' \
    KCFLAGS="-g $place" KAFLAGS="-g $place" KRUSTFLAGS=-g modules

# plain FILE INTO: without what debug information adds, and without the build's id, which is a sum over all of the file.
plain() { objcopy --strip-debug --remove-section=.note.gnu.build-id "$1" "$2"; }

release="$(cat /quiz/in/devel/include/config/kernel.release)"
folder="lib/modules/$release/updates/$QUIZ_OPT_NAME"
mkdir -p "/quiz/out/symbols/$folder"
sed -e 's/\.o$/.ko/' modules.order >list
while read -r module; do
    name="${module##*/}"
    guests="/quiz/in/modules/$folder/$name"
    plain "$module" /quiz/scratch/ours
    plain "$guests" /quiz/scratch/theirs
    cmp -s /quiz/scratch/ours /quiz/scratch/theirs || {
        echo "error: $name with debug information is another one than that which the guest has" >&2
        exit 1
    }
    # A debugger finds what belongs to a module in memory by the build's id that it has there.
    rm -f /quiz/scratch/note
    objcopy -O binary --only-section=.note.gnu.build-id "$guests" /quiz/scratch/note
    cp "$module" "/quiz/out/symbols/$folder/"
    [ ! -s /quiz/scratch/note ] ||
        objcopy --update-section .note.gnu.build-id=/quiz/scratch/note "/quiz/out/symbols/$folder/$name"
done <list
rm list

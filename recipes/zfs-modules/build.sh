# Builds OpenZFS's modules in their tree. The guest gets them without debug info; what gdb wants goes to `symbols`.

cd tree
. /quiz/in/make
make_modules

release="$(cat /quiz/in/devel/include/config/kernel.release)"
modules="/quiz/out/modules/lib/modules/$release/extra"
symbols="/quiz/out/symbols/lib/modules/$release/extra"
mkdir -p "$modules" "$symbols"
for module in $(list_modules); do
    name="${module##*/}"
    objcopy --strip-debug "$module" "$modules/$name"
    objcopy --only-keep-debug "$module" "$symbols/$name.debug"
done

perl /quiz/in/commands /quiz/in/devel module >/quiz/out/compile-commands

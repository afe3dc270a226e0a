# Has Kbuild compile the folder, and lists for the guest what it made, in Kbuild's order.

cd tree
# With it modpost runs each time: a x.mod.c that somebody's own make wrote for another kernel does not stay.
rm -f Module.symvers
# Complete messages with the folder they speak of, one target's at a time. Linux 7 warns when another pahole is there than when it was configured;
# but without a vmlinux no module gets BTF, which alone would need it.
# shellcheck disable=SC2016 # The variable is make's, and the kernel's Makefile knows it.
# shellcheck disable=SC2086 # One word, or none.
make -w --output-sync -C /quiz/in/devel M="$PWD" $QUIZ_KBUILD 'PAHOLE_VERSION=$(CONFIG_PAHOLE_VERSION)' modules

release="$(cat /quiz/in/devel/include/config/kernel.release)"
# depmod takes what lies here before a module of the kernel's own of that name.
modules="/quiz/out/modules/lib/modules/$release/updates/$QUIZ_OPT_NAME"
mkdir -p "$modules"
# As Kbuild lists them, not as they lie there: an earlier build may have left others. Newer kernels name the objects.
sed -e 's/\.o$/.ko/' modules.order >list
if ! [ -s list ]; then
    echo "error: Kbuild made no module: no obj-m in the Kbuild or Makefile names one"
    exit 1
fi
while read -r module; do
    name="${module##*/}"
    objcopy --strip-debug "$module" "$modules/$name"
    echo "${name%.ko}" >>"$modules/order"
done <list
rm list

perl /quiz/in/commands /quiz/in/devel . >/quiz/out/compile-commands

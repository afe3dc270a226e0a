# Takes apart what the distribution compiled. Its drivers are modules, and so it starts from an initrd: the agent with those that the way to
# the first layer needs, and those of the shares, which would otherwise be looked for in the root that they bring.

package=/quiz/in/package
release="$(ls "$package/usr/lib/modules")"
case "$release" in
*[!A-Za-z0-9.+~_-]* | '')
    echo "error: the package should have the modules of one kernel, and has: $release" >&2
    exit 1
    ;;
esac
cd "$package/usr/lib/modules/$release"
# From Linux 7.2 on Debian has them beside the modules.
config=config vmlinuz=vmlinuz
[ -e config ] || config="$package/boot/config-$release" vmlinuz="$package/boot/vmlinuz-$release"

file_option="${QUIZ_OPT_CONFIG_FILE:-}"
[ -z "$file_option" ] || {
    echo 'error: kernel.config-file is for a kernel that is compiled here, and this one is a package: kernel.source = ""' >&2
    exit 1
}
perl /quiz/recipe/check.pl "$config" /quiz/options/lines

# What lies in folders of its own, and no others of drivers: the rest is for hardware. Newer kernels have more folders, older ones fewer.
of_machines() {
    find kernel -name '*.ko*' ! -path 'kernel/drivers/*' ! -path 'kernel/sound/*' ! -path 'kernel/net/bluetooth/*'
    cd kernel/drivers
    for folder in ata block char/hw_random crypto/virtio dax firmware/qemu_fw_cfg* md misc/pvpanic net/bonding net/ipvlan net/macvlan \
        net/team net/vxlan net/wireguard nvdimm nvme ptp scsi/device_handler target tty vdpa vhost virtio watchdog/softdog*; do
        [ ! -e "$folder" ] || find "$folder" -name '*.ko*'
    done
    find char net scsi -maxdepth 1 -name '*.ko*'
}
if [ -n "$QUIZ_OPT_HARDWARE" ]; then
    find kernel -name '*.ko*' >/quiz/scratch/modules
else
    (of_machines) >/quiz/scratch/found
    sed '/^kernel/!s|^|kernel/drivers/|' /quiz/scratch/found >/quiz/scratch/modules
fi
modules="/quiz/out/modules/lib/modules/$release"
mkdir -p "$modules" /quiz/out/image
cp modules.builtin* modules.order "$modules/"
# Not by a pipe, which would hide that the first of them failed.
tar -cf /quiz/scratch/modules.tar -T /quiz/scratch/modules
tar -C "$modules" -xf /quiz/scratch/modules.tar
rm /quiz/scratch/modules.tar

# In names of files `_` may be `-`.
pattern() { echo "/$(echo "$1" | sed 's/[-_]/[-_]/g')\.ko"; }
is_builtin() { grep -qE "$(pattern "$1")$" modules.builtin; }
find kernel -name '*.ko*' >/quiz/scratch/all
path_of() { grep -E "$(pattern "$1")(\.[a-z0-9]+)?$" /quiz/scratch/all | head -n 1; }
# load NAME...: writes down their files, each after those that it needs.
load() {
    for name; do
        ! is_builtin "$name" || continue
        path="$(path_of "$name")"
        [ -n "$path" ] || {
            echo "error: the package has no module $name, which the guest loads before it has a root" >&2
            exit 1
        }
        ! grep -qxF "$path" /quiz/scratch/order || continue
        # shellcheck disable=SC2046 # A list of names.
        (load $(modinfo -F depends "$path" | tr , ' '))
        echo "$path" >>/quiz/scratch/order
    done
}
: >/quiz/scratch/order
load virtio_pci virtio_blk virtio_console squashfs overlay
# Older kernels have no such device, and those for clouds no 9P: the machine is whole without, but for shares of the host.
for name in 9p 9pnet_virtio virtio_rng pvpanic_pci; do
    [ -z "$(path_of "$name")" ] || load "$name"
done

cp "$vmlinuz" /quiz/out/image/bzImage
# shellcheck disable=SC2046 # Paths of modules, without blanks.
perl /quiz/recipe/initrd.pl /quiz/in/agent/.quiz/agent $(cat /quiz/scratch/order) >/quiz/out/image/initrd
cp "$config" /quiz/out/config

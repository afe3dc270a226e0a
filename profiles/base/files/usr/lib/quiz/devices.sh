# What the hooks of profiles share that make block devices, or build on those of another profile.
#
# /run/quiz/devices names the devices that are there to be used, a line each. A hook that makes some adds them; one that
# stands on others (an error, a RAID, a pool) takes them and adds its own: so profiles stack in the order in which they run.

QUIZ_DEVICES=/run/quiz/devices
mkdir -p /run/quiz /run/udev/data /dev/block

# add_devices DEVICE...
add_devices() {
    printf '%s\n' "$@" >>$QUIZ_DEVICES
}

# take_devices: prints them; afterwards there are none.
take_devices() {
    [ -s $QUIZ_DEVICES ] || {
        echo "error: there is no block device to build on: turn on blockdev or memdev" >&2
        return 1
    }
    cat $QUIZ_DEVICES
    : >$QUIZ_DEVICES
}

# map_devices NAME TABLE: device-mapper's devices /dev/NAME0 and on, one over each device that is there. TABLE is called with
# that device, its sectors and the number, and prints dmsetup's table.
map_devices() {
    below=$(take_devices)
    # dmsetup would leave the nodes under /dev/mapper to udev.
    [ -e /run/udev/control ] || export DM_DISABLE_UDEV=1
    mapped=0
    for device in $below; do
        "$2" "$device" "$(blockdev --getsz "$device")" $mapped >/run/quiz/table
        dmsetup create "$1$mapped" /run/quiz/table
        for disk in /sys/block/dm-*; do
            read -r name <"$disk/dm/name"
            [ "$name" != "$1$mapped" ] || ln -sf "${disk##*/}" "/dev/$name"
        done
        add_devices "/dev/$1$mapped"
        mapped=$((mapped + 1))
    done
}

# link_device NAME DISK: /dev/NAME for /dev/DISK and, before they are there, for its partitions, since no udev does it then.
link_device() {
    read -r number <"/sys/block/$2/dev"
    case $2 in *[0-9]) between=p ;; *) between= ;; esac
    case $1 in *[0-9]) own=p ;; *) own= ;; esac
    ln -sf "$2" "/dev/$1"
    known_to_udev "$number" "$1"
    for part in 1 2 3 4 5 6 7 8 9; do
        ln -sf "$2$between$part" "/dev/$1$own$part"
    done
    case $2 in
    # These and their partitions get whatever number of one major is free: the disk's own link is one that is there.
    nvme* | md*)
        first=$((16 * ${1##*[!0-9]}))
        for minor in $(seq $first $((first + 15))); do
            known_to_udev "259:$minor" "$1"
        done
        ;;
    *)
        for part in 1 2 3 4 5 6 7 8 9; do
            known_to_udev "${number%:*}:$((${number#*:} + part))" "$1$own$part"
        done
        ;;
    esac
}

# known_to_udev MAJOR:MINOR LINK: libudev takes a device for ready when udev's database has a link to it, and zpool waits for
# that when it has made partitions. Where no udev runs, all devices are ready: the kernel made them.
known_to_udev() {
    [ ! -e /run/udev/control ] || return 0
    printf 'S:%s\nI:1\n' "$2" >"/run/udev/data/b$1"
}

# serial_of DISK: what it says of itself, however its bus tells.
serial_of() {
    if [ -s "/sys/block/$1/serial" ]; then
        cat "/sys/block/$1/serial"
    elif [ -s "/sys/block/$1/device/serial" ]; then
        sed 's/ *$//' "/sys/block/$1/device/serial"
    elif [ -s "/sys/block/$1/device/vpd_pg80" ]; then
        tail -c +5 "/sys/block/$1/device/vpd_pg80"
    fi
}

# link_disks NAME COUNT: /dev/NAME0 and on, by the disks' serial numbers. Some buses are looked at while programs already run.
link_disks() {
    linked=0 waited=0
    while :; do
        for disk in /sys/block/*; do
            disk=${disk##*/}
            serial=$(serial_of "$disk") 2>/dev/null || continue
            case $serial in
            "$1"[0-9]*) [ -e "/dev/$serial" ] || { link_device "$serial" "$disk" && linked=$((linked + 1)); } ;;
            esac
        done
        [ $linked -lt "$2" ] || break
        [ $waited -lt 100 ] || {
            echo "only $linked of $2 disks $1 appeared within 10 seconds" >&2
            return 1
        }
        waited=$((waited + 1))
        sleep 0.1
    done
    n=0
    while [ $n -lt "$2" ]; do
        add_devices "/dev/$1$n"
        n=$((n + 1))
    done
}

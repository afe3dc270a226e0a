//! The command line of qemu, word for word.

use super::super::guest::{Net, Share};
use super::*;
use std::path::PathBuf;

pub(crate) fn machine(accel: Accel) -> Machine {
    Machine {
        arch: Arch::X86_64,
        accel,
        start: Start::Cold,
        qemu: PathBuf::from("/usr/bin/qemu-system-x86_64").into(),
        memory: 2048,
        cpus: 2,
        nodes: 1,
        kernel: "/c/kernel/vmlinux".into(),
        initrd: None,
        hz: None,
        layers: vec!["/c/work".into(), "/c/a,b".into()],
        append: vec!["loglevel=8".into()],
        disks: vec![],
        net: None,
        channels: vec![],
        shares: vec![
            Share { tag: "shared".into(), path: "/w/.quiz/shared".into(), read_only: false, spare: false },
            Share { tag: "src".into(), path: "/w".into(), read_only: true, spare: true },
        ],
        pvpanic: true,
        rng: true,
        extra: vec!["-s".into()],
    }
}

const TCG: &str = "\
/usr/bin/qemu-system-x86_64 \\
  -nodefaults \\
  -no-user-config \\
  -display none \\
  -machine q35 \\
  -bios qboot.rom \\
  -accel tcg \\
  -cpu max,-avx,-avx2,-f16c,-fma,-vaes,-vpclmulqdq,-erms,-fsrm \\
  -smp 2 \\
  -m 2048 \\
  -no-reboot \\
  -action panic=none,shutdown=pause \\
  -chardev socket,id=qmp,fd=3 \\
  -qmp chardev:qmp \\
  -chardev socket,id=monitor,fd=11,server=on,wait=off \\
  -qmp chardev:monitor \\
  -chardev socket,id=console,fd=4 \\
  -serial chardev:console \\
  -device virtio-serial-pci \\
  -chardev socket,id=exec,fd=10 \\
  -device virtserialport,chardev=exec,name=quiz.exec \\
  -chardev socket,id=control,fd=5 \\
  -device virtserialport,chardev=control,name=quiz.control \\
  -chardev socket,id=stdin,fd=6 \\
  -device virtserialport,chardev=stdin,name=quiz.stdin \\
  -chardev socket,id=stdout,fd=7 \\
  -device virtserialport,chardev=stdout,name=quiz.stdout \\
  -chardev socket,id=stderr,fd=8 \\
  -device virtserialport,chardev=stderr,name=quiz.stderr \\
  -device pvpanic-pci \\
  -device virtio-rng-pci \\
  -blockdev driver=raw,node-name=layer0,read-only=on,file.driver=file,file.filename=/c/work \\
  -device virtio-blk-pci,drive=layer0,rerror=stop \\
  -blockdev driver=raw,node-name=layer1,read-only=on,file.driver=file,file.filename=/c/a,,b \\
  -device virtio-blk-pci,drive=layer1,rerror=stop \\
  -fsdev local,id=share0,path=/w/.quiz/shared,security_model=none,multidevs=remap \\
  -device virtio-9p-pci,fsdev=share0,mount_tag=shared,disable-legacy=on,vectors=0 \\
  -fsdev local,id=share1,path=/w,security_model=none,multidevs=remap,readonly=on \\
  -device virtio-9p-pci,fsdev=share1,mount_tag=src,disable-legacy=on,vectors=0 \\
  -kernel /c/kernel/vmlinux \\
  -append 'root=/dev/vda ro init=/.quiz/agent console=ttyS0 no_timer_check unknown_nmi_panic norandmaps oops=panic \
panic=-1 loglevel=8' \\
  -s";

#[test]
fn the_command_under_tcg() {
    assert_eq!(shell_line(&command(&machine(Accel::Tcg), &Fds::shown(&machine(Accel::Tcg)))), TCG);
}

#[test]
fn kvm_changes_the_accelerator_and_the_processor_only() {
    let wanted = TCG.replace("-accel tcg", "-accel kvm").replace(TCG_CPU, "host").replace(" norandmaps", "");
    assert_eq!(shell_line(&command(&machine(Accel::Kvm), &Fds::shown(&machine(Accel::Tcg)))), wanted);
}

#[test]
fn devices_can_be_left_out() {
    let small = Machine { pvpanic: false, rng: false, shares: vec![], extra: vec![], ..machine(Accel::Tcg) };
    let line = shell_line(&command(&small, &Fds::shown(&small)));
    assert!(!["pvpanic-pci", "rng", "9p"].iter().any(|word| line.contains(word)), "{line}");
}

#[test]
fn disks_a_network_and_channels_are_added_to_the_rest() {
    let disk = |n: usize, bus, format, persistent| {
        let (serial, path) = (format!("q{n}"), PathBuf::from(format!("/d/{n}")));
        Disk { serial, bus, path, format, size: 1 << 30, persistent, over: None }
    };
    let mut disks = vec![disk(0, Bus::Virtio, DiskFormat::Raw, true), disk(1, Bus::Nvme, DiskFormat::Qcow2, false)];
    disks.push(disk(2, Bus::Scsi, DiskFormat::Raw, false));
    disks.extend((3..9).map(|n| disk(n, Bus::Virtio, DiskFormat::Raw, false)));
    let net = Some(Net { forward: vec![(2222, 22)] });
    let full = Machine { disks, net, channels: vec!["ssh.0".into()], ..machine(Accel::Tcg) };
    let line = shell_line(&command(&full, &Fds::shown(&full)));
    for part in [
        "driver=raw,node-name=disk0,discard=unmap,file.driver=file,file.discard=unmap,file.filename=/d/0 \\\n  \
         -device virtio-blk-pci,drive=disk0,serial=q0,addr=0x10.0,multifunction=on,werror=stop,rerror=stop \\",
        "driver=qcow2,node-name=disk1,discard=unmap,cache.no-flush=on,file.driver=file",
        "-device nvme,drive=disk1,serial=q1,addr=0x10.1 \\",
        "-device virtio-scsi-pci,id=scsi \\",
        "-device scsi-hd,bus=scsi.0,drive=disk2,serial=q2,werror=stop,rerror=stop \\",
        "-device virtio-blk-pci,drive=disk8,serial=q8,addr=0x11.0,multifunction=on,werror=stop,rerror=stop \\",
        "-netdev user,id=net0,hostfwd=tcp:127.0.0.1:2222-:22 \\",
        "-chardev socket,id=ssh.0,fd=12,server=on,wait=off \\\n  -device virtserialport,chardev=ssh.0,name=quiz.ssh.0 \\",
    ] {
        assert!(line.contains(part), "no `{part}` in {line}");
    }
}

#[test]
fn a_saved_machine_writes_to_its_file_and_a_restored_one_does_not() {
    let line = |start| {
        let machine = Machine { start, ..machine(Accel::Tcg) };
        shell_line(&command(&machine, &Fds::shown(&machine)))
    };
    let file = "-object memory-backend-file,id=memory,size=2048M,mem-path=/proc/self/fd/9,share=";
    let save = line(Start::Save { base: None, full: Some("/s".into()) });
    assert!(save.contains(&format!("{file}on \\\n  -machine memory-backend=memory \\\n  -no-reboot")), "{save}");
    let grow = line(Start::Grow { base: "/b".into(), full: Some("/s".into()) });
    assert!(grow.contains(&format!("{file}on")) && grow.contains("-incoming defer"), "{grow}");
    let restore = line(Start::Restore("/s".into()));
    assert!(restore.contains(&format!("{file}off")) && restore.contains("-incoming defer"), "{restore}");
}

#[test]
fn memory_and_processors_are_spread_over_numa_nodes() {
    let line = |nodes, cpus, start| {
        let machine = Machine { nodes, cpus, start, memory: 1000, extra: vec![], ..machine(Accel::Tcg) };
        shell_line(&command(&machine, &Fds::shown(&machine)))
    };
    let two = line(2, 3, Start::Cold);
    for part in [
        "memory-backend-memfd,id=memory0,size=500M",
        "memory-backend-memfd,id=memory1,size=500M",
        "-numa node,nodeid=0,memdev=memory0,cpus=0-1",
        "-numa node,nodeid=1,memdev=memory1,cpus=2-2",
    ] {
        assert!(two.contains(part), "no `{part}` in {two}");
    }
    assert!(!two.contains("memory-backend=memory"), "{two}");
    let three = line(3, 1, Start::Restore("/s".into()));
    for part in [
        "id=memory0,size=334M,mem-path=/proc/self/fd/9,share=off",
        "id=memory2,size=333M,mem-path=/proc/self/fd/13,share=off",
        "nodeid=0,memdev=memory0,cpus=0-0 \\",
        "nodeid=2,memdev=memory2 \\",
    ] {
        assert!(three.contains(part), "no `{part}` in {three}");
    }
}

#[test]
fn an_emulated_machine_takes_single_pages_of_the_host_for_its_memory() {
    let line = |accel| {
        let machine = Machine { extra: vec![], ..machine(accel) };
        shell_line(&command(&machine, &Fds::shown(&machine)))
    };
    assert!(line(Accel::Tcg).contains("-object memory-backend-memfd,id=memory,size=2048M \\\n  -machine memory-"));
    assert!(!line(Accel::Kvm).contains("memfd"));
}

#[test]
fn words_are_quoted_for_a_shell() {
    assert_eq!(shell_line(&["a b".into(), "it's".into(), "".into()]), r"'a b' 'it'\''s' ''");
}

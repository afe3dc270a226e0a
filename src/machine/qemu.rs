//! The qemu command line, as a pure function of a [`Machine`] and the numbers of the inherited sockets.
//!
//! Starts nothing and opens nothing: `boot` does. Written for qemu 7.2 and newer. What is not obvious:
//!
//! - Sockets are numbers of inherited file descriptors (`socket,fd=`): no path and no port can collide or be left behind.
//! - qboot and `-kernel vmlinux` (PVH): no firmware menus, no decompression, and no initrd but for a kernel whose drivers are modules.
//! - All kernel messages go to the 16550 at ttyS0: it works before virtio does, during a panic, and takes BREAK for sysrq.
//!   19 KB of boot messages cost 25 ms under TCG, so a second, faster console is not worth its rules.
//! - `-action panic=none`: pvpanic's event comes before the kernel has flushed its last messages, so qemu must go on;
//!   the kernel then resets (`panic=-1`), which `-no-reboot` makes the end.
//! - `-qmp`: 11.1 warns of `-mon`, and what it wants instead is unknown to 7.2.
//! - Disks are functions of PCI devices from slot 0x10 on, eight in each: a slot for each would leave room for a dozen.
//! - The guest is told of ports in this order: an agent that has found its control port has heard of all channels, and of `exec`.
//! - A disk that is gone after the run need not reach the host's disk: `cache.no-flush`.
//! - No AVX under TCG, which does it one element at a time: without it OpenZFS loads and programs start in half the time.
//! - No ERMS and FSRM under TCG, which does `rep movsb` one byte at a time: without them kernel and C library copy words.
//! - `norandmaps` under TCG: qemu 7.2 keeps translated code by its address in the guest, so code of a shared library that
//!   lies elsewhere in each process is translated again in each. Without, a program of the guest starts in a fifth of the time.
//! - `no_timer_check`: on a busy host under TCG the kernel otherwise finds its timer broken and panics.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use super::guest::{Accel, Arch, Bus, Disk, DiskFormat, Machine, Start};
use crate::error::{Error, Result};
use crate::host;

/// Without AVX also without what needs it: qemu 7.2 shows AVX2 to programs that only look for that.
const TCG_CPU: &str = "max,-avx,-avx2,-f16c,-fma,-vaes,-vpclmulqdq,-erms,-fsrm";

/// Bytes of the kernel's command line with the NUL at its end (Linux: COMMAND_LINE_SIZE in arch/x86/include/asm/setup.h).
const COMMAND_LINE: usize = 2048;

/// The host's full or broken disk is not the guest's fault: it stands still then, and quiz ends it. NVMe knows no such thing: there the
/// guest sees an error.
const ON_ERROR: &str = ",werror=stop,rerror=stop";

/// Numbers of the sockets that qemu inherits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fds {
    /// qemu's own control channel.
    pub qmp: RawFd,
    /// The guest's ttyS0.
    pub console: RawFd,
    /// Frames to and from the agent.
    pub control: RawFd,
    /// Bytes to the program.
    pub stdin: RawFd,
    /// Bytes of the program.
    pub stdout: RawFd,
    /// Bytes of the program.
    pub stderr: RawFd,
    /// Frames of the programs that are started later.
    pub exec: RawFd,
    /// Listening ones, for [`Machine::channels`].
    pub channels: Vec<RawFd>,
    /// The file that is the guest's memory, of a machine that is saved or restored.
    pub memory: RawFd,
}

impl Fds {
    /// Numbers to show when nothing runs.
    pub fn shown(machine: &Machine) -> Self {
        let channels = (11..).take(machine.channels.len()).collect();
        Self { qmp: 3, console: 4, control: 5, stdin: 6, stdout: 7, stderr: 8, memory: 9, exec: 10, channels }
    }
}

/// The command that runs `machine`: the program, then its arguments.
pub fn command(machine: &Machine, fds: &Fds) -> Vec<OsString> {
    let mut command = machine.qemu.words();
    let mut add = |words: &[&str]| command.extend(words.iter().map(OsString::from));
    add(&["-nodefaults", "-no-user-config", "-display", "none"]);
    let (accel, cpu) = match machine.accel {
        Accel::Kvm => ("kvm", "host"),
        Accel::Tcg => ("tcg", TCG_CPU),
    };
    match machine.arch {
        Arch::X86_64 => add(&["-machine", "q35", "-bios", "qboot.rom"]),
    }
    add(&["-accel", accel, "-cpu", cpu, "-smp", &machine.cpus.to_string(), "-m", &machine.memory.to_string()]);
    memory(machine, fds, &mut add);
    add(&["-no-reboot", "-action", "panic=none"]);
    add(&["-chardev", &socket("qmp", fds.qmp), "-qmp", "chardev:qmp"]);
    add(&["-chardev", &socket("console", fds.console), "-serial", "chardev:console"]);
    add(&["-device", "virtio-serial-pci"]);
    for (name, fd) in machine.channels.iter().zip(&fds.channels) {
        let chardev = format!("{},server=on,wait=off", socket(name, *fd));
        add(&["-chardev", &chardev, "-device", &format!("virtserialport,chardev={name},name=quiz.{name}")]);
    }
    for (name, fd) in [
        ("exec", fds.exec),
        ("control", fds.control),
        ("stdin", fds.stdin),
        ("stdout", fds.stdout),
        ("stderr", fds.stderr),
    ] {
        add(&["-chardev", &socket(name, fd), "-device", &format!("virtserialport,chardev={name},name=quiz.{name}")]);
    }
    if machine.pvpanic {
        add(&["-device", "pvpanic-pci"]);
    }
    if machine.rng {
        add(&["-device", "virtio-rng-pci"]);
    }
    for (number, layer) in machine.layers.iter().enumerate() {
        let options = format!("driver=raw,node-name=layer{number},read-only=on,file.driver=file,file.filename=");
        command.extend(["-blockdev".into(), with_path(&options, layer, "")]);
        command.extend(["-device".into(), format!("virtio-blk-pci,drive=layer{number},rerror=stop").into()]);
    }
    disks(machine, &mut command);
    if let Some(net) = &machine.net {
        let forwards: String =
            net.forward.iter().map(|(host, guest)| format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}")).collect();
        command.extend(["-netdev".into(), format!("user,id=net0{forwards}").into()]);
        command.extend(["-device".into(), "virtio-net-pci,netdev=net0,romfile=".into()]);
    }
    for (number, share) in machine.shares.iter().enumerate() {
        let read_only = if share.read_only { ",readonly=on" } else { "" };
        let rest = format!(",security_model=none,multidevs=remap{read_only}");
        command.extend(["-fsdev".into(), with_path(&format!("local,id=share{number},path="), &share.path, &rest)]);
        let device = format!("virtio-9p-pci,fsdev=share{number},mount_tag={}", share.tag);
        command.extend(["-device".into(), device.into()]);
    }
    command.extend(["-kernel".into(), machine.kernel.clone().into_os_string()]);
    command.extend(machine.initrd.iter().flat_map(|initrd| ["-initrd".into(), initrd.clone().into_os_string()]));
    command.extend(["-append".into(), kernel_words(machine).join(" ").into()]);
    command.extend(machine.extra.iter().cloned());
    command
}

/// A file as memory is not copied when a machine is saved, and any number of machines start from one, each with what it writes
/// for itself. By its descriptor: what lies under the name may be another one by now. A machine that is not saved has such a file under
/// TCG, too: it takes single pages of the host, and large ones, which qemu asks for otherwise, cost an emulated boot more to
/// clear than they save.
fn memory(machine: &Machine, fds: &Fds, add: &mut impl FnMut(&[&str])) {
    let share = match machine.start {
        // Arguments that the user adds may set another size of memory, which a file of this size would not fit.
        Start::Cold if machine.accel == Accel::Tcg && machine.extra.is_empty() => {
            let file = format!("memory-backend-memfd,id=memory,size={}M", machine.memory);
            return add(&["-object", &file, "-machine", "memory-backend=memory"]);
        }
        Start::Cold => return,
        Start::Save { .. } | Start::Grow { full: Some(_), .. } => "on",
        Start::Grow { full: None, .. } | Start::Restore(_) => "off",
    };
    let (size, fd) = (machine.memory, fds.memory);
    let file = format!("memory-backend-file,id=memory,size={size}M,mem-path=/proc/self/fd/{fd},share={share}");
    add(&["-object", &file, "-machine", "memory-backend=memory"]);
    if machine.start.from().is_some() {
        add(&["-incoming", "defer"]);
    }
}

fn disks(machine: &Machine, command: &mut Vec<OsString>) {
    if machine.disks.iter().any(|disk| disk.bus == Bus::Scsi) {
        command.extend(["-device".into(), "virtio-scsi-pci,id=scsi".into()]);
    }
    for (number, disk) in machine.disks.iter().enumerate() {
        let Disk { serial, bus, path, format, size: _, persistent } = disk;
        let format = match format {
            DiskFormat::Raw => "raw",
            DiskFormat::Qcow2 => "qcow2",
        };
        let flush = if *persistent { "" } else { ",cache.no-flush=on" };
        let options = format!(
            "driver={format},node-name=disk{number},discard=unmap{flush},file.driver=file,file.discard=unmap,file.filename="
        );
        command.extend(["-blockdev".into(), with_path(&options, path, "")]);
        let more = if number % 8 == 0 { ",multifunction=on" } else { "" };
        let place = format!("addr={:#x}.{}{more}", 0x10 + number / 8, number % 8);
        let device = match bus {
            Bus::Virtio => format!("virtio-blk-pci,drive=disk{number},serial={serial},{place}{ON_ERROR}"),
            Bus::Nvme => format!("nvme,drive=disk{number},serial={serial},{place}"),
            Bus::Scsi => format!("scsi-hd,bus=scsi.0,drive=disk{number},serial={serial}{ON_ERROR}"),
        };
        command.extend(["-device".into(), device.into()]);
    }
}

/// Whether the guest's kernel takes its whole command line: what is too much it cuts off.
///
/// # Errors
/// It does not.
pub fn fits(machine: &Machine) -> Result<()> {
    // A run may add ` lpj=` and a number.
    let (length, most) = (kernel_words(machine).join(" ").len() + 25, COMMAND_LINE);
    if length < most {
        return Ok(());
    }
    Err(Error::input(format!(
        "the kernel's command line has {length} bytes, and the kernel takes {} at most",
        most - 1
    ))
    .hint("--append, machine.append and options of profiles are in it"))
}

fn kernel_words(machine: &Machine) -> Vec<String> {
    let mut words = vec!["root=/dev/vda".to_owned(), "ro".to_owned(), "init=/.quiz/agent".to_owned()];
    match machine.arch {
        Arch::X86_64 => words.extend(["console=ttyS0", "no_timer_check", "unknown_nmi_panic"].map(str::to_owned)),
    }
    if machine.accel == Accel::Tcg {
        words.push("norandmaps".to_owned());
    }
    words.extend(["oops=panic", "panic=-1"].map(str::to_owned));
    words.extend(machine.append.iter().cloned());
    words
}

fn socket(id: &str, fd: RawFd) -> String {
    format!("socket,id={id},fd={fd}")
}

/// qemu takes a comma in a value when it is doubled.
fn with_path(before: &str, path: &Path, after: &str) -> OsString {
    let mut bytes = before.as_bytes().to_vec();
    for &byte in path.as_os_str().as_bytes() {
        bytes.push(byte);
        if byte == b',' {
            bytes.push(byte);
        }
    }
    bytes.extend(after.as_bytes());
    OsString::from_vec(bytes)
}

/// The command as a line for a shell, with what has to be in its environment.
pub fn shown(machine: &Machine, fds: &Fds) -> String {
    let variable = machine.qemu.variable().map(|(name, value)| format!("{name}={} ", host::quoted(value.as_os_str())));
    variable.unwrap_or_default() + &shell_line(&command(machine, fds))
}

/// A command as a line for a shell, options and their values on lines of their own.
pub fn shell_line(command: &[OsString]) -> String {
    let mut line = String::new();
    for (number, word) in command.iter().enumerate() {
        if number > 0 {
            line += if word.as_bytes().starts_with(b"-") { " \\\n  " } else { " " };
        }
        line += &host::quoted(word);
    }
    line
}

#[cfg(test)]
pub(crate) mod tests {
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
            kernel: "/c/kernel/vmlinux".into(),
            initrd: None,
            hz: None,
            layers: vec!["/c/work".into(), "/c/a,b".into()],
            append: vec!["loglevel=8".into()],
            disks: vec![],
            net: None,
            channels: vec![],
            shares: vec![
                Share { tag: "shared".into(), path: "/w/.quiz/shared".into(), read_only: false },
                Share { tag: "src".into(), path: "/w".into(), read_only: true },
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
  -action panic=none \\
  -chardev socket,id=qmp,fd=3 \\
  -qmp chardev:qmp \\
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
  -device virtio-9p-pci,fsdev=share0,mount_tag=shared \\
  -fsdev local,id=share1,path=/w,security_model=none,multidevs=remap,readonly=on \\
  -device virtio-9p-pci,fsdev=share1,mount_tag=src \\
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
            Disk { serial, bus, path, format, size: 1 << 30, persistent }
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
            "-chardev socket,id=ssh.0,fd=11,server=on,wait=off \\\n  -device virtserialport,chardev=ssh.0,name=quiz.ssh.0 \\",
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
}

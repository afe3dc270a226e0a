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
//! - `shutdown=pause`: at that end the machine stands still, so that its memory can be read; quiz then tells qemu to go.
//! - `-qmp` and not `-mon`: qemu 11.1 warns of that, and 7.2 does not know what 11.1 wants in its place.
//! - Disks are functions of PCI devices from slot 0x10 on, eight in each: a slot for each would leave room for a dozen.
//! - The guest is told of ports in this order: an agent that has found its control port has heard of all channels, and of `exec`.
//! - Shares have no registers for old drivers and no interrupt vectors of their own: for each of these qemu lays out the guest's address space anew,
//!   which costs a restore 2 ms a share; a share is as fast without them.
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

/// The processor under TCG. Without AVX it has to be without all that needs AVX, too: qemu 7.2 shows AVX2 to programs that only look for that.
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
    /// A listening one for qemu's commands, where there can be one.
    pub monitor: Option<RawFd>,
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
    /// The files that are the guest's memory, one for each NUMA node, of a machine that is saved or restored.
    pub memory: Vec<RawFd>,
}

impl Fds {
    /// Numbers to show when nothing runs.
    pub fn shown(machine: &Machine) -> Self {
        let mut numbers = 12..;
        let channels = numbers.by_ref().take(machine.channels.len()).collect();
        let memory = std::iter::once(9).chain(numbers).zip(0..machine.nodes).map(|(fd, _)| fd).collect();
        Self {
            qmp: 3,
            console: 4,
            control: 5,
            stdin: 6,
            stdout: 7,
            stderr: 8,
            memory,
            exec: 10,
            monitor: Some(11),
            channels,
        }
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
    add(&["-no-reboot", "-action", "panic=none,shutdown=pause"]);
    add(&["-chardev", &socket("qmp", fds.qmp), "-qmp", "chardev:qmp"]);
    if let Some(fd) = fds.monitor {
        add(&["-chardev", &format!("{},server=on,wait=off", socket("monitor", fd)), "-qmp", "chardev:monitor"]);
    }
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
        let device = format!("virtio-9p-pci,fsdev=share{number},mount_tag={},disable-legacy=on,vectors=0", share.tag);
        command.extend(["-device".into(), device.into()]);
    }
    command.extend(["-kernel".into(), machine.kernel.clone().into_os_string()]);
    command.extend(machine.initrd.iter().flat_map(|initrd| ["-initrd".into(), initrd.clone().into_os_string()]));
    command.extend(["-append".into(), kernel_words(machine).join(" ").into()]);
    command.extend(machine.extra.iter().cloned());
    command
}

/// The guest's memory. A file as memory is not copied when a machine is saved, and any number of machines start from one, each with what it writes
/// for itself. By its descriptor: what lies under the name may be another one by now. A machine that is not saved has such a file under
/// TCG, too: it takes single pages of the host, and large ones, which qemu asks for otherwise, cost an emulated boot more to
/// clear than they save.
fn memory(machine: &Machine, fds: &Fds, add: &mut impl FnMut(&[&str])) {
    let is_numa = machine.nodes > 1;
    for (node, size) in machine.node_sizes().into_iter().enumerate() {
        let id = if is_numa { format!("memory{node}") } else { "memory".to_owned() };
        let share = match machine.start {
            // Arguments that the user adds may set another size of memory, which a file of this size would not fit.
            Start::Cold if machine.accel == Accel::Tcg && machine.extra.is_empty() => {
                add(&["-object", &format!("memory-backend-memfd,id={id},size={size}M")]);
                continue;
            }
            Start::Cold if is_numa => {
                add(&["-object", &format!("memory-backend-ram,id={id},size={size}M")]);
                continue;
            }
            Start::Cold => return,
            Start::Save { .. } | Start::Grow { full: Some(_), .. } | Start::Keep { .. } => "on",
            Start::Grow { full: None, .. } | Start::Restore(_) | Start::GoOn(_) => "off",
        };
        let fd = fds.memory.get(node).copied().unwrap_or(-1);
        let file = format!("memory-backend-file,id={id},size={size}M,mem-path=/proc/self/fd/{fd},share={share}");
        add(&["-object", &file]);
    }
    match is_numa {
        false => add(&["-machine", "memory-backend=memory"]),
        true => (0..machine.nodes).for_each(|node| add(&["-numa", &numa_node(machine, node)])),
    }
    if machine.start.from().is_some() {
        add(&["-incoming", "defer"]);
    }
}

/// The argument for a NUMA node. Each has neighbouring processors; some have none, where there are fewer processors than nodes.
fn numa_node(machine: &Machine, node: u32) -> String {
    let begins = |node: u32| (node * machine.cpus).div_ceil(machine.nodes);
    let cpus = match begins(node)..begins(node + 1) {
        none if none.is_empty() => String::new(),
        some => format!(",cpus={}-{}", some.start, some.end - 1),
    };
    format!("node,nodeid={node},memdev=memory{node}{cpus}")
}

fn disks(machine: &Machine, command: &mut Vec<OsString>) {
    if machine.disks.iter().any(|disk| disk.bus == Bus::Scsi) {
        command.extend(["-device".into(), "virtio-scsi-pci,id=scsi".into()]);
    }
    for (number, disk) in machine.disks.iter().enumerate() {
        let Disk { serial, bus, path, format, size: _, persistent, over: _ } = disk;
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
/// The command line is longer than the kernel takes.
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
pub(crate) mod tests;

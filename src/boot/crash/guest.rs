//! The machine of a guest that crashed, as data that can travel: without its kernel and layers, which are named by digest elsewhere, and without what
//! belongs to one host.
//!
//! What is read may be of somebody else's making: [`Guest::check`] comes before it is used. Runs nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::machine::{Accel, Arch, Disk, DiskFormat, Machine, Net, Qemu, Start};

/// The word of the kernel's command line with the key that an sshd in the guest lets in.
const KEY: &str = "quiz.ssh.key=";
/// The most MiB of memory, bytes of a disk, and disks and channels that a machine may have.
const MEMORY: u32 = 1 << 20;
const DISK: u64 = 1 << 50;
const DISKS: usize = 64;
const CHANNELS: usize = 24;

/// What a guest ran on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    /// The version of quiz.
    pub quiz: String,
    /// That of qemu, with its package's.
    pub qemu: String,
    /// `kvm` or `tcg`.
    pub accel: String,
    /// The machine went on from a snapshot, and did not boot.
    pub restored: bool,
}

impl Host {
    pub(super) fn of(machine: &Machine, qemu: &str) -> Self {
        let (accel, restored) = (machine.accel.name().to_owned(), machine.start.from().is_some());
        Self { quiz: env!("BUILT_AS").to_owned(), qemu: qemu.trim().to_owned(), accel, restored }
    }
}

/// A machine without its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guest {
    arch: Arch,
    /// Memory in MiB.
    pub memory: u32,
    cpus: u32,
    nodes: u32,
    /// The files in the folder of the kernel that are started.
    start: String,
    initrd: Option<String>,
    hz: Option<u32>,
    append: Vec<String>,
    /// Without paths.
    disks: Vec<Disk>,
    net: Option<Net>,
    channels: Vec<String>,
    pvpanic: bool,
    rng: bool,
    /// Arguments that were added to qemu's command. They are shown, and never used from here: they could do anything on a host.
    pub extra: Vec<String>,
}

impl Guest {
    /// Describes a machine that runs.
    pub(super) fn of(machine: &Machine) -> Self {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let disk = |disk: &Disk| Disk { path: PathBuf::new(), over: None, ..disk.clone() };
        Self {
            arch: machine.arch,
            memory: machine.memory,
            cpus: machine.cpus,
            nodes: machine.nodes,
            start: name(&machine.kernel),
            initrd: machine.initrd.as_deref().map(name),
            hz: machine.hz,
            append: machine.append.clone(),
            disks: machine.disks.iter().map(disk).collect(),
            net: machine.net.clone(),
            channels: machine.channels.clone(),
            pvpanic: machine.pvpanic,
            rng: machine.rng,
            extra: machine.extra.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        }
    }

    /// What another host may know of it: no key, no port, no path, no network.
    #[must_use]
    pub fn without_host(&self) -> Self {
        let append = self.append.iter().filter(|word| !word.starts_with(KEY)).cloned().collect();
        Self { append, net: None, extra: Vec::new(), ..self.clone() }
    }

    /// Whether it has a network card.
    #[must_use]
    pub fn has_net(&self) -> bool {
        self.net.is_some()
    }

    /// How many of its disks outlive a run: what lies on them is not in a crash.
    #[must_use]
    pub fn lasting_disks(&self) -> usize {
        self.disks.iter().filter(|disk| disk.persistent).count()
    }

    /// Checks that nothing in it means something else to qemu or to the host than it does in a machine that quiz itself made.
    ///
    /// # Errors
    /// What is odd, in words.
    pub fn check(&self) -> Result<(), String> {
        let is_word = |word: &str| {
            !word.is_empty() && word.len() <= 32 && word.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c))
        };
        let is_file = |name: &str| is_word(name) && !name.starts_with('.');
        // As quiz names channels: NAME.0, NAME.1, …; any other name could be that of another file in the folder of a run.
        let is_channel = |name: &str| {
            name.rsplit_once('.').is_some_and(|(name, number)| {
                is_file(name) && number.parse::<usize>().is_ok_and(|n| n < CHANNELS && n.to_string() == number)
            })
        };
        let odd = [
            (!(64..=MEMORY).contains(&self.memory), "its memory"),
            (!(1..=255).contains(&self.cpus), "its processors"),
            (!(1..=64).contains(&self.nodes) || self.memory / self.nodes.max(1) < 64, "its NUMA nodes"),
            (!is_file(&self.start), "its kernel's file"),
            (self.initrd.as_ref().is_some_and(|name| !is_file(name)), "its initrd's file"),
            (self.append.iter().any(|word| word.chars().any(char::is_control)), "its kernel's command line"),
            (self.disks.len() > DISKS, "its disks"),
            (self.channels.len() > CHANNELS, "its channels"),
        ];
        if let Some((_, what)) = odd.into_iter().find(|(is_odd, _)| *is_odd) {
            return Err(format!("{what}: not as in any machine that quiz makes"));
        }
        let serials = || self.disks.iter().map(|disk| &disk.serial);
        let odd = serials().find(|name| !is_file(name)).or_else(|| self.channels.iter().find(|name| !is_channel(name)));
        if let Some(name) = odd {
            return Err(format!("{name:?} is no valid name of a disk or channel"));
        }
        let mut seen = BTreeSet::new();
        let mut heard = BTreeSet::new();
        let twice = serials().find(|name| !seen.insert(*name));
        if let Some(name) = twice.or_else(|| self.channels.iter().find(|name| !heard.insert(*name))) {
            return Err(format!("two disks or channels are called {name:?}"));
        }
        let size = |disk: &&Disk| disk.size == 0 || disk.size > DISK || !disk.size.is_multiple_of(512);
        match self.disks.iter().find(size) {
            Some(disk) => Err(format!("the disk {} has an impossible size, {} bytes", disk.serial, disk.size)),
            None => Ok(()),
        }
    }

    /// Makes the machine, with the kernel in the folder `kernel`. It has no shares, and only the disks of [`Self::disks`].
    #[must_use]
    pub fn machine(&self, kernel: &Path, layers: Vec<PathBuf>, qemu: Qemu, accel: Accel) -> Machine {
        Machine {
            arch: self.arch,
            accel,
            start: Start::Cold,
            qemu,
            memory: self.memory,
            cpus: self.cpus,
            nodes: self.nodes,
            kernel: kernel.join(&self.start),
            initrd: self.initrd.as_ref().map(|name| kernel.join(name)),
            hz: self.hz,
            layers,
            append: self.append.clone(),
            disks: Vec::new(),
            net: self.net.clone(),
            channels: self.channels.clone(),
            shares: Vec::new(),
            pvpanic: self.pvpanic,
            rng: self.rng,
            extra: Vec::new(),
        }
    }

    /// The names of the kernel's files that it needs.
    pub fn kernel_files(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.start).chain(&self.initrd)
    }

    /// Its disks, empty, in the folder of a run.
    #[must_use]
    pub fn disks(&self, run: &Path) -> Vec<Disk> {
        let new = |disk: &Disk| {
            let format: DiskFormat = disk.format;
            let path = run.join("disks").join(format!("{}.{}", disk.serial, format.name()));
            Disk { path, persistent: false, over: None, ..disk.clone() }
        };
        self.disks.iter().map(new).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Bus;
    use crate::machine::qemu::tests::machine;

    fn guest() -> Guest {
        let disk = Disk {
            serial: "quizm0".to_owned(),
            bus: Bus::Virtio,
            path: "/home/me/disk".into(),
            format: DiskFormat::Raw,
            size: 1 << 20,
            persistent: true,
            over: None,
        };
        Guest::of(&Machine {
            memory: 256,
            kernel: "/home/me/kernel/vmlinux".into(),
            append: vec!["quiet".to_owned(), "quiz.ssh.key=AAAA".to_owned()],
            disks: vec![disk],
            net: Some(Net { forward: vec![(2222, 22)] }),
            channels: vec!["ssh.0".to_owned()],
            extra: vec!["-s".into()],
            ..machine(Accel::Tcg)
        })
    }

    #[test]
    fn what_travels_names_no_path_no_port_and_no_key() {
        let text = serde_json::to_string(&guest().without_host()).unwrap();
        for word in ["/home", "2222", "AAAA", "-s\""] {
            assert!(!text.contains(word), "{word}: {text}");
        }
        let again: Guest = serde_json::from_str(&text).unwrap();
        again.check().unwrap();
        let disks = again.disks(Path::new("/run"));
        assert_eq!((disks[0].path.to_str(), disks[0].persistent), (Some("/run/disks/quizm0.raw"), false));
        assert_eq!((guest().has_net(), again.has_net(), again.lasting_disks()), (true, false, 1));
    }

    #[test]
    fn what_would_mean_something_else_to_qemu_is_refused() {
        guest().check().unwrap();
        let wrong = |change: &dyn Fn(&mut Guest)| {
            let mut guest = guest();
            change(&mut guest);
            guest.check().unwrap_err()
        };
        assert_eq!(
            wrong(&|guest| guest.start = "../x".to_owned()),
            "its kernel's file: not as in any machine that quiz makes"
        );
        assert_eq!(
            wrong(&|guest| guest.disks[0].serial = "a,drive=x".to_owned()),
            "\"a,drive=x\" is no valid name of a disk or channel"
        );
        let all: [&dyn Fn(&mut Guest); 9] = [
            &|guest| guest.initrd = Some("/etc/passwd".to_owned()),
            &|guest| guest.channels[0] = "x,path=/y".to_owned(),
            &|guest| guest.memory = u32::MAX,
            &|guest| guest.cpus = 0,
            &|guest| guest.nodes = 0,
            &|guest| guest.append.push("a\nb".to_owned()),
            &|guest| guest.disks[0].size = u64::MAX,
            &|guest| guest.disks = vec![guest.disks[0].clone(); 65],
            &|guest| guest.channels = (0..25).map(|n| format!("a.{n}")).collect(),
        ];
        all.into_iter().for_each(|change| drop(wrong(change)));
    }

    #[test]
    fn a_channel_is_no_other_file_of_a_run_and_no_name_is_there_twice() {
        let checked = |channels: &[&str], disks: usize| {
            let channels = channels.iter().map(|name| (*name).to_owned()).collect();
            let guest = guest();
            Guest { channels, disks: vec![guest.disks[0].clone(); disks], ..guest }.check()
        };
        checked(&["ssh.0", "ssh.1", "a.b.0"], 1).unwrap();
        for name in ["lock", "exec", "result.json", "ssh", "ssh.", ".0", "ssh.00", "ssh.+1", "ssh.24", "..0", "ssh.0.x"]
        {
            let words = format!("{name:?} is no valid name of a disk or channel");
            assert_eq!(checked(&[name], 1), Err(words), "{name}");
        }
        assert_eq!(checked(&["a.0", "a.0"], 1), Err("two disks or channels are called \"a.0\"".to_owned()));
        assert_eq!(checked(&[], 2), Err("two disks or channels are called \"quizm0\"".to_owned()));
    }
}

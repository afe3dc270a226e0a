//! KVM or TCG: `/dev/kvm` that opens is no proof that KVM works.
//!
//! KVM is tried when the device opens and the processor says `vmx` or `svm`; `boot` falls back to TCG when such a machine
//! shows no sign of life, and remembers that here, in a small file. The verdict holds for an hour, at most until the host boots again
//! or qemu changes. Starts nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::guest::Accel;
use crate::error::{Result, cannot};

/// What to use, and why not KVM when it looked as if it were there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What to use.
    pub accel: Accel,
    /// A line for the user.
    pub why_not_kvm: Option<String>,
}

/// How long it is remembered that KVM does not work: what kept it from working may be over then.
const HOLDS: Duration = Duration::from_secs(3600);

/// What qemu says when the host is only busy: EBUSY (another hypervisor has the processor), EINTR, EAGAIN, ENOMEM, EMFILE and ENFILE.
const PASSING: [&str; 5] = [
    "Device or resource busy",
    "Interrupted system call",
    "Resource temporarily unavailable",
    "Cannot allocate memory",
    "Too many open files",
];

/// What qemu says where KVM makes no machine at all: `kvm_init` and `kvm_init_vcpu` of its accel/kvm/kvm-all.c.
const NO_MACHINE: [&str; 4] =
    ["failed to initialize kvm", "Could not access KVM", "ioctl(KVM_CREATE_VM)", "kvm_init_vcpu"];

/// What else qemu says of KVM; the word KVM alone may be a part of qemu's own name, `qemu-kvm`, or of a path.
const OF_KVM: [&str; 5] = ["ioctl(KVM_", "KVM internal error", "KVM stopped", "kvm run failed", "kvm_"];

/// Whether qemu, which ended with these words, was given no machine at all.
pub(crate) fn gives_no_machine(words: &str) -> bool {
    NO_MACHINE.iter().any(|none| words.contains(none))
}

/// Whether qemu, which ended with these words, has something against KVM.
pub(crate) fn is_of_kvm(words: &str) -> bool {
    gives_no_machine(words) || OF_KVM.iter().any(|name| words.contains(name))
}

/// Whether KVM may work in the next moment, although qemu ended with these words.
pub(crate) fn is_passing(words: &str) -> bool {
    PASSING.iter().any(|passing| words.contains(passing))
}

/// What is remembered of KVM: whether a machine under it showed a sign of life, which is the only proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Verdict {
    /// The host's boot id: another boot may have another module loaded.
    boot: String,
    /// Path and time stamp of qemu.
    qemu: String,
    /// Why KVM does not work; nothing when it does.
    broken: Option<String>,
    /// When that was found out, in seconds since 1970.
    at: u64,
}

/// Chooses for the program `qemu`. `memory` is the file in which verdicts are remembered.
pub fn choose(qemu: &Path, memory: Option<&Path>) -> Choice {
    choose_from(Path::new("/dev/kvm"), &fs::read_to_string("/proc/cpuinfo").unwrap_or_default(), qemu, memory)
}

fn choose_from(device: &Path, cpuinfo: &str, qemu: &Path, memory: Option<&Path>) -> Choice {
    let tcg = |why_not_kvm| Choice { accel: Accel::Tcg, why_not_kvm };
    if let Err(error) = fs::File::options().read(true).write(true).open(device) {
        let there = error.kind() != std::io::ErrorKind::NotFound;
        return tcg(there.then(|| format!("cannot open {}: {error}", device.display())));
    }
    if !can_virtualise(cpuinfo) {
        return tcg(Some(format!("{} is there, but the processor has neither vmx nor svm", device.display())));
    }
    match memory.and_then(|memory| broken(memory, qemu)) {
        Some(why) => tcg(Some(why)),
        None => Choice { accel: Accel::Kvm, why_not_kvm: None },
    }
}

fn can_virtualise(cpuinfo: &str) -> bool {
    has_flag(cpuinfo, "vmx") || has_flag(cpuinfo, "svm")
}

fn has_flag(cpuinfo: &str, name: &str) -> bool {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    flags.split_whitespace().any(|flag| flag == name)
}

/// What somebody has to do who wants KVM here; nothing when the device opens and the processor can do it.
pub fn advice() -> Option<&'static str> {
    advise(Path::new("/dev/kvm"), &fs::read_to_string("/proc/cpuinfo").unwrap_or_default())
}

fn advise(device: &Path, cpuinfo: &str) -> Option<&'static str> {
    if !can_virtualise(cpuinfo) {
        return Some(if has_flag(cpuinfo, "hypervisor") {
            "this machine is itself a guest: its host has to switch nested virtualization on"
        } else {
            "switch virtualization (VT-x, AMD-V) on in the firmware"
        });
    }
    match fs::File::options().read(true).write(true).open(device).err()?.kind() {
        std::io::ErrorKind::PermissionDenied => Some("sudo usermod -aG kvm $USER, and log in again"),
        std::io::ErrorKind::NotFound => {
            Some(if has_flag(cpuinfo, "vmx") { "sudo modprobe kvm_intel" } else { "sudo modprobe kvm_amd" })
        }
        _ => None,
    }
}

/// Why KVM does not work with `qemu`, as far as that is remembered.
pub(crate) fn broken(memory: &Path, qemu: &Path) -> Option<String> {
    recall(memory, qemu)?.broken
}

fn recall(memory: &Path, qemu: &Path) -> Option<Verdict> {
    let verdict: Verdict = toml::from_str(&fs::read_to_string(memory).ok()?).ok()?;
    let now = verdict_of(qemu, None);
    // A verdict from the future, as the clock was set back, is not fresh.
    let fresh = (verdict.at..verdict.at.saturating_add(HOLDS.as_secs())).contains(&now.at);
    (verdict.boot == now.boot && verdict.qemu == now.qemu && (fresh || verdict.broken.is_none())).then_some(verdict)
}

/// Writes down that KVM works with `qemu`, or why it does not.
///
/// # Errors
/// When the file cannot be written. Harmless: the next run finds out again.
pub fn remember(memory: &Path, qemu: &Path, broken: Option<String>) -> Result<()> {
    let verdict = verdict_of(qemu, broken);
    if recall(memory, qemu).is_some_and(|known| known.broken == verdict.broken) {
        return Ok(());
    }
    let text = toml::to_string(&verdict).unwrap_or_default();
    let folder = memory.parent().unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(folder)?;
        let file = tempfile::NamedTempFile::new_in(folder)?;
        fs::write(file.path(), text)?;
        file.persist(memory)?;
        Ok(())
    };
    write().map_err(|e| cannot("write", memory, e))
}

/// Forgets what was found out: the next machine is tried under KVM, if that opens.
///
/// # Errors
/// When the file is there and cannot be removed.
pub fn forget(memory: &Path) -> Result<()> {
    match fs::remove_file(memory) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(cannot("remove", memory, e)),
        _ => Ok(()),
    }
}

fn verdict_of(qemu: &Path, broken: Option<String>) -> Verdict {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
    let stamp = fs::metadata(qemu).map(|m| format!("{}.{:09}", m.mtime(), m.mtime_nsec())).unwrap_or_default();
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Verdict { boot, qemu: format!("{} {stamp}", qemu.display()), broken, at }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "processor\t: 0\nflags\t\t: fpu svm\n";

    #[test]
    fn without_a_device_tcg_needs_no_excuse() {
        let choice = choose_from(Path::new("/nowhere/kvm"), GOOD, Path::new("/q"), None);
        assert_eq!(choice, Choice { accel: Accel::Tcg, why_not_kvm: None });
    }

    #[test]
    fn a_device_without_the_processor_flag_is_a_trap() {
        let device = tempfile::NamedTempFile::new().unwrap();
        let choice = choose_from(device.path(), "flags : fpu vmxnet\n", Path::new("/q"), None);
        assert_eq!(choice.accel, Accel::Tcg);
        assert!(choice.why_not_kvm.unwrap().contains("neither vmx nor svm"));
        assert_eq!(choose_from(device.path(), GOOD, Path::new("/q"), None).accel, Accel::Kvm);
    }

    #[test]
    fn a_device_that_may_not_be_opened_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let choice = choose_from(folder.path(), GOOD, Path::new("/q"), None);
        assert!(choice.why_not_kvm.unwrap().starts_with("cannot open"));
    }

    #[test]
    fn what_is_missing_for_kvm_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let (none, there) = (folder.path().join("none"), folder.path().join("kvm"));
        fs::write(&there, "").unwrap();
        let said = |device: &Path, flags: &str| advise(device, &format!("flags : fpu {flags}\n")).unwrap_or("nothing");
        assert_eq!(said(&there, "svm"), "nothing");
        assert_eq!(said(&none, "svm"), "sudo modprobe kvm_amd");
        assert_eq!(said(&none, "vmx hypervisor"), "sudo modprobe kvm_intel");
        assert!(said(&there, "hypervisor").contains("nested"));
        assert!(said(&none, "").contains("firmware"));
        assert_eq!(said(folder.path(), "svm"), "nothing", "a folder, of all things");
    }

    #[test]
    fn a_verdict_holds_for_an_hour_or_until_qemu_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (device, qemu, memory) =
            (folder.path().join("kvm"), folder.path().join("qemu"), folder.path().join("m/kvm"));
        fs::write(&device, "").unwrap();
        fs::write(&qemu, "").unwrap();
        remember(&memory, &qemu, Some("it did not start".into())).unwrap();
        let choice = choose_from(&device, GOOD, &qemu, Some(&memory));
        assert_eq!(choice, Choice { accel: Accel::Tcg, why_not_kvm: Some("it did not start".into()) });
        let mut old: Verdict = toml::from_str(&fs::read_to_string(&memory).unwrap()).unwrap();
        for (at, accel) in [(old.at - 3500, Accel::Tcg), (old.at - 3700, Accel::Kvm), (old.at + 100, Accel::Kvm)] {
            old.at = at;
            fs::write(&memory, toml::to_string(&old).unwrap()).unwrap();
            assert_eq!(choose_from(&device, GOOD, &qemu, Some(&memory)).accel, accel);
        }
        fs::remove_file(&memory).unwrap();
        remember(&memory, &qemu, Some("it did not start".into())).unwrap();
        fs::File::open(&qemu).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(choose_from(&device, GOOD, &qemu, Some(&memory)).accel, Accel::Kvm);
        remember(&memory, &qemu, None).unwrap();
        assert_eq!(choose_from(&device, GOOD, &qemu, Some(&memory)).accel, Accel::Kvm);
    }
}

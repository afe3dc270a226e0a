//! Results that the cache remembers: of a group that ran to its own end, under all that it could see.
//!
//! | value | enters the key as |
//! |---|---|
//! | the machine: image, devices, kernel words, qemu, processor, the agent's protocol | the key that its snapshot would have |
//! | the program, what it reads on stdin, the folder in which it starts | themselves |
//! | how many equal lines come before it | a number: who wants to run it twice wants to know both ends |
//! | `/shared` | digest of its files; the guest cannot write there |
//! | the time limit | not at all: who reached it is not remembered |
//! | the run's folder, which of several machines it was | not at all |
//!
//! What the kernel may complain about is not in the key: what was allowed is remembered with the result, and has to be allowed still.
//!
//! Nothing is remembered when more can have a part in it: with the user's own arguments for qemu, a network, disks that stay, or
//! other folders of the host.

use quiz_cache::{Cache, Digest, Key, KeyEncoder};
use std::path::Path;

use super::group::{Group, GroupEnd, Verdict};
use crate::boot::{Allowed, HOME};
use crate::error::{Error, Result};
use crate::machine::{Level, Machine};
use crate::snapshot;

const NAME: &str = "test result";

/// The key of what `group` comes to in `machine`; nothing when that depends on more than can be told. `shared`: the files that the
/// guest sees as `/shared`; nothing where it sees more of the host. The program starts in `dir` of the guest.
pub(super) fn key(
    cache: &Cache,
    machine: &Machine,
    group: &Group,
    (shared, dir): (Option<&Digest>, &Path),
) -> Option<Key> {
    let shared = shared?;
    if !machine.extra.is_empty() || machine.net.is_some() || machine.disks.iter().any(|disk| disk.persistent) {
        return None;
    }
    // Only if qemu cannot be read there is no key of the machine, and then it does not run either.
    let (machine, _) = snapshot::key(cache, machine, Level::Full).ok()?;
    let mut encoder = KeyEncoder::new("quiz test result 3");
    encoder.text("machine", &machine.to_string()).digest("shared", shared);
    encoder.list("program", &group.program).text("input", &group.input);
    // The usual folder is not in the key. For long there was no other, and what was remembered then still counts.
    if dir != Path::new(HOME) {
        encoder.text("dir", dir.to_str()?);
    }
    encoder.number("again", u64::try_from(group.again).unwrap_or(u64::MAX));
    Some(encoder.finish().0)
}

/// What is remembered under the key. A damaged result counts as not there, and so does one that only passed because the kernel was allowed to say
/// what is not allowed any more.
pub(super) fn recall(cache: &Cache, key: &Key, allowed: &[Allowed]) -> Result<Option<GroupEnd>> {
    let bytes =
        cache.memo(NAME, key).map_err(|e| Error::build("cannot read results of tests from the cache").because(e))?;
    let ended = bytes.and_then(|bytes| serde_json::from_slice::<GroupEnd>(&bytes).ok());
    let is_allowed = |was: &Allowed| allowed.iter().any(|now| now.text == was.text);
    let ended = ended.filter(|ended| ended.allowed.iter().all(is_allowed));
    Ok(ended.map(|ended| GroupEnd { cached: true, ..ended }))
}

/// Remembers what came to its own end, and in which the kernel did not complain.
pub(super) fn remember(cache: &Cache, key: &Key, ended: &GroupEnd) -> Result<()> {
    if !ended.complete || ended.count(Verdict::Warn) > 0 {
        return Ok(());
    }
    let failed = || Error::build("cannot store results of tests in the cache");
    let bytes = serde_json::to_vec(ended).map_err(|e| failed().because(e))?;
    cache.set_memo(NAME, key, &bytes).map_err(|e| failed().because(e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Accel, Arch, Bus, Disk, DiskFormat, Net, Start};
    use std::time::Duration;

    fn cache() -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("cache")).unwrap();
        (dir, cache)
    }

    fn disk(persistent: bool) -> Disk {
        let (bus, format) = (Bus::Virtio, DiskFormat::Raw);
        Disk { serial: "d".into(), bus, path: "p".into(), format, size: 1 << 30, persistent, over: None }
    }

    fn machine() -> Machine {
        Machine {
            arch: Arch::X86_64,
            accel: Accel::Tcg,
            start: Start::Cold,
            qemu: std::path::PathBuf::from("/bin/true").into(),
            memory: 1024,
            cpus: 2,
            nodes: 1,
            kernel: "/k".into(),
            initrd: None,
            hz: None,
            layers: vec!["/l".into()],
            append: vec!["a=1".into()],
            disks: vec![disk(false)],
            net: None,
            channels: vec![],
            shares: vec![],
            pvpanic: true,
            rng: true,
            extra: vec![],
        }
    }

    #[test]
    fn what_a_group_can_see_is_in_the_key_and_how_it_is_watched_is_not() {
        let (_dir, cache) = cache();
        let key = |machine: &Machine, group: &Group, shared: &Digest| {
            key(&cache, machine, group, (Some(shared), Path::new(HOME)))
        };
        let shared = Digest::of(b"");
        let group = &Group::of_lines("true\n")[0];
        let base = key(&machine(), group, &shared).unwrap();
        let watched = Group { folder: "7".into(), limit: Some(Duration::ZERO), ..group.clone() };
        let mut elsewhere = machine();
        elsewhere.disks[0].path = "/another/run".into();
        assert_eq!(key(&elsewhere, &watched, &shared), Some(base));
        let others = [
            key(&Machine { kernel: "/other".into(), ..machine() }, group, &shared),
            key(&Machine { layers: vec!["/other".into()], ..machine() }, group, &shared),
            key(&Machine { memory: 512, ..machine() }, group, &shared),
            key(&Machine { append: vec![], ..machine() }, group, &shared),
            key(&Machine { disks: vec![], ..machine() }, group, &shared),
            key(&machine(), &Group::of_lines("false\n")[0], &shared),
            key(&machine(), &Group { again: 1, ..group.clone() }, &shared),
            key(&machine(), &Group { input: "x".into(), ..group.clone() }, &shared),
            key(&machine(), group, &Digest::of(b"other")),
        ];
        assert!(others.iter().all(|other| other.is_some_and(|other| other != base)));
        for open in [
            Machine { extra: vec!["-s".into()], ..machine() },
            Machine { net: Some(Net { forward: vec![] }), ..machine() },
            Machine { disks: vec![disk(true)], ..machine() },
        ] {
            assert_eq!(key(&open, group, &shared), None);
        }
        let elsewhere = super::key(&cache, &machine(), group, (Some(&shared), Path::new("/shared")));
        assert!(elsewhere.is_some_and(|elsewhere| elsewhere != base));
        assert_eq!(super::key(&cache, &machine(), group, (None, Path::new(HOME))), None);
    }

    #[test]
    fn only_what_is_complete_is_remembered_and_no_complaint() {
        let (_dir, cache) = cache();
        let key =
            key(&cache, &machine(), &Group::of_lines("true\n")[0], (Some(&Digest::of(b"")), Path::new(HOME))).unwrap();
        let ended = GroupEnd {
            name: "true".into(),
            folder: "1".into(),
            tests: vec![],
            took: Duration::from_secs(2),
            complete: false,
            cached: false,
            allowed: vec![Allowed { text: "db_mtx".into(), reason: "known".into() }],
        };
        let recall = |allowed: &[Allowed]| recall(&cache, &key, allowed).unwrap();
        let allowed = [Allowed { text: "db_mtx".into(), reason: "in other words".into() }];
        remember(&cache, &key, &ended).unwrap();
        assert_eq!(recall(&allowed), None);
        let test = super::super::judge::unexpected("true", Verdict::Warn);
        remember(&cache, &key, &GroupEnd { complete: true, tests: vec![test], ..ended.clone() }).unwrap();
        assert_eq!(recall(&allowed), None);
        let ended = GroupEnd { complete: true, ..ended };
        remember(&cache, &key, &ended).unwrap();
        assert_eq!(recall(&[]), None, "that may not be said any more");
        assert_eq!(recall(&allowed), Some(GroupEnd { cached: true, ..ended }));
    }
}

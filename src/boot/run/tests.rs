//! Runs against `fake-qemu.sh`: what no unit of this room shows alone. No guest, no qemu.

mod kvm;

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::sync::Mutex;

use super::*;
use crate::boot::exec::{Ended, exec};
use crate::boot::folder::Retention;
use crate::error::Error;
use crate::machine::qemu::tests::machine;

/// What a run against the fake gave.
struct Played {
    result: Result<Outcome>,
    stdout: String,
    stderr: String,
    events: Vec<Event>,
    folder: RunFolder,
}

impl Played {
    fn kernel_lines(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::Kernel { .. })).count()
    }

    fn accelerators(&self) -> Vec<&str> {
        let booting = self.events.iter().filter_map(|event| match event {
            Event::Booting { accelerator, .. } => Some(accelerator.as_str()),
            _ => None,
        });
        booting.collect()
    }
}

fn play(base: &Path, accel: Accel, what: &str) -> Played {
    play_from(base, accel, what, Start::Cold, &|_, _| panic!("nothing is saved"))
}

fn play_from(base: &Path, accel: Accel, what: &str, start: Start, saved: &dyn Fn(Level, Saved)) -> Played {
    let options = Options { verdicts: Some(base.join("kvm")), ..Options::default() };
    play_in(RunFolder::create(base, Retention::ALL).unwrap(), &options, accel, what, start, saved)
}

fn play_in(
    folder: RunFolder,
    options: &Options,
    accel: Accel,
    what: &str,
    start: Start,
    saved: &dyn Fn(Level, Saved),
) -> Played {
    play_before(folder, options, accel, what, start, saved, &|_| {})
}

/// As `play_from`; `sees` is called with each event as it comes.
fn play_before(
    folder: RunFolder,
    options: &Options,
    accel: Accel,
    what: &str,
    start: Start,
    saved: &dyn Fn(Level, Saved),
    sees: &(dyn Fn(&Event) + Sync),
) -> Played {
    let fake = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/boot/fake-qemu.sh");
    // A word behind the play is an argument of the user's for qemu.
    let (what, argument) = what.split_once(' ').unwrap_or((what, ""));
    let extra = if argument.is_empty() { Vec::new() } else { vec![argument.into()] };
    let machine = Machine { qemu: fake.into(), append: vec![format!("fake={what}")], extra, start, ..machine(accel) };
    let request = Request::of("true");
    let (mut stdout, mut stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    let streams = Streams {
        stdin: fs::File::open("/dev/null").unwrap().into(),
        stdout: stdout.try_clone().unwrap().into(),
        stderr: stderr.try_clone().unwrap().into(),
    };
    let events = Mutex::new(Vec::new());
    let send = |event| {
        sees(&event);
        events.lock().unwrap().push(event);
    };
    let all = Run { request: &request, folder: &folder, options, streams: &streams, events: &send };
    let result = run(&machine, &all, saved).and_then(|ran| match ran {
        Ran::Ended(outcome) => Ok(outcome),
        Ran::NotRestored { why, no_kvm: false } => Err(Error::boot(format!("not restored: {why}"))),
        Ran::NotRestored { why, no_kvm: true } => Err(Error::boot(format!("no KVM to restore it: {why}"))),
    });
    let text = |file: &mut fs::File| {
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    };
    let (stdout, stderr) = (text(&mut stdout), text(&mut stderr));
    Played { result, stdout, stderr, events: events.into_inner().unwrap(), folder }
}

fn play_tcg(what: &str) -> Played {
    play(tempfile::tempdir().unwrap().path(), Accel::Tcg, what)
}

#[test]
fn an_emulated_guest_is_told_how_fast_its_processors_count_unless_it_knows() {
    let told = |machine: Machine| timed(&Machine { hz: Some(250), ..machine }).append;
    let [first, rest @ ..] = &told(machine(Accel::Tcg))[..] else { panic!("no word") };
    // Before the user's own words, which win.
    assert_eq!(rest, machine(Accel::Tcg).append);
    let loops: u64 = first.strip_prefix("lpj=").unwrap().parse().unwrap();
    assert!((400_000..40_000_000).contains(&loops), "a processor of 0.1 to 10 GHz: {loops}");
    for knows in [
        machine(Accel::Kvm),
        Machine { cpus: 1, ..machine(Accel::Tcg) },
        Machine { append: vec!["notsc".into()], ..machine(Accel::Tcg) },
        Machine { start: Start::Restore("/s".into()), ..machine(Accel::Tcg) },
    ] {
        assert_eq!(told(knows.clone()), knows.append);
    }
    assert_eq!(timed(&machine(Accel::Tcg)).append, machine(Accel::Tcg).append);
}

#[test]
fn the_programs_status_and_bytes_come_back() {
    let played = play_tcg("program");
    assert_eq!(played.result.unwrap(), Outcome::Exited(7));
    assert_eq!((played.stdout.as_str(), played.stderr.as_str()), ("out", "error"));
}

#[test]
fn what_the_kernel_complains_about_is_said_though_the_program_ended_well() {
    let played = play_tcg("complaint");
    assert_eq!(played.result.unwrap(), Outcome::Exited(0));
    let log = played.folder.console_log().display().to_string();
    let words = "WARNING: possible circular locking dependency detected".to_owned();
    assert!(played.events.contains(&Event::Complained { words, log }), "{:?}", played.events);
}

#[test]
fn a_log_that_cannot_be_written_is_a_warning_or_the_hosts_failure_where_it_is_part_of_the_result() {
    let play = |whole_log| {
        let base = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(base.path(), Retention::ALL).unwrap();
        std::os::unix::fs::symlink("/dev/full", folder.console_log()).unwrap();
        let options = Options { whole_log, ..Options::default() };
        play_in(folder, &options, Accel::Tcg, "complaint", Start::Cold, &|_, _| {})
    };
    let warned = play(false);
    let is_warning =
        |event: &Event| matches!(event, Event::Warning { message } if message.contains("console.log: No space"));
    assert!(warned.events.iter().any(is_warning), "{:?}", warned.events);
    assert!(warned.events.iter().any(|event| matches!(event, Event::Complained { .. })), "it is heard all the same");
    assert_eq!(warned.result.unwrap(), Outcome::Exited(0));
    let outcome = play(true).result.unwrap();
    assert_eq!(outcome.status(), 125);
    assert!(outcome.to_string().ends_with("the program itself ended with status 0"), "{outcome}");
}

#[test]
fn a_kernel_that_gives_up_behind_the_program_is_no_success_where_the_log_is_part_of_the_result() {
    let play = |whole_log| {
        let base = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(base.path(), Retention::ALL).unwrap();
        let options = Options { whole_log, ..Options::default() };
        play_in(folder, &options, Accel::Tcg, "late-panic", Start::Cold, &|_, _| {}).result.unwrap()
    };
    assert_eq!(play(false), Outcome::Exited(0));
    assert_eq!(play(true), Outcome::Complained { words: "VERIFY3(a == b) failed".to_owned(), program: 0 });
}

#[test]
fn a_status_without_all_bytes_is_none() {
    let played = play_tcg("short");
    let outcome = played.result.unwrap();
    assert_eq!((outcome.status(), played.stdout.as_str()), (125, "out"));
    assert!(outcome.to_string().ends_with("the program itself ended with status 0"), "{outcome}");
}

#[test]
fn who_wants_a_program_started_in_a_machine_that_is_gone_hears_so() {
    let base = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(base.path(), Retention::ALL).unwrap();
    let path = folder.path().to_owned();
    let ask = |path: &Path| {
        let (path, (answer, answered)) = (path.to_owned(), std::sync::mpsc::channel());
        let null = |write| File::options().read(true).write(write).open("/dev/null").unwrap().into();
        let streams = Streams { stdin: null(false), stdout: null(true), stderr: null(true) };
        std::thread::spawn(move || answer.send(exec(&path, Request::of("true"), &streams).map_err(|e| e.to_string())));
        answered
    };
    let early = Mutex::new(None);
    let sees = |event: &Event| {
        if matches!(event, Event::Booting { .. }) {
            *early.lock().unwrap() = Some(ask(&path));
        }
    };
    let played = play_before(folder, &Options::default(), Accel::Tcg, "poweroff", Start::Cold, &|_, _| {}, &sees);
    assert_eq!(played.result.unwrap().status(), 122);
    let early = early.into_inner().unwrap().unwrap().recv_timeout(Duration::from_secs(20));
    // On a busy host it came too late.
    let is_late = |error: &String| error.contains("the machine of run 1 is over");
    assert!(
        early.as_ref().is_ok_and(|early| matches!(early, Ok(Ended::Lost)) || early.as_ref().is_err_and(is_late)),
        "{early:?}"
    );
    // The run goes on, as while it packs a memory.
    let late = ask(&path).recv_timeout(Duration::from_secs(20)).expect("an answer");
    assert!(late.as_ref().is_err_and(|e| e.contains("the machine of run 1 is over")), "{late:?}");
    drop(played.folder);
    let after = ask(&path).recv_timeout(Duration::from_secs(20)).expect("an answer");
    assert!(after.as_ref().is_err_and(|e| e.contains("run 1 is over") && !e.contains("machine")), "{after:?}");
}

#[test]
fn a_guest_that_powers_off_is_a_lost_machine() {
    let outcome = play_tcg("poweroff").result.unwrap();
    assert_eq!(outcome.status(), 122);
    assert!(outcome.to_string().contains("powered off"), "{outcome}");
}

#[test]
fn a_panic_shows_the_programs_bytes_and_the_kernels_lines() {
    let played = play_tcg("panic");
    assert_eq!((played.kernel_lines(), played.stdout.as_str()), (2, "before"));
    let outcome = played.result.unwrap();
    assert_eq!(outcome.status(), 123);
    assert!(outcome.to_string().contains("BUG: unable to handle page fault"), "{outcome}");
}

#[test]
fn a_guest_that_cannot_start_the_program_is_an_error() {
    assert!(play_tcg("hook").result.unwrap_err().to_string().ends_with("hook"));
    let refused = play_tcg("refuse").result.unwrap_err();
    assert_eq!(refused.details(), ["qemu: bad option"]);
}

#[test]
fn a_machine_is_saved_on_its_way_and_restored_without_a_kernel() {
    // Whichever way its qemu moves the state, and whatever it warns of.
    for (what, transport) in [("snapshot", "fd"), ("snapshot-by-file", "file"), ("snapshot-with-warnings", "fd")] {
        saved_and_restored(what, transport);
    }
}

fn saved_and_restored(what: &str, transport: &str) {
    let (base, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let saved = Mutex::new(Vec::new());
    let tell = |_, result| saved.lock().unwrap().push(result);
    let first = play_from(
        base.path(),
        Accel::Tcg,
        what,
        Start::Save { base: None, full: Some(place.path().to_owned()) },
        &tell,
    );
    assert_eq!(first.result.unwrap(), Outcome::Exited(7));
    assert_eq!(*saved.lock().unwrap(), [Saved::Done]);
    let size = |name: &str| fs::metadata(place.path().join(name)).unwrap().len();
    assert_eq!((size("memory"), size("state")), (2048 << 20, 0));
    assert_eq!(fs::read_to_string(place.path().join("transport")).unwrap(), transport);
    let mut memory = [0; 6];
    File::open(place.path().join("memory")).unwrap().read_exact(&mut memory).unwrap();
    assert_eq!(&memory, b"saved\0", "what the guest remembered while it stood still");
    let again = play_from(base.path(), Accel::Tcg, what, Start::Restore(place.path().to_owned()), &tell);
    assert_eq!(again.result.unwrap(), Outcome::Exited(7));
    let log = fs::read_to_string(again.folder.console_log()).unwrap();
    assert_eq!(log, "[ 1.0] booted\n", "what the kernel said when it booted");
    assert_eq!(saved.lock().unwrap().len(), 1);
}

#[test]
fn a_panic_in_a_hook_is_the_result_of_a_machine_that_goes_on_from_a_base() {
    let (runs, base) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let start = Start::Save { base: Some(base.path().to_owned()), full: None };
    let first = play_from(runs.path(), Accel::Tcg, "snapshot", start, &|_, saved| assert_eq!(saved, Saved::Done));
    assert_eq!(first.result.unwrap(), Outcome::Exited(7));
    let start = || Start::Grow { base: base.path().to_owned(), full: None };
    let panics = play_from(runs.path(), Accel::Tcg, "hook-panics", start(), &|_, _| {}).result.unwrap();
    assert!(matches!(&panics, Outcome::Panicked { words, .. } if words == "VERIFY3(a == b) failed"), "{panics:?}");
    let fails = play_from(runs.path(), Accel::Tcg, "hook", start(), &|_, _| {}).result.unwrap_err();
    assert!(fails.to_string().ends_with("could not start the program: hook"), "{fails}");
    let goes_on = play_from(runs.path(), Accel::Tcg, "snapshot", start(), &|_, _| {}).result.unwrap();
    assert_eq!(goes_on, Outcome::Exited(7));
}

#[test]
fn a_machine_that_cannot_be_saved_goes_on() {
    for (what, wanted) in [("unsaved", Saved::Failed("a device".into())), ("vetoed", Saved::Never("hook".into()))] {
        let (base, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let saved = Mutex::new(Vec::new());
        let start = Start::Save { base: None, full: Some(place.path().to_owned()) };
        let played = play_from(base.path(), Accel::Tcg, what, start, &|_, result| saved.lock().unwrap().push(result));
        assert_eq!(played.result.unwrap(), Outcome::Exited(7), "{what}");
        assert_eq!(*saved.lock().unwrap(), [wanted], "{what}");
    }
}

#[test]
fn a_qemu_that_can_save_nothing_is_not_told_to() {
    let [runs, base, full] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let saved = Mutex::new(Vec::new());
    let start = Start::Save { base: Some(base.path().to_owned()), full: Some(full.path().to_owned()) };
    let tell = |level, result| saved.lock().unwrap().push((level, result));
    let played = play_from(runs.path(), Accel::Tcg, "unable", start, &tell);
    assert_eq!(played.result.unwrap(), Outcome::Exited(7));
    let failed = || Saved::Failed("a capability".to_owned());
    assert_eq!(*saved.lock().unwrap(), [(Level::Base, failed()), (Level::Full, failed())]);
    assert!(!full.path().join("state").exists());
}

#[test]
fn a_snapshot_that_qemu_refuses_is_no_error_of_the_run() {
    let (base, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let start = || Start::Restore(place.path().to_owned());
    let missing = play_from(base.path(), Accel::Tcg, "refuse", start(), &|_, _| {}).result.unwrap_err();
    assert!(missing.to_string().starts_with("not restored: cannot copy"), "{missing}");
    for name in ["memory", "state", "console.log"] {
        fs::write(place.path().join(name), "").unwrap();
    }
    let unsaid = play_from(base.path(), Accel::Tcg, "refuse", start(), &|_, _| {}).result.unwrap_err();
    assert!(unsaid.to_string().starts_with("not restored: "), "{unsaid}");
    fs::write(place.path().join("transport"), "fd").unwrap();
    let refused = play_from(base.path(), Accel::Tcg, "refuse", start(), &|_, _| {}).result.unwrap_err();
    assert_eq!(refused.to_string(), "not restored: qemu: bad option");
    // A warning is not the reason.
    let silent = play_from(base.path(), Accel::Tcg, "silent", start(), &|_, _| {}).result.unwrap_err();
    assert_eq!(silent.to_string(), "not restored: the machine showed no sign of life");
}

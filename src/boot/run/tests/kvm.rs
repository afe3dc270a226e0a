//! KVM that does not work, not at once, or not to its end.

use super::*;

#[test]
fn kvm_that_does_not_work_is_tcg_in_the_same_run_and_remembered() {
    let base = tempfile::tempdir().unwrap();
    let played = play(base.path(), Accel::Kvm, "program");
    assert_eq!(played.accelerators(), ["kvm", "tcg"]);
    assert_eq!(played.result.unwrap(), Outcome::Exited(7));
    let verdict = fs::read_to_string(base.path().join("kvm")).unwrap();
    assert!(verdict.contains("failed to initialize kvm: No such device"), "{verdict}");
    assert!(fs::read_to_string(played.folder.command()).unwrap().contains("-accel tcg"));
}

#[test]
fn kvm_that_gives_no_byte_is_tcg_and_a_slow_guest_is_not() {
    let base = tempfile::tempdir().unwrap();
    let play = |what: &str| {
        let (verdicts, life_within) = (Some(base.path().join("kvm")), Duration::from_millis(400));
        let options = Options { verdicts, life_within, ..Options::default() };
        let folder = RunFolder::create(base.path(), Retention::ALL).unwrap();
        play_in(folder, &options, Accel::Kvm, what, Start::Cold, &|_, _| panic!("nothing is saved"))
    };
    let slow = play("kvm-slow");
    assert_eq!(slow.accelerators(), ["kvm"]);
    assert_eq!(slow.result.unwrap(), Outcome::Exited(7));
    let silent = play("kvm-silent");
    assert_eq!(silent.accelerators(), ["kvm", "tcg"]);
    assert_eq!(silent.result.unwrap(), Outcome::Exited(7));
    let verdict = fs::read_to_string(base.path().join("kvm")).unwrap();
    assert!(verdict.contains("no sign of life"), "{verdict}");
}

#[test]
fn a_busy_host_is_asked_once_more_and_condemns_nothing() {
    let base = tempfile::tempdir().unwrap();
    let verdict = || fs::read_to_string(base.path().join("kvm")).unwrap_or_default();
    let once = format!("kvm-busy-once:{}", base.path().join("tried").display());
    let played = play(base.path(), Accel::Kvm, &once);
    assert_eq!(played.accelerators(), ["kvm", "kvm"]);
    assert_eq!(played.result.unwrap(), Outcome::Exited(7));
    assert!(!verdict().contains("broken"), "{}", verdict());
    let played = play(base.path(), Accel::Kvm, "kvm-interrupted");
    assert_eq!(played.accelerators(), ["kvm", "kvm", "tcg"]);
    assert_eq!(played.result.unwrap(), Outcome::Exited(7));
    assert!(!verdict().contains("broken"), "{}", verdict());
}

#[test]
fn with_an_argument_of_the_users_kvm_is_not_condemned() {
    let base = tempfile::tempdir().unwrap();
    let played = play(base.path(), Accel::Kvm, "program -device,none");
    assert_eq!(played.accelerators(), ["kvm"]);
    let error = played.result.unwrap_err();
    assert_eq!(error.details(), ["failed to initialize kvm: No such device"]);
    assert!(!base.path().join("kvm").exists());
    assert_eq!(play(base.path(), Accel::Kvm, "kvm-works -s").result.unwrap(), Outcome::Exited(7));
}

#[test]
fn a_machine_that_never_lived_does_not_prove_anything_about_kvm() {
    let base = tempfile::tempdir().unwrap();
    let played = play(base.path(), Accel::Kvm, "refuse");
    assert!(played.result.is_err());
    assert!(!base.path().join("kvm").exists());
}

/// A folder with a machine that was saved under KVM.
fn saved() -> tempfile::TempDir {
    let (runs, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let start = Start::Save { base: None, full: Some(place.path().to_owned()) };
    let played = play_from(runs.path(), Accel::Kvm, "kvm-works", start, &|_, saved| assert_eq!(saved, Saved::Done));
    assert_eq!(played.result.unwrap(), Outcome::Exited(7));
    place
}

#[test]
fn a_busy_host_is_asked_once_more_for_a_machine_that_is_restored_too() {
    let (base, place) = (tempfile::tempdir().unwrap(), saved());
    let start = || Start::Restore(place.path().to_owned());
    let once = format!("kvm-busy-once:{}", base.path().join("tried").display());
    let played = play_from(base.path(), Accel::Kvm, &once, start(), &|_, _| {});
    assert_eq!(played.accelerators(), ["kvm", "kvm"]);
    assert_eq!(played.result.unwrap(), Outcome::Exited(7));
}

#[test]
fn a_snapshot_is_not_to_blame_where_kvm_gives_no_machine() {
    let (base, place) = (tempfile::tempdir().unwrap(), saved());
    for (what, words) in [("kvm-interrupted", "Interrupted system call"), ("program", "failed to initialize kvm")] {
        let played = play_from(base.path(), Accel::Kvm, what, Start::Restore(place.path().to_owned()), &|_, _| {});
        let error = played.result.unwrap_err().to_string();
        assert!(error.starts_with("no KVM to restore it: ") && error.contains(words), "{error}");
    }
}

#[test]
fn nobody_waits_for_what_a_machine_without_kvm_does_not_save() {
    let [runs, base, full] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let start = || Start::Save { base: Some(base.path().to_owned()), full: Some(full.path().to_owned()) };
    let play = |verdicts: &Path| {
        let folder = RunFolder::create(runs.path(), Retention::ALL).unwrap();
        let (command, told) = (folder.command(), Mutex::new(Vec::new()));
        let tell = |level, saved| {
            // No other machine has been started meanwhile.
            assert!(!fs::read_to_string(&command).unwrap_or_default().contains("-accel tcg"));
            told.lock().unwrap().push((level, saved));
        };
        let options = Options { verdicts: Some(verdicts.to_owned()), ..Options::default() };
        // As soon as the machine under TCG is ready, others know.
        let sees = |event: &Event| {
            if matches!(event, Event::Ready { .. }) {
                assert!(verdicts.exists());
            }
        };
        let played = play_before(folder, &options, Accel::Kvm, "program", start(), &tell, &sees);
        (played, told.into_inner().unwrap())
    };
    let why = || Saved::Failed("KVM does not work: failed to initialize kvm: No such device".to_owned());
    let verdicts = runs.path().join("kvm");
    // The second one waited for the first, and does not try what that has found out.
    for accelerators in [&["kvm", "tcg"][..], &["tcg"]] {
        let (played, told) = play(&verdicts);
        assert_eq!(played.accelerators(), accelerators);
        assert_eq!(played.result.unwrap(), Outcome::Exited(7));
        assert_eq!(told, [(Level::Base, why()), (Level::Full, why())]);
    }
}

#[test]
fn a_qemu_that_somebody_kills_condemns_nothing() {
    let base = tempfile::tempdir().unwrap();
    let played = play(base.path(), Accel::Kvm, "kvm-killed");
    assert_eq!(played.accelerators(), ["kvm", "tcg"]);
    assert_eq!(played.result.unwrap(), Outcome::Exited(7));
    assert!(!base.path().join("kvm").exists());
}

#[test]
fn an_error_of_kvms_while_the_kernel_boots_starts_the_machine_over() {
    for (what, words) in [("kvm-internal-early", "internal error"), ("kvm-aborts", "kvm_buf_set_msrs: Assertion")] {
        let base = tempfile::tempdir().unwrap();
        let played = play(base.path(), Accel::Kvm, what);
        assert_eq!(played.accelerators(), ["kvm", "tcg"], "{what}");
        assert_eq!(played.result.unwrap(), Outcome::Exited(7), "{what}");
        let verdict = fs::read_to_string(base.path().join("kvm")).unwrap();
        assert!(verdict.contains(words), "{verdict}");
    }
}

#[test]
fn what_is_no_fault_of_kvms_condemns_nothing() {
    // Whatever qemu is called and where it lies, though its kernel, which has spoken, was slow; and a host without memory, which says so before
    // the processor's registers.
    for what in ["kvm-device-aborts", "kvm-no-memory"] {
        let base = tempfile::tempdir().unwrap();
        let life_within = Duration::from_secs(1);
        let options = Options { verdicts: Some(base.path().join("kvm")), life_within, ..Options::default() };
        let folder = RunFolder::create(base.path(), Retention::ALL).unwrap();
        let played = play_in(folder, &options, Accel::Kvm, what, Start::Cold, &|_, _| {});
        assert_eq!(played.accelerators().last(), Some(&"tcg"), "{what}");
        assert_eq!(played.result.unwrap(), Outcome::Exited(7), "{what}");
        assert!(!base.path().join("kvm").exists(), "{what}");
    }
}

#[test]
fn where_kvm_is_demanded_nothing_runs_under_emulation() {
    let base = tempfile::tempdir().unwrap();
    let verdicts = base.path().join("kvm");
    let play = |what: &str| {
        let life_within = Duration::from_millis(400);
        let options = Options { verdicts: Some(verdicts.clone()), only_kvm: true, life_within, ..Options::default() };
        let folder = RunFolder::create(base.path(), Retention::ALL).unwrap();
        play_in(folder, &options, Accel::Kvm, what, Start::Cold, &|_, _| panic!("nothing is saved"))
    };
    for (what, why) in
        [("program", "failed to initialize kvm: No such device"), ("kvm-silent", "the machine showed no sign of life")]
    {
        let played = play(what);
        assert_eq!(played.accelerators(), ["kvm"], "{what}");
        let error = played.result.unwrap_err();
        assert!(error.details().iter().any(|line| line.contains(why)), "{what}: {:?}", error.details());
        assert!(error.hints().iter().any(|hint| hint.contains("--accel auto")), "{what}: {:?}", error.hints());
        assert!(!verdicts.exists(), "{what}");
    }
    // One whose kernel spoke ends as a machine that broke: with its last words.
    let played = play("kvm-internal-early");
    assert_eq!(played.accelerators(), ["kvm"]);
    assert!(matches!(played.result.unwrap(), Outcome::Host { reason, .. } if reason.contains("internal error")));
    // What others found out is asked by nobody, and a machine that lives proves the contrary.
    let tcg = play_from(base.path(), Accel::Kvm, "program", Start::Cold, &|_, _| {});
    assert_eq!((tcg.accelerators().len(), verdicts.exists()), (2, true));
    let played = play("kvm-works");
    assert_eq!(played.accelerators(), ["kvm"]);
    assert_eq!(played.result.unwrap(), Outcome::Exited(7));
    assert!(!fs::read_to_string(&verdicts).unwrap().contains("broken"));
}

//! What is left of a guest that crashed: in machines that booted and in those that were restored, and of one that goes on.

use super::Real;
use super::reach::{Running, eventually};
use crate::project::Ran;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// Looks into a dump as a reader of such files does: by what the guest's kernel says of its own layout.
struct Core {
    file: std::fs::File,
    /// Where the guest's first byte lies in it.
    begin: u64,
    vmcoreinfo: String,
}

impl Core {
    fn open(path: &Path) -> Self {
        let file = std::fs::File::open(path).unwrap();
        let number = |at: u64, bytes: usize| {
            let mut number = [0; 8];
            file.read_exact_at(&mut number[..bytes], at).unwrap();
            u64::from_le_bytes(number)
        };
        // The first program header is that of the notes.
        let (at, size) = (number(64 + 8, 8), number(64 + 32, 8));
        let mut notes = vec![0; usize::try_from(size).unwrap()];
        file.read_exact_at(&mut notes, at).unwrap();
        let begin = number(64 + 56 + 8, 8);
        assert!(at + size <= begin, "the notes are a part of the head");
        let text = String::from_utf8_lossy(&notes);
        let vmcoreinfo = text.split_once("VMCOREINFO\0\0").unwrap().1.to_owned();
        Self { file, begin, vmcoreinfo }
    }

    fn says(&self, name: &str) -> &str {
        let line = self.vmcoreinfo.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.vmcoreinfo)).trim_end_matches('\0')
    }

    /// What the kernel's variable `init_uts_ns` has as the system's name, found by its address.
    fn system(&self) -> String {
        let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let (address, base) = (hex(self.says("SYMBOL(init_uts_ns)=")), self.says("NUMBER(phys_base)="));
        let base: i64 = base.parse().unwrap();
        let physical = address.wrapping_sub(0xffff_ffff_8000_0000).wrapping_add_signed(base);
        let name: u64 = self.says("OFFSET(uts_namespace.name)=").parse().unwrap();
        let mut bytes = [0; 5];
        self.file.read_exact_at(&mut bytes, self.begin + physical + name).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The newest crash, whose memory is that of a kernel of this release.
fn looked_at(real: &Real, run: &str, release: &str, cause: &str) -> serde_json::Value {
    let ran = real.run(&["--json", "crash", "show"]);
    let crash: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let said = (&crash["run"], &crash["release"], &crash["cause"], &crash["cut"]);
    assert_eq!(said, (&run.into(), &release.into(), &cause.into(), &serde_json::Value::Null), "{crash}");
    let path = Path::new(crash["memory"].as_str().unwrap());
    let core = Core::open(path);
    assert_eq!((core.says("OSRELEASE="), core.system().as_str()), (release, "Linux"));
    let meta = path.metadata().unwrap();
    let used = crash["used"].as_u64().unwrap();
    assert!(meta.size() > 1 << 30 && used > 20 << 20 && meta.blocks() * 512 < used + (8 << 20), "{meta:?} {used}");
    assert_eq!(path.parent().unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    crash
}

/// The kernel has no word left to say then, and the machine starts again; so it does where a program wants it, which is no crash.
#[test]
fn a_triple_fault_is_122_and_leaves_the_memory_and_a_restart_that_is_wanted_does_not() {
    let real = Real::new();
    let release = real.sh("uname -r").out.trim().to_owned();
    super::die::share(&real, &super::die::build_module(&real, &[]));
    for (run, how) in [("2", "--no-snapshot"), ("3", "--no-input")] {
        let ran = real.run(&["up", how, "--", "insmod", "/shared/t.ko", "what=triple-fault"]);
        assert_eq!(ran.status, Some(122), "{ran:?}");
        ran.says(&["the guest reset itself before the program ended", "Dumped"]);
        let crash = looked_at(&real, run, &release, "lost");
        assert!(crash["title"].as_str().unwrap().contains("the guest reset itself"), "{crash}");
    }
    // reboot(2), with LINUX_REBOOT_CMD_RESTART.
    let reboot = "perl -e 'syscall(169, 0xfee1dead, 672274793, 0x01234567, 0)'";
    for how in ["echo b >/proc/sysrq-trigger", reboot] {
        let ran = real.sh(&format!("{how}; sleep 60"));
        assert_eq!((ran.status, ran.count("Dump")), (Some(122), 0), "{how}: {ran:?}");
    }
}

#[test]
fn the_memory_of_a_guest_that_crashed_is_kept_with_what_was_wrong() {
    let real = Real::new();
    let release = real.sh("uname -r").out.trim().to_owned();
    let mut signatures = Vec::new();
    for (run, how) in [("2", "--no-snapshot"), ("3", "--no-input")] {
        let ran = real.run(&["up", how, "--", "sh", "-c", "echo out; sleep 1; echo c >/proc/sysrq-trigger; sleep 60"]);
        assert_eq!((ran.status, ran.out.as_str()), (Some(123), "out\n"), "{ran:?}");
        ran.says(&["Dumping the guest's memory: ", " (status 12", "Dumped", "/crash (quiz crash show)"]);
        let crash = looked_at(&real, run, &release, "panic");
        let pinned = std::fs::read_to_string(real.run_folder().join("sources.lock")).unwrap();
        assert!(pinned.contains("[[pin]]"), "{pinned}");
        assert!(crash["title"].as_str().unwrap().contains("sysrq triggered crash"), "{crash}");
        assert_eq!(crash["functions"][0], "sysrq_handle_crash", "{crash}");
        let again = crash["again"].as_str().unwrap();
        assert!(again.starts_with("cd ") && again.contains(&format!("quiz up {how} -- sh -c ")), "{again}");
        signatures.push(crash["signature"].clone());
    }
    assert_eq!(signatures[0], signatures[1]);
    let table = real.run(&["crash", "ls"]).out;
    assert!(table.starts_with("RUN  AGO") && table.lines().count() == 3 && table.contains(&release), "{table}");
    real.run(&["crash", "show"]).says(&[]);
    assert!(real.run(&["crash", "show"]).out.contains("also in run 2"));
    real.run(&["crash", "rm", "2"]);
    assert_eq!(real.run(&["crash", "show", "2"]).status, Some(2));
    // A guest that goes away by itself, and one whose user ends it, leave nothing.
    assert_eq!(real.sh("echo b >/proc/sysrq-trigger; sleep 60").status, Some(122));
    assert!(!real.run_folder().join("crash").exists());
    assert_eq!(real.machines(), [0_u32; 0]);
}

#[test]
fn a_guest_that_took_too_long_and_one_that_goes_on_are_looked_into() {
    let real = Real::new();
    let release = real.sh("uname -r").out.trim().to_owned();
    let ran = real.run(&["up", "--timeout", "2", "--", "sleep", "60"]);
    assert_eq!(ran.status, Some(124), "{ran:?}");
    looked_at(&real, "2", &release, "limit");
    let up = Running::start(&real, &["up", "--", "sleep", "600"]);
    let status = || real.run(&["exec", "--", "true"]).status;
    eventually("machine", || (status() == Some(0)).then_some(()));
    for _ in 0..2 {
        let ran = real.run(&["dump"]);
        assert_eq!(ran.status, Some(0), "{ran:?}");
        let crash = looked_at(&real, "3", &release, "asked");
        assert_eq!(crash["memory"], ran.out.trim());
        assert_eq!(status(), Some(0), "it goes on");
    }
    drop(up);
    let ran = real.run(&["dump"]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    // No crash is to be kept.
    real.0.write("quiz.toml", "[runs]\nkeep-crashes = 0\n");
    assert_eq!(real.sh("echo c >/proc/sysrq-trigger; sleep 60").status, Some(123));
    assert_eq!(real.run(&["crash", "ls"]).out.lines().count(), 3);
    assert!(real.run(&["crash", "ls"]).out.contains("removed"), "those of before were too many");
}

#[test]
fn a_crash_that_was_exported_crashes_again_elsewhere_in_the_same_machine() {
    let real = Real::new();
    real.0.write("quiz.toml", "[runs]\ncrash-format = \"zstd\"\n");
    let ran = real.sh("echo out; echo c >/proc/sysrq-trigger; sleep 60");
    assert_eq!(ran.status, Some(123), "{ran:?}");
    // It is packed, and unpacked by whoever looks into it.
    let (plain, packed) = (real.run_folder().join("crash/vmcore"), real.run_folder().join("crash/vmcore.zst"));
    let size = packed.metadata().unwrap().size();
    assert!(!plain.exists() && size > 1 << 20, "{size}");
    let file = real.0.dir().join("crash.tar.zst");
    let ran = real.run(&["crash", "export", file.to_str().unwrap()]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(!packed.exists() && plain.metadata().unwrap().blocks() * 512 > size);
    assert_eq!(Core::open(&plain).system(), "Linux");
    let signature = |ran: &crate::project::Ran| {
        let crash: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        (crash["signature"].clone(), crash["kernel"].clone())
    };
    let (before, _) = signature(&real.run(&["--json", "crash", "show"]));
    // Another home, another project, a cache with nothing in it, and no network.
    let there = crate::project::Project::new();
    let ran = there.ok(&["--offline", "crash", "import", file.to_str().unwrap()]);
    assert!(ran.out.starts_with("run 1: "), "{ran:?}");
    let run = |args: &[&str]| there.run(&[&["--offline", "crash"], args].concat());
    let ran = run(&["again", "1"]);
    assert_eq!((ran.status, ran.out.as_str(), ran.count("Making")), (Some(123), "out\n", 0), "{ran:?}");
    let (after, kernel) = signature(&there.ok(&["--json", "crash", "show", "2"]));
    assert_eq!(after, before);
    assert!(Path::new(kernel.as_str().unwrap()).starts_with(there.cache()), "{kernel}");
    // Whoever debugs that one has what came along; and it is not the one that was imported.
    let about = |run: &str| {
        let text = std::fs::read_to_string(there.dir().join(".quiz/runs").join(run).join("crash/crash.json")).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["imported"].clone()
    };
    assert!(about("1").is_object() && about("1") == about("2"), "{}", about("2"));
    let known = there.ok(&["--offline", "crash", "import", file.to_str().unwrap()]);
    assert!(known.out.starts_with("run 1, which was there already"), "{known:?}");
    // A program of one's own in that machine; nothing is left behind.
    let ran = run(&["again", "1", "--", "sh", "-c", "exit 7"]);
    assert_eq!(ran.status, Some(7), "{ran:?}");
    // A memory that has lost its end is called so, by whoever is asked for it.
    let half = plain.metadata().unwrap().len() / 2;
    std::fs::File::options().write(true).open(&plain).unwrap().set_len(half).unwrap();
    let cut = format!("its file is cut short: {half} of ");
    assert!(real.run(&["crash", "ls"]).out.contains(" cut short "));
    let shown = real.run(&["crash", "show"]).out;
    assert!(shown.contains(&cut) && shown.contains(", qemu ") && shown.contains(", quiz "), "{shown}");
    let ran = real.run(&["crash", "gdb"]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    ran.says(&["the memory of run ", " is not whole: ", &cut, "quiz crash again"]);
    let other = real.0.dir().join("half.tar.zst");
    let ran = real.run(&["crash", "export", other.to_str().unwrap()]);
    let [whole, without] = [&file, &other].map(|file| file.metadata().unwrap().len());
    assert!(ran.status == Some(0) && without < whole - size / 2, "{ran:?}");
    ran.says(&[&format!("not in the file: the guest's memory: {cut}")]);
}

#[test]
fn a_memory_for_which_there_is_no_room_is_told_and_the_status_is_the_guests() {
    let real = Real::new();
    // The machine is saved, so that the run below writes nothing else that is large.
    assert_eq!(real.run(&["up", "--", "true"]).status, Some(0));
    let template = real.command(&[]);
    let mut command = std::process::Command::new("sh");
    let line = "ulimit -f 20480; exec \"$0\" up -- sh -c 'echo c >/proc/sysrq-trigger; sleep 100'";
    command.args(["-c", line]).arg(env!("CARGO_BIN_EXE_quiz")).current_dir(real.0.dir()).env_clear();
    command.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = Ran::from(command.output().unwrap());
    assert_eq!(ran.status, Some(123), "{ran:?}");
    let crash: serde_json::Value = serde_json::from_str(&real.run(&["--json", "crash", "show"]).out).unwrap();
    assert!(crash["cut"].as_str().is_some_and(|why| why.contains("File too large")), "{crash}");
    assert!(crash["memory"].is_null() && crash["title"].as_str().unwrap().contains("sysrq"), "{crash}");
    real.run(&["crash", "drgn"]).says(&["the memory of run 2 is not there"]);
}

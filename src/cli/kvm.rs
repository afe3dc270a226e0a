//! `quiz doctor --kvm`: what only a real KVM can answer, as a report to paste into a bug report.
//!
//! Each check but the first two is a run of quiz itself, as people run it, in a project of its own. Where KVM is not taken they are made
//! under emulation, and the report says so.

use crate::engine::{self, Engine};
use crate::error::{Error, Result};
use crate::load::Origin;
use crate::machine::{Accel, Qemu, accel, proof};
use crate::report;
use crate::status;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often a machine is restored, for the median of the times.
const RESTORES: usize = 20;

/// A run of quiz, and what a person would have seen.
struct Ran {
    status: Option<i32>,
    out: String,
    err: String,
    took: Duration,
}

impl Ran {
    /// Nothing when it ended with this status; else what it said last.
    fn ended(&self, status: u8) -> std::result::Result<(), String> {
        if self.status == Some(status.into()) {
            return Ok(());
        }
        // The lines of the error up to its hints: those say where the run's files are, which are gone by then.
        let error = self.err.lines().skip_while(|line| !line.starts_with("error:")).map(str::trim_start);
        let error = error.take_while(|line| !line.starts_with("hint:")).collect::<Vec<_>>().join("; ");
        let last = if error.is_empty() { self.err.lines().last().unwrap_or("nothing was said") } else { &error };
        let got = self.status.map_or("none".to_owned(), |status| status.to_string());
        Err(format!("status {got} where {status} was expected: {last}"))
    }

    /// An error unless the machine went on from a snapshot, without one that had to be given up, which shows as a boot.
    fn restored(&self) -> std::result::Result<(), String> {
        let starts = |word: &str| self.err.lines().any(|line| line.trim_start().starts_with(word));
        if starts("Restoring ") && !starts("Booting ") {
            Ok(())
        } else {
            Err("the machine booted, instead of going on from its snapshot".to_owned())
        }
    }

    fn says(&self, words: &str) -> std::result::Result<(), String> {
        if self.err.contains(words) { Ok(()) } else { Err(format!("quiz does not say `{words}`")) }
    }

    fn number(&self) -> std::result::Result<i64, String> {
        self.out.trim().parse().map_err(|_| format!("the guest printed no number: {:?}", self.out))
    }
}

struct Trial<'a> {
    dir: &'a Path,
    accel: &'static str,
    /// Settings of the project in which quiz was started, as variables.
    settings: Vec<(&'static str, String)>,
}

type Checked = std::result::Result<String, String>;
type Check = (&'static str, fn(&Trial<'_>) -> Checked);

/// What a machine does that a kernel under another accelerator may not: processors, clocks, interrupts, devices.
const CHECKS: [Check; 8] = [
    ("a kernel boots", |trial| {
        let ran = trial.up(&["--no-snapshot"], "uname -r");
        ran.ended(status::FINE)?;
        ran.says(&format!(" ({}", trial.accel))?;
        Ok(format!("Linux {} in {:.2} s", ran.out.trim(), ran.took.as_secs_f64()))
    }),
    ("all processors run", |trial| {
        let count = std::thread::available_parallelism().map_or(1, |count| count.get().min(8));
        let ran = trial.up(&["--no-snapshot", "--cpus", &count.to_string()], "nproc");
        ran.ended(status::FINE)?;
        if ran.number()? == i64::try_from(count).unwrap_or(0) {
            Ok(format!("{count} of {count}"))
        } else {
            Err(format!("{} of {count}", ran.out.trim()))
        }
    }),
    ("a machine is saved and restored", |trial| {
        trial.up(&[], "true").ended(status::FINE)?;
        let mut times = Vec::new();
        for n in 1..=RESTORES {
            let ran = trial.up(&[], "true");
            ran.ended(status::FINE).and_then(|()| ran.restored()).map_err(|why| format!("restore {n}: {why}"))?;
            times.push(ran.took.as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        Ok(format!("{RESTORES} times, median {:.2} s, longest {:.2} s", times[RESTORES / 2], times[RESTORES - 1]))
    }),
    ("a restored machine knows the time, and seconds are seconds", |trial| {
        let ran = trial.up(
            &[],
            "date +%s%N; sleep 3; date +%s%N; cat /sys/devices/system/clocksource/clocksource0/current_clocksource",
        );
        let after = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        ran.ended(status::FINE).and_then(|()| ran.restored())?;
        let lines: Vec<&str> = ran.out.lines().collect();
        let time = |n: usize| lines.get(n).and_then(|line| line.parse::<f64>().ok()).map_or(0.0, |time| time / 1e9);
        let (slept, off) = (time(1) - time(0), after - time(1));
        let words = format!("slept {slept:.2} s, ended {off:.2} s ago, clock {}", lines.get(2).unwrap_or(&"none"));
        if (2.99..4.0).contains(&slept) && (-0.5..3.0).contains(&off) { Ok(words) } else { Err(words) }
    }),
    ("a panic is a panic", |trial| {
        let ran = trial.up(&[], "echo c >/proc/sysrq-trigger; sleep 9");
        ran.ended(status::PANICKED)?;
        Ok(format!("told after {:.2} s", ran.took.as_secs_f64()))
    }),
    ("a reset is a lost machine", |trial| {
        let ran = trial.up(&[], "echo b >/proc/sysrq-trigger; sleep 9");
        ran.ended(status::LOST)?;
        Ok(format!("told after {:.2} s", ran.took.as_secs_f64()))
    }),
    ("a time limit shows what each processor does", |trial| {
        let ran = trial.up(&["--timeout", "2", "--cpus", "2"], "while :; do :; done");
        ran.ended(status::TIME_LIMIT)?;
        let stacks = ran.err.matches("NMI backtrace for cpu").count();
        if stacks == 2 { Ok("2 stacks by NMI".to_owned()) } else { Err(format!("{stacks} stacks by NMI, of 2")) }
    }),
    ("a disk keeps what is written", |trial| {
        let script = "head -c 32M /dev/urandom >/tmp/a && dd if=/tmp/a of=/dev/quizb0 bs=1M oflag=direct 2>/dev/null && \
                      dd if=/dev/quizb0 of=/tmp/b bs=1M count=32 iflag=direct 2>/dev/null && cmp /tmp/a /tmp/b";
        trial.up(&["-p", "blockdev:count=1,size=64M"], script).ended(status::FINE)?;
        Ok("32 MiB".to_owned())
    }),
];

impl Trial<'_> {
    /// `quiz up ARGS -- sh -c SCRIPT`, which quiz's own limits end if nothing else does.
    fn up(&self, args: &[&str], script: &str) -> Ran {
        let started = Instant::now();
        let limit: &[&str] = if args.contains(&"--timeout") { &[] } else { &["--timeout", "60"] };
        let output = std::env::current_exe().and_then(|quiz| {
            let mut command = Command::new(quiz);
            command.arg("-C").arg(self.dir).arg("up").args(args).args(limit).args(["--", "sh", "-c", script]);
            // Set, so that quiz does not begin again under another accelerator: that would show nothing of this one.
            command.envs(self.settings.clone()).env("QUIZ_MACHINE_ACCEL", self.accel).stdin(Stdio::null()).output()
        });
        let took = started.elapsed();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        match output {
            Ok(output) => {
                let (out, err) = (text(output.stdout), text(output.stderr));
                Ran { status: output.status.code(), out, err, took }
            }
            Err(error) => Ran { status: None, out: String::new(), err: format!("cannot start quiz: {error}"), took },
        }
    }
}

/// Makes all checks and prints the report. Status 0 if all of them went well, under KVM; else 1.
///
/// # Errors
/// The image cannot be built.
pub(super) fn run(engine: &Engine<'_>) -> Result<u8> {
    let cannot = |error: std::io::Error| Error::boot("cannot make a project for the checks").because(error);
    let dir = tempfile::tempdir().map_err(cannot)?;
    // Builds the image first: that is shown as usual, and its time counts for no check.
    let mut quiz = Command::new(std::env::current_exe().map_err(cannot)?);
    // A project of its own, which runs machines as this one does.
    let setting = |name: &str| engine.project.settings.text(name).to_owned();
    let mut settings = vec![("QUIZ_MACHINE_QEMU", setting("machine.qemu"))];
    // One that nobody has chosen is none there, either.
    let suite = engine.project.settings.get("toolchain.suite");
    if suite.is_some_and(|suite| suite.origin != Origin::Default) {
        settings.push(("QUIZ_TOOLCHAIN_SUITE", setting("toolchain.suite")));
    }
    quiz.envs(settings.clone());
    let built = quiz.arg("-C").arg(dir.path()).arg("build").stdout(Stdio::null()).status().map_err(cannot)?;
    if !built.success() {
        return Err(Error::build("the image for the checks could not be built: the reason is above"));
    }
    let qemu = engine::qemu::made(engine)?;
    // Else the runs below would go by what an earlier run found out about KVM.
    accel::forget(&engine.kvm_verdicts())?;
    let choice = accel::choose(qemu.path(), None);
    let kvm = match (choice.accel, choice.why_not_kvm) {
        (Accel::Kvm, _) => Ok("/dev/kvm opens, and the processor has vmx or svm".to_owned()),
        (Accel::Tcg, why) => Err(why.unwrap_or_else(|| "there is no /dev/kvm".to_owned())),
    };
    report::result(&head(&qemu))?;
    let mut failed = usize::from(kvm.is_err());
    report::result(&line("KVM is there", &kvm))?;
    let tried = proof::try_guest(&qemu, choice.accel).map(|()| choice.accel.name().to_owned());
    failed += usize::from(tried.is_err());
    report::result(&line("qemu runs three instructions", &tried))?;
    let trial = Trial { dir: dir.path(), accel: choice.accel.name(), settings };
    for (name, check) in CHECKS {
        let checked = check(&trial);
        failed += usize::from(checked.is_err());
        report::result(&line(name, &checked))?;
    }
    report::result(&format!("{} of {} checks went well\n", CHECKS.len() + 2 - failed, CHECKS.len() + 2))?;
    Ok(u8::from(failed > 0))
}

fn line(name: &str, checked: &Checked) -> String {
    match checked {
        Ok(what) => format!("ok    {name}: {what}\n"),
        Err(why) => format!("FAIL  {name}: {why}\n"),
    }
}

/// The first line of the report: the versions of quiz, qemu and the host's kernel, and the processor.
fn head(qemu: &Qemu) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let first = |text: &str| text.lines().next().unwrap_or("unknown").trim().to_owned();
    let cpuinfo = read("/proc/cpuinfo");
    let field = |name: &str| cpuinfo.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    let model = field("model name").split_once(": ").map_or("unknown", |(_, model)| model);
    let nested =
        if field("flags").split_whitespace().any(|flag| flag == "hypervisor") { ", itself a guest" } else { "" };
    let version = qemu.process().arg("--version").stdin(Stdio::null()).output();
    let version = version.map_or_else(|error| error.to_string(), |out| first(&String::from_utf8_lossy(&out.stdout)));
    let kernel = first(&read("/proc/sys/kernel/osrelease"));
    format!("quiz {}, {version}, host Linux {kernel}, {model}{nested}\n", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(status: i32, err: &str) -> Ran {
        Ran { status: Some(status), out: String::new(), err: err.to_owned(), took: Duration::ZERO }
    }

    #[test]
    fn a_restore_that_had_to_boot_is_none() {
        let restoring = "   Restoring /r/1 (kvm)\n";
        assert_eq!(ran(0, restoring).restored(), Ok(()));
        // The snapshot was dropped meanwhile, and made anew.
        assert!(ran(0, &format!("{restoring}     Booting /r/1 (kvm)\n")).restored().is_err());
    }

    #[test]
    fn a_run_that_failed_says_its_cause_and_not_where_its_files_were() {
        let said = "     Booting /r/1 (kvm)\nerror: qemu could not start the machine\n  KVM stopped\n  hint: the run's files are in /r/1\n";
        let why = ran(125, said).ended(0).unwrap_err();
        assert_eq!(why, "status 125 where 0 was expected: error: qemu could not start the machine; KVM stopped");
    }
}

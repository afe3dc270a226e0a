//! Events and errors as lines of text, with cargo's right-aligned verbs.

use super::place::drawn;
use super::plain::plain;
use super::{Style, Verbosity};
use crate::error::Error;
use crate::event::Event;
use std::time::Duration;

/// The line of an event, if it has one at this verbosity.
pub(super) fn line(event: &Event, verbosity: Verbosity, style: &Style) -> Option<String> {
    use Verbosity::{Normal, Quiet, Verbose};
    let verb = |verb: &str, rest: &str| Some(format!("{} {rest}", style.good(&format!("{verb:>12}"))));
    let (least, text) = match event {
        Event::Resolved { entry, wanted, pinned } => (Normal, verb("Resolved", &format!("{entry} {wanted}: {pinned}"))),
        Event::Format { .. } | Event::Download { .. } | Event::Progress { .. } | Event::Outcome { .. } => return None,
        Event::Started { stage, log, .. } if verbosity == Verbose => {
            (Verbose, verb("Making", &format!("{stage}, log {log}")))
        }
        Event::Started { stage, .. } => (Normal, verb("Making", stage)),
        Event::Output { stage, line } => (Verbose, Some(format!("{} {line}", style.dim(&format!("{stage:>12}"))))),
        Event::Stopped { run } => (Normal, verb("Stopped", run)),
        Event::Paused { what } => (Normal, verb("Waiting", &format!("until {what} has ended"))),
        Event::Waiting { stage, pid } => {
            (Normal, verb("Waiting", &format!("for {stage}, which process {pid} is making")))
        }
        Event::Finished { stage, took } => (Normal, verb("Made", &format!("{stage} in {}", duration(*took)))),
        Event::Cached { stage } => (Verbose, verb("Cached", stage)),
        Event::Failed { stage, log } => {
            (Quiet, Some(format!("{} {stage} ({log})", style.bad(&format!("{:>12}", "Failed")))))
        }
        Event::Turn { kernel } => (Normal, verb("Running", &format!("on kernel {kernel}"))),
        Event::Compared { rows } => (Normal, Some(compared(rows, style))),
        Event::Booting { run, accelerator, why_not_kvm, restored } => {
            let why = why_not_kvm.as_ref().map_or(String::new(), |why| format!("; no KVM: {why}"));
            (Normal, verb(if *restored { "Restoring" } else { "Booting" }, &format!("{run} ({accelerator}{why})")))
        }
        Event::Ready { milliseconds } => (Verbose, verb("Ready", &format!("after {milliseconds} ms"))),
        Event::Step { name, took } => {
            (Quiet, verb("Timing", &format!("{name:<8} {:>8.1} ms", took.as_secs_f64() * 1000.0)))
        }
        Event::Kernel { line } => (Quiet, Some(style.dim(line))),
        Event::GroupStarted { group, tests } => (Normal, verb("Testing", &format!("{group} ({})", count(*tests)))),
        Event::TestEnded { group, test, verdict } => (Verbose, verb(verdict, &format!("{group} {test}"))),
        Event::GroupEnded { group, unexpected: 0, cached: true, .. } => (Normal, verb("Cached", group)),
        Event::GroupEnded { group, tests, unexpected: 0, took, .. } => {
            (Normal, verb("Passed", &format!("{group} {} in {}", count(*tests), duration(*took))))
        }
        Event::GroupEnded { group, tests, unexpected, took, cached } => {
            let when = if *cached { "from the cache".to_owned() } else { format!("in {}", duration(*took)) };
            let text = format!("{group} {unexpected} of {} {when}", count(*tests));
            (Quiet, Some(format!("{} {text}", style.bad(&format!("{:>12}", "Failed")))))
        }
        Event::Complained { words, log } => {
            (Quiet, Some(format!("{} the guest's kernel complained: {words} ({log})", style.warn("warning:"))))
        }
        Event::Dumping { why, status, .. } => {
            let status = status.map_or_else(String::new, |status| format!(" (status {status})"));
            (Normal, verb("Dumping", &format!("the guest's memory: {why}{status}")))
        }
        Event::Saving => (Verbose, verb("Saving", "the machine")),
        Event::Dumped { run, title: _, used, took } => (
            Normal,
            verb("Dumped", &format!("{} in {} to {run}/crash (quiz crash show)", size(*used), duration(*took))),
        ),
        Event::Kept { name, bytes } => {
            (Normal, verb("Saved", &format!("{name}, {}: quiz up --from {name} goes on from there", size(*bytes))))
        }
        Event::Stands { run } => (Quiet, verb("Standing", &standing(run))),
        Event::Ended { how, run } => {
            (Quiet, Some(format!("{} {how} ({run})", style.warn(&format!("{:>12}", "Ended")))))
        }
        Event::Warning { message } => (Quiet, Some(format!("{} {}", style.warn("warning:"), plain(message)))),
        Event::Note { message } => (Verbose, verb("Note", message)),
    };
    text.filter(|_| verbosity >= least)
}

/// What to type where a machine stands still for a debugger.
fn standing(run: &str) -> String {
    let number = run.rsplit_once("runs/").map_or(run, |(_, number)| number).replace("groups/", "");
    format!("still for a debugger: quiz gdb {number}; quiz stop {number} ends it ({run})")
}

/// "1 test", "7 tests".
pub(super) fn count(tests: usize) -> String {
    format!("{tests} test{}", if tests == 1 { "" } else { "s" })
}

/// A line for each kernel, and a head.
fn compared(rows: &[(String, u8, String)], style: &Style) -> String {
    let width = rows.iter().map(|(kernel, ..)| kernel.chars().count()).max().unwrap_or(0).max("kernel".len());
    let mut text = style.dim(&format!("{:<width$}  status", "kernel"));
    for (kernel, status, how) in rows {
        let number = format!("{status:>6}");
        let number = if *status == 0 { style.good(&number) } else { style.bad(&number) };
        text += &format!("\n{kernel:<width$}  {number}  {how}");
    }
    text
}

/// The message with its place in a file, what belongs to it, its causes, what to do next. `width` is how many columns the terminal has.
pub(super) fn error(error: &Error, style: &Style, width: Option<usize>) -> String {
    let mut text = match error.place() {
        Some(place) => drawn(error, place, style.is_on(), width),
        None => format!("{} {}", style.bad("error:"), plain(error.message())),
    };
    for line in error.details() {
        text += &format!("\n  {}", plain(line));
    }
    for cause in causes(error) {
        text += &format!("\n  caused by: {}", plain(&cause));
    }
    for hint in error.hints() {
        text += &format!("\n{} {}", style.hint("hint:"), plain(hint));
    }
    text
}

/// The chain of causes; a cause that only repeats the one before it is left out.
pub(super) fn causes(error: &Error) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let text = cause.to_string();
        if !all.last().is_some_and(|before| before.contains(&text)) {
            all.push(text);
        }
        next = cause.source();
    }
    all
}

/// "3.2 of 137.4 MiB".
pub(super) fn download(done: u64, total: Option<u64>) -> String {
    let (done, total) = (size(done), total.map(size));
    match (done.split_once(' '), &total) {
        (Some((number, unit)), Some(total)) if total.ends_with(&format!(" {unit}")) => format!("{number} of {total}"),
        (_, Some(total)) => format!("{done} of {total}"),
        (_, None) => done,
    }
}

/// Bytes for people, in binary units.
pub fn size(bytes: u64) -> String {
    const UNITS: &[&str] = &["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // Tenths of a unit: exact enough to read, and free of floats.
    let mut tenths = u128::from(bytes) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// A time for people: "0.4s", "12.0s", "6m 02s".
pub(super) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        return format!("{seconds}.{}s", time.subsec_millis() / 100);
    }
    if seconds < 3600 {
        return format!("{}m {:02}s", seconds / 60, seconds % 60);
    }
    format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Color;

    #[test]
    fn sizes_and_times_read_as_people_write_them() {
        assert_eq!([size(0), size(1023), size(1536), size(144 << 20)], ["0 B", "1023 B", "1.5 KiB", "144.0 MiB"]);
        let times = [400, 59_990, 61_000, 3_720_000].map(|ms| duration(Duration::from_millis(ms)));
        assert_eq!(times, ["0.4s", "59.9s", "1m 01s", "1h 02m"]);
    }

    #[test]
    fn an_error_shows_message_details_causes_and_hints_in_this_order() {
        let cause = std::io::Error::other("disk on fire");
        let error =
            Error::build("the stage kernel failed").detail("x.c:1: error: no").because(cause).hint("quiz build");
        let text = super::error(&error, &Style::new(Color::Never, true), None);
        assert_eq!(
            text,
            "error: the stage kernel failed\n  x.c:1: error: no\n  caused by: disk on fire\nhint: quiz build"
        );
    }

    #[test]
    fn verbs_are_aligned_and_quiet_keeps_warnings() {
        let style = Style::new(Color::Never, false);
        let made = Event::Finished { stage: "kernel".into(), took: Duration::from_secs(362) };
        assert_eq!(line(&made, Verbosity::Normal, &style).unwrap(), "        Made kernel in 6m 02s");
        assert_eq!(line(&made, Verbosity::Quiet, &style), None);
        let warning = Event::Warning { message: "x".into() };
        assert_eq!(line(&warning, Verbosity::Quiet, &style).unwrap(), "warning: x");
    }
}

//! What the guest's kernel says: written to console.log as it comes, cut into lines, and searched for the end of a kernel.
//!
//! Does not decide anything: a program can write "Kernel panic" to /dev/kmsg too. `outcome` weighs it against the rest.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::folder::cannot;
use crate::error::Result;

/// So many lines of an excerpt are kept: a panic with its stack, registers and code fits, and three stacks of KASAN.
const EXCERPT: usize = 128;

/// And of what the kernel says of a guest that is looked at: the stacks of many processors and tasks.
const LOOK: usize = 2000;

/// So many of the last lines are kept.
const TAIL: usize = 20;

/// What a line says about the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// Something is wrong here, and what comes next explains it: an oops, a failed assertion.
    Trouble,
    /// The kernel has given up.
    Panic,
    /// Something waits for ever: a soft lockup, a blocked task, an RCU stall.
    Hang,
    /// Something is wrong, and the kernel goes on: WARN, lockdep, a sleep in atomic context.
    Warning,
    /// The kernel's last word before it does nothing any more.
    Halt,
}

/// The kernel's messages; with … between, both parts. Source of each: the format strings in Linux 5.10 to 7.3, and of OpenZFS 2.1 to
/// 2.4 module/os/linux/spl/spl-err.c and include/os/linux/spl/sys/debug.h.
const MARKS: &[(&str, Mark)] = &[
    ("Kernel panic - not syncing", Mark::Panic),
    ("reboot: System halted", Mark::Halt),
    ("reboot: Power down", Mark::Halt),
    ("BUG: soft lockup", Mark::Hang),
    ("BUG: workqueue lockup", Mark::Hang),
    ("detected stall", Mark::Hang),
    ("self-detected stall", Mark::Hang),
    (" blocked for more than ", Mark::Hang),
    ("Watchdog detected hard LOCKUP", Mark::Hang),
    ("BUG: kernel NULL pointer dereference", Mark::Trouble),
    ("BUG: unable to handle", Mark::Trouble),
    ("BUG: stack guard page was hit", Mark::Trouble),
    ("BUG: KASAN: ", Mark::Trouble),
    ("kernel BUG at ", Mark::Trouble),
    ("general protection fault, probably", Mark::Trouble),
    ("general protection fault: ", Mark::Trouble),
    ("Unable to handle kernel ", Mark::Trouble),
    ("Oops: ", Mark::Trouble),
    ("PANIC at ", Mark::Trouble),
    ("PANIC: ", Mark::Trouble),
    ("VERIFY(", Mark::Trouble),
    ("VERIFY0", Mark::Trouble),
    ("VERIFY3", Mark::Trouble),
    ("ASSERT(", Mark::Trouble),
    ("ASSERT3", Mark::Trouble),
    ("VFS: Unable to mount root", Mark::Trouble),
    ("VFS: Cannot open root device", Mark::Trouble),
    ("BUG: ", Mark::Warning),
    // Not every WARNING: OpenZFS has its own, which tests cause on purpose.
    ("WARNING: CPU: ", Mark::Warning),
    ("WARNING: …, CPU#", Mark::Warning),
    ("WARNING: possible ", Mark::Warning),
    ("-unsafe lock order detected", Mark::Warning),
    ("WARNING: Nested lock was not taken", Mark::Warning),
    ("WARNING: bad unlock balance detected", Mark::Warning),
    ("WARNING: held lock freed", Mark::Warning),
    ("WARNING: inconsistent lock state", Mark::Warning),
    ("WARNING: lock held when returning to user space", Mark::Warning),
    (" still has locks held!", Mark::Warning),
    ("WARNING: suspicious RCU usage", Mark::Warning),
    ("INFO: trying to register non-static key", Mark::Warning),
    ("new suspected memory leaks", Mark::Warning),
];

fn mark(line: &str) -> Option<Mark> {
    let says = |text: &str| match text.split_once('…') {
        Some((one, other)) => line.split_once(one).is_some_and(|(_, rest)| rest.contains(other)),
        None => line.contains(text),
    };
    MARKS.iter().find(|(text, _)| says(text)).map(|(_, mark)| *mark)
}

/// The console of one machine.
#[derive(Debug)]
pub(super) struct Console {
    log: File,
    partial: Vec<u8>,
    tail: VecDeque<String>,
    /// From the first sign of trouble on.
    excerpt: Option<Vec<String>>,
    cause: Option<String>,
    /// The first line that says that something is wrong, however bad.
    complaint: Option<String>,
    panicked: bool,
    halted: bool,
    /// From the beginning of the look on.
    look: Option<Vec<String>>,
    bytes: u64,
}

impl Console {
    /// A console that writes to the file `path`, which it empties; what it said `before`, in a machine that is restored, is
    /// copied there.
    pub(super) fn create(path: &Path, before: Option<&Path>) -> Result<Self> {
        let mut log = File::create(path).map_err(|e| cannot("write", path, e))?;
        if let Some(before) = before {
            let copied = File::open(before).and_then(|mut before| io::copy(&mut before, &mut log));
            copied.map_err(|e| cannot("copy", before, e))?;
        }
        Ok(Self {
            log,
            partial: Vec::new(),
            tail: VecDeque::new(),
            excerpt: None,
            cause: None,
            complaint: None,
            panicked: false,
            halted: false,
            look: None,
            bytes: 0,
        })
    }

    /// Takes what came and gives the lines that are whole now.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<String> {
        self.bytes += bytes.len() as u64;
        // A full disk must not stop the machine; the lines are still looked at and shown.
        let _ = self.log.write_all(bytes);
        self.partial.extend_from_slice(bytes);
        let Some(end) = self.partial.iter().rposition(|&byte| byte == b'\n') else { return Vec::new() };
        let whole: Vec<u8> = self.partial.drain(..=end).collect();
        let lines: Vec<String> = whole.split_inclusive(|&byte| byte == b'\n').map(clean).collect();
        lines.iter().for_each(|line| self.look_at(line));
        lines
    }

    /// Something new starts, a hook or the program: what was said before explains nothing any more.
    pub(super) fn forget_tail(&mut self) {
        self.tail.clear();
    }

    /// The guest is looked at: what comes now says what it was doing.
    pub(super) fn look(&mut self) {
        self.look.get_or_insert_default();
    }

    /// The machine is gone: what is left is a line too.
    pub(super) fn finish(&mut self) {
        if !self.partial.is_empty() {
            self.feed(b"\n");
        }
    }

    fn look_at(&mut self, line: &str) {
        let mark = mark(line);
        self.panicked |= mark == Some(Mark::Panic);
        self.halted |= mark == Some(Mark::Halt);
        if let Some(look) = self.look.as_mut().filter(|look| look.len() < LOOK) {
            look.push(line.to_owned());
        }
        if matches!(mark, Some(Mark::Panic | Mark::Trouble)) {
            self.cause.get_or_insert_with(|| without_time(line).to_owned());
        }
        if !matches!(mark, None | Some(Mark::Halt)) {
            self.complaint.get_or_insert_with(|| without_time(line).to_owned());
        }
        if !matches!(mark, None | Some(Mark::Warning | Mark::Halt)) && self.excerpt.is_none() {
            // The line before often says what was going on.
            self.excerpt = Some(self.tail.back().cloned().into_iter().collect());
        }
        if let Some(excerpt) = self.excerpt.as_mut().filter(|excerpt| excerpt.len() < EXCERPT) {
            excerpt.push(line.to_owned());
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
    }

    /// The kernel's own words when it gave up: the first trouble, of which the panic is often only the consequence.
    pub(super) fn panic(&self) -> Option<&str> {
        self.cause.as_deref().filter(|_| self.panicked)
    }

    /// The kernel has halted the machine.
    pub(super) fn halted(&self) -> bool {
        self.halted
    }

    /// What the kernel said since the guest is looked at.
    pub(super) fn looked(&self) -> Vec<String> {
        self.look.clone().unwrap_or_default()
    }

    /// The first line that says that something is wrong, for a machine whose program ended all the same.
    pub(super) fn complaint(&self) -> Option<&str> {
        self.complaint.as_deref()
    }

    /// Bytes so far: none means that not even a kernel started.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// From the first sign of trouble on; without one, the last lines.
    pub(super) fn excerpt(&self) -> Vec<String> {
        self.excerpt.clone().unwrap_or_else(|| self.tail.iter().cloned().collect())
    }
}

/// A line as it may be shown on a terminal: no carriage return, no escape sequence.
fn clean(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end().chars().filter(|&c| c == '\t' || !c.is_control()).collect()
}

/// A kernel line without its `[   12.345678] ` and `[ T123] `.
fn without_time(mut line: &str) -> &str {
    while let Some((_, rest)) = line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        line = rest;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console() -> (tempfile::TempDir, Console) {
        let folder = tempfile::tempdir().unwrap();
        let console = Console::create(&folder.path().join("console.log"), None).unwrap();
        (folder, console)
    }

    #[test]
    fn every_byte_is_logged_and_lines_come_whole() {
        let (folder, mut console) = console();
        assert_eq!(console.feed(b"[ 0.1] one\r\n[ 0.2] t"), ["[ 0.1] one"]);
        assert_eq!(console.feed(b"wo\x1b[31m\r\nthree"), ["[ 0.2] two[31m"]);
        console.finish();
        assert_eq!(console.excerpt(), ["[ 0.1] one", "[ 0.2] two[31m", "three"]);
        let log = std::fs::read(folder.path().join("console.log")).unwrap();
        assert_eq!(log, b"[ 0.1] one\r\n[ 0.2] two\x1b[31m\r\nthree\n");
    }

    #[test]
    fn an_excerpt_begins_before_the_first_trouble() {
        let (_folder, mut console) = console();
        console.feed(
            b"[ 1.0] boring\n[ 1.1] zfs: about to fail\n[ 1.2] BUG: kernel NULL pointer dereference, address: 0\n",
        );
        assert_eq!(console.panic(), None);
        console.feed(b"[ 1.3] Call Trace:\n[    1.4][  T12] Kernel panic - not syncing: Fatal exception\n");
        assert_eq!(console.panic(), Some("BUG: kernel NULL pointer dereference, address: 0"));
        let excerpt = console.excerpt();
        assert_eq!(excerpt.len(), 4);
        assert_eq!(excerpt[0], "[ 1.1] zfs: about to fail");
    }

    #[test]
    fn marks_tell_a_panic_from_a_hang_from_a_warning() {
        assert_eq!(mark("[ 9.0] Kernel panic - not syncing: sysrq triggered crash"), Some(Mark::Panic));
        assert_eq!(mark("watchdog: BUG: soft lockup - CPU#0 stuck for 22s!"), Some(Mark::Hang));
        assert_eq!(mark("INFO: task txg_sync:12 blocked for more than 120 seconds."), Some(Mark::Hang));
        assert_eq!(mark("VERIFY3(a == b) failed (1 == 2)"), Some(Mark::Trouble));
        assert_eq!(mark("VERIFY3U(a, ==, b) failed (1 == 2)"), Some(Mark::Trouble));
        assert_eq!(mark("VERIFY0(f(x)) failed (2)"), Some(Mark::Trouble));
        assert_eq!(mark("WARNING: CPU: 0 PID: 1 at kernel/x.c:1"), Some(Mark::Warning));
        assert_eq!(mark("WARNING: kernel/x.c:1 at f+0x1/0x2, CPU#0: sh/1"), Some(Mark::Warning));
        assert_eq!(mark("BUG: KASAN: use-after-free in f+0x1/0x2 [t]"), Some(Mark::Trouble));
        assert_eq!(mark("WARNING: Pool 't' has encountered an uncorrectable I/O failure"), None);
        assert_eq!(mark("BUG: sleeping function called from invalid context at x.c:1"), Some(Mark::Warning));
    }

    #[test]
    fn a_warning_is_kept_and_no_reason_of_a_later_end() {
        let (_folder, mut console) = console();
        console
            .feed(b"[ 1.0] WARNING: possible circular locking dependency detected\n[ 2.0] BUG: unable to handle x\n");
        assert_eq!(console.complaint(), Some("WARNING: possible circular locking dependency detected"));
        assert_eq!(console.excerpt()[1], "[ 2.0] BUG: unable to handle x");
        console.feed(b"[ 3.0] Kernel panic - not syncing: Fatal exception\n");
        assert_eq!(console.panic(), Some("BUG: unable to handle x"));
    }

    #[test]
    fn an_endless_trace_does_not_fill_the_memory() {
        let (_folder, mut console) = console();
        console.feed(b"Oops: 0000\n");
        (0..1000).for_each(|_| drop(console.feed(b"a line\n")));
        assert_eq!(console.excerpt().len(), EXCERPT);
        assert_eq!(console.tail.len(), TAIL);
    }
}

//! What the guest's kernel says: written to console.log as it comes, cut into lines, and searched for the end of a kernel.
//!
//! Does not decide anything. `outcome` weighs it against the rest.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use super::complaint::{Allowed, Complaints, Heard};
use super::marks::{Mark, mark, without_time};
use super::wire::PROGRAM_OVER;
use crate::error::{Result, cannot};

/// The most lines of an excerpt: a panic with its stack, registers and code fits, and three stacks of KASAN.
const EXCERPT: usize = 128;

/// The most lines that are kept of what the kernel says while a hanging guest is looked at: the stacks of many processors and tasks.
const LOOK: usize = 2000;

/// Bytes of a line. What is longer counts as several: a guest may write for ever without an end of line.
const LINE: usize = 64 << 10;

/// How many of the last lines are kept.
const TAIL: usize = 20;

/// The console of one machine.
#[derive(Debug)]
pub(super) struct Console {
    log: File,
    /// Why not all of it is in the log.
    unlogged: Option<String>,
    partial: Vec<u8>,
    tail: VecDeque<String>,
    /// From the first sign of trouble on.
    excerpt: Option<Vec<String>>,
    cause: Option<String>,
    complaints: Complaints,
    panicked: bool,
    lived_on: bool,
    halted: bool,
    restarts: bool,
    /// The line came that the kernel's log has behind all that the program made the kernel say.
    over: bool,
    /// The kernel's lines since the guest is looked at; `None` before that.
    look: Option<Vec<String>>,
    bytes: u64,
}

impl Console {
    /// A console that writes to the file `path`, which it empties; what it said `before`, in a machine that is restored, is
    /// copied there, and counts among its complaints: the machine is none the better for having been saved.
    pub(super) fn create(path: &Path, before: Option<&Path>, allowed: &[Allowed]) -> Result<Self> {
        let mut log = crate::host::private_file().truncate(true).open(path).map_err(|e| cannot("write", path, e))?;
        let mut complaints = Complaints::new(allowed);
        if let Some(before) = before {
            let said = fs::read(before).map_err(|e| cannot("copy", before, e))?;
            log.write_all(&said).map_err(|e| cannot("write", path, e))?;
            said.split(|&byte| byte == b'\n').for_each(|line| complaints.line(&clean(line)));
        }
        Ok(Self {
            log,
            unlogged: None,
            partial: Vec::new(),
            tail: VecDeque::new(),
            excerpt: None,
            cause: None,
            complaints,
            panicked: false,
            lived_on: false,
            halted: false,
            restarts: false,
            over: false,
            look: None,
            bytes: 0,
        })
    }

    /// Takes what came and gives the lines that are whole now, but that which quiz wrote itself.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<String> {
        self.bytes += bytes.len() as u64;
        // A full disk must not stop the machine; the lines are still looked at and shown.
        if let Err(error) = self.log.write_all(bytes) {
            self.unlogged.get_or_insert_with(|| error.to_string());
        }
        self.partial.extend_from_slice(bytes);
        let end = match self.partial.iter().rposition(|&byte| byte == b'\n') {
            Some(last) => last + 1,
            None if self.partial.len() >= LINE => self.partial.len(),
            None => return Vec::new(),
        };
        let whole: Vec<u8> = self.partial.drain(..end).collect();
        let mut lines: Vec<String> = whole.split_inclusive(|&byte| byte == b'\n').map(clean).collect();
        lines.iter().for_each(|line| self.look_at(line));
        lines.retain(|line| without_time(line) != PROGRAM_OVER);
        lines
    }

    /// A hook or the program starts: what the kernel said before explains nothing any more.
    pub(super) fn forget_tail(&mut self) {
        self.tail.clear();
    }

    /// The guest is looked at from now on: what the kernel says tells what the guest was doing.
    pub(super) fn look(&mut self) {
        self.look.get_or_insert_default();
    }

    /// The machine is gone: bytes without an end of line are a line, too.
    pub(super) fn finish(&mut self) {
        if !self.partial.is_empty() {
            self.feed(b"\n");
        }
    }

    fn look_at(&mut self, line: &str) {
        if without_time(line) == PROGRAM_OVER {
            self.over = true;
            self.lived_on |= self.panicked;
            return;
        }
        let mark = mark(line);
        self.panicked |= mark == Some(Mark::Panic);
        self.halted |= mark == Some(Mark::Halt);
        self.restarts |= mark == Some(Mark::Restart);
        match &mut self.look {
            // While quiz has the guest list its tasks, their backtraces are no complaints.
            Some(look) if look.len() < LOOK => look.push(line.to_owned()),
            Some(_) => {}
            None => self.complaints.line(line),
        }
        if matches!(mark, Some(Mark::Panic | Mark::Trouble)) {
            self.cause.get_or_insert_with(|| without_time(line).to_owned());
        }
        if !matches!(mark, None | Some(Mark::Warning | Mark::Halt | Mark::Restart)) && self.excerpt.is_none() {
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

    /// The agent still spoke behind the words of a panic, which so were a program's.
    pub(super) fn lived_on(&self) -> bool {
        self.lived_on
    }

    /// The kernel has halted the machine.
    pub(super) fn halted(&self) -> bool {
        self.halted
    }

    /// A program has the kernel start the machine again.
    pub(super) fn restarts(&self) -> bool {
        self.restarts
    }

    /// Whether all that the program made the kernel say has come: a console can be far behind its kernel.
    pub(super) fn over(&self) -> bool {
        self.over
    }

    /// What the kernel said since the guest is looked at.
    pub(super) fn looked(&self) -> Vec<String> {
        self.look.clone().unwrap_or_default()
    }

    /// What the kernel complained about, also when the machine goes well.
    pub(super) fn complaints(&mut self) -> Heard {
        self.complaints.heard()
    }

    /// Why not all that the kernel said is in the log.
    pub(super) fn unlogged(&self) -> Option<&str> {
        self.unlogged.as_deref()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn console() -> (tempfile::TempDir, Console) {
        let folder = tempfile::tempdir().unwrap();
        let console = Console::create(&folder.path().join("console.log"), None, &[]).unwrap();
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
    fn a_line_without_an_end_is_cut_and_does_not_fill_the_memory() {
        let (_folder, mut console) = console();
        let lines = (0..100).flat_map(|_| console.feed(&[b'x'; LINE / 10])).collect::<Vec<_>>();
        assert!(lines.len() == 9 && lines.iter().all(|line| line.len() >= LINE), "{}", lines.len());
        assert!(console.partial.len() < LINE);
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
    fn words_of_a_panic_behind_which_the_agent_speaks_are_a_programs() {
        let over = format!("[ 2.0] {PROGRAM_OVER}\n");
        let panic = "[ 1.0] Kernel panic - not syncing: x\n";
        for (first, second, lived_on) in [(panic, over.as_str(), true), (over.as_str(), panic, false)] {
            let (_folder, mut console) = console();
            console.feed(first.as_bytes());
            console.feed(second.as_bytes());
            assert!(console.panic().is_some());
            assert_eq!(console.lived_on(), lived_on, "{first}");
        }
    }

    #[test]
    fn quizs_own_line_is_not_among_those_that_are_shown() {
        let (_folder, mut console) = console();
        let said = format!("[ 1.0] bye\r\n[ 2.0] {PROGRAM_OVER}\r\n");
        assert_eq!((console.feed(said.as_bytes()), console.over()), (vec!["[ 1.0] bye".to_owned()], true));
    }

    #[test]
    fn a_warning_is_kept_and_no_reason_of_a_later_end() {
        let (_folder, mut console) = console();
        console
            .feed(b"[ 1.0] WARNING: possible circular locking dependency detected\n[ 2.0] BUG: unable to handle x\n");
        let words: Vec<String> = console.complaints().complaints.into_iter().map(|c| c.words).collect();
        assert_eq!(words, ["WARNING: possible circular locking dependency detected", "BUG: unable to handle x"]);
        assert_eq!(console.excerpt()[1], "[ 2.0] BUG: unable to handle x");
        console.feed(b"[ 3.0] Kernel panic - not syncing: Fatal exception\n");
        assert_eq!(console.panic(), Some("BUG: unable to handle x"));
    }

    #[test]
    fn a_restored_machine_complained_before_it_was_saved_and_not_because_it_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let (before, log) = (folder.path().join("before"), folder.path().join("console.log"));
        fs::write(&before, "[ 1.0] BUG: Bad page state in process sh\r\n[ 1.1] Kernel panic - not syncing: x\r\n")
            .unwrap();
        let mut console = Console::create(&log, Some(&before), &[]).unwrap();
        console.feed(b"[ 2.0] UBSAN: shift-out-of-bounds in x.c:1:2\n");
        console.look();
        console.feed(b"[ 3.0] BUG: soft lockup - CPU#0 stuck for 22s!\n");
        let words: Vec<String> = console.complaints().complaints.into_iter().map(|c| c.words).collect();
        assert_eq!(words, ["BUG: Bad page state in process sh", "UBSAN: shift-out-of-bounds in x.c:1:2"]);
        assert_eq!(console.panic(), None, "it lived when it was saved");
        assert!(fs::read_to_string(&log).unwrap().starts_with("[ 1.0] BUG: Bad page"));
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

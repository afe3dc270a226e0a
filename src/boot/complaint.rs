//! What a guest's kernel complains about: the reports in its log, each with all its lines, and those that a project allows.
//!
//! A report is weighed as a whole, because its first line often says little: "possible circular locking dependency detected" is all
//! that two reports of lockdep have in common. Knows nothing of machines and tests.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::marks::{Mark, mark, without_time};
use crate::error::{Error, Result};

/// The most lines of a report that are kept and looked at.
const LINES: usize = 128;

/// The most reports of one log that are kept; further ones are only counted.
const MOST: usize = 50;

/// What the kernel writes before a WARN and its message, or before a BUG.
const CUT: &str = "------------[ cut here ]------------";

/// The most lines that the message of a WARN has.
const MESSAGE: usize = 8;

/// What the kernel writes when it has reported an oops or a WARN.
const END: &str = "---[ end trace";

/// What stands around the reports of KASAN, KCSAN and UBSAN.
const RULE: &str = "================";

/// A report of the kernel's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The line that says what it is, and the message, if it is a WARN with one.
    pub words: String,
    /// The report as the log has it, from there on or from a little before.
    pub lines: Vec<String>,
}

/// What a project lets the kernel say, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Allowed {
    /// A line of the report has this.
    pub text: String,
    /// For people.
    pub reason: String,
}

/// All that the kernel complained about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// In order, without what is allowed.
    pub complaints: Vec<Complaint>,
    /// How many more there were.
    pub more: usize,
    /// The entries of the list that allowed further ones.
    pub allowed: Vec<Allowed>,
}

impl Heard {
    /// The first complaint, and how many there are besides; nothing when there is none.
    pub fn words(&self) -> Option<String> {
        let [first, others @ ..] = &self.complaints[..] else { return None };
        Some(match others.len() + self.more {
            0 => first.words.clone(),
            more => format!("{} (and {more} more)", first.words),
        })
    }
}

/// A list of what is allowed: a line is a text, ` # ` and the reason; one that begins with # says nothing, as does an empty one.
/// `path` is for messages.
///
/// # Errors
/// A line without a reason, by its number.
pub fn allowed(path: &Path, text: &str) -> Result<Vec<Allowed>> {
    let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let read = |(number, line): (usize, &str)| {
        let (text, reason) = line.split_once(" # ").map_or((line, ""), |(text, reason)| (text.trim(), reason.trim()));
        if reason.is_empty() {
            return Err(Error::input(format!("{}:{}: no reason for `{text}`", path.display(), number + 1))
                .hint("write each line as: TEXT # REASON (TEXT is a part of what the kernel says, REASON why it may say that)"));
        }
        Ok(Allowed { text: text.to_owned(), reason: reason.to_owned() })
    };
    lines.map(read).collect()
}

/// The complaints in a text of the kernel's.
pub fn read(text: &str, allowed: &[Allowed]) -> Heard {
    let mut complaints = Complaints::new(allowed);
    text.lines().for_each(|line| complaints.line(line.trim_end()));
    complaints.heard()
}

/// A report whose end did not come yet.
#[derive(Debug)]
struct Open {
    words: Option<String>,
    lines: Vec<String>,
    /// The lines between "cut here" and the WARN's own.
    message: Option<Vec<String>>,
}

/// Takes a log line by line.
#[derive(Debug)]
pub(super) struct Complaints {
    list: Vec<Allowed>,
    open: Option<Open>,
    heard: Heard,
}

impl Complaints {
    pub(super) fn new(allowed: &[Allowed]) -> Self {
        Self { list: allowed.to_vec(), open: None, heard: Heard::default() }
    }

    pub(super) fn line(&mut self, line: &str) {
        // A panic is the end of a machine, and told as that.
        let is_marked = !matches!(mark(line), None | Some(Mark::Panic | Mark::Halt | Mark::Restart));
        let text = without_time(line);
        let is_cut = text.contains(CUT);
        if is_cut || (is_marked && !self.open.as_ref().is_some_and(Open::is_in_message)) {
            self.close();
            let words = (!is_cut).then(|| text.to_owned());
            self.open = Some(Open { words, lines: Vec::new(), message: is_cut.then(Vec::new) });
        }
        let Some(open) = &mut self.open else { return };
        if open.lines.len() < LINES {
            open.lines.push(line.to_owned());
        }
        if !is_cut {
            open.takes(text, is_marked);
        }
        if open.words.is_some() && open.lines.len() > 1 && (text.contains(END) || text.starts_with(RULE)) {
            self.close();
        }
    }

    /// What was heard so far, with the report that has not ended yet.
    pub(super) fn heard(&mut self) -> Heard {
        self.close();
        self.heard.clone()
    }

    fn close(&mut self) {
        let Some(Open { words: Some(words), lines, .. }) = self.open.take() else { return };
        let is_said = |allowed: &&Allowed| lines.iter().any(|line| line.contains(&allowed.text));
        if let Some(allowed) = self.list.iter().find(is_said) {
            if !self.heard.allowed.contains(allowed) {
                self.heard.allowed.push(allowed.clone());
            }
        } else if self.heard.complaints.len() < MOST {
            self.heard.complaints.push(Complaint { words, lines });
        } else {
            self.heard.more += 1;
        }
    }
}

impl Open {
    fn is_in_message(&self) -> bool {
        self.message.as_ref().is_some_and(|message| message.len() < MESSAGE)
    }

    /// A line behind "cut here": part of the message, or the line that says where.
    fn takes(&mut self, text: &str, is_marked: bool) {
        let Some(message) = self.message.as_mut() else { return };
        if is_marked && (text.contains("WARNING: ") || text.contains("kernel BUG at ")) {
            let message = std::iter::once(text.to_owned()).chain(message.drain(..)).collect::<Vec<_>>().join(": ");
            self.words = Some(message);
            self.message = None;
        } else if message.len() < MESSAGE {
            message.push(text.to_owned());
            // A complaint of another processor may have come in between.
            if is_marked {
                self.words.get_or_insert_with(|| text.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        read(text, &[]).complaints.into_iter().map(|complaint| complaint.words).collect()
    }

    fn list(text: &str) -> Vec<Allowed> {
        allowed(Path::new("allow"), text).unwrap()
    }

    /// As lib/refcount.c, kernel/panic.c and lib/bug.c of 6.12.117 and 7.3.4 print it.
    const OLD_WARN: &str = "\
[    1.0] ------------[ cut here ]------------
[    1.1] refcount_t: underflow; use-after-free.
[    1.2] WARNING: CPU: 1 PID: 5 at lib/refcount.c:28 refcount_warn_saturate+0xba/0x110
[    1.3] Call Trace:
[    1.4]  zpl_put+0x1/0x2 [zfs]
[    1.5] ---[ end trace 0000000000000000 ]---
[    1.6] EXT4-fs (vdb): mounted
";
    const NEW_WARN: &str = "\
[    2.0] ------------[ cut here ]------------
[    2.1] list_del corruption. prev->next should be 1, but was 2. (prev=3)
[    2.2] WARNING: lib/list_debug.c:62 at __list_del_entry_valid_or_report+0x1/0x2, CPU#0: sh/12
[    2.3] ---[ end trace 0000000000000000 ]---
";
    /// As kernel/locking/lockdep.c of 5.10.262 to 7.3.4 begins it.
    const LOCKDEP: &str = "\
[    3.0] ======================================================
[    3.1] WARNING: possible circular locking dependency detected
[    3.2] 6.12.117 #1 Tainted: P           OE
[    3.3] ------------------------------------------------------
[    3.4] txg_sync/12 is trying to acquire lock:
[    3.5] ffff888000000000 (&db->db_mtx){+.+.}-{3:3}, at: dbuf_find+0x1/0x2 [zfs]
";

    #[test]
    fn a_warn_is_one_report_with_its_message() {
        let old = "WARNING: CPU: 1 PID: 5 at lib/refcount.c:28 refcount_warn_saturate+0xba/0x110: refcount_t: underflow; \
                   use-after-free.";
        let new = "WARNING: lib/list_debug.c:62 at __list_del_entry_valid_or_report+0x1/0x2, CPU#0: sh/12: list_del \
                   corruption. prev->next should be 1, but was 2. (prev=3)";
        let plain = "[ 1.0] ------------[ cut here ]------------\n[ 1.1] WARNING: CPU: 0 PID: 1 at x.c:1 f+0x1/0x2\n";
        assert_eq!(
            words(&format!("{OLD_WARN}{NEW_WARN}{plain}")),
            [old, new, "WARNING: CPU: 0 PID: 1 at x.c:1 f+0x1/0x2"]
        );
        assert_eq!(read(OLD_WARN, &[]).complaints[0].lines.len(), 6, "up to the end of the trace");
        // lib/debugobjects.c, kernel/rcu/tree_plugin.h, fs/dcache.c: the message has a mark, too.
        for message in [
            "ODEBUG: free active (active state 0) object: 1 object type: timer_list hint: f+0x0/0x1",
            "Voluntary context switch within RCU read-side critical section!",
            "BUG: Dentry 1{i=2,n=x}  still in use (1) [unmount of zfs zfs]",
        ] {
            let text = OLD_WARN.replace("refcount_t: underflow; use-after-free.", message);
            assert!(words(&text).len() == 1 && words(&text)[0].ends_with(message), "{:?}", words(&text));
        }
    }

    #[test]
    fn each_report_is_told_and_an_oops_before_a_panic_but_not_the_panic() {
        let ubsan = "\
[ 4.0] ================================================================================
[ 4.1] UBSAN: shift-out-of-bounds in x.c:1:2
[ 4.2] Call Trace:
[ 4.3] ================================================================================
[ 4.4] sh: harmless
";
        let heard = read(
            &format!("{ubsan}{LOCKDEP}[ 5.0] BUG: unable to handle x\n[ 5.1] Kernel panic - not syncing: y\n"),
            &[],
        );
        let told: Vec<(&str, usize)> = heard.complaints.iter().map(|c| (c.words.as_str(), c.lines.len())).collect();
        let lockdep = "WARNING: possible circular locking dependency detected";
        assert_eq!(told, [("UBSAN: shift-out-of-bounds in x.c:1:2", 3), (lockdep, 5), ("BUG: unable to handle x", 2)]);
        assert_eq!(heard.words().unwrap(), "UBSAN: shift-out-of-bounds in x.c:1:2 (and 2 more)");
        assert_eq!(read("[ 1.0] Kernel panic - not syncing: y\n[ 1.1] reboot: System halted\n", &[]).words(), None);
    }

    #[test]
    fn a_report_is_allowed_by_any_of_its_lines_and_no_other_with_it() {
        let log = format!("{OLD_WARN}{LOCKDEP}");
        let by = |text: &str| {
            let heard = read(&log, &list(text));
            (heard.complaints.len(), heard.allowed.len())
        };
        assert_eq!(by("db_mtx # known\n"), (1, 1));
        assert_eq!(by("refcount_t: underflow # known\n"), (1, 1));
        assert_eq!(by("db_mtx # known\nzpl_put # known\n"), (0, 2));
        assert_eq!(by("EXT4-fs # behind the end of the trace\n"), (2, 0));
        let twice = read(&format!("{LOCKDEP}{LOCKDEP}"), &list("db_mtx # known\n"));
        assert_eq!((twice.complaints.len(), twice.allowed.len()), (0, 1));
    }

    #[test]
    fn a_complaint_between_cut_here_and_its_warn_is_not_lost() {
        let text = "------------[ cut here ]------------\nBUG: scheduling while atomic: sh/1/2\n";
        assert_eq!(words(text), ["BUG: scheduling while atomic: sh/1/2"]);
        let filled = format!("{text}{}UBSAN: x in y.c:1:2\n", "a line\n".repeat(MESSAGE));
        assert_eq!(words(&filled).len(), 2);
    }

    #[test]
    fn many_reports_and_long_ones_do_not_fill_the_memory() {
        let text = format!("BUG: x\n{}", "a line\n".repeat(2 * LINES));
        let heard = read(&text.repeat(MOST + 3), &[]);
        assert_eq!((heard.complaints.len(), heard.more, heard.complaints[0].lines.len()), (MOST, 3, LINES));
        let heard = read(&format!("{}UBSAN: y\n", "BUG: x\n".repeat(MOST + 3)), &list("BUG: x # known\n"));
        assert_eq!(heard.words().as_deref(), Some("UBSAN: y"), "the only one that is not allowed is found behind many");
    }

    #[test]
    fn a_line_without_a_reason_is_wrong_and_placed() {
        let good = list("# a list\n\n  CPU#0: sh # why # so  \n");
        assert_eq!(good, [Allowed { text: "CPU#0: sh".into(), reason: "why # so".into() }]);
        for wrong in ["ok # x\n\nWARNING\n", "ok # x\n\nWARNING #\n", "ok # x\n\nWARNING#x\n", "#\n#\n x # \n"] {
            let error = allowed(Path::new("/p/allow"), wrong).unwrap_err();
            assert!(error.to_string().starts_with("/p/allow:3: no reason for `"), "{error}");
        }
    }
}

//! The terminal's title, and the bar that some terminals have in their tab or in the list of windows. Both are the user's again when nothing
//! takes time any more, when somebody else gets the terminal, and when a signal ends quiz.
//!
//! Only for terminals of which it is known that they can do it and undo it; within tmux and screen, which would keep it for themselves, for none.

use super::plain::one_line;
use rustix::stdio::stderr;
use std::sync::atomic::{AtomicU8, Ordering};

/// Bits of [`SHOWN`]: the title is quiz's, the bar is there.
const TITLE: u8 = 1;
const BAR: u8 = 2;
/// Lines that move are on the screen: what a shell says belongs below them.
pub(super) const LINES: u8 = 4;

/// What is shown now. One for all of the process, because a signal handler reads it.
static SHOWN: AtomicU8 = AtomicU8::new(0);

/// "Save window title on stack", and "restore": <https://invisible-island.net/xterm/ctlseqs/ctlseqs.html>, `CSI 22 ; 2 t`.
const SAVE_TITLE: &str = "\x1b[22;2t";
const RESTORE_TITLE: &str = "\x1b[23;2t";
/// No bar: <https://conemu.github.io/en/AnsiEscapeCodes.html#ConEmu_specific_OSC>, `OSC 9 ; 4`.
const NO_BAR: &str = "\x1b]9;4;0\x1b\\";

/// What the terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Abilities {
    title: bool,
    bar: bool,
}

impl Abilities {
    /// By the variables with which terminals introduce themselves.
    ///
    /// | terminal | says so | since | source |
    /// |---|---|---|---|
    /// | Ghostty | TERM_PROGRAM | 1.2, title and bar | <https://ghostty.org/docs/vt/osc/conemu> |
    /// | iTerm2 | TERM_PROGRAM | 3.6.6, title and bar | <https://iterm2.com/documentation-escape-codes.html> |
    /// | Windows Terminal (WSL) | WT_SESSION | 1.6, bar | <https://learn.microsoft.com/windows/terminal/tutorials/progress-bar-sequences> |
    /// | ConEmu | ConEmuANSI | bar | <https://conemu.github.io/en/AnsiEscapeCodes.html> |
    /// | GNOME Terminal, Ptyxis and others with VTE | VTE_VERSION | title; 0.80, bar | <https://gnome.pages.gitlab.gnome.org/vte/gtk4/const.TERMPROP_PROGRESS_HINT.html> |
    /// | xterm | XTERM_VERSION | title | ctlseqs, as above |
    /// | kitty | KITTY_WINDOW_ID | title | `screen_manipulate_title_stack` of its `kitty/screen.c` |
    /// | foot | TERM | title | foot-ctlseqs(7) |
    /// | Alacritty | TERM | title | <https://github.com/alacritty/alacritty/blob/master/docs/escape_support.md> |
    pub(super) fn new(variable: impl Fn(&str) -> Option<String>) -> Self {
        let is_set = |name| variable(name).is_some_and(|value| !value.is_empty());
        let term = variable("TERM").unwrap_or_default();
        let within = ["tmux", "screen", "dumb", "linux"]
            .iter()
            .any(|name| term == *name || term.starts_with(&format!("{name}-")));
        if within || term.is_empty() || is_set("TMUX") || is_set("STY") || is_set("ZELLIJ") {
            return Self::default();
        }
        let version = numbers(&variable("TERM_PROGRAM_VERSION").unwrap_or_default());
        let both = match variable("TERM_PROGRAM").as_deref() {
            Some("ghostty") => version >= [1, 2, 0],
            Some("iTerm.app") => version >= [3, 6, 6],
            _ => false,
        };
        // VTE writes its version as one number, two digits for each part: 8001 is 0.80.1; it shows a bar from 0.80 on.
        let vte = variable("VTE_VERSION").and_then(|version| version.parse().ok()).unwrap_or(0);
        let other = is_set("WT_SESSION") || variable("ConEmuANSI").as_deref() == Some("ON");
        let stack = is_set("XTERM_VERSION")
            || is_set("KITTY_WINDOW_ID")
            || ["foot", "alacritty"].iter().any(|name| term.starts_with(name));
        Self { title: both || vte > 0 || stack, bar: both || other || vte >= 8000 }
    }
}

/// "1.2.3-dev" as numbers.
fn numbers(version: &str) -> [u32; 3] {
    let mut parts = version.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

/// What is shown there.
#[derive(Debug, Default)]
pub(super) struct Outside {
    able: Abilities,
    last: String,
}

impl Outside {
    pub(super) fn new(able: Abilities) -> Self {
        Self { able, last: String::new() }
    }

    /// The bytes that show what takes time and how far it is; none where nothing is new.
    pub(super) fn show(&mut self, what: &str, percent: Option<u64>) -> String {
        let mut text = String::new();
        if self.able.title {
            let far = percent.map_or(String::new(), |percent| format!(" {percent}%"));
            let what = one_line(what);
            text += &format!("\x1b]2;quiz: {what}{far}\x1b\\");
        }
        if self.able.bar {
            text += &percent.map_or("\x1b]9;4;3\x1b\\".to_owned(), |percent| format!("\x1b]9;4;1;{percent}\x1b\\"));
        }
        if text == self.last {
            return String::new();
        }
        self.last.clone_from(&text);
        let flags = if self.able.title { TITLE } else { 0 } | if self.able.bar { BAR } else { 0 };
        // Before the bytes are written. A signal in between undoes what is not there, which can only restore a title that somebody else had saved.
        let before = SHOWN.fetch_or(flags, Ordering::Relaxed);
        if self.able.title && before & TITLE == 0 { SAVE_TITLE.to_owned() + &text } else { text }
    }

    /// Writes the bytes that undo it.
    pub(super) fn hide(&mut self, write: &dyn Fn(&str)) {
        self.last.clear();
        // The flags go after the bytes are written: a signal in between undoes it twice, rather than not at all.
        write(&undo(SHOWN.load(Ordering::Relaxed)).concat());
        SHOWN.fetch_and(!(TITLE | BAR), Ordering::Relaxed);
    }
}

/// Whether lines that move are on the screen.
pub(super) fn set_lines(shown: bool) {
    if shown {
        SHOWN.fetch_or(LINES, Ordering::Relaxed);
    } else {
        SHOWN.fetch_and(!LINES, Ordering::Relaxed);
    }
}

fn undo(shown: u8) -> [&'static str; 2] {
    [if shown & TITLE != 0 { RESTORE_TITLE } else { "" }, if shown & BAR != 0 { NO_BAR } else { "" }]
}

/// What a signal does that may end quiz: nothing here takes a lock or memory.
pub(super) fn at_signal(ends: bool) {
    let kept = if ends { 0 } else { LINES };
    let shown = SHOWN.fetch_and(kept, Ordering::Relaxed);
    for text in undo(shown) {
        let _ = rustix::io::write(stderr(), text.as_bytes());
    }
    if ends && shown & LINES != 0 {
        let _ = rustix::io::write(stderr(), b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn able(variables: &[(&str, &str)]) -> (bool, bool) {
        let able = Abilities::new(|name| {
            let found = variables.iter().chain(&[("TERM", "xterm-256color")]).find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        (able.title, able.bar)
    }

    #[test]
    fn only_terminals_that_are_known_to_undo_it_are_written_to() {
        assert_eq!(able(&[]), (false, false), "many say that they are an xterm");
        assert_eq!(able(&[("TERM_PROGRAM", "ghostty"), ("TERM_PROGRAM_VERSION", "1.2.0")]), (true, true));
        assert_eq!(able(&[("TERM_PROGRAM", "ghostty"), ("TERM_PROGRAM_VERSION", "1.1.9")]), (false, false));
        assert_eq!(able(&[("TERM_PROGRAM", "iTerm.app"), ("TERM_PROGRAM_VERSION", "3.10.1")]), (true, true));
        assert_eq!((able(&[("VTE_VERSION", "7803")]), able(&[("VTE_VERSION", "8001")])), ((true, false), (true, true)));
        assert_eq!((able(&[("WT_SESSION", "x")]), able(&[("ConEmuANSI", "ON")])), ((false, true), (false, true)));
        assert_eq!((able(&[("TERM", "foot")]), able(&[("KITTY_WINDOW_ID", "1")])), ((true, false), (true, false)));
    }

    #[test]
    fn within_another_terminal_nobody_is_written_to() {
        let outer = [("VTE_VERSION", "8001"), ("WT_SESSION", "x")];
        for inner in [
            ("TMUX", "/tmp/x"),
            ("STY", "1.x"),
            ("TERM", "tmux-256color"),
            ("TERM", "screen"),
            ("TERM", "dumb"),
            ("TERM", ""),
        ] {
            assert_eq!(able(&[&[inner], &outer[..]].concat()), (false, false), "{inner:?}");
        }
    }

    #[test]
    fn what_is_shown_is_undone_once_and_only_what_is_new_is_written() {
        let mut outside = Outside::new(Abilities { title: true, bar: true });
        let first = outside.show("kernel\x1b]0;evil\x07", Some(35));
        assert_eq!(first, "\x1b[22;2t\x1b]2;quiz: kernel␛]0;evil␇ 35%\x1b\\\x1b]9;4;1;35\x1b\\");
        assert_eq!(outside.show("kernel\x1b]0;evil\x07", Some(35)), "");
        assert_eq!(outside.show("boot", None), "\x1b]2;quiz: boot\x1b\\\x1b]9;4;3\x1b\\", "the title is saved once");
        let written = |outside: &mut Outside| {
            let written = std::cell::RefCell::new(String::new());
            outside.hide(&|bytes| {
                let shown = SHOWN.load(Ordering::Relaxed) & (TITLE | BAR);
                assert_eq!(bytes.is_empty(), shown == 0, "a signal that comes now undoes it");
                *written.borrow_mut() += bytes;
            });
            written.into_inner()
        };
        assert_eq!([(); 2].map(|()| written(&mut outside)), ["\x1b[23;2t\x1b]9;4;0\x1b\\", ""]);
        let mut none = Outside::new(Abilities::default());
        assert_eq!((none.show("kernel", Some(1)), written(&mut none)), (String::new(), String::new()));
    }
}

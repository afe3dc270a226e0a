//! What a failed script said, cut down to what a person wants to see first.

use std::path::Path;

/// Lines that a compiler, linker, make or Kconfig marks as the reason, at most.
const REASONS: usize = 20;
/// Last lines of the log.
const TAIL: usize = 12;
/// No more than this of a log's end is read, in bytes.
const WINDOW: u64 = 4 << 20;

/// The end of a log: all of it, unless it is very long.
pub(super) fn end(log: &Path) -> String {
    String::from_utf8_lossy(&tail(log).unwrap_or_default()).into_owned()
}

fn tail(log: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(WINDOW)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether a program that the script started was ended by somebody from outside, as by Linux when memory runs out: make names the signal, or a status of
/// 128 and that signal's number; gcc, collect2 and clang say that their own programs were killed. A crash of a program's own is no such end: it would
/// come again.
pub(super) fn names_a_kill(text: &str) -> bool {
    const SIGNALS: [&str; 5] = ["Hangup", "Interrupt", "Quit", "Killed", "Terminated"];
    const STATUSES: [&str; 5] = ["Error 129", "Error 130", "Error 131", "Error 137", "Error 143"];
    const COMPILERS: [&str; 4] = [
        ": fatal error: Killed signal terminated program ",
        " terminated with signal 9 [Killed]",
        ": error: unable to execute command: Killed",
        ": internal compiler error: Killed (program ",
    ];
    let of_make = |line: &str| {
        let end = line.strip_prefix("make")?.split_once(": *** [")?.1.rsplit_once("] ")?.1;
        Some(SIGNALS.contains(&end) || STATUSES.contains(&end))
    };
    text.lines().any(|line| of_make(line) == Some(true) || COMPILERS.iter().any(|words| line.contains(words)))
}

/// The lines that name the reason, first, then the end of the log where it adds something.
pub(super) fn excerpt(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let reasons = lines.iter().filter(|line| is_reason(line)).take(REASONS);
    let mut shown: Vec<String> = reasons.map(|&line| line.to_owned()).collect();
    let end = &lines[lines.len().saturating_sub(TAIL)..];
    let news: Vec<&str> = end.iter().copied().filter(|line| !shown.iter().any(|s| s == line)).collect();
    if shown.is_empty() || !news.iter().all(|line| line.starts_with("make")) {
        shown.extend(news.iter().map(|&line| line.to_owned()));
    }
    shown
}

/// Whether a line speaks of `item`, "NAME" or "NAME=VALUE"; something that ends in `_` may stand before the name.
pub(super) fn names(lines: &[String], item: &str) -> bool {
    let name = item.split('=').next().unwrap_or(item).trim();
    let is_whole = |line: &str, at: usize| {
        !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric())
            && !line[at + name.len()..].starts_with(|c: char| c.is_ascii_alphanumeric() || "_-".contains(c))
    };
    !name.is_empty() && lines.iter().any(|line| line.match_indices(name).any(|(at, _)| is_whole(line, at)))
}

fn is_reason(line: &str) -> bool {
    const MARKS: &[&str] = &[
        ": error:",
        ": fatal error:",
        ": undefined reference to",
        ": multiple definition of",
        "ERROR: modpost:",
        "*** No rule to make target",
        "internal compiler error",
        "No space left on device",
        "Killed",
    ];
    line.starts_with("error: ") || line.starts_with("E: ") || MARKS.iter().any(|mark| line.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compilers_own_words_come_first() {
        let mut log = String::new();
        for n in 0..500 {
            log += &format!("  CC      drivers/a{n}.o\n");
        }
        log += "/quiz/src/fs/x.c:12:3: error: 'foo' undeclared\n   12 |   foo();\n";
        for n in 0..50 {
            log += &format!("  CC      drivers/b{n}.o\n");
        }
        log += "make[2]: *** [fs/x.o] Error 1\nmake: *** [all] Error 2\n";
        let shown = excerpt(&log);
        assert_eq!(shown[0], "/quiz/src/fs/x.c:12:3: error: 'foo' undeclared");
        assert_eq!(shown.last().unwrap(), "make: *** [all] Error 2");
        assert!(shown.len() <= 1 + TAIL);
    }

    #[test]
    fn what_make_and_compilers_say_of_programs_that_were_killed_is_known() {
        for killed in [
            "make[1]: *** [Makefile:3: a.o] Killed\nmake: *** [Makefile:7: all] Error 2\n",
            "make: *** [Makefile:3: a.o] Error 137\n",
            "gcc: fatal error: Killed signal terminated program cc1\ncompilation terminated.\nmake: *** [Makefile:3: a.o] Error 1\n",
            "collect2: fatal error: ld terminated with signal 9 [Killed]\n",
            "clang: error: unable to execute command: Killed\n",
        ] {
            assert!(names_a_kill(killed), "{killed}");
        }
        for other in [
            "make[1]: *** [Makefile:3: a[1].o] Error 1\nmake: *** [Makefile:7: all] Error 2\n",
            // resolve_btfids and perl fail so, and would again.
            "make: *** [scripts/Makefile.vmlinux:35: vmlinux] Error 255\n",
            "make: *** [t] Aborted (core dumped)\nmake: *** [a.tab.c] Deleting file 'a.tab.h'\n",
            "make: *** No rule to make target 'x'.  Stop.\nmake: [Makefile:3: a] Error 1 (ignored)\n",
            "a.c:12:3: error: x\n  12 | printf(\"make: *** [x] Killed\");\nKilled\n",
        ] {
            assert!(!names_a_kill(other), "{other}");
        }
    }

    #[test]
    fn an_item_is_named_by_its_whole_name() {
        let lines = ["error: the list:".to_owned(), "  CONFIG_KASAN_INLINE=y was asked for".to_owned()];
        assert!(names(&lines, "CONFIG_KASAN_INLINE=y") && names(&lines, "KASAN_INLINE=y"));
        assert!(!names(&lines, "CONFIG_KASAN=y") && !names(&lines, "SAN_INLINE=y") && !names(&lines, ""));
    }

    #[test]
    fn without_a_marked_reason_the_end_is_shown() {
        let shown = excerpt("one\n\ntwo\n");
        assert_eq!(shown, ["one", "two"]);
        assert!(excerpt("").is_empty());
    }
}

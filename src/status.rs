//! All exit statuses of quiz, and what `git bisect run` makes of those of `quiz up`.
//!
//! Knows nothing of what leads to them.

/// All went well.
pub const FINE: u8 = 0;
/// A stage failed; of `quiz test`, something did not come out as expected.
pub const FAILED: u8 = 1;
/// What was asked for is wrong. `up`, `snap`, `exec`, `wait` and `crash again` have [`HOST`] for that, and `ssh` has [`SSH`].
pub const WRONG: u8 = 2;
/// The guest went away by itself; `--lost-as` gives another status.
pub const LOST: u8 = 122;
/// The guest's kernel gave up; with `--fail-on-warning` also: it complained.
pub const PANICKED: u8 = 123;
/// A time limit was over.
pub const TIME_LIMIT: u8 = 124;
/// quiz or the host failed.
pub const HOST: u8 = 125;
/// Of `quiz ssh`: quiz or ssh itself failed. ssh has this status for it, so that it is not taken for the remote program's.
pub const SSH: u8 = 255;

/// The status for a signal that ended quiz or a program: 128 and its number, as shells have it.
pub fn signal(number: i32) -> u8 {
    128 | u8::try_from(number).unwrap_or(0)
}

/// Statuses of `quiz up`: which, when, and what `git bisect run` makes of it.
pub const UP: &[(&str, &str, &str)] = &[
    (
        "the program's own",
        "the program ended, and all that it wrote arrived",
        "0 good, 1 to 127 bad, more ends the bisect",
    ),
    ("122", "the guest went away by itself: reset, triple fault, power off, halt; `--lost-as N` gives N", "bad"),
    ("123", "kernel panic or oops; with `--fail-on-warning` also what the kernel complained about", "bad"),
    ("124", "a time limit was over", "bad"),
    (
        "125",
        "quiz or the host failed, before or during the program: a build, a full disk, qemu, KVM, quiz's own output",
        "skip: nothing is known of this commit",
    ),
    ("128+n", "signal n ended quiz", "ends the bisect"),
];

/// [`UP`] as lines of a help text.
pub fn help() -> String {
    let line =
        |(status, when, bisect): &(&str, &str, &str)| format!("  {status}: {when}\n      git bisect run: {bisect}");
    let lines: Vec<String> = UP.iter().map(line).collect();
    format!("Exit status:\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_has_the_same_table() {
        let readme = include_str!("../README.md");
        for (status, when, bisect) in UP {
            let row = format!("| {status} | {when} | {bisect} |\n");
            assert!(readme.contains(&row), "no `{row}`");
        }
    }
}

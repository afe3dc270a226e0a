//! What clap says of a wrong command line, with what was most likely meant.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use std::ffi::OsString;

/// Commands that run the program behind `--`.
const RUNS: [&str; 3] = ["exec", "snap", "up"];
/// What other tools call a machine that starts.
const UP: [&str; 7] = ["boot", "launch", "run", "shell", "start", "vm", "qemu"];

/// The error with a tip that fits these words.
pub(super) fn told(mut error: Error, words: &[OsString]) -> Error {
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let Some(ContextValue::String(wrong)) = error.get(ContextKind::InvalidArg) else { return error };
            let is = |word: &OsString, text: &str| word.to_str() == Some(text);
            let command = words.iter().position(|word| RUNS.iter().any(|name| is(word, name)));
            let at = words.iter().position(|word| is(word, wrong));
            if let (Some(command), Some(at)) = (command, at)
                && command < at
                && !wrong.starts_with('-')
            {
                let text =
                    |words: &[OsString]| words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
                let tip =
                    format!("a program stands behind `--`: quiz {} -- {}", text(&words[1..at]), text(&words[at..]));
                error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(tip)]));
            }
        }
        ErrorKind::InvalidSubcommand => {
            let Some(ContextValue::String(wrong)) = error.get(ContextKind::InvalidSubcommand) else { return error };
            if UP.contains(&wrong.as_str()) {
                error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec!["up".to_owned()]));
            }
        }
        _ => {}
    }
    error
}

#[cfg(test)]
mod tests {
    use super::super::Cli;

    fn said(words: &[&str]) -> String {
        Cli::read(words).unwrap_err().to_string()
    }

    #[test]
    fn what_was_most_likely_meant_is_said() {
        let text = said(&["quiz", "-k", "package", "up", "cat", "/proc/x", "-n"]);
        assert!(text.contains("tip: a program stands behind `--`: quiz -k package up -- cat /proc/x -n"), "{text}");
        let text = said(&["quiz", "run", "--", "true"]);
        assert!(text.contains("'up'"), "{text}");
        // An unknown flag is not taken for a program.
        assert!(!said(&["quiz", "up", "--sahre", "x"]).contains("behind"), "{}", said(&["quiz", "up", "--sahre", "x"]));
    }
}

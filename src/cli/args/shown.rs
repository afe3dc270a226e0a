//! A test that what the documentation tells people to type can be typed. Knows how documents are written; [`Cli`] knows the commands.

use super::Cli;
use clap::error::ErrorKind;
use std::path::Path;

/// The documents, and of each what is in code.
fn documents() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all: Vec<_> = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.push(root.join("README.md"));
    all.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    all.sort();
    all.iter().map(|path| (path.display().to_string(), std::fs::read_to_string(path).unwrap())).collect()
}

/// Command lines of a document: code spans, and lines of code blocks, that begin with `quiz `, unless a digit follows (a version, a time). Of a table
/// whose head begins with "there" the first column is left out: it has the commands of another program.
fn commands(text: &str) -> Vec<String> {
    let (mut all, mut block, mut there) = (Vec::new(), false, false);
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            block = !block;
        } else if block {
            let line = line.trim_start();
            all.extend(line.strip_prefix("$ ").unwrap_or(line).strip_prefix("quiz ").map(str::to_owned));
        } else {
            there = line.starts_with('|') && (there || line.starts_with("| there "));
            let line = if there { line.splitn(3, '|').last().unwrap_or_default() } else { line };
            all.extend(
                line.split('`').skip(1).step_by(2).filter_map(|span| span.strip_prefix("quiz ")).map(str::to_owned),
            );
        }
    }
    all.retain(|command| !command.starts_with(|first: char| first.is_ascii_digit()));
    all
}

/// The words up to where the shell or the reader has to put something else.
fn words(command: &str) -> Vec<&str> {
    let ends = ["|", ";", "&&", "&", "#", "…", ">"];
    let word = |word: &&str| !ends.iter().any(|end| word.starts_with(end));
    let shown = command.split_whitespace().take_while(word).map(|word| word.trim_end_matches([';', ',']));
    shown.filter(|word| !word.starts_with('[') && !word.ends_with(']')).take_while(|word| *word != "--").collect()
}

#[test]
fn every_command_and_flag_that_the_documentation_shows_can_be_typed() {
    let (mut seen, mut unknown) = (0, Vec::new());
    for (path, text) in documents() {
        for command in commands(&text) {
            let words = words(&command);
            let Err(error) = Cli::read(std::iter::once("quiz").chain(words.iter().copied())) else {
                seen += 1;
                continue;
            };
            let wrong = [ErrorKind::UnknownArgument, ErrorKind::InvalidSubcommand, ErrorKind::ArgumentConflict];
            if wrong.contains(&error.kind()) {
                unknown.push(format!(
                    "{path}: quiz {command}\n    {}",
                    error.to_string().lines().next().unwrap_or_default()
                ));
            }
        }
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
    assert!(seen > 100, "the documents were not understood: {seen}");
}

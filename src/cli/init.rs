//! `quiz init`: a quiz.toml to start from, with what is worth setting in a folder of that kind. Settings are commented out, but for what such a
//! folder must have, and what flags set. Reads no more of a project than tells which kind it is, or whether the flags are right there.

use super::args::{Cli, Init};
use crate::error::{Error, Result};
use crate::load::{self, FlagValue, Value};
use crate::{host, report};
use std::fs;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// The file's name.
const FILE: &str = "quiz.toml";

/// How each file begins. KIND stands for what its settings are for: [`Kind::name`].
const HEAD: &str = include_str!("start/settings/head.toml");

/// A kind of folder, and what its file consists of.
struct Kind {
    /// "settings for …".
    name: &'static str,
    parts: &'static [&'static str],
    /// The settings that are not commented out.
    sets: &'static [&'static str],
    /// What to type next, behind `quiz`.
    next: &'static str,
}

/// The trees that quiz runs in, by the source stages that take them.
const TREES: [(&str, Kind); 2] = [
    (
        "zfs-source",
        Kind {
            name: "this tree of OpenZFS",
            parts: &[
                include_str!("start/settings/profiles-zfs.toml"),
                include_str!("start/settings/zfs-tree.toml"),
                include_str!("start/settings/kernel.toml"),
                include_str!("start/settings/machine.toml"),
            ],
            sets: &[],
            next: "up --install -- zfs version",
        },
    ),
    (
        "kernel-source",
        Kind {
            name: "this tree of Linux",
            parts: &[
                include_str!("start/settings/profiles.toml"),
                include_str!("start/settings/kernel-tree.toml"),
                include_str!("start/settings/zfs.toml"),
                include_str!("start/settings/machine.toml"),
            ],
            sets: &[],
            next: "up --install -- uname -a",
        },
    ),
];

/// Its file has one line that is not commented out: without it no module would be compiled.
const MODULE: Kind = Kind {
    name: "this folder of kernel modules",
    parts: &[
        include_str!("start/settings/module.toml"),
        include_str!("start/settings/profiles.toml"),
        include_str!("start/settings/kernel.toml"),
        include_str!("start/settings/machine.toml"),
    ],
    sets: &["modules"],
    next: "-k package up --install -- lsmod",
};

const ANY: Kind = Kind {
    name: "this folder",
    parts: &[
        include_str!("start/settings/profiles.toml"),
        include_str!("start/settings/kernel.toml"),
        include_str!("start/settings/zfs.toml"),
        include_str!("start/settings/machine.toml"),
    ],
    sets: &[],
    next: "-k package up --install -- uname -a",
};

const USER: Kind = Kind {
    name: "all projects of yours; a project's own quiz.toml wins over it",
    parts: &[
        include_str!("start/settings/profiles.toml"),
        include_str!("start/settings/kernel.toml"),
        include_str!("start/settings/zfs.toml"),
        include_str!("start/settings/machines.toml"),
    ],
    sets: &[],
    next: "config",
};

/// Writes the file, and says what and where, and what to type next.
///
/// # Errors
/// There is a quiz.toml already; the folder is another user's; the file cannot be written; the user's answer was neither of the two.
pub(super) fn run(cli: &Cli, asked: &Init) -> Result<()> {
    let named = cli.global.directory.as_deref().unwrap_or(Path::new("."));
    let start = fs::canonicalize(named)
        .map_err(|e| Error::input(format!("there is no folder {}", named.display())).because(e))?;
    let config_dir = load::config_dir()?;
    let mut user = asked.user;
    let (mut kind, mut dir) = (&USER, config_dir.clone());
    if !user {
        let (project, root) = place(&start, &config_dir)?;
        // With --json, or where stdout is no terminal, it is a program that reads this, and cannot answer.
        let is_program = cli.global.json || !std::io::stdout().is_terminal();
        user = !asked.here && !is_program && wants_user(project, &root, &config_dir)?;
        if !user {
            (kind, dir) = (project, root);
        }
    }
    let path = dir.join(FILE);
    let mut flags = cli.invocation().flags;
    if !flags.is_empty() {
        // Flags are checked before they are written: with a wrong quiz.toml every later command would fail.
        load::Project::load(&start, &flags)?;
    }
    if let Some(modules) = flags.iter_mut().find(|flag| flag.key == "modules") {
        named_below(&dir, kind, modules);
    }
    write(&path, &flags.iter().fold(text(kind), |text, flag| set(&text, flag)))?;
    let mut sets = kind.sets.to_vec();
    sets.extend(flags.iter().map(|flag| flag.key).filter(|key| !kind.sets.contains(key)));
    // The next command needs -C unless the current folder is in the project.
    let is_here = user || std::env::current_dir().is_ok_and(|here| here.starts_with(&dir));
    let there = if is_here { String::new() } else { format!("-C {} ", host::quoted(&dir)) };
    // These set, or may set, the kernel or its config, which does not go with the distribution's kernel (`-k package`).
    let is_chosen =
        ["kernel.version", "kernel.config", "kernel.config-file", "profiles"].iter().any(|key| sets.contains(key));
    let again = if is_chosen { kind.next.trim_start_matches("-k package ") } else { kind.next };
    let next = format!("quiz {there}{again}");
    report::result(&report::begun(&path, kind.name, &sets, &next, cli.global.json))
}

/// Asks whether the settings are for all of the user's projects; where nobody can be asked they are for this one.
fn wants_user(kind: &Kind, root: &Path, config_dir: &Path) -> Result<bool> {
    let line = |letter: char, dir: &Path, what: &str| {
        let path = dir.join(FILE);
        let there = if path.symlink_metadata().is_ok() { ", which is there already" } else { "" };
        format!("  {letter}  {}{there}: settings for {what}\n", path.display())
    };
    let places = line('h', root, kind.name) + &line('u', config_dir, USER.name);
    match report::asked(&format!("Where do the settings go?\n{places}[H/u]")).as_deref() {
        None | Some("" | "h" | "here") => Ok(false),
        Some("u" | "user") => Ok(true),
        _ => Err(Error::input("this answer is neither h nor u: nothing was written")
            .hint("quiz init --here, or quiz init --user")),
    }
}

/// Makes folders below the project relative to it, so that the file is right in every checkout, and keeps `.` in the list where that is set already.
fn named_below(project: &Path, kind: &Kind, flag: &mut FlagValue) {
    let Value::List(folders) = &mut flag.value else { return };
    for folder in folders.iter_mut() {
        let whole = fs::canonicalize(&*folder).unwrap_or_default();
        if let Ok(below) = whole.strip_prefix(project) {
            *folder = if below.as_os_str().is_empty() { ".".to_owned() } else { below.to_string_lossy().into_owned() };
        }
    }
    if kind.sets.contains(&flag.key) && !folders.iter().any(|folder| folder == ".") {
        folders.insert(0, ".".to_owned());
    }
}

/// The text with the line that says what the flag says: in the place of its setting's line, else at the end of its table.
fn set(text: &str, flag: &FlagValue) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let (table, key) = flag.key.rsplit_once('.').unwrap_or(("", flag.key));
    let start = if table.is_empty() { Some(0) } else { lines.iter().position(|line| *line == format!("[{table}]")) };
    let start = start.unwrap_or_else(|| {
        lines.extend([String::new(), format!("[{table}]")]);
        lines.len() - 1
    });
    let end =
        lines.iter().skip(start + 1).position(|line| line.starts_with('[')).map_or(lines.len(), |n| n + start + 1);
    let line = format!("{key} = {}", literal(&flag.value));
    let is_its = |line: &String| line.trim_start_matches('#').starts_with(&format!("{key} = "));
    match lines[start..end].iter().position(is_its) {
        Some(there) => lines[start + there] = line,
        None => {
            let filled = lines[start..end].iter().rposition(|line| !line.is_empty()).unwrap_or(0);
            lines.insert(start + filled + 1, line);
        }
    }
    lines.join("\n") + "\n"
}

/// The value in TOML. Its `Display`, which is for people, is in the notation of Rust.
fn literal(value: &Value) -> String {
    match value {
        Value::Text(text) => toml::Value::from(text.as_str()).to_string(),
        Value::List(items) => toml::Value::from(items.clone()).to_string(),
        other => other.to_string(),
    }
}

/// What the folder is, and where its file belongs: at the root of a tree, in a module's
/// folder, else where quiz sees the project today, so that its `.quiz` stays where it is.
fn place(start: &Path, config_dir: &Path) -> Result<(&'static Kind, PathBuf)> {
    let project = load::project_dir(start);
    let there = project.join(FILE);
    if there.symlink_metadata().is_ok() {
        let error =
            Error::input(format!("there is {} already", there.display())).hint("`quiz config` shows what it sets");
        return Err(if project == start {
            error
        } else {
            error.hint(format!("to have a project of its own here: touch {}", host::quoted(start.join(FILE))))
        });
    }
    let trees = load::worktrees(start)?;
    let around =
        TREES.iter().find_map(|(stage, kind)| Some((kind, trees.iter().find(|(name, _)| name == stage)?.1.clone())));
    let (kind, dir) = match around {
        Some(tree) => tree,
        None if load::makes_modules(start) => (&MODULE, start.to_owned()),
        None => (&ANY, project),
    };
    load::check_owner(&dir, config_dir)?;
    Ok((kind, dir))
}

fn text(kind: &Kind) -> String {
    HEAD.replace("KIND", kind.name) + &kind.parts.concat()
}

/// A file that is there stays as it is, a link as well.
fn write(path: &Path, text: &str) -> Result<()> {
    let failed = |e: std::io::Error| match e.kind() {
        ErrorKind::AlreadyExists => {
            Error::input(format!("there is {} already", path.display())).hint("`quiz config` shows what it sets")
        }
        _ => Error::input(format!("cannot write {}", path.display())).because(e),
    };
    if let Some(folder) = path.parent() {
        host::folder(folder).map_err(failed)?;
    }
    let mut file = fs::File::options().write(true).create_new(true).open(path).map_err(failed)?;
    // Half a file would say something else, and stand in the way of the next one.
    file.write_all(text.as_bytes()).inspect_err(|_| drop(fs::remove_file(path))).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Origin, Settings};

    fn kinds() -> impl Iterator<Item = &'static Kind> {
        TREES.iter().map(|(_, kind)| kind).chain([&MODULE, &ANY, &USER])
    }

    /// What a file of this text sets: names and lines.
    fn set_by(text: &str) -> Vec<(String, usize)> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        fs::write(&path, text).unwrap();
        let settings = Settings::of_file(&path).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let set = settings.iter().filter_map(|(name, setting)| match setting.origin {
            Origin::File { line, .. } => Some((name.to_owned(), line)),
            _ => None,
        });
        set.collect()
    }

    /// A setting behind its mark.
    fn setting(line: &str) -> Option<&str> {
        line.strip_prefix('#').filter(|rest| !rest.is_empty() && !rest.starts_with(' '))
    }

    #[test]
    fn a_file_sets_nothing_but_what_it_must_and_each_of_its_settings_works_when_its_mark_is_taken_away() {
        for kind in kinds() {
            let text = text(kind);
            let first = set_by(&text);
            let names: Vec<&str> = first.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, kind.sets, "{}", kind.name);
            assert!(!text.contains("KIND"));
            let lines: Vec<&str> = text.lines().collect();
            let mut found = 0;
            for (n, line) in lines.iter().enumerate() {
                let Some(bare) = setting(line) else { continue };
                found += 1;
                let mut lines = lines.clone();
                lines[n] = bare;
                let mut set = set_by(&lines.join("\n"));
                set.retain(|one| !first.contains(one));
                assert!(
                    matches!(&set[..], [(name, line)] if *line == n + 1 && name.ends_with(bare.split(' ').next().unwrap())),
                    "{bare}: {set:?}"
                );
            }
            let all: Vec<&str> = lines.iter().map(|line| setting(line).unwrap_or(line)).collect();
            assert_eq!(set_by(&all.join("\n")).len(), found + kind.sets.len(), "{}", kind.name);
            assert!(found > 5);
        }
    }

    #[test]
    fn each_line_is_a_comment_a_setting_a_table_or_empty() {
        for line in kinds().flat_map(|kind| kind.parts).chain([&HEAD]).flat_map(|part| part.lines()) {
            assert!(line.is_empty() || line.starts_with(['#', '[']) || line == "modules = [\".\"]", "{line}");
            assert!(line.len() < 131, "{line}");
        }
    }
}

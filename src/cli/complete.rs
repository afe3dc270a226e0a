//! Completions: `quiz completions` prints what makes a shell ask quiz, and quiz answers with what can stand there. Of the project that
//! the user is in it reads the names of stages, profiles, runs and snapshots, and of OpenZFS's tests if its source is there; it makes and
//! starts nothing, and says nothing where there is no project, or one that nobody trusts.

use super::args::{Cli, Shell};
use super::test;
use crate::boot::folder;
use crate::engine::{named, running, tree};
use crate::error::{Error, Result};
use crate::load::Project;
use crate::test::runfile::Section;
use crate::test::select::suffixes;
use crate::{report, status};
use clap::{Arg, Command, ValueHint};
use clap_complete::env::{Bash, CompleteEnv, EnvCompleter, Fish, Zsh};
use clap_complete::{ArgValueCandidates, CompletionCandidate};
use quiz_cache::Cache;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

/// The variable by which a shell's script asks for candidates. It does not begin with `QUIZ_`, as settings do.
const VARIABLE: &str = "_QUIZ_COMPLETE";

/// What the scripts call quiz, whichever program wrote them: the one in PATH.
const NAME: &str = "quiz";

/// Prints what the shell has to be told once.
///
/// # Errors
/// stdout cannot be written.
pub(super) fn print(shell: Shell) -> Result<()> {
    let shell: &dyn EnvCompleter = match shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
    };
    let mut script = Vec::new();
    shell
        .write_registration(VARIABLE, NAME, NAME, NAME, &mut script)
        .map_err(|e| Error::build("the completions cannot be written").because(e))?;
    report::result(&String::from_utf8_lossy(&script))
}

/// Answers a shell that asks, and gives the exit status; `None` when none does.
pub(super) fn answer(args: &[OsString]) -> Option<u8> {
    let here = std::env::current_dir().ok();
    let asked = CompleteEnv::with_factory(definition).var(VARIABLE).try_complete(args.iter().cloned(), here.as_deref());
    match asked {
        Ok(true) => Some(status::FINE),
        Ok(false) => None,
        // The shell is not known. A message would appear in the middle of what somebody types.
        Err(_) => Some(status::WRONG),
    }
}

/// The command line, with candidates where they depend on the project.
fn definition() -> Command {
    with_candidates(Cli::definition())
}

fn with_candidates(command: Command) -> Command {
    command.mut_args(with_candidate).mut_subcommands(with_candidates)
}

/// Adds candidates by the argument's name, which means the same in all commands.
fn with_candidate(arg: Arg) -> Arg {
    match arg.get_id().as_str() {
        "stages" | "stage" => arg.add(ArgValueCandidates::new(stages)),
        "profile" | "shown" => arg.add(ArgValueCandidates::new(profiles)),
        "snapshot" => arg.add(ArgValueCandidates::new(snapshots)),
        "tests" => arg.add(ArgValueCandidates::new(tests)),
        "tags" => arg.add(ArgValueCandidates::new(tags)),
        "id" => arg.add(ArgValueCandidates::new(runs)),
        "directory" | "module" | "share" | "cwd" => arg.value_hint(ValueHint::DirPath),
        "config_file" | "from" | "to" => arg.value_hint(ValueHint::AnyPath),
        _ => arg,
    }
}

/// The project that the user is in, if it can be read.
fn project() -> Option<Project> {
    Project::load(&std::env::current_dir().ok()?, &[]).ok()
}

fn stages() -> Vec<CompletionCandidate> {
    let Some(project) = project() else { return Vec::new() };
    let there =
        project.recipes.values().filter(|recipe| !recipe.takes_parameter() && recipe.is_there(&project.settings));
    there.filter_map(|recipe| candidate(&recipe.name, &recipe.about)).collect()
}

fn profiles() -> Vec<CompletionCandidate> {
    let all = project().and_then(|project| project.all_profiles().ok()).unwrap_or_default();
    all.iter().filter_map(|profile| candidate(&profile.name, &profile.about)).collect()
}

/// The newest first.
fn runs() -> Vec<CompletionCandidate> {
    let Some(project) = project() else { return Vec::new() };
    running::of(&project.dir).iter().map(|run| CompletionCandidate::new(folder::number(run))).collect()
}

/// The snapshots of `quiz snap`.
fn snapshots() -> Vec<CompletionCandidate> {
    let cache = project().filter(|project| project.cache_dir.is_dir());
    let own = cache.and_then(|project| named::of(&Cache::open(&project.cache_dir).ok()?, &project.dir).ok());
    own.unwrap_or_default().iter().filter_map(|named| candidate(&named.name, &report::size(named.size))).collect()
}

/// The groups of the ZFS Test Suite that runs by default.
fn suite() -> Vec<Section> {
    let here = std::env::current_dir().ok();
    let source = here.and_then(|here| tree::find(&here, test::SOURCE).ok()?);
    source.and_then(|source| test::suite(&source, &[]).ok()).unwrap_or_default()
}

/// Groups, by each name that `--test` knows them by, then tests; several of one name are one candidate.
fn tests() -> Vec<CompletionCandidate> {
    let suite = suite();
    let groups = suite.iter().flat_map(|group| {
        let about = format!("{}: {} tests", group.title(), group.tests.len());
        suffixes(group.folder()).map(move |name| (name, about.clone()))
    });
    let tests = suite.iter().flat_map(|group| group.tests.iter().map(|test| (test.as_str(), group.title().to_owned())));
    let mut known = BTreeSet::new();
    let all = groups.chain(tests).filter(|(name, _)| known.insert(*name));
    all.filter_map(|(name, about)| candidate(name, &about)).collect()
}

fn tags() -> Vec<CompletionCandidate> {
    let mut groups: BTreeMap<String, usize> = BTreeMap::new();
    suite().iter().flat_map(Section::tags).for_each(|tag| *groups.entry(tag).or_default() += 1);
    groups.iter().filter_map(|(tag, count)| candidate(tag, &format!("{count} groups"))).collect()
}

/// A candidate; `None` for a name that a shell would take for more than a word: it goes into the user's command line as it is, and may come from somebody
/// else's project. Control characters in `about` are replaced by blanks.
fn candidate(name: &str, about: &str) -> Option<CompletionCandidate> {
    let is_plain = !name.starts_with('-') && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    let about: String = about.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    is_plain.then(|| CompletionCandidate::new(name).help(Some(about.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The arguments of all commands, with the names of the commands they stand behind.
    fn arguments(command: &Command) -> Vec<(String, Arg)> {
        let own = command.get_arguments().map(|arg| (command.get_name().to_owned(), arg.clone()));
        own.chain(command.get_subcommands().flat_map(arguments)).collect()
    }

    #[test]
    fn what_is_a_stage_a_run_or_a_profile_has_candidates() {
        let all = arguments(&definition());
        let has = |name: &str, id: &str| {
            let arg = all.iter().find(|(command, arg)| command == name && arg.get_id() == id).unwrap();
            arg.1.get::<ArgValueCandidates>().is_some()
        };
        for (name, id) in [
            ("build", "stages"),
            ("verify", "stage"),
            ("why", "stage"),
            ("export", "stages"),
            ("exec", "id"),
            ("stop", "id"),
            ("gdb", "id"),
            ("monitor", "id"),
            ("up", "profile"),
            ("up", "snapshot"),
            ("snap", "snapshot"),
            ("test", "tests"),
            ("test", "tags"),
        ] {
            assert!(has(name, id), "{name} {id}");
        }
        assert!(!has("up", "memory"));
        definition().debug_assert();
    }

    #[test]
    fn a_name_that_a_shell_would_take_for_more_is_no_candidate() {
        assert!(candidate("zfs-modules", "x").is_some());
        for name in ["$(reboot)", "a b", "a;b", "`x`", "-rf", "a\nb", "a'b"] {
            assert!(candidate(name, "x").is_none(), "{name}");
        }
        let shown = candidate("a", "one\n\u{1b}[2Jtwo").unwrap();
        assert_eq!(shown.get_help().unwrap().to_string(), "one  [2Jtwo");
    }
}

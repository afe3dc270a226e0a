//! `quiz new`: a start for a recipe or a profile of the project's own, which works as it is. Makes nothing of it.

use super::args::NewCommand;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::report;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The files that a new recipe or profile starts from: name, text, mode. In a text NAME stands for its name, VARIABLE for the name as variables have it.
type Start = [(&'static str, &'static str, u32); 2];

const PROFILE: Start =
    [("profile.toml", include_str!("start/profile.toml"), 0o666), ("init", include_str!("start/init"), 0o777)];

const RECIPE: Start =
    [("recipe.toml", include_str!("start/recipe.toml"), 0o666), ("build.sh", include_str!("start/build.sh"), 0o666)];

/// Writes one, and says where, and what to type next.
///
/// # Errors
/// The name cannot be one, or is taken.
pub(super) fn run(engine: &Engine<'_>, asked: &NewCommand, as_json: bool) -> Result<()> {
    let project = &engine.project;
    let (kind, name, folder, next) = match asked {
        NewCommand::Recipe { name } => ("recipe", name, project.recipes_dir(), format!("quiz build {name}")),
        NewCommand::Profile { name } => {
            ("profile", name, project.profiles_dir(), format!("quiz up -p {name} -- uname -a"))
        }
    };
    if !is_name(name) {
        return Err(Error::input(format!("`{name}` is no name for a {kind}"))
            .hint(format!("small letters, digits and dashes, a letter first: quiz new {kind} my-test")));
    }
    let (start, there) = match asked {
        NewCommand::Recipe { .. } => (&RECIPE, project.recipes.get(name).map(|recipe| recipe.path.clone())),
        NewCommand::Profile { .. } => {
            let all = project.all_profiles()?;
            (&PROFILE, all.into_iter().find(|profile| profile.name == *name).map(|profile| profile.path))
        }
    };
    let to = folder.join(name);
    if let Some(path) = there {
        return Err(Error::input(format!("there is already a {kind} {name}: {}", path.display()))
            .hint(format!("take another name, or edit {}", to.join(start[0].0).display())));
    }
    project.check_written(&folder)?;
    write(&folder, &to, name, start)?;
    report::result(&report::started(&to, &next, as_json))
}

fn write(folder: &Path, to: &PathBuf, name: &str, start: &Start) -> Result<()> {
    let write = || {
        fs::create_dir_all(folder)?;
        // Fails if the folder is there: another process may just be writing it.
        fs::create_dir(to)?;
        for (file, text, mode) in start {
            let text = filled(text, name);
            let file = fs::File::options().write(true).create_new(true).mode(*mode).open(to.join(file));
            file?.write_all(text.as_bytes())?;
        }
        Ok(())
    };
    write().map_err(|e: std::io::Error| match e.kind() {
        ErrorKind::AlreadyExists => Error::input(format!("{} is there already", to.display())),
        _ => Error::input(format!("cannot write {}", to.display())).because(e),
    })
}

/// A text with the name for NAME, and in capitals for VARIABLE. NAME comes first: a name has no capitals that could be taken for VARIABLE, but in capitals it
/// may have `NAME` in it.
fn filled(text: &str, name: &str) -> String {
    text.replace("NAME", name).replace("VARIABLE", &name.to_uppercase().replace('-', "_"))
}

/// Whether this can be a name: of a folder, as a part of the names of variables and stages, and before the `:` of `-p NAME:option`.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_the_word_name_in_it_is_whole_in_the_variable() {
        assert_eq!(filled("$QUIZ_VARIABLE_X of NAME", "re-name"), "$QUIZ_RE_NAME_X of re-name");
    }

    #[test]
    fn a_name_is_small_letters_digits_and_dashes() {
        assert!(["a", "my-test", "raid5"].into_iter().all(is_name));
        for wrong in ["", "-a", "5a", "A", "a b", "a/b", "..", "a.b", "a_b", "ä", "a:b"] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }
}

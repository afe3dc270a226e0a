//! Compilers: the driver that a script starts (`gcc`) is the smallest part of one. It is asked which other programs and files it uses.
//!
//! The driver is run in the folder `/`, with nothing of the user's environment.

use super::super::{follow, sandbox};
use super::headers::Walk;
use super::look::{Look, Parts};
use super::view::Way;
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A driver that has not answered after this time does not work.
const LIMIT: Duration = Duration::from_secs(10);

const NAMES: [&str; 7] = ["gcc", "cc", "g++", "c++", "cpp", "clang", "clang++"];
/// What stands in a compiler's place under its name, and starts the next one of that name in PATH.
const LAUNCHERS: [&str; 6] = ["ccache", "sccache", "distcc", "icecc", "buildcache", "colorgcc"];

/// Programs of the driver's, as far as it has them; what it does not name by a path is found in PATH.
const PROGRAMS: [&str; 7] = ["cc1", "cc1plus", "as", "ld", "collect2", "lto1", "lto-wrapper"];
/// Files of the driver's.
const FILES: [&str; 2] = ["liblto_plugin.so", "specs"];

/// Whether a program of this name is a C or C++ compiler: `gcc`, `clang-19`, `x86_64-linux-gnu-gcc-12`.
pub(super) fn is_compiler(name: &str) -> bool {
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.').trim_end_matches('-');
    let plain = plain.rsplit('-').next().unwrap_or_default();
    NAMES.contains(&plain)
}

/// All that a compiler consists of.
///
/// # Errors
/// It is a wrapper, and what it starts cannot be found; scripts do not see a part of it, or a part cannot be read.
pub(super) fn compiler(look: &mut Look<'_>, name: &str) -> Result<Parts> {
    let mut parts = Parts::new();
    let Some((at, real)) = behind_launchers(look, name, &mut parts)? else { return Ok(parts) };
    look.program("the driver", &real, &mut parts)?;
    let ask = |look: &Look<'_>, word: &str| ask(&look.view.outside(&at), word);
    // gcc prints the path that it was started by. What stands in its place need be no script, and no launcher by its name: a copy of ccache is called gcc.
    let said = ask(look, "-v")?.unwrap_or_default();
    let driver = said.lines().find_map(|line| line.strip_prefix("COLLECT_GCC="));
    match driver.map(|driver| located(look, name, driver)).transpose()?.flatten() {
        Some(driver) if driver != real => look.program("the driver that it starts", &driver, &mut parts)?,
        None if look.file(&real)?.is_script => {
            return Err(Error::input(format!(
                "{name} is the script {}, and which compiler it starts cannot be found out",
                at.display()
            ))
            .hint(format!("put a link to the compiler in its place: sudo ln -sfn /usr/bin/gcc-12 {}", at.display())));
        }
        _ => {}
    }
    // What is a part under a name of its own is not counted once more as a file of its folder.
    let mut named = Vec::new();
    for program in PROGRAMS {
        let Some(said) = ask(look, &format!("-print-prog-name={program}"))? else { continue };
        if let Some(real) = located(look, name, said.trim())? {
            look.program(program, &real, &mut parts)?;
            named.push(real);
        }
    }
    for file in FILES {
        let Some(said) = ask(look, &format!("-print-file-name={file}"))? else { continue };
        if said.starts_with('/')
            && let Some(real) = located(look, name, said.trim())?
        {
            look.program(file, &real, &mut parts)?;
            named.push(real);
        }
    }
    let mut walk = Walk::without(named);
    let libgcc =
        ask(look, "-print-libgcc-file-name")?.and_then(|said| Some(Path::new(said.trim()).parent()?.to_owned()));
    let plugins = ask(look, "-print-file-name=plugin")?.map(|said| PathBuf::from(said.trim()));
    let resources = ask(look, "-print-resource-dir")?.map(|said| PathBuf::from(said.trim()));
    for folder in [libgcc, plugins, resources].into_iter().flatten().filter(|folder| folder.is_absolute()) {
        walk.all(look, &folder)?;
    }
    for (part, digest) in walk.parts(look) {
        // A package that has one of the programs counts as a whole already.
        parts.entry(part).or_insert(digest);
    }
    Ok(parts)
}

/// The compiler of this name that runs in the end: where it lies in PATH, and what is there. What stands before it is a part, too.
fn behind_launchers(look: &mut Look<'_>, name: &str, parts: &mut Parts) -> Result<Option<(PathBuf, PathBuf)>> {
    let found: Vec<(PathBuf, Way)> = look.view.programs(name, &mut look.passed).collect();
    let mut launcher = None;
    for (at, way) in found {
        let real = match way {
            Way::Here(real) => real,
            Way::Hidden(_) | Way::Nowhere => continue,
        };
        let called = real.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !LAUNCHERS.contains(&called.as_str()) {
            return Ok(Some((at, real)));
        }
        look.program(&called, &real, parts)?;
        launcher = Some((at, called));
    }
    match launcher {
        None => Ok(None),
        Some((at, called)) => Err(Error::input(format!(
            "{name} is {called} ({}), which starts the next {name} in PATH, and scripts see none",
            at.display()
        ))
        .hint(format!("install the compiler {name}, or remove {called} there: sudo rm {}", at.display()))),
    }
}

/// What a driver named, a path or a name that is found in PATH.
fn located(look: &mut Look<'_>, whose: &str, said: &str) -> Result<Option<PathBuf>> {
    if said.starts_with('/') {
        return look.part(whose, Path::new(said));
    }
    Ok(look.find(said).map(|(_, real)| real))
}

/// What the driver answers; `None` if it does not know the word.
fn ask(driver: &Path, word: &str) -> Result<Option<String>> {
    let mut command = Command::new(driver);
    // Not in the project: a program may read what lies there.
    command.arg(word).current_dir("/").env_clear().env("PATH", sandbox::PATH).env("LC_ALL", "C").stdin(Stdio::null());
    let mut said = String::new();
    let status = follow::follow(&mut command, Some(LIMIT), &mut |line| {
        said += &String::from_utf8_lossy(line);
        Ok(())
    });
    let status = status.map_err(|e| Error::input(format!("cannot run `{} {word}`", driver.display())).because(e))?;
    Ok((status.success() && !said.trim().is_empty()).then_some(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compilers_are_known_by_their_names() {
        for name in [
            "gcc",
            "cc",
            "gcc-12",
            "x86_64-linux-gnu-gcc-12",
            "clang-19",
            "clang++",
            "g++-4.9",
            "aarch64-linux-gnu-g++",
        ] {
            assert!(is_compiler(name), "{name}");
        }
        for name in ["make", "ld", "gcc-ar", "ccache", "gcc-nm-12", "bc", "12", ""] {
            assert!(!is_compiler(name), "{name}");
        }
    }
}

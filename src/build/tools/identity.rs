//! What each tool is, by one digest that enters keys: of all its parts, not of a line that it says.
//!
//! | what | its parts |
//! |---|---|
//! | a compiler | the driver that runs in the end, launchers such as ccache before it, cc1, cc1plus, as, ld, collect2, lto1, lto-wrapper, the plugin for LTO, specs, the folder of libgcc, that of plugins; of each program what stands in the next line |
//! | any other program | its file; the interpreter or loader and the libraries that these files name, and theirs; all files of the package that has it, but texts for people |
//! | a file | its content |
//! | `headers`, for stages with a compiler | see `headers` |
//!
//! Files count by content, those of packages beside a program by dpkg's checksums. What a program opens only while it runs, and no
//! package of its own has, does not count; nor does a change that somebody made by hand to a header of a package.
//!
//! All answers together are remembered as long as each place that decided one of them is as it was by `lstat`. Then no file is
//! read and no process started.

use super::super::{cache_error, sandbox};
use super::look::{Look, Parts};
use super::{Needed, compiler, headers, words};
use crate::error::{Error, Result};
use crate::load::Recipe;
use quiz_cache::{Cache, Key, KeyEncoder};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

/// The identity of a tool that is not there.
pub(in crate::build) const MISSING: &str = "missing";

/// The name under which the identity of headers and libraries is kept; no tool has this name.
const HEADERS: &str = "/";

/// Raised when a tool has other parts, or they are found in another way.
const RULE: &str = "quiz tools 2";

/// The identity of every tool, by the name that recipes use.
#[derive(Debug, Default)]
pub struct Tools(BTreeMap<String, String>);

/// Whether a stage reads the host's headers and libraries: one of its tools, as far as it sees them, is a compiler.
pub(in crate::build) fn needs_headers(recipe: &Recipe, is_asked_for: impl Fn(&str) -> bool) -> bool {
    let on_demand = recipe.tools_on_demand.keys().filter(|tool| is_asked_for(tool));
    recipe.tools.keys().chain(recipe.optional_tools.keys()).chain(on_demand).any(|tool| compiler::is_compiler(tool))
}

impl Tools {
    /// Identifies the tools; one that is missing (see [`super::require`]) has the identity `missing`.
    ///
    /// # Errors
    /// A tool cannot be read, or what it starts cannot be found.
    pub fn identify(needed: &[Needed], cache: &Cache) -> Result<Self> {
        Self::identify_at(Path::new("/"), needed, cache, SystemTime::now())
    }

    /// The same, of the host below `root`, looked at from `now` on.
    pub(super) fn identify_at(root: &Path, needed: &[Needed], cache: &Cache, now: SystemTime) -> Result<Self> {
        // What only quiz itself runs is in no key.
        let needed: Vec<&Needed> = needed.iter().filter(|tool| !tool.needed_by.is_empty()).collect();
        if needed.iter().all(|tool| tool.found.is_none()) {
            return Ok(Self(needed.iter().map(|tool| (tool.name.clone(), MISSING.to_owned())).collect()));
        }
        let key = question(root, &needed);
        if let Some(known) = cache.memo_while("tools", &key).map_err(cache_error)?
            && let Some(known) = decoded(&known)
        {
            return Ok(Self(known));
        }
        let mut look = Look::new(root, cache, now);
        let mut tools = BTreeMap::new();
        for tool in &needed {
            let identity = match &tool.found {
                Some(_) => words::note(cache, &parts(&mut look, tool)?)?,
                None => MISSING.to_owned(),
            };
            tools.insert(tool.name.clone(), identity);
        }
        if needed.iter().any(|tool| tool.found.is_some() && compiler::is_compiler(&tool.name)) {
            let parts = headers::headers(&mut look)?;
            tools.insert(HEADERS.to_owned(), words::note(cache, &parts)?);
        }
        let lines: String = tools.iter().map(|(name, identity)| format!("{name}\t{identity}\n")).collect();
        cache.set_memo_while("tools", &key, &look.passed, now, lines.as_bytes()).map_err(cache_error)?;
        Ok(Self(tools))
    }

    /// The identity of one tool.
    pub(in crate::build) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// The identity of the host's headers and libraries; missing without a compiler.
    pub(in crate::build) fn headers(&self) -> &str {
        self.0.get(HEADERS).map_or(MISSING, String::as_str)
    }
}

/// The key under which the answer is remembered: the tools, and where each was found.
fn question(root: &Path, needed: &[&Needed]) -> Key {
    let mut encoder = KeyEncoder::new("quiz tools question 1");
    encoder.text("rule", RULE).text("path", sandbox::PATH).text("root", &root.to_string_lossy());
    let shown =
        |path: &Option<std::path::PathBuf>| path.as_ref().map_or(MISSING.to_owned(), |path| path.display().to_string());
    for tool in needed {
        encoder.list(&format!("tool/{}", tool.name), [shown(&tool.found), shown(&tool.real)]);
    }
    encoder.finish().0
}

fn parts(look: &mut Look<'_>, tool: &Needed) -> Result<Parts> {
    let mut parts = Parts::new();
    if tool.name.starts_with('/') {
        if let Some(real) = look.part(&tool.name, Path::new(&tool.name))? {
            parts.insert("the file".to_owned(), look.file(&real)?.digest.clone());
        }
        return Ok(parts);
    }
    if compiler::is_compiler(&tool.name) {
        return compiler::compiler(look, &tool.name);
    }
    if let Some((_, real)) = look.find(&tool.name) {
        look.program("the program", &real, &mut parts)?;
    }
    Ok(parts)
}

fn decoded(known: &[u8]) -> Option<BTreeMap<String, String>> {
    let lines = std::str::from_utf8(known).ok()?.lines();
    lines.map(|line| line.split_once('\t').map(|(name, identity)| (name.to_owned(), identity.to_owned()))).collect()
}

/// What a program of this machine calls itself: the first line of its `--version`, or the digest of its file. Remembered by the
/// file's `lstat`. It need not be one that scripts see.
///
/// # Errors
/// The program cannot be read.
pub fn identify(program: &Path, cache: &Cache) -> Result<String> {
    let unreadable = |e: std::io::Error| Error::input(format!("cannot read the tool {}", program.display())).because(e);
    let (now, real) = (SystemTime::now(), std::fs::canonicalize(program).map_err(unreadable)?);
    let key = KeyEncoder::new("quiz program 1").text("path", &real.to_string_lossy()).finish().0;
    if let Some(known) = cache.memo_while("program", &key).map_err(cache_error)?
        && let Ok(text) = String::from_utf8(known)
    {
        return Ok(text);
    }
    let version = match version_line(&real) {
        Some(line) => line,
        None => quiz_cache::Digest::of(&std::fs::read(&real).map_err(unreadable)?).to_string(),
    };
    cache.set_memo_while("program", &key, &[real].into(), now, version.as_bytes()).map_err(cache_error)?;
    Ok(version)
}

/// The first line that `program --version` prints, if it knows the flag.
fn version_line(program: &Path) -> Option<String> {
    let output = Command::new(program)
        .arg("--version")
        // Not in the project: a program may read what lies there, and run what that names, as cargo does.
        .current_dir("/")
        .env_clear()
        .env("PATH", sandbox::PATH)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

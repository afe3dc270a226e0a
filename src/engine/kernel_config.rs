//! The resolved config of the kernel: read, compared, and edited, with what has to be asked for so that it comes out as it was edited.
//!
//! Resolves nothing itself: the stages do, by the kernel's own Kconfig.

use super::Engine;
use crate::build::{Depth, on_terminal};
use crate::error::{Error, Result};
use crate::load::{FlagValue, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;

/// The stage that resolves it, and those of an edit: the menu, and what is asked for afterwards.
const RESOLVED: &str = "kernel-config";
const MENU: &str = "kernel-menuconfig";
const LINES: &str = "kernel-config-lines";

/// The output of these stages that is a config.
const CONFIG: &str = "config";

/// The value of a symbol that is not set.
const NOT_SET: &str = "n";

/// The symbols of a `.config`, without `CONFIG_`, each with its value as it is written there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelConfig(BTreeMap<String, String>);

/// A symbol that has different values in two configs; `None` where a config does not have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Without `CONFIG_`.
    pub symbol: String,
    /// Its value in the first config.
    pub old: Option<String>,
    /// Its value in the second config.
    pub new: Option<String>,
}

/// What an edit came to.
#[derive(Debug)]
pub struct Edited {
    /// The config before it.
    pub before: KernelConfig,
    /// As it was edited.
    pub edited: KernelConfig,
    /// As it comes out with `lines`.
    pub after: KernelConfig,
    /// What has to be asked for: lines of `kernel.config`.
    pub lines: Vec<String>,
}

impl KernelConfig {
    /// Reads the text of a `.config`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(symbol).map(|(symbol, value)| (symbol.to_owned(), value.to_owned())).collect())
    }

    /// The symbols that have another value in another config. One that is missing in one of them and not set in the other is no difference.
    #[must_use]
    pub fn changed(&self, other: &Self) -> Vec<Changed> {
        let of = |config: &Self, symbol: &String| config.0.get(symbol).cloned();
        let is_set = |value: &Option<String>| value.as_deref().is_some_and(|value| value != NOT_SET);
        let symbols: BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        let all = symbols.into_iter().map(|symbol| (symbol, of(self, symbol), of(other, symbol)));
        all.filter(|(_, old, new)| old != new && (is_set(old) || is_set(new)))
            .map(|(symbol, old, new)| Changed { symbol: symbol.clone(), old, new })
            .collect()
    }

    fn line(&self, symbol: &str) -> Option<String> {
        self.0.get(symbol).map(|value| format!("CONFIG_{symbol}={value}"))
    }
}

/// The symbol of a line, and what it is set to; as people write it, too: without `CONFIG_`.
fn symbol(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let (name, value) = match line.strip_prefix('#') {
        Some(rest) => (rest.trim().strip_suffix(" is not set")?, NOT_SET),
        None => line.split_once('=')?,
    };
    let name = name.strip_prefix("CONFIG_").unwrap_or(name);
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    is_name.then_some((name, value))
}

/// A line as Kconfig reads it.
///
/// # Errors
/// It is not a line of kernel config.
fn plain(line: &str) -> Result<String> {
    let read = symbol(line).filter(|_| !line.contains(char::is_control));
    read.map(|(name, value)| format!("CONFIG_{name}={value}")).ok_or_else(|| {
        Error::input(format!("`{line}` is no line of kernel config"))
            .hint("write it as in CONFIG_KASAN=y, KASAN=y or NR_CPUS=16")
    })
}

/// Whether two lines are about one symbol.
#[must_use]
pub fn is_same_symbol(one: &str, other: &str) -> bool {
    matches!((symbol(one), symbol(other)), (Some((one, _)), Some((other, _))) if one == other)
}

/// The lines by which `before` comes out as `edited`. `asked` is what `make savedefconfig` says was asked for in each of them. A symbol that has its
/// default only now has to be among the lines, too, since something else asks for another value; one that did not change follows by itself.
fn wanted(asked: [&KernelConfig; 2], before: &KernelConfig, edited: &KernelConfig) -> Vec<String> {
    let [was, is] = asked;
    let symbols: BTreeSet<&String> = was.0.keys().chain(is.0.keys()).collect();
    let differs = symbols.into_iter().filter(|symbol| was.0.get(*symbol) != is.0.get(*symbol));
    let differs = differs.filter(|symbol| before.0.get(*symbol) != edited.0.get(*symbol));
    differs.filter_map(|symbol| is.line(symbol).or_else(|| edited.line(symbol))).collect()
}

/// The config of the kernel, resolved as this project has it; of a distribution's kernel that which it was compiled with.
///
/// # Errors
/// What was asked for did not come out, or the kernel's source cannot be had.
pub fn resolved(engine: &Engine<'_>) -> Result<KernelConfig> {
    built(engine, RESOLVED, [CONFIG]).map(|[config]| config)
}

/// These outputs of a stage, or of the one in its place, each read as a config.
fn built<const N: usize>(engine: &Engine<'_>, name: &str, outputs: [&str; N]) -> Result<[KernelConfig; N]> {
    let stages = engine.stages([name])?;
    let ends = stages.graph.ends();
    let known = engine.build(&stages, &ends, Depth::Outputs)?;
    let of = |output: &str| {
        let object = ends.iter().find_map(|id| known[id].outputs.get(output));
        let object = object.ok_or_else(|| Error::build(format!("the stage {name} has no output {output}")))?;
        parsed(&engine.cache.path(object))
    };
    let mut all = Vec::new();
    for output in outputs {
        all.push(of(output)?);
    }
    all.try_into().map_err(|_| Error::build(format!("the stage {name} has other outputs")))
}

/// A `.config` of the user's.
///
/// # Errors
/// It cannot be read, or there is no line of kernel config in it.
pub fn read(path: &Path) -> Result<KernelConfig> {
    let config = parsed(path)?;
    if config.0.is_empty() {
        return Err(Error::input(format!("{}: there is no line of kernel config in it", path.display())));
    }
    Ok(config)
}

fn parsed(path: &Path) -> Result<KernelConfig> {
    let text = std::fs::read(path).map_err(|e| Error::input(format!("cannot read {}", path.display())).because(e))?;
    Ok(KernelConfig::parse(&String::from_utf8_lossy(&text)))
}

/// Edits the config: by these lines, or without any in the kernel's own menu on the user's terminal, of which `told` are variables.
///
/// # Errors
/// The kernel is the distribution's, one of `lines` is not a line of kernel config, or what is asked for cannot be had.
pub fn edit(engine: &Engine<'_>, flags: &[FlagValue], lines: &[String], told: &[(String, OsString)]) -> Result<Edited> {
    let lines = lines.iter().map(|line| plain(line)).collect::<Result<Vec<_>>>()?;
    if engine.project.settings.text("kernel.source") == "package" {
        return Err(Error::input("the distribution compiled this kernel: its config cannot be changed")
            .hint("without `package` the kernel is compiled here, and can have another config"));
    }
    let before = resolved(engine)?;
    let file = if lines.is_empty() { Some(menu(engine, told)?) } else { None };
    let path = file.as_ref().map(|file| Value::Text(file.path().display().to_string()));
    let mut with = flags.to_vec();
    with.extend(path.map(|value| FlagValue { key: "recipe.kernel-config-lines.edited", value, flag: "--config-file" }));
    let set = (!lines.is_empty()).then(|| Value::List(lines.clone()));
    with.extend(set.map(|value| FlagValue { key: "recipe.kernel-config-lines.set", value, flag: "--config" }));
    let [was, is, edited] = built(&engine.with_flags(with)?, LINES, ["before", "after", CONFIG])?;
    let mut asked = wanted([&was, &is], &before, &edited);
    // A line that Kconfig dropped is asked for as well: the stage then fails, and says why it was dropped.
    let is_dropped = |(name, value): &(&str, &str)| edited.0.get(*name).map_or(NOT_SET, String::as_str) != *value;
    let dropped = lines.iter().filter_map(|line| symbol(line)).filter(is_dropped);
    asked.extend(dropped.map(|(name, value)| format!("CONFIG_{name}={value}")));
    let mut after = resolved_with(engine, flags, &asked)?;
    let lost = edited.changed(&after);
    if !lost.is_empty() {
        // What was a default in the menu may come out otherwise together with quiz's own lines: then it has to be asked for.
        asked.extend(lost.iter().filter_map(|changed| edited.line(&changed.symbol)));
        after = resolved_with(engine, flags, &asked)?;
    }
    Ok(Edited { before, edited, after, lines: asked })
}

fn resolved_with(engine: &Engine<'_>, flags: &[FlagValue], lines: &[String]) -> Result<KernelConfig> {
    let mut flags = flags.to_vec();
    if !lines.is_empty() {
        flags.push(FlagValue { key: "kernel.config", value: Value::List(lines.to_vec()), flag: "--config" });
    }
    resolved(&engine.with_flags(flags)?)
}

/// The file that the menu left.
fn menu(engine: &Engine<'_>, told: &[(String, OsString)]) -> Result<tempfile::NamedTempFile> {
    let stages = engine.stages([MENU])?;
    let id = stages.graph.find(MENU)?;
    let text = engine.make_on_terminal(&stages, id, told, &|ctx| on_terminal(ctx, id))?;
    let failed = |e| Error::build("cannot write the edited config").because(e);
    let mut file = tempfile::NamedTempFile::new().map_err(failed)?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(failed)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "#\n# Automatically generated file; DO NOT EDIT.\n#\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_S=\"a=b # c\"\nCONFIG_GONE=m\n";

    #[test]
    fn symbols_are_compared_by_name_and_what_is_not_set_is_no_difference() {
        let new = "CONFIG_S=\"a=b\"\nCONFIG_A=y\nCONFIG_B=m\n# CONFIG_NEW is not set\n# CONFIG_C is not\n";
        let changed = KernelConfig::parse(OLD).changed(&KernelConfig::parse(new));
        let text = |value: &str| Some(value.to_owned());
        let one = |symbol: &str, old, new| Changed { symbol: symbol.to_owned(), old, new };
        let b = one("B", text("n"), text("m"));
        let s = one("S", text("\"a=b # c\""), text("\"a=b\""));
        assert_eq!(changed, [b, one("GONE", text("m"), None), s]);
        assert!(KernelConfig::parse(OLD).changed(&KernelConfig::parse(OLD)).is_empty());
    }

    #[test]
    fn asked_for_is_what_somebody_changed_and_not_what_follows() {
        let lines = |was: &str, is: &str, before: &str, edited: &str| {
            let [was, is, before, edited] = [was, is, before, edited].map(KernelConfig::parse);
            wanted([&was, &is], &before, &edited)
        };
        let (y, n) = ("CONFIG_A=y\n", "# CONFIG_A is not set\n");
        // KASAN selects STACKDEPOT, which savedefconfig leaves out.
        let kasan = "CONFIG_A=y\nCONFIG_KASAN=y\n";
        assert_eq!(lines(y, kasan, y, &format!("{kasan}CONFIG_STACKDEPOT=y\n")), ["CONFIG_KASAN=y"]);
        assert_eq!(lines(y, "", y, n), ["CONFIG_A=n"]);
        assert_eq!(lines(n, "", n, y), ["CONFIG_A=y"]);
        assert_eq!(lines("", n, y, n), ["CONFIG_A=n"]);
        // It went with what it depends on.
        assert_eq!(lines("CONFIG_A=y\nCONFIG_DEEP=y\n", "", "CONFIG_A=y\nCONFIG_DEEP=y\n", n), ["CONFIG_A=n"]);
        // Only its default has changed, as that of WERROR does with COMPILE_TEST.
        assert_eq!(lines("", "# CONFIG_W is not set\n", "# CONFIG_W is not set\n", "# CONFIG_W is not set\n"), [""; 0]);
    }

    #[test]
    fn lines_are_about_one_symbol_however_they_are_written() {
        for (one, other) in [("CONFIG_A=y", "A=n"), ("# CONFIG_A is not set", "CONFIG_A=m"), (" A=1", "CONFIG_A=\"x\"")]
        {
            assert!(is_same_symbol(one, other), "{one} {other}");
        }
        for (one, other) in [("CONFIG_A=y", "CONFIG_AB=y"), ("# A", "# A"), ("", ""), ("=y", "=y")] {
            assert!(!is_same_symbol(one, other), "{one} {other}");
        }
    }
}

//! The toolchains and the drgn that this quiz was tested with, as pins in the program. Who has pinned none yet gets these, so that all who use this quiz
//! have the same compilers, and the same keys.

use super::apt::Host;
use super::archive::{Archive, What};
use super::{Context, Lock, Package, PackagesPin, Pin, Wish};
use crate::document::Document;
use crate::error::Result;
use crate::event::{Event, Events};
use std::path::Path;

const BOOKWORM: &str = include_str!("pins/bookworm.lock");

/// All of them.
///
/// # Errors
/// None, as long as the tests pass.
pub(super) fn all() -> Result<Lock> {
    Lock::parse(&Document::new(Path::new("(built in) src/source/pins/bookworm.lock"), BOOKWORM))
}

/// The suite, and what tells its pins from other ones, for people.
pub fn toolchain() -> String {
    let pins = quiz_cache::Digest::of(BOOKWORM.as_bytes()).to_string();
    format!("bookworm, pins {}", &pins[..12])
}

/// The pin of a wish, if there is one, all of it can still be had, and it fits the versions that are pinned `before` of the same entry and
/// suite. That it cannot be had is told: mirrors keep a version for some weeks, and Debian's archive of all that ever was may be out of
/// reach. What `is_made` of it is in the cache already, so nobody is asked.
///
/// # Errors
/// The suite's name is not valid.
pub(super) fn pin(
    tested: &Lock,
    wish: &Wish,
    before: &[Package],
    is_made: bool,
    ctx: &Context,
    events: Events,
) -> Result<Option<Pin>> {
    let is_other = |package: &Package, known: &Package| {
        (&package.name, &package.arch) == (&known.name, &known.arch) && package.version != known.version
    };
    match tested.get(wish) {
        Some(Pin::Packages(pin)) if pin.packages.iter().any(|p| before.iter().any(|known| is_other(p, known))) => {
            Ok(None)
        }
        tested if is_made => Ok(tested.cloned()),
        _ => pin_on(&Host::read(), tested, wish, ctx, events),
    }
}

fn pin_on(host: &Host, tested: &Lock, wish: &Wish, ctx: &Context, events: Events) -> Result<Option<Pin>> {
    let pin = match tested.get(wish) {
        Some(Pin::Packages(pin)) => pin,
        // For a pin of another origin than Debian's nobody is asked: those servers keep old versions.
        other => return Ok(other.cloned()),
    };
    let PackagesPin { suite, packages } = pin;
    let archive = Archive::new(host, suite, What::Packages, ctx, events)?;
    // If the suite cannot be asked, nothing counts as gone: the download of the packages will say why.
    let (gone, silent) = archive.lacks(packages, wish.entry()).unwrap_or_default();
    let Some(first) = gone.first() else { return Ok(Some(Pin::Packages(pin.clone()))) };
    let more = if gone.len() > 1 { format!(" and {} more", gone.len() - 1) } else { String::new() };
    let what = format!("{} {}{more}, with which this quiz was tested,", first.name, first.version);
    let message = match silent {
        None => format!("{what} cannot be found anywhere any more: today's packages of {suite} are used"),
        Some(why) => format!("{suite} has no {what} any more, and {why}: today's packages of {suite} are used"),
    };
    events(Event::Warning { message });
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Mirrors, Spec};
    use std::collections::BTreeMap;
    use std::fs;
    use std::sync::Mutex;

    const SPEC: &str = "entry = \"toolchain\"\n[packages]\n";

    fn context(cache: &Path, offline: bool) -> Context {
        let none = || "/none".into();
        // No place has anything, and none is asked over the network.
        let mirrors = Mirrors { mirror: String::new(), snapshot: "file:/none".into() };
        let (cache, arch) = (cache.to_owned(), "x86_64".to_owned());
        Context { cache, arch, mirrors, offline, start: none(), base: none() }
    }

    #[test]
    fn what_is_tested_is_taken_while_it_can_be_had_and_said_when_not() {
        let dir = tempfile::tempdir().unwrap();
        let (etc, archive) = (dir.path().join("etc"), dir.path().join("archive"));
        let folder = archive.join("dists/s/main/binary-amd64");
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(&etc).unwrap();
        fs::write(etc.join("sources.list"), format!("deb [trusted=yes] file:{} s main\n", archive.display())).unwrap();
        let sum = "0".repeat(64);
        let list = format!("Package: a\nVersion: 1\nArchitecture: all\nFilename: a.deb\nSize: 7\nSHA256: {sum}\n\n");
        fs::write(folder.join("Packages"), &list).unwrap();
        let of_list = crate::source::download::sha256_of(&folder.join("Packages")).unwrap();
        let release = format!("Suite: s\nSHA256:\n {of_list} {} main/binary-amd64/Packages\n", list.len());
        fs::write(archive.join("dists/s/Release"), release).unwrap();
        let host = Host::of("ID=x\n", &etc);
        let ctx = context(&dir.path().join("cache"), false);
        let spec: Spec = toml::from_str(SPEC).unwrap();
        let options = [("packages", "a"), ("suite", "s"), ("origin", "packages")];
        let options = options.map(|(name, value)| (name.to_owned(), vec![value.to_owned()]));
        let wish = Wish::new(&spec, &BTreeMap::from(options), &ctx).unwrap();
        let tested = |version: &str| {
            let text = format!(
                "version = 1\n[[pin]]\nentry = \"toolchain\"\nwanted = \"s amd64: a\"\nis.packages.suite = \"s\"\n\
                 is.packages.packages = [{{ name = \"a\", version = \"{version}\", arch = \"all\", sha256 = \"{sum}\", size = 7 }}]\n"
            );
            Lock::parse(&Document::new(Path::new("x"), &text)).unwrap()
        };
        let said = Mutex::new(Vec::new());
        let events = |event| {
            if let Event::Warning { message } = event {
                said.lock().unwrap().push(message);
            }
        };
        let found = |version: &str, ctx: &Context| pin_on(&host, &tested(version), &wish, ctx, &events).unwrap();
        assert_eq!(found("1", &ctx).as_ref(), tested("1").get(&wish));
        assert!(said.lock().unwrap().is_empty());
        assert_eq!(found("0", &ctx), None);
        let expected =
            "a 0, with which this quiz was tested, cannot be found anywhere any more: today's packages of s are used";
        assert_eq!(*said.lock().unwrap(), [expected]);
        // Where the cache has what is made of it, nobody has to have it any more.
        let made = pin(&tested("0"), &wish, &[], true, &ctx, &events).unwrap();
        assert_eq!((made.as_ref(), said.lock().unwrap().len()), (tested("0").get(&wish), 1));
        // If another set has a newer version already, the tested one is not taken for a set that comes later.
        let moved = Package { version: "2".into(), ..tested("1").packages(&wish).remove(0) };
        assert_eq!(pin(&tested("1"), &wish, &[moved], true, &ctx, &events).unwrap(), None);
        assert!(found("0", &context(&dir.path().join("cache"), true)).is_some(), "offline nothing is known to be gone");
        let other = Wish::new(&spec, &BTreeMap::from([("suite".to_owned(), vec!["t".to_owned()])]), &ctx).unwrap();
        assert_eq!(pin_on(&host, &tested("1"), &other, &ctx, &events).unwrap(), None, "another wish has no pin");
    }

    /// A set that changed without its pin would be resolved by everybody on another day.
    #[test]
    fn every_set_of_the_toolchain_is_pinned() {
        let text = include_str!("../../recipes/toolchain/recipe.toml");
        let recipe: toml::Table = toml::from_str(text).unwrap();
        let spec: Spec = recipe["source"].clone().try_into().unwrap();
        let tested = all().unwrap();
        let ctx = context(Path::new("/none"), true);
        let (sets, outside) = (recipe["sets"].as_table().unwrap(), recipe["outside-sets"].as_array().unwrap());
        for (set, names) in sets {
            let names = names.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
            let one = |text: &str| vec![text.to_owned()];
            let options = [("packages", names), ("suite", one("bookworm")), ("origin", one("packages"))];
            let options: BTreeMap<_, _> = options.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            // A set whose programs run on the machine itself has an entry of its own.
            let is_outside = outside.iter().any(|name| name.as_str() == Some(set));
            let entry = if is_outside { set.clone() } else { spec.entry.clone() };
            let wish = Wish::new(&Spec { entry, ..spec.clone() }, &options, &ctx).unwrap();
            assert!(tested.get(&wish).is_some(), "src/source/pins/bookworm.lock has no pin of the set {set}: {wish}");
        }
        assert_eq!(tested.iter().count(), sets.len() + 1, "and none of a set that there is not, but that of drgn");
    }

    /// Without a look at the index: it need not be there.
    #[test]
    fn the_drgn_that_is_brought_is_the_one_that_was_tested() {
        let text = include_str!("../../recipes/drgn-wheel/recipe.toml");
        let recipe: toml::Table = toml::from_str(text).unwrap();
        let spec: Spec = recipe["source"].clone().try_into().unwrap();
        let (ctx, dir) = (context(Path::new("/none"), true), tempfile::tempdir().unwrap());
        let wish = Wish::new(&spec, &BTreeMap::new(), &ctx).unwrap();
        let pin = crate::source::pinned(&spec, &wish, false, &dir.path().join("quiz.lock"), &ctx, &|_| {}).unwrap();
        assert!(matches!(&pin, Pin::Url(pin) if pin.version.as_deref() == Some("0.3.0")), "{pin}");
    }
}

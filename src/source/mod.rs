//! Sources that come from outside: what is asked for ([`Wish`]), what exactly that is ([`Pin`], kept in quiz.lock), and how it
//! is brought here.
//!
//! Two functions go to the network: [`resolve`] asks what is newest, [`fetch`] brings the pinned bytes and nothing else. A folder
//! that people edit is never pinned; [`worktree`] says which of its files are source. Knows no
//! stage, no cache key and no recipe by name: a recipe's `[source]` table ([`Spec`]) says where to look.

mod alternatives;
mod apt;
mod archive;
mod binary;
mod deb;
mod debian;
mod download;
mod dsc;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod git;
mod index;
pub mod kept;
mod lock;
mod name;
mod newest;
mod origin;
mod packages;
mod pin;
mod release;
mod root;
#[cfg(test)]
mod shelf;
mod spec;
mod tested;
mod unpack;
mod version;
mod wheel;
mod wish;
pub mod worktree;

pub use archive::{Mirrors, Unused, remove_unused};
pub use lock::{Lock, add, replace};
pub use name::{is_package, is_suite};
pub use origin::place;
pub use pin::{DscFile, DscPin, GitPin, KeptTree, Package, PackagePin, PackagesPin, Pin, UrlPin};
pub use release::{Release, ReleaseKind};
pub use root::RootSpec;
pub use spec::Spec;
pub use tested::toolchain as tested_toolchain;
pub use unpack::{Limits, unpack};
pub use wish::Wish;

use crate::error::{Error, Result};
use crate::event::{Event, Events};
use std::fs::File;
use std::path::{Path, PathBuf};

/// What the functions of this room need to know of the machine.
#[derive(Debug, Clone)]
pub struct Context {
    /// A folder of the cache that belongs to this room: package lists and downloads. Several quiz processes share it.
    pub cache: PathBuf,
    /// The machine for which packages are wanted, as `uname -m` says it: "x86_64".
    pub arch: String,
    /// Where Debian packages come from.
    pub mirrors: Mirrors,
    /// Never ask the network; what would need it is an error.
    pub offline: bool,
    /// The folder quiz was run in: a source may be the worktree around it.
    pub start: PathBuf,
    /// The project's folder: relative paths in options start there.
    pub base: PathBuf,
}

/// What this quiz was tested with, if it was for this wish: what [`pinned`] takes where nothing is in the lock file.
///
/// # Errors
/// None, as long as the tests pass.
pub fn tested(wish: &Wish) -> Result<Option<Pin>> {
    Ok(tested::all()?.get(wish).cloned())
}

/// The pin of `wish`: from the lock file; else that with which this quiz was tested, or what is found now, and written there. `is_made` says that
/// what was tested need not be brought, since the cache has what is made of it: then nobody is asked whether it still can be.
pub fn pinned(spec: &Spec, wish: &Wish, is_made: bool, lock: &Path, ctx: &Context, events: Events) -> Result<Pin> {
    let before = Lock::read(lock)?;
    if let Some(pin) = before.get(wish) {
        return Ok(pin.clone());
    }
    let tested = tested::all()?;
    let same = before.packages(wish);
    let pin = match tested::pin(&tested, wish, &same, is_made, ctx, events)? {
        Some(pin) => pin,
        None if same.is_empty() => find(spec, wish, &tested.packages(wish), ctx, events)?,
        None => find(spec, wish, &same, ctx, events)?,
    };
    let pin = add(lock, wish, pin)?;
    events(Event::Resolved { entry: wish.entry().into(), wanted: wish.to_string(), pinned: pin.to_string() });
    Ok(pin)
}

/// Asks the outside what `wish` stands for today. The only function that asks what is newest.
///
/// # Errors
/// A version that nobody has lists those that are there; without network the hint says what to type. A folder ([`Wish::dir`])
/// cannot be pinned.
pub fn resolve(spec: &Spec, wish: &Wish, ctx: &Context, events: Events) -> Result<Pin> {
    find(spec, wish, &[], ctx, events)
}

/// The same, where of packages the versions that are pinned already are taken.
fn find(spec: &Spec, wish: &Wish, pinned: &[Package], ctx: &Context, events: Events) -> Result<Pin> {
    if ctx.offline && !wish.is_local() {
        return Err(Error::input(format!("`{wish}` is not in quiz.lock, and quiz was told not to use the network"))
            .hint(format!("run once with network, without --offline: quiz update {}", wish.entry())));
    }
    let pin = wish.resolve(spec, pinned, ctx, events)?;
    match pin.twice() {
        None => Ok(pin),
        Some(fact) => Err(Error::build(format!("{}: what was found for `{wish}` has `{fact}` twice", spec.entry))),
    }
}

/// Brings exactly what `pin` says and makes the folder `dest` of it: the unpacked source, or the packages with their index.
///
/// `dest` must not exist; its parent must. Every byte is checked against the pinned sha256 before it is unpacked.
pub fn fetch(spec: &Spec, pin: &Pin, dest: &Path, ctx: &Context, events: Events) -> Result<()> {
    if ctx.offline && !is_local(pin) {
        return Err(Error::input(format!(
            "{} ({pin}) is not in the cache, and quiz was told not to use the network",
            spec.entry
        ))
        .hint("run once with network, without --offline"));
    }
    match pin {
        Pin::Package(pin) => debian::fetch(spec, pin, dest, ctx, events),
        Pin::Url(pin) if spec.wheel.is_some() => wheel::fetch(pin, dest, ctx, events),
        Pin::Url(pin) => index::fetch(pin, dest, ctx, events),
        Pin::Packages(pin) if spec.binary.is_some() => binary::fetch(spec, pin, dest, ctx, events),
        Pin::Packages(pin) => packages::fetch(spec, pin, dest, ctx, events),
        Pin::Dsc(pin) => dsc::fetch(spec, pin, dest, ctx, events),
        Pin::Git(pin) => git::fetch(spec, pin, dest, ctx, events),
    }
}

/// Whether a pin can be brought here without network. For packages that turns out only when they are looked for in the cache.
fn is_local(pin: &Pin) -> bool {
    match pin {
        Pin::Git(pin) => git::is_local(&pin.repository),
        Pin::Packages(_) => true,
        Pin::Package(_) | Pin::Url(_) | Pin::Dsc(_) => false,
    }
}

/// A lock that one process has at a time, on the file `path`. Waits for the process that has it, and sends an event; the
/// end of that process frees it.
fn take_lock(path: &Path, waits_for: impl FnOnce() -> String, events: Events) -> std::io::Result<File> {
    let file = File::create(path)?;
    if file.try_lock().is_err() {
        events(Event::Paused { what: waits_for() });
        file.lock()?;
    }
    Ok(file)
}

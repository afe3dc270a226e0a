//! A content-addressed cache of build results on one machine, shared by processes that know nothing of each other.
//!
//! What can change a result is hashed into a [`Key`] ([`KeyEncoder`]). A [`Record`] says which [`Output`]s a key led to; an
//! output is a file or a tree, named by its own [`Digest`], stored once, immutable. A [`Slot`] is a locked place in which a
//! result that is missing is made; its commit is all or nothing. A [`Fingerprint`] is the tree of a folder that people edit:
//! what did not change since the last time is not read again.
//!
//! ```
//! use quiz_cache::{Built, Cache, Entry, KeyEncoder, Kind, Made};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let root = folder.path().join("cache");
//! let cache = Cache::open(&root)?;
//! let mut encoder = KeyEncoder::new("example.org upper-case 1");
//! encoder.text("input", "hello").list("options", ["--fast"]);
//! let (key, manifest) = encoder.finish();
//!
//! // The first one who asks makes it.
//! let Entry::Miss(slot) = cache.slot(&key, &|pid| eprintln!("waiting for process {pid}"))? else { unreachable!() };
//! std::fs::write(slot.out().join("shout"), "hello".to_uppercase())?;
//! let record = slot.commit(Made {
//!     stage: "upper-case".into(),
//!     outputs: vec![("shout".into(), Kind::File)],
//!     kept: Default::default(),
//!     over: Default::default(),
//!     manifest,
//!     took: Duration::ZERO,
//!     from: Built::FromNothing,
//! })?;
//!
//! // Everyone else finds it.
//! let Entry::Hit(found) = cache.slot(&key, &|_| {})? else { unreachable!() };
//! assert_eq!(found, record);
//! assert_eq!(std::fs::read_to_string(cache.path(&found.outputs["shout"]))?, "HELLO");
//! # Ok(())
//! # }
//! ```
//!
//! The disk format is in this crate's README. The crate starts no process and prints nothing.

mod access;
mod codec;
mod collect;
mod digest;
mod error;
mod files;
mod fingerprint;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
mod inventory;
mod key;
mod links;
mod lock;
mod looked;
mod memo;
mod named;
mod needs;
mod objects;
mod pack;
mod passing;
mod pins;
mod record;
mod scratch;
mod slot;
mod store;
#[cfg(test)]
mod tests;
mod tree;
mod verify;
mod walk;
mod workspace;

pub use access::group_name;
pub use collect::{Collected, Count, Fitted, Held, Roots, Step};
pub use digest::{Digest, ParseDigestError};
pub use error::{Error, Result};
pub use fingerprint::{Fingerprint, Selection};
pub use inventory::{Inventory, Item, Sizes, Sort};
pub use key::{Change, Key, KeyEncoder, Manifest};
pub use looked::Looked;
pub use named::{Named, NamedSlot};
pub use needs::Need;
pub use pack::{Front, Guard, Packed, Unpacked};
pub use passing::{Passing, PassingSlot};
pub use pins::Pin;
pub use record::{Built, Kind, Output, Record};
pub use scratch::{Scratch, Source, Synced};
pub use slot::{Entry, Made, Slot};
pub use store::Cache;
pub use tree::{Node, Tree};
pub use verify::{Verified, Wrong};

//! What collections have to look at outside of the cache, all of it before they keep anybody waiting: a folder there may be on a server that does
//! not answer. Only what was not there is looked at once more while they wait, so that nothing goes that somebody has made since.
//!
//! What comes to be after that was not seen, and counts as there.

use super::Listed;
use crate::Cache;
use crate::error::Result;
use crate::links::{Behind, LINKS};
use crate::needs::{FOLDER, There};
use crate::scratch::{folders, has_owner};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What was looked at or read before, by the file or folder of the cache that speaks of it.
pub(super) struct Seen {
    pub(super) listed: Listed,
    links: HashMap<PathBuf, Behind>,
    needs: HashMap<PathBuf, There>,
    owned: HashMap<PathBuf, bool>,
}

impl Seen {
    pub(super) fn look(cache: &Cache) -> Result<Self> {
        let links = cache.entries(LINKS).into_iter().map(|path| (path.clone(), cache.behind(&path))).collect();
        let need = |path: PathBuf| Ok(cache.need_at(&path)?.map(|need| (path, need.look(cache.group().is_some()))));
        let needs = cache.entries(FOLDER).into_iter().filter_map(|path| need(path).transpose());
        let needs = needs.collect::<Result<_>>()?;
        let scratch = cache.entries("scratch").into_iter().flat_map(|family| folders(&family));
        let owned = scratch.map(|folder| (folder.clone(), has_owner(&folder))).collect();
        Ok(Self { listed: Listed::default(), links, needs, owned })
    }

    pub(super) fn behind(&self, path: &Path) -> Behind {
        self.links.get(path).copied().unwrap_or(Behind::Unknown)
    }

    pub(super) fn need(&self, path: &Path) -> There {
        self.needs.get(path).copied().unwrap_or(There::Yes)
    }

    pub(super) fn has_owner(&self, folder: &Path) -> bool {
        self.owned.get(folder).copied().unwrap_or(true)
    }
}

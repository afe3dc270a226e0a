//! What takes room in the cache, and what would be free without it.
//!
//! Files are shared: an object by all trees and results that have the same content, by hard links. So each thing has two sizes: the blocks of
//! all that it has, and those that nothing else has, which alone are free when it goes. Counted are blocks of the disk, of each file once. The folders of
//! trees are not read: what is in them are links to objects.
//!
//! Removes nothing, and counts as no use.

use crate::codec::What;
use crate::error::Result;
use crate::files::{blocks_below, digest_of, look};
use crate::memo::{Latest, Subtree};
use crate::objects::LISTINGS;
use crate::scratch::{MADE, OWNER, folders};
use crate::{Cache, Digest, Key, Kind, Looked, Named, Node, Output, Record, Tree, named};
use rayon::prelude::*;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What something in the cache is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sort {
    /// A result.
    Result(Record),
    /// A named result.
    Named(Named),
    /// A passing result, by the digest of its key.
    Passing(Digest),
    /// The scratch folder of an owner, and the last result that was made there, if none has begun since.
    Scratch {
        /// Whose it is.
        owner: PathBuf,
        /// The result.
        made: Option<Key>,
        /// Whether its owner is there.
        owned: bool,
    },
    /// All of one kind together, by the name of its folder: `parts` are trees and files that no result has, but that were taken of folders or of trees;
    /// `unnamed` those that nothing names; `notes` what is remembered.
    Other(String),
}

/// Something that takes room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub sort: Sort,
    /// Its last use, as far as that is known: exact to the day.
    pub used: Option<SystemTime>,
    /// Bytes on the disk that nothing else can have.
    own: u64,
    trees: Vec<u32>,
    objects: Vec<u32>,
}

/// Bytes on the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Of all that it has.
    pub all: u64,
    /// Of what nothing else has.
    pub alone: u64,
}

/// All that takes room.
#[derive(Debug, Default)]
pub struct Inventory {
    /// What there is.
    pub items: Vec<Item>,
    /// Bytes on the disk of all of it together.
    pub total: u64,
    objects: Vec<u64>,
    trees: Vec<Listed>,
}

/// A tree: the bytes of its folders and its listing, and its files.
#[derive(Debug, Default)]
struct Listed {
    own: u64,
    files: Vec<u32>,
}

/// Who has something: nobody so far, one group of items, or several.
const NOBODY: u32 = u32::MAX;
const SEVERAL: u32 = u32::MAX - 1;

/// Where things are found while the inventory is made.
struct Index {
    objects: HashMap<Digest, u32>,
    trees: HashMap<Digest, u32>,
}

impl Cache {
    /// Everything that is in the cache now. Takes about two seconds for a hundred thousand files, of which `looked` counts those that most of the time
    /// goes to.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn inventory(&self, looked: &Looked) -> Result<Inventory> {
        let (objects, listings) = (self.entries("objects"), self.entries(LISTINGS));
        looked.begin(objects.len() + listings.len());
        let (objects, mut blocks): (Vec<Digest>, Vec<u64>) = sized(objects, looked).into_iter().unzip();
        let objects: HashMap<Digest, u32> = objects.into_iter().zip(0..).collect();
        let (digests, trees): (Vec<Digest>, Vec<Listed>) = self.listed(listings, &objects, looked)?.into_iter().unzip();
        let index = Index { objects, trees: digests.into_iter().zip(0..).collect() };
        let mut items = self.result_items(&index)?;
        items.extend(self.named_items(&index)?);
        items.extend(self.passing_items());
        items.extend(self.scratch_items()?);
        items.extend(self.other_items());
        blocks.shrink_to_fit();
        let mut inventory = Inventory { items, total: 0, objects: blocks, trees };
        inventory.add_nameless();
        let own = inventory.items.iter().map(|item| item.own).chain(inventory.trees.iter().map(|tree| tree.own));
        inventory.total = own.chain(inventory.objects.iter().copied()).sum();
        Ok(inventory)
    }

    fn listed(
        &self,
        listings: Vec<PathBuf>,
        objects: &HashMap<Digest, u32>,
        looked: &Looked,
    ) -> Result<Vec<(Digest, Listed)>> {
        let read = |(digest, listing): (Digest, u64)| -> Result<(Digest, Listed)> {
            let tree = self.peek::<Tree>(What::Tree, &self.place(LISTINGS, &digest))?.unwrap_or_default();
            let top = self.place("trees", &digest);
            let blocks = |path: &Path| fs::symlink_metadata(path).map_or(0, |meta| meta.blocks() * 512);
            let mut own = listing + blocks(&top);
            let (mut files, is_there) = (Vec::new(), top.exists());
            for (path, node) in tree.items() {
                match node {
                    Node::File { digest, .. } => files.extend(objects.get(digest)),
                    _ if is_there => own += blocks(&top.join(path)),
                    _ => {}
                }
            }
            files.sort_unstable();
            files.dedup();
            looked.more(1);
            Ok((digest, Listed { own, files }))
        };
        sized(listings, &Looked::default()).into_par_iter().map(read).collect()
    }

    /// Results, each with the parts of its trees that somebody wanted; and such parts of trees that are none's.
    fn result_items(&self, index: &Index) -> Result<Vec<Item>> {
        let mut parts: HashMap<Digest, Vec<(u32, u64)>> = HashMap::new();
        for path in self.entries("subtrees") {
            let bytes = blocks_below(&path);
            if let Some(part) = self.peek::<Subtree>(What::Subtree, &path)?
                && let Some(tree) = index.trees.get(&part.output.digest)
            {
                parts.entry(part.of).or_default().push((*tree, bytes));
            }
        }
        let mut items = Vec::new();
        let mut taken = std::collections::HashSet::new();
        for (record, used) in self.results()? {
            let mut item = Item::new(Sort::Other(String::new()), Some(used));
            item.own =
                blocks_below(&self.place("records", record.key.digest())) + blocks_below(&self.log_path(&record.key));
            for output in record.outputs.values() {
                item.take(index, output);
                if let Some(parts) = parts.get(&output.digest) {
                    item.trees.extend(parts.iter().map(|(tree, _)| tree));
                    taken.insert(output.digest);
                }
            }
            item.sort = Sort::Result(record);
            items.push(item);
        }
        let mut rest = Item::new(Sort::Other("parts".to_owned()), None);
        for (of, parts) in &parts {
            rest.own += parts.iter().map(|(_, bytes)| bytes).sum::<u64>();
            if !taken.contains(of) {
                rest.trees.extend(parts.iter().map(|(tree, _)| tree));
            }
        }
        items.push(rest);
        Ok(items)
    }

    fn named_items(&self, index: &Index) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        for named in self.all_named()? {
            let mut item = Item::new(Sort::Other(String::new()), Some(named.made));
            item.own = blocks_below(&named.path);
            for digest in self.named_needs(&named)? {
                for kind in [Kind::File, Kind::Tree] {
                    item.take(index, &Output { kind, digest, size: 0, files: 0 });
                }
            }
            item.sort = Sort::Named(named);
            items.push(item);
        }
        Ok(items)
    }

    fn passing_items(&self) -> Vec<Item> {
        let item = |folder: PathBuf| {
            let used = fs::metadata(folder.join("index")).and_then(|meta| meta.modified()).ok();
            let own = blocks_below(&folder);
            digest_of(&folder).map(|key| Item { own, ..Item::new(Sort::Passing(key), used) })
        };
        self.entries("passing").into_iter().filter_map(item).collect()
    }

    fn scratch_items(&self) -> Result<Vec<Item>> {
        let all: Vec<PathBuf> = self.entries("scratch").iter().flat_map(|family| folders(family)).collect();
        let item = |folder: PathBuf| -> Result<Item> {
            let used = look(&folder)?.and_then(|meta| meta.modified().ok());
            let owner = PathBuf::from(OsString::from_vec(fs::read(folder.join(OWNER)).unwrap_or_default()));
            let made = self.peek::<Latest>(What::Latest, &folder.join(MADE))?.map(|made| made.key);
            let owned = owner.exists();
            Ok(Item { own: blocks_below(&folder), ..Item::new(Sort::Scratch { owner, made, owned }, used) })
        };
        all.into_iter().map(item).collect()
    }

    /// What belongs to nothing above: small notes together, the rest by its folder.
    fn other_items(&self) -> Vec<Item> {
        const ABOVE: &[&str] =
            &["objects", "trees", LISTINGS, "records", "subtrees", "scratch", "passing", named::FOLDER, named::FILES];
        const LARGE: &[&str] = &["source", "store", "aside", "tmp", "wrong"];
        const NOTES: &[&str] = &[
            "memos",
            "latest",
            "stats",
            "glances",
            "links",
            "needs",
            "locks",
            "pins",
            "running",
            "version",
            "CACHEDIR.TAG",
        ];
        let (mut items, mut notes) = (Vec::new(), Item::new(Sort::Other("notes".to_owned()), None));
        let logs: u64 =
            self.entries("logs").iter().filter(|path| !self.is_of_result(path)).map(|path| blocks_below(path)).sum();
        notes.own += logs;
        let own = Some(self.own()).filter(|own| *own != self.root());
        let folders = [self.root()].into_iter().chain(own);
        let entries = folders.flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
        for path in entries.map(|entry| entry.path()).filter(|path| !self.own().starts_with(path)) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_known = LARGE.contains(&name.as_str());
            if NOTES.contains(&name.as_str()) || path.is_file() {
                notes.own += blocks_below(&path);
            } else if !ABOVE.contains(&name.as_str()) && name != "logs" {
                let name = if is_known { name } else { format!("{name}/") };
                items.push(Item { own: blocks_below(&path), ..Item::new(Sort::Other(name), None) });
            }
        }
        items.push(notes);
        items
    }

    fn is_of_result(&self, log: &Path) -> bool {
        digest_of(log).is_some_and(|key| self.place("records", &key).exists())
    }
}

/// These files by their digests, with their bytes on the disk.
fn sized(files: Vec<PathBuf>, looked: &Looked) -> Vec<(Digest, u64)> {
    let sized = |path: PathBuf| {
        let bytes = fs::symlink_metadata(&path).map_or(0, |meta| meta.blocks() * 512);
        looked.more(1);
        digest_of(&path).map(|digest| (digest, bytes))
    };
    files.into_par_iter().filter_map(sized).collect()
}

impl Item {
    fn new(sort: Sort, used: Option<SystemTime>) -> Self {
        Self { sort, used, own: 0, trees: Vec::new(), objects: Vec::new() }
    }

    fn take(&mut self, index: &Index, output: &Output) {
        match output.kind {
            Kind::File => self.objects.extend(index.objects.get(&output.digest)),
            Kind::Tree => self.trees.extend(index.trees.get(&output.digest)),
        }
    }
}

impl Inventory {
    /// The sizes of groups of items. `group` says of each item in which it is: a number below `groups`.
    ///
    /// # Panics
    /// There is no group of that number, or not one for each item.
    pub fn sizes(&self, group: &[usize], groups: usize) -> Vec<Sizes> {
        let small = |n: usize| u32::try_from(n).unwrap_or(SEVERAL - 1);
        let join = |owner: &mut u32, who: u32| {
            *owner = if *owner == NOBODY || *owner == who { who } else { SEVERAL };
        };
        let (mut trees, mut objects) = (vec![NOBODY; self.trees.len()], vec![NOBODY; self.objects.len()]);
        let mut sizes = vec![Sizes::default(); groups];
        let mut members: Vec<Vec<&Item>> = vec![Vec::new(); groups];
        for (item, group) in self.items.iter().zip(group) {
            item.trees.iter().for_each(|tree| join(&mut trees[*tree as usize], small(*group)));
            item.objects.iter().for_each(|object| join(&mut objects[*object as usize], small(*group)));
            sizes[*group].all += item.own;
            sizes[*group].alone += item.own;
            members[*group].push(item);
        }
        for (tree, owner) in self.trees.iter().zip(&trees).filter(|(_, owner)| **owner != NOBODY) {
            tree.files.iter().for_each(|object| join(&mut objects[*object as usize], *owner));
        }
        let mut add = |owner: u32, bytes: u64| {
            if let Some(sizes) = sizes.get_mut(owner as usize) {
                sizes.alone += bytes;
            }
        };
        self.trees.iter().zip(&trees).for_each(|(tree, owner)| add(*owner, tree.own));
        self.objects.iter().zip(&objects).for_each(|(bytes, owner)| add(*owner, *bytes));
        // In which group each was counted last.
        let (mut seen, mut seen_trees) = (vec![NOBODY; self.objects.len()], vec![NOBODY; self.trees.len()]);
        for (n, items) in members.iter().enumerate() {
            let mut count = |object: &u32| {
                let is_new = std::mem::replace(&mut seen[*object as usize], small(n)) != small(n);
                if is_new { self.objects[*object as usize] } else { 0 }
            };
            let mut all = 0;
            for item in items {
                all += item.objects.iter().map(&mut count).sum::<u64>();
                for tree in &item.trees {
                    if std::mem::replace(&mut seen_trees[*tree as usize], small(n)) != small(n) {
                        let tree = &self.trees[*tree as usize];
                        all += tree.own + tree.files.iter().map(&mut count).sum::<u64>();
                    }
                }
            }
            sizes[n].all += all;
        }
        sizes
    }

    /// Trees that were stored directly are parts of folders; files that nothing names wait for the next collection.
    fn add_nameless(&mut self) {
        let (mut trees, mut objects) = (vec![false; self.trees.len()], vec![false; self.objects.len()]);
        for item in &self.items {
            item.trees.iter().for_each(|tree| trees[*tree as usize] = true);
            item.objects.iter().for_each(|object| objects[*object as usize] = true);
        }
        for tree in &self.trees {
            tree.files.iter().for_each(|object| objects[*object as usize] = true);
        }
        let not = |all: &[bool]| (0..).zip(all).filter(|(_, named)| !**named).map(|(n, _)| n).collect::<Vec<u32>>();
        let is_parts = |item: &&mut Item| item.sort == Sort::Other("parts".to_owned());
        if let Some(parts) = self.items.iter_mut().find(is_parts) {
            parts.trees.extend(not(&trees));
        }
        let objects = not(&objects);
        self.items.push(Item { objects, ..Item::new(Sort::Other("unnamed".to_owned()), None) });
    }
}

//! Reads every byte of the cache again and compares it with its digest: a medium that changes bits by itself is noticed by nothing else.
//!
//! What is wrong moves to a folder `wrong/`, and so do the records that led to it: the next one who wants that result makes it again. What has a
//! name stays where it is, as only its owner knows how to make it again, and who wants to use it is told. Works beside builds: it takes no lock but
//! that against collections, and moves only the very file that it has read.
//!
//! Does not know what is in the files.

mod aside;

use crate::access::is_tree_mode;
use crate::codec::{self, What};
use crate::error::{Result, at};
use crate::files::{digest_of, file_is_sealed, is_executable, look, open_plain, time_is_sealed};
use crate::objects::LISTINGS;
use crate::{Cache, Digest, Node, Record, Tree};
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The folder to which what is wrong is moved.
pub(crate) const FOLDER: &str = "wrong";

/// What came of reading everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Files that were read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long it took.
    pub took: Duration,
    /// What is not what it should be, by its path.
    pub wrong: Vec<Wrong>,
    /// The stages whose records were dropped, so that they are made again.
    pub dropped: Vec<String>,
    /// Where that was moved to; `None` if nothing had to move, or nothing could.
    pub aside: Option<PathBuf>,
    /// Why it could not be set aside, in the system's words.
    pub refused: Option<String>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wrong {
    /// Its path below the folder of the cache.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
    /// The file that was looked at, by its inode; of what stays where it is none.
    inode: Option<(u64, u64)>,
}

/// What is found out while all is read.
struct Found {
    wrong: Vec<Wrong>,
    /// Files and trees that are not what their digests say.
    bad: HashSet<Digest>,
}

/// How much was read so far, and who is told.
struct Meter<'a> {
    files: AtomicU64,
    bytes: AtomicU64,
    all: u64,
    tell: &'a (dyn Fn(u64, u64) + Sync),
}

impl Meter<'_> {
    fn add(&self, bytes: u64) {
        const STEP: u64 = 64 << 20;
        self.files.fetch_add(1, Ordering::Relaxed);
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before / STEP != (before + bytes) / STEP {
            (self.tell)(before + bytes, self.all);
        }
    }
}

/// What an object turned out to be.
enum Object {
    Good,
    Wrong(String),
    /// Somebody removed it meanwhile.
    Gone,
}

impl Cache {
    /// Reads everything that has a digest, on all processors. `tell` gets how many bytes were read, and how many there are, now and then, from any
    /// thread. Waits while something is collected, and calls `waiting` once if it has to.
    ///
    /// # Errors
    /// When the cache cannot be read or locked. What cannot be read for another reason than a missing permission is wrong.
    pub fn verify(&self, tell: &(dyn Fn(u64, u64) + Sync), waiting: &dyn Fn()) -> Result<Verified> {
        let _held = self.hold(waiting)?;
        let started = Instant::now();
        let mut objects: Vec<(PathBuf, Metadata)> = self
            .entries("objects")
            .into_par_iter()
            .filter_map(|path| Some(look(&path).transpose()?.map(|meta| (path, meta))))
            .collect::<Result<_>>()?;
        // The largest first, so that no thread is left alone with one in the end.
        objects.par_sort_by_key(|(_, meta)| std::cmp::Reverse(meta.len()));
        let all = objects.iter().map(|(_, meta)| meta.len()).sum();
        let meter = Meter { files: AtomicU64::new(0), bytes: AtomicU64::new(0), all, tell };
        let mut found = Found { wrong: Vec::new(), bad: HashSet::new() };
        let inodes = self.check_objects(&objects, &meter, &mut found)?;
        self.check_trees(&inodes, &meter, &mut found)?;
        self.check_notes(&meter, &mut found)?;
        self.check_folders(&mut found)?;
        found.wrong.sort();
        let mut verified = Verified {
            files: meter.files.into_inner(),
            bytes: meter.bytes.into_inner(),
            took: started.elapsed(),
            ..Verified::default()
        };
        if found.wrong.iter().any(|wrong| wrong.inode.is_some()) || !found.bad.is_empty() {
            self.set_wrong_aside(&found, &mut verified)?;
        }
        verified.wrong = found.wrong;
        Ok(verified)
    }

    /// Gives what each inode that was read has.
    fn check_objects(
        &self,
        objects: &[(PathBuf, Metadata)],
        meter: &Meter<'_>,
        found: &mut Found,
    ) -> Result<HashMap<(u64, u64), Option<Digest>>> {
        let check = |(path, meta): &(PathBuf, Metadata)| -> Result<((u64, u64), Option<Digest>, Object)> {
            let digest = digest_of(path);
            let state = match &digest {
                Some(digest) => self.check_file(path, digest, meter)?,
                None => Object::Wrong("its name is no digest".to_owned()),
            };
            Ok(((meta.dev(), meta.ino()), digest, state))
        };
        let checked: Vec<_> = objects.par_iter().with_max_len(1).map(check).collect::<Result<_>>()?;
        let mut inodes = HashMap::new();
        for ((path, _), (inode, digest, state)) in objects.iter().zip(checked) {
            match state {
                Object::Good => drop(inodes.insert(inode, digest)),
                Object::Gone => {}
                Object::Wrong(what) => {
                    inodes.insert(inode, None);
                    found.bad.extend(digest);
                    found.wrong.push(self.wrong(path, what, Some(inode)));
                }
            }
        }
        Ok(inodes)
    }

    fn check_file(&self, path: &Path, digest: &Digest, meter: &Meter<'_>) -> Result<Object> {
        let read = || -> io::Result<(Metadata, Digest, u64)> {
            let file = open_plain(path)?;
            let meta = file.metadata()?;
            if !meta.is_file() {
                return Err(io::Error::other("it is no plain file"));
            }
            let (is, size) = Digest::of_reader(&file, is_executable(&meta))?;
            Ok((meta, is, size))
        };
        match read() {
            Ok((meta, is, size)) => {
                meter.add(size);
                Ok(if is != *digest {
                    Object::Wrong("its content does not match its digest".to_owned())
                } else if !file_is_sealed(&meta, size, is_executable(&meta)) {
                    Object::Wrong("something wrote to it".to_owned())
                } else {
                    Object::Good
                })
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Object::Gone),
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Err(at("read", path)(e)),
            Err(e) => Ok(Object::Wrong(format!("it cannot be read: {e}"))),
        }
    }

    /// Listings, and the folders of trees: what in them is no link to an object that was read is read now.
    fn check_trees(
        &self,
        inodes: &HashMap<(u64, u64), Option<Digest>>,
        meter: &Meter<'_>,
        found: &mut Found,
    ) -> Result<()> {
        let bad = std::mem::take(&mut found.bad);
        let check = |path: PathBuf| -> Result<Option<(Digest, Vec<Wrong>)>> {
            let Some(digest) = digest_of(&path) else { return Ok(None) };
            let listing = self.peek::<Tree>(What::Tree, &path)?;
            let tree = listing.filter(|tree| tree.is_valid() && tree.output().digest == digest);
            let Some(tree) = tree else {
                let wrong = look(&path)?.map(|meta| {
                    self.wrong(
                        &path,
                        "its content does not match the digest of its tree".to_owned(),
                        Some((meta.dev(), meta.ino())),
                    )
                });
                return Ok(wrong.map(|wrong| (digest, vec![wrong])));
            };
            let top = self.place("trees", &digest);
            let is_of_bad = || {
                tree.items().iter().any(|(_, node)| matches!(node, Node::File { digest, .. } if bad.contains(digest)))
            };
            let Some(meta) = look(&top)? else { return Ok(is_of_bad().then(|| (digest, Vec::new()))) };
            let mut wrong = None;
            if !meta.is_dir() || !time_is_sealed(&meta) {
                wrong = Some("something was added to it or removed".to_owned());
            }
            for (item, node) in tree.items() {
                if wrong.is_none() {
                    wrong =
                        self.check_item(&top.join(item), node, inodes, meter)?.map(|what| format!("{item}: {what}"));
                }
            }
            // Its folder may have been removed and made again meanwhile.
            let what = wrong.map(|what| self.wrong(&top, what, Some((meta.dev(), meta.ino()))));
            Ok((what.is_some() || is_of_bad()).then(|| (digest, what.into_iter().collect())))
        };
        let checked = self.entries(LISTINGS).into_par_iter().map(check).filter_map(Result::transpose);
        let checked: Vec<(Digest, Vec<Wrong>)> = checked.collect::<Result<_>>()?;
        found.bad = bad;
        for (digest, wrong) in checked {
            found.bad.insert(digest);
            found.wrong.extend(wrong);
        }
        Ok(())
    }

    /// What is wrong with something in the folder of a tree.
    fn check_item(
        &self,
        path: &Path,
        node: &Node,
        inodes: &HashMap<(u64, u64), Option<Digest>>,
        meter: &Meter<'_>,
    ) -> Result<Option<String>> {
        let Some(meta) = look(path)? else { return Ok(Some("it is not there".to_owned())) };
        let is_good = match node {
            Node::Folder => meta.is_dir() && is_tree_mode(meta.mode()) && time_is_sealed(&meta),
            Node::Symlink { target } => fs::read_link(path).is_ok_and(|is| is.as_os_str() == target.as_str()),
            Node::File { digest, size, executable } => {
                if !file_is_sealed(&meta, *size, *executable) {
                    false
                } else if let Some(is) = inodes.get(&(meta.dev(), meta.ino())) {
                    *is == Some(*digest)
                } else {
                    match self.check_file(path, digest, meter)? {
                        Object::Good => true,
                        Object::Wrong(what) => return Ok(Some(what)),
                        Object::Gone => return Ok(Some("it is not there".to_owned())),
                    }
                }
            }
        };
        Ok((!is_good).then(|| "it is not what the tree has there".to_owned()))
    }

    /// Structured files, by the checksums in their heads.
    fn check_notes(&self, meter: &Meter<'_>, found: &mut Found) -> Result<()> {
        let folders = ["records", "subtrees", "memos", "latest", "stats", "glances", "pins", "needs", "named"];
        let check = |(folder, path): (&str, PathBuf)| -> Result<Option<Wrong>> {
            let Some(meta) = look(&path)? else { return Ok(None) };
            let mut content = Vec::new();
            let read = open_plain(&path).and_then(|file| file.take(codec::LONGEST + 1).read_to_end(&mut content));
            match read {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Err(at("read", &path)(e)),
                _ => meter.add(content.len() as u64),
            }
            // A record that lies under the name of another key is wrong, too.
            let is_own = || match codec::decode::<Record>(What::Record, &content) {
                Some(record) => digest_of(&path).as_ref() == Some(record.key.digest()),
                None => folder != "records",
            };
            if read.is_ok() && codec::is_whole(&content) && is_own() {
                return Ok(None);
            }
            let inode = (folder != "named").then_some((meta.dev(), meta.ino()));
            Ok(Some(self.wrong(&path, "it is damaged".to_owned(), inode)))
        };
        let all: Vec<_> = folders.iter().flat_map(|f| self.entries(f).into_iter().map(|path| (*f, path))).collect();
        let wrong: Vec<Wrong> = all.into_par_iter().map(check).filter_map(Result::transpose).collect::<Result<_>>()?;
        found.wrong.extend(wrong);
        Ok(())
    }

    /// Passing and named results, as far as they have digests; of the rest, times and lengths.
    fn check_folders(&self, found: &mut Found) -> Result<()> {
        for folder in self.entries("passing") {
            if let (Some(meta), true) = (look(&folder)?, self.passing_is_damaged(&folder)?) {
                let what = "a file of it is damaged".to_owned();
                found.wrong.push(self.wrong(&folder, what, Some((meta.dev(), meta.ino()))));
            }
        }
        for named in self.all_named()? {
            if let Some(file) = &named.damaged {
                let what = format!("{file} of {} is damaged", named.name);
                found.wrong.push(self.wrong(&named.path, what, None));
            }
        }
        Ok(())
    }

    fn wrong(&self, path: &Path, what: String, inode: Option<(u64, u64)>) -> Wrong {
        Wrong { path: path.strip_prefix(self.root()).unwrap_or(path).to_owned(), what, inode }
    }
}

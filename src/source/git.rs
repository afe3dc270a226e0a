//! Origin `git`: a tree of a repository, local or not. What is pinned is the tree's id, and the bytes in it are what comes
//! out: no config, attribute, hook or filter changes them.
//!
//! A local repository is only read; its objects are borrowed by an empty repository of quiz's own, so that its config has no
//! say. Of others a bare one is kept in the cache, with only the commits that were asked for.

pub(super) mod refs;
pub(super) mod run;

use super::download::hex;
use super::spec::{GitSpec, Spec};
use super::{Context, GitPin, Pin};
use crate::error::{Error, Result};
use crate::event::{Event, Events};
use refs::{Pick, Refs};
use sha2::{Digest as _, Sha256};
use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Switches off all attributes by which a tree could have git change the bytes of its files.
const ATTRIBUTES: &str = "* -text -ident !eol !filter !working-tree-encoding\n";

/// The tree of what `version` names. `repository` is "" for that of the spec.
pub(super) fn resolve(spec: &Spec, version: &str, repository: &str, ctx: &Context, events: Events) -> Result<Pin> {
    let table = table(spec)?;
    let (pick, word) = Pick::of(spec, table, version);
    let repository = if repository.is_empty() { table.repository(&word) } else { repository };
    let local = is_local(repository);
    if local && !Path::new(repository).is_dir() {
        return Err(Error::input(format!("{}: there is no repository {repository}", spec.entry)));
    }
    let refs = Refs::list(repository)?;
    let (name, commit) = match refs.find(&pick, version, local) {
        Some((name, id)) => (name, id.to_owned()),
        None => unlisted(&refs, spec, repository, &pick, version)?,
    };
    let mut place =
        if local { run::at(Path::new(repository)) } else { Bare::open(repository, &commit, ctx, events)?.git() };
    // A ref may be a tag: `^{commit}` gives the commit that it is for.
    let ids = [format!("{commit}^{{commit}}"), format!("{commit}^{{tree}}")];
    place.args(["rev-parse", "--end-of-options"]).args(&ids);
    let ids =
        run::run(&mut place)?.or(|| Error::input(format!("{}: {name} is not a commit of {repository}", spec.entry)))?;
    let ids = String::from_utf8_lossy(&ids).into_owned();
    let mut ids = ids.lines().map(str::to_owned).filter(|id| id.len() >= 40);
    match (ids.next(), ids.next()) {
        (Some(commit), Some(tree)) => {
            Ok(Pin::Git(GitPin { repository: repository.to_owned(), name, commit, tree, kept: None }))
        }
        _ => Err(Error::build(format!("{}: git does not say which tree {name} in {repository} has", spec.entry))),
    }
}

/// Makes the folder `dest` of exactly the pinned tree, without submodules.
pub(super) fn fetch(spec: &Spec, pin: &GitPin, dest: &Path, ctx: &Context, events: Events) -> Result<()> {
    // Beside `dest`: whatever ends this process, what is left is removed with the folder around it.
    let beside = dest.parent().unwrap_or(Path::new("."));
    let scratch = tempfile::Builder::new().prefix(".checkout.").tempdir_in(beside);
    let scratch = scratch.map_err(|e| failed_to_write(beside, e))?;
    let bare = if is_local(&pin.repository) {
        Bare::borrow(&pin.repository, &pin.commit, &scratch.path().join("repository"))?
    } else {
        Bare::open(&pin.repository, &pin.commit, ctx, events)?
    };
    let lost = || {
        if pin.kept.is_some() {
            return Error::input(format!("{} does not have what had been committed then any more", pin.repository));
        }
        Error::build(format!("{}: {} does not have the tree of {pin}", spec.entry, pin.repository, pin = pin.name))
            .hint(format!("if the history was rewritten, take what there is now: quiz update {}", spec.entry))
    };
    if let Some(kept) = &pin.kept {
        bare.reads(&kept.objects)?;
    }
    for path in bare.check_out(&pin.tree, dest, scratch.path(), &lost)? {
        if pin.kept.is_none() {
            // git checks a submodule out as an empty folder. It goes, and the user is told: nothing else says that files are missing.
            let folder = dest.join(&path);
            fs::remove_dir(&folder).map_err(|e| failed_to_write(&folder, e))?;
            events(Event::Note { message: format!("{}: the submodule {} is left out", spec.entry, path.display()) });
        }
    }
    Ok(())
}

/// Whether a repository is named by its path: then no network is needed, and it is never written to.
pub(super) fn is_local(repository: &str) -> bool {
    repository.starts_with('/')
}

fn failed_to_write(path: &Path, e: io::Error) -> Error {
    Error::build(format!("cannot write {}", path.display())).because(e)
}

fn table(spec: &Spec) -> Result<&GitSpec> {
    spec.git.as_ref().ok_or_else(|| Error::input(format!("{}: this source has no origin `git`", spec.entry)))
}

fn folder(ctx: &Context) -> Result<PathBuf> {
    let folder = ctx.cache.join("git");
    fs::create_dir_all(&folder).map_err(|e| Error::build(format!("cannot create {}", folder.display())).because(e))?;
    Ok(folder)
}

/// A commit that no ref names: of a local repository what git makes of the name, an abbreviated commit or `HEAD~3`; of others
/// a whole id.
fn unlisted(refs: &Refs, spec: &Spec, repository: &str, pick: &Pick, version: &str) -> Result<(String, String)> {
    let unknown = || refs.unknown(&spec.entry, repository, pick, version);
    match pick {
        Pick::Any(name) if is_local(repository) => {
            let mut git = run::at(Path::new(repository));
            git.args(["rev-parse", "--verify", "--end-of-options", &format!("{name}^{{commit}}")]);
            let ran = run::run(&mut git)?;
            if ran.ok { Ok((name.clone(), ran.line())) } else { Err(ran.explain(unknown())) }
        }
        Pick::Any(id) if id.len() >= 40 && super::release::is_commit(id) => Ok((id.clone(), id.to_ascii_lowercase())),
        _ => Err(unknown()),
    }
}

/// The paths of a `ls-tree -z` that are other repositories.
fn submodules(listed: &[u8]) -> impl Iterator<Item = &[u8]> {
    let entries = listed.split(|b| *b == 0).filter(|entry| entry.starts_with(b"160000 "));
    entries.filter_map(|entry| entry.splitn(2, |b| *b == b'\t').nth(1))
}

/// A repository of quiz's own, without files, config or hooks.
pub(super) struct Bare {
    dir: PathBuf,
    _lock: Option<File>,
}

impl Bare {
    /// The one in the cache that has commits of `repository`; fetches `commit` if it has not. Meanwhile other processes wait.
    fn open(repository: &str, commit: &str, ctx: &Context, events: Events) -> Result<Self> {
        let folder = folder(ctx)?;
        let name = &hex(&Sha256::digest(repository))[..32];
        let lock = folder.join(format!("{name}.lock"));
        let locked = super::take_lock(&lock, || format!("another quiz's fetch of {repository}"), events);
        let locked = locked.map_err(|e| Error::build(format!("cannot lock {}", lock.display())).because(e))?;
        let bare = Self { dir: folder.join(name), _lock: Some(locked) };
        bare.init(commit)?;
        // git writes a ref after all objects that it needs: where it is, nothing is missing.
        let mark = format!("refs/quiz/{commit}");
        if run::run(bare.git().args(["rev-parse", "--verify", "--quiet", &mark]))?.ok {
            return Ok(bare);
        }
        // What a git that was killed has left; nobody else is here now.
        let _ = fs::remove_file(bare.dir.join("shallow.lock"));
        events(Event::Note { message: format!("git: fetching {commit:.12} of {repository}") });
        let mut git = bare.git();
        git.args(run::PATIENCE).args(["fetch", "--progress", "--depth=1", "--no-tags", "--no-recurse-submodules"]);
        git.args(["--no-write-fetch-head", "--no-auto-maintenance", "--", repository]);
        git.arg(format!("+{commit}:{mark}"));
        let came = Cell::new(0);
        let tell = |done, total| events(Event::Download { what: repository.to_owned(), done, total });
        let ran = run::run_telling(&mut git, &|done| {
            came.set(done);
            tell(done, None);
        })?;
        if came.get() > 0 {
            tell(came.get(), Some(came.get()));
        }
        ran.or(|| {
            Error::build(format!("cannot fetch the commit {commit} from {repository}"))
                .hint("is there network, and does that server have this commit?")
        })?;
        Ok(bare)
    }

    /// An empty one at `dir` that reads the objects of the local repository.
    pub(super) fn borrow(repository: &str, commit: &str, dir: &Path) -> Result<Self> {
        let mut git = run::at(Path::new(repository));
        git.args(["rev-parse", "--path-format=absolute", "--git-path", "objects"]);
        let ran = run::run(&mut git)?;
        let objects = ran.line();
        ran.or(|| Error::input(format!("{repository} is not a git repository")))?;
        let bare = Self { dir: dir.to_owned(), _lock: None };
        bare.init(commit)?;
        let alternates = dir.join("objects/info/alternates");
        let written =
            fs::create_dir_all(dir.join("objects/info")).and_then(|()| fs::write(&alternates, objects + "\n"));
        written.map_err(|e| Error::build(format!("cannot write {}", alternates.display())).because(e))?;
        Ok(bare)
    }

    /// Makes the repository, or leaves it as it is. The length of an object id tells the kind of its digests.
    fn init(&self, id: &str) -> Result<()> {
        let broken = || Error::build(format!("cannot make the repository {}", self.dir.display()));
        let format = format!("--object-format={}", if id.len() == 64 { "sha256" } else { "sha1" });
        let mut git = self.git();
        git.args(["init", "--quiet", "--bare", "--template=", &format]);
        run::run(run::without_config(&mut git))?.or(broken)?;
        let info = self.dir.join("info");
        let written = fs::create_dir_all(&info).and_then(|()| fs::write(info.join("attributes"), ATTRIBUTES));
        written.map_err(|e| broken().because(e))
    }

    /// Has it read the objects in one more folder, if each is what its name says: git does not look at that when it checks one out.
    fn reads(&self, objects: &Path) -> Result<()> {
        let (path, own) = (self.dir.join("objects/info/alternates"), self.dir.join("objects"));
        let named =
            |path: &Path| path.to_str().filter(|name| name.starts_with('/') && !name.contains('\n')).map(str::to_owned);
        let (Some(more), Some(own)) = (named(objects), named(&own)) else {
            return Err(Error::input(format!("git cannot be told of {}", objects.display())));
        };
        let mut git = self.git();
        git.args(["fsck", "--no-full", "--no-dangling", "--no-progress"]).env("GIT_OBJECT_DIRECTORY", objects);
        // In quotes: a colon would divide it.
        let own = own.replace('\\', "\\\\").replace('"', "\\\"");
        git.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", format!("\"{own}\""));
        run::run(run::without_config(&mut git))?
            .or(|| Error::input(format!("the objects in {} are damaged", objects.display())))?;
        let file = File::options().append(true).open(&path);
        file.and_then(|mut file| writeln!(file, "{more}")).map_err(|e| failed_to_write(&path, e))
    }

    /// Makes the folder `dest` of exactly this tree; gives the paths of its submodules, which are empty folders. `scratch` is a folder for files of
    /// git's own.
    fn check_out(&self, tree: &str, dest: &Path, scratch: &Path, lost: &dyn Fn() -> Error) -> Result<Vec<PathBuf>> {
        let listed = run::run(run::without_config(self.git().args(["ls-tree", "-r", "-z", tree])))?.or(lost)?;
        fs::create_dir(dest).map_err(|e| failed_to_write(dest, e))?;
        for step in [&["read-tree", tree][..], &["checkout-index", "--all", "--force", "--quiet"]] {
            let mut git = self.git();
            git.env("GIT_INDEX_FILE", scratch.join("index")).env("GIT_WORK_TREE", dest).current_dir(dest).args(step);
            run::run(run::without_config(&mut git))?.or(lost)?;
        }
        Ok(submodules(&listed).map(|path| PathBuf::from(OsStr::from_bytes(path))).collect())
    }

    pub(super) fn git(&self) -> std::process::Command {
        run::within(&self.dir)
    }
}

#[cfg(test)]
pub(super) mod tests;

//! The host's apt with a state of its own: its sources, keys, proxies and passwords, but package lists and a package database
//! that belong to quiz. Needs no root and leaves the host's state alone. Knows nothing of kernels or roots.
//!
//! Signatures are checked as always; nothing here weakens them.

mod host;
pub(super) mod parse;
pub(super) mod sources;
pub(super) mod suites;

pub(super) use host::Host;

use super::Context;
use crate::error::{Error, Result};
use crate::event::{Event, Events};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// apt with its own state for one suite and one architecture. While this value lives no other quiz process uses that state.
pub(super) struct Apt<'a> {
    folder: PathBuf,
    suite: String,
    /// The host's sources do not name it: each may have it or not.
    derived: bool,
    events: Events<'a>,
    _lock: File,
}

/// How a program of apt ended.
pub(super) struct AptOutput {
    pub ok: bool,
    pub stdout: String,
    pub stderr: String,
}

impl AptOutput {
    /// The lines in which apt says what is wrong.
    pub(super) fn complaints(&self) -> impl Iterator<Item = &str> {
        self.stderr.lines().filter(|line| line.starts_with("E: ") || line.starts_with("W: "))
    }
}

impl<'a> Apt<'a> {
    /// Opens the state for the source packages of a suite, and waits while another process has it. `arch` is Debian's word. Of the
    /// places that have `main` also `component` is looked at.
    pub(super) fn open(
        host: &Host,
        suite: &str,
        arch: &str,
        component: &str,
        ctx: &Context,
        events: Events<'a>,
    ) -> Result<Self> {
        // It may come from a quiz.lock, and becomes the name of a folder and a word of sources.list.
        if !suites::is_name(suite) {
            return Err(Error::input(format!("`{suite}` is not the name of a suite")));
        }
        let chosen = sources::choose(&sources::read(&host.etc)?, suite, host, component)?;
        let folder = ctx.cache.join(format!("apt/{suite}-{arch}-src"));
        let broken =
            |e: io::Error| Error::build(format!("cannot prepare apt's folder {}", folder.display())).because(e);
        for name in ["lists/partial", "archives/partial", "sources.list.d", "download"] {
            fs::create_dir_all(folder.join(name)).map_err(broken)?;
        }
        let waits_for = || format!("another quiz's apt for {suite}");
        let lock = super::take_lock(&folder.join("quiz-lock"), waits_for, events).map_err(broken)?;
        let files = [
            ("status", String::new()),
            ("sources.list", chosen.lines),
            ("sources.list.d/quiz.sources", chosen.stanzas),
            ("apt.conf", settings(&folder, arch)),
        ];
        for (name, text) in files {
            fs::write(folder.join(name), text).map_err(broken)?;
        }
        Ok(Self { folder, suite: suite.to_owned(), derived: chosen.derived, events, _lock: lock })
    }

    /// Brings the package lists up to date.
    ///
    /// A source that fails is a warning as long as there are lists of the suite itself: a third party's broken server, or no
    /// network and lists of yesterday. The lists of what failed are then old or missing, never unchecked.
    ///
    /// # Errors
    /// That there is no such suite is an input error; every other one is of another kind.
    pub(super) fn update(&self) -> Result<()> {
        (self.events)(Event::Note { message: format!("apt: updating the package lists of {}", self.suite) });
        let ran = self.run("apt-get", ["update", "-o", "APT::Update::Error-Mode=any"])?;
        if ran.ok {
            return Ok(());
        }
        let lists = fs::read_dir(self.folder.join("lists"))
            .map_err(|e| Error::build("cannot read apt's package lists").because(e))?;
        let is_list = |name: &str| name.contains("_Packages") || name.contains("_Sources");
        let have = lists.flatten().any(|f| is_list(&f.file_name().to_string_lossy()));
        // This line only sums up the others, and would hide that all of them say "not there".
        let details = ran.complaints().filter(|line| !line.starts_with("E: Some index files failed"));
        let mut details: Vec<&str> = details.collect();
        if !have && details.iter().all(|line| !line.starts_with("E: ") || parse::says_not_there(line)) {
            return Err(no_suite(&self.suite, &details));
        }
        if !have {
            let error = Error::build(format!("apt has no package lists of {}, and could not get them", self.suite));
            let error = details.iter().fold(error, |error, line| error.detail(*line));
            return Err(error.hint("is there network? does `apt-get update` work on this machine?"));
        }
        if self.derived {
            details.retain(|line| !parse::says_not_there(line));
        }
        if details.is_empty() {
            return Ok(());
        }
        let message = format!("apt could not update every package list of {}: {}", self.suite, details.join("; "));
        (self.events)(Event::Warning { message });
        Ok(())
    }

    /// Runs a program of apt. That it fails is for the caller to judge.
    pub(super) fn run<I>(&self, program: &str, args: I) -> Result<AptOutput>
    where
        I: IntoIterator<Item: AsRef<std::ffi::OsStr>>,
    {
        self.watch(program, args, &|_| {})
    }

    /// Downloads a source package, checks each file against its pinned sum, and gives their paths in the same order.
    pub(super) fn download_source(&self, pin: &super::DscPin) -> Result<Vec<PathBuf>> {
        let what = format!("{} {}", pin.name, pin.version);
        let total = pin.files.iter().fold(0, |sum: u64, f| sum.saturating_add(f.size));
        let exact = format!("{}={}", pin.name, pin.version);
        self.get("source", ["--download-only".into(), "--only-source".into(), "--".into(), exact], &what, total)?;
        pin.files.iter().map(|f| self.checked(&f.name, &f.sha256, &format!("{} of {what}", f.name))).collect()
    }

    /// Runs a command of apt-get that downloads `total` bytes into the download folder, and shows how far it is.
    fn get(&self, command: &str, args: impl IntoIterator<Item = String>, what: &str, total: u64) -> Result<()> {
        let tell = |line: &str| {
            if let Some(done) = parse::progress(line, total) {
                (self.events)(Event::Download { what: what.to_owned(), done, total: Some(total) });
            }
        };
        let options = [command, "-o", "APT::Status-Fd=1"].map(str::to_owned);
        let ran = self.watch("apt-get", options.into_iter().chain(args), &tell)?;
        if ran.ok {
            return Ok(());
        }
        let error = Error::build(format!("apt could not download {what} of {}", self.suite));
        Err(ran.complaints().fold(error, Error::detail))
    }

    /// The path of a downloaded file whose sum is right.
    fn checked(&self, name: &str, sha256: &str, what: &str) -> Result<PathBuf> {
        let path = self.folder.join("download").join(name);
        let sum = super::download::sha256_of(&path)
            .map_err(|e| Error::build(format!("cannot read {}", path.display())).because(e))?;
        if sum == sha256 {
            return Ok(path);
        }
        // It is in the way of the right one, whether it can be removed or not.
        let _ = fs::remove_file(&path);
        Err(super::download::wrong_sum(what, sha256, &sum))
    }

    /// Runs a program and shows each line of its output to `line`.
    fn watch<I>(&self, program: &str, args: I, line: &dyn Fn(&str)) -> Result<AptOutput>
    where
        I: IntoIterator<Item: AsRef<std::ffi::OsStr>>,
    {
        let mut command = crate::host::program(program);
        command.arg("-c").arg(self.folder.join("apt.conf")).args(args).current_dir(self.folder.join("download"));
        command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive").env_remove("APT_CONFIG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |e: io::Error| Error::build(format!("cannot run {program}")).because(e);
        let mut child = command.spawn().map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => {
                Error::input(format!("{program} is not there, so Debian packages cannot be had"))
                    .hint("on a machine without apt only sources with an address work, such as kernel.source = \"url\"")
            }
            _ => failed(e),
        })?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let read = std::thread::scope(|scope| {
            let errors = scope.spawn(|| {
                let mut text = Vec::new();
                stderr.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut text)).map(|_| text)
            });
            let mut text = String::new();
            for read in stdout.into_iter().flat_map(|pipe| BufReader::new(pipe).split(b'\n')) {
                let read = read?;
                let read = String::from_utf8_lossy(&read);
                line(&read);
                text.push_str(&read);
                text.push('\n');
            }
            Ok((text, errors.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?))
        });
        let status = child.wait().map_err(failed)?;
        let (stdout, stderr) = read.map_err(failed)?;
        Ok(AptOutput { ok: status.success(), stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() })
    }
}

/// What to say of a suite that no place has.
pub(super) fn no_suite(suite: &str, details: &[&str]) -> Error {
    let error = Error::input(format!("there is no suite `{suite}`"));
    let error = details.iter().fold(error, |error, line| error.detail(*line));
    match &suites::nearest(suite)[..] {
        [] => error.hint("Debian's are named as in bookworm, trixie-backports, sid"),
        near => error.hint(format!("the nearest: {}", near.join(", "))),
    }
}

/// Debian's word for what `uname -m` calls `machine`.
pub(super) fn arch(machine: &str) -> Result<&'static str> {
    Ok(match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "riscv64" => "riscv64",
        "ppc64le" => "ppc64el",
        "s390x" => "s390x",
        "armv7l" => "armhf",
        "i686" => "i386",
        _ => return Err(Error::input(format!("no Debian architecture is known for `{machine}`"))),
    })
}

/// apt.conf(5), read after the host's own files (`-c`), so that `#clear` reaches what they say: hooks that would clean the host's
/// caches, further index files, other architectures, pins that are meant for the host.
fn settings(folder: &Path, arch: &str) -> String {
    let folder = folder.display();
    format!(
        r#"#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
#clear APT::Architectures;
#clear Acquire::IndexTargets;
APT::Architecture "{arch}";
APT::Architectures {{ "{arch}"; }};
APT::Default-Release "";
APT::Sandbox::User "root";
APT::Get::AllowUnauthenticated "false";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::IndexTargets::deb::Packages {{
  MetaKey "$(COMPONENT)/binary-$(ARCHITECTURE)/Packages";
  flatMetaKey "Packages";
  ShortDescription "Packages";
  Description "$(RELEASE)/$(COMPONENT) $(ARCHITECTURE) Packages";
  Optional "0";
}};
Acquire::IndexTargets::deb-src::Sources {{
  MetaKey "$(COMPONENT)/source/Sources";
  flatMetaKey "Sources";
  ShortDescription "Sources";
  Description "$(RELEASE)/$(COMPONENT) Sources";
  Optional "0";
}};
Dir::State "{folder}";
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}";
Dir::Cache::archives "{folder}/archives";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "{folder}/sources.list.d";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
quiet "1";
"#
    )
}

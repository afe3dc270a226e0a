//! `quiz cp`: files and folders from a machine that runs, and to it. On the way they are a tar, which the guest's own `tar` makes and takes.

use super::running;
use crate::boot::exec::{Ended, exec};
use crate::boot::{HOME, Request, Streams};
use crate::engine::Engine;
use crate::error::{Error, Result, cannot};
use crate::event::Events;
use crate::event::told::Told;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{PipeReader, PipeWriter};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Makes a tar of `$1`. A file is copied first: a tar has its size in front, but a file of /proc does not say it, and a log may grow meanwhile. Not one of
/// over 64 MiB, since the copy is in the guest's memory. GNU tar ends with 1 also where a file only grew as it was read, which loses nothing of what
/// was there.
const SEND: &str = r#"name=$(basename -- "$1")
[ -f "$1" ] && [ ! -L "$1" ] && [ "$(stat -c %s -- "$1")" -le 67108864 ] || {
    cd "$(dirname -- "$1")" || exit 2
    words=$(mktemp -- /tmp/.quiz-cp.XXXXXX) || exit 2
    LC_ALL=C tar -cf - -- "$name" 2>"$words"
    status=$?
    cat -- "$words" >&2
    ! grep -qv ': file changed as we read it$' "$words" || [ "$status" != 1 ] || status=2
    rm -f -- "$words"
    [ "$status" != 1 ] || exit 0
    exit "$status"
}
new=$(mktemp -d -- /tmp/.quiz-cp.XXXXXX) || exit 2
trap 'rm -rf -- "$new"' EXIT
trap 'exit 1' HUP INT TERM
cat -- "$1" >"$new/$name" && chmod --reference="$1" -- "$new/$name" && tar -C "$new" -cf - -- "$name""#;
/// The last file of a tar to the guest: without it the tar is not whole, as something could not be read here.
const WHOLE: &str = ".quiz-cp.whole";
/// Takes a tar of one file or folder `$2`, and moves it to `$1`, or into that if it is a folder. A folder that is there already is an error: the two are not mixed.
const TAKE: &str = r#"set -e
if [ -d "$1" ]; then place=$1 name=$2; else place=$(dirname -- "$1") name=$(basename -- "$1"); fi
if [ -d "$place/$name" ]; then echo "$place/$name is there already" >&2; exit 1; fi
new=$(mktemp -d -- "$place/.quiz-cp.XXXXXX")
trap 'rm -rf -- "$new"' EXIT
trap 'exit 1' HUP INT TERM
tar -C "$new" --no-same-owner -xf -
[ -e "$new/.quiz-cp.whole" ] || exit 1
mv -T -- "$new/$2" "$place/$name""#;

/// A place on the host, or in a machine: `7:/var/log`, of the newest of the project `:/var/log`.
enum Place {
    Here(PathBuf),
    There { run: Option<String>, path: OsString },
}

impl Place {
    /// What begins with a number and a colon, or with a colon, is in a machine; `./7:x` is a file.
    fn of(text: &OsStr) -> Self {
        let bytes = text.as_bytes();
        let colon = bytes.iter().position(|byte| *byte == b':');
        let run = colon.and_then(|at| std::str::from_utf8(&bytes[..at]).ok());
        let is_run =
            |run: &&str| run.is_empty() || run.split('/').next().is_some_and(|number| number.parse::<u64>().is_ok());
        match (run.filter(is_run), colon) {
            (Some(run), Some(at)) => Self::There {
                run: Some(run.to_owned()).filter(|run| !run.is_empty()),
                path: OsString::from_vec(bytes[at + 1..].to_vec()),
            },
            _ => Self::Here(text.into()),
        }
    }
}

/// Copies one file or folder.
pub(super) fn run(engine: &Engine<'_>, from: &OsStr, to: &OsStr) -> Result<()> {
    match (Place::of(from), Place::of(to)) {
        (Place::There { run, path }, Place::Here(here)) => {
            fetch(engine.events, &running::living(engine, "cp", run.as_deref())?, &path, &here)
        }
        (Place::Here(here), Place::There { run, path }) => {
            send(engine.events, &running::living(engine, "cp", run.as_deref())?, &here, &path)
        }
        _ => Err(Error::input("one of the two has to be a path in a machine that runs, and the other one a path here")
            .hint("quiz cp 7:/var/log/messages .    (from run 7; without the number, from the newest run of this project)")
            .hint("quiz cp module.ko :/root/")),
    }
}

fn pipe() -> Result<(PipeReader, PipeWriter)> {
    std::io::pipe().map_err(|e| Error::boot("cannot make a pipe").because(e))
}

/// Runs a script in the guest's shell. Its error messages go to quiz's stderr.
fn script(run: &Path, script: &str, words: &[&OsStr], stdin: OwnedFd, stdout: OwnedFd) -> Result<Ended> {
    let program = [OsStr::new("sh"), OsStr::new("-c"), OsStr::new(script), OsStr::new("quiz-cp")];
    let program = program.iter().chain(words).map(|word| (*word).to_owned()).collect();
    let request =
        Request { program, env: Vec::new(), dir: HOME.into(), tty: None, shell_after: false, shares: Vec::new() };
    let stderr = Streams::inherit(true)?.stderr;
    exec(run, request, &Streams { stdin, stdout, stderr })
}

fn arrived(ended: Ended) -> Result<()> {
    match ended {
        Ended::Exited(0) => Ok(()),
        Ended::Exited(status) => Err(Error::boot(format!("the copy failed in the machine (status {status})"))),
        Ended::Left(_) => Err(Error::boot("the copy was interrupted")),
        Ended::Lost => Err(Error::boot("the machine ended before the copy did")),
    }
}

/// The last part of a path, under which a tar has it.
fn name_of(path: &Path) -> Result<OsString> {
    let name = path.file_name().map(OsStr::to_owned);
    name.ok_or_else(|| {
        Error::input(format!("{} does not end in the name of a file or folder", path.display()))
            .hint("write its name: 7:/etc or ../src, not 7:/ or .")
    })
}

fn fetch(events: Events<'_>, run: &Path, path: &OsStr, here: &Path) -> Result<()> {
    let name = name_of(Path::new(path))?;
    let target = if here.is_dir() { here.join(&name) } else { here.to_owned() };
    if target.is_dir() {
        return Err(
            Error::input(format!("{} is there already", target.display())).hint("name another place, or remove it")
        );
    }
    let folder = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Unpacked in a folder beside it and then renamed: half of a copy is never there.
    let new =
        tempfile::Builder::new().prefix(".quiz-cp.").tempdir_in(folder).map_err(|e| cannot("write in", folder, e))?;
    let (mut tar, stdout) = pipe()?;
    let nothing = File::open("/dev/null").map_err(|e| cannot("open", Path::new("/dev/null"), e))?;
    let unpacked = std::thread::scope(|scope| {
        // Also reads the padding that follows the end of the archive: the guest's tar would fail if nobody took it.
        let place = new.path();
        let unpack = scope.spawn(move || {
            tar::Archive::new(Told::new(&mut tar, "copying", None, events)).unpack(place)?;
            std::io::copy(&mut tar, &mut std::io::sink())
        });
        let sent = script(run, SEND, &[path], nothing.into(), stdout.into());
        let unpacked = unpack.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (sent?, unpacked) {
            (Ended::Exited(0) | Ended::Left(_), Err(e)) => Err(cannot("unpack in", folder, e)),
            // If the guest's script failed, the tar is cut short, and the script's end is the reason.
            (ended, _) => arrived(ended),
        }
    });
    unpacked?;
    std::fs::rename(new.path().join(&name), &target).map_err(|e| cannot("make", &target, e))
}

fn send(events: Events<'_>, run: &Path, here: &Path, path: &OsStr) -> Result<()> {
    let meta =
        here.symlink_metadata().map_err(|e| cannot("read", here, e).hint("the first path is copied, to the second"))?;
    // The path `.` or `x/..` does not have the name in it.
    let whole = here.canonicalize().unwrap_or_else(|_| here.to_owned());
    let name = here.file_name().map_or_else(|| name_of(&whole), |name| Ok(name.to_owned()))?;
    let (stdin, tar) = pipe()?;
    let (_, stdout) = pipe()?;
    std::thread::scope(|scope| {
        let pack = scope.spawn(|| {
            let size = meta.is_file().then_some(meta.len());
            let mut tar = tar::Builder::new(Told::new(tar, "copying", size, events));
            tar.follow_symlinks(false);
            if meta.is_dir() {
                tar.append_dir_all(&name, here)?
            } else {
                tar.append_path_with_name(here, &name)?
            }
            // Marks the tar as whole: one whose Builder is dropped after an error ends like any other.
            tar.append_data(&mut tar::Header::new_gnu(), WHOLE, std::io::empty())?;
            tar.into_inner().map(drop)
        });
        let taken = script(run, TAKE, &[path, &name], stdin.into(), stdout.into());
        let packed: std::io::Result<()> = pack.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match packed {
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(cannot("read", here, e)),
            // If the guest has closed the pipe, its status says why.
            _ => arrived(taken?),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_machine_begins_with_a_number_and_a_colon() {
        let there = |text: &str| match Place::of(OsStr::new(text)) {
            Place::There { run, path } => Some((run, path.into_string().unwrap())),
            Place::Here(path) => {
                assert_eq!(path, Path::new(text));
                None
            }
        };
        assert_eq!(there("7:/a:b"), Some((Some("7".into()), "/a:b".into())));
        assert_eq!(there(":x"), Some((None, "x".into())));
        assert_eq!(there("7/functional.atime:/x"), Some((Some("7/functional.atime".into()), "/x".into())));
        for here in ["x", "./7:x", "/a/7:x", "a:b", "7", "functional/7:x"] {
            assert_eq!(there(here), None, "{here}");
        }
    }
}

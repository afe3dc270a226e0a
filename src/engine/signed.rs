//! Who made a pack, a file of results: a signature beside it, FILE.sig, by the host's ssh-keygen and keys of OpenSSH.
//!
//! What is signed are the very bytes of the file, so `ssh-keygen -Y verify` says the same without quiz. Knows nothing of what is in the file.

use crate::error::{Error, Result};
use crate::host::{self, distribution::Distribution};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

/// The program, and the Debian package that has it.
const TOOL: (&str, &str) = ("ssh-keygen", "openssh-client");

/// What the signatures are for: one that a key made for mails or commits is none of a pack.
const NAMESPACE: &str = "quiz-pack";

/// The place of a file's signature.
pub(super) fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

/// Looks whether there is a program, a key, and a place for the signature of `file`, before anything is built for it. Whether the key's passphrase is
/// right is known when something is signed.
///
/// # Errors
/// There is no ssh-keygen, or no key, also none of OpenSSH's; the signature's place is taken.
pub(super) fn can_sign(file: &Path, key: &Path) -> Result<()> {
    host::find(TOOL.0).ok_or_else(|| missing(io::ErrorKind::NotFound.into()))?;
    host::open_file(key).map_err(|e| {
        Error::input(format!("cannot read the key {}", key.display()))
            .because(e)
            .hint(format!("`ssh-keygen -t ed25519 -f {}` makes one", host::quoted(key)))
    })?;
    // Of a private key it reads the public half, for which no passphrase is needed; signing reads that first, too.
    let looked = run(["-l", "-f"].map(OsStr::new).into_iter().chain([key.as_os_str()]), Stdio::null())?;
    if !looked.status.success() {
        return Err(no_key(key, &looked));
    }
    let sig = beside(file);
    if sig.symlink_metadata().is_ok() {
        return Err(Error::input(format!("{} is there already", sig.display())).hint("name another file, or remove it"));
    }
    Ok(())
}

/// The signature of all of `pack`, by a private key of OpenSSH's; by a public one if ssh-agent has the other half.
///
/// # Errors
/// ssh-keygen does not start, or takes no such key.
pub(super) fn sign(pack: &File, key: &Path) -> Result<String> {
    let cannot = |e: io::Error| Error::build("cannot make a folder for the signature").because(e);
    let folder = tempfile::tempdir().map_err(cannot)?;
    // By its descriptor: under its name somebody may have put another file, where others write, too. And as a file, since stdin is left
    // to the terminal, at which ssh-keygen asks for the key's passphrase.
    let message = folder.path().join("pack");
    let opened = format!("/proc/{}/fd/{}", std::process::id(), pack.as_raw_fd());
    std::os::unix::fs::symlink(opened, &message).map_err(cannot)?;
    let words = ["-Y", "sign", "-n", NAMESPACE, "-f"].map(OsStr::new);
    let signed = run(words.into_iter().chain([key.as_os_str(), message.as_os_str()]), Stdio::inherit())?;
    let text = fs::read_to_string(beside(&message)).ok().filter(|_| signed.status.success());
    text.ok_or_else(|| no_key(key, &signed))
}

/// The error of a key with which nothing is signed, with what ssh-keygen said of it.
fn no_key(key: &Path, output: &Output) -> Error {
    said(Error::input(format!("cannot sign with {}", key.display())), output)
        .hint("--sign takes an OpenSSH private key; one with a passphrase needs a terminal, or `ssh-add` first")
}

/// All of `pack`, the content of `file`, as a file without a name in `folder`, if one of `signers` has signed it in FILE.sig.
///
/// # Errors
/// There is no ssh-keygen, signature or list of signers; the signature is none of theirs, or of other bytes; the copy cannot be written.
pub(super) fn verified(mut pack: impl Read, file: &Path, signers: &Path, folder: &Path) -> Result<File> {
    let (name, sig) = (file.display(), beside(file));
    host::find(TOOL.0).ok_or_else(|| missing(io::ErrorKind::NotFound.into()))?;
    host::open_file(signers).map_err(|e| {
        let line =
            format!("each line of it is: NAME namespaces=\"{NAMESPACE}\" and the text of NAME's .pub (man ssh-keygen)");
        Error::input(format!("cannot read the signers {}", signers.display())).because(e).hint(line)
    })?;
    host::open_file(&sig).map_err(|e| {
        Error::input(format!("{name} is not signed: cannot read {}", sig.display()))
            .because(e)
            .hint("copy both files that `quiz cache export --sign KEY` has written, or ask for them")
    })?;
    let cannot = |e: io::Error| Error::build(format!("cannot copy {name} to {}", folder.display())).because(e);
    // What is verified has to be what is taken in, and `file` is read twice: in between somebody may write to it, if only into the file that is
    // open here. So both times it is this copy, to which no path leads.
    let mut copy = tempfile::tempfile_in(folder).map_err(cannot)?;
    io::copy(&mut pack, &mut copy).map_err(cannot)?;

    let about = |verb: &'static str| ["-Y", verb, "-n", NAMESPACE, "-s"].map(OsStr::new);
    let files = [sig.as_os_str(), OsStr::new("-f"), signers.as_os_str()];
    // Who it would be. That alone says nothing: it looks at the key in the signature, not at what is signed.
    let found = run(about("find-principals").into_iter().chain(files), Stdio::null())?;
    let text = String::from_utf8_lossy(&found.stdout);
    let principals: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    if !found.status.success() || principals.is_empty() {
        let error = Error::input(format!(
            "{name}: not imported: {} was made by nobody in {}",
            sig.display(),
            signers.display()
        ));
        let hint = format!(
            "if you trust who signed it: add NAME namespaces=\"{NAMESPACE}\" and the key's .pub to {}",
            signers.display()
        );
        return Err(said(error, &found).hint(hint));
    }
    let mut refused = None;
    for principal in principals {
        copy.rewind().map_err(cannot)?;
        let who = [OsStr::new("-I"), OsStr::new(principal)];
        let stdin = copy.try_clone().map_err(cannot)?.into();
        let looked = run(about("verify").into_iter().chain(files).chain(who), stdin)?;
        if looked.status.success() {
            return copy.rewind().map(|()| copy).map_err(cannot);
        }
        refused = Some(looked);
    }
    let error = Error::input(format!("{name}: not imported: {} is not a good signature of it", sig.display()));
    let error = refused.iter().fold(error, said);
    Err(error.hint(format!(
        "if the file was changed or cut off, copy both files again; otherwise see whether {} limits what the key is for or until when it is \
         valid: only the first line with a key counts, so keep a list for packs alone",
        signers.display()
    )))
}

fn run<'a>(words: impl Iterator<Item = &'a OsStr>, stdin: Stdio) -> Result<Output> {
    host::program(TOOL.0).args(words).stdin(stdin).output().map_err(missing)
}

/// Adds what ssh-keygen has said.
fn said(error: Error, output: &Output) -> Error {
    String::from_utf8_lossy(&output.stderr).lines().fold(error, Error::detail)
}

fn missing(error: io::Error) -> Error {
    Error::input("cannot start ssh-keygen, which signs and verifies packs")
        .because(error)
        .hint(Distribution::here().line(&BTreeSet::from([TOOL.1])))
}

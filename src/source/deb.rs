//! Reads Debian packages, deb(5): an `ar` archive of two tars. Knows nothing of where they come from.

use super::unpack::{Limits, decompressed, unpack};
use crate::error::{Error, Result};
use crate::event::Events;
use crate::event::told::Told;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// No more of a control file is read, in bytes. It has some kilobytes.
const CONTROL: u64 = 4 << 20;

/// The text that describes the package: deb-control(5), without an empty line at its end.
pub(super) fn control(deb: &Path) -> Result<String> {
    let broken = |why: &str| Error::build(format!("{}: {why}", deb.display()));
    let file = File::open(deb).map_err(|e| unreadable(deb, e))?;
    find_there(deb, file, "control.tar", &["control".to_owned()], |file, _| {
        let mut text = String::new();
        file.take(CONTROL)
            .read_to_string(&mut text)
            .map_err(|e| broken("its control file cannot be read").because(e))?;
        match text.trim_end() {
            text if text.contains("\n\n") => Err(broken("its control file has more than one paragraph")),
            text => Ok(text.to_owned()),
        }
    })
}

/// The text of one of the package's scripts, such as `postinst`; nothing where it has none. What is no UTF-8 in it is replaced.
pub(super) fn script(deb: &Path, name: &str) -> Result<Option<String>> {
    let file = File::open(deb).map_err(|e| unreadable(deb, e))?;
    find(deb, file, "control.tar", &[name.to_owned()], |file, _| {
        let mut text = Vec::new();
        file.take(CONTROL).read_to_end(&mut text).map_err(|e| unreadable(deb, e))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    })
}

/// Unpacks a tarball that lies in the package, at one of `paths` without a leading slash, into the new folder `dest`. One pass:
/// the tarball itself is never on the disk.
pub(super) fn unpack_inner(deb: &Path, paths: &[String], dest: &Path, events: Events) -> Result<()> {
    let unpack =
        |file: &mut dyn Read, path: &str| unpack(file, &format!("{}: {path}", deb.display()), dest, Limits::default());
    let name = deb.file_name().unwrap_or_default().to_string_lossy();
    let file = Told::open(deb, format!("unpacking {name}"), events).map_err(|e| unreadable(deb, e))?;
    find_there(deb, file, "data.tar", paths, unpack)
}

/// The tar of all that the package installs, compressed as it lies there.
pub(super) fn data(deb: &Path) -> Result<impl Read> {
    File::open(deb).and_then(|file| ar_member(io::BufReader::new(file), "data.tar")).map_err(|e| unreadable(deb, e))
}

fn unreadable(deb: &Path, why: io::Error) -> Error {
    Error::build(format!("cannot read the package {}", deb.display())).because(why)
}

/// As [`find`], of a file that must be there.
fn find_there<T>(
    deb: &Path,
    from: impl Read,
    member: &str,
    paths: &[String],
    then: impl FnOnce(&mut dyn Read, &str) -> Result<T>,
) -> Result<T> {
    find(deb, from, member, paths, then)?.ok_or_else(|| {
        Error::build(format!("there is no file {} in the package {}", paths.join(" or "), deb.display()))
    })
}

/// Gives the first file of the tar `member` that is one of `paths` to `then`; a link of such a name is passed over. `from` is the package's file.
fn find<T>(
    deb: &Path,
    from: impl Read,
    member: &str,
    paths: &[String],
    then: impl FnOnce(&mut dyn Read, &str) -> Result<T>,
) -> Result<Option<T>> {
    let failed = |e: io::Error| unreadable(deb, e);
    let tar = ar_member(from, member).map_err(failed)?;
    let mut archive = tar::Archive::new(decompressed(tar).map_err(failed)?);
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let name = entry.path_bytes();
        let name = name.strip_prefix(b"./").unwrap_or(&name);
        let found = paths.iter().find(|path| path.as_bytes() == name);
        if let Some(path) = found.filter(|_| entry.header().entry_type().is_file()) {
            return then(&mut entry, path).map(Some);
        }
    }
    Ok(None)
}

/// The member of an `ar` archive whose name begins with `start`: what follows says how it is compressed.
fn ar_member<R: Read>(mut archive: R, start: &str) -> io::Result<io::Take<R>> {
    let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let mut magic = [0; 8];
    archive.read_exact(&mut magic)?;
    if &magic != b"!<arch>\n" {
        return Err(bad("this is not a Debian package"));
    }
    let mut header = [0; 60];
    loop {
        archive.read_exact(&mut header).map_err(|_| bad(&format!("there is no {start} in it")))?;
        let size = std::str::from_utf8(&header[48..58]).ok().and_then(|text| text.trim_end().parse::<u64>().ok());
        let size = size.ok_or_else(|| bad("the header of a member is damaged"))?;
        if header.starts_with(start.as_bytes()) {
            return Ok(archive.take(size));
        }
        // ar(5): members begin at even offsets, so one of odd size is followed by a byte of padding.
        let skip = size + size % 2;
        if io::copy(&mut archive.by_ref().take(skip), &mut io::sink())? != skip {
            return Err(bad("a member is cut off"));
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = b"!<arch>\n".to_vec();
        for (name, content) in members {
            bytes.extend_from_slice(
                format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, content.len()).as_bytes(),
            );
            bytes.extend_from_slice(content);
            bytes.resize(bytes.len().next_multiple_of(2), b'\n');
        }
        bytes
    }

    /// A package with these files.
    pub(in crate::source) fn package_of(control: &str, files: &[(&str, &[u8])]) -> Vec<u8> {
        package_with(control, "", files)
    }

    /// The same, with that script.
    pub(in crate::source) fn package_with(control: &str, postinst: &str, files: &[(&str, &[u8])]) -> Vec<u8> {
        let data = zstd::encode_all(&tar(files)[..], 1).unwrap();
        let mut parts = vec![("./md5sums", &b""[..]), ("./control", control.as_bytes())];
        parts.extend(Some(("./postinst", postinst.as_bytes())).filter(|_| !postinst.is_empty()));
        let control = tar(&parts);
        ar(&[("debian-binary", b"2.0\n"), ("odd", b"1"), ("control.tar", &control), ("data.tar.zst", &data)])
    }

    /// A package with a control file and a tarball in it, as linux-source has it.
    pub(in crate::source) fn package() -> Vec<u8> {
        let inner = zstd::encode_all(&tar(&[("top/file", b"content")])[..], 1).unwrap();
        package_of("Package: x\nVersion: 1\n", &[("./usr/src/x.tar", &inner)])
    }

    /// A source tree as .tar.xz and as .tar.bz2.
    pub(in crate::source) fn tarballs() -> (Vec<u8>, Vec<u8>) {
        use std::io::Write;
        let tree = tar(&[("linux/file", b"content")]);
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        let mut bz2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        xz.write_all(&tree).unwrap();
        bz2.write_all(&tree).unwrap();
        (xz.finish().unwrap(), bz2.finish().unwrap())
    }

    /// Debian's package has the tarball in usr/src; Ubuntu's has it in a folder, and a link to it where Debian has the tarball.
    #[test]
    fn both_places_of_a_kernels_tarball() {
        let (xz, bz2) = tarballs();
        let debian = tar(&[("./usr/src/linux-source-6.1.tar.xz", &xz)]);
        let mut builder = tar::Builder::new(Vec::new());
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        let target = "linux-source-6.1/linux-source-6.1.tar.bz2";
        builder.append_link(&mut link, "./usr/src/linux-source-6.1.tar.xz", target).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(bz2.len() as u64);
        builder.append_data(&mut header, format!("./usr/src/{target}"), &bz2[..]).unwrap();
        let ubuntu = builder.into_inner().unwrap();
        let paths = ["usr/src/linux-source-6.1.tar.xz".to_owned(), format!("usr/src/{target}")];
        for data in [debian, ubuntu] {
            let dir = tempfile::tempdir().unwrap();
            let (deb, tree) = (dir.path().join("x.deb"), dir.path().join("tree"));
            std::fs::write(&deb, ar(&[("debian-binary", b"2.0\n"), ("data.tar", &data)])).unwrap();
            unpack_inner(&deb, &paths, &tree, &|_| {}).unwrap();
            assert_eq!(std::fs::read(tree.join("file")).unwrap(), b"content");
        }
    }

    #[test]
    fn control_text_and_tarball() {
        let dir = tempfile::tempdir().unwrap();
        let deb = dir.path().join("x.deb");
        std::fs::write(&deb, package()).unwrap();
        assert_eq!(control(&deb).unwrap(), "Package: x\nVersion: 1");
        unpack_inner(&deb, &["usr/src/x.tar".to_owned()], &dir.path().join("tree"), &|_| {}).unwrap();
        assert_eq!(std::fs::read(dir.path().join("tree/file")).unwrap(), b"content");
        let error = unpack_inner(&deb, &["usr/src/y.tar".to_owned()], &dir.path().join("y"), &|_| {}).unwrap_err();
        assert!(error.to_string().contains("no file usr/src/y.tar"), "{error}");
    }

    #[test]
    fn damaged_packages() {
        let whole = package();
        for broken in [&b"!<arch>\n"[..], b"hello", &whole[..100], &whole[..whole.len() - 40]] {
            let dir = tempfile::tempdir().unwrap();
            let deb = dir.path().join("x.deb");
            std::fs::write(&deb, broken).unwrap();
            assert!(unpack_inner(&deb, &["usr/src/x.tar".to_owned()], &dir.path().join("tree"), &|_| {}).is_err());
            assert!(!dir.path().join("tree").exists());
        }
    }
}

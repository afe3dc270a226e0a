//! From a list on a server to a tree on the disk, against a server of a few lines.

use super::*;
use crate::source::{Wish, pinned};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

/// Serves `files` (path → content) to as many requests as there are; gives "http://host/".
pub(in crate::source) fn serve(files: Vec<(&'static str, Vec<u8>)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for (path, content) in files {
            let (mut stream, _) = listener.accept().unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(|l| l.ok());
            let head: Vec<String> = lines.take_while(|l| !l.is_empty()).collect();
            assert_eq!(head[0], format!("GET /{path} HTTP/1.1"));
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len())
                .unwrap();
            stream.write_all(&content).unwrap();
        }
    });
    base
}

fn tarball() -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o644);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut header, "linux-6.1.3/Makefile", &b"hello"[..]).unwrap();
    builder.into_inner().unwrap()
}

fn sum(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn list() -> String {
    let sums = ["6.1.3", "6.1.20", "6.2"]
        .map(|v| format!("{}  linux-{v}.tar.xz\n", if v == "6.1.3" { sum(&tarball()) } else { "a".repeat(64) }));
    format!(
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{}{}  patch-6.1.3.xz\n-----BEGIN PGP SIGNATURE-----\n",
        sums.concat(),
        "b".repeat(64)
    )
}

fn spec(base: &str) -> Spec {
    let text = format!(
        "entry = \"kernel\"\n[url]\nindex = \"{base}v{{major}}.x/\"\nfile = \"linux-{{version}}.tar.xz\"\nsums = \"sums\"\n"
    );
    toml::from_str(&text).unwrap()
}

fn wish(spec: &Spec, version: &str, ctx: &Context) -> Wish {
    Wish::new(spec, &BTreeMap::from([("version".to_owned(), vec![version.to_owned()])]), ctx).unwrap()
}

fn context(dir: &Path) -> Context {
    Context {
        cache: dir.join("cache"),
        arch: "x86_64".into(),
        mirrors: crate::source::Mirrors::default(),
        offline: false,
        start: dir.into(),
        base: dir.into(),
    }
}

#[test]
fn from_a_series_to_a_tree_and_a_lock() {
    let dir = tempfile::tempdir().unwrap();
    let ctx = context(dir.path());
    let base = serve(vec![("v6.x/sums", list().into()), ("v6.x/linux-6.1.3.tar.xz", tarball())]);
    let spec = spec(&base);
    let lock = dir.path().join("quiz.lock");
    let exact = wish(&spec, "6.1.3", &ctx);
    let pin = pinned(&spec, &exact, false, &lock, &ctx, &|_| {}).unwrap();
    let facts = [("version".to_owned(), "6.1.3".to_owned()), ("sha256".to_owned(), sum(&tarball()))];
    assert_eq!(pin.facts(), facts);
    // The second time the lock answers: the server has nothing more to say of the list, and may not be asked.
    let offline = Context { offline: true, ..ctx.clone() };
    assert_eq!(pinned(&spec, &exact, false, &lock, &offline, &|_| {}).unwrap(), pin);
    let error = pinned(&spec, &wish(&spec, "6.2", &ctx), false, &lock, &offline, &|_| {}).unwrap_err();
    assert!(error.hints()[0].ends_with("quiz update kernel"), "{:?}", error.hints());
    let dest = dir.path().join("tree");
    assert!(crate::source::fetch(&spec, &pin, &dest, &offline, &|_| {}).is_err());
    crate::source::fetch(&spec, &pin, &dest, &ctx, &|_| {}).unwrap();
    assert_eq!(fs::read(dest.join("Makefile")).unwrap(), b"hello");
}

#[test]
fn newest_and_unknown_versions() {
    let dir = tempfile::tempdir().unwrap();
    let ctx = context(dir.path());
    let base = serve(vec![("v6.x/sums", list().into()), ("v6.x/sums", list().into())]);
    let spec = spec(&base);
    let Pin::Url(pin) = resolve(&spec, "6.1", &ctx, &|_| {}).unwrap() else { panic!("not a url") };
    assert_eq!((pin.version.as_deref(), pin.url), (Some("6.1.20"), format!("{base}v6.x/linux-6.1.20.tar.xz")));
    let error = resolve(&spec, "6.1.99", &ctx, &|_| {}).unwrap_err();
    assert_eq!(error.to_string(), "kernel: there is no version 6.1.99");
    assert_eq!(error.details(), ["there are: 6.1.20, 6.1.3, 6.2"]);
    assert_eq!(error.hints(), ["the nearest is 6.1.20"]);
    assert_eq!(resolve(&spec, "default", &ctx, &|_| {}).unwrap_err().kind(), crate::error::Kind::Input);
}

#[test]
fn the_first_release_of_a_series_has_a_tarball_of_two_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let ctx = context(dir.path());
    let list = ["6.1", "6.1.3", "6.2"].map(|v| format!("{}  linux-{v}.tar.xz\n", "a".repeat(64))).concat();
    let base = serve(["v6.x/sums"; 3].map(|path| (path, list.clone().into())).into());
    let spec = Spec { releases: Some(Releases::Linux), ..spec(&base) };
    for (wanted, found) in [("6.1.0", Some("6.1")), ("6.1", Some("6.1.3")), ("6.1-rc1", None)] {
        let version = resolve(&spec, wanted, &ctx, &|_| {}).ok().map(|pin| pin.to_string());
        assert_eq!(version.as_deref(), found, "{wanted}");
    }
}

#[test]
fn an_address_is_pinned_on_first_use_and_downloaded_once() {
    let dir = tempfile::tempdir().unwrap();
    let ctx = context(dir.path());
    let base = serve(vec![("my.tar", tarball())]);
    let pin = resolve_address(&format!("{base}my.tar"), None, &ctx, &|_| {}).unwrap();
    assert_eq!(pin.facts(), [("sha256".to_owned(), sum(&tarball()))]);
    let dest = dir.path().join("tree");
    crate::source::fetch(&spec(&base), &pin, &dest, &ctx, &|_| {}).unwrap();
    assert_eq!(fs::read(dest.join("Makefile")).unwrap(), b"hello");
}

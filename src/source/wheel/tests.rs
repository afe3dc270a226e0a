//! From a list of an index to the wheel on the disk, against a server of a few lines.

use super::*;
use crate::source::download::sha256_of;
use crate::source::index::tests::serve;
use crate::source::{Mirrors, Wish, pinned};

const WHEEL: &[u8] = b"PK, and the rest of a wheel";

/// A list as PyPI's, with more in it than is read.
fn list(sum: &str) -> Vec<u8> {
    let file = |name: &str, more: &str| {
        format!(
            "{{\"filename\": \"{name}\", \"url\": \"../files/{name}\", \"hashes\": {{\"sha256\": \"{sum}\"}}, \"requires-python\": \">=3.8\"{more}}}"
        )
    };
    let manylinux = "manylinux2014_x86_64.manylinux_2_17_x86_64";
    let files = [
        file("drgn-0.3.0.tar.gz", ""),
        file(&format!("drgn-0.0.33-cp311-cp311-{manylinux}.whl"), ""),
        file(&format!("drgn-0.2.0-cp311-cp311-{manylinux}.whl"), ", \"size\": 27, \"yanked\": false"),
        // Not for this Python, this machine, this C library; not a release; taken back.
        file(&format!("drgn-0.3.0-cp312-cp312-{manylinux}.whl"), ""),
        file("drgn-0.3.0-cp311-cp311-manylinux_2_28_aarch64.whl", ""),
        file("drgn-0.3.0-cp311-cp311-musllinux_1_2_x86_64.whl", ""),
        file(&format!("drgn-0.4.0rc1-cp311-cp311-{manylinux}.whl"), ""),
        file(&format!("drgn-0.3.0-cp311-cp311-{manylinux}.whl"), ", \"yanked\": \"it loses data\""),
    ];
    format!("{{\"meta\": {{\"api-version\": \"1.3\"}}, \"files\": [{}]}}", files.join(", ")).into_bytes()
}

struct Asked {
    spec: Spec,
    folder: tempfile::TempDir,
    ctx: Context,
}

impl Asked {
    fn of(files: Vec<(&'static str, Vec<u8>)>) -> Self {
        let base = serve(files);
        let text =
            format!("entry = \"x\"\n[wheel]\nindex = \"{base}simple/\"\nproject = \"drgn\"\npython = \"cp311\"\n");
        let folder = tempfile::tempdir().unwrap();
        let none = || "/none".into();
        let (cache, arch) = (folder.path().join("cache"), "x86_64".to_owned());
        let ctx = Context { cache, arch, mirrors: Mirrors::default(), offline: false, start: none(), base: none() };
        Self { spec: toml::from_str(&text).unwrap(), folder, ctx }
    }

    fn pinned(&self, version: &str) -> Result<Pin> {
        let options = BTreeMap::from([("version".to_owned(), vec![version.to_owned()])]);
        let wish = Wish::new(&self.spec, &options, &self.ctx)?;
        pinned(&self.spec, &wish, false, &self.folder.path().join("quiz.lock"), &self.ctx, &|_| {})
    }
}

#[test]
fn the_newest_release_for_this_python_on_this_machine_is_pinned_and_fetched_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("wheel"), WHEEL).unwrap();
    let sum = sha256_of(&folder.path().join("wheel")).unwrap();
    let file = "simple/files/drgn-0.2.0-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl";
    let asked = Asked::of(vec![("simple/drgn/", list(&sum)), (file, WHEEL.to_vec())]);
    let pin = asked.pinned("9.9").map(|pin| pin.to_string());
    assert!(pin.is_err(), "{pin:?}");
    let asked = Asked::of(vec![("simple/drgn/", list(&sum)), (file, WHEEL.to_vec())]);
    let pin = asked.pinned("default").unwrap();
    assert_eq!(pin.facts(), [("version".to_owned(), "0.2.0".to_owned()), ("sha256".to_owned(), sum)]);
    // Once pinned nobody is asked.
    assert_eq!(asked.pinned("default").unwrap(), pin);
    let lock = std::fs::read_to_string(asked.folder.path().join("quiz.lock")).unwrap();
    assert!(lock.contains("wanted = \"wheel default for cp311 x86_64\""), "{lock}");
    let dest = asked.folder.path().join("dest");
    crate::source::fetch(&asked.spec, &pin, &dest, &asked.ctx, &|_| {}).unwrap();
    assert_eq!(std::fs::read(dest.join(FILE)).unwrap(), WHEEL);
}

#[test]
fn what_an_index_lacks_or_says_in_another_form_is_told() {
    let sum = "a".repeat(64);
    let error = Asked::of(vec![("simple/drgn/", list(&sum))]).pinned("0.3.0").unwrap_err();
    assert_eq!(error.to_string(), "x: there is no version 0.3.0");
    assert!(error.details().iter().any(|line| line.starts_with("looked for wheels of cp311 on x86_64 at http://")));
    assert!(error.details().iter().any(|line| line == "there are: 0.2.0, 0.0.33"), "{:?}", error.details());
    let error = Asked::of(vec![("simple/drgn/", b"<html>".to_vec())]).pinned("default").unwrap_err();
    assert!(error.to_string().ends_with("in the form of the simple API (PEP 691)"), "{error}");
}

#[test]
fn other_bytes_than_the_pinned_ones_are_refused() {
    let file = "simple/files/drgn-0.2.0-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl";
    let asked = Asked::of(vec![("simple/drgn/", list(&"a".repeat(64))), (file, WHEEL.to_vec())]);
    let pin = asked.pinned("0.2").unwrap();
    let dest = asked.folder.path().join("dest");
    let error = crate::source::fetch(&asked.spec, &pin, &dest, &asked.ctx, &|_| {}).unwrap_err();
    assert!(error.to_string().ends_with("is not the file that was pinned"), "{error}");
    assert!(!dest.exists());
}

#[test]
fn a_list_leads_to_no_less_safe_place() {
    let list = list(&"a".repeat(64));
    let text = String::from_utf8(list).unwrap().replace("../files/", "http://example.org/");
    assert!(listed(&text, "https://example.org/drgn/", "drgn", ("cp311", "x86_64")).unwrap().is_empty());
    assert_eq!(listed(&text, "http://example.org/drgn/", "drgn", ("cp311", "x86_64")).unwrap().len(), 2);
}

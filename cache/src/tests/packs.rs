//! What a pack promises: it brings what went in, whole or not at all.

use super::*;
use crate::codec;
use crate::{Built, Front, Guard, Packed, Unpacked};

fn packed(cache: &Cache, results: &[(Record, Packed)]) -> Vec<u8> {
    let mut pack = Vec::new();
    let mut bytes = 0;
    cache.export(results, &mut pack, &mut |count| bytes += count).unwrap();
    assert_eq!(bytes % 512, 0, "a tar has whole blocks");
    assert!(bytes > 0);
    pack
}

#[test]
fn another_cache_has_what_went_in_and_knows_the_rest() {
    let roots = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [here, there] = roots.each_ref().map(|root| Cache::open(root.path()).unwrap());
    let (a, b) = (make(&here, "a"), make(&here, "b"));
    let results = [(b.clone(), Packed::Record), (a.clone(), Packed::Whole)];
    let pack = packed(&here, &results);
    assert_eq!(pack, packed(&here, &results), "the same bytes each time");
    let taken = there.import(&pack[..], &nobody).unwrap();
    assert_eq!(taken, Unpacked { taken: vec!["stage".into()], known: 0 });
    assert_eq!(there.record(&a.key).unwrap(), Some(a.clone()));
    assert_eq!(there.record(&b.key).unwrap(), Some(b.clone()));
    for (name, output) in &a.outputs {
        assert!(there.is_present(output).unwrap(), "{name}");
    }
    let tree = there.path(&a.outputs["tree"]);
    assert_eq!(fs::read(tree.join("sub/b")).unwrap(), fs::read(here.path(&a.outputs["tree"]).join("sub/b")).unwrap());
    assert_eq!(
        fs::read_link(tree.join("link")).unwrap(),
        fs::read_link(here.path(&a.outputs["tree"]).join("link")).unwrap()
    );
    assert_eq!(there.import(&pack[..], &nobody).unwrap(), Unpacked { taken: vec![], known: 2 });
    // What was lost comes back.
    fs::remove_dir_all(there.path(&a.outputs["tree"])).unwrap();
    assert_eq!(there.import(&pack[..], &nobody).unwrap().taken.len(), 1);
    assert!(there.is_present(&a.outputs["tree"]).unwrap());
}

#[test]
fn a_link_is_brought_as_it_is_written() {
    let roots = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [here, there] = roots.each_ref().map(|root| Cache::open(root.path()).unwrap());
    let (key, manifest) = key("links");
    let slot = miss(here.slot(&key, &nobody).unwrap());
    fs::create_dir(slot.out().join("tree")).unwrap();
    let long = "x/".repeat(80) + "y";
    for (name, target) in [("a", "b//c"), ("b", "./c/./d"), ("c", &long)] {
        std::os::unix::fs::symlink(target, slot.out().join("tree").join(name)).unwrap();
    }
    let record = slot.commit(made(&[("tree", Kind::Tree)], manifest)).unwrap();
    there.import(&packed(&here, &[(record.clone(), Packed::Whole)])[..], &nobody).unwrap();
    assert!(there.is_present(&record.outputs["tree"]).unwrap());
}

#[test]
fn what_is_cut_off_or_changed_or_leads_out_is_refused() {
    let roots = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [here, there] = roots.each_ref().map(|root| Cache::open(root.path()).unwrap());
    let a = make(&here, "a");
    let pack = packed(&here, &[(a.clone(), Packed::Whole)]);
    for cut in [0, 10, pack.len() / 2, pack.len() - 1] {
        assert!(there.import(&pack[..cut], &nobody).is_err(), "{cut}");
    }
    // The same files under another tar, with one change.
    let plain = zstd::decode_all(&pack[..]).unwrap();
    let again = |change: &dyn Fn(&str, &mut Vec<u8>) -> Option<String>| {
        let mut tar = tar::Builder::new(Vec::new());
        for entry in tar::Archive::new(&plain[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let (path, mut content) = (entry.path().unwrap().display().to_string(), Vec::new());
            io::Read::read_to_end(&mut entry, &mut content).unwrap();
            let mut header = entry.header().clone();
            let path = change(&path, &mut content).unwrap_or(path);
            header.set_size(content.len() as u64);
            // As bytes: the crate refuses to write what leads out.
            let name = path.as_bytes();
            header.as_old_mut().name[..name.len()].copy_from_slice(name);
            header.as_old_mut().name[name.len()..].fill(0);
            header.set_cksum();
            tar.append(&header, &content[..]).unwrap();
        }
        zstd::encode_all(&tar.into_inner().unwrap()[..], 1).unwrap()
    };
    let refused = |pack: &[u8]| there.import(pack, &nobody).unwrap_err().to_string();
    let other = again(&|path, content| {
        if path == "0/out/notes" {
            content[0] ^= 1;
        }
        None
    });
    assert!(refused(&other).contains("stage/notes is not what its record says"), "{}", refused(&other));
    let larger = again(&|path, content| {
        if path == "0/out/notes" {
            content.push(b'x');
        }
        None
    });
    assert!(refused(&larger).contains("stage is larger than its record says"), "{}", refused(&larger));
    let damaged = again(&|path, content| {
        if path == "0/record" {
            content[70] ^= 1;
        }
        None
    });
    assert!(refused(&damaged).contains("0/record is damaged"), "{}", refused(&damaged));
    for name in ["0/out/../../../x", "../x", "/x", "0/out", "x/record", "0/out/tree/link/x"] {
        let out = again(&|path, _| (path == "0/out/tree/a").then(|| name.to_owned()));
        assert!(there.import(&out[..], &nobody).is_err(), "{name}");
    }
    let format = again(&|path, content| {
        if path == "quiz-pack" {
            *content = b"2\n".to_vec();
        }
        None
    });
    assert!(refused(&format).contains("of another version of quiz"));
    assert_eq!(there.record(&a.key).unwrap(), None, "nothing half was taken in");
    assert_eq!(count(&roots[1].path().join("locks")), 0);
}

#[test]
fn a_name_of_two_lines_is_a_result_here_and_neither_leaves_nor_comes_in() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let made_with = |name: &str, target: &str| {
        let (key, manifest) = key(&format!("{name} to {target}"));
        let slot = miss(cache.remake(&key, &nobody).unwrap());
        fs::create_dir(slot.out().join("tree")).unwrap();
        std::os::unix::fs::symlink(target, slot.out().join("tree").join(name)).unwrap();
        slot.commit(made(&[("tree", Kind::Tree)], manifest)).unwrap()
    };
    for (name, target) in [("a\nb", "x"), ("a.ko", "x\ny")] {
        let error =
            cache.export(&[(made_with(name, target), Packed::Whole)], Vec::new(), &mut |_| {}).unwrap_err().to_string();
        assert!(error.starts_with("stage/tree has `") && error.ends_with("it stays on this machine"), "{error}");
    }
    // One that somebody else has made.
    let record = made_with("b.ko", "x");
    let pack = |name: &str, target: &str, record: &Record| {
        let mut tar = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
        let bytes = codec::encode(codec::What::Record, record).unwrap();
        for (name, content) in [("quiz-pack", &b"1\n"[..]), ("0/record", &bytes)] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, name, content).unwrap();
        }
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        tar.append_data(&mut header, "0/out/tree", io::empty()).unwrap();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_link_name_literal(target).unwrap();
        tar.append_data(&mut header, format!("0/out/tree/{name}"), io::empty()).unwrap();
        tar.into_inner().unwrap().finish().unwrap()
    };
    let refused = |pack: &[u8]| {
        let root = tempfile::tempdir().unwrap();
        Cache::open(root.path()).unwrap().import(pack, &nobody).map(drop).map_err(|e| e.to_string())
    };
    assert_eq!(refused(&pack("b.ko", "x", &record)), Ok(()));
    for (name, target) in [("a\nshell touch mark\n.ko", "x"), ("a\u{1b}.ko", "x"), ("a\rb", "x"), ("b.ko", "x\ny")] {
        let error = refused(&pack(name, target, &made_with(name, target))).unwrap_err();
        assert!(error.ends_with("a name with control characters") && !error.contains(char::is_control), "{error:?}");
    }
    let named = Record { stage: "a\u{1b}[2J".to_owned(), ..record };
    assert!(refused(&pack("b.ko", "x", &named)).unwrap_err().contains("the pack is refused, as it has a stage with"));
}

#[test]
fn what_was_built_on_something_stays_here() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let record = Record { built: Built::Incremental, ..make(&cache, "a") };
    let error = cache.export(&[(record, Packed::Whole)], Vec::new(), &mut |_| {}).unwrap_err().to_string();
    assert_eq!(error, "stage was built incrementally, and stays on this machine");
}

/// Lets in one file, and results of that stage.
struct Wants(&'static str, Vec<u8>);

impl Guard for Wants {
    fn front(&mut self, name: &str, size: u64, content: &mut dyn io::Read) -> crate::Result<()> {
        content.read_to_end(&mut self.1).unwrap();
        let is_it = name == "a/file" && size == self.1.len() as u64;
        if is_it { Ok(()) } else { Err(crate::Error::refused(format!("no {name}"), None)) }
    }

    fn result(&mut self, record: &Record) -> crate::Result<()> {
        if record.stage == self.0 { Ok(()) } else { Err(crate::Error::refused("not that one", None)) }
    }
}

#[test]
fn files_in_front_and_results_come_in_as_somebody_lets_them() {
    let roots = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [here, there] = roots.each_ref().map(|root| Cache::open(root.path()).unwrap());
    let a = make(&here, "a");
    let pack = |name: &str, size: u64| {
        let (mut pack, mut content) = (Vec::new(), &b"content"[..]);
        let front = Front { name: name.to_owned(), size, content: &mut content };
        here.export_behind(&mut [front], &[(a.clone(), Packed::Whole)], &mut pack, &mut |_| {}).map(|()| pack)
    };
    let whole = pack("a/file", 7).unwrap();
    let refused =
        |pack: &[u8], guard: &mut dyn Guard| there.import_behind(pack, guard, &nobody).unwrap_err().to_string();
    assert_eq!(refused(&whole, &mut Wants("other", Vec::new())), "not that one");
    assert_eq!(refused(&pack("b/file", 7).unwrap(), &mut Wants("stage", Vec::new())), "no b/file");
    assert!(there.import(&whole[..], &nobody).unwrap_err().to_string().contains("this is no pack of results"));
    assert_eq!(there.record(&a.key).unwrap(), None);
    assert_eq!(pack("a/file", 8).unwrap_err().to_string(), "a/file became shorter while it was packed");
    let mut wants = Wants("stage", Vec::new());
    there.import_behind(&whole[..], &mut wants, &nobody).unwrap();
    assert_eq!((wants.1.as_slice(), there.record(&a.key).unwrap()), (&b"content"[..], Some(a.clone())));
    for output in a.outputs.values() {
        assert_eq!(there.stored(output.kind, &output.digest).unwrap().as_ref(), Some(output));
    }
    fs::remove_dir_all(roots[1].path().join("trees")).unwrap();
    let tree = &a.outputs["tree"];
    assert_eq!(there.stored(tree.kind, &tree.digest).unwrap(), None, "it is gone");
}

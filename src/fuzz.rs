//! Every reader of what others wrote, as a function of bytes, by name: for the corpus in tests/corpus, which the tests read, and for
//! libFuzzer, which makes up more (`tests/run --full fuzz`). Not part of the program.
//!
//! A target may refuse its bytes, and must not panic, hang, or take more memory than they are worth.
//!
//! Not here: kernel configs, which Kconfig itself reads, and lists of words and lines that are only taken apart (checksums of dpkg's, `trusted`).

use crate::{boot, build, engine, load, machine, source, test};

/// A reader, which is given any bytes.
pub type Target = fn(&[u8]);

/// All readers, by the names of their folders in tests/corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("allowed", |bytes| boot::fuzz::allowed(&text(bytes))),
    ("answers", |bytes| source::fuzz::answers(&text(bytes))),
    ("archive", source::fuzz::archive),
    ("capsule", engine::capsules::fuzz),
    // Its corpus is read by the cache's own tests.
    #[cfg(feature = "fuzz")]
    ("cache", quiz_cache::fuzz::file),
    ("console", boot::fuzz::console),
    ("crash", |bytes| boot::fuzz::crash(&text(bytes))),
    ("deb", source::fuzz::deb),
    ("debian", |bytes| source::fuzz::debian(&text(bytes))),
    ("debug", engine::debug::fuzz::debug),
    ("elf", build::fuzz::elf),
    ("exec", boot::fuzz::exec),
    ("image", |bytes| machine::image::fuzz(&text(bytes))),
    ("lock", |bytes| source::fuzz::lock(&text(bytes))),
    ("log", |bytes| build::fuzz::log(&text(bytes))),
    ("memory", engine::debug::fuzz::memory),
    ("pack", pack),
    ("patch", source::fuzz::patch),
    ("profile", |bytes| load::fuzz::profile(&text(bytes))),
    ("qmp", boot::fuzz::qmp),
    ("recipe", |bytes| load::fuzz::recipe(&text(bytes))),
    ("refs", |bytes| source::fuzz::refs(&text(bytes))),
    ("result", test::fuzz::result),
    ("runfile", |bytes| test::fuzz::runfile(&text(bytes))),
    ("settings", |bytes| load::fuzz::settings(&text(bytes))),
    ("signed", |bytes| source::fuzz::signed(&text(bytes))),
    ("sources", |bytes| source::fuzz::sources(&text(bytes))),
    ("sums", |bytes| source::fuzz::sums(&text(bytes))),
    ("tasks", |bytes| engine::debug::fuzz::found_tasks(&text(bytes))),
    ("transcript", |bytes| test::fuzz::transcript(&text(bytes))),
    ("version", |bytes| source::fuzz::version(&text(bytes))),
    ("wheels", |bytes| source::fuzz::wheels(&text(bytes))),
    ("wire", boot::fuzz::wire),
    ("wish", |bytes| source::fuzz::wish(&text(bytes))),
];

/// The target of that name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}

/// A pack of results, or the tar in one: what is made up seldom decompresses.
fn pack(bytes: &[u8]) {
    let Ok(folder) = tempfile::tempdir() else { return };
    let Ok(cache) = quiz_cache::Cache::open(folder.path()) else { return };
    // That it refuses the bytes is no error.
    let _ = cache.import(bytes, &|_| {});
    let _ = zstd::encode_all(bytes, 1).map(|pack| cache.import(&pack[..], &|_| {}));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    /// Each file is tried cut short at so many places, and with a byte changed at each of these.
    const DAMAGES: usize = 40;

    #[test]
    fn no_file_of_the_corpus_and_none_that_is_damaged_breaks_its_reader() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
        let list = |path: &Path| std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        let folders: BTreeSet<_> = list(&corpus).map(|path| path.file_name().unwrap().to_owned()).collect();
        let targets = TARGETS.iter().map(|(name, _)| *name).chain(["cache"]);
        assert_eq!(folders, targets.map(Into::into).collect(), "a folder for each target");
        for (name, target) in TARGETS.iter().filter(|(name, _)| *name != "cache") {
            let files: Vec<_> = list(&corpus.join(name)).collect();
            assert!(!files.is_empty(), "{name}");
            for file in files {
                let whole = std::fs::read(&file).unwrap();
                target(&whole);
                // These readers write files, which takes time, so fewer places are tried.
                let step = whole.len() / if ["archive", "deb", "pack"].contains(name) { 4 } else { DAMAGES } + 1;
                for at in (0..whole.len()).step_by(step) {
                    target(&whole[..at]);
                    let mut other = whole.clone();
                    other[at] ^= 0x80 >> (at % 8);
                    target(&other);
                }
            }
        }
    }
}

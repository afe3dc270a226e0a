//! The readers of this room for the fuzz targets.

use super::group::{Group, GroupEnd};
use super::results::Results;
use super::transcript::Transcript;
use super::{logs, output, runfile, select};
use std::time::Duration;

/// A result that the cache remembers, and what becomes of it in reports.
pub(crate) fn result(bytes: &[u8]) {
    let Ok(ended) = serde_json::from_slice::<GroupEnd>(bytes) else { return };
    let results = Results { groups: vec![ended], interrupted: None, took: Duration::ZERO };
    let _ = output::junit(&results);
    assert!(output::tap(&results).starts_with("TAP version 13\n"));
    results.status();
}

/// A runfile of the ZFS Test Suite; its first line is also a name that is looked for.
pub(crate) fn runfile(text: &str) {
    let Ok(sections) = runfile::read(&[("x.run".into(), text.into())]) else { return };
    for section in &sections {
        assert!(Group::of_suite(section).tests.len() >= section.tests.len());
        runfile::reads_back(section);
        let _ = (section.folder(), section.title(), section.tags());
    }
    let _ = select::select(sections, &[], &[text.lines().next().unwrap_or_default().to_owned()]);
}

/// What the suite prints, and what the kernel said meanwhile.
pub(crate) fn transcript(text: &str) {
    let mut transcript = Transcript::default();
    let ends = text.lines().filter(|line| transcript.line(line).is_some()).count();
    assert_eq!(transcript.finish().len(), ends);
    let length: usize = logs::slices(text).iter().map(|(_, slice)| slice.len()).sum();
    assert!(logs::before(text).len() + length <= text.len() + 1);
    logs::running(text);
}

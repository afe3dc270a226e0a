//! What a job has written, as files that can be read from any byte on, and never take more of the disk than they may: of a longer one the beginning goes,
//! as a hole, so that each byte that is left keeps its number.
//!
//! Starts nothing, and knows nothing of the protocol.

use crate::event::Ending;
use rustix::fs::{FallocateFlags, fallocate};
use serde_json::Value as Json;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Bytes that are read at once; a longer line of events is left out.
const CHUNK: usize = 1 << 20;
/// File systems free whole blocks, of this size on most.
const BLOCK: u64 = 4096;

/// What the events of a job have told so far: each is read once, and may be gone from the file by now.
#[derive(Debug, Default, Clone)]
pub(super) struct JobSoFar {
    /// Bytes of events that were read.
    pub read: u64,
    /// The number of its run.
    pub run: Option<String>,
    /// The guest takes programs to run.
    pub ready: bool,
    /// The last `outcome`: of which ending, and in words.
    pub outcome: Option<(Ending, String)>,
    /// The last `error`.
    pub error: Option<Json>,
}

/// A file of a job.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stream {
    Stdout,
    Stderr,
    Events,
}

impl Stream {
    const ALL: [Self; 3] = [Self::Stdout, Self::Stderr, Self::Events];

    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Events => "events",
        }
    }
}

/// A part of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub bytes: Vec<u8>,
    /// The byte at which it begins: later than asked for where that is gone.
    pub from: u64,
    /// Bytes of the whole, so far.
    pub total: u64,
    /// Bytes at its beginning that are gone.
    pub cut: u64,
}

/// The files of a job.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    told: Mutex<JobSoFar>,
    cut: [AtomicU64; 3],
}

impl Files {
    /// The files in that folder.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, told: Mutex::default(), cut: Default::default() }
    }

    fn path(&self, stream: Stream) -> PathBuf {
        self.folder.join(stream.name())
    }

    /// Bytes at the beginning of a file that are gone.
    pub fn cut(&self, stream: Stream) -> u64 {
        self.cut[stream as usize].load(Ordering::Acquire)
    }

    /// Takes the beginning away of what takes more than `most` bytes, but for the last `kept`.
    ///
    /// # Errors
    /// The file system knows no holes.
    pub fn trim(&self, most: u64, kept: u64) -> io::Result<()> {
        for stream in Stream::ALL {
            let meta = self.path(stream).metadata()?;
            if meta.blocks().saturating_mul(512) <= most {
                continue;
            }
            let end = meta.len().saturating_sub(kept) / BLOCK * BLOCK;
            let cut = self.cut(stream);
            if end <= cut {
                continue;
            }
            if matches!(stream, Stream::Events) {
                self.told()?;
            }
            // Set before the hole is made: nobody shall take its zeros for what was written.
            self.cut[stream as usize].store(end, Ordering::Release);
            let file = File::options().write(true).open(self.path(stream))?;
            fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, end)?;
        }
        Ok(())
    }

    /// At most `most` bytes of a file, from byte `from` on, or from the first one that is kept.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, stream: Stream, from: u64, most: usize) -> io::Result<Piece> {
        let file = File::open(self.path(stream))?;
        loop {
            let cut = self.cut(stream);
            let from = from.max(cut);
            let total = file.metadata()?.len();
            let mut bytes = vec![0; most.min(usize::try_from(total.saturating_sub(from)).unwrap_or(most))];
            let mut length = 0;
            while length < bytes.len() {
                match file.read_at(&mut bytes[length..], from + length as u64)? {
                    0 => break,
                    count => length += count,
                }
            }
            bytes.truncate(length);
            // Otherwise read again: a part of these bytes may be in a new hole, and be zeros.
            if self.cut(stream) <= from {
                return Ok(Piece { bytes, from, total, cut });
            }
        }
    }

    /// The events from that byte on, for which `takes` them, at most so many; and where the next one begins.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn events(&self, from: u64, most: usize, takes: impl Fn(&Json) -> bool) -> io::Result<(Vec<Json>, u64)> {
        let (mut events, mut next) = (Vec::new(), from.max(self.cut(Stream::Events)));
        while events.len() < most {
            let Piece { bytes, from, .. } = self.read(Stream::Events, next, CHUNK)?;
            next = from;
            let Some(whole) = bytes.iter().rposition(|byte| *byte == b'\n') else {
                if bytes.len() < CHUNK {
                    break;
                }
                next += bytes.len() as u64;
                continue;
            };
            for line in bytes[..=whole].split_inclusive(|byte| *byte == b'\n') {
                if events.len() == most {
                    break;
                }
                next += line.len() as u64;
                events.extend(serde_json::from_slice(line).ok().filter(&takes));
            }
        }
        Ok((events, next))
    }

    /// What all events so far have told.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn told(&self) -> io::Result<JobSoFar> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (events, next) = self.events(told.read, usize::MAX, |event| {
            ["booting", "ready", "outcome", "error"].iter().any(|name| event["event"] == *name)
        })?;
        told.read = next;
        events.into_iter().for_each(|event| told.hears(event));
        Ok(told.clone())
    }
}

impl JobSoFar {
    fn hears(&mut self, event: Json) {
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        match event["event"].as_str() {
            // The folder, such as PROJECT/.quiz/runs/7/groups/x.
            Some("booting") => {
                let run = text("run");
                let inside = run.rsplit_once("/runs/").map(|(_, run)| run);
                self.run = inside.and_then(|run| run.split('/').next()).map(str::to_owned);
            }
            Some("ready") => self.ready = true,
            Some("outcome") => {
                let ending = serde_json::from_value(event["ending"].clone()).ok();
                self.outcome = ending.map(|ending| (ending, text("how")));
            }
            _ => self.error = Some(event),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_run_is_known_by_its_folder_and_the_last_word_counts() {
        let mut told = JobSoFar::default();
        told.hears(json!({ "event": "booting", "run": "/p/runs/x/.quiz/runs/7/groups/functional.atime" }));
        assert_eq!(told.run.as_deref(), Some("7"));
        told.hears(json!({ "event": "outcome", "ending": "time-limit", "how": "late" }));
        assert_eq!(told.outcome, Some((Ending::TimeLimit, "late".to_owned())));
        told.hears(json!({ "event": "outcome", "ending": "unheard-of" }));
        assert_eq!(told.outcome, None);
    }

    #[test]
    fn of_a_long_file_the_end_is_kept_and_what_was_told_stays_known() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(folder.path().to_owned());
        let line = |number: usize| format!("{{\"event\":\"output\",\"line\":\"{number:>100}\"}}\n");
        let many: String = (0..20_000).map(line).collect();
        let ready = "{\"event\":\"ready\"}\n";
        std::fs::write(folder.path().join("events"), format!("{ready}{many}")).unwrap();
        std::fs::write(folder.path().join("stdout"), vec![b'x'; 3 << 20]).unwrap();
        std::fs::write(folder.path().join("stderr"), "short").unwrap();
        files.trim(1 << 20, 64 << 10).unwrap();
        for name in ["stdout", "events"] {
            let taken = folder.path().join(name).metadata().unwrap().blocks() * 512;
            assert!(taken <= 128 << 10, "{name}: {taken}");
        }
        let cut = (3 << 20) - (64 << 10);
        let piece = files.read(Stream::Stdout, 0, 4).unwrap();
        assert_eq!(piece, Piece { bytes: b"xxxx".to_vec(), from: cut, total: 3 << 20, cut });
        let short = Piece { bytes: b"ort".to_vec(), from: 2, total: 5, cut: 0 };
        assert_eq!(files.read(Stream::Stderr, 2, 9).unwrap(), short);
        let (events, next) = files.events(0, usize::MAX, |_| true).unwrap();
        assert_eq!(events.last().unwrap()["line"].as_str().unwrap().trim(), "19999");
        assert!(events.len() > 300 && events.len() < 600, "{}", events.len());
        assert_eq!(next, (ready.len() + many.len()) as u64);
        assert!(files.told().unwrap().ready, "the event is gone, and was heard before");
        // What has been cut is not cut again for nothing.
        files.trim(1 << 20, 64 << 10).unwrap();
        assert_eq!(files.cut(Stream::Stdout), cut);
    }
}

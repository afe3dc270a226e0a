//! Work that takes its time and tells how far it is: a file that is unpacked, packages one after the other. Does not know what becomes of them.

use crate::event::{Event, Events, Unit};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

/// Between two words on how far it is.
const PAUSE: Duration = Duration::from_millis(100);

/// Says how much of `what` is done, but not too often. When this is dropped it is over, with as much as was done by then: that may be less, of what
/// failed, and of what has an end that nobody reads.
pub(super) struct Teller<'a> {
    what: String,
    unit: Unit,
    total: u64,
    done: u64,
    told: Option<Instant>,
    events: Events<'a>,
}

impl<'a> Teller<'a> {
    pub(super) fn new(what: String, unit: Unit, total: u64, events: Events<'a>) -> Self {
        Self { what, unit, total, done: 0, told: None, events }
    }

    /// So much is done.
    pub(super) fn tell(&mut self, done: u64) {
        self.done = done;
        // The last word is that of the end.
        if done < self.total && self.told.is_none_or(|told| told.elapsed() >= PAUSE) {
            self.told = Some(Instant::now());
            self.say(self.total);
        }
    }

    fn say(&self, total: u64) {
        let Self { what, unit, done, .. } = self;
        (self.events)(Event::Progress { what: what.clone(), unit: *unit, done: *done, total: Some(total), left: None });
    }
}

impl Drop for Teller<'_> {
    fn drop(&mut self) {
        if self.told.is_some() {
            self.say(self.done);
        }
    }
}

/// A file that is read from its begin to its end.
pub(super) struct Told<'a> {
    file: File,
    done: u64,
    teller: Teller<'a>,
}

impl<'a> Told<'a> {
    /// Opens the file; `name` is what people call it.
    pub(super) fn open(path: &Path, name: &str, events: Events<'a>) -> io::Result<Self> {
        let file = File::open(path)?;
        let teller = Teller::new(format!("unpacking {name}"), Unit::Bytes, file.metadata()?.len(), events);
        Ok(Self { file, done: 0, teller })
    }
}

impl Read for Told<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.done += read as u64;
        self.teller.tell(self.done);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn a_file_that_is_read_in_part_is_over_when_nobody_reads_on_and_not_said_to_be_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        std::fs::write(&path, [7; 1000]).unwrap();
        let said = Mutex::new(Vec::new());
        let events = |event| match event {
            Event::Progress { what, unit: Unit::Bytes, done, total: Some(total), left: None } => {
                assert_eq!(what, "unpacking a.tar");
                said.lock().unwrap().push((done, total));
            }
            other => panic!("{other:?}"),
        };
        let mut file = Told::open(&path, "a.tar", &events).unwrap();
        file.read_exact(&mut [0; 10]).unwrap();
        file.read_exact(&mut [0; 10]).unwrap();
        drop(file);
        assert_eq!(*said.lock().unwrap(), [(10, 1000), (20, 20)]);
    }
}

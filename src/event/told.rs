//! Work that takes its time and tells how far it is: anything that is counted, and bytes that are read or written. Does not know what becomes
//! of them.

use super::{Event, Events, Unit};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Between two words on how far it is.
const PAUSE: Duration = Duration::from_millis(100);

/// Says how much of `what` is done, but not too often. That it is over is said when this is dropped, with what was done by then: it may have
/// failed.
pub struct Teller<'a> {
    what: String,
    unit: Unit,
    total: Option<u64>,
    done: u64,
    told: Option<Instant>,
    events: Events<'a>,
}

impl<'a> Teller<'a> {
    /// Nothing is done yet. `total`: so much there is, if that is known.
    pub fn new(what: impl Into<String>, unit: Unit, total: impl Into<Option<u64>>, events: Events<'a>) -> Self {
        Self { what: what.into(), unit, total: total.into(), done: 0, told: None, events }
    }

    /// So much is done.
    pub fn tell(&mut self, done: u64) {
        self.done = done;
        // The last word is that of the end.
        if self.total.is_none_or(|total| done < total) && self.told.is_none_or(|told| told.elapsed() >= PAUSE) {
            self.told = Some(Instant::now());
            self.say(self.total);
        }
    }

    /// So much more.
    pub fn more(&mut self, count: usize) {
        self.tell(self.done + count as u64);
    }

    fn say(&self, total: Option<u64>) {
        let Self { what, unit, done, .. } = self;
        (self.events)(Event::Progress { what: what.clone(), unit: *unit, done: *done, total, left: None });
    }
}

impl Drop for Teller<'_> {
    fn drop(&mut self) {
        if self.told.is_some() {
            self.say(Some(self.done));
        }
    }
}

/// Bytes that are read from something, or written to it.
pub struct Told<'a, T> {
    inner: T,
    teller: Teller<'a>,
}

impl<'a, T> Told<'a, T> {
    /// Of bytes `what` is, and of how many, if that is known.
    pub fn new(inner: T, what: impl Into<String>, total: impl Into<Option<u64>>, events: Events<'a>) -> Self {
        Self { inner, teller: Teller::new(what, Unit::Bytes, total, events) }
    }
}

impl<'a> Told<'a, File> {
    /// A file that is read from its begin to its end.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path, what: impl Into<String>, events: Events<'a>) -> io::Result<Self> {
        let file = File::open(path)?;
        let total = file.metadata()?.len();
        Ok(Self::new(file, what, total, events))
    }
}

impl<T: Read> Read for Told<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.teller.more(read);
        Ok(read)
    }
}

impl<T: Write> Write for Told<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.teller.more(written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn what_is_read_in_part_is_told_so_and_is_over_with_that_when_nobody_reads_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        std::fs::write(&path, [7; 1000]).unwrap();
        let said = Mutex::new(Vec::new());
        let events = |event| match event {
            Event::Progress { what, unit: Unit::Bytes, done, total, left: None } => {
                assert_eq!(what, "unpacking a.tar");
                said.lock().unwrap().push((done, total));
            }
            other => panic!("{other:?}"),
        };
        let mut file = Told::open(&path, "unpacking a.tar", &events).unwrap();
        file.read_exact(&mut [0; 10]).unwrap();
        file.read_exact(&mut [0; 10]).unwrap();
        drop(file);
        assert_eq!(*said.lock().unwrap(), [(10, Some(1000)), (20, Some(20))]);
    }

    #[test]
    fn what_is_written_is_counted_and_what_was_done_at_once_is_not_worth_a_word() {
        let said = Mutex::new(Vec::new());
        let events = |event| said.lock().unwrap().push(event);
        Told::new(Vec::new(), "x", 5, &events).write_all(b"at on").unwrap();
        drop(Teller::new("x", Unit::Packages, None, &events));
        assert_eq!(*said.lock().unwrap(), []);
        Told::new(Vec::new(), "x", None, &events).write_all(b"at on").unwrap();
        let done = |total| Event::Progress { what: "x".into(), unit: Unit::Bytes, done: 5, total, left: None };
        assert_eq!(*said.lock().unwrap(), [done(None), done(Some(5))]);
    }
}

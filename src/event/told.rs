//! Work that takes its time and tells how far it is: anything that is counted, bytes that are read or written, and what mostly is quick. Does not know
//! what becomes of them.

use super::{Event, Events, Unit};
use quiz_cache::Looked;
use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// The time between two events on how far it is.
const PAUSE: Duration = Duration::from_millis(100);

/// Work that is mostly quick is told of when it has taken so long, and then again each time that it has taken so long.
const SHORT: Duration = Duration::from_millis(500);

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
    /// Nothing is done yet. `total`: how much there is to do, if that is known.
    pub fn new(what: impl Into<String>, unit: Unit, total: impl Into<Option<u64>>, events: Events<'a>) -> Self {
        Self { what: what.into(), unit, total: total.into(), done: 0, told: None, events }
    }

    /// So much is done.
    pub fn tell(&mut self, done: u64) {
        self.done = done;
        // That all is done is told when this is dropped.
        if self.total.is_none_or(|total| done < total) && self.told.is_none_or(|told| told.elapsed() >= PAUSE) {
            self.told = Some(Instant::now());
            self.say(self.total);
        }
    }

    /// So much more is done.
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
    /// `what` says what is read or written, `total` how many bytes there are, if that is known.
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

/// Work that mostly is quick, while it is done.
pub struct Slow<'a> {
    /// Where it counts what it has looked at, if it counts at all.
    pub looked: &'a Looked,
    goes_on: Cell<Option<Sender<()>>>,
}

impl Slow<'_> {
    /// It is over, or what follows is told in another way.
    pub fn over(&self) {
        self.goes_on.take();
    }
}

/// Does work of which nobody knows before whether it is quick. When it is not, another thread says that `what` goes on, and how much was looked at
/// by then, also while the work waits for a disk or a server. So quick work says nothing, and costs a thread that sleeps.
pub fn slowly<T>(what: &str, unit: Unit, events: Events<'_>, work: impl FnOnce(&Slow<'_>) -> T) -> T {
    let (looked, (goes_on, over)) = (&Looked::default(), channel());
    std::thread::scope(|scope| {
        // Dropped also when the work panics; else the scope would wait for the other thread.
        let slow = Slow { looked, goes_on: Cell::new(Some(goes_on)) };
        let tell = move || {
            let say = |done, total| events(Event::Progress { what: what.to_owned(), unit, done, total, left: None });
            let mut told = false;
            while over.recv_timeout(SHORT) == Err(RecvTimeoutError::Timeout) {
                let (done, all) = looked.so_far();
                say(done, all);
                told = true;
            }
            if told {
                let (done, _) = looked.so_far();
                say(done, Some(done));
            }
        };
        // If no thread can be started nothing is told, and the work is done all the same.
        let _ = std::thread::Builder::new().name("slowly".to_owned()).spawn_scoped(scope, tell);
        work(&slow)
    })
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
    fn what_mostly_is_quick_is_told_once_it_is_slow_and_is_over_with_its_end_or_before() {
        let said = Mutex::new(Vec::new());
        let events = |event| said.lock().unwrap().push(event);
        let done = |done, total| Event::Progress { what: "x".into(), unit: Unit::Files, done, total, left: None };
        assert_eq!(slowly("x", Unit::Files, &events, |_| 7), 7);
        assert_eq!(*said.lock().unwrap(), []);
        let told = || said.lock().unwrap().len();
        let until = |count| {
            let begun = Instant::now();
            while told() < count {
                assert!(begun.elapsed() < Duration::from_secs(30), "nothing is told");
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        slowly("x", Unit::Files, &events, |_| until(1));
        let all = std::mem::take(&mut *said.lock().unwrap());
        assert_eq!((&all[0], all.last()), (&done(0, None), Some(&done(0, Some(0)))));
        slowly("x", Unit::Files, &events, |slow| {
            until(1);
            slow.over();
            while said.lock().unwrap().last() != Some(&done(0, Some(0))) {
                std::thread::sleep(Duration::from_millis(5));
            }
            let count = told();
            std::thread::sleep(SHORT + PAUSE);
            assert_eq!(told(), count, "it is over");
        });
    }

    #[test]
    fn what_mostly_is_quick_and_panics_is_waited_for_by_nobody() {
        let panics = || slowly("x", Unit::Files, &|_| {}, |_| panic!("on purpose"));
        assert!(std::panic::catch_unwind(panics).is_err());
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

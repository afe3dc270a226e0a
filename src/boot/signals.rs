//! Signals to quiz while a machine runs, as something to poll.
//!
//! After this is dropped the signals are still caught but do nothing: signal-hook cannot give back the default. The caller
//! is about to exit then.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGURG, SIGWINCH};

use crate::error::{Error, Result};
use crate::host::signals::{heeded, note, noted, signals_are_caught};

const CAUGHT: [i32; 6] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGURG];

/// Whether a signal asked several machines to end, those to come included.
#[derive(Debug, Clone)]
pub struct Stop(Arc<AtomicUsize>);

impl Stop {
    /// Set by SIGINT, SIGTERM, SIGHUP or SIGQUIT from now on, for the rest of the process.
    ///
    /// # Errors
    /// When signals cannot be caught.
    pub fn on_signals() -> Result<Self> {
        let stop = Self(Arc::default());
        signals_are_caught();
        note(&stop.0).map_err(|e| Error::boot("cannot catch signals").because(e))?;
        Ok(stop)
    }

    /// The signal that came.
    pub fn signal(&self) -> Option<i32> {
        noted(&self.0)
    }
}

/// The signals that came since the last look.
#[derive(Debug)]
pub(super) struct Signals {
    wake: UnixStream,
    came: Vec<(i32, Arc<AtomicBool>)>,
    ids: Vec<SigId>,
}

impl Signals {
    /// Catches SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH and SIGURG from now on.
    pub(super) fn catch() -> Result<Self> {
        let failed = |e: std::io::Error| Error::boot("cannot catch signals").because(e);
        let (wake, waker) = UnixStream::pair().map_err(failed)?;
        wake.set_nonblocking(true).map_err(failed)?;
        signals_are_caught();
        let mut signals = Self { wake, came: Vec::new(), ids: Vec::new() };
        for signal in heeded(&CAUGHT) {
            let flag = Arc::new(AtomicBool::new(false));
            // The flag first: whoever is woken must see it.
            signals.ids.push(signal_hook::flag::register(signal, Arc::clone(&flag)).map_err(failed)?);
            let waker = waker.try_clone().map_err(failed)?;
            signals.ids.push(signal_hook::low_level::pipe::register(signal, waker).map_err(failed)?);
            signals.came.push((signal, flag));
        }
        Ok(signals)
    }

    /// Readable when a signal came.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// The signals that came.
    pub(super) fn take(&mut self) -> Vec<i32> {
        let mut bytes = [0; 64];
        while matches!(self.wake.read(&mut bytes), Ok(1..)) {}
        self.came.iter().filter(|(_, came)| came.swap(false, Ordering::Relaxed)).map(|(signal, _)| *signal).collect()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

/// The name of a signal that is caught here.
pub(super) fn name(signal: i32) -> &'static str {
    match signal {
        SIGINT => "SIGINT",
        SIGTERM => "SIGTERM",
        SIGHUP => "SIGHUP",
        SIGQUIT => "SIGQUIT",
        _ => "a signal",
    }
}

//! Signals that end a program: who catches them, what is put right before they end quiz, and how they are held back for a part of the work.
//!
//! Knows no machine.

use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXFSZ};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The signals that end a program which does not handle them.
const ENDING: [i32; 4] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];

/// Whether a part of quiz catches SIGINT, SIGTERM, SIGHUP and SIGQUIT, or did: then that part decides what they do, and they do not simply end quiz.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Says that from now on a part of quiz catches the signals that end a program.
pub fn signals_are_caught() {
    TAKEN.store(true, Ordering::Relaxed);
}

/// From now on a file that grows beyond the limit of this process (`ulimit -f`) fails to be written, and does not end quiz. What quiz starts is ended by
/// that as ever, since a handler, unlike being ignored, is not handed on.
pub fn outlive_file_limits() {
    for signal in heeded(&[SIGXFSZ]) {
        let _ = signal_hook::flag::register(signal, Arc::default());
    }
}

/// Calls `act` whenever SIGINT, SIGTERM, SIGHUP or SIGQUIT comes, and says whether that ends the process, as it does where nobody catches it. `act` is
/// called in a signal handler: it does nothing that signal-safety(7) does not allow.
pub fn at_signals(act: fn(bool)) {
    for signal in heeded(&ENDING) {
        let handler = move || {
            let ends = !TAKEN.load(Ordering::Relaxed);
            act(ends);
            if ends {
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
        };
        // SAFETY: reads an atomic, calls what promises to be safe there, and a function that is documented to be. What cannot be caught ends
        // quiz as ever, without the act.
        let _ = unsafe { signal_hook::low_level::register(signal, handler) };
    }
}

/// As long as this lives a signal of [`ENDING`] does not end quiz: [`Self::signal`] tells it.
#[derive(Debug)]
pub(super) struct Caught {
    came: Arc<AtomicUsize>,
    ids: Vec<SigId>,
    before: bool,
}

impl Caught {
    /// Catches these signals from now on.
    ///
    /// # Errors
    /// Signals cannot be caught.
    pub(super) fn new() -> io::Result<Self> {
        // signal-hook gives no signal back to the system: when they are not caught any more, this is what ends quiz.
        static END: std::sync::Once = std::sync::Once::new();
        END.call_once(|| at_signals(|_| {}));
        let before = TAKEN.load(Ordering::Relaxed);
        let came = Arc::default();
        let caught = Self { ids: note(&came)?, came, before };
        // Not sooner: until there is something that takes note of a signal, it ends quiz.
        TAKEN.store(true, Ordering::Relaxed);
        Ok(caught)
    }

    /// The signal that came.
    pub(super) fn signal(&self) -> Option<i32> {
        noted(&self.came)
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        TAKEN.store(self.before, Ordering::Relaxed);
        for id in self.ids.drain(..) {
            signal_hook::low_level::unregister(id);
        }
        // A signal that came after the last look is not lost either.
        if let Some(signal) = self.signal().filter(|_| !self.before) {
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    }
}

/// From now on `came` is the number of the last signal of [`ENDING`], for [`noted`].
///
/// # Errors
/// Signals cannot be caught.
pub(crate) fn note(came: &Arc<AtomicUsize>) -> io::Result<Vec<SigId>> {
    let number = |signal| usize::try_from(signal).unwrap_or_default();
    heeded(&ENDING).map(|signal| signal_hook::flag::register_usize(signal, Arc::clone(came), number(signal))).collect()
}

/// The signal that came.
pub(crate) fn noted(came: &AtomicUsize) -> Option<i32> {
    i32::try_from(came.load(Ordering::Relaxed)).ok().filter(|signal| *signal != 0)
}

/// These signals, without those that whoever started quiz wants it to ignore.
pub(crate) fn heeded(signals: &[i32]) -> impl Iterator<Item = i32> {
    let ignored = ignored();
    signals.iter().copied().filter(move |signal| ignored & bit(*signal) == 0)
}

/// What whoever started quiz wants it to ignore, as a mask: `nohup`, `trap '' HUP`, and of a job in the background of a script Ctrl-C.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// The bit of a signal in such a mask (proc(5): the lowest is signal 1).
fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

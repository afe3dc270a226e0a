//! Shows what takes its time: on a terminal lines that move, one for each thing; elsewhere now and then a line. Looks at the clock by itself, in a
//! thread that begins with the first thing that takes time.

use super::board::{Board, Kind, Task};
use super::outside::{self, Abilities, Outside};
use super::style::Style;
use crate::event::Event;
use crate::host;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use rustix::stdio::stderr;
use rustix::termios::tcgetwinsize;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// What is over sooner is not shown.
const SHORT: Duration = Duration::from_millis(500);
/// Between two looks at the clock, on a terminal and elsewhere.
const LOOK: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];
/// Where there is no terminal: between two lines, and between two words on one kind after its first minute.
const LINES: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(60)];
/// Columns of a terminal that does not know how many it has.
const COLUMNS: u16 = 80;

/// Shows what takes its time, until this is dropped.
pub(super) struct Progress(Arc<Shared>);

struct Shared {
    style: Style,
    /// Lines that move; only on a terminal.
    moving: Option<MultiProgress>,
    state: Mutex<Drawn>,
}

#[derive(Default)]
struct Drawn {
    board: Board,
    bars: BTreeMap<String, ProgressBar>,
    outside: Outside,
    /// When a line said something of a kind, where nothing moves.
    told: BTreeMap<Kind, Instant>,
    /// The thread that looks at the clock was started.
    ticks: bool,
    /// The signal handler that undoes what is shown is in place.
    undone: bool,
}

impl Progress {
    /// Shows on stderr. `terminal`: stderr is one.
    pub(super) fn new(terminal: bool, style: Style) -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        // A terminal with TERM=dumb cannot move its cursor back.
        let moves = terminal && variable("TERM").is_none_or(|term| term != "dumb");
        let able = if moves { Abilities::new(variable) } else { Abilities::default() };
        let state = Drawn { outside: Outside::new(able), ..Drawn::default() };
        let moving = moves.then(MultiProgress::new);
        Self(Arc::new(Shared { style, moving, state: Mutex::new(state) }))
    }

    /// Takes note of an event. What is over is gone from the screen when this returns: somebody else may write there next.
    pub(super) fn follow(&self, event: &Event) {
        let mut state = self.0.lock();
        state.board.follow(event, Instant::now());
        state.remove();
        let begins = !state.ticks && state.board.tasks().next().is_some();
        if begins {
            state.ticks = true;
            drop(state);
            let (shared, look) = (Arc::downgrade(&self.0), LOOK[usize::from(self.0.moving.is_none())]);
            // If the thread cannot be started, the lines only do not move.
            let _ = std::thread::Builder::new().name("progress".to_owned()).spawn(move || tick(&shared, look));
        }
    }

    /// Writes to stderr, above the lines that move.
    pub(super) fn suspend(&self, write: impl FnOnce()) {
        match &self.0.moving {
            Some(moving) => moving.suspend(write),
            None => write(),
        }
    }

    /// Nothing is shown any more.
    pub(super) fn finish(&self) {
        let mut state = self.0.lock();
        state.board.clear();
        state.remove();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

fn tick(shared: &Weak<Shared>, look: Duration) {
    loop {
        std::thread::sleep(look);
        let Some(shared) = shared.upgrade() else { return };
        match &shared.moving {
            Some(moving) => shared.move_on(moving),
            None => {
                if let Some(line) = shared.lock().plain(Instant::now()) {
                    let verb = shared.style.good("    Progress");
                    // If stderr is closed, nobody reads it, which is no error.
                    let _ = writeln!(std::io::stderr(), "{verb} {line}");
                }
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Drawn> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws each line as it is now, as wide as the terminal is now.
    fn move_on(&self, moving: &MultiProgress) {
        let columns = tcgetwinsize(stderr()).map_or(0, |size| size.ws_col);
        let columns = usize::from(if columns == 0 { COLUMNS } else { columns });
        let (now, mut state) = (Instant::now(), self.lock());
        let Drawn { board, bars, outside, undone, .. } = &mut *state;
        let tasks: Vec<&Task> = board.tasks().filter(|task| now.duration_since(task.began) >= SHORT).collect();
        if !tasks.is_empty() && !*undone {
            *undone = true;
            host::signals::at_signals(outside::at_signal);
        }
        for task in &tasks {
            let bar = bars.entry(task.name.clone()).or_insert_with(|| {
                let bar = moving.add(ProgressBar::new_spinner());
                // `wide_msg` cuts what does not fit, should the terminal be narrower by now.
                if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
                    bar.set_style(style);
                }
                bar
            });
            // The last column stays free: some terminals go to the next line when it is full.
            bar.set_message(task.line(columns.saturating_sub(1), now, &self.style));
        }
        outside::set_lines(!bars.is_empty());
        let first = tasks.iter().find(|task| task.percent().is_some()).or(tasks.first());
        if let Some(task) = first {
            write(&outside.show(task.title(), task.percent()));
        }
    }
}

impl Drawn {
    /// Takes what is over from the screen.
    fn remove(&mut self) {
        let Self { board, bars, outside, .. } = self;
        let shown: Vec<&str> = board.tasks().map(|task| task.name.as_str()).collect();
        bars.retain(|name, bar| {
            let stays = shown.contains(&name.as_str());
            if !stays {
                bar.finish_and_clear();
            }
            stays
        });
        if bars.is_empty() {
            outside::set_lines(false);
        }
        if shown.is_empty() {
            outside.hide(&write);
        }
    }

    /// The line for where nothing moves, when one is due: all kinds of which it is time to say something, each with all that is of it. What becomes due
    /// while the last line is younger than ten seconds waits for the next, which has it: so nothing is left out for long.
    fn plain(&mut self, now: Instant) -> Option<String> {
        if self.told.values().any(|told| now.duration_since(*told) < LINES[0]) {
            return None;
        }
        let mut kinds: BTreeMap<Kind, Vec<&Task>> = BTreeMap::new();
        self.board
            .tasks()
            .filter(|task| task.kind != Kind::Group)
            .for_each(|task| kinds.entry(task.kind).or_default().push(task));
        let mut parts = Vec::new();
        for (kind, tasks) in kinds {
            let Some(began) = tasks.iter().map(|task| task.began).min() else { continue };
            let pause = LINES[usize::from(now.duration_since(began) > LINES[1])];
            let last = self.told.get(&kind).map_or(began, |told| began.max(*told));
            if now.duration_since(last) >= pause {
                self.told.insert(kind, now);
                parts.extend(tasks.iter().map(|task| task.plain(now)));
            }
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

/// Writes to stderr in one piece, since others write there, too; and not at all where there is nothing to write.
fn write(bytes: &str) {
    if !bytes.is_empty() {
        let _ = std::io::stderr().write_all(bytes.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Unit;

    fn started(stage: &str) -> Event {
        Event::Started { stage: stage.into(), log: String::new(), last: None }
    }

    fn objects(stage: &str, done: u64) -> Event {
        Event::Progress { what: stage.into(), unit: Unit::Objects, done, total: Some(1000), left: None }
    }

    /// The lines of the first five minutes, each with its second. `more` happens at 95 s.
    fn said(first: &[Event], more: &[Event]) -> Vec<(u64, String)> {
        let (mut state, start) = (Drawn::default(), Instant::now());
        let mut said = Vec::new();
        for second in 0..=300 {
            let now = start + Duration::from_secs(second);
            let events = if second == 0 { first } else { more };
            if second == 0 || second == 95 {
                events.iter().for_each(|event| state.board.follow(event, now));
            }
            said.extend(state.plain(now).map(|line| (second, line)));
        }
        said
    }

    fn seconds(said: &[(u64, String)], word: &str) -> Vec<u64> {
        said.iter().filter(|(_, line)| line.contains(word)).map(|(second, _)| *second).collect()
    }

    #[test]
    fn without_a_terminal_each_kind_is_told_every_ten_seconds_and_later_each_minute() {
        let first = [started("kernel"), objects("kernel", 1), started("rootfs")];
        let said = said(&first, &[started("zfs-user"), objects("zfs-user", 1)]);
        assert_eq!(seconds(&said, "kernel"), [10, 20, 30, 40, 50, 60, 120, 180, 240, 300]);
        assert_eq!(seconds(&said, "rootfs"), seconds(&said, "kernel"));
        assert_eq!(seconds(&said, "zfs-user"), [120, 180, 240, 300], "it stands in the line of the other");
        assert!(said.iter().any(|(second, line)| *second == 120 && line.contains("; zfs-user 25s")), "{said:?}");
    }

    #[test]
    fn without_a_terminal_all_kinds_together_have_one_line_each_ten_seconds() {
        let download = Event::Download { what: "linux.tar.xz".into(), done: 0, total: None };
        let said = said(&[started("kernel"), objects("kernel", 1)], &[download]);
        assert!(said.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 10), "{said:?}");
        // The other kind was told at 115 s and 175 s: this one waits for the next line, and stands in it.
        assert_eq!(seconds(&said, "kernel"), [10, 20, 30, 40, 50, 60, 125, 185, 245]);
        assert_eq!(seconds(&said, "linux.tar.xz"), [105, 115, 125, 135, 145, 155, 215, 275]);
    }

    #[test]
    fn what_is_over_soon_is_not_told() {
        let mut state = Drawn::default();
        let start = Instant::now();
        state.board.follow(&started("a"), start);
        assert!(state.plain(start + Duration::from_secs(9)).is_none());
        state.board.follow(&Event::Finished { stage: "a".into(), took: Duration::from_secs(9) }, start);
        assert!(state.plain(start + Duration::from_secs(99)).is_none());
    }
}

//! How a machine is saved: on its way to the program, and when that has ended.
//!
//! It stands still for that: qemu writes the state of the devices, the memory is copied at the same time, and it goes on, or is over.

use std::mem;
use std::time::Instant;

use super::{Effect, Exit, Phase, Play, Rest, Save};
use crate::boot::outcome::{End, Saved};
use crate::boot::qmp;
use crate::boot::wire::FromGuest;
use crate::machine::Level;

/// A machine that was held is not saved: what a debugger did to it would be in every machine that starts from there.
const HELD: &str = "the machine was held by a debugger or by qemu's monitor";

/// A machine is kept only after a program that ended with 0 and whose output has all come.
pub(super) const KEPT: End = End::Exited(0);

impl Play {
    /// The program has ended, and all of its output came. That is the end, unless the machine is to be kept as it is now: then the guest has a moment
    /// to say that it is at rest, and with `waited` that moment is over.
    pub(super) fn program_over(&mut self, exit: Exit, waited: bool, now: Instant) -> Vec<Effect> {
        if self.plan.start.to(Level::Kept).is_none() || exit.status != 0 {
            return self.end(End::Exited(exit.status), now);
        }
        match mem::take(&mut self.seen.rest) {
            Rest::Yes => self.reached(Level::Kept, None, now),
            Rest::NotToSave(why) => self.reached(Level::Kept, Some(why), now),
            Rest::No if waited && self.seen.nearly => self.unsaved(
                Level::Kept,
                Saved::Failed("the guest did not say in time that it can be saved".to_owned()),
                now,
            ),
            Rest::No => {
                self.seen.nearly = true;
                self.limits.rest_for(now, self.plan.ready_within);
                Vec::new()
            }
        }
    }

    /// The guest says that it is at rest, or why it cannot be. That means nothing in a machine that is not to be kept.
    pub(super) fn at_rest(&mut self, message: FromGuest, now: Instant) -> Vec<Effect> {
        if self.plan.start.to(Level::Kept).is_none() {
            return Vec::new();
        }
        self.seen.rest = match message {
            FromGuest::Ready(None) => Rest::Yes,
            FromGuest::Ready(Some(why)) | FromGuest::Failed(why) => Rest::NotToSave(why),
            _ => return Vec::new(),
        };
        self.moved_on(now)
    }

    /// What happened to a machine while it was saved, after which nobody can go on from there.
    fn spoiled(&self) -> Option<String> {
        let sign = self.seen.sign.map(|_| "the guest's kernel gave up while the machine was saved".to_owned());
        let shutdown =
            self.seen.shutdown.as_ref().map(|reason| format!("the guest ended while it was saved ({reason})"));
        sign.or(shutdown).or_else(|| self.seen.disk.clone())
    }

    /// The time is over within which the machine should have been saved.
    pub(super) fn never_saved(&mut self, now: Instant) -> Vec<Effect> {
        self.unsaved(Level::Kept, Saved::Failed("saving takes longer than two minutes".to_owned()), now)
    }

    /// The guest has come to this level: saves it, if that is wanted and no `reason` speaks against it.
    pub(super) fn reached(&mut self, level: Level, reason: Option<String>, now: Instant) -> Vec<Effect> {
        if self.plan.start.to(level).is_none() {
            return self.go_on(level, now);
        }
        // A machine that is kept is saved with its disks, so something may be written to them.
        let wrote = self.seen.wrote.as_ref().filter(|_| level != Level::Kept);
        if let Some(reason) = reason.or_else(|| wrote.cloned()) {
            return self.unsaved(level, Saved::Never(reason), now);
        }
        if self.seen.held {
            return self.unsaved(level, Saved::Failed(HELD.to_owned()), now);
        }
        if level == Level::Kept {
            self.limits.dumps(now);
        }
        match &self.seen.able {
            None => {
                self.phase = Phase::Saving(level, Save::Wanted);
                Vec::new()
            }
            Some(Ok(())) => {
                self.phase = Phase::Saving(level, Save::Moving);
                vec![Effect::Save(level)]
            }
            // A qemu that does not know what to do would save the wrong thing.
            Some(Err(why)) => self.unsaved(level, Saved::Failed(why.clone()), now),
        }
    }

    pub(super) fn go_on(&mut self, level: Level, now: Instant) -> Vec<Effect> {
        let (phase, effect) = match level {
            Level::Base => (Phase::Mounting, Effect::Mount),
            Level::Full => (Phase::Waking, Effect::Wake),
            Level::Kept => return self.end(KEPT, now),
        };
        self.phase = phase;
        vec![effect]
    }

    fn unsaved(&mut self, level: Level, why: Saved, now: Instant) -> Vec<Effect> {
        [self.go_on(level, now), vec![Effect::Settle(level, why)]].concat()
    }

    /// qemu said whether it can.
    pub(super) fn able(&mut self, able: Result<(), String>, now: Instant) -> Vec<Effect> {
        // qemu is asked for several things; one that it cannot do is remembered, whatever it says of the others.
        if !matches!(self.seen.able, Some(Err(_))) {
            self.seen.able = Some(able);
        }
        match (&self.phase, &self.seen.able) {
            (Phase::Restoring, Some(Err(why))) => self.end(End::NoLife(Some(why.clone())), now),
            (Phase::Saving(level, Save::Wanted), _) => self.reached(*level, None, now),
            _ => Vec::new(),
        }
    }

    pub(super) fn still(&mut self) -> Vec<Effect> {
        let Phase::Saving(level, step @ Save::Moving) = &mut self.phase else { return Vec::new() };
        *step = Save::Copying;
        vec![Effect::Copy(*level)]
    }

    pub(super) fn copied(&mut self, result: Result<(), String>, now: Instant) -> Vec<Effect> {
        let Phase::Saving(level, step) = &mut self.phase else { return Vec::new() };
        match step {
            Save::Copying => *step = Save::Copied(result),
            Save::Moved => {
                let level = *level;
                return self.saved(level, result, true, now);
            }
            Save::Wanted | Save::Moving | Save::Copied(_) => {}
        }
        Vec::new()
    }

    /// qemu is done with the state.
    pub(super) fn moved(&mut self, moved: Result<(), String>, now: Instant) -> Vec<Effect> {
        let (level, step) = match &mut self.phase {
            Phase::Saving(level, step) => (*level, step),
            Phase::Restoring => {
                return moved.err().map_or(Vec::new(), |why| self.end(End::NoLife(Some(why)), now));
            }
            _ => return Vec::new(),
        };
        match (moved, mem::replace(step, Save::Moved)) {
            (_, Save::Wanted) => {
                *step = Save::Wanted;
                Vec::new()
            }
            // When saving fails the machine was not stopped for it, so it need not be told to go on.
            (Err(why), _) => self.saved(level, Err(why), false, now),
            (Ok(()), Save::Copied(result)) => self.saved(level, result, true, now),
            (Ok(()), Save::Moving) => vec![Effect::Copy(level)],
            (Ok(()), Save::Copying | Save::Moved) => Vec::new(),
        }
    }

    fn saved(&mut self, level: Level, result: Result<(), String>, stood: bool, now: Instant) -> Vec<Effect> {
        let spoiled = self.spoiled().filter(|_| level == Level::Kept);
        let spoiled = spoiled.or_else(|| self.seen.held.then(|| HELD.to_owned()));
        let result = spoiled.map_or(result, Err);
        let saved = result.map_or_else(Saved::Failed, |()| Saved::Done);
        let go_on = if stood && level != Level::Kept { vec![Effect::Qemu(qmp::CONTINUE)] } else { Vec::new() };
        let rest = vec![Effect::Settle(level, saved)];
        [go_on, vec![Effect::Step("save")], self.go_on(level, now), rest].concat()
    }
}

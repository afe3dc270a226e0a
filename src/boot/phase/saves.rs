//! How a machine is saved on its way to the program.
//!
//! It stands still for that: qemu writes the state of the devices, the memory is copied at the same time, and it goes on.

use std::mem;
use std::time::Instant;

use super::{Effect, Phase, Play, Save};
use crate::boot::outcome::{End, Saved};
use crate::boot::qmp;
use crate::machine::Level;

/// What a debugger did to it nobody else shall start from.
const HELD: &str = "somebody held the machine, at a debugger or by qemu's monitor";

impl Play {
    /// The guest has come to this level: saves it, if that is wanted and no `reason` speaks against it.
    pub(super) fn reached(&mut self, level: Level, reason: Option<String>) -> Vec<Effect> {
        if self.plan.start.to(level).is_none() {
            return self.go_on(level);
        }
        if let Some(reason) = reason.or_else(|| self.seen.wrote.clone()) {
            return self.unsaved(level, Saved::Never(reason));
        }
        if self.seen.held {
            return self.unsaved(level, Saved::Failed(HELD.to_owned()));
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
            Some(Err(why)) => self.unsaved(level, Saved::Failed(why.clone())),
        }
    }

    pub(super) fn go_on(&mut self, level: Level) -> Vec<Effect> {
        let (phase, effect) = match level {
            Level::Base => (Phase::Mounting, Effect::Mount),
            Level::Full => (Phase::Waking, Effect::Wake),
        };
        self.phase = phase;
        vec![effect]
    }

    fn unsaved(&mut self, level: Level, why: Saved) -> Vec<Effect> {
        [self.go_on(level), vec![Effect::Settle(level, why)]].concat()
    }

    /// qemu said whether it can.
    pub(super) fn able(&mut self, able: Result<(), String>, now: Instant) -> Vec<Effect> {
        // qemu is asked for several things; one that it cannot do is remembered, whatever it says of the others.
        if !matches!(self.seen.able, Some(Err(_))) {
            self.seen.able = Some(able);
        }
        match (&self.phase, &self.seen.able) {
            (Phase::Restoring, Some(Err(why))) => self.end(End::NoLife(Some(why.clone())), now),
            (Phase::Saving(level, Save::Wanted), _) => self.reached(*level, None),
            _ => Vec::new(),
        }
    }

    pub(super) fn still(&mut self) -> Vec<Effect> {
        let Phase::Saving(level, step @ Save::Moving) = &mut self.phase else { return Vec::new() };
        *step = Save::Copying;
        vec![Effect::Copy(*level)]
    }

    pub(super) fn copied(&mut self, result: Result<(), String>) -> Vec<Effect> {
        let Phase::Saving(level, step) = &mut self.phase else { return Vec::new() };
        match step {
            Save::Copying => *step = Save::Copied(result),
            Save::Moved => {
                let level = *level;
                return self.saved(level, result, true);
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
            (Err(why), _) => self.saved(level, Err(why), false),
            (Ok(()), Save::Copied(result)) => self.saved(level, result, true),
            (Ok(()), Save::Moving) => vec![Effect::Copy(level)],
            (Ok(()), Save::Copying | Save::Moved) => Vec::new(),
        }
    }

    fn saved(&mut self, level: Level, result: Result<(), String>, stood: bool) -> Vec<Effect> {
        let result = if self.seen.held { Err(HELD.to_owned()) } else { result };
        let saved = result.map_or_else(Saved::Failed, |()| Saved::Done);
        let go_on = if stood { vec![Effect::Qemu(qmp::CONTINUE)] } else { Vec::new() };
        let rest = vec![Effect::Settle(level, saved)];
        [go_on, vec![Effect::Step("save")], self.go_on(level), rest].concat()
    }
}

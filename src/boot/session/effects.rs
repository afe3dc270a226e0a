//! What the loop does when the state machine wants something done.

use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::super::exec;
use super::super::outcome::Saved;
use super::super::phase::{Effect, Input};
use super::super::spawn::Port;
use super::super::tty::Raw;
use super::super::wire::{Own, ToGuest};
use super::Session;
use crate::error::{Result, cannot};
use crate::event::Event;

pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    crate::host::random().map_err(|e| cannot("read", Path::new("/dev/urandom"), e))
}

impl Session<'_> {
    /// Does what the state machine wants done. Gives what happened thereby, if that is known at once.
    pub(super) fn act(&mut self, effect: Effect) -> Result<Option<Input>> {
        match effect {
            Effect::Qemu(command) => self.tell_qemu(command),
            Effect::Letter(letter) => self.write_now(Port::Console, &[letter]),
            Effect::Send(message) => self.send(&message)?,
            Effect::Mount => self.send(&ToGuest::Mount(self.own()?, self.mount.clone()))?,
            Effect::Wake => self.send(&ToGuest::Wake(self.own()?, self.job.name()))?,
            Effect::Start => self.start_program(),
            Effect::Save(level) => return Ok(self.begin_save(level)),
            Effect::Copy(level) => {
                return Ok(Some(Input::Copied(self.copy_memory(level).map_err(|error| error.to_string()))));
            }
            Effect::Settle(level, saved) => {
                let noted = if saved == Saved::Done { self.note(level) } else { Ok(()) };
                let saved = noted.map_or_else(|error| Saved::Failed(error.to_string()), |()| saved);
                (self.job.saved)(level, saved);
            }
            Effect::Unsynced => {
                let message = "what was written last to /out, /shared and other shares may be missing: the guest could not sync it in time";
                (self.job.events)(Event::Warning { message: message.to_owned() });
            }
            Effect::Note(message) => (self.job.events)(Event::Warning { message }),
            Effect::LatePanic(silent) => {
                let words = self.console.panic().unwrap_or(silent).to_owned();
                let message = format!("the guest's kernel gave up after the program had ended: {words}");
                (self.job.events)(Event::Warning { message });
                self.panicked_late = Some(words);
            }
            Effect::Forget => self.console.forget_tail(),
            Effect::Look => self.console.look(),
            Effect::Drain => {
                self.drain()?;
                return Ok(Some(Input::Drained));
            }
            Effect::Dump(end) => self.begin_dump(end),
            Effect::NoDump(why) => self.no_dump(why),
            Effect::Shown => {
                // Out of raw mode, so that whoever sits at the terminal can end the machine by a key.
                self.raw = None;
                (self.job.events)(Event::Stands { run: self.job.place() });
            }
            Effect::Step(name) => self.step(name),
            Effect::Kill => self.qemu.kill(),
        }
        Ok(None)
    }

    fn own(&self) -> Result<Own> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Own { now: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX), seed: random()?, boot: self.boot })
    }

    fn start_program(&mut self) {
        self.job.awake.set(true);
        let milliseconds = u64::try_from((Instant::now() - self.started).as_millis()).unwrap_or(u64::MAX);
        (self.job.events)(Event::Ready { milliseconds });
        if self.job.request.request.tty.is_some() {
            self.raw = Raw::enter(self.job.streams.stdin.as_fd());
        }
        self.to_guest.extend(&self.job.request.bytes);
        self.send_frames();
        // Opened now and not before: what a client asked for before would be in the snapshot. A machine that no client can enter goes on all the same.
        if let Err(error) = self.open_to_others() {
            let message = format!("`quiz exec` cannot reach this machine: {error}");
            (self.job.events)(Event::Warning { message });
        }
    }

    fn open_to_others(&mut self) -> std::io::Result<()> {
        let Some(port) = self.wires.take(Port::Exec) else { return Ok(()) };
        self.exec = Some(port.try_clone()?);
        exec::route(port, self.job.folder.door()?)
    }

    pub(super) fn tell_qemu(&mut self, command: &[u8]) {
        self.write_now(Port::Qmp, command);
    }

    /// For a few bytes, which an empty socket always takes. A machine that is gone needs none.
    fn write_now(&mut self, port: Port, bytes: &[u8]) {
        if let Some(mut socket) = self.wires.get(port) {
            let _ = socket.write(bytes);
        }
    }

    pub(super) fn send(&mut self, message: &ToGuest) -> Result<()> {
        self.to_guest.extend(message.encode()?);
        self.send_frames();
        Ok(())
    }

    pub(super) fn send_frames(&mut self) {
        let Some(mut socket) = self.wires.get(Port::Control) else { return self.to_guest.clear() };
        if let Ok(count) = socket.write(&self.to_guest) {
            self.to_guest.drain(..count);
        }
    }
}

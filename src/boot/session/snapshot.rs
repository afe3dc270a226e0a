//! What the loop does to save a machine, to restore one, and to make either one of its own before the program starts.
//!
//! A machine is saved when nothing of this run is in it yet. It stands still for that: qemu writes the state of the devices, quiz
//! copies the memory at the same time, and it goes on. Does not know where snapshots are kept.

use std::fs::{self, File};
use std::io::{IoSlice, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::super::folder::cannot;
use super::super::machine::{Level, Saved, Start};
use super::super::qmp;
use super::super::sparse::copy_sparse;
use super::super::spawn::{CONSOLE, MEMORY, Port, STATE, TRANSPORT};
use super::super::wire::{ToGuest, Wake};
use super::Session;
use crate::error::{Error, Result};

/// The numbers by which qemu knows the files of states: another one each time, since it keeps them all.
const FROM: u8 = 1;
fn to(level: Level) -> u8 {
    match level {
        Level::Base => FROM + 1,
        Level::Full => FROM + 2,
    }
}

/// When that file was written last.
pub(super) fn written(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

impl Session<'_> {
    pub(super) fn is_restored(&self) -> bool {
        self.start.from().is_some()
    }

    /// Tells qemu that the machine will be saved, or where the state of one that is restored lies. How that gets to a file and back,
    /// a snapshot has remembered; to ask qemu would take longer than the rest.
    pub(super) fn prepare_snapshot(&mut self) {
        let Some(snapshot) = &mut self.snapshot else { return };
        let from = snapshot.from.take();
        self.tell_qemu(qmp::CAPABILITIES.as_bytes());
        if let Some((state, transport)) = from {
            self.qmp.transport = Some(transport);
            self.restoring = true;
            self.tell_qemu_with(&state, &transport.restore(FROM));
        } else {
            self.tell_qemu(qmp::SCHEMA);
        }
    }

    /// The guest has come to this level: saves it, if that is wanted and no `reason` speaks against it.
    pub(super) fn reached(&mut self, level: Level, reason: Option<String>) -> Result<()> {
        if self.start.to(level).is_none() {
            return self.go_on(level);
        }
        if let Some(reason) = reason.or_else(|| self.written_disk()) {
            return self.unsaved(level, Saved::Never(reason));
        }
        (self.saving, self.begun) = (Some(level), false);
        self.begin_save(level)
    }

    fn unsaved(&mut self, level: Level, why: Saved) -> Result<()> {
        self.go_on(level)?;
        self.tell(level, why);
        Ok(())
    }

    /// Whoever is restored gets empty disks.
    fn written_disk(&self) -> Option<String> {
        let (path, _) = self.disks.iter().find(|(path, time)| written(path) != *time)?;
        Some(format!("something was written to {} before the program", path.display()))
    }

    /// As soon as it is known how.
    fn begin_save(&mut self, level: Level) -> Result<()> {
        // A qemu that does not know what to do would save the wrong thing.
        if let Some(why) = self.qmp.unable.clone() {
            self.saving = None;
            return self.unsaved(level, Saved::Failed(why));
        }
        let (Some(transport), Some(folder)) = (self.qmp.transport, self.start.to(level)) else { return Ok(()) };
        let path = folder.join(STATE);
        // Not for reading, too: of the files that it has, qemu takes the one that was opened as it would open it itself.
        match File::options().write(true).create_new(true).open(&path).map_err(|e| cannot("write", &path, e)) {
            Ok(state) => {
                // A restored machine came from somewhere.
                (self.qmp.moved, self.copied, self.begun) = (None, None, true);
                self.tell_qemu_with(&state, &transport.save(to(level)));
                Ok(())
            }
            Err(error) => {
                self.saving = None;
                self.unsaved(level, Saved::Failed(error.to_string()))
            }
        }
    }

    /// The file comes along.
    fn tell_qemu_with(&self, file: &File, command: &str) {
        let Some(socket) = self.wires.get(Port::Qmp) else { return };
        let files = [file.as_fd()];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&files));
        // Few bytes, into a socket that is nearly empty. A machine that is gone needs none.
        let _ = sendmsg(socket, &[IoSlice::new(command.as_bytes())], &mut control, SendFlags::empty());
    }

    /// qemu said something.
    pub(super) fn follow_snapshot(&mut self) -> Result<()> {
        if std::mem::take(&mut self.qmp.stopped) {
            self.tell_qemu(qmp::CONTINUE);
        }
        if self.restoring {
            if let Some(Err(why)) = self.qmp.moved.take() {
                return Err(Error::boot(why));
            }
            if self.qmp.resumed {
                self.restoring = false;
                self.step("restore");
                return self.go_on_restored();
            }
        }
        let Some(level) = self.saving else { return Ok(()) };
        if !self.begun {
            return self.begin_save(level);
        }
        if self.qmp.still && self.copied.is_none() {
            self.copied = Some(self.copy_memory(level));
        }
        if let Some(saved) = self.qmp.moved.take() {
            self.saving = None;
            // What is not saved did not stop.
            let is_saved = saved.is_ok();
            let copied = self.copied.take();
            let copy = || copied.unwrap_or_else(|| self.copy_memory(level)).and_then(|()| self.note(level));
            let saved = match saved.and_then(|()| copy().map_err(|error| error.to_string())) {
                Ok(()) => Saved::Done,
                Err(why) => Saved::Failed(why),
            };
            if is_saved {
                self.tell_qemu(qmp::CONTINUE);
            }
            self.step("save");
            self.go_on(level)?;
            self.tell(level, saved);
        }
        Ok(())
    }

    /// The machine stands still.
    fn copy_memory(&self, level: Level) -> Result<()> {
        let (Some(snapshot), Some(folder)) = (&self.snapshot, self.start.to(level)) else { return Ok(()) };
        let path = folder.join(MEMORY);
        File::create_new(&path)
            .and_then(|file| copy_sparse(&snapshot.memory, &file))
            .map_err(|e| cannot("copy the guest's memory to", &path, e))
    }

    /// What whoever goes on from there has to know.
    fn note(&self, level: Level) -> Result<()> {
        let (Some(transport), Some(folder)) = (self.qmp.transport, self.start.to(level)) else { return Ok(()) };
        let [log, way] = [CONSOLE, TRANSPORT].map(|name| folder.join(name));
        fs::copy(self.job.console_log(), &log).map_err(|e| cannot("write", &log, e))?;
        fs::write(&way, transport.name()).map_err(|e| cannot("write", &way, e))
    }

    /// Nothing more comes of that snapshot: tells who waits for it.
    fn tell(&self, level: Level, saved: Saved) {
        (self.job.saved)(level, saved);
    }

    fn go_on_restored(&mut self) -> Result<()> {
        match self.start {
            Start::Restore(_) => self.go_on(Level::Full),
            _ => self.mount(),
        }
    }

    fn mount(&mut self) -> Result<()> {
        self.send(&ToGuest::Mount(self.mount.clone()))
    }

    fn go_on(&mut self, level: Level) -> Result<()> {
        if level == Level::Base {
            return self.mount();
        }
        let mut seed = [0; 32];
        File::open("/dev/urandom")
            .and_then(|mut file| file.read_exact(&mut seed))
            .map_err(|e| cannot("read", Path::new("/dev/urandom"), e))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.send(&ToGuest::Wake(Wake { now, seed, name: self.job.name() }))
    }
}

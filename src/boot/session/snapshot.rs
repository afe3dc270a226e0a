//! What the loop does to save a machine, to restore one, and to make either one of its own before the program starts.
//!
//! A machine is saved when nothing of this run is in it yet. It stands still for that: qemu writes the state of the devices, quiz
//! copies the memory at the same time, and it goes on. Does not know where snapshots are kept.

use std::fs::{self, File};
use std::io::{IoSlice, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::super::folder::cannot;
use super::super::machine::{Level, Saved, Start};
use super::super::qmp;
use super::super::sparse::copy_sparse;
use super::super::spawn::{CONSOLE, MEMORY, Port, STATE};
use super::super::wire::{ToGuest, Wake};
use super::Session;
use crate::error::{Error, Result};

/// When that file was written last.
pub(super) fn written(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

impl Session<'_> {
    pub(super) fn is_restored(&self) -> bool {
        self.start.from().is_some()
    }

    /// Tells qemu that the machine will be saved, or where the state of one that is restored lies.
    pub(super) fn prepare_snapshot(&mut self) {
        if self.snapshot.is_some() {
            self.tell_qemu(qmp::CAPABILITIES.as_bytes());
        }
        if let Some(state) = self.snapshot.as_ref().and_then(|snapshot| snapshot.state.as_ref()) {
            let command = qmp::restore(state.as_raw_fd());
            self.restoring = true;
            self.tell_qemu(command.as_bytes());
        }
    }

    /// The guest has come to this level: saves it, if that is wanted and no `reason` speaks against it.
    pub(super) fn reached(&mut self, level: Level, reason: Option<String>) -> Result<()> {
        let Some(folder) = self.start.to(level).cloned() else { return self.go_on(level) };
        let unsaved = match reason.or_else(|| self.written_disk()) {
            Some(reason) => Saved::Never(reason),
            None => match self.begin_save(&folder) {
                Ok(()) => {
                    self.saving = Some(level);
                    return Ok(());
                }
                Err(error) => Saved::Failed(error.to_string()),
            },
        };
        self.go_on(level)?;
        self.tell(level, unsaved);
        Ok(())
    }

    /// Whoever is restored gets empty disks.
    fn written_disk(&self) -> Option<String> {
        let (path, _) = self.disks.iter().find(|(path, time)| written(path) != *time)?;
        Some(format!("something was written to {} before the program", path.display()))
    }

    fn begin_save(&mut self, folder: &Path) -> Result<()> {
        // A qemu that does not know what to do would save the wrong thing.
        if let Some(why) = &self.qmp.unable {
            return Err(Error::boot(why.clone()));
        }
        // A restored machine came from somewhere.
        (self.qmp.moved, self.copied) = (None, None);
        let path = folder.join(STATE);
        let file = File::create_new(&path).map_err(|e| cannot("write", &path, e))?;
        let Some(socket) = self.wires.get(Port::Qmp) else { return Ok(()) };
        let state = [file.as_fd()];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&state));
        // Few bytes, into an empty socket. A machine that is gone needs none.
        let _ = sendmsg(socket, &[IoSlice::new(qmp::SAVE.as_bytes())], &mut control, SendFlags::empty());
        Ok(())
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
        if self.qmp.still && self.copied.is_none() {
            self.copied = Some(self.copy_memory(level));
        }
        if let Some(saved) = self.qmp.moved.take() {
            self.saving = None;
            // What is not saved did not stop.
            let is_saved = saved.is_ok();
            let copied = self.copied.take();
            let copy = || copied.unwrap_or_else(|| self.copy_memory(level)).and_then(|()| self.copy_log(level));
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

    fn copy_log(&self, level: Level) -> Result<()> {
        let Some(log) = self.start.to(level).map(|folder| folder.join(CONSOLE)) else { return Ok(()) };
        fs::copy(self.job.console_log(), &log).map(drop).map_err(|e| cannot("write", &log, e))
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

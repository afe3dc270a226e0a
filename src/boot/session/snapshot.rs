//! What the loop does to save a machine, and to restore one.
//!
//! Decides nothing (`phase`). Does not know where snapshots are kept.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::SystemTime;

use super::super::passed::send_with;
use super::super::phase::Input;
use super::super::qmp::{self, Said};
use super::super::sparse::copy_sparse;
use super::super::spawn::{CONSOLE, Port, STATE, TRANSPORT, memory_name};
use super::Session;
use crate::error::{Result, cannot};
use crate::event::Event;
use crate::machine::Level;

/// The numbers by which qemu knows the files of states: another one each time, since it keeps them all.
const FROM: u8 = 1;
fn to(level: Level) -> u8 {
    match level {
        Level::Base => FROM + 1,
        Level::Full => FROM + 2,
        Level::Kept => FROM + 3,
    }
}

/// When that file was written last.
pub(super) fn written(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

impl Session<'_> {
    /// Tells qemu that the machine will be saved, or where the state of one that is restored lies. How that gets to a file and back,
    /// a snapshot has remembered; to ask qemu would take longer than the rest.
    pub(super) fn prepare_snapshot(&mut self) -> Result<()> {
        let Some(snapshot) = &mut self.snapshot else { return Ok(()) };
        let from = snapshot.from.take();
        self.tell_qemu(qmp::CAPABILITIES.as_bytes());
        if let Some((state, transport)) = from {
            self.transport = Some(transport);
            self.tell_qemu_with(&state, &transport.restore(FROM));
            return self.feed(Input::Qemu(Said::Able(Ok(transport))));
        }
        self.tell_qemu(qmp::SCHEMA);
        Ok(())
    }

    /// Why the machine's disks keep it from being saved, if something was written to one: whoever is restored gets empty disks.
    pub(super) fn written_disk(&self) -> Option<String> {
        let (path, _) = self.disks.iter().find(|(path, time)| written(path) != *time)?;
        Some(format!("something was written to {} before the program started", path.display()))
    }

    /// Tells qemu where to save the state. Gives what became of it, if it could not even begin.
    pub(super) fn begin_save(&mut self, level: Level) -> Option<Input> {
        let (transport, folder) = (self.transport?, self.start.to(level)?);
        let path = folder.join(STATE);
        if level == Level::Kept {
            // The program is over: whoever sits at the terminal sees how long this takes, and their keys are signals again.
            self.raw = None;
            (self.job.events)(Event::Saving);
        }
        // Opened for writing alone: of the files that it was given, qemu takes the one that was opened as it would open it itself.
        match File::options().write(true).create_new(true).open(&path).map_err(|e| cannot("write", &path, e)) {
            Ok(state) => {
                self.tell_qemu_with(&state, &transport.save(to(level)));
                None
            }
            Err(error) => Some(Input::Qemu(Said::Moved(Err(error.to_string())))),
        }
    }

    /// Sends qemu a command, and the open file along with it.
    fn tell_qemu_with(&self, file: &File, command: &str) {
        let Some(socket) = self.wires.get(Port::Qmp) else { return };
        // Where it cannot be sent, qemu is gone, which the loop that waits for it tells; no command is missed then.
        let _ = send_with(socket, command.as_bytes(), file.as_fd());
    }

    /// Copies the guest's memory, while the machine stands still.
    pub(super) fn copy_memory(&self, level: Level) -> Result<()> {
        let (Some(snapshot), Some(folder)) = (&self.snapshot, self.start.to(level)) else { return Ok(()) };
        for (node, memory) in snapshot.memory.iter().enumerate() {
            let path = folder.join(memory_name(node));
            File::create_new(&path)
                .and_then(|file| copy_sparse(memory, &file))
                .map_err(|e| cannot("copy the guest's memory to", &path, e))?;
        }
        Ok(())
    }

    /// Writes beside the snapshot what whoever goes on from there has to know.
    pub(super) fn note(&self, level: Level) -> Result<()> {
        let (Some(transport), Some(folder)) = (self.transport, self.start.to(level)) else { return Ok(()) };
        let [log, way] = [CONSOLE, TRANSPORT].map(|name| folder.join(name));
        fs::copy(self.job.console_log(), &log).map_err(|e| cannot("write", &log, e))?;
        fs::write(&way, transport.name()).map_err(|e| cannot("write", &way, e))
    }
}

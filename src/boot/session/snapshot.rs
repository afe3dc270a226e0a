//! What the loop does to save a machine, to restore one, and to make either one of its own before the program starts.
//!
//! A machine is saved when it is ready and has nothing of this run in it yet. It stands still for that: qemu writes the state
//! of the devices, quiz copies the memory, and it goes on. Does not know where snapshots are kept.

use std::fs::{self, File};
use std::io::{IoSlice, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{SeekFrom, seek, sendfile};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::super::folder::cannot;
use super::super::machine::Start;
use super::super::qmp;
use super::super::spawn::{CONSOLE, MEMORY, Port};
use super::super::wire::{ToGuest, Wake};
use super::Session;
use crate::error::{Error, Result};

impl Session<'_> {
    pub(super) fn is_restored(&self) -> bool {
        matches!(self.start, Start::Restore(_))
    }

    /// Tells qemu where the state of a machine that is restored lies.
    pub(super) fn restore(&mut self) {
        if let (Start::Restore(_), Some(snapshot)) = (&self.start, &self.snapshot) {
            let command = qmp::restore(snapshot.state.as_raw_fd());
            self.tell_qemu(command.as_bytes());
        }
    }

    /// The guest is ready: saves it, if that is wanted and no `reason` speaks against it.
    pub(super) fn save(&mut self, reason: Option<String>) -> Result<()> {
        match (&self.start, reason, &self.snapshot) {
            (Start::Save(_), None, Some(snapshot)) => {
                let Some(socket) = self.wires.get(Port::Qmp) else { return Ok(()) };
                let state = [snapshot.state.as_fd()];
                let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                control.push(SendAncillaryMessage::ScmRights(&state));
                // Few bytes, into an empty socket. A machine that is gone needs none.
                let _ = sendmsg(socket, &[IoSlice::new(qmp::save().as_bytes())], &mut control, SendFlags::empty());
                Ok(())
            }
            (_, reason, _) => {
                self.settle(Err(reason.unwrap_or_default()));
                self.wake()
            }
        }
    }

    /// qemu said something.
    pub(super) fn follow_snapshot(&mut self) -> Result<()> {
        if std::mem::take(&mut self.qmp.stopped) {
            self.tell_qemu(qmp::CONTINUE);
        }
        match (self.start.clone(), self.qmp.saved.take()) {
            (Start::Restore(_), Some(Err(why))) => return Err(Error::boot(why)),
            (Start::Restore(_), _) if std::mem::take(&mut self.qmp.resumed) => return self.wake(),
            (Start::Save(folder), Some(saved)) if self.snapshot.is_some() => {
                // What is not saved did not stop.
                let is_saved = saved.is_ok();
                let copied = saved.and_then(|()| self.copy_to(&folder).map_err(|error| error.to_string()));
                if is_saved {
                    self.tell_qemu(qmp::CONTINUE);
                }
                self.step("save");
                self.wake()?;
                self.settle(copied);
            }
            _ => {}
        }
        Ok(())
    }

    /// The machine stands still.
    fn copy_to(&self, folder: &Path) -> Result<()> {
        let Some(snapshot) = &self.snapshot else { return Ok(()) };
        let (path, log) = (folder.join(MEMORY), folder.join(CONSOLE));
        File::create_new(&path)
            .and_then(|file| copy_sparse(&snapshot.memory, &file))
            .map_err(|e| cannot("copy the guest's memory to", &path, e))?;
        fs::copy(self.job.console_log(), &log).map_err(|e| cannot("write", &log, e))?;
        Ok(())
    }

    /// Nothing more comes of the snapshot: tells who waits for it.
    fn settle(&mut self, saved: std::result::Result<(), String>) {
        if let (Start::Save(_), Some(_), Some(tell)) = (&self.start, self.snapshot.take(), self.job.saved) {
            tell(saved);
        }
    }

    fn wake(&mut self) -> Result<()> {
        let mut seed = [0; 32];
        File::open("/dev/urandom")
            .and_then(|mut file| file.read_exact(&mut seed))
            .map_err(|e| cannot("read", Path::new("/dev/urandom"), e))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.send(&ToGuest::Wake(Wake { now, seed, name: self.job.name() }))
    }
}

/// Copies the parts of a file that have data, and leaves holes where it has holes.
fn copy_sparse(from: &File, to: &File) -> std::io::Result<()> {
    let size = from.metadata()?.len();
    to.set_len(size)?;
    let mut end = 0;
    while let Ok(start) = seek(from, SeekFrom::Data(end)) {
        end = seek(from, SeekFrom::Hole(start))?;
        seek(to, SeekFrom::Start(start))?;
        let mut at = start;
        while at < end {
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            if sendfile(to, from, Some(&mut at), left)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt, MetadataExt};

    #[test]
    fn a_sparse_file_is_copied_with_its_holes() {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.set_len(64 << 20).unwrap();
        for (at, byte) in [(0, 1), (5 << 20, 2), ((64 << 20) - 3, 3)] {
            from.write_all_at(&[byte; 3], at).unwrap();
        }
        copy_sparse(&from, &to).unwrap();
        assert_eq!(to.metadata().unwrap().len(), 64 << 20);
        assert!(to.metadata().unwrap().blocks() * 512 < 1 << 20);
        for (at, byte) in [(0, 1), (5 << 20, 2), ((64 << 20) - 3, 3), (9 << 20, 0)] {
            let mut got = [9; 3];
            to.read_exact_at(&mut got, at).unwrap();
            assert_eq!(got, [byte; 3], "at {at}");
        }
    }
}

//! Lets one thread decompress while another writes files: each takes about half of the time. Knows only bytes.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, sync_channel};

const CHUNK: usize = 1 << 18;
/// Chunks that may wait.
const WAITING: usize = 16;

/// Runs `write` in a thread of its own on what `from` gives, which is read in this one.
pub(super) fn read_ahead<T: Send>(mut from: impl Read, write: impl FnOnce(Chunks) -> T + Send) -> T {
    let (sender, receiver) = sync_channel(WAITING);
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || write(Chunks { receiver, chunk: Vec::new(), at: 0 }));
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            let read = from.by_ref().take(CHUNK as u64).read_to_end(&mut chunk);
            let last = !matches!(read, Ok(read) if read > 0);
            // The writer hangs up when it has all that it wants, or failed.
            if sender.send(read.map(|_| chunk)).is_err() || last {
                break;
            }
        }
        drop(sender);
        writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The bytes that the other thread has read.
pub(super) struct Chunks {
    receiver: Receiver<io::Result<Vec<u8>>>,
    chunk: Vec<u8>,
    at: usize,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() {
            match self.receiver.recv() {
                Ok(chunk) => (self.chunk, self.at) = (chunk?, 0),
                Err(_) => return Ok(0),
            }
        }
        let read = (&self.chunk[self.at..]).read(buffer)?;
        self.at += read;
        Ok(read)
    }
}

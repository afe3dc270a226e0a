//! Frames of programs that are started in a running machine: `type u8, number u32, length u32, payload`, all little-endian. The number says
//! which program; on a socket of one program it is 0.
//!
//! Pure. Knows neither sockets nor what a payload says.

use crate::error::{Error, Result};

/// The longest payload, in bytes: a request.
pub(in crate::boot) const LIMIT: usize = 1 << 20;
/// What may be under way of one program's input, and of its output: bytes. The agent's `EXEC_WINDOW`.
pub(super) const WINDOW: usize = 256 << 10;
/// Type, number, length.
pub(super) const HEAD: usize = 9;

/// Types. Host to guest below 64.
pub(super) mod kind {
    /// A request, as the control port has it: run this.
    pub const START: u8 = 1;
    /// Bytes for its stdin.
    pub const INPUT: u8 = 2;
    /// Its stdin ends.
    pub const INPUT_END: u8 = 3;
    /// u16 rows, u16 columns.
    pub const RESIZE: u8 = 4;
    /// u32 number of a signal.
    pub const SIGNAL: u8 = 5;
    /// u32: so many more bytes of its output have room.
    pub const ROOM: u8 = 6;
    /// Nobody waits for it any more.
    pub const GONE: u8 = 7;
    /// Bytes of its stdout, or of its pty.
    pub const OUTPUT: u8 = 64;
    /// Bytes of its stderr.
    pub const ERRORS: u8 = 65;
    /// u32: so many bytes of its stdin went into its pipe.
    pub const TAKEN: u8 = 66;
    /// u8 status, u64 bytes of its stdin that it has read: it has ended, and all that it wrote came.
    pub const ENDED: u8 = 67;
    /// Text: it was not started.
    pub const REFUSED: u8 = 68;
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::boot) struct Frame {
    /// One of [`kind`].
    pub(super) kind: u8,
    /// Which program.
    pub(super) number: u32,
    /// What it says.
    pub(super) payload: Vec<u8>,
}

impl Frame {
    pub(super) fn new(kind: u8, number: u32, payload: &[u8]) -> Self {
        Self { kind, number, payload: payload.to_vec() }
    }

    /// As bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        [&[self.kind][..], &self.number.to_le_bytes(), &length.to_le_bytes(), &self.payload].concat()
    }

    /// The payload as a number.
    pub(super) fn count(&self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.payload[..].try_into().ok()?)).ok()
    }
}

/// Cuts bytes, which come in pieces, into frames.
#[derive(Debug, Default)]
pub(in crate::boot) struct Decoder(Vec<u8>);

impl Decoder {
    /// Adds bytes in the order in which they came.
    pub(in crate::boot) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// These are no frames; nothing after them can be understood either.
    pub(in crate::boot) fn take(&mut self) -> Result<Option<Frame>> {
        let Some(head) = self.0.first_chunk::<HEAD>() else { return Ok(None) };
        let [kind, a, b, c, d, length @ ..] = *head;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > LIMIT {
            return Err(Error::boot(format!("the guest sent a frame of {length} bytes, which is too long")));
        }
        let Some(payload) = self.0.get(HEAD..HEAD + length) else { return Ok(None) };
        let frame = Frame { kind, number: u32::from_le_bytes([a, b, c, d]), payload: payload.to_vec() };
        self.0.drain(..HEAD + length);
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_has_the_same_numbers() {
        let header = include_str!("../../../recipes/agent/exec.h");
        let frames = header.split_once("enum {").unwrap().1.split_once("};").unwrap().0;
        let numbers: Vec<(&str, u8)> = frames
            .lines()
            .filter_map(|line| line.split_once(','))
            .map(|(line, _)| line.trim().split_once(" = ").unwrap())
            .map(|(name, number)| (name, number.parse().unwrap()))
            .collect();
        let ours = [
            ("START", kind::START),
            ("INPUT", kind::INPUT),
            ("INPUT_END", kind::INPUT_END),
            ("TTY_SIZE", kind::RESIZE),
            ("KILL", kind::SIGNAL),
            ("ROOM", kind::ROOM),
            ("GONE", kind::GONE),
            ("OUTPUT", kind::OUTPUT),
            ("ERRORS", kind::ERRORS),
            ("TAKEN_INPUT", kind::TAKEN),
            ("ENDED", kind::ENDED),
            ("REFUSED", kind::REFUSED),
        ];
        assert_eq!(numbers, ours);
        let source = include_str!("../../../recipes/agent/exec.c");
        assert!(source.contains(&format!("EXEC_WINDOW = {} << 10", WINDOW >> 10)));
    }

    #[test]
    fn frames_come_whole_out_of_pieces_and_what_is_none_is_refused() {
        let frames = [
            Frame::new(kind::START, 7, b"x"),
            Frame::new(kind::OUTPUT, 0, &[0; 300]),
            Frame::new(kind::GONE, u32::MAX, b""),
        ];
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        for cut in [1, 8, 9, 10, 1000] {
            let (mut decoder, mut got) = (Decoder::default(), Vec::new());
            for piece in bytes.chunks(cut) {
                decoder.push(piece);
                while let Some(frame) = decoder.take().unwrap() {
                    got.push(frame);
                }
            }
            assert_eq!(got, frames);
        }
        let mut decoder = Decoder::default();
        decoder.push(&[1, 0, 0, 0, 0, 255, 255, 255, 255]);
        assert!(decoder.take().is_err());
    }
}

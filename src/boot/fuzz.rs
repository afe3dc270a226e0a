//! The readers of this room for the fuzz targets. What comes through a socket comes in pieces; the first byte says how long they are.

use super::console::Console;
use super::exec::frame;
use super::qmp::Qmp;
use super::wire::{Decoder, LIMIT};
use super::{Allowed, complaint, crash};
use crate::error::Result;
use std::path::Path;

fn pieces(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (length, bytes) = bytes.split_first().map_or((1, bytes), |(first, rest)| (usize::from(*first).max(1), rest));
    bytes.chunks(length)
}

/// The list of what a kernel may say.
pub(crate) fn allowed(text: &str) {
    if let Ok(allowed) = complaint::allowed(Path::new("allow"), text) {
        complaint::read(text, &allowed);
    }
}

/// What a guest's kernel says. In pieces it says the same.
pub(crate) fn console(bytes: &[u8]) {
    let allowed = [Allowed { text: "known".into(), reason: "x".into() }];
    let Ok(mut console) = Console::create(Path::new("/dev/null"), None, &allowed) else { return };
    let mut lines: Vec<String> = pieces(bytes).flat_map(|piece| console.feed(piece)).collect();
    console.finish();
    let heard = console.complaints();
    assert!(heard.complaints.len() + heard.more <= bytes.len());
    lines.extend(console.excerpt());
    assert!(lines.iter().all(|line| !line.contains(['\n', '\r', '\x1b'])));
    let (_, _) = (console.panic(), console.looked());
}

/// The last words of a kernel, and what qemu says of the machine that it ran on.
pub(crate) fn crash(text: &str) {
    crash::fuzz(text);
}

/// What programs say that are started later.
pub(crate) fn exec(bytes: &[u8]) {
    same_in_pieces(bytes, frame::LIMIT, frame::Decoder::default, frame::Decoder::push, frame::Decoder::take);
}

/// What qemu says on its control channel.
pub(crate) fn qmp(bytes: &[u8]) {
    let mut qmp = Qmp::default();
    pieces(bytes).for_each(|piece| drop(qmp.feed(piece)));
}

/// What the agent says.
pub(crate) fn wire(bytes: &[u8]) {
    same_in_pieces(bytes, LIMIT, Decoder::default, Decoder::push, Decoder::take);
}

/// Fails unless the bytes give the same messages whole as in pieces, up to the first that is not valid. In pieces a message that is too long is
/// refused later.
fn same_in_pieces<D, M: PartialEq>(
    bytes: &[u8],
    most: usize,
    new: impl Fn() -> D,
    push: impl Fn(&mut D, &[u8]),
    take: impl Fn(&mut D) -> Result<Option<M>>,
) {
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut decoder, mut messages) = (new(), Vec::new());
        for piece in pieces {
            push(&mut decoder, piece);
            loop {
                match take(&mut decoder) {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(_) => return (messages, true),
                }
            }
        }
        (messages, false)
    };
    let whole = bytes.get(1..).unwrap_or_default();
    assert!(whole.len() > most || read(&mut pieces(bytes)) == read(&mut std::iter::once(whole)));
}

//! Client and router, with a guest that a thread plays.

use super::frame::{Decoder, Frame, WINDOW, kind};
use super::{Ended, exec, route};
use crate::boot::Request;
use crate::boot::folder::{DOOR, Retention, RunFolder};
use crate::boot::job::Streams;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

struct Guest {
    port: UnixStream,
    decoder: Decoder,
}

impl Guest {
    /// The next frame, or the end.
    fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.take().unwrap() {
                return Some(frame);
            }
            let mut bytes = [0; 4096];
            match self.port.read(&mut bytes) {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.decoder.push(&bytes[..count]),
            }
        }
    }

    fn say(&mut self, kind: u8, number: u32, payload: &[u8]) {
        self.port.write_all(&Frame::new(kind, number, payload).encode()).unwrap();
    }
}

fn machine() -> (tempfile::TempDir, RunFolder, Guest) {
    let base = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(base.path(), Retention::ALL).unwrap();
    let (ours, port) = UnixStream::pair().unwrap();
    route(ours, folder.door().unwrap()).unwrap();
    (base, folder, Guest { port, decoder: Decoder::default() })
}

fn request(word: &str) -> Request {
    Request {
        program: vec![word.into()],
        env: Vec::new(),
        dir: "/".into(),
        tty: None,
        shell_after: false,
        shares: Vec::new(),
    }
}

fn streams(stdin: OwnedFd, stdout: OwnedFd) -> Streams {
    Streams { stdin, stdout, stderr: File::options().write(true).open("/dev/null").unwrap().into() }
}

fn nothing() -> OwnedFd {
    File::open("/dev/null").unwrap().into()
}

#[test]
fn bytes_go_both_ways_no_more_than_there_is_room_for_and_the_status_comes_last() {
    let (_base, folder, mut guest) = machine();
    let (mut out, stdout) = std::io::pipe().unwrap();
    let (stdin, mut input) = std::io::pipe().unwrap();
    std::thread::scope(|scope| {
        let client = scope.spawn(|| exec(folder.path(), request("x"), &streams(stdin.into(), stdout.into())).unwrap());
        scope.spawn(move || input.write_all(&vec![7; 2 * WINDOW]));
        let start = guest.next().unwrap();
        assert!(start.kind == kind::START && start.payload.ends_with(b"/\0x\0"), "{start:?}");
        let number = start.number;
        // Nothing is taken, so no more comes than the window holds.
        let mut came = 0;
        while came < WINDOW {
            let frame = guest.next().unwrap();
            assert_eq!((frame.kind, frame.number), (kind::INPUT, number));
            came += frame.payload.len();
        }
        assert_eq!(came, WINDOW);
        guest.say(kind::OUTPUT, number, b"word");
        let room = guest.next().unwrap();
        assert_eq!((room.kind, room.count()), (kind::ROOM, Some(4)), "no input before there is room again");
        guest.say(kind::TAKEN, number, &u32::try_from(WINDOW).unwrap().to_le_bytes());
        let mut rest = 0;
        while rest < WINDOW {
            rest += guest.next().unwrap().payload.len();
        }
        guest.say(kind::TAKEN, number, &u32::try_from(WINDOW).unwrap().to_le_bytes());
        assert_eq!((rest, guest.next().unwrap().kind), (WINDOW, kind::INPUT_END));
        guest.say(kind::OUTPUT, number, b" and end");
        guest.say(kind::ENDED, number, &[9]);
        assert_eq!(client.join().unwrap(), Ended::Exited(9));
    });
    let mut text = String::new();
    out.read_to_string(&mut text).unwrap();
    assert_eq!(text, "word and end");
}

#[test]
fn what_a_program_did_not_read_of_a_file_is_there_for_the_next_one() {
    let (base, folder, mut guest) = machine();
    let path = base.path().join("list");
    std::fs::write(&path, "one\ntwo\nthree\n").unwrap();
    let mut list = File::open(&path).unwrap();
    // What the guest said, and what is left.
    let eight = u32::to_le_bytes(8);
    let told = [&[7][..], &4_u64.to_le_bytes()].concat();
    for (taken, ended, left) in [(None, Some(&told[..]), "two\nthree\n"), (Some(eight), None, "e\n")] {
        let stdin = list.try_clone().unwrap().into();
        std::thread::scope(|scope| {
            let client = scope.spawn(|| exec(folder.path(), request("x"), &streams(stdin, nothing())).unwrap());
            let number = guest.next().unwrap().number;
            while guest.next().unwrap().kind != kind::INPUT_END {}
            if let Some(taken) = taken {
                guest.say(kind::TAKEN, number, &taken);
            }
            // An agent of before said the status alone.
            guest.say(kind::ENDED, number, ended.unwrap_or(&[7]));
            assert_eq!(client.join().unwrap(), Ended::Exited(7));
        });
        let mut rest = String::new();
        list.try_clone().unwrap().read_to_string(&mut rest).unwrap();
        assert_eq!(rest, left);
        list.seek(std::io::SeekFrom::Start(4)).unwrap();
    }
}

#[test]
fn who_vanishes_is_told_to_the_guest_once_and_others_go_on() {
    let (_base, folder, mut guest) = machine();
    let (out, stdout) = std::io::pipe().unwrap();
    std::thread::scope(|scope| {
        let reader_gone =
            scope.spawn(|| exec(folder.path(), request("a"), &streams(nothing(), stdout.into())).unwrap());
        let first = guest.next().unwrap().number;
        assert_eq!(guest.next().unwrap().kind, kind::INPUT_END);
        drop(out);
        guest.say(kind::OUTPUT, first, b"for nobody");
        assert_eq!(reader_gone.join().unwrap(), Ended::Left(signal_hook::consts::SIGPIPE));
        let gone = guest.next().unwrap();
        assert_eq!((gone.kind, gone.number), (kind::GONE, first));
        // What the guest still says of that program goes to nobody.
        guest.say(kind::ENDED, first, &[0]);
        let refused =
            scope.spawn(|| exec(folder.path(), request("b"), &streams(nothing(), nothing())).unwrap_err().to_string());
        let second = guest.next().unwrap().number;
        assert_ne!(first, second);
        guest.say(kind::REFUSED, second, b"no room");
        assert_eq!(refused.join().unwrap(), "the guest did not start the program: no room");
        let lost = scope.spawn(|| exec(folder.path(), request("c"), &streams(nothing(), nothing())).unwrap());
        while guest.next().unwrap().kind != kind::START {}
        drop(guest);
        assert_eq!(lost.join().unwrap(), Ended::Lost);
    });
}

#[test]
fn a_client_that_says_what_it_may_not_is_sent_away() {
    let (_base, folder, mut guest) = machine();
    for words in [
        Frame::new(kind::ENDED, 0, b"x"),
        Frame::new(kind::INPUT, 0, b"before it starts"),
        Frame::new(kind::GONE, 3, b""),
    ] {
        let mut client = crate::boot::folder::at_socket(folder.path(), DOOR, |path| UnixStream::connect(path)).unwrap();
        client.write_all(&words.encode()).unwrap();
        assert_eq!(client.read(&mut [0; 9]).unwrap_or(0), 0, "{words:?}");
    }
    // The guest heard of none of them.
    guest.port.set_nonblocking(true).unwrap();
    assert!(guest.port.read(&mut [0; 9]).is_err());
}

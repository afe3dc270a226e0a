//! Frames on the control port between quiz and the guest's agent: `type u8, length u32 LE, payload`.
//!
//! Pure: bytes in, frames out. The other side is `recipes/agent`; `frames.h` there has the same numbers. Knows
//! nothing of sockets, of qemu, or of the program's own bytes, which never travel here.

use super::request::{Request, Size};
use crate::error::{Error, Result};

/// The version of this protocol. The agent says its own in `Hello`.
pub const PROTOCOL: u32 = 9;

/// What the kernel's log has behind all that the program made the kernel say.
pub(super) const PROGRAM_OVER: &str = "quiz: the program is over";

/// The longest payload, in bytes. A longer one is refused on both sides.
pub const LIMIT: usize = 1 << 20;

/// How many bytes may be under way to a program whose input cannot be given back. The agent calls this WINDOW.
pub const AHEAD: u64 = 64 << 10;

const HEAD: usize = 5;

/// A message of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromGuest {
    /// The kernel and the agent live. Nothing is mounted but the agent's own layer.
    Hello(u32),
    /// The hooks are done, and nothing of this run is in the guest yet; or the program that is kept has ended. Why it may not be saved now, if so.
    Ready(Option<String>),
    /// The guest could not get as far as the program, and powers off.
    Failed(String),
    /// The program ended. All its bytes are on their way: so many there are.
    Exit {
        /// Its exit status, or 128 + n for signal n.
        status: u8,
        /// Bytes of stdout, or of the pty.
        stdout: u64,
        /// Bytes of stderr.
        stderr: u64,
    },
    /// Comes after `Exit`.
    Synced {
        /// What was written to the shares is with the host.
        shares: bool,
        /// The kernel's log ends with `PROGRAM_OVER`, and so will its console.
        marked: bool,
    },
    /// The program has read so many bytes of its stdin; comes before `Exit`, and all along of a bounded one.
    Taken(u64),
    /// The process is gone that starts further programs.
    Deserted,
    /// What the user should know of this machine, which goes on; comes before `Awake`.
    Note(String),
    /// The answer to `Ping`.
    Pong,
    /// The answer to `Wake`.
    Awake {
        /// The profiles' hooks of that moment run now, and another `Awake` comes. Otherwise a request may come.
        hooks: bool,
    },
}

/// What tells a machine from all others that start from the same snapshot. The first word after each restore, before anything of
/// the guest goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// The host's clock, in nanoseconds since 1970.
    pub now: u64,
    /// Random bytes.
    pub seed: [u8; 32],
    /// Random bytes, the same all through a run: /proc/sys/kernel/random/boot_id.
    pub boot: [u8; 16],
}

impl Own {
    fn encode(&self) -> Vec<u8> {
        [&self.now.to_le_bytes()[..], &self.seed, &self.boot].concat()
    }
}

/// What the guest's root consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The disks of the layers are others than the kernel found: they have to be looked at again.
    pub others: bool,
    /// The machine will be saved when it is ready: what every program reads should be in its memory.
    pub saved: bool,
    /// It has disks that stay when it is gone: what the guest wrote to them has to be there.
    pub disks: bool,
    /// How many layers there are.
    pub layers: u8,
    /// Tags of the shares that each run has, which are mounted when there is a request, each at `/<tag>`.
    pub shares: Vec<String>,
}

/// A message to the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToGuest {
    /// Run this. Once per machine, unless it is kept.
    Request {
        /// The program, and where and how it runs.
        request: Request,
        /// What the program does not read of its stdin would be lost: no more than [`AHEAD`] bytes are sent ahead of it, and the agent
        /// says how far it has come.
        bounded: bool,
        /// The machine is to be saved after the program: behind `Synced` comes `Ready` again, and then another `Wake` and `Request` may come.
        kept: bool,
    },
    /// The program's stdin ends after so many bytes.
    StdinEnd(u64),
    /// The terminal has another size now.
    Resize(Size),
    /// Send this signal to the program's process group.
    Signal(u32),
    /// Answer if you live.
    Ping,
    /// Write these letters to /proc/sysrq-trigger.
    SysRq(String),
    /// Nobody reads stdout (1) or stderr (2) any more: the program gets SIGPIPE when it writes there.
    Close(u8),
    /// Be a machine of your own, with this host name of 1 to 64 bytes. Once per machine, after `Ready` or the restore.
    Wake(Own, String),
    /// Mount the layers and run the profiles' hooks. Once per machine, before all else.
    Mount(Own, Mount),
}

impl ToGuest {
    /// The bytes of this message.
    ///
    /// # Errors
    /// When a request has a NUL byte in a string, or is longer than [`LIMIT`].
    pub fn encode(&self) -> Result<Vec<u8>> {
        let (kind, payload) = match self {
            Self::Request { request, bounded, kept } => (64, request.encode(*bounded, *kept)?),
            Self::StdinEnd(bytes) => (65, bytes.to_le_bytes().to_vec()),
            Self::Resize(size) => (66, size.encode().to_vec()),
            Self::Signal(number) => (67, number.to_le_bytes().to_vec()),
            Self::Ping => (68, Vec::new()),
            Self::SysRq(letters) => (69, letters.as_bytes().to_vec()),
            Self::Close(stream) => (70, vec![*stream]),
            Self::Mount(own, Mount { others, saved, disks, layers, shares }) => {
                let head = [u8::from(*others) | u8::from(*saved) << 1 | u8::from(*disks) << 2, *layers];
                let tags = shares.iter().flat_map(|tag| b"/".iter().copied().chain(tag.bytes()).chain([0]));
                (72, own.encode().into_iter().chain(head).chain(tags).collect())
            }
            Self::Wake(own, name) => (71, [&own.encode(), name.as_bytes()].concat()),
        };
        frame(kind, &payload)
    }
}

fn frame(kind: u8, payload: &[u8]) -> Result<Vec<u8>> {
    let length = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= LIMIT).ok_or_else(|| {
        Error::input(format!("the program's arguments and environment are {} bytes long", payload.len()))
            .hint(format!("{LIMIT} bytes is the most that a machine takes"))
    })?;
    let mut bytes = Vec::with_capacity(HEAD + payload.len());
    bytes.push(kind);
    bytes.extend(length.to_le_bytes());
    bytes.extend(payload);
    Ok(bytes)
}

/// Takes the guest's bytes as they come and gives whole messages.
#[derive(Debug, Default)]
pub struct Decoder(Vec<u8>);

impl Decoder {
    /// Adds bytes in the order in which they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next whole message, or `None` while more bytes are needed.
    ///
    /// # Errors
    /// When the bytes are no message of this protocol; nothing after them can be understood either.
    pub fn take(&mut self) -> Result<Option<FromGuest>> {
        let Some(head) = self.0.first_chunk::<HEAD>() else { return Ok(None) };
        let [kind, length @ ..] = *head;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > LIMIT {
            return Err(damaged(kind, length));
        }
        let Some(payload) = self.0.get(HEAD..HEAD + length) else { return Ok(None) };
        let message = decode(kind, payload).ok_or_else(|| damaged(kind, length))?;
        self.0.drain(..HEAD + length);
        Ok(Some(message))
    }
}

fn decode(kind: u8, payload: &[u8]) -> Option<FromGuest> {
    Some(match kind {
        1 => FromGuest::Hello(u32::from_le_bytes(payload.try_into().ok()?)),
        2 => FromGuest::Ready((!payload.is_empty()).then(|| String::from_utf8_lossy(payload).trim().to_owned())),
        3 => FromGuest::Failed(String::from_utf8_lossy(payload).into_owned()),
        4 if payload.len() == 17 => FromGuest::Exit {
            status: payload[0],
            stdout: u64::from_le_bytes(payload[1..9].try_into().ok()?),
            stderr: u64::from_le_bytes(payload[9..17].try_into().ok()?),
        },
        5 if payload.is_empty() => FromGuest::Pong,
        6 if payload.len() == 1 => FromGuest::Awake { hooks: payload[0] != 0 },
        7 if payload.len() == 1 => FromGuest::Synced { shares: payload[0] & 1 != 0, marked: payload[0] & 2 != 0 },
        9 if payload.is_empty() => FromGuest::Deserted,
        10 => FromGuest::Note(String::from_utf8_lossy(payload).into_owned()),
        8 => FromGuest::Taken(u64::from_le_bytes(payload.try_into().ok()?)),
        _ => return None,
    })
}

fn damaged(kind: u8, length: usize) -> Error {
    Error::boot(format!("the guest sent a message that quiz does not know (type {kind}, {length} bytes)"))
        .hint("the image was made by another version of quiz")
}

#[cfg(test)]
mod tests {
    use super::super::request::Mounted;
    use super::*;
    use crate::machine::ShareMode;
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    fn request() -> Request {
        Request {
            program: vec!["uname".into(), "-a".into()],
            env: vec!["TERM=xterm".into()],
            dir: "/root".into(),
            tty: Some(Size { rows: 24, columns: 80 }),
            shell_after: true,
            shares: vec![Mounted { tag: "share0".into(), at: "/src".into(), mode: ShareMode::Overlay }],
        }
    }

    #[test]
    fn a_request_has_the_bytes_that_the_agent_reads() {
        let bytes = ToGuest::Request { request: request(), bounded: true, kept: true }.encode().unwrap();
        let mut wanted = vec![64, 42, 0, 0, 0, 15, 24, 0, 80, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0];
        wanted.extend(b"/root\0uname\0-a\0TERM=xterm\0o\0share0\0/src\0");
        wanted[1] = u8::try_from(wanted.len() - HEAD).unwrap();
        assert_eq!(bytes, wanted);
    }

    #[test]
    fn the_small_messages_have_the_bytes_that_the_agent_reads() {
        let bytes = |message: ToGuest| message.encode().unwrap();
        assert_eq!(bytes(ToGuest::StdinEnd(258)), [65, 8, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes(ToGuest::Resize(Size { rows: 1, columns: 2 })), [66, 4, 0, 0, 0, 1, 0, 2, 0]);
        assert_eq!(bytes(ToGuest::Signal(15)), [67, 4, 0, 0, 0, 15, 0, 0, 0]);
        assert_eq!(bytes(ToGuest::Ping), [68, 0, 0, 0, 0]);
        assert_eq!(bytes(ToGuest::SysRq("l".into())), [69, 1, 0, 0, 0, b'l']);
        assert_eq!(bytes(ToGuest::Close(1)), [70, 1, 0, 0, 0, 1]);
        let own = || Own { now: 258, seed: [7; 32], boot: [9; 16] };
        let head = [&[2, 1, 0, 0, 0, 0, 0, 0][..], &[7; 32], &[9; 16]].concat();
        let mount = Mount { others: false, saved: true, disks: true, layers: 3, shares: vec!["a".into(), "bc".into()] };
        let wanted = [&[72, 65, 0, 0, 0], &head[..], &[6, 3, b'/', b'a', 0, b'/', b'b', b'c', 0]].concat();
        assert_eq!(bytes(ToGuest::Mount(own(), mount)), wanted);
        let wake = bytes(ToGuest::Wake(own(), "q".into()));
        assert_eq!(wake, [&[71, 57, 0, 0, 0], &head[..], b"q"].concat());
    }

    #[test]
    fn the_agent_has_the_same_numbers() {
        let header = include_str!("../../recipes/agent/frames.h");
        let number = |name: &str| -> u32 {
            let text =
                [' ', '\t'].iter().find_map(|before| header.split_once(&format!("{before}{name} = "))).unwrap().1;
            text[..text.find([',', ' ', ';']).unwrap()].parse().unwrap()
        };
        assert_eq!(number("PROTOCOL"), PROTOCOL);
        assert!(header.contains(&format!("#define PROGRAM_OVER \"{PROGRAM_OVER}\"\n")));
        assert!(header.contains("FRAME_LIMIT = 1 << 20") && LIMIT == 1 << 20);
        let own = || Own { now: 0, seed: [0; 32], boot: [0; 16] };
        assert!(header.contains("WINDOW = 64 << 10") && AHEAD == 64 << 10);
        assert!(header.contains("OWN = 8 + 32 + 16") && own().encode().len() == 8 + 32 + 16);
        let mount = Mount { others: false, saved: false, disks: false, layers: 0, shares: vec![] };
        let size = Size { rows: 0, columns: 0 };
        for (name, message) in [
            ("REQUEST", ToGuest::Request { request: request(), bounded: true, kept: true }),
            ("STDIN_END", ToGuest::StdinEnd(0)),
            ("RESIZE", ToGuest::Resize(size)),
            ("SIGNAL", ToGuest::Signal(0)),
            ("PING", ToGuest::Ping),
            ("SYSRQ", ToGuest::SysRq(String::new())),
            ("CLOSE", ToGuest::Close(1)),
            ("WAKE", ToGuest::Wake(own(), "q".into())),
            ("MOUNT", ToGuest::Mount(own(), mount)),
        ] {
            assert_eq!(number(name), u32::from(message.encode().unwrap()[0]), "{name}");
        }
        for (name, payload, message) in [
            ("HELLO", vec![1, 0, 0, 0], FromGuest::Hello(1)),
            ("READY", vec![], FromGuest::Ready(None)),
            ("ERROR", vec![b'x'], FromGuest::Failed("x".into())),
            ("EXIT", vec![0; 17], FromGuest::Exit { status: 0, stdout: 0, stderr: 0 }),
            ("PONG", vec![], FromGuest::Pong),
            ("AWAKE", vec![1], FromGuest::Awake { hooks: true }),
            ("SYNCED", vec![1], FromGuest::Synced { shares: true, marked: false }),
            ("TAKEN", vec![9, 0, 0, 0, 0, 0, 0, 0], FromGuest::Taken(9)),
            ("DESERTED", vec![], FromGuest::Deserted),
            ("NOTE", vec![b'x'], FromGuest::Note("x".into())),
        ] {
            assert_eq!(decode(u8::try_from(number(name)).unwrap(), &payload), Some(message), "{name}");
        }
        assert_eq!(header.split_once("enum frame {").unwrap().1.split_once("};").unwrap().0.matches(" = ").count(), 19);
    }

    #[test]
    fn a_request_that_cannot_be_passed_on_is_refused() {
        let mut nul = request();
        nul.program = vec![OsString::from_vec(b"a\0b".to_vec())];
        assert!(
            ToGuest::Request { request: nul, bounded: true, kept: true }
                .encode()
                .unwrap_err()
                .to_string()
                .contains("NUL")
        );
        let mut long = request();
        long.program = vec!["x".repeat(LIMIT).into()];
        assert!(
            ToGuest::Request { request: long, bounded: true, kept: true }
                .encode()
                .unwrap_err()
                .to_string()
                .contains("bytes long")
        );
    }

    #[test]
    fn messages_come_whole_however_the_bytes_are_cut() {
        let mut bytes = vec![1, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 3, 2, 0, 0, 0, b'h', b'i', 4, 17, 0, 0, 0, 7];
        bytes.extend(5_u64.to_le_bytes());
        bytes.extend(6_u64.to_le_bytes());
        bytes.extend([7, 1, 0, 0, 0, 3, 5, 0, 0, 0, 0, 6, 1, 0, 0, 0, 1, 6, 1, 0, 0, 0, 0, 2, 2, 0, 0, 0, b'n', b'o']);
        let wanted = [
            FromGuest::Hello(1),
            FromGuest::Ready(None),
            FromGuest::Failed("hi".into()),
            FromGuest::Exit { status: 7, stdout: 5, stderr: 6 },
            FromGuest::Synced { shares: true, marked: true },
            FromGuest::Pong,
            FromGuest::Awake { hooks: true },
            FromGuest::Awake { hooks: false },
            FromGuest::Ready(Some("no".into())),
        ];
        for cut in 1..=bytes.len() {
            let (mut decoder, mut got) = (Decoder::default(), Vec::new());
            for piece in bytes.chunks(cut) {
                decoder.push(piece);
                while let Some(message) = decoder.take().unwrap() {
                    got.push(message);
                }
            }
            assert_eq!(got, wanted, "cut into pieces of {cut}");
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bytes in [&[11, 0, 0, 0, 0][..], &[5, 1, 0, 0, 0, 0], &[4, 1, 0, 0, 0, 0], &[1, 255, 255, 255, 255]] {
            let mut decoder = Decoder::default();
            decoder.push(bytes);
            assert!(decoder.take().is_err(), "{bytes:?}");
        }
    }
}

//! qemu's control channel: a few commands, and the events that tell how a machine ended.
//!
//! Knows nothing of sockets. <https://qemu.readthedocs.io/en/v7.2.0/interop/qemu-qmp-ref.html>

use serde_json::Value;

/// Must be sent first; before it qemu takes no command.
pub(super) const HELLO: &[u8] = b"{\"execute\":\"qmp_capabilities\"}\n";

/// Ends qemu at once.
pub(super) const QUIT: &[u8] = b"{\"execute\":\"quit\"}\n";

/// A non-maskable interrupt: the guest's kernel shows its stacks and panics (`unknown_nmi_panic`).
pub(super) const NMI: &[u8] = b"{\"execute\":\"inject-nmi\"}\n";

/// A BREAK on the guest's ttyS0: the kernel takes the next byte as a sysrq command.
pub(super) const BREAK: &[u8] = b"{\"execute\":\"chardev-send-break\",\"arguments\":{\"id\":\"console\"}}\n";

/// Before a machine is saved or restored: memory that is a file of the host stays where it is. With events, which say how it went.
pub(super) const CAPABILITIES: &str = concat!(
    r#"{"execute":"migrate-set-capabilities","id":"able","arguments":{"capabilities":["#,
    r#"{"capability":"x-ignore-shared","state":true},{"capability":"events","state":true}]}}"#,
    "\n"
);

/// Asks what all commands take: a long answer, out of which comes a [`Transport`].
pub(super) const SCHEMA: &[u8] = b"{\"execute\":\"query-qmp-schema\",\"id\":\"schema\"}\n";

/// How a machine's state goes to a plain file and comes back. The file comes along as a descriptor each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// As a stream, like a socket: all that qemu can up to 8.1, and deprecated for plain files from 9.1 on.
    Fd,
    /// As a file, by the name that an open one has in qemu.
    File,
}

impl Transport {
    /// What it is called where it is remembered.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fd => "fd",
            Self::File => "file",
        }
    }

    /// The one of that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Fd, Self::File].into_iter().find(|transport| transport.name() == name)
    }

    /// What this schema offers.
    fn offered(schema: &Value) -> Self {
        let find = |name: &Value| schema.as_array()?.iter().find(|entity| entity["name"] == *name);
        let member = |object: &Value, name: &str| {
            let members = object["members"].as_array()?;
            find(&members.iter().find(|member| member["name"] == name)?["type"])
        };
        let transports = || {
            let arguments = find(&find(&"migrate".into())?["arg-type"])?;
            let channel = find(&member(arguments, "channels")?["element-type"])?;
            member(member(channel, "addr")?, "transport")?["members"].as_array()
        };
        if transports().is_some_and(|all| all.iter().any(|one| one["name"] == "file")) { Self::File } else { Self::Fd }
    }

    /// Saves the machine's state to the file, which qemu knows by this number then. The machine stops when it is saved.
    pub(super) fn save(self, number: u8) -> String {
        self.transfer("migrate", number)
    }

    /// Takes the machine's state from the file. The machine runs then.
    pub(super) fn restore(self, number: u8) -> String {
        self.transfer("migrate-incoming", number)
    }

    fn transfer(self, command: &str, number: u8) -> String {
        let (take, arguments, uri) = match self {
            Self::Fd => ("getfd", format!(r#""fdname":"state{number}""#), format!("fd:state{number}")),
            Self::File => ("add-fd", format!(r#""fdset-id":{number}"#), format!("file:/dev/fdset/{number},offset=0")),
        };
        let execute = |command, arguments| {
            format!(r#"{{"execute":"{command}","id":"snapshot","arguments":{{{arguments}}}}}"#) + "\n"
        };
        execute(take, arguments) + &execute(command, format!(r#""uri":"{uri}""#))
    }
}

/// Lets a saved machine go on. Refused while qemu still tidies up after the save.
pub(super) const CONTINUE: &[u8] = b"{\"execute\":\"cont\",\"id\":\"cont\"}\n";

/// Lets the machine stand still; one that does already goes on doing so.
pub(super) const STOP: &[u8] = b"{\"execute\":\"stop\"}\n";

/// One of qemu's commands for people; what it says comes as [`Said::Answered`].
pub(super) fn human(command: &str) -> String {
    let arguments = serde_json::json!({ "command-line": command });
    format!("{}\n", serde_json::json!({ "execute": "human-monitor-command", "id": "human", "arguments": arguments }))
}

/// Asks what state the machine is in.
pub(super) const STATUS: &[u8] = b"{\"execute\":\"query-status\",\"id\":\"status\"}\n";

/// Something that qemu said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// The guest's kernel said that it panicked.
    Panicked,
    /// Why the machine ends, in qemu's words: `guest-shutdown`, `guest-reset`, `host-signal`, …
    Shutdown(String),
    /// The machine stands still.
    Stopped,
    /// The machine goes on.
    Resumed,
    /// The machine stands still, and no transfer of its disks is under way: its memory changes no more until it is told to go on.
    Still,
    /// The state went where it was told to, or cannot, and why.
    Moved(Result<(), String>),
    /// How the machine's state goes to a file; or why it can neither be saved nor restored.
    Able(Result<Transport, String>),
    /// [`CONTINUE`] has to be said again.
    NotYet,
    /// The host could not do what the guest asked of this disk, and why.
    DiskFailed(String),
    /// A line without end: what comes after it means nothing.
    Endless,
    /// The answer to a command for people, or why there is none.
    Answered(String),
    /// The state that the machine is in: `running`, `io-error`, `internal-error`, `debug`, …
    Status(String),
}

/// Bytes of a line. The longest that qemu says, its schema, has 200 KiB in 7.2 and 300 KiB in 11.
const LONGEST: usize = 8 << 20;

/// What qemu says, cut into messages.
#[derive(Debug, Default)]
pub(super) struct Qmp {
    partial: Vec<u8>,
    halted: bool,
    /// A line was longer than [`LONGEST`]: nothing after it is understood.
    lost: bool,
}

impl Qmp {
    /// Takes what came and gives what it says.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Said> {
        if self.lost {
            return Vec::new();
        }
        // What is kept has no line's end in it.
        let begun = self.partial.len();
        self.partial.extend_from_slice(bytes);
        let Some(end) = bytes.iter().rposition(|&byte| byte == b'\n').map(|end| begun + end) else {
            self.lost = self.partial.len() > LONGEST;
            if self.lost {
                self.partial = Vec::new();
            }
            return if self.lost { vec![Said::Endless] } else { Vec::new() };
        };
        let whole: Vec<u8> = self.partial.drain(..=end).collect();
        let messages = whole.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
        messages.filter_map(|message| self.event(&message).or_else(|| answer(&message))).collect()
    }

    fn event(&mut self, message: &Value) -> Option<Said> {
        let data = &message["data"];
        let text = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
        Some(match message["event"].as_str()? {
            "GUEST_PANICKED" => Said::Panicked,
            "SHUTDOWN" => Said::Shutdown(text(&data["reason"])),
            "RESUME" => {
                self.halted = false;
                Said::Resumed
            }
            // What was under way ends after this event, and before qemu looks at the memory once more, which is the next.
            "STOP" => {
                self.halted = true;
                Said::Stopped
            }
            "MIGRATION_PASS" if self.halted => Said::Still,
            "MIGRATION" => match data["status"].as_str()? {
                // Newer versions of qemu do not look at the memory, but say when they come to the devices.
                "device" if self.halted => Said::Still,
                "completed" => Said::Moved(Ok(())),
                "failed" => Said::Moved(Err("qemu failed to move the state".to_owned())),
                _ => return None,
            },
            // Errors that qemu reports to the guest are left to the guest; only one that stops the machine counts.
            "BLOCK_IO_ERROR" if data["action"] == "stop" => {
                let why =
                    if data["nospace"] == true { "No space left on device".into() } else { text(&data["reason"]) };
                Said::DiskFailed(format!(
                    "cannot {} the file of {}: {why}",
                    text(&data["operation"]),
                    text(&data["node-name"])
                ))
            }
            _ => return None,
        })
    }
}

fn answer(message: &Value) -> Option<Said> {
    let why = message["error"]["desc"].as_str().map(str::to_owned);
    match (message["id"].as_str()?, why) {
        ("snapshot", Some(why)) => Some(Said::Moved(Err(why))),
        ("able" | "schema", Some(why)) => Some(Said::Able(Err(why))),
        ("cont", Some(_)) => Some(Said::NotYet),
        ("schema", None) => {
            message["return"].is_array().then(|| Said::Able(Ok(Transport::offered(&message["return"]))))
        }
        ("human", Some(why)) => Some(Said::Answered(why)),
        ("human", None) => Some(Said::Answered(message["return"].as_str().unwrap_or_default().replace('\r', ""))),
        ("status", None) => Some(Said::Status(message["return"]["status"].as_str()?.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(lines: &[&str]) -> Vec<Said> {
        let mut qmp = Qmp::default();
        lines.iter().flat_map(|line| qmp.feed(format!("{line}\n").as_bytes())).collect()
    }

    #[test]
    fn events_come_however_the_bytes_are_cut() {
        let text = b"{\"QMP\": {}}\r\n{\"return\": {}}\r\n{\"event\": \"GUEST_PANICKED\", \"data\": {\"action\": \"pause\"}}\r\n\
            {\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, \"reason\": \"guest-reset\"}}\r\n";
        for cut in [1, 7, text.len()] {
            let mut qmp = Qmp::default();
            let said: Vec<Said> = text.chunks(cut).flat_map(|piece| qmp.feed(piece)).collect();
            assert_eq!(said, [Said::Panicked, Said::Shutdown("guest-reset".into())]);
        }
    }

    #[test]
    fn a_save_ends_well_or_with_qemus_words() {
        assert_eq!(said(&[r#"{"event": "MIGRATION", "data": {"status": "active"}}"#]), []);
        assert_eq!(said(&[r#"{"event": "MIGRATION", "data": {"status": "completed"}}"#]), [Said::Moved(Ok(()))]);
        let failed = said(&[r#"{"event": "MIGRATION", "data": {"status": "failed"}}"#]);
        assert!(matches!(&failed[..], [Said::Moved(Err(_))]));
        let refused = said(&[r#"{"id": "snapshot", "error": {"class": "GenericError", "desc": "a device"}}"#]);
        assert_eq!(refused, [Said::Moved(Err("a device".to_owned()))]);
        assert_eq!(said(&[r#"{"id": "cont", "error": {"class": "GenericError", "desc": "not yet"}}"#]), [Said::NotYet]);
        assert_eq!(said(&[r#"{"event": "RESUME"}"#]), [Said::Resumed]);
    }

    /// As qemu 7.2 says it of a machine whose disk's file lies on a full file system.
    #[test]
    fn a_pause_has_a_reason() {
        let events = [
            r#"{"event": "BLOCK_IO_ERROR", "data": {"device": "", "nospace": true, "node-name": "disk0", "reason": "No space left on device", "operation": "write", "action": "stop"}}"#,
            r#"{"event": "STOP"}"#,
            r#"{"id": "status", "return": {"status": "io-error", "singlestep": false, "running": false}}"#,
        ];
        let why = "cannot write the file of disk0: No space left on device".to_owned();
        assert_eq!(said(&events), [Said::DiskFailed(why), Said::Stopped, Said::Status("io-error".into())]);
        assert_eq!(said(&[&events[0].replace("\"stop\"", "\"report\"")]), [], "the guest is told");
    }

    #[test]
    fn a_machine_is_still_when_its_memory_was_looked_at_after_it_stopped() {
        let still = |events: &[&str]| {
            let events: Vec<String> = events.iter().map(|event| format!("{{\"event\": \"{event}\"}}")).collect();
            let events: Vec<&str> = events.iter().map(String::as_str).collect();
            said(&events).into_iter().filter(|said| *said != Said::Stopped).collect::<Vec<_>>()
        };
        let wanted = [Said::Still, Said::Resumed];
        assert_eq!(still(&["MIGRATION_PASS", "STOP", "MIGRATION_PASS", "RESUME", "MIGRATION_PASS"]), wanted);
        let device = r#"MIGRATION", "data": {"status": "device"}, "of": "10.0"#;
        assert_eq!(still(&[device, "MIGRATION_PASS", "STOP", device, "RESUME"]), wanted);
    }

    /// What qemu 7.2.22 and 10.0.2 answer, without all that does not belong to `migrate`.
    const SCHEMAS: [(Transport, &str); 2] = [
        (
            Transport::Fd,
            r#"[{"name": "migrate", "ret-type": "0", "meta-type": "command", "arg-type": "150"},
                {"name": "150", "members": [{"name": "uri", "type": "str"}, {"name": "blk", "default": null, "type": "bool"},
                    {"name": "detach", "default": null, "type": "bool"}], "meta-type": "object"},
                {"name": "622", "members": [{"name": "file"}], "meta-type": "enum", "values": ["inet", "file"]}]"#,
        ),
        (
            Transport::File,
            r#"[{"name": "migrate", "ret-type": "0", "meta-type": "command", "arg-type": "155"},
                {"name": "155", "members": [{"name": "uri", "default": null, "type": "str"},
                    {"name": "channels", "default": null, "type": "[443]"}], "meta-type": "object"},
                {"name": "[443]", "element-type": "443", "meta-type": "array"},
                {"name": "443", "members": [{"name": "channel-type", "type": "661"}, {"name": "addr", "type": "662"}],
                    "meta-type": "object"},
                {"name": "662", "tag": "transport", "variants": [{"case": "socket", "type": "394"},
                    {"case": "file", "type": "778"}], "members": [{"name": "transport", "type": "776"}], "meta-type": "object"},
                {"name": "776", "members": [{"name": "socket"}, {"name": "exec"}, {"name": "rdma"}, {"name": "file"}],
                    "meta-type": "enum", "values": ["socket", "exec", "rdma", "file"]}]"#,
        ),
    ];

    #[test]
    fn what_the_schema_offers_decides_how_the_state_goes_to_a_file() {
        let answer =
            |schema: &str| said(&[&format!("{{\"id\": \"schema\", \"return\": {}}}", schema.replace('\n', ""))]);
        for (wanted, schema) in SCHEMAS {
            assert_eq!(answer(schema), [Said::Able(Ok(wanted))]);
        }
        // 8.2 without a transport for files would be one, too.
        let without = SCHEMAS[1].1.replace(r#", {"name": "file"}"#, "");
        assert_eq!(answer(&without), [Said::Able(Ok(Transport::Fd))]);
        let refused = said(&[r#"{"id": "schema", "error": {"class": "CommandNotFound", "desc": "no"}}"#]);
        assert_eq!(refused, [Said::Able(Err("no".into()))]);
    }

    #[test]
    fn a_file_comes_along_before_the_state_goes_there_or_comes_from_there() {
        let take = r#"{"execute":"getfd","id":"snapshot","arguments":{"fdname":"state2"}}"#;
        let save = r#"{"execute":"migrate","id":"snapshot","arguments":{"uri":"fd:state2"}}"#;
        assert_eq!(Transport::Fd.save(2), format!("{take}\n{save}\n"));
        let restore = r#"{"execute":"migrate-incoming","id":"snapshot","arguments":{"uri":"fd:state2"}}"#;
        assert_eq!(Transport::Fd.restore(2), format!("{take}\n{restore}\n"));
        let take = r#"{"execute":"add-fd","id":"snapshot","arguments":{"fdset-id":3}}"#;
        let save = r#"{"execute":"migrate","id":"snapshot","arguments":{"uri":"file:/dev/fdset/3,offset=0"}}"#;
        assert_eq!(Transport::File.save(3), format!("{take}\n{save}\n"));
        let restore =
            r#"{"execute":"migrate-incoming","id":"snapshot","arguments":{"uri":"file:/dev/fdset/3,offset=0"}}"#;
        assert_eq!(Transport::File.restore(3), format!("{take}\n{restore}\n"));
    }

    #[test]
    fn a_line_without_end_is_told_once_and_takes_no_memory() {
        let mut qmp = Qmp::default();
        let piece = vec![b'x'; 64 << 10];
        let told: Vec<Said> = (0..3 * LONGEST / piece.len()).flat_map(|_| qmp.feed(&piece)).collect();
        assert_eq!(told, [Said::Endless]);
        assert!(qmp.partial.capacity() == 0, "{}", qmp.partial.capacity());
        assert_eq!(qmp.feed(b"\n{\"event\": \"RESUME\"}\n"), [], "what comes then is not understood");
        // A line of the greatest length is understood.
        let mut long = format!("{{\"event\": \"RESUME\", \"data\": \"{}\"}}", "x".repeat(LONGEST - 64));
        long.push('\n');
        let mut qmp = Qmp::default();
        assert_eq!(long.as_bytes().chunks(9999).flat_map(|piece| qmp.feed(piece)).collect::<Vec<_>>(), [Said::Resumed]);
    }

    #[test]
    fn noise_is_no_event() {
        assert_eq!(said(&["not json", r#"{"event": "RTC_CHANGE"}"#, r#"{"event": "MIGRATION"}"#]), []);
    }
}

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

/// Asks what all commands take: a long answer, out of which comes [`Qmp::transport`].
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

/// What qemu said about the machine so far.
#[derive(Debug, Default)]
pub(super) struct Qmp {
    partial: Vec<u8>,
    /// The guest's kernel said that it panicked.
    pub(super) panicked: bool,
    /// Why the machine stopped, in qemu's words: `guest-shutdown`, `guest-reset`, `host-signal`, …
    pub(super) shutdown: Option<String>,
    /// The state went where it was told to (`Ok`), or cannot, and why.
    pub(super) moved: Option<Result<(), String>>,
    /// How its state goes to a file, when that is known.
    pub(super) transport: Option<Transport>,
    /// Why it can neither be saved nor restored.
    pub(super) unable: Option<String>,
    /// The machine went on.
    pub(super) resumed: bool,
    /// [`CONTINUE`] has to be said again.
    pub(super) stopped: bool,
    /// The machine stands still, and no transfer of its disks is under way: its memory changes no more until it is told to go on.
    pub(super) still: bool,
    halted: bool,
}

impl Qmp {
    /// Takes what came.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        let Some(end) = self.partial.iter().rposition(|&byte| byte == b'\n') else { return };
        let whole: Vec<u8> = self.partial.drain(..=end).collect();
        for line in whole.split(|&byte| byte == b'\n') {
            if let Ok(message) = serde_json::from_slice::<Value>(line) {
                self.look_at(&message);
            }
        }
    }

    fn look_at(&mut self, message: &Value) {
        match message["event"].as_str() {
            Some("GUEST_PANICKED") => self.panicked = true,
            Some("SHUTDOWN") => {
                let reason = message["data"]["reason"].as_str().unwrap_or("unknown");
                self.shutdown.get_or_insert_with(|| reason.to_owned());
            }
            Some("RESUME") => (self.resumed, self.halted, self.still) = (true, false, false),
            // What was under way ends after this event, and before qemu looks at the memory once more, which is the next.
            Some("STOP") => self.halted = true,
            Some("MIGRATION_PASS") => self.still = self.halted,
            Some("MIGRATION") => match message["data"]["status"].as_str() {
                // Newer ones do not look, but say when they come to the devices.
                Some("device") => self.still = self.halted,
                Some("completed") => self.moved = Some(Ok(())),
                Some("failed") => self.moved = Some(Err("qemu failed to move the state".to_owned())),
                _ => {}
            },
            _ => {}
        }
        if message["id"] == "schema" && message["return"].is_array() {
            self.transport = Some(Transport::offered(&message["return"]));
        }
        if let Some(why) = message["error"]["desc"].as_str() {
            match message["id"].as_str() {
                Some("snapshot") => self.moved = Some(Err(why.to_owned())),
                Some("able" | "schema") => {
                    (self.unable, self.moved) = (Some(why.to_owned()), Some(Err(why.to_owned())))
                }
                Some("cont") => self.stopped = true,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_however_the_bytes_are_cut() {
        let text = b"{\"QMP\": {}}\r\n{\"return\": {}}\r\n{\"event\": \"GUEST_PANICKED\", \"data\": {\"action\": \"pause\"}}\r\n\
            {\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, \"reason\": \"guest-reset\"}}\r\n";
        for cut in [1, 7, text.len()] {
            let mut qmp = Qmp::default();
            text.chunks(cut).for_each(|piece| qmp.feed(piece));
            assert!(qmp.panicked);
            assert_eq!(qmp.shutdown.as_deref(), Some("guest-reset"));
        }
    }

    #[test]
    fn a_save_ends_well_or_with_qemus_words() {
        let said = |line: &str| {
            let mut qmp = Qmp::default();
            qmp.feed(format!("{line}\n").as_bytes());
            qmp
        };
        assert_eq!(said(r#"{"event": "MIGRATION", "data": {"status": "active"}}"#).moved, None);
        assert_eq!(said(r#"{"event": "MIGRATION", "data": {"status": "completed"}}"#).moved, Some(Ok(())));
        assert!(said(r#"{"event": "MIGRATION", "data": {"status": "failed"}}"#).moved.unwrap().is_err());
        let refused = said(r#"{"id": "snapshot", "error": {"class": "GenericError", "desc": "a device"}}"#);
        assert_eq!((refused.moved, refused.stopped), (Some(Err("a device".to_owned())), false));
        assert!(said(r#"{"id": "cont", "error": {"class": "GenericError", "desc": "not yet"}}"#).stopped);
        assert!(said(r#"{"event": "RESUME"}"#).resumed);
    }

    #[test]
    fn a_machine_is_still_when_its_memory_was_looked_at_after_it_stopped() {
        let mut qmp = Qmp::default();
        let mut still = |event: &str| {
            qmp.feed(format!("{{\"event\": \"{event}\"}}\n").as_bytes());
            qmp.still
        };
        let events = ["MIGRATION_PASS", "STOP", "MIGRATION_PASS", "RESUME", "MIGRATION_PASS"];
        assert_eq!(events.map(&mut still), [false, false, true, false, false]);
        let mut qmp = Qmp::default();
        let device = r#"MIGRATION", "data": {"status": "device"}, "of": "10.0"#;
        let events = [device, "MIGRATION_PASS", "STOP", device, "RESUME"];
        let mut still = |event: &str| {
            qmp.feed(format!("{{\"event\": \"{event}\"}}\n").as_bytes());
            qmp.still
        };
        assert_eq!(events.map(&mut still), [false, false, false, true, false]);
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
        let answer = |schema: &str| {
            let mut qmp = Qmp::default();
            qmp.feed(format!("{{\"id\": \"schema\", \"return\": {}}}\n", schema.replace('\n', "")).as_bytes());
            qmp
        };
        for (wanted, schema) in SCHEMAS {
            assert_eq!(answer(schema).transport, Some(wanted));
        }
        // 8.2 without a transport for files would be one, too.
        let without = SCHEMAS[1].1.replace(r#", {"name": "file"}"#, "");
        assert_eq!(answer(&without).transport, Some(Transport::Fd));
        let mut refused = Qmp::default();
        refused.feed(b"{\"id\": \"schema\", \"error\": {\"class\": \"CommandNotFound\", \"desc\": \"no\"}}\n");
        assert_eq!((refused.transport, refused.unable.as_deref()), (None, Some("no")));
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
    fn noise_is_no_event() {
        let mut qmp = Qmp::default();
        qmp.feed(b"not json\n{\"event\": \"RTC_CHANGE\"}\n");
        assert!(!qmp.panicked && qmp.shutdown.is_none());
    }
}

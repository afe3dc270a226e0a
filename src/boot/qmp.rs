//! qemu's control channel: a few commands, and the events that tell how a machine ended.
//!
//! Knows nothing of sockets. <https://qemu.readthedocs.io/en/v7.2.0/interop/qemu-qmp-ref.html>

use std::os::fd::RawFd;

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

/// Saves the machine's state to the file that comes along as a descriptor. The machine stops when it is saved.
pub(super) const SAVE: &str = concat!(
    r#"{"execute":"getfd","id":"snapshot","arguments":{"fdname":"state"}}"#,
    "\n",
    r#"{"execute":"migrate","id":"snapshot","arguments":{"uri":"fd:state"}}"#,
    "\n"
);

/// Takes the machine's state from this inherited descriptor. The machine runs then.
pub(super) fn restore(state: RawFd) -> String {
    format!(r#"{{"execute":"migrate-incoming","id":"snapshot","arguments":{{"uri":"fd:{state}"}}}}"#) + "\n"
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
                Some("completed") => self.moved = Some(Ok(())),
                Some("failed") => self.moved = Some(Err("qemu failed to move the state".to_owned())),
                _ => {}
            },
            _ => {}
        }
        if let Some(why) = message["error"]["desc"].as_str() {
            match message["id"].as_str() {
                Some("snapshot") => self.moved = Some(Err(why.to_owned())),
                Some("able") => (self.unable, self.moved) = (Some(why.to_owned()), Some(Err(why.to_owned()))),
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
    }

    #[test]
    fn noise_is_no_event() {
        let mut qmp = Qmp::default();
        qmp.feed(b"not json\n{\"event\": \"RTC_CHANGE\"}\n");
        assert!(!qmp.panicked && qmp.shutdown.is_none());
    }
}

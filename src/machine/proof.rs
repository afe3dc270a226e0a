//! Whether qemu runs a guest at all, with an accelerator: a few instructions of our own instead of a kernel, in a tenth of a second.
//!
//! That it runs these proves no more: a KVM inside another one may run them, and hang in a kernel.

use std::io::Write;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::guest::Accel;
use super::program::Qemu;

/// What does not end within this time never does.
const LIMIT: Duration = Duration::from_secs(10);

/// Firmware is mapped below 4 GiB in pieces of 64 KiB, and a processor starts 16 bytes before its end.
const SIZE: usize = 64 << 10;
const START: usize = SIZE - 16;

/// Writes [`WORD`] to the port of isa-debug-exit, which ends qemu; or halts.
///
/// ```text
/// mov dx, 0xf4; mov al, WORD; out dx, al; hlt
/// ```
const CODE: [u8; 7] = [0xba, 0xf4, 0x00, 0xb0, WORD, 0xee, 0xf4];
const WORD: u8 = 0x10;

/// qemu's status then (hw/misc/debugexit.c).
const STATUS: i32 = (WORD as i32) << 1 | 1;

/// Runs these instructions in a machine of `qemu`.
///
/// # Errors
/// They did not run; qemu's own words, or what happened instead.
pub fn try_guest(qemu: &Qemu, accel: Accel) -> Result<(), String> {
    let mut firmware = vec![0xf4; SIZE];
    firmware[START..START + CODE.len()].copy_from_slice(&CODE);
    let failed = |error: std::io::Error| error.to_string();
    let mut file = tempfile::NamedTempFile::new().map_err(failed)?;
    file.write_all(&firmware).map_err(failed)?;
    let said = tempfile::tempfile().map_err(failed)?;
    let mut command = qemu.process();
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-m", "16", "-no-reboot"]);
    command.arg("-machine").arg(format!("q35,accel={}", accel.name()));
    command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-bios"]).arg(file.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said.try_clone().map_err(failed)?);
    let mut child = command.spawn().map_err(|error| format!("cannot start {}: {error}", qemu.path().display()))?;
    let until = Instant::now() + LIMIT;
    let status = loop {
        match child.try_wait().map_err(failed)? {
            Some(status) => break status,
            None if Instant::now() < until => sleep(Duration::from_millis(10)),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("a guest of three instructions had not ended after {} s", LIMIT.as_secs()));
            }
        }
    };
    if status.code() == Some(STATUS) {
        return Ok(());
    }
    let words = std::io::read_to_string(rewound(said).map_err(failed)?).map_err(failed)?;
    let line = words.lines().rfind(|line| !line.contains(": warning: "));
    Err(line.map_or_else(|| format!("qemu ended ({status})"), str::to_owned))
}

fn rewound(mut file: std::fs::File) -> std::io::Result<std::fs::File> {
    use std::io::Seek;
    file.rewind()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn tried(script: &str) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let qemu = folder.path().join("qemu");
        fs::write(&qemu, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).unwrap();
        try_guest(&qemu.into(), Accel::Kvm)
    }

    #[test]
    fn only_the_status_of_our_own_instructions_is_a_proof() {
        let firmware =
            "for file; do :; done; [ $(tail -c 16 \"$file\" | head -c 7 | od -An -tx1 | tr -d ' ') = baf400b010eef4 ]";
        assert_eq!(tried(&format!("{firmware} && [ $(stat -c %s \"$file\") = 65536 ] && exit 33")), Ok(()));
        assert_eq!(tried("exit 0"), Err("qemu ended (exit status: 0)".to_owned()));
        let words =
            "echo 'q: warning: host lacks x' >&2; echo 'q: failed to initialize kvm: Permission denied' >&2; exit 1";
        assert_eq!(tried(words), Err("q: failed to initialize kvm: Permission denied".to_owned()));
        let missing = try_guest(&std::path::PathBuf::from("/no/qemu").into(), Accel::Tcg).unwrap_err();
        assert!(missing.starts_with("cannot start /no/qemu: "), "{missing}");
    }
}

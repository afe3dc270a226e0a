//! Whether the host's ports that lead into the guest are free, before anything is started: qemu's own words come late, and name
//! neither what to do nor who has the port.
//!
//! A port that somebody takes a moment later is qemu's to report. Knows nothing of the guest's side.

use std::net::{Ipv4Addr, TcpListener};

use crate::error::{Error, Result};
use crate::machine::Net;

/// Opens each port for a moment.
///
/// # Errors
/// One that cannot be opened, by number.
pub(super) fn check(net: Option<&Net>) -> Result<()> {
    // All at once: a port that is there twice is found, too.
    let mut open = Vec::new();
    for (host, guest) in net.map_or(&[][..], |net| &net.forward) {
        open.push(TcpListener::bind((Ipv4Addr::LOCALHOST, *host)).map_err(|e| {
            Error::input(format!(
                "the port {host} of 127.0.0.1, which should lead to {guest} in the guest, is not free"
            ))
            .because(e)
            .hint(format!("`ss -tlnp sport = :{host}` says who has it"))
            .hint(format!("or take another port: -p net:forward=PORT:{guest}"))
        })?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_or_named_twice_is_told_by_number() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let forward = |forward: &[(u16, u16)]| check(Some(&Net { forward: forward.to_vec() }));
        let error = forward(&[(port, 22)]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("the port {port} of 127.0.0.1, which should lead to 22 ")), "{error}");
        drop(taken);
        forward(&[(port, 22)]).unwrap();
        assert!(forward(&[(port, 22), (port, 23)]).is_err());
    }
}

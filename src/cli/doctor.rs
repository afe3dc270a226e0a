//! `quiz doctor` and `--install`: every tool that any stage needs, what else the machine must offer, and the way to get it.

use super::session::Session;
use crate::boot;
use crate::build::{self, Needed};
use crate::error::{Error, Result};
use crate::event::{Event, Events};
use crate::report::{self, Style};
use std::collections::BTreeSet;
use std::process::{Command, Stdio};

/// The one check that stops nothing: without KVM machines are slow.
const ACCELERATOR: &str = "accelerator";

type Check = (String, std::result::Result<String, String>);

/// Shows all tools and checks; with `install` installs what is missing first. Status 0 if everything is there and works, else 1.
pub(super) fn run(session: &Session<'_>, with_install: bool, json: bool, style: &Style) -> Result<u8> {
    let graph = session.whole_graph()?;
    let needed = || Ok(build::with_tools(session.needed(&graph)?, boot::TOOLS));
    if with_install {
        install(&needed()?, session.events)?;
    }
    let needed = needed()?;
    let mut checks: Vec<Check> = Vec::new();
    if needed.iter().any(|tool| tool.name == "bwrap" && tool.found.is_some()) {
        checks.push(("sandbox".to_owned(), sandbox()));
    }
    if let Ok(qemu) = boot::qemu::find(boot::Arch::X86_64) {
        let choice = boot::accel::choose(&qemu, Some(&session.kvm_verdicts()));
        let tcg = |why: &str| Err(format!("TCG, which is slow: {why}"));
        let outcome = match (choice.accel, choice.why_not_kvm) {
            (boot::Accel::Kvm, _) => Ok("KVM".to_owned()),
            (boot::Accel::Tcg, Some(why)) => tcg(&why),
            (boot::Accel::Tcg, None) => tcg("there is no /dev/kvm"),
        };
        checks.push((ACCELERATOR.to_owned(), outcome));
    }
    checks.push(("range of user ids".to_owned(), id_range()));
    report::result(&if json {
        format!("{}\n", report::doctor_json(&needed, &checks))
    } else {
        report::doctor(&needed, &checks, style)
    })?;
    let stops = |(name, outcome): &Check| outcome.is_err() && name != ACCELERATOR;
    Ok(u8::from(needed.iter().any(|tool| tool.is_missing()) || checks.iter().any(stops)))
}

/// Installs the packages of the missing tools by apt, through sudo if quiz does not run as root.
pub(super) fn install(needed: &[Needed], events: Events<'_>) -> Result<()> {
    let missing: Vec<&Needed> = needed.iter().filter(|tool| tool.is_missing()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: BTreeSet<&str> = missing.iter().map(|tool| tool.package.as_str()).collect();
    events(Event::Warning {
        message: format!("installing {}", packages.iter().copied().collect::<Vec<_>>().join(" ")),
    });
    apt(&["update", "-q"])?;
    let mut args = vec!["install", "-q", "-y", "--no-install-recommends"];
    args.extend(packages);
    apt(&args)
}

fn apt(args: &[&str]) -> Result<()> {
    let root = rustix::process::geteuid().is_root();
    let mut command = Command::new(if root { "apt-get" } else { "sudo" });
    if !root {
        command.arg("apt-get");
    }
    // What apt says belongs to stderr; stdout is for results.
    let status = command
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::inherit())
        .stdout(std::io::stderr())
        .status()
        .map_err(|e| Error::input("cannot start apt-get").because(e))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::input(format!("apt-get {} failed ({status})", args.join(" ")))
        .hint("`quiz doctor` shows what is missing"))
}

/// Whether bubblewrap can make its namespaces here; containers and hardened hosts may forbid it.
fn sandbox() -> std::result::Result<String, String> {
    let output = Command::new("bwrap")
        .args(["--unshare-all", "--ro-bind", "/", "/", "--", "/bin/true"])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok("bubblewrap works".to_owned());
    }
    Err(format!("bubblewrap does not work here: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Whether an ordinary user has the range of ids that the root's files need.
fn id_range() -> std::result::Result<String, String> {
    if rustix::process::geteuid().is_root() {
        return Ok("root".to_owned());
    }
    let user = std::env::var("USER").unwrap_or_default();
    let uid = rustix::process::getuid().as_raw().to_string();
    let has = |path: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().filter_map(|line| line.split(':').next()).any(|name| name == user || name == uid)
    };
    if has("/etc/subuid") && has("/etc/subgid") {
        return Ok("/etc/subuid".to_owned());
    }
    Err(format!(
        "{user} has none, which the stage rootfs needs: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
    ))
}

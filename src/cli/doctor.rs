//! `quiz doctor` and `--install`: every tool that any stage needs, what else the machine must offer, and the way to get it.

use crate::build::{self, Needed, Tools};
use crate::engine::{self, Engine};
use crate::error::{Error, Result};
use crate::event::{Event, Events};
use crate::host::{
    self,
    distribution::{Distribution, Installation},
};
use crate::machine::{Accel, Qemu, accel, proof};
use crate::report::{self, Style};
use std::collections::BTreeSet;
use std::error::Error as _;
use std::process::Stdio;

/// The one check that stops nothing, unless `machine.accel` demands KVM: without it machines are slow.
const ACCELERATOR: &str = "accelerator";

type Check = (String, std::result::Result<String, String>);

/// Shows all tools and checks; with `install` installs what is missing first. Status 0 if everything is there and works, else 1.
pub(super) fn run(engine: &Engine<'_>, with_install: bool, json: bool, style: &Style) -> Result<u8> {
    let stages = engine.all_stages()?;
    let qemu_tools = engine::qemu::tools(engine)?;
    let demanded = engine::qemu::demanded(engine)?;
    let needed = || build::with_tools(engine.needed(&stages), qemu_tools);
    if with_install {
        install(&needed(), engine.events)?;
    }
    let needed = needed();
    let mut checks: Vec<Check> = Vec::new();
    checks.extend(engine::sharing::told(engine).map(|words| ("cache".to_owned(), Ok(words))));
    if needed.iter().any(|tool| tool.name == "bwrap" && tool.found.is_some()) {
        checks.push(("sandbox".to_owned(), sandbox(engine, false)));
        checks.push(("sandbox with a root of its own".to_owned(), sandbox(engine, true)));
    }
    match engine::qemu::made(engine) {
        Ok(qemu) => {
            checks.push(("qemu".to_owned(), proof::try_guest(&qemu, Accel::Tcg).map(|()| "runs a guest".into())));
            checks.push((ACCELERATOR.to_owned(), accelerator(engine, &qemu, demanded)));
        }
        // A qemu that the host lacks is in the list of tools already.
        Err(error) if qemu_tools.is_empty() => checks.push(("qemu".to_owned(), Err(error.to_string()))),
        Err(_) => {}
    }
    let changed = match Tools::identify(&engine.needed(&stages), &engine.cache) {
        Ok(tools) => build::changed_tools(&engine.cache, &engine.project.dir, &stages.graph, &tools)?,
        Err(error) => {
            let hints: String = error.hints().iter().map(|hint| format!("; {hint}")).collect();
            checks.push(("tools".to_owned(), Err(format!("{error}{hints}"))));
            BTreeSet::new()
        }
    };
    report::result(&if json {
        format!("{}\n", report::doctor_json(&needed, &checks, &changed))
    } else {
        report::doctor(&needed, &checks, &changed, style)
    })?;
    let stops = |(name, outcome): &Check| outcome.is_err() && (name != ACCELERATOR || demanded.is_some());
    let is_absent = |tool: &Needed| tool.is_missing() || tool.refusal().is_some();
    Ok(u8::from(needed.iter().any(is_absent) || checks.iter().any(stops)))
}

/// Whether it is KVM, tried anew whatever an earlier run found.
fn accelerator(engine: &Engine<'_>, qemu: &Qemu, demanded: Option<Accel>) -> std::result::Result<String, String> {
    let instead = match demanded {
        Some(Accel::Tcg) => return Ok("TCG, as machine.accel says".to_owned()),
        Some(Accel::Kvm) => "none, since machine.accel says kvm",
        None => "TCG, which is slow",
    };
    let tcg = |why: String| {
        let advice = accel::advice().map_or(String::new(), |advice| format!("; {advice}"));
        Err(format!("{instead}: {why}{advice}"))
    };
    let choice = accel::choose(qemu.path(), None);
    match (choice.accel, choice.why_not_kvm) {
        (Accel::Tcg, why) => tcg(why.unwrap_or_else(|| "there is no /dev/kvm".to_owned())),
        (Accel::Kvm, _) => match proof::try_guest(qemu, Accel::Kvm) {
            Err(why) => tcg(format!("KVM does not work: {why}")),
            Ok(()) => {
                // In place of an older verdict that KVM is broken, so that the next run tries it.
                accel::remember(&engine.kvm_verdicts(), qemu.path(), None).map_err(|error| error.to_string())?;
                Ok("KVM".to_owned())
            }
        },
    }
}

/// Installs the packages of the missing tools, through sudo if quiz does not run as root. Which ones comes from recipes and
/// profiles, which may be a project's: the line is shown, and on a terminal it is asked whether it shall run.
pub(super) fn install(needed: &[Needed], events: Events<'_>) -> Result<()> {
    let missing: Vec<&Needed> = needed.iter().filter(|tool| tool.is_missing()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let Installation { known, unknown } =
        Distribution::here().install(&missing.iter().map(|tool| tool.package.as_str()).collect());
    if !unknown.is_empty() {
        let tools = missing.iter().filter(|tool| unknown.contains(&tool.package)).map(|tool| tool.name.as_str());
        let tools: Vec<&str> = tools.collect();
        return Err(Error::input(format!("quiz does not know which packages have {} here", tools.join(", ")))
            .hint(format!(
                "on Debian they are {}; all that is missing: {}",
                unknown.join(", "),
                build::install_line(&missing)
            ))
            .hint("stages bring their own tools unless toolchain.suite is `host`"));
    }
    let Some((installer, names)) = known else { return Ok(()) };
    let mut words: Vec<&str> = sudo().chain(installer.unasked().iter().copied()).collect();
    words.extend(names.iter().map(String::as_str));
    let line = words.join(" ");
    events(Event::Warning { message: format!("installing what is missing: {line}") });
    if !report::agrees("Run it?") {
        return Err(Error::input("nothing was installed").hint(line));
    }
    if let Some(refresh) = installer.refresh() {
        run_installer(&sudo().chain(refresh.iter().copied()).collect::<Vec<_>>())?;
    }
    run_installer(&words)
}

/// `sudo`, for a command that needs root, unless quiz runs as root.
fn sudo() -> impl Iterator<Item = &'static str> {
    (!is_root()).then_some("sudo").into_iter()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn run_installer(words: &[&str]) -> Result<()> {
    let [program, args @ ..] = words else { return Ok(()) };
    // What it says belongs to stderr; stdout is for results.
    let status = host::program(program)
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::inherit())
        .stdout(std::io::stderr())
        .status()
        .map_err(|e| Error::input(format!("cannot start {program}")).because(e))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::input(format!("{} failed ({status})", words.join(" "))).hint("`quiz doctor` shows what is missing"))
}

/// Whether a stage's script would run here; containers and hardened hosts may forbid it. With `chroot`: a script that changes into
/// a root that it makes.
fn sandbox(engine: &Engine<'_>, chroot: bool) -> std::result::Result<String, String> {
    if let Some(why) = build::noexec(&engine.cache) {
        return Err(why);
    }
    match build::try_sandbox(&engine.cache, chroot) {
        Ok(lacks) => {
            let without: String = lacks.iter().map(|lack| format!(", {}", lack.words())).collect();
            Ok(format!("bubblewrap works{without}"))
        }
        Err(error) => Err(error.source().map_or(error.to_string(), |cause| format!("{error}: {cause}"))),
    }
}

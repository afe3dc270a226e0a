//! `quiz up`: builds the image, makes a machine of it, runs the program in that, and gives the exit status.

use super::args::{Cli, Up};
use super::session::Session;
use super::{IMAGE, doctor};
use crate::boot::{self, Machine, Options, Outcome, Request, RunFolder, Share, Streams};
use crate::build::{self, Known};
use crate::error::{Error, Result};
use crate::event::{Event, Events};
use crate::graph::Graph;
use crate::load::{PROJECT_FOLDER, Profile};
use crate::report;
use quiz_cache::{Cache, Digest};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Folders that host and guest share, by tag: the guest mounts each at `/<tag>`.
const SHARED: &str = "shared";
const OUT: &str = "out";

pub(super) fn run(session: &Session<'_>, up: &Up) -> Result<u8> {
    let (machine, why_not_kvm) = build(session, up)?;
    let outcome = boot(session, up, machine, why_not_kvm)?;
    Ok(outcome.map_or(0, |outcome| outcome.status()))
}

/// The same on each of several kernels: first all images, then one run after the other, in the end how each went. The status
/// is the first that is not 0.
pub(super) fn run_each(kernels: &[(String, Cli)], up: &Up, events: Events<'_>, error: &dyn Fn(&Error)) -> Result<u8> {
    let sessions: Vec<Session<'_>> =
        kernels.iter().map(|(_, cli)| Session::open(cli, events)).collect::<Result<_>>()?;
    let built: Vec<Result<_>> = sessions.iter().map(|session| build(session, up)).collect();
    let mut rows = Vec::new();
    for (((kernel, _), session), built) in kernels.iter().zip(&sessions).zip(built) {
        events(Event::Turn { kernel: kernel.clone() });
        let ran = built.and_then(|(machine, why_not_kvm)| boot(session, up, machine, why_not_kvm));
        rows.push(match ran {
            Ok(Some(outcome)) => (kernel.clone(), outcome.status(), outcome.to_string()),
            Ok(None) => (kernel.clone(), 0, "the command was printed".to_owned()),
            Err(why) => {
                error(&why);
                (kernel.clone(), super::COULD_NOT, why.to_string())
            }
        });
    }
    let status = rows.iter().map(|(_, status, _)| *status).find(|status| *status != 0);
    events(Event::Compared { rows });
    Ok(status.unwrap_or(0))
}

/// Builds the image and makes a machine of it. Also says why that has no KVM.
fn build(session: &Session<'_>, up: &Up) -> Result<(Machine, Option<String>)> {
    let graph = Graph::bind(&session.project, [IMAGE])?;
    let needed = || session.needed(&graph).map(|needed| build::with_tools(needed, boot::TOOLS));
    if up.install {
        doctor::install(&needed()?, session.events)?;
    }
    build::require(&needed()?)?;
    let settings = &session.project.settings;
    let memory = memory(settings.text("machine.memory"))?;
    let profiles = &session.project.profiles;
    if let Some(large) = profiles.iter().filter(|profile| profile.memory > memory).max_by_key(|p| p.memory) {
        let (name, least) = (&large.name, large.memory);
        return Err(Error::input(format!("machine.memory = {memory}M: the profile {name} needs {least}M"))
            .hint(format!("quiz up -m {least}M")));
    }
    let cpus = count("machine.cpus", settings.number("machine.cpus"))?;
    let id = graph.find(IMAGE)?;
    // qemu opens what the image is made of, so that has to lie there, too.
    let known = session.build(&graph, &[id], true)?;
    let [manifest] = &known[&id].outputs.values().collect::<Vec<_>>()[..] else {
        return Err(Error::input(format!("the recipe {IMAGE} must have one output, the manifest")));
    };
    let image = boot::image::read(&session.cache.path(manifest))?;
    let qemu = boot::qemu::find(image.arch)?;
    let choice = boot::accel::choose(&qemu, Some(&session.kvm_verdicts()));
    let object = |digest: &Digest| object(&session.cache, &known, digest);
    // One `--append` may hold several words, as people paste them. The user's come last, and win.
    let words = settings.list("machine.append").iter().flat_map(|words| words.split_whitespace().map(str::to_owned));
    let batch =
        |profile: &Profile| if boot::terminal_size().is_some() { Vec::new() } else { profile.append_batch.clone() };
    let by_profiles = profiles.iter().flat_map(|profile| [profile.append.clone(), batch(profile)].concat());
    let machine = Machine {
        arch: image.arch,
        accel: choice.accel,
        qemu,
        memory,
        cpus,
        kernel: object(&image.kernel)?.join("vmlinux"),
        layers: image.layers.iter().map(object).collect::<Result<_>>()?,
        append: image.append.into_iter().chain(by_profiles).chain(words).collect(),
        shares: Vec::new(),
        pvpanic: true,
        rng: true,
        extra: settings.list("machine.qemu-args").iter().map(OsString::from).collect(),
    };
    Ok((machine, choice.why_not_kvm))
}

/// Runs the program, or prints the command instead.
fn boot(session: &Session<'_>, up: &Up, mut machine: Machine, why_not_kvm: Option<String>) -> Result<Option<Outcome>> {
    let own = session.project.dir.join(PROJECT_FOLDER);
    if up.dry_run {
        machine.shares = vec![share(SHARED, &own.join("shared")), share(OUT, &own.join("runs/N/out"))];
        let command = boot::qemu::command(&machine, &boot::qemu::Fds::SHOWN);
        report::result(&format!("{}\n", boot::qemu::shell_line(&command)))?;
        return Ok(None);
    }
    let folder = RunFolder::create(&own)?;
    machine.shares = vec![share(SHARED, folder.shared()), share(OUT, &folder.out())];
    let request = request(up);
    let options = Options {
        timeout: up.timeout.map(Duration::from_secs),
        ready_within: Duration::from_secs(session.project.settings.number("machine.boot-timeout")),
        // On a terminal the kernel's words come among the program's: print debugging is why people use this.
        kmsg: up.kmsg || request.tty.is_some(),
        verdicts: Some(session.kvm_verdicts()),
        why_not_kvm,
    };
    let outcome = boot::run(&machine, &request, &folder, &options, &Streams::inherit()?, session.events)?;
    if let Outcome::TimeLimit { excerpt, .. } = &outcome {
        excerpt.iter().for_each(|line| (session.events)(Event::Kernel { line: line.clone() }));
    }
    Ok(Some(outcome))
}

/// Where the object of that digest lies: one of the outputs that were built.
fn object(cache: &Cache, known: &Known, digest: &Digest) -> Result<PathBuf> {
    let outputs = known.values().flat_map(|record| record.outputs.values());
    let found = outputs.into_iter().find(|output| output.digest == *digest);
    found.map(|output| cache.path(output)).ok_or_else(|| {
        Error::build(format!("the image names {digest}, which none of its stages made"))
            .hint("the script of the recipe `image` must write the digests it is given")
    })
}

fn share(tag: &str, path: &Path) -> Share {
    Share { tag: tag.to_owned(), path: path.to_owned(), read_only: false }
}

fn request(up: &Up) -> Request {
    let passed = ["TERM", "COLORTERM", "LANG"].into_iter().filter_map(|name| {
        let value = std::env::var_os(name)?;
        let mut pair = OsString::from(format!("{name}="));
        pair.push(value);
        Some(pair)
    });
    let tty = boot::terminal_size();
    Request {
        program: up.program.iter().map(OsString::from).collect(),
        // Only a terminal's own words: what else is set on the host means nothing in the guest.
        env: if tty.is_some() { passed.collect() } else { Vec::new() },
        dir: OsString::from("/root"),
        tty,
        shell_after: up.shell,
        shares: vec![SHARED.to_owned(), OUT.to_owned()],
    }
}

/// "512M", "4G" or a number of MiB, as MiB.
fn memory(text: &str) -> Result<u32> {
    let (number, factor) = match text.char_indices().last() {
        Some((at, 'M' | 'm')) => (&text[..at], 1),
        Some((at, 'G' | 'g')) => (&text[..at], 1024),
        _ => (text, 1),
    };
    match number.parse::<u32>().ok().and_then(|number| number.checked_mul(factor)) {
        Some(mib) if mib >= 64 => Ok(mib),
        _ => Err(Error::input(format!("machine.memory = {text:?}: a size of 64M or more is wanted"))
            .hint("write it as 512M or 4G")),
    }
}

fn count(name: &str, number: u64) -> Result<u32> {
    u32::try_from(number)
        .ok()
        .filter(|number| (1..=255).contains(number))
        .ok_or_else(|| Error::input(format!("{name} = {number}: a number from 1 to 255 is wanted")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_units_and_a_least_size() {
        assert_eq!([memory("512M").unwrap(), memory("4G").unwrap(), memory("256").unwrap()], [512, 4096, 256]);
        for wrong in ["", "G", "0", "63M", "-1G", "1T", "99999999G"] {
            assert!(memory(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_guest_has_a_processor() {
        assert_eq!(count("machine.cpus", 1).unwrap(), 1);
        assert!(count("machine.cpus", 0).is_err() && count("machine.cpus", 256).is_err());
    }
}

//! The front door: reads the command line, calls the rooms in their order, and turns the end into an exit status.

mod args;
mod doctor;
mod kvm;
mod machine;
mod profiles;
mod session;
mod snapshot;
mod ssh;
mod terminal;
mod test;
mod trust;
mod up;

use crate::build;
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::graph::Graph;
use crate::report::{self, Reporter, Snapshots, Style, Verbosity};
use crate::source;
use crate::status;
use args::{Cli, Command, ProfilesCommand};
use session::Session;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// The stage that `up` boots and `build` builds by default.
const IMAGE: &str = "image";

/// Runs the program and gives its exit status.
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match Cli::read(&args) {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing better can be done with a stderr that is closed.
            let _ = error.print();
            let is_up = args.iter().skip(1).take_while(|arg| *arg != "--").any(|arg| arg == "up");
            return match (error.use_stderr(), is_up) {
                (false, _) => status::FINE,
                (true, true) => status::HOST,
                (true, false) => status::WRONG,
            };
        }
    };
    let verbosity = match (cli.global.quiet, cli.global.verbose) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Verbose,
        _ => Verbosity::Normal,
    };
    let reporter = Reporter::new(cli.global.color.unwrap_or_default(), verbosity, cli.global.json);
    let timings = matches!(&cli.command, Command::Up(up) if up.timings);
    let events = |event: Event| {
        if timings || !matches!(event, Event::Step { .. }) {
            reporter.event(&event);
        }
    };
    // A bug of quiz must not look like a bad commit to `git bisect run`, as a panic's status 101 would.
    let result = catch_unwind(AssertUnwindSafe(|| dispatch(&cli, &reporter, &events)))
        .unwrap_or_else(|_| Err(Error::build("quiz itself failed; what it said is above")));
    result.unwrap_or_else(|error| {
        reporter.error(&error);
        match (&cli.command, error.kind()) {
            (Command::Up(_), _) => status::HOST,
            (Command::Ssh(_), _) => status::SSH,
            (_, Kind::Input) => status::WRONG,
            (_, Kind::Build | Kind::Boot) => status::FAILED,
        }
    })
}

fn dispatch(cli: &Cli, reporter: &Reporter, events: &(dyn Fn(Event) + Sync)) -> Result<u8> {
    let kernels = cli.kernels();
    if let (Command::Up(up), [_, ..]) = (&cli.command, &kernels[..]) {
        return up::run_each(&kernels, up, events, &|error| reporter.error(error));
    }
    if !kernels.is_empty() {
        let what = if matches!(cli.command, Command::Test(_)) {
            "`quiz test` takes one kernel"
        } else {
            "only `quiz up` takes several kernels"
        };
        return Err(Error::input(what).hint("run it once for each"));
    }
    if let Command::Trust { folders } = &cli.command {
        trust::run(cli, folders)?;
        return Ok(status::FINE);
    }
    let session = Session::open(cli, events)?;
    let style = Style::new(cli.global.color.unwrap_or_default(), std::io::stdout().is_terminal());
    match &cli.command {
        Command::Up(up) => return up::run(&session, up),
        Command::Ssh(ssh) => return ssh::run(&session, ssh),
        Command::Test(asked) => {
            let (json, verbose, jobs) = (cli.global.json, cli.global.verbose, cli.global.jobs);
            return test::run(&session, asked, &test::Shown { json, verbose, style: &style, jobs });
        }
        Command::Build { stages, fresh, install } => {
            build_stages(&session, stages, *fresh, *install, cli.global.json)?;
        }
        Command::Verify { stage } => return verify(&session, stage, cli.global.json, &style),
        Command::Graph => {
            let graph = if cli.global.verbose { session.whole_graph()? } else { session.project_graph()? };
            let states = session.plan(&graph)?;
            let snapshots = snapshot::states(&session, &graph, &states)?;
            if cli.global.json {
                report::result(&format!("{}\n", report::graph_json(&graph, &states, &snapshots)))?;
            } else {
                report::result(&report::graph(&graph, &states, &snapshots, cli.global.verbose, &style))?;
            }
        }
        Command::Why { stage } => report::result(&why(&session, stage, cli.global.json, &style)?)?,
        Command::Update { entries } => update(&session, entries)?,
        Command::Gc { older_than, dry_run } => gc(&session, *older_than, *dry_run, cli.global.json)?,
        Command::Doctor { kvm: true, .. } if cli.global.json => {
            return Err(Error::input("`quiz doctor --kvm` prints a report for people: not with --json"));
        }
        Command::Doctor { kvm: true, .. } => return kvm::run(),
        Command::Doctor { install, .. } => return doctor::run(&session, *install, cli.global.json, &style),
        Command::Profiles { command: Some(ProfilesCommand::New { name }) } => profiles::new(&session, name)?,
        Command::Profiles { command: None } => profiles::list(&session, cli, &style)?,
        Command::Config if cli.global.json => {
            report::result(&format!("{}\n", report::config_json(&session.project.settings)))?;
        }
        Command::Trust { .. } => {}
        Command::Config => report::result(&report::config(&session.project.settings, cli.global.verbose))?,
    }
    Ok(status::FINE)
}

fn why(session: &Session<'_>, stage: &str, json: bool, style: &Style) -> Result<String> {
    if [Snapshots::FULL, Snapshots::BASE].contains(&stage) {
        let graph = session.project_graph()?;
        let snapshots = snapshot::states(session, &graph, &session.plan(&graph)?)?;
        let snapshot = if stage == Snapshots::FULL { &snapshots.full } else { &snapshots.base };
        return Ok(if json {
            format!("{}\n", report::why_snapshot_json(snapshot, &graph))
        } else {
            report::why_snapshot(snapshot, style)
        });
    }
    let graph = session.graph_with(stage)?;
    let states = session.plan(&graph)?;
    let id = graph.find(stage)?;
    Ok(if json {
        format!("{}\n", report::why_json(&graph, id, &states))
    } else {
        report::why(&graph, id, &states, style)
    })
}

/// Makes a stage twice from nothing; the exit status says whether that came to the same.
fn verify(session: &Session<'_>, stage: &str, json: bool, style: &Style) -> Result<u8> {
    let graph = session.graph_with(stage)?;
    let id = graph.find(stage)?;
    build::require_script(graph.stage(id))?;
    // Bound anew: only the tools of what it needs have to be there.
    let graph = Graph::bind(&session.project, [stage])?;
    let id = graph.find(stage)?;
    let verified = session.make(&graph, &[id].into(), &|ctx| build::verify(ctx, id))?;
    report::result(&if json {
        format!("{}\n", report::verified_json(stage, &verified))
    } else {
        report::verified(stage, &verified, style)
    })?;
    Ok(if verified.differences.is_empty() { status::FINE } else { status::FAILED })
}

fn build_stages(session: &Session<'_>, stages: &[String], fresh: bool, install: bool, json: bool) -> Result<()> {
    let names: Vec<&str> = if stages.is_empty() { vec![IMAGE] } else { stages.iter().map(String::as_str).collect() };
    let graph = Graph::bind(&session.project, names.iter().copied())?;
    let wanted = names.iter().map(|name| graph.find(name)).collect::<Result<Vec<_>>>()?;
    let anew: BTreeSet<_> = wanted.iter().copied().filter(|_| fresh).collect();
    anew.iter().try_for_each(|id| build::require_script(graph.stage(*id)))?;
    if install {
        doctor::install(&session.needed(&graph)?, session.events)?;
    }
    let known = session.make(&graph, &anew, &|ctx| build::build(ctx, &wanted, false))?;
    let paths = wanted.iter().flat_map(|id| {
        let name = |output: &String| format!("{}/{output}", graph.stage(*id).name);
        known[id].outputs.iter().map(move |(output, object)| (name(output), session.cache.path(object)))
    });
    report::result(&if json {
        format!("{}\n", serde_json::Value::Object(paths.map(|(name, path)| (name, serde_json::json!(path))).collect()))
    } else {
        paths.map(|(name, path)| format!("{name} {}\n", path.display())).collect()
    })
}

fn gc(session: &Session<'_>, days: u32, dry_run: bool, json: bool) -> Result<()> {
    let unused = Duration::from_secs(u64::from(days) * 24 * 60 * 60);
    let waiting = || (session.events)(Event::Paused { what: "every build".to_owned() });
    let collected = session.cache.collect(unused, dry_run, &waiting);
    let collected = collected.map_err(|e| Error::build("the cache cannot be cleaned up").because(e))?;
    let text = if json { format!("{}\n", report::gc_json(&collected)) } else { report::gc(&collected, dry_run) };
    report::result(&text)
}

fn update(session: &Session<'_>, entries: &[String]) -> Result<()> {
    let graph = if entries.is_empty() { session.project_graph()? } else { session.whole_graph()? };
    let wishes = session.wishes(&graph)?;
    if let Some(wrong) = entries.iter().find(|entry| !wishes.iter().any(|w| w.wish.entry() == *entry)) {
        let known: Vec<&str> = wishes.iter().map(|w| w.wish.entry()).collect();
        return Err(
            Error::input(format!("quiz.lock has no entry `{wrong}`")).hint(format!("there is: {}", known.join(", ")))
        );
    }
    for w in wishes.iter().filter(|w| entries.is_empty() || entries.iter().any(|entry| entry == w.wish.entry())) {
        if let Some(dir) = w.wish.dir() {
            let message = format!("{} is the folder {}: there is nothing to pin", w.wish.entry(), dir.display());
            (session.events)(if entries.is_empty() { Event::Note { message } } else { Event::Warning { message } });
            continue;
        }
        let before = source::Lock::read(&w.lock)?.get(&w.wish).cloned();
        let pin = source::resolve(w.spec, &w.wish, &session.source, session.events)?;
        // An older quiz did not write where it was found: the bytes count.
        let moved = before.map(|before| before.facts()) != Some(pin.facts());
        let (entry, wanted) = (w.wish.entry().to_owned(), w.wish.to_string());
        let pinned = if moved { pin.to_string() } else { format!("{pin} (as before)") };
        source::replace(&w.lock, &w.wish, pin)?;
        (session.events)(Event::Resolved { entry, wanted, pinned });
    }
    Ok(())
}

//! The front door: reads the command line, calls the rooms in their order, and turns the end into an exit status.

mod args;
mod cache;
mod complete;
mod cp;
mod crash;
mod debugger;
mod doctor;
mod exec;
mod graph;
mod init;
mod kvm;
mod man;
mod monitor;
mod profiles;
mod running;
mod snap;
mod ssh;
mod symbols;
mod terminal;
mod test;
mod trust;
mod up;

use crate::boot::detach::{self, Started};
use crate::build;
use crate::engine::machine::{self, Prepared};
use crate::engine::{Engine, IMAGE, named};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Events};
use crate::host;
use crate::report::{self, Reporter, Style, Verbosity};
use crate::status;
use args::{Cli, Command, ProfilesCommand};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Runs the program and gives its exit status.
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(status) = complete::answer(&args) {
        return status;
    }
    let cli = match Cli::read(&args) {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing better can be done with a stderr that is closed.
            let _ = error.print();
            let runs = |arg: &OsString| ["up", "snap", "exec", "attach"].iter().any(|name| arg == name);
            let is_up = args.iter().skip(1).take_while(|arg| *arg != "--").any(runs);
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
    let begin = || match &cli.command {
        Command::Up(up) if up.detach && !cli.detached => detached(&args),
        _ => dispatch(&cli, &reporter, &events),
    };
    let result = catch_unwind(AssertUnwindSafe(begin))
        .unwrap_or_else(|_| Err(Error::build("quiz itself failed; what it said is above")));
    result.unwrap_or_else(|error| {
        reporter.error(&error);
        match (&cli.command, error.kind()) {
            (Command::Up(_) | Command::Snap(_) | Command::Exec(_) | Command::Wait { .. }, _) => status::HOST,
            (Command::Ssh(_), _) => status::SSH,
            (_, Kind::Input) => status::WRONG,
            (_, Kind::Build | Kind::Boot) => status::FAILED,
        }
    })
}

/// Has the run done by a process that stays, and gives its number.
fn detached(args: &[OsString]) -> Result<u8> {
    let words = std::iter::once("--detached".into()).chain(args.iter().skip(1).cloned());
    Ok(match detach::start(words)? {
        Started::Ended(status) => status,
        Started::Runs(number) => {
            report::result(&format!("{number}\n"))?;
            status::FINE
        }
    })
}

/// What was typed, as a line for a shell that does the same in any folder; `more` is a flag of it that has to be there then.
fn typed(more: Option<&str>) -> String {
    let variables = std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"QUIZ_"));
    let variables = variables.map(|(name, value)| format!("{}={} ", name.display(), host::quoted(value)));
    let mut words: Vec<OsString> = std::env::args_os().skip(1).filter(|word| word != "--detached").collect();
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    if let Some(flag) = more.filter(|flag| !words[..end].iter().any(|word| word == flag)) {
        words.insert(end, flag.into());
    }
    let words = words.into_iter().map(host::quoted);
    let here = std::env::current_dir().unwrap_or_default();
    let line = format!("{}quiz {}", variables.collect::<String>(), words.collect::<Vec<_>>().join(" "));
    format!("cd {} && {line}", host::quoted(here))
}

fn takes_one_kernel(command: &Command) -> &'static str {
    match command {
        Command::Test(_) => "`quiz test` takes one kernel",
        Command::Up(up) if up.detach => "`quiz up --detach` takes one kernel",
        Command::Up(_) => "`quiz up --gdb` takes one kernel",
        _ => "only `quiz up` takes several kernels",
    }
}

fn dispatch(cli: &Cli, reporter: &Reporter, events: Events<'_>) -> Result<u8> {
    let kernels = cli.kernels();
    if let (Command::Up(up), [_, ..]) = (&cli.command, &kernels[..])
        && !up.detach
        && up.gdb.is_none()
    {
        return up::run_each(&kernels, up, events, &|error| reporter.error(error));
    }
    if !kernels.is_empty() {
        return Err(Error::input(takes_one_kernel(&cli.command)).hint("run it once for each"));
    }
    if let Some(done) = without_project(cli) {
        return done.map(|()| status::FINE);
    }
    let engine = Engine::open(&cli.invocation(), events)?;
    if let Some(ended) = debugger::run(&engine, &cli.command) {
        return ended;
    }
    let style = Style::new(cli.global.color.unwrap_or_default(), std::io::stdout().is_terminal());
    match &cli.command {
        Command::Up(up) => return up::run(&engine, up),
        Command::Snap(asked) => return snap::run(&engine, asked, cli.global.json, &style),
        Command::Ssh(ssh) => return ssh::run(&engine, ssh),
        Command::Exec(asked) => return exec::run(&engine, asked),
        Command::Cp { from, to } => cp::run(&engine, from, to)?,
        Command::Ps => running::ps(&engine, cli.global.json, &style)?,
        Command::Dump { id } => crash::print_dump(&engine, id.as_deref())?,
        Command::Crash { command } => return crash::run(&engine, command, cli.global.json, &style),
        Command::Monitor(asked) => monitor::run(&engine, asked)?,
        Command::Wait { id } => return running::wait(&engine, id.as_deref()),
        Command::Stop { id, all } => running::stop(&engine, id.as_deref(), *all)?,
        Command::Logs { id, follow } => running::logs(&engine, id.as_deref(), *follow)?,
        Command::Test(asked) => {
            let (json, verbose, jobs) = (cli.global.json, cli.global.verbose, cli.global.jobs);
            return test::run(&engine, asked, &test::Shown { json, verbose, style: &style, jobs });
        }
        Command::Build { stages, fresh, install } => {
            build_stages(&engine, stages, *fresh, *install, cli.global.json)?;
        }
        Command::Verify { stage } => return verify(&engine, stage, cli.global.json, &style),
        Command::Graph { format, why } => graph::show(&engine, *format, *why, cli, &style)?,
        Command::Why { stage } => graph::why(&engine, stage, cli.global.json, &style)?,
        Command::Update { entries } => update(&engine, entries)?,
        Command::Gc { older_than, max_size, dry_run } => {
            gc(&engine, *older_than, *max_size, *dry_run, cli.global.json)?;
        }
        Command::Doctor { kvm: true, .. } if cli.global.json => {
            return Err(Error::input("`quiz doctor --kvm` prints a report for people: not with --json"));
        }
        Command::Doctor { kvm: true, .. } => return kvm::run(&engine),
        Command::Doctor { install, .. } => return doctor::run(&engine, *install, cli.global.json, &style),
        Command::Profiles { command: Some(ProfilesCommand::New { name }) } => profiles::new(&engine, name)?,
        Command::Profiles { command: None } => profiles::list(&engine, cli, &style)?,
        Command::Config if cli.global.json => {
            report::result(&format!("{}\n", report::config_json(&engine.project.settings)))?;
        }
        Command::Cache { command } => cache::run(&engine, command, cli.global.json)?,
        // Done above.
        Command::Init { .. } | Command::Trust { .. } | Command::Completions { .. } | Command::Man { .. } => {}
        Command::Gdb(_) | Command::Drgn(_) => {}
        Command::Config => report::result(&report::config(&engine.project.settings, cli.global.verbose))?,
    }
    Ok(status::FINE)
}

/// Does what needs no project that can be read.
fn without_project(cli: &Cli) -> Option<Result<()>> {
    Some(match &cli.command {
        Command::Trust { folders } => trust::run(cli, folders),
        Command::Init { user } => init::run(cli, *user),
        Command::Completions { shell } => complete::print(*shell),
        Command::Man { folder } => man::run(cli, folder),
        _ => return None,
    })
}

/// Makes a stage twice from nothing; the exit status says whether that came to the same.
fn verify(engine: &Engine<'_>, stage: &str, json: bool, style: &Style) -> Result<u8> {
    let all = engine.stages_with(stage)?;
    build::require_script(all.graph.stage(all.graph.find(stage)?))?;
    // Bound anew: only the tools of what it needs have to be there.
    let stages = engine.stages([stage])?;
    let id = stages.graph.find(stage)?;
    let verified = engine.make(&stages, &engine.needed(&stages), &[id].into(), &|ctx| build::verify(ctx, id))?;
    report::result(&if json {
        format!("{}\n", report::verified_json(stage, &verified))
    } else {
        report::verified(stage, &verified, style)
    })?;
    Ok(if verified.differences.is_empty() { status::FINE } else { status::FAILED })
}

fn build_stages(engine: &Engine<'_>, names: &[String], fresh: bool, install: bool, json: bool) -> Result<()> {
    let names: Vec<&str> = if names.is_empty() { vec![IMAGE] } else { names.iter().map(String::as_str).collect() };
    let stages = engine.stages(names.iter().copied())?;
    let wanted = names.iter().map(|name| stages.graph.find(name)).collect::<Result<Vec<_>>>()?;
    let anew: BTreeSet<_> = wanted.iter().copied().filter(|_| fresh).collect();
    anew.iter().try_for_each(|id| build::require_script(stages.graph.stage(*id)))?;
    if install {
        doctor::install(&engine.needed(&stages), engine.events)?;
    }
    let known = engine
        .make(&stages, &engine.needed(&stages), &anew, &|ctx| build::build(ctx, &wanted, build::Depth::Outputs))?;
    let paths = wanted.iter().flat_map(|id| {
        let name = |output: &String| format!("{}/{output}", stages.graph.stage(*id).name);
        known[id].outputs.iter().map(move |(output, object)| (name(output), engine.cache.path(object)))
    });
    report::result(&if json {
        format!("{}\n", serde_json::Value::Object(paths.map(|(name, path)| (name, serde_json::json!(path))).collect()))
    } else {
        paths.map(|(name, path)| format!("{name} {}\n", path.display())).collect()
    })
}

/// The machine of the project's image, which is built. With `install` missing host tools are installed first.
fn machine(engine: &Engine<'_>, install: bool, terminal: bool) -> Result<Prepared> {
    let stages = engine.stages([IMAGE])?;
    if install {
        doctor::install(&machine::needed(engine, &stages)?, engine.events)?;
    }
    machine::build(engine, &stages, terminal)
}

fn gc(engine: &Engine<'_>, days: u32, most: Option<u64>, dry_run: bool, json: bool) -> Result<()> {
    let unused = Duration::from_secs(u64::from(days) * 24 * 60 * 60);
    let waiting = || (engine.events)(Event::Paused { what: "every build".to_owned() });
    let failed = |e| Error::build("the cache cannot be cleaned up").because(e);
    let collected = match most {
        None => engine.cache.collect(unused, dry_run, &waiting).map_err(failed)?,
        Some(most) => {
            let fitted = engine.cache.collect_to(most, dry_run, &waiting).map_err(failed)?;
            if fitted.left > most {
                let message = format!(
                    "{} are left: what was used in the last day stays, and so does what was downloaded",
                    report::size(fitted.left)
                );
                (engine.events)(Event::Warning { message });
            }
            fitted.collected
        }
    };
    for named in named::deserted(&engine.cache)? {
        let (size, dir) = (report::size(named.size), host::quoted(&named.owner));
        let message = format!(
            "the snapshot {} of {dir}, which is not there, takes {size}: mkdir -p {dir} && quiz -C {dir} snap {} --rm",
            named.name, named.name
        );
        (engine.events)(Event::Warning { message });
    }
    let text = if json { format!("{}\n", report::gc_json(&collected)) } else { report::gc(&collected, dry_run) };
    report::result(&text)
}

fn update(engine: &Engine<'_>, entries: &[String]) -> Result<()> {
    engine.update(&if entries.is_empty() { engine.project_stages()? } else { engine.all_stages()? }, entries)
}

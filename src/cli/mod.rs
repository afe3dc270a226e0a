//! The front door: reads the command line, calls the rooms in their order, and turns the end into an exit status.

mod args;
mod cache;
mod clean;
mod complete;
mod cp;
mod crash;
mod crashed;
mod debugger;
mod doctor;
mod exec;
mod gc;
mod graph;
mod init;
mod kernel;
mod kvm;
mod man;
mod mcp;
mod monitor;
mod new;
mod profiles;
mod running;
mod schema;
mod snap;
mod ssh;
mod symbols;
mod terminal;
mod test;
mod trust;
mod up;
mod version;

use crate::boot::detach::{self, Started};
use crate::build;
use crate::engine::machine::{self, Prepared};
use crate::engine::{Engine, IMAGE, tidy};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Events, FORMAT};
use crate::host;
use crate::load::{self, Origin};
use crate::report::{self, Reporter, Style, Verbosity};
use crate::status;
use args::{Cli, Command, CrashCommand, NewCommand, ProfilesCommand};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs the program and gives its exit status.
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(status) = complete::answer(&args).or_else(|| version::answer(&args)) {
        return status;
    }
    let cli = match Cli::read(&args) {
        Ok(cli) => cli,
        Err(error) => {
            // If stderr is closed there is nobody to tell.
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
    host::signals::outlive_file_limits();
    let (reporter, failed) = reporter(&cli);
    let timings = matches!(&cli.command, Command::Up(up) if up.timings);
    let events = |event: Event| {
        if timings || !matches!(event, Event::Step { .. }) {
            reporter.event(&event);
        }
    };
    // A bug of quiz must not look like a bad commit to `git bisect run`, as a panic's status 101 would.
    let begin = || match &cli.command {
        Command::Up(up) if up.detach && !cli.detached => detached(&args),
        _ => {
            events(Event::Format { version: FORMAT });
            dispatch(&cli, &reporter, &events)
        }
    };
    let result = failed.map_or_else(
        || {
            catch_unwind(AssertUnwindSafe(begin)).unwrap_or_else(|_| {
                Err(Error::build("quiz itself failed, which is a bug in quiz; its own message is above"))
            })
        },
        Err,
    );
    result.unwrap_or_else(|error| {
        reporter.error(&error);
        match (&cli.command, error.kind()) {
            (Command::Up(_) | Command::Snap(_) | Command::Exec(_) | Command::Wait { .. }, _) => status::HOST,
            (Command::Crash { command: CrashCommand::Again(_) }, _) => status::HOST,
            (Command::Ssh(_), _) => status::SSH,
            (_, Kind::Input) => status::WRONG,
            (_, Kind::Build | Kind::Boot) => status::FAILED,
        }
    })
}

/// The reporter that shows events, and the error if the file of `--events` cannot be opened.
fn reporter(cli: &Cli) -> (Reporter, Option<Error>) {
    let verbosity = match (cli.global.quiet, cli.global.verbose) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Verbose,
        _ => Verbosity::Normal,
    };
    let reporter = Reporter::new(cli.global.color.unwrap_or_default(), verbosity, cli.global.json);
    let Some(path) = &cli.global.events else { return (reporter, None) };
    match host::private_file().append(true).open(path) {
        Ok(file) => (reporter.writing_to(file), None),
        Err(e) => (reporter, Some(Error::input(format!("--events {}: cannot write there", path.display())).because(e))),
    }
}

/// `up --detach`: starts the process that does the run and stays, and prints the run's number.
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

/// What was typed, as a line for a shell that does the same in any folder. `more` is a flag that is added if it was not typed.
fn typed(more: Option<&str>) -> String {
    let variables = std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"QUIZ_"));
    let variables = variables.map(|(name, value)| format!("{}={} ", name.display(), host::quoted(value)));
    let words: Vec<OsString> = std::env::args_os().skip(1).filter(|word| word != "--detached").collect();
    let mut words = without_events(words);
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    if let Some(flag) = more.filter(|flag| !words[..end].iter().any(|word| word == flag)) {
        words.insert(end, flag.into());
    }
    let words = words.into_iter().map(host::quoted);
    let here = std::env::current_dir().unwrap_or_default();
    let line = format!("{}quiz {}", variables.collect::<String>(), words.collect::<Vec<_>>().join(" "));
    format!("cd {} && {line}", host::quoted(here))
}

/// The words without `--events FILE`: who runs the line again shall not write into that file.
fn without_events(mut words: Vec<OsString>) -> Vec<OsString> {
    const FLAG: &str = "--events";
    let before = |words: &[OsString]| words.iter().position(|word| word == "--").unwrap_or(words.len());
    let is_it = |word: &OsString| word == FLAG || word.as_encoded_bytes().starts_with(b"--events=");
    while let Some(at) = words[..before(&words)].iter().position(is_it) {
        let has_own = words[at] != FLAG;
        words.drain(at..(if has_own { at + 1 } else { at + 2 }).min(words.len()));
    }
    words
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
    if let Command::Mcp = &cli.command {
        return mcp::run(cli);
    }
    let engine = Engine::open(&cli.invocation(), events)?;
    if let Some(ended) = debugger::run(&engine, &cli.command) {
        return ended;
    }
    carry_out(&engine, cli)
}

/// Does what was asked for in a project.
fn carry_out(engine: &Engine<'_>, cli: &Cli) -> Result<u8> {
    let style = Style::new(cli.global.color.unwrap_or_default(), std::io::stdout().is_terminal());
    match &cli.command {
        Command::Up(up) => return tidied(engine, || up::run(engine, up)),
        Command::Snap(asked) => return tidied(engine, || snap::run(engine, asked, cli.global.json, &style)),
        Command::Ssh(ssh) => return ssh::run(engine, ssh),
        Command::Exec(asked) => return exec::run(engine, asked),
        Command::Cp { from, to } => cp::run(engine, from, to)?,
        Command::Ps => running::ps(engine, cli.global.json, &style)?,
        Command::Dump { id } => crash::print_dump(engine, id.as_deref())?,
        Command::Crash { command } => return crash::run(engine, command, cli.global.json, &style),
        Command::Monitor(asked) => monitor::run(engine, asked)?,
        Command::Wait { id } => return running::wait(engine, id.as_deref()),
        Command::Stop { id, all } => running::stop(engine, id.as_deref(), *all)?,
        Command::Logs { id, follow } => running::logs(engine, id.as_deref(), *follow)?,
        Command::Test(asked) => {
            let (json, verbose, jobs) = (cli.global.json, cli.global.verbose, cli.global.jobs);
            return tidied(engine, || test::run(engine, asked, &test::Shown { json, verbose, style: &style, jobs }));
        }
        Command::Build { stages, fresh, install } => {
            tidied(engine, || build_stages(engine, stages, *fresh, *install, cli.global.json))?;
        }
        Command::Verify { stage } => return verify(engine, stage, cli.global.json, &style),
        Command::Graph { format, why } => graph::show(engine, *format, *why, cli, &style)?,
        Command::Why { stage } => graph::why(engine, stage, cli.global.json, &style)?,
        Command::Update { entries } => update(engine, entries)?,
        Command::Gc { older_than, max_size, dry_run, by_itself } => {
            let (days, most, dry_run, by_itself) = (*older_than, *max_size, *dry_run, *by_itself);
            gc::run(engine, gc::Asked { days, most, dry_run, by_itself }, cli.global.json)?;
        }
        Command::Clean { runs: _, all, dry_run } => clean::run(engine, *all, *dry_run, cli.global.json)?,
        Command::Doctor { kvm: true, .. } if cli.global.json => {
            return Err(Error::input("`quiz doctor --kvm` prints a report for people, and cannot be used with --json"));
        }
        Command::Doctor { kvm: true, .. } => return kvm::run(engine),
        Command::Doctor { install, .. } => return doctor::run(engine, *install, cli.global.json, &style),
        Command::Kernel { command } => kernel::run(engine, cli, command, &style)?,
        Command::New { command } => new::run(engine, command, cli.global.json)?,
        Command::Profiles { command: Some(ProfilesCommand::New { name }), .. } => {
            new::run(engine, &NewCommand::Profile { name: name.clone() }, cli.global.json)?;
        }
        Command::Profiles { shown: Some(name), .. } => profiles::show(engine, name, cli, &style)?,
        Command::Profiles { .. } => profiles::list(engine, cli, &style)?,
        Command::Config if cli.global.json => {
            report::result(&format!("{}\n", report::config_json(&engine.project.settings)))?;
        }
        Command::Cache { command } => {
            let (json, verbose) = (cli.global.json, cli.global.verbose);
            return cache::run(engine, command.as_ref(), &cache::Shown { json, verbose, style: &style });
        }
        // Done before: by `without_project`, `mcp` and `debugger`.
        Command::Init(_) | Command::Trust { .. } | Command::Completions { .. } => {}
        Command::Man { .. } | Command::Schema { .. } | Command::Mcp => {}
        Command::Gdb(_) | Command::Drgn(_) => {}
        Command::Config => report::result(&report::config(&engine.project.settings, cli.global.verbose))?,
    }
    Ok(status::FINE)
}

/// Does something that may make the cache larger; afterwards the cache's size is checked against `cache.max-size`.
fn tidied<T>(engine: &Engine<'_>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    tidy::most(engine)?;
    let ended = work();
    tidy::start(engine);
    ended
}

/// Does what a command asks for that works without a project, or with one that cannot be read.
fn without_project(cli: &Cli) -> Option<Result<()>> {
    Some(match &cli.command {
        Command::Trust { folders } => trust::run(cli, folders),
        Command::Init(asked) => init::run(cli, asked),
        Command::Completions { shell } => complete::print(*shell),
        Command::Man { folder } => man::run(cli, folder),
        Command::Schema { name } => schema::run(name.as_deref()),
        _ => return None,
    })
}

/// Makes a stage twice from nothing; the exit status says whether both results are the same.
fn verify(engine: &Engine<'_>, stage: &str, json: bool, style: &Style) -> Result<u8> {
    let all = engine.stages_with(stage)?;
    build::require_script(all.graph.stage(all.graph.find(stage)?))?;
    // Only the tools of this stage and of what it needs have to be there, not those of all stages.
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
        format!("{}\n", report::built_json(paths))
    } else {
        paths.map(|(name, path)| format!("{name} {}\n", path.display())).collect()
    })
}

/// The machine of the project's image, which is built. With `install` missing host tools are installed first.
fn machine(engine: &Engine<'_>, install: bool, terminal: bool) -> Result<Prepared> {
    let stages = engine.stages([IMAGE])?;
    if let Some(message) = unloaded(engine)? {
        (engine.events)(Event::Warning { message });
    }
    if install {
        doctor::install(&machine::needed(engine, &stages)?, engine.events)?;
    }
    machine::build(engine, &stages, terminal)
}

/// A warning where the project's folder makes kernel modules and none is loaded: a script that is meant to try them may pass without them. None where
/// `modules` is set, even to an empty list.
fn unloaded(engine: &Engine<'_>) -> Result<Option<String>> {
    let project = &engine.project;
    let is_set = project.settings.get("modules").is_some_and(|modules| modules.origin != Origin::Default);
    // The project's own recipes may compile and load them.
    let has_recipes = load::state_dirs(&project.dir).iter().any(|dir| dir.join("recipes").is_dir());
    if is_set || has_recipes || !load::makes_modules(&project.dir) || !load::worktrees(&project.dir)?.is_empty() {
        return Ok(None);
    }
    let what = "this folder makes kernel modules (obj-m), and none of them is loaded";
    Ok(Some(format!(
        "{what}: quiz init, or --module ., compiles and loads them; `modules = []` in quiz.toml turns this warning off"
    )))
}

fn update(engine: &Engine<'_>, entries: &[String]) -> Result<()> {
    engine.update(&if entries.is_empty() { engine.project_stages()? } else { engine.all_stages()? }, entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_runs_it_again_writes_no_events_but_the_programs_own_words_stay() {
        let without = |words: &str| {
            let left = without_events(words.split(' ').map(OsString::from).collect());
            left.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(without("--events=a --json up --events b -- x --events c"), "--json up -- x --events c");
        assert_eq!(without("up --events"), "up");
        assert_eq!(without("up -- --events=a"), "up -- --events=a");
    }
}

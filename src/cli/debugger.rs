//! `quiz gdb` and `quiz drgn`: a debugger in a machine that runs, or in the memory of one that crashed, with the debug information of exactly that.

use super::args::{Cli, Command, CrashCommand};
use super::{crash, running};
use crate::boot::crash::Core;
use crate::boot::folder::{live, run_of};
use crate::boot::gdb::Stub;
use crate::boot::running::{Running, machines};
use crate::engine::Engine;
use crate::engine::symbols::{Booted, Symbols};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::host;
use crate::load::PROJECT_FOLDER;
use crate::report::Crashed;
use crate::status;
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGQUIT};
use std::ffi::OsString;
use std::os::unix::net::UnixListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::Arc;

/// What is looked at.
enum Target {
    /// The machine in that folder.
    Live(PathBuf, Box<Running>),
    /// What is left of one.
    Crashed(Box<Crashed>),
}

impl Target {
    /// That of a run: its machine if that lives, else its crash. Without a number the newest machine of this project, else the newest crash.
    fn find(engine: &Engine<'_>, command: &str, id: Option<&str>) -> Result<Self> {
        let lives = match id {
            Some(id) => running::lives(engine, id)?,
            None => !live(&engine.project.dir.join(PROJECT_FOLDER))?.is_empty(),
        };
        if !lives {
            return Self::crash(engine, id);
        }
        let place = running::living(engine, command, id)?;
        let machine = machines(run_of(&place)).into_iter().find(|(other, _)| *other == place);
        let (place, machine) = machine.ok_or_else(|| {
            Error::boot(format!("run {} starts just now", running::name(&place))).hint("once more in a moment")
        })?;
        Ok(Self::Live(place, Box::new(machine)))
    }

    fn crash(engine: &Engine<'_>, id: Option<&str>) -> Result<Self> {
        Ok(Self::Crashed(Box::new(crash::take(engine, id)?)))
    }

    /// The debug information of it; the project is opened as it was for that run.
    fn symbols(&self, engine: &Engine<'_>) -> Result<Symbols> {
        let name = self.name();
        let (kernel, layers, flags, again) = match self {
            Self::Live(_, machine) => (&machine.kernel, &machine.layers, &machine.flags, &machine.again),
            Self::Crashed(crashed) => {
                let crash = &crashed.crash;
                (&crash.kernel, &crash.layers, &crash.flags, &crash.again)
            }
        };
        let booted = Booted { kernel, layers, run: &name, again };
        // What is typed now wins.
        if flags.is_empty() || engine.project.settings.flags().next().is_some() {
            return Symbols::of(engine, &booted);
        }
        let words = ["quiz", "up"].into_iter().chain(flags.iter().map(String::as_str));
        let mut asked =
            Cli::read(words).map_err(|e| Error::input(format!("the flags of run {name}: {e}")))?.invocation();
        asked.dir = Some(engine.project.dir.clone());
        Symbols::of(&Engine::open(&asked, engine.events)?, &booted)
    }

    fn name(&self) -> String {
        match self {
            Self::Live(place, _) => running::name(place),
            Self::Crashed(crashed) => crashed.run.clone(),
        }
    }
}

/// Starts the debugger that a command asks for, if it does.
pub(super) fn run(engine: &Engine<'_>, command: &Command) -> Option<Result<u8>> {
    let (start, asked, only_crashes): (Start, _, _) = match command {
        Command::Gdb(asked) => (gdb, asked, false),
        Command::Drgn(asked) => (drgn, asked, false),
        Command::Crash { command: CrashCommand::Gdb(asked) } => (gdb, asked, true),
        Command::Crash { command: CrashCommand::Drgn(asked) } => (drgn, asked, true),
        _ => return None,
    };
    Some(start(engine, asked.id.as_deref(), &asked.words, only_crashes))
}

type Start = fn(&Engine<'_>, Option<&str>, &[OsString], bool) -> Result<u8>;

/// What runs on the host as the user does is quiz's own: a stage's output may have been made by what a project brought along.
const GDB: (&str, &str) = ("quiz_gdb.py", include_str!("debugger/quiz_gdb.py"));
const DRGN: (&str, &str) = ("quiz_zfs.py", include_str!("debugger/quiz_zfs.py"));

/// The folder with a script.
fn script(engine: &Engine<'_>, (name, text): (&str, &str)) -> Result<PathBuf> {
    let file = (name.to_owned(), text.as_bytes(), false);
    let output =
        engine.cache.put_tree_from_memory(&[file]).map_err(|e| Error::build("the cache cannot be used").because(e))?;
    Ok(engine.cache.path(&output))
}

/// Starts gdb; `only_crashes`: not in a machine that runs.
fn gdb(engine: &Engine<'_>, id: Option<&str>, words: &[OsString], only_crashes: bool) -> Result<u8> {
    let target = if only_crashes { Target::crash(engine, id)? } else { Target::find(engine, "gdb", id)? };
    if let Target::Crashed(crashed) = &target {
        memory(crashed)?;
    }
    let symbols = target.symbols(engine)?;
    let script = script(engine, GDB)?.join(GDB.0);
    let gdb = |socket: &Path, begun: bool| {
        let modules: Vec<&PathBuf> = symbols.modules.iter().chain([&symbols.kernel]).collect();
        let told = json!({"socket": socket, "begun": begun, "kernel": symbols.kernel, "modules": modules, "sources": symbols.sources});
        let mut command = host::program("gdb");
        // Whatever gdb may load by itself elsewhere: scripts beside or in these files may be a project's.
        command.env("QUIZ_GDB", told.to_string()).args(["-q", "-iex", "set auto-load off"]);
        command.arg(symbols.vmlinux()).arg("-x").arg(&script);
        wait(command.args(words))
    };
    match &target {
        Target::Crashed(crashed) => {
            let core = Core::open(memory(crashed)?)?;
            let failed = |e| Error::boot("cannot make a socket for gdb").because(e);
            let folder = tempfile::tempdir().map_err(failed)?;
            let socket = folder.path().join("gdb");
            let listener = UnixListener::bind(&socket).map_err(failed)?;
            std::thread::spawn(move || listener.accept().map(|(gdb, _)| core.serve(gdb)));
            gdb(&socket, true)
        }
        Target::Live(place, _) => {
            let stub = Stub::listen(place)?;
            let status = gdb(&stub.socket(), !stub.is_before_the_first_instruction())?;
            if stub.leave()? {
                let message = "gdb left the machine standing still: it goes on".to_owned();
                (engine.events)(Event::Warning { message });
            }
            Ok(status)
        }
    }
}

/// Starts drgn on a dump; that of a machine that runs is made now.
fn drgn(engine: &Engine<'_>, id: Option<&str>, words: &[OsString], only_crashes: bool) -> Result<u8> {
    let target = if only_crashes { Target::crash(engine, id)? } else { Target::find(engine, "drgn", id)? };
    if let Target::Crashed(crashed) = &target {
        memory(crashed)?;
    }
    let symbols = target.symbols(engine)?;
    let core = match &target {
        Target::Crashed(crashed) => memory(crashed)?.to_owned(),
        Target::Live(place, _) => crash::dump(engine, Some(&running::name(place)))?,
    };
    let mut command = host::program("drgn");
    command.arg("-c").arg(core);
    // Of modules it takes those that were loaded.
    for folder in std::iter::once(&symbols.kernel).chain(&symbols.modules) {
        command.arg("--kernel-directory").arg(folder);
    }
    let theirs = std::env::var_os("PYTHONPATH").unwrap_or_default();
    let theirs = std::env::split_paths(&theirs).filter(|path| !path.as_os_str().is_empty());
    if let Ok(path) = std::env::join_paths(std::iter::once(script(engine, DRGN)?).chain(theirs)) {
        command.env("PYTHONPATH", path);
    }
    Err(not_started("drgn", &command.args(words).exec()))
}

fn memory(crashed: &Crashed) -> Result<&Path> {
    crashed.memory.as_ref().map(|(memory, _)| memory.as_path()).ok_or_else(|| {
        Error::input(format!("the memory of run {} is not there", crashed.run)).hint("`quiz crash show` says why")
    })
}

/// Waits for a program that has the terminal: Ctrl-C is its own.
fn wait(command: &mut Process) -> Result<u8> {
    for signal in [SIGINT, SIGQUIT] {
        // The program has the default again: what is caught does not outlive exec.
        signal_hook::flag::register(signal, Arc::default())
            .map_err(|e| Error::boot("cannot catch signals").because(e))?;
    }
    let ended = command.status().map_err(|e| not_started("gdb", &e))?;
    let by_signal = ended.signal().map_or(status::FAILED, status::signal);
    Ok(ended.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(by_signal))
}

fn not_started(program: &str, error: &std::io::Error) -> Error {
    if error.kind() != std::io::ErrorKind::NotFound {
        return Error::boot(format!("cannot start {program}: {error}"));
    }
    let error = Error::input(format!("{program} is not installed"));
    match program {
        "drgn" => error.hint("pipx install drgn, or your distribution's package of that name"),
        _ => error.hint("apt-get install gdb, or your distribution's package of that name"),
    }
}

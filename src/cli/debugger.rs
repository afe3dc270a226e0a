//! `quiz gdb` and `quiz drgn`: a debugger in a machine that runs, or in the memory of one that crashed, with the debug information of exactly that.

use super::args::{Command, CrashCommand, Debugger as Asked};
use super::{crashed, running, symbols};
use crate::boot::crash::{Core, FOLDER};
use crate::boot::folder::{live, run_of};
use crate::boot::gdb::Stub;
use crate::boot::running::{Running, machines};
use crate::engine::Engine;
use crate::engine::debug::tasks::{self, Task};
use crate::engine::drgn::{self, Drgn};
use crate::engine::symbols::{Booted, Symbols};
use crate::error::{Error, Result};
use crate::event::told::slowly;
use crate::event::{Event, Unit};
use crate::host;
use crate::report::Crashed;
use crate::status;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::net::UnixListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Between two looks whether quiz was told to end.
const LOOK_AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// What is looked at.
enum Target {
    /// The machine in that folder.
    Live(PathBuf, Box<Running>),
    /// What is left of a machine that crashed, and its memory.
    Crashed(Box<Crashed>, PathBuf),
}

impl Target {
    /// The target in a run: its machine if that still runs, else its crash. Without a number the newest machine of this project, else the newest crash.
    fn find(engine: &Engine<'_>, command: &str, id: Option<&str>) -> Result<Self> {
        let lives = match id {
            Some(id) => running::lives(engine, id)?,
            None => !running::every(engine, live)?.is_empty(),
        };
        if !lives {
            return Self::crash(engine, id);
        }
        let place = running::living(engine, command, id)?;
        let machine = machines(run_of(&place)).into_iter().find(|(other, _)| *other == place);
        let (place, machine) = machine.ok_or_else(|| {
            Error::boot(format!("the machine of run {} is only just starting", running::name(&place)))
                .hint("try again in a moment")
        })?;
        Ok(Self::Live(place, Box::new(machine)))
    }

    fn crash(engine: &Engine<'_>, id: Option<&str>) -> Result<Self> {
        Self::of(crashed::take(engine, id)?)
    }

    fn of(crashed: Crashed) -> Result<Self> {
        let Some((memory, _)) = &crashed.memory else {
            return Err(Error::input(format!("the memory of run {} is not there", crashed.run))
                .hint("`quiz crash show` says why"));
        };
        let memory = memory.clone();
        Ok(Self::Crashed(Box::new(crashed), memory))
    }

    /// The debug information of it.
    fn symbols(&self, engine: &Engine<'_>) -> Result<Symbols> {
        let name = self.name();
        let (booted, flags) = match self {
            Self::Live(_, machine) => {
                let (kernel, layers) = (Path::new(&machine.kernel), &machine.layers);
                let (again, imported) = (machine.again.as_str(), machine.imported.as_ref());
                (Booted { kernel, layers, run: &name, again, imported, crash: None }, &machine.flags)
            }
            Self::Crashed(crashed, _) => (symbols::booted(crashed), &crashed.crash.flags),
        };
        symbols::open(engine, &booted, flags, Symbols::of)
    }

    /// Whether it came by `quiz crash import`, so that its files may be of somebody else's making.
    fn is_imported(&self) -> bool {
        match self {
            Self::Live(_, machine) => machine.imported.is_some(),
            Self::Crashed(crashed, _) => crashed.crash.imported.is_some(),
        }
    }

    /// An error if drgn would not find the kernel in a crash's memory: it needs VMCOREINFO, which the kernel writes about its own layout.
    fn says_where_it_lies(&self) -> Result<()> {
        let Self::Crashed(crashed, _) = self else { return Ok(()) };
        if crashed.crash.release.is_some() {
            return Ok(());
        }
        let run = &crashed.run;
        Err(Error::input(format!("the memory of run {run} has no VMCOREINFO, by which drgn finds the kernel in it"))
            .hint("a kernel with CONFIG_VMCORE_INFO=y (CONFIG_CRASH_CORE=y before 6.9) has it")
            .hint(format!("quiz gdb {run} works without it")))
    }

    fn name(&self) -> String {
        match self {
            Self::Live(place, _) => running::name(place),
            Self::Crashed(crashed, _) => crashed.run.clone(),
        }
    }
}

/// Starts the debugger that a command asks for; `None` if the command is about something else.
pub(super) fn run(engine: &Engine<'_>, command: &Command) -> Option<Result<u8>> {
    let (program, asked, only_crashes) = match command {
        Command::Gdb(asked) => (GDB, asked, false),
        Command::Drgn(asked) => (DRGN, asked, false),
        Command::Crash { command: CrashCommand::Gdb(asked) } => (GDB, asked, true),
        Command::Crash { command: CrashCommand::Drgn(asked) } => (DRGN, asked, true),
        _ => return None,
    };
    Some(start(engine, program, asked, only_crashes))
}

/// `only_crashes`: not in a machine that runs.
fn start(engine: &Engine<'_>, program: &str, asked: &Asked, only_crashes: bool) -> Result<u8> {
    let id = asked.id.as_deref();
    let find = || if only_crashes { Target::crash(engine, id) } else { Target::find(engine, program, id) };
    // gdb is looked for first: debug information that takes minutes to compile is of no use without it.
    if program == GDB {
        require_gdb()?;
        let target = find()?;
        return gdb(engine, &target, &target.symbols(engine)?, &asked.words);
    }
    let target = find()?;
    target.says_where_it_lies()?;
    let drgn = drgn::made(engine)?;
    start_drgn(engine, &drgn, &target, &target.symbols(engine)?, &asked.words)
}

const GDB: &str = "gdb";
const DRGN: &str = "drgn";

/// The scripts for gdb and drgn are part of quiz, and not the output of a stage: they run on the host as the user, and a project, which may come from
/// anybody, has a part in what stages make.
const IN_GDB: (&str, &str) = ("quiz_gdb.py", include_str!("debugger/quiz_gdb.py"));
const IN_DRGN: (&str, &str) = ("quiz_zfs.py", include_str!("debugger/quiz_zfs.py"));
const TASKS: (&str, &str) = ("quiz_tasks.py", include_str!("debugger/quiz_tasks.py"));
/// The last lines of drgn's own that are shown when it fails.
const LINES: usize = 8;

/// Puts a script into the cache, and gives the folder it is in.
fn script(engine: &Engine<'_>, (name, text): (&str, &str)) -> Result<PathBuf> {
    let file = (name.to_owned(), text.as_bytes(), false);
    let output =
        engine.cache.put_tree_from_memory(&[file]).map_err(|e| Error::build("the cache cannot be used").because(e))?;
    Ok(engine.cache.path(&output))
}

fn gdb(engine: &Engine<'_>, target: &Target, symbols: &Symbols, words: &[OsString]) -> Result<u8> {
    let script = script(engine, IN_GDB)?.join(IN_GDB.0);
    let gdb = |socket: &Path, begun: bool| {
        let modules = symbols.modules.iter().chain([&symbols.kernel]);
        let modules: Vec<_> = modules.map(|folder| folder.to_string_lossy()).collect();
        let sources: Vec<_> =
            symbols.sources.iter().map(|(inside, folder)| (inside, folder.to_string_lossy())).collect();
        let kernel = symbols.kernel.to_string_lossy();
        let vmlinux = symbols.vmlinux();
        let told = json!({"socket": socket.to_string_lossy(), "begun": begun, "kernel": kernel, "vmlinux": vmlinux, "modules": modules,
            "sources": sources, "imported": target.is_imported()});
        wait(on(&vmlinux, &script).env("QUIZ_GDB", told.to_string()).args(words))
    };
    match target {
        Target::Crashed(_, memory) => {
            let mut core = Core::open(memory)?;
            let failed = |e| Error::boot("cannot make a socket for gdb").because(e);
            let folder = tempfile::tempdir().map_err(failed)?;
            let socket = folder.path().join("gdb");
            let listener = UnixListener::bind(&socket).map_err(failed)?;
            // Serves gdb as often as it connects. The thread ends with this process.
            std::thread::spawn(move || listener.incoming().flatten().try_for_each(|gdb| core.serve(gdb)));
            gdb(&socket, true)
        }
        Target::Live(place, _) => {
            let stub = Stub::listen(place)?;
            let status = gdb(&stub.socket(), !stub.is_before_the_first_instruction())?;
            if stub.leave()? {
                let message = "gdb left the machine stopped: quiz lets it go on".to_owned();
                (engine.events)(Event::Warning { message });
            }
            Ok(status)
        }
    }
}

/// The command that starts gdb on that file, with that script of quiz's.
fn on(vmlinux: &Path, script: &Path) -> Process {
    let mut command = debugger(GDB.as_ref());
    // gdb loads no script by itself, and is told so before it reads a file: scripts beside these files or in them may be a project's, or came with
    // a crash. This turns off `.debug_gdb_scripts`, FILE-gdb.py, a .gdbinit of the current folder and libthread_db, too.
    command.args(["-q", "-iex", "set auto-load off"]).arg(vmlinux).arg("-x").arg(script);
    command
}

/// Starts drgn on the memory of a crash; that of a machine that runs is written now.
fn start_drgn(engine: &Engine<'_>, drgn: &Drgn, target: &Target, symbols: &Symbols, words: &[OsString]) -> Result<u8> {
    let core = match target {
        Target::Crashed(_, memory) => memory.clone(),
        Target::Live(place, _) => crashed::dump(engine, Some(&running::name(place)))?,
    };
    Err(cannot_start(drgn_on(engine, drgn, &core, symbols)?.args(words).exec()))
}

fn cannot_start(error: io::Error) -> Error {
    Error::boot("cannot start drgn").because(error)
}

/// What the processors and the waiting tasks of a guest that crashed did. Kept beside its memory.
///
/// # Errors
/// The memory is not there, or says not where the kernel lies in it; drgn or the debug information cannot be made; drgn found nothing.
pub(super) fn tasks(engine: &Engine<'_>, crashed: &Crashed) -> Result<Vec<Task>> {
    let folder = crashed.place.join(FOLDER);
    let target = Target::of(crashed.clone())?;
    target.says_where_it_lies()?;
    let Target::Crashed(_, memory) = &target else { return Ok(Vec::new()) };
    let drgn = drgn::made(engine)?;
    let symbols = target.symbols(engine)?;
    let mut command = drgn_on(engine, &drgn, memory, &symbols)?;
    command.arg(script(engine, TASKS)?.join(TASKS.0)).stdin(Stdio::null());
    let told = slowly("looking for tasks", Unit::Files, engine.events, |_| command.output()).map_err(cannot_start)?;
    let said = String::from_utf8_lossy(&told.stdout);
    let Some(tasks) = tasks::read(&said, Some(&symbols)).filter(|_| told.status.success()) else {
        let error = Error::input(format!("drgn cannot say what the tasks of run {} did: {}", crashed.run, told.status));
        let lines = String::from_utf8_lossy(&told.stderr).into_owned();
        return Err(lines.lines().rev().take(LINES).collect::<Vec<_>>().into_iter().rev().fold(error, Error::detail));
    };
    tasks::keep(&folder, &tasks).unwrap_or_else(|error| (engine.events)(Event::Warning { message: error.to_string() }));
    Ok(tasks)
}

/// The command that starts drgn on a memory.
fn drgn_on(engine: &Engine<'_>, drgn: &Drgn, core: &Path, symbols: &Symbols) -> Result<Process> {
    let mut command = debugger(&drgn.words[0]);
    command.args(&drgn.words[1..]).arg("-c").arg(core);
    // drgn takes from these folders the modules that were loaded in the guest.
    for folder in std::iter::once(&symbols.kernel).chain(&symbols.modules) {
        command.arg("--kernel-directory").arg(folder);
    }
    let theirs = std::env::var_os("PYTHONPATH").unwrap_or_default();
    let theirs = std::env::split_paths(&theirs).filter(|path| !path.as_os_str().is_empty());
    let ours = [Some(script(engine, IN_DRGN)?), drgn.package.clone()].into_iter().flatten();
    let path = std::env::join_paths(ours.chain(theirs)).map_err(|e| {
        Error::input(format!(
            "the cache's path cannot stand in PYTHONPATH, by which drgn finds its modules: {}",
            engine.cache.root().display()
        ))
        .because(e)
    })?;
    command.env("PYTHONPATH", path);
    Ok(command)
}

/// The command that starts a debugger. Its Python must not write what it has compiled beside a script: that is in the cache, where nothing may change.
fn debugger(program: &OsStr) -> Process {
    let mut command = host::program(program);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn require_gdb() -> Result<()> {
    if host::find(GDB).is_some() {
        return Ok(());
    }
    Err(Error::input(format!("{GDB} is not installed"))
        .hint("apt-get install gdb, or your distribution's package gdb; it has to be built with Python"))
}

/// Waits for a program that has the terminal: Ctrl-C is its own. What ends quiz ends it.
fn wait(command: &mut Process) -> Result<u8> {
    let (ignored, told) = (Arc::default(), Arc::new(AtomicBool::new(false)));
    host::signals::signals_are_caught();
    // gdb itself has the default actions again: a handler does not outlive exec.
    for (signal, flag) in [(SIGINT, &ignored), (SIGQUIT, &ignored), (SIGHUP, &told), (SIGTERM, &told)] {
        signal_hook::flag::register(signal, Arc::clone(flag))
            .map_err(|e| Error::boot("cannot catch signals").because(e))?;
    }
    let failed = |e| Error::boot("cannot start gdb").because(e);
    let mut gdb = command.spawn().map_err(failed)?;
    let process = pidfd_open(Pid::from_child(&gdb), PidfdFlags::empty()).map_err(|e| failed(e.into()))?;
    let ended = loop {
        if let Some(ended) = gdb.try_wait().map_err(failed)? {
            break ended;
        }
        if told.swap(false, Ordering::Relaxed) {
            // gdb may have ended just now, which is as good.
            let _ = pidfd_send_signal(&process, Signal::TERM);
        }
        // gdb's end and a signal wake this at once. It has a limit because the flag may have been set just before.
        let _ = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&LOOK_AGAIN));
    };
    let by_signal = ended.signal().map_or(status::FAILED, status::signal);
    Ok(ended.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(by_signal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gdb_is_told_to_load_no_scripts_before_it_reads_a_file() {
        let command = on(Path::new("/k/vmlinux"), Path::new("/s.py"));
        let words: Vec<_> = command.get_args().collect();
        assert_eq!(words, ["-q", "-iex", "set auto-load off", "/k/vmlinux", "-x", "/s.py"]);
    }
}

//! `quiz gdb` and `quiz drgn`: a debugger in a machine that runs, or in the memory of one that crashed, with the debug information of exactly that.

use super::args::{Command, CrashCommand, Debugger as Asked};
use super::crashed::identity;
use super::{crashed, running, symbols};
use crate::boot::crash::{Core, Crash, FOLDER, cut_short};
use crate::boot::folder::run_of;
use crate::boot::gdb::Stub;
use crate::boot::running::{Running, machines};
use crate::engine::Engine;
use crate::engine::debug::tasks::{self, Tasks};
use crate::engine::drgn::{self, Drgn};
use crate::engine::memory;
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
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::net::UnixListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

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
        if !running::has_machine(engine, id)? {
            return Self::crash(engine, id);
        }
        let place = running::living(engine, command, id)?;
        match machines(run_of(&place)).into_iter().find(|(other, _)| *other == place) {
            Some((place, machine)) => Ok(Self::Live(place, Box::new(machine))),
            // One of several machines of a run that goes on.
            None if Crash::read(&place).is_some() => Self::crash(engine, Some(&running::name(&place))),
            None => Err(Error::boot(format!("the machine of run {} is only just starting", running::name(&place)))
                .hint("try again in a moment")),
        }
    }

    fn crash(engine: &Engine<'_>, id: Option<&str>) -> Result<Self> {
        Self::of(engine, crashed::take(engine, id)?)
    }

    fn of(engine: &Engine<'_>, crashed: Crashed) -> Result<Self> {
        let Some(memory) = memory::plain(&crashed.place, engine.events)? else {
            return Err(Error::input(format!("the memory of run {} is not there", crashed.run))
                .hint("`quiz crash show` says why"));
        };
        if let Some(why) = cut_short(&memory) {
            return Err(Error::input(format!("the memory of run {} is not whole: {why}", crashed.run))
                .hint(format!("quiz crash again {} runs its program in the same machine", crashed.run)));
        }
        Ok(Self::Crashed(Box::new(crashed), memory))
    }

    /// The same, with its memory where that lies now: a run that ended meanwhile may have packed it.
    fn again(self, engine: &Engine<'_>) -> Result<Self> {
        match self {
            Self::Crashed(crashed, _) => Self::of(engine, *crashed),
            live @ Self::Live(..) => Ok(live),
        }
    }

    /// The debug information of it.
    fn symbols(&self, engine: &Engine<'_>) -> Result<Symbols> {
        let name = self.name();
        let (booted, given) = match self {
            Self::Live(_, machine) => {
                let (kernel, layers) = (Path::new(&machine.kernel), &machine.layers);
                let (again, imported) = (machine.again.as_str(), machine.imported.as_ref());
                (
                    Booted { kernel, layers, run: &name, again, imported, crash: None },
                    (&machine.flags[..], machine.variables.as_deref()),
                )
            }
            Self::Crashed(crashed, _) => (symbols::booted(crashed), symbols::given(crashed)),
        };
        symbols::open(engine, &booted, given, Symbols::of)
    }

    /// Whether it came by `quiz crash import`, so that its files may be of somebody else's making.
    fn is_imported(&self) -> bool {
        match self {
            Self::Live(_, machine) => machine.imported.is_some(),
            Self::Crashed(crashed, _) => crashed.crash.imported.is_some(),
        }
    }

    /// An error if drgn would not find the kernel in the memory, which is there: it needs VMCOREINFO, which the kernel writes about its own layout.
    fn says_where_it_lies(&self) -> Result<()> {
        let release = match self {
            Self::Crashed(crashed, _) => crashed.crash.release.clone(),
            Self::Live(place, _) => Crash::read(place).and_then(|crash| crash.release),
        };
        if release.is_some() {
            return Ok(());
        }
        let run = self.name();
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
        let symbols = target.symbols(engine)?;
        return gdb(engine, &target.again(engine)?, &symbols, &asked.words);
    }
    let target = find()?;
    let Target::Live(place, _) = &target else {
        target.says_where_it_lies()?;
        let (drgn, symbols) = (drgn::made(engine)?, target.symbols(engine)?);
        let target = target.again(engine)?;
        let Target::Crashed(_, memory) = &target else { return Err(Error::input("there is no memory")) };
        return start_drgn(engine, &drgn, memory, &symbols, &asked.words);
    };
    // A machine does not stand still for a drgn that is not there. But before anything is compiled: what is seen is the moment at which it was asked for.
    let drgn = drgn::made(engine)?;
    let memory = crashed::dump(engine, Some(&target.name()))?;
    let written = identity(&place.join(FOLDER));
    target.says_where_it_lies()?;
    let symbols = target.symbols(engine)?;
    if identity(&place.join(FOLDER)) != written {
        return Err(Error::input(format!(
            "the memory of run {} is another one by now: it crashed, or was dumped",
            target.name()
        ))
        .hint(format!("quiz drgn {}", target.name())));
    }
    start_drgn(engine, &drgn, &memory, &symbols, &asked.words)
}

const GDB: &str = "gdb";
const DRGN: &str = "drgn";

/// The scripts for gdb and drgn are part of quiz, and not the output of a stage: they run on the host as the user, and a project, which may come from
/// anybody, has a part in what stages make.
const IN_GDB: (&str, &str) = ("quiz_gdb.py", include_str!("debugger/quiz_gdb.py"));
const IN_DRGN: (&str, &str) = ("quiz_zfs.py", include_str!("debugger/quiz_zfs.py"));
const TASKS: (&str, &str) = ("quiz_tasks.py", include_str!("debugger/quiz_tasks.py"));
/// How long drgn may take to open a memory and look for tasks there; its script gives up before that, and tells what it has.
const LONGEST: Duration = Duration::from_secs(600);
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
            "sources": sources, "imported": target.is_imported() || symbols.is_noted});
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

fn start_drgn(engine: &Engine<'_>, drgn: &Drgn, core: &Path, symbols: &Symbols, words: &[OsString]) -> Result<u8> {
    Err(cannot_start(drgn_on(engine, drgn, core, symbols)?.args(words).exec()))
}

fn cannot_start(error: io::Error) -> Error {
    Error::boot("cannot start drgn").because(error)
}

/// What the processors and the waiting tasks of a guest that crashed did. Kept beside its memory; what was kept is given when that is removed.
///
/// # Errors
/// The memory is not there, or says not where the kernel lies in it; drgn or the debug information cannot be made; drgn found nothing.
pub(super) fn tasks(engine: &Engine<'_>, crashed: &Crashed) -> Result<Tasks> {
    let folder = crashed.place.join(FOLDER);
    let is_whole = crashed.memory.is_some() && crashed.crash.cut.is_none();
    if let Some(kept) = tasks::kept(&folder).filter(|_| !is_whole) {
        return Ok(kept);
    }
    // A dump in the meantime puts another folder there, which is not to get what was found in the memory of this one.
    let before = identity(&folder);
    let target = Target::of(engine, crashed.clone())?;
    target.says_where_it_lies()?;
    let drgn = drgn::made(engine)?;
    let symbols = target.symbols(engine)?;
    let target = target.again(engine)?;
    let Target::Crashed(_, memory) = &target else { return Err(Error::input("there is no memory")) };
    let mut command = drgn_on(engine, &drgn, memory, &symbols)?;
    // Nothing is fetched from elsewhere: that could take any time.
    command.arg(script(engine, TASKS)?.join(TASKS.0)).stdin(Stdio::null()).env_remove("DEBUGINFOD_URLS");
    let (ended, out, err) = slowly("looking for tasks", Unit::Files, engine.events, |_| captured(&mut command))?;
    let wrong = |why: &str| {
        let error = Error::input(format!("drgn cannot say what the tasks of run {} did: {why}", crashed.run));
        let lines: Vec<&str> = err.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].iter().fold(error, |error, line| error.detail(*line))
    };
    let found = tasks::read(&out, Some(&symbols)).filter(|_| ended.success());
    let found = found.ok_or_else(|| wrong(&ended.to_string()))?;
    if let Some(why) = found.cut.as_ref().filter(|_| found.tasks.is_empty()) {
        return Err(wrong(why));
    }
    if identity(&folder) == before {
        let warn = |error: Error| (engine.events)(Event::Warning { message: error.to_string() });
        tasks::keep(&folder, &found).unwrap_or_else(warn);
    }
    Ok(found)
}

/// How drgn ended, and its stdout and stderr. It is ended with quiz, and after [`LONGEST`].
fn captured(command: &mut Process) -> Result<(ExitStatus, String, String)> {
    let files = (|| {
        let (out, err) = (tempfile::tempfile()?, tempfile::tempfile()?);
        command.stdout(out.try_clone()?).stderr(err.try_clone()?);
        Ok([out, err])
    })();
    let unread = |e: io::Error| Error::boot("the answer of drgn cannot be stored").because(e);
    let [mut out, mut err] = files.map_err(unread)?;
    host::tie(command, Vec::new());
    let ended = ended(command, DRGN, Some(LONGEST))?;
    let text = |file: &mut File| {
        let mut bytes = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok((ended, text(&mut out).map_err(unread)?, text(&mut err).map_err(unread)?))
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

/// Waits for gdb, which has the terminal, and gives its status.
fn wait(command: &mut Process) -> Result<u8> {
    let ended = ended(command, GDB, None)?;
    let by_signal = ended.signal().map_or(status::FAILED, status::signal);
    Ok(ended.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(by_signal))
}

/// Starts a debugger and waits for it, `most` of the time: Ctrl-C is its own. What ends quiz ends it.
fn ended(command: &mut Process, name: &str, most: Option<Duration>) -> Result<ExitStatus> {
    let (ignored, told) = (Arc::default(), Arc::new(AtomicBool::new(false)));
    host::signals::signals_are_caught();
    // The program itself has the default actions again: a handler does not outlive exec.
    for (signal, flag) in [(SIGINT, &ignored), (SIGQUIT, &ignored), (SIGHUP, &told), (SIGTERM, &told)] {
        signal_hook::flag::register(signal, Arc::clone(flag))
            .map_err(|e| Error::boot("cannot catch signals").because(e))?;
    }
    let failed = |e| Error::boot(format!("cannot start {name}")).because(e);
    let begun = Instant::now();
    let mut debugger = command.spawn().map_err(failed)?;
    let process = pidfd_open(Pid::from_child(&debugger), PidfdFlags::empty()).map_err(|e| failed(e.into()))?;
    loop {
        if let Some(ended) = debugger.try_wait().map_err(failed)? {
            return Ok(ended);
        }
        if told.swap(false, Ordering::Relaxed) {
            // It may have ended just now, which is as good.
            let _ = pidfd_send_signal(&process, Signal::TERM);
        }
        if let Some(most) = most.filter(|most| begun.elapsed() > *most) {
            let _ = debugger.kill().and_then(|()| debugger.wait());
            return Err(Error::boot(format!("{name} was ended: it took more than {} s", most.as_secs())));
        }
        // Its end and a signal wake this at once. It has a limit because the flag may have been set just before.
        let _ = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&LOOK_AGAIN));
    }
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

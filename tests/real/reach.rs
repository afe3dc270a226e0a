//! Ways into a machine that runs, and out of it: ssh, the network, windows on a terminal, a profile of one's own.

use super::Real;
use crate::project::Ran;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// `quiz up` in the background, the first run of its project; the machine is ended with this. A test that fails shows what quiz and
/// the guest's kernel said.
pub(super) struct Running<'a>(Child, &'a Real);

impl<'a> Running<'a> {
    pub(super) fn start(real: &'a Real, args: &[&str]) -> Self {
        Self(real.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap(), real)
    }
}

#[expect(clippy::print_stderr, reason = "of a test that fails")]
impl Drop for Running<'_> {
    fn drop(&mut self) {
        let ended = self.0.try_wait();
        // qemu dies with quiz.
        let killed = self.0.kill().and_then(|()| self.0.wait());
        if std::thread::panicking() {
            let mut said = String::new();
            let _ = self.0.stderr.take().map(|mut stderr| stderr.read_to_string(&mut said));
            let log = std::fs::read_to_string(self.1.0.dir().join(".quiz/runs/1/console.log")).unwrap_or_default();
            eprintln!("quiz up: {ended:?}\n{said}\nconsole.log:\n{log}");
        } else {
            killed.unwrap();
        }
    }
}

pub(super) fn eventually<T>(what: &str, mut get: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = get() {
            return value;
        }
        assert!(start.elapsed() < Duration::from_secs(120), "no {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn process(program: &str, args: &[&str]) -> Ran {
    Ran::from(Command::new(program).args(args).output().unwrap())
}

#[test]
fn a_program_sees_the_end_of_its_stdin_beside_the_channels() {
    let real = Real::new();
    let mut command = real.command(&["up", "-p", "ssh", "--", "timeout", "60", "cat"]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    child.stdin.take().unwrap().write_all(b"word").unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!((ran.status, ran.out.as_str()), (Some(0), "word"), "{ran:?}");
}

#[test]
fn ssh_reaches_a_machine_in_several_sessions_and_survives_a_client_that_vanishes() {
    let real = Real::new();
    let up = Running::start(&real, &["up", "-p", "ssh:count=2", "--", "sleep", "600"]);
    eventually("channel", || real.0.dir().join(".quiz/runs/1/ssh.1").exists().then_some(()));
    let ssh = |script: &str| real.run(&["ssh", "1", "--", "sh", "-c", script]);
    // The guest still boots; without a number the newest machine is meant.
    let ran = real.run(&["ssh", "--", "uname", "-n"]);
    assert_eq!((ran.status, ran.out.as_str(), ran.err.as_str()), (Some(0), "quiz-1\n", ""));
    let ran = ssh("echo \"a  b\"; echo c >&2; exit 7");
    assert_eq!((ran.status, ran.out.as_str(), ran.err.as_str()), (Some(7), "a  b\n", "c\n"));
    // When the server in the guest is killed, ssh does not wait for it.
    assert_eq!(ssh("pkill -9 sshd").status, Some(255));

    // Each waits for the other one, and both for the end; meanwhile a third finds no channel.
    let meet = |me: &str, other: &str| {
        let until = |name: &str| format!("until test -e /shared/{name}; do sleep 0.1; done");
        let script = format!("touch /shared/{me}; {}; {}", until(other), until("end"));
        real.run(&["ssh", "1", "--", "timeout", "60", "sh", "-c", &script])
    };
    std::thread::scope(|scope| {
        let mut pair = vec![scope.spawn(|| meet("one", "two")), scope.spawn(|| meet("two", "one"))];
        let shared = real.0.dir().join(".quiz/shared");
        eventually("two sessions", || {
            if let Some(at) = pair.iter().position(|thread| thread.is_finished()) {
                panic!("a session ended: {:?}", pair.swap_remove(at).join().unwrap());
            }
            (shared.join("one").exists() && shared.join("two").exists()).then_some(())
        });
        assert_eq!(ssh("true").count("all 2 channels ssh of run 1 are busy"), 1);
        real.0.write(".quiz/shared/end", "");
        for thread in pair {
            assert_eq!(thread.join().unwrap().status, Some(0));
        }
    });

    let mut client = real.command(&["ssh", "--", "sleep", "600"]).spawn().unwrap();
    let connection = eventually("connection", || {
        let found = process("ps", &["-o", "pid=", "--ppid", &client.id().to_string()]).out;
        (!found.is_empty()).then(|| found.trim().to_owned())
    });
    eventually("session", || (ssh("pgrep -fx 'sleep 600' | wc -l").out == "2\n").then_some(()));
    assert_eq!(process("kill", &["-9", &connection]).status, Some(0));
    assert_eq!(client.wait().unwrap().code(), Some(255));
    let ran = ssh("exit 3");
    assert_eq!(ran.status, Some(3), "{ran:?}");

    drop(up);
    eventually("end of qemu", || real.machines().is_empty().then_some(()));
    let over = ssh("true");
    assert_eq!((over.status, over.count("run 1 is over")), (Some(255), 1), "{over:?}");
}

#[test]
fn scp_brings_files_there_and_back() {
    let real = Real::new();
    let up = Running::start(&real, &["up", "-p", "ssh", "--", "sleep", "600"]);
    eventually("channel", || real.0.dir().join(".quiz/runs/1/ssh.3").exists().then_some(()));
    let data: Vec<u8> = (0_u32..1_250_000).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let (there, back) = (real.0.dir().join("there"), real.0.dir().join("back"));
    std::fs::write(&there, &data).unwrap();
    let config = real.0.dir().join(".quiz/ssh_config").display().to_string();
    let template = real.command(&[]);
    let scp = |from: &str, to: &str| {
        let mut command = Command::new("scp");
        // What this test was told of quiz is not for the quiz that scp starts.
        command.args(["-q", "-F", &config, from, to]).env_clear();
        for (name, value) in template.get_envs() {
            command.env(name, value.unwrap());
        }
        let ran = Ran::from(command.output().unwrap());
        assert_eq!(ran.status, Some(0), "{ran:?}");
    };
    let text = |path: &Path| path.display().to_string();
    scp(&text(&there), "quiz-1:/tmp/file");
    scp("quiz-1:/tmp/file", &text(&back));
    assert!(std::fs::read(&back).unwrap() == data, "the bytes differ");
    drop(up);
    eventually("end of qemu", || real.machines().is_empty().then_some(()));
}

/// Says what it hears. It waits for its stdin, and at the same time for nothing at what its stdout leads to, as programs do that
/// have nothing to say just now; by 200 descriptors, so that what comes meanwhile is there at the look at one of them.
const ECHO: &str = "#!/usr/bin/perl
open($others[$_], '>&', \\*STDOUT) or die for 0 .. 199;
for (;;) {
    ($in, $none) = ('', '');
    vec($in, 0, 1) = 1;
    vec($none, fileno($_), 1) = 1 for @others;
    select($in, undef, $none, undef);
    sysread(STDIN, $word, 4096) or last;
    syswrite(STDOUT, $word);
}
";

/// A client of that channel: its program has started.
fn client(socket: &Path) -> UnixStream {
    eventually("answer", || {
        // Another one each time: what an earlier one left in the port is answered, too.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let mark = now.as_nanos().to_le_bytes();
        let mut client = UnixStream::connect(socket).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        client.write_all(&mark).unwrap();
        let mut answer = [0; 16];
        (client.read_exact(&mut answer).is_ok() && answer == mark).then_some(client)
    })
}

#[test]
fn a_channels_program_hears_each_word_and_the_end_however_it_waits() {
    let real = Real::new();
    let device = "about = \"a test\"\n[[devices]]\ntype = \"channel\"\nname = \"echo\"\ncount = 1\n";
    real.0.write(".quiz/profiles/echo/profile.toml", device);
    let program = real.0.write(".quiz/profiles/echo/files/usr/lib/quiz/channels/echo", ECHO);
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let up = Running::start(&real, &["up", "-p", "echo", "--", "sleep", "600"]);
    let socket = real.0.dir().join(".quiz/runs/1/echo.0");
    eventually("channel", || socket.exists().then_some(()));
    for _ in 0..2 {
        let mut client = client(&socket);
        // A wake-up that is lost never comes; one on a busy host may be late.
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        for n in 0..500 {
            let (word, mut heard) = (format!("{n:04}"), [0; 4]);
            client.write_all(word.as_bytes()).unwrap();
            let read = client.read_exact(&mut heard);
            assert!(read.is_ok() && heard == word.as_bytes(), "word {n}: {read:?}, {heard:?}");
        }
    }
    drop(up);
    eventually("end of qemu", || real.machines().is_empty().then_some(()));
}

#[test]
fn the_network_leads_out_of_the_guest_and_through_a_forward_into_it() {
    let real = Real::new();
    let host = TcpListener::bind("127.0.0.1:0").unwrap();
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let profile = format!("net:forward={port}:80");
    let server = "socket(S, PF_INET, SOCK_STREAM, 0); bind(S, sockaddr_in(80, INADDR_ANY)) or die; listen(S, 1); \
                  system('bash', '-c', \"echo ready >/dev/tcp/10.0.2.2/$ARGV[0]\"); \
                  accept(C, S); $line = <C>; print C \"the guest got $line\"; close(C)";
    let out = host.local_addr().unwrap().port().to_string();
    let mut up = Running::start(&real, &["up", "-p", &profile, "--", "perl", "-MSocket", "-e", server, &out]);
    let mut text = String::new();
    host.accept().unwrap().0.read_to_string(&mut text).unwrap();
    assert_eq!(text, "ready\n");
    // The port is this machine's now.
    let second = real.run(&["up", "-p", &profile, "--", "true"]);
    assert_eq!(second.status, Some(125));
    second.says(&[&format!("the port {port} of 127.0.0.1"), "is not free"]);
    assert_eq!(second.count("Booting"), 0);
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.write_all(b"hello\n").unwrap();
    text.clear();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "the guest got hello\n");
    assert_eq!(up.0.wait().unwrap().code(), Some(0));
}

#[test]
fn tmux_shows_the_program_and_the_kernels_log_and_gives_the_programs_status() {
    let real = Real::new();
    let script = "echo '<4>hello from the kernel' >/dev/kmsg; tmux select-window -t kernel; \
                  until tmux capture-pane -p -t kernel | grep -q 'hello from the kernel'; do sleep 0.1; done; sleep 1; exit 5";
    let quiz = env!("CARGO_BIN_EXE_quiz");
    real.0.write(".quiz/shared/script", script);
    let ran = real.on_a_terminal(&format!("stty rows 33 cols 111; {quiz} up -p tmux -- bash -l /shared/script"));
    assert_eq!(ran.status, Some(5), "{ran:?}");
    assert!(ran.out.contains("0:program") && ran.out.contains("hello from the kernel"), "{ran:?}");
    // Elsewhere there is nothing to show windows on.
    let plain = real.run(&["up", "-p", "tmux", "--", "sh", "-c", "test -z \"$TMUX\"; exit 6"]);
    assert_eq!(plain.status, Some(6), "{plain:?}");
}

#[test]
fn a_new_profile_boots() {
    let real = Real::new();
    assert_eq!(real.run(&["profiles", "new", "my-test"]).status, Some(0));
    let ran = real.run(&["up", "-p", "my-test", "--", "dmesg"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.out.contains("the profile my-test is on"), "{}", ran.out);
}

//! `quiz mcp` with a client of a few lines of its own, and a script that plays qemu and the guest.

use crate::project::Project;
use crate::suite::Fake;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Under load everything takes its time; nothing here waits for a machine that compiles.
const PATIENCE: Duration = Duration::from_secs(60);

struct Client {
    server: Child,
    to: Option<ChildStdin>,
    from: Receiver<Value>,
    last: u64,
}

impl Client {
    /// A client that has said hello.
    fn new(project: &Project, words: &[&str]) -> Self {
        let mut client = Self::silent(project, words);
        let hello = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "test", "version": "0" } });
        let answer = client.ask("initialize", hello);
        assert_eq!(answer["result"]["serverInfo"]["name"], "quiz", "{answer}");
        assert!(answer["result"]["capabilities"]["tools"].is_object(), "{answer}");
        client.say(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }).to_string());
        client
    }

    fn silent(project: &Project, words: &[&str]) -> Self {
        let mut command = project.command(&[&["mcp"], words].concat());
        // Where jobs lie: what a server that is killed leaves there goes with the project.
        command.env("TMPDIR", project.bin());
        let mut server = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let (tell, from) = channel();
        std::thread::spawn(move || {
            // Anything on stdout that is no JSON ends this thread, and so fails the test.
            lines.map_while(Result::ok).try_for_each(|line| tell.send(serde_json::from_str(&line).unwrap()))
        });
        Self { to: server.stdin.take(), server, from, last: 0 }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.to.as_mut().unwrap(), "{line}").unwrap();
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let id = self.last;
        self.say(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string());
        loop {
            let answer = self.from.recv_timeout(PATIENCE).unwrap();
            if answer["id"] == id {
                return answer;
            }
        }
    }

    /// What a tool's result has.
    fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let answer = self.ask("tools/call", json!({ "name": tool, "arguments": arguments }));
        assert!(answer["result"].is_object(), "{answer}");
        answer["result"].clone()
    }

    /// The result of a tool that does well.
    fn good(&mut self, tool: &str, arguments: Value) -> Value {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], false, "{result}");
        // For clients that read texts alone.
        let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(text, result["structuredContent"]);
        text
    }

    /// The words of a tool that fails.
    fn bad(&mut self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], true, "{result}");
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }

    /// A run with this play, and what became of it.
    fn run(&mut self, play: &str) -> Value {
        let append = format!("fake={play}");
        self.good("run", json!({ "program": ["true"], "append": [append], "no_snapshot": true, "wait": 50 }))
    }

    /// Starts a run that lives, and waits until others see it.
    fn lives(&mut self, fake: &Fake) -> u64 {
        let asked = json!({ "append": ["fake=lives"], "no_snapshot": true });
        let started = self.good("run", asked);
        assert_eq!((&started["state"], &started["exit"]), (&"running".into(), &Value::Null), "{started}");
        let begun = Instant::now();
        while machines(fake) == 0 {
            assert!(begun.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(20));
        }
        started["job"].as_u64().unwrap()
    }

    fn ends(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.server.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.to.take());
        let _ = self.server.wait();
    }
}

fn machines(fake: &Fake) -> usize {
    serde_json::from_str::<Vec<Value>>(&fake.0.ok(&["--json", "ps"]).out).unwrap().len()
}

/// The processes that have this project's folder among their words.
fn processes(fake: &Fake) -> Vec<String> {
    let all = std::process::Command::new("ps").args(["-eo", "args", "-ww"]).output().unwrap();
    let dir = fake.0.dir().display().to_string();
    let all = String::from_utf8_lossy(&all.stdout).into_owned();
    all.lines().filter(|line| line.contains("qemu-system") && line.contains(&dir)).map(str::to_owned).collect()
}

#[test]
fn a_programs_status_is_told_from_those_of_quiz() {
    let fake = Fake::new();
    let mut client = Client::new(&fake.0, &[]);
    let tools = client.ask("tools/list", json!({}));
    let tools = tools["result"]["tools"].as_array().unwrap();
    let names: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["build", "run", "exec", "test", "graph", "why", "crash", "logs", "job", "stop"]);
    for tool in tools {
        let schema = &tool["inputSchema"];
        assert_eq!((&schema["type"], &schema["additionalProperties"]), (&"object".into(), &false.into()), "{tool}");
        jsonschema::validator_for(schema).unwrap();
    }
    let ran = client.run("program");
    assert_eq!((&ran["exit"]["status"], &ran["exit"]["of"], &ran["run"]), (&7.into(), &"program".into(), &"1".into()));
    assert_eq!((&ran["stdout"]["text"], &ran["stderr"]["text"]), (&"out".into(), &"error".into()), "{ran}");
    for (play, status, of) in
        [("exit-122", 122, "program"), ("reset", 122, "lost"), ("panic", 123, "panic"), ("host-full", 125, "host")]
    {
        let ran = client.run(play);
        assert_eq!((&ran["exit"]["status"], &ran["exit"]["of"]), (&status.into(), &of.into()), "{play}: {ran}");
        assert!(!ran["exit"]["words"].as_str().unwrap().is_empty());
    }
    let slow = json!({ "program": ["x"], "append": ["fake=hang"], "no_snapshot": true, "timeout": 1, "wait": 50 });
    let slow = client.good("run", slow);
    assert_eq!((&slow["exit"]["status"], &slow["exit"]["of"]), (&124.into(), &"time-limit".into()), "{slow}");
}

#[test]
fn a_job_is_followed_by_parts_and_ended_as_quiz_stop_would() {
    let fake = Fake::new();
    let mut client = Client::new(&fake.0, &[]);
    let job = client.lives(&fake);
    let (mut cursor, mut kinds) = (0, Vec::new());
    loop {
        let part = client.good("job", json!({ "job": job, "cursor": cursor, "limit": 1 }));
        let events = part["events"].as_array().unwrap();
        kinds.extend(events.iter().map(|event| event["event"].as_str().unwrap().to_owned()));
        if part["ready"] == true && events.is_empty() {
            break;
        }
        assert!(part["next"].as_u64().unwrap() >= cursor, "{part}");
        cursor = part["next"].as_u64().unwrap();
    }
    assert_eq!(kinds.iter().filter(|kind| *kind == "ready").count(), 1, "{kinds:?}");
    assert_eq!(client.good("job", json!({}))["items"][0]["state"], "running");
    assert!(client.good("logs", json!({ "run": "1" }))["text"].as_str().unwrap().contains("Linux version 7.3.4"));
    let end = client.good("stop", json!({ "job": job }));
    assert_eq!((&end["state"], &end["exit"]["status"]), (&"ended".into(), &143.into()), "{end}");
    assert_eq!(machines(&fake), 0);
    assert_eq!(client.good("job", json!({ "job": job }))["exit"], end["exit"]);
    let log = client.good("logs", json!({ "cursor": 0, "limit": 5 }));
    assert_eq!((&log["text"], &log["next"]), (&"[ 1.0".into(), &5.into()), "{log}");
    let words = client.bad("exec", json!({ "program": ["true"] }));
    assert!(words.starts_with("no machine of this project runs\nhint: "), "{words}");
}

#[test]
fn commands_are_tested_and_stages_built_looked_at_and_explained() {
    let fake = Fake::new();
    let mut client = Client::new(&fake.0, &[]);
    let commands = json!({ "commands": ["pass 1", "fail 2"], "append": ["fake=each"], "wait": 50 });
    let tested = client.good("test", commands);
    assert_eq!((&tested["exit"]["status"], &tested["exit"]["of"]), (&1.into(), &"quiz".into()), "{tested}");
    let groups = &tested["result"]["results"]["groups"];
    assert_eq!((&groups[0]["name"], &groups[1]["tests"][0]["verdict"]), (&"pass 1".into(), &"FAIL".into()), "{groups}");
    let built = client.good("build", json!({ "stages": ["t-root"], "wait": 50 }));
    assert!(built["result"]["t-root/layer"].is_string() && built["exit"]["status"] == 0, "{built}");
    let (mut graph, mut cursor) = (Vec::new(), Some(0));
    while let Some(from) = cursor {
        let part = client.good("graph", json!({ "cursor": from, "limit": 2 }));
        graph.extend(part["items"].as_array().unwrap().clone());
        cursor = part["next"].as_u64();
    }
    let whole: Vec<Value> = serde_json::from_str(&fake.0.ok(&["--json", "graph"]).out).unwrap();
    assert_eq!(graph, whole);
    let other = Project::new();
    other.recipe("t-one", "[outputs]\nout = \"file\"\n", "echo x >/quiz/out/out\n");
    let why = client.good("why", json!({ "directory": other.dir(), "stage": "t-one" }));
    assert_eq!((&why["state"], why["made-from"].is_object()), (&"missing".into(), true), "{why}");
    assert_eq!(client.good("crash", json!({})), json!({ "items": [], "next": null, "total": 0 }));
    // A stage that fails is no result, and its log is told.
    fake.0.recipe("t-bad", "[outputs]\nout = \"file\"\n", "echo the reason >&2; exit 1\n");
    let words = client.bad("build", json!({ "stages": ["t-bad"], "wait": 50 }));
    assert!(words.contains("t-bad") && words.contains("the reason"), "{words}");
}

#[test]
fn what_is_wrong_is_told_with_what_to_do_and_costs_nothing_else() {
    let fake = Fake::new();
    let other = Project::new();
    let mut client = Client::new(&fake.0, &[]);
    let unknown = client.ask("tools/call", json!({ "name": "rm", "arguments": {} }));
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    for (tool, arguments, words) in [
        ("why", json!({ "directory": other.dir(), "stage": "imag" }), "did you mean `image`?"),
        ("why", json!({}), "missing field `stage`"),
        ("why", json!({ "stage": ["x"] }), "the arguments are wrong"),
        ("run", json!({ "programm": ["x"] }), "there is no argument `programm`\nhint: there are: "),
        ("run", json!({ "share": ["/"] }), "there is no argument `share`"),
        ("run", json!({ "qemu_arg": ["-S"] }), "there is no argument `qemu_arg`"),
        ("run", json!({ "kernel": "6.1,6.6" }), "one kernel\nhint: call it once for each"),
        ("run", json!({ "program": ["a\u{0}b"] }), "no job can be started"),
        ("run", json!({ "memory": "1", "wait": 50 }), "a size of 64M or more is wanted"),
        ("build", json!({ "stages": ["--install"], "wait": 50 }), "--install"),
        ("build", json!({ "fresh": true, "wait": 50 }), "STAGES"),
        ("exec", json!({ "program": [] }), "no program to run"),
        ("exec", json!({ "program": ["x"], "run": "--help" }), "`--help` is no run's number"),
        ("crash", json!({ "run": "77" }), "run 77 has left no crash\nhint: "),
        ("test", json!({ "tests": ["godo"], "wait": 50 }), "did you mean `good`?"),
        ("test", json!({ "commands": ["a\nb"] }), "a command is one line"),
        ("job", json!({ "job": 1000 }), "there is no job 1000\nhint: "),
        ("graph", json!({ "directory": "/no/such" }), "no such folder"),
    ] {
        let told = client.bad(tool, arguments.clone());
        assert!(told.contains(words), "{tool} {arguments}: {told}");
    }
    client.say("{\"jsonrpc\": \"2.0\", \"id\": 99, \"method\": \"tools/ca");
    client.say("[]");
    client.say("\u{0}");
    assert_eq!(client.good("graph", json!({ "limit": 1 }))["items"].as_array().unwrap().len(), 1);
    assert_eq!(machines(&fake), 0);
    client.to.as_mut().unwrap().write_all(b"{\"jsonrpc\"").unwrap();
    drop(client.to.take());
    assert_eq!(client.ends(), Some(0));
}

#[test]
fn what_a_client_started_ends_with_it_however_that_ends() {
    let fake = Fake::new();
    for end in ["hang up", "signal", "kill"] {
        let mut client = Client::new(&fake.0, &[]);
        client.lives(&fake);
        let pid = rustix::process::Pid::from_child(&client.server);
        let wanted = match end {
            "hang up" => {
                drop(client.to.take());
                Some(0)
            }
            "signal" => {
                rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
                Some(143)
            }
            _ => {
                client.server.kill().unwrap();
                None
            }
        };
        assert_eq!(client.ends(), wanted, "{end}");
        let files = std::fs::read_dir(fake.0.bin()).unwrap().map(|entry| entry.unwrap().file_name());
        let of_jobs = files.filter(|name| name.as_encoded_bytes().starts_with(b"quiz-job-")).count();
        assert_eq!(of_jobs, usize::from(end == "kill"), "{end}");
        let begun = Instant::now();
        while machines(&fake) > 0 || !processes(&fake).is_empty() {
            // Only a server that was killed cannot wait until its jobs are gone.
            assert!(end == "kill" && begun.elapsed() < PATIENCE, "{end}: {:?}", processes(&fake));
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    // A client that never says a word, or says the wrong one, must not leave a process behind either.
    let mut client = Client::silent(&fake.0, &[]);
    drop(client.to.take());
    assert_eq!(client.ends(), Some(0));
}

#[test]
fn flags_of_the_server_hold_for_what_it_starts() {
    let fake = Fake::new();
    let mut client = Client::new(&fake.0, &["-p", "ztest", "-C", ".quiz"]);
    let ran = client.run("program");
    let command: Vec<&str> = ran["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(command[..3], ["up", "--directory=.quiz", "--profile=ztest"]);
    assert_eq!(ran["exit"]["of"], "program", "{ran}");
}

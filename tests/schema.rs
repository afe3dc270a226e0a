//! What `--json` prints is what `quiz schema` says, and what that says stays as it is for as long as the format's version does.

use crate::project::{Project, Ran};
use crate::suite::Fake;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The schemas as they were when the version began; whoever makes another one writes its file anew: `quiz schema >tests/data/json-N.json`.
const FIRST: &str = include_str!("data/json-1.json");

fn schemas() -> Value {
    serde_json::from_str(&Project::new().ok(&["schema"]).out).unwrap()
}

/// Schemas that are held where what they need is made: the memory of a crash, a kernel's config.
const ELSEWHERE: [&str; 4] = ["crash-export", "crash-import", "kernel-config", "kernel-config-diff"];

/// Holds a value against the schema of that name.
pub fn hold(name: &str, value: &Value) {
    Held { schemas: schemas(), seen: BTreeSet::new() }.hold(name, value);
}

/// Schemas, and which of them something was held against.
struct Held {
    schemas: Value,
    seen: BTreeSet<String>,
}

impl Held {
    fn hold(&mut self, name: &str, value: &Value) {
        let schema = &self.schemas["schemas"][name];
        assert!(schema.is_object(), "no schema {name}");
        let validator = jsonschema::validator_for(schema).unwrap();
        let wrong: Vec<String> = validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(wrong.is_empty(), "{name}: {wrong:?} in {value}");
        // A schema that allows this would let everything pass.
        assert!(!validator.is_valid(&json!("x")), "{name}");
        self.seen.insert(name.to_owned());
    }

    /// What a command has printed, and all its events, of which the first says the version.
    fn ran(&mut self, name: &str, ran: &Ran) -> Value {
        let events: Vec<Value> = ran.err.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        assert_eq!(events.first(), Some(&json!({ "event": "format", "version": self.schemas["format"] })), "{ran:?}");
        events.iter().for_each(|event| self.hold("events", event));
        let value = serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{name}: {e}: {ran:?}"));
        self.hold(name, &value);
        value
    }
}

#[test]
fn what_commands_print_is_what_its_schema_says() {
    let mut held = Held { schemas: schemas(), seen: BTreeSet::new() };
    let (fake, plain) = (Fake::new(), Project::new());
    let script =
        |text: &str| plain.recipe("t-one", "[outputs]\nout = \"file\"\n", &format!("echo {text} >/quiz/out/out\n"));
    script("one");
    fake.0.write("list", "pass 1\nfail 2\npanic\n");
    for (project, name, words) in [
        (&fake.0, "graph", "graph"),
        (&fake.0, "build", "build t-root image"),
        (&fake.0, "graph", "graph"),
        (&fake.0, "test-list", "test --list --each list"),
        (&fake.0, "test", "test --append fake=each --each list"),
        (&fake.0, "ps", "ps"),
        (&fake.0, "snap", "snap"),
        (&plain, "build", "build t-one"),
        (&plain, "graph", "-v graph"),
        (&plain, "why", "why snapshot"),
        (&plain, "verify", "verify t-one"),
        (&plain, "cache-export", "cache export pack t-one"),
        (&plain, "cache-import", "cache import pack"),
        (&plain, "config", "config"),
        (&plain, "doctor", "doctor"),
        (&plain, "gc", "gc"),
        (&plain, "profiles", "profiles"),
        (&plain, "man", "man pages"),
        (&plain, "trust", "trust ."),
        (&plain, "graph-why", "graph --why"),
        (&plain, "profile", "profiles memdev"),
        (&plain, "new", "new recipe mine"),
        (&plain, "cache-pin", "cache pin t-one"),
        (&plain, "cache", "cache"),
        (&plain, "cache-verify", "cache verify"),
        (&plain, "clean", "clean --dry-run"),
    ] {
        let words: Vec<&str> = std::iter::once("--json").chain(words.split(' ')).collect();
        held.ran(name, &project.run(&words));
    }
    let why = held.ran("why", &plain.run(&["--json", "why", "t-one"]));
    assert!(why["state"] == "cached" && why["outputs"]["out"]["bytes"] == 4, "{why}");
    // A stage that is stale has what changed.
    script("other");
    let why = held.ran("why", &plain.run(&["--json", "why", "t-one"]));
    assert!(why["state"] == "stale" && !why["changes"].as_array().unwrap().is_empty(), "{why}");
    let file = |path: &str| serde_json::from_str(&std::fs::read_to_string(fake.run(1).join(path)).unwrap()).unwrap();
    held.hold("results.json", &file("out/results.json"));
    held.hold("result.json", &file("groups/1/result.json"));
    std::fs::remove_file(plain.dir().join("quiz.toml")).unwrap();
    held.ran("init", &plain.run(&["--json", "init"]));
    let crash = json!({
        "cause": "panic", "title": "Oops", "signature": "0123", "functions": ["f"], "lines": ["RIP: 0010:f+0x0/0x40"], "when": 1, "release": "6.1",
        "used": null, "cut": "enough", "program": ["true"], "kernel": "/k", "layers": [], "flags": [], "again": "quiz up",
    });
    plain.write(".quiz/runs/1/crash/crash.json", &crash.to_string());
    held.ran("crash-ls", &plain.run(&["--json", "crash", "ls"]));
    held.ran("crash-show", &plain.run(&["--json", "crash", "show"]));
    held.seen.extend(ELSEWHERE.map(str::to_owned));
    let all: BTreeSet<String> = held.schemas["schemas"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(held.seen, all, "each schema has to be held against something");
}

#[test]
fn events_of_runs_and_errors_are_what_their_schema_says_and_go_to_a_file_if_they_are_told_to() {
    let mut held = Held { schemas: schemas(), seen: BTreeSet::new() };
    let fake = Fake::new();
    let mut kinds = BTreeSet::new();
    for play in ["program", "reset", "panic", "complaint", "warn-0"] {
        let file = fake.0.dir().join(play);
        let events = format!("--events={}", file.display());
        let ran = Ran::from(fake.up(play, &["--timings", &events]).output().unwrap());
        assert!(!ran.err.contains("\"event\""), "{ran:?}");
        let lines: Vec<Value> =
            std::fs::read_to_string(file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for event in &lines {
            held.hold("events", event);
            kinds.insert(event["event"].as_str().unwrap().to_owned());
        }
        let outcome = lines.iter().find(|event| event["event"] == "outcome").unwrap();
        assert_eq!(outcome["status"].as_i64(), ran.status.map(i64::from), "{outcome}");
    }
    // What runs again what crashed does not write there.
    assert!(!std::fs::read_to_string(fake.run(1).join("machine.json")).unwrap().contains("--events"));
    for kind in ["booting", "ready", "step", "ended", "complained", "outcome"] {
        assert!(kinds.contains(kind), "{kind}: {kinds:?}");
    }
    let wrong = fake.0.run(&["--json", "why", "imag"]);
    let last: Value = serde_json::from_str(wrong.err.lines().last().unwrap()).unwrap();
    held.hold("events", &last);
    assert_eq!((&last["event"], &last["kind"]), (&"error".into(), &"input".into()));
    let ran = fake.0.run(&["--events", "/no/such/file", "ps"]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    ran.says(&["--events /no/such/file: cannot write there"]);
}

#[test]
fn one_schema_is_printed_by_its_name_and_a_wrong_name_is_told() {
    let project = Project::new();
    let graph: Value = serde_json::from_str(&project.ok(&["schema", "graph"]).out).unwrap();
    assert_eq!(graph, schemas()["schemas"]["graph"]);
    let ran = project.run(&["schema", "grph"]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    ran.says(&["there is no schema `grph`", "there are: events, build, "]);
}

/// Whether all that a schema promised still holds: what it names is there, and is what it was. Texts for people may change.
fn keeps(old: &Value, new: &Value, at: &str) -> Vec<String> {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let promised = old.iter().filter(|(name, _)| !["description", "title"].contains(&name.as_str()));
            let look = |(name, old): (&String, &Value)| match new.get(name) {
                Some(new) => keeps(old, new, &format!("{at}/{name}")),
                None => vec![format!("{at}/{name} is gone")],
            };
            promised.flat_map(look).collect()
        }
        // Names of fields, kinds of a value, variants: in any order.
        (Value::Array(old), Value::Array(new)) => {
            let is_kept = |old: &Value| new.iter().any(|new| keeps(old, new, at).is_empty());
            old.iter().filter(|old| !is_kept(old)).map(|old| format!("{at} has lost {old}")).collect()
        }
        _ if old == new => Vec::new(),
        _ => vec![format!("{at}: {old} has become {new}")],
    }
}

#[test]
fn what_the_format_promised_it_promises_still() {
    let (first, now): (Value, Value) = (serde_json::from_str(FIRST).unwrap(), schemas());
    assert_eq!(first["format"], now["format"], "another version has a file of its own");
    let broken = keeps(&first["schemas"], &now["schemas"], "");
    assert!(broken.is_empty(), "event::FORMAT has to become another one:\n{}", broken.join("\n"));
}

#[test]
fn a_promise_is_broken_by_what_goes_and_what_changes_not_by_what_is_new() {
    let old = json!({ "required": ["a"], "properties": { "a": { "type": "string", "description": "x" } }, "oneOf": [{ "const": "e" }] });
    let more = json!({ "required": ["b", "a"], "properties": { "a": { "type": "string" }, "b": {} }, "oneOf": [{ "const": "f" }, { "const": "e" }] });
    assert!(keeps(&old, &more, "").is_empty());
    for (path, value) in
        [("/required", json!([])), ("/properties/a/type", json!(["string", "null"])), ("/oneOf/1/const", json!("g"))]
    {
        let mut other = more.clone();
        *other.pointer_mut(path).unwrap() = value;
        assert_eq!(keeps(&old, &other, "").len(), 1, "{path}");
    }
}

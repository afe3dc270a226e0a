//! The library's example in docs/library.md is compiled, and does what it says there: with a script that plays qemu and the guest.

#[path = "../examples/library.rs"]
mod example;

use crate::suite::Fake;
use std::path::Path;
use std::process::{Command, Stdio};

/// Set in the process that is the example.
const IS_EXAMPLE: &str = "RUNS_THE_EXAMPLE";

#[test]
fn the_example_of_the_docs_plans_builds_runs_and_ends_as_its_program_does() {
    if std::env::var_os(IS_EXAMPLE).is_some() {
        example::main().unwrap();
    }
    let text = |path: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let (doc, code) = (text("docs/library.md"), text("examples/library.rs"));
    let (_, code) = code.split_once("\n\nuse quiz::").unwrap();
    assert!(doc.contains(&format!("```rust,no_run\nuse quiz::{code}```\n")), "docs/library.md has another example");

    let fake = Fake::new();
    fake.0.write("quiz.toml", "[machine]\nappend = [\"fake=program\"]\n");
    let quiz = fake.0.command(&[]);
    let name = "library::the_example_of_the_docs_plans_builds_runs_and_ends_as_its_program_does";
    let mut example = Command::new(std::env::current_exe().unwrap());
    example.args(["--exact", name, "--nocapture"]).env_clear().env(IS_EXAMPLE, "1");
    example.envs(quiz.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = example.current_dir(fake.0.dir()).stdin(Stdio::null()).output().unwrap();
    let said = [ran.stdout, ran.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(ran.status.code(), Some(7), "{said:?}");
    let [out, err] = said;
    assert!(out.contains("is not there: image\n") && out.contains("the program ended with status 7\n"), "{out}");
    assert!(err.contains("Booting {") && err.contains("error"), "{err}");
    assert!(fake.run(1).join("result.json").exists());
}

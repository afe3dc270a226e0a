//! What crates may come in: their licences, where they are from, those that are banned, and that there is one version of each. The lists
//! are those of tests/deny.toml; where cargo-deny is installed, `tests/run` lets it look, too.

use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use super::text;

/// The lists.
fn rules() -> toml::Table {
    text(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deny.toml")).parse().unwrap()
}

fn names(list: &toml::Value) -> BTreeSet<String> {
    let name = |item: &toml::Value| item.as_str().or_else(|| item.get("crate")?.as_str()).unwrap().to_owned();
    list.as_array().unwrap().iter().map(name).collect()
}

/// Every crate that is built here, tests included.
fn crates() -> Vec<Json> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform"]);
    let output = cargo.arg(host()).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let all: Json = serde_json::from_slice(&output.stdout).unwrap();
    let nodes = all["resolve"]["nodes"].as_array().unwrap();
    let built: BTreeSet<&str> = nodes.iter().map(|node| node["id"].as_str().unwrap()).collect();
    let packages = all["packages"].as_array().unwrap().iter();
    packages.filter(|package| built.contains(package["id"].as_str().unwrap())).cloned().collect()
}

fn host() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// Whether one may do what a licence expression asks with the licences that are allowed. As SPDX has it, AND binds more than OR; crates
/// from before that write a slash for OR.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &words[..];
    either(&mut rest, allowed) && rest.is_empty()
}

fn either(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut is_good = both(words, allowed);
    while let ["OR", rest @ ..] = words {
        *words = rest;
        is_good |= both(words, allowed);
    }
    is_good
}

fn both(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut is_good = one(words, allowed);
    while let ["AND", rest @ ..] = words {
        *words = rest;
        is_good &= one(words, allowed);
    }
    is_good
}

fn one(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    match words {
        ["(", rest @ ..] => {
            *words = rest;
            let is_good = either(words, allowed);
            let [")", rest @ ..] = words else { return false };
            *words = rest;
            is_good
        }
        [name, "WITH", exception, rest @ ..] => {
            *words = rest;
            allowed.contains(&format!("{name} WITH {exception}"))
        }
        [name, rest @ ..] => {
            *words = rest;
            allowed.contains(*name)
        }
        [] => false,
    }
}

#[test]
fn crates_are_of_the_registry_with_a_licence_that_may_be_passed_on_and_none_is_banned() {
    let (rules, crates) = (rules(), crates());
    assert!(crates.len() > 100, "{}", crates.len());
    let allowed = names(&rules["licenses"]["allow"]);
    let banned = names(&rules["bans"]["deny"]);
    let registries = names(&rules["sources"]["allow-registry"]);
    let mut wrong = Vec::new();
    for package in &crates {
        let (name, licence) = (package["name"].as_str().unwrap(), package["license"].as_str().unwrap_or("none"));
        if !is_allowed(licence, &allowed) {
            wrong.push(format!("{name}: the licence {licence}"));
        }
        if banned.contains(name) {
            wrong.push(format!("{name}: is banned"));
        }
        let is_known = |source: &str| source.strip_prefix("registry+").is_some_and(|url| registries.contains(url));
        match package["source"].as_str() {
            Some(source) if !is_known(source) => wrong.push(format!("{name}: comes from {source}")),
            None if !["quiz", "quiz-cache"].contains(&name) => wrong.push(format!("{name}: comes from a folder")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn there_is_one_version_of_each_crate_but_of_those_that_are_named() {
    let rules = rules();
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in crates() {
        let text = |field: &str| package[field].as_str().unwrap().to_owned();
        versions.entry(text("name")).or_default().insert(text("version"));
    }
    let several = versions.into_iter().filter(|(_, versions)| versions.len() > 1).map(|(name, _)| name);
    assert_eq!(several.collect::<BTreeSet<_>>(), names(&rules["bans"]["skip"]));
}

#[test]
fn licence_expressions_are_read_as_spdx_has_them() {
    let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
    for good in
        ["MIT", "GPL-3.0 OR MIT", "GPL-3.0/MIT", "MIT AND ISC", "(GPL-3.0 OR ISC) AND MIT", "GPL-3.0 AND X OR ISC"]
    {
        assert!(is_allowed(good, &allowed), "{good}");
    }
    assert!(is_allowed("Apache-2.0 WITH LLVM-exception OR GPL-3.0", &allowed));
    for bad in [
        "",
        "none",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "MIT GPL-3.0",
        "(MIT",
        "Apache-2.0",
        "MIT AND (GPL-3.0 OR X)",
        "MIT WITH x",
    ] {
        assert!(!is_allowed(bad, &allowed), "{bad}");
    }
}

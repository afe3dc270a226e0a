//! Results as text for stdout, or as JSON: the graph, the settings, the tools, the reason for a rebuild.

use super::causes::{Explained, causes, cost_shape};
use super::lines::{duration, size};
use super::row::{Row, shown};
use super::shapes::{
    Built as BuiltShape, Changed, Check, GraphWhy, Health, Output, Removed, Setting, SettingValue, Stage, Tool,
};
use super::style::Style;
use crate::build::{Cost, Missing, Needed, StageState, install_line};
use crate::engine::snapshots::SnapshotStates;
use crate::graph::{Graph, NodeIndex};
use crate::load::{SCHEMA, Settings, Value};
use quiz_cache::{Built, Change, Collected, Digest, Record};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

/// What is said of a result that was not made from nothing.
const INCREMENTAL: &str = "built incrementally";

/// The graph as a tree from its ends down; a stage that stands above already is not unfolded again.
pub fn graph(graph: &Graph, states: &[(NodeIndex, StageState)], snapshots: &SnapshotStates, style: &Style) -> String {
    let by_id: BTreeMap<NodeIndex, &StageState> = states.iter().map(|(id, state)| (*id, state)).collect();
    let mut rows = Vec::new();
    let mut seen = BTreeSet::new();
    for end in graph.ends() {
        let SnapshotStates { full, base } = snapshots;
        if !full.inputs.contains(&end) {
            unfold(graph, &by_id, end, ["", ""], &mut seen, &mut rows);
            continue;
        }
        rows.push(full.row(""));
        unfold(graph, &by_id, end, ["├─ ", "│  "], &mut seen, &mut rows);
        rows.push(base.row("└─ "));
        for (n, input) in base.inputs.iter().enumerate() {
            let branch = if n + 1 == base.inputs.len() { ["   └─ ", "      "] } else { ["   ├─ ", "   │  "] };
            unfold(graph, &by_id, *input, branch, &mut seen, &mut rows);
        }
    }
    let width = |get: fn(&Row) -> &str| rows.iter().map(|row| get(row).chars().count()).max().unwrap_or(0);
    let (name, took, size) = (width(|r| &r.name), width(|r| &r.took), width(|r| &r.size));
    let mut text = String::new();
    for row in &rows {
        let state = format!("{:<10}", row.state);
        let state = match row.state {
            "cached" => style.good(&state),
            "stale" | "missing" | "unresolved" => style.warn(&state),
            _ => style.dim(&state),
        };
        let fill = " ".repeat(name - row.name.chars().count());
        let line = format!(
            "{}{fill}  {state} {:>took$}  {:>size$}  {:<12}  {}",
            row.name,
            row.took,
            row.size,
            row.digest,
            style.dim(&row.why)
        );
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn unfold(
    graph: &Graph,
    states: &BTreeMap<NodeIndex, &StageState>,
    id: NodeIndex,
    [first, rest]: [&str; 2],
    seen: &mut BTreeSet<NodeIndex>,
    rows: &mut Vec<Row>,
) {
    let known_above = !seen.insert(id);
    let inputs = graph.inputs(id);
    let mut row = row(graph, states[&id]);
    row.name = format!("{first}{}", graph.stage(id).name);
    if known_above && !inputs.is_empty() {
        row.name += " …";
    }
    rows.push(row);
    if known_above {
        return;
    }
    for (n, input) in inputs.iter().enumerate() {
        let [branch, below] = if n + 1 == inputs.len() { ["└─ ", "   "] } else { ["├─ ", "│  "] };
        unfold(graph, states, *input, [&format!("{rest}{branch}"), &format!("{rest}{below}")], seen, rows);
    }
}

pub(super) fn row(graph: &Graph, state: &StageState) -> Row {
    let empty = |state, why: String| Row {
        name: String::new(),
        state,
        took: String::new(),
        size: String::new(),
        digest: String::new(),
        why,
    };
    match state {
        StageState::Known(record) => Row {
            took: duration(record.took),
            size: size(record.outputs.values().fold(0, |sum: u64, output| sum.saturating_add(output.size))),
            digest: digest(record).short(),
            ..empty("cached", incremental(record).unwrap_or_default().to_owned())
        },
        StageState::Missing(Missing { gone: true, .. }) => empty("missing", super::causes::GONE.to_owned()),
        StageState::Missing(Missing { made_before: false, .. }) => empty("missing", String::new()),
        StageState::Missing(Missing { changes, .. }) => empty("stale", changed(changes)),
        StageState::Unknown(input) => empty("unknown", format!("needs {}", graph.stage(*input).name)),
        StageState::Unresolved => empty("unresolved", "not in quiz.lock yet".to_owned()),
    }
}

fn incremental(record: &Record) -> Option<&'static str> {
    (record.built == Built::Incremental).then_some(INCREMENTAL)
}

/// One digest for all outputs: the only one's own, else that of all in the order of their names.
fn digest(record: &Record) -> Digest {
    let mut outputs = record.outputs.values().map(|output| output.digest);
    match (outputs.next(), record.outputs.len()) {
        (Some(only), 1) => only,
        _ => {
            let all: Vec<String> = record.outputs.values().map(|output| output.digest.to_string()).collect();
            Digest::of(all.concat().as_bytes())
        }
    }
}

fn changed(changes: &[Change]) -> String {
    let names: Vec<&str> = changes.iter().map(|change| change.name.as_str()).collect();
    format!("changed: {}", names.join(", "))
}

/// Where what was built lies, by `stage/output`, as JSON.
pub fn built_json(outputs: impl Iterator<Item = (String, PathBuf)>) -> Json {
    json!(outputs.map(|(name, path)| (name, path.to_string_lossy().into_owned())).collect::<BuiltShape>())
}

/// The graph as JSON: one object a stage, inputs first; with causes an object of these, of the stages, and of what a build would cost.
pub fn graph_json(
    graph: &Graph,
    states: &[(NodeIndex, StageState)],
    snapshots: &SnapshotStates,
    cost: &Cost,
    causes: Option<&Explained<'_>>,
) -> Json {
    let last: BTreeMap<_, _> = cost.stages.iter().copied().collect();
    let critical: BTreeSet<_> = cost.critical.iter().collect();
    let stages = states.iter().map(|(id, state)| {
        let mut shape = stage(graph, *id, state);
        if let Some(took) = last.get(id) {
            shape.last_seconds = Some(took.map(|took| took.as_secs_f64()));
            shape.on_critical_path = Some(critical.contains(id));
        }
        shape
    });
    let stages: Vec<Stage> = stages.chain(snapshots.shapes(graph)).collect();
    match causes {
        None => json!(stages),
        Some(explained) => {
            json!(GraphWhy { causes: explained.shapes(graph, None), cost: cost_shape(graph, cost), stages })
        }
    }
}

/// One stage of the graph as JSON, with what its key is made of.
pub fn why_json(graph: &Graph, id: NodeIndex, explained: &Explained<'_>) -> Json {
    let Some((_, state)) = explained.states.iter().find(|(other, _)| *other == id) else { return Json::Null };
    json!(Stage { causes: Some(explained.shapes(graph, Some(id))), ..stage_whole(graph, id, state) })
}

/// A stage as JSON with what its key is made of, without causes.
pub(super) fn stage_whole(graph: &Graph, id: NodeIndex, state: &StageState) -> Stage<'static> {
    let mut shape = stage(graph, id, state);
    if let StageState::Known(Record { manifest, .. }) | StageState::Missing(Missing { manifest, .. }) = state {
        shape.made_from = Some(manifest.entries.iter().cloned().collect());
    }
    shape
}

fn stage(graph: &Graph, id: NodeIndex, state: &StageState) -> Stage<'static> {
    let mut shape = Stage {
        stage: graph.stage(id).name.clone(),
        state: row(graph, state).state,
        inputs: graph.inputs(id).iter().map(|input| graph.stage(*input).name.clone()).collect(),
        ..Stage::default()
    };
    match state {
        StageState::Known(record) => {
            shape.key = Some(record.key.to_string());
            shape.seconds = Some(record.took.as_secs_f64());
            shape.built = Some(if record.may_leave() { "from nothing" } else { "incrementally" });
            let outputs = record
                .outputs
                .iter()
                .map(|(name, output)| (name.clone(), Output { digest: output.digest.to_string(), bytes: output.size }));
            shape.outputs = Some(outputs.collect());
        }
        StageState::Missing(Missing { key, changes, told, gone, .. }) => {
            shape.key = Some(key.to_string());
            let changes = changes.iter().cloned().map(|Change { name, before, after }| {
                let in_words = told.get(&name).cloned();
                Changed { name, before, after, in_words }
            });
            shape.changes = Some(changes.collect());
            shape.gone = Some(*gone);
        }
        StageState::Unknown(_) | StageState::Unresolved => {}
    }
    shape
}

/// Why a stage would run, or why not: what differs at the root since the last time it was made here, and what it is made of.
pub fn why(graph: &Graph, id: NodeIndex, explained: &Explained<'_>, style: &Style) -> String {
    let stage = graph.stage(id);
    let name = format!("{} ({})", stage.name, stage.recipe.about);
    let Some((_, state)) = explained.states.iter().find(|(other, _)| *other == id) else { return String::new() };
    let causes = causes(graph, explained, Some(id), style);
    let made_from = |manifest: &quiz_cache::Manifest| {
        let line = |(name, value): &(String, String)| format!("  {name} = {}\n", shown(value));
        manifest.entries.iter().map(line).collect::<String>()
    };
    match state {
        StageState::Known(record) => {
            let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
            let ago = now.saturating_sub(Duration::from_secs(record.made_at));
            let how = incremental(record).map_or(String::new(), |how| format!(", {how}"));
            let made = format!("made {} ago in {}{how}", duration(ago), duration(record.took));
            let from = made_from(&record.manifest);
            format!("{name} is {}: {made}, from:\n{from}{causes}", style.good("cached"))
        }
        StageState::Missing(Missing { gone: true, .. }) => {
            format!("{name} is {}: {}\n{causes}", style.warn("missing"), super::causes::GONE)
        }
        StageState::Missing(Missing { made_before: false, manifest, .. }) => {
            let from = made_from(manifest);
            format!(
                "{name} is {}: it was never made here; it would be made from:\n{from}{causes}",
                style.warn("missing")
            )
        }
        StageState::Missing(_) => {
            format!("{name} is {}: changed since it was last made here:\n{causes}", style.warn("stale"))
        }
        StageState::Unknown(_) => {
            format!(
                "{name} is {}: its key depends on a stage that has to be made first\n{causes}",
                style.warn("unknown")
            )
        }
        StageState::Unresolved => {
            format!("{name} is {}: `quiz update` (or the next build) pins it in quiz.lock\n", style.warn("unresolved"))
        }
    }
}

/// Every setting, its value, and where that comes from; as TOML that can be pasted into a quiz.toml.
/// With `verbose` each has a line before it that says what it is for.
pub fn config(settings: &Settings, verbose: bool) -> String {
    let lines: Vec<(String, String, &str)> = settings
        .iter()
        .map(|(name, s)| {
            let about = SCHEMA.iter().find(|entry| entry.name == name).map_or("", |entry| entry.about);
            (format!("{name} = {}", s.value), s.origin.to_string(), about)
        })
        .collect();
    let width = lines.iter().map(|(line, ..)| line.chars().count()).max().unwrap_or(0).min(60);
    let shown = |(line, origin, about): &(String, String, &str)| {
        let before = if verbose && !about.is_empty() { format!("\n# {about}\n") } else { String::new() };
        format!("{before}{line:<width$}  # {origin}\n")
    };
    lines.iter().map(shown).collect()
}

/// The settings as JSON.
pub fn config_json(settings: &Settings) -> Json {
    let value = |value: &Value| match value {
        Value::Text(text) => SettingValue::Text(text.clone()),
        Value::List(items) => SettingValue::List(items.clone()),
        Value::Number(number) => SettingValue::Number(*number),
        Value::Flag(flag) => SettingValue::Flag(*flag),
        Value::File { path, .. } => SettingValue::Text(path.to_string_lossy().into_owned()),
    };
    let entries = settings
        .iter()
        .map(|(name, s)| (name.to_owned(), Setting { value: value(&s.value), origin: s.origin.to_string() }));
    json!(entries.collect::<BTreeMap<_, _>>())
}

/// What a collection of the cache removed, or would.
pub fn gc(collected: &Collected, only_looked: bool) -> String {
    let number = |folder: &str| collected.get(folder).map_or(0, |count| count.number);
    let bytes = collected.values().map(|count| count.bytes).sum();
    format!(
        "{} {} results, {} snapshots, {} build folders, {} downloads, and what belongs to them: {}\n",
        if only_looked { "would remove" } else { "removed" },
        number("records"),
        number("passing"),
        number("scratch"),
        number("source"),
        size(bytes)
    )
}

/// The same as JSON: number and bytes of what lay in each folder of the cache.
pub fn gc_json(collected: &Collected) -> Json {
    let removed =
        collected.iter().map(|(folder, count)| (folder, Removed { number: count.number, bytes: count.bytes }));
    json!(removed.collect::<BTreeMap<_, _>>())
}

/// The tools and checks as JSON.
pub fn doctor_json(
    tools: &[Needed],
    checks: &[(String, std::result::Result<String, String>)],
    changed: &BTreeSet<String>,
) -> Json {
    let tools = tools.iter().map(|tool| Tool {
        tool: &tool.name,
        package: &tool.package,
        found: tool.found.as_ref().map(|path| path.to_string_lossy()),
        runs: tool.real.as_ref().map(|path| path.to_string_lossy()),
        needed_by: &tool.needed_by,
    });
    let checks = checks.iter().map(|(name, outcome)| match outcome {
        Ok(what) => Check { check: name, ok: true, what },
        Err(what) => Check { check: name, ok: false, what },
    });
    json!(Health { tools: tools.collect(), checks: checks.collect(), changed })
}

/// Every tool, where it lies or which package has it, further checks, what is different about tools since they were last used, and
/// the one command that installs what is missing.
pub fn doctor(
    tools: &[Needed],
    checks: &[(String, std::result::Result<String, String>)],
    changed: &BTreeSet<String>,
    style: &Style,
) -> String {
    let mut text = String::new();
    for tool in tools {
        if let Some((why, hints)) = tool.refusal() {
            text += &format!("{} {:<28} {why}\n", style.bad("hidden "), tool.name);
            hints.iter().for_each(|hint| text += &format!("{:37}{hint}\n", ""));
            continue;
        }
        match &tool.found {
            Some(path) => {
                let real = tool.real.as_ref().filter(|real| *real != path);
                let leads = real.map_or(String::new(), |real| format!(" → {}", real.display()));
                let place = style.dim(&format!("{}{leads}", path.display()));
                text += &format!("{} {:<28} {place}\n", style.good("ok     "), tool.name);
            }
            None if tool.optional => {
                text += &format!("{} {:<28} optional, package {}\n", style.dim("absent "), tool.name, tool.package)
            }
            None => text += &format!("{} {:<28} package {}\n", style.bad("missing"), tool.name, tool.package),
        }
    }
    for (name, outcome) in checks {
        match outcome {
            Ok(what) => text += &format!("{} {name:<28} {}\n", style.good("ok     "), style.dim(what)),
            Err(what) => text += &format!("{} {name:<28} {what}\n", style.warn("note   ")),
        }
    }
    if !changed.is_empty() {
        text += "\nchanged since stages were last made here:\n";
        changed.iter().for_each(|line| text += &format!("  {line}\n"));
    }
    let missing: Vec<&Needed> = tools.iter().filter(|tool| tool.is_missing()).collect();
    if !missing.is_empty() {
        text += &format!("\n{}\n", install_line(&missing));
    }
    text
}

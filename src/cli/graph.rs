//! `quiz graph` and `quiz why`: the stages, what they are made of, and what changed since they were made. Builds nothing.

use super::args::{Cli, GraphFormat};
use crate::engine::Engine;
use crate::engine::snapshots::{self, SnapshotStates};
use crate::error::{Error, Result};
use crate::report::{self, Style};

/// `quiz graph`.
pub(super) fn show(engine: &Engine<'_>, format: Option<GraphFormat>, cli: &Cli, style: &Style) -> Result<()> {
    let format = match (format, cli.global.json) {
        (None | Some(GraphFormat::Json), true) => GraphFormat::Json,
        (Some(_), true) => {
            let error = Error::input("`quiz graph` writes one format: --json is --format json");
            return Err(error.hint("leave out --json or --format"));
        }
        (format, false) => format.unwrap_or(GraphFormat::Tree),
    };
    let stages = if cli.global.verbose { engine.all_stages()? } else { engine.project_stages()? };
    let states = engine.plan(&stages)?;
    let snapshots = snapshots::states(engine, &stages, &states)?;
    let graph = &stages.graph;
    report::result(&match format {
        GraphFormat::Tree => report::graph(graph, &states, &snapshots, cli.global.verbose, style),
        GraphFormat::Json => format!("{}\n", report::graph_json(graph, &states, &snapshots)),
        GraphFormat::Dot => report::graph_dot(graph, &states, &snapshots),
        GraphFormat::Mermaid => report::graph_mermaid(graph, &states, &snapshots),
        GraphFormat::Svg => report::graph_svg(graph, &states, &snapshots),
        GraphFormat::Html => report::graph_html(graph, &states, &snapshots),
    })
}

/// `quiz why`.
pub(super) fn why(engine: &Engine<'_>, stage: &str, json: bool, style: &Style) -> Result<()> {
    report::result(&reason(engine, stage, json, style)?)
}

fn reason(engine: &Engine<'_>, stage: &str, json: bool, style: &Style) -> Result<String> {
    if [SnapshotStates::FULL, SnapshotStates::BASE].contains(&stage) {
        let stages = engine.project_stages()?;
        let snapshots = snapshots::states(engine, &stages, &engine.plan(&stages)?)?;
        let snapshot = if stage == SnapshotStates::FULL { &snapshots.full } else { &snapshots.base };
        return Ok(if json {
            format!("{}\n", report::why_snapshot_json(snapshot, &stages.graph))
        } else {
            report::why_snapshot(snapshot, style)
        });
    }
    let stages = engine.stages_with(stage)?;
    let states = engine.plan(&stages)?;
    let id = stages.graph.find(stage)?;
    Ok(if json {
        format!("{}\n", report::why_json(&stages.graph, id, &states))
    } else {
        report::why(&stages.graph, id, &states, style)
    })
}

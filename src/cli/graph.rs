//! `quiz graph` and `quiz why`: the stages, what they are made of, and what changed since they were made. Builds nothing.

use super::args::{Cli, GraphFormat};
use crate::build::{self, Causes};
use crate::engine::Engine;
use crate::engine::snapshots::{self, SnapshotStates};
use crate::error::{Error, Result};
use crate::report::{self, Explained, Past, Style};

/// `quiz graph`.
pub(super) fn show(
    engine: &Engine<'_>,
    format: Option<GraphFormat>,
    why: bool,
    cli: &Cli,
    style: &Style,
) -> Result<()> {
    let format = match (format, cli.global.json) {
        (None | Some(GraphFormat::Json), true) => GraphFormat::Json,
        (Some(_), true) => {
            let error = Error::input("`quiz graph` writes one format: --json is --format json");
            return Err(error.hint("leave out --json or --format"));
        }
        (format, false) => format.unwrap_or(GraphFormat::Tree),
    };
    if why && matches!(format, GraphFormat::Dot | GraphFormat::Mermaid | GraphFormat::Svg) {
        let error = Error::input("a picture does not say why: --why goes with the tree, json and html");
        return Err(error.hint("quiz graph --why, or quiz graph --format html"));
    }
    let stages = if cli.global.verbose { engine.all_stages()? } else { engine.project_stages()? };
    let (states, causes) = match format {
        GraphFormat::Html => engine.explain(&stages)?,
        _ if why => engine.explain(&stages)?,
        _ => (engine.plan(&stages)?, Causes::default()),
    };
    let snapshots = snapshots::states(engine, &stages, &states)?;
    let graph = &stages.graph;
    let explained = Explained { states: &states, causes: &causes };
    let cost = || build::cost(&engine.cache, &engine.project.dir, graph, &states);
    report::result(&match format {
        GraphFormat::Tree => {
            let first = report::causes(graph, &explained, None, style);
            let between = if first.is_empty() { "" } else { "\n" };
            let tree = report::graph(graph, &states, &snapshots, style);
            first + between + &tree + &report::cost(graph, &cost()?, style)
        }
        GraphFormat::Json => {
            let causes = why.then_some(&explained);
            format!("{}\n", report::graph_json(graph, &states, &snapshots, &cost()?, causes))
        }
        GraphFormat::Dot => report::graph_dot(graph, &states, &snapshots),
        GraphFormat::Mermaid => report::graph_mermaid(graph, &states, &snapshots),
        GraphFormat::Svg => report::graph_svg(graph, &states, &snapshots),
        GraphFormat::Html => {
            let past = Past {
                here: &engine.project.dir,
                builds: build::builds(&engine.cache, &engine.project.dir)?,
                worktrees: build::worktrees(&engine.cache)?,
                cost: cost()?,
            };
            report::graph_html(graph, &explained, &snapshots, &past)
        }
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
    let id = stages.graph.find(stage)?;
    let (states, causes) = engine.explain(&stages)?;
    let explained = Explained { states: &states, causes: &causes };
    Ok(if json {
        format!("{}\n", report::why_json(&stages.graph, id, &explained))
    } else {
        report::why(&stages.graph, id, &explained, style)
    })
}

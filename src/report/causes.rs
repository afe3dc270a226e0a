//! Why stages have to be made and what that would cost, as text for stdout or as JSON: what changed at the root first.

use super::lines::duration;
use super::plain::one_line;
use super::row::shown;
use super::shapes;
use super::style::Style;
use crate::build::{Build, Cause, CauseKind, Causes, Cost, How, StageState};
use crate::graph::{Graph, NodeIndex};
use quiz_cache::Digest;
use serde_json::{Value as Json, json};
use std::time::Duration;

/// What is said of a stage whose result was there under the same key and is gone.
pub(super) const GONE: &str = "same key, but the result is gone: gc or deleted";

/// So many ways from a cause to a stage are shown.
pub(super) const WAYS: usize = 8;

/// A plan, and why it is so.
#[derive(Debug, Clone, Copy)]
pub struct Explained<'a> {
    /// The stages, inputs first.
    pub states: &'a [(NodeIndex, StageState)],
    /// What changed.
    pub causes: &'a Causes,
}

impl Explained<'_> {
    /// The causes that arrive at a stage, or all; each with the ways on which it arrives there.
    fn of(&self, to: Option<NodeIndex>) -> Vec<(&Cause, Vec<Vec<NodeIndex>>, u64)> {
        let ways = |cause| match to {
            Some(to) => self.causes.paths(cause, to, WAYS),
            None => (Vec::new(), 0),
        };
        let all = self.causes.all.iter().map(|cause| {
            let (ways, number) = ways(cause);
            (cause, ways, number)
        });
        all.filter(|(_, ways, _)| to.is_none() || !ways.is_empty()).collect()
    }

    /// As data; of one stage, or all.
    pub(super) fn shapes<'a>(&'a self, graph: &'a Graph, to: Option<NodeIndex>) -> Vec<shapes::Cause<'a>> {
        let names = |ids: &[NodeIndex]| ids.iter().map(|id| graph.stage(*id).name.as_str()).collect::<Vec<_>>();
        let one = |(cause, ways, number): (&'a Cause, Vec<Vec<NodeIndex>>, u64)| {
            let Cause { kind, name, at, before, after, told, files, stages } = cause;
            shapes::Cause {
                kind: *kind,
                name,
                at: names(at),
                before: before.as_deref(),
                after: after.as_deref(),
                in_words: told,
                files,
                stages: names(stages),
                paths: to.map(|_| ways.iter().map(|way| names(way)).collect()),
                number_of_paths: to.map(|_| number),
            }
        };
        self.of(to).into_iter().map(one).collect()
    }
}

/// Each cause, the stages that have to be made because of it, and the ways on which it arrives at the stage that was asked for; without one all causes.
pub fn causes(graph: &Graph, explained: &Explained<'_>, to: Option<NodeIndex>, style: &Style) -> String {
    let mut text = String::new();
    for (cause, ways, number) in explained.of(to) {
        // That the stage itself was never made is already in the first line.
        if to.is_some_and(|to| cause.at.contains(&to)) && matches!(cause.kind, CauseKind::NeverMade) {
            continue;
        }
        for line in lines(graph, cause) {
            text += &format!("  {}\n", clean(&line));
        }
        // A way of one stage is the stage itself.
        let ways: Vec<_> = ways.iter().filter(|way| way.len() > 1).collect();
        for way in &ways {
            text += &style.dim(&format!("    {}", names(graph, way, " → ")));
            text.push('\n');
        }
        if number > WAYS as u64 {
            text += &style.dim(&format!("    and in {} more ways", number - WAYS as u64));
            text.push('\n');
        }
        if to.is_none() {
            let stages: Vec<_> = cause.stages.iter().copied().filter(|id| !cause.at.contains(id)).collect();
            if !stages.is_empty() {
                text += &style.dim(&format!("    so also: {}", names(graph, &stages, ", ")));
                text.push('\n');
            }
        }
    }
    text
}

fn names(graph: &Graph, ids: &[NodeIndex], between: &str) -> String {
    let names: Vec<&str> = ids.iter().map(|id| graph.stage(*id).name.as_str()).collect();
    clean(&names.join(between))
}

/// What comes from files of others must not move the cursor.
fn clean(text: &str) -> String {
    one_line(&text.replace('\t', "    "))
}

fn lines(graph: &Graph, cause: &Cause) -> Vec<String> {
    let at = names(graph, &cause.at, ", ");
    let short = |value: &str| value.parse::<Digest>().map_or_else(|_| shown(value), |digest| digest.short());
    let value = |value: &Option<String>| value.as_deref().map_or("nothing".to_owned(), short);
    let Cause { name, before, after, .. } = cause;
    let mut lines = match cause.kind {
        CauseKind::Gone => return vec![format!("{GONE}: {at}")],
        CauseKind::NeverMade => return vec![format!("never made here: {at}")],
        CauseKind::Unpinned => return vec![format!("not in quiz.lock yet: {at} (quiz update)")],
        CauseKind::Tool if !cause.told.is_empty() => return cause.told.clone(),
        CauseKind::Files => vec![format!("files of {at}: {name}: {} → {}", value(before), value(after))],
        CauseKind::Recipe => vec![format!("the recipe's files of {at}: {name}: {} → {}", value(before), value(after))],
        _ if is_list(before.as_deref()) || is_list(after.as_deref()) => vec![format!("{name} of {at}:")],
        _ => vec![format!("{name}: {} → {} ({at})", value(before), value(after))],
    };
    if cause.files.is_empty() {
        let items = items(before.as_deref(), after.as_deref());
        lines.extend(items.into_iter().flatten().map(|item| format!("  {item}")));
    }
    for file in &cause.files {
        let path = if file.path.is_empty() { String::new() } else { format!("{}: ", file.path) };
        lines.push(format!("  {path}{}", file.what));
        lines.extend(file.diff.iter().map(|line| format!("    {line}")));
    }
    lines
}

fn is_list(value: Option<&str>) -> bool {
    value.is_some_and(|value| value.contains('\n'))
}

/// The items of a list that went and came; nothing where there is no list.
pub(super) fn items(before: Option<&str>, after: Option<&str>) -> Option<Vec<String>> {
    if !is_list(before) && !is_list(after) {
        return None;
    }
    let list = |value: Option<&'_ str>| -> Vec<String> {
        value.unwrap_or_default().lines().filter(|line| *line != "[]").map(str::to_owned).collect()
    };
    let (old, new) = (list(before), list(after));
    let gone = old.iter().filter(|item| !new.contains(item)).map(|item| format!("- {item}"));
    let came = new.iter().filter(|item| !old.contains(item)).map(|item| format!("+ {item}"));
    let lines: Vec<String> = gone.chain(came).collect();
    Some(if lines.is_empty() { vec!["in another order".to_owned()] } else { lines })
}

/// The last line of the graph: what a build would cost now. Empty where all is there.
pub fn cost(graph: &Graph, cost: &Cost, style: &Style) -> String {
    if cost.stages.is_empty() {
        return String::new();
    }
    let number = cost.stages.len();
    let mut text = format!("{number} stage{} to make", if number == 1 { "" } else { "s" });
    let (unknown, known): (Vec<_>, Vec<_>) = cost.stages.iter().partition(|(_, took)| took.is_none());
    if !known.is_empty() {
        // How long the others take is not known.
        let bound = if unknown.is_empty() { "about" } else { "over" };
        text += &format!(", {bound} {} by the last times", duration(cost.time));
        if cost.work > cost.time {
            text += &format!(" ({} one after the other)", duration(cost.work));
        }
        if cost.critical.len() > 1 {
            text += &format!("; critical path {}", names(graph, &cost.critical, " → "));
        }
    }
    if !unknown.is_empty() {
        let ids: Vec<NodeIndex> = unknown.iter().map(|(id, _)| *id).collect();
        text += &format!("; no last time: {}", names(graph, &ids, ", "));
    }
    style.dim(&text) + "\n"
}

/// The same as data.
pub(super) fn cost_shape<'a>(graph: &'a Graph, cost: &Cost) -> shapes::WouldCost<'a> {
    let name = |id: &NodeIndex| graph.stage(*id).name.as_str();
    let stage = |(id, took): &(NodeIndex, Option<Duration>)| shapes::LastTook {
        stage: name(id),
        last_seconds: took.map(|took| took.as_secs_f64()),
    };
    shapes::WouldCost {
        stages: cost.stages.iter().map(stage).collect(),
        critical_path: cost.critical.iter().map(name).collect(),
        seconds: cost.time.as_secs_f64(),
        seconds_one_after_the_other: cost.work.as_secs_f64(),
    }
}

/// A build that was, for the page.
pub(super) fn build_json(build: &Build) -> Json {
    let ((spared, spared_seconds), (cached, cached_seconds)) = (build.sum(How::Spared), build.sum(How::Cached));
    json!({
        "began": build.began, "took": build.took, "succeeded": build.succeeded, "stages": build.stages,
        "critical-path": build.critical(),
        "spared": { "stages": spared, "seconds": spared_seconds },
        "cached": { "stages": cached, "seconds": cached_seconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_list_what_went_and_what_came_is_told() {
        let told = |before, after| items(before, after).unwrap();
        assert_eq!(told(Some("a\nb"), Some("b\nc")), ["- a", "+ c"]);
        assert_eq!(told(None, Some("c\nd")), ["+ c", "+ d"]);
        assert_eq!(told(Some("c\nd"), Some("[]")), ["- c", "- d"]);
        assert_eq!(told(Some("a\nb"), Some("b\na")), ["in another order"]);
        assert_eq!(items(Some("a"), Some("b")), None);
    }

    #[test]
    fn words_of_others_move_no_cursor() {
        assert_eq!(clean("a\tb\u{1b}[2J\rc\u{9b}d"), "a    b␛[2J␍c\u{fffd}d");
    }
}

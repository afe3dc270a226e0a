//! What takes room in the cache, as a table or as JSON; what a look at all of its bytes came to; pins; and what was removed of a project's `.quiz`.

use super::lines::{duration, size};
use super::plain::one_line;
use super::row::aligned;
use super::shapes::Pinned;
use super::style::Style;
use crate::boot::clean::Cleaned;
use crate::boot::folder::{number, run_of};
use crate::engine::holders::{Holder, Holders};
use quiz_cache::{Inventory, Item, Key, Pin, Sizes, Sort, Verified};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// What frees less is summed up in one row, except with `-v`.
const LITTLE: u64 = 1 << 20;
/// So many holders of one thing are named.
const NAMED: usize = 2;

/// How it is shown.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// Each thing has a row of its own, with its key.
    pub verbose: bool,
    /// Columns of the terminal; without one nothing is cut.
    pub width: Option<usize>,
    /// Colours.
    pub style: &'a Style,
    /// With whom the cache is shared.
    pub shared: Option<&'a str>,
}

/// Things that have one row.
struct Group {
    name: String,
    key: String,
    held: BTreeSet<Holder>,
    owner: String,
    used: Option<SystemTime>,
    count: usize,
}

/// A row for each thing that somebody holds, and one for all others of one name; what frees most first; in the end the whole.
#[must_use]
pub fn cache(root: &Path, inventory: &Inventory, holders: &Holders, shown: &Shown<'_>) -> String {
    let (group_of, groups) = groups(inventory, holders, shown.verbose);
    let sizes = inventory.sizes(&group_of, groups.len());
    let mut all: Vec<(&Group, Sizes)> = groups.iter().zip(sizes).filter(|(_, sizes)| sizes.all > 0).collect();
    all.sort_by(|(a, a_sizes), (b, b_sizes)| {
        (b_sizes.alone, b_sizes.all, &a.name, &a.key).cmp(&(a_sizes.alone, a_sizes.all, &b.name, &b.key))
    });
    let is_large = |(_, sizes): &(&Group, Sizes)| shown.verbose || sizes.alone >= LITTLE;
    let (large, little): (Vec<_>, Vec<_>) = all.into_iter().partition(is_large);
    let mut rows: Vec<[String; 5]> = vec![["FREES", "SIZE", "USED", "WHAT", "HELD BY"].map(str::to_owned)];
    rows.extend(large.iter().map(|(group, sizes)| row(group, *sizes, shown.verbose)));
    let mut ends = Vec::new();
    if !little.is_empty() {
        let frees = little.iter().map(|(_, sizes)| sizes.alone).sum();
        ends.push((size(frees), format!("{} more that free less than 1 MiB each (-v shows them)", little.len())));
    }
    ends.push((size(inventory.total), format!("all of {}", root.display())));
    table(rows, &ends, shown) + &shown.shared.map_or_else(String::new, |words| format!("The cache is {words}.\n"))
}

/// The rows, numbers to the right, and below them sums with their words, which may be longer than a column.
fn table(mut rows: Vec<[String; 5]>, ends: &[(String, String)], shown: &Shown<'_>) -> String {
    let wide = |rows: &[[String; 5]], column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let mut widths = [0, 1, 2].map(|column| wide(&rows, column).unwrap_or(0));
    widths[0] = ends.iter().map(|(sum, _)| sum.chars().count()).fold(widths[0], usize::max);
    for (column, width) in widths.iter().enumerate() {
        rows.iter_mut().for_each(|row| row[column] = format!("{:>width$}", row[column]));
    }
    let before: usize = widths.iter().map(|width| width + 2).sum();
    let rest = shown.width.map_or(usize::MAX, |width| width.saturating_sub(before).max(20));
    if let Some(names) = wide(&rows, 3).filter(|_| shown.width.is_some()) {
        // What a row is about gets more of the room than who holds it, but not all.
        let held = wide(&rows, 4).unwrap_or(0);
        let names = names.min(rest.saturating_sub(held + 2).max(rest * 3 / 5));
        for row in &mut rows {
            (row[3], row[4]) = (cut(&row[3], names), cut(&row[4], rest.saturating_sub(names + 2)));
        }
    }
    let mut text = aligned(rows, shown.style);
    for (sum, words) in ends {
        let blank = " ".repeat(before - widths[0]);
        text += &format!("{sum:>width$}{blank}{}\n", cut(words, rest), width = widths[0]);
    }
    text
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…'].into_iter().filter(|_| most > 0)).collect()
}

fn row(group: &Group, sizes: Sizes, verbose: bool) -> [String; 5] {
    let times = if group.count > 1 { format!(" ×{}", group.count) } else { String::new() };
    let key = if verbose && !group.key.is_empty() { format!(" {}", &group.key[..12]) } else { String::new() };
    let used = group.used.map_or_else(|| "-".to_owned(), |used| days(used.elapsed().unwrap_or_default()));
    let mut held: Vec<String> = group.held.iter().map(holder).collect();
    held.dedup();
    held.extend(Some(group.owner.clone()).filter(|owner| !owner.is_empty()));
    if held.len() > NAMED + 1 {
        let more = held.len() - NAMED;
        held.truncate(NAMED);
        held.push(format!("{more} more"));
    }
    let held = if held.is_empty() { "-".to_owned() } else { held.join(", ") };
    [size(sizes.alone), size(sizes.all), used, format!("{}{times}{key}", group.name), held]
}

/// Times of use are exact to the day.
fn days(ago: Duration) -> String {
    match ago.as_secs() / (24 * 60 * 60) {
        0 => "today".to_owned(),
        days => format!("{days}d"),
    }
}

/// The number of each item's group, and the groups.
fn groups(inventory: &Inventory, holders: &Holders, verbose: bool) -> (Vec<usize>, Vec<Group>) {
    let stages = stages(inventory);
    let (mut group_of, mut groups) = (Vec::new(), Vec::<Group>::new());
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for item in &inventory.items {
        let held = holders.of(item);
        let owner = owner(item);
        let name = name(item, &stages);
        let alone = verbose || !held.is_empty() || !owner.is_empty();
        let number = match known.get(&name).filter(|_| !alone) {
            Some(number) => *number,
            None => {
                let key = key(item).unwrap_or_default();
                groups.push(Group { name: name.clone(), key, held, owner, used: None, count: 0 });
                if !alone {
                    known.insert(name, groups.len() - 1);
                }
                groups.len() - 1
            }
        };
        groups[number].used = groups[number].used.max(item.used);
        groups[number].count += 1;
        group_of.push(number);
    }
    (group_of, groups)
}

pub(super) fn stages(inventory: &Inventory) -> BTreeMap<Key, &str> {
    let record = |item: &'_ Item| match &item.sort {
        Sort::Result(record) => Some(record.key),
        _ => None,
    };
    let name = |item| record(item).zip(stage(item));
    inventory.items.iter().filter_map(name).collect()
}

fn stage(item: &Item) -> Option<&str> {
    match &item.sort {
        Sort::Result(record) => Some(&record.stage),
        _ => None,
    }
}

pub(super) fn name(item: &Item, stages: &BTreeMap<Key, &str>) -> String {
    match &item.sort {
        Sort::Result(record) => record.stage.clone(),
        Sort::Named(named) => format!("snapshot {}", named.name),
        Sort::Passing(_) => "snapshot".to_owned(),
        Sort::Scratch { made, .. } => match made.and_then(|key| stages.get(&key)) {
            Some(stage) => format!("build folder: {stage}"),
            None => "build folder".to_owned(),
        },
        Sort::Other(name) => match name.as_str() {
            "source" => "downloads",
            "store" => "stores of recipes",
            "aside" => "set aside by quiz verify",
            "wrong" => "set aside by quiz cache verify",
            "tmp" => "results that are being made",
            "parts" => "parts of trees and folders",
            "unnamed" => "files of no result",
            "notes" => "notes and logs",
            other => other,
        }
        .to_owned(),
    }
}

pub(super) fn key(item: &Item) -> Option<String> {
    match &item.sort {
        Sort::Result(record) => Some(record.key.to_string()),
        Sort::Passing(key) => Some(key.to_string()),
        _ => None,
    }
}

/// Whose build folder it is.
fn owner(item: &Item) -> String {
    match &item.sort {
        Sort::Scratch { owner, owned: true, .. } => format!("of {}", last(owner)),
        Sort::Scratch { owner, .. } => format!("of {} (gone)", last(owner)),
        _ => String::new(),
    }
}

fn last(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// What a run belongs to: its project's folder.
fn project(place: &Path) -> &Path {
    run_of(place).ancestors().nth(3).unwrap_or(place)
}

fn holder(holder: &Holder) -> String {
    let run = |place: &Path| format!("{} of {}", number(run_of(place)), last(project(place)));
    match holder {
        Holder::Pin => "pin".to_owned(),
        Holder::Run(place) => format!("run {}", run(place)),
        Holder::Crash(place) => format!("crash {}", run(place)),
        Holder::Snapshot(owner, name) => format!("snapshot {name} of {}", last(owner)),
        Holder::Link(link) => format!("editors of {}", last(link.ancestors().nth(3).unwrap_or(link))),
        Holder::Last(project) => last(project),
    }
}

/// What a look at every byte came to.
#[must_use]
pub fn checked(verified: &Verified, style: &Style) -> String {
    let Verified { files, bytes, took, wrong, dropped, aside, .. } = verified;
    let mut text = String::new();
    for wrong in wrong {
        let path = one_line(&wrong.path.display().to_string());
        text += &format!("{} {path}: {}\n", style.bad("wrong"), one_line(&wrong.what));
    }
    let how = if wrong.is_empty() { "all intact".to_owned() } else { format!("{} wrong", wrong.len()) };
    let (read, took) = (size(*bytes), duration(*took));
    text += &format!("read {files} files, {read}, in {took}, {} MB/s: {how}\n", speed(verified));
    if !dropped.is_empty() {
        text += &format!("made again when needed: {}\n", dropped.join(", "));
    }
    aside.iter().for_each(|aside| text += &format!("set aside in {}\n", aside.display()));
    text
}

/// Megabytes (10⁶) a second.
fn speed(verified: &Verified) -> u128 {
    u128::from(verified.bytes) * 1000 / 1_000_000 / verified.took.as_millis().max(1)
}

/// That something is pinned now, or is not any more.
#[must_use]
pub fn pinned(pin: &Pin, removed: bool, as_json: bool) -> String {
    if as_json {
        return format!("{}\n", json!(Pinned { stage: &pin.stage, key: pin.key.to_string(), pinned: !removed }));
    }
    let key = pin.key.short();
    match removed {
        true => format!("{} {key} is no longer pinned\n", pin.stage),
        false => format!("{} {key} is pinned: it stays until `quiz cache pin {key} --rm`\n", pin.stage),
    }
}

/// What was removed of a project's `.quiz`, or would be.
#[must_use]
pub fn cleaned(cleaned: &Cleaned, only_looked: bool) -> String {
    let Cleaned { removed, left, .. } = cleaned;
    let verb = if only_looked { "would remove" } else { "removed" };
    let mut text = String::new();
    for (path, bytes) in removed {
        text += &format!("{verb} {}: {}\n", path.display(), size(*bytes));
    }
    left.iter().for_each(|(path, why)| text += &format!("left {}: {why}\n", path.display()));
    let all = removed.iter().map(|(_, bytes)| bytes).sum();
    text + &format!("{verb} {} in all\n", size(all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Color;

    fn group(name: &str, held: &[Holder], count: usize) -> Group {
        let held = held.iter().cloned().collect();
        Group { name: name.into(), key: "0".repeat(64), held, owner: String::new(), used: None, count }
    }

    #[test]
    fn a_row_fits_a_terminal_and_loses_the_end_of_long_names_alone() {
        let long = "toolchain:kernel@bullseye,libssl-dev,zstd,lz4,and-more-than-fits-into-a-row";
        let holders: Vec<Holder> =
            (0..9).map(|n| Holder::Last(format!("/home/somebody/worktree-{n}").into())).collect();
        let sizes = Sizes { all: 5 << 30, alone: 1023 << 20 };
        let mut rows = vec![["FREES", "SIZE", "USED", "WHAT", "HELD BY"].map(str::to_owned)];
        rows.push(row(&group(long, &holders, 1), sizes, false));
        rows.push(row(&group("kernel", &[Holder::Pin], 1), sizes, true));
        rows.push(row(&group("kernel", &[], 12), sizes, false));
        let ends = ["all of /home/somebody/.cache/a-rather-long-way/to/quiz", "9 more"]
            .map(|words| ("1 B".to_owned(), words.to_owned()));
        let style = Style::new(Color::Never, false);
        let whole = table(rows.clone(), &ends, &Shown { verbose: false, width: None, style: &style, shared: None });
        assert!(whole.contains(long) && whole.contains("worktree-0, worktree-1, 7 more"), "{whole}");
        for width in [80, 100, 60] {
            let text =
                table(rows.clone(), &ends, &Shown { verbose: false, width: Some(width), style: &style, shared: None });
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}:\n{text}");
            assert!(text.contains("kernel ×12") && text.contains("pin") && text.contains("toolchain:ker"), "{text}");
            assert!(text.contains("worktree-0") && text.lines().count() == 6, "{text}");
        }
        let numbers: Vec<usize> = whole.lines().map(|line| line.find("B  ").unwrap_or(0)).collect();
        assert_eq!(numbers[1], numbers[4], "sums stand below what they sum up:\n{whole}");
    }

    #[test]
    fn what_a_medium_did_is_told_with_its_place_and_what_is_made_again() {
        let verified = Verified {
            files: 3,
            bytes: 3_000_000_000,
            took: Duration::from_millis(1500),
            dropped: vec!["kernel".into()],
            aside: Some("/c/wrong/1-2".into()),
            ..Verified::default()
        };
        let text = checked(&verified, &Style::new(Color::Never, false));
        assert_eq!(
            text,
            "read 3 files, 2.7 GiB, in 1.5s, 2000 MB/s: all intact\nmade again when needed: kernel\nset aside in /c/wrong/1-2\n"
        );
    }
}

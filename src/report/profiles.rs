//! The list of profiles, as text for stdout or as JSON. Does not know how it was found out.

use super::lines::{duration, size};
use super::row::{aligned, cut};
use super::shapes::{self, ProfileOption};
use super::style::Style;
use crate::load::{Bus, Device, Profile, ShareMode};
use serde_json::{Value as Json, json};
use std::time::Duration;

/// A profile, and what a machine with it would cost now.
#[derive(Debug)]
pub struct Listed {
    /// The profile.
    pub profile: Profile,
    /// It is on.
    pub on: bool,
    /// It is the project's own.
    pub own: bool,
    /// What has to be made when it is on.
    pub cost: Cost,
}

/// What has to be made before a machine can start.
#[derive(Debug)]
pub enum Cost {
    /// These stages: none when all is in the cache.
    Stages {
        /// Their names, inputs first.
        stages: Vec<String>,
        /// How long those took when they were last made.
        took: Duration,
        /// So many of them were never made.
        unknown: usize,
    },
    /// It cannot be on together with what is on, or not here: why.
    No(String),
}

/// Columns from which on there is room for what a profile touches.
const WIDE: usize = 110;
/// Columns of what it touches.
const TOUCHES: usize = 42;
/// Columns from which on half a line has room for what a profile costs.
const WIDE_HALF: usize = 60;

/// A table of them all that fits a screen of so many columns and rows, where there is one: a line for each, and two on a line where
/// lines for all would scroll the first ones away.
pub fn profiles(all: &[Listed], screen: Option<(usize, usize)>, style: &Style) -> String {
    let foot = style.dim("quiz profiles NAME: all of one");
    // Besides the profiles a head, the foot, and the shell's next prompt.
    match screen {
        Some((columns, rows)) if all.len() + 3 > rows => format!("{}{foot}\n", in_pairs(all, columns, style)),
        _ => format!("{}{foot}\n", in_lines(all, screen.map(|(columns, _)| columns), style)),
    }
}

/// A line for each below a head.
fn in_lines(all: &[Listed], columns: Option<usize>, style: &Style) -> String {
    let first = |listed: &Listed| [own_name(listed), if listed.on { "on" } else { "" }.to_owned(), cost(&listed.cost)];
    let about = |listed: &Listed| listed.profile.about.clone();
    let table = if columns.is_none_or(|columns| columns >= WIDE) {
        let row = |listed: &Listed| {
            let [name, on, cost] = first(listed);
            [name, on, cost, cut(&in_short(&listed.profile), TOUCHES), about(listed)]
        };
        let head = ["profile", "", "cost", "touches", "for"].map(str::to_owned);
        aligned(std::iter::once(head).chain(all.iter().map(row)).collect(), style)
    } else {
        let row = |listed: &Listed| {
            let [name, on, cost] = first(listed);
            [name, on, cost, about(listed)]
        };
        let head = ["profile", "", "cost", "for"].map(str::to_owned);
        aligned(std::iter::once(head).chain(all.iter().map(row)).collect(), style)
    };
    fitted(&table, columns)
}

/// Two on a line, read down the left column and then down the right one; `*` is one that is on.
fn in_pairs(all: &[Listed], columns: usize, style: &Style) -> String {
    let half = columns.saturating_sub(2) / 2;
    let cell = |listed: &Listed, names: usize, costs: usize| {
        let mark = if listed.on { "*" } else { " " };
        let cost = if half >= WIDE_HALF { format!("  {:<costs$}", cost(&listed.cost)) } else { String::new() };
        cut(&format!("{mark} {:<names$}{cost}  {}", own_name(listed), listed.profile.about), half)
    };
    let (left, right) = all.split_at(all.len().div_ceil(2));
    let widest =
        |of: &[Listed], word: fn(&Listed) -> String| of.iter().map(|one| word(one).chars().count()).max().unwrap_or(0);
    let cells = |of: &[Listed]| {
        let (names, costs) = (widest(of, own_name), widest(of, |listed| cost(&listed.cost)));
        of.iter().map(|listed| cell(listed, names, costs)).collect::<Vec<_>>()
    };
    let (left, mut right) = (cells(left), cells(right));
    right.resize(left.len(), String::new());
    let head = [
        if half >= WIDE_HALF { "* is on; what each costs now, and is for" } else { "* is on" }.to_owned(),
        String::new(),
    ];
    let rows = left.into_iter().zip(right).map(|(left, right)| [format!("{left:<half$}"), right]);
    aligned(std::iter::once(head).chain(rows).collect(), style)
}

/// Each line below the head, which is coloured and short, cut to so many columns.
fn fitted(table: &str, columns: Option<usize>) -> String {
    let fit = |line: &str| columns.map_or(line.to_owned(), |columns| cut(line, columns)) + "\n";
    let mut lines = table.lines();
    let head = lines.next().map(|head| format!("{head}\n")).unwrap_or_default();
    head + &lines.map(fit).collect::<String>()
}

/// Its name, cut where a project's own is very long.
fn own_name(listed: &Listed) -> String {
    cut(&format!("{}{}", listed.profile.name, if listed.own { " (own)" } else { "" }), 24)
}

/// What kinds of things it touches.
fn in_short(profile: &Profile) -> String {
    let number = |of: &[String], what: &str| match of.len() {
        0 => String::new(),
        1 => format!("1 {what}"),
        more => format!("{more} {what}s"),
    };
    let word = |is: bool, word: &str| if is { word.to_owned() } else { String::new() };
    let devices = |is: fn(&Device) -> bool, name: &str| word(profile.devices.iter().any(is), name);
    let all = [
        number(&profile.packages, "package"),
        word(!profile.kernel.is_empty(), "kernel config"),
        word(!profile.modules.is_empty(), "modules"),
        devices(|device| matches!(device, Device::Disk { .. }), "disks"),
        devices(|device| matches!(device, Device::Net { .. }), "network"),
        devices(|device| matches!(device, Device::Share { .. }), "share"),
        devices(|device| matches!(device, Device::Channel { .. }), "channels"),
        word(!profile.layers.is_empty(), "layers"),
        word(!(own_words(profile).is_empty() && profile.append_batch.is_empty()), "kernel words"),
        word(profile.memory > 0, "memory"),
        word(profile.cpus > 0 || profile.numa > 0, "processors"),
        word(!profile.qemu_args.is_empty(), "qemu"),
        word(profile.files.iter().any(|(path, ..)| path == "init"), "hook"),
        word(profile.files.iter().any(|(path, ..)| path.starts_with("files/")), "files"),
        word(profile.wrap.is_some(), "program"),
    ];
    all.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(", ")
}

/// All of one: what it is for, and a line for each thing that it touches.
pub fn profile(listed: &Listed, style: &Style) -> String {
    let cost = match &listed.cost {
        Cost::Stages { stages, .. } if stages.is_empty() => style.good(&cost(&listed.cost)),
        _ => style.warn(&cost(&listed.cost)),
    };
    let mut text = format!("{}  {cost}  {}\n", name(listed), listed.profile.about);
    for (what, value) in touched(listed) {
        text += &style.dim(&format!("    {what:<8}  {value}"));
        text.push('\n');
    }
    text
}

fn name(listed: &Listed) -> String {
    format!("{} {}", if listed.on { "*" } else { " " }, listed.profile.name)
}

fn cost(cost: &Cost) -> String {
    match cost {
        Cost::Stages { stages, .. } if stages.is_empty() => "cached".to_owned(),
        Cost::Stages { stages, took, unknown } => match (stages.len() == *unknown, unknown) {
            (true, _) => "unknown".to_owned(),
            (false, 0) => format!("about {}", duration(*took)),
            (false, _) => format!("over {}", duration(*took)),
        },
        Cost::No(_) => "not now".to_owned(),
    }
}

fn touched(listed: &Listed) -> Vec<(&'static str, String)> {
    let Listed { profile, own, cost, .. } = listed;
    let options = profile.options.iter().map(|(name, option)| format!("{name}={} ({})", option.default, option.about));
    let least = |number: u32, unit: &str| if number > 0 { format!("{number}{unit}") } else { String::new() };
    let memory = least(profile.memory, "M at least");
    let (makes, why) = match cost {
        Cost::Stages { stages, .. } => (stages.join(" "), ""),
        Cost::No(why) => (String::new(), why.as_str()),
    };
    let all = [
        ("file", if *own { profile.path.display().to_string() } else { String::new() }),
        ("options", options.collect::<Vec<_>>().join(", ")),
        ("devices", profile.devices.iter().map(device).collect::<Vec<_>>().join(", ")),
        ("packages", profile.packages.join(" ")),
        ("kernel", profile.kernel.join(" ")),
        ("modules", profile.modules.join(" ")),
        ("layers", profile.layers.join(" ")),
        ("append", [&profile.append_batch[..], &own_words(profile)].concat().join(" ")),
        ("memory", memory),
        ("processors", least(profile.cpus, " at least")),
        ("NUMA nodes", least(profile.numa, "")),
        ("kernel.toolchain", profile.kernel_toolchain.clone()),
        ("qemu", profile.qemu_args.join(" ")),
        ("needs", profile.needs.join(" ")),
        ("not with", profile.conflicts.join(" ")),
        ("wraps in", profile.wrap.clone().unwrap_or_default()),
        ("makes", makes),
        ("not now", why.to_owned()),
    ];
    all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

/// Without the words that only carry the options.
fn own_words(profile: &Profile) -> Vec<String> {
    let option = format!("quiz.{}.", profile.name);
    profile.append.iter().filter(|word| !word.starts_with(&option)).cloned().collect()
}

fn device(device: &Device) -> String {
    match device {
        Device::Disk { bus, name, count, size: bytes, .. } => {
            let bus = match bus {
                Bus::Virtio => "virtio",
                Bus::Nvme => "nvme",
                Bus::Scsi => "scsi",
            };
            format!("{count} {bus} disks {name}0… of {}", size(*bytes))
        }
        Device::Net { .. } => "a network card".to_owned(),
        Device::Share { path, mode } => {
            let how = match mode {
                ShareMode::ReadWrite => "",
                ShareMode::ReadOnly => ", read-only",
                ShareMode::Overlay => ", written to in memory alone",
            };
            format!("the folder {path}{how}")
        }
        Device::Channel { name, count } => format!("{count} channels {name}.0…"),
    }
}

/// The list as JSON.
pub fn profiles_json(all: &[Listed]) -> Json {
    json!(all.iter().map(shape).collect::<Vec<_>>())
}

/// One as JSON.
pub fn profile_json(listed: &Listed) -> Json {
    json!(shape(listed))
}

fn shape(listed: &Listed) -> shapes::Profile<'_> {
    let Listed { profile, on, own, cost } = listed;
    let options = profile.options.iter().map(|(name, option)| {
        let shape = ProfileOption { default: &option.default, value: &option.value, about: &option.about };
        (name.as_str(), shape)
    });
    let cost = match cost {
        Cost::Stages { stages, took, unknown } => {
            shapes::Cost::Stages { stages, seconds: took.as_secs_f64(), unknown: *unknown }
        }
        Cost::No(why) => shapes::Cost::No { not_now: why },
    };
    shapes::Profile {
        profile: &profile.name,
        about: &profile.about,
        on: *on,
        own: *own,
        path: profile.path.to_string_lossy(),
        options: options.collect(),
        packages: &profile.packages,
        kernel: &profile.kernel,
        modules: &profile.modules,
        layers: &profile.layers,
        append: own_words(profile),
        append_batch: &profile.append_batch,
        memory: profile.memory,
        cpus: profile.cpus,
        numa: profile.numa,
        kernel_toolchain: &profile.kernel_toolchain,
        qemu_args: &profile.qemu_args,
        needs: &profile.needs,
        conflicts: &profile.conflicts,
        wrap: profile.wrap.as_deref(),
        devices: profile.devices.iter().map(device).collect(),
        cost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Project;

    fn listed() -> Vec<Listed> {
        let empty = tempfile::tempdir().unwrap();
        let all = Project::load(empty.path(), &[]).unwrap().all_profiles().unwrap();
        let cost = || Cost::Stages { stages: vec!["image".into()], took: Duration::from_secs(86), unknown: 0 };
        all.into_iter()
            .map(|profile| Listed { on: profile.name == "base", own: false, cost: cost(), profile })
            .collect()
    }

    #[test]
    fn what_each_is_for_is_shown_on_every_screen_and_none_of_them_scrolls_away() {
        let all = listed();
        for (columns, rows) in [(80, 24), (80, 50), (100, 24), (109, 40), (110, 40), (200, 24), (200, 50)] {
            let text = profiles(&all, Some((columns, rows)), &Style::new(crate::report::Color::Never, false));
            assert!(text.lines().count() < rows, "{columns} x {rows}: with the prompt below\n{text}");
            for line in text.lines() {
                assert!(line.chars().count() <= columns, "{columns} x {rows}: {line}");
            }
            for listed in &all {
                let name = &listed.profile.name;
                let begin: String = listed.profile.about.chars().take(14).collect();
                assert!(
                    text.lines().any(|line| line.contains(name) && line.contains(&begin)),
                    "{columns} x {rows}: {name}\n{text}"
                );
            }
            assert_eq!(
                text.contains("1m 26s"),
                columns == 200 || rows > 24,
                "what they cost, where there is room: {text}"
            );
        }
        let whole = profiles(&all, None, &Style::new(crate::report::Color::Never, false));
        assert!(whole.contains("touches") && all.iter().all(|listed| whole.contains(&listed.profile.about)), "{whole}");
    }
}

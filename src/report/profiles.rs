//! The list of profiles, as text for stdout or as JSON. Does not know how it was found out.

use super::lines::{duration, size};
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

/// One head line for each, and a line for each thing that it touches.
pub fn profiles(all: &[Listed], style: &Style) -> String {
    let heads: Vec<(String, String)> = all.iter().map(|listed| (name(listed), cost(&listed.cost))).collect();
    let [names, costs] = [0, 1].map(|column| {
        let width = |head: &(String, String)| if column == 0 { &head.0 } else { &head.1 }.chars().count();
        heads.iter().map(width).max().unwrap_or(0)
    });
    let mut text = String::new();
    for (listed, (name, cost)) in all.iter().zip(&heads) {
        let cost = match &listed.cost {
            Cost::Stages { stages, .. } if stages.is_empty() => style.good(&format!("{cost:<costs$}")),
            _ => style.warn(&format!("{cost:<costs$}")),
        };
        text += &format!("{name:<names$}  {cost}  {}\n", listed.profile.about);
        for (what, value) in touched(listed) {
            text += &style.dim(&format!("    {what:<8}  {value}"));
            text.push('\n');
        }
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
    fn one(listed: &Listed) -> shapes::Profile<'_> {
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
            qemu_args: &profile.qemu_args,
            needs: &profile.needs,
            conflicts: &profile.conflicts,
            wrap: profile.wrap.as_deref(),
            devices: profile.devices.iter().map(device).collect(),
            cost,
        }
    }
    json!(all.iter().map(one).collect::<Vec<_>>())
}

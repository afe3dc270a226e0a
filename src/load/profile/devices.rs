//! The devices that a profile adds to the machine, as data. A value may be `"$option"`: what that option of the profile is.
//!
//! Knows nothing of qemu.

use super::options::ProfileOption;
use crate::document::nearest;
use crate::error::{Error, Place, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A device that a profile adds to the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// Disks `<name>0`, `<name>1`, …
    Disk {
        /// How the guest sees them.
        bus: Bus,
        /// What their serial numbers, and their files on the host, begin with.
        name: String,
        /// How many.
        count: u64,
        /// The size of each, in bytes.
        size: u64,
        /// Their files stay, and the next run finds what this one wrote.
        persistent: bool,
        /// The format of their files.
        format: DiskFormat,
    },
    /// A network of its own behind qemu's user-mode NAT.
    Net {
        /// Ports of the host that lead into the guest, `HOST:GUEST`; an empty text for none, several with `+` between.
        forward: String,
    },
    /// A folder of the project, at its own path in the guest.
    Share {
        /// Which, from the project's folder on.
        path: String,
        /// What happens to what the guest writes there.
        mode: ShareMode,
    },
    /// Channels between host and guest, `<name>.0`, `<name>.1`, …, each a socket in the run's folder.
    Channel {
        /// What they are called on both sides.
        name: String,
        /// How many.
        count: u64,
    },
}

/// How a guest sees a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bus {
    /// virtio-blk.
    Virtio,
    /// An NVMe controller for each.
    Nvme,
    /// virtio-scsi.
    Scsi,
}

/// How a disk lies in its file on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    /// Byte for byte, sparse.
    Raw,
    /// qemu's own.
    Qcow2,
}

impl DiskFormat {
    /// As qemu calls it, and the end of its files' names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// What a guest may do with a folder of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShareMode {
    /// What it writes is written on the host.
    #[serde(rename = "rw")]
    ReadWrite,
    /// It cannot write there.
    #[serde(rename = "ro")]
    ReadOnly,
    /// What it writes stays in its own memory, and goes with it.
    Overlay,
}

/// A device as profile.toml has it.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum DeviceField {
    Disk { bus: Bus, name: String, count: toml::Value, size: toml::Value, persistent: toml::Value, format: toml::Value },
    Net { forward: toml::Value },
    Channel { name: String, count: toml::Value },
    Share { path: String, mode: ShareMode },
}

impl DeviceField {
    /// The device, with the values that the options of its profile have; `place` is where a key
    /// of it stands, for messages.
    ///
    /// # Errors
    /// It names an option that the profile does not have, or one of another type.
    pub(super) fn read(
        &self,
        options: &BTreeMap<String, ProfileOption>,
        place: &dyn Fn(&str) -> Place,
    ) -> Result<Device> {
        let text = |value: &toml::Value, key: &str| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let Some(name) = text.strip_prefix('$') else { return Ok(text) };
            options.get(name).map(|option| option.value.clone()).ok_or_else(|| {
                let what = format!("a device names the option `{name}`, which is not there");
                let error = Error::input(what).at(place(key).labelled("no option of this profile"));
                let near = nearest(name, options.keys().map(String::as_str));
                near.into_iter().fold(error, |error, near| error.hint(format!("did you mean `${near}`?")))
            })
        };
        let wrong = |text: &str, key: &str, wanted: &str| {
            let place = place(key).labelled(format!("{wanted} is wanted"));
            Error::input(format!("a device has {text:?} as {key}")).at(place)
        };
        let number = |value: &toml::Value, key: &str| {
            let text = text(value, key)?;
            text.parse::<u64>().map_err(|_| wrong(&text, key, "a number"))
        };
        Ok(match self {
            Self::Disk { bus, name, count, size, persistent, format } => Device::Disk {
                bus: *bus,
                name: name.clone(),
                count: number(count, "count")?,
                size: number(size, "size")?,
                persistent: match text(persistent, "persistent")?.as_str() {
                    "1" | "true" => true,
                    "0" | "false" => false,
                    other => return Err(wrong(other, "persistent", "true or false")),
                },
                format: match text(format, "format")?.as_str() {
                    "raw" => DiskFormat::Raw,
                    "qcow2" => DiskFormat::Qcow2,
                    other => return Err(wrong(other, "format", "raw or qcow2")),
                },
            },
            Self::Net { forward } => Device::Net { forward: text(forward, "forward")? },
            Self::Share { path, mode } => Device::Share { path: text(&path.as_str().into(), "path")?, mode: *mode },
            Self::Channel { name, count } => Device::Channel { name: name.clone(), count: number(count, "count")? },
        })
    }
}

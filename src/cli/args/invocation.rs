//! What a command line asks for of which project: its flags as settings.

use super::{Cli, Command, Guest};
use crate::engine::Invocation;
use crate::load::{FlagValue, Value};
use std::path::Path;

/// The profiles that the ZFS Test Suite needs: `quiz test` turns them on.
const SUITE_PROFILES: &[&str] = &["zfs", "blockdev:count=3,size=4G", "ztest"];

impl Cli {
    /// The folder in which quiz works, the settings given as flags, and whether the network may be used.
    pub fn invocation(&self) -> Invocation {
        Invocation { dir: self.global.directory.clone(), flags: self.settings(), offline: self.global.offline }
    }

    /// The settings that are given as flags.
    fn settings(&self) -> Vec<FlagValue> {
        let mut flags = Vec::new();
        let mut text = |key, value: &Option<String>, flag| {
            flags.extend(value.iter().map(|v| FlagValue { key, value: Value::Text(v.clone()), flag }));
        };
        let kernel = self.versions().into_iter().next().or_else(|| self.global.kernel.first().cloned());
        text("kernel.version", &kernel, "--kernel");
        text("kernel.config-file", &self.global.config_file, "--config-file");
        let guest = self.guest();
        if let Some(guest) = guest {
            text("machine.memory", &guest.memory, "--memory");
            text("machine.accel", &guest.accel, "--accel");
        }
        let mut list = |key, items: &[String], flag| {
            if !items.is_empty() {
                flags.push(FlagValue { key, value: Value::List(items.to_vec()), flag });
            }
        };
        list("kernel.config", &self.global.config, "--config");
        list("rootfs.packages", &self.global.package, "--package");
        list("modules", &self.modules(), "--module");
        list("profiles", &self.profiles(), "--profile");
        if let Some(guest) = guest {
            list("machine.append", &guest.append, "--append");
            list("machine.qemu-args", &guest.qemu_arg, "--qemu-arg");
        }
        let mut number = |key, value: Option<u64>, flag| {
            flags.extend(value.map(|n| FlagValue { key, value: Value::Number(n), flag }));
        };
        number("build.jobs", self.global.jobs, "--jobs");
        if let Some(guest) = guest {
            number("machine.cpus", guest.cpus, "--cpus");
        }
        flags
    }

    /// The folders of --module as absolute paths: here a relative one begins where quiz works (-C), but in a quiz.toml at the project.
    fn modules(&self) -> Vec<String> {
        let start = self.global.directory.as_deref().unwrap_or(Path::new(""));
        let whole = |folder: &String| std::path::absolute(start.join(folder)).ok()?.into_os_string().into_string().ok();
        self.global.module.iter().map(|folder| whole(folder).unwrap_or_else(|| folder.clone())).collect()
    }

    fn guest(&self) -> Option<&Guest> {
        match &self.command {
            Command::Up(up) => Some(&up.guest),
            Command::Snap(snap) => Some(&snap.guest),
            Command::Test(test) => Some(&test.guest),
            _ => None,
        }
    }

    /// The profiles of -p, after those that the ZFS Test Suite needs: of two values for one option the last one counts.
    fn profiles(&self) -> Vec<String> {
        let suite = matches!(&self.command, Command::Test(test) if test.each.is_none());
        let own: &[&str] = if suite { SUITE_PROFILES } else { &[] };
        own.iter().map(|name| (*name).to_owned()).chain(self.global.profile.iter().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suite_turns_its_profiles_on_and_commands_do_not() {
        let profiles = |words: &[&str]| {
            let flags = Cli::read([&["quiz", "test"], words].concat()).unwrap().settings();
            let flag = flags.into_iter().find(|flag| flag.key == "profiles");
            flag.map(|flag| flag.value.to_string())
        };
        assert_eq!(
            profiles(&["-T", "atime", "-p", "debug"]).unwrap(),
            r#"["zfs", "blockdev:count=3,size=4G", "ztest", "debug"]"#
        );
        assert_eq!(profiles(&["--each", "file"]), None);
        assert!(Cli::read(["quiz", "test", "--each", "file", "-t", "x"]).is_err());
    }
}

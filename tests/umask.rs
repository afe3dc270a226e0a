//! What quiz writes for its user alone is nobody else's, whatever umask it was started with.

use crate::project::Ran;
use crate::suite::Fake;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The same command behind `umask`.
fn under(umask: &str, command: &Command) -> Ran {
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask $0; exec \"$@\"", umask]).arg(command.get_program()).args(command.get_args());
    shell.current_dir(command.get_current_dir().unwrap()).env_clear().stdin(Stdio::null());
    shell.envs(command.get_envs().map(|(name, value)| (name, value.unwrap())));
    Ran::from(shell.output().unwrap())
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

/// All below a folder, sockets too, but what the guest itself wrote to its /out.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_out = path.file_name().is_some_and(|name| name == "out");
        if path.is_dir() && !is_out {
            found.extend(below(&path));
        }
        found.push(path);
    }
    found
}

#[test]
fn a_run_its_sockets_and_its_keys_are_its_users_alone() {
    for umask in ["000", "022"] {
        let fake = Fake::new();
        let ran = under(umask, &fake.up("exit-0", &["-p", "ssh"]));
        assert_eq!(ran.status, Some(0), "{ran:?}");
        let tests = under(umask, &fake.command("fake=suite", &["-j1"]));
        assert_eq!(tests.status, Some(1), "{tests:?}");
        let own = fake.0.dir().join(".quiz");
        for folder in [own.join("runs"), own.join("shared")] {
            assert_eq!(mode(&folder), 0o755, "{}", folder.display());
        }
        assert_eq!(mode(&own.join(".gitignore")), 0o644);
        assert_eq!(mode(&fake.0.cache()), 0o700);
        let all = below(&own.join("runs"));
        for path in &all {
            let wanted = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode(path), wanted, "umask {umask}: {}", path.display());
        }
        for name in [
            "1",
            "lock",
            "1/lock",
            "1/console.log",
            "1/qemu.log",
            "1/command",
            "1/result.json",
            "1/out",
            "1/ssh.0",
            "2/groups",
        ] {
            assert!(all.contains(&own.join("runs").join(name)), "there is no {name}");
        }
        let keys = fake.0.dir().with_file_name("home").join(".config/quiz/ssh");
        assert_eq!((mode(keys.parent().unwrap()), mode(&keys)), (0o755, 0o700));
        assert_eq!((mode(&keys.join("id_ed25519")), mode(&keys.join("lock"))), (0o600, 0o600));
        assert_eq!(mode(&keys.join("id_ed25519.pub")) & 0o022, 0);
        assert_eq!(mode(&own.join("ssh_config")), 0o600);
        // As an older quiz may have left it.
        std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(under(umask, &fake.up("exit-0", &["-p", "ssh"])).status, Some(0));
        assert_eq!(mode(&keys), 0o700);
    }
}

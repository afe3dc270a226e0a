//! What changes the identity of a tool, on hosts that are folders: their programs are scripts and files of a few bytes.

mod missing;

use super::identity::MISSING;
use super::*;
use quiz_cache::{Cache, Change};
use rustix::fs::inotify;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

/// Says what it is asked, as gcc does, and writes down that it was.
const DRIVER: &str = r#"#!/bin/sh
echo "$1" >>"${0%%/usr/*}/log/asked"
case $1 in
-v) echo COLLECT_GCC=/usr/bin/gcc-12 ;;
-print-prog-name=cc1) echo /usr/lib/gcc/x/12/cc1 ;;
-print-prog-name=*) echo "${1#*=}" ;;
-print-libgcc-file-name) echo /usr/lib/gcc/x/12/libgcc.a ;;
-print-file-name=*) echo "/usr/lib/gcc/x/12/${1#*=}" ;;
*) exit 1 ;;
esac
"#;

const LIBC: &str =
    "0123  usr/include/stdio.h\n4567  usr/lib/x-linux-gnu/libc.a\n89ab  usr/share/doc/libc6-dev/copyright\n";

struct Host {
    folder: tempfile::TempDir,
    cache: Cache,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        let host = Self { folder, cache };
        for dir in [
            "usr/sbin",
            "usr/local/bin",
            "usr/local/sbin",
            "usr/local/include",
            "usr/include",
            "etc/alternatives",
            "log",
        ] {
            std::fs::create_dir_all(host.root().join(dir)).unwrap();
        }
        for dir in ["bin", "sbin", "lib"] {
            host.link(&format!("usr/{dir}"), dir);
        }
        host.program("usr/bin/gcc-12", DRIVER);
        host.link("gcc-12", "usr/bin/gcc");
        host.program("usr/bin/as", "as");
        host.program("usr/bin/ld.bfd", "bfd");
        host.program("usr/bin/ld.gold", "gold");
        host.link("/usr/bin/ld.bfd", "etc/alternatives/ld");
        host.link("/etc/alternatives/ld", "usr/bin/ld");
        host.program("usr/lib/gcc/x/12/cc1", "cc1");
        for file in ["libgcc.a", "liblto_plugin.so", "plugin/one.so", "include/stddef.h"] {
            host.write(&format!("usr/lib/gcc/x/12/{file}"), file);
        }
        host.write("usr/include/stdio.h", "stdio");
        host.write("usr/lib/x-linux-gnu/libc.a", "libc");
        host.package("libc6-dev:amd64", LIBC);
        host
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Written by another process: a file that this one has open for writing a fork of another test would keep open, and then it could not
    /// be run (ETXTBSY).
    fn program(&self, path: &str, text: &str) {
        self.write("text", text);
        let (from, to) = (self.root().join("text"), self.root().join(path));
        std::fs::set_permissions(&from, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        assert!(std::process::Command::new("cp").arg(&from).arg(&to).status().unwrap().success());
    }

    fn link(&self, target: &str, path: &str) {
        let path = self.root().join(path);
        let _ = std::fs::remove_file(&path);
        symlink(target, path).unwrap();
    }

    /// Writes a package's checksums as dpkg does: a new file under the old name.
    fn package(&self, name: &str, sums: &str) {
        self.write("var/lib/dpkg/new", sums);
        let info = self.root().join("var/lib/dpkg/info");
        std::fs::create_dir_all(&info).unwrap();
        std::fs::rename(self.root().join("var/lib/dpkg/new"), info.join(format!("{name}.md5sums"))).unwrap();
    }

    fn needed(&self, name: &str) -> Needed {
        let needed_by = ["kernel".to_owned()].into();
        Needed { needed_by, ..Needed::new(name, "package", false, &View::new(&self.root())) }
    }

    /// The tools as they would be identified a while from now, when no file is too young to be remembered.
    fn tools_in(&self, cache: &Cache, names: &[&str]) -> Result<Tools> {
        let needed: Vec<Needed> = names.iter().map(|name| self.needed(name)).collect();
        Tools::identify_at(&self.root(), &needed, cache, SystemTime::now() + Duration::from_secs(10))
    }

    fn tools(&self, names: &[&str]) -> Tools {
        self.tools_in(&self.cache, names).unwrap()
    }

    /// What has changed about these tools since `before`, in words. Also checks that a digest differs exactly if there are such words.
    fn changed(&self, names: &[&str], before: &Tools) -> Vec<String> {
        let after = self.tools(names);
        let pairs = names.iter().map(|name| (format!("{TOOL}{name}"), before.get(name), after.get(name)));
        let headers = (HEADERS.to_owned(), before.headers(), after.headers());
        let told = pairs.chain([headers]).flat_map(|(name, before, after)| {
            let change = Change { name, before: Some(before.to_owned()), after: Some(after.to_owned()) };
            let words = told(&self.cache, &change);
            assert_eq!(words.is_empty(), before == after, "{change:?}");
            words
        });
        told.collect()
    }

    /// How often the driver was asked since the last time.
    fn asked(&self) -> usize {
        let path = self.root().join("log/asked");
        let asked = std::fs::read_to_string(&path).unwrap_or_default().lines().count();
        let _ = std::fs::remove_file(path);
        asked
    }
}

const ALL: [&str; 2] = ["gcc", "ld"];

#[test]
fn what_is_hidden_from_a_script_is_the_file_itself_and_no_link_to_it() {
    let host = Host::new();
    host.program("usr/bin/python3.13", "python");
    host.link("python3.13", "usr/bin/python3");
    let root = host.root();
    let places = |name: &str| everywhere_in(&View::new(&root), name).into_iter().collect::<Vec<_>>();
    assert_eq!(places("python3"), [Path::new("/usr/bin/python3.13")]);
    assert_eq!(places("/usr/bin/python3"), [Path::new("/usr/bin/python3.13")]);
    assert_eq!(places("ld"), [Path::new("/usr/bin/ld.bfd")], "by /etc/alternatives");
    assert!(places("none").is_empty());
}

#[test]
fn another_cc1_under_the_same_driver_is_another_compiler() {
    let host = Host::new();
    let before = host.tools(&ALL);
    host.program("usr/lib/gcc/x/12/cc1", "CC1");
    assert_eq!(host.changed(&ALL, &before), ["gcc: cc1 has changed"]);
}

#[test]
fn each_file_that_a_compiler_uses_counts() {
    for (file, words) in [
        ("liblto_plugin.so", "gcc: liblto_plugin.so has changed"),
        ("libgcc.a", "gcc: /usr/lib/gcc/x/12/libgcc.a has changed"),
        ("plugin/one.so", "gcc: /usr/lib/gcc/x/12/plugin/one.so has changed"),
        ("plugin/two.so", "gcc: /usr/lib/gcc/x/12/plugin/two.so is new"),
        ("include/stddef.h", "gcc: /usr/lib/gcc/x/12/include/stddef.h has changed"),
        ("specs", "gcc: specs is new"),
        ("../../../../bin/as", "gcc: as has changed"),
    ] {
        let host = Host::new();
        let before = host.tools(&ALL);
        host.program(&format!("usr/lib/gcc/x/12/{file}"), "another");
        let told = host.changed(&ALL, &before);
        assert!(told.iter().any(|told| told == words), "{file}: {told:?}");
    }
}

#[test]
fn a_linker_that_alternatives_switch_is_another_one_for_the_compiler_too() {
    let host = Host::new();
    let before = host.tools(&ALL);
    host.link("/usr/bin/ld.gold", "etc/alternatives/ld");
    assert_eq!(host.changed(&ALL, &before), ["gcc: ld has changed", "ld: the program has changed"]);
    assert_eq!(host.needed("ld").real.unwrap(), Path::new("/usr/bin/ld.gold"));
}

#[test]
fn a_header_that_no_package_has_counts_by_its_content() {
    for folder in ["/usr/include", "/usr/include/deep/er", "/usr/local/include"] {
        let host = Host::new();
        host.write(&format!("{}/there.h", &folder[1..]), "there");
        let (file, before) = (format!("{}/mine.h", &folder[1..]), host.tools(&ALL));
        host.write(&file, "one");
        assert_eq!(host.changed(&ALL, &before), [format!("headers: /{file} is new")]);
        let before = host.tools(&ALL);
        host.write(&file, "two");
        assert_eq!(host.changed(&ALL, &before), [format!("headers: /{file} has changed")]);
        std::fs::remove_file(host.root().join(&file)).unwrap();
        assert_eq!(host.changed(&ALL, &host.tools(&ALL)), [""; 0]);
    }
}

#[test]
fn an_upgraded_packages_header_is_told_by_the_package_and_its_documentation_is_not() {
    let host = Host::new();
    let before = host.tools(&ALL);
    host.package("libc6-dev:amd64", &LIBC.replace("89ab", "cdef"));
    assert_eq!(host.changed(&ALL, &before), [""; 0]);
    host.write("usr/include/stdio.h", "newer");
    host.package("libc6-dev:amd64", &LIBC.replace("0123", "3210"));
    assert_eq!(host.changed(&ALL, &before), ["headers: libc6-dev changed"]);
    let before = host.tools(&ALL);
    host.package("libc6-dev:amd64", &LIBC.replace("4567", "7654"));
    assert_eq!(host.changed(&ALL, &before), ["headers: libc6-dev changed"], "a library that is linked with");
}

#[test]
fn without_dpkg_every_header_counts_by_its_content() {
    let host = Host::new();
    std::fs::remove_dir_all(host.root().join("var")).unwrap();
    let before = host.tools(&ALL);
    host.write("usr/include/stdio.h", "newer");
    assert_eq!(host.changed(&ALL, &before), ["headers: /usr/include/stdio.h has changed"]);
}

#[test]
fn a_library_that_only_runs_is_no_header_and_one_of_nobodys_that_is_linked_with_is() {
    let host = Host::new();
    let before = host.tools(&ALL);
    host.write("usr/lib/x-linux-gnu/libssl.so.3", "runs");
    assert_eq!(host.changed(&ALL, &before), [""; 0]);
    host.write("usr/local/lib/libmine.so.1", "one");
    host.link("libmine.so.1", "usr/local/lib/libmine.so");
    let before = host.tools(&ALL);
    host.write("usr/local/lib/libmine.so.1", "two");
    assert_eq!(host.changed(&ALL, &before), ["headers: /usr/local/lib/libmine.so.1 has changed"]);
}

#[test]
fn ccache_is_followed_to_the_compiler_and_refused_where_there_is_none() {
    let host = Host::new();
    let plain = host.tools(&ALL);
    host.program("usr/bin/ccache", "ccache");
    host.link("../../bin/ccache", "usr/local/bin/gcc");
    assert_eq!(host.changed(&ALL, &plain), ["gcc: ccache is new"]);
    let before = host.tools(&ALL);
    host.program("usr/lib/gcc/x/12/cc1", "CC1");
    assert_eq!(host.changed(&ALL, &before), ["gcc: cc1 has changed"]);
    std::fs::remove_file(host.root().join("usr/bin/gcc")).unwrap();
    let error = host.tools_in(&host.cache, &ALL).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("gcc is ccache (/usr/local/bin/gcc), which starts the next gcc in PATH, and scripts see none"),
        "{error}"
    );
    assert!(error.hints()[0].ends_with("sudo rm /usr/local/bin/gcc"), "{error:?}");
}

#[test]
fn a_compiler_that_is_a_script_is_followed_to_its_driver_or_refused() {
    let host = Host::new();
    host.program("usr/local/bin/gcc", &DRIVER.replace("COLLECT_GCC=/usr/bin/gcc-12", "COLLECT_GCC=gcc-12"));
    let before = host.tools(&["gcc"]);
    host.program("usr/bin/gcc-12", "another driver");
    assert_eq!(host.changed(&["gcc"], &before), ["gcc: the driver that it starts has changed"]);
    host.program("usr/local/bin/gcc", "#!/bin/sh\nexit 1\n");
    let error = host.tools_in(&host.cache, &["gcc"]).unwrap_err();
    assert!(error.to_string().starts_with("gcc is the script /usr/local/bin/gcc, and"), "{error}");
    assert!(error.hints()[0].contains("sudo ln -sfn"), "{error:?}");
}

#[test]
fn a_compiled_wrapper_that_is_called_as_the_compiler_is_followed_to_its_driver() {
    let host = Host::new();
    let text = r#"#include <stdio.h>
        int main(int n, char **w) { return n > 1 && w[1][1] == 'v' && !w[1][2] ? puts("COLLECT_GCC=gcc-12") < 0 : 1; }"#;
    host.write("wrapper.c", text);
    let mut gcc = std::process::Command::new("gcc");
    let made = gcc.arg("-o").arg(host.root().join("usr/local/bin/gcc")).arg(host.root().join("wrapper.c")).status();
    assert!(made.unwrap().success());
    let before = host.tools(&["gcc"]);
    host.program("usr/bin/gcc-12", "another driver");
    assert_eq!(host.changed(&["gcc"], &before), ["gcc: the driver that it starts has changed"]);
}

#[test]
fn a_program_consists_of_its_interpreter_and_its_packages_data_too() {
    let host = Host::new();
    host.program("usr/bin/autoconf", "#!/usr/bin/env perl\n");
    host.program("usr/bin/env", "env");
    host.program("usr/bin/perl", "perl");
    let sums = "01  usr/bin/autoconf\n02  usr/share/autoconf/m4\n03  usr/share/man/man1/autoconf.1.gz\n";
    host.package("autoconf", sums);
    let names = ["autoconf"];
    let before = host.tools(&names);
    host.program("usr/bin/perl", "Perl");
    assert_eq!(host.changed(&names, &before), ["autoconf: perl has changed"]);
    let before = host.tools(&names);
    host.package("autoconf", &sums.replace("03", "30"));
    assert_eq!(host.changed(&names, &before), [""; 0]);
    host.package("autoconf", &sums.replace("02", "20"));
    assert_eq!(host.changed(&names, &before), ["autoconf: autoconf changed"]);
    assert_eq!(before.headers(), MISSING, "nothing compiles");
}

#[test]
fn a_program_consists_of_its_libraries() {
    let host = Host::new();
    let own = std::env::current_exe().unwrap();
    std::fs::copy(own, host.root().join("usr/bin/tool")).unwrap();
    host.write("etc/ld.so.conf.d/x.conf", "# of a test\n/usr/lib/x-linux-gnu\n");
    host.write("usr/lib/x-linux-gnu/libc.so.6", "one");
    let before = host.tools(&["tool"]);
    host.write("usr/lib/x-linux-gnu/libc.so.6", "two");
    assert_eq!(host.changed(&["tool"], &before), ["tool: libc.so.6 has changed"]);
}

#[test]
fn a_second_look_starts_no_process_and_opens_no_file_of_the_host() {
    let host = Host::new();
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    for folder in ["usr/bin", "usr/include", "usr/lib/gcc/x/12", "usr/lib", "var/lib/dpkg/info", "etc"] {
        inotify::add_watch(&watch, host.root().join(folder), inotify::WatchFlags::OPEN).unwrap();
    }
    let mut bytes = vec![0; 1 << 16];
    let first = host.tools(&ALL);
    assert!(rustix::io::read(&watch, &mut bytes).unwrap() > 0 && host.asked() > 0);
    while rustix::io::read(&watch, &mut bytes).is_ok() {}
    let second = host.tools(&ALL);
    assert_eq!((second.get("gcc"), second.headers()), (first.get("gcc"), first.headers()));
    assert_eq!(rustix::io::read(&watch, &mut bytes), Err(rustix::io::Errno::AGAIN), "something was opened");
    assert_eq!(host.asked(), 0);
    // When one program changes, the others are not read again.
    host.program("usr/bin/as", "another");
    host.tools(&ALL);
    let read = rustix::io::read(&watch, &mut bytes).unwrap();
    assert!(host.asked() > 0 && !bytes[..read].windows(3).any(|name| name == b"cc1"));
}

#[test]
fn what_is_too_young_is_not_remembered() {
    let host = Host::new();
    let needed = ALL.map(|name| host.needed(name));
    let look = || Tools::identify_at(&host.root(), &needed, &host.cache, SystemTime::now()).unwrap();
    let first = look();
    assert!(host.asked() > 0);
    assert_eq!(look().get("gcc"), first.get("gcc"));
    assert!(host.asked() > 0);
}

#[test]
fn equal_hosts_and_new_caches_agree() {
    let (one, other) = (Host::new(), Host::new());
    let empty = Cache::open(&one.folder.path().join("empty")).unwrap();
    let all =
        [one.tools(&ALL), one.tools_in(&empty, &ALL).unwrap(), one.tools(&["gcc", "ld", "sh"]), other.tools(&ALL)];
    for tools in &all {
        assert_eq!(tools.get("gcc"), all[0].get("gcc"));
        assert_eq!((tools.get("ld"), tools.headers()), (all[0].get("ld"), all[0].headers()));
    }
}

#[test]
fn a_new_distribution_is_told_in_a_few_lines() {
    let host = Host::new();
    let before = host.tools(&ALL);
    (0..20).for_each(|n| host.write(&format!("usr/include/{n}.h"), "x"));
    let told = host.changed(&ALL, &before);
    assert_eq!((told.len(), told[6].as_str()), (7, "headers: and 14 more"));
}

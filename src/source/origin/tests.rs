//! Which origin each form means.

use super::*;

const KERNEL: &str = "entry = \"kernel\"\nreleases = \"linux\"\n\
    debian = { package = \"l-{series}\", tarball = \"t\" }\nurl = { index = \"i\", file = \"f\", sums = \"s\" }\n\
    git = { repository = \"r\", tag = \"v{version}\" }\ndir = { marks = [\"Kbuild\", \"init/main.c\"] }\n";
const ZFS: &str = "entry = \"zfs\"\naddress = true\ndsc = { package = \"zfs-linux\" }\n\
    git = { repository = \"r\", tag = \"zfs-{version}\" }\ndir = { marks = [\"META\"] }\n";

/// A project with a kernel worktree, a bare folder and a file in it.
fn project() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["linux/init", "other", "linux/drivers"] {
        fs::create_dir_all(dir.path().join(folder)).unwrap();
    }
    for file in ["linux/Kbuild", "linux/init/main.c", "other/Kbuild", "file"] {
        fs::write(dir.path().join(file), "").unwrap();
    }
    dir
}

/// What is chosen: origin, version and repository asked for, and the folder quiz runs in.
fn chosen(spec: &str, dir: &Path, start: &str, [origin, version, repository]: [&str; 3]) -> Result<Origin> {
    let spec: Spec = toml::from_str(spec).unwrap();
    let (start, base) = (dir.join(start), dir.to_owned());
    let ctx = Context {
        cache: "/none".into(),
        arch: "x86_64".into(),
        mirrors: crate::source::Mirrors::default(),
        offline: true,
        start,
        base,
    };
    choose(&spec, Asked { origin, version, repository }, &ctx)
}

#[test]
fn every_form() {
    let dir = project();
    let linux = fs::canonicalize(dir.path()).unwrap().join("linux");
    let around = || Origin::Dir(dir.path().join("linux"));
    let folder = || Origin::Dir(linux.clone());
    let address = || Origin::Address("https://e.org/x.tar.xz#sha256=0".to_owned());
    let (inside, outside) = ("linux/drivers", "other");
    let url = "https://e.org/x.tar.xz#sha256=0";
    for (spec, start, asked, wanted) in [
        // Without an origin: version and folder decide.
        (KERNEL, outside, ["", "default", ""], Origin::Debian),
        (ZFS, outside, ["", "default", ""], Origin::Dsc),
        (KERNEL, inside, ["", "default", ""], around()),
        (ZFS, inside, ["", "default", ""], Origin::Dsc),
        (KERNEL, inside, ["", "6.1", ""], Origin::Debian),
        (KERNEL, inside, ["", "6.1.170-3", ""], Origin::Debian),
        (KERNEL, outside, ["", url, ""], address()),
        (ZFS, inside, ["", url, ""], address()),
        (KERNEL, inside, ["", "6.1-rc1", ""], Origin::Git),
        (KERNEL, inside, ["", "6.1.0-rc1", ""], Origin::Git),
        (KERNEL, inside, ["", "next-20250721", ""], Origin::Git),
        (KERNEL, inside, ["", "6.16.0-next-20250618", ""], Origin::Git),
        (KERNEL, inside, ["", "master", ""], Origin::Git),
        (KERNEL, inside, ["", "6.19.0-master-7449f86bafcd+", ""], Origin::Git),
        (KERNEL, inside, ["", "7449f86bafcd", ""], Origin::Git),
        (KERNEL, inside, ["", "v6.1.2", ""], Origin::Git),
        (ZFS, outside, ["", "2.1.11", ""], Origin::Dsc),
        (ZFS, outside, ["", "2.1.11-1+deb12u1", ""], Origin::Dsc),
        (ZFS, outside, ["", "zfs-2.2-release", ""], Origin::Git),
        (ZFS, outside, ["", "2.3.0-rc1", ""], Origin::Git),
        // With a repository.
        (KERNEL, outside, ["", "default", "/r"], Origin::Git),
        (KERNEL, inside, ["", "default", "/r"], around()),
        (KERNEL, inside, ["", "6.1", "/r"], Origin::Git),
        (KERNEL, outside, ["debian", "6.1", "/r"], Origin::Debian),
        // By name.
        (KERNEL, inside, ["url", "6.1", ""], Origin::Url),
        (KERNEL, inside, ["debian", "default", ""], Origin::Debian),
        (KERNEL, inside, ["git", "default", ""], Origin::Git),
        (KERNEL, inside, ["dir", "6.1", ""], around()),
        (KERNEL, inside, ["debian", url, ""], address()),
        // By place: paths start in the project's folder, not where quiz runs.
        (KERNEL, outside, ["./linux", "default", ""], folder()),
        (KERNEL, outside, ["./other/../linux/", "6.1", ""], folder()),
        (KERNEL, outside, [linux.to_str().unwrap(), url, ""], folder()),
        (KERNEL, inside, [url, "6.1", ""], address()),
    ] {
        assert_eq!(chosen(spec, dir.path(), start, asked).unwrap(), wanted, "{asked:?} in {start}");
    }
}

#[test]
fn what_cannot_be_meant() {
    let dir = project();
    let fails = |spec, asked| {
        let error = chosen(spec, dir.path(), "other", asked).unwrap_err();
        assert_eq!(error.kind(), crate::error::Kind::Input);
        let lines =
            error.details().iter().chain(error.hints()).fold(error.to_string(), |text, line| text + "\n" + line);
        lines.replace(&fs::canonicalize(dir.path()).unwrap().display().to_string(), "D")
    };
    assert_eq!(
        fails(KERNEL, ["./other", "default", ""]),
        "kernel: D/other is not a folder with this source\nit has no init/main.c"
    );
    assert_eq!(fails(KERNEL, ["./file", "default", ""]), "kernel: D/file is not a folder");
    assert!(fails(KERNEL, ["./nowhere", "default", ""]).starts_with("kernel: there is no folder "));
    assert!(
        fails(KERNEL, ["dir", "default", ""])
            .contains("is not in a worktree of this source\nsuch a worktree has Kbuild, init/main.c")
    );
    let known = "kernel: there is no origin `gti`\nthere are: debian, url, git, dir, or the path of a folder";
    assert_eq!(fails(KERNEL, ["gti", "default", ""]), known);
    assert_eq!(
        fails("entry = \"x\"\npackages = {}\n", ["dir", "default", ""]),
        "x: there is no origin `dir`\nthere are: packages"
    );
    assert!(fails("entry = \"x\"\npackages = {}\n", ["/", "default", ""]).contains("cannot be a folder"));
    assert!(
        fails("entry = \"x\"\ndir = { marks = [\"nowhere\"] }\n", ["", "default", ""])
            .contains("a folder or an address")
    );
}

//! What options mean, and what they cannot.

use super::*;

fn wish(options: &[(&str, &[&str])]) -> Result<Wish> {
    let text = "entry = \"kernel\"\ndebian = { package = \"l-{series}\", tarball = \"t\" }\n\
                url = { index = \"https://example.org/\", file = \"f\", sums = \"s\" }\npackages = {}\n\
                dsc = { package = \"l\" }\ngit = { repository = \"r\", tag = \"v{version}\" }\ndir = { marks = [] }\n";
    let spec: Spec = toml::from_str(text).unwrap();
    let list = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect();
    let options = options.iter().map(|(name, values)| ((*name).to_owned(), list(values))).collect();
    let ctx = Context {
        cache: "/none".into(),
        arch: "aarch64".into(),
        mirrors: crate::source::Mirrors::default(),
        offline: true,
        start: "/none".into(),
        base: "/usr".into(),
    };
    Wish::new(&spec, &options, &ctx)
}

#[test]
fn the_name_in_the_lock() {
    let sum = "A".repeat(64);
    let with_sum = format!("http://example.org/x.tar#sha256={sum}");
    for (options, name) in [
        (&[][..], "debian default"),
        (&[("version", &[" 6.1 "][..])], "debian 6.1"),
        (&[("version", &["7.3"]), ("suite", &["trixie-backports"])], "debian 7.3 of trixie-backports"),
        (&[("version", &["7.3"]), ("suite", &[" trixie, sid,trixie "])], "debian 7.3 of trixie sid"),
        (&[("version", &["7.3"]), ("suite", &[" , "])], "debian 7.3"),
        (&[("version", &["v7.3"]), ("suite", &["sid"])], "git v7.3"),
        (&[("origin", &["url"]), ("version", &["6.1.170"])], "url 6.1.170"),
        (&[("version", &["https://example.org/x.tar"])], "https://example.org/x.tar"),
        (&[("version", &[&with_sum])], &with_sum.replace('A', "a")),
        (&[("origin", &["dsc"]), ("version", &["2.1"])], "dsc 2.1"),
        (&[("own", &["trixie"])], "debian default near trixie"),
        (&[("own", &["trixie"]), ("suite", &["sid"])], "debian default of sid"),
        (&[("own", &["trixie"]), ("origin", &["dsc"])], "dsc default near trixie"),
        (&[("own", &["trixie"]), ("version", &["v6.1"])], "git v6.1"),
        (&[("version", &["next-20250721"])], "git next-20250721"),
        (&[("version", &["v6.1"]), ("repository", &["https://e.org/x.git"])], "git v6.1 of https://e.org/x.git"),
        (&[("version", &["v6.1"]), ("repository", &["x@e.org:x.git"])], "git v6.1 of x@e.org:x.git"),
        (&[("origin", &["git"]), ("repository", &["../etc"])], "git default of /etc"),
        (&[("origin", &["../etc"])], "dir /etc"),
        (
            &[("origin", &["packages"]), ("suite", &["trixie"]), ("packages", &["less", "bash", "", "less"])],
            "trixie arm64: bash less",
        ),
    ] {
        assert_eq!(wish(options).unwrap().to_string(), name);
    }
}

#[test]
fn a_folder_is_never_pinned() {
    let text = "entry = \"kernel\"\ndir = { marks = [] }\n";
    let (spec, none) = (toml::from_str(text).unwrap(), std::path::Path::new("/none"));
    let (cache, start, base) = (none.into(), none.into(), none.into());
    let ctx = Context {
        cache,
        arch: "x86_64".into(),
        mirrors: crate::source::Mirrors::default(),
        offline: false,
        start,
        base,
    };
    let wish = Wish::new(&spec, &BTreeMap::from([("origin".to_owned(), vec!["/etc".to_owned()])]), &ctx).unwrap();
    assert_eq!(wish.dir(), Some(Path::new("/etc")));
    assert!(crate::source::resolve(&spec, &wish, &ctx, &|_| {}).is_err());
    let offline = Context { offline: true, ..ctx };
    let error =
        crate::source::pinned(&spec, &wish, false, Path::new("/none/quiz.lock"), &offline, &|_| {}).unwrap_err();
    assert_eq!(error.to_string(), "kernel: the folder /etc cannot be pinned");
}

#[test]
fn only_the_tools_of_what_is_asked_for() {
    let tools = |options| wish(options).unwrap().tools().iter().map(|(name, _)| *name).collect::<Vec<_>>();
    assert_eq!(tools(&[("version", &["v6.1"])]), ["git"]);
    assert!(
        tools(&[]).is_empty()
            && tools(&[("origin", &["dsc"])]).is_empty()
            && tools(&[("origin", &["/etc"])]).is_empty()
    );
}

#[test]
fn what_cannot_be_meant() {
    let packages = |name| wish(&[("origin", &["packages"]), ("suite", &["x"]), ("packages", &[name])]);
    for (wrong, says) in [
        (wish(&[("origin", &["gti"])]), "no origin `gti`"),
        (
            wish(&[("origin", &["git"]), ("version", &["--upload-pack=x"])]),
            "cannot be a version, tag, branch or commit in git",
        ),
        (
            wish(&[("origin", &["git"]), ("version", &["master:init"])]),
            "cannot be a version, tag, branch or commit in git",
        ),
        (wish(&[("repository", &["-x:y"])]), "not the address of a repository"),
        (wish(&[("repository", &["/nowhere/at/all"])]), "there is no repository /nowhere/at/all"),
        (wish(&[("origin", &["debian"]), ("version", &["six"])]), "`six` is not a version"),
        (wish(&[("origin", &["url"]), ("version", &["6.1/../x"])]), "is not a version"),
        (wish(&[("version", &["http://example.org/x.tar"])]), "only with a checksum"),
        (wish(&[("version", &["ftp://example.org/x.tar"])]), "only https"),
        (wish(&[("version", &["https://example.org/x#sha256=12"])]), "64 hex digits"),
        (packages("-oDir::Etc=/x"), "is not a package name"),
        (packages("./x.deb"), "is not a package name"),
        (packages("?essential"), "is not a package name"),
        (packages("bash-"), "is not a package name"),
        (wish(&[("origin", &["packages"]), ("suite", &["../x"])]), "`../x` is not the name of a suite"),
        (wish(&[("version", &["6.1"]), ("suite", &["sid,../x"])]), "`../x` is not the name of a suite"),
    ] {
        let error = wrong.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(error.kind(), crate::error::Kind::Input);
    }
}

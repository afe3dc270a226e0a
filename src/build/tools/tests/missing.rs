//! Tools that are not there, or that scripts would not see.

use super::*;

fn tool(name: &str, package: &str) -> Needed {
    let needed_by = ["kernel".to_owned()].into();
    Needed { needed_by, ..Needed::new(name, package, false, &View::new(Path::new("/"))) }
}

#[test]
fn all_that_is_missing_is_said_at_once_with_one_command() {
    let tools = [tool("no-such-flex", "flex"), tool("/usr/no/such/libelf.h", "libelf-dev"), tool("sh", "dash")];
    let error = require(&tools).unwrap_err();
    assert_eq!(error.details().len(), 2);
    assert_eq!(error.details()[1], "/usr/no/such/libelf.h (package libelf-dev), needed by kernel");
    assert!(error.hints()[0].starts_with("apt-get install --no-install-recommends -- flex libelf-dev "));
    assert!(require(&tools[2..]).is_ok());
}

#[test]
fn what_a_profile_needs_is_optional_no_more() {
    let mut optional = tool("no-such-pahole", "dwarves");
    optional.optional = true;
    assert!(require(std::slice::from_ref(&optional)).is_ok());
    let needed = with_tool_of(vec![optional], ("no-such-pahole", "dwarves"), "the profile perf");
    let error = require(&with_tool_of(needed, ("no-such-tool", "x"), "the profile perf")).unwrap_err();
    assert_eq!(error.details()[0], "no-such-pahole (package dwarves), needed by kernel, the profile perf");
    assert_eq!(error.details()[1], "no-such-tool (package x), needed by the profile perf");
}

#[test]
fn a_tool_in_opt_that_scripts_do_not_see_is_refused_with_what_to_type() {
    let host = Host::new();
    host.program("opt/gcc-14/bin/gcc", DRIVER);
    host.link("/opt/gcc-14/bin/gcc", "usr/local/bin/gcc");
    let gcc = host.needed("gcc");
    let error = require(std::slice::from_ref(&gcc)).unwrap_err();
    assert!(
        error.to_string().starts_with("gcc is /usr/local/bin/gcc, which leads to /opt/gcc-14/bin/gcc, and scripts do"),
        "{error}"
    );
    assert_eq!(
        error.hints(),
        [
            "to use it: sudo cp -a /opt/gcc-14 /usr/local/lib/ && \
             sudo ln -sfn /usr/local/lib/gcc-14/bin/gcc /usr/local/bin/gcc",
            "to use /usr/bin/gcc instead: sudo rm /usr/local/bin/gcc"
        ]
    );
    // Each of the two hints helps: after it scripts see a compiler.
    std::fs::create_dir_all(host.root().join("usr/local/lib")).unwrap();
    std::fs::rename(host.root().join("opt/gcc-14"), host.root().join("usr/local/lib/gcc-14")).unwrap();
    host.link("/usr/local/lib/gcc-14/bin/gcc", "usr/local/bin/gcc");
    let gcc = host.needed("gcc");
    assert!(require(std::slice::from_ref(&gcc)).is_ok());
    assert_eq!(gcc.real.as_deref(), Some(Path::new("/usr/local/lib/gcc-14/bin/gcc")));
}

#[test]
fn a_link_that_leads_nowhere_or_through_what_is_hidden_is_found_as_a_script_finds_it() {
    let host = Host::new();
    host.link("/opt/gone", "usr/local/bin/gcc");
    assert_eq!(host.needed("gcc").found.unwrap(), Path::new("/usr/bin/gcc"));
    // The link ends in /usr, but only by way of /opt, which scripts do not see.
    std::fs::create_dir_all(host.root().join("opt")).unwrap();
    host.link("/usr/bin/gcc-12", "opt/cc");
    host.link("/opt/cc", "usr/local/bin/gcc");
    assert!(host.needed("gcc").refusal().is_some());
    host.link("gcc", "usr/local/bin/gcc");
    assert_eq!(host.needed("gcc").found.unwrap(), Path::new("/usr/bin/gcc"), "it leads to itself");
    // A recipe that can do without it gets what its script would see.
    host.link("/opt/cc", "usr/local/bin/gcc");
    let optional = Needed { optional: true, ..host.needed("gcc") };
    assert!(optional.refusal().is_none() && !optional.is_missing());
    assert_eq!(optional.found.unwrap(), Path::new("/usr/bin/gcc"));
}

#[test]
fn a_part_of_a_compiler_that_scripts_do_not_see_is_refused() {
    let host = Host::new();
    host.program("opt/cc1", "cc1");
    host.link("/opt/cc1", "usr/lib/gcc/x/12/cc1");
    let error = host.tools_in(&host.cache, &ALL).unwrap_err();
    assert!(error.to_string().starts_with("gcc uses /opt/cc1, which scripts do not see"), "{error}");
}

#[test]
fn a_program_that_only_the_users_path_has_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("no-such-flex"), "").unwrap();
    let path = std::env::join_paths([Path::new("/nonexistent"), dir.path()]).unwrap();
    assert_eq!(elsewhere("no-such-flex", &path), Some(dir.path().join("no-such-flex")));
    assert_eq!((elsewhere("no-such-bison", &path), elsewhere("/etc/passwd", &path)), (None, None));
}

#[test]
fn a_file_counts_by_its_content_and_an_optional_one_that_is_missing_says_so() {
    let host = Host::new();
    let names = ["/usr/include/stdio.h", "/usr/include/no-such.h"];
    let before = host.tools(&names);
    assert_eq!(before.get(names[1]), MISSING);
    host.write("usr/include/no-such.h", "1");
    host.write("usr/include/stdio.h", "other");
    let after = host.tools(&names);
    assert!(names.iter().all(|name| after.get(name) != before.get(name) && after.get(name).len() == 64));
    assert_eq!(after.headers(), MISSING);
}

#[test]
fn what_has_a_path_is_never_run_and_a_name_is_no_path() {
    let host = Host::new();
    let tools = host.tools(&["/usr/bin/gcc"]);
    assert_eq!((host.asked(), tools.get("/usr/bin/gcc").len()), (0, 64));
    assert!(host.needed("../bin/gcc").found.is_none() && host.needed("/usr").found.is_none());
}

#[test]
fn what_is_run_is_not_in_the_project() {
    let host = Host::new();
    host.program("usr/bin/gcc-12", &DRIVER.replace("echo \"$1\"", "echo \"$PWD\""));
    host.tools(&ALL);
    let asked = std::fs::read_to_string(host.root().join("log/asked")).unwrap();
    assert!(!asked.is_empty() && asked.lines().all(|line| line == "/"), "{asked}");
}

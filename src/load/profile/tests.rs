//! Which profiles are on, in which order, and what is said of one that cannot be read.

use super::*;

const NOWHERE: Surroundings<'_> = Surroundings { is_inside: &|_| false, kernel_config: &[], place: &|_| None };

#[test]
fn the_base_profile_is_always_on_and_own_profiles_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("mine");
    std::fs::create_dir_all(own.join("files/etc")).unwrap();
    std::fs::write(own.join("profile.toml"), "about = \"x\"\npackages = [\"gdb\"]\n").unwrap();
    std::fs::write(own.join("files/etc/motd"), "hello\n").unwrap();
    let active = load_active(dir.path(), &["mine".to_owned(), "mine".to_owned()], &NOWHERE).unwrap();
    let names: Vec<&str> = active.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["base", "mine"]);
    assert_eq!(active[1].adds_to("rootfs.packages"), ["gdb"]);
    assert_eq!(active[1].files, [("files/etc/motd".to_owned(), b"hello\n".to_vec(), false)]);
}

#[test]
fn a_profile_is_on_in_the_worktree_it_is_for_and_takes_options_there() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("mine")).unwrap();
    let text = "about = \"x\"\non-in = \"my-source\"\nappend = [\"a=1\"]\n[options]\n\
                n = { type = \"int\", default = 1, about = \"x\" }\n";
    std::fs::write(dir.path().join("mine/profile.toml"), text).unwrap();
    let active = |names: &[String], inside: bool| {
        let is_inside = |recipe: &str| inside && recipe == "my-source";
        let active = load_active(dir.path(), names, &Surroundings { is_inside: &is_inside, ..NOWHERE }).unwrap();
        active.into_iter().skip(1).map(|p| (p.name, p.append)).collect::<Vec<_>>()
    };
    let mine = |n: u32| [("mine".to_owned(), vec!["a=1".to_owned(), format!("quiz.mine.n={n}")])];
    assert_eq!(active(&[], false), []);
    assert_eq!(active(&[], true), mine(1));
    assert_eq!(active(&["mine:n=2".to_owned()], true), mine(2));
    assert_eq!(active(&["base,mine:n=2".to_owned()], true), mine(2));
}

#[test]
fn a_line_of_kernel_config_turns_on_what_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let with_rust = |lines: &[&str]| {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let active = load_active(dir.path(), &[], &Surroundings { kernel_config: &lines, ..NOWHERE }).unwrap();
        active.iter().any(|profile| profile.name == "rust" && profile.tools.contains_key("bindgen"))
    };
    for lines in [&["CONFIG_RUST=y"][..], &["RUST=n", " RUST=y # if present"], &["RUST=y", "CONFIG_RUSTY=n"]] {
        assert!(with_rust(lines), "{lines:?}");
    }
    for lines in [
        &[][..],
        &["CONFIG_RUST=y", "RUST=n"],
        &["TRUST=y", "RUST_DEBUG=y", "RUST=m"],
        &["RUST=y", "# CONFIG_RUST is not set"],
    ] {
        assert!(!with_rust(lines), "{lines:?}");
    }
}

#[test]
fn devices_are_what_the_options_say() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("mine")).unwrap();
    let text = |size: &str| {
        format!(
            "about = \"x\"\n[options]\nn = {{ type = \"int\", default = 1, about = \"x\" }}\n[[devices]]\n\
             type = \"disk\"\nbus = \"nvme\"\nname = \"d\"\ncount = \"$n\"\nsize = {size}\npersistent = false\n\
             format = \"raw\"\n"
        )
    };
    let file = dir.path().join("mine/profile.toml");
    let devices =
        |name: &str| load_active(dir.path(), &[name.to_owned()], &NOWHERE).map(|mut active| active.remove(1).devices);
    std::fs::write(&file, text("1048576")).unwrap();
    let disks = Device::Disk {
        bus: Bus::Nvme,
        name: "d".to_owned(),
        count: 3,
        size: 1 << 20,
        persistent: false,
        format: DiskFormat::Raw,
    };
    assert_eq!(devices("mine:n=3").unwrap(), [disks]);
    std::fs::write(&file, text("\"$m\"")).unwrap();
    let error = devices("mine").unwrap_err().to_string();
    assert!(error.ends_with("mine/profile.toml:9:8: a device names the option `m`, which is not there"), "{error}");
}

/// Told apart by what their hooks call: profiles that take devices come after all that make some, and pool comes last.
#[test]
fn shipped_profiles_that_stand_on_devices_come_after_those_that_make_them() {
    let dir = tempfile::tempdir().unwrap();
    let all = load_all(dir.path()).unwrap();
    let calls = |profile: &Profile, words: &[&str]| {
        let init = profile.files.iter().find(|(name, ..)| name == "init");
        let text = init.map(|(_, bytes, _)| String::from_utf8(bytes.clone()).unwrap()).unwrap_or_default();
        words.iter().any(|word| text.contains(word))
    };
    let names =
        |of: &dyn Fn(&Profile) -> bool| all.iter().filter(|p| of(p)).map(|p| p.name.clone()).collect::<Vec<_>>();
    let stand = names(&|p| calls(p, &["take_devices", "map_devices"]) && p.name != "pool");
    let make = names(&|p| calls(p, &["add_devices", "link_disks"]) && !stand.contains(&p.name));
    assert!(stand.len() >= 6 && make.len() >= 5, "{stand:?} {make:?}");
    let active = |names: &[&String]| {
        let names: Vec<String> = names.iter().map(|name| (*name).clone()).collect();
        let active = load_active(dir.path(), &names, &NOWHERE);
        active.map(|active| active.into_iter().map(|p| p.name).filter(|name| name != "zfs").collect::<Vec<_>>())
    };
    let pool = "pool".to_owned();
    for (late, early) in stand.iter().flat_map(|late| make.iter().map(move |early| (late, early))) {
        let order = active(&[late, early]).unwrap();
        assert_eq!(order, ["base", early, late]);
        // Some make devices on which no pool can be made.
        let Ok(order) = active(&[&pool, late, early]) else { continue };
        assert_eq!(order, ["base", early, late, "pool"]);
    }
    let order = active(&[&pool, &"md".to_owned(), &"error".to_owned(), &"memdev".to_owned()]).unwrap();
    assert_eq!(order, ["base", "memdev", "md", "error", "pool"], "as they were named");
}

#[test]
fn a_folder_that_would_hide_the_roots_own_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("mine/files/bin")).unwrap();
    std::fs::write(dir.path().join("mine/profile.toml"), "about = \"x\"\n").unwrap();
    std::fs::write(dir.path().join("mine/files/bin/tool"), "").unwrap();
    let error = load_active(dir.path(), &["mine".to_owned()], &NOWHERE).unwrap_err();
    assert_eq!(error.hints(), ["put it under files/usr/bin/tool"]);
}

#[test]
fn a_stray_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("mine");
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join("profile.toml"), "about = \"x\"\n").unwrap();
    std::fs::write(own.join("init.sh"), "true\n").unwrap();
    let error = load_active(dir.path(), &["mine".to_owned()], &NOWHERE).unwrap_err();
    assert!(error.to_string().ends_with("mine/init.sh is not used"), "{error}");
}

#[test]
fn the_suite_of_a_profile_is_one_and_wins_over_nothing() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("mine")).unwrap();
    let active = |suite: &str| {
        let text = format!("about = \"x\"\nkernel-toolchain = \"{suite}\"\n");
        std::fs::write(dir.path().join("mine/profile.toml"), text).unwrap();
        load_active(dir.path(), &["mine".to_owned()], &NOWHERE)
    };
    assert_eq!(active("sid").unwrap()[1].kernel_toolchain, "sid");
    let error = active("no suite").unwrap_err().to_string();
    assert!(
        error.contains("mine/profile.toml:2:") && error.contains("`no suite` is not the name of a suite"),
        "{error}"
    );
}

//! Pinned packages that cannot be found anywhere any more.

use super::*;

#[test]
fn a_package_is_gone_that_neither_the_suite_nor_the_cache_nor_the_snapshot_archive_has() {
    let world = World::new();
    let [a, b, old, kept] =
        [("a", "1"), ("b", "1"), ("c", "0"), ("c", "7")].map(|(name, version)| pinned(name, version));
    let replaced = Package { sha256: "0".repeat(64), ..a.clone() };
    let all = [a, b, old, kept, replaced];
    let gone = || {
        let archive = world.archive("bookworm", &|_| {});
        archive
            .lacks(&all, "e")
            .unwrap()
            .0
            .into_iter()
            .map(|p| format!("{} {} {:.2}", p.name, p.version, p.sha256))
            .collect::<Vec<_>>()
    };
    let [old, kept] = [&all[2], &all[3]];
    let [old_line, kept_line] = [old, kept].map(|p| format!("c {} {:.2}", p.version, p.sha256));
    assert_eq!(gone(), [old_line.as_str(), &kept_line, "a 1 00"]);

    let folder = world.ctx.cache.join("archive/packages");
    fs::create_dir_all(&folder).unwrap();
    fs::write(pool::place(&folder, kept), deb("c", "7")).unwrap();
    assert_eq!(gone(), [old_line.as_str(), "a 1 00"]);

    let file = "{\"architecture\": \"all\", \"hash\": \"1111111111111111111111111111111111111111\"}";
    world.snapshot.put("mr/binary/c/0/binfiles?fileinfo=1", format!("{{\"result\": [{file}]}}"));
    assert_eq!(gone(), ["a 1 00"]);

    // Without network nothing is known to be gone.
    let offline = Context { offline: true, ..world.ctx.clone() };
    let archive = Archive::new(&world.host, "bookworm", What::Packages, &offline, &|_| {}).unwrap();
    assert!(archive.lacks(&all, "e").unwrap().0.is_empty());

    // A snapshot archive that does not answer says nothing of what it has.
    let mirrors = Mirrors { snapshot: "http://127.0.0.1:9".into(), ..world.ctx.mirrors.clone() };
    let silent = Context { mirrors, ..world.ctx.clone() };
    let mut archive = Archive::new(&world.host, "bookworm", What::Packages, &silent, &|_| {}).unwrap();
    archive.patience = Patience { idle: Duration::from_secs(5), attempts: 1, pause: Duration::from_millis(1) };
    archive.now = world.now;
    let (gone, why) = archive.lacks(&all, "e").unwrap();
    assert_eq!(gone.len(), 2);
    assert!(why.unwrap().to_string().contains("127.0.0.1:9"));
}

//! Several that download at once, and packages that nobody uses any more.

use super::*;
use std::time::Instant;

/// The compilers of a first run, and the packages of its root.
#[test]
fn a_set_of_packages_does_not_wait_for_another_one() {
    let world = World::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| pinned(name, "1"));
    world.resolve().unwrap();
    world.mirror.asked();
    world.mirror.hold("a_1_all.deb");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| world.fetch(&[a.clone(), b.clone()]));
        let (mut asked, begun) = (Vec::new(), Instant::now());
        while !asked.iter().any(|path: &String| path.ends_with("a_1_all.deb")) && begun.elapsed().as_secs() < 20 {
            std::thread::sleep(Duration::from_millis(1));
            asked.extend(world.mirror.asked());
        }
        // Lists, too, can be read meanwhile.
        let (lists, second) = (world.resolve(), world.fetch(&[b.clone(), c.clone()]));
        let waits = !first.is_finished();
        // Whatever came of it: nobody waits for a server that does not answer.
        world.mirror.hold("");
        assert_eq!(first.join().unwrap().unwrap(), [a.sha256.clone(), b.sha256.clone()]);
        assert_eq!((lists.unwrap().len(), waits), (2, true));
        assert_eq!(second.unwrap(), [b.sha256.clone(), c.sha256.clone()]);
        asked.extend(world.mirror.asked());
        // What both want is brought by one of them.
        assert_eq!(asked.iter().filter(|path| path.ends_with("/b_1_all.deb")).count(), 1, "{asked:?}");
    });
    let folder = world.ctx.cache.join("archive/packages");
    let left: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.len() == 4 && !left.iter().any(|name| name == PARTIAL), "{left:?}");
}

#[test]
fn a_package_that_no_root_was_made_of_for_a_while_goes_and_no_other() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let world = World::new();
    let [a, b] = ["a", "b"].map(|name| pinned(name, "1"));
    assert_eq!(remove_unused(&world.ctx.cache, DAY, false).unwrap(), Unused::default(), "there is no folder yet");
    world.fetch(&[a.clone(), b.clone()]).unwrap();
    let folder = world.ctx.cache.join("archive/packages");
    let long_ago = SystemTime::now() - 40 * DAY;
    for package in [&a, &b] {
        File::open(pool::place(&folder, package)).unwrap().set_modified(long_ago).unwrap();
    }
    // One is used once more, out of the cache.
    let asked = world.mirror.asked().len();
    world.fetch(std::slice::from_ref(&b)).unwrap();
    assert!(asked > 0 && world.mirror.asked().is_empty());
    let gone = Unused { number: 1, bytes: a.size };
    let remove = |days: u32, dry_run| remove_unused(&world.ctx.cache, days * DAY, dry_run).unwrap();
    assert_eq!((remove(41, false), remove(30, true)), (Unused::default(), gone));
    let busy = Downloads::share(&folder, &|_| {}).unwrap();
    assert_eq!(remove(30, false), Unused::default(), "while something is downloaded nothing goes");
    drop(busy);
    assert_eq!(remove(30, false), gone);
    assert!(!pool::place(&folder, &a).exists());
    // What was used in the last day stays whatever is asked for, as an unpacking may still read it.
    assert_eq!(remove(0, false), Unused::default());
    assert!(pool::place(&folder, &b).exists());
    assert_eq!(world.fetch(&[a.clone(), b.clone()]).unwrap(), [a.sha256.clone(), b.sha256.clone()]);
}

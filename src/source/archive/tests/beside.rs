//! Places of others beside Debian's.

use super::*;

#[test]
fn a_third_party_that_is_not_to_be_trusted_any_more_is_a_warning_and_debian_itself_is_not() {
    let world = World::new();
    let (address, key) = (&world.address, world.host.etc.join("key.asc"));
    let line = |place: &str| format!("deb [signed-by={}] {address}/{place} bookworm main\n", key.display());
    fs::write(world.host.etc.join("sources.list"), line("third") + &line("debian")).unwrap();
    let release = format!("{HEAD}SHA256:\n {} 0 main/binary-amd64/Packages\n", sum(b""));
    world.mirror.put("third/dists/bookworm/InRelease".to_owned(), signed(&release, "other"));
    let said = Mutex::new(Vec::new());
    let events = |event| {
        if let Event::Warning { message } = event {
            said.lock().unwrap().push(message);
        }
    };
    assert_eq!(world.resolve_of("bookworm", &events).unwrap().len(), 2);
    let said = said.into_inner().unwrap();
    assert!(said.len() == 1 && said[0].contains("/third/") && said[0].contains("not trusted"), "{said:?}");
    world.publish(HEAD, &[("a", "2", "")], "other");
    let error = world.resolve().unwrap_err().to_string();
    assert!(error.contains("is signed by a key that is not trusted"), "{error}");
}

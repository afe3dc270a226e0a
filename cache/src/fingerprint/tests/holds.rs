//! What values that hold while places are as they were promise.

use super::*;
use crate::KeyEncoder;
use std::collections::BTreeSet;

fn key() -> crate::Key {
    KeyEncoder::new("quiz-cache test").text("of", "holds").finish().0
}

impl Place {
    /// Remembers `value` as it would `later` seconds from now, while these paths below the source are as they are.
    fn remember(&self, places: &[&str], later: u64, value: &str) -> bool {
        let places: BTreeSet<PathBuf> = places.iter().map(|place| self.source.join(place)).collect();
        let since = SystemTime::now() + Duration::from_secs(later);
        self.cache.set_memo_while("test", &key(), &places, since, value.as_bytes()).unwrap()
    }

    fn remembered_value(&self) -> Option<String> {
        self.cache.memo_while("test", &key()).unwrap().map(|value| String::from_utf8(value).unwrap())
    }
}

#[test]
fn a_value_holds_until_one_of_its_places_changes_comes_or_goes() {
    type Change = fn(&Place);
    let changes: &[(&str, Change)] = &[
        ("written", |place| drop(place.write("file", "other"))),
        ("made", |place| drop(place.write("none", ""))),
        ("gone", |place| fs::remove_file(place.source.join("file")).unwrap()),
        ("a folder has one more", |place| drop(place.write("folder/new", ""))),
        ("another mode", |place| {
            fs::set_permissions(place.source.join("file"), fs::Permissions::from_mode(0o755)).unwrap()
        }),
        ("a link leads elsewhere", |place| {
            fs::remove_file(place.source.join("link")).unwrap();
            std::os::unix::fs::symlink("folder", place.source.join("link")).unwrap();
        }),
    ];
    for (what, change) in changes {
        let place = place();
        place.write("file", "x");
        place.write("folder/old", "x");
        std::os::unix::fs::symlink("file", place.source.join("link")).unwrap();
        assert!(place.remember(&["file", "folder", "link", "none"], 10, "value"));
        place.write("elsewhere", "x");
        assert_eq!(place.remembered_value().as_deref(), Some("value"), "{what}");
        change(&place);
        assert_eq!(place.remembered_value(), None, "{what}");
    }
}

#[test]
fn what_changed_just_now_cannot_be_remembered() {
    let place = place();
    place.write("file", "x");
    assert!(!place.remember(&["file"], 0, "value") && !place.remember(&["file"], 1, "value"));
    assert_eq!(place.remembered_value(), None);
    assert!(place.remember(&["none"], 0, ""), "what is not there has no time");
    assert_eq!(place.remembered_value().as_deref(), Some(""));
}

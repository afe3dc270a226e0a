//! Who gets no group's cache, and what he is told.

use super::{ANNA, BEN, GROUP, Place, SHARED, STRANGER};
use crate::project::Ran;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

#[test]
fn who_is_not_in_the_group_or_has_a_cache_of_his_own_is_told_what_to_type() {
    let Some(place) = Place::new("022") else { return };
    place.shares(ANNA);
    place.recipes(ANNA);
    place.built(ANNA, "t-tree");
    let cache = place.cache().display().to_string();
    place.run(STRANGER, &["graph"]).says(&[
        &format!("{cache} is the cache of the group {GROUP}, and this process is not in it"),
        "usermod -aG",
        "QUIZ_CACHE_DIR",
    ]);
    // One that is there and is one user's, with the setting and without.
    let own = place.folder("own", BEN, BEN, 0o755).join("cache");
    let ben = |variable: &str| {
        let mut command = place.command(BEN, &["graph"]);
        command.env("QUIZ_CACHE_DIR", &own).env("QUIZ_CACHE_SHARED", variable);
        Ran::from(command.output().unwrap())
    };
    assert_eq!(ben("").status, Some(0));
    assert_eq!(own.metadata().unwrap().mode() & 0o7777, 0o700);
    let refused = ben("group");
    assert_ne!(refused.status, Some(0));
    refused.says(&["is a cache of one user alone", "chgrp GROUP"]);
    // One that is made for a group that is not his is no cache, lets nobody in, and is one once the group is right.
    let foreign = place.folder("own/foreign", BEN, GROUP + 1, 0o700);
    let made = || {
        let mut command = place.command(BEN, &["graph"]);
        command.env("QUIZ_CACHE_DIR", &foreign).env("QUIZ_CACHE_SHARED", "group");
        Ran::from(command.output().unwrap())
    };
    let words = format!("cannot be made the cache of the group {}", GROUP + 1);
    assert_ne!(made().status, Some(0));
    made().says(&[&words, "chgrp GROUP"]);
    assert_eq!((foreign.metadata().unwrap().mode() & 0o7777, foreign.join("version").exists()), (0o700, false));
    chown(&foreign, None, Some(GROUP)).unwrap();
    let ran = made();
    assert_eq!((ran.status, foreign.metadata().unwrap().mode() & 0o7777), (Some(0), 0o2770), "{ran:?}");
    // A cache stays what it was made as, whatever mode its folder gets: volumes of containers have such folders.
    fs::set_permissions(&own, Permissions::from_mode(0o2777)).unwrap();
    assert_eq!(ben("").status, Some(0));
    fs::set_permissions(place.cache(), Permissions::from_mode(0o770)).unwrap();
    place
        .run(ANNA, &["graph"])
        .says(&["is the cache of a group, but its folder is no longer the group's to write", "chmod 2770"]);
    fs::set_permissions(place.cache(), Permissions::from_mode(0o2777)).unwrap();
    place.run(ANNA, &["graph"]).says(&["everybody may write to", "chmod o-rwx"]);
}

#[test]
fn the_setting_is_a_users_own_and_a_word_that_is_none_has_the_nearest_one() {
    let Some(place) = Place::new("022") else { return };
    place.write(ANNA, "project/quiz.toml", SHARED);
    let ran = place.run(ANNA, &["graph"]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    ran.says(&["project/quiz.toml:2", "cache.shared cannot be set by a project", ".config/quiz/quiz.toml"]);
    assert!(!place.cache().exists());
    for (word, hint) in
        [("groups", "did you mean `group`?"), ("everyone", "`group`: with those in the group of its folder")]
    {
        let text = format!("[cache]\nshared = \"{word}\"\n");
        place.write(BEN, "home/.config/quiz/quiz.toml", &text);
        place.run(BEN, &["graph"]).says(&["quiz.toml:2", &format!("a cache cannot be shared with `{word}`"), hint]);
    }
}

//! A link that a member has put into the cache.

use super::{ANNA, BEN, GROUP, Place};
use crate::project::files;
use std::fs;
use std::os::unix::fs::{MetadataExt, lchown};

/// If such a link were followed, a write would go to whatever it leads to.
#[test]
fn a_members_link_in_the_place_of_a_lock_or_a_log_leads_nobody_to_his_own_files() {
    let Some(place) = Place::shared("022") else { return };
    let tree = place.built(ANNA, "t-tree");
    place.write(BEN, "home/secret", "mine\n");
    let secret = place.path(&format!("{BEN}/home/secret"));
    let mode = secret.metadata().unwrap().mode();
    let logs = place.cache().join("logs");
    let log = files(&logs).pop().unwrap();
    for link in [place.cache().join("locks/x"), log] {
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(&secret, &link).unwrap();
        lchown(&link, Some(ANNA), Some(GROUP)).unwrap();
    }
    fs::remove_dir_all(&tree).unwrap();
    place.run(BEN, &["build", "--fresh", "t-tree"]);
    place.run(BEN, &["gc"]);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "mine\n");
    assert_eq!(secret.metadata().unwrap().mode(), mode);
}

//! What no `quiz gc` takes: the image of a crash that is kept, however long its project is not used, and where that is.

use super::{crashed, exported, json};
use crate::collect::age;
use crate::project::{Project, files};
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

/// Twice, so long after all was used last that nothing is known of the project by its stages.
fn collect_twice(project: &Project) {
    let forget = || {
        age(project, 70);
        for path in files(&project.cache().join("latest")) {
            let file = File::open(path).unwrap();
            let modified = file.metadata().unwrap().modified().unwrap();
            file.set_modified(modified - Duration::from_secs(70 * 24 * 60 * 60)).unwrap();
        }
    };
    // From elsewhere: to look at a project is no use of it.
    let elsewhere = project.dir().with_file_name("elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    for _ in 0..2 {
        forget();
        let gc = project.command(&["gc"]).current_dir(&elsewhere).output().unwrap();
        assert!(gc.status.success(), "{gc:?}");
    }
}

/// What the crash of the project's first run was booted of.
fn image(project: &Project) -> Vec<PathBuf> {
    let known = json(&project.ok(&["--json", "crash", "show", "1"]));
    let layers = known["layers"].as_array().unwrap();
    layers.iter().chain([&known["kernel"]]).map(|path| PathBuf::from(path.as_str().unwrap())).collect()
}

#[test]
fn the_image_of_a_crash_stays_while_its_project_is_not_used_and_goes_with_the_crash() {
    let project = crashed();
    let image = image(&project);
    collect_twice(&project);
    assert!(image.iter().all(|path| path.exists()), "{image:?}");
    project.ok(&["crash", "rm", "1"]);
    collect_twice(&project);
    assert!(!image.iter().any(|path| path.exists()), "{image:?}");
}

#[test]
fn the_image_of_a_crash_stays_while_the_disk_of_its_project_is_not_mounted() {
    let project = crashed();
    let image = image(&project);
    project.ok(&["gc"]);
    let away = project.dir().with_file_name("away");
    fs::rename(project.dir(), &away).unwrap();
    collect_twice(&project);
    fs::rename(&away, project.dir()).unwrap();
    assert!(image.iter().all(|path| path.exists()), "{image:?}");
}

#[test]
fn a_project_whose_crashes_all_came_from_elsewhere_keeps_them_and_those_that_were_run_again() {
    let (here, there) = (crashed(), Project::new());
    let file = exported(&here);
    there.ok(&["crash", "import", file.to_str().unwrap()]);
    let image = image(&there);
    // As `quiz crash again` leaves it when the guest crashes once more.
    let runs = there.dir().join(".quiz/runs");
    fs::create_dir_all(runs.join("2/crash")).unwrap();
    fs::copy(runs.join("1/crash/crash.json"), runs.join("2/crash/crash.json")).unwrap();
    there.ok(&["gc"]);
    fs::remove_dir_all(runs.join("1")).unwrap();
    collect_twice(&there);
    assert!(image.iter().all(|path| path.exists()), "{image:?}");
}

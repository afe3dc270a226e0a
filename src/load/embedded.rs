//! The recipes and profiles inside the program.

use super::folder::{self, LoadedFolder};
use include_dir::{Dir, include_dir};

static RECIPES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/recipes");
static PROFILES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/profiles");

pub(super) fn recipes() -> Vec<LoadedFolder> {
    folder::embedded(&RECIPES, "(built in) recipes")
}

pub(super) fn profiles() -> Vec<LoadedFolder> {
    folder::embedded(&PROFILES, "(built in) profiles")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// `include_dir!` does not see a file added later; a program with yesterday's recipes must not pass for today's.
    #[test]
    fn the_program_carries_what_the_folders_hold() {
        for (name, inside) in [("recipes", recipes()), ("profiles", profiles())] {
            let disk = folder::on_disk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
            let plain = |folders: Vec<LoadedFolder>| {
                let files =
                    folders.into_iter().flat_map(|f| f.files.into_iter().map(move |(n, b, _)| (f.name.clone(), n, b)));
                files.collect::<Vec<_>>()
            };
            assert!(plain(inside) == plain(disk), "{name}/ changed: touch src/load/embedded.rs and build again");
        }
    }
}

//! Stages whose programs run on this machine, outside of any sandbox: the toolchain's qemu, and drgn. What a project brings along has no part in
//! them: quiz's own recipes make them, from where the user's own settings say, and what they fetch is pinned in the program or in the user's own
//! quiz.lock. Nor has another cache a part in them: their keys hold in this cache alone.

use super::{Engine, Stages};
use crate::error::{Error, Result};
use crate::graph::NodeIndex;
use crate::load::Project;
use crate::source::Mirrors;

/// The stage of this name, and what it reads.
///
/// # Errors
/// As of [`Engine::stages`]; or one of the stages is made by a project's recipe.
pub(super) fn bound(engine: &Engine<'_>, name: &str) -> Result<(Stages, NodeIndex)> {
    let stages = engine.stages([name])?;
    let id = stages.graph.find(name)?;
    check(&stages, id)?;
    Ok((stages, id))
}

/// Of these mirrors those that the user's own settings name. A project could name one that only has old packages with known faults.
pub(super) fn mirrors(project: &Project, all: &Mirrors) -> Mirrors {
    let own = |key, mirror: &String| if project.is_own(key) { String::new() } else { mirror.clone() };
    Mirrors { mirror: own("packages.mirror", &all.mirror), snapshot: own("packages.snapshot", &all.snapshot) }
}

/// Checks that a project has no recipe of its own for a stage or for what that is made of.
///
/// # Errors
/// The project has such a recipe, which the error names.
fn check(stages: &Stages, id: NodeIndex) -> Result<()> {
    let graph = &stages.graph;
    let own = graph.projects_own(id).next();
    let Some(recipe) = own else { return Ok(()) };
    let name = &graph.stage(id).name;
    Err(Error::input(format!(
        "{name} runs on this machine outside of a sandbox, so a project's own recipes cannot make it"
    ))
    .detail(format!("{} replaces quiz's own recipe", recipe.path.display()))
    .hint("set machine.qemu, or drgn.program, to `host`: the program that is installed on this machine"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::load::Project;

    const OWN: &str = "version = 1\nabout = \"x\"\n[outputs]\ntree = \"tree\"\n[sets]\nqemu = [\"x\"]\ndrgn = [\"x\"]\n\
        [options]\nsuite = { type = \"string\", default = \"\", about = \"x\" }\n[source]\nentry = \"toolchain\"\n[source.packages]\n";

    #[test]
    fn a_projects_recipe_makes_no_program_that_runs_outside_of_a_sandbox() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("quiz.toml"), "").unwrap();
        let check = |wanted: &str| {
            let graph = Graph::bind(&Project::load(dir.path(), &[]).unwrap(), [wanted]).unwrap();
            let id = graph.find(wanted).unwrap();
            super::check(&Stages { graph, wishes: Vec::new() }, id)
        };
        for wanted in ["toolchain:qemu", "drgn"] {
            check(wanted).unwrap();
        }
        // The stage itself, or the root that it is made in.
        let recipe = dir.path().join(".quiz/recipes/toolchain");
        std::fs::create_dir_all(&recipe).unwrap();
        std::fs::write(recipe.join("recipe.toml"), OWN).unwrap();
        for wanted in ["toolchain:qemu", "drgn"] {
            let error = check(wanted).unwrap_err();
            let words = format!("{wanted} runs on this machine outside of a sandbox");
            assert!(error.to_string().starts_with(&words), "{error}");
            assert!(error.details()[0].ends_with("replaces quiz's own recipe"), "{error}");
        }
    }

    #[test]
    fn a_projects_mirror_has_no_part_in_it_and_the_users_has() {
        let dir = tempfile::tempdir().unwrap();
        let all = Mirrors { mirror: "file:///m".into(), snapshot: "file:///s".into() };
        let mirrors_with = |toml: &str| {
            std::fs::write(dir.path().join("quiz.toml"), toml).unwrap();
            mirrors(&Project::load(dir.path(), &[]).unwrap(), &all)
        };
        assert_eq!(mirrors_with(""), all);
        let with = mirrors_with("[packages]\nmirror = \"file:///m\"\n");
        assert_eq!(with, Mirrors { mirror: String::new(), ..all.clone() });
        let with = mirrors_with("[packages]\nsnapshot = \"file:///s\"\n");
        assert_eq!(with, Mirrors { snapshot: String::new(), ..all.clone() });
    }
}

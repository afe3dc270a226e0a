//! Stages whose programs run on this machine, outside of any sandbox: the toolchain's qemu, and drgn. What a project brings along has no part in
//! them: quiz's own recipes make them, and what they fetch is pinned in the program or in the user's own quiz.lock.

use super::Stages;
use crate::error::{Error, Result};
use crate::graph::{Bound, NodeIndex, Stage};
use crate::load::TOOLCHAIN;

/// The sets of packages that such programs are of.
pub(super) const QEMU: &str = "qemu";
const SETS: [&str; 2] = [QEMU, "drgn"];

/// Whether what a source stage fetches is such a program, or runs one.
pub(super) fn is_outside(stage: &Stage) -> bool {
    let set = stage.name.strip_prefix(TOOLCHAIN).and_then(|rest| rest.strip_prefix(':'));
    let set = set.map(|set| set.split(['@', ',']).next().unwrap_or_default());
    let is_wheel = || stage.recipe.source().is_some_and(|spec| spec.wheel.is_some());
    set.is_some_and(|set| SETS.contains(&set)) || is_wheel()
}

/// That a project has no recipe of its own for a stage or for what that is made of.
///
/// # Errors
/// It has one, which is named.
pub(super) fn check(stages: &Stages, id: NodeIndex) -> Result<()> {
    let mut seen = vec![id];
    let mut at = 0;
    while let Some(stage) = seen.get(at).map(|id| stages.graph.stage(*id)) {
        at += 1;
        if stage.recipe.own.is_some() {
            let wanted = &stages.graph.stage(id).name;
            return Err(Error::input(format!(
                "{wanted} runs on this machine outside of a sandbox, so recipes of a project have no part in it"
            ))
            .detail(format!("{} is in the place of quiz's own", stage.recipe.path.display()))
            .hint("take the one that is installed here: `host` in machine.qemu, drgn.program"));
        }
        let made = stage.inputs.iter().filter_map(|input| match &input.from {
            Bound::Output { stage, .. } => Some(*stage),
            Bound::Profiles => None,
        });
        let more: Vec<NodeIndex> = made.filter(|id| !seen.contains(id)).collect();
        seen.extend(more);
    }
    Ok(())
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
            assert!(error.details()[0].ends_with("is in the place of quiz's own"), "{error}");
        }
    }
}

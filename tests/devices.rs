//! What wrong profiles and options of profiles get on the command line, before anything is built.

use crate::project::{Project, Ran};

/// What `quiz ARGS config` says to wrong input, and that `quiz up` with it ends with the status that bisect takes as "skip".
fn refused(project: &Project, args: &[&str]) -> Ran {
    assert_eq!(project.run(&[&["up"], args, &["--", "true"]].concat()).status, Some(125));
    let ran = project.run(&[args, &["config"]].concat());
    assert_eq!(ran.status, Some(2), "{ran:?}");
    ran
}

#[test]
fn a_value_that_is_none_is_named_with_its_profile_and_what_is_wanted() {
    let project = Project::new();
    for (text, wanted) in [
        ("blockdev:size=1X", "blockdev:size=1X: a size, as in 512M or 1G, is wanted"),
        ("nvme:size=", "nvme:size=: a size, as in 512M or 1G, is wanted"),
        ("memdev:size=99999999T", "memdev:size=99999999T: a size, as in 512M or 1G, is wanted"),
        ("flakey:down=0", "flakey:down=0: a number from 1 on is wanted"),
        ("md:level=7", "md:level=7: one of 0, 1, 4, 5, 6, 10 is wanted"),
        ("scsi-debug:sector-size=520", "scsi-debug:sector-size=520: one of 512, 4096 is wanted"),
        ("pool:layout=raidz9", "pool:layout=raidz9: one of stripe, mirror, raidz, raidz2, raidz3, draid"),
    ] {
        refused(&project, &["-p", text]).says(&[wanted]);
    }
    refused(&project, &["-p", "pool:layuot=mirror"]).says(&["no option `layuot`", "did you mean `layout`?"]);
}

#[test]
fn profiles_that_do_not_go_together_are_refused() {
    let project = Project::new();
    refused(&project, &["-p", "zoned", "-p", "pool"]).says(&["the profiles pool and zoned do not go together"]);
    project.write(".quiz/profiles/mine/profile.toml", "about = \"x\"\nconflicts = [\"memdev\"]\n");
    project.write("quiz.toml", "profiles = [\"mine\"]\n");
    let ran = refused(&project, &["-p", "mine", "-p", "memdev"]);
    ran.says(&["the profiles mine and memdev do not go together", "quiz config"]);
}

#[test]
fn a_stage_that_refuses_what_a_profile_adds_names_the_profile() {
    let project = Project::new();
    let lines = "[outputs]\nout = \"file\"\n[options.lines]\ntype = \"list\"\ndefault = []\nsetting = \"kernel.config\"\n\
                 about = \"x\"\n";
    project.recipe("t-lines", lines, "echo \"error: CONFIG_FLUX is not a symbol of this kernel\" >&2; exit 1\n");
    let profile = |name: &str, line: &str| {
        let text = format!("about = \"x\"\nkernel = [\"{line}\"]\n");
        project.write(&format!(".quiz/profiles/{name}/profile.toml"), &text)
    };
    let file = profile("flux", "CONFIG_FLUX=y");
    profile("other", "CONFIG_FLUXES=y");
    let ran = project.run(&["-p", "flux", "-p", "other", "build", "t-lines"]);
    assert_eq!(ran.status, Some(1));
    ran.says(&[&format!("CONFIG_FLUX=y is asked for by the profile flux ({})", file.display())]);
    assert_eq!(ran.count("CONFIG_FLUXES=y"), 0, "{ran:?}");
}

//! A folder of kernel modules of the user's own, compiled by a real Kbuild and loaded in machines.

use super::Real;
use crate::project::files;
use std::path::Path;
use std::process::Command;

const TOP: &str = "\
#include <linux/module.h>
int quiz_test_base(void);
static int __init top_init(void) { pr_info(\"quiz_test_top: %d\\n\", quiz_test_base()); return 0; }
static void __exit top_exit(void) {}
module_init(top_init);
module_exit(top_exit);
MODULE_LICENSE(\"GPL\");
MODULE_DESCRIPTION(\"of a test\");
";

const BASE: &str = "\
#include <linux/module.h>
int quiz_test_base(void) { return 42; }
EXPORT_SYMBOL_GPL(quiz_test_base);
MODULE_LICENSE(\"GPL\");
MODULE_DESCRIPTION(\"of a test\");
";

#[test]
fn modules_of_a_folder_are_loaded_with_those_they_need_and_one_that_is_refused_is_not_the_programs_end() {
    let real = Real::new();
    real.0.write("mine/Kbuild", "obj-m := quiz_test_top.o quiz_test_base.o\n");
    real.0.write("mine/quiz_test_top.c", TOP);
    real.0.write("mine/quiz_test_base.c", BASE);
    let up = |folders: &[&str]| {
        let flags: Vec<&str> = folders.iter().flat_map(|folder| ["--module", folder]).collect();
        real.run(&[&["up"], &flags[..], &["--", "sh", "-c", "dmesg | grep quiz_test_top: ; exit 3"]].concat())
    };
    let ran = up(&["mine"]);
    assert!(ran.out.ends_with("quiz_test_top: 42\n"), "{ran:?}");
    assert_eq!(ran.status, Some(3));
    real.0.write("mine/quiz_test_base.c", &BASE.replace("42", "43"));
    let ran = up(&["mine"]);
    assert!(ran.out.ends_with("quiz_test_top: 43\n"), "{ran:?}");

    // What debuggers ask for: the same code, with the lines of the sources.
    let ran = real.run(&["--module", "mine", "build", "module-mine-debug"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let symbols = Path::new(ran.out.trim().split_once(' ').unwrap().1);
    let module = files(symbols).into_iter().find(|path| path.ends_with("quiz_test_base.ko")).unwrap();
    let lines = Command::new("objdump").arg("--dwarf=decodedline").arg(module).output().unwrap();
    assert!(String::from_utf8_lossy(&lines.stdout).contains("quiz_test_base.c"), "{lines:?}");

    real.0.write("refused/Makefile", "obj-m := quiz_test_refused.o\n");
    let text = "#include <linux/module.h>\nstatic int __init refused_init(void) { return -ENODEV; }\n\
                module_init(refused_init);\nMODULE_LICENSE(\"GPL\");\nMODULE_DESCRIPTION(\"of a test\");\n";
    real.0.write("refused/quiz_test_refused.c", text);
    let ran = up(&["mine", "refused"]);
    assert_eq!((ran.status, ran.out.as_str()), (Some(125), ""), "{ran:?}");
    ran.says(&["the hook of the profile module", "could not insert 'quiz_test_refused': No such device"]);
}

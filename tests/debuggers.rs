//! What runs in gdb and in drgn as the user does, beside files and memory of somebody else's making: nothing of those is a command.

use std::path::Path;
use std::process::Command;

/// What Python prints of a script of quiz's, whose text is `text` there, among modules that stand in for the debugger's.
fn python(script: &str, lines: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/debugger").join(script);
    let lines = format!("import json, os, sys, types\ntext = open(sys.argv[1]).read()\n{lines}");
    let ran = Command::new("python3").args(["-c", &lines]).arg(path).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

const GDB: &str = r#"
import tempfile
folder = tempfile.TemporaryDirectory()
os.mkdir(folder.name + "/a\nshell touch mark\n")
for name in ["a\nshell touch mark\n/zfs.ko", "x\nshell touch mark\n.ko", 'spl"\\.ko', "brd.ko"]:
    open(os.path.join(folder.name, name), "w").close()
executed, written = [], []
gdb = sys.modules["gdb"] = types.ModuleType("gdb")
gdb.COMMAND_FILES, gdb.error, gdb.GdbError = 0, type("error", (Exception,), {}), type("GdbError", (Exception,), {})
gdb.Command = type("Command", (), {"__init__": lambda self, name, kind: None})
gdb.execute = lambda command, to_string=False: executed.append(command)
gdb.write = written.append

class Text:
    def __init__(self, text): self.text = text
    def string(self, *_): return self.text
    def __int__(self): return 0

gdb.parse_and_eval = Text
os.environ["QUIZ_GDB"] = json.dumps({"socket": "/s", "begun": False, "kernel": "/k", "vmlinux": "/k/vmlinux", "modules": [folder.name],
    "sources": [["/quiz/src", '/a "b" \\c']], "imported": IMPORTED})
names = {}
exec(text, names)
"#;

#[test]
fn no_path_of_a_tree_and_no_name_of_a_guest_is_a_command_of_gdbs() {
    let gdb = GDB.replace("IMPORTED", "False");
    let looks = r#"
found = ["brd", 'spl"\\', "zfs", "x\nshell touch mark\n", "odd\x1b]0;x\x07"]
names["each_in_list"] = lambda *_: [{"name": Text(name)} for name in found]
names["sections"] = lambda module: {".text": 4096}
names["modules"].invoke("", False)
refused = []
for path in ["/a\nshell touch mark", "/a\rb", "/a\x1b[2J"]:
    try:
        names["quoted"](path)
    except gdb.GdbError as error:
        refused.append(str(error))
print(json.dumps([executed, "".join(written), refused, folder.name]))
"#;
    let said: serde_json::Value = serde_json::from_str(&python("quiz_gdb.py", &(gdb + looks))).unwrap();
    let folder = said[3].as_str().unwrap();
    let executed: Vec<&str> = said[0].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    let wanted = [
        r#"set substitute-path "/quiz/src" "/a \"b\" \\c""#.to_owned(),
        "target remote /s".to_owned(),
        format!(r#"add-symbol-file "{folder}/brd.ko" 0x1000"#),
        format!(r#"add-symbol-file "{folder}/spl\"\\.ko" 0x1000"#),
    ];
    assert_eq!(executed, wanted);
    let written = said[1].as_str().unwrap();
    let wanted = "brd at 0x1000\nspl\"\\ at 0x1000\nno symbols for: zfs, x?shell touch mark?, odd?]0;x?\n";
    assert_eq!(written, wanted);
    assert_eq!(said[2].as_array().unwrap().len(), 3, "{said}");
    assert_eq!(said[2][2], "control characters in a path: /a?[2J");
}

#[test]
fn python_of_an_imported_kernel_is_not_run() {
    for (imported, wanted) in [("True", "refused, []\n"), ("False", "no commands, []\n")] {
        let looks = r#"
lx = names["Lx"]()
executed.clear()
try:
    lx.invoke("", False)
except gdb.GdbError as error:
    print("refused," if "imported" in str(error) else "no commands,", executed)
"#;
        assert_eq!(python("quiz_gdb.py", &(GDB.replace("IMPORTED", imported) + looks)), wanted);
    }
}

#[test]
fn what_a_guest_calls_its_pools_and_logs_is_no_command_for_a_terminal() {
    let looks = r#"
for name in ["drgn", "drgn.helpers", "drgn.helpers.linux", "drgn.helpers.linux.pid", "drgn.helpers.linux.sched"]:
    sys.modules[name] = types.ModuleType(name)
drgn, sched = sys.modules["drgn"], sys.modules["drgn.helpers.linux.sched"]
drgn.FaultError, drgn.Object = Exception, object
sys.modules["drgn.helpers.linux.pid"].for_each_task = None
sched.task_state_to_char = lambda task: "D"

class Value(types.SimpleNamespace):
    def value_(self): return 0
    def string_(self): return b"t\x1b[2J\xff"
    def address_of_(self): return self
    def __bool__(self): return False

program = types.SimpleNamespace(read_c_string=lambda address: b"noted\x1b]0;x\x07\nmore")
drgn.get_default_prog = lambda: program
names = {}
exec(text, names)
names["each_pool"] = lambda: [Value(spa_name=Value(), spa_state=Value(), spa_suspended=0, spa_dsl_pool=Value())]
names["each_dbgmsg"] = lambda: [Value(zdm_timestamp=Value(), zdm_msg=Value())]
task = types.SimpleNamespace(comm=Value(), pid=Value())
names["each_stuck"] = lambda: [(task, ["zio_wait\x1b[2J"])]
for name in ["pools", "dbgmsg", "stuck"]:
    names[name]()
# An array, as sizes of the ARC's lists are since 2.2, has no members to ask for.
print(names["_has"](types.SimpleNamespace(type_=types.SimpleNamespace(unaliased=object)), "rc_count"))
"#;
    let wanted = "t?[2J\u{fffd}: ACTIVE  (spa_t *)0x0\n00:00:00  noted?]0;x??more\n1: t?[2J\u{fffd} 0 D\n    zio_wait?[2J\nFalse\n";
    assert_eq!(python("quiz_zfs.py", looks), wanted);
}

/// drgn itself puts the current folder first.
#[test]
fn drgn_loads_nothing_that_lies_where_it_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let main = "import sys\ndef _main():\n    sys.path.insert(0, \"\")\n    print(sys.argv)\n    import mine\n";
    std::fs::create_dir(folder.path().join("drgn")).unwrap();
    std::fs::write(folder.path().join("drgn/cli.py"), main).unwrap();
    let here = tempfile::tempdir().unwrap();
    for name in ["mine.py", "quiz_drgn.py"] {
        std::fs::write(here.path().join(name), "print(\"a project's\")\n").unwrap();
    }
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/drgn");
    let path = std::env::join_paths([ours.as_path(), folder.path()]).unwrap();
    let mut python = Command::new("python3");
    // As `quiz drgn` starts it.
    python.args(["-P", "-s", "-m", "quiz_drgn", "-c", "core"]).current_dir(here.path());
    let ran = python.env("PYTHONPATH", path).env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "['drgn', '-c', 'core']\n", "{ran:?}");
    assert!(String::from_utf8_lossy(&ran.stderr).contains("No module named 'mine'"), "{ran:?}");
}

/// The memory of a guest that crashed may say anything.
#[test]
fn a_list_of_tasks_without_an_end_is_not_followed_for_ever() {
    let looks = r#"
import contextlib, io, itertools, signal
helpers = "drgn.helpers.linux."
for name in ["drgn", "drgn.helpers", "drgn.helpers.linux", helpers + "cpumask", helpers + "pid", helpers + "sched"]:
    sys.modules[name] = types.ModuleType(name)
drgn, sched = sys.modules["drgn"], sys.modules[helpers + "sched"]
drgn.FaultError = type("FaultError", (Exception,), {})

def damaged(*_):
    raise drgn.FaultError

drgn.get_default_prog = lambda: types.SimpleNamespace(stack_trace=damaged)
task = types.SimpleNamespace(comm=types.SimpleNamespace(string_=lambda: b"a\xff"), pid=types.SimpleNamespace(value_=lambda: 7))
sys.modules[helpers + "cpumask"].for_each_present_cpu = lambda prog: [0]
sched.cpu_curr, sched.task_state_to_char = lambda prog, processor: task, lambda task: task.state
task.state = "D"
sleeps = types.SimpleNamespace(state="S")
# Its name lies nowhere.
nameless = types.SimpleNamespace(comm=types.SimpleNamespace(string_=damaged), pid=types.SimpleNamespace(value_=lambda: -1), state="D")
negative = types.SimpleNamespace(comm=task.comm, pid=nameless.pid, state="D")

def broken():
    yield task
    damaged()

def shown(all_tasks):
    sys.modules[helpers + "pid"].for_each_task = lambda prog: iter(all_tasks)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(text, {})
    found = json.loads(printed.getvalue())
    first, last = found["tasks"][0], found["tasks"][-1]
    print(len(found["tasks"]), first["processor"], last["processor"], last["pid"], first["name"], first["stack"], found["cut"])

shown([sleeps, task, sleeps])
shown(itertools.repeat(task))
shown([nameless, negative])
shown(broken())
text = text.replace("SECONDS = 1000, 64, 300", "SECONDS = 1000, 64, 1")
shown(itertools.repeat(sleeps))
"#;
    let wanted = "2 0 None 7 a\u{fffd} [] None\n1000 0 None 7 a\u{fffd} [] there are more than 1000\n\
        2 0 None 4294967295 a\u{fffd} [] 1 tasks are damaged\n2 0 None 7 a\u{fffd} [] the list of tasks is damaged\n\
        1 0 0 7 a\u{fffd} [] it was given up after 1 s\n";
    assert_eq!(python("quiz_tasks.py", looks), wanted);
}

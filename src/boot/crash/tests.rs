//! What is known of a crash, and its memory, as files.

use super::*;
use crate::machine::qemu::tests::machine;
use crate::machine::{Accel, Machine};

/// What this process has as memory, for which it passes as a qemu.
fn dump(answer: &str, run: &Path, not: Option<String>, goes_on: bool) -> Crash {
    dump_as(Cause::Panic, answer, run, not, goes_on)
}

fn dump_as(cause: Cause, answer: &str, run: &Path, not: Option<String>, goes_on: bool) -> Crash {
    let machine = Machine { memory: 8, ..machine(Accel::Tcg) };
    assert_eq!(questions(&machine), ["info registers -a", "info memory_size_summary", "info version", "gpa2hva 0x0"]);
    let answers = ["CPU#0\nRIP=01\n", "base memory: 8388608\r\n", "9.1\r\n", answer].map(str::to_owned);
    let layout = Layout::new(&machine, &answers).unwrap();
    let told = Circumstances {
        cause,
        words: "BUG: x at 0xffff888003a1c000".to_owned(),
        lines: vec!["Call Trace:".to_owned(), " f+0x1/0x2".to_owned()],
        program: vec!["true".to_owned()],
        flags: Vec::new(),
        variables: None,
        again: "quiz up".to_owned(),
        imported: None,
        goes_on: Arc::new(AtomicBool::new(goes_on)),
    };
    layout.write(std::process::id(), &machine, run, told, not, &|| {}).unwrap()
}

#[test]
fn what_is_known_of_a_crash_lies_beside_its_memory_and_what_is_not_whole_is_called_so() {
    let run = tempfile::tempdir().unwrap();
    let memory = vec![7_u8; (8 << 20) + 8192];
    let at = |address: usize| format!("Host virtual address for 0x0 (memory) is {address:#x}\r\n");
    // Of whole pages.
    let whole = dump(&at(memory.as_ptr().addr().next_multiple_of(4096)), run.path(), None, false);
    assert_eq!((whole.title.as_str(), &whole.functions[..], &whole.cut), ("BUG: x at …", &["f".to_owned()][..], &None));
    assert_eq!(whole.used, Some(8 << 20));
    assert_eq!(Crash::read(run.path()), Some(whole));
    let (path, bytes) = memory_of(run.path()).unwrap();
    assert!(path.ends_with("crash/vmcore") && bytes >= 7 << 20, "{bytes}");
    assert!(fs::read(&path).unwrap().starts_with(b"\x7fELF"));
    // One that was asked for, and came to nothing, takes no place of that.
    let asked = dump_as(Cause::Asked, &at(4096), run.path(), Some("no room".to_owned()), false);
    assert!(asked.cut.is_some() && memory_of(run.path()).is_some());
    // Nothing lies there.
    let cut = dump(&at(4096), run.path(), None, false);
    assert_eq!((cut.used, cut.cut.as_deref()), (None, Some("qemu has no memory at 0x1000")));
    assert_eq!((Crash::read(run.path()), memory_of(run.path())), (Some(cut), None));
    // There are enough.
    let words = dump(&at(4096), run.path(), Some("enough".to_owned()), false);
    assert_eq!((words.cut.as_deref(), memory_of(run.path())), (Some("enough"), None));
    // Half of it is of another moment.
    let torn = dump(&at(memory.as_ptr().addr().next_multiple_of(4096)), run.path(), None, true);
    assert_eq!(torn.cut.as_deref(), Some("the machine went on before its memory was written"));
    assert_eq!(memory_of(run.path()), None);
    assert_eq!(fs::read_dir(run.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn what_qemu_does_not_say_as_it_should_is_no_layout() {
    let machine = Machine { memory: 8, ..machine(Accel::Tcg) };
    let (size, place) = ("base memory: 8388608\nplugged memory: 0\n", "Host virtual address for 0x0 (memory) is 0x10");
    let new = |answers: &[&str]| {
        Layout::new(&machine, &answers.iter().map(|&answer| answer.to_owned()).collect::<Vec<_>>()).map(drop)
    };
    new(&["", size, "", place]).unwrap();
    let all: [&[&str]; 6] = [
        &[],
        &[""],
        &["", size],
        &["", "x", "", place],
        &["", size, "", "no such command"],
        &["", size, "", "… is 0x"],
    ];
    for answers in all {
        assert!(new(answers).is_err(), "{answers:?}");
    }
    let error = new(&["", "base memory: 16777216\n", "", place]).unwrap_err().to_string();
    assert_eq!(error, "qemu has 16777216 bytes of memory, by an argument that was added to its command");
}

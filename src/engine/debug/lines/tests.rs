//! Traces of a program that gcc compiles here: as a kernel, which is linked, and as a module, which is not.

use super::*;
use crate::boot::crash::frames;
use goblin::elf::Elf;
use std::fs;
use std::process::Command;

/// Where a function goes on after a call, each in the section `offsets`: in the order of the files.
const HERE: &str = r#"
#define HERE(f) asm volatile("771:\n.pushsection offsets,\"\"\n.quad 771b - " #f "\n.popsection")
#define APART __attribute__((noinline, noclone, used))
extern volatile int count;
"#;
const ONE: &str = r#"#include "here.h"
volatile int count;
APART void ext(void) { count++; }
static inline __attribute__((always_inline)) void inner(void) {
    ext();
    HERE(outer); count = 3;
}
APART void outer(void) {
    count = 1;
    inner();
    ext();
}
APART static void twin(void) { ext(); HERE(twin); ext(); }
APART static void equal(void) { count = 1; HERE(equal); count = 2; }
APART void one(void) { twin(); equal(); ext(); }
"#;
const OTHER: &str = r#"#include "here.h"
extern void ext(void);
APART static void twin(void) {
    ext(); count = 5; count = 7; count = 9; count = 11; count = 13; count = 15; count = 17;
    ext();
    HERE(twin); ext();
}
APART static void equal(void) { count = 1; HERE(equal); count = 2; }
APART __attribute__((section(".init.text"))) void init(void) {
    ext();
    HERE(init); twin(); equal(); ext();
}
APART void last(void) { ext(); ext(); }
/* Bytes before a function with a name of their own, as objtool makes them. */
APART __attribute__((patchable_function_entry(16, 16))) void after(void) { ext(); ext(); }
asm(".set __pfx_after, after - 16\n.type __pfx_after, @function\n.size __pfx_after, 16");
"#;

/// A folder with what the compiler makes of it.
struct Made {
    folder: tempfile::TempDir,
    symbols: Symbols,
}

fn made() -> Made {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (name, text) in [("here.h", HERE), ("one.c", ONE), ("other.c", OTHER)] {
        fs::write(at(name), text).unwrap();
    }
    fs::create_dir_all(at("lib/modules/6.1/extra")).unwrap();
    let map = format!("-ffile-prefix-map={}=/quiz/src/./x/../fs", folder.path().display());
    for (how, into) in [("-no-pie", "vmlinux"), ("-r", "lib/modules/6.1/extra/my-mod.ko")] {
        let mut gcc = Command::new("gcc");
        gcc.args([
            "-g",
            "-O2",
            "-fno-toplevel-reorder",
            "-fno-pic",
            "-fcf-protection=none",
            "-falign-functions=16",
            "-nostdlib",
        ]);
        gcc.args(["-Wl,-eouter", &map, how, "-o"]).arg(at(into)).args([at("one.c"), at("other.c")]);
        assert!(gcc.status().unwrap().success());
    }
    let path = folder.path().to_owned();
    let symbols = Symbols {
        kernel: path.clone(),
        modules: vec![],
        sources: vec![("/quiz/src".to_owned(), path)],
        is_noted: false,
        knows_modules: true,
    };
    Made { folder, symbols }
}

impl Made {
    /// The offsets that `HERE` noted.
    fn offsets(&self) -> Vec<u64> {
        let bytes = fs::read(self.folder.path().join("vmlinux")).unwrap();
        let elf = Elf::parse(&bytes).unwrap();
        let section = elf.section_headers.iter().find(|s| elf.shdr_strtab.get_at(s.sh_name) == Some("offsets"));
        let words = bytes[section.unwrap().file_range().unwrap()].chunks_exact(8);
        words.map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect()
    }

    /// Up to the next function, as a kernel has it: of each function of that name.
    fn sizes(&self, name: &str) -> Vec<u64> {
        let bytes = fs::read(self.folder.path().join("vmlinux")).unwrap();
        let elf = Elf::parse(&bytes).unwrap();
        let text = elf.section_headers.iter().position(|s| elf.shdr_strtab.get_at(s.sh_name) == Some(".text"));
        let functions = || elf.syms.iter().filter(|symbol| symbol.is_function() && Some(symbol.st_shndx) == text);
        let next = |at: u64| functions().map(|symbol| symbol.st_value).filter(|other| *other > at).min().unwrap();
        let named = functions().filter(|symbol| elf.strtab.get_at(symbol.st_name) == Some(name));
        named.map(|symbol| next(symbol.st_value) - symbol.st_value).collect()
    }

    fn lines(&self, trace: &[String]) -> Lines {
        of(&self.symbols, &frames(trace)).unwrap()
    }

    /// What one line of a trace stands for: `function file:line`.
    fn places(&self, line: &str) -> Vec<String> {
        let places = self.lines(&[line.to_owned()]).remove(&0).unwrap_or_default();
        places.iter().map(|place| format!("{} {}:{}", place.function, place.file, place.line)).collect()
    }
}

#[test]
fn a_frame_has_its_line_and_what_was_inlined_there_in_a_kernel_and_in_a_module() {
    let made = made();
    let (at, size) = (made.offsets()[0], made.sizes("outer")[0]);
    for module in ["", " [my_mod]"] {
        let called = ["inner fs/one.c:5", "outer fs/one.c:10"];
        assert_eq!(
            made.places(&format!("[ 1.0]  outer+{at:#x}/{size:#x}{module}")),
            called,
            "the call, not what follows"
        );
        assert_eq!(made.places(&format!("[ 1.0]  ? outer+{at:#x}/{size:#x}{module}")), called);
        let exact = ["inner fs/one.c:6", "outer fs/one.c:10"];
        assert_eq!(made.places(&format!("RIP: 0010:outer+{at:#x}/{size:#x}{module}")), exact);
        let first = made.places(&format!("RIP: 0010:outer+0x0/{size:#x}{module}"));
        assert!(first.len() == 1 && first[0].starts_with("outer fs/one.c:"), "{first:?}");
        assert_eq!(made.places(&format!(" outer+0x0/{size:#x}{module}")), [""; 0], "no call lies before it");
    }
    // Sections of a module all begin at 0.
    let init = made.offsets()[5];
    assert_eq!(made.places(&format!(" init+{init:#x}/0x1000 [my_mod]")), ["init fs/other.c:10"]);
    assert_eq!(made.places("RIP: 0010:ext+0x0/0x10 [my_mod]"), ["ext fs/one.c:3"]);
    assert_eq!(made.places(&format!(" outer+{at:#x}/{size:#x} [other]")), [""; 0], "of that module nothing is known");
}

#[test]
fn of_functions_with_one_name_that_counts_whose_size_it_is_and_of_equal_ones_nothing_is_said() {
    let made = made();
    let (offsets, twins, equals) = (made.offsets(), made.sizes("twin"), made.sizes("equal"));
    assert!(twins[0] != twins[1] && equals[0] == equals[1], "{twins:?} {equals:?}");
    for module in ["", " [my_mod]"] {
        let twin = |n: usize, at: usize| made.places(&format!(" twin+{:#x}/{:#x}{module}", offsets[at], twins[n]));
        assert_eq!((twin(0, 1), twin(1, 3)), (vec!["twin fs/one.c:13".into()], vec!["twin fs/other.c:5".into()]));
        assert_eq!(made.places(&format!(" twin+{:#x}/0x7{module}", offsets[1])), [""; 0], "neither has that size");
        assert_eq!(made.places(&format!(" equal+{:#x}/{:#x}{module}", offsets[2], equals[0])), [""; 0]);
    }
}

#[test]
fn whatever_a_guest_writes_as_a_trace_has_no_line_or_a_right_one() {
    let made = made();
    let size = made.sizes("outer")[0];
    for text in [
        format!(" outer+0xffffffffffffffff/{size:#x}"),
        " outer+0xfffffffffffffffe/0xffffffffffffffff".to_owned(),
        format!(" outer+{size:#x}1/{size:#x}"),
        " last+0xffffffffff/0xfffffffffff [my_mod]".to_owned(),
        " outer+0x1/0x0".to_owned(),
        "../../outer+0x1/0x10 [../../vmlinux]".to_owned(),
        " count+0x1/0x4".to_owned(),
        " no_such_function+0x1/0x4".to_owned(),
        " 🦀+0x1/0x4".to_owned(),
    ] {
        assert_eq!(made.places(&text), [""; 0], "{text}");
    }
    // A file that is no debug information, and one that is cut off.
    let vmlinux = made.folder.path().join("vmlinux");
    let whole = fs::read(&vmlinux).unwrap();
    let trace = [format!(" outer+0x1/{size:#x}")];
    for length in (0..whole.len()).step_by(whole.len() / 40) {
        fs::write(&vmlinux, &whole[..length]).unwrap();
        let _ = of(&made.symbols, &frames(&trace));
    }
    fs::write(&vmlinux, "no ELF").unwrap();
    let error = of(&made.symbols, &frames(&trace)).unwrap_err().to_string();
    assert_eq!(error, format!("{} is no file with debug information", vmlinux.display()));
}

#[test]
fn files_are_named_as_their_source_tree_names_them() {
    let roots = ["/quiz/src", "/quiz/scratch/tree"];
    for (file, named) in [
        ("/quiz/src/./fs/ext4/../ext4/inode.c", "fs/ext4/inode.c"),
        ("/quiz/scratch/tree/module/zfs/arc.c", "module/zfs/arc.c"),
        ("/quiz/src-other/a.c", "/quiz/src-other/a.c"),
        ("/usr/include/a.h", "/usr/include/a.h"),
        ("/../../a.c", "/a.c"),
        ("a.c", "a.c"),
        ("debian/build/build_amd64_none_amd64/kernel/panic.c", "kernel/panic.c"),
        ("/build/reproducible-path/linux-6.1.192/arch/x86/entry/entry_64.S", "arch/x86/entry/entry_64.S"),
        ("debian/build", "debian/build"),
        ("debian/build/a//fs.c", "fs.c"),
        ("/quiz/src/debian/build/a/debian/build/b/fs.c", "fs.c"),
    ] {
        assert_eq!(relative(file, &roots), named);
    }
    assert_eq!(short("a\u{1b}[2J\nb"), "a [2J b");
}

/// Linux 6.12 has them, and counts the function before up to there; kernels before 6.2 have none, and what leaves them out counts up to the function.
#[test]
fn a_function_ends_where_the_next_begins_or_the_bytes_before_that_which_have_a_name() {
    let made = made();
    let [size] = made.sizes("last")[..] else { panic!("one function") };
    for size in [size, size + 16] {
        for module in ["", " [my_mod]"] {
            assert_eq!(made.places(&format!("RIP: 0010:last+0x0/{size:#x}{module}")), ["last fs/other.c:13"], "{size}");
        }
    }
    assert_eq!(made.places(&format!("RIP: 0010:last+0x0/{:#x}", size + 32)), [""; 0]);
    // Such bytes behind another function end nothing.
    let beyond = made.sizes("equal")[1] + size;
    assert_eq!(made.places(&format!("RIP: 0010:equal+0x0/{beyond:#x}")), [""; 0]);
    assert_eq!(made.places(" ? __pfx_after+0x10/0x10"), [""; 0], "no call lies before a function");
}

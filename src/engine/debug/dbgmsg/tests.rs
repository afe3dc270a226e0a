//! A guest's memory that gcc lays out here: a program whose variables are the kernel's and OpenZFS's, at the addresses where it is linked.

use super::*;
use crate::engine::debug::fuzz::{FAR, laid_out};
use goblin::elf::Elf;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// OpenZFS's own, and its list as that of 2.1 and of its main branch are.
const ZFS: &str = r#"
struct list_head { struct list_head *next, *prev; };
typedef struct list_head list_node_t;
typedef struct list { unsigned long list_size, list_offset; list_node_t list_head; } list_t;
typedef struct procfs_list_node { list_node_t pln_link; unsigned long pln_id; } procfs_list_node_t;
typedef struct procfs_list { void *pl_private; char pl_lock[EXTRA]; list_t pl_list; unsigned long pl_node_offset; } procfs_list_t;
typedef struct zfs_dbgmsg { char before[EXTRA]; procfs_list_node_t zdm_node; unsigned long zdm_timestamp; int zdm_size; char zdm_msg[40]; } zfs_dbgmsg_t;
#define LINK __builtin_offsetof(zfs_dbgmsg_t, zdm_node)
"#;
const KERNEL: &str = r#"
struct attribute { const char *name; short mode; };
struct bin_attribute { struct attribute attr; unsigned long size; void *private; };
#if NEW
struct attribute_group { void *name; union { struct bin_attribute **bin_attrs; struct bin_attribute **bin_attrs_new; }; };
struct module_sect_attrs { struct attribute_group grp; struct bin_attribute attrs[3]; };
#else
struct module_sect_attr { struct bin_attribute battr; unsigned long address; };
struct module_sect_attrs { unsigned nsections; struct module_sect_attr attrs[2]; };
#endif
struct module { int state; struct list_head list; char name[56]; struct module_sect_attrs *sect_attrs; };
const char linux_banner[] = "Linux version 6.1";
extern zfs_dbgmsg_t first, second;
struct { long other; procfs_list_t list; } theirs = { 0, { .pl_list = { 0, LINK, { &first.zdm_node.pln_link, &second.zdm_node.pln_link } } } };
zfs_dbgmsg_t first = { .zdm_node = { { &second.zdm_node.pln_link, &theirs.list.pl_list.list_head } }, .zdm_timestamp = 1000, .zdm_msg = "spa.c:1:f(): one\n" };
zfs_dbgmsg_t second = { .zdm_node = { { &theirs.list.pl_list.list_head, &first.zdm_node.pln_link } }, .zdm_timestamp = 2000, .zdm_msg = "two \033[2J" };
#if NEW
struct bin_attribute text = { { ".text" }, 0, (void *)16 }, data = { { ".data" }, 0, &theirs };
struct bin_attribute *files[] = { &text, &data, 0 };
struct module_sect_attrs sections = { { 0, { files } } };
#else
struct module_sect_attrs sections = { 2, { { { { ".text" } }, 16 }, { { { ".data" } }, (unsigned long)&theirs } } };
#endif
extern struct module spl, zfs;
extern struct list_head modules;
struct module spl = { 0, { &zfs.list, &modules }, "spl" };
struct module zfs = { 0, { &modules, &spl.list }, "zfs", &sections };
struct list_head modules = { &spl.list, &zfs.list };
"#;
const MODULE: &str = "long other = 1; static __attribute__((aligned(8))) procfs_list_t zfs_dbgmsgs = { (void *)1 }; void *used(zfs_dbgmsg_t *m) { return m->zdm_msg + (long)&zfs_dbgmsgs; }";

struct Made {
    folder: tempfile::TempDir,
    vmlinux: Vec<u8>,
}

/// `new`: as kernels from 6.14 on have it, other sizes of OpenZFS's, and names of files from the folder on that they were compiled in.
fn made(new: bool) -> Made {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("kernel/module")).unwrap();
    fs::create_dir_all(at("lib")).unwrap();
    let define = format!("#define NEW {}\n#define EXTRA {}\n", i32::from(new), if new { 48 } else { 8 });
    fs::write(at("kernel/module/sysfs.c"), format!("{define}{ZFS}{KERNEL}")).unwrap();
    fs::write(at("zfs_debug.c"), format!("{define}{ZFS}{MODULE}")).unwrap();
    let gcc = |words: &[&str], into: &str, from: &str| {
        let mut gcc = Command::new("gcc");
        gcc.args(["-g", "-O0", "-fno-pic", "-fno-toplevel-reorder"]).args(words).arg("-o");
        let from = if new { PathBuf::from(from) } else { at(from) };
        gcc.args([at(into), from]).current_dir(folder.path());
        assert!(gcc.status().unwrap().success());
    };
    gcc(&["-static", "-nostdlib", "-no-pie", "-Wl,-emodules"], "vmlinux", "kernel/module/sysfs.c");
    gcc(&["-c"], "lib/zfs.ko", "zfs_debug.c");
    let vmlinux = fs::read(at("vmlinux")).unwrap();
    Made { folder, vmlinux }
}

impl Made {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where a variable of the guest lies.
    fn address(&self, name: &str) -> u64 {
        let elf = Elf::parse(&self.vmlinux).unwrap();
        elf.syms.iter().find(|symbol| elf.strtab.get_at(symbol.st_name) == Some(name)).unwrap().st_value
    }

    /// What is read of it when these words of the memory are others.
    fn read(&self, changed: &[(u64, u64)]) -> std::result::Result<Option<Vec<Message>>, &'static str> {
        let memory = laid_out(&self.vmlinux, changed).unwrap();
        of(&Guest(&memory), &File::open(&self.path("vmlinux")).unwrap(), &File::open(&self.path("lib/zfs.ko")).unwrap())
    }
}

fn message(when: u64, text: &str) -> Message {
    Message { when, text: text.to_owned() }
}

#[test]
fn openzfs_notes_are_found_in_a_memory_by_the_types_of_that_kernel_and_that_openzfs() {
    for new in [false, true] {
        let made = made(new);
        let all = made.read(&[]).unwrap().unwrap();
        assert_eq!(all, [message(1000, "spa.c:1:f(): one"), message(2000, "two  [2J")], "{new}");
        let modules = made.address("modules");
        assert_eq!(made.read(&[(modules, modules)]), Ok(None), "no module is loaded");
        let elsewhere = made.read(&[(made.address("linux_banner"), 0)]);
        assert_eq!(elsewhere.unwrap().unwrap(), all, "a kernel that chose other addresses");
    }
}

#[test]
fn a_damaged_memory_has_what_can_be_read_and_an_end() {
    let made = made(false);
    let [modules, spl, zfs, first, second, theirs, banner] =
        ["modules", "spl", "zfs", "first", "second", "theirs", "linux_banner"].map(|name| made.address(name));
    // In `zfs_dbgmsg` what comes before is at 8 and 16, then the number, the time.
    let before = |message: u64| message + 16;
    let texts = |changed: &[(u64, u64)]| made.read(changed).map(|all| all.unwrap().len());
    assert_eq!(texts(&[(before(first), second + 8)]), Ok(2), "a circle");
    assert_eq!(texts(&[(before(first), first + 8)]), Ok(2), "of one");
    assert_eq!(texts(&[(before(second), 0x10)]), Ok(1), "into nothing");
    assert_eq!(texts(&[(before(second), u64::MAX)]), Ok(1));
    let (list, link) = (theirs + 8 + 16, theirs + 8 + 16 + 8);
    assert_eq!(texts(&[(list + 24, 0x10)]), Ok(0));
    assert_eq!(texts(&[(link, u64::MAX)]), Err("OpenZFS's list of messages is damaged"));
    // Lists of modules without an end, and that lead nowhere.
    let damaged = Err("the guest's list of modules is damaged");
    assert_eq!(texts(&[(spl + 8, spl + 8)]), damaged);
    assert_eq!(texts(&[(modules, 0x10)]), damaged);
    assert_eq!(texts(&[(zfs + 80, 0)]), Err("the kernel does not say where the module's sections lie"));
    assert_eq!(texts(&[(zfs + 80, 0x10)]), Err("the kernel's structures are not as quiz knows them"));
    assert_eq!(texts(&[(banner, 0), (banner + FAR, 0)]), Err("the kernel is not found in the memory"));
    let sections = made.address("sections");
    assert_eq!(texts(&[(sections, 1)]), Err("the kernel does not say where OpenZFS's variables lie"));
    // As many as 32 bits can say.
    assert_eq!(texts(&[(sections, u64::MAX)]), Err("the kernel's structures are not as quiz knows them"));
}

#[test]
fn notes_stay_beside_the_memory_as_openzfs_shows_them() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(kept(folder.path()), None);
    let all = [message(1_795_763_908, "spa.c:1:f(): a  b"), message(5, "")];
    // A link that somebody left there is not followed.
    let (victim, file) = (folder.path().join("victim"), folder.path().join(FILE));
    fs::write(&victim, "whole").unwrap();
    std::os::unix::fs::symlink(&victim, &file).unwrap();
    assert_eq!(kept(folder.path()), None);
    keep(folder.path(), &all).unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "whole");
    assert_eq!(kept(folder.path()).as_deref(), Some(&all[..]));
    let link = victim.with_file_name("link");
    std::os::unix::fs::symlink(tempfile::tempdir_in(folder.path()).unwrap().keep(), &link).unwrap();
    keep(&link, &all).unwrap_err();
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text, "timestamp    message\n1795763908   spa.c:1:f(): a  b\n5            \n");
    fs::write(&file, "timestamp    message\nno number\n7 a\u{1b}[2J\n\n").unwrap();
    assert_eq!(kept(folder.path()).unwrap(), [message(7, "a [2J")]);
}

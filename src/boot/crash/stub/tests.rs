//! A memory dump made by hand, looked up and served.

use super::super::{elf, registers};
use super::*;
use std::io::{Read, Write};

/// The kernel's first page, one of a module's, and a large one, in a guest of 4 MiB.
const KERNEL: u64 = 0xffff_ffff_8100_0000;
const MODULE: u64 = 0xffff_ffff_a000_0000;
const DIRECT: u64 = 0xffff_8880_0020_0000;

fn core() -> Core {
    let mut memory = vec![0_u8; 4 << 20];
    let mut put = |at: u64, bytes: &[u8]| {
        let at = usize::try_from(at).unwrap();
        memory[at..at + bytes.len()].copy_from_slice(bytes);
    };
    let entry = |table: u64, address: u64, level: u64| table + 8 * (address >> (12 + 9 * level) & 511);
    let mut link = |at: u64, to: u64| put(at, &(to | PRESENT).to_le_bytes());
    link(entry(0x1000, KERNEL, 3), 0x3000);
    link(entry(0x3000, KERNEL, 2), 0x4000);
    link(entry(0x4000, KERNEL, 1), 0x5000);
    link(entry(0x5000, KERNEL, 0), 0x10_0000);
    link(entry(0x4000, MODULE, 1), 0x8000);
    link(entry(0x8000, MODULE, 0), 0x10_1000);
    link(entry(0x1000, DIRECT, 3), 0x6000);
    link(entry(0x6000, DIRECT, 2), 0x7000);
    link(entry(0x7000, DIRECT, 1), 0x20_0000 | LARGE);
    put(0x10_0ffc, b"kernel's");
    put(0x10_1000, b"module's");
    put(0x20_1234, b"direct");
    let said = "CPU#0\nRAX=0a RSP=05 RBP=06 RIP=ffffffff81000042 RFL=82\nCS =0010 00 00 00\nSS =0018 00 00 00\nCR0=1 CR2=2 CR3=1000 CR4=20\nCPU#1\n";
    let processors = registers::read(said);
    let (ranges, begin) = elf::places(std::slice::from_ref(&(0..4 << 20)), processors.len());
    let head = elf::head(&ranges, begin, &elf::notes(&processors, None));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&head).unwrap();
    file.as_file().write_all_at(&memory, begin).unwrap();
    Core::open(file.path()).unwrap()
}

fn bytes(core: &mut Core, address: u64, length: usize, processor: usize) -> Option<String> {
    let mut bytes = vec![0; length];
    let read = core.read_addrs(address, &mut bytes, NonZero::new(processor).unwrap()).ok()?;
    Some(String::from_utf8_lossy(&bytes[..read]).into_owned())
}

#[test]
fn addresses_are_looked_up_in_the_guests_page_tables() {
    let mut core = core();
    let all: [(u64, usize, Option<&str>); 7] = [
        (MODULE, 8, Some("module's")),
        (DIRECT + 0x1234, 6, Some("direct")),
        (KERNEL + 0xffc, 4, Some("kern")),
        // Where the next page is not there, what was read before it counts.
        (KERNEL + 0xffc, 8, Some("kern")),
        (KERNEL + PAGE, 1, None),
        (0, 1, None),
        // No address: its upper bits differ.
        (MODULE & !(1 << 62), 8, None),
    ];
    for (address, length, wanted) in all {
        assert_eq!(bytes(&mut core, address, length, 1).as_deref(), wanted, "{address:#x}");
        // The second processor was never started.
        assert_eq!(bytes(&mut core, address, length, 2).as_deref(), wanted, "{address:#x}");
    }
    assert_eq!(bytes(&mut core, KERNEL + 0xff8, 4, 1).as_deref(), Some("\0\0\0\0"));
    // Who asks for the kernel's memory gets all of it, or nothing.
    let mut whole = [0; 8];
    assert!(core.kernel(MODULE, &mut whole) && whole == *b"module's");
    assert!(!core.kernel(KERNEL + 0xffc, &mut whole) && !core.kernel(0x1000, &mut whole));
}

#[test]
fn gdb_is_answered_and_can_change_nothing() {
    let (mut gdb, other) = UnixStream::pair().unwrap();
    let mut core = core();
    let served = std::thread::spawn(move || core.serve(other));
    let mut ask = |packet: &str| {
        let sum: u8 = packet.bytes().fold(0, u8::wrapping_add);
        gdb.write_all(format!("${packet}#{sum:02x}").as_bytes()).unwrap();
        let (mut answer, mut byte) = (Vec::new(), [0]);
        while answer.iter().rev().nth(2) != Some(&b'#') {
            gdb.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        gdb.write_all(b"+").unwrap();
        let answer = String::from_utf8_lossy(&answer).trim_start_matches('+').to_owned();
        // `0*"` is a run: the character once more for each that the last one is above 29.
        let mut runs = answer.split('*');
        let mut whole = runs.next().unwrap().to_owned();
        for run in runs {
            let last = whole.chars().last().unwrap();
            whole.extend(std::iter::repeat_n(last, usize::from(run.as_bytes()[0]) - 29));
            whole += &run[1..];
        }
        whole
    };
    let registers = ask("g");
    let number = |n: usize| registers[1 + 16 * n..17 + 16 * n].to_owned();
    assert_eq!([number(0), number(6), number(7)], ["0a", "06", "05"].map(|low| format!("{low}{}", "0".repeat(14))));
    assert_eq!(number(16), "42000081ffffffff", "where it stands");
    assert_eq!(&registers[1 + 16 * 17..1 + 16 * 17 + 24], "820000001000000018000000", "flags, CS, SS");
    assert!(ask(&format!("m{MODULE:x},6")).starts_with("$6d6f64756c65#"));
    assert!(ask("m0,1").starts_with("$E"));
    assert!(ask(&format!("M{MODULE:x},1:00")).starts_with("$E"));
    assert!(["01", "02"].iter().all(|thread| ask("qfThreadInfo").contains(thread)));
    // What shall go on stands where it stood, at once.
    assert!(ask("vCont?").contains("vCont;c"));
    let stop = ask("vCont;c");
    assert!(["$S05", "$T05"].iter().any(|begin| stop.starts_with(begin)), "{stop}");
    assert!(ask(&format!("m{MODULE:x},2")).starts_with("$6d6f#"), "and can be looked at as before");
    drop(gdb);
    served.join().unwrap().unwrap();
}

#[test]
fn what_is_no_dump_is_refused() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for content in [&b""[..], b"\x7fELF", &[0x7f; 4096], &std::fs::read("/proc/self/exe").unwrap()] {
        file.as_file_mut().set_len(0).unwrap();
        file.as_file().write_all_at(content, 0).unwrap();
        let error = Core::open(file.path()).unwrap_err().to_string();
        assert!(error.ends_with("is not a memory dump of quiz's"), "{error}");
    }
}

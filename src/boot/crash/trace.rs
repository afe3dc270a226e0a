//! What a kernel's last words say of a crash: a title for people, the functions on the stack, and a signature that equal crashes have in common.
//!
//! Pure: lines in, words out.

use super::super::marks::without_time;
use quiz_cache::Digest;

/// Functions that report a crash or lead to its report: they are on the stack of every crash, and say nothing of this one. By how their names begin.
const REPORTING: &[&str] = &[
    "dump_stack",
    "show_stack",
    "panic",
    "nmi_",
    "spl_dumpstack",
    "spl_panic",
    "die",
    "oops_",
    "__die",
    "no_context",
    "page_fault_oops",
    "__bad_area",
    "bad_area",
    "exc_",
    "asm_exc_",
    "do_user_addr_fault",
    "do_kern_addr_fault",
    "kernelmode_fixup_or_oops",
    "handle_bug",
    "report_bug",
    "__warn",
    "fixup_bug",
    "do_error_trap",
    "do_trap",
    "__asan_",
    "kasan_",
    "print_report",
    "print_address",
    "check_panic_on_",
    "__kasan_",
    "lockdep_",
    "debug_",
    "ret_from_fork",
    "entry_SYSCALL",
    "do_syscall",
    "x64_sys_call",
    "__stack_chk_fail",
    "default_do_nmi",
];

/// Hexadecimal digits of a signature: enough to tell the crashes of a project apart.
const SIGNATURE: usize = 12;

/// What is known of a crash by its words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Trace {
    /// The kernel's first words of trouble, without addresses.
    pub(super) title: String,
    /// The functions on the stack of whoever crashed, the innermost first, without those that only report.
    pub(super) functions: Vec<String>,
    /// The same for crashes of one kind in one function.
    pub(super) signature: String,
}

/// A place in the code that a trace names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Which of the kernel's lines names it, from 0 on.
    pub line: usize,
    /// The function.
    pub function: String,
    /// Bytes behind its beginning.
    pub offset: u64,
    /// Bytes up to the next function.
    pub size: u64,
    /// The module that has it.
    pub module: Option<String>,
    /// It is the instruction itself. Otherwise it is where a call returns to, behind it.
    pub is_exact: bool,
}

/// Bytes of a name at most: `KSYM_NAME_LEN` of Linux.
const NAME: usize = 512;
/// The most places that are looked at.
const FRAMES: usize = 4096;

/// The places that the kernel's lines name, all stacks together: `RIP: 0010:f+0x1/0x2 [m]`, ` g+0x3/0x4`, ` ? h+0x5/0x6 [m]`. The lines are the
/// guest's, and may be anything.
#[must_use]
pub fn frames(lines: &[String]) -> Vec<Frame> {
    lines.iter().enumerate().filter_map(|(number, line)| frame(number, line)).take(FRAMES).collect()
}

fn frame(line: usize, text: &str) -> Option<Frame> {
    let text = without_time(text).trim();
    let exact = text.strip_prefix("RIP: ").map(|place| place.split_once(':').map_or(place, |(_, place)| place));
    let place = exact.unwrap_or_else(|| text.strip_prefix("? ").unwrap_or(text));
    let (place, module) = match place.split_once(" [") {
        // Behind the module's name there may be its build id.
        Some((place, rest)) => (place, Some(rest.split([']', ' ']).next()?)),
        None => (place, None),
    };
    let (function, numbers) = place.split_once("+0x")?;
    let (offset, size) = numbers.split_once("/0x")?;
    let is_name = |name: &str| {
        (1..NAME).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.$".contains(c))
    };
    if !is_name(function) || !module.is_none_or(is_name) {
        return None;
    }
    let number = |digits: &str| u64::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'));
    let (function, module) = (function.to_owned(), module.map(str::to_owned));
    Some(Frame { line, function, offset: number(offset)?, size: number(size)?, module, is_exact: exact.is_some() })
}

/// Reads the last words: `words` is how the run ended, `lines` what the kernel said about it.
pub(super) fn read(words: &str, lines: &[String]) -> Trace {
    let functions = functions(lines);
    let title = spaced(&without_addresses(words));
    // Values differ from one time to the other; what was wrong and where does not.
    let kind: String = title.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let first = functions.first().map_or("", String::as_str);
    let signature = Digest::of(format!("{}\n{first}", squeezed(&kind)).as_bytes()).to_string();
    Trace { title, signature: signature.chars().take(SIGNATURE).collect(), functions }
}

/// Of the first stack that is shown: `RIP: 0010:f+0x1/0x2 [m]`, and ` g+0x3/0x4` behind `Call Trace:`; one with `?` may be left over from a
/// call that has ended.
fn functions(lines: &[String]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut is_trace = false;
    for line in lines {
        let line = without_time(line).trim();
        if line.starts_with("Call Trace") {
            // The stack of another processor or task follows the first one.
            if is_trace && !found.is_empty() {
                break;
            }
            is_trace = true;
            continue;
        }
        let place = match line.strip_prefix("RIP: ") {
            Some(place) if !is_trace => place.split_once(':').map_or(place, |(_, place)| place),
            _ if is_trace => line,
            _ => continue,
        };
        let Some((name, rest)) = place.split_once("+0x") else { continue };
        // Whoever asks all processors for their stacks shows its own first.
        if name == "nmi_trigger_cpumask_backtrace" {
            (is_trace, found) = (false, Vec::new());
            continue;
        }
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.".contains(c));
        if !is_name || REPORTING.iter().any(|reporting| name.starts_with(reporting)) {
            continue;
        }
        let module = rest.split_once(" [").and_then(|(_, module)| module.split([']', ' ']).next());
        let name = module.map_or(name.to_owned(), |module| format!("{name} [{module}]"));
        if found.last() != Some(&name) {
            found.push(name);
        }
    }
    found
}

/// Without `+0x5b/0x77`, and with `…` where an address stood.
fn without_addresses(words: &str) -> String {
    let is_hex = |word: &str| word.len() >= 8 && word.chars().all(|c| c.is_ascii_hexdigit());
    let word = |word: &str| {
        let cut = word.split_once("+0x").map_or(word, |(name, _)| name);
        let bare = cut.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        if is_hex(bare) || bare.strip_prefix("0x").is_some_and(is_hex) {
            cut.replace(bare, "…")
        } else {
            cut.to_owned()
        }
    };
    words.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn spaced(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Makes numbers of any length equal.
fn squeezed(kind: &str) -> String {
    let mut squeezed = kind.to_owned();
    while squeezed.contains("00") {
        squeezed = squeezed.replace("00", "0");
    }
    squeezed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    const VERIFY: &str = "\
[    3.1] VERIFY3(0 == arc_buf_alloc(0xffff888003a1c000)) failed (0 == 5)
[    3.1] PANIC at arc.c:123:arc_read()
[    3.2] Kernel panic - not syncing: VERIFY3(0 == arc_buf_alloc(0xffff888003a1c000)) failed (0 == 5)
[    3.2] CPU: 1 PID: 52 Comm: zpool Tainted: P
[    3.2] Call Trace:
[    3.2]  <TASK>
[    3.2]  dump_stack_lvl+0x45/0x5a
[    3.2]  panic+0x10b/0x2b0
[    3.2]  spl_panic+0xd4/0xf0 [spl]
[    3.2]  ? kmem_cache_alloc+0x1/0x2
[    3.2]  arc_read+0x5b/0x77 [zfs]
[    3.2]  dbuf_read+0x1/0x2 [zfs]
[    3.2]  </TASK>";

    #[test]
    fn a_crash_is_named_by_what_was_wrong_and_where() {
        let words = "VERIFY3(0 == arc_buf_alloc(0xffff888003a1c000)) failed (0 == 5)";
        let trace = read(words, &lines(VERIFY));
        assert_eq!(trace.functions, ["arc_read [zfs]", "dbuf_read [zfs]"]);
        assert_eq!(trace.title, words);
        assert_eq!(trace.signature.len(), SIGNATURE);
        let oops = "[ 1.0] BUG: kernel NULL pointer dereference, address: 0000000000000010\n\
            [ 1.0] RIP: 0010:mine_init+0x5b/0x77 [mine]\n[ 1.0] Code: 00\n[ 1.0] Call Trace:\n[ 1.0]  <IRQ>\n\
            [ 1.0]  do_one_initcall+0x1/0x2\n[ 1.0] Call Trace:\n[ 1.0]  other+0x1/0x2\n";
        let trace = read("BUG: kernel NULL pointer dereference, address: 0000000000000010", &lines(oops));
        assert_eq!(trace.functions, ["mine_init [mine]", "do_one_initcall"]);
        assert_eq!(trace.title, "BUG: kernel NULL pointer dereference, address: …");
    }

    #[test]
    fn who_looks_at_a_guest_is_not_what_it_was_doing() {
        let looked = "Call Trace:\n nmi_cpu_backtrace+0x1/0x2\n nmi_trigger_cpumask_backtrace+0x1/0x2\n __handle_sysrq+0x1/0x2\n\
            RIP: 0033:0x44be40\nSending NMI from CPU 0 to CPUs 1:\nNMI backtrace for cpu 1\nRIP: 0010:spins+0x1/0x2 [t]\n\
            Call Trace:\n <TASK>\n caller+0x1/0x2\n";
        assert_eq!(read("the guest hung after 5 s", &lines(looked)).functions, ["spins [t]", "caller"]);
        let idle = "Call Trace:\n nmi_trigger_cpumask_backtrace+0x1/0x2\n write_sysrq_trigger+0x1/0x2\n";
        assert_eq!(read("the program still ran after 5 s", &lines(idle)).functions, [""; 0]);
    }

    #[test]
    fn equal_crashes_have_one_signature_and_others_another() {
        let signature = |words: &str, function: &str| {
            read(words, &lines(&format!("Call Trace:\n panic+0x1/0x2\n {function}+0x{}/0x9\n", words.len()))).signature
        };
        let one = signature("VERIFY3(0 == x) failed (0 == 5)", "f");
        assert_eq!(signature("VERIFY3(0 == x) failed (0 == 22)", "f"), one);
        assert_ne!(signature("VERIFY3(0 == x) failed (0 == 5)", "g"), one);
        assert_ne!(signature("VERIFY3(0 == y) failed (0 == 5)", "f"), one);
        let at = |address: &str| signature(&format!("BUG: unable to handle page fault for address: {address}"), "f");
        assert_eq!(at("ffffc90000123000"), at("ffffc900004f6000"));
    }

    #[test]
    fn each_place_that_a_trace_names_is_read_and_which_of_them_is_no_return_address() {
        let text = "[ 1.0] RIP: 0010:f.part.0+0x5b/0x77 [mine]\n[ 1.0] Code: 00\n[    1.0][  T52]  ? g+0x1/0x20\n RIP: 0033:0x7ffff7ed6350\n\
            h+0x2/0x30 [zfs 0123abcd]\nBUG: KASAN: x in f+0x1/0x2";
        let found = frames(&lines(text));
        let all: Vec<_> = found.iter().map(|f| (f.line, f.function.as_str(), f.offset, f.size, f.is_exact)).collect();
        assert_eq!(all, [(0, "f.part.0", 0x5b, 0x77, true), (2, "g", 1, 0x20, false), (4, "h", 2, 0x30, false)]);
        let modules: Vec<_> = found.iter().map(|frame| frame.module.as_deref()).collect();
        assert_eq!(modules, [Some("mine"), None, Some("zfs")]);
    }

    #[test]
    fn what_is_no_place_is_none() {
        let long = format!("{}+0x1/0x2", "x".repeat(NAME));
        let all =
            ["", "f", "f+0x", "f+0x1", "f+0x1/0x", "+0x1/0x2", "f g+0x1/0x2", "f\u{1b}[2J+0x1/0x2", "f+0x1/0x2 []"];
        let more =
            ["f+0x1/0x10000000000000000", "f+0x+1/0x2", "f+0x1/0x2 [../m]", "f+0x1/0x2 x", "RIP: ", long.as_str()];
        for text in all.into_iter().chain(more) {
            assert_eq!(frames(&lines(text)), [], "{text}");
        }
        assert_eq!(frames(&vec![" f+0x1/0x2".to_owned(); 2 * FRAMES]).len(), FRAMES);
    }

    #[test]
    fn whatever_a_program_writes_there_is_read() {
        for text in ["", "Call Trace", "Call Trace:\n+0x", "RIP: \nRIP: x", "Call Trace:\n a b+0x1/0x2\n\u{fffd}+0x1"] {
            assert_eq!(read("", &lines(text)).functions, [""; 0], "{text}");
        }
    }
}

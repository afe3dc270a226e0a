//! What a guest's processors did when it stood still, and which tasks waited.

use super::style::Style;
use crate::engine::debug::tasks::{Call, Task, Tasks};

/// How many stacks of processors, and of tasks that waited, are shown where not all of them are asked for; and names of tasks with one stack.
const STACKS: usize = 16;
const NAMES: usize = 8;
/// Lines stand in a column behind functions of at most so many characters, and directly behind longer ones.
const WIDE: usize = 48;

/// The stacks of the processors' tasks, then those of tasks that waited; equal ones together.
pub(super) fn tasks(all: &Tasks, whole: bool, style: &Style) -> String {
    let mut text = String::new();
    for (what, is_on) in [("processors", true), ("tasks that waited and could not be interrupted", false)] {
        let mut groups: Vec<Vec<&Task>> = Vec::new();
        for task in all.tasks.iter().filter(|task| task.processor.is_some() == is_on) {
            match groups.iter_mut().find(|group| group[0].stack == task.stack) {
                Some(group) => group.push(task),
                None => groups.push(vec![task]),
            }
        }
        let shown = if whole { groups.len() } else { groups.len().min(STACKS) };
        let part =
            if shown < groups.len() { format!(", {shown} of {} stacks (--all)", groups.len()) } else { String::new() };
        if shown > 0 {
            text += &format!("\n{}\n", style.dim(&format!("{what}{part}:")));
        }
        groups[..shown].iter().for_each(|group| text += &stack(group, whole, style));
    }
    text + &all
        .cut
        .as_ref()
        .map_or_else(String::new, |why| format!("\n{}\n", style.dim(&format!("not all tasks: {why}"))))
}

fn stack(group: &[&Task], whole: bool, style: &Style) -> String {
    let name = |task: &&Task| {
        let place = task.processor.map_or_else(String::new, |processor| format!("{processor}: "));
        format!("{place}{} {} {}", task.name, task.pid, task.state)
    };
    let shown = if whole { group.len() } else { group.len().min(NAMES) };
    let mut names: Vec<String> = group[..shown].iter().map(name).collect();
    if shown < group.len() {
        names.push(format!("and {} more", group.len() - shown));
    }
    let name = |call: &Call| format!("{}{}", call.function, if call.inlined { " (inlined)" } else { "" });
    let lengths = group[0].stack.iter().map(|call| name(call).chars().count());
    let width = lengths.filter(|length| *length <= WIDE).max().unwrap_or(0);
    let mut text = format!("{}\n", names.join(", "));
    for call in &group[0].stack {
        let place = call.file.as_ref().zip(call.line).map(|(file, line)| style.hint(&format!("  {file}:{line}")));
        text += &match place {
            Some(place) => format!("    {:<width$}{place}\n", name(call)),
            None => format!("    {}\n", name(call)),
        };
    }
    if group[0].stack.is_empty() {
        text += "    outside of the kernel, or its stack is damaged\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::Color;
    use super::*;

    fn task(processor: Option<u32>, pid: u32, functions: &[&str]) -> Task {
        let call = |function: &&str| Call {
            function: (*function).to_owned(),
            file: Some("a.c".to_owned()).filter(|_| *function != "0xf"),
            line: Some(7),
            inlined: *function == "in",
        };
        let state = if processor.is_some() { "R" } else { "D" }.to_owned();
        Task { processor, pid, name: format!("t{pid}"), state, stack: functions.iter().map(call).collect() }
    }

    fn all(tasks: Vec<Task>) -> Tasks {
        Tasks { tasks, cut: None }
    }

    #[test]
    fn processors_and_tasks_that_do_the_same_are_told_once() {
        let plain = Style::new(Color::Never, false);
        let some = [
            task(Some(0), 0, &["idle"]),
            task(Some(1), 0, &["idle"]),
            task(Some(2), 3, &["run"]),
            task(None, 4, &["in", "schedule", "0xf"]),
            task(None, 5, &[]),
            task(None, 6, &["in", "schedule", "0xf"]),
        ];
        let wanted = "\nprocessors:\n0: t0 0 R, 1: t0 0 R\n    idle  a.c:7\n2: t3 3 R\n    run  a.c:7\n\
            \ntasks that waited and could not be interrupted:\nt4 4 D, t6 6 D\n    in (inlined)  a.c:7\n    \
            schedule      a.c:7\n    0xf\nt5 5 D\n    outside of the kernel, or its stack is damaged\n\
            \nnot all tasks: x\n";
        let cut = Tasks { cut: Some("x".to_owned()), ..all(some.to_vec()) };
        assert_eq!(tasks(&cut, false, &plain), wanted);
        assert_eq!(tasks(&all(Vec::new()), true, &plain), "");
    }

    #[test]
    fn of_many_stacks_and_names_the_first_are_shown_unless_all_are_wanted() {
        let plain = Style::new(Color::Never, false);
        let name = |pid: u32| format!("f{pid}");
        let on: Vec<Task> = (0..20).map(|pid| task(Some(pid), pid, &[&name(pid)])).collect();
        let waiting: Vec<Task> = (20..40).map(|pid| task(None, pid, &["wait"])).collect();
        let many = all([on, waiting].concat());
        let some = tasks(&many, false, &plain);
        assert!(some.contains("processors, 16 of 20 stacks (--all):\n0: t0 0 R\n"), "{some}");
        assert!(some.contains("\n15: t15 ") && !some.contains("t16 "), "{some}");
        assert!(some.ends_with(", t27 27 D, and 12 more\n    wait  a.c:7\n"), "a processor hides no task: {some}");
        let whole = tasks(&many, true, &plain);
        assert!(whole.contains("\n19: t19 19 R\n    f19  a.c:7\n") && whole.contains(", t39 39 D\n"), "{whole}");
    }
}

//! What a guest's processors did when it stood still, and which tasks waited.

use super::style::Style;
use crate::engine::debug::tasks::{Call, Task};

/// How many stacks are shown where not all of them are asked for.
const STACKS: usize = 16;
/// Lines stand in a column behind functions of at most so many characters, and directly behind longer ones.
const WIDE: usize = 48;

/// The stack of each processor's task, then those of tasks that waited, equal ones together.
pub(super) fn tasks(all: &[Task], whole: bool, style: &Style) -> String {
    let mut groups: Vec<Vec<&Task>> = Vec::new();
    for task in all {
        let is_same = |group: &&mut Vec<&Task>| {
            group[0].processor.is_none() && task.processor.is_none() && group[0].stack == task.stack
        };
        match groups.iter_mut().find(is_same) {
            Some(group) => group.push(task),
            None => groups.push(vec![task]),
        }
    }
    if groups.is_empty() {
        return String::new();
    }
    let shown = if whole { groups.len() } else { groups.len().min(STACKS) };
    let part =
        if shown < groups.len() { format!(", {shown} of {} stacks (--all)", groups.len()) } else { String::new() };
    let head = style.dim(&format!("processors, and tasks that waited and could not be interrupted{part}:"));
    format!("\n{head}\n{}", groups[..shown].iter().map(|group| stack(group, style)).collect::<String>())
}

fn stack(group: &[&Task], style: &Style) -> String {
    let names: Vec<String> = group.iter().map(|task| format!("{} {} {}", task.name, task.pid, task.state)).collect();
    let who = match group[0].processor {
        Some(processor) => format!("processor {processor}: "),
        None => String::new(),
    };
    let name = |call: &Call| format!("{}{}", call.function, if call.inlined { " (inlined)" } else { "" });
    let lengths = group[0].stack.iter().map(|call| name(call).chars().count());
    let width = lengths.filter(|length| *length <= WIDE).max().unwrap_or(0);
    let mut text = format!("{who}{}\n", names.join(", "));
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

    #[test]
    fn each_processor_is_shown_and_tasks_that_wait_alike_are_told_once() {
        let plain = Style::new(Color::Never, false);
        let all = [
            task(Some(0), 0, &["idle"]),
            task(Some(1), 0, &["idle"]),
            task(None, 4, &["in", "schedule", "0xf"]),
            task(None, 5, &[]),
            task(None, 6, &["in", "schedule", "0xf"]),
        ];
        let wanted = "\nprocessors, and tasks that waited and could not be interrupted:\n\
            processor 0: t0 0 R\n    idle  a.c:7\nprocessor 1: t0 0 R\n    idle  a.c:7\n\
            t4 4 D, t6 6 D\n    in (inlined)  a.c:7\n    schedule      a.c:7\n    0xf\n\
            t5 5 D\n    outside of the kernel, or its stack is damaged\n";
        assert_eq!(tasks(&all, false, &plain), wanted);
        assert_eq!(tasks(&[], true, &plain), "");
    }

    #[test]
    fn of_many_stacks_the_first_are_shown_unless_all_are_wanted() {
        let plain = Style::new(Color::Never, false);
        let all: Vec<Task> = (0..20).map(|pid| task(Some(pid), pid, &["f"])).collect();
        let some = tasks(&all, false, &plain);
        assert!(
            some.contains(", 16 of 20 stacks (--all):") && some.contains("t15 ") && !some.contains("t16 "),
            "{some}"
        );
        assert!(tasks(&all, true, &plain).ends_with("processor 19: t19 19 R\n    f  a.c:7\n"));
    }
}

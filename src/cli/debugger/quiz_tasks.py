"""Prints what the guest did when it stood still, as JSON: the task of each processor, then each that waits and cannot be interrupted (state D)."""

import json
import signal

from drgn import FaultError, get_default_prog
from drgn.helpers.linux.cpumask import for_each_present_cpu
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.sched import cpu_curr, task_state_to_char

# Tasks and calls at most. The memory is that of a guest that crashed, and may say anything: a list in it may have no end.
MOST, DEEPEST, SECONDS = 1000, 64, 300
DAMAGED = (FaultError, LookupError, ValueError)
prog = get_default_prog()


class Over(Exception):
    pass


def over(*_):
    raise Over


def call(frame):
    try:
        name = frame.name or frame.symbol().name
    except LookupError:
        name = hex(frame.pc)
    try:
        file, line, _ = frame.source()
    except LookupError:
        file, line = None, None
    return {"function": name, "file": file, "line": line, "inlined": frame.is_inline}


def described(task, processor):
    try:
        stack = [call(frame) for frame, _ in zip(prog.stack_trace(task), range(DEEPEST))]
    except DAMAGED:
        # A program runs there, outside of the kernel, or the stack is damaged.
        stack = []
    # A damaged number may be negative.
    name, pid = task.comm.string_().decode(errors="replace"), task.pid.value_() & 0xFFFFFFFF
    return {"processor": processor, "pid": pid, "name": name, "state": task_state_to_char(task), "stack": stack}


def candidates():
    # Of those that are online a panic leaves one: it stops the others, and what these did before is below that on their stacks.
    for processor in for_each_present_cpu(prog):
        yield lambda processor=processor: described(cpu_curr(prog, processor), processor)
    for task in for_each_task(prog):
        yield lambda task=task: described(task, None) if task_state_to_char(task) == "D" else None


tasks, damaged, cut = [], 0, None
signal.signal(signal.SIGALRM, over)
signal.alarm(SECONDS)
try:
    for describe in candidates():
        try:
            task = describe()
        except DAMAGED:
            damaged += 1
            continue
        tasks += [task] if task else []
        if len(tasks) >= MOST:
            cut = f"there are more than {MOST}"
            break
except DAMAGED:
    cut = "the list of tasks is damaged"
except Over:
    cut = f"it was given up after {SECONDS} s"
signal.alarm(0)
if damaged:
    cut = "; ".join(filter(None, [f"{damaged} tasks are damaged", cut]))
print(json.dumps({"tasks": tasks, "cut": cut}))

"""Prints what the guest did when it stood still, as JSON: the task of each processor, then each that waits and cannot be interrupted (state D)."""

import json
import signal

from drgn import FaultError, get_default_prog
from drgn.helpers.linux.cpumask import for_each_online_cpu
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.sched import cpu_curr, task_state_to_char

# Tasks and calls at most. The memory is that of a guest that crashed, and may say anything: a list in it may have no end.
MOST, DEEPEST, SECONDS = 1000, 64, 300
signal.alarm(SECONDS)
prog = get_default_prog()


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
    except (FaultError, LookupError, ValueError):
        # A program runs there, outside of the kernel, or the stack is damaged.
        stack = []
    name, pid = task.comm.string_().decode(errors="replace"), task.pid.value_()
    return {"processor": processor, "pid": pid, "name": name, "state": task_state_to_char(task), "stack": stack}


tasks = [described(cpu_curr(prog, cpu), cpu) for cpu in for_each_online_cpu(prog)]
waiting = (task for task in for_each_task(prog) if task_state_to_char(task) == "D")
print(json.dumps(tasks + [described(task, None) for task, _ in zip(waiting, range(MOST))]))

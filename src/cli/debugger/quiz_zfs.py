"""OpenZFS in drgn: what its kernel modules know of themselves. For releases from 2.1 on.

    >>> from quiz_zfs import *
    >>> pools()         # name, state, and how far its transaction groups are
    >>> dbgmsg()        # zfs_dbgmsg, the oldest first
    >>> arc()           # the ARC: target, limits, and what each of its lists holds
    >>> stuck()         # tasks that wait in OpenZFS, equal stacks together
    >>> holds()         # reference counts of the pools and of what hangs on them

Each prints; each has a twin that gives objects to go on with: each_pool(), each_dbgmsg(), each_stuck().
"""

import datetime

from drgn import FaultError, Object, get_default_prog
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.sched import task_state_to_char

__all__ = ["arc", "dbgmsg", "each_dbgmsg", "each_pool", "each_stuck", "holds", "pools", "stuck"]

# enum pool_state, sys/fs/zfs.h.
STATES = ["ACTIVE", "EXPORTED", "DESTROYED", "SPARE", "L2CACHE", "UNINITIALIZED", "UNAVAIL", "POTENTIALLY_ACTIVE"]
# A task that shows one of these functions only came by on its way to sleep.
SLEEPS = ("__schedule", "schedule", "io_schedule", "context_switch", "__switch_to")


def _plain(text):
    """A text of the guest's without control characters, which a terminal would take for commands."""
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    return "".join(c if c.isprintable() else "?" for c in text)


def _global(name):
    return get_default_prog()[name]


def _has(value, member):
    # The type of an array has no `members`, and for a struct that is only declared they are None.
    return any(one.name == member for one in getattr(value.type_.unaliased(), "members", None) or ())


def each_in_avl(tree, type_name):
    """The objects of an avl_tree_t, in its order."""
    prog = get_default_prog()
    offset = tree.avl_offset.value_()

    def walk(node):
        if not node:
            return
        yield from walk(node.avl_child[0])
        yield Object(prog, type_name + " *", value=node.value_() - offset)
        yield from walk(node.avl_child[1])

    yield from walk(tree.avl_root)


def each_in_list(lists, type_name):
    """The objects of a list_t (the SPL's, around a struct list_head); of one that is damaged, and leads in a circle, each once."""
    prog = get_default_prog()
    offset, head = lists.list_offset.value_(), lists.list_head.address_of_()
    node = lists.list_head.next
    seen = {head.value_()}
    while node.value_() not in seen:
        seen.add(node.value_())
        yield Object(prog, type_name + " *", value=node.value_() - offset)
        node = node.next


def each_pool():
    """Every spa_t that there is."""
    yield from each_in_avl(_global("spa_namespace_avl"), "spa_t")


def pools():
    """Of each pool: state, whether it is suspended, and its transaction groups as dsl_pool has them."""
    for spa in each_pool():
        state = spa.spa_state.value_()
        words = [STATES[state] if state < len(STATES) else str(state)]
        if spa.spa_suspended:
            words.append("suspended")
        print(f"{_plain(spa.spa_name.string_())}: {', '.join(words)}  (spa_t *){spa.value_():#x}")
        pool = spa.spa_dsl_pool
        if not pool:
            continue
        tx = pool.dp_tx
        names = ("open", "quiescing", "quiesced", "syncing", "synced")
        txgs = [f"{name} {getattr(tx, f'tx_{name}_txg').value_()}" for name in names if _has(tx, f"tx_{name}_txg")]
        print(f"    txg: {', '.join(txgs)}; on disk {spa.spa_uberblock.ub_txg.value_()}")
        print(f"    dirty: {pool.dp_dirty_total.value_()} bytes")


def each_dbgmsg():
    """Every zfs_dbgmsg_t, the oldest first."""
    yield from each_in_list(_global("zfs_dbgmsgs").pl_list, "zfs_dbgmsg_t")


def dbgmsg(last=None):
    """The lines of zfs_dbgmsg; of all, or the last ones."""
    lines = list(each_dbgmsg())
    for line in lines[-last:] if last else lines:
        when = datetime.datetime.fromtimestamp(line.zdm_timestamp.value_(), datetime.timezone.utc)
        message = get_default_prog().read_c_string(line.zdm_msg.address_of_().value_())
        print(f"{when:%H:%M:%S}  {_plain(message)}")


def arc():
    """The ARC: what it aims at, and what its lists hold. Its kstats are only right when somebody reads them, so they are not used."""
    stats = _global("arc_stats")
    for name in ("c", "c_min", "c_max"):
        if _has(stats, f"arcstat_{name}"):
            print(f"{name:<10} {getattr(stats, f'arcstat_{name}').value.ui64.value_():>14}")
    for name in ("anon", "mru", "mru_ghost", "mfu", "mfu_ghost", "l2c_only", "uncached"):
        try:
            sizes = _global(f"ARC_{name}").arcs_size
        except KeyError:
            continue
        # Up to OpenZFS 2.1 this is one number, then one each for data and metadata.
        if _has(sizes, "rc_count"):
            print(f"{name:<10} {_count(sizes):>14}")
        else:
            print(f"{name:<10} {_count(sizes[0]):>14} data {_count(sizes[1]):>14} metadata")


def _functions(task):
    try:
        return [(frame.name or hex(frame.pc), frame) for frame in get_default_prog().stack_trace(task)]
    except (FaultError, ValueError):
        # It runs, or its stack is damaged.
        return []


def _is_ours(frame):
    try:
        return any(part in frame.source()[0] for part in ("/module/zfs/", "/module/os/linux/", "/module/spl/", "module/icp/"))
    except LookupError:
        return False


def each_stuck():
    """Every task that sleeps with a function of OpenZFS on its stack: the task, and the names on its stack, the innermost first."""
    for task in for_each_task(get_default_prog()):
        stack = _functions(task)
        if task_state_to_char(task) != "R" and any(_is_ours(frame) for _, frame in stack):
            yield task, [name for name, _ in stack if name not in SLEEPS]


# Functions in which a thread waits for work, and functions by which threads wait, for work or for a lock.
IDLE = ("taskq_thread", "txg_thread_wait")
WAITS = ("schedule", "io_schedule", "cv_", "__cv_", "mutex_", "__mutex")


def _waits_for_work(names):
    # cv_wait_idle and its like are for threads that have nothing to do, so that they do not count as load.
    if any(name.startswith(("cv_", "__cv_")) and "_idle" in name for name in names):
        return True
    where = next((name for name in names if not name.startswith(WAITS)), "")
    return where.startswith(IDLE)


def stuck(all_of_them=False):
    """Tasks that wait in OpenZFS, by their stacks. The threads that wait for work are left out, unless all are wanted."""
    groups = {}
    for task, names in each_stuck():
        if all_of_them or not _waits_for_work(names):
            groups.setdefault(tuple(names), []).append(task)
    for names, tasks in sorted(groups.items(), key=lambda group: -len(group[1])):
        shown = ", ".join(f"{_plain(task.comm.string_())} {task.pid.value_()} {task_state_to_char(task)}" for task in tasks[:8])
        print(f"{len(tasks)}: {shown}{' …' if len(tasks) > 8 else ''}")
        for name in names:
            print(f"    {_plain(name)}")


def _count(refcount):
    return refcount.rc_count.value_()


def holds():
    """Reference counts; with a debugging OpenZFS (reference_tracking_enable) who holds them, too."""
    for spa in each_pool():
        print(f"{_plain(spa.spa_name.string_())}: spa_refcount {_count(spa.spa_refcount)}")
        for lock in spa.spa_config_lock:
            held = _count(lock.scl_count) if hasattr(lock.scl_count, "rc_count") else lock.scl_count.value_()
            writer = lock.scl_writer
            if held or writer:
                who = f", writer {_plain(writer.comm.string_())} {writer.pid.value_()}" if writer else ""
                print(f"    config lock at {lock.address_of_().value_():#x}: held {held}{who}")
        refcount = spa.spa_refcount
        if not _has(refcount, "rc_tracked") or not refcount.rc_tracked:
            continue
        # From OpenZFS 2.2 on a tree, before a list.
        if _has(refcount, "rc_tree"):
            references = each_in_avl(refcount.rc_tree, "reference_t")
        else:
            references = each_in_list(refcount.rc_list, "reference_t")
        for reference in references:
            print(f"    held by {reference.ref_holder.value_():#x}, {reference.ref_number.value_()}")

"""What quiz tells gdb: where the sources lie, at which machine or memory to look, and where in it modules lie.

    quiz-modules    look for modules that were loaded meanwhile
    quiz-lx         the kernel's own commands (lx-ps, lx-dmesg, $lx_current() …): Python of its source, which runs as you do
"""

import json
import os

import gdb

told = json.loads(os.environ["QUIZ_GDB"])
# Besides .text: without their addresses gdb takes what lies in one of them for a part of .text.
SECTIONS = (".data", ".data..read_mostly", ".rodata", ".bss", ".text.hot", ".text.unlikely")


def plain(text):
    """A text of the guest's, or of its files', without control characters, which a terminal would take for commands."""
    return "".join(c if c.isprintable() else "?" for c in text)


def checked(path):
    """A path as a part of a command. gdb reads commands by lines: what stands behind a line feed would be another one, `shell` for example."""
    if any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in path):
        raise gdb.GdbError(f"control characters in a path: {plain(path)}")
    return path


def quoted(path):
    return '"' + checked(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def each_in_list(head, type_name, member):
    """The structures of that type in a struct list_head; of one that is damaged, and leads in a circle, each once."""
    kind = gdb.lookup_type(type_name)
    offset = next(field.bitpos // 8 for field in kind.fields() if field.name == member)
    node = head["next"]
    seen = {int(head.address)}
    while int(node) not in seen:
        seen.add(int(node))
        yield gdb.Value(int(node) - offset).cast(kind.pointer()).dereference()
        node = node["next"]


def sections(module):
    """Where the sections of a module lie, by their names, as its folder `sections` in /sys has them."""
    attributes = module["sect_attrs"]
    if not int(attributes):
        return {}
    names = [field.name for field in attributes.dereference().type.fields()]
    found = {}
    if "nsections" in names:
        for number in range(int(attributes["nsections"])):
            one = attributes["attrs"][number]
            name = one["battr"]["attr"]["name"] if "battr" in [field.name for field in one.type.fields()] else one["name"]
            found[name.string()] = int(one["address"])
        return found
    # From Linux 6.14 on they are the files alone, a list that ends with 0.
    number = 0
    while int(attributes["grp"]["bin_attrs"][number]):
        one = attributes["grp"]["bin_attrs"][number].dereference()
        found[one["attr"]["name"].string()] = int(one["private"])
        number += 1
    return found


class Modules(gdb.Command):
    """Loads the symbols of the guest's modules, at the addresses where they lie."""

    def __init__(self):
        super().__init__("quiz-modules", gdb.COMMAND_FILES)
        self.loaded = {}
        self.files = {}
        for folder in reversed(told["modules"]):
            for root, _, names in os.walk(folder):
                for name in names:
                    path = os.path.join(root, name)
                    # A crash that was imported brings such folders: paths with control characters are not taken.
                    if name.endswith(".ko") and os.path.relpath(path, folder).isprintable():
                        self.files[name[:-3].replace("-", "_")] = path

    def invoke(self, argument, from_tty):
        there, without = {}, []
        for module in each_in_list(gdb.parse_and_eval("modules"), "struct module", "list"):
            name, lie = module["name"].string("utf-8", "replace"), sections(module)
            if name in self.files and ".text" in lie:
                there[name] = lie
            else:
                without.append(name)
        # First forget modules that were unloaded: another one may lie at their address now.
        for name, text in list(self.loaded.items()):
            if there.get(name, {}).get(".text") != text:
                gdb.execute(f"remove-symbol-file -a {text:#x}", to_string=True)
                del self.loaded[name]
        for name, lie in there.items():
            text = lie[".text"]
            if name in self.loaded:
                continue
            more = "".join(f" -s {section} {lie[section]:#x}" for section in SECTIONS if section in lie)
            gdb.execute(f"add-symbol-file {quoted(self.files[name])} {text:#x}{more}", to_string=True)
            self.loaded[name] = text
            gdb.write(f"{plain(name)} at {text:#x}\n")
        if without:
            gdb.write(f"no symbols for: {', '.join(map(plain, without))}\n")


class Lx(gdb.Command):
    """Loads the kernel's own commands for gdb: Python of its source, which runs as you do."""

    def __init__(self):
        super().__init__("quiz-lx", gdb.COMMAND_FILES)

    def invoke(self, argument, from_tty):
        if told["imported"]:
            raise gdb.GdbError("this crash was imported, or its kernel is not the project's any more: quiz-lx would run Python of what may be somebody else's kernel with your rights")
        script = os.path.join(told["kernel"], "vmlinux-gdb.py")
        if not os.path.exists(script):
            raise gdb.GdbError("this kernel brings no commands for gdb")
        gdb.execute(f"source {checked(script)}")


def shift_of(start, text):
    """How far from the addresses of its file the kernel lies: one that decompresses itself may choose others (KASLR), in steps of 2 MiB and within 1 GiB
    (Linux: PHYSICAL_ALIGN in arch/x86/Kconfig, KERNEL_IMAGE_SIZE in page_64_types.h). A processor that runs a program may not see the kernel, so each is asked."""
    for thread in gdb.selected_inferior().threads():
        thread.switch()
        for shift in range(0, 1 << 30, 2 << 20):
            try:
                if gdb.selected_inferior().read_memory(start + shift, len(text)).tobytes() == text:
                    return shift
            except gdb.error:
                pass
    return None


modules = Modules()
Lx()
for inside, folder in told["sources"]:
    gdb.execute(f"set substitute-path {quoted(inside)} {quoted(folder)}")
# Read out of the file, before gdb is connected and reads the guest's memory instead.
start = int(gdb.parse_and_eval("(unsigned long) &linux_banner"))
text = gdb.parse_and_eval("(char *) linux_banner").string().encode()
gdb.execute(f"target remote {checked(told['socket'])}")


def find_kernel():
    """Whether the kernel was found in memory. If so, its symbols have the addresses at which it lies."""
    selected = gdb.selected_thread()
    shift = shift_of(start, text)
    if selected:
        selected.switch()
    if shift:
        gdb.execute(f"symbol-file -o {shift:#x} {quoted(told['vmlinux'])}", to_string=True)
        gdb.write(f"the kernel lies {shift:#x} above the addresses of its file (KASLR)\n")
    return shift is not None


# Before the first instruction the kernel has no addresses.
if told["begun"] and not find_kernel():
    gdb.write("the kernel was not found in memory, or has not started: addresses of symbols are wrong\n")
elif told["begun"]:
    try:
        modules.invoke("", False)
    except gdb.error as error:
        gdb.write(f"the symbols of modules cannot be loaded: {plain(str(error))}\n")

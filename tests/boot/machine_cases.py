# SPDX-License-Identifier: BSD-2-Clause
"""The hypervisor itself: its page tables, its monitor, bad ISOs, hostile command lines, odd machines."""
import os
import re

from machine import check
from suite import ELF, INITRD, KERNEL, boot, case, debian, guest, guest_elf


def page_table_lines(text):
    """QEMU's `info tlb`: (virtual, physical, flags) of each leaf."""
    for line in text.splitlines():
        found = re.match(r"([0-9a-f]{16}): ([0-9a-f]{16}) ([-A-Z]{9})$", line.strip())
        if found:
            yield int(found.group(1), 16), int(found.group(2), 16), found.group(3)


def write_and_execute(text):
    """The leaves that are writable (W) without no-execute (X), user-accessible ones, and all."""
    leaves = list(page_table_lines(text))
    both = [leaf for leaf in leaves if "W" in leaf[2] and "X" not in leaf[2]]
    user = [leaf for leaf in leaves if "U" in leaf[2]]
    return both, user, leaves


def control(registers, name):
    return int(re.search(rf"\b{name}=([0-9a-f]+)", registers).group(1), 16)


def wx(name, **kwargs):
    """QEMU's own view of the running page tables: nothing is both writable and executable."""
    # The test must be able to fail: a made-up bad table does.
    check(write_and_execute("ffffffff80000000: 0000000001000000 -G-DA---W")[0], "a bad table would be seen")
    with boot(name, debian(autostart="no"), ["vmlinuz", "initrd.img"], **kwargs) as m:
        m.prompt()
        m.hmp("stop")
        registers = m.hmp("info registers")
        both, user, leaves = write_and_execute(m.hmp("info tlb"))
        m.hmp("cont")
        executable = [leaf for leaf in leaves if "X" not in leaf[2]]
        check(len(leaves) > 100, f"only {len(leaves)} leaves")
        check(executable and any("W" in leaf[2] for leaf in leaves), "there is code, and there is data")
        check(not both, f"{len(both)} leaves are writable and executable, first {both[:1]}")
        check(not user, f"{len(user)} leaves are user-accessible, first {user[:1]}")
        check(all(0xFFFFFFFF80000000 <= leaf[0] for leaf in executable),
              f"only the image is executable: {[hex(leaf[0]) for leaf in executable][:5]}")
        size = sum(0x200000 if "P" in leaf[2] else 0x1000 for leaf in executable)
        check(size <= 256 << 10, f"{size} bytes are executable")
        check(control(registers, "CR0") & 1 << 16, "CR0.WP is set")
        check(control(registers, "CR4") & 3 << 20 == 3 << 20, "CR4.SMEP and SMAP are set")
        check(control(registers, "EFER") & 1 << 11, "EFER.NXE is set")
        m.monitor("help")
        m.poweroff()


@case
def machine_wx_bios(name):
    wx(name)


@case
def machine_wx_uefi(name):
    wx(name, firmware="uefi")


@case
def machine_idle(name):
    """With nothing to do the machine halts instead of spinning."""
    with boot(name, debian(autostart="no"), ["vmlinuz", "initrd.img"]) as m:
        m.prompt()
        halted = sum("halted" in m.hmp("info cpus") or "HLT=1" in m.hmp("info registers") for _ in range(20))
        check(halted >= 10, f"halted in {halted} of 20 looks")


@case
def monitor_editing(name):
    """Line editing, history, completion, unknown commands, and lines of any length."""
    with boot(name, debian(autostart="no"), ["vmlinuz", "initrd.img"]) as m:
        m.prompt()
        m.send("lisX\x7ft\r")
        m.expect(r"debian +defined")
        m.prompt()
        m.send("\x1b[A\r")  # arrow up
        m.expect(r"debian +defined")
        m.prompt()
        m.send("pow\t")
        m.expect(r"poweroff")
        m.send("\x15")  # kill the line
        m.send("rubbish\r")
        m.expect(r"no command 'rubbish'")
        m.prompt()
        m.send("info nobody\r")
        m.expect(r"no guest 'nobody'")
        m.prompt()
        m.send("x" * 3000 + "\r")
        m.prompt()
        m.send("".join(chr(c) for c in range(1, 256) if c not in (0x1D,)) * 4 + "\x03\r\r")
        m.prompt()
        for command in ("help", "help list", "list", "info debian", "mem", "cpus", "log", "loglevel"):
            check(len(m.monitor(command)) > 10, f"{command} prints something")
        m.monitor("start debian")
        m.send("console debian\r")
        m.shell()
        m.leave_console()
        m.send("reboot\r")
        m.expect(r"Sluice \d")
        m.prompt()
        m.poweroff()


@case
def machine_large_memory(name):
    with boot(name, debian(memory="3500M"), ["vmlinuz", "initrd.img"], mem="6G") as m:
        m.shell()
        total = int(re.search(r"MemTotal: +(\d+) kB", m.command("cat /proc/meminfo")).group(1))
        check(total > 3300 << 10, f"the guest has {total} kB")


@case
def machine_small_memory(name):
    """A machine of 96 MB: enough for Sluice, not for the guest, which is said by name."""
    with boot(name, debian(), ["vmlinuz", "initrd.img"], mem="96M") as m:
        m.expect(r"guest debian: cannot start: [^\r\n]*memory")
        m.prompt()
        m.poweroff()


@case
def machine_without_svm(name):
    """The reason is named, the monitor is there."""
    with boot(name, debian(), ["vmlinuz", "initrd.img"], cpu="max,-svm") as m:
        m.expect(r"cannot run guests: [^\r\n]*SVM")
        m.prompt()
        check("cannot start" in m.monitor("start debian"), "start says why")
        m.poweroff()


@case
def machine_without_npt(name):
    with boot(name, debian(), ["vmlinuz", "initrd.img"], cpu="max,-npt") as m:
        m.expect(r"cannot run guests: [^\r\n]*[Nn]ested paging")
        m.prompt()
        m.poweroff()


@case
def machine_plain_processor(name):
    """A model without x2APIC, SMEP, SMAP, XSAVE and invariant TSC still boots Linux."""
    with boot(name, debian(), ["vmlinuz", "initrd.img"], cpu="phenom") as m:
        m.shell()
        check("Linux debian" in m.command("uname -a"), "uname")


# --- bad ISOs -------------------------------------------------------------------------------------

def refused(name, conf, modules, says, cmdline="", **kwargs):
    """Each of `says` is printed, and the monitor is usable."""
    with boot(name, conf, modules, cmdline, **kwargs) as m:
        start = m.seen
        m.prompt()
        text = m.text[start:m.seen]
        for pattern in says:
            check(re.search(pattern, text), f"expected {pattern!r} in:\n{text[-1500:]}")
        check("poweroff" in m.monitor("help"), "the monitor answers")
        m.poweroff()


@case
def bad_no_guests_file(name):
    refused(name, None, [], [r"no guests: .*guests\.conf"])


@case
def bad_empty_guests_file(name):
    refused(name, "", [], [r"no guests"])


@case
def bad_guests_file(name):
    """Every mistake is reported with its line; the guest without one runs."""
    conf = ("[guest a]\nkernel = exit\nmemory = lots\n"
            "[guest b]\nvcpus = 1\n"
            "[guest b2]\nkernel = exit\nnonsense\n"
            "[guest c d]\nkernel = exit\n"
            "[guest e]\nkernel = exit\ncolour = blue\n"
            "[guest f]\nkernel = exit\ndevices = debug-exit\nautostart = yes\n"
            "[guest g]\nkernel = exit\nvcpus = 64\n")
    with boot(name, conf, ["exit"]) as m:
        for line in (3, 4, 8, 9, 13, 20):
            m.expect(rf"guests\.conf:{line}: [^\r\n]+")
        m.expect(r"guest f: exited, status 42\r?\n")
        m.prompt()
        check(re.findall(r"^(\w+) +(?:defined|stopped)", m.monitor("list"), re.M) == ["f"], "only f is defined")
        m.poweroff()


@case
def bad_guests_file_binary(name):
    conf = "".join(chr((i * 7919) % 256) for i in range(5000))
    refused(name, conf, [], [r"guests\.conf:1: ", r"no guests"])


@case
def bad_missing_module(name):
    """GRUB goes on without a module that it cannot load; Sluice says which is missing."""
    refused(name, debian(), ["vmlinuz", ("initrd.img", None)], [r"guest debian: cannot start: [^\r\n]*initrd\.img"])


@case
def bad_missing_kernel(name):
    refused(name, debian(), ["initrd.img"], [r"guest debian: cannot start: [^\r\n]*vmlinuz"])


@case
def bad_kernel(name):
    """A text, an ELF program of this host, an empty file and half a kernel: each is named."""
    folder = "build/test"
    os.makedirs(folder, exist_ok=True)
    with open(KERNEL, "rb") as f:
        kernel = f.read()
    broken = {"text": b"This is not a kernel.\n" * 100, "empty": b"", "half": kernel[:len(kernel) // 2],
              "header": kernel[:600]}
    conf, modules = "", []
    for title, data in broken.items():
        with open(f"{folder}/{name}-{title}", "wb") as f:
            f.write(data)
        modules.append((title, f"{folder}/{name}-{title}"))
    modules += [("program", "build/guest/busybox"), ("sluice.elf", ELF), ("initrd.img", INITRD)]
    for title, _ in modules:
        conf += guest(title.replace(".", "-"), title, memory="128M")
    refused(name, conf, modules,
            [rf"guest {title.replace('.', '-')}: cannot start: [^\r\n]*{re.escape(title)}" for title, _ in modules
             if title != "half"])


@case
def bad_memory(name):
    """One guest asks for more than there is, one for less than its kernel needs."""
    conf = debian(memory="64G", name="huge") + debian(memory="16M", name="tiny")
    refused(name, conf, ["vmlinuz", "initrd.img"],
            [r"guest huge: cannot start: [^\r\n]*memory", r"guest tiny: cannot start: [^\r\n]*needs \d+ MiB"])


@case
def bad_command_line(name):
    """Unknown and malformed words are reported one by one."""
    words = "loglevel=bogus after=never unmap=sideways flush=maybe frobnicate console=teapot =x after= " + "A" * 300
    refused(name, guest("t1", "exit", autostart="no"), [("exit", guest_elf("exit"))],
            [r"loglevel", r"after=?", r"unmap", r"flush", r"frobnicate", r"console=?.*teapot", r"AAAA"], words)


@case
def bad_command_line_hostile(name):
    """Shell and GRUB metacharacters, quotes, per cent signs and a line of 3000 characters."""
    words = "%s%n%x $root ;reboot 'quote \"double \\back " + "w " * 1500
    refused(name, guest("t1", "exit", autostart="no"), [("exit", guest_elf("exit"))], [r"%s%n%x"], words)

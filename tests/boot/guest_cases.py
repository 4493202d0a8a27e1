# SPDX-License-Identifier: BSD-2-Clause
"""Our own multiboot1 guests: what the loader hands over, how guests end, and the hostile ones."""
import os
import re

from machine import check
from suite import boot, case, debian, guest

ENDED = r"guest {}: ([^\r\n]*)\r?\n"


def end_of(m, name):
    """Waits for the one line that says how the guest ended, and for the prompt after it."""
    m.expect(rf"guest {name}: started\r?\n")
    how = m.expect(ENDED.format(name)).group(1)
    m.prompt()
    return how


def usable(m):
    """The monitor answers, and another guest runs to its end."""
    check("poweroff" in m.monitor("help"), "help lists the commands")
    m.send("start sane\r")
    m.expect(r"guest sane: exited, status 42\r?\n")
    m.prompt()
    check("running" not in m.monitor("list"), "no guest is left running")
    m.poweroff()


def sane():
    return guest("sane", "exit", autostart="no")


def ends_as(name, kernel, want, cmdline="", memory="32M"):
    """Boots one guest, expects this end, then a usable monitor."""
    with boot(name, guest("t1", kernel, cmdline, memory) + sane(), {kernel, "exit"}) as m:
        how = end_of(m, "t1")
        check(re.search(want, how), f"the guest ended with: {how}")
        usable(m)


def goes_on(name, kernel, says, cmdline=""):
    """Boots one guest that never ends; the monitor stays usable and destroys it."""
    with boot(name, guest("t1", kernel, cmdline) + sane(), {kernel, "exit"}) as m:
        m.expect(says)
        m.leave_console()
        check(re.search(r"t1 +running", m.monitor("list")), "list shows it running")
        check("vCPU 0" in m.monitor("info t1"), "info describes its vCPU")
        m.send("destroy t1\r")
        m.expect(r"guest t1: destroyed\r?\n")
        m.prompt()
        usable(m)


@case
def guest_exit_status(name):
    ends_as(name, "exit", r"^exited, status 42$")


@case
def guest_multiboot1_info(name):
    """Command line, memory map and modules reach a multiboot1 kernel."""
    body = bytes(range(256)) * 40 + b"tail"
    checksum = 5381
    for byte in body:
        checksum = (checksum * 33 + byte) & 0xFFFFFFFF
    file = f"build/test/{name}-module"
    os.makedirs("build/test", exist_ok=True)
    with open(file, "wb") as f:
        f.write(body)
    conf = guest("t1", "info", "alpha beta=2 \"c d\"", "48M", more="module = data one two\nmodule = exit\n")
    with boot(name, conf, ["info", ("data", file), "exit"]) as m:
        m.expect(r"magic 2badb002")
        check(m.expect(r"cmdline \[([^\]]*)\]").group(1).endswith('alpha beta=2 "c d"'), "the command line")
        entries = []
        while True:
            line = m.expect(r"(map ([0-9a-f]+):([0-9a-f]+) \+ ([0-9a-f]+):([0-9a-f]+) type (\d+)|module 0)\b")
            if line.group(0) == "module 0":
                break
            numbers = [int(line.group(i), 16) for i in range(2, 6)]
            entries.append((numbers[0] << 32 | numbers[1], numbers[2] << 32 | numbers[3], int(line.group(6))))
        check((0, 0x9FC00, 1) in entries, f"RAM from 0: {entries}")
        check(any(base == 0x100000 and base + size <= 48 << 20 and kind == 1 for base, size, kind in entries),
              f"RAM from 1 MiB to 48 MiB at most: {entries}")
        check(all(base >= end for (base, _, _), end in
                  zip(entries[1:], [base + size for base, size, _ in entries])), f"sorted, apart: {entries}")
        m.expect(rf"\[data one two\] {len(body)} bytes, checksum {checksum:x}, aligned yes")
        m.expect(r"module 1 \[exit\] \d+ bytes")
        m.expect(r"guest t1: exited, status 0\r?\n")


@case
def guest_memory(name):
    ends_as(name, "memory", r"^exited, status 0$", memory="64M")


@case
def guest_memory_over_the_hole(name):
    """More memory than fits below the PCI hole: the rest is above 4 GiB, and all below is good."""
    with boot(name, guest("t1", "info", memory="3200M") + sane(), ["info", "exit"], mem="4G") as m:
        m.expect(r"map 0:100000 \+ 0:bff00000 type 1")
        m.expect(r"map 1:0 \+ 0:8000000 type 1")
        m.expect(r"guest t1: exited, status 0\r?\n")


@case
def guest_triple_fault(name):
    ends_as(name, "triple", r"^killed: triple fault at rip 0x[0-9a-f]+")


@case
def guest_ports(name):
    ends_as(name, "ports", r"^exited, status 0$")


@case
def guest_msrs(name):
    ends_as(name, "msrs", r"^exited, status 0$")


@case
def guest_privileged(name):
    ends_as(name, "privileged", r"^exited, status 0$")


@case
def guest_rings(name):
    """Ring 3 gets no further through an intercept than it would without."""
    ends_as(name, "rings", r"^exited, status 0$")


@case
def guest_events(name):
    """Events delivered through fresh memory, NMIs, shadows, priorities, single steps, breakpoints."""
    ends_as(name, "events", r"^exited, status 0$", memory="64M")


@case
def guest_mmio_forms(name):
    ends_as(name, "mmio", r"^exited, status 0$", "forms")


@case
def guest_mmio_fetch_lapic(name):
    ends_as(name, "mmio", r"^killed: .*(fee00000|MMIO|device)", "fetch-lapic")


@case
def guest_mmio_fetch_hole(name):
    ends_as(name, "mmio", r"^killed: ", "fetch-hole")


@case
def guest_mmio_stack(name):
    ends_as(name, "mmio", r"^killed: ", "stack")


@case
def guest_mmio_gates(name):
    ends_as(name, "mmio", r"^killed: an event went through 0xd0000200", "gates")


@case
def guest_mmio_tables(name):
    ends_as(name, "mmio", r"^killed: its page tables lie at 0xd0000000", "tables")


@case
def guest_storm(name):
    """Timers, interrupts and NMIs as fast as a guest can have them."""
    goes_on(name, "storm", r"storm: going")


@case
def guest_mmio_copy_in(name):
    goes_on(name, "mmio", r"mmio: going", "copy-in")


@case
def guest_mmio_copy_out(name):
    goes_on(name, "mmio", r"mmio: going", "copy-out")


@case
def guest_mmio_copy_within(name):
    goes_on(name, "mmio", r"mmio: going", "copy-within")


@case
def guest_spin(name):
    goes_on(name, "spin", r"spinning with interrupts off")


@case
def guest_halt(name):
    goes_on(name, "spin", r"halting with interrupts off", "halt")


@case
def guest_flood(name):
    goes_on(name, "flood", r"line 500 ")


@case
def guest_single_step(name):
    goes_on(name, "steps", r"steps: going", "s")


@case
def guest_debug_loop(name):
    goes_on(name, "steps", r"steps: going", "d")


@case
def guest_alignment_loop(name):
    goes_on(name, "steps", r"steps: going", "a")


@case
def guest_garbage(name):
    """Random instructions: however it ends, or when it does not, Sluice stays."""
    with boot(name, guest("t1", "garbage") + sane(), ["garbage", "exit"]) as m:
        m.expect(r"ud2 is #UD")
        m.leave_console()
        for _ in range(20):
            m.monitor("mem")
        if "running" in m.monitor("list"):
            m.send("destroy t1\r")
            m.expect(r"guest t1: destroyed\r?\n")
            m.prompt()
        usable(m)


def resets(name, how):
    with boot(name, guest("t1", "reset", how) + sane(), ["reset", "exit"]) as m:
        for _ in range(3):
            m.expect(r"reset: marker 0, by ", never="marker [1-9a-f]")
        m.leave_console()
        m.send("destroy t1\r")
        m.expect(r"guest t1: destroyed\r?\n")
        m.prompt()
        usable(m)


@case
def guest_reset_init(name):
    resets(name, "i")


@case
def guest_reset_cf9(name):
    resets(name, "c")


@case
def guest_reset_keyboard(name):
    resets(name, "k")


@case
def guest_reset_port92(name):
    resets(name, "9")


@case
def guest_hostile_beside_linux(name):
    """A guest that spins with interrupts off does not keep another from its shell."""
    conf = debian() + guest("t1", "spin")
    with boot(name, conf, ["vmlinuz", "initrd.img", "spin"]) as m:
        m.shell()
        check("Linux debian" in m.command("uname -a"), "Linux beside a spinning guest")


@case
def guest_many(name):
    """Ten guests one after the other and at once, each with a status of its own, none left over."""
    conf = "".join(guest(f"g{i}", "exit") for i in range(10))
    with boot(name, conf, ["exit"]) as m:
        for _ in range(10):
            m.expect(r"guest g\d: exited, status 42\r?\n")
        m.prompt()
        table = m.monitor("list")
        check(len(re.findall(r"g\d +stopped .*exited, status 42", table)) == 10, f"all have ended:\n{table}")
        m.poweroff()




@case
def guest_reset_triple_fault(name):
    """With an empty descriptor table a triple fault is a wish to reset, as Linux' reboot=t."""
    resets(name, "t")

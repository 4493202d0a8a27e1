# SPDX-License-Identifier: BSD-2-Clause
"""Several processors, guests with several vCPUs, many guests."""
import re

from machine import check
from suite import boot, case, debian, guest

LINUX = ["vmlinuz", "initrd.img"]
SUM = r"([0-9a-f]{64})  -"


def frames(m):
    """The counts of `mem`, by name."""
    return dict(re.findall(r"^(total|free|reserved|pending) +(\d+) frames", m.monitor("mem"), re.M))


def vcpus(n, **kwargs):
    return debian(**kwargs) + f"vcpus = {n}\n"


def many(word, autostart="no"):
    """tests/guests/many.c with four vCPUs."""
    return guest(word, "many", word, memory="64M", autostart=autostart, more="vcpus = 4\n")


def run(m, name, want):
    """Starts a guest and expects this end."""
    m.send(f"start {name}\r")
    how = m.expect(rf"guest {name}: ((?!started)[^\r\n]*)\r?\n").group(1)
    m.prompt()
    check(re.search(want, how), f"{name} ended with: {how}")


def destroy(m, name):
    m.send(f"destroy {name}\r")
    m.expect(rf"guest {name}: destroyed\r?\n")
    m.prompt()


def running_cpus(m):
    return len(re.findall(r"^ *\d+ +\d+ +running ", m.monitor("cpus"), re.M))


@case
def smp_eight(name):
    """Eight processors run; two guests that compute are at two of them and not at the same."""
    conf = "".join(guest(f"s{i}", "spin", autostart="no") for i in range(2))
    with boot(name, conf, ["spin"], smp="8") as m:
        m.expect(r"cpu: 8 running")
        m.prompt()
        check(running_cpus(m) == 8, "cpus lists eight")
        for i in range(2):
            m.send(f"start s{i}\r")
            m.prompt()
        at = [re.search(r"vCPU 0:.*CPU (\d+)", m.monitor(f"info s{i}")).group(1) for i in range(2)]
        check(at[0] != at[1], f"they run at {at}")
        m.poweroff()


def linux_with_four(name, smp):
    with boot(name, vcpus(4), LINUX, smp=smp) as m:
        m.shell()
        check(m.command("nproc").strip() == "4", "four vCPUs")
        m.send("for i in 1 2 3 4; do (dd if=/dev/zero bs=1M count=8 2>/dev/null | sha256sum) & done; wait\n")
        sums = {m.expect(SUM).group(1) for _ in range(4)}
        check(len(sums) == 1, f"four at a time compute the same: {sums}")
        m.shell()
        online = "/sys/devices/system/cpu/cpu$c/online"
        for _ in range(2):
            check(m.command(f"for c in 1 2 3; do echo 0 >{online}; done; nproc").split()[-1] == "1", "off")
            check(m.command(f"for c in 1 2 3; do echo 1 >{online}; done; nproc").split()[-1] == "4", "on")
        said = m.command("dmesg")
        check(not re.search(r"lockup|stall|hung task", said), "the kernel complains of nothing")
        m.send("reboot\n")
        m.expect(r"guest debian: reset")
        m.shell()
        check(m.command("nproc").strip() == "4", "four again")
        m.send("poweroff\n")
        m.expect(r"guest debian: powered off")
        m.prompt()
        m.poweroff()


@case
def smp_linux(name):
    """Four vCPUs on four processors: load, CPU hot-plug, reboot, power-off."""
    linux_with_four(name, "4")


@case
def smp_linux_one_processor(name):
    """Four vCPUs on one processor."""
    linux_with_four(name, "1")


@case
def smp_guests(name):
    """What several vCPUs can do to each other and to us, and what they cannot."""
    words = ("touch", "again", "die", "exit", "storm", "halt", "init")
    with boot(name, "".join(many(w) for w in words), ["many"], smp="4") as m:
        m.prompt()
        before = frames(m)
        run(m, "touch", r"^exited, status 42$")
        run(m, "again", r"^exited, status 42$")
        for _ in range(5):
            run(m, "die", r"^killed: triple fault at rip 0x")
            run(m, "exit", r"^exited, status 4[1-4]$")
        for word in ("storm", "halt", "init"):
            m.send(f"start {word}\r")
            m.expect(rf"guest {word}: started\r?\n")
            m.prompt()
            run(m, "touch", r"^exited, status 42$")
            destroy(m, word)
        check(frames(m) == before, "every frame is back")
        m.poweroff()


@case
def smp_cycles(name):
    """200 lives that end by themselves, 200 that are ended, beside a guest that computes."""
    conf = guest("beside", "spin") + guest("ex", "exit", autostart="no") + guest("sp", "spin", autostart="no")
    with boot(name, conf, ["spin", "exit"], smp="4") as m:
        m.expect(r"spinning with interrupts off")
        m.leave_console()
        before = frames(m)
        for _ in range(200):
            run(m, "ex", r"^exited, status 42$")
        for _ in range(200):
            m.send("start sp\r")
            m.expect(r"guest sp: started\r?\n")
            m.prompt()
            destroy(m, "sp")
        check(frames(m) == before, "every frame is back")
        m.poweroff()


@case
def smp_many(name):
    """64 guests at a time, each with its own console; pinning; the monitor beside them."""
    conf = "".join(guest(f"s{i}", "spin", "halt" if i % 4 else "", "4M", "no") for i in range(64))
    conf += guest("pin", "spin", autostart="no", more="cpu = 2\n") + guest("no", "spin", autostart="no", more="cpu = 9\n")
    with boot(name, conf, ["spin"], smp="4") as m:
        m.prompt()
        before = frames(m)
        for i in range(64):
            m.send(f"start s{i}\r")
            m.expect(rf"guest s{i}: started\r?\n")
            m.prompt()
        m.send("start pin\r")
        m.prompt()
        check("names none of the CPUs that run" in m.monitor("start no"), "pinned to what is not there")
        check(m.monitor("list").count(" running ") == 65, "all of them run")
        check(re.search(r"vCPU 0:.*CPU 2,", m.monitor("info pin")), "pinned to CPU 2")
        for i in range(0, 64, 7):
            m.send(f"console s{i}\r")
            m.expect("halting with" if i % 4 else "spinning with")
            m.leave_console()
        for i in range(64):
            destroy(m, f"s{i}")
        destroy(m, "pin")
        check(frames(m) == before, "every frame is back")
        m.poweroff()


@case
def smp_two_linux(name):
    """Two kernels, switching between their consoles; the end of one leaves the other alone."""
    conf = vcpus(4) + vcpus(1, name="small", memory="192M")
    with boot(name, conf, LINUX, smp="4") as m:
        m.shell()
        m.leave_console()
        m.send("console small\r")
        m.shell()
        check(m.command("nproc").strip() == "1", "the small one has one vCPU")
        m.send("echo $((6*7)) >/tmp/x; sleep 2; cat /tmp/x\n")
        m.leave_console()
        m.send("console debian\r\n")
        m.shell()
        check(m.command("nproc").strip() == "4", "the other one four")
        m.leave_console()
        m.send("console small\r")
        m.expect(r"\n42\r")
        m.leave_console()
        destroy(m, "small")
        m.send("console debian\r\n")
        m.shell()
        check("Linux" in m.command("uname"), "debian does not care")
        m.leave_console()
        m.send("start small\r")
        m.prompt()
        m.send("console small\r")
        m.shell()
        m.leave_console()
        m.poweroff()

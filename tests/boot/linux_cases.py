# SPDX-License-Identifier: BSD-2-Clause
"""A stock Linux kernel as a guest, from GRUB to its shell and back."""
import hashlib
import re
import time

from machine import check
from suite import INITRD, STANDARD_KERNEL, boot, case, debian, linux

DEATH = r"(?:guest debian: (?!started)|Kernel panic|panic:)[^\r\n]*\r?\n"


def whole_story(m):
    """What a person does: uname, Ctrl-], list, reset, again a shell, poweroff, poweroff."""
    m.expect(m.SHELL, never=DEATH)
    check("Linux debian" in m.command("uname -a"), "uname -a in the guest")
    m.leave_console()
    table = m.monitor("list")
    check(re.search(r"debian +running +1 +512M", table), f"list shows the guest:\n{table}")
    m.monitor("reset debian")
    m.send("console debian\r")
    m.shell()
    check("Linux debian" in m.command("uname -a"), "uname -a after the reset")
    m.send("poweroff\n")
    m.expect(r"guest debian: powered off\r?\n")
    m.prompt()
    table = m.monitor("list")
    check(re.search(r"debian +stopped .*powered off", table), f"list shows how it ended:\n{table}")
    m.poweroff()


@case
def linux_bios(name):
    with linux(name) as m:
        whole_story(m)


@case
def linux_uefi(name):
    with linux(name, firmware="uefi") as m:
        whole_story(m)


@case
def linux_stick(name):
    with linux(name, media="usb") as m:
        m.expect(m.SHELL, never=DEATH)


@case
def linux_stick_uefi(name):
    with linux(name, media="usb", firmware="uefi") as m:
        m.expect(m.SHELL, never=DEATH)


@case
def linux_start_again(name):
    """A guest that has ended can be started again, a destroyed one too; memory does not leak."""
    with linux(name) as m:
        m.shell()
        m.send("poweroff\n")
        m.expect(r"guest debian: powered off\r?\n")
        m.prompt()
        free = [re.search(r"free +(\d+) frames", m.monitor("mem")).group(1)]
        for _ in range(2):
            check("guest debian: started" in m.monitor("start debian"), "start")
            m.send("console debian\r")
            m.shell()
            m.leave_console()
            m.send("destroy debian\r")
            m.expect(r"guest debian: destroyed\r?\n")
            m.prompt()
            free.append(re.search(r"free +(\d+) frames", m.monitor("mem")).group(1))
        check(len(set(free)) == 1, f"free frames after each end: {free}")
        m.poweroff()


@case
def linux_echo(name):
    """Keys come back as they are typed; editing, job control and Ctrl-C work; a paste arrives whole."""
    with linux(name) as m:
        m.shell()
        m.send("echo intera")
        m.expect(r"echo intera")
        m.send("ctivX\x7fe\n")
        m.expect(r"\ninteractive\r?\n")
        m.shell()
        m.send("sleep 100000\n")
        m.expect(r"sleep 100000\r?\n")
        time.sleep(1)
        m.send("\x03")
        m.shell()
        check("0" == m.command("sleep 50000 & kill %1; echo $?").strip().splitlines()[-1], "job control")
        paste = "".join(f"line {i} of a long paste\n" for i in range(150))
        m.send("cat >/tmp/paste <<'EOT'\n" + paste + "EOT\n")
        m.shell()
        m.send("\n")
        m.shell()
        check(hashlib.md5(paste.encode()).hexdigest() in m.command("md5sum /tmp/paste"), "a paste arrives whole")


@case
def linux_checksum(name):
    """10 MB through dd and two digests, compared with ours."""
    data = b"".join(b"%07d\n" % i for i in range(1310720))  # 10 MiB
    with linux(name) as m:
        m.shell()
        m.command("awk 'BEGIN { for (i = 0; i < 1310720; i++) printf \"%07d\\n\", i }' >/tmp/data")
        out = m.command("dd if=/tmp/data bs=64k 2>/dev/null | sha256sum")
        check(hashlib.sha256(data).hexdigest() in out, f"sha256sum says {out}")
        out = m.command("dd if=/tmp/data bs=1M 2>/dev/null | md5sum")
        check(hashlib.md5(data).hexdigest() in out, f"md5sum says {out}")


@case
def linux_clock(name):
    """The date is the machine's; it goes on by 5 s over a sleep of 5 s, and not faster than real time."""
    with linux(name) as m:
        m.shell()
        now = int(m.command("date +%s").split()[0])
        check(abs(now - time.time()) < 3600, f"the guest's date is {now}, ours {time.time():.0f}")
        started = time.monotonic()
        out = m.command("date +%s; sleep 5; date +%s; cat /proc/uptime").split()
        took = time.monotonic() - started
        check(int(out[1]) - int(out[0]) in (5, 6), f"sleep 5 took {int(out[1]) - int(out[0])} s by date")
        check(took >= 4.9, f"sleep 5 took {took:.1f} s of ours: the guest's clock is too fast")
        source = m.command("cat /sys/devices/system/clocksource/clocksource0/current_clocksource").strip()
        check(source in ("kvm-clock", "tsc"), f"clock source is {source}")


@case
def linux_reboot(name):
    with linux(name) as m:
        for _ in range(2):
            m.shell()
            m.command("echo left >/tmp/behind")
            m.send("reboot\n")
            m.expect(r"Linux version")
        m.shell()
        check("No such file" in m.command("cat /tmp/behind"), "memory is empty after a reboot")
        m.leave_console()
        table = m.monitor("list")
        check(re.search(r"debian +running", table), f"it runs on:\n{table}")


@case
def linux_standard_kernel(name):
    conf = debian().replace("vmlinuz", "vmlinuz-standard")
    with boot(name, conf, [("vmlinuz-standard", STANDARD_KERNEL), ("initrd.img", INITRD)]) as m:
        m.expect(m.SHELL, never=DEATH)
        check(re.search(r"Linux debian .*-\d+-amd64", m.command("uname -a")), "uname names the standard kernel")
        m.send("poweroff\n")
        m.expect(r"guest debian: powered off\r?\n")


def variant(name, extra, probe, want):
    with linux(name, extra) as m:
        m.expect(m.SHELL, never=DEATH)
        out = m.command(probe)
        check(re.search(want, out), f"{probe}: {out}")
        m.command("sleep 1")
        m.send("poweroff\n")
        m.expect(r"guest debian: powered off\r?\n")


@case
def linux_nox2apic(name):
    variant(name, "nox2apic", "dmesg | grep -ci x2apic; grep -c . /proc/interrupts", r"\d")


@case
def linux_no_kvmclock(name):
    variant(name, "no-kvmclock", "cat /sys/devices/system/clocksource/clocksource0/current_clocksource",
            r"tsc|acpi_pm|refined-jiffies|jiffies")


@case
def linux_noapic(name):
    """Without I/O APIC: interrupts through the 8259 pair."""
    variant(name, "noapic", "cat /proc/interrupts", r"XT-PIC")


@case
def linux_interrupts(name):
    """The kernel finds the interrupt controllers, and no driver complains about its device."""
    with linux(name) as m:
        m.shell()
        out = m.command("cat /proc/interrupts")
        check(re.search(r"IO-APIC .*ttyS0", out), f"the UART's interrupt goes through the I/O APIC:\n{out}")
        check(re.search(r"LOC: +[1-9]", out), f"the local APIC's timer ticks:\n{out}")
        log = m.command("dmesg")
        for trouble in (r"BUG:", r"WARNING:", r"Call Trace", r"ACPI.*[Ee]rror", r"unchecked MSR", r"nobody cared",
                        r"lockup", r"APIC error", r"Machine check"):
            check(not re.search(trouble, log), f"the guest's kernel log has {trouble!r}")


@case
def linux_extra_vector_state(name):
    """AVX and AVX-512 state survives what the hypervisor does meanwhile: several busy digests agree."""
    with linux(name) as m:
        m.shell()
        check("avx" in m.command("grep -m1 -o -w avx /proc/cpuinfo"), "the guest has AVX")
        out = m.command("for i in 1 2 3 4 5 6; do head -c 3000000 /dev/zero | sha256sum & done; wait")
        sums = re.findall(r"[0-9a-f]{64}", out)
        check(len(sums) == 6 and set(sums) == {hashlib.sha256(bytes(3000000)).hexdigest()}, f"digests: {sums}")


@case
def two_guests(name):
    """Two guests side by side: neither's output is mixed with the other's; each ends by itself."""
    conf = debian() + debian(name="other", extra="hostname=other", memory="256M")
    with boot(name, conf, ("vmlinuz", "initrd.img")) as m:
        m.shell()
        check("other" not in m.command("cat /proc/cmdline"), "the first guest is in front")
        m.leave_console()
        table = m.monitor("list")
        check(re.search(r"debian +running", table) and re.search(r"other +running", table), f"both run:\n{table}")
        m.send("console other\r")
        m.expect(r"other:[^\s#]*# ")
        m.send("poweroff\n")
        m.expect(r"guest other: powered off\r?\n")
        m.prompt()
        m.send("console debian\r")
        m.send("\n")
        m.shell()
        check("Linux debian" in m.command("uname -a"), "the first guest still runs")


@case
def after_poweroff(name):
    with linux(name, cmdline="after=poweroff") as m:
        m.shell()
        m.send("poweroff\n")
        m.expect(r"guest debian: powered off\r?\n")
        m.ends()


@case
def after_reboot(name):
    with linux(name, cmdline="after=reboot") as m:
        m.shell()
        m.send("poweroff\n")
        m.expect(r"guest debian: powered off\r?\n")
        m.expect(m.SHELL)



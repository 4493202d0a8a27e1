# SPDX-License-Identifier: BSD-2-Clause
"""The boot tests' registry, and the ISOs that they boot."""
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "tools"))
import mkiso  # noqa: E402

from machine import Failure, Machine  # noqa: E402

ELF = "build/x86_64/sluice.elf"
KERNEL = "build/guest/vmlinuz"
STANDARD_KERNEL = "build/guest/vmlinuz-standard"
INITRD = "build/guest/initrd.img"

CASES = {}  # name -> function
_lock = threading.Lock()


class Skip(Exception):
    """The test cannot run here; the text says why."""


def case(fn):
    """Registers a test; its name is the function's, with dashes."""
    CASES[fn.__name__.replace("_", "-")] = fn
    return fn


def guest_elf(name):
    return f"build/guests/{name}.elf"


def debian(extra="", memory="512M", autostart="yes", name="debian"):
    return (f"[guest {name}]\nkernel = vmlinuz\ninitrd = initrd.img\n"
            f"cmdline = console=ttyS0 {extra}\nmemory = {memory}\nautostart = {autostart}\n")


def guest(name, kernel, cmdline="", memory="32M", autostart="yes", more=""):
    return (f"[guest {name}]\nkernel = {kernel}\ncmdline = {cmdline}\nmemory = {memory}\n"
            f"devices = debug-exit\nautostart = {autostart}\n{more}")


def iso(name, conf, modules=(), cmdline=""):
    """An ISO for one test: guests file text (None: no such module), modules as name or (name, file)."""
    folder = os.path.join("build", "test", name)
    os.makedirs(folder, exist_ok=True)
    known = {"vmlinuz": KERNEL, "initrd.img": INITRD}
    files = []
    if conf is not None:
        path = os.path.join(folder, "guests.conf")
        with open(path, "w", encoding="latin-1") as f:
            f.write(conf)
        files.append(("guests.conf", path))
    for module in modules:
        if isinstance(module, str):
            module = (module, known.get(module) or guest_elf(module))
        files.append(module)
    out = os.path.join(folder, "sluice.iso")
    mkiso.make_iso(out, ELF, files, cmdline)
    return out


def boot(name, conf, modules=(), cmdline="", **kwargs):
    return Machine(name, iso(name, conf, modules, cmdline), **kwargs)


def linux(name, extra="", cmdline="", **kwargs):
    """A machine with the Debian guest."""
    return boot(name, debian(extra), ("vmlinuz", "initrd.img"), cmdline, **kwargs)


__all__ = ["CASES", "Failure", "Machine", "Skip", "boot", "case", "debian", "guest", "guest_elf", "iso", "linux",
           "ELF", "INITRD", "KERNEL", "STANDARD_KERNEL"]

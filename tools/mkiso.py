#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Makes the ISO: GRUB for BIOS and UEFI, the hypervisor, the guests file and all it names.

    tools/mkiso.py --elf sluice.elf --conf GUESTS_FILE --out sluice.iso [--cmdline WORDS]

Paths in the guests file are relative to it. Each becomes a boot module whose name is the path as it
stands in the file; the guests file itself is the module guests.conf. The ISO starts from a CD, a
disk or a stick.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

GRUB_CFG = """\
# Written by tools/mkiso.py
set timeout=0
insmod all_video
if serial --unit=0 --speed=115200; then
    terminal_input --append serial
    terminal_output --append serial
fi
menuentry "Sluice" {{
    multiboot2 /boot/sluice.elf {cmdline}
{modules}}}
"""


class Mistake(Exception):
    """Something the user can mend; the text is the whole message."""


def value_of(text):
    """A value of the guests file without its comment and quotes (the rules are in vm/conf.h)."""
    text = text.strip()
    if text.startswith('"'):
        quoted = re.match(r'"((?:\\["\\]|[^"])*)"', text)
        return re.sub(r'\\(["\\])', r"\1", quoted.group(1)) if quoted else text
    return re.sub(r"(^|[ \t])[;#].*$", "", text).strip()


def named_files(path):
    """Yields (name, line) for each image that the guests file names, in order, once."""
    seen = set()
    with open(path, encoding="utf-8", errors="surrogateescape") as f:
        for line, text in enumerate(f, 1):
            key, equals, value = text.partition("=")
            if not equals or key.strip() not in ("kernel", "initrd", "module"):
                continue
            words = value_of(value).split()
            if words and words[0] not in seen:
                seen.add(words[0])
                yield words[0], line


def modules_of(path):
    """The ISO's modules as (name, file): the guests file first. Raises Mistake: file:line: what."""
    modules = [("guests.conf", path)]
    problems = []
    for name, line in named_files(path):
        file = os.path.join(os.path.dirname(path), name)
        if os.path.isfile(file) and os.access(file, os.R_OK):
            modules.append((name, file))
        else:
            problems.append(f"{path}:{line}: {name}: no such file (looked for {file})")
    if problems:
        raise Mistake("\n".join(problems))
    return modules


def grub_quote(text):
    """Words for GRUB's script language, each quoted, so that nothing in them is special."""
    return " ".join("'" + word.replace("'", "'\\''") + "'" for word in text.split())


def make_iso(out, elf, modules, cmdline=""):
    """modules: (name, file) pairs. GRUB loads a module whose file is missing as nothing at all."""
    with tempfile.TemporaryDirectory(prefix="sluice-iso-") as root:
        os.makedirs(f"{root}/boot/grub")
        os.makedirs(f"{root}/boot/mods")
        shutil.copy(elf, f"{root}/boot/sluice.elf")
        lines = ""
        for number, (name, file) in enumerate(modules):
            # --nounzip: GRUB would otherwise hand over an unpacked initrd.
            lines += f"    module2 --nounzip /boot/mods/{number} {grub_quote(name)}\n"
            if file is not None:
                shutil.copy(file, f"{root}/boot/mods/{number}")
        with open(f"{root}/boot/grub/grub.cfg", "w", encoding="utf-8", errors="surrogateescape") as f:
            f.write(GRUB_CFG.format(cmdline=grub_quote(cmdline), modules=lines))
        os.makedirs(os.path.dirname(out) or ".", exist_ok=True)
        done = subprocess.run(["grub-mkrescue", "--locales=", "--fonts=", "--themes=", "-o", out + ".part", root,
                               "--", "-volid", "SLUICE"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            raise Mistake(f"grub-mkrescue failed:\n{done.stdout}")
        os.replace(out + ".part", out)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--elf", required=True)
    parser.add_argument("--conf", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--cmdline", default="")
    args = parser.parse_args()
    try:
        if not os.path.isfile(args.conf):
            raise Mistake(f"{args.conf}: no such guests file")
        modules = modules_of(args.conf)
        make_iso(args.out, args.elf, modules, args.cmdline)
    except Mistake as mistake:
        sys.exit(str(mistake))
    size = os.path.getsize(args.out) / (1 << 20)
    print(f"  {'ISO':<7} {args.out} ({size:.0f} MiB): " + ", ".join(name for name, _ in modules))


if __name__ == "__main__":
    main()

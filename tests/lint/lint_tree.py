#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Rules of the tree that no compiler knows: layers, includes, where hardware may be touched, length.

Speaks TAP: one check for each rule, its offences as comments.
"""
import os
import re
import subprocess
import sys

LINES_MAX = 80
LICENSE = "SPDX-License-Identifier: BSD-2-Clause"

# Which folders a folder's files may include from, besides itself.
CORE = ["lib", "mm", "tlbi", "stage2"]
MAY_INCLUDE = {
    "lib": [],
    "mm": ["lib"],
    "tlbi": ["lib", "mm"],
    "stage2": ["lib", "mm", "tlbi"],
    "vm": CORE,
    "arch/x86": CORE + ["vm", "boot"],
    "boot": CORE + ["vm", "arch/x86"],
}
# The C library's headers that lib/ falls back on in hosted builds, under __STDC_HOSTED__.
HOSTED = {("lib/errno.h", "errno.h"), ("lib/format.h", "stdio.h"), ("lib/string.h", "string.h")}
# Interfaces to the hardware below, open to the layers named.
HARDWARE = {"arch/hw.h": None, "arch/machine.h": ("vm", "arch/x86", "boot"), "arch/vcpu.h": ("vm", "arch/x86", "boot")}


class Tap:
    def __init__(self):
        self.count = 0
        self.failed = False

    def ok(self, name, offences):
        self.count += 1
        offences = list(offences)
        print(f"{'not ' if offences else ''}ok {self.count} - {name}")
        for offence in offences:
            print(f"# {offence}")
        self.failed |= bool(offences)

    def done(self):
        print(f"1..{self.count}")
        sys.exit(1 if self.failed else 0)


def tracked():
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], stdout=subprocess.PIPE, text=True, check=True)
    return [f for f in listed.stdout.splitlines() if os.path.isfile(f)]


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def is_template(path):
    """A header that is included once for each format, behind its definitions, says so at its top."""
    return "template" in "\n".join(read(path).splitlines()[:6])


def blank_comments(text):
    """The text with comments and string contents blanked out, lines kept."""
    def blank(match):
        token = match.group(0)
        if token[0] == '"':
            return '"' + " " * (len(token) - 2) + '"'
        return re.sub(r"[^\n]", " ", token)
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.S)


def layer(path):
    folder = os.path.dirname(path)
    for name in ("arch/x86", "lib", "mm", "tlbi", "stage2", "vm", "boot"):
        if folder == name or folder.startswith(name + "/"):
            return name
    return None


def includes(path):
    for number, line in enumerate(read(path).splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if match:
            yield number, match.group(1), match.group(2)


def layers(sources):
    for path in sources:
        here = layer(path)
        for number, mark, target in includes(path):
            where = f"{path}:{number}: includes {target}"
            if mark == "<":
                if (path, target) not in HOSTED and target not in ("stdint.h", "stddef.h", "stdbool.h", "stdarg.h", "stdatomic.h", "limits.h"):
                    yield where + ": no C library here"
                continue
            if target in HARDWARE:
                if HARDWARE[target] is not None and here is not None and here not in HARDWARE[target]:
                    yield where + ": not open to this layer"
                continue
            if "/" not in target:
                if not target.endswith(".hex"):
                    yield where + ": write it from the root of the tree"
                continue
            there = layer(target)
            if here is None:  # arch/*.h
                if there not in CORE:
                    yield where + ": arch/ stands beside the core"
            elif there != here and there not in MAY_INCLUDE[here]:
                yield where + f": {here} may include {', '.join(MAY_INCLUDE[here]) or 'nothing'}"


def cycles(sources):
    graph = {path: [t for _, _, t in includes(path)] for path in sources if path.endswith(".h")}
    state = {}

    def visit(path, trail):
        state[path] = "open"
        for target in graph[path]:
            if target not in graph:
                continue
            if state.get(target) == "open":
                yield " -> ".join(trail[trail.index(target):] + [target])
            elif target not in state:
                yield from visit(target, trail + [target])
        state[path] = "done"

    for path in graph:
        if path not in state:
            yield from visit(path, [path])


def matches(sources, pattern, why, allowed=lambda path: False):
    for path in sources:
        if allowed(path):
            continue
        for number, line in enumerate(blank_comments(read(path)).splitlines(), 1):
            if re.search(pattern, line):
                yield f"{path}:{number}: {why}: {line.strip()}"


def hardware_side(path):
    return path.startswith(("arch/", "boot/"))


def architecture_conditionals(sources):
    pattern = r"^\s*#\s*(if|elif|ifdef|ifndef)\b.*(__x86_64__|__i386__|__aarch64__|__arm__|__amd64__|_M_X64|CONFIG_X86|CONFIG_ARM)"
    return matches(sources, pattern, "architecture #if", hardware_side)


def lengths(sources):
    for path in sources:
        start, name = None, ""
        for number, line in enumerate(blank_comments(read(path)).splitlines(), 1):
            if re.match(r"[A-Za-z_].*\(", line):
                name = line
            if line.startswith("{"):
                start = number
            elif line.startswith("}") and start:
                if number - start - 1 > LINES_MAX:
                    yield f"{path}:{start}: {number - start - 1} lines: {name.strip()}"
                start = None


def guards(sources):
    for path in sources:
        if not path.endswith(".h") or is_template(path):
            continue
        want = "SLUICE_" + re.sub(r"[^A-Za-z0-9]", "_", path).upper()
        if f"#ifndef {want}\n#define {want}\n" not in read(path):
            yield f"{path}: include guard {want}"


def licences(files):
    for path in files:
        if path.endswith((".c", ".h", ".asm", ".asl", ".ld", ".py", ".sh")) and LICENSE not in "\n".join(read(path).splitlines()[:3]):
            yield path


def format_problems(files):
    done = subprocess.run(["clang-format", "--dry-run", "--ferror-limit=1", *files], stderr=subprocess.PIPE, text=True, check=False)
    for line in done.stderr.splitlines():
        if "warning:" in line or "error:" in line:
            yield line


def main():
    files = tracked()
    c_files = [f for f in files if f.endswith((".c", ".h"))]
    project = [f for f in c_files if not f.startswith("tests/")]
    plain = [f for f in project if not hardware_side(f)]
    tap = Tap()
    tap.ok("layers: includes point down, from the root", layers(project))
    tap.ok("no include cycles", cycles(project))
    tap.ok("no inline assembly outside arch/ and boot/", matches(plain, r"\b(__)?asm(__)?\b", "inline assembly"))
    tap.ok("no volatile outside arch/ and boot/", matches(plain, r"\bvolatile\b", "volatile", lambda p: p == "lib/atomic.h"))
    tap.ok("no architecture #if outside arch/ and boot/", architecture_conditionals(plain))
    tap.ok("no atomics but those of lib/atomic.h",
           matches(project, r"\b_Atomic\b|\batomic_\w+_explicit\b|\b__atomic_\w+|\b__sync_\w+|stdatomic\.h", "bare atomic",
                   lambda p: p == "lib/atomic.h"))
    tap.ok("one name for each include guard", guards(project))
    tap.ok(f"no function over {LINES_MAX} lines", lengths(c_files))
    tap.ok("every source names its licence", licences(files))
    tap.ok("clang-format leaves every file as it is", format_problems(c_files))
    tap.ok("no trailing blanks, tabs only where they belong",
           (f"{f}: trailing blank" for f in files if f.endswith((".c", ".h", ".asm", ".py", ".md", ".sh"))
            and re.search(r"[ \t]+$", read(f), re.M)))
    tap.done()


if __name__ == "__main__":
    main()

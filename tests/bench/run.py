#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What `make bench` ends in: a table on the terminal, build/bench.json for machines.

    tests/bench/run.py BENCH-CORE [--no-live]

Instructions of the core are counted by valgrind's callgrind, those of exits by QEMU's instruction
clock (tests/bench/live.py): both repeat exactly for one build.
"""
import argparse
import glob
import json
import os
import re
import subprocess
import sys
import tempfile

import live

FORMATS = ["npt", "ept", "vmsav8"]
POLICIES = re.compile("unmap-(sync|defer|by|no)")


def core(program, which):
    """Figures of one format: dicts with instructions, entries, commands, barriers, kicks."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "cg")
        subprocess.run(["valgrind", "-q", "--tool=callgrind", "--collect-atstart=no",
                        f"--callgrind-out-file={out}", program, which], check=True, stderr=subprocess.DEVNULL)
        dumps = sorted(glob.glob(out + ".*"), key=lambda path: int(path.rsplit(".", 1)[1]))
        for path in dumps:
            with open(path, encoding="ascii") as f:
                text = f.read()
            trigger = re.search(r"^desc: Trigger: Client Request: (.+)$", text, re.M)
            if not trigger:
                continue
            page, what, *numbers = trigger.group(1).split()[-6:]  # before: the format's full name
            entries, commands, barriers, kicks = map(int, numbers)
            total = int(re.search(r"^totals: (\d+)", text, re.M).group(1))
            yield {"format": which, "page": page, "operation": what, "entries": entries, "instructions": total,
                   "per_entry": round(total / entries, 1), "commands": commands, "barriers": barriers, "kicks": kicks}


def table(rows, head):
    widths = [max(len(str(row[i])) for row in rows + [head]) for i in range(len(head))]
    for row in [head] + rows:
        print("  " + "  ".join(str(cell).ljust(width) if i == 0 else str(cell).rjust(width)
                               for i, (cell, width) in enumerate(zip(row, widths))))


def show_core(figures):
    names = list(dict.fromkeys(f["format"] for f in figures))
    kinds = list(dict.fromkeys((f["operation"], f["page"]) for f in figures if not POLICIES.match(f["operation"])))
    value = {(f["format"], f["operation"], f["page"]): f["per_entry"] for f in figures}
    print("Instructions per entry, 1 GiB (re-entry: per entry of an undisturbed vCPU)")
    table([[f"{what} {page}"] + [value.get((n, what, page), "") for n in names] for what, page in kinds],
          ["operation"] + names)
    print("\nUnmapping 1 GiB of 4K pages with a vCPU in the guest")
    table([[f"{f['format']} {f['operation']}", f["per_entry"], f["commands"], f["barriers"], f["kicks"]]
           for f in figures if POLICIES.match(f["operation"])],
          ["policy", "instructions/page", "TLB commands", "barriers", "kicks"])


def show_exits(exits):
    kinds = list(dict.fromkeys(kind for kind, _ in exits if not kind.endswith("-first")))
    print("\nInstructions per exit, guest's own included (QEMU: no next-RIP save, lengths are decoded)")
    table([[k] + [exits.get((name, paging), "") for paging in ("unpaged", "paged") for name in (k + "-first", k)]
           for k in kinds], ["exit", "first", "then", "first, 4 levels", "then"])


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("program")
    parser.add_argument("--no-live", action="store_true")
    args = parser.parse_args()

    figures = [f for which in FORMATS for f in core(args.program, which)]
    if not figures:
        sys.exit("bench: valgrind gave no figures")
    show_core(figures)
    result = {"core": figures}
    if not args.no_live:
        exits = live.exits()
        show_exits(exits)
        result["exits"] = [{"exit": k, "paging": p, "instructions": n} for (k, p), n in exits.items()]
    with open("build/bench.json", "w", encoding="ascii") as f:
        json.dump(result, f, indent=1)
    print("\nAll of it: build/bench.json")


if __name__ == "__main__":
    main()

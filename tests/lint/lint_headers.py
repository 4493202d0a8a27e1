#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Each header compiles alone, and twice in a row. Speaks TAP: one check for each folder."""
import collections
import glob
import os
import subprocess
import sys

from lint_tree import is_template

FLAGS = ["-std=c11", "-ffreestanding", "-nostdinc", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function",
         "-I.", "-Ibuild/gen", "-m64", "-mcmodel=kernel", "-mno-red-zone", "-mgeneral-regs-only", "-fno-pic", "-fsyntax-only",
         "-x", "c", "-"]


def main():
    own = subprocess.run(["gcc", "-print-file-name=include"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    headers = collections.defaultdict(list)
    for pattern in ("lib", "mm", "tlbi", "stage2", "vm", "vm/*", "arch", "arch/*", "boot", "boot/*"):
        for path in glob.glob(f"{pattern}/*.h"):
            headers[os.path.dirname(path)].append(path)
    failed = False
    for count, (folder, paths) in enumerate(sorted(headers.items()), 1):
        problems = ""
        for path in sorted(p for p in set(paths) if not is_template(p)):
            done = subprocess.run(["gcc", "-isystem", own, *FLAGS], input=f'#include "{path}"\n#include "{path}"\n', text=True,
                                  stderr=subprocess.PIPE, check=False)
            problems += done.stderr
        print(f"{'not ' if problems else ''}ok {count} - headers of {folder} stand alone")
        for line in problems.splitlines():
            print(f"# {line}")
        failed |= bool(problems)
    print(f"1..{len(headers)}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Static analysis: clang-tidy (.clang-tidy says which checks, and why not others) and cppcheck.

Speaks TAP: one check for each folder and one for cppcheck.
"""
import glob
import os
import re
import subprocess
import sys

FOLDERS = ["lib", "mm", "tlbi", "stage2", "vm", "vm/dev", "vm/load", "vm/x86", "arch/x86", "boot"]
FLAGS = ["-std=c11", "-ffreestanding", "-m64", "-mcmodel=kernel", "-mgeneral-regs-only", "-I.", "-Ibuild/gen"]
# comparePointers: symbols of the linker script bracket one object, which cppcheck cannot know.
CPPCHECK = ["cppcheck", "--quiet", "--std=c11", "--language=c", "--platform=unix64", "-I.", "-Ibuild/gen",
            "--enable=warning,performance,portability", "--suppress=missingIncludeSystem",
            "--suppress=comparePointers", "-D__STDC_HOSTED__=0", "--error-exitcode=2"]


def report(count, name, problems):
    print(f"{'not ' if problems else ''}ok {count} - {name}", flush=True)
    for problem in problems:
        print(f"# {problem}")
    return bool(problems)


def tidy(path):
    done = subprocess.run(["clang-tidy", "--quiet", path, "--", *FLAGS], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=False)
    problems = [line for line in done.stdout.splitlines() if re.search(r": (error|warning):", line)]
    if done.returncode != 0 and not problems:
        problems = [f"{path}: clang-tidy ended with status {done.returncode}", *done.stderr.splitlines()[-5:]]
    return problems


def main():
    failed = False
    count = 0
    for folder in FOLDERS:
        paths = sorted(glob.glob(f"{folder}/*.c"))
        if not paths:
            continue
        count += 1
        problems = sorted({p for path in paths for p in tidy(path)})
        failed |= report(count, f"clang-tidy {folder}", [p.replace(os.getcwd() + "/", "") for p in problems])
    done = subprocess.run([*CPPCHECK, "lib", "mm", "tlbi", "stage2", "vm", "arch", "boot"], stderr=subprocess.PIPE, text=True,
                          check=False)
    failed |= report(count + 1, "cppcheck", done.stderr.splitlines() if done.returncode != 0 else [])
    print(f"1..{count + 1}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

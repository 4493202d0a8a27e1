#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Runs the tests that make has built, and counts.

    tests/run.py [--lint] [--unit PROGRAM...] [--fuzz PROGRAM...] [--bad ARGUMENTS] [--boot] [--only NAME]

The last line is `N passed, N failed, N skipped`. A failure shows the end of its log; the whole of it is
in build/test/.
"""
import argparse
import concurrent.futures
import glob
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOGS = os.path.join("build", "test")
JOBS = min(2, os.cpu_count() or 1)
FUZZ_SECONDS = 4
UNIT_TIMEOUT = 900
BAD_TIMEOUT = 7200
TAP = re.compile(r"(not )?ok\b *\d* *-? *([^#]*)(?:# *(SKIP|TODO)\b *(.*))?")


class Counts:
    """What happened so far; the lines are printed as tests end."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.lock = threading.Lock()

    def report(self, name, passed=0, failures=(), skips=(), seconds=None, log=None):
        with self.lock:
            self.passed += passed
            self.failed += len(failures)
            self.skipped += len(skips)
            took = f" ({seconds:.0f} s)" if seconds is not None and seconds >= 1 else ""
            count = f" {passed} passed" if passed != 1 or failures or skips else ""
            print(f"{'FAIL' if failures else 'skip' if skips and not passed else 'ok  '} {name}{':' if count else ''}{count}{took}")
            for skipped in skips:
                print(f"     skipped: {skipped}")
            for failure in failures:
                print(f"     failed: {failure}")
            if failures and log and os.path.exists(log):
                print(f"     --- the end of {log}:")
                print("\n".join("     | " + line for line in tail(log)))
            sys.stdout.flush()


def tail(path, lines=25):
    with open(path, "rb") as f:
        text = f.read().decode("latin-1").replace("\r", "")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    text = "".join(c if c == "\n" or c.isprintable() else "." for c in text)
    return text.splitlines()[-lines:]


def run_tap(counts, name, command, timeout=UNIT_TIMEOUT):
    """A program that speaks TAP: each of its checks counts."""
    started = time.monotonic()
    log = os.path.join(LOGS, name.replace("/", "-") + ".log")
    status = None
    with open(log, "wb") as out:
        try:
            status = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, timeout=timeout, check=False).returncode
        except subprocess.TimeoutExpired:
            pass
    passed, failures, skips, plan = 0, [], [], None
    with open(log, encoding="utf-8", errors="replace") as f:
        for line in f:
            if re.match(r"1\.\.\d+", line):
                plan = int(re.match(r"1\.\.(\d+)", line).group(1))
            match = TAP.match(line)
            if not match:
                continue
            if match.group(3) == "SKIP":
                skips.append(f"{match.group(2).strip()}: {match.group(4).strip() or 'no reason given'}")
            elif match.group(1):
                failures.append(match.group(2).strip())
            else:
                passed += 1
    if status is None:
        failures.append(f"still running after {timeout} s")
    elif plan is None or plan != passed + len(failures) + len(skips):
        failures.append(f"ended early, status {status}: plan {plan}, {passed + len(failures) + len(skips)} checks")
    elif status != 0 and not failures:
        failures.append(f"all checks passed, yet the exit status is {status}")
    if plan == 0:
        failures.append("no check ran")
    counts.report(name, passed, failures, skips, time.monotonic() - started, log)


def run_fuzz(counts, program):
    """A few seconds of a fuzzer, from its seeds; any crash, leak or hang is a failure."""
    name = os.path.basename(program)
    started = time.monotonic()
    log = os.path.join(LOGS, name + ".log")
    corpus = os.path.join("build", "fuzz", "corpus", name)
    seeds = os.path.join("build", "fuzz", "seeds", name)
    os.makedirs(corpus, exist_ok=True)
    command = [program, f"-max_total_time={FUZZ_SECONDS}", "-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1",
               f"-artifact_prefix={LOGS}/{name}-", corpus] + ([seeds] if os.path.isdir(seeds) else [])
    with open(log, "wb") as out:
        status = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, check=False).returncode
    with open(log, encoding="utf-8", errors="replace") as f:
        executed = re.search(r"number_of_executed_units: (\d+)", f.read())
    failures = []
    if status != 0:
        failures.append(f"status {status}; the input is in {LOGS}/{name}-*")
    elif not executed or int(executed.group(1)) == 0:
        failures.append("executed nothing")
    counts.report(name, 0 if failures else 1, failures, seconds=time.monotonic() - started, log=log)


def run_boot(counts, name, function, failure, skip):
    started = time.monotonic()
    log = os.path.join(LOGS, name + ".log")
    failures, skips = [], []
    try:
        function(name)
    except failure as error:
        failures.append(str(error))
    except skip as error:
        skips.append(f"{name}: {error}")
    except Exception:  # a mistake in the test itself
        failures.append(traceback.format_exc())
    counts.report(name, 0 if failures or skips else 1, failures, skips, time.monotonic() - started, log)
    if not failures:
        shutil.rmtree(os.path.join(LOGS, name), ignore_errors=True)  # its ISO


def boot_cases():
    sys.path.insert(0, os.path.join(ROOT, "tests", "boot"))
    import suite
    import guest_cases, linux_cases, machine_cases, smp_cases  # noqa: E401,F401  # they register themselves
    return suite


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--lint", action="store_true")
    parser.add_argument("--unit", nargs="*", default=[])
    parser.add_argument("--fuzz", nargs="*", default=[])
    parser.add_argument("--model", default="", help="the model's command, without the architecture")
    parser.add_argument("--boot", action="store_true")
    parser.add_argument("--bad", default=None, help="mutants of the core; the arguments of tests/bad/run.py in one word")
    parser.add_argument("--only", default="", help="only tests with this in their name")
    args = parser.parse_args()
    os.chdir(ROOT)
    shutil.rmtree(LOGS, ignore_errors=True)
    os.makedirs(LOGS)

    counts = Counts()
    jobs = []  # longest kinds first would be nicer; this order reads better
    if args.lint:
        for script in sorted(glob.glob("tests/lint/lint_*.py")):
            name = os.path.basename(script)[:-3]
            jobs.append((name, run_tap, counts, name, [sys.executable, script]))
    for program in args.unit:
        name = os.path.basename(program)
        jobs.append((name, run_tap, counts, name, [program]))
    for program in args.fuzz:
        jobs.append((os.path.basename(program), run_fuzz, counts, program))
    for arch in ("npt", "ept", "arm64") if args.model else ():
        jobs.append((f"model-{arch}", run_tap, counts, f"model-{arch}", args.model.split() + ["--arch", arch]))
    if args.bad is not None:
        jobs.insert(0, ("bad", run_tap, counts, "bad", [sys.executable, "tests/bad/run.py", *args.bad.split()], BAD_TIMEOUT))
    if args.boot:
        suite = boot_cases()
        for name, function in suite.CASES.items():
            jobs.append((name, run_boot, counts, name, function, suite.Failure, suite.Skip))

    jobs = [job for job in jobs if args.only in job[0]]
    exact = [job for job in jobs if args.only == job[0]]
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for done in [pool.submit(job[1], *job[2:]) for job in exact or jobs]:
            done.result()
    if not jobs:
        print(f"no test has '{args.only}' in its name")
        counts.failed += 1
    print(f"{counts.passed} passed, {counts.failed} failed, {counts.skipped} skipped", flush=True)
    sys.exit(1 if counts.failed else 0)


if __name__ == "__main__":
    main()

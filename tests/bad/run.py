#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Compiles each mutant of the core and looks for the test that notices.

    tests/bad/run.py                           all of them
    tests/bad/run.py --sample N [--seed S]     N of them, others for each seed (default: the commit)
    tests/bad/run.py --only TEXT               those with TEXT in their name

A line each: `NAME killed by TEST (I4)` or `NAME SURVIVED`; then a table, then TAP for tests/run.py. Survivors
have to be in tests/bad/equivalent.txt, with an argument; what stands there and is killed fails as well.
"""
import argparse
import collections
import concurrent.futures
import fcntl
import functools
import glob
import hashlib
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import mutate

ROOT = mutate.ROOT
WORK = os.path.join(ROOT, "build", "bad")
TREE = os.path.join(WORK, "tree")  # a copy: nobody edits it while a run lasts
JOBS = min(2, os.cpu_count() or 1)
COPIED = ("lib", "mm", "tlbi", "stage2", "vm", "arch", "tests/unit", "tests/host", "tests/model", "tests/bad")

COMMON = ["-std=c11", "-D_GNU_SOURCE", "-w"]
FLAVOURS = {
    "plain": ["-O1"],
    "sanitized": ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"],
    # Every access has the order that it asks for (ordered.c), and what is not ordered is a race.
    "threads": ["-O1", "-g", "-fsanitize=thread", "-Wno-tsan"],
    # Not run: two sources that compile to the same code are the same program.
    "code": ["-O2", "-D__LINE__=0", '-D__FILE__=""', "-Wno-builtin-macro-redefined"],
}
RENAMED = [f"-Dhost_atomic_{f}=ordered_elsewhere_{f}" for f in "load store xchg cas add or and fence".split()]
HANG_FACTOR = 10  # times the processor time of the original run
HANG_LEAST_MS = 400
WALL_SECONDS = 120
COMPILE_ERRORS_MAX = 0.02  # of all mutants

SLOW = 1.5  # seconds of processor time: more is not worth it but for the plain build
QUICK = 0.25  # a mutant that is listed as equivalent meets only killers that are quicker
MODEL = "model"
PASSES = ("plain", "threads", "sanitized")  # the builds that a mutant meets, one after the other


class Broken(Exception):
    """The run itself is worth nothing."""


def command(args):
    return subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)


def copy_tree():
    wanted = {"tests/tap.h"}
    for folder in COPIED:
        for path in glob.glob(os.path.join(ROOT, folder, "**", "*.[ch]"), recursive=True):
            wanted.add(os.path.relpath(path, ROOT))
    for path in wanted:
        source, target = os.path.join(ROOT, path), os.path.join(TREE, path)
        try:
            same = os.stat(source).st_mtime_ns == os.stat(target).st_mtime_ns
        except FileNotFoundError:
            same = False
        if not same:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy2(source, target)
    for path in glob.glob(os.path.join(TREE, "**", "*.[ch]"), recursive=True):
        if os.path.relpath(path, TREE) not in wanted:
            os.remove(path)


# --- compile ------------------------------------------------------------------------------------

def object_path(unit, flavour):
    return os.path.join(WORK, flavour, unit[:-2] + ".o")


@functools.lru_cache(None)
def depends(unit):
    return frozenset(read_deps(unit, "plain"))


def read_deps(unit, flavour):
    """Files of the tree that the unit was compiled from."""
    with open(object_path(unit, flavour)[:-2] + ".d", encoding="utf-8") as f:
        words = f.read().replace("\\\n", " ").split()[1:]
    return {os.path.relpath(os.path.join(TREE, w), TREE) for w in words}


def compile_unit(unit, flavour, out, overlay=None, deps=False):
    source = unit
    include = ["-I", "."]
    if overlay:
        include = ["-I", overlay, "-I", ".", f"-fmacro-prefix-map={overlay}/="]
        if os.path.exists(os.path.join(overlay, unit)):
            source = os.path.join(overlay, unit)
    renamed = RENAMED if flavour == "threads" and unit == "tests/host/hw_host.c" else []
    args = ["gcc", *COMMON, *FLAVOURS[flavour], *renamed, *include, "-c", "-o", out, source]
    if deps:
        args[1:1] = ["-MMD"]
    return subprocess.run(args, cwd=TREE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)


def original(unit, flavour):
    """The object of the unmutated unit, compiled when it is older than what it is made of."""
    out = object_path(unit, flavour)
    try:
        built = os.stat(out).st_mtime_ns
        if all(os.stat(os.path.join(TREE, d)).st_mtime_ns < built for d in read_deps(unit, flavour)):
            return out
    except FileNotFoundError:
        pass
    os.makedirs(os.path.dirname(out), exist_ok=True)
    done = compile_unit(unit, flavour, out, deps=True)
    if done.returncode:
        raise Broken(f"{unit} does not compile:\n{done.stdout}")
    return out


def host_library(flavour):
    units = [os.path.relpath(p, TREE) for p in sorted(glob.glob(os.path.join(TREE, "tests/host/*.c")))]
    objects = [original(u, flavour) for u in units + (["tests/bad/ordered.c"] if flavour == "threads" else [])]
    out = os.path.join(WORK, flavour, "libhost.a")
    if os.path.exists(out):
        os.remove(out)
    done = command(["ar", "rcs", out, *objects])
    if done.returncode:
        raise Broken(done.stdout)
    return out


# --- killers ------------------------------------------------------------------------------------

class Killer:
    """A program that speaks TAP, from its main unit and the sources on its `// links:` lines."""

    def __init__(self, name, units, libs, args=(), flavours=("plain", "sanitized")):
        self.name, self.units, self.libs, self.args, self.flavours = name, units, libs, list(args), flavours
        self.cpu = {}
        self.depends = set()

    def link(self, flavour, replaced, out):
        objects = [replaced.get(u) or original(u, flavour) for u in self.units]
        sanitize = [f for f in FLAVOURS[flavour] if f.startswith("-fsanitize")]
        done = command(["gcc", *sanitize, "-o", out, *objects, original("tests/bad/harness.c", flavour),
                        os.path.join(WORK, flavour, "libhost.a"), *self.libs, "-lpthread"])
        if done.returncode:
            raise Broken(f"{self.name} does not link:\n{done.stdout}")

    def limit_ms(self, flavour):
        return int(max(HANG_LEAST_MS, 1000 * HANG_FACTOR * self.cpu[flavour])) if flavour in self.cpu else 300000


def words_after(path, key):
    with open(os.path.join(TREE, path), encoding="utf-8") as f:
        return [w for line in f if line.startswith(f"// {key}:") for w in line.split(":", 1)[1].split()]


def find_killers():
    """Unit tests that link the core, and the model: `// killer:` lines give its arguments for here."""
    core = set(mutate.core_sources(TREE))
    killers = []
    for path in sorted(glob.glob(os.path.join(TREE, "tests/unit/test_*.c"))) + [os.path.join(TREE, "tests/model/main.c")]:
        unit = os.path.relpath(path, TREE)
        if not os.path.exists(path) or not core & set(words_after(unit, "links")):
            continue
        name = MODEL if unit.startswith("tests/model/") else os.path.basename(unit)[:-2]
        flavours = ("plain",) if name == MODEL else ("plain", "sanitized")
        if words_after(unit, "threads"):
            flavours += ("threads",)
        killers.append(Killer(name, [unit] + words_after(unit, "links"), words_after(unit, "libs"), words_after(unit, "killer"), flavours))
    return killers


INVARIANT = re.compile(r"\bI(1[0-2]|[1-9])\b")


def run_killer(killer, program, flavour):
    """(None, cpu) when everything passed, else (why, cpu); the first failed check ends it."""
    env = dict(os.environ, BAD_CPU_MS=str(killer.limit_ms(flavour)), TSAN_OPTIONS="halt_on_error=1")
    process = subprocess.Popen([program, *killer.args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env,
                               start_new_session=True, cwd=WORK)
    timer = threading.Timer(WALL_SECONDS, os.killpg, (process.pid, signal.SIGKILL))
    timer.start()
    failed, lines, planned = None, collections.deque(maxlen=60), False
    for raw in process.stdout:
        line = raw.decode("latin-1").rstrip()
        lines.append(line)
        planned |= line.startswith("1..")
        if line.startswith("not ok"):
            failed = re.sub(r"^not ok \d* *-? *", "", line)
            break
    if failed is not None:
        os.killpg(process.pid, signal.SIGKILL)
    _, status, usage = os.wait4(process.pid, 0)
    timer.cancel()
    process.stdout.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu = usage.ru_utime + usage.ru_stime
    if failed is None and (process.returncode or not planned):
        failed = cause_of_end(process.returncode, lines)
    return failed, cpu


def cause_of_end(status, lines):
    for line in reversed(lines):
        match = re.search(r"(\S+:\d+: CHECK\(.*) failed|(runtime error: .*)|ERROR: (AddressSanitizer: \S+)|ERROR: (LeakSanitizer)|"
                          r"WARNING: ThreadSanitizer: (data race)", line)
        if match:
            return next(g for g in match.groups() if g)
    if status in (-signal.SIGPROF, -signal.SIGXCPU, -signal.SIGKILL):
        return "hangs"
    last = next((l for l in reversed(lines) if l and not l.startswith("ok ")), "")
    return last or (f"signal {-status}" if status < 0 else f"status {status}, ended early")


def shorten(why):
    found = INVARIANT.search(why)
    if found:
        return found.group()
    return why if len(why) <= 70 else why[:67] + "..."


proved = set()
proving = threading.Lock()


def prove_once(killers, flavour):
    """The sanitized builds are made when the first survivor asks for them."""
    with proving:
        if flavour not in proved:
            prove_baseline(killers, flavour)
            proved.add(flavour)


def prove_baseline(killers, flavour):
    """The unmutated tree passes, and how long that takes."""
    host_library(flavour)
    original("tests/bad/harness.c", flavour)
    out = os.path.join(WORK, flavour, "programs")
    os.makedirs(out, exist_ok=True)

    killers = [k for k in killers if flavour in k.flavours]

    def one(killer):
        program = os.path.join(out, killer.name)
        for unit in killer.units:
            original(unit, flavour)
        killer.link(flavour, {}, program)
        failed, cpu = run_killer(killer, program, flavour)
        if failed:
            raise Broken(f"{killer.name} ({flavour}) fails without any mutant: {failed}")
        killer.cpu[flavour] = cpu
        killer.depends.update(*(read_deps(u, flavour) for u in killer.units))

    for unit in sorted({u for k in killers for u in k.units}):  # shared ones once, not by two at a time
        original(unit, flavour)
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        list(pool.map(one, killers))


# --- one mutant ---------------------------------------------------------------------------------

Result = collections.namedtuple("Result", "mutant verdict killer why")  # killed, survived, same, error


class Worker:
    def __init__(self, number, killers, texts, expected, passes):
        self.dir = os.path.join(WORK, f"worker{number}")
        self.killers, self.texts, self.expected, self.passes = killers, texts, expected, passes
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir)

    def units(self, killers, path):
        """Units of the killers that see the mutated file."""
        return sorted({u for k in killers for u in k.units if path in depends(u)})

    def try_mutant(self, mutant):
        overlay = os.path.join(self.dir, "tree")
        source = os.path.join(overlay, mutant.path)
        os.makedirs(os.path.dirname(source), exist_ok=True)
        with open(source, "w", encoding="utf-8") as f:
            f.write(mutant.apply(self.texts[mutant.path]))
        try:
            return self.judge(mutant, overlay)
        finally:
            os.remove(source)

    def judge(self, mutant, overlay):
        killers = [k for k in self.killers if mutant.path in k.depends]
        for flavour in self.passes:
            objects = {}
            prove_once(self.killers, flavour)
            for killer in killers:
                if killer.cpu.get(flavour, SLOW) >= SLOW and flavour != "plain":
                    continue
                if mutant.name in self.expected and killer.cpu[flavour] >= QUICK:
                    continue
                for unit in self.units([killer], mutant.path):
                    if unit in objects:
                        continue
                    objects[unit] = os.path.join(self.dir, unit.replace("/", "_")[:-2] + ".o")
                    done = compile_unit(unit, flavour, objects[unit], overlay)
                    if done.returncode:
                        first = next((l for l in done.stdout.splitlines() if "error" in l), "?")
                        return Result(mutant, "error", None, first)
                program = os.path.join(self.dir, "program")
                try:
                    killer.link(flavour, objects, program)
                except Broken as broken:  # it may call what is not linked here
                    return Result(mutant, "error", None, str(broken))
                failed, _ = run_killer(killer, program, flavour)
                if failed:
                    return Result(mutant, "killed", killer.name, shorten(failed))
            if flavour == "plain" and self.same_code(mutant, overlay, killers):
                return Result(mutant, "same", None, "")
            if mutant.name in self.expected:  # the sanitizers are slow
                break
        return Result(mutant, "survived", None, "")

    def same_code(self, mutant, overlay, killers):
        for unit in self.units(killers, mutant.path):
            if unit.startswith("tests/"):
                continue
            out = os.path.join(self.dir, "code.o")
            if compile_unit(unit, "code", out, overlay).returncode:
                return False
            with proving:
                unmutated = original(unit, "code")
            with open(out, "rb") as one, open(unmutated, "rb") as two:
                if one.read() != two.read():
                    return False
        return True


# --- the list of equivalent ones ------------------------------------------------------------------

def read_equivalent(path):
    """{name: argument}: names at the start of a line, the argument for them indented below."""
    out, names, argument = {}, [], []
    with open(path, encoding="utf-8") as f:
        lines = f.read().splitlines() + ["end"]
    for number, line in enumerate(lines, 1):
        if line.startswith("#") or not line.strip():
            continue
        if line[0] in " \t":
            if not names:
                raise Broken(f"{path}:{number}: an argument without a name before it")
            argument.append(line.strip())
            continue
        if argument:
            out.update({name: " ".join(argument) for name in names})
            names, argument = [], []
        if line in out or line in names:
            raise Broken(f"{path}:{number}: {line} is listed twice")
        names.append(line)
    if names != ["end"]:
        raise Broken(f"{path}: no argument for {names[0]}")
    return out


# --- the run ------------------------------------------------------------------------------------

def choose(mutants, args):
    if args.only:
        return [m for m in mutants if args.only in m.name]
    if args.sample:
        rank = lambda m: hashlib.sha256(f"{args.seed} {m.name}".encode()).digest()
        return sorted(mutants, key=rank)[:args.sample]
    return mutants


def default_seed():
    done = command(["git", "-C", ROOT, "rev-parse", "--short=12", "HEAD"])
    return done.stdout.strip() if done.returncode == 0 else time.strftime("%Y-%m-%d")


def describe(result, pending, equivalent):
    name = result.mutant.name
    if result.verdict == "killed":
        return f"{name} killed by {result.killer} ({result.why})"
    if result.verdict == "same":
        return f"{name} is no change: the compiler makes the same code"
    if result.verdict == "error":
        return f"{name} does not compile: {result.why}"
    if name in equivalent:
        return f"{name} SURVIVED, listed as equivalent"
    if name in pending:
        return f"{name} PENDING: only the model can tell"
    return f"{name} SURVIVED"


def sweep(chosen, killers, texts, expected, passes, report):
    workers = queue.SimpleQueue()
    for number in range(JOBS):
        workers.put(Worker(number, killers, texts, expected, passes))
    results = []

    def one(mutant):
        worker = workers.get()
        try:
            result = worker.try_mutant(mutant)
        finally:
            workers.put(worker)
        report(result)
        return result

    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        results = list(pool.map(one, chosen))
    return results


def table(results, pending, equivalent, seconds):
    kinds = collections.defaultdict(collections.Counter)
    killers, invariants = collections.Counter(), collections.Counter()
    for r in results:
        column = r.verdict
        if column == "survived":
            column = "equivalent" if r.mutant.name in equivalent else "pending" if r.mutant.name in pending else "SURVIVED"
        kinds[r.mutant.kind][column] += 1
        kinds["all"][column] += 1
        if r.verdict == "killed":
            killers[r.killer] += 1
            invariants[r.why if INVARIANT.fullmatch(r.why) else "other checks"] += 1
    columns = ["killed", "same", "equivalent", "pending", "error", "SURVIVED"]
    print(f"\n{'kind':14}{'mutants':>9}" + "".join(f"{c:>12}" for c in columns))
    for kind in [*mutate.KINDS, "all"]:
        if kind in kinds:
            print(f"{kind:14}{sum(kinds[kind].values()):9}" + "".join(f"{kinds[kind][c] or '-':>12}" for c in columns))
    print("killed by: " + ", ".join(f"{k} {n}" for k, n in killers.most_common()))
    order = lambda item: int(item[0][1:]) if item[0][1:].isdigit() else 99
    print("caught as: " + ", ".join(f"{k} {n}" for k, n in sorted(invariants.items(), key=order)))
    print(f"{len(results)} mutants in {seconds:.0f} s\n")


def verdict(results, mutants, pending, equivalent, which):
    """TAP: what makes the run fail."""
    by_name = {r.mutant.name: r for r in results}
    names = {m.name for m in mutants}
    killed = sum(r.verdict == "killed" for r in results)
    errors = [r for r in results if r.verdict == "error"]
    checks = [
        (f"{killed} of {len(results)} mutants are killed{which}", killed == 0, []),
        ("mutants compile, but for a few", len(errors) > max(2, COMPILE_ERRORS_MAX * len(results)), [r.mutant.name for r in errors]),
    ]
    alive = [r.mutant for r in results if r.verdict == "survived" and r.mutant.name not in equivalent and r.mutant.name not in pending]
    checks.append((f"every survivor has an argument why it is equivalent{which}", alive, [f"{m.name}  {m.path}:{m.line}" for m in alive]))
    stale = [f"{n} does not exist" for n in equivalent if n not in names]
    stale += [f"{n} is {by_name[n].verdict}" for n in equivalent if n in by_name and by_name[n].verdict != "survived"]
    checks.append(("what is listed as equivalent exists and survives", stale, stale))
    if pending:
        waiting = [r for r in results if r.verdict == "survived" and r.mutant.name in pending]
        checks.append((f"{len(waiting)} mutants of memory order # SKIP there is no model that could tell", False, []))
    for number, (name, bad, notes) in enumerate(checks, 1):
        print(f"{'not ' if bad else ''}ok {number} - {name}")
        for note in notes:
            print(f"# {note}")
    print(f"1..{len(checks)}")
    return not any(bad for _, bad, _ in checks)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seed", default=None)
    parser.add_argument("--only", default="")
    parser.add_argument("--quick", action="store_true", help="no sanitized build: for work on the tests")
    args = parser.parse_args()
    args.seed = args.seed or default_seed()
    sys.stdout.reconfigure(line_buffering=True)
    started = time.monotonic()
    os.makedirs(TREE, exist_ok=True)
    lock = open(os.path.join(WORK, "lock"), "w", encoding="utf-8")  # held to the end: one run at a time
    fcntl.flock(lock, fcntl.LOCK_EX)
    copy_tree()
    try:
        equivalent = read_equivalent(os.path.join(ROOT, "tests", "bad", "equivalent.txt"))
        mutants, texts = mutate.generate(TREE)
        killers = find_killers()
        passes = PASSES[:1] if args.quick else PASSES
        prove_once(killers, "plain")
        killers.sort(key=lambda k: k.cpu["plain"])
        print("# killers, quickest first: " + ", ".join(f"{k.name} {k.cpu['plain']:.2f} s" for k in killers))
        pending = set() if any(k.name == MODEL for k in killers) else {m.name for m in mutants if m.needs_order(texts)}
        expected = set(equivalent)
        chosen = choose(mutants, args)
        if not chosen:
            raise Broken("no such mutant")
        if args.sample:
            print(f"{len(chosen)} of {len(mutants)} mutants, --seed {args.seed}")
        results = sweep(chosen, killers, texts, expected, passes, lambda r: print(describe(r, pending, equivalent)))
    except Broken as broken:
        print(f"not ok 1 - the tree without mutants\n# {broken}\n1..1")
        sys.exit(1)
    table(results, pending, equivalent, time.monotonic() - started)
    which = f" (--sample {args.sample} --seed {args.seed})" if args.sample else ""
    sys.exit(0 if verdict(results, mutants, pending, equivalent, which) else 1)


if __name__ == "__main__":
    main()

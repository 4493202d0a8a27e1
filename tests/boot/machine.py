# SPDX-License-Identifier: BSD-2-Clause
"""A QEMU machine under test: its serial line, its monitor, its log."""
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "tools"))
import qemu  # noqa: E402

# Seconds that nothing may depend on: only a hang gets here, on however slow a machine.
PATIENCE = 240 * float(os.environ.get("SLUICE_PATIENCE", "1"))


class Failure(Exception):
    """The machine did not do what the test expects."""


class Machine:
    """Use as a context manager; leaving it ends QEMU."""

    def __init__(self, name, iso, **kwargs):
        self.name = name
        self.log_path = os.path.join("build", "test", f"{name}.log")
        self.state = tempfile.mkdtemp(prefix="sluice-")
        self.qmp_path = os.path.join(self.state, "qmp")
        os.makedirs("build/test", exist_ok=True)
        self.log = open(self.log_path, "ab")
        command = qemu.command(iso=iso, state=self.state, **kwargs)
        command += ["-chardev", "stdio,id=line,signal=off", "-serial", "chardev:line", "-monitor", "none",
                    "-qmp", f"unix:{self.qmp_path},server=on,wait=off"]
        self.text = ""  # all output so far
        self.seen = 0  # up to where expect() has consumed it
        self.news = threading.Condition()
        self.ended = False
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, bufsize=0)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stdin.close()
        self.log.close()
        shutil.rmtree(self.state, ignore_errors=True)

    def _read(self):
        while True:
            data = self.process.stdout.read(65536)
            if data:
                self.log.write(data)
                self.log.flush()
            with self.news:
                self.text += data.decode("latin-1")
                self.ended = not data
                self.news.notify_all()
            if not data:
                return

    def expect(self, pattern, patience=PATIENCE, never=None):
        """Waits for the regular expression in the output not yet consumed and returns the match.

        `never`: a pattern that must not come before it.
        """
        wanted = re.compile(pattern)
        unwanted = re.compile(never) if never else None
        deadline = time.monotonic() + patience
        with self.news:
            while True:
                found = wanted.search(self.text, self.seen)
                bad = unwanted and unwanted.search(self.text, self.seen, found.start() if found else len(self.text))
                if bad:
                    raise Failure(f"got {bad.group(0)!r} while waiting for {pattern!r}")
                if found:
                    self.seen = found.end()
                    return found
                if self.ended:
                    raise Failure(f"QEMU ended (status {self.process.wait()}) while waiting for {pattern!r}")
                if not self.news.wait(deadline - time.monotonic()) and time.monotonic() >= deadline:
                    raise Failure(f"waited {patience:.0f} s in vain for {pattern!r}")

    def send(self, keys):
        """Types at the speed of a fast typist with a slow line: a real UART has 16 bytes of FIFO."""
        data = keys.encode("latin-1")
        try:
            for i in range(0, len(data), 8):
                self.process.stdin.write(data[i:i + 8])
                if i + 8 < len(data):
                    time.sleep(0.004)
        except BrokenPipeError:
            raise Failure(f"QEMU ended before {keys!r} was typed") from None

    def ends(self, patience=PATIENCE):
        """Waits for QEMU to end by itself; its status must be 0."""
        try:
            status = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise Failure("QEMU goes on, it was to end") from None
        if status != 0:
            raise Failure(f"QEMU ended with status {status}")

    def hmp(self, line):
        """The answer of QEMU's own monitor."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.settimeout(PATIENCE)
            s.connect(self.qmp_path)
            answers = s.makefile("rw", encoding="utf-8")
            answers.readline()  # greeting
            for command in ({"execute": "qmp_capabilities"},
                            {"execute": "human-monitor-command", "arguments": {"command-line": line}}):
                answers.write(json.dumps(command) + "\n")
                answers.flush()
                answer = json.loads(answers.readline())
                while "event" in answer:
                    answer = json.loads(answers.readline())
            if "error" in answer:
                raise Failure(f"QEMU: {line}: {answer['error']['desc']}")
            return answer["return"]

    # --- Sluice and its guests -------------------------------------------------------------------

    PROMPT = r"sluice> "
    SHELL = r"debian:[^\s#]*# "

    def prompt(self):
        """Waits for the monitor's prompt."""
        self.expect(self.PROMPT)

    def leave_console(self):
        self.send("\x1d")
        self.prompt()

    def monitor(self, line):
        """Types a command at the prompt; returns what it prints before the next prompt."""
        self.send(line + "\r")
        self.expect(re.escape(line) + r"[^\n]*\n")
        start = self.seen
        end = self.expect(r"(?:^|\r|\n)[^\n]*?" + self.PROMPT).start()
        return self.text[start:end].replace("\r", "")

    def shell(self):
        """Waits for the guest's shell."""
        self.expect(self.SHELL)

    def command(self, line):
        """Types a command at the guest's shell; returns what it prints."""
        self.send(line + "\n")
        self.expect(r"\n")  # the echo's end
        start = self.seen
        end = self.expect(self.SHELL).start()
        return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", self.text[start:end]).replace("\r", "")

    def poweroff(self):
        """From the monitor's prompt: the machine switches itself off."""
        self.send("poweroff\r")
        self.ends()


def check(condition, what):
    if not condition:
        raise Failure(what)


def tail(path, lines=25):
    with open(path, "rb") as f:
        text = f.read().decode("latin-1").replace("\r", "")
    text = "".join(c if c == "\n" or c.isprintable() else "." for c in text)
    return "\n".join(text.splitlines()[-lines:])

"""A program with a time limit, whose CPU time is counted."""

import dataclasses
import os
import signal
import subprocess
import threading
import time


@dataclasses.dataclass
class Ended:
    """How a program ended: its exit status, its user and system time in seconds, and why it failed if it did."""

    status: int
    cpu: float
    why: str


class Process:
    """Started at once. It is killed, with what it has started, when its time is over."""

    def __init__(self, words, **options):
        self.process = subprocess.Popen([str(word) for word in words], start_new_session=True,
                                        **({"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL} | options),
                                        stderr=subprocess.PIPE)
        self.said = b""
        self.listener = threading.Thread(target=self.listen, daemon=True)
        self.listener.start()
        self.ended = None

    def listen(self):
        # What it says last is why it failed.
        while said := self.process.stderr.read1():
            self.said = (self.said + said)[-1000:]

    def is_running(self):
        if self.ended is None:
            pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
            if pid:
                self.note(status, usage)
        return self.ended is None

    def note(self, status, usage, late=""):
        code = self.process.returncode = os.waitstatus_to_exitcode(status)
        self.listener.join(1)
        last = self.said.decode(errors="replace").strip().splitlines()[-1:]
        why = late or ("" if code == 0 else (last or [f"exit status {code}"])[0])
        self.ended = Ended(code, usage.ru_utime + usage.ru_stime, why)

    def wait(self, limit):
        """Until it ends or `limit` seconds are over."""
        until = time.monotonic() + limit
        while self.is_running() and time.monotonic() < until:
            time.sleep(0.01)
        if self.ended is None:
            self.kill(f"not done after {limit} s")
        return self.ended

    def kill(self, late="killed"):
        if self.ended is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            _, status, usage = os.wait4(self.process.pid, 0)
            self.note(status, usage, late)

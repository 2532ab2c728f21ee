"""Processes and a temporary folder that end together."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Only a hang reaches it: no time is a verdict.
PATIENCE_SECONDS = 600


class Failure(Exception):
    """What went wrong, for a person."""


class Processes:
    """Starts programs, each in a session of its own, and ends them in reverse order."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="pumice-lava-"))
        # The database server does not run as root.
        self.folder.chmod(0o755)
        self.running = []

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        for name, process in reversed(self.running):
            self.end(process, name)
        if kind is None:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            for log in sorted(self.folder.glob("*.log")):
                tail = log.read_text(errors="replace").splitlines()[-30:]
                print(f"--- {log}", *tail, sep="\n", file=sys.stderr)
            print(f"kept: {self.folder}", file=sys.stderr)

    def start(self, name, command, **options):
        """Starts a program; what it says is in NAME.log."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **options,
            )
        self.running.append((name, process))
        return process

    def end(self, process, name="", how=signal.SIGTERM):
        """Ends one that was started, and what it started; a database wants SIGINT."""
        if process.poll() is None:
            process.send_signal(signal.SIGINT if name == "postgres" else how)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                pass
        try:
            # The group is the one that was made for it.
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        self.running = [(name, other) for name, other in self.running if other is not process]

    def wait_for_interrupt(self):
        try:
            signal.pause()
        except KeyboardInterrupt:
            pass

    def wait_until(self, what, condition, every=0.5):
        """Waits for a condition that becomes true, and returns its value."""
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            value = condition()
            if value:
                return value
            for name, process in self.running:
                if process.poll() is not None:
                    raise Failure(f"{name} ended with {process.returncode} while waiting until {what}")
            time.sleep(every)
        raise Failure(f"it took longer than {PATIENCE_SECONDS} s until {what}")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run(command, **options):
    """A command that must do its work; what it writes."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, stdin=subprocess.DEVNULL, **options)
    if done.returncode != 0:
        words = " ".join(str(word) for word in command)
        raise Failure(f"{words} failed with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout

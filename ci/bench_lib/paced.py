"""Transfers in real time over `paced-line` (tests/link-bench): pumice and ZMODEM on lines of the same kind, at the same
time, with the same seeds and the same bytes."""

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

from . import console_log
from .common import Agent, hands_on, print_table
from .process import Process

BAUD = 115200
PAYLOAD = 300_000
DAMAGE = {"clean": [], "1e-5": ["--flip-one-in", 100_000], "1e-4": ["--flip-one-in", 10_000]}
TEXT = ["--text-every", 50]
# Four times what the payload takes at the line's rate.
LIMIT = 105


@dataclasses.dataclass
class Outcome:
    """Of one transfer: payload / what the line could have carried meanwhile, or why there is none."""

    goodput: float = 0.0
    failed: str = ""


def bench(programs, rounds):
    cells = {}
    print(f"\n{PAYLOAD // 1000} kB of random data in real time, {rounds} round(s), pumice and ZMODEM at once", flush=True)
    for number in range(rounds):
        seed = 1 + number
        for name, faults in [*DAMAGE.items(), ("text", TEXT)]:
            print(f"ci/bench: round {number + 1}, {name}", file=sys.stderr, flush=True)
            # Two lines at once: more would take the processors from each other.
            for ways in PAIRS if name != "text" else PAIRS[1:]:
                with concurrent.futures.ThreadPoolExecutor() as pool:
                    words = [*faults, "--seed", seed]
                    running = {way: pool.submit(transfer, programs, way, words, seed) for way in ways}
                    log = pool.submit(console_log.check, programs, BAUD, PAYLOAD, seed) if name == "text" else None
                for way, outcome in running.items():
                    cells.setdefault((way, name), []).append(outcome.result())
                if log:
                    cells.setdefault("console", []).append(log.result())
    print_transfers(cells)
    for found in cells["console"]:
        print(f"console: {found}")


def print_transfers(cells):
    rows = [("at 115200 baud", "damage", "pumice", "ZMODEM", "pumice / ZMODEM", "target")]
    targets = {("host → board", "clean"): ">= 0.975", ("host → board", "1e-5"): ">= 0.96",
               ("host → board", "1e-4"): ">= 0.88", ("board → host", "clean"): ">= 0.85"}
    for direction, (ours, theirs) in zip(("host → board", "board → host"), PAIRS):
        for name in [*DAMAGE, "text"]:
            if (ours, name) not in cells:
                continue
            pair = cells[ours, name], cells[theirs, name]
            middles = [statistics.median(outcome.goodput for outcome in outcomes) for outcomes in pair]
            ratio = f"{middles[0] / middles[1]:.2f}" if middles[1] else "-"
            rows.append((direction, name if name != "text" else "text every 50 ms", *map(shown, pair), ratio,
                         targets.get((direction, name), "")))
    print_table(rows)
    print("\nFrom the host's first byte to the end: median (lowest..highest); a failed transfer counts as 0. The bytes of\n"
          "text do not count. pumice from the board is text-safe: every byte above 0x7F, so that text does no harm.")


def shown(outcomes):
    values = [outcome.goodput for outcome in outcomes]
    text = f"{statistics.median(values):.3f}"
    if len(values) > 1:
        text += f" ({min(values):.3f}..{max(values):.3f})"
    failures = [outcome.failed for outcome in outcomes if outcome.failed]
    if failures:
        text = f"{len(failures)} of {len(values)} failed ({failures[0]})" + (f", {text}" if max(values) else "")
    return text


def transfer(programs, way, words, seed):
    """One transfer on a line of its own."""
    with tempfile.TemporaryDirectory(prefix="pumice-bench-") as name:
        folder = pathlib.Path(name)
        (folder / "there").mkdir()
        source, copy = folder / "payload", folder / "there" / "payload"
        source.write_bytes(random.Random(seed).randbytes(PAYLOAD))
        with PacedLine(programs, words) as line:
            why = way(programs, line, folder, source, copy)
            end = time.monotonic()
        if not why and not (copy.exists() and copy.read_bytes() == source.read_bytes()):
            why = "the copy differs"
        if why:
            return Outcome(failed=why)
        took = end - line.report["host_began_at"]
        text = line.report["to_host"]["inserted"] * took / (end - line.begun) if way in (pumice_pull, zmodem_up) else 0
        return Outcome(goodput=PAYLOAD / (took * BAUD / 10 - text))


class PacedLine:
    """A line for as long as a `with` lasts; then `report` says what happened on it."""

    def __init__(self, programs, words, baud=BAUD):
        words = [str(word) for word in [programs / "paced-line", "--baud", baud, *words]]
        self.begun = time.monotonic()
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ends = json.loads(self.process.stdout.readline())
        self.host, self.board = ends["host"], ends["board"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.report = json.loads(self.process.stdout.read())
        self.process.wait()


# Each way returns why it failed, or nothing.


def pumice_push(programs, line, folder, source, copy):
    return pumice(programs, line, folder, "push", source, copy)


def pumice_pull(programs, line, folder, source, copy):
    return pumice(programs, line, folder, "pull", source, copy)


def pumice(programs, line, folder, *command):
    words, environment = hands_on(programs / "pumice", folder, line.host, BAUD)
    with Agent(programs / "pumice-agent", line.board, folder):
        return Process([*words, command[0], "here", *command[1:]], env=environment).wait(LIMIT).why


def zmodem_down(programs, line, folder, source, copy):
    return zmodem(line.board, ["rz"], line.host, ["sz", source], copy)


def zmodem_up(programs, line, folder, source, copy):
    return zmodem(line.board, ["sz", source], line.host, ["rz"], copy)


def zmodem(board, there, host, here, copy):
    """First the board's program, as if it had been typed there; until one of the two says that all is done: the other
    may wait half a minute for a last word that was lost."""
    processes = []
    for device, words in (board, there), (host, here):
        with open(os.open(device, os.O_RDWR | os.O_NOCTTY), "r+b", buffering=0) as end:
            quiet = [words[0], "--quiet", "--binary", *(["--overwrite"] if words[0] == "rz" else []), *words[1:]]
            processes.append(Process(quiet, stdin=end, stdout=end, cwd=copy.parent))
        time.sleep(0.3)
    until = time.monotonic() + LIMIT
    while time.monotonic() < until and all(process.is_running() for process in processes):
        time.sleep(0.01)
    ended = [process for process in processes if not process.is_running()]
    why = "" if ended and all(process.wait(0).status == 0 for process in ended) else \
        ended[0].wait(0).why if ended else f"not done after {LIMIT} s"
    for process in processes:
        process.kill()
    return why


# Ours and theirs, to the board and from it.
PAIRS = (pumice_push, zmodem_down), (pumice_pull, zmodem_up)

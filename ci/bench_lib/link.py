"""The link: what of a line it makes use of, and what it costs."""

import json
import os
import pathlib
import tempfile
import time

from . import paced
from .common import ROOT, Agent, captured, hands_on, print_table, release, run
from .free_line import Line
from .process import Process

CPU_MIB = 16


def bench(rounds):
    programs = release("host-dispatcher", "agent-linux", "link-bench", "e2e")
    virtual_time()
    paced.bench(programs, rounds)
    frames(programs)
    dispatcher(programs)


def virtual_time():
    """The table is a test's snapshot: if the test passes, this is what the link does now."""
    run("cargo", "test", "--locked", "--quiet", "-p", "agent-core", "--test", "link_sim", "goodput",
        stdout=open(os.devnull, "w"))
    print()
    print((ROOT / "agent-core/tests/snapshots/link_goodput.txt").read_text().rstrip())


def frames(programs):
    rates = json.loads(captured(programs / "link-cpu"))
    print_table([("one core, frames of 643 bytes of payload", "MB/s of payload"),
                 *((name, f"{rate:.0f}") for name, rate in rates)])


def dispatcher(programs):
    """User and system time of a whole command, and of the agent, on a line that takes all that it is given."""
    rows = [("CPU time per MB, free line", "pumice", "agent", "MB/s")]
    for command in "push", "pull":
        with tempfile.TemporaryDirectory(prefix="pumice-bench-") as name:
            folder = pathlib.Path(name)
            source, copy = folder / "source", folder / "copy"
            source.write_bytes(os.urandom(CPU_MIB << 20))
            line = Line()
            words, environment = hands_on(programs / "pumice", folder, line.ends[0])
            with Agent(programs / "pumice-agent", line.ends[1], folder) as agent:
                begun = time.monotonic()
                ended = Process([*words, command, "here", source, copy], env=environment).wait(120)
                took = time.monotonic() - begun
                there = agent.cpu_seconds()
            if ended.status != 0 or copy.read_bytes() != source.read_bytes():
                rows.append((command, f"failed: {ended.why}", "", ""))
                continue
            megabytes = (CPU_MIB << 20) / 1e6
            rows.append((f"{command} of {CPU_MIB} MiB", f"{ended.cpu / megabytes * 1000:.0f} ms",
                         f"{there / megabytes * 1000:.0f} ms", f"{megabytes / took:.1f}"))
    print_table(rows)

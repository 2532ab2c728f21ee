"""How large the agent is: for each architecture beside the goal, and for ARMv7 by section, by crate and by symbol; what of it is
resident, and how often it wakes up, while it has nothing to do."""

import collections
import pathlib
import re
import tempfile
import time

from .common import ROOT, Agent, captured, print_table
from .free_line import Line
from .instructions import BASE

GOAL_KIB = 128
TRIPLES = ["armv7-unknown-linux-musleabihf", "armv5te-unknown-linux-musleabi", "aarch64-unknown-linux-musl",
           "x86_64-unknown-linux-musl"]
SHOWN_SYMBOLS = 30
# Long enough for a wake-up a second to be told from one every two.
IDLE_S = 20
# Some 20 s from its start on the agent looks again and again whether the real init sets up its console.
SETTLED_S = 22


def bench(_rounds):
    agents = {triple: pathlib.Path(captured("cross/build-agent", triple).strip()) for triple in TRIPLES}
    print_table([("agent", "size", "goal")] + [
        (triple, kib(agent.stat().st_size), f"<= {GOAL_KIB} KiB" if triple == TRIPLES[0] else "")
        for triple, agent in agents.items()])
    agent = agents[TRIPLES[0]]
    folder = ROOT / "target/agent-symbols"
    symbols = pathlib.Path(captured("cross/build-agent", TRIPLES[0], "--symbols", "--out", folder).strip())
    print_table([("section", "bytes"), *((name, str(size)) for name, size in sections(symbols))])
    found = functions(symbols)
    by_crate = collections.Counter()
    for name, size in found:
        by_crate[crate(name)] += size
    print_table([("code of", "bytes"), *((name, str(size)) for name, size in by_crate.most_common())])
    print("\nWhat is called from one place only is part of its caller.")
    largest = sorted(found, key=lambda one: -one[1])[:SHOWN_SYMBOLS]
    print_table([("largest functions", "bytes"), *((name[:100], str(size)) for name, size in largest)])
    resident, wakes = at_rest(agent)
    print_table([("at rest, with no session", "found", "goal"),
                 ("resident memory", f"{resident} KiB", "<= 1024 KiB"),
                 ("wake-ups a second", f"{wakes:.2f}", "<= 1")])


def kib(size):
    return f"{size / 1024:.1f} KiB"


def sections(program):
    """Name and bytes of each section that is in memory."""
    lines = captured("readelf", "-SW", program).splitlines()
    # [ 1] .init PROGBITS 000100b4 0000b4 000008 00  AX
    rows = (re.match(r"\s*\[ *\d+\] (\S+)\s+\S+\s+\w+ \w+ (\w+) \w+ +(\w*A\w*) ", line) for line in lines)
    return [(row[1], int(row[2], 16)) for row in rows if row]


def functions(program):
    """Name and bytes of each function, once where it has several names."""
    found = {}
    for line in captured("nm", "-S", "-C", program).splitlines():
        row = re.match(r"(\w+) (\w+) [tTwW] (.*)", line)
        if row:
            found.setdefault(row[1], (re.sub(r"::h[0-9a-f]{16}$", "", row[3]), int(row[2], 16)))
    return list(found.values())


def crate(name):
    """Which crate a function is from, by its demangled name."""
    if name.startswith("OUTLINED_FUNCTION"):
        return "(what several functions do alike)"
    path = re.search(r"(\w+)::", name)
    return path[1] if path else "(C library)"


def at_rest(agent):
    """KiB that are resident of the program's own addresses, and wake-ups a second: as many as it waits in poll(2)."""
    with tempfile.TemporaryDirectory(prefix="pumice-bench-") as name:
        folder = pathlib.Path(name)
        line, calls = Line(), folder / "calls"
        with Agent(agent, line.ends[1], folder, under=["qemu-arm", "-B", hex(BASE), "-strace", "-D", calls]) as running:
            time.sleep(SETTLED_S)
            before = polls(calls)
            time.sleep(IDLE_S)
            return resident(running.process.pid), (polls(calls) - before) / IDLE_S


def polls(calls):
    return len(re.findall(r"\bppoll(?:_time64)?\(", calls.read_text()))


def resident(pid):
    """The emulator keeps what is its own elsewhere."""
    total, is_agents = 0, False
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        address = re.match(r"([0-9a-f]+)-", line)
        if address:
            is_agents = BASE <= int(address[1], 16) < BASE + (1 << 32)
        elif is_agents and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total

"""Instructions and memory that the agent for ARMv7 takes for a deploy. In qemu-user: the instructions are exact, and the same on
every machine; the memory is what of the program's address space is resident, looked at every few milliseconds."""

import json
import pathlib
import subprocess
import threading
import time

from .common import ROOT, Agent, captured, hands_on, run
from .free_line import Line

TRIPLE = "armv7-unknown-linux-musleabihf"

# Where the emulator puts the program's 4 GiB of addresses, with nothing of its own among them.
BASE = 1 << 44

# An agent keeps hashes from the moment on at which its scan in the background begins, 2 s behind its start.
SCAN_S = 4


def counted(pumice, scratch, disk, image, under=()):
    """Deploys `image` onto `disk`, and the same again. Returns the instructions for each MiB that is written, the frames of
    the line, unpacking and copying included, those for each MiB that is hashed, and the peak of the memory in KiB."""
    plugin, count = scratch / "instructions.so", scratch / "instructions"
    run("gcc", "-O2", "-fPIC", "-shared", "-o", plugin, ROOT / "ci/bench_lib/instructions.c")
    place = scratch / "counted"
    place.mkdir()
    line = Line()
    words, environment = hands_on(pumice, place, line.ends[0])
    environment["PUMICE_STORE"] = str(scratch / "store")
    program = pathlib.Path(captured("cross/build-agent", TRIPLE).strip())
    emulator = [*under, "qemu-arm", "-B", hex(BASE), "-plugin", f"{plugin},count={count}"]

    def deploy(*options):
        """What it says, and the instructions of the agent until then."""
        done = subprocess.run([*words, "--json", "deploy", "here", image, *options], env=environment, check=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        return json.loads(done.stdout), int.from_bytes(count.read_bytes(), "little")

    with Agent(program, line.ends[1], place, "--role", "master", "--partition", f"testrootfs={disk}", under=emulator) as agent:
        memory = Peak(agent.process.pid)
        time.sleep(SCAN_S)
        # All of the partition is hashed once until here, by this or by the scan in the background, and some of it again.
        _, compared = deploy("--dry-run")
        said, written = deploy()
        # What it holds is known by now, so it is hashed once: fresh, to be verified.
        _, again = deploy()
        memory.join_after()
    hashing = again - written
    # The agent knows the hashes of what it has compared: its next comparison is only what goes beyond hashing once.
    writing = (written - compared) - (compared - hashing) - hashing
    blocks = sum(said["bytes"][what] for what in ("sent", "copied", "zero"))
    return writing / (blocks / 2**20), hashing / (said["image_bytes"] / 2**20), memory.kib


class Peak(threading.Thread):
    """Watches a program in the emulator, and notes how much of its memory was resident at the most."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.smaps, self.kib, self.is_over = pathlib.Path(f"/proc/{pid}/smaps"), 0, threading.Event()
        self.start()

    def run(self):
        while not self.is_over.wait(0.005):
            self.kib = max(self.kib, self.resident())

    def resident(self):
        """smaps of proc(5): a line for each mapping, which begins with its addresses, and others of its sizes behind it."""
        kib, is_of_program = 0, False
        for row in self.smaps.read_text().splitlines():
            word = row.split()[0]
            if not word.endswith(":"):
                is_of_program = BASE <= int(word.split("-")[0], 16) < BASE + 2**32
            elif is_of_program and word == "Rss:":
                kib += int(row.split()[1])
        return kib

    def join_after(self):
        self.is_over.set()
        self.join()

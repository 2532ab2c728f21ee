"""A whole job over a paced line on which a kernel prints every 50 ms: does the run's console.raw have every line?"""

import json
import os
import pathlib
import random
import tempfile

from .common import ROOT
from .process import Process

LIMIT = 240


def check(programs, baud, payload, seed):
    """What was found, in words. The board is tests/e2e's `pty-board`; its test writes the payload to its standard output,
    and the agent that ran it sends the file."""
    with tempfile.TemporaryDirectory(prefix="pumice-bench-") as name:
        folder = pathlib.Path(name)
        for inner in "board/master", "board/testrootfs", "types":
            (folder / inner).mkdir(parents=True)
        (folder / "board/testboot").write_bytes(bytes(8 << 20))
        data, printed = folder / "payload", folder / "printed"
        data.write_bytes(random.Random(seed).randbytes(payload))
        # No kernel prints while the boot loader runs.
        line = [programs / "paced-line", "--baud", baud, "--seed", seed, "--text-every", 50, "--text-log", printed,
                "--text-from", "Linux version", "--text-until", "U-Boot ", "--",
                programs / "pty-board", programs / "pumice-agent", folder / "board"]
        board_type = (ROOT / "tests/e2e/pty-board.yaml").read_text()
        connection = json.dumps([str(word) for word in line])
        (folder / "types/pty.yaml").write_text(f"{board_type}connection: {{exec: {connection}}}\n")
        (folder / "lab.yaml").write_text("board_types: types\nboards:\n  - {name: pty-01, type: pty-board}\n")
        (folder / "job.yaml").write_text("name: console\nboard: {type: pty-board}\n"
                                         f"tests:\n  - {{name: data, run: 'cat {data}', timeout: 1m}}\ntimeout: 10m\n")
        ended = Process([programs / "pumice", "--lab", "lab.yaml", "run", "job.yaml", "--out", "runs"], cwd=folder,
                        env=os.environ | {"PUMICE_STATE": str(folder / "state")}).wait(LIMIT)
        if ended.status != 0:
            return f"the job failed: {ended.why}"
        record = next((folder / "runs").iterdir())
        whole = (record / "tests/data/stdout.log").read_bytes() == data.read_bytes()
        kept, lost = compare(printed.read_bytes(), (record / "console.raw").read_bytes())
        link = json.loads((record / "run.json").read_text())["link"]
        return (f"{kept} lines printed in a job, {lost} of them not whole and in order in console.raw; "
                f"{link.get('damaged_frames', 0)} frames damaged, {link.get('retransmits', 0)} sent again by the host; "
                f"the test's {payload // 1000} kB {'whole' if whole else 'DAMAGED'}")


def compare(printed, console):
    """Lines printed, and how many of them are not found whole behind the one before. What was on its way when the power
    went off, a line or two, is not asked for."""
    lines = printed.splitlines(keepends=True)[:-2]
    at, lost = 0, 0
    for line in lines:
        found = console.find(line, at)
        if found < 0:
            lost += 1
        else:
            at = found + len(line)
    return len(lines), lost

"""What all parts of the bench use: running programs, tables, the folder."""

import json
import os
import pathlib
import statistics
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(*words, **options):
    return subprocess.run([str(word) for word in words], cwd=ROOT, check=True, **options)


def captured(*words, **options):
    return run(*words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, **options).stdout


def release(*packages):
    """Builds the programs of these packages and returns the folder that they are in."""
    run("cargo", "build", "--locked", "--release", *(word for package in packages for word in ("-p", package)))
    metadata = json.loads(captured("cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"))
    return pathlib.Path(metadata["target_directory"]) / "release"


def timed(work):
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


class Agent:
    """An agent at a line's end, for as long as a `with` lasts; its root is a new folder. One that is not built for this
    machine runs `under` the words of an emulator."""

    def __init__(self, program, device, folder, *words, under=()):
        root = folder / "root"
        root.mkdir()
        self.words = [*under, program, "--line", device, "--root", root, *words]

    def __enter__(self):
        self.process = subprocess.Popen(self.words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def cpu_seconds(self):
        """User and system time so far."""
        behind_name = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        # proc(5): utime and stime are the fields 14 and 15, and the first behind the name is 3.
        return (int(behind_name[11]) + int(behind_name[12])) / os.sysconf("SC_CLK_TCK")


def hands_on(pumice, folder, device, baud=115200, side_lane=None):
    """The words and the environment of a `pumice` whose board `here` is at this device, and finds this host at `side_lane`."""
    lab = folder / "lab.yaml"
    lane = f", side_lane: {side_lane}" if side_lane else ""
    lab.write_text(f"boards:\n  - {{name: here, type: generic, connection: 'serial:{device}?baud={baud}'{lane}}}\n")
    return [pumice, "--lab", lab], os.environ | {"PUMICE_STATE": str(folder / "state")}


def span(values):
    """Median, lowest and highest of some times in seconds."""
    if not values:
        return "-"
    unit, scale = ("ms", 1000) if statistics.median(values) < 0.5 else ("s", 1)
    low, middle, high = (f"{value * scale:.{0 if scale == 1000 else 2}f}"
                         for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} {unit}  ({low}..{high}, n={len(values)})"


def print_table(rows):
    """The first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    print()
    for number, row in enumerate(rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))

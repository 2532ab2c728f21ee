"""Sizes and times of a job on the emulated board, and of hands on an agent on a line with no limit."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime

from .common import ROOT, Agent, captured, hands_on, print_table, release, run, span, timed
from .free_line import Line

TRIPLE = "armv7-unknown-linux-musleabihf"
IMAGE_MIB = 64
PEERS = "LAVA 2023.01 / labgrid 26.0, measured on the same kind of machine"
BEACON = b"@pumice1 "

# QEMU copies what the line says into a file; the bench looks there for the first beacon. `exec` keeps the process that
# pumice started, so that it ends as it would without the bench.
SHIM = """#!/bin/bash
words=()
for word; do words+=("${word/#stdio,/stdio,logfile=$PUMICE_BENCH_LINE,}"); done
exec "$PUMICE_BENCH_QEMU" "${words[@]}"
"""


def bench(rounds):
    folder = release("host-dispatcher", "agent-linux")
    pumice, host_agent = folder / "pumice", folder / "pumice-agent"
    agent = pathlib.Path(captured("cross/build-agent", TRIPLE).strip())
    run("cross/bake-image", "qemu-virt-armv7", "--agent", agent, stdout=subprocess.DEVNULL)
    found, info = on_the_emulated_board(pumice, rounds)
    trips, rate = on_a_free_line(pumice, host_agent)
    demo = timed(lambda: run("ci/demo", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    size = agent.stat().st_size
    print_table([
        ("what", "median (lowest..highest)", "target", "peers"),
        (f"agent, static {TRIPLE.split('-')[0]}", f"{size / 1024:.1f} KiB", "<= 128 KiB", "qemu-ga 762 KB + glib"),
        ("agent, resident memory", f"{memory(info)} KiB", "<= 1024 KiB", ""),
        ("power on -> beacon", span(found["power on -> beacon"]), "", "login: at 9.29 s / 8.97 s"),
        ("beacon -> session", span(found["beacon -> session"]), "", ""),
        ("test agent's session -> first result", span(found["session -> first result"]), "<= 0.3 s from beacon",
         "login -> result 1.85 s / 0.41 s"),
        ("a case of `true` in a job", span(found["a case of `true`"]), "<= 30 ms round trip",
         "0.039 s a case / 0.103 s a round trip"),
        ("job: deploy, two boots, 20 x `true`", span(found["job of 20 `true`"]), "", ""),
        ("`pumice exec -- true`, free line", span(trips), "", ""),
        (f"deploy of {IMAGE_MIB} MiB random data, free line", f"{rate / 1e6:.2f} MB/s" if rate else "failed", "", ""),
        ("ci/demo, all built", f"{demo:.1f} s", "", ""),
    ])
    print(f"\npeers: {PEERS}. The emulated UART is not held to 115200 baud; theirs was.")


class Beacons(threading.Thread):
    """Notes when the line's log first holds a beacon."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.seen, self.ended = path, None, False

    def run(self):
        while not self.ended and self.seen is None:
            if self.path.exists() and BEACON in self.path.read_bytes():
                self.seen = time.time()
            time.sleep(0.005)


def seconds(event):
    return datetime.fromisoformat(event["time"].replace("Z", "+00:00")).timestamp()


def first(events, **wanted):
    return next((e for e in events if all(e.get(k) == v for k, v in wanted.items())), None)


def job_on_board(pumice, folder, environment, job):
    """Runs a job; returns its events and the time of its first beacon."""
    line = folder / "line.log"
    line.unlink(missing_ok=True)
    beacons = Beacons(line)
    beacons.start()
    out = folder / "runs"
    shutil.rmtree(out, ignore_errors=True)
    run(pumice, "run", job, "--out", out, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, env=environment | {"PUMICE_BENCH_LINE": str(line)})
    beacons.ended = True
    beacons.join()
    events = next(out.iterdir()) / "events.ndjson"
    return [json.loads(text) for text in events.read_text().splitlines()], beacons.seen


def on_the_emulated_board(pumice, rounds):
    found = {"power on -> beacon": [], "beacon -> session": [], "session -> first result": [],
             "a case of `true`": [], "job of 20 `true`": []}
    with tempfile.TemporaryDirectory(prefix="pumice-bench-") as name:
        folder = pathlib.Path(name)
        shim = folder / "bin" / "qemu-system-arm"
        shim.parent.mkdir()
        shim.write_text(SHIM)
        shim.chmod(0o755)
        environment = os.environ | {"PATH": f"{shim.parent}:{os.environ['PATH']}",
                                    "PUMICE_BENCH_QEMU": shutil.which("qemu-system-arm")}
        # What testrootfs holds is tested, so the image is sent once: here.
        image = ROOT / "images/qemu-virt-armv7/test-busybox-nokernel.ext4"
        tests = "".join(f"  - {{name: true-{n:02}, run: 'true', timeout: 30s}}\n" for n in range(20))
        job = folder / "job.yaml"
        job.write_text("name: twenty times true\nboard: {type: qemu-virt-armv7}\nboot_with: master\n"
                       f"deploy: {{rootfs: {image}}}\ntests:\n{tests}timeout: 10m\n")
        for _ in range(rounds):
            events, beacon = job_on_board(pumice, folder, environment, job)
            power = seconds(first(events, event="power", state="done"))
            session = seconds(first(events, event="session_opened"))
            ends = [seconds(e) for e in events if e["event"] == "test_ended"]
            if beacon:
                found["power on -> beacon"].append(beacon - power)
                found["beacon -> session"].append(session - beacon)
            test_session = seconds(first(events, event="session_opened", slot="test"))
            found["session -> first result"].append(ends[0] - test_session)
            found["a case of `true`"] += [b - a for a, b in zip(ends, ends[1:])]
            found["job of 20 `true`"].append(seconds(events[-1]) - seconds(events[0]))
    info = json.loads(captured(pumice, "info", "qemu-01", "--json", stderr=subprocess.DEVNULL))
    return found, info


def on_a_free_line(pumice, agent):
    with tempfile.TemporaryDirectory(prefix="pumice-bench-") as name:
        folder = pathlib.Path(name)
        line = Line()
        partition, image = folder / "partition", folder / "image"
        with partition.open("wb") as file:
            file.truncate(IMAGE_MIB << 20)
        # Random data: nothing to compress, no zeros to leave out.
        image.write_bytes(os.urandom(IMAGE_MIB << 20))
        words, environment = hands_on(pumice, folder, line.ends[0])
        with Agent(agent, line.ends[1], folder, "--partition", f"testrootfs={partition}"):
            trips = [timed(lambda: captured(*words, "exec", "here", "--", "true", env=environment,
                                            stderr=subprocess.DEVNULL)) for _ in range(20)]
            rate = None
            try:
                took = timed(lambda: captured(*words, "deploy", "here", image, env=environment,
                                              stderr=subprocess.PIPE))
                if partition.read_bytes() == image.read_bytes():
                    rate = (IMAGE_MIB << 20) / took
            except subprocess.CalledProcessError as error:
                print(f"ci/bench: deploy failed: {error.stderr.strip()}", file=sys.stderr)
            return trips, rate


def memory(info):
    return next((value for key, value in flat(info) if "resident" in key), "?")


def flat(value, path=""):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, f"{path}.{key}")
    else:
        yield path, value

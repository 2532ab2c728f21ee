"""The test agent on the emulated board: what a case costs, what showing output costs, and how true the timeline is."""

import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import threading
import time
from datetime import datetime

from .common import ROOT, captured, print_table, release, run, span
from .job import PEERS, TRIPLE

CASES = 200
MARKS = 100

# Ticks of the agent's processor time before and after, by the board's own count (proc(5), fields 14 and 15, 100 a second).
# The marks are printed twice at once: to the kernel's log, whose time the board stamps, and bare on the line, which the
# host stamps when it arrives.
TESTS = f"""
  - name: cases
    run: |
      for number in $(seq {CASES}); do lava-test-case case-$number --shell true; done
  - name: bare
    run: |
      for number in $(seq {CASES}); do sh -c true; done
  - name: idle
    run: |
      agent() {{ for pid in $(pidof @pumice-agent); do cut -d' ' -f14,15 /proc/$pid/stat; done; }}
      agent > "$LAVA_RESULT_DIR/before"
      sleep 10
      agent > "$LAVA_RESULT_DIR/after"
  - name: flood
    run: |
      agent() {{ for pid in $(pidof @pumice-agent); do cut -d' ' -f14,15 /proc/$pid/stat; done; }}
      agent > "$LAVA_RESULT_DIR/before"
      for number in $(seq 1000); do
        seq 1 23
        usleep 10000
      done
      cut -d' ' -f1 /proc/uptime > "$LAVA_RESULT_DIR/uptime"
      agent > "$LAVA_RESULT_DIR/after"
  - name: marks
    run: |
      for number in $(seq {MARKS}); do
        echo "<4>mark $number of the log" > /dev/kmsg
        echo "mark $number of the line" > /dev/ttyAMA0
        usleep 100000
      done
"""


def bench(rounds):
    folder = release("host-dispatcher")
    pumice = folder / "pumice"
    agent = pathlib.Path(captured("cross/build-agent", TRIPLE).strip())
    run("cross/bake-image", "qemu-virt-armv7", "--agent", agent, stdout=subprocess.DEVNULL)
    found = {"case": [], "bare": [], "idle": [], "flood": [], "latency": [], "error": [], "said": []}
    for _ in range(rounds):
        one_run(pumice, found)
    overhead = statistics.median(found["case"]) - statistics.median(found["bare"])
    print_table([
        ("what", "median (lowest..highest)", "target", "peers"),
        ("a case of `lava-test-case … --shell true`, synced", span(found["case"]), "", "0.039 s a case / 0.103 s"),
        ("the same command without a case", span(found["bare"]), "", ""),
        ("overhead of a case", f"{overhead * 1000:.1f} ms", "", ""),
        ("the agent's processor time, nothing printed", percent(found["idle"]), "", ""),
        ("the agent's processor time, output faster than the line", percent(found["flood"]), "", ""),
        ("printk -> host's timeline", span(found["latency"]), "", "no separate source"),
        ("timeline's error, log against line", span(found["error"]), "<= what it says", "no board time"),
        ("what the timeline says it may be off by", span(found["said"]), "", ""),
    ])
    print(f"\npeers: {PEERS}. The emulated processor is some 20 times slower than a board's.")


def percent(shares):
    return f"{statistics.median(shares) * 100:.1f} % ({min(shares) * 100:.1f}..{max(shares) * 100:.1f}, n={len(shares)})"


class Arrivals(threading.Thread):
    """Notes when each line of the timeline's file came to stand there."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.folder, self.seen, self.ended = folder, {}, False

    def run(self):
        file, rest = None, b""
        while not self.ended:
            if file is None:
                path = next(self.folder.glob("*/timeline.ndjson"), None)
                if path:
                    file = path.open("rb")
            else:
                rest += file.read()
                now = time.time()
                *lines, rest = rest.split(b"\n")
                for line in lines:
                    if b"of the log" in line:
                        self.seen[json.loads(line)["text"]] = now
            time.sleep(0.001)


def one_run(pumice, found):
    with tempfile.TemporaryDirectory(prefix="pumice-bench-") as name:
        folder = pathlib.Path(name)
        image = ROOT / "images/qemu-virt-armv7/test-busybox-nokernel.ext4"
        job = folder / "job.yaml"
        job.write_text("name: test agent\nboard: {type: qemu-virt-armv7}\nboot_with: master\n"
                       f"deploy: {{rootfs: {image}}}\ntests:{TESTS}timeout: 15m\n")
        out = folder / "runs"
        out.mkdir()
        arrivals = Arrivals(out)
        arrivals.start()
        run(pumice, "run", job, "--out", out, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env=os.environ | {"PUMICE_STATE": str(folder / "state")})
        arrivals.ended = True
        arrivals.join()
        read(next(out.iterdir()), arrivals.seen, found)


def read(record, arrivals, found):
    suites = {suite["suite"]: suite for suite in json.loads((record / "run.json").read_text())["suites"]}
    found["case"].append(suites["cases"]["seconds"] / CASES)
    found["bare"].append(suites["bare"]["seconds"] / CASES)
    for suite in ["idle", "flood"]:
        ticks = [sum(int(word) for word in (record / "tests" / suite / name).read_text().split())
                 for name in ["before", "after"]]
        found[suite].append((ticks[1] - ticks[0]) / 100 / suites[suite]["seconds"])
    log, line = {}, {}
    for text in (record / "timeline.ndjson").read_text().splitlines():
        entry = json.loads(text)
        words = entry["text"].split()
        if words[:1] != ["mark"] or words[3:] not in (["the", "log"], ["the", "line"]):
            continue
        at = datetime.fromisoformat(entry["host_time"].replace("Z", "+00:00")).timestamp()
        (log if words[-1] == "log" else line)[words[1]] = (at, entry)
    for number, (at, entry) in log.items():
        if entry["text"] in arrivals:
            found["latency"].append(arrivals[entry["text"]] - at)
        if number in line:
            found["error"].append(abs(line[number][0] - at))
            found["said"].append(entry.get("uncertainty_us", 0) / 1e6)

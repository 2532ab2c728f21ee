"""LAVA's dispatcher beside ours: as many boards as fit, the same text on their lines, memory and processor time.

LAVA runs a process `lava-run` for each job; its line is `cat DEVICE`. Each waits for a prompt that never comes, as our boards
wait for a boot loader. What is counted is the process and its children, memory by its share of pages that several have.
"""

import os
import pathlib
import re
import shutil
import subprocess
import time

BOARDS, SECONDS, RATE = 8, 20, 11_520

DEVICE = """character_delays: {{boot: 0, test: 0}}
commands:
  connections:
    uart0: {{connect: cat {device}, tags: [primary]}}
constants:
  failure_retry: 1
  boot_retry: 1
  default-shell-prompt: '$ '
  spawn_maxread: '4092'
  kernel-start-message: Linux version
  shutdown-message: reboot
  posix: {{}}
  minimal: {{}}
parameters: {{}}
actions:
  deploy: {{methods: {{}}, connections: {{}}}}
  boot: {{connections: {{serial: null}}, methods: {{minimal: null}}}}
timeouts: {{actions: {{}}, connections: {{}}}}
"""

JOB = """job_name: console
visibility: public
timeouts: {job: {minutes: 20}, action: {minutes: 15}, connection: {minutes: 15}}
actions:
- boot: {method: minimal, prompts: [a prompt that never comes], timeout: {minutes: 15}}
"""


def version():
    """Of Debian's package; nothing where it is not installed."""
    if not shutil.which("lava-run"):
        return None
    asked = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "lava-dispatcher"], capture_output=True, text=True)
    return asked.stdout.strip() or "?"


def measure(lines, folder):
    """KiB a board, seconds of CPU for each second of text on all of them, lines lost, lines said."""
    runs = [Run(folder / f"lava-{number}", number, device) for number, device in enumerate(lines.devices)]
    try:
        until = time.monotonic() + 120
        while not all(run.has_begun() for run in runs):
            if time.monotonic() > until:
                raise RuntimeError(f"lava-run does not wait for its board: see {folder}")
            time.sleep(0.2)
        cpu = sum(run.cpu() for run in runs)
        lines.begin(list(range(len(runs))), RATE, SECONDS)
        said = lines.end()
        share = (sum(run.cpu() for run in runs) - cpu) / said["seconds"]
        time.sleep(3)
        memory = sum(run.memory() for run in runs) / len(runs)
        lost = sum(said["lines"][run.device] - run.seen() for run in runs)
        return memory, share, lost, sum(said["lines"].values())
    finally:
        for run in runs:
            run.end()


class Run:
    """One `lava-run`."""

    def __init__(self, folder, number, device):
        folder.mkdir()
        self.device, self.log = device, folder / "log"
        (folder / "device.yaml").write_text(DEVICE.format(device=device))
        (folder / "job.yaml").write_text(JOB)
        words = ["lava-run", "--device", folder / "device.yaml", "--output-dir", folder / "out", "--job-id", str(90_000 + number),
                 folder / "job.yaml"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(list(map(str, words)), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True)

    def has_begun(self):
        return b"cat /dev" in self.log.read_bytes() and len(self.processes()) > 1

    def processes(self):
        """It and its children, of which each is in its session or has it as its parent."""
        found = []
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                words = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(words[3]) == self.process.pid or int(words[1]) == self.process.pid:
                found.append((stat.parent, words))
        return found

    def cpu(self):
        ticks = sum(int(words[11]) + int(words[12]) for _, words in self.processes())
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory(self):
        """Proportional KiB."""
        kib = 0
        for place, _ in self.processes():
            found = re.search(r"^Pss:\s+(\d+)", (place / "smaps_rollup").read_text(), re.MULTILINE)
            kib += int(found[1])
        return kib

    def seen(self):
        return len(set(re.findall(rb"(\d{8}) \d{6,} x{30,}", self.log.read_bytes())))

    def end(self):
        for place, _ in self.processes():
            try:
                os.kill(int(place.name), 9)
            except ProcessLookupError:
                pass
        self.process.wait()

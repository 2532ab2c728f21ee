"""A lab of 1,000 lines in one dispatcher: processor time, memory, lost bytes, latency; and the page's log of 1e6 lines.

The lines are pseudo-terminals on which text of consoles is written, in real time; jobs hold them open and wait for a boot
loader that never comes. So what is measured is the whole way of a byte: the loop, the demultiplexer, the line of the
timeline, console.raw. Agents in sessions are not: `ci/bench link` measures those.
"""

import json
import os
import pathlib
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from . import lava
from .common import ROOT, print_table, release
from .web_socket import WebSocket

BOARDS, SATURATED, SECONDS, RATE = 1000, 256, 20, 11_520
LINES = 1_000_000
LATENCY_BOARDS = 8

TYPE = """name: console
power: {on: [/bin/true], off: [/bin/true]}
boot_loader:
  kind: u-boot
  banner: "U-Boot "
  autoboot: "Hit any key to stop autoboot"
  interrupt: " "
  prompt: "=> "
  commands: {master: &boot [boot], test: *boot}
kernel_args: {master: --role master, test: --role test}
partitions: {master: 1, testboot: 2, testrootfs: 3}
line: {coding: text-safe}
deadlines: {boot_loader: 2h, command: 2h, kernel: 2h, beacon: 2h}
"""


def bench(_rounds):
    pumice = release("host-dispatcher") / "pumice"
    measure(pumice, BOARDS, SATURATED, SECONDS, LINES)


def measure(pumice, boards, saturated, seconds, log_lines):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="pumice-bench-") as folder:
        folder = pathlib.Path(folder)
        with Lines(boards) as lines:
            base = base_memory(pumice, folder, lines)
            with Lab(pumice, folder / "many", lines.devices) as lab:
                rows = on_many_boards(lab, lines, base, saturated, seconds)
        print_table([("many boards", "measured", "target"), *rows])
        beside_lava(pumice, folder)
        with Lines(1) as lines, Lab(pumice, folder / "log", lines.devices) as lab:
            rows = long_log(lab, log_lines)
        print_table([(f"a run of {log_lines:,} log lines", "first time", "again"), *rows])


class Lines:
    """The process with the lines, for as long as a `with` lasts."""

    def __init__(self, count):
        words = [sys.executable, str(ROOT / "ci/bench_lib/lab_lines.py"), str(count)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.devices = json.loads(self.process.stdout.readline())

    def begin(self, boards, rate, seconds, babbler=None):
        order = {"boards": boards, "rate": rate, "seconds": seconds, "babbler": babbler}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def end(self):
        return json.loads(self.process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Lab:
    """A `pumice serve` with a board at each device."""

    def __init__(self, pumice, folder, devices):
        self.folder = folder
        (folder / "types").mkdir(parents=True)
        (folder / "types/console.yaml").write_text(TYPE)
        entries = [f"  - {{name: b{number:04}, type: console, connection: 'serial:{device}?baud=115200'}}\n"
                   for number, device in enumerate(devices)]
        (folder / "lab.yaml").write_text("board_types: types\nboards:\n" + "".join(entries))
        self.devices, self.store = devices, folder / "store"
        words = [pumice, "--lab", folder / "lab.yaml", "--store", self.store, "serve", "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(list(map(str, words)), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True,
                                        env=os.environ | {"PUMICE_STATE": str(folder / "state")})
        for line in self.process.stderr:
            if found := re.search(r"http://\S+", line):
                self.base = found[0]
                break
        else:
            raise RuntimeError("the lab does not start")
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def cpu(self):
        behind_name = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(behind_name[11]) + int(behind_name[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self):
        """Resident KiB."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1])

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "X-Pumice-User": "bench"}
        request = urllib.request.Request(f"{self.base}/api/v1{path}", data, headers)
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)

    def hold(self, number):
        """A job that keeps the line of a board open."""
        definition = f"name: hold\nboard: {{name: b{number:04}}}\ntests: [{{name: t, run: 'true'}}]\ntimeout: 2h\n"
        return self.ask("/jobs", {"definition": definition, "file": "job.yaml", "priority": 50, "files": {}})["id"]

    def running(self):
        return {job["board"]: job["run"] for job in self.pages("/jobs?state=running") if job["run"]}

    def pages(self, path):
        before, jobs = None, []
        while True:
            page = self.ask(f"{path}&limit=200" + (f"&before={before}" if before else ""))
            jobs += page["jobs"]
            if not page["more"] or not page["jobs"]:
                return jobs
            before = page["jobs"][-1]["id"]

    def hold_all(self):
        for number in range(len(self.devices)):
            self.hold(number)
        until = time.monotonic() + 300
        while len(runs := self.running()) < len(self.devices):
            if time.monotonic() > until:
                raise RuntimeError(f"{len(runs)} of {len(self.devices)} jobs run")
            time.sleep(1)
        time.sleep(5)
        return [self.store / "runs" / runs[f"b{number:04}"] for number in range(len(self.devices))]


def base_memory(pumice, folder, lines):
    with Lab(pumice, folder / "one", lines.devices[:1]) as lab:
        time.sleep(3)
        return lab.memory()


def on_many_boards(lab, lines, base, saturated, seconds):
    count = len(lab.devices)
    time.sleep(5)
    known = lab.memory()
    idle_cpu = cpu_share(lab, 5)
    runs = lab.hold_all()
    held = lab.memory()
    held_cpu = cpu_share(lab, 5)

    watched = range(0, saturated, max(1, saturated // LATENCY_BOARDS))
    with Tails([runs[number] / "console.raw" for number in watched]) as tails, Pages(lab, watched) as pages:
        cpu, begun = lab.cpu(), time.monotonic()
        lines.begin(list(range(saturated)), RATE, seconds)
        said = lines.end()
        share = (lab.cpu() - cpu) / (time.monotonic() - begun)
        time.sleep(2)
    after = lab.memory()
    lost = lost_lines(runs, lab.devices, said["lines"])

    quiet = list(range(1, 1 + LATENCY_BOARDS))
    with Tails([runs[number] / "console.raw" for number in quiet]) as alone:
        lines.begin(quiet, RATE, seconds / 2)
        lines.end()
        time.sleep(1)
    with Tails([runs[number] / "console.raw" for number in quiet]) as beside:
        lines.begin(quiet, RATE, seconds / 2, babbler=count - 1)
        calm = lines.end()
        time.sleep(1)
    lost_beside = lost_lines([runs[number] for number in quiet], [lab.devices[number] for number in quiet], calm["lines"])
    rate = said["bytes"] / said["seconds"] / saturated
    return [
        (f"boards, jobs on all of them: {count}", "", ""),
        ("memory of a lab of one board", f"{base / 1024:.1f} MiB", ""),
        ("memory a board more, idle", f"{(known - base) / (count - 1):.1f} KiB", ""),
        ("memory a board more, in a job", f"{(held - base) / (count - 1):.1f} KiB", "<= 64 KiB"),
        (f"the same after {saturated} were saturated", f"{(after - base) / (count - 1):.1f} KiB", "<= 64 KiB"),
        ("CPU, idle boards / boards in jobs", f"{idle_cpu:.1%} / {held_cpu:.1%} of a core", ""),
        (f"CPU, {saturated} boards at {rate:,.0f} B/s each", f"{share:.1%} of a core", "<= 100 %"),
        ("bytes said on these / lines lost", f"{said['bytes'] / 1e6:.1f} MB / {lost}", "0 lost"),
        ("writes that found a line full", f"{said['waits']}", ""),
        (f"byte on the line -> console.raw, {saturated} saturated", quantiles(tails.delays), ""),
        (f"byte on the line -> a page that shows its console, {saturated} saturated", quantiles(pages.delays), ""),
        (f"to console.raw, {len(quiet)} saturated", quantiles(alone.delays), ""),
        (f"the same beside a board that babbles, {calm['babbled'] / 1e6:.1f} MB/s", quantiles(beside.delays), ""),
        ("lines lost of these", f"{lost_beside}", "0 lost"),
    ]


def beside_lava(pumice, folder):
    """The same boards with the same text, one dispatcher after the other."""
    count, version = lava.BOARDS, lava.version()
    if not version:
        print("\nlava-run is not installed, so LAVA is not measured beside: apt-get install lava-dispatcher")
        return
    with Lines(count) as lines, Lab(pumice, folder / "few", lines.devices) as lab:
        base = lab.memory()
        runs = lab.hold_all()
        cpu = lab.cpu()
        lines.begin(list(range(count)), RATE, lava.SECONDS)
        said = lines.end()
        share = (lab.cpu() - cpu) / said["seconds"]
        time.sleep(2)
        ours = (lab.memory() - base) / count, share, lost_lines(runs, lab.devices, said["lines"]), sum(said["lines"].values())
    with Lines(count) as lines:
        theirs = lava.measure(lines, folder)
    rows = [(f"{count} boards at {RATE:,} B/s each", "pumice serve", f"lava-run {version}", "LAVA / pumice")]
    for what, form, at in (("memory a board", "{:,.0f} KiB", 0), ("CPU, of a core", "{:.1%}", 1)):
        rows.append((what, form.format(ours[at]), form.format(theirs[at]), f"{theirs[at] / max(ours[at], 1e-9):,.0f}"))
    rows.append(("lines lost", f"{ours[2]} of {ours[3]:,}", f"{theirs[2]} of {theirs[3]:,}", ""))
    print_table(rows)


def cpu_share(lab, seconds):
    cpu, begun = lab.cpu(), time.monotonic()
    time.sleep(seconds)
    return (lab.cpu() - cpu) / (time.monotonic() - begun)


class Tails:
    """Looks every millisecond at what has come into some files, and how long ago it was said."""

    def __init__(self, files):
        self.files = [file.open("rb") for file in files]
        for file in self.files:
            file.seek(0, os.SEEK_END)
        self.delays, self.ended = [], False
        self.thread = threading.Thread(target=self.look, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended = True
        self.thread.join()

    def look(self):
        while not self.ended:
            for file in self.files:
                if piece := file.read():
                    now = time.monotonic_ns() // 1000
                    self.delays += [(now - int(at)) / 1e6 for at in re.findall(rb"\d{8} (\d{6,}) x", piece)]
            time.sleep(0.001)


class Pages:
    """Shows the consoles of some boards, as the web page does, and notes how long ago what it shows was said."""

    def __init__(self, lab, boards):
        base = lab.base.replace("http://", "ws://")
        self.sockets = [WebSocket(f"{base}/api/v1/boards/b{number:04}/console") for number in boards]
        self.delays = []

    def __enter__(self):
        for socket in self.sockets:
            threading.Thread(target=self.look, args=(socket,), daemon=True).start()
        return self

    def __exit__(self, *_):
        for socket in self.sockets:
            socket.close()

    def look(self, socket):
        begun = time.monotonic_ns() // 1000
        try:
            while True:
                piece = socket.read()
                now = time.monotonic_ns() // 1000
                # The first message is the end of what was said before.
                said = [int(at) for at in re.findall(rb"\d{8} (\d{6,}) x", piece)]
                self.delays += [(now - at) / 1e6 for at in said if at >= begun]
        except (EOFError, OSError):
            pass


def quantiles(delays):
    if len(delays) < 100:
        return "-"
    delays = sorted(delays)
    middle, late = statistics.median(delays), delays[len(delays) * 99 // 100]
    return f"{middle * 1000:.0f} ms median, {late * 1000:.0f} ms at 99 %, {delays[-1] * 1000:.0f} ms at most"


def lost_lines(runs, devices, said):
    """Lines that are not in console.raw, whole and in their place."""
    lost = 0
    for run, device in zip(runs, devices):
        if device in said:
            text = (run / "console.raw").read_bytes()
            seen = re.findall(rb"^(\d{8}) \d+ x+\r\n", text, re.MULTILINE)
            lost += said[device] - len(seen)
            if [int(number) for number in seen] != sorted({int(number) for number in seen}):
                lost += 1
    return lost


def long_log(lab, count):
    """A run of which only the timeline is made up: what the page asks for when it opens one."""
    run = lab.hold_all()[0]
    job = lab.ask("/jobs?state=running&limit=1")["jobs"][0]["id"]
    lab.ask(f"/jobs/{job}/cancel", {})
    while lab.ask(f"/jobs/{job}")["state"] != "ended":
        time.sleep(0.1)
    write_timeline(run / "timeline.ndjson", count)
    path = f"/runs/{run.name}/log"
    middle = f"?around={moment(count // 2)}&count=200"
    questions = [
        ("first page: ?from=0&count=200", "?from=0&count=200"),
        ("the end", f"?from={count - 200}&count=200"),
        ("the middle, by time", middle),
        ("the kernel's lines", "?source=kernel&count=200"),
        ("the kernel's, level 3, from their middle", f"?source=kernel&level=3&from={count // 100}&count=200"),
        ("a text that is rare", "?grep=needle&count=200"),
    ]
    rows = []
    for what, question in questions:
        times = []
        for _ in range(2):
            begun = time.monotonic()
            page = lab.ask(path + question)
            times.append(f"{(time.monotonic() - begun) * 1000:.0f} ms")
        rows.append((f"{what} ({page['matched']:,} of {page['lines']:,})", *times))
    rows.append(("memory of the lab after that", f"{lab.memory() / 1024:.0f} MiB", ""))
    return rows


def moment(line):
    """The host time of a line: a thousand a second."""
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(1_767_225_600 + line // 1000))
    return f"{at}.{line % 1000:03}Z"


def write_timeline(path, count):
    with path.open("w") as file:
        for line in range(count):
            record = {"host_time": moment(line)}
            if line % 10 == 0:
                record |= {"source": "kernel", "level": line // 10 % 8, "text": f"usb 1-1: line {line} of the kernel"}
            elif line % 250_000 == 77:
                record |= {"source": "stdout", "suite": "smoke", "text": f"the needle {line}"}
            else:
                record |= {"source": "stdout", "suite": "smoke", "text": f"line {line} of an application that logs a lot"}
            file.write(json.dumps(record) + "\n")

"""Jobs that LAVA's server gives to Pumice, and what it shows of them."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import lava_server
from processes import Failure, free_port
from recorder import Recorder

PUMICE = Path(__file__).resolve().parents[2] / "target/debug/pumice"


class Pumice:
    """A lab of two emulated boards, and the worker."""

    def __init__(self, processes, server):
        if not PUMICE.exists():
            raise Failure("target/debug/pumice is missing: run cargo build -p host-dispatcher")
        self.processes = processes
        self.folder = processes.folder
        self.address = f"127.0.0.1:{free_port()}"
        # testrootfs holds Debian.
        images = lava_server.CACHE / "images/debian"
        lab = self.folder / "lab.yaml"
        lab.write_text(
            f"images: {images}\n"
            "boards:\n" + "".join(f"  - {{name: {board}, type: {lava_server.BOARD_TYPE}}}\n" for board in lava_server.BOARDS)
        )
        token = self.folder / "token"
        token.write_text(server.worker_token)
        store = ["--store", self.folder / "store"]
        processes.start("lab", [PUMICE, "serve", "--lab", lab, *store, "--listen", self.address])
        self.command = [PUMICE, "lava-worker", *store, "--name", lava_server.WORKER, "--token-file", token]
        self.command += ["--ping-interval", "2s", "--job-log-interval", "1s"]

    def start_worker(self, url, lab=None):
        servers = ["--server", url, "--lab-server", lab or f"http://{self.address}"]
        self.worker = self.processes.start("worker", [*self.command, *servers])

    def kill_worker(self):
        self.processes.end(self.worker, how=signal.SIGKILL)


def run_scenes(processes, server, record):
    pumice = Pumice(processes, server)
    if record:
        recorder = Recorder()
        lab = recorder.before("lab", f"http://{pumice.address}")
        pumice.start_worker(recorder.before("lava", server.url), lab)
        smoke(server)
        recorder.write(record)
        recorder.close()
        return 0
    pumice.start_worker(server.url)
    smoke(server)
    refused(server)
    interrupted(processes, server, pumice)
    canceled(processes, server)
    together(server)
    print("ok: the real LAVA server scheduled 5 jobs onto Pumice")
    return 0


def smoke(server):
    begun = time.monotonic()
    job = server.submit("smoke.yaml")
    view = server.wait_for(job)
    log = server.get(f"jobs/{job}/logs/")
    expect(view["health"] == "Complete", f"job {job} is {view['health']}:\n{log[-3000:]}")
    results = results_of(server, job)
    for name, result in [("uname", "pass"), ("speed", "pass"), ("broken", "fail"), ("job", "pass")]:
        expect(results.get(name) == [result], f"{name} is {results.get(name)} and not once {result}: {results}")
    speed = [row for row in server.get(f"jobs/{job}/tests/")["results"] if row["name"] == "speed"][0]
    expect(float(speed["measurement"]) == 41.5 and speed["unit"] == "MB/s", f"speed is {speed}")
    for text in ["the kernel is Linux", "U-Boot"]:
        expect(text in log, f"{text!r} is missing in the log:\n{log[:3000]}")
    shown = subprocess.run(
        ["/usr/bin/lavacli", "--uri", f"http://admin:{server.token}@127.0.0.1:{server.port}/RPC2", "jobs", "logs", str(job)],
        capture_output=True, text=True, check=False,
    )
    expect(shown.returncode == 0 and "the kernel is Linux" in shown.stdout, f"lavacli shows no log: {shown.stderr}")
    say(f"job {job}: scheduled, run and shown, {len(results)} results, {log.count(chr(10))} lines", begun)


def refused(server):
    begun = time.monotonic()
    job = server.submit("refused.yaml")
    view = server.wait_for(job)
    expect(view["health"] == "Incomplete", f"job {job} is {view['health']}")
    case = [row for row in server.get(f"jobs/{job}/tests/")["results"] if row["name"] == "job"][0]
    expect("error_type: Job" in case["metadata"], f"the job's result is {case['metadata']}")
    expect(f"lava-job-{job}.yaml" in server.get(f"jobs/{job}/logs/"), "the log does not say what is wrong")
    say(f"job {job}: refused, with its sentence in the log", begun)


def interrupted(processes, server, pumice):
    """The worker is killed twice, the server once; each line and each result is there once."""
    begun = time.monotonic()
    job = server.submit("count.yaml")
    wait_for_count(processes, server, job, 3)
    pumice.kill_worker()
    time.sleep(3)
    pumice.start_worker(server.url)
    wait_for_count(processes, server, job, 15)
    server.stop_web()
    time.sleep(3)
    server.start_web()
    wait_for_count(processes, server, job, 25)
    pumice.kill_worker()
    pumice.start_worker(server.url)
    view = server.wait_for(job)
    log = server.get(f"jobs/{job}/logs/")
    expect(view["health"] == "Complete", f"job {job} is {view['health']}:\n{log[-3000:]}")
    counts = re.findall(r'"count (\d+)\."', log)
    expect(sorted(map(int, counts)) == list(range(1, 91)), f"the counts in the log are {counts}")
    results = results_of(server, job)
    for number in range(1, 91):
        expect(results.get(f"step-{number}") == ["pass"], f"step-{number} is {results.get(f'step-{number}')}")
    say(f"job {job}: two dead workers, a dead server, every line and result once", begun)


def canceled(processes, server):
    begun = time.monotonic()
    job = server.submit("count.yaml")
    wait_for_count(processes, server, job, 2)
    server.lavacli("jobs", "cancel", str(job))
    view = server.wait_for(job)
    expect(view["health"] == "Canceled", f"job {job} is {view['health']}")
    expect("count 90." not in server.get(f"jobs/{job}/logs/"), "the job went on to its end")
    say(f"job {job}: canceled while it ran", begun)


def together(server):
    """What the server takes apart comes together again."""
    begun = time.monotonic()
    jobs = server.submit_all("two.yaml")
    expect(len(jobs) == 2, f"the server made {jobs} of a job of two boards")
    results, log = {}, ""
    for job in jobs:
        view = server.wait_for(job)
        own = server.get(f"jobs/{job}/logs/")
        expect(view["health"] == "Complete", f"job {job} is {view['health']}:\n{own[-3000:]}")
        results.update(results_of(server, job))
        log += own
    for name in ["served", "asked", "multinode-send-ready", "multinode-wait-ready"]:
        expect(results.get(name) == ["pass"], f"{name} is {results.get(name)} and not once pass: {results}")
    expect("the other one is a armv7l, and I am client" in log, f"the boards did not talk:\n{log[-3000:]}")
    say(f"jobs {jobs[0]} and {jobs[1]}: two boards of one job, which talk", begun)


def results_of(server, job):
    """Name of a case to its results."""
    results, offset = {}, 0
    while True:
        page = server.get(f"jobs/{job}/tests/?limit=50&offset={offset}")
        for row in page["results"]:
            results.setdefault(row["name"], []).append(row["result"])
        offset += 50
        if not page["next"]:
            return results


def wait_for_count(processes, server, job, number):
    """Waits for this line or a later one: the lab's live log may leave some out, which then come at the end."""

    def is_there():
        view = server.get(f"jobs/{job}/")
        log = server.log_so_far(job)
        expect(view["state"] != "Finished", f"job {job} has ended before {number} was counted:\n{log[-3000:]}")
        return any(int(count) >= number for count in re.findall(r'"count (\d+)\."', log))

    processes.wait_until(f"{number} is counted in the log of job {job}", is_there)


def expect(condition, otherwise):
    if not condition:
        raise Failure(otherwise)


def say(text, begun):
    print(f"{text}, {time.monotonic() - begun:.0f} s", flush=True)
    sys.stdout.flush()

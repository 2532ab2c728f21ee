"""A run directory by hand: events and a timeline in which a test of the page knows every line.

    synthetic_run.py FOLDER [LINES]

Two suites with cases, a kernel report, an error with a console, and text that wants to be markup, colours and another
direction of writing. With LINES the second suite prints so many lines more.
"""

import datetime
import json
import os
import sys

START = datetime.datetime(2026, 3, 1, 12, 0, 0, tzinfo=datetime.timezone.utc)
RUN = "2026-03-01-smoke-abc234"
HOSTILE = [
    "<script>document.title = 'taken'</script>",
    "</script><img src=x onerror=\"document.title = 'taken'\">",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x00 bell",
    "right to \u202eleft and \u2067isolated\u2069 text \u05d0\u05d1",
    "<!-- & &lt; \u2028 end",
]


def at(second):
    """The host's time of a second of the run."""
    return (START + datetime.timedelta(microseconds=round(second * 1e6))).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def record(second, source, text, **keys):
    board = {} if source in ("dispatcher", "boot_loader", "console") else {
        "board_time_us": round((second % 20) * 1e6), "uncertainty_us": 850}
    if source == "kernel":
        board["board_time_us"] = round((second % 20 + 0.1) * 1e6)
        board["sequence"] = round(second * 10)
    return {"host_time": at(second), **board, "source": source, **keys, "text": text}


def timeline(lines):
    yield record(0.001, "dispatcher", "boot master: started", level=6)
    yield record(0.002, "dispatcher", "board: off -> powering on (the power is switched on)", level=6)
    for number in range(30):
        yield record(1 + number * 0.05, "boot_loader", f"U-Boot 2023.01: step {number}")
    for number in range(120):
        level = 4 if number % 17 == 0 else 6
        yield record(4 + number * 0.02, "kernel", f"[{number * 0.02:10.6f}] driver {number}: probed at 0x{number * 4096:08x}", level=level)
    yield record(8, "agent", "session with the master agent", level=6)
    yield record(9, "dispatcher", "deploy rootfs: 6 B of 4.00 MiB sent (100.0 % was there), read back and verified", level=6)
    for number in range(100):
        yield record(22 + number * 0.02, "kernel", f"EXT4-fs (vda3): mount step {number}", level=3 if number == 50 else 6)
    for number in range(20):
        yield record(25 + number * 0.1, "user_console", f"systemd[1]: Started unit-{number}.service")
    for case in range(12):
        begin = 30 + case
        for number in range(15):
            keys = {"suite": "smoke", "case": f"case-{case:02}"}
            yield record(begin + number * 0.05, "stdout", f"case-{case:02}: checking item {number} of 15, all of it is as it should be", **keys)
            if number == 7:
                yield record(begin + 0.36, "kernel", f"usb 1-1: new high-speed USB device number {case}", level=6)
            if number == 9 and case % 3 == 0:
                yield record(begin + 0.46, "stderr", "warning: the clock was slow", **keys)
    for number, text in enumerate(HOSTILE):
        yield record(43 + number * 0.01, "stdout", text, suite="smoke")
    yield record(43.5, "stdout", "x" * 3000, suite="smoke")
    yield record(43.6, "stdout", "", suite="smoke", elided=4711)
    yield record(44, "kernel", "Internal error: Oops: 5 [#1] PREEMPT SMP ARM", level=0)
    for number in range(lines):
        second = 46 + number * (30 / max(1, lines))
        if number % 1000 == 999:
            yield record(second, "kernel", f"stress: tick {number}", level=6)
        else:
            yield record(second, "stdout", f"iteration {number}: wrote 4096 bytes at block {number * 7919 % 65536}", suite="stress")
    yield record(77, "console", "Kernel panic - not syncing: sysrq triggered crash")
    yield record(78, "dispatcher", "the kernel of the test image panicked", level=3)
    yield record(80, "dispatcher", "the run is over: TestError", level=6)


def case(name, result, **keys):
    return {"event": "case_ended", "suite": "smoke", "case": name, "result": result, "origin": "helper", **keys}


def events():
    def phase(second, before, after, cause):
        return second, {"event": "phase", "from": before, "to": after, "cause": cause}

    def action(second, name, seconds, outcome="done"):
        yield second, {"event": "action_started", "action": name}
        yield second + seconds, {"event": "action_ended", "action": name, "seconds": seconds, "outcome": outcome}

    yield 0, {"event": "run_started", "run": RUN, "job": "smoke on bookworm", "board": "qemu-01", "board_type": "qemu-virt-armv7",
              "dispatcher_version": "0.1.0", "store_version": 1}
    yield phase(0.002, "off", "powering on", "the power is switched on")
    yield phase(1, "powering on", "boot loader", "the boot loader's prompt")
    yield phase(4, "boot loader", "booting master", "the kernel's banner")
    yield phase(8, "booting master", "up master", "the agent opened a session")
    yield from action(0.001, "boot master", 8)
    yield from action(8.2, "deploy rootfs", 5.5)
    yield from action(13.8, "inject", 2.2)
    yield from action(16.1, "boot test", 12.4)
    yield phase(16.2, "up master", "booting test", "the reboot")
    yield phase(28.5, "booting test", "up test", "the agent opened a session")
    yield 29, {"event": "test_started", "suite": "smoke"}
    for number in range(12):
        name = f"case-{number:02}"
        yield 30 + number, {"event": "case_started", "suite": "smoke", "case": name}
        keys = {"seconds": 0.75, "board_time_us": round((10.75 + number) * 1e6)}
        if number == 2:
            yield 30.75 + number, case(name, "pass", measurement=41.5, units="MB/s", **keys)
        elif number == 5:
            yield 30.75 + number, case(name, "fail", why="expected: 3, is: 4", **keys)
        elif number == 7:
            yield 30.75 + number, case(name, "skip", why="no sound card", **keys)
        elif number == 9:
            yield 30.75 + number, case(name, "unknown", why="its end was not seen", **keys)
        else:
            yield 30.75 + number, case(name, "pass", **keys)
    yield 43.1, case("<b>bold</b> \u202ename\x1b[31m", "pass")
    yield 44, {"event": "kernel_report", "kind": "oops", "title": "Internal error: Oops: 5 [#1] PREEMPT SMP ARM", "policy": "record",
               "suite": "smoke", "source": "kernel", "board_time_us": 24000000, "text": "Internal error: Oops: 5 [#1]\n<b>Modules</b> linked in:"}
    yield 45, {"event": "test_ended", "suite": "smoke", "end": {"exited": {"status": 1}}, "result": "fail", "seconds": 16.0}
    yield 46, {"event": "test_started", "suite": "stress"}
    yield 60, {"event": "warning", "text": "the line lost 3 frames: <i>noisy</i>"}
    yield 78, {"event": "error", "class": "TestError", "message": "the kernel of the test image panicked",
               "console_tail": "Kernel panic - not syncing: sysrq triggered crash\r\n\x1b[31m<b>CPU</b>: 0 PID: 1"}
    yield phase(78.1, "up test", "off", "the power is off")
    yield 78.2, {"event": "test_ended", "suite": "stress", "end": {"not_run": {"why": "its end was not seen"}}, "result": "unknown", "seconds": 0.0}
    yield 80, {"event": "run_ended", "verdict": "TestError", "exit_status": 1, "seconds": 80.0}


def write(folder, lines=0):
    """Makes the run directory, complete but for its summary, which the events make."""
    os.makedirs(f"{folder}/tests/smoke")
    with open(f"{folder}/timeline.ndjson", "w", encoding="utf-8") as out:
        for item in timeline(lines):
            out.write(json.dumps(item, ensure_ascii=False) + "\n")
    with open(f"{folder}/events.ndjson", "w", encoding="utf-8") as out:
        for second, event in sorted(events(), key=lambda pair: pair[0]):
            out.write(json.dumps({"time": at(second), **event}, ensure_ascii=False) + "\n")
    for name in ("run.json", "job.yaml", "console.raw", "kernel.log", "tests/smoke/stdout.log"):
        with open(f"{folder}/{name}", "w", encoding="utf-8") as out:
            out.write("{}\n")


if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0)

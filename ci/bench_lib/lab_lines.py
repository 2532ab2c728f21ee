"""Many serial lines in one process: pseudo-terminals, and what boards say on them, at the pace of a line.

Run as a program: `lab_lines.py COUNT`. Prints a JSON list of the devices, then does what lines on standard input ask:
`{"boards": [...], "rate": BYTES_PER_S, "seconds": S, "babbler": INDEX or null}` -> one JSON line: what each board said, in
lines, and how often a line had no room at once. The babbler says as much as its line takes. A line of text is its number,
the time (monotonic, µs) at which it was written, and filling up to LINE bytes.
"""

import json
import os
import pty
import sys
import termios
import time
import tty

LINE = 72
SLICE = 0.02
BABBLE_LINES = 50


class Board:
    def __init__(self):
        self.master, slave = pty.openpty()
        tty.setraw(slave, termios.TCSANOW)
        self.device, self.slave = os.ttyname(slave), slave
        os.set_blocking(self.master, False)
        self.lines, self.waiting, self.late = 0, b"", 0

    def say(self, count, now):
        lines = []
        for _ in range(count):
            self.lines += 1
            lines.append(f"{self.lines:08d} {now} ".ljust(LINE - 2, "x") + "\r\n")
        self.put("".join(lines).encode())

    def put(self, text):
        text = self.waiting + text
        try:
            written = os.write(self.master, text)
        except BlockingIOError:
            written = 0
        self.waiting = text[written:]
        if self.waiting:
            self.late += 1

    def drain(self):
        try:
            os.read(self.master, 4096)
        except BlockingIOError:
            pass


def speak(boards, rate, seconds, babbler):
    babbled = babbler.lines if babbler else 0
    before = {board.device: board.lines for board in boards}
    for board in boards:
        board.late = 0
    begun, turn = time.monotonic(), 0
    while (passed := time.monotonic() - begun) < seconds:
        now = time.monotonic_ns() // 1000
        for board in boards:
            due = int(passed * rate / LINE) - (board.lines - before[board.device])
            if due > 0 or board.waiting:
                board.say(max(due, 0), now)
        turn += 1
        if turn % 10 == 0:
            for board in boards:
                board.drain()
        while (left := begun + turn * SLICE - time.monotonic()) > 0:
            if babbler and not babbler.waiting:
                # As much as the line takes.
                babbler.say(BABBLE_LINES, now)
            elif babbler:
                babbler.put(b"")
            time.sleep(min(left, 0.001) if babbler else left)
    until = time.monotonic() + 10
    while any(board.waiting for board in boards) and time.monotonic() < until:
        for board in boards:
            board.put(b"")
        time.sleep(SLICE)
    return {
        "lines": {board.device: board.lines for board in boards},
        "unsent": sum(len(board.waiting) for board in boards),
        "waits": sum(board.late for board in boards),
        "seconds": time.monotonic() - begun,
        "babbled": (babbler.lines - babbled) * LINE / seconds if babbler else 0,
        "bytes": sum(board.lines - before[board.device] for board in boards) * LINE,
    }


def main():
    boards = [Board() for _ in range(int(sys.argv[1]))]
    print(json.dumps([board.device for board in boards]), flush=True)
    for order in sys.stdin:
        order = json.loads(order)
        chosen = [boards[index] for index in order["boards"]]
        babbler = None if order["babbler"] is None else boards[order["babbler"]]
        print(json.dumps(speak(chosen, order["rate"], order["seconds"], babbler)), flush=True)


if __name__ == "__main__":
    main()

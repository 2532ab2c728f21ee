"""The same image deployed over a line at several speeds and over a side lane beside it, and the same bytes by TCP alone."""

import json
import os
import pathlib
import random
import socket
import subprocess
import tempfile
import threading
import time

from .common import Agent, hands_on, print_table, release
from .paced import PacedLine

IMAGE = 16_000_000
# What is deployed at each speed, so that no row takes more than two minutes; the time of the whole image follows from it.
LINES = ((115_200, 1_000_000), (921_600, 4_000_000), (1_500_000, 8_000_000))
LANE = "127.0.0.1"
# What a gigabit network and a card leave of TCP is less than this: the peer is the limit of this machine.
TARGET = "> 100 times 115200"


def bench(rounds):
    programs = release("host-dispatcher", "agent-linux", "link-bench")
    rows = [("way", "deployed", "write", "kB/s", "16 MB take", "on the line", "on the lane", "target")]
    rates = {}
    ways = [(f"line at {baud}", baud, size, None) for baud, size in LINES]
    ways.append(("line at 115200 and lane", 115_200, IMAGE, LANE))
    for name, baud, size, lane in ways:
        found = [deploy(programs, baud, size, lane, seed) for seed in range(1 if lane is None else rounds)]
        found.sort(key=lambda said: said["seconds"]["write"])
        said = found[len(found) // 2]
        write = said["seconds"]["write"]
        rates[name] = size / write
        rows.append((name, f"{size / 1e6:.0f} MB", f"{write:.2f} s", f"{size / write / 1e3:.1f}", f"{IMAGE / (size / write):.1f} s",
                     kilobytes(said, "line"), kilobytes(said, "lane"), TARGET if lane else ""))
    took = sorted(by_tcp_alone(seed) for seed in range(rounds))[rounds // 2]
    rows.append(("TCP alone, and fsync", f"{IMAGE / 1e6:.0f} MB", f"{took:.2f} s", f"{IMAGE / took / 1e3:.1f}", f"{took:.1f} s", "-", "-", ""))
    print(f"\n{IMAGE // 1_000_000} MB of random data onto a file as partition; the lane over the loopback, {rounds} round(s)", flush=True)
    print_table(rows)
    ratio = rates["line at 115200 and lane"] / rates["line at 115200"]
    print(f"\nlane / line at 115200: {ratio:.0f}. write is from the first byte of the plan to its last one on the disk; bytes are those of both"
          "\ndirections, with requests, acknowledgements and the questions before it.")


def kilobytes(said, way):
    return f"{(said[f'{way}_bytes_out'] + said[f'{way}_bytes_in']) / 1e3:.1f} kB"


def deploy(programs, baud, size, lane, seed):
    """One deploy onto an empty partition; what `pumice deploy --json` says."""
    with tempfile.TemporaryDirectory(prefix="pumice-bench-") as name:
        folder = pathlib.Path(name)
        image, disk = folder / "image", folder / "disk"
        image.write_bytes(random.Random(seed).randbytes(size))
        disk.write_bytes(bytes(size))
        with PacedLine(programs, [], baud) as line:
            words, environment = hands_on(programs / "pumice", folder, line.host, baud, lane)
            environment["PUMICE_STORE"] = str(folder / "store")
            with Agent(programs / "pumice-agent", line.board, folder, "--role", "master", "--baud", str(baud),
                       "--partition", f"testrootfs={disk}"):
                done = subprocess.run([*words, "--json", "deploy", "here", image], env=environment, check=True,
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert disk.read_bytes() == image.read_bytes(), "the partition differs"
        return json.loads(done.stdout)


def by_tcp_alone(seed):
    """Seconds for the same bytes from one process's memory over the loopback onto a file that is synced."""
    content = random.Random(seed).randbytes(IMAGE)
    with tempfile.TemporaryFile(prefix="pumice-bench-") as file, socket.create_server(("127.0.0.1", 0)) as server:
        sender = threading.Thread(target=lambda: send(server.getsockname(), content))
        begun = time.monotonic()
        sender.start()
        board, _ = server.accept()
        with board:
            while piece := board.recv(65536):
                file.write(piece)
        file.flush()
        os.fsync(file.fileno())
        sender.join()
        return time.monotonic() - begun


def send(address, content):
    with socket.create_connection(address) as host:
        host.sendall(content)

"""Bytes and times of deploying real images over a serial line, beside what others would send."""

import hashlib
import json
import os
import pathlib
import subprocess
import tempfile

from .common import Agent, captured, hands_on, print_table, release, run
from .free_line import Line

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "pumice" / "image-pairs"
BLOCK = 4096
BAUDS = (115200, 921600, 3_000_000)

# Name, the image that the partition holds, the image that is deployed; nothing: empty.
PAIRS = [
    ("first deploy", None, "v1"),
    ("a developer's day", "v1", "v1-dev"),
    ("userland update", "v1", "v2"),
    ("the same, partition used", "v1-used", "v2"),
    ("kernel and userland", "v1", "v2-kernel"),
    ("unrelated image", "v1", "unrelated"),
    ("the same again", "v1", "v1"),
    ("a used partition restored", "v1-used", "v1"),
]


def bench(_rounds):
    images = pathlib.Path(captured("tests/image-pairs/build").strip().splitlines()[-1])
    folder = release("host-dispatcher", "agent-linux")
    rows = [("pair", "raw", "gzip -9", "zstd -19", "bmap + zstd", "64 KiB index", "xdelta3", "patch-from", "ours", "ours / patch-from",
             "back", "115200", "921600", "3 M")]
    work = [("pair", "image", "compare", "plan", "write", "verify", "planner's peak", "agent's peak", "agent's CPU")]
    for name, old, new in PAIRS:
        ours = deploy(folder, images, old, new)
        peers = cached(images, old, new)
        sent = ours["bytes_out"]
        limit = peers["patch-from"] or peers["zstd -19"]
        rows.append((name, size(peers["raw"]), size(peers["gzip -9"]), size(peers["zstd -19"]), size(peers["bmap + zstd"]),
                     size(peers["64 KiB index"]), size(peers["xdelta3"]), size(peers["patch-from"]), size(sent),
                     f"{sent / limit:.3f}" if peers["patch-from"] else f"{sent / limit:.3f} of zstd -19", size(ours["bytes_in"]),
                     *(period((sent + ours["bytes_in"]) * 10 / baud) for baud in BAUDS)))
        seconds = ours["seconds"]
        work.append((name, *(f"{seconds[part]:.1f} s" for part in ("image", "compare", "plan", "write", "verify")),
                     f"{ours['peak_kib'] / 1024:.0f} MiB", f"{ours['agent_peak_kib']} KiB", f"{ours['agent_cpu_s']:.1f} s"))
    print_table(rows)
    print("\nraw is the whole image; ours counts all bytes of the line from the host, frames and requests included; back are those"
          "\nof the board, hashes and acknowledgements. Targets: ours / patch-from <= 1.0 for updates, <= 1.01 of bmap + zstd for a first deploy, a used"
          "\npartition restored in <= 5 s at 115200, planning <= 60 s and <= 512 MiB, agent <= 1 MiB.")
    print_table(work)


def deploy(folder, images, old, new):
    """Deploys one image over another with the real programs over a line without a limit; what `pumice deploy --json` says,
    and what both needed."""
    with tempfile.TemporaryDirectory(prefix="pumice-bench-", dir=CACHE) as scratch:
        scratch = pathlib.Path(scratch)
        disk, size_bytes = scratch / "disk", (images / f"{new}.ext4").stat().st_size
        # The store knows what this dispatcher deployed before: the image as it was before it was used.
        known = old and old.removesuffix("-used")
        if known:
            copy(images / f"{known}.ext4", disk)
            one_deploy(folder, scratch, disk, images / f"{known}.ext4")
            copy(images / f"{old}.ext4", disk)
        else:
            with disk.open("wb") as file:
                file.truncate(size_bytes)
        said = one_deploy(folder, scratch, disk, images / f"{new}.ext4")
        subprocess.run(["cmp", "-n", str(size_bytes), disk, images / f"{new}.ext4"], check=True)
        return said


def one_deploy(folder, scratch, disk, image):
    place = pathlib.Path(tempfile.mkdtemp(dir=scratch))
    line = Line()
    words, environment = hands_on(folder / "pumice", place, line.ends[0])
    environment["PUMICE_STORE"] = str(scratch / "store")
    with Agent(folder / "pumice-agent", line.ends[1], place, "--role", "master", "--partition", f"testrootfs={disk}") as agent:
        done = subprocess.run(["/usr/bin/time", "-f", "%M", "-o", place / "peak", *words, "--json", "deploy", "here", image],
                              env=environment, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        status = pathlib.Path(f"/proc/{agent.process.pid}/status").read_text()
        cpu = agent.cpu_seconds()
    said = json.loads(done.stdout)
    said["bytes_out"], said["bytes_in"] = line.carried
    said["peak_kib"] = int((place / "peak").read_text().split()[-1])
    said["agent_peak_kib"] = next(int(row.split()[1]) for row in status.splitlines() if row.startswith("VmHWM"))
    said["agent_cpu_s"] = cpu
    return said


def cached(images, old, new):
    """The peers' sizes, which never change for two files: some take minutes."""
    recipe = pathlib.Path(__file__).read_bytes().split(b"# --- peers", 1)[1]
    key = hashlib.sha256(recipe + f"{images.name} {old} {new}".encode()).hexdigest()[:16]
    place = CACHE / f"peers-{key}.json"
    if not place.exists():
        found = peers(images, old, new)
        place.with_suffix(".part").write_text(json.dumps(found))
        place.with_suffix(".part").rename(place)
    return json.loads(place.read_text())


# --- peers: what each would send ----------------------------------------------------------------------------------


def peers(images, old, new):
    new_file = images / f"{new}.ext4"
    old_file = images / f"{old}.ext4" if old else None
    known, missing, groups = blocks(old_file), 0, set()
    zero = hashlib.sha256(bytes(BLOCK)).digest()
    with tempfile.TemporaryDirectory(prefix="pumice-bench-", dir=CACHE) as folder:
        mapped, grouped = pathlib.Path(folder) / "mapped", pathlib.Path(folder) / "grouped"
        with new_file.open("rb") as file, mapped.open("wb") as out:
            for number, block in enumerate(iter(lambda: file.read(BLOCK), b"")):
                digest = hashlib.sha256(block).digest()
                if digest == zero:
                    continue
                out.write(block)
                if digest not in known:
                    missing += 1
                    groups.add(number // 16)
        with new_file.open("rb") as file, grouped.open("wb") as out:
            for group in sorted(groups):
                file.seek(group * 16 * BLOCK)
                out.write(file.read(16 * BLOCK))
        # RAUC's block-hash-index over 64 KiB of squashfs at a time: 32 bytes of index for each 4 KiB.
        index = new_file.stat().st_size // BLOCK * 32
        return {
            "raw": new_file.stat().st_size,
            "gzip -9": length("gzip", "-9", "-c", new_file),
            "zstd -19": length("zstd", "-q", "-19", "-T2", "-c", new_file),
            "bmap + zstd": length("zstd", "-q", "-19", "-T2", "-c", mapped),
            "64 KiB index": index + length("zstd", "-q", "-19", "-T2", "-c", grouped) if old else None,
            "xdelta3": length("xdelta3", "-e", "-9", "-S", "lzma", "-B", "536870912", "-c", "-s", old_file, new_file) if old else None,
            "patch-from": length("zstd", "-q", "--ultra", "-22", "--long=31", f"--patch-from={old_file}", "-c", new_file) if old else None,
        }


def blocks(file):
    if file is None:
        return set()
    with file.open("rb") as opened:
        return {hashlib.sha256(block).digest() for block in iter(lambda: opened.read(BLOCK), b"")}


def length(*words):
    with subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE) as process:
        total = sum(len(piece) for piece in iter(lambda: process.stdout.read(1 << 20), b""))
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return total


def size(count):
    if count is None:
        return "-"
    for unit, scale in (("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.2f} {unit}"
    return f"{count} B"


def period(seconds):
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s"


def copy(place, to):
    run("cp", "--sparse=always", "--reflink=auto", place, to)

"""Bytes and times of deploying real images over a serial line, beside what others would send."""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

from .common import Agent, captured, hands_on, print_table, release, run
from .free_line import Line
from .instructions import counted

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "pumice" / "image-pairs"
BLOCK = 4096
BAUDS = (115200, 921600, 3_000_000)

# Name, the image that the partition holds, the image that is deployed; nothing: empty.
PAIRS = [
    ("first deploy", None, "v1"),
    ("a developer's day", "v1", "v1-dev"),
    ("userland update", "v1", "v2"),
    ("the same, small bins", "v1", "v2"),
    ("the same, partition used", "v1-used", "v2"),
    ("kernel and userland", "v1", "v2-kernel"),
    ("unrelated image", "v1", "unrelated"),
    ("the same again", "v1", "v1"),
    ("a used partition restored", "v1-used", "v1"),
]

# Those whose agent finds so little memory to spare that it takes bins of 64 KiB; on this machine the others take the large
# ones. What the kernel says of it is this.
SMALL = ("the same, small bins",)
LITTLE_MEMORY = "MemAvailable:      32768 kB\n"

# Those that the agent for ARMv7 does too, for its memory and its instructions: nearly all sent, and nearly all copied.
COUNTED = ("first deploy", "userland update", "the same, small bins")


def bench(_rounds):
    images = pathlib.Path(captured("tests/image-pairs/build").strip().splitlines()[-1])
    folder = release("host-dispatcher", "agent-linux")
    rows = [("pair", "raw", "gzip -9", "zstd -19", "bmap + zstd", "64 KiB index", "xdelta3", "patch-from", "ours", "ours / patch-from",
             "back", "115200", "921600", "3 M")]
    work = [("pair", "image", "compare", "plan", "write", "verify", "planner's peak", "agent's CPU",
             "ARMv7: peak", "writes", "hashes")]
    for name, old, new in PAIRS:
        ours = deploy(folder, images, old, new, name in SMALL)
        peers = cached(images, old, new)
        sent = ours["bytes_out"]
        limit = peers["patch-from"] or peers["zstd -19"]
        rows.append((name, size(peers["raw"]), size(peers["gzip -9"]), size(peers["zstd -19"]), size(peers["bmap + zstd"]),
                     size(peers["64 KiB index"]), size(peers["xdelta3"]), size(peers["patch-from"]), size(sent),
                     f"{sent / limit:.3f}" if peers["patch-from"] else f"{sent / limit:.3f} of zstd -19", size(ours["bytes_in"]),
                     *(period((sent + ours["bytes_in"]) * 10 / baud) for baud in BAUDS)))
        seconds = ours["seconds"]
        work.append((name, *(f"{seconds[part]:.1f} s" for part in ("image", "compare", "plan", "write", "verify")),
                     f"{ours['peak_kib'] / 1024:.0f} MiB", f"{ours['agent_cpu_s']:.1f} s",
                     *(on_armv7(folder, images, old, new, name in SMALL) if name in COUNTED else "---")))
    print_table(rows)
    print("\nraw is the whole image; ours counts all bytes of the line from the host, frames and requests included; back are those"
          "\nof the board, hashes and acknowledgements. Targets: ours / patch-from <= 1.0 for updates, <= 1.01 of bmap + zstd for a first deploy, a used"
          "\npartition restored in <= 5 s at 115200, planning <= 60 s and <= 512 MiB, the agent for ARMv7 <= 1 MiB with"
          "\nsmall bins. What it writes and hashes: millions of instructions for each MiB.")
    print_table(work)


def deploy(folder, images, old, new, is_small):
    """Deploys one image over another with the real programs over a line without a limit; what `pumice deploy --json` says,
    and what both needed."""
    with tempfile.TemporaryDirectory(prefix="pumice-bench-", dir=CACHE) as scratch:
        scratch, image = pathlib.Path(scratch), images / f"{new}.ext4"
        disk = used_disk(folder, scratch, images, old, new)
        said = one_deploy(folder, scratch, disk, image, under=short_of_memory(scratch) if is_small else ())
        subprocess.run(["cmp", "-n", str(image.stat().st_size), disk, image], check=True)
        return said


def on_armv7(folder, images, old, new, is_small):
    """The same with the agent for ARMv7: its memory, its instructions for each MiB that it writes, and that it hashes."""
    with tempfile.TemporaryDirectory(prefix="pumice-bench-", dir=CACHE) as scratch:
        scratch = pathlib.Path(scratch)
        disk = used_disk(folder, scratch, images, old, new)
        under = short_of_memory(scratch) if is_small else ()
        writes, hashes, peak_kib = counted(folder / "pumice", scratch, disk, images / f"{new}.ext4", under)
        return f"{peak_kib} KiB", f"{writes / 1e6:.1f} M/MiB", f"{hashes / 1e6:.1f} M/MiB"


def used_disk(folder, scratch, images, old, new):
    """A partition that holds `old`, and that the store knows."""
    disk = scratch / "disk"
    # The store knows what this dispatcher deployed before: the image as it was before it was used.
    known = old and old.removesuffix("-used")
    if known:
        copy(images / f"{known}.ext4", disk)
        one_deploy(folder, scratch, disk, images / f"{known}.ext4")
        copy(images / f"{old}.ext4", disk)
    else:
        with disk.open("wb") as file:
            file.truncate((images / f"{new}.ext4").stat().st_size)
    return disk


def short_of_memory(scratch):
    """What starts a program that finds little memory: in a namespace of its own with another /proc/meminfo."""
    meminfo = scratch / "meminfo"
    meminfo.write_text(LITTLE_MEMORY)
    return ["unshare", "-rm", "sh", "-c", 'mount --bind "$0" /proc/meminfo && exec "$@"', meminfo]


def one_deploy(folder, scratch, disk, image, under=()):
    place = pathlib.Path(tempfile.mkdtemp(dir=scratch))
    line = Line()
    words, environment = hands_on(folder / "pumice", place, line.ends[0])
    environment["PUMICE_STORE"] = str(scratch / "store")
    words_of_agent = ["--role", "master", "--partition", f"testrootfs={disk}"]
    with Agent(folder / "pumice-agent", line.ends[1], place, *words_of_agent, under=under) as agent:
        done = subprocess.run(["/usr/bin/time", "-f", "%M", "-o", place / "peak", *words, "--json", "deploy", "here", image],
                              env=environment, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        cpu = agent.cpu_seconds()
    said = json.loads(done.stdout)
    said["bytes_out"], said["bytes_in"] = line.carried
    said["peak_kib"] = int((place / "peak").read_text().split()[-1])
    said["agent_cpu_s"] = cpu
    return said


def cached(images, old, new):
    """The peers' sizes, which never change for two files: some take minutes."""
    recipe = pathlib.Path(__file__).read_bytes().rsplit(b"# --- peers", 1)[1]
    found = {}
    for name, (peer, needs_old) in PEERS.items():
        if needs_old and not old:
            found[name] = None
            continue
        key = hashlib.sha256(recipe + f"{images.name} {name} {old if needs_old else ''} {new}".encode()).hexdigest()[:16]
        place = CACHE / f"peer-{key}.json"
        if not place.exists():
            size_bytes = peer(images / f"{old}.ext4", images / f"{new}.ext4")
            place.with_suffix(".part").write_text(json.dumps(size_bytes))
            place.with_suffix(".part").rename(place)
        found[name] = json.loads(place.read_text())
    return found


# --- peers: what each would send ----------------------------------------------------------------------------------


def bmap_zstd(_old, new):
    """The blocks that are not zero, packed."""
    zero = bytes(BLOCK)
    return packed(block for block in each_block(new) if block != zero)


def index_zstd(old, new):
    """RAUC's block-hash-index over 64 KiB of squashfs at a time: 32 bytes of index for each 4 KiB, and the groups with a block
    that the old image has nowhere, packed."""
    known = {hashlib.sha256(block).digest() for block in each_block(old)}
    known.add(hashlib.sha256(bytes(BLOCK)).digest())
    groups = {number // 16 for number, block in enumerate(each_block(new)) if hashlib.sha256(block).digest() not in known}
    with new.open("rb") as file:
        grouped = packed(read_at(file, group * 16 * BLOCK, 16 * BLOCK) for group in sorted(groups))
    return new.stat().st_size // BLOCK * 32 + grouped


# What it is called, what measures it, and whether it needs the old image.
PEERS = {
    "raw": (lambda _old, new: new.stat().st_size, False),
    "gzip -9": (lambda _old, new: length("gzip", "-9", "-c", new), False),
    "zstd -19": (lambda _old, new: length("zstd", "-q", "-19", "-T2", "-c", new), False),
    "bmap + zstd": (bmap_zstd, False),
    "64 KiB index": (index_zstd, True),
    "xdelta3": (lambda old, new: length("xdelta3", "-e", "-9", "-S", "lzma", "-B", "536870912", "-c", "-s", old, new), True),
    "patch-from": (lambda old, new: patch_from(old, new), True),
}


def patch_from(old, new):
    """zstd refuses a file as its own dictionary, by its inode."""
    with tempfile.NamedTemporaryFile(prefix="pumice-bench-", dir=CACHE) as copy:
        if old == new:
            shutil.copyfile(new, copy.name)
            new = copy.name
        return length("zstd", "-q", "--ultra", "-22", "--long=31", f"--patch-from={old}", "-c", new)


def each_block(file):
    with file.open("rb") as opened:
        yield from iter(lambda: opened.read(BLOCK), b"")


def read_at(file, offset, size_bytes):
    file.seek(offset)
    return file.read(size_bytes)


def packed(pieces):
    """Bytes of some pieces, one after the other, packed by zstd -19."""
    with tempfile.NamedTemporaryFile(prefix="pumice-bench-", dir=CACHE) as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        return length("zstd", "-q", "-19", "-T2", "-c", file.name)


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

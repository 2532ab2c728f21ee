#!/usr/bin/env python3
"""Downloads the packages that are newer in some Debian archives than in a dpkg status file; see build.

usage: updates.py DIR ARCH EXTRA... < archives, as lines "URL SUITE COMPONENT"

DIR holds `status`. Leaves there the .deb files, `new-status`, and in DIR/kernel the newest kernel for many boards.
"""

import functools
import hashlib
import lzma
import pathlib
import subprocess
import sys
import urllib.request


def main():
    folder, arch, *extra = sys.argv[1:]
    folder = pathlib.Path(folder)
    newest = {}
    for url, suite, component in (line.split() for line in sys.stdin):
        url = url.rstrip("/")
        for stanza in stanzas(fetch(f"{url}/dists/{suite}/{component}/binary-{arch}/Packages.xz"), url):
            known = newest.get(stanza["Package"])
            if known is None or compare(stanza["Version"], known["Version"]) > 0:
                newest[stanza["Package"]] = stanza
    out = []
    for stanza in (folder / "status").read_text().split("\n\n"):
        fields = parsed(stanza)
        new = newest.get(fields.get("Package"))
        if new and compare(new["Version"], fields["Version"]) > 0:
            download(new, folder)
            stanza = stanza.replace(f"Version: {fields['Version']}\n", f"Version: {new['Version']}\n")
        out.append(stanza)
    (folder / "new-status").write_text("\n\n".join(out))
    for name in extra:
        download(newest[name], folder)
    (folder / "kernel").mkdir()
    meta = newest["linux-image-armmp"]["Depends"]
    download(newest[next(word for word in meta.split() if word.startswith("linux-image-"))], folder / "kernel")


def fetch(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read()


def stanzas(packed, url):
    for text in lzma.decompress(packed).decode().split("\n\n"):
        fields = parsed(text)
        if "Package" in fields:
            yield fields | {"url": url}


def parsed(text):
    pairs = (line.split(": ", 1) for line in text.splitlines() if ": " in line and not line.startswith(" "))
    return dict(pairs)


@functools.cache
def compare(one, other):
    if one == other:
        return 0
    return 1 if subprocess.run(["dpkg", "--compare-versions", one, "gt", other], check=False).returncode == 0 else -1


def download(stanza, folder):
    data = fetch(f"{stanza['url']}/{stanza['Filename']}")
    if hashlib.sha256(data).hexdigest() != stanza["SHA256"]:
        sys.exit(f"{stanza['Filename']}: another SHA-256 than the archive's index says")
    (folder / pathlib.PurePosixPath(stanza["Filename"]).name).write_bytes(data)
    print(f"{stanza['Package']} {stanza['Version']}", file=sys.stderr)


if __name__ == "__main__":
    main()

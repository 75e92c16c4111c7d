#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What encryption costs on a tcp link: the stream engine and a link without a
guest (stream-bench), plain, with a shared key and with certificates, in turns."""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig.pki import Pki                 # noqa: E402

#: A link, and what stream-bench is told of it.
LINKS = {
    "plain": [],
    "psk": ["--tls", "psk"],
    # Of the ciphers that a shared key can have GnuTLS prefers ChaCha20, which has
    # no help from the processor.
    "psk, AES": ["--tls", "psk", "--priority", "NORMAL:-CHACHA20-POLY1305"],
    "x509": ["--tls", "x509"],
}
#: What is measured, and how.
LOADS = {
    "streams": ["throughput"],
    "frames of 1514": ["frames", "--message", "1514"],
    "opening": ["open"],
}
#: What a load's figures are called; stream-bench says them in this order.
COLUMNS = {
    "streams": ("Gbit/s", "us/MB, sender", "us/MB, receiver"),
    "frames of 1514": ("Gbit/s", "us/MB, sender", "us/MB, receiver"),
    "opening": ("us", "us of CPU, client", "us of CPU, server"),
}


def make_creds(folder):
    """The keys of both ends in one folder, as QEMU's objects look for them."""
    Pki(folder)
    creds = folder / "creds"
    creds.mkdir()
    for end in "server", "left":
        for path in (folder / end).iterdir():
            shutil.copy(path, creds)
    (creds / "keys.psk").write_text("vtoe:" + "6b" * 32 + "\n")
    return creds


def measure(tool, link, load, creds, seconds):
    """The three figures of a run."""
    words = [tool, "--overlay", *LOADS[load], "--kind", "tcp", "--seconds",
             str(seconds), *LINKS[link]]
    if LINKS[link]:
        words += ["--creds", str(creds)]
    said = subprocess.run(words, check=True, capture_output=True,
                          text=True).stdout.splitlines()[0]
    found = re.fullmatch(r"([\d.]+) [^:]*: ([\d.]+) us to \w+, ([\d.]+) us to "
                         r"\w+", said)
    assert found, said
    return [float(number) for number in found.groups()]


def rounds(options, creds):
    """By load and link, the figures of each round.  Who is first changes."""
    found = {(load, link): [] for load in LOADS for link in LINKS}
    names = list(LINKS)
    for number in range(options.rounds):
        turn = number % len(names)
        for load in LOADS:
            for link in names[turn:] + names[:turn]:
                found[load, link].append(measure(
                    options.tool, link, load, creds, options.seconds))
        print(f"  round {number + 1} of {options.rounds}", file=sys.stderr)
    return found


def show(found):
    """Medians, and in brackets medians of the ratios to plain of a round."""
    for load in LOADS:
        print(f"\n{load:<16}" + "".join(f"{name:>22}"
                                        for name in COLUMNS[load]))
        plain = found[load, "plain"]
        for link in LINKS:
            cells = ""
            for i in range(len(COLUMNS[load])):
                values = [row[i] for row in found[load, link]]
                ratio = statistics.median(
                    value / base[i] for value, base in zip(values, plain))
                cells += f"{statistics.median(values):>14.2f} ({ratio:5.2f})"
            print(f"{link:<16}{cells}")


def parse():
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="bench --tls", description=__doc__.splitlines()[0])
    parser.add_argument("tool", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=7, metavar="N")
    parser.add_argument("--seconds", type=float, default=1, metavar="S")
    return parser.parse_args()


def main():
    """All of it."""
    options = parse()
    with tempfile.TemporaryDirectory(prefix="vtoe-tls-") as folder:
        creds = make_creds(Path(folder))
        found = rounds(options, creds)
    show(found)
    print(f"\n  medians of {options.rounds} rounds in turns; in brackets, of "
          "the ratios to plain")


if __name__ == "__main__":
    main()

#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vtoess: what it makes of a list of sockets, without a guest."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import tap                     # noqa: E402
from rig.paths import BUILD, ROOT       # noqa: E402

OUT = BUILD / "check" / "vtoess"

REST = "family={} sndbuf=20 rcvbuf=40 uid=0 inode={}"
LISTING = f"""count sockets 4
fallback no_listener 2
reset_in unread 1
reset_out reset 3
listen 0.0.0.0:80 0.0.0.0:0 state=10 sid=0 pair=0 txq=0 unsent=0 rxq=0 \
reason=none queued=1 backlog=128 {REST.format(4, 10)}
stream [fd77::1]:40000 [fd77::2]:80 state=1 sid=0x80000005 pair=1 txq=1000 \
unsent=200 rxq=30 reason=none credit=4000 window=5000 sent=7 acked=6 \
received=5 {REST.format(6, 11)} later=x
tcp 10.77.0.1:40001 10.77.0.2:22 state=1 sid=0 pair=0 txq=0 unsent=0 rxq=0 \
reason=no_listener {REST.format(4, 12)}
new 0.0.0.0:0 0.0.0.0:0 state=7 sid=0 pair=0 txq=0 unsent=0 rxq=0 \
reason=none {REST.format(4, 13)}
"""


def vtoess(*words, listing=LISTING, **options):
    """The finished process."""
    with tempfile.NamedTemporaryFile("w", encoding="ascii") as file:
        file.write(listing)
        file.flush()
        return subprocess.run([OUT / "vtoess", "-f", file.name, *words],
                              text=True, timeout=20, check=False,
                              **{"capture_output": True, **options})


def modes(*words):
    """The first column."""
    done = vtoess("-H", "-n", *words)
    tap.expect((done.returncode, done.stderr), (0, ""), words)
    return [line.split()[0] for line in done.stdout.splitlines()]


def test_columns():
    """mode, state, queues, addresses, reason, SID, pair and credit"""
    rows = [line.split() for line in vtoess("-n", "-a").stdout.splitlines()]
    tap.expect(rows[1], ["listen", "LISTEN", "1", "128", "0.0.0.0:80",
                         "0.0.0.0:*", "-", "-", "-", "-"], "a listener")
    tap.expect(rows[2], ["stream", "ESTAB", "30", "1000", "[fd77::1]:40000",
                         "[fd77::2]:80", "-", "0x80000005", "1", "4000"],
               "a stream")
    tap.expect(rows[3], ["tcp", "ESTAB", "0", "0", "10.77.0.1:40001",
                         "10.77.0.2:22", "no_listener", "-", "-", "-"],
               "one that went to TCP")


def test_filters():
    """what is listed is what was asked for"""
    for words, wanted in (
            ("", "stream tcp"), ("-l", "listen"),
            ("-a", "listen stream tcp new"), ("-4", "tcp"), ("-6", "stream"),
            ("-4 -6", "stream tcp"), ("-a port 80", "listen stream"),
            ("-a sport 80", "listen"), ("dport 22", "tcp"),
            ("mode tcp", "tcp"), ("state listening", "listen"),
            ("state closed state listening", "listen new"),
            ("reason no_listener", "tcp"), ("mode stream dport 22", "")):
        tap.expect(modes(*words.split()), wanted.split(), words)


def test_json():
    """JSON says the same, and counters if they are asked for"""
    data = json.loads(vtoess("-j", "-s", "-6").stdout)
    sock, = data["sockets"]
    tap.expect({name: sock[name] for name in (
        "mode", "state", "peer", "sid", "credit", "bytes_received")},
        {"mode": "stream", "state": "ESTAB",
         "peer": {"address": "fd77::2", "port": 80}, "sid": 0x80000005,
         "credit": 4000, "bytes_received": 5}, "the stream")
    tap.expect({(c["group"], c["name"]): c["value"]
                for c in data["counters"]},
               {("count", "sockets"): 4, ("fallback", "no_listener"): 2,
                ("reset_in", "unread"): 1, ("reset_out", "reset"): 3},
               "counters")
    assert "counters" not in json.loads(vtoess("-j").stdout)


def test_wrong_words():
    """a wrong command line is an error that names the word, with exit code
    2"""
    for words, named in (
            (["--frobnicate"], "--frobnicate"), (["port", "70000"], "70000"),
            (["port", "-1x"], "-1x"), (["state", "up"], "up"),
            (["mode", "udp"], "udp"), (["sport"], "sport"),
            (["colour", "red"], "colour")):
        done = vtoess("--", *words) if words[0][0] != "-" else vtoess(*words)
        tap.expect((done.returncode, done.stdout), (2, ""), words)
        assert named in done.stderr, done.stderr


def test_wrong_lists():
    """a list that cannot be read is an error with exit code 1, and nothing
    of it is shown"""
    for line in ("stream 1.2.3.4:1", "tcp 1.2.3.4:99999 0.0.0.0:0",
                 "count sockets many", "tcp 1.2.3.4:1 1.2.3.4:2 state=99",
                 LISTING.splitlines()[4] + " inode=-"):
        done = vtoess(listing=LISTING + line + "\n")
        tap.expect((done.returncode, done.stdout), (1, ""), line)
        assert "line 9" in done.stderr, done.stderr
    done = subprocess.run([OUT / "vtoess", "-f", "/nonexistent"], text=True,
                          capture_output=True, timeout=20, check=False)
    assert done.returncode == 1 and "/nonexistent" in done.stderr, done


def test_output_that_fails():
    """who cannot write says so"""
    with open("/dev/full", "w", encoding="ascii") as full:
        done = vtoess(capture_output=False, stdout=full,
                      stderr=subprocess.PIPE)
    assert done.returncode == 1 and "No space" in done.stderr, done


if __name__ == "__main__":
    Path(OUT).mkdir(parents=True, exist_ok=True)
    subprocess.run(["make", "-s", "-C", ROOT / "guest-linux" / "tools",
                    f"OUT={OUT}"], check=True, timeout=50)
    tap.main(globals())

#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Limits of what a NIC sends and receives, and of memory, as programs see
them."""

import os
import re
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import lockstep, programs, tap, topo       # noqa: E402

#: Bytes per second.
RATE = 2_000_000
SECONDS = 5
#: Seconds between two looks.
PERIOD = 0.5
RUN = ("vtoe-run",)
#: Whose SO_SNDBUF together are more than a guest has memory.
WRITERS = 600
#: Of a kilobyte each; together less than may be sent unread.
MESSAGES = 250


def limit(guest, tx=0, rx=0):
    """Of its NIC, in place of what there was."""
    guest.cmd("vnet-set-rate", **{"id": "n0", "tx-rate": {"bytes": tx},
                                  "rx-rate": {"bytes": rx}})


def moved(guest, way):
    """Bytes that its NIC has sent (tx) or received (rx)."""
    overlay = topo.overlay(guest)
    of_link, of_port = ({c["name"]: c["value"]
                         for c in overlay[part][0]["counters"]}
                        for part in ("links", "ports"))
    return of_link[f"{way}-stream-bytes"] + of_port[f"{way}-frame-bytes"]


def expect_rate(pair, prefix, guest, way):
    """The guest's NIC moves what it may while iperf3 runs, at any moment: one
    at which the machine had no time for it does not count."""
    with programs.serving(pair.b, [*prefix, "iperf3", "-s", "-1",
                                   "--forceflush"],
                          "Server listening on") as server:
        client = pair.a.start([*prefix, "iperf3", "-c", topo.B4, "-t",
                               str(SECONDS + 3), "--forceflush"])
        client.wait_output("connected to", 20)
        seen = []
        while len(seen) <= SECONDS / PERIOD:
            time.sleep(PERIOD)
            seen.append((time.monotonic(), moved(guest, way)))
        client.check(SECONDS + 40)
        server.wait(20)
    rates = [(after - before) / (end - began) / RATE for
             (began, before), (end, after) in zip(seen, seen[1:])]
    tap.diag("of the rate: " + " ".join(f"{rate:.3f}" for rate in rates))
    assert 0.95 < statistics.median(rates) < 1.05, rates
    assert statistics.mean(rates) < 1.05, rates


def test_sent(pair):
    """frames and streams keep to what the NIC may send"""
    limit(pair.a, tx=RATE)
    expect_rate(pair, (), pair.a, "tx")
    expect_rate(pair, RUN, pair.a, "tx")


def test_received(pair):
    """and to what it may receive"""
    limit(pair.a)
    limit(pair.b, rx=RATE)
    # TCP finds out by losing frames, and so gets less.
    ran = programs.iperf3(pair.a, pair.b, topo.B4, SECONDS)
    assert ran.gbit * 1e9 / 8 < 1.05 * RATE, ran
    expect_rate(pair, RUN, pair.b, "rx")
    ports = topo.overlay(pair.b)["ports"]
    counted = {c["name"]: c["value"] for c in ports[0]["counters"]}
    assert counted["rx-drop-rate"] > 0 and counted["rx-held"] > 0, counted


def test_shared(pair):
    """streams that want all leave a frame its place"""
    limit(pair.b)
    limit(pair.a, tx=RATE)
    with programs.serving(pair.b, [*RUN, "iperf3", "-s", "-1", "--forceflush"],
                          "Server listening on") as server:
        client = pair.a.start([*RUN, "iperf3", "-c", topo.B4, "-t",
                               str(SECONDS), "-P", "4"])
        client.wait_output("connected to", 20)
        said = pair.a.run(["ping", "-c", "10", "-i", "0.2", topo.B4])
        client.check(SECONDS + 20)
        server.wait(20)
    lost, = re.findall(r"(\d+)% packet loss", said)
    tap.expect(lost, "0", said)
    limit(pair.a)


def available(guest):
    """Bytes of memory that it could still have."""
    return int(re.search(r"MemAvailable: *(\d+)",
                         guest.read("/proc/meminfo"))[1]) << 10


def bytes_sent(guest):
    """By its open streams."""
    return sum(stream["tx-sent"] for stream in topo.overlay(guest)["streams"])


def unread(a, b, port):
    """What comes one at a time, and nobody reads."""
    lockstep.connect(a, b, port)
    a("set c nodelay 1")
    before = available(b.guest)
    for _ in range(MESSAGES):
        a("send c 1000")
        a("waitoutq c 10000")
    taken = before - available(b.guest)
    tap.diag(f"{MESSAGES} messages of 1000 bytes took {taken} bytes")
    assert taken < 3 << 20, taken
    b(f"recvall s {MESSAGES * 1000}")


def test_messages(pair):
    """messages that nobody reads do not each hold a buffer"""
    limit(pair.a)
    limit(pair.b)
    lockstep.play(unread, pair, RUN)


def test_writers(pair):
    """writers that nobody reads from have a part of the guest's memory, and no
    more"""
    limit(pair.a)
    limit(pair.b)
    total = pair.a.mem << 20
    with programs.serving(pair.b, [*RUN, "flows", "server", "5001",
                                   str(WRITERS)], "ready") as server:
        before = [available(guest) for guest in pair.guests]
        client = pair.a.start([*RUN, "flows", "client", topo.B4, "5001",
                               str(WRITERS)])
        server.wait_output("running", 60)
        server.write("".join(f"pause {n}\n" for n in range(WRITERS)))
        # Nothing moves any more when all that may be sent is.
        sent = -1
        while sent != (sent := bytes_sent(pair.a)):
            pair.a.run(["sleep", "1"])
        taken = [then - available(guest)
                 for then, guest in zip(before, pair.guests)]
        tap.diag(f"of {total} bytes writers took {taken[0]}, readers "
                 f"{taken[1]}")
        # Writers: an eighth, and what sockets take.  Readers: an eighth, in
        # buffers that are half filled (of 32 KiB, for windows of 16), and the
        # same.
        assert taken[0] < total / 4, taken
        assert taken[1] < total * 2 / 5, taken
        server.write("".join(f"resume {n}\n" for n in range(WRITERS)))
        pair.a.wait_until("nothing is sent any more", lambda: bytes_sent(
            pair.a) > sent + (WRITERS << 16), 60)
        client.kill()


if __name__ == "__main__":
    tap.main(globals(), {"6.12": lambda: topo.VtoePair(kernel="6.12")})

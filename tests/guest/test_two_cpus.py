#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests with two CPUs: who reads and who takes the interrupt run at once."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import programs, tap, topo                 # noqa: E402
from rig.paths import LOGS                          # noqa: E402

PORT = "7001"
#: Connections that are watched.
WATCHED = 300
COUNT = 600
BYTES = 700003
#: The interrupt of the first pair is taken by CPU 0.
ELSEWHERE = ["taskset", "2", "vtoe-run"]


@tap.limit(300)
def test_watched_connects():
    """what poll() and recv() say of a connection while it is made, by a stream
    or, when that is refused, by TCP"""
    with topo.VtoePair(smp=2, logs=LOGS / "watched") as pair:
        # A refusal is not remembered: each connection is offered.
        pair.a.run("echo 0 > /proc/sys/net/vtoe/cache_seconds")
        for prefix, counted in (([], "fallback no_listener"),
                                (["vtoe-run"], "count connect_offloaded")):
            with programs.serving(pair.b, [*prefix, "echoes", "server", PORT],
                                  "ready"):
                tap.diag(pair.a.start(
                    [*ELSEWHERE, "watched", topo.B4, PORT,
                     str(WATCHED)]).check(200).strip())
            assert f"{counted} {WATCHED}\n" in pair.a.read("/proc/net/vtoe"), \
                pair.a.read("/proc/net/vtoe")


@tap.limit(600)
def test_bursts():
    """bulk transfers that begin and end within milliseconds, both ways, while
    nothing else moves"""
    with topo.VtoePair(smp=2, logs=LOGS / "two_cpus") as pair:
        with programs.serving(pair.b, [*ELSEWHERE, "bursts", "server", PORT],
                              "ready"):
            pair.a.start([*ELSEWHERE, "bursts", "client", topo.B6, PORT,
                          str(COUNT), str(BYTES)]).check(500)
        tap.expect(pair.counters(pair.a)["streams-established"], COUNT,
                   "connections over streams")


if __name__ == "__main__":
    tap.main(globals())

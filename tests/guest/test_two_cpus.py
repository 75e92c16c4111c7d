#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests with two CPUs: who reads and who takes the interrupt run at once."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import programs, tap, topo                 # noqa: E402
from rig.paths import LOGS                          # noqa: E402

PORT = "7001"
COUNT = 600
BYTES = 700003
#: The interrupt of the first pair is taken by CPU 0.
ELSEWHERE = ["taskset", "2", "vtoe-run"]


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

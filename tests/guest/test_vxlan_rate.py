#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames by vxlan links, and what one would take instead."""

import os
import statistics
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import figures, programs, tap, topo, vxlan     # noqa: E402
from rig.paths import LOGS                              # noqa: E402

SECONDS = 2
ROUNDS = 5


def measure(one, other):
    """Throughput in Gbit/s of frames, streams being off, in one of two pairs."""
    other.pause()
    one.resume()
    return programs.iperf3(one.a, one.b, topo.B4, SECONDS).gbit


def test_rate(pair):
    """frames by vxlan links, against virtio-net over the kernel's"""
    with topo.VirtioVxlan(logs=LOGS / "vxlan-rival") as rival:
        # What they do is compiled the first time.
        measure(pair, rival)
        measure(rival, pair)
        ratios = []
        for _ in range(ROUNDS):
            ours, theirs = measure(pair, rival), measure(rival, pair)
            ratios.append(ours / theirs)
            tap.diag(f"{ours:.2f} and {theirs:.2f} Gbit/s")
        pair.resume()
    assert figures.record("vxlan.frames_vs_kernel_vxlan",
                          round(statistics.median(ratios), 3), "x", ">= 0.8")


if __name__ == "__main__":
    tap.main(globals(), {"pair": lambda: vxlan.VxlanPair(
        mtu=topo.VirtioVxlan.inner_mtu, logs=LOGS / "vxlan-pair")})

#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames alone, streams being off, and what one would take instead."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import figures, rates, tap, topo       # noqa: E402


PAIRS = {
    "unix": topo.VtoePair,
    "tcp": lambda **options: topo.VtoePair(tcp=True, **options),
}


def against_vxlan(pairs, link):
    """Both figures of frames by such a link."""
    more = figures.record(f"frames.{link}_vs_kernel_vxlan", rates.compare(
        pairs.ours, pairs.rival, rates.throughput), "x", ">= 1.0")
    # A fifth of the bar away, at least, and steady: fewer rounds will do.
    sooner = figures.record(
        f"frames.{link}_latency_vs_kernel_vxlan", rates.compare(
            pairs.ours, pairs.rival, rates.latency, rounds=3), "x", "<= 1.0")
    assert more and sooner


@tap.only("unix")
def test_unix(pairs):
    """frames by a unix link, against virtio-net over the kernel's VXLAN"""
    against_vxlan(pairs, "unix")


@tap.only("tcp")
def test_tcp(pairs):
    """frames by a tcp link, against virtio-net over the kernel's VXLAN"""
    against_vxlan(pairs, "tcp")


if __name__ == "__main__":
    tap.main(globals(), {name: lambda name=name: rates.Rivals(
        f"frames-{name}", PAIRS[name], topo.VirtioVxlan) for name in PAIRS})

#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames alone, streams being off, by each link, and what one would take instead:
virtio-net over the kernel's VXLAN."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import figures, rates, tap, topo, vxlan    # noqa: E402

OURS = {
    "unix": topo.VtoePair,
    "tcp": lambda **options: topo.VtoePair(tcp=True, **options),
    "vxlan": lambda **options: vxlan.VxlanPair(
        mtu=topo.VirtioVxlan.inner_mtu, **options),
}


def test_throughput(pairs):
    """how much frames carry by unix, tcp and vxlan links"""
    found = pairs.compare(rates.throughput)
    assert all([
        figures.record("frames.unix_vs_kernel_vxlan", found["unix"], "x",
                       ">= 1.0"),
        figures.record("frames.tcp_vs_kernel_vxlan", found["tcp"], "x",
                       ">= 1.0"),
        figures.record("vxlan.frames_vs_kernel_vxlan", found["vxlan"], "x",
                       ">= 0.8")]), found


def test_latency(pairs):
    """how soon frames come by unix and tcp links"""
    # A fifth of the bar away, at least, and steady: fewer rounds will do.
    found = pairs.compare(rates.latency, ("unix", "tcp"), rounds=3)
    assert all([figures.record(f"frames.{link}_latency_vs_kernel_vxlan", value,
                               "x", "<= 1.0") for link, value in found.items()]), \
        found


if __name__ == "__main__":
    tap.main(globals(), {"all": lambda: rates.Rivals("frames", OURS,
                                                     topo.VirtioVxlan)})

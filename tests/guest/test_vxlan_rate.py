#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames by vxlan links, and what one would take instead."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import figures, rates, tap, topo, vxlan    # noqa: E402


def test_rate(pairs):
    """frames by vxlan links, against virtio-net over the kernel's"""
    assert figures.record("vxlan.frames_vs_kernel_vxlan", rates.compare(
        pairs.ours, pairs.rival, rates.throughput), "x", ">= 0.8")


if __name__ == "__main__":
    tap.main(globals(), {"pair": lambda: rates.Rivals(
        "vxlan-rate", lambda **options: vxlan.VxlanPair(
            mtu=topo.VirtioVxlan.inner_mtu, **options), topo.VirtioVxlan)})

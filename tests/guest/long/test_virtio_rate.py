#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Ordinary NICs on our overlay, and on what QEMU has for them."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", ".."))

from rig import figures, rates, tap, topo       # noqa: E402


def virtio_on_vnet(**options):
    """virtio-net NICs on a vnet overlay with a unix link."""
    return topo.VtoePair(model_a="virtio-net-pci", model_b="virtio-net-pci",
                         **options)


def test_virtio(pairs):
    """virtio-net on a vnet netdev, against virtio-net on a stream one"""
    assert figures.record("frames.virtio_on_vnet_vs_stream", rates.compare(
        pairs.ours, pairs.rival, rates.throughput), "x", ">= 1.5")


if __name__ == "__main__":
    tap.main(globals(), {"pair": lambda: rates.Rivals(
        "frames-virtio", virtio_on_vnet, topo.VirtioStream)})

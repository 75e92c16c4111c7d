#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Ordinary NICs on our overlay, and on what QEMU has for them."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import figures, rates, tap, topo       # noqa: E402


def virtio_on_vnet(**options):
    """virtio-net NICs on a vnet overlay with a unix link."""
    return topo.VtoePair(model_a="virtio-net-pci", model_b="virtio-net-pci",
                         **options)


def against_stream(pairs, name, bar, mtu):
    """Such a figure; mtu: of the rival's guests, ours have 1500."""
    pairs.rival.resume()
    for guest in pairs.rival.guests:
        guest.run(["ip", "link", "set", "dev", "eth0", "mtu", str(mtu)])
    pairs.rival.pause()
    # A third of the bar away, at least: fewer rounds will do.
    found = pairs.compare(rates.throughput, rounds=3)
    assert figures.record(name, found["vnet"], "x", bar), found


def test_as_they_come(pairs):
    """virtio-net on a vnet netdev, against virtio-net on a stream one"""
    against_stream(pairs, "frames.virtio_on_vnet_vs_stream", ">= 1.5", 1500)


def test_longest_frames(pairs):
    """the same against frames as long as that netdev takes, where the guests
    can say so"""
    against_stream(pairs, "frames.virtio_on_vnet_vs_stream_65520", ">= 1.0",
                   topo.VirtioStream.host_mtu)


if __name__ == "__main__":
    tap.main(globals(), {"pair": lambda: rates.Rivals(
        "frames-virtio", {"vnet": virtio_on_vnet}, topo.VirtioStream)})

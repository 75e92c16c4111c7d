#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole stack at once: guests with the vtoe driver, in a host with RDMA,
and unmodified programs whose connections are RC connections."""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import nested, programs, tap           # noqa: E402
from rig.topo import B4                         # noqa: E402

PORT = 18600
#: Processors that are emulated twice take their time.
PATIENCE = 300


def rdma_link(host):
    """Both ends of an RDMA link on the host's devices."""
    client = "links.0.id=l0,links.0.type=rdma,links.0.addr.type=inet," \
        f"links.0.addr.host={host.server},links.0.addr.port={PORT}"
    return client, f"{client},links.0.server=on"


def total(host, counter):
    """A counter of all of the host's devices."""
    return sum(host.counters(device)[counter] for device in host.devices)


def sent_in_streams(guest):
    """Bytes that the guest's NIC has sent in streams."""
    text = guest.run(["ethtool", "-S", "eth0"], PATIENCE)
    return int(re.search(r"tx_stream_bytes: (\d+)", text)[1])


@tap.limit(900)
def test_frames_cross(pair):
    """guests ping each other through an RDMA link"""
    sent = total(pair.host, "rdma_sends")
    pair.a.run(["ping", "-c", "2", B4], PATIENCE)
    assert total(pair.host, "rdma_sends") - sent >= 4


@tap.limit(900)
def test_iperf3_over_rc(pair):
    """an unmodified iperf3 moves megabytes over RC, and no receiver was not
    ready"""
    before, sent = sent_in_streams(pair.a), total(pair.host, "sent_pkts")
    with programs.serving(pair.b, ["vtoe-run", "iperf3", "-s", "-1",
                                   "--forceflush"],
                          "Server listening", PATIENCE):
        text = pair.a.run(["vtoe-run", "iperf3", "-c", B4, "-n", "4M"],
                          PATIENCE)
    tap.diag(text)
    tap.diag(pair.a.read("/proc/net/vtoe"))
    moved = sent_in_streams(pair.a) - before
    assert moved >= 4 * 2 ** 20, f"{moved} bytes in streams"
    packets = total(pair.host, "sent_pkts") - sent
    assert packets >= 4 * 2 ** 20 / 4096, f"{packets} packets"
    tap.expect(total(pair.host, "rcvd_rnr_err"), 0, "receiver-not-ready")


@tap.limit(900)
def test_echoes_are_right(pair):
    """bytes come back as they were sent, over several streams at once"""
    before = sent_in_streams(pair.a)
    with programs.serving(pair.b, ["vtoe-run", "echoes", "server", "7001"],
                          "ready", PATIENCE):
        text = pair.a.run(["vtoe-run", "echoes", "client", B4, "7001", "8",
                           "50000"], PATIENCE)
    assert "wrong 0 failed 0" in text, text
    moved = sent_in_streams(pair.a) - before
    assert moved >= 8 * 50000, f"{moved} bytes in streams"
    tap.expect(total(pair.host, "rcvd_rnr_err"), 0, "receiver-not-ready")


if __name__ == "__main__":
    tap.main(globals(), {
        "one device": lambda: nested.Nested(rdma_link, devices=1)})

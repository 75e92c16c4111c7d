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
#: Processors that are emulated twice take their time: in seconds, until a
#: program has done its work; and in milliseconds, for what waits for a peer.
PATIENCE = 300
PATIENCE_MS = 20000


def rdma_link(host):
    """Both ends of an RDMA link on the host's devices."""
    client = "links.0.id=l0,links.0.type=rdma,links.0.addr.type=inet," \
        f"links.0.addr.host={host.server},links.0.addr.port={PORT}," \
        f"links.0.setup-timeout-ms={PATIENCE_MS},heartbeat-ms={PATIENCE_MS}"
    return client, f"{client},links.0.server=on"


def patient(pair):
    """The guests wait for each other's answers."""
    for guest in (pair.a, pair.b):
        guest.run(["sh", "-c", f"echo {PATIENCE_MS} > "
                   "/proc/sys/net/vtoe/connect_timeout"], PATIENCE)


def total(host, counter):
    """A counter of all of the host's devices."""
    return sum(host.counters(device)[counter] for device in host.devices)


def in_streams(guest, way):
    """Bytes that the guest's NIC has sent ("tx") or received in streams."""
    text = guest.run(["ethtool", "-S", "eth0"], PATIENCE)
    return int(re.search(rf"{way}_stream_bytes: (\d+)", text)[1])


def expect_moved(pair, moved, least):
    """So many bytes in streams, and no receiver was not ready."""
    if moved < least:
        for guest in (pair.a, pair.b):
            tap.diag(guest.read("/proc/net/vtoe"))
            tap.diag(guest.hmp("info vnet"))
        raise AssertionError(f"{moved} bytes in streams, not {least}")
    tap.expect(total(pair.host, "rcvd_rnr_err"), 0, "receiver-not-ready")


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
    patient(pair)
    before, packets = in_streams(pair.a, "rx"), total(pair.host, "sent_pkts")
    # The receiver counts the bytes: a sender that does ends the test while
    # the last of them are on their way.
    with programs.serving(pair.b, ["vtoe-run", "iperf3", "-s", "-1",
                                   "--forceflush"],
                          "Server listening", PATIENCE):
        tap.diag(pair.a.run(["vtoe-run", "iperf3", "-c", B4, "-R", "-n", "4M"],
                            PATIENCE))
    expect_moved(pair, in_streams(pair.a, "rx") - before, 4 * 2 ** 20)
    packets = total(pair.host, "sent_pkts") - packets
    assert packets >= 4 * 2 ** 20 / 4096, f"{packets} packets"


@tap.limit(900)
def test_echoes_are_right(pair):
    """bytes come back as they were sent, over several streams at once"""
    patient(pair)
    before = in_streams(pair.a, "tx")
    with programs.serving(pair.b, ["vtoe-run", "echoes", "server", "7001"],
                          "ready", PATIENCE):
        text = pair.a.run(["vtoe-run", "echoes", "client", B4, "7001", "8",
                           "50000"], PATIENCE)
    assert "wrong 0 failed 0" in text, text
    expect_moved(pair, in_streams(pair.a, "tx") - before, 8 * 50000)


if __name__ == "__main__":
    tap.main(globals(), {
        "one device": lambda: nested.Nested(rdma_link, devices=1)})

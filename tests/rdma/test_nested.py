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


def offloaded(guest):
    """Connections that the guest's driver has handed to its NIC."""
    text = guest.read("/proc/net/vtoe")
    # What never happened has no line.
    found = re.search(r"connect_offloaded (\d+)", text)
    return int(found[1]) if found else 0


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
    before, sent = offloaded(pair.a), total(pair.host, "sent_pkts")
    with programs.serving(pair.b, ["vtoe-run", "iperf3", "-s", "-1",
                                   "--forceflush"],
                          "Server listening", PATIENCE):
        text = pair.a.run(["vtoe-run", "iperf3", "-c", B4, "-n", "4M"],
                          PATIENCE)
    tap.diag(text)
    # Its control connection, and the one that carries the data.
    tap.expect(offloaded(pair.a) - before, 2, "streams")
    packets = total(pair.host, "sent_pkts") - sent
    assert packets >= 4 * 2 ** 20 / 4096, f"{packets} packets"
    tap.expect(total(pair.host, "rcvd_rnr_err"), 0, "receiver-not-ready")


@tap.limit(900)
def test_echoes_are_right(pair):
    """bytes come back as they were sent, over several streams at once"""
    before = offloaded(pair.a)
    with programs.serving(pair.b, ["vtoe-run", "echoes", "server", "7001"],
                          "ready", PATIENCE):
        text = pair.a.run(["vtoe-run", "echoes", "client", B4, "7001", "8",
                           "50000"], PATIENCE)
    assert "wrong 0 failed 0" in text, text
    tap.expect(offloaded(pair.a) - before, 8, "streams")
    tap.expect(total(pair.host, "rcvd_rnr_err"), 0, "receiver-not-ready")


if __name__ == "__main__":
    tap.main(globals(), {
        "one device": lambda: nested.Nested(rdma_link, devices=1)})

#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Limits of what a NIC sends and receives, as programs see them."""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import programs, tap, topo                 # noqa: E402

#: Bytes per second.
RATE = 2_000_000
SECONDS = 5
RUN = ("vtoe-run",)


def limit(guest, tx=0, rx=0):
    """Of its NIC, in place of what there was."""
    guest.cmd("vnet-set-rate", **{"id": "n0", "tx-rate": {"bytes": tx},
                                  "rx-rate": {"bytes": rx}})


def expect_rate(pair, prefix, share=1.0):
    """iperf3 gets that part of the rate: less its headers, if it has some."""
    ran = programs.iperf3(pair.a, pair.b, topo.B4, SECONDS, prefix=prefix)
    got = ran.gbit * 1e9 / 8 / RATE
    tap.diag(f"{got:.3f} of the rate")
    assert 0.85 * share < got < 1.05 * share, f"{got:.3f} of the rate"


def test_sent(pair):
    """frames and streams keep to what the NIC may send"""
    limit(pair.a, tx=RATE)
    expect_rate(pair, ())
    expect_rate(pair, RUN)


def test_received(pair):
    """and to what it may receive"""
    limit(pair.a)
    limit(pair.b, rx=RATE)
    # TCP finds out by losing frames, and so gets less.
    ran = programs.iperf3(pair.a, pair.b, topo.B4, SECONDS)
    assert ran.gbit * 1e9 / 8 < 1.05 * RATE, ran
    expect_rate(pair, RUN)
    ports = topo.overlay(pair.b)["ports"]
    counted = {c["name"]: c["value"] for c in ports[0]["counters"]}
    assert counted["rx-drop-rate"] > 0 and counted["rx-held"] > 0, counted


def test_shared(pair):
    """streams that want all leave a frame its place"""
    limit(pair.b)
    limit(pair.a, tx=RATE)
    with programs.serving(pair.b, [*RUN, "iperf3", "-s", "-1", "--forceflush"],
                          "Server listening on") as server:
        client = pair.a.start([*RUN, "iperf3", "-c", topo.B4, "-t",
                               str(SECONDS), "-P", "4"])
        client.wait_output("connected to", 20)
        said = pair.a.run(["ping", "-c", "10", "-i", "0.2", topo.B4])
        client.check(SECONDS + 20)
        server.wait(20)
    lost, = re.findall(r"(\d+)% packet loss", said)
    tap.expect(lost, "0", said)
    limit(pair.a)


if __name__ == "__main__":
    tap.main(globals(), {"6.12": lambda: topo.VtoePair(kernel="6.12")})

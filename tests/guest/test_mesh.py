#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Three guests, each joined to each: links with split horizon are no loop."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import mesh, programs, tap, topo           # noqa: E402
from rig.paths import LOGS                          # noqa: E402
from rig.procnet import counter                     # noqa: E402

RUN = ["vtoe-run"]
BROADCASTS = 5


def flooded(guest):
    """Frames that its switch gave to several."""
    return topo.counters(guest)["frames-flooded"]


def test_broadcasts_end(three):
    """a broadcast is heard once by each, and does not go round"""
    near, far, other = three.guests
    for guest in (far, other):
        guest.run("echo 0 > /proc/sys/net/ipv4/icmp_echo_ignore_broadcasts")
    before = [flooded(g) for g in three.guests]
    said = near.run(["ping", "-c", str(BROADCASTS), "10.77.0.255"])
    # It ends with the first answer to the last.
    answers = said.count("bytes from")
    assert answers in (2 * BROADCASTS - 1, 2 * BROADCASTS), said
    for guest, then in zip(three.guests, before):
        now = flooded(guest) - then
        # Its own or the one that came, and a few of IPv6 and ARP.
        assert BROADCASTS <= now <= BROADCASTS + 20, f"{guest.name}: {now}"
    for guest in (far, other):
        tap.expect(topo.counters(guest)["frames-drop-reflected"], 0,
                   f"frames of its own that came back to {guest.name}")


def test_streams_between_all(three):
    """streams go straight from each to each"""
    for far, server in enumerate(three.guests):
        for client in three.guests:
            if client is server:
                continue
            with programs.serving(server, [*RUN, "echoes", "server", "7001"],
                                  "ready"):
                before = counter(client, "connect_offloaded")
                out = client.run([*RUN, "echoes", "client", three.address(far),
                                  "7001", "3", "100000"])
            assert "wrong 0 failed 0" in out, out
            tap.expect(counter(client, "connect_offloaded") - before, 3,
                       f"streams from {client.name} to {server.name}")


if __name__ == "__main__":
    tap.main(globals(), {"3 guests": lambda: mesh.Mesh(
        3, logs=LOGS / "mesh3")})

#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vxlan links: to the kernel's vxlan device, and to each other."""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import programs, tap, topo, vxlan          # noqa: E402
from rig.paths import LOGS                          # noqa: E402

SECONDS = 2
#: Where the guest knows what fits.
PLAIN = ("1500", "9000", "1500, IPv6 below")


def link_counters(guest, ident="to0"):
    """Of one link: {name: value}."""
    found = next(one for one in topo.overlay(guest)["links"]
                 if one["id"] == ident)
    return {c["name"]: c["value"] for c in found["counters"]}


def dropped(guest):
    """Whatever a guest's links counted as dropped or lost: {name: value}."""
    found = {}
    for one in topo.overlay(guest)["links"]:
        found.update({f"{one['id']} {c['name']}": c["value"]
                      for c in one["counters"] if c["value"] and
                      re.search("drop|lost|unreachable", c["name"])})
    return found


def mtu(guest):
    return int(guest.read("/sys/class/net/eth0/mtu"))


def ping(guest, address, size, *more):
    """Whether an IP packet of that size is answered."""
    headers = 48 if ":" in address else 28
    return guest.status(["ping", "-c", "1", "-W", "2", "-s",
                         str(size - headers), *more, address]) == 0


# With the kernel, in a network that carries 1500 or 9000 bytes.

@tap.only(*PLAIN)
def test_advertised(overlay):
    """the guest knows what fits, and QMP says it"""
    guest = overlay.guests[0]
    said = guest.run(["ip", "-d", "link", "show", "dev", "eth0"])
    assert f"maxmtu {overlay.inner_mtu} " in said, said
    tap.expect(mtu(guest), overlay.inner_mtu, "the guest's MTU")
    tap.expect(topo.overlay(guest)["links"][0]["mtu"], overlay.inner_mtu,
               "the link's mtu")


@tap.only(*PLAIN)
def test_sizes(overlay):
    """every size from 60 bytes of frame to the MTU and one more arrives"""
    guest, largest = overlay.guests[0], overlay.inner_mtu
    for address in (vxlan.KERNEL4, vxlan.KERNEL6):
        least = 48 if ":" in address else 46
        for size in (least, least + 1, 100, 576, 1279, 1280, 1281,
                     largest - 1, largest, largest + 1, 2 * largest):
            assert ping(guest, address, size), f"{size} bytes to {address}"
    tap.expect(dropped(guest), {}, "frames dropped")


@tap.only(*PLAIN)
def test_tcp(overlay):
    """TCP in both directions, over IPv4 and IPv6"""
    guest = overlay.guests[0]
    before = link_counters(guest)
    for address in (vxlan.KERNEL4, vxlan.KERNEL6):
        for direction in ("out", "in", "both"):
            ran = programs.iperf3(guest, overlay.kernel, address, SECONDS,
                                  direction, omit=0)
            tap.diag(f"{address} {direction}: {ran.gbit:.2f} Gbit/s")
            assert ran.megabytes > 5, f"{ran.megabytes} MB"
    after = link_counters(guest)
    assert after["tx-cut"] > before["tx-cut"], "no frame was cut"
    # Large ones come as such, or are made of small ones here.
    frames = after["rx-frames"] - before["rx-frames"]
    size = (after["rx-frame-bytes"] - before["rx-frame-bytes"]) / frames
    tap.diag(f"{size:.0f} bytes a frame received")
    tap.expect(dropped(guest), {}, "frames dropped")


@tap.only(*PLAIN)
def test_udp(overlay):
    """UDP in both directions, nothing of it lost for its size"""
    guest = overlay.guests[0]
    for size in (100, overlay.inner_mtu - 28, 3000):
        for direction in ("out", "in"):
            programs.iperf3(guest, overlay.kernel, vxlan.KERNEL4, SECONDS,
                            direction, omit=0,
                            extra=["-u", "-b", "5M", "-l", str(size)])
    tap.expect(dropped(guest), {}, "frames dropped")


# A NIC whose guest does not know that less fits: virtio-net has 1500 bytes.

@tap.only("virtio-net")
def test_too_long_is_said(overlay):
    """who sends too much that may not be cut is told what fits"""
    guest = overlay.guests[0]
    tap.expect(mtu(guest), 1500, "the guest's MTU")
    for address in (vxlan.KERNEL4, vxlan.KERNEL6):
        before = link_counters(guest)["tx-drop-answered"]
        assert not ping(guest, address, 1500), "it arrived"
        assert link_counters(guest)["tx-drop-answered"] > before
        assert ping(guest, address, 1500), f"1500 bytes to {address}"
        said = guest.run(["ip", "route", "get", address])
        assert f"mtu {overlay.inner_mtu}" in said, said


@tap.only("virtio-net")
def test_too_long_is_cut(overlay):
    """IPv4 that may be cut is"""
    guest = overlay.guests[0]
    knob = "/proc/sys/net/ipv4/ip_no_pmtu_disc"
    guest.run(f"ip route flush cache; echo 1 > {knob}")
    before = link_counters(guest)["tx-fragmented"]
    assert ping(guest, vxlan.KERNEL4, 1500)
    assert link_counters(guest)["tx-fragmented"] > before
    guest.run(f"echo 0 > {knob}")


@tap.only("virtio-net")
def test_too_long_tcp(overlay):
    """TCP finds out what fits, with and without segmentation offload"""
    guest = overlay.guests[0]
    for state in ("on", "off"):
        guest.run(["ethtool", "-K", "eth0", "tso", state, "gso", state])
        for address in (vxlan.KERNEL4, vxlan.KERNEL6):
            for direction in ("out", "in"):
                ran = programs.iperf3(guest, overlay.kernel, address, SECONDS,
                                      direction, omit=0)
                assert ran.megabytes > 2, \
                    f"{state} {address} {direction}: {ran.megabytes} MB"


# The kernel and two of ours, each joined to each.

@tap.only("three")
def test_three(three):
    """each reaches each, and nothing goes round"""
    one, two = three.guests
    for guest, address in ((one, vxlan.KERNEL4), (two, vxlan.KERNEL4),
                           (one, topo.B4), (two, topo.A4), (one, topo.B6)):
        ran = programs.iperf3(
            guest, {topo.B4: two, topo.B6: two, topo.A4: one}.get(
                address, three.kernel), address, SECONDS, omit=0)
        assert ran.megabytes > 5, f"{guest.name} to {address}: {ran}"
    for guest in three.guests:
        tap.expect(topo.counters(guest)["frames-drop-reflected"], 0,
                   f"frames of its own that came back to {guest.name}")


@tap.only("three")
def test_other_network(three):
    """frames with another network id stop at the link, and are counted"""
    guest, space = three.guests[0], three.spaces[0]
    before = link_counters(guest)["rx-drop-vni"]
    space.run(f"ip link add vx1 type vxlan id {vxlan.VNI + 1} dstport "
              f"{vxlan.PORT} dev w0 local {three.below(0)} remote "
              f"{three.below(1)}")
    space.run("ip link set vx1 up")         # says so to all, by IPv6
    guest.wait_until("a frame of the other network was counted", lambda:
                     link_counters(guest)["rx-drop-vni"] > before, 20)


if __name__ == "__main__":
    tap.main(globals(), {
        "1500": lambda: vxlan.Overlay(mtu=1500, logs=LOGS / "vxlan1500"),
        "9000": lambda: vxlan.Overlay(mtu=9000, guest_mtu=8950,
                                      logs=LOGS / "vxlan9000"),
        "1500, IPv6 below": lambda: vxlan.Overlay(
            mtu=1500, v6=True, logs=LOGS / "vxlan6"),
        "virtio-net": lambda: vxlan.Overlay(
            mtu=1500, model="virtio-net-pci", logs=LOGS / "vxlan-virtio"),
        "three": lambda: vxlan.Overlay(guests=2, mtu=1500,
                                       logs=LOGS / "vxlan3"),
    })

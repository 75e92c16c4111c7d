#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A VXLAN link and what the network below it says: nobody is there, a way is
narrower; and datagrams without a checksum."""

import os
import socket
import struct
import sys
import time
from contextlib import suppress

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import netns, tap                                  # noqa: E402
from rig.ends import BROADCAST, End, frame, wait_until      # noqa: E402
from rig.setup import Setup                                 # noqa: E402

VNI = 77
PORT = 4789
#: Of a frame's own header, and what VXLAN has before it, over IPv4.
INNER, OUTER = 14, 36
NARROW = 1300
UDP_NO_CHECK6_TX = 101


class Way(Setup):
    """An end, a router, and a host that a socket of ours is on."""

    def __init__(self):
        self.end = self.near = self.router = self.far = None

    def set_up(self, stack):
        self.near, self.router, self.far = (
            stack.enter_context(netns.Namespace()) for _ in range(3))
        for space, device, number in ((self.near, "eth0", 1),
                                      (self.far, "eth1", 2)):
            self.router.run(f"ip link add {device} type veth peer name "
                            f"eth0 netns {space.path}")
            for where, name, host in ((self.router, device, 1),
                                      (space, "eth0", 2)):
                where.run(f"ip addr add 10.88.{number}.{host}/24 dev {name}")
                where.run(f"ip addr add fd88:{number}::{host}/64 dev {name}"
                          " nodad")
                where.run(f"ip link set {name} up")
            space.run(f"ip route add default via 10.88.{number}.1")
            space.run(f"ip route add default via fd88:{number}::1")
        self.router.run("sysctl -qw net.ipv4.ip_forward=1 "
                        "net.ipv6.conf.all.forwarding=1")
        for space in (self.router, self.far):
            space.run("sysctl -qw net.ipv4.icmp_ratelimit=0")
        self.end = stack.enter_context(End(0, self.near, vni=VNI))

    def link(self, host="10.88.2.2"):
        """A new link of the end's to the far host."""
        if any(link["id"] == "wire"
               for link in self.end.ask("query-vnet", id="n0")[0]["links"]):
            self.end.ask("vnet-link-del", id="n0", link="wire")
        self.end.ask("vnet-link-add", id="n0", link={
            "id": "wire", "type": "vxlan",
            "addr": {"type": "inet", "host": host, "port": str(PORT)}})
        self.end.wait_up("n0", "wire")

    def socket(self, family=socket.AF_INET):
        """At the far host, where the link leads."""
        sock = self.far.socket(family, socket.SOCK_DGRAM)
        sock.bind(("", PORT))
        sock.settimeout(10)
        return sock

    def counters(self):
        return self.end.status().links["wire"]["counters"]


def test_nobody_there(way):
    """a peer that does not listen costs no processor time"""
    way.link()

    def said():
        # One flow: one socket of the link's hears of it.
        way.end.send(BROADCAST, "anybody")
        time.sleep(0.01)
        return way.counters()["unreachable"] >= 20
    wait_until("the network says that nobody listens", said)
    before = way.end.cpu()
    time.sleep(1)
    used = way.end.cpu() - before
    assert used < 0.3, f"{used:.2f} s of processor time in a second"


def test_narrow_way(way):
    """a way that has become narrower is noticed, whichever flow meets it"""
    long = frame("02:00:00:88:00:77", way.end.mac, "x" * 1400)
    with way.socket() as sock:
        for number in range(4):
            way.router.run("ip link set eth1 mtu 1500")
            way.far.run("ip link set eth0 mtu 1500")
            way.near.run("ip route flush cache")
            way.link()
            way.end.send(BROADCAST, f"wide {number}")
            sock.recv(65536)
            way.router.run(f"ip link set eth1 mtu {NARROW}")

            def noticed(number=number):
                # Its flow is of a socket of its own, mostly.
                way.end.send_raw(long[:9] + bytes([number]) + long[10:])
                time.sleep(0.01)
                return way.counters()["tx-drop-long"] > 0
            wait_until("long frames are known to be", noticed, 5)
            way.end.send_raw(frame("02:00:00:88:00:77", way.end.mac,
                                   "y" * (NARROW - OUTER - INNER)))
            while b"yyyy" not in (data := sock.recv(65536)):
                pass
            tap.expect(len(data), NARROW - 28, "what fits")


def test_answer_teaches_nothing(way):
    """who is told that a frame is too long does not learn where its destination
    is"""
    nobody = "02:00:00:88:00:77"
    data = bytes.fromhex((nobody + way.end.mac).replace(":", "")) + struct.pack(
        ">HBBHHHBBH4s4s", 0x0800, 0x45, 0, 1500, 1, 0x4000, 64,
        socket.IPPROTO_UDP, 0, socket.inet_aton("10.88.3.1"),
        socket.inet_aton("10.88.3.2")) + bytes(1480)
    way.link()
    way.end.frames = []
    way.end.send_raw(struct.pack(">I", len(data)) + data)

    def answered():
        way.end.listen()
        return any(got[6:12] == data[:6] for got in way.end.frames)
    wait_until("the sender is told", answered)
    tap.expect(nobody in way.end.status().macs, False, "learnt from it")


def test_other_address(way):
    """a link goes on when this host has another address than before"""
    way.link()
    with way.socket() as sock:
        way.end.send(BROADCAST, "before")
        tap.expect(sock.recvfrom(65536)[1][0], "10.88.1.2", "from")
        try:
            way.near.run("ip addr del 10.88.1.2/24 dev eth0")
            way.near.run("ip addr add 10.88.1.3/24 dev eth0")
            way.near.run("ip route replace default via 10.88.1.1")

            def other():
                way.end.send(BROADCAST, "behind")
                sock.settimeout(0.05)
                with suppress(TimeoutError):
                    return sock.recvfrom(65536)[1][0] == "10.88.1.3"
            wait_until("it comes from the other address", other)
            sock.sendto(struct.pack(">BxxxI", 8, VNI << 8) +
                        frame(BROADCAST, "02:00:00:88:00:99", "back")[4:],
                        ("10.88.1.3", PORT))
            way.end.hears("back", seconds=5)
        finally:
            way.near.run("ip addr del 10.88.1.3/24 dev eth0")
            way.near.run("ip addr add 10.88.1.2/24 dev eth0")
            way.near.run("ip route replace default via 10.88.1.1")


def test_no_checksum(way):
    """a datagram over IPv6 without a checksum is taken"""
    way.link("fd88:2::2")
    with way.socket(socket.AF_INET6) as sock:
        sock.setsockopt(socket.IPPROTO_UDP, UDP_NO_CHECK6_TX, 1)
        data = frame(BROADCAST, "02:00:00:88:00:99", "no checksum")[4:]
        sock.sendto(struct.pack(">BxxxI", 8, VNI << 8) + data,
                    ("fd88:1::2", PORT))
        way.end.hears("no checksum", seconds=5)


if __name__ == "__main__":
    tap.main(globals(), {"way": Way})

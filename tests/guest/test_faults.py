#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What an application sees when a host, a guest, a driver or a device goes
away under its streams: an end that it knows from TCP, and soon."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

import scenarios                                    # noqa: E402
from rig import lockstep, tap, topo                 # noqa: E402
from rig.paths import LOGS                          # noqa: E402
from rig.setup import Setup                         # noqa: E402

RUN = ["vtoe-run"]
#: What a TCP application may see when its peer is no more.
GONE = ("ECONNRESET", "ETIMEDOUT", "EPIPE")
#: Seconds within which it has to; three heartbeats take three.
SOON = 20


class Streams(Setup):
    """Two guests with four streams: two at rest, and two whose readers wait.
    a has c0..c3, b has s0..s3."""

    def __init__(self, name, **options):
        self.pair = topo.VtoePair(logs=LOGS / "faults" / name, **options)
        self.a = self.b = None

    def set_up(self, stack):
        stack.enter_context(self.pair)
        self.open()

    def open(self, port=1500):
        """New actors with four streams, each used once."""
        before = self.pair.counters(self.pair.a)["streams-established"]
        transcript = []
        self.a = lockstep.Actor(self.pair.a, "a", transcript, port, RUN)
        self.b = lockstep.Actor(self.pair.b, "b", transcript, port, RUN)
        self.a.address, self.b.address = topo.A4, topo.B4
        self.a.family = self.b.family = "tcp"
        for i in range(4):
            lockstep.connect(self.a, self.b, port, f"c{i}", f"s{i}")
            self.a.expect(f"sendall c{i} 1000", "1000")
            self.b.expect(f"recvall s{i} 1000", "1000")
        tap.expect(self.pair.counters(self.pair.a)["streams-established"]
                   - before, 4, "streams")

    def expect_gone(self, actor, letter):
        """Every stream of the actor has ended as TCP's would."""
        began = time.monotonic()
        for i in range(4):
            name = f"{letter}{i}"
            events = actor(f"poll {name} in {SOON * 1000}", SOON + 10)
            assert "err" in events and "hup" in events, events
            actor.expect(f"recv {name} 1", *GONE)
            actor.expect(f"recv {name} 1", "0")
            actor.expect(f"send {name} 1 nosignal", "EPIPE")
            actor.expect(f"close {name}", "0")
        tap.diag(f"seen after {time.monotonic() - began:.2f} s")
        assert time.monotonic() - began < SOON

    def expect_nothing_left(self, *guests):
        for guest in guests:
            guest.wait_until(
                "streams are left",
                lambda guest=guest: not self.pair.overlay(guest)["streams"],
                10)
            tap.expect(guest.dmesg_problems(), [], guest.name)


def test_peer_killed():
    """SIGKILL to the peer's QEMU: streams end, and calls that wait on them"""
    with Streams("peer_killed") as s:
        s.a.begin("recv c0 1")
        s.pair.b.kill()
        tap.expect(s.a.finish(SOON) in GONE, True, "the blocked recv failed")
        s.a.expect("close c0", "0")
        for i in range(1, 4):
            s.a(f"poll c{i} in {SOON * 1000}", SOON + 10)
            s.a.expect(f"recv c{i} 1", *GONE)
            s.a.expect(f"close c{i}", "0")
        s.expect_nothing_left(s.pair.a)
        s.a.end()
        s.pair.a.end()


def test_writer_with_killed_peer():
    """a writer that waits for room when the peer's QEMU is killed"""
    with Streams("writer") as s:
        s.a("fill c0")
        s.a.begin("sendall c0 1000000")
        s.pair.b.kill()
        tap.expect(s.a.finish(SOON) in GONE, True, "the blocked send failed")
        s.a.end()
        s.expect_nothing_left(s.pair.a)
        s.pair.a.end()


def test_guest_reset():
    """reset of a guest: its peer's streams end, and after its boot new
    streams work"""
    with Streams("reset", reboot=True) as s:
        s.pair.b.reset()
        s.expect_gone(s.a, "c")
        s.a.end()
        s.expect_nothing_left(*s.pair.guests)
        s.open(1501)
        s.a.end()
        s.b.end()


def test_own_reset():
    """the same seen from the server: the client's guest is reset"""
    with Streams("own_reset", reboot=True) as s:
        s.pair.a.reset()
        s.expect_gone(s.b, "s")
        s.b.end()
        s.expect_nothing_left(*s.pair.guests)
        s.open(1501)
        s.a.end()
        s.b.end()


def test_module_in_use():
    """vtoe_sock cannot be removed while a program has its sockets, and can
    afterwards"""
    with Streams("module") as s:
        assert s.pair.a.status(["rmmod", "vtoe_sock"]) != 0
        s.a.expect("sendall c0 10", "10")
        s.b.expect("recvall s0 10", "10")
        s.a.end()
        s.b.end()
        s.expect_nothing_left(*s.pair.guests)
        for guest in s.pair.guests:
            guest.run(["rmmod", "vtoe_sock"])
            guest.run(["rmmod", "vtoe"])
            guest.run(["modprobe", "vtoe"])


def test_driver_unbound():
    """the driver is taken from the NIC: streams end on both sides, and work
    again when it is back"""
    with Streams("unbind") as s:
        device = s.pair.a.run(["readlink", "-f", "/sys/class/net/eth0/device"]
                              ).strip().rpartition("/")[2]
        driver = "/sys/bus/pci/drivers/vtoe"
        s.pair.a.run(f"echo {device} > {driver}/unbind")
        s.expect_gone(s.a, "c")
        s.expect_gone(s.b, "s")
        s.pair.a.run(f"echo {device} > {driver}/bind")
        s.pair.a.run(["ip", "addr", "add", f"{topo.A4}/24", "dev", "eth0"])
        s.pair.a.run(["ip", "link", "set", "dev", "eth0", "up"])
        s.a.end()
        s.b.end()
        s.expect_nothing_left(*s.pair.guests)
        s.open(1501)


def test_device_del():
    """hot unplug with open streams: both sides end, the NIC is gone, and one
    plugged in again works"""
    with Streams("device_del", root_port=True) as s:
        s.pair.a.cmd("device_del", id="nic")
        s.pair.a.wait_event("DEVICE_DELETED", 30, device="nic")
        s.expect_gone(s.a, "c")
        s.expect_gone(s.b, "s")
        tap.expect(s.pair.a.status(["test", "-e", "/sys/class/net/eth0"]), 1,
                   "eth0 is there")
        s.a.end()
        s.b.end()
        s.pair.a.cmd("device_add", driver="vtoe-pci", netdev="n0", id="nic",
                     bus="rp0", mac=topo.A_MAC)
        s.pair.a.wait_until("eth0 is back", lambda: s.pair.a.status(
            ["test", "-e", "/sys/class/net/eth0"]) == 0, 20)
        s.pair.a.run(["ip", "addr", "add", f"{topo.A4}/24", "dev", "eth0"])
        s.pair.a.run(["ip", "link", "set", "dev", "eth0", "up"])
        s.expect_nothing_left(s.pair.b)
        s.open(1501)


def test_netdev_del():
    """netdev_del with open streams: both sides end, and the NIC loses its
    carrier"""
    with Streams("netdev_del") as s:
        s.pair.a.cmd("netdev_del", id="n0")
        s.expect_gone(s.a, "c")
        s.expect_gone(s.b, "s")
        s.pair.a.wait_until(
            "no carrier", lambda: s.pair.a.read(
                "/sys/class/net/eth0/carrier").strip() == "0", 10)
        s.a.end()
        s.b.end()
        s.expect_nothing_left(s.pair.b)


def test_paused_guest():
    """a guest that is stopped for 8 s keeps its streams"""
    with Streams("paused") as s:
        s.pair.b.pause()
        s.a.expect("sendall c0 1000", "1000")
        s.pair.a.run(["sleep", "8"])
        s.pair.b.resume()
        s.b.expect("recvall s0 1000", "1000")
        s.b.expect("sendall s0 1000", "1000")
        s.a.expect("recvall c0 1000", "1000")


def test_tcp_after_link_loss():
    """the overlay comes back when the peer's QEMU is started again: frames
    and streams work"""
    with Streams("restart") as s:
        s.pair.b.kill()
        s.expect_gone(s.a, "c")
        s.a.end()
        s.pair.b.boot()
        s.pair.a.run(["ping", "-c", "1", "-W", "15", topo.B4])
        s.open(1501)
        lockstep.compare(scenarios.exchange, s.pair, RUN)


if __name__ == "__main__":
    tap.main(globals())

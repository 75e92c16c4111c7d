#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Capture devices: tcpdump sees offloaded streams as TCP packets."""

import base64
import os
import re
import signal
import sys
from contextlib import contextmanager

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import lockstep, pcap, programs, tap, topo         # noqa: E402
from rig.paths import LOGS                                  # noqa: E402
from test_observe import RECIPE, RUN                        # noqa: E402

DEVICE = "vtoecap0"
FILE = "/tmp/capture"


def pattern(count):
    """The first bytes of what the program sock sends."""
    out = bytearray()
    for word in range((count + 7) // 8):
        word = word * 0xd6e8feb86659fd93 & (1 << 64) - 1
        out += ((word ^ word >> 32) & (1 << 64) - 1).to_bytes(8, "little")
    return bytes(out[:count])


@contextmanager
def device(guest, *options):
    """A capture device that is up."""
    guest.run(["ip", "link", "add", DEVICE, *options, "type", "vtoecap"])
    try:
        guest.run(["ip", "link", "set", DEVICE, "up"])
        yield
    finally:
        guest.run(["ip", "link", "del", DEVICE])


class Capture:
    """tcpdump in a guest while the body runs; then .packets, and .lost, what
    it was too slow for.  It is ended when it has seen what was shown."""

    def __init__(self, guest):
        self._guest = guest
        self.packets = self.lost = None

    def __enter__(self):
        self._proc = self._guest.start(
            ["tcpdump", "-i", DEVICE, "-Z", "root", "-U", "-s", "65535", "-B", "65536",
             "--immediate-mode",
             "--time-stamp-precision=nano", "-w", FILE])
        self._proc.wait_output("listening on")
        return self

    def __exit__(self, kind, value, trace):
        if kind:
            self._proc.kill(signal.SIGKILL)
            return
        # Its thread has to run for that, and to have run for the last packet.
        self._guest.wait_until("tcpdump has seen all packets", lambda:
                               self._seen() >= statistics(self._guest)[0])
        self._proc.kill(signal.SIGINT)
        self._proc.wait(20)
        said = self._proc.stderr
        self.lost = int(re.search(r"(\d+) packets? dropped by kernel",
                                  said)[1])
        data = base64.b64decode(self._guest.run(["base64", FILE], 60))
        self.packets = pcap.read(data)

    def _seen(self):
        """Packets that it has captured or lost; it says so when asked."""
        asked = self._proc.stderr.count("packets captured")
        self._proc.kill(signal.SIGUSR1)
        self._guest.wait_until("tcpdump says how many it has", lambda:
                               self._proc.stderr.count("packets captured")
                               > asked)
        said = self._proc.stderr[self._proc.stderr.rindex("packets captured")
                                 - 20:]
        return sum(map(int, re.findall(r"(\d+) packets? (?:captured|dropped)",
                                       said)))


def statistics(guest):
    """(packets, dropped) of the device, both directions."""
    folder = f"/sys/class/net/{DEVICE}/statistics"
    return tuple(sum(int(guest.read(f"{folder}/{way}_{what}"))
                     for way in ("rx", "tx"))
                 for what in ("packets", "dropped"))


def names(packets):
    """Who says what: ["a:S", "b:S.", ...], data as "a:data"."""
    first = packets[0].source
    return [f"{'a' if p.source == first else 'b'}:"
            f"{'data' if p.payload else p.name}" for p in packets]


def in_order(packets):
    tap.expect([p.time for p in packets], sorted(p.time for p in packets),
               "time stamps")


def captured(pair, scenario, six=False):
    """Play a scenario over offload with a capture on both sides; the packets
    of its one stream, as a and as b saw it."""
    with device(pair.a), device(pair.b), Capture(pair.a) as near, \
            Capture(pair.b) as far:
        lockstep.play(scenario, pair, RUN, six=six)
        pair.a.wait_until("the stream is gone", lambda: not any(
            pair.overlay(guest)["streams"] for guest in pair.guests), 20)
        for guest in pair.guests:
            tap.expect(statistics(guest)[1], 0, f"dropped on {guest.name}")
    found = []
    for capture in (near, far):
        tap.expect(capture.lost, 0, "packets that tcpdump lost")
        streams = pcap.streams(capture.packets)
        tap.expect(len(streams), 1, list(streams))
        (_, packets), = streams.items()
        in_order(packets)
        found.append(packets)
    return found


def check_exchange(pair, six, addresses):
    sizes = (1, 14, 1000, 65536, 200000)

    def scenario(a, b, port):
        lockstep.connect(a, b, port)
        for size in sizes:
            a(f"sendall c {size}")
            b(f"recvall s {size}")
            b(f"sendall s {size}")
            a(f"recvall c {size}")
        a("shutdown c wr")
        b("recv s 1")
        b("sendall s 5")
        b("close s")
        a("recvall c 6")
        a("close c")

    for packets in captured(pair, scenario, six):
        client, server = packets[0].source, packets[0].dest
        tap.expect((client[0], server[0]), addresses, "addresses")
        tap.expect(names(packets)[:3], ["a:S", "b:S.", "a:."], "handshake")
        count = sum(sizes)
        for end, wanted in ((client, pattern(count)),
                            (server, pattern(count + 5))):
            got = pcap.payload(packets, end)
            tap.expect(len(got), len(wanted), f"bytes that {end} sent")
            assert got == wanted, f"other bytes of {end}"
        said = names(packets)
        for end in "ab":
            fins = [n for n in said if n == f"{end}:F."]
            tap.expect(len(fins), 1, f"ends of {end}\n{said}")
        assert not any("R" in name for name in said), said
        # Both ends are acknowledged at the last.
        ends = {p.source: p.seq + 1 for p in packets if p.flags & pcap.FIN}
        last = {p.dest: p.ack for p in packets}
        tap.expect(last, ends, f"acknowledged at last\n{said}")


def test_exchange_v4(pair):
    """what was sent and received can be put together from a capture on either
    side: handshake, every byte, both ends, right checksums"""
    check_exchange(pair, False, (topo.A4, topo.B4))


def test_exchange_v6(pair):
    """the same over IPv6"""
    check_exchange(pair, True, (topo.A6, topo.B6))


def test_reset(pair):
    """a reset is shown on both sides, once, as the last packet"""
    def scenario(a, b, port):
        lockstep.connect(a, b, port)
        a("sendall c 100")
        b("recvall s 100")
        a("set c linger 1 0")
        a("close c")
        b("poll s in 10000")

    for packets in captured(pair, scenario):
        said = names(packets)
        tap.expect(said[-1], "a:R.", said)
        tap.expect(sum("R" in n for n in said), 1, said)
        tap.expect(pcap.payload(packets, packets[0].source), pattern(100),
                   "bytes before it")


def test_bytes_and_end_at_once(pair):
    """bytes and the end behind them that a guest sees at once are in order"""
    def scenario(a, b, port):
        lockstep.connect(a, b, port)
        pair.a.pause()
        b("sendall s 70000")
        b("close s")
        pair.a.resume()
        a("recvall c 70001")
        a("close c")

    for packets in captured(pair, scenario):
        server = packets[0].dest
        assert pcap.payload(packets, server) == pattern(70000)
        said = names(packets)
        tap.expect(sum(n == "b:F." for n in said), 1, said)


def test_close_with_bytes_unread(pair):
    """a server that closes with bytes unread resets"""
    def scenario(a, b, port):
        lockstep.connect(a, b, port)
        a("sendall c 100")
        b.expect("poll s in 10000", "in")
        b("close s")
        a("poll c in+out+rdhup 10000")

    for packets in captured(pair, scenario):
        said = names(packets)
        tap.expect(sum(n == "b:R." for n in said), 1, said)
        tap.expect(sum("R" in n for n in said), 1, said)


def test_refused(pair):
    """an offer that is refused is a SYN and a reset"""
    pair.a.run("echo 0 > /proc/sys/net/vtoe/cache_seconds")
    with device(pair.a), Capture(pair.a) as near:
        lockstep.play(lambda a, b, port: lockstep.connect(a, b, port), pair,
                      RUN, prefix_b=[])
    tap.expect(names(near.packets), ["a:S", "b:R."], "packets")
    tap.expect(near.packets[1].ack, near.packets[0].seq + 1, "acknowledged")


def test_capture_that_begins_late(pair):
    """a capture may begin in the middle of a stream, with right numbers"""
    def scenario(a, b, port):
        lockstep.connect(a, b, port)
        a("sendall c 5000")
        b("recvall s 5000")
        with device(pair.a), Capture(pair.a) as near:
            a("sendall c 3000")
            b("recvall s 3000")
            b("sendall s 70000")
            a("recvall c 70000")
        tap.expect(pcap.payload(near.packets, near.packets[0].source),
                   pattern(8000)[5000:], "what a sent")
        tap.expect(pcap.payload(near.packets, near.packets[0].dest),
                   pattern(70000), "what b sent")

    lockstep.play(scenario, pair, RUN)


def test_mtu(pair):
    """a packet is not longer than the device's MTU"""
    def scenario(a, b, port):
        lockstep.connect(a, b, port)
        a("sendall c 50000")
        b("recvall s 50000")

    with device(pair.a, "mtu", "1500"), Capture(pair.a) as near:
        lockstep.play(scenario, pair, RUN)
    tap.expect(pcap.payload(near.packets, near.packets[0].source),
               pattern(50000), "what a sent")
    longest = max(len(p.payload) for p in near.packets)
    assert 1400 < longest <= 1460, longest


def test_iperf3(pair):
    """iperf3's bytes, each way, are those on the capture device"""
    with device(pair.a), Capture(pair.a) as near:
        programs.iperf3(pair.a, pair.b, topo.B4, 30, prefix=RUN, megabytes=20)
    tap.expect(near.lost, 0, "packets that tcpdump lost")
    streams = pcap.streams(near.packets)
    tap.expect(len(streams), 2, "iperf3's control and data")
    sent = [sum(len(pcap.payload(packets, end)) for end in key)
            for key, packets in streams.items()]
    for packets in streams.values():
        in_order(packets)
    # What was sent, in whole blocks; iperf3's server may end before it has
    # counted the last of it.
    assert 20e6 <= max(sent) < 20.5e6, sent


def test_slow_listener_costs_nothing(pair):
    """who listens and does not read loses packets, which the kernel counts;
    the streams do not notice, and no memory is kept"""
    with device(pair.a):
        proc = pair.a.start(["tcpdump", "-i", DEVICE, "-Z", "root", "-B", "64",
                             "-w", FILE])
        proc.wait_output("listening on")
        proc.kill(signal.SIGSTOP)
        programs.iperf3(pair.a, pair.b, topo.B4, 40, prefix=RUN, megabytes=50)
        shown, dropped = statistics(pair.a)
        proc.kill(signal.SIGCONT)
        proc.kill(signal.SIGINT)
        proc.wait(20)
        lost = int(re.search(r"(\d+) packets? dropped by kernel",
                             proc.stderr)[1])
        tap.diag(f"{shown} shown, {lost} lost, {dropped} dropped")
        assert 0 < lost <= shown, proc.stderr


def test_only_while_someone_listens(pair):
    """without a listener nothing is made up; a device shows its own
    namespace's streams only, and has no address"""
    def scenario(a, b, port):
        lockstep.connect(a, b, port)
        a("sendall c 1000")
        b("recvall s 1000")

    with device(pair.a):
        lockstep.play(scenario, pair, RUN)
        tap.expect(statistics(pair.a), (0, 0), "packets for nobody")
        said = pair.a.run(["ip", "addr", "show", DEVICE])
        assert "inet" not in said, said
    pair.a.run("/bin/ip netns add other && /bin/ip -n other link add "
               f"{DEVICE} type vtoecap && "
               f"/bin/ip -n other link set {DEVICE} up")
    try:
        proc = pair.a.start(["ip", "netns", "exec", "other", "tcpdump", "-i",
                             DEVICE, "-Z", "root", "-w", FILE])
        proc.wait_output("listening on")
        lockstep.play(scenario, pair, RUN)
        proc.kill(signal.SIGINT)
        proc.wait(20)
        assert re.search(r"^0 packets captured", proc.stderr, re.M), \
            proc.stderr
    finally:
        pair.a.run(["ip", "netns", "del", "other"])


PAIRS = {kernel: lambda kernel=kernel: topo.VtoePair(
    kernel=kernel, recipe=RECIPE, logs=LOGS / "capture" / kernel)
    for kernel in ("6.12", "6.1")}

if __name__ == "__main__":
    tap.main(globals(), PAIRS)

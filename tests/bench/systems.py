# SPDX-License-Identifier: GPL-2.0-or-later
"""The systems that the demo compares.

A system has two ends, the address of the second, and words to put before the
programs.  Several systems may share a pair of guests: prepare() puts the pair
into the system's state before each of its turns.
"""

from contextlib import contextmanager

from rig import topo
from rig.counts import Counter, per_megabyte
from rig.paths import LOGS, RigError
from rig.programs import Host, iperf3, sockperf


class System:
    """One row of the table."""

    def __init__(self, name, title, pair=None, prefix=(), prepare=None,
                 verify=None):
        self.name, self.title = name, title
        self.pair, self.prefix = pair, list(prefix)
        self._prepare, self._verify = prepare, verify

    @property
    def ends(self):
        """(client, server, address of the server)"""
        if self.pair is None:
            host = Host()
            return host, host, "127.0.0.1"
        return self.pair.a, self.pair.b, topo.B4

    @contextmanager
    def turn(self):
        """The system is ready in the body, and takes no time after it."""
        if self.pair is None:
            yield
            return
        self.pair.resume()
        if self._prepare:
            self._prepare()
        client, _, address = self.ends
        client.run(["ping", "-c", "1", "-W", "10", address])
        before = self._verify and self._verify()
        yield
        if self._verify:
            self._check(before, self._verify())
        self.pair.pause()

    def _check(self, before, after):
        """A figure must be the system's whose name it bears."""
        streams = after - before
        wanted = self.name == "vtoe"
        if (streams > 0) != wanted:
            raise RigError(f"{self.name}: {streams} connections went over "
                           f"streams, which should {'' if wanted else 'not '}"
                           "have happened")

    def throughput(self, seconds, direction):
        """Gbit/s of one iperf3 run."""
        return iperf3(*self.ends, seconds, direction, self.prefix).gbit

    def latency(self, seconds):
        """Median one-way latency of a ping-pong in microseconds."""
        return sockperf(*self.ends, seconds, self.prefix).latency_us

    def count(self, seconds):
        """(interrupts, doorbells) of both NICs per megabyte moved one way;
        None for what cannot be counted."""
        if self.pair is None:
            return None, None
        counters = [Counter(guest) for guest in self.pair.guests]
        for counter in counters:
            counter.start()
        moved = iperf3(*self.ends, seconds, "out", self.prefix, omit=0)
        return per_megabyte(counters, moved.megabytes)


def missing_counts(name):
    """Why a system lacks a count."""
    return "no NIC" if name == "host" else "the driver does not count them"


def pairs(names, logs=LOGS / "demo", **options):
    """The pairs of guests needed for these systems, not yet booted; and
    those systems that cannot run here, with the reason.  Further options go to
    the pairs."""
    wanted = {"vtoe": topo.VtoePair, "vtoe_frames": topo.VtoePair,
              "vtoe_plain": topo.VtoePair,
              "virtio_vxlan": topo.VirtioVxlan,
              "virtio_stream": topo.VirtioStream}
    needed, left_out = {}, {}
    for name in names:
        cls = wanted.get(name)
        reason = cls.missing() if cls else None
        if reason:
            left_out[name] = reason
        elif cls and cls.name not in needed:
            needed[cls.name] = cls(logs=logs / cls.name, **options)
    return needed, left_out


def systems(names, booted):
    """The systems of these names on pairs that are up."""
    vtoe = booted.get("vtoe")

    def opened():
        """Streams that guest a has had since its start."""
        return vtoe.counters(vtoe.a)["streams-established"]

    made = {
        "vtoe": lambda: System(
            "vtoe", "VTOE: streams", vtoe, ["vtoe-run"],
            vtoe.offload_all, opened),
        "vtoe_frames": lambda: System(
            "vtoe_frames", "same NIC, streams off", vtoe, [],
            vtoe.offload_all, opened),
        "vtoe_plain": lambda: System(
            "vtoe_plain", "same NIC, no offload, MTU 1500", vtoe, [],
            vtoe.offload_none, opened),
        "virtio_vxlan": lambda: System(
            "virtio_vxlan", "virtio-net, tap, kernel VXLAN",
            booted["virtio_vxlan"]),
        "virtio_stream": lambda: System(
            "virtio_stream", "virtio-net, netdev stream",
            booted["virtio_stream"]),
        "host": lambda: System("host", "host loopback, no guest"),
    }
    return [made[name]() for name in names]

#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Two overlays whose VXLAN link goes through a relay that loses, doubles,
reorders and damages datagrams: what arrives is what was passed on, or counted.

VTOE_RELAY_SEED is what all that is random follows from (default: 1).
"""

import os
import sys
import time
from collections import Counter
from contextlib import contextmanager
from types import SimpleNamespace

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import netns, segments, tap                        # noqa: E402
from rig.ends import (BROADCAST, Books, End, dropped,       # noqa: E402
                      frame, wait_until)
from rig.setup import Setup                                 # noqa: E402
from rig.udp_relay import HOSTS, PORT, SIDES, Relay         # noqa: E402

# What the address sanitizer keeps of freed memory is no growth of QEMU's.
os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + \
    ":quarantine_size_mb=8"

SEED = int(os.environ.get("VTOE_RELAY_SEED", "1"))
VNI = 77
#: Learnt addresses, at most.
MACS = 256
#: MiB that a QEMU may grow by in a test.
GROWTH = 16
#: Bytes of a VXLAN header, and of an Ethernet header.
OUTER, INNER = 8, 14


class Wire(Setup):
    """Two ends, and the relay between them."""

    def __init__(self):
        self.ends = []
        self._texts = 0

    def set_up(self, stack):
        tap.diag(f"VTOE_RELAY_SEED={SEED}")
        space = stack.enter_context(netns.Namespace())
        space.run("ip link set lo up")
        self.relay = stack.enter_context(Relay(space, SEED))
        for number, (host, side) in enumerate(zip(HOSTS, SIDES)):
            end = stack.enter_context(End(number, space, **{
                "vni": VNI, "max-macs": MACS}))
            end.ask("vnet-link-add", id="n0", link={
                "id": "wire", "type": "vxlan", "local": host, "mtu": 1500,
                "addr": {"type": "inet", "host": side,
                         "port": str(PORT)}})
            end.wait_up("n0", "wire")
            self.ends.append(end)
        self.meet()

    def problems(self):
        self.relay.tell()
        return []

    def text(self, what):
        self._texts += 1
        return f"{what} {self._texts}"

    def meet(self):
        """Returns when each has heard the other, and says how long it took."""
        began = time.monotonic()
        for end, far in zip(self.ends, reversed(self.ends)):
            text, said = self.text("meet"), [0]

            def met(end=end, far=far, text=text, said=said):
                if time.monotonic() - said[0] > 0.05:
                    end.send(BROADCAST, text)
                    said[0] = time.monotonic()
                return far.listen()[text]
            wait_until(f"{far.name} hears {end.name}", met)
        self.settle()
        return time.monotonic() - began

    def settle(self):
        """Returns when all that was sent before has come through, or not."""
        self.relay.tell()
        for end, far in zip(self.ends, reversed(self.ends)):
            text = self.text("settle")
            end.send(BROADCAST, text)
            far.hears(text)
        wait_until("the relay has nothing left", self.relay.idle)


def arrived(link):
    """The datagrams that a link's counters account for, by what became of
    them."""
    return {name: link[name] for name in (
        "rx-frames", "rx-drop-header", "rx-drop-short", "rx-drop-long",
        "rx-drop-source", "rx-overrun")}


@contextmanager
def counted(wire):
    """What is sent in here is accounted for: at the senders, in the relay, at
    the receivers.  After the block .ends has the counters of each end, as
    Books.close(), .passed what each was passed, and .heard the frames that each
    heard; nothing has grown."""
    found = SimpleNamespace()
    wire.settle()
    books = Books(wire.ends)
    then = [(way.taken, len(way.passed)) for way in wire.relay.ways]
    for end in wire.ends:
        end.frames = []
        end.forget_peak()
    before = [end.memory_peak() for end in wire.ends]
    yield found
    wire.settle()
    sums = []

    def right():
        # The receiver's thread has counted what the relay has sent.
        found.ends = books.close()
        found.passed = [way.passed[n:] for way, (_, n)
                        in zip(reversed(wire.relay.ways), reversed(then))]
        sums[:] = [(
            its.links["wire"]["datagrams-received"] +
            its.links["wire"]["rx-drop-source"] +
            its.links["wire"]["rx-overrun"], len(passed))
            for its, passed in zip(found.ends, found.passed)]
        return all(one == other for one, other in sums)
    wait_until(lambda: f"received and passed on: {sums}", right)
    found.heard = [end.frames for end in wire.ends]
    for end, its, way, (taken, _) in zip(wire.ends, found.ends,
                                         wire.relay.ways, then):
        link = its.links["wire"]
        tap.expect(sum(arrived(link).values()) + link["rx-joined"],
                   link["datagrams-received"] + link["rx-drop-source"] +
                   link["rx-overrun"], f"{end.name}: in one counter")
        tap.expect(way.taken - taken, link["datagrams-sent"],
                   f"{end.name}: sent, and taken by the relay")
        tap.expect(end.link("n0", "wire")["state"], "up", "the link")
        assert len(end.status().macs) <= MACS + 4, len(end.status().macs)
        end.frames = None
    grown = [round(end.memory_peak() - then)
             for end, then in zip(wire.ends, before)]
    assert max(grown) < GROWTH, grown


def inner(datagrams):
    """The frames in them, as often as they are there."""
    return Counter(data[OUTER:] for data in datagrams)


def noise(end, far, number, rand):
    """A frame of any length that is like no other."""
    return frame(far.mac, end.mac, f"{number} " + "x" * rand.randrange(1400))


def talk(wire, count, source=noise):
    """So many frames from each end to the other, in batches that the next is
    not sent before the relay has."""
    for end, far, way in zip(wire.ends, reversed(wire.ends), wire.relay.ways):
        rand, taken = way.random, way.taken
        for at in range(0, count, 100):
            end.send_raw(b"".join(source(end, far, number, rand)
                                  for number in range(at, at + 100)))
            wait_until("the relay has them", lambda way=way, at=at,
                       taken=taken: way.taken >= taken + at + 100)


# Fates of a datagram.

def unreliable(data, rand):
    """Lost, there twice, late, or none of it."""
    kind = rand.randrange(10)
    if kind == 0:
        return []
    if kind == 1:
        return [(0, data), (rand.uniform(0, 0.01), data)]
    return [(rand.uniform(0, 0.02) if kind < 5 else 0, data)]


def damaged(data, rand):
    """Every other one: a bit of the outer header or of the frame, an end that
    is missing, one too many."""
    kind = rand.randrange(10)
    changed = bytearray(data)
    if kind < 2:
        changed[rand.randrange(OUTER)] ^= 1 << rand.randrange(8)
    elif kind == 2:
        changed[rand.randrange(len(data))] ^= 1 << rand.randrange(8)
    elif kind == 3:
        del changed[rand.randrange(min(len(data), 40)):]
    elif kind == 4:
        changed += rand.randbytes(rand.choice((1, 100, 3000, 9000, 60000)))
    return [(0, bytes(changed))]


def nothing(_data, _rand):
    return []


def meant(data):
    """The counter that a datagram belongs to, by docs/specs/vnet-vxlan.rst."""
    if len(data) < OUTER or not data[0] & 8:
        return "rx-drop-header"
    if len(data) < OUTER + INNER:
        return "rx-drop-short"
    if int.from_bytes(data[4:7], "big") != VNI:
        return "rx-drop-vni"
    return "in"


def test_unreliable(wire):
    """what is lost, doubled and reordered is heard as often as it was passed
    on, each frame as it was sent"""
    with counted(wire) as found:
        wire.relay.tell(unreliable)
        talk(wire, 2000)
    for end, heard, passed in zip(wire.ends, found.heard, found.passed):
        tap.diag(f"{end.name}: passed {len(passed)}, "
                 f"different {len(inner(passed))}")
        assert len(inner(passed)) < 1950 < len(passed), len(passed)
        assert Counter(heard) == inner(passed), "not what was passed on"


def test_damaged(wire):
    """each damaged datagram is in the counter that it belongs to; what is a
    frame all the same is heard as it was passed on, or dropped and counted"""
    with counted(wire) as found:
        wire.relay.tell(damaged)
        talk(wire, 2000)
    for end, its, heard, passed in zip(wire.ends, found.ends, found.heard,
                                       found.passed):
        should = Counter(meant(data) for data in passed)
        link = its.links["wire"]
        tap.diag(f"{end.name}: {dict(should)}, "
                 f"{dropped(its.core)} dropped by the switch")
        assert min(should.values()) > 10 and len(should) == 4, should
        tap.expect({**arrived(link), "rx-drop-vni": link["rx-drop-vni"]}, {
            "rx-frames": should["in"] + should["rx-drop-vni"],
            "rx-drop-header": should["rx-drop-header"],
            "rx-drop-short": should["rx-drop-short"], "rx-drop-long": 0,
            "rx-drop-source": 0, "rx-overrun": 0,
            "rx-drop-vni": should["rx-drop-vni"]}, "the counters")
        frames = inner(data for data in passed if meant(data) == "in")
        more = Counter(heard) - frames
        assert not more, f"not passed on: {list(more)[:3]}"
        tap.expect(len(heard), should["in"] - dropped(its.core) -
                   its.port["rx-drop"], "heard")


def test_damaged_segments(wire):
    """TCP segments that are joined on their way: each is heard as often as it
    was passed on, or dropped and counted; a damaged one is never mended"""
    def whole_or_not(data, rand):
        if rand.randrange(10):
            return unreliable(data, rand)
        changed = bytearray(data)
        changed[rand.randrange(OUTER, len(data))] ^= 1 << rand.randrange(8)
        return [(0, bytes(changed))]

    with counted(wire) as found:
        wire.relay.tell(whole_or_not)
        talk(wire, 2000, segments.of_a_flow)
    for end, its, heard, passed in zip(wire.ends, found.ends, found.heard,
                                       found.passed):
        joined = its.links["wire"]["rx-joined"]
        tap.diag(f"{end.name}: {joined} joined of {len(passed)}")
        assert joined > 50, joined
        sent = Counter(segments.identity(data) for data
                       in inner(passed).elements())
        got = Counter(map(segments.identity, heard))
        tap.expect(list(got - sent), [], f"{end.name}: not passed on, mended")
        # An address that is damaged may be one whose frames are dropped.
        tap.expect((sent - got).total(), dropped(its.core) +
                   its.port["rx-drop"], f"{end.name}: not heard")


def test_black_hole(wire):
    """one direction alone, then both, lead nowhere: the other goes on, the link
    stays up, and all is as before as soon as they lead on"""
    for ways in (0,), (1,), (0, 1):
        with counted(wire) as found:
            wire.relay.tell(nothing, ways=ways)
            talk(wire, 200)
            hears = [1 - number not in ways for number in range(2)]
            for number, heard in enumerate(hears):
                wait_until("the rest came", lambda heard=heard, number=number:
                           wire.ends[number].listen().total() and
                           wire.relay.idle())
        for passed, through in zip(found.passed, hears):
            tap.expect(len(passed), 1 + 200 * through, "passed on")
        assert wire.meet() < 2


def test_relay_gone(wire):
    """the network says that nobody is there: that is counted, what is sent is
    in one counter, and the link works when somebody is"""
    books = Books(wire.ends)
    wire.relay.close()
    for end, far in zip(wire.ends, reversed(wire.ends)):
        then, said = end.link("n0", "wire")["counters"], [0, 0]

        def told(end=end, far=far, then=then, said=said):
            # A kernel does not answer all, if there are many.
            if time.monotonic() - said[1] > 0.02:
                end.send_raw(20 * frame(far.mac, end.mac, "gone"))
                said[:] = [said[0] + 20, time.monotonic()]
            found = end.link("n0", "wire")["counters"]
            return found["unreachable"] >= then["unreachable"] + 5
        wait_until(f"{end.name} is told", told)
        end.wait_link("n0", "wire", "done", lambda found, then=then, said=said:
                      found["counters"]["tx-frames"] ==
                      then["tx-frames"] + said[0])
        tap.expect(end.link("n0", "wire")["state"], "up", "the link")
    for end, its in zip(wire.ends, books.close()):
        link = its.links["wire"]
        tap.expect(link["datagrams-sent"] + link["tx-lost"], link["tx-frames"],
                   f"{end.name}: sent or lost")
    wire.relay.open()
    assert wire.meet() < 2


def test_rate(wire):
    """through a network that is slower than the sender, what it does not lose
    comes in order"""
    with counted(wire) as found:
        wire.relay.tell(rate=2000000, room=100000)
        talk(wire, 1000)
        wait_until("the relay has nothing left", wire.relay.idle)
    for heard, passed in zip(found.heard, found.passed):
        assert 50 < len(passed) < 950, len(passed)
        tap.expect(heard, [data[OUTER:] for data in passed], "in order")
        # That in which they were sent, too.
        numbers = [int(data[INNER:].split()[0]) for data in heard
                   if data[INNER:INNER + 1].isdigit()]
        assert len(numbers) > 50 and numbers == sorted(numbers), numbers


if __name__ == "__main__":
    tap.main(globals(), {"wire": Wire})

#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Two, three and eight overlays in network namespaces: where frames go, and
what loops, moving addresses and storms may cost."""

import contextlib
import itertools
import os
import random
import sys
import threading
import time
from collections import Counter

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import tap                                         # noqa: E402
from rig.ends import (BROADCAST, Books, Ends, copies,       # noqa: E402
                      dropped, frame, wait_until)

# What the address sanitizer keeps of freed memory is no growth of QEMU's.
os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + \
    ":quarantine_size_mb=8"

#: Broadcasts, multicasts and unknown frames per second, where that is limited.
LIMIT = 1000
#: What may be flooded at once after a pause, in frames.
BURST = LIMIT // 10
#: Learnt addresses, where they are few.
FEW = 4096
#: MiB that a QEMU may grow by in a test.
GROWTH = 32


# Shapes: the links between so many ends.

def mesh(count):
    return list(itertools.combinations(range(count), 2))


def star(count):
    return [(0, leaf) for leaf in range(1, count)]


def chain(count):
    return [(number, number + 1) for number in range(count - 1)]


@contextlib.contextmanager
def joined(ends, pairs, split=False):
    """Ends with these links that know each other; those that have one."""
    ends.join(pairs, split)
    some = [ends[n] for n in sorted(set(itertools.chain(*pairs)))]
    ends.meet(some)
    ends.settle(some)
    yield some
    ends.part()


@contextlib.contextmanager
def bounded(ends):
    """Nothing grows meanwhile, not even for a time."""
    for end in ends:
        end.forget_peak()
    before = [end.memory_peak() for end in ends]
    yield
    grown = [round(end.memory_peak() - then)
             for end, then in zip(ends, before)]
    tap.diag(f"MiB that each had more for a time: {grown}")
    assert max(grown) < GROWTH, grown


def heard_by(ends, text):
    """The numbers of those that heard it, as often as they did."""
    return [end.number for end in ends for _ in range(end.listen()[text])]


def expect_heard(ends, text, *numbers):
    tap.expect(heard_by(ends, text), sorted(numbers), f"who heard {text}")


# Which way frames go.

def all_to_all(ends, some):
    """Each end says something to all, to each NIC, and to somebody behind each
    NIC; who is meant hears it once, and nobody else does.  The books."""
    for end in some:            # not known from announcements
        end.send(BROADCAST, ends.new_text("inner"), src=end.inner)
    ends.settle(some)
    books = Books(some)
    sent = []
    for end in some:
        others = [other for other in some if other is not end]
        for dst, hearers in [(BROADCAST, others),
                             *((far.mac, [far]) for far in others),
                             *((far.inner, [far]) for far in others)]:
            text = ends.new_text("all-to-all")
            end.send(dst, text)
            sent.append((text, [hearer.number for hearer in hearers]))
    broadcasts = 1 + ends.settle(some)
    for text, hearers in sent:
        expect_heard(some, text, *hearers)
    found = books.close()
    for end, its in zip(some, found):
        tap.expect(dropped(its.core), 0, f"{end.name}: dropped")
        tap.expect(its.port["tx-frames"], broadcasts + 2 * len(some) - 2,
                   f"{end.name}: frames from the NIC")
        # All broadcasts, whoever began them, and nothing else.
        tap.expect(its.core["frames-flooded"], broadcasts * len(some),
                   f"{end.name}: flooded")
    return broadcasts, found


def try_shape(ends, shape, split=False):
    for count in 2, 3, 8:
        with joined(ends, shape(count), split) as some:
            broadcasts, found = all_to_all(ends, some)
            for end, its in zip(some, found):
                if split:       # its own to all links, others' to the NIC
                    given = broadcasts * 2 * (count - 1)
                else:           # to each end of the switch but one
                    given = broadcasts * count * len(its.links)
                tap.expect(copies(its), its.core["frames-forwarded"] + given,
                           f"{count}, {end.name}: copies")


@tap.only("8 ends")
def test_mesh(ends):
    """each to each: frames arrive once, where they should, and nowhere else"""
    try_shape(ends, mesh, split=True)


@tap.only("8 ends")
def test_star(ends):
    """by way of one in the middle: the same"""
    try_shape(ends, star)


@tap.only("8 ends")
def test_chain(ends):
    """one after the other: the same"""
    try_shape(ends, chain)


# Links that come and go.

def places(end, some):
    """Through which of its links or NICs an end knows each inner address."""
    macs = end.status().macs
    return {other.number: macs.get(other.inner) for other in some}


@tap.only("8 ends")
def test_chain_broken(ends):
    """what was learnt through a link of a chain goes with it, and comes back"""
    with joined(ends, chain(8)) as some:
        all_to_all(ends, some)
        here = {n: "nic" if n == 3 else "to2" if n < 3 else "to4"
                for n in range(8)}
        tap.expect(places(ends[3], some), here, "known before")
        ends.part([(3, 4)])
        tap.expect(places(ends[3], some),
                   {n: None if n > 3 else via for n, via in here.items()},
                   "known without the link")
        # It gets as far as there are links, and no further.
        text = ends.new_text("broken")
        ends[0].send(ends[7].inner, text)
        ends.settle(some[:4])
        expect_heard(some, text, 3)     # flooded, as it is unknown there
        ends.join([(3, 4)])
        ends.meet(some)
        all_to_all(ends, some)
        tap.expect(places(ends[3], some), here, "known again")


@tap.only("8 ends")
def test_star_unplugged(ends):
    """a leaf whose network is cut is forgotten, and found when it is back"""
    with joined(ends, star(8)) as some:
        all_to_all(ends, some)
        leaf = 4                        # its link is a tcp one
        ends.plug(leaf, False)
        # No word of it: only its silence tells.
        for end, link in (ends[0], f"to{leaf}"), (ends[leaf], "to0"):
            found = end.wait_link("n0", link, "down",
                                  lambda found: found["state"] != "up")
            tap.expect(found["counters"]["lost-heartbeat"], 1, "lost")
        tap.expect(places(ends[0], some)[leaf], None, "known meanwhile")
        rest = [end for end in some if end.number != leaf]
        text = ends.new_text("unplugged")
        ends[1].send(ends[leaf].inner, text)
        all_to_all(ends, rest)          # others do not notice
        # Flooded in the middle.  The other leaves know it to be there.
        expect_heard(some, text, 0)
        ends.plug(leaf, True)
        ends[0].wait_up("n0", f"to{leaf}")
        ends[leaf].wait_up("n0", "to0")
        ends.meet(some)
        all_to_all(ends, some)
        tap.expect(places(ends[0], some)[leaf], f"to{leaf}", "known again")


# Loops.

class Talker:
    """Sends frames over and over, from a thread, until the block ends."""

    def __init__(self, end, frames, pause=0.0):
        self._end, self._frames, self._pause = end, frames, pause
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._talk, daemon=True)

    def _talk(self):
        while not self._over.wait(self._pause):
            self._end.send_raw(self._frames)

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *exc):
        self._over.set()
        self._thread.join()


class Watch:
    """What ends with a flood limit count, and take of the processor, from now
    on."""

    def __init__(self, ends):
        self._ends = list(ends)
        self._began = time.monotonic()
        self._then = [(end.status().core, end.cpu()) for end in self._ends]

    def look(self):
        """The monitors answer, and floods keep to the limit.  For each end:
        its core's counters, and the share of a processor."""
        found = []
        for end, (core, cpu) in zip(self._ends, self._then):
            asked = time.monotonic()
            now = end.status()
            took = time.monotonic() - asked
            assert took < 2, f"{end.name} took {took:.1f} s to answer"
            seconds = time.monotonic() - self._began
            core = Counter({name: value - core[name]
                            for name, value in now.core.items()})
            tap.expect(core["frames-in"], core["frames-forwarded"] +
                       core["frames-flooded"] + dropped(core),
                       f"{end.name}: in and out")
            # Each of its links, and the NIC.
            most = (len(now.links) + 1) * (BURST + LIMIT * seconds)
            assert core["frames-flooded"] <= most, f"{end.name}: {core}"
            found.append((core, (end.cpu() - cpu) / seconds))
        return found

    def say(self):
        """The same, for the log, too."""
        found = self.look()
        seconds = time.monotonic() - self._began
        for end, (core, cpu) in zip(self._ends, found):
            tap.diag(f"{end.name}: a second {core['frames-in'] / seconds:.0f} "
                     f"in, {core['frames-flooded'] / seconds:.0f} flooded, "
                     f"{core['frames-drop-storm'] / seconds:.0f} dropped; "
                     f"{100 * cpu:.0f} % of a processor")
        return found


@tap.only("flood-limit")
def test_loop(ends):
    """a ring is no way to build an overlay, but it stays within the limit, and
    is well as soon as one link is removed"""
    with joined(ends, [(0, 1), (1, 2), (0, 2)]) as some, bounded(some):
        # The address of a NIC is known when it comes back: what says it goes
        # round once, both ways.
        text = ends.new_text("round")
        books = Books(some)
        ends[0].send(BROADCAST, text)
        for end in ends[1], ends[2]:
            end.hears(text, 2)
        first, *rest = books.close()
        tap.expect([dropped(first.core), first.core["frames-drop-reflected"],
                    *(dropped(its.core) for its in rest)], [2, 2, 0, 0],
                   "dropped, and as what came back")
        # That of somebody behind it is not.
        watch, began = Watch(some), time.monotonic()
        loop = LIMIT // 5 * frame(BROADCAST, ends[0].inner, "loop")
        with Talker(ends[0], loop, 0.1):
            while time.monotonic() < began + 3:
                watch.look()
                time.sleep(0.1)
            found = watch.say()
        assert found[0][0]["frames-drop-storm"] > LIMIT, found
        assert all(cpu < 0.5 for _, cpu in found), found
        ends.part([(0, 2)])
        # Until then the limit may hit these, too.  Once all are heard nothing
        # goes round, and BURST is what may be flooded after such a time.
        ends.meet(some)
        time.sleep(BURST / LIMIT)
        ends.settle(some)
        all_to_all(ends, some)


@tap.only("flood-limit")
def test_broadcast_storm(ends):
    """whoever broadcasts as fast as it can is heard as often as the limit says,
    and nobody else has to wait"""
    with joined(ends, star(3)) as some, bounded(some):
        watch, books = Watch(some), Books(some)
        began = time.monotonic()
        storm = 500 * frame(BROADCAST, ends[1].mac, "storm") + \
            frame(ends[2].mac, ends[1].mac, "among")
        with Talker(ends[1], storm):
            while time.monotonic() < began + 3:
                text = ends.new_text("beside")
                asked = time.monotonic()
                for end, far in (ends[2], ends[0]), (ends[0], ends[2]):
                    end.send(far.mac, text)
                    far.hears(text)
                took = time.monotonic() - asked
                assert took < 2, f"there and back took {took:.1f} s"
                ends[2].hears("among", ends[2].heard["among"] + 10)
                watch.look()
        found = books.close()
        watch.say()
        seconds = time.monotonic() - began
        heard = ends[2].listen()
        most = BURST + LIMIT * seconds
        assert LIMIT * seconds / 4 < heard["storm"] <= most, \
            f"{heard['storm']} of {most}"
        core = found[1].core
        assert core["frames-drop-storm"] > heard["storm"], core
        tap.expect(dropped(core), core["frames-drop-storm"] +
                   core["frames-drop-refused"], "dropped where it began")
        # What got through there and no further: the same limit holds at each
        # end, and what was late at one may be too much at once for the next.
        lost = found[0].core["frames-drop-storm"] + \
            found[0].links["to2"]["tx-drop-busy"] + \
            found[2].core["frames-drop-storm"] + found[2].port["rx-drop"]
        tap.expect(heard["storm"] + heard["among"] + lost,
                   core["frames-flooded"] + core["frames-forwarded"],
                   "heard and lost, and sent")


# Addresses.

@tap.only("few addresses")
def test_flapping(ends):
    """an address that moves to and fro is where it was last, and each move
    counts"""
    flaps, wanderer = 500, "02:00:00:99:00:01"
    with joined(ends, star(4)) as some, bounded(some):
        books = Books(some)
        known = len(ends[0].status().macs)
        for flap in range(flaps):
            end = ends[1 + flap % 2]
            end.send(ends[3].mac, f"flap {flap}", src=wanderer)
            ends[3].hears(f"flap {flap}")
        text = ends.new_text("to the wanderer")
        ends[3].send(wanderer, text)
        ends.settle(some)
        expect_heard(some, text, 2)
        middle, *leaves = books.close()
        tap.expect((middle.core["macs-learnt"], middle.core["macs-moved"]),
                   (1, flaps - 1), "learnt and moved in the middle")
        tap.expect([leaf.core["macs-moved"] for leaf in leaves], [0, 0, 0],
                   "moved elsewhere")
        tap.expect(ends[0].status().macs[wanderer], "to2", "its place")
        tap.expect(len(ends[0].status().macs), known + 1, "addresses")


@tap.only("few addresses")
def test_many_addresses(ends):
    """100,000 addresses fill no more than the table, and those in it are still
    where they were"""
    total, batch = 100000, 500
    sources = [f"06{number:010x}" for number
               in random.Random(5).sample(range(1 << 40), total)]
    with joined(ends, chain(4)) as some:
        all_to_all(ends, some)          # known before
        before = [(end.status().learnt, places(end, some)) for end in some]
        books = Books(some)
        with bounded(some):
            for at in range(0, total, batch):
                ends[0].send_raw(b"".join(
                    frame(ends[3].mac, source, "many")
                    for source in sources[at:at + batch]))
                ends[3].hears("many", at + batch)
        # One that is unknown, as there is no room for it.
        text = ends.new_text("to one of many")
        ends[3].send(sources[-1], text)
        ends.settle(some)
        expect_heard(some, text, 0, 1, 2)
        for end, (learnt, known), its in zip(some, before, books.close()):
            core = its.core
            # They are full; what was there is there; no room for the rest.
            now = end.status().learnt
            tap.expect((len(now), learnt - now), (FEW, set()), "the table")
            tap.expect(places(end, some), known, "known all the time")
            tap.expect((core["macs-learnt"], core["macs-full"]),
                       (FEW - len(learnt), total - FEW + len(learnt)),
                       f"{end.name}: learnt, or not")
            tap.expect(dropped(core), 0, f"{end.name}: dropped")
        all_to_all(ends, some)


# Static routes.

#: End 1, and two that nobody knows.
A, B, X = "52:54:00:88:00:01", "02:00:00:00:00:0b", "02:00:00:00:00:0f"
#: Rules that are for a frame from A to B, by priority: the addresses of each,
#: and the end that it leads to.
ROWS = (
    (8, [(f"{A} {B}", 3)]),
    (7, [(f"{A} not-{X}", 4), (f"not-{X} {B}", 5)]),
    (6, [(f"{A} any", 6), (f"any {B}", 7)]),
    (5, [(f"not-{X} any", 4), (f"any not-{X}", 3)]),
    (4, [(f"{A} none", 5)]),
    (3, [(f"not-{X} not-{X}", 6), ("any any", 7)]),
)
#: And rules that are not.
OTHERS = (f"{B} {A}", f"{X} {B}", f"{A} {X}", f"not-{A} {B}", f"{A} not-{B}",
          f"not-{A} any", f"any not-{B}", f"{X} any", f"any {X}", f"{X} none",
          f"not-{A} not-{B}", f"not-{X} not-{B}", f"not-{A} not-{X}")


def rule(addresses, far, source="any"):
    return f"ADD {addresses} edge to{far} {source}\n"


@contextlib.contextmanager
def routed(end, commands):
    """An end with these routes and no others."""
    def change(text):
        end.ask("vnet-change-routes", id="n0", commands=text, replace=True)
    change(commands)
    yield change
    change("")


@tap.only("8 ends")
def test_priorities(ends):
    """in the middle of a star each row of the table of priorities ranks where
    it says, rows that tie share, and rules for others are for others"""
    with joined(ends, star(8)) as some:
        others = "".join(rule(addresses, 2) for addresses in OTHERS)
        with routed(ends[0], "") as change:
            for depth in range(len(ROWS) + 1):
                change(others + "".join(rule(*each) for _, row in ROWS[depth:]
                                        for each in row))
                where = [far for _, far in ROWS[depth][1]] \
                    if depth < len(ROWS) else [0, 2, 3, 4, 5, 6, 7]
                text = ends.new_text("priority")
                ends[1].send(B, text)
                for far in where:
                    ends[far].hears(text)
                # Without rules, which would be for what that says, too.
                change("")
                ends.settle(some)
                expect_heard(some, text, *where)


@tap.only("8 ends")
def test_source_of_rule(ends):
    """a rule for what comes from one link is for nothing else"""
    with joined(ends, star(8)) as some:
        with routed(ends[0], rule(f"any {B}", 5, "edge to1") +
                    rule(f"any {B}", 6, "interface nic")):
            for speaker, hearers in ((1, [5]), (0, [6]),
                                     (3, [0, 1, 2, 4, 5, 6, 7])):
                text = ends.new_text("source")
                ends[speaker].send(B, text)
                ends.settle(some)
                expect_heard(some, text, *hearers)


@tap.only("8 ends")
def test_rules_that_lead_round(ends):
    """rules that send a frame to and fro, or to a link that is not there, drop
    and count it"""
    with joined(ends, star(3)) as some:
        for commands, counter in (
                (rule(f"any {X}", 1), "frames-drop-hairpin"),
                (rule(f"any {X}", 9), "frames-drop-route-down")):
            with routed(ends[0], commands), \
                    routed(ends[1], rule(f"any {X}", 0)):
                books = Books(some)
                text = ends.new_text("round")
                ends[1].send(X, text)
                ends.settle(some)
                middle, *leaves = books.close()
                expect_heard(some, text)
                tap.expect((middle.core[counter], dropped(middle.core)),
                           (1, 1), counter)
                tap.expect([dropped(leaf.core) for leaf in leaves], [0, 0],
                           "dropped elsewhere")


@tap.only("flood-limit")
def test_ring_of_rules(ends):
    """rules of three lead round what is not flooded: until it has crossed 16
    links"""
    many, text = 20, "round and round"
    with joined(ends, [(0, 1), (1, 2), (0, 2)]) as some, bounded(some), \
            contextlib.ExitStack() as stack:
        for end, far in zip(some, (1, 2, 0)):
            stack.enter_context(routed(end, rule(f"any {X}", far)))
        books = Books(some)
        ends[0].send_raw(many * frame(X, ends[0].inner, text))
        wait_until("all have been round", lambda:
                   ends[1].status().links["to2"]["counters"]["tx-drop-hops"]
                   >= many)
        first, second, third = books.close()
        tap.expect([its.core["frames-forwarded"]
                    for its in (first, second, third)],
                   [6 * many, 5 * many, 5 * many], "on to the next")
        tap.expect((second.links["to2"]["tx-drop-hops"],
                    second.core["frames-drop-refused"]), (many, many),
                   "no further")
        expect_heard(some, text)


if __name__ == "__main__":
    tap.main(globals(), {
        "8 ends": lambda: Ends(8),
        "flood-limit": lambda: Ends(3, **{"flood-limit": LIMIT}),
        "few addresses": lambda: Ends(4, **{"max-macs": FEW}),
    })

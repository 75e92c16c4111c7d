# SPDX-License-Identifier: GPL-2.0-or-later
"""Overlays whose NICs this process speaks for, each in a network namespace.

          this process
           | frames |            number n, from 0:
        +--------+ +--------+    52:54:00:88:00:n and 02:00:00:88:00:n
        | end 0  | | end 1  |    eth0 10.88.0.(n+1)/24
        +--eth0--+ +--eth0--+
             p0         p1
        =====+== br0 ===+=====   a namespace of its own

    with Ends(3) as ends:
        ends.join([(0, 1), (1, 2)])
        ends[0].send(ends[2].mac, "hello")
        ends[2].hears("hello")

There is no guest and no processor: a NIC without a driver is the port, and
two filter-redirector objects bring the frames that it would send and take
those that it would receive.  Those go to a file and not to a socket: when one
is full the filter runs the main loop inside of itself, for the next frame to
wait for the lock that it holds.
"""

import json
import os
import socket
import struct
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

from . import netns, topo
from .bare import BareQemu
from .paths import RigError
from .setup import Setup

BROADCAST = "ff:ff:ff:ff:ff:ff"
#: For experiments (IEEE 802); text follows, then zeros.
ETHERTYPE = 0x88b5
#: Of a frame, in bytes, without the checksum.
SHORTEST = 60
#: Seconds that anything may take.
PATIENCE = 20


def frame(dst, src, text):
    """An Ethernet frame behind its length, as a filter-redirector takes it."""
    data = bytes.fromhex((dst + src).replace(":", ""))
    data += struct.pack(">H", ETHERTYPE) + text.encode()
    data = data.ljust(SHORTEST, b"\0")
    return struct.pack(">I", len(data)) + data


def wait_until(what, condition, seconds=PATIENCE):
    """What the condition returns, once that is true; what: in words, or a
    function that gives them."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise RigError(f"not so after {seconds} s: "
                           f"{what() if callable(what) else what}")
        time.sleep(0.001)
    return found


def _counters(listed):
    return Counter({entry["name"]: entry["value"] for entry in listed})


class End(BareQemu):
    """A QEMU with a vnet netdev n0 and a NIC.

    number   of the end
    space    the Namespace that it runs in
    options  of the netdev
    """

    def __init__(self, number, space, **options):
        self.number = number
        self.mac = f"52:54:00:88:00:{number:02x}"
        #: Of somebody behind the NIC: never announced, but learnt.
        self.inner = f"02:00:00:88:00:{number:02x}"
        self.address = f"10.88.0.{number + 1}"
        #: How often each text was heard.
        self.heard = Counter()
        #: The frames themselves, if they are wanted: a list.
        self.frames = None
        self._stack = ExitStack()
        self._in = self._out = None
        self._part = b""
        netdev = {"type": "vnet", "id": "n0", "name": f"end{number}",
                  **options}
        super().__init__(
            f"end {number}", machine="q35,accel=qtest", args=[
                "-m", "1", "-netdev", json.dumps(netdev), "-device",
                f"e1000e,id=nic,netdev=n0,mac={self.mac},disable_vnet_hdr=1"],
            wrapper=space.wrapper)

    def __enter__(self):
        super().__enter__()
        try:
            path = self.folder / "in"
            self._filter("in", "rx", type="socket", data={
                "addr": {"type": "unix", "data": {"path": str(path)}},
                "server": True, "wait": False})
            self._in = self._stack.enter_context(socket.socket(socket.AF_UNIX))
            self._in.connect(str(path))
            path = self.folder / "out"
            self._filter("out", "tx", type="file", data={"out": str(path)})
            self._out = self._stack.enter_context(open(path, "rb"))
        except BaseException:
            self.__exit__(RigError, None, None)
            raise
        return self

    def __exit__(self, *exc):
        with self._stack:
            super().__exit__(*exc)

    def _filter(self, name, queue, **backend):
        """A filter that takes from or gives to a new character device."""
        self.ask("chardev-add", id=name, backend=backend)
        self.ask("object-add", **{
            "qom-type": "filter-redirector", "id": f"filter-{name}",
            "netdev": "n0", "queue": queue, f"{name}dev": name})

    def listen(self):
        """All heard so far, as in heard."""
        data, place, texts = self._part + self._out.read(), 0, []
        while len(data) - place >= 4:
            end = place + 4 + int.from_bytes(data[place:place + 4], "big")
            if end > len(data):
                break
            texts.append(data[place + 18:end].rstrip(b"\0").decode(
                errors="replace"))
            if self.frames is not None:
                self.frames.append(data[place + 4:end])
            place = end
        self._part = data[place:]
        self.heard.update(texts)
        return self.heard

    def send(self, dst, text, src=None):
        """A frame from the NIC, or from somebody behind it."""
        self.send_raw(frame(dst, src or self.mac, text))

    def send_raw(self, frames):
        """Many at once, each of frame()."""
        self._in.sendall(frames)

    def hears(self, text, count=1, seconds=PATIENCE):
        """Waits until it has heard the text so often."""
        wait_until(lambda: f"{self.name} heard {self.heard[text]} of {count} "
                   f"times {text!r}", lambda: self.listen()[text] >= count,
                   seconds)

    def status(self):
        """query-vnet's view: core, port (counters), links (id to entry with
        its counters), macs (address to the name of where it is), learnt."""
        found, = self.ask("query-vnet", id="n0")
        return SimpleNamespace(
            core=_counters(found["counters"]),
            port=_counters(found["ports"][0]["counters"]),
            links={entry["id"]: {**entry,
                                 "counters": _counters(entry["counters"])}
                   for entry in found["links"]},
            macs={entry["mac"]: entry["via"] for entry in found["macs"]},
            learnt={entry["mac"] for entry in found["macs"]
                    if entry["kind"] == "learnt"})

    def forget_peak(self):
        """From now on, memory_peak() is that of the time since."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", "ascii")

    def memory_peak(self):
        """The most resident memory that it had, in MiB."""
        text = Path(f"/proc/{self.pid}/status").read_text("ascii")
        return int(text.split("VmHWM:")[1].split()[0]) / 1024

    def cpu(self):
        """Seconds of processor time so far."""
        text = Path(f"/proc/{self.pid}/stat").read_text("ascii")
        fields = text.rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Ends(Setup):
    """Some of them; options are those of their netdevs."""

    def __init__(self, count, **options):
        self.count = count
        self._options = options
        self._ends = []
        self._links = set()
        self._asked = 0
        self._bridge = None

    def set_up(self, stack):
        self._bridge = stack.enter_context(netns.Namespace())
        self._bridge.run("ip link add br0 type bridge")
        self._bridge.run("ip link set br0 up")
        for number in range(self.count):
            space = stack.enter_context(netns.Namespace())
            end = End(number, space, **self._options)
            self._bridge.run(f"ip link add p{number} master br0 type veth "
                             f"peer name eth0 netns {space.path}")
            self._bridge.run(f"ip link set p{number} up")
            space.run(f"ip addr add {end.address}/24 dev eth0")
            space.run("ip link set eth0 up")
            self._ends.append(stack.enter_context(end))

    def __getitem__(self, number):
        return self._ends[number]

    def __iter__(self):
        return iter(self._ends)

    def join(self, pairs, split=False):
        """Links between pairs of ends, up when this returns.  Every third is
        a unix one; split: with split horizon."""
        pairs = [tuple(sorted(pair)) for pair in pairs]
        for low, high in pairs:
            if (low + high) % 3 == 0:
                link = topo.unix_link(self[low].folder / f"to{high}")
            else:
                link = topo.tcp_link(7000 + high, host=self[low].address,
                                     plain=True)
            link["split-horizon"] = split
            self[low].ask("vnet-link-add", id="n0", link={
                **link, "id": f"to{high}", "server": True})
            self[high].ask("vnet-link-add", id="n0", link={
                **link, "id": f"to{low}", "reconnect-ms": 100})
            self._links.add((low, high))
        for low, high in pairs:
            self[low].wait_up("n0", f"to{high}")
            self[high].wait_up("n0", f"to{low}")

    def part(self, pairs=None):
        """Removes these links, or all."""
        for low, high in [tuple(sorted(pair)) for pair
                          in (list(self._links) if pairs is None else pairs)]:
            self[low].ask("vnet-link-del", id="n0", link=f"to{high}")
            self[high].ask("vnet-link-del", id="n0", link=f"to{low}")
            self._links.remove((low, high))

    def plug(self, number, plugged):
        """The cable between an end's namespace and the bridge."""
        self._bridge.run(f"ip link set p{number} "
                         f"{'up' if plugged else 'down'}")

    def new_text(self, what):
        """One that was not heard yet."""
        self._asked += 1
        return f"{what} {self._asked}"

    def meet(self, some=None):
        """Returns when each of some has heard each: the frame connections of
        new links, which come after the link is up, are there."""
        some = some or self._ends
        for speaker in some:
            text = self.new_text("meet")
            said = [0]

            def met(speaker=speaker, text=text, said=said):
                if time.monotonic() - said[0] > 0.1:
                    speaker.send(BROADCAST, text)
                    said[0] = time.monotonic()
                return all(end.listen()[text] for end in some
                           if end is not speaker)
            wait_until(f"{speaker.name} is heard", met)

    def settle(self, some=None):
        """Returns when all frames that some sent before have arrived where
        they ever will: each says something behind them on all ways, and once
        more after it heard that of the others, for frames that took a way
        round.  How many broadcasts each has sent."""
        some = some or self._ends
        for _ in range(2):
            text = self.new_text("settle")
            for end in some:
                end.send(BROADCAST, f"{text} of {end.number}")
            for end in some:
                for other in some:
                    if other is not end:
                        end.hears(f"{text} of {other.number}")
        return 2


class Books:
    """What is counted by some ends from now on."""

    def __init__(self, ends):
        self._ends = list(ends)
        self._then = self._read()

    def _read(self):
        return [(end.status(), end.listen().total()) for end in self._ends]

    def close(self):
        """What was counted at each end, as End.status(), but "heard" frames in
        place of addresses; once it is right that each frame is in exactly one
        counter.  For that all have to have arrived."""
        found = []

        def right():
            found[:] = [self._since(*pair) for pair in zip(self._then,
                                                           self._read())]
            return not _wrong(self._ends, found)
        wait_until(lambda: "; ".join(_wrong(self._ends, found)), right)
        return found

    @staticmethod
    def _since(then, now):
        def less(new, old):
            return Counter({name: value - old[name]
                            for name, value in new.items()})
        return SimpleNamespace(
            core=less(now[0].core, then[0].core),
            port=less(now[0].port, then[0].port),
            links={name: less(link["counters"],
                              then[0].links[name]["counters"])
                   for name, link in now[0].links.items()},
            heard=now[1] - then[1])


def dropped(counters):
    """The sum of a switch's drops."""
    return sum(value for name, value in counters.items()
               if name.startswith("frames-drop-"))


def copies(status):
    """All frames that a switch gave to its port and links."""
    return sum(link["tx-frames"] for link in status.links.values()) + \
        status.port["rx-frames"]


def _wrong(ends, found):
    """The sums that do not hold, as texts."""
    wrong = []

    def same(what, one, other):
        if one != other:
            wrong.append(f"{what}: {one} and {other}")

    for end, its in zip(ends, found):
        same(f"{end.name}, in and out", its.core["frames-in"],
             its.core["frames-forwarded"] + its.core["frames-flooded"] +
             dropped(its.core))
        same(f"{end.name}, in and where from", its.core["frames-in"],
             its.port["tx-frames"] + its.port["tx-drop"] +
             sum(link["rx-frames"] - link["rx-drop-down"] -
                 link["rx-drop-vni"] for link in its.links.values()))
        # What was joined is cut again for a NIC that takes no large frames.
        same(f"{end.name}, to the NIC and heard", its.port["rx-frames"] +
             sum(link["rx-joined"] for link in its.links.values()), its.heard)
        for far, other in zip(ends, found):
            if f"to{far.number}" in its.links:
                same(f"from {end.name} to {far.name}",
                     its.links[f"to{far.number}"]["tx-frames"],
                     other.links[f"to{end.number}"]["rx-frames"])
    return wrong

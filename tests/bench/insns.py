#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""How many instructions the guests execute for a megabyte, and for a message.

Boots the demo's pairs of guests with a TCG plugin that counts instructions by
place (insns-plugin.c), moves bytes one way with iperf3, plays ping-pong with
sockperf, and shows instructions per 10^6 bytes and per round trip, of either
guest, in the kernel and outside it; and for one system the kernel's functions
that execute most of them.  The figures go to build/report/instructions.json.

Each program runs twice, for a short and a long while, and the difference
counts: starting a program and connecting is in neither figure.  What idle
guests do in the same time is taken off as well.  The host's load hardly shows
in the figures, but it makes "rounds" wider: half of how far the rounds lie
apart.

usage: insns.py PLUGIN [--systems NAME,...] [--rounds N] [--top NAME]
                [--kernel 6.1|6.12] [--cpu MODEL]
"""

import argparse
import bisect
import json
import os
import signal
import statistics
import struct
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.demo import Progress                         # noqa: E402
from bench.systems import pairs, systems                # noqa: E402
from rig import image, programs                         # noqa: E402
from rig.paths import BUILD, LOGS, RigError             # noqa: E402

OUT = BUILD / "report" / "instructions.json"
LOG = LOGS / "instructions"
ALL = ["vtoe", "vtoe_frames", "vtoe_plain", "virtio_vxlan", "virtio_stream"]
BASE = "vtoe_plain"

IDLE_SECONDS = 3
#: So often a run is made again that was too short for its figure.
TRIES = 3

USER = "(user mode)"
UNKNOWN = "(no symbol)"


@dataclass(frozen=True)
class Workload:
    """A program to count for."""
    program: str
    unit: str       #: what figures are for one of
    ends: tuple     #: what guests a and b are
    short: int      #: how much of it is a short run
    long: int       #: ... and a long one
    least: int      #: units by which these differ at least
    seconds: int    #: that both usually take

    @property
    def key(self):
        """Its name in instructions.json."""
        return self.unit.replace(" ", "_")

    def run(self, row, amount):
        """Run it on a system; returns how many units that were."""
        if self.program == "iperf3":
            return programs.iperf3(*row.ends, 120, prefix=row.prefix,
                                   megabytes=amount).megabytes
        # Its memory is for the seconds it is told, which must be the same.
        return programs.sockperf(
            *row.ends, self.long, row.prefix,
            interrupt=amount if amount < self.long else None).round_trips


#: Amounts in 10^6 bytes, and in seconds.
WORKLOADS = [
    Workload("iperf3", "MB", ("sender", "receiver"), 50, 550, 400, 20),
    Workload("sockperf", "round trip", ("client", "server"), 1, 10, 1000, 17),
]
#: One system's part of a round.
TURN_SECONDS = IDLE_SECONDS + sum(load.seconds for load in WORKLOADS)


class Counts:
    """One guest's counts, as its plugin keeps them in a file."""

    HEADER = struct.Struct("=QQQ")      # wanted, copied, used
    SLOT = struct.Struct("=QQ")         # address, instructions
    WANTED = struct.Struct("=Q")

    def __init__(self, stem):
        self.path = self._path(stem)
        self._before = 0

    @staticmethod
    def _path(stem):
        return stem.with_suffix(".insns")

    @classmethod
    def args(cls, plugin, stem):
        """QEMU arguments that make it count."""
        path = str(cls._path(stem)).replace(",", ",,")
        return ["-plugin", f"{plugin},counts={path}"]

    def want(self, wanted):
        """Say so before the guest is stopped, and no more after it."""
        with open(self.path, "r+b") as file:
            file.write(self.WANTED.pack(wanted))

    def read(self):
        """{address: instructions since the start}; address 0 is user mode.
        The guest has stopped since want()."""
        with open(self.path, "rb") as file:
            _, copied, used = self.HEADER.unpack(
                file.read(self.HEADER.size))
            slots = file.read(used * self.SLOT.size)
        if copied == self._before:
            raise RigError(f"{self.path}: the guest was stopped, and its "
                           "plugin did not say what it had counted")
        self._before = copied
        return Counter(dict(self.SLOT.iter_unpack(slots)))


class Symbols:
    """A guest's kernel functions by address."""

    def __init__(self, guest):
        found = {}
        for line in guest.run(["cat", "/proc/kallsyms"], 120).splitlines():
            address, kind, name, *module = line.split()
            if kind in "tTwW":
                # Of several names for one place, the first.
                found.setdefault(int(address, 16), " ".join([name, *module]))
        if not any(found):
            raise RigError(f"{guest.name}: /proc/kallsyms shows no addresses")
        self._starts = sorted(found)
        self._names = [found[start] for start in self._starts]

    def name(self, address):
        """The function that holds it."""
        if address == 0:
            return USER
        index = bisect.bisect_right(self._starts, address) - 1
        return self._names[index] if index >= 0 else UNKNOWN

    def fold(self, counts):
        """{address: count} as {function: count}."""
        folded = Counter()
        for address, count in counts.items():
            if count:
                folded[self.name(address)] += count
        return folded


class Meter:
    """Counts what a pair of guests executes during a piece of work."""

    def __init__(self, pair):
        self._pair = pair
        self._counts = [Counts(pair.logs / guest.name)
                        for guest in pair.guests]
        self._symbols = [Symbols(guest) for guest in pair.guests]

    def during(self, work):
        """(what work() returned, seconds, [{function: count}, ...])"""
        before = self._snapshot()
        began = time.monotonic()
        result = work()
        seconds = time.monotonic() - began
        spent = [symbols.fold(_minus(new, old)) for symbols, new, old
                 in zip(self._symbols, self._snapshot(), before)]
        return result, seconds, spent

    def per_unit(self, row, load, idle):
        """[{function: count for a unit}, ...] of a system's workload; idle is
        what the guests execute in a second."""
        for _ in range(TRIES):
            short, long = (self.during(lambda n=amount: load.run(row, n))
                           for amount in (load.short, load.long))
            units, seconds = long[0] - short[0], long[1] - short[1]
            if units >= load.least:
                break
        else:
            raise RigError(f"{row.name}: a long run of {load.program} had only "
                           f"{units} times \"{load.unit}\" more than a short "
                           "one: is the host too busy?")
        return [_scaled(_minus(_minus(more, less),
                               _scaled(nothing, seconds)), 1 / units)
                for more, less, nothing in zip(long[2], short[2], idle)]

    def idle(self):
        """[{function: count}, ...] for a second without work."""
        _, seconds, spent = self.during(lambda: time.sleep(IDLE_SECONDS))
        return [_scaled(counts, 1 / seconds) for counts in spent]

    def _snapshot(self):
        for counts in self._counts:
            counts.want(1)
        self._pair.pause()
        taken = [counts.read() for counts in self._counts]
        for counts in self._counts:
            counts.want(0)
        self._pair.resume()
        return taken


def _minus(more, less):
    """Like more - less of two Counters, but keeps what is negative."""
    result = Counter(more)
    result.subtract(less)
    return result


def _scaled(counts, factor):
    return Counter({name: count * factor for name, count in counts.items()})


def measure(rows, options, progress):
    """{name: {"idle" or a program: a list of rounds, each [{function: count},
    ...] for the two guests}}"""
    found = {row.name: {"idle": [], "iperf3": [], "sockperf": []}
             for row in rows}
    meters = {}
    for turn in range(options.rounds):
        for row in rows:
            if row.pair not in meters:
                row.pair.resume()
                meters[row.pair] = Meter(row.pair)
            with row.turn():
                progress.step(f"round {turn + 1}: {row.name}", TURN_SECONDS)
                sleep_at_once(row)
                one_turn(row, meters[row.pair], found[row.name])
    return found


def sleep_at_once(row):
    """A reader that polls executes instructions for as long as it waits,
    which says nothing."""
    for guest in row.pair.guests if row.name == "vtoe" else ():
        guest.run("echo 0 > /proc/sys/net/vtoe/busy_read")


def one_turn(row, meter, found):
    """Append a round to what was found."""
    if not found["idle"]:
        # What a program needs when it first runs is in no figure, either.
        for load in WORKLOADS:
            load.run(row, load.short)
    idle = meter.idle()
    found["idle"].append(idle)
    for load in WORKLOADS:
        found[load.program].append(meter.per_unit(row, load, idle))


def report(found, left_out):
    """The figures as instructions.json holds them."""
    result = {"systems": {}, "left_out": left_out}
    for name, turns in found.items():
        row = result["systems"][name] = {"idle_per_second": [
            _round(statistics.median(sum(turn[i].values())
                                     for turn in turns["idle"]))
            for i in range(2)]}
        for load in WORKLOADS:
            row[load.key] = _workload(load, turns[load.program])
    base = result["systems"].get(BASE)
    for row in result["systems"].values():
        for load in WORKLOADS:
            part = row[load.key]
            part["ratio"] = \
                base and _round(part["both"] / base[load.key]["both"])
    return result


def _workload(load, turns):
    """One workload's figures on one system."""
    both = [sum(sum(end.values()) for end in turn) for turn in turns]
    result = {end: _end([turn[i] for turn in turns])
              for i, end in enumerate(load.ends)}
    result["both"] = _round(statistics.median(both))
    result["rounds"] = [_round(value) for value in both]
    return result


def _end(turns):
    """One guest's figures: medians of the turns."""
    each = {name: statistics.median(turn[name] for turn in turns)
            for name in {name for turn in turns for name in turn}}
    user = each.pop(USER, 0)
    modules = Counter()
    for name, count in each.items():
        modules[name.partition("[")[2].rstrip("]") or "vmlinux"] += count
    return {
        "kernel": _round(statistics.median(sum(turn.values()) - turn[USER]
                                           for turn in turns)),
        "user": _round(user),
        "modules": _largest(modules, 5),
        "functions": _largest(each, 40),
    }


def _largest(counts, most):
    return {name: _round(count)
            for name, count in Counter(counts).most_common(most)}


def _round(value):
    return float(f"{value:.4g}")


def show(result, top):
    """The tables."""
    for load in WORKLOADS:
        print(f"\n{load.program}: thousand guest instructions per {load.unit}"
              "\n")
        print(f"{'':<15}" + "".join(f"{end:>20}" for end in load.ends)
              + f"{'both':>10}{'of ' + BASE:>15}{'rounds':>9}")
        print(f"{'system':<15}" + f"{'kernel':>12}{'user':>8}" * 2)
        print("-" * 89)
        for name, row in result["systems"].items():
            row = row[load.key]
            ends = "".join(f"{row[end]['kernel'] / 1000:>12.1f}"
                           f"{row[end]['user'] / 1000:>8.1f}"
                           for end in load.ends)
            ratio = f"{row['ratio']:>15.3f}" if row["ratio"] else f"{'-':>15}"
            print(f"{name:<15}{ends}{row['both'] / 1000:>10.1f}{ratio}"
                  f"{_spread(row):>9}")
    if top in result["systems"]:
        show_top(result["systems"][top], top)
    for name, reason in result["left_out"].items():
        print(f"\n  left out: {name}: {reason}")


def _spread(row):
    """How far the rounds are apart, of their median."""
    spread = (max(row["rounds"]) - min(row["rounds"])) / row["both"]
    return f"+-{50 * spread:.0f} %"


def show_top(row, name):
    """The functions of one system that execute most, side by side."""
    for load in WORKLOADS:
        print(f"\n{name}, {load.program}: where in the kernel, instructions "
              f"per {load.unit}\n")
        ends = [row[load.key][end] for end in load.ends]
        print("".join(f"  {end:<47}" for end in load.ends).rstrip())
        for part, most in (("functions", 10), ("modules", 3)):
            for pair in zip(*(list(end[part].items())[:most] for end in ends)):
                print("".join(f"  {place[:36]:<36}{count:>9.0f}  "
                              for place, count in pair).rstrip())
            if part == "functions":
                print("  and all of them by module")


def parse():
    parser = argparse.ArgumentParser(
        prog="bench --instructions", description=__doc__.splitlines()[0])
    parser.add_argument("plugin", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--systems", metavar="NAME,...",
                        default=",".join(ALL), help="of " + ", ".join(ALL))
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--top", metavar="NAME", default="vtoe",
                        help="the system whose functions are shown")
    parser.add_argument("--kernel", default="6.12", choices=["6.1", "6.12"])
    parser.add_argument("--cpu", metavar="MODEL",
                        help="QEMU's -cpu, instead of the demo's")
    options = parser.parse_args()
    options.names = options.systems.split(",")
    for name in [*options.names, options.top]:
        if name not in ALL:
            parser.error(f"unknown system \"{name}\", one of: "
                         + ", ".join(ALL))
    return options


def main():
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    image.get(options.kernel)
    # Of two -cpu QEMU takes the second.
    cpu = ["-cpu", options.cpu] if options.cpu else []
    needed, left_out = pairs(
        options.names, LOG, kernel=options.kernel,
        args=lambda stem: Counts.args(options.plugin, stem) + cpu)
    names = [name for name in options.names if name not in left_out]
    turns = options.rounds * len(names)
    progress = Progress(len(needed) + turns,
                        20 * len(needed) + TURN_SECONDS * turns)
    with ExitStack() as stack:
        booted = {}
        for name, pair in needed.items():
            progress.step(f"boot two guests: {name}", 20)
            booted[name] = stack.enter_context(pair)
            pair.pause()
        found = measure(systems(names, booted), options, progress)
        # Leaving looks at the guests' kernel logs, which needs their vCPUs.
        for pair in booted.values():
            pair.resume()
    result = report(found, left_out)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(result, indent=2) + "\n")
    show(result, options.top)
    rounds = f"medians of {options.rounds} rounds" if options.rounds > 1 \
        else "one round"
    print(f"\n  {OUT}: the figures\n  {rounds}; a repeated string instruction "
          "counts each repetition")


if __name__ == "__main__":
    try:
        main()
    except RigError as error:
        sys.exit(f"bench: error: {error}\n    logs: {LOG}")
    except KeyboardInterrupt:
        os.write(2, b"\nbench: interrupted\n")
        sys.exit(130)

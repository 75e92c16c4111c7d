# SPDX-License-Identifier: GPL-2.0-or-later
"""Pairs of guests side by side, of which one runs at a time, and how ours compare
with a rival's."""

import statistics

from . import programs, tap, topo
from .paths import LOGS
from .setup import Setup

SECONDS = 2
ROUNDS = 5


def throughput(pair):
    """Gbit/s of one iperf3 run."""
    return programs.iperf3(pair.a, pair.b, topo.B4, SECONDS).gbit


def latency(pair):
    """Median one-way latency of a ping-pong in microseconds."""
    return programs.sockperf(pair.a, pair.b, topo.B4, SECONDS).latency_us


class Rivals(Setup):
    """Pairs of ours by name, and one of the rival's: ``ours`` and ``rival`` are
    functions that make them."""

    def __init__(self, name, ours, rival):
        self._make = {f"{name}-{which}": make for which, make in ours.items()}
        self._make[f"{name}-rival"] = rival
        self._names = list(ours)
        #: The pairs of ours, by name.
        self.ours = {}
        self.rival = None

    def set_up(self, stack):
        pairs = []
        for name, make in self._make.items():
            pairs.append(stack.enter_context(make(logs=LOGS / name)))
            pairs[-1].pause()
            stack.callback(pairs[-1].resume)
        *ours, self.rival = pairs
        self.ours = dict(zip(self._names, ours))

    def _pairs(self):
        return [*self.ours.values(), self.rival]

    def problems(self):
        return [text for pair in self._pairs() for text in pair.problems()]

    def compare(self, measure, names=None, rounds=ROUNDS):
        """The median ratios of ours to the rival's, by name, measured in turns;
        only who is measured runs.  names: not all of ours, but these."""
        pairs = {name: self.ours[name] for name in names or self.ours}
        ratios = {name: [] for name in pairs}
        # What they do is compiled the first time.
        for pair in [*pairs.values(), self.rival]:
            _turn(pair, measure)
        for _ in range(rounds):
            mine = {name: _turn(pair, measure) for name, pair in pairs.items()}
            theirs = _turn(self.rival, measure)
            for name, value in mine.items():
                ratios[name].append(value / theirs)
            tap.diag(", ".join(f"{name} {value:.2f}"
                               for name, value in mine.items())
                     + f", rival {theirs:.2f}")
        return {name: round(statistics.median(found), 3)
                for name, found in ratios.items()}


def _turn(pair, measure):
    pair.resume()
    value = measure(pair)
    pair.pause()
    return value

# SPDX-License-Identifier: GPL-2.0-or-later
"""Two pairs of guests side by side, of which one runs at a time, and how one
compares with the other."""

import statistics
import sys

from . import programs, tap, topo
from .paths import LOGS

SECONDS = 2
ROUNDS = 5


def throughput(pair):
    """Gbit/s of one iperf3 run."""
    return programs.iperf3(pair.a, pair.b, topo.B4, SECONDS).gbit


def latency(pair):
    """Median one-way latency of a ping-pong in microseconds."""
    return programs.sockperf(pair.a, pair.b, topo.B4, SECONDS).latency_us


def compare(ours, rival, measure, rounds=ROUNDS):
    """The median ratio of ours to the rival's, in turns; only who is measured
    runs."""
    def turn(one, other):
        other.pause()
        one.resume()
        return measure(one)

    # What they do is compiled the first time.
    turn(ours, rival)
    turn(rival, ours)
    ratios = []
    for _ in range(rounds):
        mine, theirs = turn(ours, rival), turn(rival, ours)
        ratios.append(mine / theirs)
        tap.diag(f"{mine:.2f} and {theirs:.2f}")
    ours.resume()
    return round(statistics.median(ratios), 3)


class Rivals:
    """A pair of ours, and one of the rival's."""

    def __init__(self, name, ours, rival):
        self.pairs = [ours(logs=LOGS / name), rival(logs=LOGS / f"{name}-rival")]

    def __enter__(self):
        self.ours = self.pairs[0].__enter__()
        try:
            self.rival = self.pairs[1].__enter__()
        except BaseException:
            self.pairs[0].__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, *exc):
        self.ours.resume()
        self.rival.resume()
        try:
            self.pairs[0].__exit__(*exc)
        finally:
            self.pairs[1].__exit__(*exc)

    def problems(self):
        return self.ours.problems() + self.rival.problems()

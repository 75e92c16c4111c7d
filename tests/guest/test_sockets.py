#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Sockets over offloaded streams, with plain TCP as the oracle: every scenario
of scenarios*.py gives the same transcript over both."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

import scenarios                                    # noqa: E402
import scenarios_connect                            # noqa: E402
import scenarios_process                            # noqa: E402
import scenarios_vsock                              # noqa: E402
from rig import lockstep, tap, topo                 # noqa: E402
from rig.paths import LOGS                          # noqa: E402

PREFIX = ["vtoe-run"]


def established(pair):
    """Streams that guest a has had."""
    return pair.counters(pair.a)["streams-established"]


def left_over(pair):
    """Streams that either side still has."""
    return [stream for guest in pair.guests
            for stream in pair.overlay(guest)["streams"]]


def compare(pair, scenario, six):
    """The same as over TCP, really over streams, and nothing left."""
    before = established(pair)
    transcript = lockstep.compare(scenario, pair, PREFIX, six)
    # A connect that succeeded, at once or later, was a stream; but a peer
    # that has just refused one is asked by TCP for a while.
    connects = sum(line.startswith("a: connect ") and
                   line.endswith(("-> 0", "EINPROGRESS"))
                   and " * -> " not in line
                   and scenarios_connect.NOBODY not in line
                   for line in transcript)
    refused = scenario.__name__.startswith("refused")
    streams = established(pair) - before
    assert refused or streams > 0 or not connects, \
        f"{connects} connects, but no stream\n" \
        + pair.a.read("/proc/net/vtoe")
    pair.a.wait_until("streams are left", lambda: not left_over(pair), 10)


def make(module, name, six=False):
    """The test of one scenario."""
    scenario = module.ALL[name]

    def test(pair):
        compare(pair, scenario, six)

    test.__name__ = f"test_{name}{'_ipv6' if six else ''}"
    test.__doc__ = f"{'over IPv6: ' if six else ''}{scenario.__doc__}"
    only = getattr(module, "ONLY", {}).get(name)
    return tap.only(*only)(test) if only else test


TESTS = [make(module, name) for module in (scenarios, scenarios_connect,
                                            scenarios_process,
                                            scenarios_vsock)
         for name in module.ALL] + \
        [make(scenarios, name, True) for name in scenarios.SIX]


def bound_again(a, b, port):
    """A port whose connection its owner has closed first."""
    lockstep.listen(b, port)
    a("socket c tcp")
    a(f"bind c 0.0.0.0 {port}")
    a(f"connect c {b.address} {port}")
    b("accept l s")
    a("close c")
    b("poll s in 10000")
    b("close s")
    a("socket d tcp")
    a(f"bind d 0.0.0.0 {port}")


def test_no_time_wait(pair):
    """a stream leaves no port in TIME_WAIT; a difference, see
    docs/transparency.rst"""
    ends = [lockstep.play(bound_again, pair, prefix)[-1]
            for prefix in ([], PREFIX)]
    tap.expect(ends, ["a: bind d 0.0.0.0 PORT -> EADDRINUSE",
                      "a: bind d 0.0.0.0 PORT -> 0"], "the last call")


def test_over_a_tcp_link():
    """streams and frames over a link of type tcp"""
    with topo.VtoePair(tcp=True, logs=LOGS / "sockets" / "tcp") as pair:
        tap.expect([link["type"] for guest in pair.guests
                    for link in pair.overlay(guest)["links"]],
                   ["tcp", "tcp"], "types of the links")
        for scenario in (scenarios.exchange, scenarios.large,
                         scenarios.half_close, scenarios.abort,
                         scenarios.unread_close):
            compare(pair, scenario, False)
        tap.expect(pair.problems(), [], "problems")


if __name__ == "__main__":
    tap.main({test.__name__: test for test in
              [test_over_a_tcp_link, test_no_time_wait, *TESTS]}, {
        "6.12": lambda: topo.VtoePair(kernel="6.12",
                                      logs=LOGS / "sockets" / "6.12"),
        "6.1": lambda: topo.VtoePair(kernel="6.1",
                                     logs=LOGS / "sockets" / "6.1"),
    })

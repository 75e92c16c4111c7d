#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A peer that answers no more is found in the time that the program asked for,
over TCP and over streams, and TCP_INFO says what is true of both."""

import contextlib
import itertools
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import lockstep, tap, topo                 # noqa: E402
from rig.paths import LOGS                          # noqa: E402

#: TCP as the oracle, then streams.
BOTH = ([], ["vtoe-run"])
#: Seconds that the machine may add.
SLACK = 6

_ports = itertools.count(1700)


def connected(pair, prefix, options=(), six=False):
    """Two actors with a connection, "c" and "s"; the options are c's."""
    port = next(_ports)
    before = pair.counters(pair.a)["streams-established"]
    a = lockstep.Actor(pair.a, "a", [], port, prefix)
    b = lockstep.Actor(pair.b, "b", [], port, prefix)
    a.address, b.address = (topo.A6, topo.B6) if six else (topo.A4, topo.B4)
    a.family = b.family = "tcp6" if six else "tcp"
    lockstep.listen(b, port)
    a.expect(f"socket c {a.family}", "ok")
    for option in options:
        a.expect(f"set c {option}", "0")
    a.expect(f"connect c {b.address} {port}", "0")
    b.expect("accept l s", "ok")
    tap.expect(pair.counters(pair.a)["streams-established"] - before,
               len(prefix), "streams")
    return a, b


@contextlib.contextmanager
def stopped(guest):
    """Its processors stand still, its QEMU does not."""
    guest.pause()
    try:
        yield
    finally:
        guest.resume()


@contextlib.contextmanager
def frozen(guest):
    """Its whole QEMU stands still, as behind a cut cable."""
    os.kill(guest.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(guest.pid, signal.SIGCONT)


def expect_lost(actor, least, most, name="c"):
    """The socket fails with ETIMEDOUT after so many seconds."""
    began = time.monotonic()
    events = actor(f"poll {name} in 60000", 70)
    took = time.monotonic() - began
    tap.expect(events, "in+err+hup", f"{name} after {took:.1f} s")
    tap.diag(f"lost after {took:.1f} s")
    actor.expect(f"recv {name} 1", "ETIMEDOUT")
    actor.expect(f"recv {name} 1", "0")
    actor.expect(f"send {name} 1 nosignal", "EPIPE")
    assert least <= took <= most + SLACK, \
        f"lost after {took:.1f} s, not {least} to {most} + {SLACK}"


KEEP = ("keepalive 1", "keepidle 2", "keepintvl 1", "keepcnt 2")


def finish(pair, *actors):
    for actor in actors:
        actor.end()
    pair.a.wait_until("streams are left", lambda: not any(
        pair.overlay(guest)["streams"] for guest in pair.guests), 20)


def keepalive(pair, six):
    for prefix in BOTH:
        a, b = connected(pair, prefix, KEEP, six)
        with stopped(pair.b):
            expect_lost(a, 3, 5)
        finish(pair, a, b)


def test_keepalive_finds_a_stopped_peer(pair):
    """keepalive: a guest that stands still is lost after idle time and
    probes"""
    keepalive(pair, False)


def test_keepalive_finds_a_stopped_peer_ipv6(pair):
    """the same over IPv6"""
    keepalive(pair, True)


def test_keepalive_of_a_server(pair):
    """an accepted connection has its listener's keepalive, or its own"""
    for prefix in BOTH:
        a, b = connected(pair, prefix)
        for option in KEEP:
            b.expect(f"set s {option}", "0")
        with stopped(pair.a):
            expect_lost(b, 3, 5, "s")
        finish(pair, a, b)


def test_keepalive_of_a_live_peer(pair):
    """keepalive: a peer that lives and says nothing is kept"""
    for prefix in BOTH:
        a, b = connected(pair, prefix, ("keepalive 1", "keepidle 1",
                                        "keepintvl 1", "keepcnt 2"))
        a.expect("poll c in 8000", "nothing")
        b.expect("sendall s 10", "10")
        a.expect("recvall c 10", "10")
        finish(pair, a, b)


def test_user_timeout_of_a_stopped_peer(pair):
    """TCP_USER_TIMEOUT: data for a guest that stands still"""
    for prefix in BOTH:
        a, b = connected(pair, prefix, ("usertimeout 3000",))
        a.expect("sendall c 10", "10")
        b.expect("recvall s 10", "10")
        with stopped(pair.b):
            a.expect("sendall c 10", "10")
            expect_lost(a, 2.5, 6)
        finish(pair, a, b)


def test_user_timeout_of_a_frozen_host(pair):
    """TCP_USER_TIMEOUT: data for a host that stands still"""
    for prefix in BOTH:
        a, b = connected(pair, prefix, ("usertimeout 2000",))
        with frozen(pair.b):
            a.expect("sendall c 10", "10")
            expect_lost(a, 1.5, 4)
        finish(pair, a, b)


def test_user_timeout_of_a_slow_reader(pair):
    """TCP_USER_TIMEOUT: a peer that does not make room in time"""
    for prefix in BOTH:
        a, b = connected(pair, prefix)
        a("fill c")
        a.expect("set c usertimeout 2000", "0")
        expect_lost(a, 0, 6)
        finish(pair, a, b)


def test_user_timeout_of_a_live_peer(pair):
    """TCP_USER_TIMEOUT: a peer that takes data and says nothing is kept"""
    for prefix in BOTH:
        a, b = connected(pair, prefix, ("usertimeout 2000",))
        for _ in range(3):
            a.expect("sendall c 100", "100")
            a.expect("poll c in 1500", "nothing")
        a.expect("poll c in 4000", "nothing")
        b.expect("recvall s 300", "300")
        finish(pair, a, b)


def info(actor, name):
    """TCP_INFO by field."""
    words = actor(f"info {name}").split()
    return {key: int(value) for key, value in
            (word.split("=") for word in words)}


def check_info(pair, prefix):
    a, b = connected(pair, prefix)
    fresh = info(a, "c")
    tap.expect(fresh["state"], 1, "state")
    assert 0 < fresh["rtt"] < 5000000, f"round trip of {fresh['rtt']} us"
    for _ in range(5):
        a.expect("sendall c 1000", "1000")
        b.expect("recvall s 1000", "1000")
    b.expect("sendall s 70000", "70000")
    a.expect("recvall c 70000", "70000")
    a.expect("waitoutq c 10000", "0")
    used, theirs = info(a, "c"), info(b, "s")
    tap.expect((used["sent"], used["received"], theirs["received"]),
               (5000, 70000, 5000), "bytes sent, received, received")
    # TCP counts the byte of its handshake on one of the sides.
    assert used["acked"] - 5000 in (0, 1), used
    tap.expect((used["unacked"], used["notsent"]), (0, 0), "on their way")
    assert 0 < used["minrtt"] <= used["rtt"] + used["rttvar"], used
    assert 0 < used["rtt"] < 5000000 and used["rttvar"] > 0, used
    assert used["mss"] > 500, used
    a.expect("poll c in 1500", "nothing")
    idle = info(a, "c")
    assert idle["lastsent"] >= 1400 and idle["lastrecv"] >= 1400, idle
    assert used["lastrecv"] < idle["lastrecv"], (used, idle)
    a("fill c")
    full = info(a, "c")
    assert full["unacked"] + full["notsent"] > 0, full
    assert full["acked"] < full["sent"] + full["notsent"] + 1, full
    b.expect("shutdown s wr", "0")
    a.expect("poll c rdhup 10000", "rdhup")
    tap.expect(info(a, "c")["state"], 8, "state after the peer's end")
    finish(pair, a, b)


def test_tcp_info(pair):
    """TCP_INFO: state, bytes, what is on its way, round trips and ages"""
    for prefix in BOTH:
        check_info(pair, prefix)


if __name__ == "__main__":
    tap.main(globals(), {
        line: lambda line=line: topo.VtoePair(
            kernel=line, logs=LOGS / "dead_peer" / line)
        for line in ("6.12", "6.1")})

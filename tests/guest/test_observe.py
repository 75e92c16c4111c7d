#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be seen of offloaded sockets: vtoess, counters, tracepoints."""

import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import image, lockstep, tap, topo          # noqa: E402
from rig.paths import GUEST_MODULES, LOGS           # noqa: E402
from rig.procnet import counters                    # noqa: E402

RUN = ["vtoe-run"]
TRACE = "/sys/kernel/tracing"

RECIPE = image.Recipe(
    name="initramfs-observe",
    packages=(*image.PACKAGES, "libjson-glib-1.0-0", "tcpdump"),
    programs=(*image.PROGRAMS, "usr/bin/tcpdump"),
    modules=(*image.MODULES, "inet_diag"),
    more=lambda: {"usr/local/bin/vtoess": GUEST_MODULES / "vtoess"})


def listing(guest, *words):
    """What vtoess says, as data."""
    return json.loads(guest.run(["vtoess", "-j", *words]))["sockets"]


def total(counts, group):
    return sum(value for (of, _), value in counts.items() if of == group)


def test_vtoess_lists_both_ends(pair):
    """vtoess shows a stream's queues, SID and processes on both ends as they
    are"""
    def scenario(a, b, port):
        lockstep.connect(a, b, port)
        a("sendall c 3000")
        b("recvall s 1000")
        # The rest lies in the receiver's queue.
        pair.a.wait_until("the bytes are acknowledged", lambda: [
            s.get("bytes_acked") for s in listing(pair.a)] == [3000])
        near, = listing(pair.a, "-p")
        far, = listing(pair.b, "-p", "state", "established")
        tap.expect((near["mode"], near["state"], near["send_q"],
                    near["bytes_sent"]), ("stream", "ESTAB", 0, 3000), near)
        tap.expect((far["recv_q"], far["bytes_received"],
                    far["credit"] < far["window"]), (2000, 3000, True), far)
        tap.expect((near["local"], near["peer"]), (far["peer"], far["local"]),
                   "addresses")
        tap.expect(near["peer"]["port"], port, "port")
        sids = {s["sid"] for s in pair.overlay(pair.a)["streams"]}
        assert near["sid"] in sids, (near, sids)
        for sock, guest in ((near, pair.a), (far, pair.b)):
            user, = sock["users"]
            tap.expect(user["comm"], "sock", "process")
            tap.expect(guest.read(f"/proc/{user['pid']}/comm").strip(),
                       "sock", "its id")
        listener, = listing(pair.b, "-l", "-p")
        tap.expect((listener["mode"], listener["local"]["port"],
                    listener["send_q"], len(listener["users"])),
                   ("listen", port, 16, 1), listener)

    lockstep.play(scenario, pair, RUN)
    lockstep.play(scenario, pair, RUN, six=True)
    tap.expect(listing(pair.a, "-a"), [], "left on a")


def test_vtoess_lists_waiting_connections(pair):
    """a listener's Recv-Q counts what waits for accept(), streams and TCP"""
    def scenario(a, b, port):
        lockstep.listen(b, port)
        plain = lockstep.Actor(pair.a, "plain", [], port)
        for actor in (a, plain):
            actor.expect("socket c tcp", "ok")
            actor.expect(f"connect c {b.address} {port}", "0")
        pair.b.wait_until("both wait", lambda: [
            s["recv_q"] for s in listing(pair.b, "-l")] == [2], 10)
        b.expect("accept l s", "ok")
        b.expect("accept l t", "ok")
        tap.expect([s["recv_q"] for s in listing(pair.b, "-l")], [0],
                   "after accept()")
        plain.end()

    lockstep.play(scenario, pair, RUN)


def test_vtoess_shows_fallback(pair):
    """a socket that went to TCP is listed with the reason and TCP's queues"""
    def scenario(a, b, port):
        lockstep.connect(a, b, port)
        b("sendall s 700")
        a.expect("poll c in 10000", "in")
        sock, = listing(pair.a, "mode", "tcp", "dport", str(port))
        tap.expect((sock["reason"], sock["state"], sock["recv_q"]),
                   ("no_listener", "ESTAB", 700), sock)
        text = pair.a.run(["vtoess", "-n", "-H", "reason", "no_listener"])
        tap.expect(text.split()[:4], ["tcp", "ESTAB", "700", "0"], text)
        # What ss shows is the companion; accepted, it is a TCP socket.
        assert f"{b.address}:{port}" in pair.a.run(["ss", "-tn"])
        tap.expect(listing(pair.b), [], "the plain TCP server's")

    pair.a.run("echo 0 > /proc/sys/net/vtoe/cache_seconds")
    lockstep.play(scenario, pair, RUN, prefix_b=[])


def test_inet_diag_lists_the_same(pair):
    """inet_diag says of streams, listeners and fall-backs what vtoess says"""
    def diag(guest, family):
        return sorted(guest.run(["diag", family]).splitlines())

    def as_diag(guest, family):
        states = {"ESTAB": 1, "LISTEN": 10}
        return sorted(
            f"{s['mode']} state {states[s['state']]} "
            f"sport {s['local']['port']} dport {s['peer']['port']} "
            f"rq {s['recv_q']} wq {s['send_q']} sid {s.get('sid', 0):#x} "
            f"reason {s['reason']}"
            for s in listing(guest, "-a", f"-{family}"))

    def scenario(a, b, port):
        lockstep.connect(a, b, port)
        a("sendall c 500")
        b.expect("poll s in 10000", "in")
        for guest, lines in ((pair.a, 1), (pair.b, 2)):
            family = "6" if a.family == "tcp6" else "4"
            tap.expect(len(diag(guest, family)), lines, guest.name)
            tap.expect(diag(guest, family), as_diag(guest, family), "inet_diag")
            assert not diag(guest, "4" if family == "6" else "6")

    for guest in pair.guests:
        guest.run(["modprobe", "vtoe_diag"])
    lockstep.play(scenario, pair, RUN)
    lockstep.play(scenario, pair, RUN, six=True)


def test_counters_by_reason(pair):
    """every fall-back and every reset has a reason, and the sums agree;
    vtoe_stat says the same with zeros, and nstat reads it"""
    def refused(a, b, port):
        lockstep.connect(a, b, port)

    def unread(a, b, port):
        lockstep.connect(a, b, port)
        a("sendall c 100")
        b.expect("poll s in 10000", "in")
        b("close s")
        a("poll c in+out+rdhup 10000")

    def linger(a, b, port):
        lockstep.connect(a, b, port)
        a("set c linger 1 0")
        a("close c")
        b("poll s in 10000")

    before = counters(pair.a)
    lockstep.play(refused, pair, RUN, prefix_b=[])
    lockstep.play(unread, pair, RUN)
    lockstep.play(linger, pair, RUN)
    after = counters(pair.a)
    grown = {key: value - before.get(key, 0) for key, value in after.items()
             if value != before.get(key, 0)}
    tap.expect(grown.get(("reset_in", "unread")), 1, grown)
    tap.expect(grown.get(("reset_out", "reset")), 1, grown)
    tap.expect(total(after, "fallback"), after[("count", "connect_tcp")],
               f"fall-backs\n{after}")
    tap.expect(total(after, "reset_in"), after[("count", "reset_received")],
               f"resets\n{after}")

    text = pair.a.read("/proc/net/vtoe_stat")
    groups = {"Vtoe": "count", "VtoeFallback": "fallback",
              "VtoeResetIn": "reset_in", "VtoeResetOut": "reset_out"}
    seen = {}
    lines = [line.split() for line in text.splitlines()]
    for names, values in zip(lines[::2], lines[1::2]):
        tap.expect((names[0], len(names)), (values[0], len(values)), text)
        for name, value in zip(names[1:], values[1:]):
            seen[(groups[names[0][:-1]], name)] = int(value)
    assert 0 in seen.values(), text
    tap.expect({k: v for k, v in seen.items() if v}, counters(pair.a), text)
    said = pair.a.run("PROC_NET_NETSTAT=/proc/net/vtoe_stat nstat -a")
    assert re.search(r"^Vtoeconnect_offloaded +[1-9]", said, re.M), said


class Tracing:
    """Events of a guest while the body runs: text in ``.text``."""

    def __init__(self, guest, *events):
        self._guest, self._events, self.text = guest, events, None

    def _switch(self, on):
        for event in self._events:
            self._guest.run(f"echo {int(on)} > {TRACE}/events/{event}/enable")

    def __enter__(self):
        self._guest.run(f"[ -e {TRACE}/trace ] || "
                        f"mount -t tracefs nodev {TRACE}")
        self._guest.run(f"echo > {TRACE}/trace")
        self._switch(True)
        return self

    def __exit__(self, *_):
        self._switch(False)
        self.text = self._guest.read(f"{TRACE}/trace")


def test_tracepoints_of_sockets(pair):
    """streams, fall-backs and resets are traced with addresses and reason,
    changes of state by the kernel's own event, once each"""
    def scenario(a, b, port):
        lockstep.connect(a, b, port)
        b("set s linger 1 0")
        b("close s")
        a("poll c in 10000")

    with Tracing(pair.a, "vtoe_sock", "sock/inet_sock_set_state") as near, \
            Tracing(pair.b, "vtoe_sock", "sock/inet_sock_set_state") as far:
        lockstep.play(scenario, pair, RUN)
        lockstep.play(scenario, pair, RUN, six=True)
        lockstep.play(scenario, pair, RUN, prefix_b=[])
    ends = rf"daddr=::ffff:{re.escape(topo.B4)} dport=\d+"
    for wanted in (
            rf"vtoe_connected: family=AF_INET saddr=::ffff:10.77.0.1 "
            rf"sport=\d+ {ends} sid=0x\w+ reason=none",
            rf"vtoe_connected: family=AF_INET6 saddr={topo.A6} sport=\d+ "
            rf"daddr={topo.B6} dport=\d+ sid=",
            rf"vtoe_reset_in: .*{ends} sid=0x\w+ reason=reset",
            rf"vtoe_fallback: family=AF_INET sport=\d+ {ends} "
            "reason=no_listener"):
        assert re.search(wanted, near.text), f"{wanted}\n{near.text}"
    for wanted in (r"vtoe_accepted: family=AF_INET saddr=::ffff:10\.77\.0\.2 ",
                   r"vtoe_reset_out: .* reason=reset"):
        assert re.search(wanted, far.text), f"{wanted}\n{far.text}"
    for text, states in ((near.text, [("TCP_CLOSE", "TCP_SYN_SENT"),
                                      ("TCP_SYN_SENT", "TCP_ESTABLISHED"),
                                      ("TCP_ESTABLISHED", "TCP_CLOSE")]),
                         (far.text, [("TCP_LISTEN", "TCP_ESTABLISHED"),
                                     ("TCP_ESTABLISHED", "TCP_CLOSE")])):
        for old, new in states:
            seen = re.findall(rf"inet_sock_set_state: .*protocol=0x105 .*"
                              rf"oldstate={old} newstate={new}", text)
            assert len(seen) >= 2, f"{old} to {new}: {len(seen)}\n{text}"
    # Two connections that were offloaded, and the offer of the third.
    offers = re.findall(r"protocol=0x105 .*newstate=TCP_SYN_SENT", near.text)
    tap.expect(len(offers), 3, near.text)


def test_tracepoints_of_the_device(pair):
    """commands, events and polls are traced"""
    def scenario(a, b, port):
        lockstep.connect(a, b, port)
        a("sendall c 20000")
        b("recvall s 20000")

    with Tracing(pair.a, "vtoe") as near, Tracing(pair.b, "vtoe") as far:
        lockstep.play(scenario, pair, RUN)
    for text, wanted in (
            (near.text, r"vtoe_command: ifindex=\d+ op=CONNECT sid=0x\w+ "),
            (near.text, r"vtoe_command: .*op=CLOSE .*value=20000 "),
            (near.text, r"vtoe_event: .*type=CONNECT_ESTABLISHED "),
            (near.text, r"vtoe_event: .*type=DISCONNECTED .*reason=0"),
            (far.text, r"vtoe_event: .*type=CONNECT_REQUEST "),
            (far.text, r"vtoe_command: .*op=ACCEPT sid=0x8"),
            (far.text, r"vtoe_poll: ifindex=\d+ pair=[1-9]\d* "
                       r"completions=[1-9]\d* bytes=[1-9]")):
        assert re.search(wanted, text), f"{wanted}\n{text}"


PAIRS = {kernel: lambda kernel=kernel: topo.VtoePair(
    kernel=kernel, recipe=RECIPE, logs=LOGS / "observe" / kernel)
    for kernel in ("6.12", "6.1")}

if __name__ == "__main__":
    tap.main(globals(), PAIRS)

#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a connection cannot be offloaded, the program works over TCP, and the
reason is counted."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

import scenarios                                    # noqa: E402
import scenarios_process                            # noqa: E402
from rig import lockstep, programs, tap, topo       # noqa: E402
from rig.paths import LOGS                          # noqa: E402
from rig.procnet import counter                     # noqa: E402

RUN = ["vtoe-run"]


def check(pair, reason, prefix_b=None):
    """Programs work from a to b; nothing is offloaded; ``reason`` counts
    every connection.  After the first one the peer's refusal may be known,
    which is a reason of its own."""
    names = ("connect_tcp", "connect_offloaded", reason, "cached")
    before = [counter(pair.a, name) for name in names]
    for scenario in (scenarios.exchange, scenarios.half_close,
                     scenarios.nonblocking_connect):
        plain = lockstep.play(scenario, pair)
        ours = lockstep.play(scenario, pair, RUN, prefix_b=prefix_b)
        tap.expect(ours, plain, scenario.__name__)
    tcp, offloaded, counted, cached = (
        counter(pair.a, name) - then for name, then in zip(names, before))
    said = pair.a.read("/proc/net/vtoe")
    tap.expect((tcp, offloaded), (3, 0), f"by TCP, offloaded\n{said}")
    assert counted > 0, f"no connection with reason {reason}\n{said}"
    tap.expect(counted + cached, 3, f"connections with a reason\n{said}")


def pair_for(name, **options):
    return topo.VtoePair(logs=LOGS / "fallback" / name, **options)


def test_server_on_tcp_only():
    """a server that listens only on TCP; and iperf3 to such a server"""
    with pair_for("tcp_only") as pair:
        check(pair, "no_listener", prefix_b=[])
        client = pair.a
        with programs.serving(pair.b, ["iperf3", "-s", "-1", "--forceflush"],
                              "Server listening"):
            client.run([*RUN, "iperf3", "-c", topo.B4, "-t", "1"])


def test_what_was_set_before():
    """options that a program has set before it connects, or listens, are those
    of the connection over TCP, and who gets SIGIO"""
    with pair_for("options") as pair:
        before = pair.counters(pair.a)["streams-established"]
        for scenario in (scenarios_process.asynchronous,
                         scenarios.low_water_before,
                         scenarios.lingering_listener):
            plain = lockstep.play(scenario, pair)
            for ours, theirs in ((RUN, []), ([], RUN)):
                tap.expect(lockstep.play(scenario, pair, ours,
                                         prefix_b=theirs), plain,
                           f"{scenario.__name__}, {ours} to {theirs}")
        tap.expect(pair.counters(pair.a)["streams-established"], before,
                   "streams")


def test_peer_without_streams_driver():
    """a peer whose guest has the NIC's driver but not that of streams"""
    with pair_for("no_sock", append_b="vtoe.noload=vtoe_sock") as pair:
        check(pair, "no_listener", prefix_b=[])


def test_peer_on_another_nic():
    """a peer on virtio-net, on the same overlay"""
    with pair_for("virtio", model_b="virtio-net-pci") as pair:
        check(pair, "peer_no_streams", prefix_b=[])


def test_peer_with_offload_off():
    """a peer whose vtoe-pci has offload=off"""
    with pair_for("peer_off", device_b={"offload": "off"}) as pair:
        check(pair, "peer_no_streams", prefix_b=[])


def test_own_offload_off():
    """a vtoe-pci with offload=off is a plain NIC"""
    with pair_for("off", device={"offload": "off"}) as pair:
        for guest in pair.guests:
            guest.run(["modprobe", "vtoe_sock"])
        # Where nothing takes streams, every device is another one.
        check(pair, "other_device")


def test_limit_of_streams():
    """connections past the limit of streams go by TCP, and those within it
    stay offloaded"""
    with pair_for("limit", netdev={"max-streams": 2}) as pair:
        with programs.serving(pair.b, [*RUN, "echoes", "server", "7001"],
                              "ready"):
            out = pair.a.run([*RUN, "echoes", "client", topo.B4, "7001", "5",
                              "100000"])
        assert "wrong 0 failed 0" in out, out
        tap.expect(counter(pair.a, "connect_offloaded"), 2, "offloaded")
        tap.expect(counter(pair.a, "limit"), 3, "with reason limit\n"
                   + pair.a.read("/proc/net/vtoe"))


def test_neighbour_that_answers_late():
    """connections that wait for a neighbour's address are offloaded once it is
    known, however many wait"""
    count = 40
    with pair_for("neighbour") as pair:
        pair.a.run("echo 60000 > /proc/sys/net/vtoe/connect_timeout; "
                   "echo 100 > /proc/sys/net/ipv4/neigh/eth0/mcast_solicit")
        with programs.serving(pair.b, [*RUN, "echoes", "server", "7001"],
                              "ready"):
            # It does not answer; what is known of it is forgotten.
            pair.b.run("ip link set eth0 arp off")
            pair.a.run("ip link set eth0 arp off; ip link set eth0 arp on")
            clients = [pair.a.start([*RUN, "echoes", "client", topo.B4, "7001",
                                     "1", "1000"]) for _ in range(count)]
            pair.a.wait_until("all connect", lambda:
                              counter(pair.a, "connect_tried") == count, 60)
            tap.expect(counter(pair.a, "connect_offloaded"), 0, "offloaded")
            pair.b.run("ip link set eth0 arp on")
            for client in clients:
                client.check(60)
        tap.expect(counter(pair.a, "connect_offloaded"), count,
                   "offloaded\n" + pair.a.read("/proc/net/vtoe"))


def test_another_device():
    """a connection that leaves by another device is plain TCP"""
    with pair_for("other") as pair:
        with programs.serving(pair.a, [*RUN, "echoes", "server", "7001"],
                              "ready"):
            out = pair.a.run([*RUN, "echoes", "client", "127.0.0.1", "7001",
                              "3", "100000"])
        assert "wrong 0 failed 0" in out, out
        tap.expect(counter(pair.a, "other_device"), 3, "connections")


def test_switched_off():
    """net.vtoe.enable=0 keeps new connections on TCP"""
    with pair_for("disabled") as pair:
        pair.a.run("echo 0 > /proc/sys/net/vtoe/enable")
        check(pair, "disabled")


def test_switched_off_while_listening():
    """net.vtoe.enable=0 is for servers that listen already, too, and 1 as well"""
    with pair_for("late") as pair:
        def streams():
            return pair.counters(pair.a)["streams-established"]

        def scenario(a, b, port):
            lockstep.listen(b, port)
            for number, enable in enumerate((1, 0, 1)):
                pair.b.run(f"echo {enable} > /proc/sys/net/vtoe/enable")
                before = streams()
                a.expect(f"socket c{number} tcp", "ok")
                a.expect(f"connect c{number} {b.address} {port}", "0")
                b.expect(f"accept l s{number}", "ok")
                a.expect(f"sendall c{number} 10", "10")
                b.expect(f"recvall s{number} 10", "10")
                tap.expect(streams() - before, enable, f"streams, {number}")

        # What the peer has refused is not remembered.
        pair.a.run("echo 0 > /proc/sys/net/vtoe/cache_seconds")
        lockstep.play(scenario, pair, RUN)


def test_address_that_leads_elsewhere():
    """a peer whose address is not on the server's network gets no stream from
    it"""
    with pair_for("address") as pair, \
            programs.serving(pair.b, [*RUN, "crr", "server", "7003"], "ready"):
        pair.a.run("ip addr add 10.99.0.1/32 dev lo; "
                   f"ip route add {topo.B4}/32 dev eth0 src 10.99.0.1")
        pair.a.status(["timeout", "3", *RUN, "crr", "client", topo.B4, "7003",
                       "1"])
        tap.expect(counter(pair.b, "request_address"), 1, "requests")
        # With a way back it is TCP's, and a stream's.
        pair.b.run("ip route add 10.99.0.1/32 dev eth0")
        pair.a.run("echo 0 > /proc/sys/net/vtoe/cache_seconds")
        before = pair.counters(pair.a)["streams-established"]
        pair.a.run([*RUN, "crr", "client", topo.B4, "7003", "1"])
        assert pair.counters(pair.a)["streams-established"] > before


def test_kernel_without_protocol():
    """vtoe-run in a guest without our modules leaves programs on TCP"""
    with pair_for("none", append_b="vtoe.noload=vtoe_sock") as pair:
        plain = lockstep.play(scenarios.exchange, pair)
        ours = lockstep.play(scenarios.exchange, pair, [], prefix_b=RUN)
        tap.expect(ours, plain, "exchange")


if __name__ == "__main__":
    tap.main(globals())

#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vtoe-pci as an Ethernet NIC: frames between two guests over an overlay."""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

import scenarios                                    # noqa: E402
from rig import lockstep, programs, tap, topo       # noqa: E402
from rig.paths import LOGS                          # noqa: E402


def ping(guest, address, size=56, count=1):
    guest.run(["ping", "-c", str(count), "-i", "0.05", "-s", str(size), "-W",
               "10", address])


def stat(guest, name):
    """One counter of ethtool -S."""
    found = re.search(rf"^\s*{name}: (\d+)$",
                      guest.run(["ethtool", "-S", "eth0"]), re.M)
    assert found, f"ethtool -S has no {name}"
    return int(found[1])


def udp(a, b, port):
    """datagrams arrive whole, of any size"""
    b(f"socket s udp{'6' if '6' in b.family else ''}")
    b(f"bind s {lockstep.any_address(b)} {port}")
    a(f"socket c udp{'6' if '6' in a.family else ''}")
    a(f"connect c {b.address} {port}")
    for size in (0, 1, 17, 18, 19, 1471, 1472, 1473, 8000, 30000, 65000):
        a(f"send c {size}")
        b.expect("recv s 70000", str(size))


def restore_b6(pair):
    """Going down takes the IPv6 addresses along."""
    pair.b.run(["ip", "addr", "add", f"{topo.B6}/64", "dev", "eth0", "nodad"])


def test_driver(pair):
    """the NIC is driven by vtoe, with the address that QEMU was given"""
    for guest, mac in ((pair.a, topo.A_MAC), (pair.b, topo.B_MAC)):
        info = guest.run(["ethtool", "-i", "eth0"])
        assert "driver: vtoe\n" in info, info
        tap.expect(guest.read("/sys/class/net/eth0/address").strip(), mac,
                   "address")
        tap.expect(guest.read("/sys/class/net/eth0/carrier").strip(), "1",
                   "carrier")


def test_ping(pair):
    """ICMP passes both ways over IPv4 and IPv6, from nothing to 60,000
    bytes"""
    for size in (0, 1, 18, 56, 1472, 1473, 8000, 60000):
        for guest, peers in ((pair.a, (topo.B4, topo.B6)),
                             (pair.b, (topo.A4, topo.A6))):
            for peer in peers:
                ping(guest, peer, size)


def test_neighbours(pair):
    """ARP and neighbour discovery find the peer's address"""
    for guest, peer4, peer6, mac in (
            (pair.a, topo.B4, topo.B6, topo.B_MAC),
            (pair.b, topo.A4, topo.A6, topo.A_MAC)):
        guest.run(["ip", "neigh", "flush", "dev", "eth0"])
        ping(guest, peer4)
        ping(guest, peer6)
        for peer in (peer4, peer6):
            assert f"lladdr {mac}" in guest.run(
                ["ip", "neigh", "show", "to", peer, "dev", "eth0"])


def test_udp(pair):
    """datagrams of 0 to 65,000 bytes arrive whole and right"""
    lockstep.play(udp, pair)
    lockstep.play(udp, pair, six=True)


def test_tcp(pair):
    """ordinary TCP works over frames, both ways, with every byte right"""
    for six in (False, True):
        lockstep.play(scenarios.exchange, pair, six=six)
        lockstep.play(scenarios.large, pair, six=six)


def test_tcp_many(pair):
    """1,000 TCP connections at once echo 30 kB each: more small frames than
    the ring holds"""
    # Together they may hold more than a guest of 512 MiB allows TCP, which then
    # resets those that are closed.
    for guest in pair.guests:
        guest.run("echo 65536 65536 65536 > /proc/sys/net/ipv4/tcp_mem")
    with programs.serving(pair.b, ["echoes", "server", "7001"], "ready"):
        out = pair.a.run(["echoes", "client", topo.B4, "7001", "1000",
                          "30000"], timeout=60)
    assert "streams 1000 bytes 30000000 wrong 0 failed 0" in out, out


def test_frames_are_counted(pair):
    """what one guest's NIC counts as sent, the other's counts as received"""
    before = [stat(g, n) for g, n in ((pair.a, "tx_frames"),
                                      (pair.b, "rx_frames"))]
    ping(pair.a, topo.B4, count=20)
    after = [stat(g, n) for g, n in ((pair.a, "tx_frames"),
                                     (pair.b, "rx_frames"))]
    sent, received = (now - then for now, then in zip(after, before))
    assert sent >= 20, sent
    tap.expect(received, sent, "received")


def test_offloads_are_used(pair):
    """segmentation and checksums are left to the NIC"""
    pair.offload_all()
    before = stat(pair.a, "tx_frames_tso"), stat(pair.b, "rx_frames_tso")
    programs.iperf3(pair.a, pair.b, topo.B4, 1, omit=0)
    after = stat(pair.a, "tx_frames_tso"), stat(pair.b, "rx_frames_tso")
    assert after[0] > before[0] + 10, (before, after)
    assert after[1] > before[1] + 10, (before, after)


def test_no_offload_no_large_frames(pair):
    """with offload off nothing is left to the NIC, and TCP still works"""
    pair.offload_none()
    names = ("tx_frames_tso", "tx_frames_csum")
    before = [stat(pair.a, n) for n in names]
    frames, size = stat(pair.a, "tx_frames"), stat(pair.a, "tx_frame_bytes")
    lockstep.play(scenarios.large, pair)
    tap.expect([stat(pair.a, n) for n in names], before, "offloaded frames")
    frames, size = (stat(pair.a, "tx_frames") - frames,
                    stat(pair.a, "tx_frame_bytes") - size)
    assert size / frames <= 1514, (frames, size)
    pair.offload_all()


def test_mtus(pair):
    """every MTU from the least to the most is taken, and frames fit it"""
    link = pair.a.run(["ip", "-d", "link", "show", "eth0"])
    most = int(re.search(r"maxmtu (\d+)", link)[1])
    least = int(re.search(r"minmtu (\d+)", link)[1])
    tap.expect(least, 68, "least MTU")
    pair.offload_all()
    for mtu in (1280, 1500, 9000, most):
        for guest in pair.guests:
            guest.run(["ip", "link", "set", "dev", "eth0", "mtu", str(mtu)])
        ping(pair.a, topo.B4, mtu - 28)
        ping(pair.a, topo.B4, min(mtu + 500, 65507))
        lockstep.play(scenarios.exchange, pair)
    tap.expect(pair.a.status(["ip", "link", "set", "dev", "eth0", "mtu",
                              str(most + 1)]), 2, "exit code of ip")
    pair.offload_all()


def test_mac_change(pair):
    """a NIC whose address is changed is found at the new one"""
    new = "52:54:00:77:00:aa"
    for mac in (new, topo.B_MAC):
        for change in (["down"], ["address", mac], ["up"]):
            pair.b.run(["ip", "link", "set", "dev", "eth0", *change])
        restore_b6(pair)
        pair.a.run(["ip", "neigh", "flush", "dev", "eth0"])
        ping(pair.a, topo.B4)
        assert f"lladdr {mac}" in pair.a.run(
            ["ip", "neigh", "show", "to", topo.B4, "dev", "eth0"])


def test_vlan(pair):
    """VLAN tags pass"""
    for guest, address in ((pair.a, "10.78.0.1/24"), (pair.b, "10.78.0.2/24")):
        guest.run(["modprobe", "8021q"])
        guest.run(["ip", "link", "add", "link", "eth0", "name", "eth0.5",
                   "type", "vlan", "id", "5"])
        guest.run(["ip", "addr", "add", address, "dev", "eth0.5"])
        guest.run(["ip", "link", "set", "eth0.5", "up"])
    ping(pair.a, "10.78.0.2")
    ping(pair.a, "10.78.0.2", 5000)
    for guest in pair.guests:
        guest.run(["ip", "link", "del", "eth0.5"])


def test_bridged_addresses_are_learnt(pair):
    """addresses behind a bridge in a guest are reached and learnt"""
    for module in ("bridge", "veth"):
        pair.b.run(["modprobe", module])
    # -all- words to ip: the shell would take busybox's.
    for line in ("link add br0 type bridge",
                 "link add v0 type veth peer name v1",
                 "netns add inner",
                 "link set v1 netns inner",
                 "link set v0 master br0",
                 "link set eth0 master br0",
                 "link set v0 up",
                 "link set br0 up",
                 "-n inner addr add 10.77.0.3/24 dev v1",
                 "-n inner link set v1 up"):
        pair.b.run(["ip", *line.split()])
    try:
        ping(pair.a, "10.77.0.3", count=3)
    finally:
        for line in ("link set eth0 nomaster", "netns del inner",
                     "link del br0"):
            pair.b.run(["ip", *line.split()])
    ping(pair.a, topo.B4)


def test_down_and_up(pair):
    """the NIC comes up again after it went down, under traffic, ten times"""
    flood = pair.a.start(["ping", "-i", "0.01", "-s", "1400", topo.B4])
    for _ in range(10):
        for state in ("down", "up"):
            pair.b.run(["ip", "link", "set", "dev", "eth0", state])
    restore_b6(pair)
    ping(pair.b, topo.A4)
    flood.stop()


def test_driver_reload(pair):
    """the driver can be removed and loaded again, and the NIC works"""
    pair.b.run("lsmod | grep -q '^vtoe_sock ' && rmmod vtoe_sock; true")
    for _ in range(3):
        pair.b.run(["rmmod", "vtoe"])
        tap.expect(pair.b.status(["test", "-e", "/sys/class/net/eth0"]), 1,
                   "eth0 is there")
        pair.b.run(["modprobe", "vtoe"])
        for address in (f"{topo.B4}/24", f"{topo.B6}/64"):
            pair.b.run(["ip", "addr", "add", address, "dev", "eth0"]
                       + (["nodad"] if ":" in address else []))
        pair.b.run(["ip", "link", "set", "dev", "eth0", "up"])
        ping(pair.b, topo.A4)
    pair.b.run("modprobe vtoe_sock || true")


def test_other_nics_on_the_overlay():
    """virtio-net and e1000e work on a vnet netdev, too"""
    for model in ("virtio-net-pci", "e1000e"):
        with topo.VtoePair(model_b=model,
                           logs=LOGS / "frames" / model) as pair:
            ping(pair.a, topo.B4)
            ping(pair.b, topo.A6, 8000)
            lockstep.play(udp, pair)
            lockstep.play(scenarios.exchange, pair)
            lockstep.play(scenarios.large, pair)
            tap.expect(pair.problems(), [], model)


def test_other_netdevs():
    """vtoe-pci works on another netdev, as a plain NIC"""
    with topo.VtoeOnStream(logs=LOGS / "frames" / "stream") as pair:
        ping(pair.a, topo.B4)
        ping(pair.b, topo.A6, 8000)
        lockstep.play(udp, pair)
        lockstep.play(scenarios.exchange, pair)
        lockstep.play(scenarios.large, pair)
        tap.expect(pair.problems(), [], "problems")


if __name__ == "__main__":
    tap.main(globals(), {
        "6.1": lambda: topo.VtoePair(kernel="6.1",
                                     logs=LOGS / "frames" / "6.1"),
        "6.12": lambda: topo.VtoePair(kernel="6.12",
                                      logs=LOGS / "frames" / "6.12"),
        "6.12 to 6.1": lambda: topo.VtoePair(
            kernel="6.12", kernel_b="6.1", logs=LOGS / "frames" / "mixed"),
    })

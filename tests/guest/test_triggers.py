#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the triggers reach, and what is never captured: the same programs as
over TCP, to the same servers, with the reason counted."""

import os
import re
import sys
from contextlib import contextmanager

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import image, programs, tap, topo          # noqa: E402
from rig.paths import GUEST_MODULES, LOGS           # noqa: E402
from rig.procnet import counter                     # noqa: E402

TCP, MPTCP, VTOE = 6, 262, 261
AUTO = "/proc/sys/net/vtoe/auto"
PORT = "7001"
#: How a program gets our sockets: a word for messages, what is before it.
HOWS = {"vtoe-run": ["vtoe-run"], "auto": []}
#: What nft's rules below are made of; nothing loads them by itself here.
NFT = ("crc32c_generic", "nf_tables", "nft_chain_nat", "nft_nat", "nft_redir",
       "nft_masq", "nft_reject_inet")
#: Behind another NIC, in a namespace of guest a.
FAR4, FAR6 = "10.88.0.2", "fd88::2"


def recipe():
    """The rig's image with nft, ipvsadm and vtoe-bpf."""
    return image.Recipe(
        name="triggers.img",
        packages=(*image.PACKAGES, "nftables", "ipvsadm", "libbpf1"),
        programs=(*image.PROGRAMS, "usr/sbin/nft", "sbin/ipvsadm"),
        modules=(*image.MODULES, *NFT, "vrf", "ip_vs", "ip_vs_rr"),
        more=lambda: {"usr/local/bin/vtoe-bpf": GUEST_MODULES / "vtoe-bpf"})


class Pair(topo.VtoePair):
    """Two guests; behind a there is a third machine, a namespace on a veth,
    whose server only knows TCP.

        10.88.0.1 v0 ==== v1 10.88.0.2, 10.77.0.99
    """

    def set_up(self, stack):
        super().set_up(stack)
        for guest in self.guests:
            guest.run(["modprobe", "-a", "veth", "dummy", *NFT])
        self.a.run(f"""
            echo 20000 > /proc/sys/net/vtoe/connect_timeout
            mkdir -p /run/netns; /bin/ip netns add far
            /bin/ip link add v0 type veth peer name v1 netns far
            /bin/ip addr add 10.88.0.1/24 dev v0
            /bin/ip addr add fd88::1/64 dev v0 nodad
            /bin/ip link set v0 up
            /bin/ip -n far link set lo up
            /bin/ip -n far addr add {FAR4}/24 dev v1
            /bin/ip -n far addr add {FAR6}/64 dev v1 nodad
            /bin/ip -n far addr add {topo.B4}/32 dev lo
            /bin/ip -n far link set v1 up""")


@contextmanager
def setup(guest, *pairs):
    """Commands for the body: (do, undo)."""
    done = []
    try:
        for do, undo in pairs:
            guest.run(do)
            done.append(undo)
        yield
    finally:
        for undo in reversed(done):
            guest.run(undo)


def auto(guest):
    return setup(guest, (f"echo 1 > {AUTO}", f"echo 0 > {AUTO}"))


def serve(guest, prefix=("vtoe-run",), port=PORT):
    return programs.serving(guest, [*prefix, "echoes", "server", port],
                            "ready")


def protocol(guest, *options, prefix=()):
    """The protocol that a program's socket has."""
    out = guest.run([*prefix, "trigger", *options])
    return int(re.fullmatch(r"protocol (\d+)\n", out)[1])


def outcome(guest, arguments, prefix=()):
    """What the program sees of its connection."""
    out = guest.run([*prefix, "trigger", *arguments])
    return out.split("\n", 1)[1].strip()


def check(pair, reason, *arguments, count=None, offloaded=0):
    """With each trigger a program of guest a connects, and its outcome is
    TCP's; ``offloaded`` of its connections are, and ``reason`` is counted
    otherwise, as often as there are programs.  count: a counter of guest b
    that counts them, too.  Returns the outcome."""
    plain = outcome(pair.a, arguments)
    for how, prefix in HOWS.items():
        names = ("connect_offloaded", reason, "cached")
        before = [counter(pair.a, name) for name in names]
        before_b = count and counter(pair.b, count)
        with setup(pair.a, (f"echo {int(not prefix)} > {AUTO}",
                            f"echo 0 > {AUTO}")):
            tap.expect(outcome(pair.a, arguments, prefix), plain, how)
        changed = [counter(pair.a, name) - then
                   for name, then in zip(names, before)]
        said = f"{how}: offloaded, {reason}\n{pair.a.read('/proc/net/vtoe')}"
        tap.expect((changed[0], changed[1] + changed[2]),
                   (offloaded, 1 - offloaded), said)
        if count:
            tap.expect(counter(pair.b, count) - before_b, 1,
                       f"{how}: {count}")
    return plain


# What the triggers reach.

def test_auto_covers_what_makes_tcp_sockets(pair):
    """net.vtoe.auto covers socket() and io_uring, protocol 0, TCP and MPTCP,
    with flags, both families"""
    ways = [options for way in ([], ["-u"]) for options in (
        way, [*way, "-6"], [*way, "-f"], [*way, "-p", "6"],
        [*way, "-6", "-f", "-p", "262"])]
    before = [protocol(pair.a, *options) for options in ways]
    with auto(pair.a):
        during = [protocol(pair.a, *options) for options in ways]
    after = [protocol(pair.a, *options) for options in ways]
    tap.expect(before, [TCP, TCP, TCP, TCP, MPTCP] * 2, "before")
    tap.expect(during, [VTOE] * 10, "auto=1")
    tap.expect(after, before, "after")


def test_auto_leaves_other_sockets(pair):
    """net.vtoe.auto leaves UDP and unix sockets, and other namespaces"""
    with auto(pair.a):
        tap.expect(protocol(pair.a, "-d"), 17, "UDP")
        tap.expect(protocol(pair.a, "-d", "-u"), 17, "UDP by io_uring")
        tap.expect(protocol(pair.a, "-U"), 0, "unix")
        tap.expect(protocol(pair.a, prefix=["unshare", "-n"]), TCP,
                   "another namespace")


def test_reached_sockets_are_offloaded(pair):
    """sockets of io_uring and MPTCP are offloaded with auto; an MPTCP one
    without a VTOE peer works over TCP"""
    with serve(pair.b):
        for options in (["-u"], ["-u", "-f"], ["-p", "262"],
                        ["-6", "-p", "262"]):
            address = topo.B6 if "-6" in options else topo.B4
            before = counter(pair.a, "connect_offloaded")
            with auto(pair.a):
                tap.expect(outcome(pair.a, [*options, address, PORT]),
                           "echo right", f"{options}")
            tap.expect(counter(pair.a, "connect_offloaded") - before, 1,
                       f"{options}: offloaded")
    with serve(pair.a, prefix=["ip", "netns", "exec", "far"]), auto(pair.a):
        tap.expect(outcome(pair.a, ["-p", "262", FAR4, PORT]), "echo right",
                   "MPTCP to TCP")


# What is never captured.

def test_loopback_and_own_addresses(pair):
    """a server on this machine is reached by TCP, whatever its address"""
    with serve(pair.a):
        for address in ("127.0.0.1", topo.A4, "10.88.0.1"):
            tap.expect(check(pair, "other_device", address, PORT),
                       "echo right", address)
        for address in ("::1", topo.A6):
            tap.expect(check(pair, "other_device", "-6", address, PORT),
                       "echo right", address)


def test_addresses_behind_another_nic(pair):
    """a server behind another NIC is reached by TCP"""
    with serve(pair.a, prefix=["ip", "netns", "exec", "far"]):
        tap.expect(check(pair, "other_device", FAR4, PORT), "echo right",
                   "IPv4")
        tap.expect(check(pair, "other_device", "-6", FAR6, PORT),
                   "echo right", "IPv6")


def test_policy_routing(pair):
    """a rule for marked packets sends them another way than the offloaded;
    the address is the same"""
    with serve(pair.a, prefix=["ip", "netns", "exec", "far"]) as far, \
            serve(pair.b), setup(
                pair.a,
                (f"/bin/ip route add {topo.B4} dev v0 src 10.88.0.1 table 7",
                 "/bin/ip route flush table 7"),
                ("/bin/ip rule add fwmark 7 table 7",
                 "/bin/ip rule del fwmark 7 table 7")):
        tap.expect(check(pair, "other_device", "-m", "7", topo.B4, PORT),
                   "echo right", "marked")
        # Its server says so each time it has no connection left.
        far.wait_output("(open 0\n[^o]*){3}")
        tap.expect(check(pair, "none", "-m", "8", topo.B4, PORT, offloaded=1),
                   "echo right", "with another mark")


def test_bound_to_a_device(pair):
    """a socket bound to another device is TCP's; one bound to the VTOE NIC is
    offloaded"""
    with serve(pair.a, prefix=["ip", "netns", "exec", "far"]), serve(pair.b):
        tap.expect(check(pair, "other_device", "-i", "v0", FAR4, PORT),
                   "echo right", "bound to v0")
        tap.expect(check(pair, "none", "-i", "eth0", topo.B4, PORT,
                         offloaded=1), "echo right", "bound to eth0")


def test_gateway(pair):
    """an address behind a gateway is reached by TCP"""
    with serve(pair.b), \
            setup(pair.b, ("/bin/ip addr add 10.99.0.1/32 dev lo",
                           "/bin/ip addr del 10.99.0.1/32 dev lo")), \
            setup(pair.a, (f"/bin/ip route add 10.99.0.1 via {topo.B4}",
                           "/bin/ip route del 10.99.0.1")):
        tap.expect(check(pair, "gateway", "10.99.0.1", PORT), "echo right",
                   "outcome")


def test_encapsulating_route(pair):
    """a route that encapsulates is not the NIC's own way"""
    # For a device that is no tunnel the encapsulation has no effect.
    with serve(pair.b), setup(
            pair.a, ("modprobe vxlan; /bin/ip route add "
                     f"{topo.B4}/32 encap ip id 5 dst {topo.B4} dev eth0",
                     f"/bin/ip route del {topo.B4}/32")):
        tap.expect(check(pair, "other_device", topo.B4, PORT), "echo right",
                   "outcome")


def test_virtual_address_on_the_loopback_device(pair):
    """an address that the peer has on lo is reached as by TCP"""
    with serve(pair.b), \
            setup(pair.b, ("/bin/ip addr add 10.99.0.9/32 dev lo",
                           "/bin/ip addr del 10.99.0.9/32 dev lo")), \
            setup(pair.a, ("/bin/ip route add 10.99.0.9 dev eth0",
                           "/bin/ip route del 10.99.0.9")):
        tap.expect(check(pair, "none", "10.99.0.9", PORT, offloaded=1),
                   "echo right", "outcome")


def nft(chain, rule):
    """A chain with one rule in a table of its own, for setup()."""
    return (f"nft 'table inet t {{\nchain c {{\ntype {chain};\n{rule}\n"
            "}\n}'", "nft delete table inet t")


def test_translated_destinations(pair):
    """a destination that netfilter rewrites is reached where it leads:
    REDIRECT and DNAT on the way out"""
    rule = f"ip daddr {topo.B4} tcp dport {PORT}"
    with serve(pair.b), serve(pair.a, port="7002") as other:
        for target in ("redirect to :7002", "dnat ip to 127.0.0.1:7002"):
            with setup(pair.a, nft("nat hook output priority -100",
                                   f"{rule} {target}")):
                tap.expect(check(pair, "nat", topo.B4, PORT), "echo right",
                           target)
        other.wait_output("(open 0\n[^o]*){6}")
        tap.expect(check(pair, "none", topo.B4, PORT, offloaded=1),
                   "echo right", "without the rule")


def test_translated_sources(pair):
    """a source address that netfilter rewrites is what the peer sees"""
    with serve(pair.b), setup(pair.a, nft(
            "nat hook postrouting priority 100", "masquerade")):
        tap.expect(check(pair, "nat", topo.B4, PORT), "echo right", "outcome")


def test_translated_at_the_server(pair):
    """a destination that the server's netfilter rewrites leads there"""
    with serve(pair.b), serve(pair.b, port="7002") as other, \
            setup(pair.b, nft("nat hook prerouting priority -100",
                              f"tcp dport {PORT} redirect to :7002")), \
            setup(pair.a, ("echo 0 > /proc/sys/net/vtoe/cache_seconds",
                           "echo 60 > /proc/sys/net/vtoe/cache_seconds")):
        tap.expect(check(pair, "no_listener", topo.B4, PORT,
                         count="request_nat"), "echo right", "outcome")
        other.wait_output("(open 0\n[^o]*){3}")


def test_virtual_server(pair):
    """an IPVS virtual server gets its connections, though a program listens
    on its port"""
    with serve(pair.b), serve(pair.b, port="7002") as real, \
            setup(pair.b,
                  ("modprobe -a ip_vs ip_vs_rr; ipvsadm -A -t "
                   f"{topo.B4}:{PORT} -s rr; ipvsadm -a -t {topo.B4}:{PORT} "
                   f"-r {topo.B4}:7002 -m",
                   "ipvsadm -C; rmmod ip_vs_rr ip_vs")), \
            setup(pair.a, ("echo 0 > /proc/sys/net/vtoe/cache_seconds",
                           "echo 60 > /proc/sys/net/vtoe/cache_seconds")):
        tap.expect(check(pair, "no_listener", topo.B4, PORT,
                         count="request_nat"), "echo right", "outcome")
        real.wait_output("(open 0\n[^o]*){3}")


def test_packet_filters(pair):
    """where packets are filtered, connections are TCP's: a rejected one is
    rejected; a rule of the policy that says offload stands above"""
    policy = "/proc/net/vtoe_policy"
    with serve(pair.b), setup(pair.a, nft(
            "filter hook output priority 0",
            "tcp dport 7009 reject with tcp reset")):
        tap.expect(check(pair, "netfilter", topo.B4, PORT), "echo right",
                   "not concerned")
        tap.expect(check(pair, "netfilter", topo.B4, "7009"),
                   "connect ECONNREFUSED", "rejected")
        with setup(pair.a, (f"printf 'offload any port {PORT}\\n"
                            f"default offload\\n' > {policy}",
                            f"echo default offload > {policy}")):
            tap.expect(check(pair, "none", topo.B4, PORT, offloaded=1),
                       "echo right", "with a rule")
            tap.expect(check(pair, "netfilter", topo.B4, "7009"),
                       "connect ECONNREFUSED", "by default")


def test_packet_filters_at_the_server(pair):
    """connections to a server that filters packets are TCP's"""
    with serve(pair.b), setup(pair.b, nft(
            "filter hook input priority 0",
            "tcp dport 7009 reject with tcp reset")), \
            setup(pair.a, ("echo 0 > /proc/sys/net/vtoe/cache_seconds",
                           "echo 60 > /proc/sys/net/vtoe/cache_seconds")):
        tap.expect(check(pair, "no_listener", topo.B4, PORT,
                         count="request_netfilter"), "echo right", "outcome")


def test_listener_outside_a_vrf(pair):
    """a program outside a VRF gets no connections that come by a NIC in it"""
    with serve(pair.b), setup(
            pair.b,
            ("modprobe vrf; /bin/ip link add vrf0 type vrf table 10; "
             "/bin/ip link set vrf0 up", "/bin/ip link del vrf0"),
            ("/bin/ip link set eth0 master vrf0",
             "/bin/ip link set eth0 nomaster; /bin/ip addr add "
             f"{topo.B6}/64 dev eth0 nodad || true")), \
            setup(pair.a, ("echo 0 > /proc/sys/net/vtoe/cache_seconds",
                           "echo 60 > /proc/sys/net/vtoe/cache_seconds")):
        tap.expect(check(pair, "no_listener", topo.B4, PORT),
                   "connect ECONNREFUSED", "outcome")


# The BPF program.

BPF_SETUP = [
    ("mkdir -p /tmp/cg; mount -t cgroup2 none /tmp/cg", "umount /tmp/cg"),
    ("mkdir -p /tmp/cg/in/below /tmp/cg/out",
     "rmdir /tmp/cg/in/below /tmp/cg/in /tmp/cg/out"),
    ("mount -t bpf none /sys/fs/bpf", "umount /sys/fs/bpf"),
]


def inside(group):
    """Words before a program that is to run in that control group."""
    return ["sh", "-c", f'echo $$ > /tmp/cg/{group}/cgroup.procs; exec "$@"',
            "sh"]


@tap.only("6.12")
def test_bpf_reaches_programs_of_a_cgroup(pair):
    """vtoe-bpf reaches the programs of a control group and of those below,
    and no others; io_uring's sockets it does not reach"""
    guest = pair.a
    with setup(guest, *BPF_SETUP):
        with setup(guest, ("vtoe-bpf on /tmp/cg/in", "vtoe-bpf off")):
            seen = [protocol(guest, *options, prefix=inside(group))
                    for group, options in (
                        ("in", []), ("in", ["-6", "-f"]), ("in/below", []),
                        ("in", ["-p", "262"]), ("in", ["-d"]),
                        ("in", ["-U"]), ("in", ["-u"]), ("out", []))]
            with serve(pair.b):
                before = counter(guest, "connect_offloaded")
                tap.expect(outcome(guest, [topo.B4, PORT], inside("in")),
                           "echo right", "outcome")
                tap.expect(counter(guest, "connect_offloaded") - before, 1,
                           "offloaded")
        tap.expect(seen, [VTOE, VTOE, VTOE, VTOE, 17, 0, TCP, TCP],
                   "protocols")
        tap.expect(protocol(guest, prefix=inside("in")), TCP, "after off")


@tap.only("6.12")
def test_bpf_groups_are_replaced(pair):
    """vtoe-bpf on with other groups replaces those before"""
    guest = pair.a
    with setup(guest, *BPF_SETUP,
               ("vtoe-bpf on /tmp/cg/in", "vtoe-bpf off")):
        guest.run("vtoe-bpf on /tmp/cg/out")
        tap.expect([protocol(guest, prefix=inside(group))
                    for group in ("in", "out")], [TCP, VTOE], "protocols")


@tap.only("6.12")
def test_bpf_names_what_is_wrong(pair):
    """vtoe-bpf says which group or kernel it cannot use"""
    guest = pair.a
    with setup(guest, *BPF_SETUP):
        for words, said in ((["on", "/tmp/none"], "/tmp/none: No such file"),
                            (["on", "/tmp"], "/tmp: "),
                            (["off"], "it is not on"), ([], "usage:")):
            proc = guest.start(["vtoe-bpf", *words])
            assert proc.wait(20) != 0 and said in proc.stderr, proc.stderr


@tap.only("6.1")
def test_bpf_needs_a_newer_kernel(pair):
    """on 6.1 vtoe-bpf says what the kernel does not have"""
    proc = pair.a.start(["vtoe-bpf", "on", "/tmp"])
    assert proc.wait(20) != 0
    assert "update_socket_protocol" in proc.stderr, proc.stderr


if __name__ == "__main__":
    tap.main(globals(), {
        kernel: lambda kernel=kernel: Pair(
            kernel=kernel, recipe=recipe(), logs=LOGS / "triggers" / kernel)
        for kernel in ("6.12", "6.1")})

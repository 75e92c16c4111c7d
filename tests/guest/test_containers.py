#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs in namespaces and control groups of their own: the same as over
TCP."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

import scenarios                                    # noqa: E402
from rig import lockstep, tap, topo                 # noqa: E402
from rig.paths import LOGS                          # noqa: E402

RUN = ["vtoe-run"]
BOX = ["ip", "netns", "exec", "box"]


def streams(pair):
    return pair.counters(pair.a)["streams-established"]


def same(pair, scenario, front, wanted, six=False):
    """The scenario with ``front`` before a's program gives the same over TCP
    and with vtoe-run, which makes so many streams."""
    plain = lockstep.play(scenario, pair, front, six, prefix_b=[])
    before = streams(pair)
    ours = lockstep.play(scenario, pair, [*front, *RUN], six, prefix_b=RUN)
    tap.expect(ours, plain, scenario.__name__)
    tap.expect(streams(pair) - before, wanted, "streams")


def test_nic_in_a_namespace(pair):
    """the NIC moves to another namespace: its streams end, its listeners are
    those of the new one, and there it offloads"""
    a = lockstep.Actor(pair.a, "a", [], 1900, RUN)
    b = lockstep.Actor(pair.b, "b", [], 1900, RUN)
    a.address, b.address = topo.A4, topo.B4
    a.family = b.family = "tcp"
    lockstep.connect(a, b, 1900)
    lockstep.listen(a, 1901, "old")
    pair.a.run("/bin/ip netns add box && /bin/ip link set eth0 netns box && "
               f"/bin/ip -n box addr add {topo.A4}/24 dev eth0 && "
               f"/bin/ip -n box addr add {topo.A6}/64 dev eth0 nodad && "
               "/bin/ip -n box link set dev eth0 up")
    a.expect("poll c in 20000", "in+err+hup")
    a.expect("recv c 1", "ECONNRESET")
    b.expect("poll s in 20000", "in+err+hup")
    # Who listens in the old namespace is not to be reached by the NIC.
    b.expect("socket n tcp", "ok")
    b.expect(f"connect n {topo.A4} 1901", "ECONNREFUSED")
    same(pair, scenarios.exchange, BOX, 1)
    same(pair, scenarios.half_close, BOX, 1)
    same(pair, scenarios.exchange, BOX, 1, six=True)

    # The other way: the server is in the namespace.
    inner = lockstep.Actor(pair.a, "a", [], 1902, [*BOX, *RUN])
    inner.family = "tcp"
    lockstep.listen(inner, 1902)
    before = pair.counters(pair.b)["streams-established"]
    b.expect("socket m tcp", "ok")
    b.expect(f"connect m {topo.A4} 1902", "0")
    inner.expect("accept l s", "ok")
    b.expect("sendall m 1000", "1000")
    inner.expect("recvall s 1000", "1000")
    tap.expect(pair.counters(pair.b)["streams-established"] - before, 1,
               "streams")
    for actor in (a, b, inner):
        actor.end()
    # The addresses went with the NIC.
    pair.a.run("/bin/ip -n box link set eth0 netns 1 && /bin/ip netns del box "
               f"&& /bin/ip addr add {topo.A4}/24 dev eth0 && "
               f"/bin/ip addr add {topo.A6}/64 dev eth0 nodad && "
               "/bin/ip link set dev eth0 up")
    same(pair, scenarios.exchange, [], 1)


def in_cgroup(path):
    """Words that put a program into a control group."""
    return ["/bin/sh", "-c", f"echo $$ > {path}/cgroup.procs; exec \"$@\"",
            "sh"]


def cgroup(guest, name, controllers=""):
    """A control group; its folder."""
    root = "/run/cgroup2"
    guest.run(f"mkdir -p {root}; grep -q {root} /proc/mounts || "
              f"mount -t cgroup2 none {root}; mkdir {root}/{name}")
    for controller in controllers.split():
        guest.run(f"echo +{controller} > {root}/cgroup.subtree_control")
    return f"{root}/{name}"


def rewriting(pair, six):
    """A scenario that connects to an address that is not there."""
    there = "fd77::200" if six else "10.77.0.200"

    def rewritten(a, b, port):
        lockstep.listen(b, port)
        a(f"socket c {a.family}")
        a(f"connect c {there} {port}")
        b("accept l s")
        a("peer c")
        a("name c")
        a("sendall c 1000")
        b("recvall s 1000")

    group = cgroup(pair.a, f"rewrite{6 if six else 4}")
    hook = pair.a.start(["cgconnect", group, there,
                         topo.B6 if six else topo.B4])
    hook.wait_output("^ready")
    try:
        same(pair, rewritten, in_cgroup(group), 0, six)
    finally:
        hook.close_stdin()
        hook.check()
    same(pair, scenarios.exchange, in_cgroup(group), 1, six)


def test_connect_hook(pair):
    """a program of a control group rewrites the address of connect()"""
    rewriting(pair, False)


def test_connect_hook_ipv6(pair):
    """the same for IPv6"""
    rewriting(pair, True)


MIB = 1 << 20
#: Less than so many connections would hold without it; the program itself has
#: one MiB and a little.
LIMIT = 6 * MIB
CONNECTIONS = 16


def stat(guest, group, name="sock"):
    """A figure of the group's memory, in bytes."""
    lines = guest.read(f"{group}/memory.stat").splitlines()
    return next(int(line.split()[1]) for line in lines
                if line.split()[0] == name)


class Paid:
    """Connections; the program of the guest ``payer`` is in a group with
    a limit of memory."""

    def __init__(self, pair, payer, prefix, port):
        self.payer = payer
        self.group = cgroup(payer, f"paid{port}", "memory")
        payer.run(f"echo {LIMIT} > {self.group}/memory.max")
        front = [[*in_cgroup(self.group), *prefix] if guest is payer
                 else prefix for guest in pair.guests]
        before = streams(pair)
        self.a, self.b = (
            lockstep.Actor(guest, guest.name, [], port, words)
            for guest, words in zip(pair.guests, front))
        self.a.address, self.b.address = topo.A4, topo.B4
        self.a.family = self.b.family = "tcp"
        for i in range(CONNECTIONS):
            lockstep.connect(self.a, self.b, port, f"c{i}", f"s{i}")
        tap.expect(streams(pair) - before, CONNECTIONS if prefix else 0,
                   "streams")

    def fill(self):
        """a sends all it can, b reads nothing; what the group pays then."""
        for i in range(CONNECTIONS):
            self.a(f"fill c{i}")
        paid = stat(self.payer, self.group)
        used = int(self.payer.read(f"{self.group}/memory.current"))
        tap.diag(f"sockets {paid}, all {used}")
        assert used <= LIMIT, f"{used} bytes, more than {LIMIT}"
        return paid

    def drain(self):
        """b reads: everything comes, and nothing is left to pay for."""
        for i in range(CONNECTIONS):
            self.a.expect(f"shutdown c{i} wr", "0")
            self.b.expect(f"drain s{i} 10000", "0", timeout=60)
        for i in range(CONNECTIONS):
            self.a.expect(f"close c{i}", "0")
            self.b.expect(f"close s{i}", "0")
        self.payer.wait_until("nothing is charged", lambda: stat(
            self.payer, self.group) <= MIB // 4, 10)
        self.a.end()
        self.b.end()


def test_reader_pays(pair):
    """the memory group of a program that does not read pays for what waits,
    and is not exceeded"""
    for prefix, port in (([], 1910), (RUN, 1911)):
        paid = Paid(pair, pair.b, prefix, port)
        charged = paid.fill()
        waiting = sum(int(paid.b(f"inq s{i}")) for i in range(CONNECTIONS))
        tap.diag(f"{waiting} bytes wait")
        assert charged >= waiting * 0.8, (charged, waiting)
        assert waiting <= LIMIT, waiting
        paid.drain()


def test_writer_pays(pair):
    """the memory group of a program pays for what it has sent and nobody has
    taken, and is not exceeded"""
    # TCP is no oracle: out of memory, the kernel kills its writer.
    paid = Paid(pair, pair.a, RUN, 1912)
    charged = paid.fill()
    waiting = sum(int(paid.a(f"outq c{i}")) for i in range(CONNECTIONS))
    tap.diag(f"{waiting} bytes wait")
    assert charged >= waiting * 0.8 and waiting >= LIMIT / 2, \
        (charged, waiting)
    paid.drain()


if __name__ == "__main__":
    tap.main(globals(), {
        line: lambda line=line: topo.VtoePair(
            kernel=line, logs=LOGS / "containers" / line)
        for line in ("6.12", "6.1")})

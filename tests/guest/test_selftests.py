#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's own tests of sockets, built from Debian's package of its source.

mptcp_connect copies data between the two guests over offloaded streams; the
same command over TCP is the oracle (test_copies.py runs those).  The others
need one guest and no NIC: they run with the trigger off and on, and what
differs is listed and has to be known (docs/transparency.rst).
"""

import os
import re
import sys
import time
from dataclasses import dataclass

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import figures, kselftest, tap, topo       # noqa: E402
from rig.channel import GuestError                  # noqa: E402
from rig.paths import LOGS                          # noqa: E402
from rig.procnet import counter                     # noqa: E402

PORT = "7100"


class Pair(topo.VtoePair):
    """The two guests, with what the tests look for."""

    def set_up(self, stack):
        super().set_up(stack)
        self.a.run("modprobe -a tls veth gcm ctr ghash_generic; "
                   "mkdir -p /tmp/run")
        for guest in self.guests:
            guest.run("head -c 1000003 /dev/urandom > /tmp/in; "
                      "head -c 3001 /tmp/in > /tmp/short; "
                      "head -c 900 /tmp/in > /tmp/tiny; "
                      "chmod 644 /tmp/in /tmp/short /tmp/tiny")


def auto(guest, value):
    guest.run(f"echo {value} > /proc/sys/net/vtoe/auto")


# Data between two guests.

@dataclass(frozen=True)
class Copy:
    """One run of mptcp_connect: what client and server get beside their
    addresses."""
    name: str
    both: str = ""          #: arguments of both
    client: str = ""
    server: str = ""
    data: str = "in"        #: the file that each sends
    connects: int = 1
    exact: bool = True      #: each gets all that the other has sent


COPIES = [
    Copy("poll", "-m poll"),
    Copy("mmap", "-m mmap"),
    Copy("sendfile", "-m sendfile"),
    Copy("saveWithPeek", "-P saveWithPeek"),
    Copy("saveAfterPeek", "-P saveAfterPeek"),
    Copy("buffers", "-R 16384 -S 8192"),
    Copy("large_buffers", "-R 1000000 -S 1000000", client="-m mmap"),
    Copy("slow_writer", data="short", client="-r 1000"),
    Copy("late_start", "-j"),
    Copy("reconnects", "-I 4 -i /tmp/in", connects=4, exact=False),
    Copy("reconnects_short", "-I 10 -i /tmp/short", connects=10,
         exact=False),
    # One side stops with bytes unread, as the selftest of fastclose has it.
    Copy("client_stops", client="-f 4096", server="-f -4096", exact=False),
    Copy("server_stops", client="-f -4096", server="-f 4096", exact=False),
    # It believes no more than 1 KiB.
    Copy("inq", data="tiny", both="-c TCPINQ"),
    # The server sends after the client, which has asked for stamps by then.
    Copy("time_stamps", both="-m mmap -c TIMESTAMPNS"),
]


def digest(guest, path):
    return guest.run(["sha256sum", path]).split()[0]


def copy(pair, case, six):
    """What is to be seen of one run: exit codes, and whether the data are
    right."""
    address = topo.B6 if six else topo.B4
    family = "-6" if six else ""
    program = f"{kselftest.FOLDER}/mptcp_connect -s TCP -p {PORT} -t 20 " \
              f"{family} {case.both}"
    server = pair.b.start(f"exec {program} -l {case.server} "
                          f"{'::' if six else '0.0.0.0'} "
                          f"< /tmp/{case.data} > /tmp/out")
    try:
        # It says nothing when it listens.
        pattern = f":{int(PORT):04X} [0-9A-F:]* 0A"
        pair.b.wait_until("the server listens", lambda: pair.b.status(
            ["grep", "-qE", pattern, f"/proc/net/tcp{'6' if six else ''}"])
            == 0, 20)
        client = pair.a.start(f"exec {program} {case.client} {address} "
                              f"< /tmp/{case.data} > /tmp/out")
        codes = client.wait(40), server.wait(40)
    finally:
        if server.code is None:
            server.kill(9)
    seen = [f"client exits with {codes[0]}, server with {codes[1]}"]
    if case.exact:
        for name, frm, to in (("server", pair.a, pair.b),
                              ("client", pair.b, pair.a)):
            right = digest(frm, f"/tmp/{case.data}") == digest(to, "/tmp/out")
            seen.append(f"what the {name} got is "
                        f"{'right' if right else 'WRONG'}")
    elif case.connects > 1:
        # The server has the file as often as it was sent, one copy after the
        # other; and the client.
        for name, frm, to in (("server", pair.a, pair.b),
                              ("client", pair.b, pair.a)):
            path = case.both.split()[-1]
            wanted = frm.run(f"for i in $(seq {case.connects}); do "
                             f"cat {path}; done | sha256sum").split()[0]
            right = wanted == digest(to, "/tmp/out")
            seen.append(f"what the {name} got is "
                        f"{'right' if right else 'WRONG'}")
    return seen, client.stderr + server.stderr


def make_copy(case, six):
    """The test of one run."""
    def test(pair):
        plain, _ = copy(pair, case, six)
        before = counter(pair.a, "connect_offloaded")
        for guest in pair.guests:
            auto(guest, 1)
        try:
            ours, said = copy(pair, case, six)
        finally:
            for guest in pair.guests:
                auto(guest, 0)
        tap.expect(ours, plain, f"over offload\n{said}")
        assert "WRONG" not in " ".join(ours), ours
        tap.expect(counter(pair.a, "connect_offloaded") - before,
                   case.connects, "connections that were offloaded")

    test.__name__ = f"test_copy_{case.name}{'_ipv6' if six else ''}"
    words = " ".join(w for w in (case.both, case.client and
                                 f"client {case.client}",
                                 case.server and f"server {case.server}")
                     if w)
    test.__doc__ = f"mptcp_connect over offload{', IPv6' if six else ''}: " \
                   f"{words or 'as it is'}"
    return test


# One guest, trigger off and on.

@dataclass(frozen=True)
class Selftest:
    """One of the kernel's programs or scripts.

    command   as its own script or Makefile runs it, in the folder of all
    setup     what its script does before, in a namespace of its own
    script    it makes namespaces itself; the trigger is vtoe-run, which is
              inherited, else net.vtoe.auto
    plain     it makes no TCP socket: only the result is compared
    kernel    it needs this one; None: any
    output    its output is the same each time, but for numbers
    seconds   it may take so long
    """
    name: str
    command: str
    setup: str = ""
    script: bool = False
    plain: bool = False
    kernel: str = None
    output: bool = True
    seconds: int = 30


def program(name, arguments="", **options):
    label = " ".join([name, arguments]).strip()
    return Selftest(label, f"./{name} {arguments}".strip(), **options)


def script(name, arguments="", **options):
    return program(name, arguments, script=True, **options)


SELFTESTS = [
    program("bind_bhash", "443 ipv4 10.8.8.8", output=False,
            setup="ip addr add 10.8.8.8 dev lo; ulimit -n 32768"),
    program("bind_bhash", "443 ipv6 2001:db8:0:f101::1", output=False,
            setup="ip addr add 2001:db8:0:f101::1 nodad dev lo; "
                  "ulimit -n 32768"),
    program("bind_timewait"),
    program("bind_wildcard"),
    program("cmsg_sender", "-4 -p u 127.0.0.1 1234", plain=True),
    program("epoll_busy_poll", plain=True),
    Selftest("fin_ack_lat, 3 s", "timeout 3 ./fin_ack_lat", output=False),
    program("ip_local_port_range",
            setup="sysctl -q -w net.ipv4.ip_local_port_range='40000 49999'"),
    program("ipv6_flowlabel", "-l 1", plain=True, output=False),
    program("mptcp_inq", "-t tcp -r tcp"),
    program("mptcp_inq", "-6 -t tcp -r tcp"),
    program("reuseaddr_conflict"),
    program("reuseport_addr_any"),
    program("reuseport_bpf", output=False),
    program("reuseport_bpf_cpu", output=False),
    program("reuseport_bpf_numa", output=False),
    program("reuseport_dualstack"),
    program("rxtimestamp", output=False),
    program("sk_bind_sendto_listen"),
    program("sk_connect_zero_addr"),
    program("sk_so_peek_off"),
    # It makes a namespace itself.
    program("so_incoming_cpu", script=True),
    program("so_netns_cookie", output=False),
    program("tcp_inq", "-4 -p 5000"),
    program("tcp_inq", "-6 -p 5000"),
    Selftest("tcp_mmap, 2 s",
             "./tcp_mmap -s & server=$!; until grep -q :2253 /proc/net/tcp6; "
             "do sleep 0.1; done; timeout 2 ./tcp_mmap -H ::1; code=$?; "
             "kill $server; (exit $code)", output=False),
    # Its tests with several processes take a minute where cores are shared.
    program("tls", "-v 12_aes_gcm", kernel="6.12", seconds=180),
    program("txtimestamp", "-4 -t 9000000 -L 127.0.0.1", output=False),
    program("txtimestamp", "-6 -t 9000000 -L ::1", output=False),
    script("reuseaddr_ports_exhausted.sh"),
    script("stress_reuseport_listen.sh"),
    # They set a limit of a namespace that 6.1 has not.
    script("msg_zerocopy.sh", "4 tcp -t 1", kernel="6.12"),
    script("msg_zerocopy.sh", "6 tcp -t 1", kernel="6.12"),
    *(script("io_uring_zerocopy_tx.sh", f"{family} tcp -m {mode} -t 1 -n 1",
             kernel="6.12")
      for family, mode in ((4, 0), (4, 1), (6, 2), (6, 3))),
]

#: What differs, by kernel, as docs/transparency.rst explains it.
KNOWN = {
    "6.1": {"ip_local_port_range", "so_incoming_cpu"},
    "6.12": set(),
}


def result(guest, selftest, on):
    """Exit code, and output without what is never the same twice."""
    if selftest.script:
        line = f"{'vtoe-run' if on else 'env'} {selftest.command}"
    else:
        setup = f"{selftest.setup}; " if selftest.setup else ""
        inside = f"{setup}echo {int(on)} > /proc/sys/net/vtoe/auto; " \
                 f"{selftest.command}; code=$?; " \
                 "cat /proc/net/vtoe > /tmp/counts; exit $code"
        guest.write("/tmp/inside", inside)
        line = "./in_netns.sh sh /tmp/inside"
    proc = guest.start(f"cd {kselftest.FOLDER}; exec {line}")
    try:
        code = proc.wait(selftest.seconds)
    except GuestError:
        # With the trigger on that is a difference as others are.
        if not on:
            raise
        return ("does not end", ""), proc.stderr
    # One that fails may do so before it makes a socket.
    if on and code == 0 and not selftest.script and not selftest.plain:
        counts = guest.read("/tmp/counts")
        assert "count sockets" in counts, \
            f"{selftest.name}: the trigger did nothing\n{counts}"
    said = re.sub(r"\d+\.\d+|0x[0-9a-f]+", "N", proc.stdout)
    # stress_reuseport_listen tells how long it took, msg_zerocopy how much.
    return (code, said if selftest.output else ""), proc.stderr


@tap.limit(1600)
def test_selftests_with_the_trigger_off_and_on(pair):
    """the kernel's own socket tests have the same results with the trigger
    on; each that has not is known and explained"""
    kernel = pair.a.kernel
    differ = {}
    chosen = [s for s in SELFTESTS if s.kernel in (None, kernel)]
    for selftest in chosen:
        began = time.monotonic()
        (off, off_said), (on, on_said) = (result(pair.a, selftest, state)
                                          for state in (False, True))
        tap.diag(f"{'same  ' if off == on else 'DIFFER'} {selftest.name}: "
                 f"exit code {off[0]}, {time.monotonic() - began:.1f} s")
        if off != on:
            differ[selftest.name] = \
                f"off: {off}\n{off_said[-1500:]}\non: {on}\n{on_said[-1500:]}"
    same = len(chosen) - len(differ)
    tap.diag(f"transparency on {kernel}: same {same} / differ {len(differ)}")
    for name, how in differ.items():
        tap.diag(f"--- {name}\n{how}")
    assert figures.record(f"selftests.differ_{kernel.replace('.', '_')}",
                          len(differ), "", f"<= {len(KNOWN[kernel])}"), \
        list(differ)
    tap.expect(set(differ), KNOWN[kernel], "those that differ")


COPY_TESTS = [make_copy(case, six) for case in COPIES
              for six in (False, True)]

PAIRS = {kernel: lambda kernel=kernel: Pair(
    kernel=kernel, mem=1024, smp=2, recipe=kselftest.recipe(),
    logs=LOGS / "selftests" / kernel) for kernel in ("6.12", "6.1")}

if __name__ == "__main__":
    tap.main({"test_selftests": test_selftests_with_the_trigger_off_and_on},
             PAIRS)

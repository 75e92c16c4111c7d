# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that is an RDMA host: rdma_rxe, and our own QEMU in it.

    with RdmaHost() as host:
        host.run(["ibv_devinfo"])
        host.counters("rxe0")["rcvd_rnr_err"]

One device, and all programs on it:          Two devices, devices=2:

        rxe0                                       rxe0              rxe1
         |                                          |                 |
         v0 ======= v1                              v0 ============== v1
    192.0.2.1                                  192.0.2.1         192.0.2.2

What goes from one device to itself never leaves it.  What goes to the other
crosses the veth pair, where it can be lost, delayed or cut.

Both ends of the pair stay in one network namespace: rdma_rxe of these kernels
receives its packets in the first one only.  So that packets to a local
address leave on a wire all the same, the rules below look at routes that lead
out before they look at the local ones; what comes in from the pair is local.
And each knows the other's Ethernet address for good: when the kernel cannot
find that out, as on a cut wire, rdma_rxe puts the queue pair of the connection
manager into its error state, and nothing connects any more.  It does that to any
queue pair whose packet the kernel would not take, for example while a queueing
discipline is put in place: so netem is there from the beginning, and netem()
only changes what it does.
"""

import re
import shlex
from contextlib import contextmanager
from pathlib import Path

from . import rdma_image
from .channel import GuestError
from .guest import Guest
from .paths import LOGS, RigError

#: The addresses of v0 and of v1, and their names.
A4, B4 = "192.0.2.1", "192.0.2.2"
A_NAME, B_NAME = "rdma-a", "rdma-b"
PERFTEST_PORT = 18515
#: Where each QEMU of a qtest program has a FIFO, named by its process id.
QP_ERRORS = "/tmp/qp-error"
#: On a busy machine perftest finds its clock too unsteady to say anything; at
#: times its client comes before its server has posted a receive, or crashes, or loses
#: completions because its queue for them is full.
ATTEMPTS = 5
#: Packets that netem holds: more than all queue pairs have on the way.
NETEM = "netem limit 100000"
#: Holds RoCE's largest packet, 4096 bytes and headers.
MTU = 4500

_ONE = f"""
set -e
modprobe rdma_rxe
for module in rdma_ucm crc32_generic veth sch_netem; do modprobe $module; done
/bin/ip link add v0 mtu {MTU} type veth peer name v1 mtu {MTU}
for dev in v0 v1; do
    echo 1 > /proc/sys/net/ipv6/conf/$dev/disable_ipv6
    /bin/ip link set $dev up
done
echo "hosts: files" > /etc/nsswitch.conf
echo "{A4} {A_NAME}" >> /etc/hosts
echo "{B4} {B_NAME}" >> /etc/hosts
/bin/ip addr add {A4}/32 dev v0
rdma link add rxe0 type rxe netdev v0
"""

_TWO = f"""
/bin/ip addr add {B4}/32 dev v1
for dev in all v0 v1; do
    echo 0 > /proc/sys/net/ipv4/conf/$dev/rp_filter
    echo 1 > /proc/sys/net/ipv4/conf/$dev/accept_local
    echo 1 > /proc/sys/net/ipv4/conf/$dev/arp_ignore
done
for dev in v0 v1; do /bin/ip rule add pref 10 iif $dev lookup local; done
/bin/ip rule add pref 20 to {B4} lookup 101
/bin/ip rule add pref 20 to {A4} lookup 102
/bin/ip route add {B4} dev v0 src {A4} table 101
/bin/ip route add {A4} dev v1 src {B4} table 102
/bin/ip rule add pref 30 lookup local
/bin/ip rule del pref 0
/bin/ip neigh add {B4} dev v0 lladdr $(cat /sys/class/net/v1/address)
/bin/ip neigh add {A4} dev v1 lladdr $(cat /sys/class/net/v0/address)
for dev in v0 v1; do /sbin/tc qdisc add dev $dev root {NETEM}; done
rdma link add rxe1 type rxe netdev v1
"""


def netem(what="", devices=("v0", "v1")):
    """A shell command: what the packets suffer that leave these devices (tc's
    words) from now on; nothing without an argument."""
    return " && ".join(f"/sbin/tc qdisc change dev {device} root {NETEM} {what}"
                       for device in devices)


class RdmaHost:
    """The guest, booted and with its devices when it is entered.

    devices  1 or 2, as above
    kind     of the QEMU in there: "", or the sanitizer that it is built with
    mem      MiB
    logs     folder for its logs
    args     further QEMU arguments
    """

    def __init__(self, devices=1, kind="", kernel="6.12", smp=2, mem=2048,
                 logs=None, args=()):
        if devices not in (1, 2):
            raise RigError(f"an RDMA host has 1 or 2 devices, not {devices}")
        self.devices = [f"rxe{i}" for i in range(devices)]
        self.kind = kind
        #: Where to listen so that a connection leads from rxe0 to the last
        #: device.
        self.server = A4 if devices == 1 else B4
        self.guest = Guest("rdma-host", kernel=kernel, smp=smp, mem=mem,
                           logs=Path(logs or LOGS / "rdma"),
                           recipe=rdma_image.recipe(kind), args=args,
                           # The clock that the kernel takes else is an I/O
                           # port, and each look at the time an exit.
                           append="tsc=reliable")
        self.start = self.guest.start
        self.run = self.guest.run
        self.status = self.guest.status
        self.read = self.guest.read
        #: Seconds from QEMU's start to the first command.
        self.boot_seconds = None

    def __enter__(self):
        try:
            self.boot_seconds = self.guest.boot()
            self.guest.run(_ONE + (_TWO if len(self.devices) == 2 else ""),
                           timeout=60)
        except BaseException:
            self.guest.end(check=False)
            raise
        return self

    def __exit__(self, *exc):
        self.guest.__exit__(*exc)

    def problems(self):
        """What is wrong with the guest now; a list of texts."""
        if not self.guest.running:
            return ["QEMU has ended"]
        return [f"its kernel said: {text}"
                for text in self.guest.dmesg_problems()]

    def counters(self, device):
        """The device's own counters: {name: value}."""
        folder = f"/sys/class/infiniband/{device}/ports/1/hw_counters"
        text = self.run(f"cd {folder} && grep . *")
        return {name: int(value) for name, value in
                (line.split(":") for line in text.splitlines())}

    @contextmanager
    def listening(self, argv, port):
        """A server that listens by rdma_cm before the body, and is ended
        after it.  (What such programs say of it may stay in their buffers.)
        """
        server = self.start(argv)
        try:
            self.guest.wait_until(
                f"{argv[0]} listens on port {port}",
                lambda: server.code is not None or re.search(
                    rf"state LISTEN .*:{port}\b",
                    self.run(["rdma", "resource", "show", "cm_id"])))
            yield server
        finally:
            if server.code is None:
                server.stop()

    def perftest(self, program, *options, timeout=20):
        """Server and client of perftest over rdma_cm; the client's figures,
        the fields of its last line."""
        words = [program, "--rdma_cm", "--port", str(PERFTEST_PORT), *options]
        for _ in range(ATTEMPTS):
            with self.listening(words, PERFTEST_PORT):
                client = self.start([*words, self.server])
                try:
                    client.wait(timeout)
                except GuestError:
                    continue
            # A deviation whose square comes out negative is "-nan".
            lines = re.findall(r"^ (\d+(?:\s+(?:[\d.]+|-?nan))+)\s*$",
                               client.stdout, re.M)
            if client.code == 0 and lines:
                return [float(word) for word in lines[-1].split()]
        raise GuestError(f"{program} printed no figures, exit code "
                         f"{client.code}: {client.stdout}{client.stderr}")

    def qtest(self, program, *args, env=None):
        """Start a qtest program of the build with our QEMU; a Process.

        VTOE_SLOW, VTOE_RDMA_SERVER and VTOE_RDMA_DEVICES tell it about this
        host, see tests/qtest; ``env`` is for more.  In the environment of
        QEMU alone, tests/rdma/qp-error.c takes commands by QP_ERRORS.
        """
        if program not in rdma_image.programs():
            raise RigError(
                f"the build has no qtest program {program}, only "
                f"{', '.join(rdma_image.programs()) or 'none'}")
        env = {"QTEST_QEMU_BINARY":
               "env LD_PRELOAD="
               f"{':'.join(rdma_image.preloaded(self.kind))} "
               f"VTOE_QP_ERROR={QP_ERRORS} "
               f"{rdma_image.BIN}/qemu-system-x86_64",
               "VTOE_SLOW": "5",
               "VTOE_RDMA_SERVER": self.server,
               "VTOE_RDMA_DEVICES": ",".join(self.devices), **(env or {})}
        words = [*(f"{k}={v}" for k, v in env.items()),
                 f"{rdma_image.BIN}/{program}", *args]
        return self.start("exec env " + " ".join(map(shlex.quote, words)))

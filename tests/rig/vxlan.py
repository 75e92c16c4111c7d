# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests and a kernel that are joined by VXLAN.

      kernel                guest a               guest b
      vx0 10.77.0.9         10.77.0.1             10.77.0.2
        |  fd77::9           |  fd77::1            |  fd77::2
      vxlan device          vnet                  vnet
        |                    |                     |
       w0 192.0.2.1         w0 192.0.2.2          w0 192.0.2.3
        |  2001:db8::1       |                     |
        +--------------------+---------------------+      a bridge; each in a
                                                          namespace of its own

    with Overlay(guests=2, mtu=9000) as overlay:
        overlay.guests[0].run(["ping", "-c1", KERNEL4])
        overlay.kernel.start(["iperf3", "-s"])
"""

import ipaddress
from pathlib import Path

from . import image, netns, topo
from .guest import Guest
from .paths import LOGS
from .programs import Host
from .setup import Setup

VNI = 77
PORT = 4789
KERNEL4, KERNEL6 = "10.77.0.9", "fd77::9"


def link(peer, ident="l0", **options):
    """A vxlan link to an address."""
    return {"id": ident, "type": "vxlan",
            "addr": {"type": "inet", "host": peer, "port": str(PORT)},
            **options}


class Overlay(Setup):
    """guests: how many beside the kernel, each joined to each.  mtu: of the
    network below; guest_mtu: as Guest's mtu.  v6: below is IPv6.  model: of the
    NICs; further options as of Guest."""

    def __init__(self, guests=1, mtu=1500, guest_mtu=None, v6=False,
                 model="vtoe-pci", logs=None, recipe=image.STOCK, **options):
        self.count = guests
        self.mtu = mtu
        self.v6 = v6
        self.guests = []
        #: The namespaces of all ends, the kernel's first.
        self.spaces = []
        #: The kernel's end: programs run there.
        self.kernel = None
        self._model = model
        self._options = {"logs": Path(logs or LOGS / "vxlan"),
                         "recipe": recipe, "mtu": guest_mtu, **options}

    @classmethod
    def missing(cls):
        """Why this cannot run on this machine, or None."""
        return netns.missing()

    def below(self, end):
        """The address of an end in the network below; 0 is the kernel's."""
        base = ipaddress.ip_address("2001:db8::" if self.v6 else "192.0.2.0")
        return str(base + end + 1)

    @property
    def inner_mtu(self):
        """What fits beside VXLAN's headers."""
        return self.mtu - (70 if self.v6 else 50)

    def set_up(self, stack):
        self.spaces = [stack.enter_context(netns.Namespace())
                       for _ in range(self.count + 1)]
        self._join(stack.enter_context(netns.Namespace()))
        self._kernel_end()
        self.guests = [self._guest(end)
                       for end in range(1, self.count + 1)]
        topo.launch(self.guests, stack)
        for guest in self.guests:
            guest.wait_until(
                "the kernel answers", lambda guest=guest: guest.status(
                    ["ping", "-c", "1", "-W", "1", KERNEL4]) == 0, 60)

    def finish(self):
        for guest in self.guests:
            guest.end()

    def problems(self):
        """What is wrong with the guests now; a list of texts."""
        return topo.problems(self.guests)

    def _join(self, between):
        """The network below, in a namespace of its own."""
        length = 64 if self.v6 else 24
        between.run("ip link add br0 type bridge")
        between.run(f"ip link set br0 mtu {self.mtu} up")
        for end, space in enumerate(self.spaces):
            between.run(f"ip link add p{end} mtu {self.mtu} type veth peer "
                        f"name w0 mtu {self.mtu} netns {space.path}")
            between.run(f"ip link set p{end} master br0 up")
            space.run("ip link set lo up")
            space.run("ip link set w0 up")
            space.run(f"ip addr add {self.below(end)}/{length} dev w0"
                      + (" nodad" if self.v6 else ""))

    def _kernel_end(self):
        space = self.spaces[0]
        space.run(f"ip link add vx0 type vxlan id {VNI} dstport {PORT} dev w0 "
                  f"local {self.below(0)}")
        space.run(f"ip link set vx0 mtu {self.inner_mtu} up")
        space.run(f"ip addr add {KERNEL4}/24 dev vx0")
        space.run(f"ip addr add {KERNEL6}/64 dev vx0 nodad")
        for end in range(1, self.count + 1):
            # To each, what is for all or for nobody that is known.
            space.run("bridge fdb append 00:00:00:00:00:00 dev vx0 dst "
                      f"{self.below(end)}")
        self.kernel = Host(space.wrapper)

    def _guest(self, end):
        links = [link(self.below(far), f"to{far}",
                      **{"split-horizon": True})
                 for far in range(self.count + 1) if far != end]
        net = topo.vnet("n0", links, vni=VNI) + topo.nic(
            self._model, "n0", f"52:54:00:77:00:{end:02x}", id="nic")
        return Guest("abcdefgh"[end - 1], net=net,
                     wrapper=self.spaces[end].wrapper,
                     ip=f"10.77.0.{end}/24,fd77::{end:x}/64", **self._options)


class VxlanPair(topo.Pair):
    """vtoe-pci NICs on vnet overlays that are joined by a vxlan link: what
    topo.VirtioVxlan is with virtio-net and the kernel's."""
    name = "vtoe_vxlan"
    missing = Overlay.missing
    underlay_mtu = topo.VirtioVxlan.underlay_mtu

    def links(self):
        one, two = (self._resources.enter_context(netns.Namespace())
                    for _ in range(2))
        one.run("ip link add w0 type veth peer name w0 netns " + two.path)
        ends = []
        for space, mac, near, far in (
                (one, topo.A_MAC, "192.0.2.1", "192.0.2.2"),
                (two, topo.B_MAC, "192.0.2.2", "192.0.2.1")):
            space.run("ip link set lo up")
            space.run(f"ip link set w0 mtu {self.underlay_mtu} up")
            space.run(f"ip addr add {near}/30 dev w0")
            ends.append((topo.vnet("n0", [link(far)], vni=VNI)
                         + topo.nic("vtoe-pci", "n0", mac, id="nic"),
                         space.wrapper))
        return ends

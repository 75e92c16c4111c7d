# SPDX-License-Identifier: GPL-2.0-or-later
"""Pairs of guests, joined in one way or another.

          a  10.77.0.1/24  fd77::1/64               b  10.77.0.2/24
        +---------+                                 +---------+
        | guest a |-- NIC == (what the class says) == NIC --| guest b |
        +---------+                                 +---------+

    with VtoePair(kernel="6.12") as pair:
        pair.b.start(["iperf3", "-s"])
        pair.a.run([...])

Entering boots both; leaving ends both, looks at their kernel logs, and takes
away what was made on the host.  In all pairs the guests have the same CPU
model, kernel, memory and programs; only the NIC differs.
"""

import shutil
import socket
import tempfile
from pathlib import Path

from . import image, netns
from .guest import Guest, quote
from .paths import LOGS
from .setup import Setup

A4, B4 = "10.77.0.1", "10.77.0.2"
A6, B6 = "fd77::1", "fd77::2"
#: Locally administered; the last byte tells who it is.
A_MAC, B_MAC = "52:54:00:77:00:01", "52:54:00:77:00:02"


def problems(guests):
    """What is wrong with guests now; a list of texts."""
    found = []
    for guest in guests:
        if not guest.running:
            found.append(f"{guest.name}: QEMU has ended")
        elif guest.check_dmesg:
            found += [f"{guest.name}: its kernel said: {text}"
                      for text in guest.dmesg_problems()]
    return found


def overlay(guest):
    """What query-vnet says of the guest's overlay."""
    return guest.cmd("query-vnet")[0]


def counters(guest):
    """The overlay's own counters: {name: value}."""
    return {c["name"]: c["value"] for c in overlay(guest)["counters"]}


def launch(guests, stack):
    """Boots guests.  If one does not, the stack ends all, unchecked."""
    for guest in guests:
        stack.push(lambda *_, guest=guest: guest.end(check=False))
        guest.launch()
    for guest in guests:
        guest.wait_ready()


class Pair(Setup):
    """Two guests.  A subclass says in links() what joins them.

    ``args`` gives a guest's further QEMU arguments; it is called with the path
    that the guest's logs have but for their suffixes.
    """

    #: As users name it.
    name = "pair"

    def __init__(self, kernel="6.12", logs=None, smp=1, mem=512, mtu=None,
                 append="", kernel_b=None, append_b=None, reboot=False,
                 args=lambda stem: (), recipe=image.STOCK):
        self.logs = Path(logs or LOGS / self.name)
        self._options = {"smp": smp, "mem": mem, "mtu": mtu,
                         "logs": self.logs, "reboot": reboot, "recipe": recipe}
        self._kernels = (kernel, kernel_b or kernel)
        self._appends = (append, append if append_b is None else append_b)
        self._args = args
        #: Folder for sockets; its path is short enough for them.
        self.folder = None
        self.a = self.b = None

    @classmethod
    def missing(cls):
        """Why this cannot run on this machine, or None."""
        return None

    def links(self):
        """For each guest: (QEMU arguments, words before QEMU).  The one that
        has to be there first comes last, and is launched first."""
        raise NotImplementedError

    def set_up(self, stack):
        self.folder = Path(tempfile.mkdtemp(prefix="vtoe-", dir="/tmp"))
        stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._resources = stack
        (net_a, wrap_a), (net_b, wrap_b) = self.links()
        self.a = self._guest(0, net_a, wrap_a, f"{A4}/24,{A6}/64")
        self.b = self._guest(1, net_b, wrap_b, f"{B4}/24,{B6}/64")
        launch((self.b, self.a), stack)
        # What joins them may come up after the guests.
        self.a.wait_until("the guests reach each other", lambda:
                          self.a.status(["ping", "-c", "1", "-W", "1",
                                         B4]) == 0, 60)

    def finish(self):
        try:
            self.a.end()
        finally:
            self.b.end()

    def _guest(self, index, net, wrapper, ip):
        name = "ab"[index]
        return Guest(name, kernel=self._kernels[index], net=net,
                     wrapper=wrapper, ip=ip, append=self._appends[index],
                     args=self._args(self.logs / name), **self._options)

    @property
    def guests(self):
        return (self.a, self.b)

    def problems(self):
        """What is wrong with the guests now; a list of texts."""
        return problems(self.guests)

    def pause(self):
        for guest in self.guests:
            guest.pause()

    def resume(self):
        for guest in self.guests:
            guest.resume()

    def show(self):
        """Both guests' command lines, for a person to copy, in the order to
        start them.  They do not use what the rig has set up on the host."""
        # The sockets of this run are gone when somebody types that.
        return "\n".join(f"{quote(g.command(agent=False))}\n"
                         for g in reversed(self.guests)
                         ).replace(f"{self.folder}/", "/tmp/vtoe-")


def nic(model, netdev, mac, **properties):
    """A NIC without the boot ROM that would only cost time."""
    words = [model, f"netdev={netdev}", f"mac={mac}", "romfile="]
    words += [f"{key}={value}" for key, value in properties.items()]
    return ["-device", ",".join(words)]


# Ours.

def vnet(ident, links, **options):
    """-netdev vnet.  ``links`` is a list of dictionaries with the members of
    VnetLinkOptions, nested as there; so are ``options`` for the netdev."""
    words = [f"vnet,id={ident}"]

    def flatten(prefix, value):
        if isinstance(value, dict):
            for key, inner in value.items():
                flatten(f"{prefix}.{key}", inner)
        elif isinstance(value, (list, tuple)):
            for i, inner in enumerate(value):
                flatten(f"{prefix}.{i}", inner)
        else:
            if isinstance(value, bool):
                value = "on" if value else "off"
            words.append(f"{prefix}={str(value).replace(',', ',,')}")

    flatten("links", links)
    for key, value in options.items():
        flatten(key.replace("_", "-"), value)
    return ["-netdev", ",".join(words)]


def unix_link(path, server=False, ident="l0", **options):
    link = {"id": ident, "addr": {"type": "unix", "path": str(path)}}
    return {**link, **({"server": True} if server else {}), **options}


def tcp_link(port, server=False, ident="l0", host="127.0.0.1", **options):
    link = {"id": ident,
            "addr": {"type": "inet", "host": host, "port": str(port)}}
    return {**link, **({"server": True} if server else {}), **options}


def _free_port():
    """A port of the loopback address that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class VtoePair(Pair):
    """vtoe-pci NICs on a vnet overlay with one unix link.

    Options: device, netdev, link: further properties of -device, -netdev and
    of the link; tcp: a tcp link on a free port of the loopback address, not
    a unix one; device_b and netdev_b the same for guest b only; model_a,
    model_b: another NIC than vtoe-pci; root_port: the NICs sit behind a
    PCI Express root port, and can be unplugged.
    """
    name = "vtoe"

    def __init__(self, device=None, device_b=None, netdev=None, netdev_b=None,
                 link=None, tcp=False, model_a="vtoe-pci", model_b="vtoe-pci",
                 root_port=False, **options):
        super().__init__(**options)
        self._devices = [device or {},
                         (device or {}) if device_b is None else device_b]
        self._netdevs = [netdev or {},
                         (netdev or {}) if netdev_b is None else netdev_b]
        self._models = [model_a, model_b]
        self._link = link or {}
        self._tcp = tcp
        self._root_port = root_port
        self._mtus = {}

    def links(self):
        path, port = self.folder / "link", self._tcp and _free_port()
        ends = []
        for i, mac in enumerate((A_MAC, B_MAC)):
            link = tcp_link(port, server=i == 1, **self._link) if port \
                else unix_link(path, server=i == 1, **self._link)
            words = vnet("n0", [link], **self._netdevs[i])
            device = dict(self._devices[i], id="nic")
            if self._root_port:
                words += ["-device", "pcie-root-port,id=rp0,slot=1"]
                device["bus"] = "rp0"
            ends.append((words + nic(self._models[i], "n0", mac, **device),
                         []))
        return ends

    # The same NIC with more or less of what it can do.

    def offload_all(self):
        """As the driver comes up."""
        for guest in self.guests:
            path = "/sys/class/net/eth0/mtu"
            # The first time they are as they came up.
            mtu = self._mtus.setdefault(guest.name, guest.read(path).strip())
            guest.run(["ethtool", "-K", "eth0", *_features("on")])
            guest.run(["ip", "link", "set", "dev", "eth0", "mtu", mtu])

    def offload_none(self):
        """No segmentation, no checksums, MTU 1500: the overlay as the paper
        had it without VTOE."""
        self.offload_all()
        for guest in self.guests:
            guest.run(["ethtool", "-K", "eth0", *_features("off")])
            guest.run(["ip", "link", "set", "dev", "eth0", "mtu", "1500"])

    @staticmethod
    def overlay(guest):
        """As the function."""
        return overlay(guest)

    @staticmethod
    def counters(guest):
        """As the function."""
        return counters(guest)


def _features(state):
    """Arguments for ethtool -K: what VtoePair switches."""
    return [word for name in ("tx", "rx", "sg", "tso", "gso", "gro")
            for word in (name, state)]


class VtoeOnStream(Pair):
    """vtoe-pci NICs on another netdev than vnet: plain NICs."""
    name = "vtoe_on_stream"

    def links(self):
        path = self.folder / "link"
        return [(_netdev_stream(path, server)
                 + nic("vtoe-pci", "n0", mac, id="nic"), [])
                for mac, server in ((A_MAC, False), (B_MAC, True))]


def _netdev_stream(path, server):
    """-netdev stream over a unix socket.  The client may come before the
    server, and tries again."""
    netdev = f"stream,id=n0,server={'on' if server else 'off'}," \
             f"addr.type=unix,addr.path={path}"
    return ["-netdev", netdev + ("" if server else ",reconnect-ms=100")]


# What people use today.

class VirtioStream(Pair):
    """virtio-net on netdev stream over a unix socket.

    That netdev carries no metadata for segmentation offload, so the frames
    have to be as long as the MTU: 65520 is the most it takes.
    """
    name = "virtio_stream"
    host_mtu = 65520

    def links(self):
        path = self.folder / "link"
        return [(_netdev_stream(path, server)
                 + nic("virtio-net-pci", "n0", mac, id="nic",
                       host_mtu=self.host_mtu), [])
                for mac, server in ((A_MAC, False), (B_MAC, True))]


class VirtioVxlan(Pair):
    """virtio-net with segmentation offload over the kernel's VXLAN.

        namespace 1                        namespace 2
          tap0 - br0 - vx0                   vx0 - br0 - tap0
                        \\                   /
                         w0 ---- veth ---- w0      MTU 9000
    """
    name = "virtio_vxlan"
    underlay_mtu = 9000
    #: What fits into it beside VXLAN's 50 bytes.
    inner_mtu = underlay_mtu - 50

    @classmethod
    def missing(cls):
        return netns.missing()

    def links(self):
        one, two = (self._resources.enter_context(netns.Namespace())
                    for _ in range(2))
        one.run("ip link add w0 type veth peer name w0 netns " + two.path)
        ends = []
        for space, mac, near, far in ((one, A_MAC, "192.0.2.1", "192.0.2.2"),
                                      (two, B_MAC, "192.0.2.2", "192.0.2.1")):
            for line in (
                    "ip link set lo up",
                    f"ip link set w0 mtu {self.underlay_mtu} up",
                    f"ip addr add {near}/30 dev w0",
                    f"ip link add vx0 type vxlan id 77 dstport 4789 dev w0 "
                    f"local {near} remote {far}",
                    "ip link add br0 type bridge",
                    "ip tuntap add dev tap0 mode tap vnet_hdr",
                    f"ip link set tap0 mtu {self.inner_mtu}",
                    "ip link set vx0 master br0 up",
                    "ip link set tap0 master br0 up",
                    "ip link set br0 up"):
                space.run(line)
            netdev = ["-netdev", "tap,id=n0,ifname=tap0,script=no,"
                      "downscript=no,vnet_hdr=on"]
            ends.append((netdev + nic("virtio-net-pci", "n0", mac, id="nic",
                                      host_mtu=self.inner_mtu),
                         space.wrapper))
        return ends

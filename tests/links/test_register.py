#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Links that peers get by registering: one end makes both."""

import contextlib
import os
import socket
import struct
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import tap                     # noqa: E402
from rig.bare import (CONTROL, FRAME, BareQemu, free_port,  # noqa: E402
                      preamble)
from rig.paths import RigError          # noqa: E402
from rig.pki import HOST, Pki           # noqa: E402
from rig.setup import Setup             # noqa: E402

#: A network id, for all.
VNI = 7
#: Links that a netdev may have.
LINKS = 64


def hello(name, epoch, vni=VNI, length=112):
    """The first message of a control connection (docs/specs/vnet-wire.rst)."""
    return struct.pack(">BBHI", 1, 0, length, 0) + struct.pack(
        ">HHIQQQII64s", 1, 1, 1000, 1, epoch, 0, vni, 16, name.encode())


def bye():
    """The message that ends a connection."""
    return struct.pack(">BBHIHH", 2, 0, 140, 0, 0, 0) + bytes(128)


def messages(sock):
    """What arrives until the connection ends: (type, body)."""
    sock.settimeout(10)
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := sock.recv(4096):
            data += piece
    found = []
    while data:
        kind, _, length, _ = struct.unpack_from(">BBHI", data)
        found.append((kind, data[8:length]))
        data = data[length:]
    return found


def farewell(sock):
    """The text of the BYE that ends a connection."""
    kind, body = messages(sock)[-1]
    tap.expect(kind, 2, "the last message")
    return body[4:].rstrip(b"\0").decode()


class Hall(Setup):
    """A QEMU with a registrar, link "door", and others that come to it."""

    def __init__(self, objects=()):
        self.objects = objects

    def set_up(self, stack):
        self.qemu = stack.enter_context(BareQemu("hall", self.objects))
        # Peers of the test's own do not answer a PING.
        self.qemu.ask("netdev_add", type="vnet", id="n0", vni=VNI, links=[],
                      **{"heartbeat-ms": 60000})

    @contextlib.contextmanager
    def door(self, **options):
        """While it is open; afterwards it, and all links, are gone."""
        self.port = free_port()
        self.qemu.ask("vnet-link-add", id="n0", link={
            "id": "door", "server": True, "registrar": True,
            "addr": self.addr(), **options})
        yield
        self.qemu.ask("vnet-link-del", id="n0", link="door")
        tap.expect(self.links(), {}, "links")

    def addr(self):
        return {"type": "inet", "host": "127.0.0.1", "port": str(self.port)}

    @contextlib.contextmanager
    def guest(self, name, objects=(), **options):
        """Another QEMU, which calls the door; by the option link, not yet."""
        link = options.pop("link", True)
        with BareQemu(name, objects) as qemu:
            qemu.ask("netdev_add", type="vnet", id="n0", vni=VNI, name=name,
                     links=[])
            if link:
                self.call(qemu, **options)
            yield qemu

    def call(self, qemu, **options):
        qemu.ask("vnet-link-add", id="n0", link={
            "id": "up", "addr": self.addr(), "reconnect-ms": 100, **options})

    def links(self):
        status, = self.qemu.ask("query-vnet", id="n0")
        return {link["id"]: link for link in status["links"]}

    def count(self, counter, link="door"):
        return self.qemu.link("n0", link)["counters"][counter]

    def wait_count(self, counter, value):
        self.qemu.wait_link("n0", "door", f"at {counter} {value}",
                            lambda link: link["counters"][counter] >= value)

    def wait_up(self, name):
        """Until the peer's link is there, and up."""
        self.wait_links(lambda links: links.get(name, {}).get("state") == "up",
                        f"{name} up")
        return self.qemu.link("n0", name)

    def wait_gone(self, name):
        self.wait_links(lambda links: name not in links, f"{name} gone")

    def wait_links(self, condition, what):
        # What happens to any link is an event of some kind; the door's own
        # status is as good a place to look as any.
        self.qemu.wait_link("n0", "door", f"the one with {what}",
                            lambda link: condition(self.links()))

    def knock(self):
        """A socket connected to the door."""
        return socket.create_connection(("127.0.0.1", self.port), 10)


# Both ends.

def test_one_command(hall):
    """one command at one end makes both, and takes both away"""
    with hall.door(), hall.guest("east", link=False) as east:
        tap.expect(set(hall.links()), {"door"}, "links")
        hall.call(east)
        east.wait_up("n0", "up")
        link = hall.wait_up("east")
        tap.expect((link["registrar"], link["peer"], link["server"]),
                   ("door", "east", True), "the link")
        tap.expect(link["local"]["port"], str(hall.port), "where it is")
        tap.expect(hall.count("registered"), 1, "registered")
        tap.expect(hall.qemu.link("n0", "door")["state"], "listening", "door")
        east.ask("vnet-link-del", id="n0", link="up")
        hall.wait_gone("east")
        # And again.
        hall.call(east)
        hall.wait_up("east")


def test_unix(hall):
    """it is the same over unix sockets"""
    path = hall.qemu.folder / "door"
    addr = {"type": "unix", "path": str(path)}
    hall.port = None
    hall.qemu.ask("vnet-link-add", id="n0", link={
        "id": "door", "server": True, "registrar": True, "addr": addr})
    with hall.guest("east", addr=addr) as east:
        east.wait_up("n0", "up")
        hall.wait_up("east")
    hall.wait_gone("east")
    hall.qemu.ask("vnet-link-del", id="n0", link="door")
    assert not path.exists()


@tap.limit(120)
def test_mesh(hall):
    """eight QEMUs are joined with each other by one door each"""
    with contextlib.ExitStack() as stack:
        qemus = {}
        for number in range(8):
            name = f"node{number}"
            qemu = stack.enter_context(BareQemu(name))
            port = free_port()
            qemu.ask("netdev_add", type="vnet", id="n0", vni=VNI, name=name,
                     links=[{"id": "door", "server": True, "registrar": True,
                             "split-horizon": True, "addr": {
                                 "type": "inet", "host": "127.0.0.1",
                                 "port": str(port)}}])
            for other, (far, far_port) in qemus.items():
                qemu.ask("vnet-link-add", id="n0", link={
                    "id": other, "split-horizon": True, "addr": {
                        "type": "inet", "host": "127.0.0.1",
                        "port": str(far_port)}})
                qemu.wait_up("n0", other)
                far.wait_up("n0", name)
            qemus[name] = qemu, port
        for name, (qemu, _) in qemus.items():
            status, = qemu.ask("query-vnet", id="n0")
            up = {link["id"] for link in status["links"]
                  if link["state"] == "up"}
            tap.expect(up, set(qemus) - {name}, f"up at {name}")


# The life of a link.

def test_lost(hall):
    """a peer that was lost keeps its link for forget-ms, and can come back"""
    with hall.door(**{"forget-ms": 600}):
        with hall.guest("east") as east:
            hall.wait_up("east")
            east.kill()
        # Its sockets are closed without a good-bye.
        hall.wait_links(lambda links: links["east"]["state"] == "listening",
                        "east lost")
        with hall.guest("east"):
            hall.wait_up("east")
            tap.expect(hall.count("ups", "east"), 2, "times up")
        hall.wait_gone("east")
        with hall.guest("east") as east:
            hall.wait_up("east")
            east.kill()
        hall.wait_links(lambda links: "east" not in links or
                        links["east"]["state"] == "listening", "east lost")
        hall.wait_gone("east")


def test_door_closed(hall):
    """with the door go the links of those who came through it, and no other"""
    with hall.guest("west", link=False) as west:
        with hall.door():
            port = free_port()
            addr = {"type": "inet", "host": "127.0.0.1", "port": str(port)}
            hall.qemu.ask("vnet-link-add", id="n0", link={
                "id": "own", "server": True, "addr": addr})
            west.ask("vnet-link-add", id="n0", link={"id": "own",
                                                     "addr": addr})
            west.wait_up("n0", "own")
            with hall.guest("east") as east:
                hall.wait_up("east")
                hall.qemu.ask("vnet-link-del", id="n0", link="door")
                tap.expect(set(hall.links()), {"own"}, "links")
                east.wait_link("n0", "up", "down",
                               lambda link: link["state"] != "up")
            tap.expect(west.link("n0", "own")["state"], "up", "the other")
            hall.qemu.ask("vnet-link-del", id="n0", link="own")
            hall.qemu.ask("vnet-link-add", id="n0", link={
                "id": "door", "server": True, "registrar": True,
                "addr": hall.addr()})


def test_one_link_removed(hall):
    """a link that is removed here can be made again by its peer"""
    with hall.door(), hall.guest("east"):
        hall.wait_up("east")
        hall.qemu.ask("vnet-link-del", id="n0", link="east")
        hall.wait_up("east")
        tap.expect(hall.count("registered"), 2, "registered")


# Who gets none.

def test_name_taken(hall):
    """a name that another has is refused, with the reason at both ends"""
    with hall.door():
        own = {"id": "own", "server": True, "addr": {
            "type": "unix", "path": str(hall.qemu.folder / "own")}}
        hall.qemu.ask("vnet-link-add", id="n0", link=own)
        for name in "own", "door":
            with hall.guest(name) as guest:
                guest.wait_link("n0", "up", "refused", lambda link, name=name:
                                f'there is another link "{name}"' in
                                link.get("reason", ""))
        hall.qemu.ask("vnet-link-del", id="n0", link="own")
        with hall.guest("east"):
            hall.wait_up("east")
            # The same name, another one.
            with hall.guest("east") as other:
                other.wait_link("n0", "up", "refused", lambda link:
                                "this link has a peer" in
                                link.get("reason", ""))
            tap.expect(hall.count("downs", "east"), 0, "losses of the first")


def test_name_wrong(hall):
    """a name that is no identifier is refused"""
    with hall.door():
        for name in "9lives", "a b", "a/b":
            with hall.knock() as sock:
                sock.sendall(preamble(CONTROL, epoch=1) + hello(name, 1))
                text = farewell(sock)
                assert f'the name "{name}" is not an identifier' in text, text
        tap.expect(hall.count("register-denied"), 3, "denied")
        assert "not an identifier" in hall.qemu.link("n0", "door")["refused"]


def test_peers(hall):
    """only the peers that were given may register, with their addresses"""
    with hall.door(peers=[{"name": "east", "macs": ["52:54:00:00:00:01"]},
                          {"name": "west"}],
                   **{"peer-macs": ["52:54:00:00:00:02"]}):
        with hall.guest("north") as north:
            north.wait_link("n0", "up", "refused", lambda link:
                            'nobody with the name "north" may register' in
                            link.get("reason", ""))
        macs = {"east": 1, "west": 2}
        for name, right in macs.items():
            with hall.knock() as sock:
                sock.sendall(preamble(CONTROL, epoch=9) + hello(name, 9))
                hall.wait_up(name)
                for mac in macs.values():
                    # Vni, address, zero.
                    sock.sendall(struct.pack(">BBHI", 5, 0, 20, 0) +
                                 struct.pack(">I", VNI) +
                                 bytes.fromhex(f"5254000000{mac:02x}") +
                                 b"\0\0")
                hall.wait_links(lambda links, name=name: any(
                    c["name"] == "rx-msgs" and c["value"] == 1 + len(macs)
                    for c in links[name]["counters"]), "all messages read")
                tap.expect(hall.count("macs-denied", name), 1, "denied")
                status, = hall.qemu.ask("query-vnet", id="n0")
                tap.expect([m["mac"] for m in status["macs"]
                            if m["via"] == name],
                           [f"52:54:00:00:00:{right:02x}"], "addresses")
            hall.wait_links(lambda links, name=name:
                            links[name]["state"] == "listening", "one lost")


def test_given_networks(hall):
    """only the network ids that a peer was given are those of its link"""
    with hall.door(peers=[{"name": "east", "vnis": [8]}, {"name": "west"}],
                   **{"peer-vnis": [VNI, 9]}):
        with hall.knock() as sock:
            sock.sendall(preamble(CONTROL, epoch=1) + hello("east", 1))
            tap.expect(farewell(sock), f"peer has network id {VNI}, this end "
                       "8", "the reason")
        hall.wait_gone("east")
        with hall.guest("west"):
            hall.wait_up("west")
            tap.expect((hall.qemu.link("n0", "west")["vnis"],
                        hall.count("nets-denied", "west")), ([VNI], 0),
                       "of what was given")


def test_wrong_network(hall):
    """a peer of another network id has no link, not even for a moment more"""
    with hall.door():
        with hall.knock() as sock:
            sock.sendall(preamble(CONTROL, epoch=1) + hello("east", 1, vni=8))
            text = farewell(sock)
            tap.expect(text, "peer has network id 8, this end 7", "the reason")
        hall.wait_gone("east")


def test_full(hall):
    """there are never more links than a netdev may have"""
    with hall.door(**{"forget-ms": 100}), contextlib.ExitStack() as stack:
        for number in range(LINKS):
            sock = stack.enter_context(hall.knock())
            sock.sendall(preamble(CONTROL, epoch=1 + number) +
                         hello(f"east{number}", 1 + number))
            if number < LINKS - 1:
                hall.wait_up(f"east{number}")
            else:
                tap.expect(farewell(sock), f"there are {LINKS} links already",
                           "the reason")
        tap.expect(len(hall.links()), LINKS, "links")
        stack.close()
        hall.wait_links(lambda links: set(links) == {"door"}, "nothing else")
        with hall.guest("east"):
            hall.wait_up("east")


def test_come_and_go(hall):
    """peers of ever new names do not flood the monitor, nor leave it wrong"""
    coming = 400
    with hall.door(), contextlib.ExitStack() as stack:
        began = time.monotonic()
        for number in range(coming):
            with hall.knock() as sock:
                sock.sendall(preamble(CONTROL, epoch=1 + number) +
                             hello(f"comer{number}", 1 + number))
                hall.wait_up(f"comer{number}")
                sock.sendall(bye())
                hall.wait_gone(f"comer{number}")
        # What comes now is told behind all that is owed.
        sock = stack.enter_context(hall.knock())
        sock.sendall(preamble(CONTROL, epoch=9999) + hello("comer", 9999))
        up, told = set(), 0
        while "comer" not in up:
            for event in hall.qemu.events():
                link = event["data"].get("link", "")
                told += link.startswith("comer")
                if event["event"] == "VNET_LINK_UP":
                    up.add(link)
                elif event["event"] == "VNET_LINK_DOWN":
                    up.discard(link)
        took = time.monotonic() - began
        tap.expect(up, {"comer"}, "links that are up by what was told")
        if told > 100 * (took + 2):
            raise RigError(f"{told} events in {took:.1f} s")


def test_garbage(hall):
    """what is no registration is counted, and disturbs nobody"""
    with hall.door(**{"setup-timeout-ms": 300}), hall.guest("east"):
        hall.wait_up("east")
        whole = preamble(CONTROL, epoch=5) + hello("west", 5)
        for sent, counter in (
                (b"\0" * 32, "bad-magic"),
                # A PING is not the first message.
                (preamble(CONTROL, epoch=5) +
                 struct.pack(">BBHIQ", 3, 0, 16, 0, 1), "bad-kind"),
                (preamble(CONTROL, epoch=5) + hello("west", 5, length=7),
                 "bad-length"),
                (preamble(CONTROL, epoch=5) + hello("west", 5, length=257),
                 "bad-length"),
                (preamble(CONTROL, epoch=5) + hello("west", 0), "bad-value"),
                # Frames of a peer that is not there.
                (preamble(FRAME, epoch=5, token=5), "refused-token"),
                (whole[:31], "setup-timeout"), (whole[:32], "setup-timeout"),
                (whole[:39], "setup-timeout"), (whole[:40], "setup-timeout"),
                (whole[:-1], "setup-timeout")):
            before = hall.count(counter)
            with hall.knock() as sock:
                sock.sendall(sent)
                tap.expect(messages(sock), [], "messages")
            tap.expect(hall.count(counter), before + 1, counter)
        # Its epoch and its preamble are not of the same end.
        with hall.knock() as sock:
            sock.sendall(preamble(CONTROL, epoch=5) + hello("west", 6))
            tap.expect(farewell(sock), "hello: epoch or token is not what it "
                       "must be", "the reason")
        hall.wait_gone("west")
        # In pieces it is as good as at once.
        with hall.knock() as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in whole:
                sock.sendall(bytes([byte]))
            hall.wait_up("west")
        tap.expect(hall.count("downs", "east"), 0, "losses of the good link")


def test_identity():
    """with TLS a name can be kept for one certificate"""
    with tempfile.TemporaryDirectory(prefix="vtoe-tls-", dir="/tmp") as made:
        pki = Pki(made)
        with Hall([pki.creds("server", "server"),
                   pki.creds("deleted", "server",
                             dir=pki.folder / "server")]) as hall:
            identities(hall, [pki.creds(name) for name in ("left", "right")])


def identities(hall, objects):
    """The same, with all that it takes."""
    tls = {"tls-creds": "server"}
    calls = {"tls-hostname": HOST}

    def refused(guest, text):
        guest.wait_link("n0", "up", "refused",
                        lambda link: text in link.get("reason", ""))

    with hall.door(peers=[{"name": "left", "identity": "CN=left"},
                          {"name": "right"}], **tls):
        with hall.guest("left", objects, **calls, **{"tls-creds": "left"}):
            link = hall.wait_up("left")
            tap.expect((link["encrypted"], link["identity"]),
                       (True, "CN=left"), "the link")
        with hall.guest("left", objects, **calls,
                        **{"tls-creds": "right"}) as guest:
            refused(guest, '"left" is the name of another')
    # What encrypts it is the door's, whatever has become of the object.
    with hall.door(**{"tls-creds": "deleted"}):
        hall.qemu.ask("object-del", id="deleted")
        with hall.guest("late", objects, **calls, **{"tls-creds": "left"}):
            link = hall.wait_up("late")
            tap.expect((link["encrypted"], link["identity"]),
                       (True, "CN=left"), "the link")
    # Without a list it is of who had it first.
    with hall.door(**tls):
        with hall.guest("east", objects, **calls,
                        **{"tls-creds": "left"}) as guest:
            hall.wait_up("east")
            guest.kill()
        hall.wait_links(lambda links: links["east"]["state"] == "listening",
                        "east lost")
        with hall.guest("east", objects, **calls,
                        **{"tls-creds": "right"}) as guest:
            refused(guest, 'the link "east" is another\'s')
        with hall.guest("east", objects, **calls, **{"tls-creds": "left"}):
            hall.wait_up("east")


# Options.

def test_options(hall):
    """options that cannot be are refused by name"""
    hall.port = free_port()
    many = [{"name": f"n{number}"} for number in range(4097)]
    for options, text in (
            ({"server": False}, "registrar=on needs server=on"),
            ({"registrar": False, "peers": []}, "peers needs registrar=on"),
            ({"registrar": False, "forget-ms": 1000},
             "forget-ms needs registrar=on"),
            ({"forget-ms": 99}, "forget-ms is 99, and must be 100 to 3600000"),
            ({"type": "rdma"},
             'registrar=on is for types "tcp" and "unix" only'),
            ({"peers": [{"name": "a"}, {"name": "a"}]},
             'two peers have the name "a"'),
            ({"peers": [{"name": "a b"}]}, 'peers.0.name is "a b", and must '
             'be an identifier of at most 63 characters'),
            ({"peers": [{"name": "a", "identity": "CN=a"}]},
             "peers.0.identity needs tls-creds"),
            ({"peers": [{"name": "a", "macs": ["1"]}]}, 'peers.0.macs.0 is '
             '"1", and must be the Ethernet address of a NIC'),
            ({"peers": [{"name": "a", "vnis": []}]},
             "peers.0.vnis has no network id"),
            ({"peer-vnis": [7, 16777216]}, "peer-vnis.1 is 16777216, and must "
             "be a network id, 0 to 16777215"),
            ({"peer-vnis": list(range(33))},
             "peer-vnis has more than 32 network ids"),
            ({"peers": many}, "peers has more than 4096 entries")):
        link = {"id": "door", "server": True, "registrar": True,
                "addr": hall.addr(), **options}
        tap.expect(hall.qemu.refused("vnet-link-add", id="n0", link=link),
                   f"link door: {text}", options)
    tap.expect(hall.links(), {}, "links")


if __name__ == "__main__":
    tap.main(globals(), {"hall": Hall})

#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Links with TLS: who gets in, and who does not, and that those who do not
disturb nobody."""

import contextlib
import json
import os
import resource
import socket
import ssl
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import tap                     # noqa: E402
from rig.bare import (CONTROL, FRAME, BareQemu, free_port,  # noqa: E402
                      preamble)
from rig.pki import HOST, Pki           # noqa: E402
from rig.setup import Setup             # noqa: E402

#: That QEMU keeps for connections that have not said what they are.
KEPT = 256


class Server(Setup):
    """An overlay that a good peer is linked to, over link "good", and that
    awaits another, over link "l0"."""

    def __init__(self, pki):
        self.pki = pki

    def set_up(self, stack):
        self.qemu = stack.enter_context(BareQemu("server", [
            self.pki.creds("server", "server"),
            self.pki.creds("server-1.3", "server", dir=self.pki.folder /
                           "server", priority="NORMAL:-VERS-ALL:+VERS-TLS1.3"),
            self.pki.creds("expired-server", "server"),
            json.dumps({"qom-type": "authz-list", **self.members("left",
                                                                 "right")})]))
        self.client = stack.enter_context(BareQemu("client", [
            self.pki.creds(name) for name in ("left", "right", "expired",
                                              "stranger", "nobody")]))
        self.port = {"good": free_port()}
        self.qemu.ask("netdev_add", type="vnet", id="n0", vni=7,
                      links=[self.link("good", server=True)])
        self.client.ask("netdev_add", type="vnet", id="n0", vni=7,
                        links=[self.link("good", creds="right")])
        self.client.wait_up("n0", "good")

    @staticmethod
    def members(*names):
        """Options of an authz object that lets these in."""
        return {"id": "members", "policy": "deny",
                "rules": [{"match": f"CN={name}", "policy": "allow"}
                          for name in names]}

    def link(self, name, server=False, creds="server", port=None, **more):
        """Options of a link; None leaves one out."""
        port = port or self.port.setdefault(name, free_port())
        options = {"id": name, "server": server, "tls-creds": creds,
                   "addr": {"type": "inet", "host": "127.0.0.1",
                            "port": str(port)},
                   "tls-authz": "members" if server else None,
                   "tls-hostname": None if server else HOST,
                   "reconnect-ms": None if server else 100, **more}
        return {k: v for k, v in options.items() if v is not None}

    @contextlib.contextmanager
    def awaiting(self, **options):
        """Awaits a peer on l0; afterwards nothing else was disturbed."""
        before = self.qemu.link("n0", "good")["counters"]
        self.qemu.ask("vnet-link-add", id="n0",
                      link=self.link("l0", server=True, **options))
        yield
        found = self.qemu.link("n0", "good")
        tap.expect(found["state"], "up", "the good link")
        tap.expect(found["counters"]["downs"], before["downs"],
                   "losses of the good link")
        self.qemu.ask("vnet-link-del", id="n0", link="l0")

    @contextlib.contextmanager
    def calling(self, creds, **options):
        """The other QEMU calls l0."""
        self.client.ask("vnet-link-add", id="n0",
                        link=self.link("l0", creds=creds, **options))
        yield
        self.client.ask("vnet-link-del", id="n0", link="l0")

    def count(self, counter):
        return self.qemu.link("n0", "l0")["counters"][counter]

    def wait_count(self, counter, value, seconds=20):
        """Until the server's counter is at least value."""
        self.qemu.wait_link("n0", "l0", f"at {counter} {value}",
                            lambda link: link["counters"][counter] >= value,
                            seconds)

    def still_takes_calls(self):
        """A good peer gets its link, whatever there was before."""
        with self.calling("left"):
            self.client.wait_up("n0", "l0")

    def refuses(self, creds, counter, refused, reason, **options):
        """A peer that is turned away: counted, with a reason at both ends."""
        seen = self.count(counter)
        with self.calling(creds, **options):
            # And again, after its pause.
            self.wait_count(counter, seen + 2)
            link = self.client.wait_link(
                "n0", "l0", f"refused because {reason}",
                lambda link: reason in link.get("reason", ""))
            tap.expect(link["counters"]["ups"], 0, "times it was up")
        text = self.qemu.link("n0", "l0").get("refused", "")
        assert refused in text, text
        self.still_takes_calls()

    def call(self):
        """A socket connected to l0."""
        return socket.create_connection(("127.0.0.1", self.port["l0"]), 10)


def refused_by(sock):
    """Whether the other end closes the connection."""
    sock.settimeout(10)
    try:
        while sock.recv(4096):
            pass
        return True
    except (ConnectionResetError, ssl.SSLError):
        return True


# Who gets in.

def test_certificates(server):
    """with certificates the link is up, and each end knows whom it talks to"""
    with server.awaiting(), server.calling("left"):
        found = server.client.wait_up("n0", "l0")
        tap.expect((found["encrypted"], found["identity"]),
                   (True, f"CN={HOST}"), "the client's view")
        found = server.qemu.wait_up("n0", "l0")
        tap.expect((found["encrypted"], found["identity"]),
                   (True, "CN=left"), "the server's view")
        # Control and frames.
        assert found["counters"]["tls-sessions"] >= 2, found["counters"]


def test_name_of_the_address(server):
    """without tls-hostname the certificate has to name the address's host"""
    with server.awaiting(), server.calling("left", **{"tls-hostname": None}):
        server.client.wait_link(
            "n0", "l0", "refused", lambda link: link.get("reason", "").endswith(
                "Certificate does not match the hostname 127.0.0.1"))


def test_shared_key(server):
    """with a shared key the link is up; with another it is not"""
    for name, key in ("one", "6b" * 16), ("other", "6c" * 16):
        folder = server.pki.folder / f"psk-{name}"
        folder.mkdir(exist_ok=True)
        (folder / "keys.psk").write_text(f"vtoe:{key}\n")
    for qemu, end, name in ((server.qemu, "server", "one"),
                            (server.client, "client", "one"),
                            (server.client, "client", "other")):
        more = {"username": "vtoe"} if end == "client" else {}
        qemu.ask("object-add", **{
            "qom-type": "tls-creds-psk", "id": f"psk-{name}", "endpoint": end,
            "dir": str(server.pki.folder / f"psk-{name}"), **more})
    no = {"tls-hostname": None}
    with server.awaiting(creds="psk-one", **{"tls-authz": None}):
        with server.calling("psk-other", **no):
            server.wait_count("tls-failed", 1)
        with server.calling("psk-one", **no):
            found = server.client.wait_up("n0", "l0")
            tap.expect((found["encrypted"], found.get("identity")),
                       (True, None), "the client's view")


# Who does not.

def test_wrong_certificate(server):
    """a certificate of another authority, or none, is refused"""
    with server.awaiting():
        server.refuses("stranger", "tls-failed", "hasn't got a known issuer",
                       "control connection")
        server.refuses("nobody", "tls-failed", "No certificate was found",
                       "control connection")


def test_expired(server):
    """an expired certificate is refused, by either end"""
    with server.awaiting():
        server.refuses("expired", "tls-failed", "is not trusted",
                       "control connection")
    with server.awaiting(creds="expired-server"), server.calling("left"):
        server.client.wait_link(
            "n0", "l0", "refused", lambda link: "is not trusted" in
            link.get("reason", ""))


def test_wrong_name(server):
    """a server with a name that is not the one wanted is left alone"""
    with server.awaiting(), \
            server.calling("left", **{"tls-hostname": "else.vtoe.test"}):
        server.client.wait_link(
            "n0", "l0", "refused", lambda link: link.get("reason", "").endswith(
                "Certificate does not match the hostname else.vtoe.test"))
        tap.expect(server.qemu.link("n0", "l0")["counters"]["ups"], 0, "ups")


def test_revoked(server):
    """who is not authorized any more keeps its link, and gets no new one"""
    with server.awaiting():
        with server.calling("left"):
            server.client.wait_up("n0", "l0")
            server.qemu.ask("object-del", id="members")
            server.qemu.ask("object-add", **{"qom-type": "authz-list",
                                             **server.members("right")})
            tap.expect(server.client.link("n0", "l0")["state"], "up", "state")
        with server.calling("left"):
            server.wait_count("tls-denied", 2)
            server.client.wait_link(
                "n0", "l0", "refused", lambda link: link.get("reason") ==
                "peer said: this end does not authorize the peer (policy)")
        link = server.qemu.link("n0", "l0")
        assert link["refused"].endswith("members denies CN=left"), link
        server.qemu.ask("object-del", id="members")
        with server.calling("right"):
            server.wait_count("tls-denied", 4)
            link = server.qemu.link("n0", "l0")
            assert "members" in link["refused"], link
        server.qemu.ask("object-add", **{
            "qom-type": "authz-list", "id": "members", "policy": "allow"})
        server.still_takes_calls()


def test_of_another(server):
    """a member cannot join the link of another"""
    with server.awaiting(), server.calling("left"):
        server.client.wait_up("n0", "l0")
        context = server.pki.context("right")
        with context.wrap_socket(server.call(), server_hostname=HOST) as sock:
            sock.sendall(preamble(FRAME, epoch=1, token=1))
            assert refused_by(sock)
        tap.expect(server.count("tls-denied"), 1, "denied")
        link = server.qemu.link("n0", "l0")
        assert link["refused"].endswith("it is not the peer of this link"), link
        tap.expect(link["state"], "up", "the link")


def test_takes_no_place(server):
    """a member that knows another's epoch cannot take its place"""
    def connect(name):
        sock = server.pki.context(name).wrap_socket(server.call(),
                                                    server_hostname=HOST)
        sock.sendall(preamble(CONTROL, epoch=77))
        return sock

    with server.awaiting(), connect("left") as first:
        first.settimeout(10)
        assert first.recv(4096), "no HELLO"
        with connect("right") as other:
            assert refused_by(other)
        tap.expect(server.count("tls-denied"), 1, "denied")
        tap.expect(server.qemu.link("n0", "l0")["state"], "hello", "the link")
        # The same one may come anew.
        with connect("left") as again:
            again.settimeout(10)
            assert again.recv(4096), "no HELLO"


def test_downgrade(server):
    """versions of TLS that the credentials do not allow are refused"""
    with server.awaiting(creds="server-1.3"):
        for count, version in enumerate((ssl.TLSVersion.TLSv1_1,
                                         ssl.TLSVersion.TLSv1_2), start=1):
            context = server.pki.context("left", version)
            try:
                context.wrap_socket(server.call(), server_hostname=HOST)
            except (ssl.SSLError, ConnectionResetError):
                pass
            else:
                raise AssertionError(f"it takes {version}")
            server.wait_count("tls-failed", count)
        server.still_takes_calls()


def test_plain_client(server):
    """one that does not speak TLS is refused, and what it said is not read"""
    with server.awaiting():
        server.client.ask("vnet-link-add", id="n0", link=server.link(
            "l0", creds=None, **{"tls-hostname": None}))
        server.wait_count("tls-failed", 2)
        link = server.client.link("n0", "l0")
        assert link["state"] != "up" and not link["counters"]["ups"], link
        server.client.ask("vnet-link-del", id="n0", link="l0")
        link = server.qemu.link("n0", "l0")
        assert "TLS handshake failed" in link["refused"], link
        server.still_takes_calls()


def test_plain_server(server):
    """one that wants TLS does not speak without"""
    with server.awaiting(creds=None, **{"tls-authz": None}):
        with server.calling("left"):
            server.wait_count("bad-magic", 1)
            server.client.wait_link(
                "n0", "l0", "refused", lambda link: "TLS handshake failed" in
                link.get("reason", ""))


def test_garbage(server):
    """bytes that are no TLS, before or after the handshake, end a connection"""
    with server.awaiting():
        for sent in (b"\0" * 4096, b"\x16\x03\x01\xff\xff" + b"\xff" * 100,
                     b"GET / HTTP/1.0\r\n\r\n"):
            with server.call() as sock:
                # It may be refused before the end of it.
                with contextlib.suppress(OSError):
                    sock.sendall(sent)
                    sock.shutdown(socket.SHUT_WR)
                assert refused_by(sock), sent
        tap.expect(server.count("tls-failed"), 3, "refused")
        with server.call() as sock:
            bio_in, bio_out = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = server.pki.context("left").wrap_bio(
                bio_in, bio_out, server_hostname=HOST)
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    sock.sendall(bio_out.read())
                    bio_in.write(sock.recv(65536))
            sock.sendall(bio_out.read() + b"\x17\x03\x03\0\x20" + b"\xaa" * 32)
            assert refused_by(sock)
        server.wait_count("setup-eof", 1)
        server.still_takes_calls()


def test_slow_handshake(server):
    """who does not get through the handshake in time is closed, at whatever
    byte it stops"""
    with server.awaiting(**{"setup-timeout-ms": 300}):
        bio = ssl.MemoryBIO()
        tls = server.pki.context("left").wrap_bio(ssl.MemoryBIO(), bio,
                                                  server_hostname=HOST)
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        hello = bio.read()
        for length in 0, 1, 5, len(hello) - 1, len(hello):
            with server.call() as sock:
                sock.sendall(hello[:length])
                assert refused_by(sock), length
        tap.expect(server.count("setup-timeout"), 5, "timeouts")
        server.still_takes_calls()


@tap.limit(120)
def test_half_open(server):
    """10,000 connections that never finish cost a bounded number, and keep
    nobody out"""
    many, spare = 10000, 100
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY:
        # As many as this machine lets one have.
        many = min(many, hard - spare)
    resource.setrlimit(resource.RLIMIT_NOFILE, (many + spare, hard))
    tap.diag(f"{many} connections")
    with server.awaiting(**{"setup-timeout-ms": 60000}), \
            contextlib.ExitStack() as stack:
        for number in range(many):
            sock = server.call()
            sock.sendall(b"\x16\x03\x01\x02\x00"[:number % 6])
            stack.callback(sock.close)
        server.wait_count("setup-evicted", many - KEPT, 60)
        link = server.qemu.link("n0", "l0")
        tap.expect(link["connections"], KEPT, "connections")
        began = time.monotonic()
        server.still_takes_calls()
        assert time.monotonic() - began < 10


# Options.

def test_options(server):
    """options that cannot be are refused by name"""
    for link, text in (
            (server.link("l1", server=True, creds="nothing"),
             'tls-creds: there is no tls-creds-* object "nothing"'),
            (server.link("l1", server=True, creds="members"),
             'tls-creds: there is no tls-creds-* object "members"'),
            (server.link("l1", creds="server"),
             "tls-creds: Expected TLS credentials for a client endpoint"),
            (server.link("l1", server=True, **{"tls-authz": "server"}),
             'tls-authz: there is no authz-* object "server"'),
            (server.link("l1", server=True, creds=None),
             "tls-authz needs tls-creds"),
            (server.link("l1", creds=None), "tls-hostname needs tls-creds"),
            (server.link("l1", server=True, **{"tls-hostname": "x"}),
             "tls-hostname is for server=off only"),
            (server.link("l1", server=True, type="rdma"),
             'tls-creds is for type "tcp" only')):
        tap.expect(server.qemu.refused("vnet-link-add", id="n0", link=link),
                   f"link l1: {text}", link)
    # Beyond loopback, TLS will do.
    link = server.link("l1")
    link["addr"]["host"] = "192.0.2.1"
    server.client.refused("vnet-link-add", id="n0", link={
        k: v for k, v in link.items() if not k.startswith("tls")})
    link["tls-creds"] = "left"
    server.client.ask("vnet-link-add", id="n0", link=link)
    server.client.ask("vnet-link-del", id="n0", link="l1")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="vtoe-tls-", dir="/tmp") as made:
        PKI = Pki(made)
        tap.main(globals(), {"tls": lambda: Server(PKI)})

#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Links by VNET's language: from a file, from the monitor, and back."""

import os
import resource
import socket
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import tap                     # noqa: E402
from rig.bare import BareQemu, free_port    # noqa: E402
from rig.setup import Setup             # noqa: E402


def macs(qemu):
    """The addresses that a switch knows."""
    status, = qemu.ask("query-vnet", id="n0")
    return [entry["mac"] for entry in status["macs"]]


class Two(Setup):
    """An overlay, and one at whose end its links can be."""

    def set_up(self, stack):
        self.qemu = stack.enter_context(BareQemu("here"))
        self.peer = stack.enter_context(BareQemu("there"))
        for qemu in self.qemu, self.peer:
            qemu.ask("netdev_add", type="vnet", id="n0", links=[])
        self.folder = self.qemu.folder

    def change(self, commands, **options):
        """Indices of what was added and removed."""
        said = self.qemu.ask("vnet-change-links", id="n0", commands=commands,
                             **options)
        return ([link["index"] for link in said["added"]],
                [link["index"] for link in said["removed"]])

    def refused(self, commands, **options):
        before = self.commands()
        text = self.qemu.refused("vnet-change-links", id="n0",
                                 commands=commands, **options)
        tap.expect(self.commands(), before, "the links")
        return text

    def commands(self, qemu=None):
        """index -> command"""
        status, = (qemu or self.qemu).ask("query-vnet", id="n0")
        return {link["index"]: link["command"] for link in status["links"]
                if "index" in link}

    def clear(self):
        self.change("", replace=True)
        self.peer.ask("vnet-change-links", id="n0", commands="", replace=True)
        tap.expect(self.commands(), {}, "links")


def test_every_type(two):
    """a link of each type is what was said, and is listed so that it can be
    said again"""
    port = free_port()
    text = "\n".join((
        f"ADD 127.0.0.1 {port} tcp id=server server=on",
        "ADD 127.0.0.1 7002",
        "ADD ::1 7003 UDP split-horizon=on mtu=9000 # IPv6",
        "ADD peer.example 7004 tcp plain=on reconnect-ms=200",
        "ADD 192.0.2.1 7471 rdma max-qps=8",
        f"add {two.folder}/a%20%23b unix id=a server=on registrar=on "
        "peers.0.name=east peers.0.macs.0=52:54:00:00:00:01 peers.1.name=west",
        f"ADD {two.folder}/c unix id=c peer-macs.0=52:54:00:00:00:02 "
        "peer-vnis.0=7 peer-vnis.1=9"))
    added, removed = two.change(text)
    tap.expect((len(added), removed), (7, []), "changes")
    status, = two.qemu.ask("query-vnet", id="n0")
    tap.expect([(link["id"], link["type"], link["server"])
                for link in status["links"]],
               [("server", "tcp", True), ("127.0.0.1", "vxlan", False),
                ("::1", "vxlan", False), ("peer.example", "tcp", False),
                ("192.0.2.1", "rdma", False), ("a", "unix", True),
                ("c", "unix", False)], "links")
    listed = two.commands()
    tap.expect(listed[added[2]], "ADD ::1 7003 udp mtu=9000 split-horizon=on",
               "IPv6")
    assert (two.folder / "a #b").exists()
    # The same again changes nothing; without replace it is there already.
    tap.expect(two.change("\n".join(listed.values()), replace=True),
               ([], []), "changes")
    tap.expect(two.commands(), listed, "links")
    tap.expect(two.refused(listed[added[1]]), 'line 1, column 1: there is a '
               'link "127.0.0.1" already', "the error")
    # Made anew they are the same.
    two.clear()
    assert not (two.folder / "a #b").exists()
    two.change("\n".join(listed.values()))
    tap.expect(list(two.commands().values()), list(listed.values()), "links")
    two.clear()


def test_all_ways(two):
    """links of -netdev and of vnet-link-add are listed, too, and DEL removes
    them"""
    with tempfile.TemporaryDirectory(prefix="vtoe-links-", dir="/tmp") as made:
        file = Path(made) / "links"
        file.write_text(f"# A file.\nADD {made}/f unix id=f server=on\n"
                        "ADD 127.0.0.1 7001 tcp\n")
        two.qemu.ask("netdev_add", **{
            "type": "vnet", "id": "n1", "links-file": str(file),
            "links": [{"id": "o", "addr": {"type": "unix",
                                           "path": f"{made}/o"}}]})
        two.qemu.ask("vnet-link-add", id="n1", link={
            "id": "m", "server": True, "addr": {"type": "unix",
                                                "path": f"{made}/m"}})
        status, = two.qemu.ask("query-vnet", id="n1")
        tap.expect([(link["index"], link["command"])
                    for link in status["links"]],
                   [(1, f"ADD {made}/o unix id=o"),
                    (2, f"ADD {made}/f unix id=f server=on"),
                    (3, "ADD 127.0.0.1 7001 tcp"),
                    (4, f"ADD {made}/m unix id=m server=on")], "links")
        two.qemu.ask("vnet-change-links", id="n1", commands="DEL 2\nDEL 4")
        tap.expect([link["id"] for link in
                    two.qemu.ask("query-vnet", id="n1")[0]["links"]],
                   ["o", "127.0.0.1"], "links")
        two.qemu.ask("netdev_del", id="n1")
        # A file that is wrong makes no netdev.
        for text, said in (
                ("ADD 127.0.0.1 7001 tcp\nADD 127.0.0.1 7001 tcp server=on",
                 'line 2, column 1: there is a link "127.0.0.1" already'),
                ("ADD 127.0.0.1 7001 tcp\nADD a tcp", 'line 2, column 7: "tcp" '
                 "is not a port, 0 to 65535, or unix"),
                ("DEL 1", "line 1, column 1: there is no link 1"),
                ("ADD 192.0.2.1 7001 tcp", "line 1, column 1: link 192.0.2.1: ")
                ):
            file.write_text(text)
            problem = two.qemu.refused("netdev_add", **{
                "type": "vnet", "id": "n1", "links-file": str(file)})
            assert problem.startswith(f"netdev n1: links in {file}: {said}"), \
                problem
        problem = two.qemu.refused("netdev_add", **{
            "type": "vnet", "id": "n1", "links-file": f"{made}/missing"})
        assert "links cannot be read" in problem, problem


def test_reload(two):
    """a reload keeps what stays as it is, and says before what it will do"""
    here = (f"ADD {two.folder}/keep unix id=keep server=on\n"
            f"ADD {two.folder}/go unix id=go server=on\n")
    two.change(here)
    two.peer.ask("vnet-change-links", id="n0", commands=(
        f"ADD {two.folder}/keep unix id=keep reconnect-ms=100\n"
        f"ADD {two.folder}/go unix id=go reconnect-ms=100\n"))
    two.qemu.wait_up("n0", "keep")
    two.qemu.wait_up("n0", "go")
    then = (f"ADD {two.folder}/keep unix id=keep server=on\n"
            f"ADD {two.folder}/new unix id=new server=on\n")
    planned = two.qemu.ask("vnet-change-links", **{
        "id": "n0", "commands": then, "replace": True, "dry-run": True})
    tap.expect([link["id"] for link in planned["added"]], ["new"], "added")
    tap.expect([link["id"] for link in planned["removed"]], ["go"], "removed")
    tap.expect(two.qemu.link("n0", "go")["state"], "up", "the one to go")
    tap.expect(two.qemu.ask("vnet-change-links", id="n0", commands=then,
                            replace=True), planned, "what was planned")
    link = two.qemu.link("n0", "keep")
    tap.expect((link["state"], link["counters"]["ups"],
                link["counters"]["downs"]), ("up", 1, 0), "the one that stays")
    two.peer.wait_link("n0", "go", "down", lambda link: link["state"] != "up")
    two.clear()


def test_address_goes_on(two):
    """a link whose options change keeps its listening socket"""
    port = free_port()
    for where in f"{two.folder}/s unix id=s", f"127.0.0.1 {port} tcp id=s":
        two.change(f"ADD {where} server=on")
        two.peer.ask("vnet-change-links", id="n0",
                     commands=f"ADD {where} reconnect-ms=100")
        two.qemu.wait_up("n0", "s")
        added, removed = two.change(f"ADD {where} server=on split-horizon=on",
                                    replace=True)
        tap.expect((len(added), len(removed)), (1, 1), "changes")
        two.qemu.wait_up("n0", "s")
        # Back again, with another name.
        two.change(f"DEL {added[0]}\nADD {where.replace('id=s', 'id=t')} "
                   "server=on")
        two.qemu.wait_up("n0", "t")
        two.clear()
    assert not (two.folder / "s").exists()


def test_address_of_other_links_goes_on(two):
    """also one that was made by vnet-link-add, and once"""
    port = free_port()
    for addr, kind in (({"type": "unix", "path": str(two.folder / "s")}, "unix"),
                       ({"type": "inet", "host": "127.0.0.1",
                         "port": str(port)}, None)):
        where = f"{addr['path']} unix" if kind else f"127.0.0.1 {port} tcp"
        two.qemu.ask("vnet-link-add", id="n0", link={
            "id": "s", "server": True, "addr": addr,
            **({"type": kind} if kind else {})})
        two.peer.ask("vnet-change-links", id="n0",
                     commands=f"ADD {where} id=s reconnect-ms=100")
        two.qemu.wait_up("n0", "s")
        two.change(f"ADD {where} id=s server=on split-horizon=on", replace=True)
        two.qemu.wait_up("n0", "s")
        said = two.refused(f"ADD {where} id=a server=on\n"
                           f"ADD {where} id=b server=on", replace=True)
        assert said.startswith("line 2, column 1: link b: link a listens at "
                               ), said
        two.qemu.wait_up("n0", "s")
        two.clear()
    tap.expect(two.refused(f"ADD {two.folder}/s unix id=a server=on\n"
                           f"ADD {two.folder}/s unix id=b server=on"),
               'line 2, column 1: link b: link a listens at '
               f'"{two.folder}/s" already', "two")


def test_path_is_taken(two):
    """a unix link's path is not taken away from it"""
    path = str(two.folder / "a")
    two.change(f"ADD {path} unix id=a server=on")
    said = f'link b: link a listens at "{path}" already'
    tap.expect(two.refused(f"ADD {path} unix id=b server=on\n"
                           "ADD 127.0.0.1 1 tcp"),
               f"line 1, column 1: {said}", "by a change")
    link = {"id": "b", "server": True, "addr": {"type": "unix", "path": path}}
    tap.expect(two.qemu.refused("vnet-link-add", id="n0", link=link), said,
               "by vnet-link-add")
    # Another netdev is no other place, and another way to write it neither.
    link["addr"]["path"] = f"{two.folder}/../{two.folder.name}//a"
    for links, said in (([link], said.replace("link a", "link a of netdev n0")),
                        ([{**link, "id": "a", "addr": {
                            "type": "unix", "path": f"{two.folder}/c"}},
                          {**link, "addr": {
                              "type": "unix", "path": f"{two.folder}//c"}}],
                         f'link b: link a listens at "{two.folder}/c" already')
                        ):
        tap.expect(two.qemu.refused("netdev_add", type="vnet", id="n1",
                                    links=links), f"netdev n1: {said}",
                   "by netdev_add")
    # Nor is it to a dry run.
    two.qemu.ask("netdev_add", type="vnet", id="n1", links=[])
    tap.expect(two.qemu.refused("vnet-change-links", **{
        "id": "n1", "commands": f"ADD {path} unix id=b server=on",
        "dry-run": True}), 'line 1, column 1: link b: link a of netdev n0 '
        f'listens at "{path}" already', "by a dry run")
    two.qemu.ask("netdev_del", id="n1")
    two.peer.ask("vnet-change-links", id="n0",
                 commands=f"ADD {path} unix id=a reconnect-ms=100")
    two.qemu.wait_up("n0", "a")
    two.clear()


def test_all_addresses(two):
    """a server at all addresses, at a port of the kernel's choice"""
    two.qemu.ask("vnet-link-add", id="n0", link={
        "id": "a", "server": True, "plain": True,
        "addr": {"type": "inet", "host": "", "port": "0"}})
    command, = two.commands().values()
    tap.expect(command, "ADD * 0 tcp id=a plain=on server=on", "the link")
    tap.expect(two.change(command, replace=True), ([], []), "changes")
    two.clear()
    two.change(command)
    tap.expect(list(two.commands().values()), [command], "links")
    two.clear()
    for port, server, least in ("0", False, 1), ("http", True, 0), (
            "65536", True, 0):
        tap.expect(two.qemu.refused("vnet-link-add", id="n0", link={
            "id": "a", "server": server, "addr": {
                "type": "inet", "host": "127.0.0.1", "port": port}}),
            f'link a: addr.port "{port}" is not a number, {least} to 65535',
            port)
    said = two.qemu.refused("vnet-link-add", id="n0", link={
        "id": "", "server": True, "plain": True,
        "addr": {"type": "inet", "host": "", "port": "0"}})
    assert said.startswith('the id "" of a link is not'), said


def test_nothing_is_given(two):
    """lists that say that nothing is given, which the language has no word for"""
    for name in "peers", "peer-macs":
        tap.expect(two.qemu.refused("vnet-link-add", id="n0", link={
            "id": "a", "server": True, "registrar": name == "peers", name: [],
            "addr": {"type": "unix", "path": str(two.folder / "a")}}),
            f"link a: {name} is empty", name)
    tap.expect(two.qemu.refused("vnet-link-add", id="n0", link={
        "id": "a", "server": True, "registrar": True,
        "peers": [{"name": "p", "macs": []}],
        "addr": {"type": "unix", "path": str(two.folder / "a")}}),
        "link a: peers.0.macs is empty", "macs of a peer")


def test_other_words_for_a_place(two):
    """the socket goes on where the same place is written in other words"""
    port = free_port()
    for here, there, client in (
            (f"{two.folder}/a unix", f"{two.folder}//a unix addr.abstract=off",
             f"{two.folder}/a unix"),
            (f"127.0.0.1 {port} tcp", f"127.0.0.1 {port} tcp addr.ipv4=on",
             f"127.0.0.1 {port} tcp")):
        two.change(f"ADD {here} id=a server=on")
        two.change(f"ADD {there} id=a server=on", replace=True)
        two.peer.ask("vnet-change-links", id="n0",
                     commands=f"ADD {client} id=a reconnect-ms=100")
        two.qemu.wait_up("n0", "a")
        two.clear()


def test_another_place_at_its_port(two):
    """what would find its port taken by what goes is not made elsewhere"""
    port = free_port()
    two.change(f"ADD 127.0.0.1 {port} tcp id=a server=on")
    for text in (f"ADD * {port} tcp id=a plain=on server=on",
                 f"ADD 127.0.0.1 {port} tcp id=a server=on "
                 f"addr.to={port + 1}"):
        tap.expect(two.refused(text, replace=True), "line 1, column 1: link a "
                   "would listen where link a does until this is done: remove "
                   "that by a change of its own", text)
    # Another family, or another scope, is in nobody's way.
    two.change(f"ADD ::1 {port} tcp id=six server=on\n"
               f"ADD 127.0.0.2 {port} tcp id=two server=on")
    two.change(f"ADD 127.0.0.1 {port} tcp id=a server=on\n"
               f"ADD 127.0.0.2 {port} tcp id=two server=on", replace=True)
    two.change(f"ADD :: {port} tcp id=b plain=on server=on addr.ipv4=off")
    # Without IPv4 or with it is another socket.
    said = two.refused(f"ADD 127.0.0.1 {port} tcp id=a server=on\n"
                       f"ADD :: {port} tcp id=b plain=on server=on",
                       replace=True)
    assert "listens at" in said or "would listen where" in said, said
    two.change(f"ADD 127.0.0.1 {port} tcp id=a server=on", replace=True)
    for host in "*", "0.0.0.0":
        said = two.refused(f"ADD {host} {port} tcp id=b plain=on server=on")
        tap.expect(said, "line 1, column 1: link b: link a listens at "
                   f"127.0.0.1, port {port}, already", host)
    two.clear()
    for text in "+1", " 1", "1\n":
        tap.expect(two.qemu.refused("vnet-link-add", id="n0", link={
            "id": "a", "addr": {"type": "inet", "host": "127.0.0.1",
                                "port": text}}),
                   f'link a: addr.port "{text}" is not a number, 1 to 65535',
                   text)
    said = two.qemu.refused("vnet-link-add", id="n0", link={
        "id": "a", "addr": {"type": "inet", "host": "*", "port": "1"}})
    assert said.startswith('link a: addr.host is "*"'), said


def test_gone_credentials(two):
    """what could not be made again is not put at risk"""
    two.qemu.ask("object-add", **{"qom-type": "tls-creds-anon", "id": "tls",
                                  "endpoint": "server"})
    port = free_port()
    two.change(f"ADD 127.0.0.1 {port} tcp id=t server=on tls-creds=tls")
    two.qemu.ask("object-del", id="tls")
    index, = two.commands()
    said = two.refused(f"DEL {index}\nADD 127.0.0.1 1 tcp")
    assert 'there is no tls-creds-* object "tls"' in said, said
    two.change(f"DEL {index}")
    two.clear()


def test_name_of_a_netdev_that_lives_on(two):
    """a netdev that was deleted and is kept by its NIC is in nobody's way"""
    with BareQemu("kept", machine="q35,accel=qtest", args=[
            "-m", "1", "-netdev", "vnet,id=n0,vni=7",
            "-device", "e1000e,netdev=n0,id=nic"]) as qemu:
        qemu.ask("netdev_del", id="n0")
        tap.expect(qemu.ask("query-vnet"), [], "netdevs")
        qemu.ask("netdev_add", type="vnet", id="n0", vni=8)
        status, = qemu.ask("query-vnet")
        tap.expect(status["vni"], 8, "the netdev")
        qemu.ask("vnet-link-add", id="n0", link={
            "id": "a", "addr": {"type": "unix", "path": "/nowhere"}})
        status, = qemu.ask("query-vnet", id="n0")
        tap.expect([link["id"] for link in status["links"]], ["a"], "links")


def test_unplugged(two):
    """a NIC that is unplugged is in the switch no more, and the next one is"""
    path = str(two.folder / "a")
    # Only the guest lets go of what is a function 0.
    with BareQemu("plugs", machine="q35,accel=qtest", args=[
            "-m", "1", "-netdev", "vnet,id=n0", "-global",
            "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
            "-device", "pcie-root-port,id=rp,slot=1,chassis=1"]) as qemu:
        two.change(f"ADD {path} unix id=a server=on")
        qemu.ask("vnet-change-links", id="n0",
                 commands=f"ADD {path} unix id=a reconnect-ms=100")
        two.qemu.wait_up("n0", "a")
        for name, mac in (("one", "52:54:00:00:00:01"),
                          ("two", "52:54:00:00:00:02")):
            qemu.ask("device_add", driver="e1000e", id=name, netdev="n0",
                     mac=mac, bus="rp", addr="0.1", romfile="")
            # Not by query-vnet of this end, which looks for itself.
            two.qemu.wait_link("n0", "a", f"of a peer with {name}",
                               lambda _, mac=mac: mac in macs(two.qemu))
            status, = qemu.ask("query-vnet", id="n0")
            tap.expect([port["id"] for port in status["ports"]], [name],
                       "ports")
            qemu.ask("device_del", id=name)
            two.qemu.wait_link("n0", "a", f"of a peer without {name}",
                               lambda _, mac=mac: mac not in macs(two.qemu))
    two.clear()


def test_counted(two):
    """what QEMU says of the netdev has the links that there are"""
    def says(count):
        deadline = time.monotonic() + 10
        # The main loop is told.
        while f"links={count}" not in (said := two.qemu.ask(
                "human-monitor-command", **{"command-line": "info network"})):
            assert time.monotonic() < deadline, said
    two.change(f"ADD {two.folder}/a unix id=a server=on\n"
               f"ADD {two.folder}/b unix id=b server=on\n")
    says("0/2")
    two.peer.ask("vnet-change-links", id="n0", commands=(
        f"ADD {two.folder}/a unix id=a reconnect-ms=100"))
    says("1/2")
    two.change(f"ADD {two.folder}/b unix id=b server=on", replace=True)
    says("0/1")
    two.clear()
    says("0/0")


def test_all_or_none(two):
    """if one of the changes cannot be made, none is"""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        two.change(f"ADD {two.folder}/a unix id=a server=on")
        two.peer.ask("vnet-change-links", id="n0", commands=(
            f"ADD {two.folder}/a unix id=a reconnect-ms=100"))
        two.qemu.wait_up("n0", "a")
        index, = two.commands()
        for text, said in (
                (f"DEL {index}\nADD {two.folder}/b unix id=b server=on\n"
                 f"ADD 127.0.0.1 {port} tcp server=on",
                 "line 3, column 1: link 127.0.0.1: cannot listen on "
                 "tcp:127.0.0.1:"),
                (f"DEL {index}\nADD 127.0.0.1 1 tcp mtu=1",
                 'line 2, column 1: link 127.0.0.1: mtu is for type "vxlan" '
                 "only"),
                (f"DEL {index}\nADD 127.0.0.1 1 tcp rate=1",
                 "line 2, column 1: Parameter 'rate' is unexpected"),
                (f"DEL {index}\nADD 127.0.0.1 1 tcp server=perhaps",
                 "line 2, column 1: Parameter 'server' expects 'on' or 'off'"),
                (f"DEL {index}\nADD 127.0.0.1 1 tcp id=a/b",
                 'line 2, column 1: the id "a/b" of a link is not an '
                 "identifier, nor the address of its peer"),
                (f"DEL {index}\nDEL {index}",
                 f"line 2, column 1: there is no link {index}"),
                (f"DEL {index}\n" + "".join(f"ADD 127.0.0.{n + 1} 1 tcp\n"
                                            for n in range(65)),
                 "line 66, column 1: there would be more than 64 links")):
            problem = two.refused(text)
            assert problem.startswith(said), problem
            tap.expect(two.qemu.link("n0", "a")["counters"]["downs"], 0,
                       "losses")
        assert not (two.folder / "b").exists()
    two.clear()


def test_undone(two):
    """what was removed is made again if the new ones cannot be made"""
    two.change(f"ADD {two.folder}/a unix id=a server=on\n"
               "ADD 127.0.0.1 7001 udp\n"
               f"ADD {two.folder}/c unix id=c\n")
    two.peer.ask("vnet-change-links", id="n0", commands=(
        f"ADD {two.folder}/a unix id=a reconnect-ms=100"))
    two.qemu.wait_up("n0", "a")
    pid = two.qemu.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    # Sockets are bound before anything is removed, which frees some
    # descriptors; with these, the making of one link after the other fails.
    before = two.commands()
    text = (f"ADD {two.folder}/a unix id=b server=on split-horizon=on\n" +
            "".join(f"ADD {two.folder}/n{n} unix id=n{n} server=on\n"
                    for n in range(24)))
    refused = 0
    for descriptors in range(3, 256):
        try:
            resource.prlimit(pid, resource.RLIMIT_NOFILE,
                             (descriptors, limits[1]))
            said = two.qemu.raw("vnet-change-links", {
                "id": "n0", "commands": text, "replace": True})
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        if "return" in said:
            break
        if "cannot listen" not in said["error"]["desc"]:
            refused += 1
        tap.expect(two.commands(), before, "the links")
        two.qemu.wait_up("n0", "a")
        assert (two.folder / "a").exists()
    assert refused, "nothing failed but listening"
    two.clear()


def test_registered(two):
    """the links of peers that registered stay, and keep their names"""
    two.change(f"ADD {two.folder}/d unix id=door server=on registrar=on")
    two.peer.ask("netdev_add", type="vnet", id="n1", name="east", links=[
        {"id": "l", "addr": {"type": "unix", "path": f"{two.folder}/d"}}])
    two.peer.wait_up("n1", "l")
    index, = two.commands()
    tap.expect(two.refused("ADD 127.0.0.1 7001 tcp id=east"), "line 1, column "
               '1: there is a link "east" already, of a peer that registered',
               "the error")
    many = "".join(f"ADD 127.0.0.{n + 1} 1 tcp\n" for n in range(63))
    assert "more than 64 links, with those of peers" in two.refused(many)
    two.change("ADD 127.0.0.1 7001 tcp")
    two.change(f"ADD {two.folder}/d unix id=door server=on registrar=on",
               replace=True)
    tap.expect(list(two.commands()), [index], "links")
    tap.expect(two.qemu.link("n0", "east")["counters"]["downs"], 0, "losses")
    # With the door it goes, and its name is free.
    two.change("ADD 127.0.0.1 7001 tcp id=east", replace=True)
    tap.expect(two.qemu.link("n0", "east")["type"], "tcp", "the new one")
    two.peer.ask("netdev_del", id="n1")
    two.clear()


def test_peer_changed(two):
    """an event says whether a link came up with the peer that it had before"""
    two.change(f"ADD {two.folder}/p unix id=p server=on")
    calls = f"ADD {two.folder}/p unix id=p reconnect-ms=100"

    def up():
        return two.qemu.event("VNET_LINK_UP", link="p")["changed"]

    for _ in range(2):
        index = two.peer.ask("vnet-change-links", id="n0",
                             commands=calls)["added"][0]["index"]
        # The same netdev each time: the first, and none since.
        tap.expect(up(), False, "another peer")
        two.peer.ask("vnet-change-links", id="n0", commands=f"DEL {index}")
        two.qemu.event("VNET_LINK_DOWN", link="p")
    for _ in range(2):
        two.peer.ask("netdev_add", type="vnet", id="n1", name="n0", links=[
            {"id": "p", "addr": {"type": "unix", "path": f"{two.folder}/p"}}])
        tap.expect(up(), True, "another peer")
        two.peer.ask("netdev_del", id="n1")
    two.clear()


def idle_timers(port):
    """Of how many connections by this port the kernel will ask whether their
    peer is still there (proc(5), /proc/net/tcp: the timer active)."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in list(table)[1:]]
    return sum(f":{port:04X}" in row[1] + row[2] and row[5].startswith("02:")
               for row in rows)


def test_keep_alive(two):
    """the kernel asks of connections that say nothing, unless told not to"""
    for asked in True, False:
        port = free_port()
        addr = {"type": "inet", "host": "127.0.0.1", "port": str(port)}
        if not asked:
            addr["keep-alive"] = False
        for qemu, server in (two.qemu, True), (two.peer, False):
            qemu.ask("netdev_add", type="vnet", id="n1", links=[
                {"id": "t", "addr": addr, "server": server}])
        two.peer.wait_up("n1", "t")
        # The frame connection, at either end.
        two.qemu.wait_link("n1", "t", f"asked of: {asked}",
                           lambda _: (idle_timers(port) >= 2) == asked)
        tap.expect(idle_timers(port) > 0, asked, "asked of")
        for qemu in two.peer, two.qemu:
            qemu.ask("netdev_del", id="n1")


def test_no_descriptors(two):
    """without a descriptor left nothing changes"""
    two.change(f"ADD {two.folder}/a unix id=a server=on")
    pid = two.qemu.pid
    used = set(map(int, os.listdir(f"/proc/{pid}/fd")))
    free = min(set(range(len(used) + 1)) - used)
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    try:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, limits[1]))
        problem = two.refused(f"ADD {two.folder}/b unix id=b server=on",
                              replace=True)
        assert "Too many open files" in problem, problem
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    two.peer.ask("vnet-change-links", id="n0", commands=(
        f"ADD {two.folder}/a unix id=a reconnect-ms=100"))
    two.qemu.wait_up("n0", "a")
    two.clear()


if __name__ == "__main__":
    tap.main(globals(), {"two": Two})

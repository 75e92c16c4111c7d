#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vnetctl: with QEMUs, and with monitors that are none."""

import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import tap                     # noqa: E402
from rig.paths import BUILD, QEMU       # noqa: E402
from rig.setup import Setup             # noqa: E402

VNETCTL = BUILD / "core-asan" / "tools" / "vnetctl" / "vnetctl"
ENV = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC",
       "ASAN_OPTIONS": "detect_leaks=1:exitcode=99",
       "UBSAN_OPTIONS": "halt_on_error=1:exitcode=99"}


def vnetctl(*words, stdin=None, **env):
    """The finished process."""
    return subprocess.run([VNETCTL, *map(str, words)], text=True, timeout=40,
                          check=False, capture_output=True, input=stdin,
                          env={**ENV, **env})


def said(*words, **options):
    """What it prints when all is well."""
    done = vnetctl(*words, **options)
    tap.expect((done.returncode, done.stderr), (0, ""), words)
    return done.stdout


def refused(code, *words, **options):
    """Its error, without a word on stdout."""
    done = vnetctl(*words, **options)
    tap.expect((done.returncode, done.stdout), (code, ""),
               f"{words}: {done.stderr}")
    assert done.stderr.startswith("vnetctl: error: "), done.stderr
    tap.expect(done.stderr.count("\n"), 1, f"lines of {done.stderr}")
    return done.stderr[len("vnetctl: error: "):].strip()


def wait_for(what, condition, seconds=20):
    """What condition() gives once it is true."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"no {what}"
        time.sleep(0.05)
    return value


class Qemu:
    """A QEMU without a machine, but with a netdev."""

    def __init__(self, folder, name, *netdevs):
        self.monitor = folder / f"{name}.qmp"
        #: For another at the same time.
        self.second = folder / f"{name}.qmp2"
        words = [QEMU, "-M", "none", "-nodefaults", "-display", "none"]
        for path in (self.second, self.monitor):
            words += ["-qmp", f"unix:{path},server=on,wait=off"]
        for netdev in netdevs:
            words += ["-netdev", netdev]
        # pylint: disable=consider-using-with
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        wait_for("monitor", self.monitor.exists)

    def end(self):
        self.process.kill()
        self.process.wait()

    def said(self, *words, **options):
        """What vnetctl says of it."""
        return said("-s", self.monitor, *words, **options)

    def refused(self, code, *words, **options):
        """What it is told when it does not go."""
        return refused(code, "-s", self.monitor, *words, **options)


class Couple(Setup):
    """Two of them, joined by a link."""

    def set_up(self, stack):
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        link = f"links.0.addr.type=unix,links.0.addr.path={self.folder}/link"
        self.b = Qemu(self.folder, "b", "vnet,id=n0,vni=77,name=right,"
                      f"links.0.id=l0,links.0.server=on,{link}")
        stack.callback(self.b.end)
        self.a = Qemu(self.folder, "a", "vnet,id=n0,vni=77,name=left,"
                      f"links.0.id=l0,{link}")
        stack.callback(self.a.end)
        wait_for("link", lambda: "1 of 1 links up" in self.a.said("status"))


# What there is.

def test_status(couple):
    """overlays and links in short, and in JSON as QMP says it"""
    lines = couple.a.said("status").splitlines()
    tap.expect(lines, ["n0: network 77, 1 of 1 links up, 0 ports, 0 streams, "
                       "0 addresses", "  l0: up, peer right"], "status")
    overlay, = json.loads(couple.a.said("-j", "status"))
    tap.expect((overlay["id"], overlay["vni"], overlay["links"][0]["state"]),
               ("n0", 77, "up"), "JSON")


def test_joined():
    """a netdev that has joined another says whose links it has"""
    with tempfile.TemporaryDirectory() as folder:
        qemu = Qemu(Path(folder), "q", "vnet,id=n0,vni=77",
                    "vnet,id=n1,vni=78,overlay=n0")
        try:
            tap.expect(qemu.said("-n", "n1", "status"),
                       "n1: network 78, links of n0, 0 ports, 0 streams, "
                       "0 addresses\n", "status")
            assert "has joined" in qemu.refused(1, "-n", "n1", "link", "del",
                                                "l0")
        finally:
            qemu.end()


def test_tables(couple):
    """links, counters and the rest, with and without titles"""
    titles, row = couple.b.said("links").splitlines()
    tap.expect(titles.split()[:6], ["NETDEV", "LINK", "TYPE", "END", "STATE",
                                    "PEER"], "titles")
    tap.expect(row.split()[:6], ["n0", "l0", "unix", "server", "up", "left"],
               "the link")
    tap.expect(couple.b.said("-H", "links").split(), row.split(),
               "without titles")
    for empty in ("ports", "streams", "macs"):
        tap.expect(len(couple.a.said(empty).splitlines()), 1, empty)
        tap.expect(couple.a.said("-H", empty), "", empty)
        tap.expect(json.loads(couple.a.said("-j", empty)),
                   [{"netdev": "n0", empty: []}], empty)
    rows = [line.split() for line in
            couple.a.said("-H", "counters").splitlines()]
    assert ["n0", "link", "l0", "ups", "1"] in rows, rows
    assert not [row for row in rows if row[-1] == "0"], rows
    rows = couple.a.said("-a", "-H", "counters")
    assert re.search(r"^n0 +overlay +frames-drop-storm +0$", rows, re.M), rows


def test_metrics(couple):
    """every line is one that Prometheus reads, each metric's together"""
    names = []
    for line in couple.a.said("metrics").splitlines():
        if line.startswith("#"):
            match = re.fullmatch(r"# (?:HELP ([a-z_]+) .+|TYPE ([a-z_]+) "
                                 r"(counter|gauge))", line)
            assert match, line
            if match[2]:
                names.append(match[2])
            continue
        match = re.fullmatch(r'([a-z_]+)\{netdev="n0"(,[a-z]+="[a-z0-9]+")*\} '
                             r"[0-9]+", line)
        assert match, line
        tap.expect(match[1], names[-1], "lines of a metric are together")
    tap.expect(len(set(names)), len(names), "each metric has one type")
    for name in ("vnet_link_up", "vnet_frames_in_total", "vnet_streams",
                 "vnet_link_tx_frames_total"):
        assert name in names, name


# What goes on.

def test_top(couple):
    """rates, as often as asked for"""
    out = couple.a.said("-d", "0.1", "-c", "2", "top").splitlines()
    tap.expect(len(out), 6, "lines of two looks")
    tap.expect(out[0], "0 streams", "the first line")
    tap.expect(out[2].split()[:4], ["n0", "link", "l0", "up"], "the link")


def test_watch():
    """events as they come, and the end of QEMU"""
    with Couple() as couple:
        with subprocess.Popen([VNETCTL, "-s", couple.a.second, "-j", "watch"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, env=ENV) as watch:
            def seen():
                # Until it listens, what happens is not for it.
                couple.a.said("link", "del", "l0")
                couple.a.said("link", "add", "l0", "addr.type=unix",
                              f"addr.path={couple.folder}/link")
                return select.select([watch.stdout], [], [], 0.5)[0]

            wait_for("event", seen)
            event = json.loads(watch.stdout.readline())
            assert event["event"].startswith("VNET_LINK_"), event
            tap.expect(event["data"]["link"], "l0", "its link")
            couple.a.process.send_signal(signal.SIGKILL)
            _, error = watch.communicate(timeout=20)
            tap.expect(watch.returncode, 3, error)
            assert "the monitor was closed" in error, error


def test_nobody_reads_any_more(couple):
    """who only showed something to a program that is gone ends, too"""
    with subprocess.Popen([VNETCTL, "-s", couple.a.second, "-d", "0.1", "top"],
                          stdout=subprocess.PIPE, env=ENV) as top:
        top.stdout.readline()
        top.stdout.close()
        tap.expect(top.wait(20), 1, "top")
    with subprocess.Popen([VNETCTL, "-s", couple.a.second, "watch"],
                          stdout=subprocess.PIPE, env=ENV) as watch:
        watch.stdout.close()

        def ended():
            couple.a.said("link", "del", "l0")
            couple.a.said("link", "add", "l0", "addr.type=unix",
                          f"addr.path={couple.folder}/link")
            return watch.poll() is not None
        wait_for("the end of watch", ended)
        tap.expect(watch.returncode, 1, "watch")


def test_watch_limits():
    """a limit that is reached, in words"""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        peer = stack.enter_context(
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        peer.bind(("127.0.0.1", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        qemu = Qemu(folder, "q", "vnet,id=n0,vni=77,max-macs=1,links.0.id=l0,"
                    "links.0.type=vxlan,links.0.addr.type=inet,"
                    "links.0.addr.host=127.0.0.1,"
                    f"links.0.addr.port={peer.getsockname()[1]},"
                    f"links.0.local=127.0.0.1,links.0.local-port={port}")
        stack.callback(qemu.end)
        watch = stack.enter_context(subprocess.Popen(
            [VNETCTL, "-s", qemu.monitor, "-n", "n0", "watch"],
            stdout=subprocess.PIPE, text=True, env=ENV))
        stack.callback(watch.kill)
        sources = iter(range(1, 1 << 16))

        def seen():
            # From another address each time.
            peer.sendto(struct.pack(">BxxxI6s2xI2x46x", 8, 77 << 8, 6 * b"\2",
                                    next(sources)), ("127.0.0.1", port))
            return select.select([watch.stdout], [], [], 0.1)[0]

        wait_for("event", seen)
        _, _, name, *members = watch.stdout.readline().split()
        tap.expect(name, "VNET_LIMIT", "the event")
        # In any order; before it listened there may have been others.
        said_of = dict(member.split("=") for member in members)
        assert said_of.pop("suppressed").isdigit(), members
        tap.expect(said_of, {"netdev": '"n0"', "limit": '"max-macs"',
                             "link": '"l0"'}, "its members")


# What changes something.

def test_routes(couple):
    """routes are changed, and listed so that they can be given again"""
    commands = "ADD any any edge l0 any\nADD any ff:ff:ff:ff:ff:ff edge l0 any\n"
    file = couple.folder / "routes"
    file.write_text(commands)
    tap.expect(said("check", file), f"{file}: 2 routes\n", "check")
    planned = couple.a.said("--dry-run", "route", "change", file)
    tap.expect(couple.a.said("routes"), "", "nothing has changed")
    tap.expect(couple.a.said("route", "change", file), planned,
               "what was planned is done")
    tap.expect([line[0] for line in planned.splitlines()], ["+", "+"], planned)
    listed = couple.a.said("routes")
    tap.expect([line.split("  #")[0] for line in listed.splitlines()],
               commands.splitlines(), "listed")
    tap.expect(couple.a.said("--replace", "route", "change", "-",
                             stdin=listed), "", "the same again")
    tap.expect(len(couple.a.said("--replace", "route", "change", "-",
                                 stdin="# none\n").splitlines()), 2,
               "all are gone")


def test_routes_wrong(couple):
    """a bad line is named, by check and by QEMU, and changes nothing"""
    file = couple.folder / "bad"
    file.write_text("ADD any any edge l0 any\n  ADD any all edge l0 any\n")
    problem = refused(1, "check", file)
    assert problem.startswith(f"{file}:2:11: \"all\" is not any"), problem
    problem = couple.a.refused(1, "route", "change", file)
    assert "line 2, column 11" in problem, problem
    tap.expect(couple.a.said("routes"), "", "routes")
    assert "missing" in refused(1, "check", couple.folder / "missing")
    file.write_text("ADD any any interface 52:54:0:0:0:1 any\n")
    assert "address of a NIC" in refused(1, "check", file)


def test_link_commands(couple):
    """links are changed by commands, and listed so that they can be given
    again"""
    there = couple.a.said("link", "commands")
    tap.expect(there.count("\n"), 1, there)
    more = (f"ADD {couple.folder}/more unix id=more\n"
            "ADD 127.0.0.1 7001 tcp split-horizon=on\n")
    file = couple.folder / "links"
    file.write_text(there + more)
    tap.expect(said("link", "check", file), f"{file}: 3 links\n", "check")
    planned = couple.a.said("--dry-run", "--replace", "link", "change", file)
    tap.expect(couple.a.said("link", "commands"), there, "nothing has changed")
    tap.expect(couple.a.said("--replace", "link", "change", file), planned,
               "what was planned is done")
    tap.expect([line.split("  #")[0] for line in planned.splitlines()],
               [f"+ {line}" for line in more.splitlines()], "added")
    listed = couple.a.said("link", "commands")
    tap.expect([line.split("  #")[0] for line in listed.splitlines()],
               [line.split("  #")[0] for line in (there + more).splitlines()],
               "listed")
    tap.expect(couple.a.said("--replace", "link", "change", "-",
                             stdin=listed), "", "the same again")
    tap.expect([line[0] for line in couple.a.said(
        "--replace", "link", "change", "-", stdin=there).splitlines()],
        ["-", "-"], "two go")
    # What is wrong, and where.
    file.write_text("ADD 127.0.0.1 7001 tcp\nADD 127.0.0.1 7002 tpc\n")
    assert refused(1, "link", "check", file).startswith(f"{file}:2:20: \"tpc\"")
    file.write_text("ADD 127.0.0.1 7001 tcp\nADD a 7002 tcp plain=maybe\n")
    tap.expect(said("link", "check", file), f"{file}: 2 links\n", "check")
    problem = couple.a.refused(1, "link", "change", file)
    assert "line 2, column 1: " in problem and "plain" in problem, problem
    tap.expect(couple.a.said("link", "commands"), there, "nothing has changed")


def test_links(couple):
    """links are made and removed, with the options of -netdev"""
    couple.a.said("link", "add", "more", "addr.type=unix",
                  f"addr.path={couple.folder}/more", "split-horizon=on",
                  "reconnect-ms=200")
    rows = couple.a.said("-H", "links").splitlines()
    tap.expect([row.split()[1] for row in rows], ["l0", "more"], "links")
    assert "already" in couple.a.refused(1, "link", "add", "more",
                                         "addr.type=unix", "addr.path=/x")
    couple.a.said("link", "del", "more")
    assert "more" in couple.a.refused(1, "link", "del", "more")
    for words, named in (
            (["x", "addr"], "addr"), (["x", "=1"], "=1"),
            (["x", "a=1", "a=2"], "a"), (["x", "a=1", "a.b=2"], "a.b=2")):
        assert named in couple.a.refused(2, "link", "add", *words)
    # Types are as QMP wants them: this one is refused there.
    assert "mtu" in couple.a.refused(1, "link", "add", "x", "addr.type=unix",
                                     "addr.path=/x", "mtu=1500")
    couple.a.said("link", "add", "few", "addr.type=unix", "addr.path=/x",
                  "peer-macs=52:54:00:00:00:01,52:54:00:00:00:02",
                  "peer-vnis=7,77")
    couple.a.said("link", "del", "few")
    # Lists by number, and with commas.
    couple.a.said("link", "add", "door", "addr.type=unix", "server=on",
                  f"addr.path={couple.folder}/door", "registrar=on",
                  "peers.0.name=east", "peers.0.macs=52:54:00:00:00:01",
                  "peers.1.name=west", "peers.1.vnis.0=7", "peers.2.name=on")
    assert ("peers.0.macs.0=52:54:00:00:00:01 peers.0.name=east "
            "peers.1.name=west peers.1.vnis.0=7 peers.2.name=on"
            in couple.a.said("link", "commands")), "door"
    couple.a.said("link", "del", "door")
    assert "array" in couple.a.refused(
        1, "link", "add", "x", "addr.type=unix", "addr.path=/x",
        "peers.1.name=east")
    assert '"52:54:00:00:00"' in couple.a.refused(
        1, "link", "add", "x", "addr.type=unix", "addr.path=/x",
        "peer-macs=52:54:00:00:00:01,52:54:00:00:00")
    assert '"nothing"' in couple.a.refused(
        1, "link", "add", "x", "addr.type=inet", "addr.host=127.0.0.1",
        "addr.port=9", "tls-creds=nothing")


def test_rates(couple):
    """limits are set, shown and taken away"""
    couple.a.said("rate", "tx", "bytes=1000000", "frames=10")
    couple.a.said("rate", "rx", "frames=20")
    assert "  tx-rate: bytes=1000000 frames=10\n  rx-rate: frames=20\n" in \
        couple.a.said("status")
    couple.a.said("rate", "tx", "off")
    overlay, = json.loads(couple.a.said("-j", "status"))
    tap.expect((overlay.get("tx-rate"), overlay["rx-rate"]),
               (None, {"frames": 20}), "rates")
    couple.a.said("rate", "rx", "off")
    assert "up" in couple.a.refused(2, "rate", "up", "off")
    assert "tx-rate.bytes is 1125899906842625" in couple.a.refused(
        1, "rate", "tx", f"bytes={2 ** 50 + 1}")


def test_captures(couple):
    """a capture is begun, shown and ended; its file is whole"""
    file = couple.folder / "n0.pcap"
    couple.a.said("capture", "start", file, "snaplen=100")
    overlay, = json.loads(couple.a.said("-j", "status"))
    tap.expect(overlay["capture"], {"file": str(file), "packets": 0,
                                    "bytes": 0, "dropped": 0}, "capture")
    assert "already" in couple.a.refused(1, "capture", "start", "/tmp/x")
    tap.expect(couple.a.said("capture", "stop"),
               f"{file}: 0 packets, 0 dropped\n", "its end")
    tap.expect(file.read_bytes().hex(), "4d3cb2a1" "02000400" + 16 * "0"
               + "64000000" "01000000", "the file")
    assert "no capture" in couple.a.refused(1, "capture", "stop")
    missing = couple.folder / "missing" / "x"
    assert str(missing) in couple.a.refused(1, "capture", "start", missing)
    assert "snaplen is 9" in couple.a.refused(1, "capture", "start", file,
                                              "snaplen=9")
    assert "colour" in couple.a.refused(2, "capture", "start", file,
                                        "colour=red")


def test_which_netdev():
    """of several, what is changed has to be named"""
    folder = Path(tempfile.mkdtemp())
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        none = Qemu(folder, "none")
        stack.callback(none.end)
        two = Qemu(folder, "two", "vnet,id=n0", "vnet,id=n1")
        stack.callback(two.end)
        tap.expect(none.said("status"), "no vnet netdev\n", "status")
        assert "no vnet netdev" in none.refused(1, "link", "del", "x")
        assert "n0, n1" in two.refused(2, "link", "del", "x")
        assert "n1" in two.refused(1, "-n", "n1", "link", "del", "x")
        tap.expect(len(two.said("status").splitlines()), 2, "both")
        tap.expect(two.said("-n", "n1", "status").split(":")[0], "n1", "one")
        for command in "status", "watch":
            assert "n2" in two.refused(1, "-n", "n2", command), command


# What is wrong.

def test_usage():
    """a wrong command line is named, with exit code 2"""
    for words, named in (
            ([], "which command"), (["frob"], "frob"), (["link", "x"], "link x"),
            (["status", "x"], "usage"), (["link", "add", "x"], "usage"),
            (["check"], "usage"), (["--replace", "status"], "--replace"),
            (["-d", "0", "top"], "--delay is 0"),
            (["-c", "-1", "top"], "--count is -1"),
            (["-j", "top"], "--json"), (["-j", "check", "x"], "--json"),
            (["link", "del", "\udcff\udcfe"], r'"\377\376" is not UTF-8'),
            (["--colour", "top"], "colour"), (["status"], "VNETCTL_SOCKET")):
        problem = refused(2, *words)
        assert named in problem, problem
    assert "vnetctl" in said("--version")


def test_output_that_fails():
    """who cannot write says so, unless nobody wants to read"""
    folder = Path(tempfile.mkdtemp())
    qemu = Qemu(folder, "q", "vnet,id=n0")
    try:
        with open("/dev/full", "w", encoding="ascii") as full:
            done = subprocess.run(
                [VNETCTL, "-s", qemu.monitor, "status"], stdout=full, env=ENV,
                stderr=subprocess.PIPE, text=True, check=False)
        tap.expect(done.returncode, 1, done.stderr)
        assert "No space" in done.stderr, done.stderr
        done = subprocess.run(
            ["sh", "-c", f"{VNETCTL} -s {qemu.monitor} -a counters | true"],
            env=ENV, capture_output=True, text=True, check=False)
        tap.expect(done.stderr, "", "nobody reads")
    finally:
        qemu.end()
        shutil.rmtree(folder)


def test_no_qemu():
    """nobody there, or no monitor, is exit code 3 and says what"""
    with tempfile.TemporaryDirectory() as folder:
        missing = f"{folder}/missing"
        assert missing in refused(3, "status", VNETCTL_SOCKET=missing)
        path = f"{folder}/{'x' * 120}"
        assert "longer" in refused(2, "-s", path, "status")
        for greeting in ("SSH-2.0-x\r\n", "[]\n", '{"hello": 1}\n', ""):
            with socket.socket(socket.AF_UNIX) as server:
                name = f"{folder}/{len(greeting)}"
                server.bind(name)
                server.listen(1)

                def serve(server=server, greeting=greeting):
                    peer, _ = server.accept()
                    peer.sendall(greeting.encode())
                    peer.close()

                thread = threading.Thread(target=serve)
                thread.start()
                problem = refused(3, "-s", name, "status")
                thread.join()
                assert name in problem, problem


if __name__ == "__main__":
    tap.main(globals(), {"two QEMUs": Couple})

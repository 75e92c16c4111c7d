#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/net/vtoe_policy: which connections are offloaded is the
administrator's to say."""

import os
import re
import sys
from contextlib import contextmanager

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import programs, tap, topo                 # noqa: E402
from rig.paths import LOGS                          # noqa: E402
from rig.procnet import counter                     # noqa: E402

POLICY = "/proc/net/vtoe_policy"
RUN = ["vtoe-run"]
PORT = "7001"
NONE = "default offload\n"


def write(guest, text):
    """Give a policy in one write; the exit code and what was said."""
    guest.write("/tmp/policy", text)
    proc = guest.start(f"dd bs=128k if=/tmp/policy of={POLICY}")
    return proc.wait(20), proc.stderr


@contextmanager
def policy(guest, *lines):
    """A policy that holds for the body."""
    code, said = write(guest, "\n".join(lines) + "\n")
    assert code == 0, said + guest.read(POLICY)
    try:
        yield
    finally:
        write(guest, NONE)


def refused(guest, text, why, error="Invalid argument"):
    """This text is refused for that reason, and nothing changes."""
    before = rules(guest)
    code, said = write(guest, text)
    assert code != 0 and error in said, (code, said)
    listing = guest.read(POLICY)
    assert f"# the last policy was refused: {why}" in listing, listing
    tap.expect(rules(guest), before, "the policy after a refusal")


def rules(guest):
    """The policy without comments."""
    return [line for line in guest.read(POLICY).splitlines()
            if not line.startswith("#")]


def echo(pair, address, prefix=RUN, port=PORT):
    """One connection from a to b, with data: how many of it were offloaded,
    and its reason if it was not."""
    names = ("connect_offloaded", "policy", "no_listener")
    before = [counter(pair.a, name) for name in names]
    out = pair.a.run([*prefix, "echoes", "client", address, port, "1",
                      "100000"])
    assert "wrong 0 failed 0" in out, out
    changed = [name for name, then in zip(names, before)
               if counter(pair.a, name) != then]
    assert len(changed) == 1, (changed, pair.a.read("/proc/net/vtoe"))
    return changed[0]


def serve(pair, port=PORT):
    return programs.serving(pair.b, [*RUN, "echoes", "server", port], "ready")


def test_listing_can_be_fed_back(pair):
    """what is read from vtoe_policy can be written to it, and is the same"""
    given = ["leave 10.1.0.0/16 port 80", "offload connect 10.0.0.0/8",
             "leave listen fd00::/8 port 5000-5999", "offload any port 443",
             "leave fd77::5/128", "offload 192.0.2.1/32", "default leave"]
    with policy(pair.a, "# comment", *given, "", "# end"):
        tap.expect(rules(pair.a), given, "the listing")
        listing = pair.a.read(POLICY)
        write(pair.a, NONE)
        tap.expect(write(pair.a, listing)[0], 0, "exit code")
        tap.expect(pair.a.read(POLICY), listing, "the listing, fed back")
    tap.expect(pair.a.read(POLICY), NONE, "after the default was given")


def test_wrong_line_is_named_and_changes_nothing(pair):
    """a wrong line is refused with its number and word; the old policy
    stays"""
    guest = pair.a
    with policy(guest, "leave any port 22", "default offload"):
        refused(guest, "leave any port 23\nleave 10.0.0.0/33\ndefault leave\n",
                'line 2: "10.0.0.0/33": the length of a prefix is 0 to 32')
        refused(guest, "leave any port 23\n\ndrop any\ndefault leave\n",
                'line 3: "drop": not "offload", "leave" or "default"')
        refused(guest, "leave any port 70000\ndefault leave",
                'line 1: "70000": a port')
        refused(guest, "leave any port 23\n", 'line 2: "default offload" or')
        tap.expect(write(guest, "leave any port 23\ndefault leave\n")[0], 0,
                   "exit code of a right one")
        assert "refused" not in guest.read(POLICY), guest.read(POLICY)


def test_size_is_bounded(pair):
    """more than 1024 rules, or 64 KiB, are refused with an error"""
    guest = pair.a
    most = "".join(f"leave 10.{i // 256}.{i % 256}.0/24\n"
                   for i in range(1024))
    tap.expect(write(guest, most + "default offload")[0], 0,
               "exit code of 1024 rules")
    tap.expect(len(rules(guest)), 1025, "lines")
    refused(guest, most + "leave any\ndefault offload",
            "line 1025: too many rules")
    refused(guest, "#" * 65536 + "\ndefault offload",
            "it has 65552 bytes, more than 65536", "Argument list too long")
    write(guest, NONE)


def test_several_writes_are_not_one_policy(pair):
    """a policy that comes in pieces is refused at the first of them"""
    with policy(pair.a, "leave any port 22", "default offload"):
        pair.a.write("/tmp/policy", "leave any port 23\ndefault leave\n")
        code = pair.a.status(f"dd bs=18 if=/tmp/policy of={POLICY}")
        assert code != 0
        tap.expect(rules(pair.a), ["leave any port 22", "default offload"],
                   "the policy")


def test_namespaces_have_their_own(pair):
    """a new namespace begins without a policy; each has its own, whose owner
    may change it, and nobody else's"""
    guest = pair.a
    with policy(guest, "default leave"):
        out = guest.run(f"unshare -n sh -c 'cat {POLICY}; "
                        f"echo \"default leave\" > {POLICY}; cat {POLICY}'")
        tap.expect(out, "default offload\ndefault leave\n", "in the new one")
        # An owner of a namespace only, who has no right over this one.
        out = guest.run(f"unshare -Urn sh -c 'echo \"default leave\" > "
                        f"{POLICY} && cat {POLICY}'")
        tap.expect(out, "default leave\n", "as its owner")
        code = guest.status(f"unshare -Ur sh -c 'echo \"default offload\" > "
                            f"{POLICY}'")
        assert code != 0
        tap.expect(guest.read(POLICY), "default leave\n", "the first one's")


def test_connect_by_prefix_and_port(pair):
    """connect() asks for the peer's address and port; the first rule that
    matches decides; the reason is counted as policy"""
    with serve(pair), serve(pair, "7002"):
        tap.expect(echo(pair, topo.B4), "connect_offloaded", "no policy")
        with policy(pair.a, "offload 10.77.0.0/24 port 7000-7001",
                    "leave connect fd77::/16", "default leave"):
            tap.expect(echo(pair, topo.B4), "connect_offloaded", "7001")
            tap.expect(echo(pair, topo.B4, port="7002"), "policy", "7002")
            tap.expect(echo(pair, topo.B6), "policy", "IPv6")
        with policy(pair.a, "leave 10.77.0.2", "default offload"):
            tap.expect(echo(pair, topo.B4), "policy", "IPv4")
            tap.expect(echo(pair, topo.B6), "connect_offloaded", "IPv6")
        # Rules for our own address say nothing about the peer's.
        with policy(pair.a, "leave listen any", "default offload"):
            tap.expect(echo(pair, topo.B4), "connect_offloaded", "listen")


def test_auto_is_under_the_policy(pair):
    """sockets of net.vtoe.auto are under the policy as those of vtoe-run"""
    pair.a.run("echo 1 > /proc/sys/net/vtoe/auto")
    try:
        with serve(pair), policy(pair.a, f"leave {topo.B4}",
                                 "default offload"):
            tap.expect(echo(pair, topo.B4, prefix=[]), "policy", "IPv4")
            tap.expect(echo(pair, topo.B6, prefix=[]), "connect_offloaded",
                       "IPv6")
    finally:
        pair.a.run("echo 0 > /proc/sys/net/vtoe/auto")


def mode(pair):
    """How the server listens, as /proc/net/vtoe has it."""
    return re.search(r"^(listen\S*) ", pair.b.read("/proc/net/vtoe"), re.M)[1]


def test_listen_by_prefix_and_port(pair):
    """a listener is offloaded for the addresses and ports the policy names;
    one that listens already follows a new policy"""
    # A peer without a listener is not asked again for a while.
    cache = "/proc/sys/net/vtoe/cache_seconds"
    pair.a.run(f"echo 0 > {cache}")
    try:
        with policy(pair.b, "leave listen any port 7000-7100",
                    "default offload"):
            before = counter(pair.b, "listen_policy")
            with serve(pair):
                tap.expect(mode(pair), "listen-tcp", "left to TCP")
                tap.expect(counter(pair.b, "listen_policy") - before, 1,
                           "counted")
                tap.expect(echo(pair, topo.B4), "no_listener", "left")
                write(pair.b, NONE)
                tap.expect(mode(pair), "listen", "no policy any more")
                tap.expect(echo(pair, topo.B4), "connect_offloaded",
                           "no policy any more")
                tap.expect(echo(pair, topo.B6), "connect_offloaded",
                           "no policy any more, IPv6")
                # It listens on any address; the request has the one.
                write(pair.b, "leave listen 10.77.0.0/16\ndefault offload\n")
                before = counter(pair.b, "request_policy")
                tap.expect(echo(pair, topo.B4), "no_listener", "IPv4 left")
                tap.expect(echo(pair, topo.B6), "connect_offloaded", "IPv6")
                tap.expect(counter(pair.b, "request_policy") - before, 1,
                           "requests that the policy refused")
                write(pair.b, "leave listen any\ndefault offload\n")
                tap.expect(mode(pair), "listen-tcp", "left to TCP again")
                tap.expect(echo(pair, topo.B6), "no_listener", "left again")
    finally:
        pair.a.run(f"echo 60 > {cache}")


class Pair(topo.VtoePair):
    """Two guests that are not in a hurry: how soon a peer answers is not
    what is tested here."""

    def set_up(self, stack):
        super().set_up(stack)
        self.a.run("echo 20000 > /proc/sys/net/vtoe/connect_timeout")


if __name__ == "__main__":
    tap.main(globals(), {
        kernel: lambda kernel=kernel: Pair(
            kernel=kernel, logs=LOGS / "policy" / kernel)
        for kernel in ("6.12", "6.1")})

# SPDX-License-Identifier: GPL-2.0-or-later
"""Two programs that make socket calls in lock step, and the oracle.

A scenario is a function(a, b, port).  a and b are Actors in the two guests
(tests/guest/prog/sock.c has the commands); b is where servers are:

    def half_close(a, b, port):
        connect(a, b, port)                 # a has "c", b has "s"
        a("send c 100"); a("shutdown c wr")
        b("recvall s 100"); b("recv s 1")

What the actors print is the transcript.  Plain TCP is the oracle: the same
scenario over it and over offloaded streams has to give the same transcript.
A call that blocks is begun by one actor (a.begin) while the other acts, and
finished later (a.finish).
"""

import difflib
import itertools

from . import paths, topo

#: Seconds that one call may take.
CALL_LIMIT = 20

_ports = itertools.count(2000)


class Actor:
    """One socket program in a guest."""

    def __init__(self, guest, name, transcript, port, prefix=()):
        #: Where it runs.
        self.guest = guest
        self._process = guest.start([*prefix, "sock", str(paths.SLOW)])
        self._name, self._transcript, self._port = name, transcript, port
        self._lines = 0
        self._signals = 0
        self._begun = None

    def __call__(self, command, timeout=CALL_LIMIT):
        """Make a call and wait for its end; the result as text."""
        self.begin(command)
        return self.finish(timeout)

    def begin(self, command):
        """Begin a call that may block."""
        assert self._begun is None, f"{self._begun} has not finished"
        self._begun = command
        self._process.write(command + "\n")

    def finish(self, timeout=CALL_LIMIT):
        """Wait for the end of the call that was begun."""
        command, self._begun = self._begun, None
        line = self._process.wait_line(self._lines, timeout)
        self._lines += 1
        shown, _, result = line.partition(" -> ")
        assert shown == command, f"\"{line}\" does not answer \"{command}\""
        # Runs differ in the port alone.
        self._transcript.append(f"{self._name}: {line}".replace(
            str(self._port), "PORT"))
        return result

    def expect(self, command, *wanted, timeout=CALL_LIMIT):
        """Make a call whose result has to be one of these."""
        result = self(command, timeout)
        assert result in wanted, \
            f"{self._name}: {command}: {result}, not {' or '.join(wanted)}"
        return result

    def signalled(self, timeout=CALL_LIMIT):
        """Wait until the signal of command "interrupt" has been handled."""
        self._signals += 1
        self._process.wait_output(rf"(?:^signalled$\s*){{{self._signals}}}",
                                  timeout)

    @property
    def process(self):
        return self._process

    def end(self):
        """End the program; its sockets are closed as at any exit."""
        self._process.close_stdin()
        self._process.check(10)

    def kill(self):
        """SIGKILL, as a crash of the application."""
        self._process.kill(9)
        self._process.wait(10)


def play(scenario, pair, prefix=(), six=False, prefix_b=None):
    """Run a scenario once; its transcript, a list of lines.  prefix: words
    before both programs, or with prefix_b before a's only."""
    transcript = []
    port = next(_ports)
    a = Actor(pair.a, "a", transcript, port, prefix)
    b = Actor(pair.b, "b", transcript, port,
              prefix if prefix_b is None else prefix_b)
    a.address, b.address = (topo.A6, topo.B6) if six else (topo.A4, topo.B4)
    a.family = b.family = "tcp6" if six else "tcp"
    done = False
    try:
        scenario(a, b, port)
        done = True
    finally:
        for actor in (a, b):
            if actor.process.code is None:
                actor.end() if done else actor.kill()
    return transcript


def compare(scenario, pair, prefix, six=False):
    """Run a scenario over plain TCP and again with ``prefix`` before the
    programs; AssertionError with the difference if they do not agree."""
    oracle = play(scenario, pair, six=six)
    ours = play(scenario, pair, prefix=prefix, six=six)
    if oracle != ours:
        diff = difflib.unified_diff(oracle, ours, "over TCP",
                                    "over " + " ".join(prefix), lineterm="",
                                    n=4)
        raise AssertionError("not as over TCP:\n" + "\n".join(diff))
    return ours


# Beginnings that many scenarios share.

def any_address(actor):
    """The address to bind a listener to."""
    return "::" if actor.family == "tcp6" else "0.0.0.0"


def listen(b, port, name="l", backlog=16):
    b.expect(f"socket {name} {b.family}", "ok")
    b.expect(f"set {name} reuseaddr 1", "0")
    b.expect(f"bind {name} {any_address(b)} {port}", "0")
    b.expect(f"listen {name} {backlog}", "0")


def connect(a, b, port, client="c", server="s", listener="l"):
    """A connection from a to b, accepted; makes the listener if needed."""
    if not getattr(b, "listening", False):
        listen(b, port, listener)
        b.listening = True
    a.expect(f"socket {client} {a.family}", "ok")
    a.expect(f"connect {client} {b.address} {port}", "0")
    b.expect(f"accept {listener} {server}", "ok")

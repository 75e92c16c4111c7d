# SPDX-License-Identifier: GPL-2.0-or-later
"""iperf3 and sockperf, unmodified: run them and read their figures.

Client and server are given as two "ends": a Guest, or the Host of this
module.  ``prefix`` are words before the program (["vtoe-run"]).
"""

import json
import re
import signal
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass

from . import image
from .channel import GuestError, Process

IPERF_PORT = 5201
SOCKPERF_PORT = 11111
#: Bytes in a ping-pong message, as test-rig figures have been taken with.
MESSAGE = 14


@dataclass(frozen=True)
class Transfer:
    """What one iperf3 run moved, counted where it was received."""
    gbit: float         #: Gbit/s, both directions added
    megabytes: float    #: 10^6 bytes, both directions added


@dataclass(frozen=True)
class PingPong:
    """What one sockperf run saw."""
    latency_us: float   #: median, one way: half a round trip
    round_trips: int    #: from its first message to its last


@contextmanager
def serving(end, argv, listening, timeout=20):
    """A server that is up before the body and ended after it."""
    server = end.start(argv)
    try:
        server.wait_output(listening, timeout)
        yield server
    finally:
        if server.code is None:
            server.stop()


def iperf3(client, server, address, seconds, direction="out", prefix=(),
           omit=1, extra=(), megabytes=None):
    """One run.  direction: "out" from client to server, "in" the other way,
    "both" at once.  The first ``omit`` seconds are not counted.  With
    ``megabytes`` it moves those 10^6 bytes, all counted, and may take
    ``seconds``."""
    flags = {"out": [], "in": ["-R"], "both": ["--bidir"]}[direction]
    length = ["-n", str(int(megabytes * 1e6))] if megabytes else \
        ["-t", str(seconds), "-O", str(omit)]
    with serving(server, [*prefix, "iperf3", "-s", "-1", "--forceflush",
                          "-p", str(IPERF_PORT)],
                 r"Server listening on") as proc:
        text = client.start(
            [*prefix, "iperf3", "-c", address, "-p", str(IPERF_PORT),
             *length, "-J", *flags, *extra]
        ).check(seconds + omit + 40)
        proc.wait(20)
    report = json.loads(text)
    if "error" in report:
        raise GuestError(f"iperf3 to {address}: {report['error']}")
    end = report["end"]
    sums = [end["sum_received"]]
    if direction == "both":
        sums.append(end["sum_received_bidir_reverse"])
    return Transfer(sum(s["bits_per_second"] for s in sums) / 1e9,
                    sum(s["bytes"] for s in sums) / 1e6)


def sockperf(client, server, address, seconds, prefix=(), size=MESSAGE,
             interrupt=None):
    """TCP ping-pong.  With ``interrupt`` it is told to end after so many
    seconds; what it allocates is still for all of them."""
    with serving(server, [*prefix, "sockperf", "sr", "--tcp", "-i",
                          "0.0.0.0", "-p", str(SOCKPERF_PORT)],
                 r"using recv"):
        proc = client.start(
            [*prefix, "sockperf", "pp", "--tcp", "-i", address, "-p",
             str(SOCKPERF_PORT), "-m", str(size), "-t", str(seconds)])
        if interrupt:
            proc.wait_output("Starting test")
            time.sleep(interrupt)
            proc.kill(signal.SIGINT)
        text = proc.check(seconds + 40)
    median = re.search(r"percentile 50\.000\s*=\s*([0-9.]+)", text)
    total = re.search(r"\[Total Run\].* ReceivedMessages=(\d+)", text)
    if not median or not total:
        raise GuestError(f"sockperf to {address} printed no median, or no "
                         f"total:\n{text}")
    return PingPong(float(median[1]), int(total[1]))


class Host:
    """This machine as an end: the same programs that the guests have,
    without a guest.  wrapper: words before each, to run it in a network
    namespace."""

    name = "host"

    def __init__(self, wrapper=()):
        self._tools = image.unpacked()
        self._wrapper = wrapper

    def start(self, argv):
        tools = self._tools
        program = next(tools / p for p in image.PROGRAMS
                       if p.endswith("/" + argv[0]))
        loader = tools / "lib64" / "ld-linux-x86-64.so.2"
        path = ":".join(str(tools / f) for f in image.Libraries.FOLDERS)
        return HostProcess([*self._wrapper, loader, "--library-path", path,
                            program, *argv[1:]])


class HostProcess(Process):
    """A host process with the face of a guest's."""

    def __init__(self, argv):
        super().__init__(_HostChannel(), 0, [str(a) for a in argv])
        # pylint: disable=consider-using-with
        self._popen = subprocess.Popen(
            self.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)
        self._readers = [
            threading.Thread(target=self._pump, args=args, daemon=True)
            for args in ((self._popen.stdout, 17), (self._popen.stderr, 18))]
        for reader in self._readers:
            reader.start()
        threading.Thread(target=self._reap, daemon=True).start()

    def _pump(self, pipe, kind):
        while data := pipe.read1(65536):
            with self._cond:
                self._out[kind] += data
                self._cond.notify_all()

    def _reap(self):
        for reader in self._readers:
            reader.join()
        code = self._popen.wait()
        with self._cond:
            self.code = code
            self._cond.notify_all()

    def kill(self, sig=15):
        self._popen.send_signal(sig)


class _HostChannel:
    """The part of a Channel that Process uses."""
    name, closed = "host", None

    def __init__(self):
        self.cond = threading.Condition()

    @staticmethod
    def console_tail():
        return ""

#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The stream engine over RDMA against bare verbs, in the same host: each
measurement has its counterpart next to it, and the median ratio counts."""

import os
import re
import statistics
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import figures, rdma, tap              # noqa: E402
from rig.paths import LOGS                      # noqa: E402

ROUNDS = 7
BUFFER = 65536
#: Bytes in a ping-pong message.
MESSAGE = 8
PINGPONG_PORT = 18516
#: poll-max-ns of a thread that hardly ever sleeps: an emulated round trip takes
#: a fraction of it.
POLL = "1000000"


#: Receivers of ours that were not ready; the other programs' are their own.
NOT_READY = []


def not_ready(host):
    """How many were not, by the devices' counters."""
    counters = [host.counters(device) for device in host.devices]
    return sum(c["rcvd_rnr_err"] + c["send_rnr_err"] for c in counters)


def stream_bench(host, what, *options):
    """One measurement of stream-bench; what it printed."""
    before = not_ready(host)
    text = host.run(["stream-bench", "--overlay", what, "--kind", "rdma",
                     "--address", host.server, *options], 120)
    NOT_READY.append(not_ready(host) - before)
    return text


def first_number(text):
    """The figure that stream-bench begins with."""
    tap.expect(re.search(r"bytes copied: (\d+)", text)[1], "0",
               "bytes copied")
    return float(re.match(r"[\d.]+", text)[0])


def rounds(ours, theirs):
    """The median ratio, and what both were like."""
    pairs = []
    for number in range(ROUNDS):
        # What else the machine does shall hit both alike.
        order = [ours, theirs] if number % 2 else [theirs, ours]
        done = {measure: measure() for measure in order}
        pairs.append((done[ours], done[theirs]))
    ratios = sorted(a / b for a, b in pairs)
    tap.diag(f"ours {statistics.median(a for a, _ in pairs):.3f}, "
             f"theirs {statistics.median(b for _, b in pairs):.3f}, "
             f"ratio {statistics.median(ratios):.2f} "
             f"({ratios[0]:.2f} to {ratios[-1]:.2f})")
    return statistics.median(ratios)


@tap.limit(600)
def test_bytes_are_right(host):
    """64 MiB each way at once arrive as they were sent"""
    text = stream_bench(host, "verify")
    assert "arrived as sent" in text, text
    tap.expect(re.search(r"bytes copied: (\d+)", text)[1], "0",
               "bytes copied")


@tap.limit(600)
def test_throughput(host):
    """64 KiB buffers move at 0.9 of ib_send_bw's rate"""
    ratio = rounds(
        lambda: first_number(stream_bench(host, "throughput", "--seconds",
                                          "2")),
        # MiB/s
        lambda: host.perftest("ib_send_bw", "-s", str(BUFFER), "-n",
                              "2000")[3] * 8 * 2 ** 20 / 1e9)
    holds = figures.record("rdma.throughput_vs_ib_send_bw", ratio, "ratio",
                           ">= 0.9")
    assert holds, ratio


def ping_pong(host, *options):
    """Half a round trip over the stream engine, in us."""
    return first_number(stream_bench(host, "pingpong", "--message",
                                     str(MESSAGE), "--seconds", "1", *options))


def verbs_ping_pong(host):
    """The same over bare verbs, by programs that sleep until a completion
    wakes them.  (ib_send_lat -e loses completions on rxe.)"""
    words = ["ibv_rc_pingpong", "-e", "-d", "rxe0", "-g", "1", "-s",
             str(MESSAGE), "-n", "5000", "-p", str(PINGPONG_PORT)]
    server = host.start(words)
    host.guest.wait_until("the server listens", lambda: re.search(
        rf":{PINGPONG_PORT}\b", host.run(["netstat", "-ltn"])))
    text = host.run([*words, host.server])
    server.wait(20)
    return float(re.search(r"= ([\d.]+) usec/iter", text)[1]) / 2


@tap.limit(600)
def test_latency(host):
    """how long 8 bytes take, and over bare verbs, when both sleep until they
    are woken, is on record"""
    ratio = rounds(lambda: ping_pong(host), lambda: verbs_ping_pong(host))
    figures.record("rdma.latency_vs_sleeping_verbs", ratio, "ratio", "<= 1.5")


@tap.limit(600)
def test_latency_beside_polling(host):
    """what 8 bytes take when the overlay's thread polls is on record, and what
    ib_send_lat takes, which polls and never sleeps"""
    ratio = rounds(lambda: ping_pong(host, "--poll-max-ns", POLL),
                   lambda: host.perftest("ib_send_lat", "-s", str(MESSAGE),
                                         "-n", "5000")[4])
    figures.record("rdma.latency_vs_ib_send_lat", ratio, "ratio", "<= 1.5")


def test_beside_rsockets(host):
    """rstream's figures stand beside them"""
    for size, count in ((64, 5000), (BUFFER, 1000)):
        words = ["rstream", "-S", str(size), "-C", str(count)]
        with host.listening(words, 7471):
            tap.diag(host.run([*words, "-s", host.server]))


def test_receivers_were_ready(_host):
    """no receiver of a stream was not ready in all of this"""
    assert len(NOT_READY) > 2 * ROUNDS, "too few measurements"
    assert figures.record("rdma.receiver_not_ready", sum(NOT_READY), "",
                          "== 0"), NOT_READY


if __name__ == "__main__":
    tap.main(globals(), {"one device": lambda: rdma.RdmaHost(
        logs=LOGS / "rdma" / "bench")})

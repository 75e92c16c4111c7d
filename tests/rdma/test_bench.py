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

ROUNDS = 3
BUFFER = 65536
#: Bytes in a ping-pong message.
MESSAGE = 8
PINGPONG_PORT = 18516
RSTREAM_PORT, RPING_PORT = 7471, 7174
#: Bytes in a transfer of rstream and a ping of rping, which takes no fewer, and
#: how many pings.
SMALL, PINGS, FEW = 64, 500, 50
#: poll-max-ns of a thread that never sleeps.  With a millisecond, one message that
#: took longer makes it sleep for the next half a dozen, until it has found out
#: anew how long polling pays.
POLL = "1000000000"


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


#: What is printed at the end: rows of a system, Gbit/s with 64 KiB buffers, us
#: for a small message there; None: does not say so.
TABLE = []


def rounds(ours, theirs, column, names):
    """The median ratio, and what both were like, which are kept in the column
    of the table, 1 or 2, under these names."""
    pairs = []
    for number in range(ROUNDS):
        # What else the machine does shall hit both alike.
        order = [ours, theirs] if number % 2 else [theirs, ours]
        done = {measure: measure() for measure in order}
        pairs.append((done[ours], done[theirs]))
    ratios = sorted(a / b for a, b in pairs)
    medians = [statistics.median(side) for side in zip(*pairs)]
    tap.diag(f"ours {medians[0]:.3f}, theirs {medians[1]:.3f}, "
             f"ratio {statistics.median(ratios):.2f} "
             f"({ratios[0]:.2f} to {ratios[-1]:.2f})")
    for name, median in zip(names, medians):
        row = [name, None, None]
        row[column] = median
        TABLE.append(row)
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
                              "2000")[3] * 8 * 2 ** 20 / 1e9,
        1, ("stream engine", "ib_send_bw"))
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
    ratio = rounds(lambda: ping_pong(host), lambda: verbs_ping_pong(host),
                   2, ("stream engine, sleeping",
                       "ibv_rc_pingpong -e, sleeping"))
    figures.record("rdma.latency_vs_sleeping_verbs", ratio, "ratio", "<= 1.5")


@tap.limit(600)
def test_latency_beside_polling(host):
    """what 8 bytes take when the overlay's thread polls is on record, and what
    ib_send_lat takes, which polls and never sleeps"""
    ratio = rounds(lambda: ping_pong(host, "--poll-max-ns", POLL),
                   lambda: host.perftest("ib_send_lat", "-s", str(MESSAGE),
                                         "-n", "5000")[4],
                   2, ("stream engine, polling", "ib_send_lat, polling"))
    figures.record("rdma.latency_vs_ib_send_lat", ratio, "ratio", "<= 1.5")


def rstream(host, transfers, iterations, size):
    """What rsockets do: (Gbit/s, us for a transfer)."""
    words = ["rstream", "-S", str(size), "-C", str(transfers), "-I",
             str(iterations)]
    with host.listening(words, RSTREAM_PORT):
        text = host.run([*words, "-s", host.server], 120)
    return tuple(map(float, text.split()[-2:]))


def rping(host):
    """Microseconds that a ping of rping takes: a read, a write and four
    messages.  It says nothing of time, and connecting takes most of it; so
    twice, with many and with few."""
    def seconds(count):
        words = ["rping", "-a", host.server, "-C", str(count), "-S",
                 str(SMALL)]
        with host.listening([*words, "-s"], RPING_PORT) as server:
            text = host.run("cat /proc/uptime && "
                            f"{' '.join(words)} -c && cat /proc/uptime", 120)
            server.wait(20)
        before, after = (float(line.split()[0])
                         for line in text.splitlines())
        return after - before

    return (seconds(PINGS + FEW) - seconds(FEW)) / PINGS * 1e6


@tap.limit(600)
def test_beside_others(host):
    """rping and rsockets (rstream) stand beside them in the table"""
    gbit, _ = rstream(host, 500, 1, BUFFER)
    _, usec = rstream(host, 1, 1000, SMALL)
    TABLE.append(["rstream (rsockets)", gbit, usec])
    TABLE.append(["rping, a read, a write, 4 sends", None, rping(host)])
    assert gbit > 0 and min(us for _, _, us in TABLE[-2:]) > 0, TABLE
    tap.diag(f"{'':32}{'Gbit/s':>8}{'us':>8}")
    for name, *figures_of in TABLE:
        cells = ("" if x is None else f"{x:.2f}" for x in figures_of)
        tap.diag(f"{name:32}" + "".join(f"{cell:>8}" for cell in cells))


def test_receivers_were_ready(_host):
    """no receiver of a stream was not ready in all of this"""
    assert len(NOT_READY) > 2 * ROUNDS, "too few measurements"
    assert figures.record("rdma.receiver_not_ready", sum(NOT_READY), "",
                          "== 0"), NOT_READY


if __name__ == "__main__":
    tap.main(globals(), {"one device": lambda: rdma.RdmaHost(
        logs=LOGS / "rdma" / "bench")})

#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The RDMA host itself, with the programs that RDMA brings along: what the
other tests of this layer stand on."""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import rdma, tap       # noqa: E402
from rig.paths import LOGS      # noqa: E402

#: What perftest and rping listen on.
PORT, RPING_PORT = 18515, 7174
#: On a busy machine perftest finds its clock too unsteady to say anything.
ATTEMPTS = 5


class Host(rdma.RdmaHost):
    """A host whose boot time is in the log."""

    def __init__(self, devices):
        super().__init__(devices,
                         logs=LOGS / "rdma" / f"rxe-{devices}")

    def __enter__(self):
        super().__enter__()
        tap.diag(f"ready after {self.boot_seconds:.1f} s")
        return self


def perftest(host, program, *options):
    """Server and client of perftest over rdma_cm; the client's figures, the
    fields of its last line."""
    words = [program, "--rdma_cm", "--port", str(PORT), *options]
    for _ in range(ATTEMPTS):
        with host.listening(words, PORT) as server:
            client = host.start([*words, host.server])
            code = client.wait(60)
            server.wait(20)
        if "Correlation coefficient" not in client.stderr:
            break
    tap.expect(code, 0, f"{program}'s exit code, {client.stderr}")
    # A deviation whose square comes out negative is "-nan".
    lines = re.findall(r"^ (\d+(?:\s+(?:[\d.]+|-?nan))+)\s*$", client.stdout,
                       re.M)
    assert lines, f"{program} printed no figures:\n{client.stdout}"
    return [float(word) for word in lines[-1].split()]


def test_device_is_there(host):
    """ibv_devinfo shows every device with an active port"""
    for device in host.devices:
        text = host.run(["ibv_devinfo", "-d", device])
        assert "PORT_ACTIVE" in text, text
        assert re.search(r"active_mtu:\s+4096", text), text


def test_rping(host):
    """rping carries its text there and back by rdma_cm"""
    with host.listening(["rping", "-s", "-a", host.server, "-C", "3", "-v"],
                        RPING_PORT) as server:
        text = host.run(["rping", "-c", "-a", host.server, "-C", "3", "-v"])
        tap.expect(len(re.findall(r"^ping data: rdma-ping-\d: ", text, re.M)),
                   3, f"answers in:\n{text}")
        server.wait(20)
    tap.expect(server.stdout.count("server ping data"), 3, "questions")


def test_packets_take_the_wire(host):
    """with two devices, packets cross the veth pair; with one, none do"""
    before = host.counters("rxe0")
    wire = int(host.read("/sys/class/net/v0/statistics/tx_packets"))
    perftest(host, "ib_send_bw", "-n", "100", "-s", "65536")
    crossed = int(host.read("/sys/class/net/v0/statistics/tx_packets")) - wire
    sent = host.counters("rxe0")["sent_pkts"] - before["sent_pkts"]
    assert sent >= 1600, sent
    if len(host.devices) == 1:
        tap.expect(crossed, 0, "packets on the wire")
    else:
        assert crossed >= 1600, crossed


def test_send_bandwidth(host):
    """ib_send_bw moves 64 KiB messages"""
    fields = perftest(host, "ib_send_bw", "-n", "1000", "-s", "65536")
    gbit = fields[3] * 8 * 2 ** 20 / 1e9
    tap.diag(f"{len(host.devices)} device(s): {gbit:.2f} Gbit/s")
    assert gbit > 0.05, fields


def test_send_latency(host):
    """ib_send_lat moves 8-byte messages there and back"""
    fields = perftest(host, "ib_send_lat", "-n", "1000", "-s", "8")
    typical = fields[4]
    tap.diag(f"{len(host.devices)} device(s): {typical:.0f} us typical")
    assert 0 < typical < 5000, fields


def test_receivers_were_ready(host):
    """what perftest did has left no receiver-not-ready in the counters"""
    for device in host.devices:
        counters = host.counters(device)
        tap.expect((counters["rcvd_rnr_err"], counters["send_rnr_err"]),
                   (0, 0), f"{device}'s receiver-not-ready")


if __name__ == "__main__":
    tap.main(globals(), {"one device": lambda: Host(1),
                         "two devices": lambda: Host(2)})

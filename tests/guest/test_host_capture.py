#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vnet-capture-start: what QEMU writes of frames and streams."""

import collections
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import programs, tap, topo                 # noqa: E402

RUN = ["vtoe-run"]
PORT = 7001
STREAMS, SIZE = 3, 100000
FIN, SYN, RST = 1, 2, 4
Packet = collections.namedtuple("Packet", "source target flags seq payload")


def packets(path):
    """The Ethernet frames of a capture, whole ones."""
    data = path.read_bytes()
    magic, = struct.unpack_from("=I", data)
    tap.expect(hex(magic), "0xa1b23c4d", "the file's kind")
    at = 24
    while at < len(data):
        _, _, captured, length = struct.unpack_from("=IIII", data, at)
        tap.expect(captured, length, "bytes of a packet")
        yield data[at + 16:at + 16 + captured]
        at += 16 + captured
    tap.expect(at, len(data), "the file's end")


def tcp(frame):
    """A TCP packet over IPv4, or None."""
    if frame[12:14] != b"\x08\x00" or frame[23] != 6:
        return None
    at = 14 + (frame[14] & 15) * 4
    source, target, seq = struct.unpack_from("!HHI", frame, at)
    head = at + (frame[at + 12] >> 4) * 4
    return Packet(source, target, frame[at + 13], seq, frame[head:])


def test_frames_and_streams(pair):
    """all of a ping and of some streams, byte by byte"""
    path = pair.folder / "n0.pcap"
    pair.a.cmd("vnet-capture-start", id="n0", file=str(path))
    pair.a.run(["ping", "-c", "3", topo.B4])
    with programs.serving(pair.b, [*RUN, "echoes", "server", str(PORT)],
                          "ready"):
        out = pair.a.run([*RUN, "echoes", "client", topo.B4, str(PORT),
                          str(STREAMS), str(SIZE)])
    assert "wrong 0 failed 0" in out, out
    said = pair.a.cmd("vnet-capture-stop", id="n0")
    tap.expect(said["dropped"], 0, "packets left out")

    frames = list(packets(path))
    tap.expect(len(frames), said["packets"], "packets")
    pings = [f for f in frames if f[12:14] == b"\x08\x00" and f[23] == 1]
    tap.expect(len(pings), 6, "echo requests and replies")

    flows = collections.defaultdict(list)
    for packet in filter(None, map(tcp, frames)):
        if PORT in (packet.source, packet.target):
            flows[packet.source, packet.target].append(packet)
    tap.expect(len(flows), 2 * STREAMS, "directions of streams")
    sent = {}
    for (source, _), seen in flows.items():
        tap.expect(bool(seen[0].flags & SYN), True, "it begins with SYN")
        tap.expect(sum(bool(p.flags & FIN) for p in seen), 1, "FINs")
        tap.expect(sum(bool(p.flags & RST) for p in seen), 0, "RSTs")
        following = seen[0].seq + 1
        for packet in seen[1:]:
            if packet.payload:
                tap.expect(packet.seq, following % 2 ** 32, "sequence number")
                following += len(packet.payload)
        sent[source] = sent.get(source, 0) + following - seen[0].seq - 1
    for source, size in sent.items():
        tap.expect(size, SIZE * (STREAMS if source == PORT else 1),
                   f"bytes from port {source}")


if __name__ == "__main__":
    tap.main(globals(), {"6.12": lambda: topo.VtoePair(kernel="6.12")})

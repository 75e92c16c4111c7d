# SPDX-License-Identifier: GPL-2.0-or-later
"""What tcpdump wrote, as TCP segments.

    packets = pcap.read(data)               # of raw IP, IPv4 and IPv6
    one, = pcap.streams(packets).values()   # {(client, server): packets}
    pcap.payload(one, one[0].source)        # bytes, or ValueError

Strict where a real capture would have to be lenient: every length and checksum
has to be right, and a direction's bytes have to come in order, once each.
"""

import socket
import struct
from dataclasses import dataclass

RAW = (12, 101)         #: link types of packets that begin with IP
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


@dataclass(frozen=True)
class Packet:
    """One TCP segment; source and dest are (address, port)."""
    time: float
    source: tuple
    dest: tuple
    seq: int
    ack: int
    flags: int
    window: int
    options: bytes
    payload: bytes

    @property
    def name(self):
        """Flags as tcpdump would say it, without PSH."""
        return "".join(letter for bit, letter in (
            (SYN, "S"), (FIN, "F"), (RST, "R"), (ACK, ".")) if self.flags & bit)


def read(data):
    """The packets of a file."""
    magic = data[:4]
    if magic not in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1"):
        raise ValueError(f"not a capture file: it begins with {magic!r}")
    scale = 1e-6 if magic[0] == 0xd4 else 1e-9
    link, = struct.unpack_from("<I", data, 20)
    if link not in RAW:
        raise ValueError(f"packets of link type {link}, not raw IP")
    packets, at = [], 24
    while at < len(data):
        seconds, fraction, kept, length = struct.unpack_from("<IIII", data, at)
        if kept != length:
            raise ValueError(f"a packet of {length} bytes was cut to {kept}")
        at += 16
        packets.append(_packet(seconds + fraction * scale,
                               data[at:at + kept]))
        at += kept
    return packets


def _sum(data):
    """The Internet checksum, 0 if data holds a right one."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total ^ 0xffff


def _packet(time, data):
    if data[0] >> 4 == 4:
        family, header, at = socket.AF_INET, 20, 12
        length, = struct.unpack_from(">H", data, 2)
        protocol, size = data[9], 4
        if data[0] != 0x45 or _sum(data[:20]):
            raise ValueError(f"IPv4 header {data[:20].hex()}")
    else:
        family, header, at = socket.AF_INET6, 40, 8
        length = 40 + struct.unpack_from(">H", data, 4)[0]
        protocol, size = data[6], 16
    if length != len(data) or protocol != socket.IPPROTO_TCP:
        raise ValueError(f"length {length} of {len(data)} bytes, "
                         f"protocol {protocol}")
    near, far = data[at:at + size], data[at + size:at + 2 * size]
    tcp = data[header:]
    pseudo = near + far + struct.pack(">II", len(tcp), protocol)
    if _sum(pseudo + tcp):
        raise ValueError(f"TCP checksum of {tcp[:20].hex()}")
    sport, dport, seq, ack, offset, flags, window = struct.unpack_from(
        ">HHIIBBH", tcp)
    offset = offset >> 4 << 2
    return Packet(time, (socket.inet_ntop(family, near), sport),
                  (socket.inet_ntop(family, far), dport), seq, ack, flags,
                  window, tcp[20:offset], tcp[offset:])


def streams(packets):
    """{(who sent the first packet, to whom): packets of both directions}."""
    found = {}
    for packet in packets:
        key = packet.source, packet.dest
        key = key[::-1] if key[::-1] in found else key
        found.setdefault(key, []).append(packet)
    return found


def payload(packets, source):
    """The bytes that one end sent.  ValueError if a packet does not begin
    where the last one ended, or the other end acknowledges what was not
    sent."""
    out, expected, acked = [], None, None
    for packet in packets:
        if packet.source != source:
            if packet.flags & ACK and expected is not None:
                if (expected - packet.ack) & 0xffffffff > 1 << 31:
                    raise ValueError(f"{packet.ack} acknowledged, "
                                     f"{expected} sent")
                if acked is not None and \
                        (packet.ack - acked) & 0xffffffff > 1 << 31:
                    raise ValueError(f"{packet.ack} acknowledged "
                                     f"behind {acked}")
                acked = packet.ack
            continue
        if expected is not None and packet.seq != expected:
            raise ValueError(f"{packet.seq} follows, not {expected} "
                             f"({packet.name}, {len(packet.payload)} bytes)")
        expected = (packet.seq + len(packet.payload)
                    + bool(packet.flags & SYN)
                    + bool(packet.flags & FIN)) & 0xffffffff
        out.append(packet.payload)
    return b"".join(out)

# SPDX-License-Identifier: GPL-2.0-or-later
"""TCP segments in Ethernet frames: making them, and telling whether they are
as they were made."""

import struct

from .ends import frame

#: Bytes of headers: Ethernet, IPv4, TCP.
_ETHERNET, _IP, _TCP = 14, 20, 20
_PAYLOAD = 1000


def _sum(data):
    """The ones' complement sum of 16-bit words."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total


def _pseudo(ip, length):
    return ip[12:20] + struct.pack(">BBH", 0, ip[9], length)


def of_a_flow(end, far, number, rand):
    """The number-th segment of a flow from one End to another, behind its
    length as End.send_raw() takes it."""
    payload = rand.randbytes(_PAYLOAD)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, _IP + _TCP + _PAYLOAD,
                     number & 0xffff, 0x4000, 64, 6, 0,
                     bytes((10, 0, 0, end.number + 1)),
                     bytes((10, 0, 0, far.number + 1)))
    ip = ip[:10] + struct.pack(">H", 0xffff - _sum(ip)) + ip[12:]
    tcp = struct.pack(">HHIIBBHHH", 1000, 2000, number * _PAYLOAD, 0, 0x50,
                      0x10, 1000, 0, 0)
    check = 0xffff - _sum(_pseudo(ip, _TCP + _PAYLOAD) + tcp + payload)
    tcp = tcp[:16] + struct.pack(">H", check) + tcp[18:]
    data = frame(far.mac, end.mac, "")[4:12 + 4] + b"\x08\0" + ip + tcp + \
        payload
    return struct.pack(">I", len(data)) + data


def intact(data):
    """Whether its checksums, of IPv4 and of TCP, are right."""
    ip = data[_ETHERNET:_ETHERNET + _IP]
    if data[12:14] != b"\x08\0" or len(ip) < _IP or ip[0] != 0x45 or \
            ip[9] != 6 or _sum(ip) != 0xffff:
        return False
    end = _ETHERNET + int.from_bytes(ip[2:4], "big")
    tcp = data[_ETHERNET + _IP:end]
    return end <= len(data) and len(tcp) >= _TCP and \
        _sum(_pseudo(ip, len(tcp)) + tcp) == 0xffff


def identity(data):
    """What it is: of a damaged one, all; of another, all but the IPv4 header's
    identification and checksum, which whoever cuts it sets anew."""
    if not intact(data):
        return data
    ip = data[_ETHERNET:_ETHERNET + _IP]
    return data[:_ETHERNET] + ip[:4] + ip[6:10] + ip[12:] + \
        data[_ETHERNET + _IP:]

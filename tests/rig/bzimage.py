# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel inside a bzImage, which QEMU boots as well (by PVH).

To unpack itself is a third of the time that an emulated guest takes to boot.
Layout: Documentation/arch/x86/boot.rst of Linux, "The real-mode kernel header".
"""

import lzma
import struct
import subprocess

from .paths import RigError

#: Offsets in it: sectors before the protected-mode code less one, "HdrS", the
#: version of the boot protocol, the payload's offset in that code and length.
_SECTORS, _MAGIC, _VERSION, _PAYLOAD = 0x1f1, 0x202, 0x206, 0x248
_SECTOR = 512
_HAS_PAYLOAD = 0x208
#: Bytes of the size unpacked, which ends the payload.
_SIZE = 4


def unpack(image):
    """The ELF file, as bytes, in the bzImage at this path; xz or zstd."""
    data = image.read_bytes()
    version, = struct.unpack_from("<H", data, _VERSION)
    if data[_MAGIC:_MAGIC + 4] != b"HdrS" or version < _HAS_PAYLOAD:
        raise RigError(f"{image} is no bzImage of boot protocol 2.08 or later")
    offset, length = struct.unpack_from("<II", data, _PAYLOAD)
    begin = (data[_SECTORS] + 1) * _SECTOR + offset
    payload = data[begin:begin + length - _SIZE]
    size, = struct.unpack_from("<I", data, begin + length - _SIZE)
    if payload.startswith(b"\xfd7zXZ\0"):
        kernel = lzma.decompress(payload)
    elif payload.startswith(b"\x28\xb5\x2f\xfd"):
        kernel = subprocess.run(["zstd", "-dcq"], input=payload, check=True,
                                stdout=subprocess.PIPE, timeout=60).stdout
    else:
        raise RigError(f"{image} is compressed by neither xz nor zstd: it "
                       f"begins with {payload[:6].hex()}")
    if len(kernel) != size or not kernel.startswith(b"\x7fELF"):
        raise RigError(f"{image} holds {len(kernel)} bytes where it says "
                       f"{size}, or no ELF file")
    return kernel

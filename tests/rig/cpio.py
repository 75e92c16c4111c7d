# SPDX-License-Identifier: GPL-2.0-or-later
"""An initramfs: a cpio archive in the "newc" format.

Written here and not by a program so that no root is needed for device nodes
and owners, and so that equal content gives equal bytes.
"""

import stat


class Archive:
    """Collects entries; parents are made as needed."""

    def __init__(self):
        self._entries = {}      # path -> (mode, data, rdev)

    def __contains__(self, path):
        return path.strip("/") in self._entries

    def directory(self, path, mode=0o755):
        self._add(path, stat.S_IFDIR | mode, b"")

    def file(self, path, data, mode=0o644):
        self._add(path, stat.S_IFREG | mode, bytes(data))

    def symlink(self, path, target):
        self._add(path, stat.S_IFLNK | 0o777, target.encode())

    def device(self, path, major, minor, mode=0o600):
        """A character device."""
        self._add(path, stat.S_IFCHR | mode, b"", (major, minor))

    def _add(self, path, mode, data, rdev=(0, 0)):
        path = path.strip("/")
        parent = path.rpartition("/")[0]
        if parent and parent not in self._entries:
            self.directory(parent)
        self._entries[path] = (mode, data, rdev)

    def bytes(self):
        """The archive.  Directories come before what they hold."""
        out = bytearray()
        for ino, path in enumerate(sorted(self._entries), start=1):
            self._entry(out, ino, path, *self._entries[path])
        self._entry(out, 0, "TRAILER!!!", 0, b"", (0, 0))
        return bytes(out)

    @staticmethod
    def _entry(out, ino, path, mode, data, rdev):
        name = path.encode() + b"\0"
        links = 2 if stat.S_ISDIR(mode) else 1
        fields = (ino, mode, 0, 0, links, 0, len(data), 0, 0,
                  rdev[0], rdev[1], len(name), 0)
        out += b"070701" + b"".join(b"%08X" % f for f in fields) + name
        out += b"\0" * (-len(out) % 4)
        out += data
        out += b"\0" * (-len(out) % 4)

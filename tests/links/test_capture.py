#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures into what is no plain file, and whoever reads it: nobody waits."""

import os
import struct
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import netns, tap                                      # noqa: E402
from rig.ends import BROADCAST, End, frame, wait_until          # noqa: E402
from rig.setup import Setup                                     # noqa: E402

#: Of a frame; with the 16 of its header in the file, more fill a FIFO.
LENGTH = 1500
MANY = 400


class Alone(Setup):
    """A NIC whose frames go nowhere, and a FIFO."""

    def __init__(self):
        self.end = self.fifo = None

    def set_up(self, stack):
        space = stack.enter_context(netns.Namespace())
        self.end = stack.enter_context(End(0, space))
        self.fifo = self.end.folder / "fifo"
        os.mkfifo(self.fifo)

    def reader(self):
        """The FIFO, to be read from, and nobody has yet."""
        return open(os.open(self.fifo, os.O_RDONLY | os.O_NONBLOCK), "rb",
                    buffering=0)

    def start(self):
        self.end.ask("vnet-capture-start", id="n0", file=str(self.fifo))

    def send_many(self):
        """Until all of them are in the capture, in one way or the other."""
        self.end.send_raw(frame(BROADCAST, self.end.mac,
                                "x" * (LENGTH - 14)) * MANY)

        def seen():
            status, = self.end.ask("query-vnet", id="n0")
            said = status["capture"]
            return said["packets"] + said["dropped"] == MANY
        wait_until("the capture has seen all", seen)

    def stop(self):
        """What is said then, and how long it takes."""
        begin = time.monotonic()
        said = self.end.ask("vnet-capture-stop", id="n0")
        tap.expect(said["packets"] + said["dropped"], MANY, "packets")
        return said, time.monotonic() - begin


def test_no_reader(alone):
    """a FIFO that nobody reads is refused, and not waited for"""
    said = alone.end.refused("vnet-capture-start", id="n0",
                             file=str(alone.fifo))
    assert str(alone.fifo) in said, said


def test_reader(alone):
    """a reader gets all, packet by packet"""
    with alone.reader() as reader:
        alone.start()
        alone.send_many()
        # Before it has read any: a FIFO holds less.
        data = b""

        def all_there():
            nonlocal data
            data += reader.read(65536) or b""
            return len(data) == 24 + MANY * (16 + LENGTH)
        wait_until("all of it is read", all_there)
        said, _ = alone.stop()
        tap.expect((said["packets"], "error" in said), (MANY, False), "said")
        for number in range(MANY):
            tap.expect(struct.unpack_from("<II", data, 24 + 8 + number *
                                          (16 + LENGTH)), (LENGTH, LENGTH),
                       "a packet's lengths")


def test_reader_that_stalls(alone):
    """one that does not read makes nobody wait for longer than a second"""
    with alone.reader() as reader:
        alone.start()
        alone.send_many()
        said, took = alone.stop()
        assert took < 5, f"{took:.1f} s"
        assert said["dropped"] > 0 and said["error"], said
        whole = len(reader.read(1 << 24)) - 24
        tap.expect(said["packets"], whole // (16 + LENGTH), "packets written")


def test_reader_that_leaves(alone):
    """one that goes away is an error, and what it has not read is lost"""
    with alone.reader():
        alone.start()
    alone.send_many()
    said, _ = alone.stop()
    tap.expect((said["packets"], said["error"]), (0, "Broken pipe"), "said")


def test_same_file(alone):
    """a file is written by one capture at a time"""
    file = str(alone.end.folder / "file")
    alone.end.ask("netdev_add", type="vnet", id="n1")
    alone.end.ask("vnet-capture-start", id="n0", file=file)
    tap.expect(alone.end.refused("vnet-capture-start", id="n1", file=file),
               f"netdev n0 writes {file} already", "the error")
    alone.end.ask("vnet-capture-stop", id="n0")
    alone.end.ask("netdev_del", id="n1")


if __name__ == "__main__":
    tap.main(globals(), {"alone": Alone})

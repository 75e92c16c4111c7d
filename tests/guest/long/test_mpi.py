#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""MPI programs over streams, unmodified: between two guests beside virtio-net
over the kernel's VXLAN, and among four."""

import os
import sys
from functools import partial

HERE = os.path.dirname(__file__)
sys.path[:0] = [os.path.join(HERE, ".."), os.path.join(HERE, "../..")]

from rig import mesh, mpi, tap                      # noqa: E402
from rig.procnet import counter                     # noqa: E402
from test_programs import RUN, Rivals, play_mpi     # noqa: E402

TWO, FOUR = "2 guests", "4 guests"
KERNEL = "6.12"


def among(guests, what, library):
    """Among these guests; every connection between ranks is a stream."""
    names = ("connect_offloaded", "connect_tcp", "other_device")

    def counts():
        return [sum(counter(g, name) for g in guests) for name in names]

    with mpi.hosts(guests):
        before = counts()
        what(library, guests, RUN)
        streams, tcp, other = (now - then
                               for now, then in zip(counts(), before))
    tap.diag(f"{streams} connections over streams")
    assert tcp == other, f"{tcp - other} connections over TCP"
    # At least a ring of them.
    assert streams >= len(guests), f"{streams} connections over streams"


@tap.only(TWO)
def test_netpipe_mpich(rivals):
    """MPICH: NetPIPE"""
    play_mpi(rivals, mpi.netpipe, mpi.MPICH)


@tap.only(TWO)
def test_exchange_openmpi(rivals):
    """Open MPI: ping-pong and exchange, 0 bytes to 4 MiB"""
    play_mpi(rivals, mpi.exchange, mpi.OPEN_MPI)


@tap.only(TWO)
def test_exchange_mpich(rivals):
    """MPICH: ping-pong and exchange, 0 bytes to 4 MiB"""
    play_mpi(rivals, mpi.exchange, mpi.MPICH)


@tap.only(TWO)
@tap.limit(600)
def test_hpcc(rivals):
    """Open MPI: hpcc, right results"""
    rivals.vtoe.resume()
    among(rivals.vtoe.guests, mpi.hpcc, mpi.OPEN_MPI)
    rivals.vtoe.pause()


@tap.only(FOUR)
def test_four_exchange_openmpi(four):
    """Open MPI: ping-pong and exchange, 0 bytes to 4 MiB"""
    among(four.guests, mpi.exchange, mpi.OPEN_MPI)


@tap.only(FOUR)
def test_four_exchange_mpich(four):
    """MPICH: ping-pong and exchange, 0 bytes to 4 MiB"""
    among(four.guests, mpi.exchange, mpi.MPICH)


@tap.only(FOUR)
@tap.limit(600)
def test_four_hpcc(four):
    """Open MPI: hpcc, right results"""
    among(four.guests, mpi.hpcc, mpi.OPEN_MPI)


if __name__ == "__main__":
    tap.main(globals(), {
        TWO: partial(Rivals, KERNEL, mpi.RECIPE, "mpi"),
        FOUR: partial(mesh.Mesh, 4, kernel=KERNEL, mem=640,
                      recipe=mpi.RECIPE)})

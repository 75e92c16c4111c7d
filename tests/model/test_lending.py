#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Lending receives of one pool to several streams (pool.pml)."""

from spin import LTL, find, search, tap

SMALL = ("B=1", "RLEN=1")


def test_idle_streams_hold_half():
    """idle ones of three streams never hold more than half of the pool"""
    search("pool", *SMALL)


def test_idle_streams_short_messages():
    """the same with messages shorter than their receives"""
    search("pool", "S=2")


def test_everyone_is_served():
    """each of three streams with data gets a receive, the others whatever"""
    search("pool", "LIVE", *SMALL, kind=LTL)


def test_everyone_is_served_short_messages():
    """the same with messages shorter than their receives"""
    search("pool", "LIVE", "S=2", "P=2", kind=LTL)


def test_fault_no_half():
    """found: lending ahead from all of the pool"""
    find("pool", "assertion violated", "FAULT_NO_HALF", *SMALL)


def test_fault_no_queue():
    """found: a stream that others overtake for ever"""
    find("pool", "acceptance cycle", "LIVE", "FAULT_NO_QUEUE", "P=2", *SMALL,
         kind=LTL)


def test_fault_ahead_first():
    """found: buffers lent ahead past a stream that waits for one"""
    find("pool", "acceptance cycle", "LIVE", "FAULT_AHEAD_FIRST", "P=2",
         *SMALL, kind=LTL)


def test_fault_want_once():
    """found: a WANT that is looked at only when it comes"""
    find("pool", "acceptance cycle", "LIVE", "FAULT_WANT_ONCE", "S=2", "P=2",
         kind=LTL)


if __name__ == "__main__":
    tap.main(globals())

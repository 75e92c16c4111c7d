#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A stream that outlives its link (relink.pml)."""

from spin import find, search, tap


def test_outlives():
    """after three losses all bytes came once, in order, and both ends are through"""
    search("relink", "LOSSES=3")
    search("relink", "LOSSES=3", "CLIENT=1")


def test_more_bytes():
    """the same with more bytes under way"""
    search("relink", "W=3")


def test_broken_alone():
    """after two losses of the data connection alone, by either end or both"""
    search("relink", "LOSSES=0", "BREAKS=2")


def test_broken_and_lost():
    """the same of one, and a loss of the link"""
    search("relink", "LOSSES=1", "BREAKS=1")


def test_fault_silent():
    """found: a passive end that does not say that it has lost the connection"""
    find("relink", "invalid end state", "LOSSES=0", "BREAKS=1", "FAULT_SILENT")


def test_fault_not_back():
    """found: not going back to what was received"""
    find("relink", "invalid end state", "FAULT_NOT_BACK")


def test_fault_end_told():
    """found: taking an END for known because it was said once"""
    find("relink", "invalid end state", "FAULT_END_TOLD")


def test_fault_forgotten():
    """found: forgetting a stream whose end the other does not know"""
    find("relink", "0", "FAULT_FORGOTTEN")


def test_fault_told_twice():
    """found: not taking for told what RESUME has said"""
    find("relink", "tx_done", "FAULT_TOLD_TWICE")


def test_fault_late_bytes():
    """found: bytes of a connection that was lost"""
    find("relink", "off==rx", "FAULT_LATE_BYTES")


if __name__ == "__main__":
    tap.main(globals())

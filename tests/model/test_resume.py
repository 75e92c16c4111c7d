#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A stream that goes on over a new connection (resume.pml).

A check of a design.  Version 1 of the wire resets a stream that loses its
connection alone.
"""

from spin import find, search, tap


def test_goes_on():
    """after two losses all bytes came once, in order, and it ended"""
    search("resume")


def test_fault_acked():
    """found: going on at what was acknowledged instead of what was received"""
    find("resume", "a==got", "FAULT_ACKED")


def test_fault_late_close():
    """found: saying what was received before the old connection is closed"""
    find("resume", "a==got", "FAULT_LATE_CLOSE")


def test_fault_not_drained():
    """found: handing back a receive that was filled already"""
    find("resume", "a>=acked", "FAULT_NOT_DRAINED")


def test_fault_old_credit():
    """found: sending into receives of the old connection"""
    find("resume", "lent", "FAULT_OLD_CREDIT")


if __name__ == "__main__":
    tap.main(globals())

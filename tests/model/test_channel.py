#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The message channel: credits in both directions (chan.pml)."""

from spin import LTL, PROGRESS, find, search, tap


def test_all_is_said():
    """all is said and quiet afterwards; a message never meets no receive"""
    search("chan")


def test_more_receives():
    """the same with an odd number of receives"""
    search("chan", "N=5", "M=5")


def test_one_send_slot():
    """the same with a single send under way"""
    search("chan", "SLOTS=1")


def test_last_credit_for_empty_messages():
    """the last credit may be kept for empty messages only"""
    search("chan", "LAST_FOR_EMPTY")


def test_no_endless_credit_messages():
    """empty messages do not go on without anything being said"""
    search("chan", kind=PROGRESS)


def test_both_flood():
    """of two sides that always have something to say both go on"""
    search("chan", "FLOOD", kind=LTL)


def test_fault_no_reserve():
    """found: the last credit spent on a message that returns none"""
    find("chan", "invalid end state", "FAULT_NO_RESERVE")


def test_fault_polite():
    """found: a side that has something to say but may not returns nothing"""
    find("chan", "invalid end state", "LAST_FOR_EMPTY", "FAULT_POLITE")


def test_fault_free_empty():
    """found: empty messages that cost no credit"""
    find("chan", "posted", "FAULT_FREE_EMPTY")


def test_fault_early():
    """found: a credit returned before its receive is posted again"""
    find("chan", "posted", "FAULT_EARLY")


def test_fault_few():
    """found: with three receives empty messages answer each other for ever"""
    find("chan", "non-progress cycle", "N=3", kind=PROGRESS)


if __name__ == "__main__":
    tap.main(globals())

#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""One stream over a message transport: faults that must be found (stream.pml).
"""

from spin import find, tap

ONE_WAY = "W1=0"


def test_end_early():
    """found: an end told to the guest before the last bytes are there"""
    find("stream", "assertion violated", "FAULT_END_EARLY", ONE_WAY)


def test_eof_is_end():
    """found: a lost data connection taken for an end of stream"""
    find("stream", "assertion violated", "FAULT_EOF_IS_END", "LOSS", ONE_WAY)


def test_unacked():
    """found: a sender that takes a loss lightly before all is acknowledged"""
    find("stream", "invalid end state", "FAULT_UNACKED", "LOSS", ONE_WAY)


def test_ack_early():
    """found: bytes acknowledged when they are sent"""
    find("stream", "at depth", "FAULT_ACK_EARLY", "LOSS", ONE_WAY)


def test_ack_add():
    """found: a completion counted again after the ACK of the end"""
    find("stream", "acked", "FAULT_ACK_ADD", ONE_WAY)


def test_credit_before_established():
    """found: an end that takes no CREDIT before it is established"""
    find("stream", "assertion violated", "FAULT_EARLY_CREDIT", ONE_WAY)


def test_short_message():
    """found: a second message sent into what a short one left of a receive"""
    find("stream", "lent", "FAULT_SHORT", ONE_WAY)


def test_want_once():
    """found: a WANT that is looked at only when it comes"""
    find("stream", "invalid end state", "FAULT_WANT_ONCE", ONE_WAY)


def test_want_order():
    """found: a WANT judged by whether a CREDIT was sent since the last"""
    find("stream", "wants_ok", "FAULT_WANT_ORDER", "W0=3", ONE_WAY)


def test_close_after_want():
    """found: a guest that closes after a WANT, which nobody answers then"""
    find("stream", "invalid end state", "FAULT_CLOSE_AFTER_WANT", "CLOSES",
         ONE_WAY)


def test_link_unread():
    """found: a reset for bytes unread that the loss of the link makes graceful
    """
    find("stream", "unread", "FAULT_LINK_UNREAD", "LINK", "CLOSES")


def test_leak():
    """found: receives that are not handed back with the connection"""
    find("stream", "lent", "FAULT_LEAK", ONE_WAY)


if __name__ == "__main__":
    tap.main(globals())

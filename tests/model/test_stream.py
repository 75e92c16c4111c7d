#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""One stream over a message transport: what is promised (stream.pml).

Every search also shows that the stream ends, that bytes come once and in order,
that a message never meets no receive, that every receive comes back, that
each guest is told of one end, and of a graceful one only if both had all.

With VTOE_MODEL=deep in the environment test_deep is added: minutes, 2 GB.
"""

import os

from spin import DEEP, find, search, tap

#: All that may happen.
ALL = ("LOSS", "LINK", "CLOSES", "ABORTS", "SLOW")


def test_undisturbed():
    """undisturbed, both ends finish, and no guard time is needed"""
    search("stream")


def test_undisturbed_more_bytes():
    """the same with more messages in one direction"""
    search("stream", "W0=3", "W1=0")


def test_closed_unread():
    """a guest that closes with bytes unread resets, else both finish"""
    search("stream", "CLOSES", "W0=1")
    search("stream", "CLOSES", "W1=0")


def test_loss():
    """the loss of the data connection, seen by any or none, ends well"""
    search("stream", "LOSS", "W0=1")
    search("stream", "LOSS", "SLOW", "W1=0")


def test_link_lost():
    """the loss of the link at any time ends well"""
    search("stream", "LINK", "W0=1")


def test_cancel_reject_abort():
    """cancelling, rejecting, aborting and time-outs at any time end well"""
    search("stream", "ABORTS", "W0=1")


def test_all_at_once():
    """so does all of this at once"""
    search("stream", *ALL, "W0=1", "W1=0")


def reachable(active, passive, *defines):
    find("stream", "outcome", "SEEK0=" + active, "SEEK1=" + passive, "W1=0",
         *defines)


def test_outcomes_are_possible():
    """what the model allows does come about: it does not hold for want of it"""
    reachable("GRACEFUL", "GRACEFUL")
    reachable("GRACEFUL", "GRACEFUL", "LOSS")
    reachable("GRACEFUL", "RESET", "LINK")
    reachable("RESET", "RESET", "CLOSES")
    reachable("RESET", "LEFT", "ABORTS")
    reachable("FAILED", "LEFT", "ABORTS")


@tap.limit(7200)
def test_deep():
    """the same with more bytes in both directions"""
    search("stream", "W0=3", "W1=2", kind=DEEP)
    for disturbance in "CLOSES", "LINK", "ABORTS":
        search("stream", disturbance, kind=DEEP)
    search("stream", "LOSS", "SLOW", kind=DEEP)


if os.environ.get("VTOE_MODEL") != "deep":
    del test_deep

if __name__ == "__main__":
    tap.main(globals())

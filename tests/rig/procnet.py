# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest's /proc/net/vtoe counts."""

import re

PATH = "/proc/net/vtoe"


def counters(guest):
    """{(group, name): value}, without zeros, which it does not show."""
    found = re.findall(r"^(count|fallback|reset_in|reset_out) (\S+) (\d+)$",
                       guest.read(PATH), re.M)
    return {(group, name): int(value) for group, name, value in found}


def counter(guest, name):
    """One of the groups "count" and "fallback"."""
    now = counters(guest)
    return now.get(("count", name), 0) + now.get(("fallback", name), 0)

#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's mptcp_connect between two guests, over offload as over TCP, see
test_selftests.py."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import tap                                 # noqa: E402
from test_selftests import COPY_TESTS, PAIRS        # noqa: E402

if __name__ == "__main__":
    tap.main({test.__name__: test for test in COPY_TESTS}, PAIRS)

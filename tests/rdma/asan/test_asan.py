#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The RDMA link on real verbs in a QEMU with the address and the
undefined-behaviour sanitizer; when a QEMU ends, leaks are looked for.

All QEMUs of these runs are told to end, but those that a test kills."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, ".."), os.path.join(HERE, "..", "..")]

from rig import qtests                          # noqa: E402
from runner.layers import SANITIZER             # noqa: E402
import sanitized                                # noqa: E402

if __name__ == "__main__":
    qtests.main(__doc__, sanitized.runs("asan", SANITIZER))

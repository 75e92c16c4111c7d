#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The RDMA link on real verbs in a QEMU with the thread sanitizer: main loop,
VNET thread and the thread that looks up names.

The peer has a name, so that it is looked up."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, ".."), os.path.join(HERE, "..", "..")]

from rig import qtests, rdma_image              # noqa: E402
from rig.rdma import A_NAME                     # noqa: E402
from runner.layers import SANITIZER             # noqa: E402
import sanitized                                # noqa: E402

ENV = {"VTOE_RDMA_SERVER": A_NAME,
       # GLib's own allocator hands memory from thread to thread where the
       # sanitizer does not see it.
       "G_SLICE": "always-malloc",
       "TSAN_OPTIONS": f"{SANITIZER['TSAN_OPTIONS']}:"
                       f"suppressions={rdma_image.TSAN_SUPPRESSIONS}"}

if __name__ == "__main__":
    qtests.main(__doc__, sanitized.runs("tsan", ENV))

#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Two QEMUs under qtest in a host with RDMA: frames, streams, the six events,
and the ways in which either end can go."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import qtests                          # noqa: E402
from rig.qtests import Run                      # noqa: E402

RDMA = {"VTOE_LINK": "rdma"}
#: Nothing arrives, and nobody is told: as when a cable is cut far away.
CUT = {"VTOE_CUT": "tc qdisc add dev v0 root netem loss 100%",
       "VTOE_MEND": "tc qdisc del dev v0 root"}

if __name__ == "__main__":
    qtests.main(__doc__, [
        # QEMU and its tests work in there at all.
        Run("unix link", "vtoe-pair-test",
            args=("-p", "/x86_64/vtoe/frame", "-p", "/x86_64/vtoe/event"),
            env={"VTOE_LINK": "unix"}),
        Run("tcp link", "vtoe-link-test", env={"VTOE_LINK": "tcp"},
            args=("-p", "/x86_64/vtoe/link/stream")),
        Run("rdma, one device", "vtoe-link-test", env=RDMA),
        Run("rdma, two devices", "vtoe-link-test", devices=2, env={**RDMA, **CUT}),
        Run("rdma, one device", "vtoe-pair-test", env=RDMA),
        Run("rdma, two devices", "vtoe-pair-test", devices=2, env=RDMA),
    ])

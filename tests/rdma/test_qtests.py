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
#: Thousands of qtest commands for what has nothing to do with the link.
SLOW = tuple(word for case in ("direct", "main-loop", "eoc-off") for word in
             ("-s", f"/x86_64/vtoe/stream/nothing-is-lost/{case}"))
#: Nothing arrives, and nobody is told: as when a cable is cut far away.
CUT = {"VTOE_CUT": "tc qdisc add dev v0 root netem loss 100%",
       "VTOE_MEND": "tc qdisc del dev v0 root"}

if __name__ == "__main__":
    qtests.main(__doc__, [
        # QEMU and its tests work in there at all.
        Run("unix link", "vtoe-pair-test",
            args=("-p", "/x86_64/vtoe/frame", "-p", "/x86_64/vtoe/event"),
            env={"VTOE_LINK": "unix"}),
        Run("tcp link", "vtoe-pair-test",
            args=("-p", "/x86_64/vtoe/event"), env={"VTOE_LINK": "tcp"}),
        Run("rdma, one device", "vtoe-link-test", env=RDMA),
        Run("rdma, two devices", "vtoe-link-test", devices=2,
            env={**RDMA, **CUT}),
        Run("rdma, one device", "vtoe-pair-test", args=SLOW, env=RDMA),
        Run("rdma, two devices", "vtoe-pair-test", devices=2,
            args=SLOW, env=RDMA),
    ])

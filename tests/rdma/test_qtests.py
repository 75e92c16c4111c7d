#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Two QEMUs under qtest in a host with RDMA: frames, streams, the six events,
and the ways in which either end can go."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import qtests, rdma                    # noqa: E402
from rig.qtests import Run                      # noqa: E402

RDMA = {"VTOE_LINK": "rdma"}
#: All but stream/nothing-is-lost: thousands of qtest commands for what has
#: nothing to do with the link.
PAIR = tuple(word for case in (
    "frame", "event", "end", "vm", "stream/carries-both-ways",
    "stream/query-tells-offsets", "stream/credit-limits-delivery",
    "stream/half-close-then-close", "stream/simultaneous-close",
    "stream/abort-resets-the-peer", "stream/close-with-unread-data-resets")
    for word in ("-p", f"/x86_64/vtoe/{case}"))
#: All but 512 streams, which have a run of their own.
LINK = ("-p", "/x86_64/vtoe/link/event", "-p", "/x86_64/vtoe/link/stream",
        "-p", "/x86_64/vtoe/link/streams/64")
#: Nothing arrives, and nobody is told: as when a cable is cut far away.
CUT = {"VTOE_CUT": rdma.netem("loss 100%", ["v0"]),
       "VTOE_MEND": rdma.netem(devices=["v0"])}

#: Two more addresses, and so GIDs, of the first device: what it has by itself is
#: at 0, its first address at 1.
GIDS = """set -e
for n in 11 12; do /bin/ip addr add 192.0.2.$n/32 dev v0; done
until grep -q ffff /sys/class/infiniband/rxe0/ports/1/gids/3; do sleep 0.1; done
"""

if __name__ == "__main__":
    qtests.main(__doc__, [
        # What QEMU's threads wait for is there when they go on.
        Run("unix link, late wake-ups", "vtoe-pair-test",
            args=("-p", "/x86_64/vtoe/stream/carries-both-ways"),
            env={"VTOE_LINK": "unix", "VTOE_LATE_WAKES": "1"}),
        Run("rdma, one device", "vtoe-link-test", args=LINK, env=RDMA),
        Run("rdma, 512 streams", "vtoe-link-test", env=RDMA,
            args=("-p", "/x86_64/vtoe/link/streams/512")),
        Run("rdma, two devices", "vtoe-link-test", devices=2,
            env={**RDMA, **CUT}),
        Run("rdma, several addresses", "vtoe-rdma-test", env=RDMA,
            prepare=GIDS),
        Run("rdma, one device", "vtoe-pair-test", args=PAIR, env=RDMA),
        Run("rdma, two devices", "vtoe-pair-test", devices=2,
            args=PAIR, env=RDMA),
    ])

# SPDX-License-Identifier: GPL-2.0-or-later
"""What runs in a QEMU with sanitizers, of whichever kind."""

from rig.qtests import Run
from test_faults import QPS, RDMA, cases, faults, removed
from test_qtests import LINK

#: Faults that the link's own code has to clean up after.
FAULTS = cases("peer-killed", "device-removed",
               *(name.replace("_", "-") for name in QPS))


def runs(kind, env):
    """For qtests.main(): the same cases for each kind, "asan" or "tsan"; env
    says what the sanitizer is to do."""
    env = {**RDMA, "VTOE_SLOW": "20", **env}
    return [
        Run(f"{kind}, one device", "vtoe-link-test", kind=kind, args=LINK,
            env=env, silence=240),
        Run(f"{kind}, one device", "vtoe-fault-test", kind=kind, args=FAULTS,
            env={**env, **faults(**QPS,
                                 device_removed=removed("rxe0", "v0"))},
            silence=240),
    ]

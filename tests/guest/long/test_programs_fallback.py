#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where connections cannot be offloaded, the programs of test_programs.py give
the same results over TCP, and the reason is counted."""

import os
import sys
from functools import partial

HERE = os.path.dirname(__file__)
sys.path[:0] = [os.path.join(HERE, ".."), os.path.join(HERE, "../..")]

from rig import apps, tap, topo                     # noqa: E402
from rig.paths import LOGS                          # noqa: E402
from rig.procnet import counter                     # noqa: E402
from test_programs import RUN                       # noqa: E402

PROGRAMS = (apps.nuttcp, apps.nginx_keep_alive, apps.nginx_close,
            apps.nginx_file, apps.nginx_hey, apps.redis, apps.memcached,
            apps.postgres, apps.ssh, apps.asyncio)

#: What makes each reason.
REASONS = {
    "no_listener": {"append_b": "vtoe.noload=vtoe_sock"},
    "peer_no_streams": {"model_b": "virtio-net-pci"},
    "other_device": {"device": {"offload": "off"}},
    # A program with more connections than that has both at once.
    "limit": {"netdev": {"max-streams": 2}},
    "disabled": {},
}


class Pair(topo.VtoePair):
    """Two guests whose connections cannot be offloaded for this reason."""

    def __init__(self, reason):
        super().__init__(logs=LOGS / "programs_fallback" / reason, mem=768,
                         recipe=apps.RECIPE, **REASONS[reason])
        self.reason = reason

    def __enter__(self):
        super().__enter__()
        try:
            self.a.run(["modprobe", "vtoe_sock"])
            if self.reason == "disabled":
                self.a.write("/proc/sys/net/vtoe/enable", "0")
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self


def counts(pair):
    """Connections of the client: over streams, over TCP, and over TCP for
    the reason or because one was refused for it shortly before."""
    return [counter(pair.a, "connect_offloaded"),
            counter(pair.a, "connect_tcp"),
            counter(pair.a, pair.reason) + counter(pair.a, "cached")]


def make_test(app):
    """The test of one program."""
    def test(pair):
        before = counts(pair)
        app(pair.a, pair.b, topo.B4, RUN)
        streams, tcp, why = (now - then for now, then in
                             zip(counts(pair), before))
        tap.expect(why, tcp, "connections over TCP with the reason\n"
                   + pair.a.read("/proc/net/vtoe"))
        if pair.reason == "limit":
            tap.diag(f"{streams} connections over streams, {tcp} over TCP")
            assert streams > 0, "no connection over streams"
        else:
            tap.expect(streams, 0, "connections over streams")
            assert tcp > 0, "no connection over TCP"

    test.__name__ = f"test_{app.__name__}"
    test.__doc__ = "right results over TCP, and the reason is counted"
    return test


if __name__ == "__main__":
    tap.main({test.__name__: test for test in map(make_test, PROGRAMS)},
             {reason: partial(Pair, reason) for reason in REASONS})

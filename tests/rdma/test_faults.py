#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What can go wrong under traffic in a host with RDMA: the peer, the wire, the
network device, the RDMA device.  See tests/qtest/vtoe-fault-test.c."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import qtests, rdma                    # noqa: E402
from rig.qtests import Run                      # noqa: E402
from rig.rdma import A4, B4, QP_ERRORS          # noqa: E402

RDMA = {"VTOE_LINK": "rdma", "VTOE_STOP_S": "60"}


def netem(what, outcome="goes-on"):
    """The packets of both directions suffer."""
    return outcome, rdma.netem(what), rdma.netem(), ""


def removed(device, netdev):
    """The RDMA device goes, which takes until nobody has it open any more,
    and comes back."""
    return ("lost", f"(rdma link del {device}; mkdir /tmp/removed) "
            "> /dev/null 2>&1 &",
            "until rmdir /tmp/removed 2> /dev/null; do sleep 0.1; done; "
            f"rdma link add {device} type rxe netdev {netdev}",
            # Not DEVICE_FATAL: the connection manager says it first.
            "device-removals")


#: Queue pairs of one QEMU in the error state: of streams, and of the link (its
#: control connection is made first, then that for frames).  The server is
#: started first.
CLIENT, SERVER = "tail -n 1", "tail -n 2 | head -n 1"


def in_error(end, which, outcome, then="true", counter=""):
    """then: what has to happen when it is done."""
    return (outcome, f"cd {QP_ERRORS} && pid=$(ls | grep -v done | sort -n | "
            f"{end}) && echo {which} > $pid && "
            f"until [ -e $pid.done ]; do sleep 0.1; done && {then}", "true",
            counter)


#: Each address is a GID, and a change of these an event of the adapter: it has
#: the events read that nothing else wakes the program for.
EVENT = "/bin/ip addr add 192.0.2.99/32 dev v0"


QPS = {
    "qp_error_connected_streams": in_error(CLIENT, "newest 4", "streams-lost"),
    "qp_error_accepted_streams": in_error(SERVER, "newest 4", "streams-lost"),
    # The first and the third of four, behind the link's own two.
    "qp_error_some_connected": in_error(CLIENT, "nth 2 4", "some-lost 1 3"),
    "qp_error_some_accepted": in_error(SERVER, "nth 2 4", "some-lost 1 3"),
    # The adapter says so, and nothing else does: as of an idle stream.
    "qp_fatal_is_said": in_error(SERVER, "fatal 2 4", "some-lost 1 3", EVENT,
                                 "async-qp-fatal"),
    "qp_error_connected_control": in_error(CLIENT, "nth 0", "lost"),
    "qp_error_accepted_control": in_error(SERVER, "nth 0", "lost"),
    "qp_error_connected_frames": in_error(CLIENT, "nth 1", "lost"),
}

#: With the interface go its routes and neighbours, see rig/rdma.py.  What
#: rdma_rxe could not send meanwhile has put its queue pair for connection
#: management into the error state for good, so no new streams are expected.
DOWN = ("over", "/bin/ip link set v1 down",
        "/bin/ip link set v1 up && "
        f"/bin/ip route replace {A4} dev v1 src {B4} table 102 && "
        f"/bin/ip neigh replace {A4} dev v1 lladdr "
        "$(cat /sys/class/net/v0/address)", "async-port-err")


def faults(**table):
    """As the program wants them."""
    return {"VTOE_FAULTS": "\n".join(
        "\t".join((name.replace("_", "-"), *words))
        for name, words in table.items())}


def cases(*names):
    """Only these."""
    return tuple(word for name in names
                 for word in ("-p", f"/x86_64/vtoe/fault/{name}"))


if __name__ == "__main__":
    qtests.main(__doc__, [
        Run("rdma, one device", "vtoe-fault-test",
            env={**RDMA, **faults(**QPS,
                                  device_removed=removed("rxe0", "v0"))}),
        Run("rdma, two devices", "vtoe-fault-test", devices=2,
            args=cases("peer-killed", "loss-1", "loss-5", "loss-20",
                       "reorder", "device-removed", "netdev-down"),
            env={**RDMA, **faults(
                loss_1=netem("loss 1%"),
                loss_5=netem("loss 5%"),
                # Six losses in a row are three seconds of silence, and then a
                # peer is given up: about one time in six.
                loss_20=netem("loss 20%", "may-go-on"),
                reorder=netem("delay 2ms reorder 25% 50%"),
                device_removed=removed("rxe1", "v1"),
                netdev_down=DOWN)}),
    ])

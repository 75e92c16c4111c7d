#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that people run, unmodified, over streams: right results, and at
least what they get from virtio-net over the kernel's VXLAN in the same run."""

import os
import statistics
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import apps, figures, kernels, mpi, tap, topo      # noqa: E402
from rig.paths import LOGS                          # noqa: E402
from rig.procnet import counter                     # noqa: E402
from rig.setup import Setup                         # noqa: E402

#: Rounds.  One shows that a program works; more make better figures.
ROUNDS = int(os.environ.get("VTOE_ROUNDS", "1"))
FIGURES = "6.12"
RUN = ["vtoe-run"]


class Rivals(Setup):
    """A pair of guests on VTOE and one on VXLAN; one of them runs."""

    def __init__(self, kernel, recipe=mpi.with_open_mpi(apps.RECIPE),
                 name="programs"):
        options = {"kernel": kernel, "mem": 768, "recipe": recipe}
        logs = LOGS / name / kernel
        self.kernel = kernel
        self.vtoe = topo.VtoePair(logs=logs / "vtoe", **options)
        self.vxlan = topo.VirtioVxlan(logs=logs / "vxlan", **options)

    def set_up(self, stack):
        for pair in (self.vxlan, self.vtoe):
            stack.enter_context(pair)
            pair.pause()
            stack.callback(pair.resume)

    def problems(self):
        return self.vtoe.problems() + self.vxlan.problems()


def play(rivals, app, name=None):
    """Runs it in turns, and compares the medians."""
    name = name or app.__name__
    ours, theirs = [], []
    for number in range(ROUNDS):
        turns = [(rivals.vtoe, RUN, ours), (rivals.vxlan, [], theirs)]
        for pair, prefix, found in turns if number % 2 else turns[::-1]:
            pair.resume()
            before = over(rivals.vtoe) if prefix else None
            found.append(app(pair.a, pair.b, topo.B4, prefix))
            if prefix:
                streams, tcp = (now - then for now, then in
                                zip(over(rivals.vtoe), before))
                assert streams > 0 and tcp == 0, \
                    f"{streams} connections over streams, {tcp} over TCP\n" \
                    + rivals.vtoe.a.read("/proc/net/vtoe")
            pair.pause()
    for what in ours[0]:
        a, b = (statistics.median(f[what] for f in each)
                for each in (ours, theirs))
        tap.diag(f"{what}: {a:.4g}, over VXLAN {b:.4g}, ratio {a / b:.2f}")
        if rivals.kernel == FIGURES:
            figures.record(f"programs.{name}.{what}", a / b, "ratio",
                           "<= 1.0" if what.endswith("_us") else ">= 1.0")


def play_mpi(rivals, what, library):
    """A function of rig/mpi.py, between the two guests."""
    def app(client, far, _, prefix):
        with mpi.hosts((client, far)):
            return what(library, (client, far), prefix)

    play(rivals, app, f"{what.__name__}_{library.name}")


def over(pair):
    """Connections of the client to the other guest: (over streams, over
    TCP)."""
    return (counter(pair.a, "connect_offloaded"),
            counter(pair.a, "connect_tcp") - counter(pair.a, "other_device"))


def test_nuttcp(rivals):
    """nuttcp"""
    play(rivals, apps.nuttcp)


def test_nginx_keep_alive(rivals):
    """nginx and wrk, connections kept"""
    play(rivals, apps.nginx_keep_alive)


def test_nginx_close(rivals):
    """nginx and wrk, a connection for each request"""
    play(rivals, apps.nginx_close)


def test_nginx_file(rivals):
    """nginx and curl, a file of 8 MiB"""
    play(rivals, apps.nginx_file)


def test_hey(rivals):
    """nginx and hey, a static Go program"""
    play(rivals, apps.nginx_hey)


def test_redis(rivals):
    """redis and redis-benchmark"""
    play(rivals, apps.redis)


def test_memcached(rivals):
    """memcached and memcslap"""
    play(rivals, apps.memcached)


def test_postgres(rivals):
    """PostgreSQL and pgbench"""
    play(rivals, apps.postgres)


def test_ssh(rivals):
    """ssh and scp"""
    play(rivals, apps.ssh)


def test_open_mpi(rivals):
    """Open MPI and NetPIPE"""
    play_mpi(rivals, mpi.netpipe, mpi.OPEN_MPI)


def test_asyncio(rivals):
    """Python's asyncio"""
    play(rivals, apps.asyncio)


if __name__ == "__main__":
    tap.main(globals(), {kernel: lambda kernel=kernel: Rivals(kernel)
                         for kernel in kernels.LINES})

# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs qtest programs of our QEMU in an RDMA host and prints their cases.

A test file names runs, which are one QEMU host each:

    qtests.main(__doc__, [
        Run("one device", "vtoe-pair-test", env={"VTOE_LINK": "rdma"}),
        Run("two devices", "vtoe-pair-test", devices=2, ...)])

Each run is a test of the TAP that is printed, and the program's own cases are
its subtests.  Arguments of such a file: -l lists the runs, -k TEXT takes those
whose name has TEXT, -p PATH is handed to the program to run only these cases.
"""

import argparse
import re
import sys
import time
from dataclasses import dataclass, field

from . import rdma
from .channel import GuestError
from .paths import LOGS, RigError
from .tap import diag

_CASE = re.compile(r"(not )?ok\b|1\.\.\d+")


@dataclass
class Run:
    """A program in a host of its own.

    name     for people
    program  as it is called in the build
    devices  1 or 2 RDMA devices
    kind     of QEMU: "", or a sanitizer, "asan" or "tsan"
    args     for the program, beside --tap -k
    env      more of its environment
    limit    seconds that it may take
    prepare  a shell command in the host, before it
    silence  seconds that it may take from one line to the next
    clean    whether the host's devices must have met no receiver that was not
             ready
    """
    name: str
    program: str
    devices: int = 1
    kind: str = ""
    args: tuple = ()
    env: dict = field(default_factory=dict)
    prepare: str = "true"
    limit: int = 600
    silence: int = 180
    clean: bool = True


def main(doc, runs):
    """Do what the file's arguments say; exits with 1 when a run failed."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("-l", "--list", action="store_true")
    parser.add_argument("-k", "--filter", default="")
    parser.add_argument("-p", "--path", action="append", default=[])
    options = parser.parse_args()
    runs = [run for run in runs if options.filter in run.name]
    if options.list:
        print("\n".join(run.name for run in runs))
        return
    print(f"1..{len(runs)}", flush=True)
    failed = 0
    for number, run in enumerate(runs, start=1):
        began = time.monotonic()
        paths = [word for path in options.path for word in ("-p", path)]
        try:
            _run(run, paths)
            problem = None
        except RigError as exc:
            problem = exc
        failed += problem is not None
        print(f"{'not ' if problem else ''}ok {number} - {run.program}: "
              f"{run.name}", flush=True)
        if problem:
            diag(problem)
        diag(f"{time.monotonic() - began:.1f} s")
    sys.exit(1 if failed else 0)


def _run(run, paths):
    logs = LOGS / "rdma" / re.sub(r"\W+", "-", f"{run.program} {run.name}")
    with rdma.RdmaHost(run.devices, run.kind, logs=logs) as host:
        diag(f"{run.name}: the host was ready after "
             f"{host.boot_seconds:.1f} s")
        host.run(run.prepare)
        proc = host.qtest(run.program, "--tap", "-k", *run.args, *paths,
                          env=run.env)
        try:
            cases, bad = _follow(run, proc)
        finally:
            (logs / "stderr").write_text(proc.stderr)
            _tell_counters(host)
        if proc.code != 0:
            raise GuestError(f"{run.program} ended with {proc.ending()}\n"
                             + "\n".join(proc.stderr.splitlines()[-15:]))
        if bad or not cases:
            raise GuestError(f"{bad} of its {cases} cases failed")
        _check_counters(run, host)


def _follow(run, proc):
    """Print what the program says as it says it; how many cases there were,
    and how many failed."""
    end = time.monotonic() + run.limit
    cases = bad = shown = 0
    while True:
        try:
            line = proc.wait_line(shown, min(run.silence,
                                             end - time.monotonic()))
        except GuestError:
            if proc.code is None:
                proc.kill(9)
                proc.wait(10)
                raise
            return cases, bad
        shown += 1
        cases += line.startswith(("ok ", "not ok "))
        bad += line.startswith("not ok")
        if _CASE.match(line):
            print(f"    {line}", flush=True)
        elif line.strip():
            diag(line.lstrip("# "))


def _tell_counters(host):
    if not host.guest.running:
        return
    for device in host.devices:
        counters = host.counters(device)
        # How long a packet may live is no counter.
        diag(f"{device}: " + ", ".join(
            f"{name} {value}" for name, value in counters.items()
            if value and name != "lifespan"))


def _check_counters(run, host):
    for device in host.devices:
        counters = host.counters(device)
        if run.clean and (counters["rcvd_rnr_err"] or
                          counters["send_rnr_err"]):
            raise GuestError(f"{device}: a receiver was not ready: "
                             f"{counters}")

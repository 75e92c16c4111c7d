#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The report: a promise that is not kept, or not measured, is said."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import tap             # noqa: E402
from rig.paths import ROOT      # noqa: E402

#: A promise of docs/promises.rst with the bar ">= 2.5".
NAME = "demo.throughput_vs_plain"


def report(*figures):
    """(exit code with --strict, row of NAME, last line) of the report."""
    with tempfile.TemporaryDirectory() as build:
        folder = Path(build) / "report"
        folder.mkdir()
        (folder / "figures.jsonl").write_text(
            "".join(json.dumps(f) + "\n" for f in figures))
        done = subprocess.run([ROOT / "scripts" / "report", "--strict"],
                              env={**os.environ, "VTOE_BUILD": build},
                              text=True, capture_output=True, timeout=20,
                              check=False)
    row = next((" ".join(line.split()) for line in done.stdout.splitlines()
                if line.startswith(NAME)), done.stderr)
    return done.returncode, row


def figure(value, holds=True, name=NAME):
    return {"name": name, "value": value, "unit": "", "bar": ">= 2.5",
            "holds": holds}


def test_not_measured():
    """without a figure a promise is not kept"""
    tap.expect(report(), (1, NAME + " >= 2.5 - not measured"), "report")


def test_holds():
    """a figure at its bar holds"""
    tap.expect(report(figure(2.5))[1], NAME + " >= 2.5 2.5 holds", "report")


def test_falls_short():
    """a figure below its bar falls short, even if it claims to hold"""
    tap.expect(report(figure(2.49)), (1, NAME + " >= 2.5 2.49 FALLS SHORT"),
               "report")


def test_test_said_no():
    """a figure that its test rejected falls short"""
    tap.expect(report(figure(3, holds=False))[1],
               NAME + " >= 2.5 3 FALLS SHORT", "report")


def test_last_one_counts():
    """of several figures of one name the last counts"""
    tap.expect(report(figure(1), figure(4))[1], NAME + " >= 2.5 4 holds",
               "report")


def test_no_figure():
    """a line that is no figure is an error that names it"""
    code, said = report({"value": 1})
    tap.expect((code, "not a figure" in said), (1, True), said)


if __name__ == "__main__":
    tap.main(globals())

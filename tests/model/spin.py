# SPDX-License-Identifier: GPL-2.0-or-later
"""Has spin search a model: all of it, or until something is wrong.

A model is tests/model/NAME.pml.  What it says at its top holds: search().  With
one of its FAULT_* defined it must not, or the model could not fail: find().
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import tap     # noqa: E402

FOLDER = Path(__file__).resolve().parent


class Kind:
    """What to look for, and how much that may take.

    compiler, verifier: their options.  Compiling is half of the time, so it
    optimizes little; find() does not at all.
    """

    def __init__(self, compiler, verifier=(), seconds=100, megabytes=1500):
        self.compiler = ["-DMEMLIM=%d" % megabytes, *compiler]
        self.verifier = list(verifier)
        self.seconds = seconds


#: Assertions, and that nothing stands still.
SAFETY = Kind(["-Og", "-DSAFETY"])
#: The same in a large model.
DEEP = Kind(["-O2", "-DSAFETY", "-DCOLLAPSE"], seconds=3600, megabytes=6000)
#: Not to go round in circles without passing a label "progress".
PROGRESS = Kind(["-Og", "-DNP"], ["-l", "-f"])
#: The model's ltl formula, if every process goes on.
LTL = Kind(["-Og", "-DNFAIR=5"], ["-a", "-f"])

#: The search was not what it seems to have been.
PARTIAL = re.compile(r"max search depth too small|reached -DMEMLIM|"
                     r"out of memory|VECTORSZ|hash array size")


class Result:
    """What the verifier said: error is its text, or None."""

    def __init__(self, output, trail):
        self.said = output[:output.find("unreached in")]
        self.trail = trail
        found = re.search(r"^pan:1: (.*)$", output, re.MULTILINE)
        self.error = found.group(1) if found else None
        states = re.search(r"(\S+) states, stored", output)
        self.states = int(float(states.group(1))) if states else 0
        errors = re.search(r"errors: (\d+)", output)
        self.whole = errors is not None and not PARTIAL.search(output)


def run(argv, folder, limit):
    """Output of a command; an error of its own is the test's."""
    try:
        done = subprocess.run(argv, cwd=folder, text=True, timeout=limit,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
    except FileNotFoundError as exc:
        raise AssertionError("%s is missing; scripts/packages installs it"
                             % argv[0]) from exc
    except subprocess.TimeoutExpired as exc:
        raise AssertionError("%s did not end in %d s"
                             % (" ".join(argv), limit)) from exc
    return done.returncode, done.stdout


def verify(model, defines, kind, *more):
    """Makes the verifier, with more compiler options, and runs it."""
    file = "%s.pml" % model
    define = ["-D" + d for d in defines]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / file).write_text((FOLDER / file).read_text())
        code, said = run(["spin", "-a", *define, file], folder, 20)
        assert code == 0, "spin -a: " + said
        code, said = run(["cc", "-w", *kind.compiler, *more, "-o", "pan",
                          "pan.c"], folder, 60)
        assert code == 0, "cc: " + said
        _, said = run(["./pan", "-m1000000", *kind.verifier], folder,
                      kind.seconds)
        trail = ""
        if (Path(folder) / (file + ".trail")).exists():
            trail = run(["spin", "-t", "-p", *define, file], folder, 20)[1]
    return Result(said, trail)


def search(model, *defines, kind=SAFETY):
    """Nothing is wrong in any state of the model."""
    result = verify(model, defines, kind)
    if result.error:
        tap.diag("\n".join(result.trail.splitlines()[-100:]))
    tap.expect(result.error, None, "error")
    assert result.whole, "not searched to its end:\n" + result.said
    tap.diag("%s %s: %d states" % (model, " ".join(defines), result.states))


def find(model, error, *defines, kind=SAFETY):
    """The error (a part of its text) is found."""
    result = verify(model, defines, kind, "-O0")
    assert result.error is not None, "nothing found:\n" + result.said
    assert error in result.error, "found \"%s\", expected \"%s\"" % (
        result.error, error)
    tap.diag("%s %s: %s" % (model, " ".join(defines), result.error))

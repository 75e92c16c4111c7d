#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's code as the kernel's own tools want it: sparse and checkpatch.
Nothing is to be said of it; what is left out has its reason here."""

import re
import shutil
import subprocess
import sys
import os

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import debs, kernels, kselftest, tap       # noqa: E402
from rig.paths import BUILD, ROOT                   # noqa: E402

SOURCES = ROOT / "guest-linux"

#: What checkpatch says of right code.
LEAVE_OUT = (
    "COMPLEX_MACRO",            # lists of names, each given to a macro
    "TRAILING_SEMICOLON",       # ... that declares something
    "MACRO_ARG_UNUSED",         # ... or counts
    "CONST_STRUCT",             # set_peek_off is set when the module begins
    "USE_NEGATIVE_ERRNO",       # sk_err is positive
)

#: In programs there are GLib's pointers that free what they point to, and no
#: __printf(); "on" and "usage" are words, not only names of functions.
LEAVE_OUT_TOOLS = (*LEAVE_OUT, "LINE_SPACING", "NEW_TYPEDEFS",
                   "PREFER_DEFINED_ATTRIBUTE_MACRO", "EMBEDDED_FUNCTION_NAME",
                   "AVOID_EXTERNS")     # what the assembler defines


def checkpatch(files, leave_out):
    """What it says, a list of lines."""
    script = kselftest.source() / "scripts" / "checkpatch.pl"
    done = subprocess.run(
        ["perl", script, "--no-tree", "--terse", "--no-summary",
         "--show-types", "--ignore", ",".join(leave_out), "-f", *files],
        text=True, capture_output=True, timeout=580, check=False)
    assert done.returncode in (0, 1) and not done.stderr, done.stderr
    return done.stdout.splitlines()


@tap.limit(600)
def test_checkpatch_of_the_modules():
    """checkpatch.pl of the newer kernel finds nothing in the modules"""
    said = checkpatch(sorted(SOURCES.glob("vtoe*.[ch]")) +
                      [SOURCES / "compat.h"], LEAVE_OUT)
    tap.expect(said, [], "checkpatch")


@tap.limit(600)
def test_checkpatch_of_the_tools():
    """... nor in the guest's programs"""
    said = checkpatch(sorted((SOURCES / "tools").glob("*.[ch]")),
                      LEAVE_OUT_TOOLS)
    tap.expect(said, [], "checkpatch")


@tap.limit(900)
def test_sparse():
    """sparse finds nothing in the modules on the newer kernel, and W=1
    neither"""
    kernel = kernels.get("6.12")
    tree = BUILD / "check" / "sparse"
    shutil.rmtree(tree, ignore_errors=True)
    # Objects are made anew, or nothing would be checked.
    shutil.copytree(SOURCES, tree / "guest-linux")
    shutil.copytree(ROOT / "include", tree / "include")
    tree /= "guest-linux"
    debs.run([tree / "configure", kernel.headers, tree / "vtoe_config.h"])
    done = subprocess.run(
        ["make", "-j2", "-C", kernel.headers, f"M={tree}", "W=1", "C=1",
         "CHECK=sparse", "modules"],
        text=True, capture_output=True, timeout=880, check=False)
    tap.expect(done.returncode, 0, done.stderr[-2000:])
    assert "CHECK" in done.stdout, done.stdout
    # Some of the kernel's own headers are not clean.
    said = [line for line in done.stderr.splitlines()
            if re.search(r"(warning|error):", line) and str(tree) in line]
    tap.expect(said, [], "sparse and W=1")


if __name__ == "__main__":
    tap.main(globals())

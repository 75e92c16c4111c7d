#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The documentation: a file that it names is there."""

import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import tap             # noqa: E402
from rig.paths import ROOT      # noqa: E402

#: Folders whose names begin paths of ours in running text.
FOLDERS = sorted(p.name for p in ROOT.iterdir()
                 if p.is_dir() and p.name != "build" and p.name[0] != ".")
#: A path from the top, perhaps a pattern of the shell's.
PATH = re.compile(r"(?<![\w/.-])(?:%s)/[\w./*\[\]-]*[\w/*\]]"
                  % "|".join(FOLDERS))
#: Paths of the kernel's, and what stands for a name.
NOT_OURS = re.compile(r"tools/testing/|.*NAME")


def documents():
    """The files in which people read."""
    for folder in [ROOT, *(ROOT / name for name in FOLDERS)]:
        for form in ["*.md", "*.rst", "*.[1-8]"]:
            yield from folder.glob(form if folder == ROOT else "**/" + form)


def missing(text, root):
    """(line, path) of what text names and root does not have."""
    text = text.replace("\\-", "-")     # as manual pages write it
    return [(text.count("\n", 0, m.start()) + 1, m[0])
            for m in PATH.finditer(text)
            if not NOT_OURS.match(m[0]) and not any(root.glob(m[0]))]


def test_files_are_there():
    """README, specs and manuals name no file that is gone"""
    gone = [f"{doc.relative_to(ROOT)}:{line}: {path}" for doc in documents()
            for line, path in missing(doc.read_text(encoding="utf-8"), ROOT)]
    tap.expect(gone, [], "what is named and not there")


def test_a_gone_file_is_seen():
    """a file that is not there is named with its line"""
    text = "``tests/build/*.py``\nsee docs/gone.rst, build/x and\ntests/NAME.c"
    tap.expect(missing(text, ROOT), [(2, "docs/gone.rst")], "missing")


if __name__ == "__main__":
    tap.main(globals())

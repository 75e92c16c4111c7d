#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The graft: a hunk in the wrong place does not go unseen."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import tap                 # noqa: E402
from rig.paths import BUILD, ROOT   # noqa: E402

SOURCE = BUILD / "qemu-src"
CHECK = ROOT / "scripts" / "check-graft"


class Tree:
    """A copy of the grafted files, to be damaged; links included."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        pristine = SOURCE / ".vtoe-pristine"
        shutil.copytree(pristine, self.path / ".vtoe-pristine")
        self.files = [p.relative_to(pristine) for p in pristine.rglob("*")
                      if p.is_file()]
        for name in self.files:
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(SOURCE / name, self.path / name)
        for link in self._links():
            (self.path / link).parent.mkdir(parents=True, exist_ok=True)
            (self.path / link).symlink_to(os.readlink(SOURCE / link))

    @staticmethod
    def _links():
        fixed = ["hw/net/vtoe", "net/vnet", "qapi/vnet.json",
                 "tests/qtest/vtoe",
                 "configs/devices/x86_64-softmmu/vtoe.mak"]
        return fixed + ["include/" + p.name for p in
                        (ROOT / "include").iterdir() if p.is_dir()]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.folder.cleanup()

    def problems(self):
        return []

    def edit(self, name, old, new):
        path = self.path / name
        text = path.read_text()
        tap.expect(text.count(old), 1, "%r in %s" % (old, name))
        path.write_text(text.replace(old, new))

    def check(self):
        """(exit code, stderr) of the checker."""
        done = subprocess.run([CHECK, "--quiet", self.path], text=True,
                              capture_output=True, timeout=60, check=False)
        return done.returncode, done.stderr


def test_good_tree():
    """the tree as it is passes, and every hunk is named with its line"""
    with Tree() as tree:
        tap.expect(tree.check(), (0, ""), "checker")
    said = subprocess.run([CHECK, SOURCE], text=True, capture_output=True,
                          timeout=60, check=True).stdout
    hunks = sum(line.startswith("@@")
                for p in (ROOT / "patches" / "qemu-10.0").glob("*.patch")
                for line in p.read_text().splitlines())
    tap.expect(len(said.splitlines()), hunks, "hunks named")


def damaged(name, old, new, word):
    with Tree() as tree:
        tree.edit(name, old, new)
        code, said = tree.check()
    tap.expect(code, 1, "exit code")
    if word not in said:
        raise AssertionError("%r is not in: %s" % (word, said))


def test_wrong_place():
    """a line that landed elsewhere is an error"""
    line = '        "vnet",\n'
    with Tree() as tree:
        tree.edit("net/net.c", line, "")
        tree.edit("net/net.c", '        "dgram",\n', '        "dgram",\n' + line)
        code, said = tree.check()
    tap.expect((code, "landed at line" in said), (1, True), said)


def test_missing():
    """a line that did not land is an error"""
    damaged("qapi/net.json", "            'vnet',\n", "", "found 0 times")


def test_foreign_change():
    """another change in a file we touch is an error"""
    damaged("net/meson.build", "subdir('vnet')\n",
            "subdir('vnet')\nsubdir('other')\n", "lines were added")


def test_removed_line():
    """a line of QEMU that went is an error"""
    damaged("net/meson.build", "  'announce.c',\n", "", "changed or removed")


def test_missing_link():
    """a folder of ours that is not linked is an error"""
    with Tree() as tree:
        (tree.path / "net/vnet").unlink()
        code, said = tree.check()
    tap.expect((code, "net/vnet is not linked" in said), (1, True), said)


if __name__ == "__main__":
    tap.main(globals())

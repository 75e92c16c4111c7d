#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The Debian packages of the guest: what they hold, and that it builds."""

import functools
import os
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import debs, kernels, tap          # noqa: E402
from rig.paths import BUILD, ROOT           # noqa: E402

OUT = BUILD / "package"
TREE = "usr/src/vtoe-{}"


@functools.cache
def version():
    return debs.run(["dpkg-parsechangelog", "-S", "Version", "-l",
                     ROOT / "debian" / "changelog"]).strip()


@functools.cache
def built():
    """The folder with the packages, made once."""
    debs.run([ROOT / "scripts" / "package"])
    return OUT


@functools.cache
def unpacked(name):
    """The folder with a package's files."""
    folder = OUT / "unpacked" / name
    file, = built().glob(f"{name}_{version()}_*.deb")
    folder.mkdir(parents=True)
    debs.run(["dpkg", "-x", file, folder])
    return folder


@tap.limit(300)
def test_packages_build():
    """dpkg-buildpackage makes the source and both packages"""
    here = debs.run(["dpkg", "--print-architecture"]).strip()
    for name in (f"vtoe-dkms_{version()}_all.deb",
                 f"vtoe-tools_{version()}_{here}.deb",
                 f"vtoe_{version()}.dsc"):
        assert (built() / name).exists(), f"{name} is missing"


@tap.limit(300)
def test_lintian_has_nothing_to_say():
    """lintian --pedantic finds nothing in the source and the packages"""
    changes, = built().glob("*.changes")
    done = subprocess.run(
        ["lintian", "--pedantic", "--fail-on", "none", "--allow-root",
         changes],
        text=True, capture_output=True, timeout=280, check=False)
    tap.expect((done.returncode, done.stdout), (0, ""),
               f"lintian\n{done.stderr}")


def test_manuals_are_right():
    """man has nothing to complain about, and each program has a manual"""
    folder = unpacked("vtoe-tools")
    for page in sorted((ROOT / "guest-linux" / "man").iterdir()):
        done = subprocess.run(
            ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page],
            text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80"},
            timeout=20, check=False)
        tap.expect((done.returncode, done.stderr), (0, ""), page.name)
    for program in (folder / "usr" / "bin").iterdir():
        assert list(folder.glob(f"usr/share/man/man*/{program.name}.*")), \
            f"{program.name} has no manual"


def test_manual_names_every_setting_and_reason():
    """vtoe(4) has every setting of net.vtoe and every reason of a
    fall-back"""
    manual = (ROOT / "guest-linux/man/vtoe.4").read_text()
    header = (ROOT / "guest-linux/vtoe_sock.h").read_text()
    reasons = header.split("#define VTOE_REASONS(X)")[1].split("#define")[0]
    words = [w.split(")")[0] for w in reasons.split("X(")[1:]]
    table = (ROOT / "guest-linux/vtoe_sock_proc.c").read_text()
    words += [w.split('"')[0] for w in table.split('VTOE_CTL("')[1:]]
    words += [w.split('"')[0] for w in table.split('procname	= "')[1:]]
    assert len(words) > 30 and "auto" in words, words
    missing = [w for w in words if w != "none" and w not in manual]
    tap.expect(missing, [], "words that vtoe(4) has not")


def test_tools_start():
    """the programs of vtoe-tools start from where the package puts them"""
    folder = unpacked("vtoe-tools")
    said = debs.run([folder / "usr/bin/vtoess", "--version"])
    tap.expect(said, f"vtoess {version()}\n", "vtoess --version")
    # An empty environment: what is preloaded is the package's own.
    said = debs.run(["env", "-i", folder / "usr/bin/vtoe-run", "/bin/sh", "-c",
                     "echo $LD_PRELOAD"])
    tap.expect(Path(said.strip()).resolve(),
               (folder / "usr/lib/vtoe/libvtoe-run.so").resolve(),
               "what vtoe-run preloads")


@tap.limit(900)
def test_dkms_tree_builds_on_both_kernels():
    """the tree of vtoe-dkms builds for both kernels, as dkms.conf says"""
    source = unpacked("vtoe-dkms") / TREE.format(version())
    conf = (source / "dkms.conf").read_text()
    assert f'PACKAGE_VERSION="{version()}"' in conf, conf
    for line in kernels.LINES:
        kernel = kernels.get(line)
        tree = OUT / "dkms" / kernel.release
        tree.parent.mkdir(exist_ok=True)
        debs.run(["cp", "-r", source, tree])
        # dkms reads its configuration as a shell does, and has make use all
        # processors.
        debs.run(["bash", "-e", "-c",
                  "export MAKEFLAGS=-j$(nproc); "
                  f"kernel_source_dir={kernel.headers}; kernelver="
                  f"{kernel.release}; . ./dkms.conf; eval \"${{MAKE[0]}}\"; "
                  'for m in "${BUILT_MODULE_NAME[@]}"; do '
                  '[ "$(modinfo -F vermagic ./$m.ko | cut -d" " -f1)" = '
                  '"$kernelver" ]; done'], cwd=tree)
        debs.run(["bash", "-e", "-c",
                  f"kernel_source_dir={kernel.headers}; . ./dkms.conf; "
                  "eval \"$CLEAN\""], cwd=tree)
        left = [p.name for p in tree.iterdir()
                if p.suffix in (".ko", ".o", ".mod")]
        tap.expect(left, [], "left after cleaning")


if __name__ == "__main__":
    tap.main(globals())

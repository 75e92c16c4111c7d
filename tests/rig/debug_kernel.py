# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest kernel that looks for mistakes: KASAN, lockdep, kmemleak and others,
as debug-kernel.config names them, built from Debian's package of the kernel's
source.

    cd tests && VTOE_GUEST_KERNEL=6.12-debug guest/test_streams.py -e 6.12

Leaves in build/guest/kernels/6.12-debug what rig/kernels.py leaves of a stock
kernel; the source and what make leaves are in build/guest/debug-kernel.  All
drivers that the guests need are in the kernel, so its modules are ours alone.

Run as a program it makes the kernel, which takes 15 minutes on two cores, and
a second when it is there.
"""

import hashlib
import os
import shutil
import subprocess
import sys

from . import debs
from .paths import GUEST, KERNELS, RIG, RigError, making

LINE = "6.12-debug"
PACKAGE = "linux-source-6.12"
CONFIG = RIG / "debug-kernel.config"

WORK = GUEST / "debug-kernel"
SOURCE = WORK / "linux"
OBJECTS = WORK / "build"
FOLDER = KERNELS / LINE

#: What of the source is not unpacked, as tar's patterns: most of it, and
#: nothing of what the configuration takes.  Folders stay, for their Kconfig.
WITHOUT = ("*.rst", "*.yaml", "*.dts*",
           *(f"*/{folder}/*.[ch]" for folder in (
               "drivers/gpu", "drivers/infiniband", "drivers/media",
               "drivers/net/ethernet", "drivers/net/wireless",
               "drivers/staging", "sound", "tools/testing")))


@making
def make():
    """The kernel, built when something that goes into it has changed."""
    package = _package()
    stamp = FOLDER / "inputs"
    inputs = f"{package.name} {_digest(CONFIG)}\n"
    if stamp.exists() and stamp.read_text() == inputs:
        return
    _unpack(package)
    _configure()
    print("debug kernel: building (about 15 minutes on two cores)",
          file=sys.stderr, flush=True)
    _make("bzImage", "modules")
    shutil.rmtree(FOLDER, ignore_errors=True)
    _make("modules_install", f"INSTALL_MOD_PATH={FOLDER / 'root'}")
    release = (OBJECTS / "include/config/kernel.release").read_text().strip()
    shutil.copy(OBJECTS / "arch/x86/boot/bzImage", FOLDER / "vmlinuz")
    (FOLDER / "modules").symlink_to(f"root/lib/modules/{release}")
    (FOLDER / "headers").symlink_to(os.path.relpath(OBJECTS, FOLDER))
    (FOLDER / "release").write_text(release + "\n")
    # Written last: its presence says that the folder is complete.
    stamp.write_text(inputs)


def _package():
    if not list(debs.ARCHIVE.glob(f"{PACKAGE}_*.deb")):
        debs.refresh()
    return debs.download([PACKAGE])[PACKAGE]


def _digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _unpack(package):
    """The source, all or nothing."""
    mark = WORK / ".source"
    wanted = " ".join([package.name, *WITHOUT])
    if mark.exists() and mark.read_text() == wanted:
        return
    print("debug kernel: unpacking the source (about half a minute)",
          file=sys.stderr, flush=True)
    shutil.rmtree(WORK, ignore_errors=True)
    SOURCE.mkdir(parents=True)
    OBJECTS.mkdir()
    script = ('dpkg-deb --fsys-tarfile "$0" | tar -xO "$1" | xz -dc | '
              'tar -x -C "$2" --strip-components=1 --wildcards "${@:3}"')
    debs.run(["bash", "-e", "-o", "pipefail", "-c", script, package,
              f"./usr/src/{PACKAGE}.tar.xz", SOURCE,
              *(f"--exclude={pattern}" for pattern in WITHOUT)])
    mark.write_text(wanted)


def _configure():
    """A configuration that has each line of ours."""
    _make("allnoconfig", f"KCONFIG_ALLCONFIG={CONFIG}")
    have = set((OBJECTS / ".config").read_text().splitlines())
    lost = [line for line in CONFIG.read_text().splitlines()
            if line.startswith("CONFIG_") and line not in have]
    if lost:
        raise RigError(f"{CONFIG.name}: the kernel's source does not take "
                       f"{', '.join(lost)}")


def _make(*targets):
    log = WORK / f"{targets[0]}.log"
    jobs = os.cpu_count() or 1
    with log.open("w") as out:
        done = subprocess.run(
            ["nice", "make", "-C", SOURCE, f"-j{jobs}", "-s", f"O={OBJECTS}",
             "ARCH=x86_64", *targets], stdin=subprocess.DEVNULL, stdout=out,
            stderr=subprocess.STDOUT, check=False,
            env={**os.environ, "KBUILD_BUILD_USER": "vtoe",
                 "KBUILD_BUILD_HOST": "vtoe"})
    if done.returncode:
        tail = "\n".join(log.read_text().splitlines()[-12:])
        raise RigError(f"make {targets[0]} failed (log: {log}):\n{tail}")


if __name__ == "__main__":
    try:
        make()
    except RigError as error:
        sys.exit(f"debug kernel: error: {error}")

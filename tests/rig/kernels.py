# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's two stock kernels, with modules and headers, without installing.

Leaves, for each of KERNELS ("6.1" and "6.12"):

    build/guest/kernels/6.12/vmlinuz    the kernel
    build/guest/kernels/6.12/vmlinux    the same, unpacked
    build/guest/kernels/6.12/release    its release, as uname -r says it
    build/guest/kernels/6.12/modules    lib/modules/RELEASE, depmod has run
    build/guest/kernels/6.12/headers    for make -C ... M=...

A kernel that is there is never fetched again; remove its folder to take the
archive's newest.

VTOE_GUEST_KERNEL names a kernel that stands for all others: 6.12-debug is what
rig/debug_kernel.py builds.

Run as a program it makes all, and prints one line for each.
"""

import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from . import bzimage, debs, debug_kernel
from .paths import GUEST, KERNELS, RigError, making

#: Names of image packages, as expressions, per kernel line.
LINES = {
    "6.1": r"linux-image-6\.1\.0-\d+-amd64",
    "6.12": r"linux-image-6\.12\.[0-9.]+\+deb12[0-9.]*-amd64",
}


@dataclass(frozen=True)
class Kernel:
    """One unpacked kernel."""
    line: str           #: "6.1" or "6.12"
    release: str        #: uname -r
    folder: Path        #: holds vmlinuz, modules, headers

    @property
    def debug(self):
        """Built here, to look for mistakes; it has no modules but ours."""
        return self.line == debug_kernel.LINE

    @property
    def vmlinuz(self):
        return self.folder / "vmlinuz"

    @property
    def vmlinux(self):
        """What the rig boots: the kernel that vmlinuz holds, as an ELF
        file."""
        path = self.folder / "vmlinux"
        if self.debug:
            return self.vmlinuz
        if not path.exists():
            new = path.with_suffix(f".new{os.getpid()}")
            new.write_bytes(bzimage.unpack(self.vmlinuz))
            new.rename(path)
        return path

    @property
    def modules(self):
        """The folder lib/modules/RELEASE."""
        return self.folder / "modules"

    @property
    def root(self):
        """What modprobe -d takes: the folder that has lib/modules."""
        return self.folder / "root"

    @property
    def headers(self):
        return self.folder / "headers"


@making
def get(line):
    """The kernel of that line; fetches and unpacks it when missing."""
    line = os.environ.get("VTOE_GUEST_KERNEL", line)
    folder = KERNELS / line
    if line == debug_kernel.LINE:
        debug_kernel.make()
    elif line not in LINES:
        raise RigError(f"unknown kernel line {line!r}: "
                       f"one of {', '.join(LINES)} is meant")
    elif not (folder / "release").exists():
        _make(line, folder)
    return Kernel(line, (folder / "release").read_text().strip(), folder)


def _make(line, folder):
    if shutil.which("depmod", path="/usr/sbin:/sbin:/usr/bin:/bin") is None:
        raise RigError("depmod is missing: install the package kmod "
                       "(make setup does)")
    print(f"kernel {line}: fetching and unpacking (about half a minute)",
          file=sys.stderr, flush=True)
    debs.refresh()
    image = debs.newest(LINES[line])
    release = image[len("linux-image-"):]
    headers = debs.depends(f"linux-headers-{release}",
                           r"linux-(headers|kbuild|compiler)-")
    files = debs.download([image, *headers])

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    debs.unpack(files.values(), folder / "root")
    _relocate_headers(folder / "root", release)

    _link(folder / "vmlinuz", f"root/boot/vmlinuz-{release}")
    _link(folder / "modules", f"root/lib/modules/{release}")
    _link(folder / "headers", f"root/usr/src/linux-headers-{release}")
    for name in ("vmlinuz", "modules/kernel", "headers/Module.symvers"):
        if not (folder / name).exists():
            raise RigError(f"{folder / name} is missing after unpacking "
                           f"{image}: the package has another layout")
    debs.run(["/usr/sbin/depmod" if os.path.exists("/usr/sbin/depmod")
               else "depmod", "-b", folder / "root", release])
    # Written last: its presence says that the folder is complete.
    (folder / "release").write_text(release + "\n")


def _relocate_headers(root, release):
    """Make the unpacked headers usable where they lie.

    Debian's per-flavour Makefile includes the common one by its installed
    path; everything else is found relative to it.  The vmlinux of 6.12
    (type information only) goes, since with it there a module build needs
    pahole, and ours need no BTF.
    """
    headers = root / "usr/src" / f"linux-headers-{release}"
    makefile = headers / "Makefile"
    text = makefile.read_text()
    new, count = re.subn(
        r"^include /usr/src/",
        "include $(dir $(lastword $(MAKEFILE_LIST)))../", text, flags=re.M)
    if count != 1:
        raise RigError(f"{makefile} does not include the common Makefile as "
                       f"expected:\n{text}")
    makefile.write_text(new)
    (headers / "vmlinux").unlink(missing_ok=True)
    build = root / "lib/modules" / release / "build"
    if build.is_symlink():
        build.unlink()
    build.symlink_to(os.path.relpath(headers, build.parent))


def _link(path, target):
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def main():
    GUEST.mkdir(parents=True, exist_ok=True)
    for line in LINES:
        kernel = get(line)
        print(f"{line}: {kernel.release}, headers in {kernel.headers}")


if __name__ == "__main__":
    try:
        main()
    except RigError as error:
        sys.exit(f"kernels: error: {error}")

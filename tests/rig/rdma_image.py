# SPDX-License-Identifier: GPL-2.0-or-later
"""The image of a guest that is a host: RDMA in software, and our own QEMU.

Beside what every image has, it holds rdma_rxe with the user side of RDMA
(libibverbs, librdmacm, perftest, rping, rstream), and from the build QEMU,
its firmware and the qtest programs, without their debugging information.

It stays one initramfs.  QEMU stripped is 10 MB and the whole image about 60:
loading and unpacking them takes less time than a disk would need drivers for.

With sanitizers QEMU is another, of the build that scripts/qemu-build names so
("asan", "tsan"), and keeps its symbols; the qtest programs stay the same.
"""

import os
from functools import partial
from pathlib import Path

from . import debs, image
from .paths import BUILD, GUEST, QEMU, ROOT, RigError

#: Where QEMU and the qtest programs are in the guest.
BIN = "/usr/local/bin"

#: Forces queue pairs of a program that has it preloaded into the error state,
#: see its source.
QP_ERROR = "/usr/local/lib/vtoe/qp-error.so"
#: For TSAN_OPTIONS.
TSAN_SUPPRESSIONS = "/usr/local/lib/vtoe/tsan-suppressions"

#: Libraries that QEMU and its tests are linked with; what these need comes
#: along, and so do the programs' own.
LIBRARIES = ("libglib2.0-0", "libgnutls30", "libibverbs1", "libpixman-1-0",
             "librdmacm1", "libslirp0", "zlib1g", "libgcc-s1")
#: The packages of a sanitizer's runtime, and the library that has to be
#: preloaded before any other.
SANITIZERS = {"asan": (("libasan8", "libubsan1"), "libasan.so.8"),
              "tsan": (("libtsan2",), "libtsan.so.2")}
#: What QEMU asks for when it boots a guest, or under qtest boots none.
FIRMWARE = ("seabios/bios-256k.bin", "qemu/kvmvapic.bin",
            "qemu/linuxboot_dma.bin")

#: rxe computes its checksums with the crypto layer's crc32 and does not ask
#: for the module by itself.
MODULES = ("rdma_rxe", "rdma_ucm", "ib_uverbs", "ib_umad", "crc32_generic")

STRIPPED = GUEST / "stripped"


def programs():
    """The qtest programs and tools of the build: {name: path}."""
    folder = QEMU.parent / "tests" / "qtest" / "vtoe"
    return {p.name: p for p in sorted(folder.glob("*"))
            if p.is_file() and os.access(p, os.X_OK)}


def preloaded(kind):
    """What a QEMU of this kind, "" or a sanitizer, has preloaded, in order."""
    runtime = [SANITIZERS[kind][1]] if kind else []
    return [*runtime, QP_ERROR]


def _qemu(kind):
    path = BUILD / f"qemu-{kind}" / QEMU.name if kind else QEMU
    if not path.exists():
        raise RigError(f"{path} is missing: build it first (make setup, or "
                       f"scripts/qemu-build {kind})")
    return path


def _built(kind):
    """What the build gives: {path on the image: file}."""
    files = {f"usr/local/bin/{name}": _stripped(path)
             for name, path in programs().items()}
    files[f"usr/local/bin/{QEMU.name}"] = _stripped(
        _qemu(kind), "--strip-debug" if kind else "--strip-all")
    for name in FIRMWARE:
        files[f"usr/share/{name}"] = _firmware(name)
    files[QP_ERROR.lstrip("/")] = image.compile_own(
        "qp-error.so", [ROOT / "tests" / "rdma" / name
                        for name in ("qp-error.c", "crash.c", "late-wake.c")],
        flags=["-shared", "-fPIC"],
        libraries=["-lrdmacm", "-libverbs"])
    files[TSAN_SUPPRESSIONS.lstrip("/")] = \
        ROOT / "tests" / "rdma" / "tsan" / "suppressions"
    return files


def _firmware(name):
    path = Path("/usr/share") / name
    if not path.exists():
        raise RigError(f"{path} is missing: install the firmware packages "
                       "(make setup does)")
    return path.resolve()


def _stripped(path, how="--strip-all"):
    """A copy without debugging information, made again when the program is
    another."""
    folder = STRIPPED / path.parent.name
    copy = folder / path.name
    mark = copy.with_name(f".{copy.name}.source")
    stat = path.stat()
    source = f"{how} {path} {stat.st_size} {stat.st_mtime_ns}"
    if copy.exists() and mark.exists() and mark.read_text() == source:
        return copy
    copy.parent.mkdir(parents=True, exist_ok=True)
    tmp = copy.with_name(f".{copy.name}.{os.getpid()}")
    debs.run(["strip", how, "-o", tmp, path])
    tmp.rename(copy)
    mark.write_text(source)
    return copy


#: What a guest in that host has.
INNER = image.Recipe(
    name="initramfs-inner",
    packages=("busybox-static", "ethtool", "iperf3"),
    programs=("sbin/ethtool", "usr/bin/iperf3"),
    modules=("virtio_pci", "virtio_console"))


def recipe(kind=""):
    """What a host has; kind: "" or a sanitizer."""
    runtime = SANITIZERS[kind][0] if kind else ()
    return image.Recipe(
        name="initramfs-rdma" + (f"-{kind}" if kind else ""),
        packages=(*image.PACKAGES, "ibverbs-providers", "ibverbs-utils",
                  "perftest", "rdmacm-utils", *LIBRARIES, *runtime),
        programs=(*image.PROGRAMS, "usr/bin/rdma", "usr/bin/ibv_devinfo",
                  "usr/bin/ibv_rc_pingpong", "usr/bin/ib_send_bw",
                  "usr/bin/ib_send_lat", "usr/bin/rping", "usr/bin/rstream"),
        files=("etc/libibverbs.d/rxe.driver",
               "usr/lib/x86_64-linux-gnu/libibverbs/librxe-*.so",
               # pthread_exit() loads it.
               "lib/x86_64-linux-gnu/libgcc_s.so.1"),
        modules=(*image.MODULES, *MODULES),
        more=partial(_built, kind))

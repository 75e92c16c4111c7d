# SPDX-License-Identifier: GPL-2.0-or-later
"""The initramfs that a test guest boots, one for each kernel and recipe.

Holds the agent as /init, busybox, our own modules and test programs as far as
they are built, and what a recipe names: programs of Debian packages with the
libraries they need, kernel modules with those they need.  STOCK is the recipe
of the guests that are joined by an overlay; other modules have others.
Nothing is compressed but by QEMU's own loader: a guest under TCG copies
faster than it decompresses.

An image is made again only when something that goes into it has changed.

Run as a program it makes kernels and images, and prints where they are:

    python3 -m rig.image            (in tests/)
"""

import hashlib
import json
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import debs, kernels
from .cpio import Archive
from .paths import GUEST, GUEST_MODULES, RIG, ROOT, RigError, making

PACKAGES = ("busybox-static", "iproute2", "ethtool", "iperf3", "sockperf")
PROGRAMS = ("bin/ip", "bin/ss", "sbin/bridge", "sbin/tc", "usr/bin/nstat",
            "sbin/ethtool", "usr/bin/iperf3", "usr/bin/sockperf")

#: Stock modules on the image; what they need comes along.
MODULES = ("virtio_pci", "virtio_net", "virtio_console", "virtio_blk",
           "virtio_rng", "e1000e", "veth", "bridge", "vxlan", "tun", "8021q",
           "dummy", "sch_netem")


@dataclass(frozen=True)
class Recipe:
    """What one sort of image holds.

    name      of the image's file
    packages  Debian packages whose files are there to choose from
    programs  paths in them
    files     more paths in them, as patterns; also what is only ever loaded
              by name while a program runs
    modules   stock kernel modules
    more      a function that returns {path on the image: file} of what is not
              from a package, or None
    shell     what /bin/sh is
    """
    name: str
    packages: tuple
    programs: tuple
    modules: tuple
    files: tuple = ()
    more: object = None
    shell: str = "busybox"

    @property
    def tools(self):
        """The folder that the packages are unpacked in; recipes with the
        same packages share it."""
        if self.packages == PACKAGES:
            return GUEST / "tools"
        key = hashlib.sha256(" ".join(self.packages).encode()).hexdigest()
        return GUEST / f"tools-{key[:8]}"


STOCK = Recipe("initramfs", PACKAGES, PROGRAMS, MODULES)

PROG_SOURCES = ROOT / "tests" / "guest" / "prog"
PROG_BUILD = GUEST / "prog"

#: Libraries of test programs, linked in: the image has no place for them.
PROG_LIBRARIES = {"sock": ["-l:liburing.a"]}

CFLAGS = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror",
          "-Wno-missing-field-initializers"]


@making
def get(line, recipe=STOCK):
    """The image for kernel line "6.1" or "6.12", made or made again when
    needed.  Returns its path."""
    kernel = kernels.get(line)
    unpacked(recipe)
    agent = compile_own("agent", [RIG / "agent.c", RIG / "agent_boot.c"],
                        [RIG / "agent.h", RIG / "agent_boot.h"],
                        ["-static"])
    own = {f"usr/local/bin/{p.name}": p for p in _programs()}
    own.update(_own_modules(kernel))
    own["init"] = agent
    if recipe.more:
        own.update(recipe.more())

    image = kernel.folder / recipe.name
    stamp = kernel.folder / f"{recipe.name}.inputs"
    inputs = _fingerprint(kernel, recipe, own)
    if image.exists() and stamp.exists() and stamp.read_text() == inputs:
        return image
    data = _assemble(kernel, recipe, own)
    tmp = image.with_suffix(f".new{os.getpid()}")
    tmp.write_bytes(data)
    tmp.rename(image)
    stamp.write_text(inputs)
    return image


def _fingerprint(kernel, recipe, own):
    """One text that differs when anything on the image would."""
    parts = {
        "kernel": kernel.release,
        "tools": (recipe.tools / ".packages").read_text(),
        "holds": [recipe.programs, recipe.files, recipe.modules,
                  recipe.shell],
        "maker": [_digest(RIG / n) for n in ("image.py", "cpio.py")],
        "own": {name: _digest(path) for name, path in sorted(own.items())},
    }
    return json.dumps(parts, indent=1, sort_keys=True)


def _digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@making
def unpacked(recipe=STOCK):
    """The recipe's unpacked packages, fetched once."""
    tools = recipe.tools
    mark = tools / ".packages"
    wanted = " ".join(recipe.packages)
    if mark.exists() and mark.read_text().splitlines()[0] == wanted:
        return tools
    print("guest programs: fetching and unpacking (about 10 seconds)",
          file=sys.stderr, flush=True)
    debs.refresh()
    files = debs.download_closure(recipe.packages)
    debs.unpack(files, tools)
    mark.write_text("\n".join([wanted, *sorted(f.name for f in files)]))
    return tools


@making
def compile_own(name, sources, headers=(), flags=(), libraries=()):
    """A program for the guest; its path.  Those that vtoe-run is to reach
    must not be static."""
    PROG_BUILD.mkdir(parents=True, exist_ok=True)
    target, stamp = PROG_BUILD / name, PROG_BUILD / f".{name}.inputs"
    flags = [*CFLAGS, *flags]
    inputs = " ".join([*flags, *libraries,
                       *(_digest(p) for p in (*sources, *headers))])
    if target.exists() and stamp.exists() and stamp.read_text() == inputs:
        return target
    done = subprocess.run(
        ["gcc", *flags, "-o", str(target), *map(str, sources), *libraries],
        capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RigError(f"compiling {sources[0]} failed:\n{done.stderr}")
    stamp.write_text(inputs)
    return target


def _programs():
    """The test programs, one for each .c in tests/guest/prog but common.c,
    which is part of every one, and NAME_PART.c, a part of NAME."""
    common = PROG_SOURCES / "common.c"
    headers = sorted(PROG_SOURCES.glob("*.h"))
    return [compile_own(p.stem,
                        [p, *sorted(PROG_SOURCES.glob(f"{p.stem}_*.c")),
                         common], headers,
                        libraries=PROG_LIBRARIES.get(p.stem, ()))
            for p in sorted(PROG_SOURCES.glob("*.c"))
            if p != common and "_" not in p.stem]


def _own_modules(kernel):
    """What the project itself puts into a guest: {path on image: file}."""
    own = {}
    for path in sorted((GUEST_MODULES / kernel.release).glob("*.ko")):
        own[f"usr/lib/modules/{kernel.release}/updates/{path.name}"] = path
    run = GUEST_MODULES / "vtoe-run"
    if run.exists():
        own["usr/local/bin/vtoe-run"] = run
        library = GUEST_MODULES / "libvtoe-run.so"
        own[f"usr/local/lib/vtoe/{library.name}"] = library
    return own


# Putting it together.

def _assemble(kernel, recipe, own):
    out, tools = Archive(), recipe.tools
    for name in ("bin", "sbin", "lib", "lib64"):
        out.directory(f"usr/{name}")
        out.symlink(name, f"usr/{name}")
    for name in ("dev", "proc", "sys", "tmp", "run", "root", "etc"):
        out.directory(name)
    # The kernel opens it for the first process before anything is mounted.
    out.device("dev/console", 5, 1)
    out.symlink("var", "tmp")
    out.file("etc/passwd", b"root:x:0:0:root:/:/bin/sh\n"
             b"nobody:x:65534:65534:nobody:/:/bin/false\n")
    out.file("etc/group", b"root:x:0:\nnogroup:x:65534:\n")
    out.file("etc/hosts", b"127.0.0.1 localhost\n::1 localhost\n")
    out.file("etc/profile", b"export PS1='\\h# '\n")

    busybox = tools / "bin/busybox"
    out.file("usr/bin/busybox", busybox.read_bytes(), 0o755)
    for applet in _busybox_applets(busybox):
        out.symlink(f"usr/lib/busybox/{applet}", "../../bin/busybox")
    out.symlink("usr/bin/sh", recipe.shell)
    libraries = Libraries(recipe, out)
    for program in recipe.programs:
        libraries.program(program)
    for pattern in recipe.files:
        libraries.files(pattern)
    _add_modules(out, kernel, recipe, own)
    for name, path in own.items():
        if name.endswith(".ko"):
            continue
        mode = 0o755 if os.access(path, os.X_OK) else 0o644
        data = path.read_bytes()
        out.file(name, data, mode)
        if _is_elf(data):
            libraries.needed_by(path)
    return out.bytes()


def _is_elf(data):
    return data[:4] == b"\x7fELF"


def _busybox_applets(busybox):
    return debs.run([busybox, "--list"]).split()


class Libraries:
    """Copies programs with the shared libraries they need, from the unpacked
    packages."""

    # Debian's alternatives would choose the one of BLAS.
    FOLDERS = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu",
               "usr/lib/x86_64-linux-gnu/blas", "lib64", "usr/local/lib/vtoe")

    def __init__(self, recipe, out):
        self.tools, self.out = recipe.tools, out
        self.packages = " ".join(recipe.packages)
        self.done = set()

    def program(self, path):
        source = self.tools / path
        if not source.exists():
            raise RigError(f"the packages have no /{path}: "
                           f"is it still in {self.packages}?")
        self._file(source)

    def files(self, pattern):
        """Everything in the packages that matches, at least one file."""
        found = [p for p in sorted(self.tools.glob(pattern)) if p.is_file()]
        if not found:
            raise RigError(f"the packages have no /{pattern}: "
                           f"is it still in {self.packages}?")
        for source in found:
            self._file(source)

    def _file(self, source):
        data = source.read_bytes()
        mode = 0o755 if os.access(source, os.X_OK) else 0o644
        self.out.file(self._merged(str(source.relative_to(self.tools))), data,
                      mode)
        if _is_elf(data):
            self.needed_by(source)

    def needed_by(self, elf):
        names, interpreter = _elf_needs(elf)
        if interpreter:
            names = [*names, os.path.basename(interpreter)]
        for name in names:
            if name not in self.done:
                self.done.add(name)
                self._library(name, elf)

    def _library(self, name, elf):
        for folder in self.FOLDERS:
            source = self.tools / folder / name
            # An absolute link would lead out of the unpacked tree.
            if source.is_symlink() and os.readlink(source).startswith("/"):
                source = self.tools / os.readlink(source).lstrip("/")
            if source.exists():
                where = "usr/lib64" if name.startswith("ld-linux") \
                    else "usr/lib/x86_64-linux-gnu"
                self.out.file(f"{where}/{name}", source.read_bytes(), 0o755)
                self.needed_by(source)
                return
        raise RigError(f"{elf} needs {name}, which no package of "
                       f"{self.packages} brings along")

    @staticmethod
    def _merged(path):
        """/bin and its kind are links into /usr on the image."""
        return f"usr/{path}" if path.split("/")[0] in (
            "bin", "sbin", "lib", "lib64") else path


def _elf_needs(path):
    """Names of the libraries an ELF file needs, and its interpreter."""
    out = debs.run(["readelf", "-d", "-l", path])
    names = [line.split("[")[1].rstrip("]") for line in out.splitlines()
             if "(NEEDED)" in line]
    interpreter = None
    for line in out.splitlines():
        if "Requesting program interpreter:" in line:
            interpreter = line.split(": ")[1].rstrip("]")
    return names, interpreter


def _add_modules(out, kernel, recipe, own):
    """The wanted modules, unpacked, and an index of just these."""
    base = f"usr/lib/modules/{kernel.release}"
    with tempfile.TemporaryDirectory(dir=GUEST) as tmp:
        root = Path(tmp) / base
        stock = () if kernel.debug else recipe.modules
        for path in _module_closure(kernel, stock):
            relative = path.relative_to(kernel.modules.resolve())
            data = path.read_bytes()
            if relative.suffix == ".xz":
                data = lzma.decompress(data)
                relative = relative.with_suffix("")
            target = root / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        for name, path in own.items():
            if name.endswith(".ko"):
                target = Path(tmp) / name
                target.parent.mkdir(parents=True, exist_ok=True)
                # Type information for debuggers is most of its size.
                debs.run(["objcopy", "--strip-debug", path, target])
        for path in kernel.modules.glob("modules.builtin*"):
            shutil.copy(path, root)
        shutil.copy(kernel.modules / "modules.order", root)
        (Path(tmp) / "lib").symlink_to("usr/lib")
        debs.run(["/usr/sbin/depmod", "-b", tmp,
                   kernel.release])
        for path in sorted(root.rglob("*")):
            if path.is_file() and not path.name.endswith(".bin"):
                out.file(f"{base}/{path.relative_to(root)}",
                         path.read_bytes())


def _module_closure(kernel, modules):
    """Files of the modules and of what they need."""
    found = {}
    for name in modules:
        listing = debs.run(
            ["/usr/sbin/modprobe", "-d", kernel.root, "-S", kernel.release,
             "--show-depends", name])
        for line in listing.splitlines():
            word = line.split()
            if word[0] == "insmod":
                found[Path(word[1]).resolve()] = None
    return list(found)


def main():
    for line in kernels.LINES:
        image = get(line)
        print(f"{line}: {image} ({image.stat().st_size >> 10} KiB)")


if __name__ == "__main__":
    try:
        main()
    except RigError as error:
        sys.exit(f"image: error: {error}")

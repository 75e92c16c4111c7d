# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian packages for the guests, unpacked under build/guest and never
installed.

apt-get runs with the build's own configuration (scripts/apt-private), so the
signatures are checked and the machine's own sources stay as they are.
"""

import re
import shutil
import subprocess
from pathlib import Path

from .paths import BUILD, GUEST, ROOT, RigError, making

APT_PRIVATE = ROOT / "scripts" / "apt-private"
APT_CONF = BUILD / "apt" / "apt.conf"
ARCHIVE = GUEST / "debs"


def run(argv, cwd=None, timeout=900):
    """Run a host command; its output, or RigError with what it said."""
    try:
        done = subprocess.run([str(a) for a in argv], cwd=cwd, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=timeout, check=False)
    except subprocess.TimeoutExpired as exc:
        raise RigError(f"{argv[0]} {argv[1]} did not end in {timeout} s"
                       ) from exc
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-8:])
        raise RigError(f"{' '.join(map(str, argv[:6]))} failed with exit "
                       f"code {done.returncode}:\n{tail}")
    return done.stdout


def apt_get(*argv, cwd=None):
    """apt-get with the build's configuration; returns its stdout."""
    return run([APT_PRIVATE, *argv], cwd=cwd)


def apt_cache(*argv):
    """apt-cache over the lists that apt_get() keeps fresh."""
    return run(["apt-cache", "-c", APT_CONF, *argv])


@making
def refresh():
    """Make the package lists usable (apt-private fetches stale ones)."""
    apt_get("indextargets", "--format", "$(SITE)")


def newest(pattern):
    """The package whose name matches ``pattern`` (a full match) and sorts
    last as a version.  The names of kernel packages carry the version."""
    names = [n for n in apt_cache("pkgnames", pattern.split("\\")[0]).split()
             if re.fullmatch(pattern, n)]

    def key(name):
        return [int(p) if p.isdigit() else p
                for p in re.split(r"(\d+)", name)]

    for name in sorted(names, key=key, reverse=True):
        if _has_candidate(name):
            return name
    raise RigError(f"no package of the archive matches {pattern}")


def _has_candidate(name):
    return bool(re.search(r"Candidate: (?!\(none\))",
                          apt_cache("policy", name)))


def depends(name, wanted):
    """``name`` and the packages it needs, as far as their names match the
    expression ``wanted``; depth first, each once."""
    seen = []

    def visit(pkg):
        if pkg in seen:
            return
        seen.append(pkg)
        out = apt_cache("depends", "--no-recommends", "--no-suggests",
                        "--no-conflicts", "--no-breaks", "--no-replaces",
                        "--no-enhances", pkg)
        for dep in re.findall(r"Depends: (\S+)", out):
            if re.match(wanted, dep):
                visit(dep)

    visit(name)
    return seen


@making
def download(names):
    """Fetch the packages; returns {name: path of the .deb}."""
    ARCHIVE.mkdir(parents=True, exist_ok=True)
    missing = [n for n in names if not _newest_file(n)]
    if missing:
        apt_get("-q", "download", *missing, cwd=ARCHIVE)
    found = {n: _newest_file(n) for n in names}
    for name, path in found.items():
        if path is None:
            raise RigError(f"apt-get download left no {name}_*.deb "
                           f"in {ARCHIVE}")
    return found


@making
def download_closure(names):
    """Fetch packages with everything they depend on, as onto an empty
    system; returns the paths of the .deb files."""
    ARCHIVE.mkdir(parents=True, exist_ok=True)
    empty = ARCHIVE / "empty-status"
    empty.write_text("")
    for folder in ("closure", "none"):
        (ARCHIVE / folder / "partial").mkdir(parents=True, exist_ok=True)

    def apt(folder, *argv):
        return apt_get("-o", f"Dir::State::status={empty}",
                       "-o", f"Dir::Cache::archives={ARCHIVE / folder}",
                       "--no-install-recommends", "-qq", "-y", *argv,
                       "install", *names)

    # It leaves out what is there already, so it is asked where nothing is.
    uris = apt("none", "--print-uris")
    wanted = re.findall(r"^'\S+' (\S+\.deb) ", uris, re.M)
    apt("closure", "--download-only")
    # apt names the archives with the architecture and an escaped epoch,
    # exactly as --print-uris says.
    present = {p.name for p in (ARCHIVE / "closure").glob("*.deb")}
    missing = [f for f in wanted if f not in present]
    if missing:
        raise RigError(f"apt-get did not leave {missing[0]} in "
                       f"{ARCHIVE / 'closure'}")
    return [ARCHIVE / "closure" / f for f in wanted]


def _newest_file(name):
    files = sorted(ARCHIVE.glob(f"{name}_*.deb"),
                   key=lambda p: p.stat().st_mtime)
    return files[-1] if files else None


def unpack(paths, dest):
    """dpkg -x each archive into the new folder ``dest``, all or nothing."""
    dest = Path(dest)
    tmp = dest.with_name(dest.name + ".new")
    shutil.rmtree(tmp, ignore_errors=True)
    tmp.mkdir(parents=True)
    for path in paths:
        run(["dpkg", "-x", path, tmp])
    shutil.rmtree(dest, ignore_errors=True)
    tmp.rename(dest)

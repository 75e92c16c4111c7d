# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the rig finds things.  VTOE_BUILD moves the build folder, as it does
for the Makefile."""

import contextlib
import fcntl
import os
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("VTOE_BUILD", ROOT / "build")).resolve()
RIG = ROOT / "tests" / "rig"

#: QEMU, and the Python packages in its source tree that drive it.
QEMU = Path(os.environ.get("VTOE_QEMU", BUILD / "qemu" / "qemu-system-x86_64"))
QEMU_PYTHON = BUILD / "qemu-src" / "python"

#: Everything a guest boots from.
GUEST = BUILD / "guest"
KERNELS = GUEST / "kernels"

#: The project's guest modules: one folder per kernel release.
GUEST_MODULES = BUILD / "guest-linux"

#: The files each run leaves behind for a person to read.
LOGS = GUEST / "logs"


#: How much longer than on a stock kernel everything may take; for guests that
#: look for mistakes in what they do.
SLOW = int(os.environ.get("VTOE_SLOW", "1"))


class _Making(contextlib.ContextDecorator):
    """Held by who makes what is below GUEST, so that tests which run at the same
    time do not make the same thing into the same place.  May be held twice by
    one thread."""

    def __init__(self):
        self._threads = threading.RLock()
        self._depth = 0
        self._file = None

    def __enter__(self):
        with contextlib.ExitStack() as undo:
            self._threads.acquire()
            undo.callback(self._threads.release)
            if not self._depth:
                GUEST.mkdir(parents=True, exist_ok=True)
                file = undo.enter_context(open(GUEST / ".making", "w",
                                               encoding="ascii"))
                fcntl.flock(file, fcntl.LOCK_EX)
                self._file = file
            self._depth += 1
            undo.pop_all()
        return self

    def __exit__(self, *exc):
        self._depth -= 1
        if not self._depth:
            self._file.close()
        self._threads.release()


making = _Making()


class RigError(Exception):
    """Something the rig needs is missing or did not happen in time.

    The message names what was waited for or looked for; ``str()`` of it is
    meant to be read by a person.
    """

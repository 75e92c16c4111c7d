# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the rig finds things.  VTOE_BUILD moves the build folder, as it does
for the Makefile."""

import os
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


class RigError(Exception):
    """Something the rig needs is missing or did not happen in time.

    The message names what was waited for or looked for; ``str()`` of it is
    meant to be read by a person.
    """

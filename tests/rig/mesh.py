# SPDX-License-Identifier: GPL-2.0-or-later
"""More than two guests, each joined to each by a link of its own.

          a ===== b
          || \\\\ // ||
          ||  XX  ||          guest number n, from 0:
          || // \\\\ ||          10.77.0.(n+1)/24, fd77::(n+1)/64
          c ===== d

    with Mesh(4) as mesh:
        mesh.guests[0].run(["ping", "-c1", mesh.address(3)])
"""

import shutil
import tempfile
from pathlib import Path

from . import image, topo
from .guest import Guest
from .paths import LOGS
from .setup import Setup


class Mesh(Setup):
    """vtoe-pci NICs on vnet overlays with unix links that have split horizon;
    options as of Guest."""

    def __init__(self, count, logs=None, recipe=image.STOCK, **options):
        self.count = count
        self.guests = []
        self._options = {"logs": Path(logs or LOGS / f"mesh{count}"),
                         "recipe": recipe, **options}

    @staticmethod
    def address(number):
        """A guest's IPv4 address."""
        return f"10.77.0.{number + 1}"

    def set_up(self, stack):
        folder = Path(tempfile.mkdtemp(prefix="vtoe-", dir="/tmp"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        self.guests = [self._guest(folder, number)
                       for number in range(self.count)]
        topo.launch(self.guests, stack)
        for number in range(1, self.count):
            self.guests[0].wait_until(
                f"guest {number} answers", lambda number=number:
                self.guests[0].status(["ping", "-c", "1", "-W", "1",
                                       self.address(number)]) == 0, 60)

    def finish(self):
        for guest in self.guests:
            guest.end()

    def problems(self):
        """What is wrong with the guests now; a list of texts."""
        return topo.problems(self.guests)

    def _guest(self, folder, number):
        # The one of two that has the lower number is the server.
        links = [topo.unix_link(folder / f"{min(number, far)}-"
                                f"{max(number, far)}", server=number < far,
                                ident=f"to{far}", **{"split-horizon": True})
                 for far in range(self.count) if far != number]
        net = topo.vnet("n0", links) + topo.nic(
            "vtoe-pci", "n0", f"52:54:00:77:00:{number + 1:02x}", id="nic")
        return Guest("abcdefgh"[number], net=net,
                     ip=f"{self.address(number)}/24,fd77::{number + 1:x}/64",
                     **self._options)

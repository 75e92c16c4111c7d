# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMUs that are overlays and nothing else: no machine, no guest.

    with BareQemu("a", objects=[...]) as qemu:
        qemu.ask("netdev_add", **{"type": "vnet", "id": "n0", ...})
        qemu.wait_up("n0", "l0")
"""

import os
import signal
import socket
import struct
import tempfile
import time
from pathlib import Path

from . import tap
from .guest import machine_class
from .paths import QEMU, RigError

#: The preamble of a connection: "VNET", version, kind, zero, epoch, token,
#: stream, zero (docs/specs/vnet-wire.rst).
_PREAMBLE = struct.Struct(">IHBBQQII")
#: Kinds of connections.
CONTROL, FRAME, DATA = 1, 2, 3


def preamble(kind, epoch=0, token=0, stream=0):
    """The first bytes of a connection."""
    return _PREAMBLE.pack(0x564e4554, 1, kind, 0, epoch, token, stream, 0)


def free_port():
    """One that nobody listens at now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class BareQemu:
    """One of them; ends with the block.

    name     for messages
    objects  values of -object
    machine  for those that need one after all
    args     further QEMU arguments
    wrapper  words before QEMU, to run it in a network namespace
    """

    def __init__(self, name, objects=(), machine="none", args=(), wrapper=()):
        self.name = name
        self._dir = tempfile.TemporaryDirectory(prefix="vtoe-bare-",
                                                dir="/tmp")
        words = [word for value in objects for word in ("-object", value)]
        self._vm = machine_class()(
            str(QEMU), args=["-nodefaults", *words, *args],
            wrapper=[*wrapper, "setpriv", "--pdeathsig", "KILL"], name=name,
            base_temp_dir=self._dir.name, log_dir=self._dir.name)
        self._vm.set_machine(machine)
        self._killed = False

    def __enter__(self):
        try:
            self._vm.launch()
        except Exception as exc:    # pylint: disable=broad-except
            said = self._vm.get_log() or exc
            self.__exit__()
            raise RigError(f"{self.name} did not start: {said}") from None
        return self

    def __exit__(self, *exc):
        try:
            died = not self._vm.is_running()
            # Also reads what one that died has said.
            self._vm.shutdown(hard=died)
            code = self._vm.exitcode()
            if code not in (0, None) and not self._killed:
                problem = f"{self.name} ended with {code}: {self._vm.get_log()}"
                if not exc or exc[0] is None:
                    raise RigError(problem)
                # What the test says of it comes from here.
                tap.diag(problem)
        finally:
            self._dir.cleanup()

    @property
    def pid(self):
        """Its process."""
        return self._vm.get_pid()

    def kill(self):
        """Ends it at once, without a word to anybody."""
        self._killed = True
        os.kill(self.pid, signal.SIGKILL)
        self._vm.wait()

    @property
    def folder(self):
        """For sockets; goes with it."""
        return Path(self._dir.name)

    def ask(self, command, **arguments):
        """What a monitor command returns."""
        return self._vm.cmd(command, arguments)

    def raw(self, command, arguments):
        """What it answers, an error or not."""
        return self._vm.qmp(command, arguments)

    def event(self, name, seconds=20, **match):
        """The data of an event whose data hold ``match``."""
        return self._vm.event_wait(name, seconds, {"data": match})["data"]

    def events(self):
        """All events since the last call, at least one, in their order where
        nobody has waited for another meanwhile."""
        return self._vm.get_qmp_events(wait=True)

    def refused(self, command, **arguments):
        """The text of the error that it returns."""
        said = self._vm.qmp(command, arguments)
        if "error" not in said:
            raise RigError(f"{command} {arguments} went: {said}")
        return said["error"]["desc"]

    def link(self, netdev, link):
        """query-vnet's view of a link, its counters as a dictionary."""
        status, = self.ask("query-vnet", id=netdev)
        found, = (entry for entry in status["links"] if entry["id"] == link)
        found["counters"] = {entry["name"]: entry["value"]
                             for entry in found["counters"]}
        return found

    def wait_link(self, netdev, link, what, condition, seconds=20):
        """The link as soon as the condition holds for it; what: in words."""
        end = time.monotonic() + seconds
        while not condition(found := self.link(netdev, link)):
            if time.monotonic() > end:
                raise RigError(f"{self.name}: link {link} is not {what}: "
                               f"{found}")
            time.sleep(0.02)
        return found

    def wait_up(self, netdev, link):
        """The same, for one that has to come up."""
        return self.wait_link(netdev, link, "up",
                              lambda found: found["state"] == "up")

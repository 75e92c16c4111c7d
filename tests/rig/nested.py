# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests in an RDMA host: the whole stack, emulated twice.

    with Nested() as nested:                    # an RDMA link between them
        nested.a.run(["ping", "-c1", "10.77.0.2"])
        nested.host.counters("rxe0")

Emulated twice, a kernel takes many minutes to boot.  So each guest boots on
this machine, emulated once; when its agent is ready, its state is written to a
file, as for a migration, and goes on in a QEMU in the host.  There the agent's
port is the standard input and output of that QEMU, which the host's agent
carries: inside, an InnerGuest is like any other Guest.
"""

import shutil
import tempfile
import threading
import time
from pathlib import Path

from . import channel, kernels, rdma, rdma_image
from .channel import STDOUT, GuestError
from .guest import CPU, Guest
from .paths import LOGS, QEMU, RigError
from .setup import Setup
from .topo import A4, A_MAC, B4, B_MAC

#: Both sides of the move need the same machine.
MACHINE = ["-M", "q35", "-cpu", CPU, "-nodefaults", "-no-user-config",
           "-no-reboot"]


class _Outside(Guest):
    """The guest while it boots."""

    def save(self, path):
        """Write its state; it does not go on here.  (Stopped before, it
        would be stopped over there, too.)"""
        self.cmd("migrate", uri=f"file:{path}")
        self.wait_until("its state is written", lambda: self.cmd(
            "query-migrate").get("status") in ("completed", "failed"), 120)
        status = self.cmd("query-migrate")
        if status["status"] != "completed":
            raise RigError(f"{self.name}: its state could not be written: "
                           f"{status.get('error-desc')}")


class InnerGuest(Guest):
    """As Guest; ``host`` is the RdmaHost that it runs in, and ``state`` the
    device there from which its state can be read.  What runs beside it takes
    HMP commands: hmp()."""

    def __init__(self, host, outside, state, net):
        super().__init__(outside.name, kernel=outside.kernel, net=net,
                         mem=outside.mem, smp=outside.smp,
                         logs=host.guest.logs)
        self.host = host
        self.state = state
        self._qemu = self._monitor = None

    def command(self, agent=True):
        """QEMU and its arguments, as the host has them."""
        return [f"{rdma_image.BIN}/{QEMU.name}", *MACHINE,
                "-accel", "tcg,thread=multi,tb-size=128",
                "-smp", str(self.smp), "-m", f"{self.mem}M",
                "-display", "none", *self.net]

    def launch(self):
        if self._qemu:
            raise RigError(f"{self.name} is running already")
        base = f"/run/{self.name}"
        self.host.run(f"mkfifo {base}.in {base}.out")
        self._started = time.monotonic()
        self._qemu = self.host.start([
            *self.command(),
            "-serial", f"file:{base}.console",
            "-chardev", "stdio,id=agent,signal=off",
            "-device", "virtio-serial-pci,id=agent-bus",
            "-device", "virtserialport,bus=agent-bus.0,chardev=agent,"
            "name=vtoe.agent",
            "-chardev", f"pipe,id=monitor,path={base}",
            "-mon", "chardev=monitor,mode=readline",
            "-incoming", f"exec:cat {self.state}"])
        self._monitor = self.host.start(["cat", f"{base}.out"])
        self._channel = channel.Channel(
            self.name, _ProcessSocket(self._qemu),
            self.logs / f"{self.name}-inner.dmesg", self.console_tail)
        self._channel.assume_ready(kernels.get(self.kernel).release)
        return self

    def wait_ready(self, timeout=300):
        """Until it runs a program."""
        self.run(["true"], timeout)
        return time.monotonic() - self._started

    def boot(self, timeout=300):
        self.launch()
        return self.wait_ready(timeout)

    def hmp(self, command, timeout=60):
        """A command for people; what the monitor answers."""
        seen = len(self._monitor.stdout)
        self.host.run(f"echo '{command}' > /run/{self.name}.in")
        limit = time.monotonic() + timeout
        while time.monotonic() < limit:
            answer = self._monitor.stdout[seen:]
            if answer.rstrip().endswith("(qemu)") and "\n" in answer:
                return answer
            time.sleep(0.1)
        raise GuestError(f"{self.name}: no answer to {command} within "
                         f"{timeout} s")

    def end(self, check=True):
        if not self._qemu:
            return
        qemu, self._qemu = self._qemu, None
        problems = []
        if check and qemu.code is not None:
            problems.append(f"QEMU ended with {qemu.ending()}: {qemu.stderr}")
        elif check and self.check_dmesg:
            problems += self._settled_problems()
        self._channel.close()
        for proc in (qemu, self._monitor):
            if proc.code is None and self.host.guest.running:
                proc.stop(60)
        if problems:
            raise GuestError(f"{self.name}: " + "; ".join(problems))

    @property
    def running(self):
        return self._qemu is not None and self._qemu.code is None

    def console_tail(self, lines=15):
        """What its QEMU said; asking the host for more may be what fails."""
        text = self._qemu.stderr if self._qemu else ""
        return "".join(f"\n    QEMU of {self.name}: {line}"
                       for line in text.splitlines()[-lines:])


class _ProcessSocket:
    """Standard input and output of a program, as Channel uses a socket."""

    def __init__(self, proc):
        self._proc = proc
        self._shut = threading.Event()

    def sendall(self, data):
        self._proc.write(data)

    def recv(self, most):
        """What is there, at least one byte; nothing when it has ended."""
        proc = self._proc
        # pylint: disable=protected-access
        with proc._cond:
            while not self._shut.is_set():
                out = proc._out[STDOUT]
                if out:
                    data = bytes(out[:most])
                    # It would keep all that ever came.
                    del out[:most]
                    return data
                if proc.code is not None or proc._channel.closed:
                    break
                proc._cond.wait(1)
        return b""

    def shutdown(self, _how):
        self._shut.set()

    def close(self):
        self._shut.set()


class Nested(Setup):
    """Two guests with vtoe-pci NICs in one RDMA host, joined by a link.

    link     options of the two ends of a link: a function of the host that
             returns (client's, server's)
    devices  of the host
    """

    def __init__(self, link, devices=1, logs=None):
        self.link = link
        self.devices = devices
        self.logs = Path(logs or LOGS / "rdma" / "nested")
        self.host = self.a = self.b = None

    def set_up(self, stack):
        folder = Path(tempfile.mkdtemp(prefix="vtoe-", dir="/tmp"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        outside = self._boot_outside(folder)
        drives = [word for guest in outside for word in (
            "-drive", f"file={folder / guest.name},format=raw,if=none,"
            f"id={guest.name},readonly=on",
            "-device", f"virtio-blk-pci,drive={guest.name}")]
        self.host = stack.enter_context(rdma.RdmaHost(
            self.devices, mem=3072, logs=self.logs, args=drives))
        ends = self.link(self.host)
        guests = [InnerGuest(self.host, guest, f"/dev/vd{'ab'[i]}",
                             self._nic(i, ends[i]))
                  for i, guest in enumerate(outside)]
        self.a, self.b = guests
        for guest in reversed(guests):
            stack.push(lambda *_, guest=guest: guest.end(check=False))
            guest.launch()
        for guest in guests:
            guest.wait_ready()

    def finish(self):
        self.a.end()
        self.b.end()

    def problems(self):
        """What is wrong with host and guests now; a list of texts."""
        found = self.host.problems()
        for guest in (self.a, self.b):
            found += [f"{guest.name}: its kernel said: {text}"
                      for text in guest.dmesg_problems()]
        return found

    def _boot_outside(self, folder):
        guests = [_Outside("ab"[i], net=self._nic(i, ""), ip=f"{ip}/24",
                           mem=192, logs=self.logs, recipe=rdma_image.INNER)
                  for i, ip in enumerate((A4, B4))]
        try:
            for guest in guests:
                guest.launch()
            for guest in guests:
                guest.wait_ready()
                guest.save(folder / guest.name)
        finally:
            for guest in guests:
                guest.end(check=False)
        return guests

    @staticmethod
    def _nic(index, link):
        """-netdev and -device of guest a or b."""
        mac = (A_MAC, B_MAC)[index]
        return ["-netdev", "vnet,id=n0" + (f",{link}" if link else ""),
                "-device", f"vtoe-pci,netdev=n0,mac={mac},id=nic,romfile="]

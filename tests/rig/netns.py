# SPDX-License-Identifier: GPL-2.0-or-later
"""Network namespaces that nothing can leave behind.

A namespace here has no name and no process of its own: only a descriptor of
this process keeps it, and whatever runs inside.  When both end, however they
end, the kernel removes it with its bridges, tunnels and taps.
"""

import ctypes
import os
import socket
import subprocess
import threading

from .paths import RigError

CLONE_NEWNET = 0x40000000


class Namespace:
    """A network namespace; use as a context manager."""

    def __init__(self):
        self._fd = _new_namespace()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @property
    def path(self):
        """What iproute2 takes for a namespace."""
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    @property
    def wrapper(self):
        """Words that run what follows them in the namespace."""
        return ["nsenter", f"--net={self.path}", "--"]

    def run(self, command):
        """Run a command given as one text; its stdout."""
        return run([*self.wrapper, *command.split()])

    def socket(self, *args):
        """A socket of this process in the namespace."""
        return _in_thread(lambda libc: (
            _check(libc.setns(self._fd, CLONE_NEWNET), "setns"),
            socket.socket(*args)))[1]


def run(words):
    """Run a host command, or RigError with what it said."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=20,
                          stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise RigError(f"{' '.join(words)} failed with exit code "
                       f"{done.returncode}: {done.stderr.strip()}")
    return done.stdout


def missing():
    """Why namespaces, bridges and taps cannot be made here; None if they
    can.  Nothing of it stays."""
    if os.geteuid() != 0:
        return "not root"
    if not os.path.exists("/dev/net/tun"):
        return "no /dev/net/tun"
    try:
        with Namespace() as space:
            space.run("ip tuntap add dev t0 mode tap vnet_hdr")
            space.run("ip link add br0 type bridge")
            space.run("ip link add p0 type veth peer name p1")
            space.run("ip link add vx0 type vxlan id 1 dstport 4789 dev p0")
    except (OSError, RigError) as exc:
        return str(exc)
    return None


def _new_namespace():
    """A thread leaves the network namespace of the process for a new one, and
    keeps a descriptor of that for us."""
    return _in_thread(lambda libc: (
        _check(libc.unshare(CLONE_NEWNET), "unshare(CLONE_NEWNET)"),
        os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)))[1]


def _check(result, what):
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def _in_thread(function):
    """What the function returns, called with libc in a thread that may leave
    the namespace, and ends."""
    result = []

    def enter():
        try:
            result.append(function(ctypes.CDLL(None, use_errno=True)))
        except OSError as exc:
            result.append(exc)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if isinstance(result[0], OSError):
        raise RigError(f"in a network namespace: {result[0]}")
    return result[0]

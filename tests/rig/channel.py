# SPDX-License-Identifier: GPL-2.0-or-later
"""Talks to the agent in a guest (agent.c): runs programs there.

A reader thread takes every frame off the socket, so that the agent never
waits for us, and hands it to the Process it is for.  Whoever waits, waits on
a condition that the reader signals; each wait has a limit and says what it
waited for when that is over.
"""

import os
import re
import signal
import socket
import struct
import threading
import time

from .paths import SLOW, RigError

RUN, STDIN, KILL = 1, 2, 3
READY, STDOUT, STDERR, EXIT, KMSG = 16, 17, 18, 19, 20
HEADER = struct.Struct("<III")
#: Largest piece of stdin in one frame.
CHUNK = 64 * 1024


class GuestError(RigError):
    """A program in a guest ended badly, or not in time."""


class Process:
    """A program running in a guest."""

    def __init__(self, channel, ident, argv):
        self._channel = channel
        self._ident = ident
        self._cond = channel.cond
        self._out = {STDOUT: bytearray(), STDERR: bytearray()}
        #: The words it was started with.
        self.argv = argv
        #: Exit code, or minus the signal that ended it; None while it runs.
        self.code = None

    def __str__(self):
        text = " ".join(self.argv)
        return f"{self._channel.name}: {text if len(text) < 200 else text[:200] + '...'}"

    @property
    def stdout(self):
        """What it has printed up to now."""
        with self._cond:
            return self._out[STDOUT].decode(errors="replace")

    @property
    def stderr(self):
        with self._cond:
            return self._out[STDERR].decode(errors="replace")

    def wait(self, timeout=30):
        """Wait for its end; returns the exit code.  It is killed when it
        does not end in ``timeout`` seconds."""
        if not self._wait_for(lambda: self.code is not None, timeout):
            self.kill(signal.SIGKILL)
            self._wait_for(lambda: self.code is not None, 5)
            raise GuestError(f"{self}: still ran after {timeout} s"
                             + self._tail())
        return self.code

    def check(self, timeout=30):
        """Wait for its end and insist on exit code 0; returns stdout."""
        if self.wait(timeout) != 0:
            raise GuestError(f"{self}: ended with {self.ending()}"
                             + self._tail())
        return self.stdout

    def wait_output(self, pattern, timeout=30):
        """Wait until stdout or stderr matches the expression; returns the
        match.  The program's end before that is an error."""
        found = []

        def look():
            for kind in (STDOUT, STDERR):
                match = re.search(pattern, self._out[kind].decode(
                    errors="replace"), re.M)
                if match:
                    found.append(match)
                    return True
            return self.code is not None

        if not self._wait_for(look, timeout):
            raise GuestError(f"{self}: did not print /{pattern}/ within "
                             f"{timeout} s" + self._tail())
        if not found:
            raise GuestError(f"{self}: ended with {self.ending()} before it "
                             f"printed /{pattern}/" + self._tail())
        return found[0]

    def wait_line(self, index, timeout=30):
        """Wait for line number ``index`` of stdout, counted from 0."""
        def look():
            return self._out[STDOUT].count(b"\n") > index or \
                self.code is not None

        if not self._wait_for(look, timeout):
            raise GuestError(f"{self}: did not print line {index} within "
                             f"{timeout} s" + self._tail())
        lines = self.stdout.split("\n")
        if len(lines) <= index + 1:
            raise GuestError(f"{self}: ended with {self.ending()} before "
                             f"line {index}" + self._tail())
        return lines[index]

    def write(self, data):
        """Bytes for its stdin."""
        data = data.encode() if isinstance(data, str) else data
        for i in range(0, len(data), CHUNK):
            self._channel.send(STDIN, self._ident, data[i:i + CHUNK])

    def close_stdin(self):
        self._channel.send(STDIN, self._ident, b"")

    def kill(self, sig=signal.SIGTERM):
        """Send a signal to it and its children."""
        self._channel.send(KILL, self._ident, struct.pack("<I", int(sig)))

    def stop(self, timeout=10):
        """End it with SIGTERM, and wait; returns its exit code."""
        if self.code is None:
            self.kill(signal.SIGTERM)
        return self.wait(timeout)

    def ending(self):
        """Its exit code in words."""
        if self.code is None:
            return "nothing: it still runs"
        if self.code < 0:
            return signal.Signals(-self.code).name
        return f"exit code {self.code}"

    def _wait_for(self, predicate, timeout):
        with self._cond:
            self._cond.wait_for(
                lambda: predicate() or self._channel.closed, timeout * SLOW)
            if predicate():
                return True
            if self._channel.closed:
                raise GuestError(f"{self}: the guest is gone: "
                                 f"{self._channel.closed}"
                                 + self._channel.console_tail())
            return False

    def _tail(self):
        out = "".join(f"\n    {name}: {line}"
                      for name, text in (("stdout", self.stdout),
                                         ("stderr", self.stderr))
                      for line in text.splitlines()[-12:])
        return out + self._channel.console_tail()

    # Called by the channel, with the condition held.
    def frame(self, kind, data):
        if kind == EXIT:
            self.code = struct.unpack("<i", data)[0]
        else:
            self._out[kind] += data


class Channel:
    """The connection to one guest's agent."""

    def __init__(self, name, sock, dmesg_path, console_tail):
        self.name = name
        self.cond = threading.Condition()
        #: Why the connection is over; None while it is not.
        self.closed = None
        #: Every kernel message, in order: (priority, seconds, text).
        self.kmsg = []
        self.console_tail = console_tail
        self._sock = sock
        self._send_lock = threading.Lock()
        self._procs = {}
        self._next = 1
        self._release = None
        self._dmesg = open(dmesg_path, "w", encoding="utf-8",
                           errors="replace")
        self._thread = threading.Thread(target=self._read_all, daemon=True,
                                        name=f"channel-{name}")
        self._thread.start()

    def wait_ready(self, timeout):
        """Wait until the guest has booted; returns its kernel release."""
        with self.cond:
            start = time.monotonic()
            self.cond.wait_for(lambda: self._release or self.closed,
                               timeout * SLOW)
            if self._release:
                return self._release
            what = self.closed or \
                f"not ready {time.monotonic() - start:.0f} s after its start"
        raise GuestError(f"{self.name}: {what}{self.console_tail()}")

    def assume_ready(self, release):
        """The guest said long ago that it is ready, on another channel."""
        with self.cond:
            self._release = release

    def expect_reset(self):
        """The guest is about to be reset: its programs end, and it will say
        again that it is ready."""
        with self.cond:
            self._release = None
            for proc in self._procs.values():
                proc.frame(EXIT, struct.pack("<i", -signal.SIGKILL))
            self._procs.clear()
            self.cond.notify_all()

    def start(self, argv):
        """Start a program; returns its Process at once."""
        with self.cond:
            ident = self._next
            self._next += 1
            proc = self._procs[ident] = Process(self, ident, list(argv))
        self.send(RUN, ident, b"".join(a.encode() + b"\0" for a in argv))
        return proc

    def send(self, kind, ident, data):
        with self._send_lock:
            try:
                self._sock.sendall(HEADER.pack(len(data), ident, kind) + data)
            except OSError as exc:
                self._close(f"sending to its agent: {exc.strerror}")
                raise GuestError(f"{self.name}: {self.closed}"
                                 + self.console_tail()) from exc

    def close(self, why="the rig ended it"):
        """Hang up; every wait on this guest ends with an error."""
        self._close(why)
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass            # it has gone already
        self._thread.join(5)
        self._sock.close()
        self._dmesg.close()

    def _close(self, why):
        with self.cond:
            self.closed = self.closed or why
            self.cond.notify_all()

    def _read_all(self):
        try:
            while True:
                length, ident, kind = HEADER.unpack(self._read(HEADER.size))
                data = self._read(length)
                with self.cond:
                    self._dispatch(kind, ident, data)
                    self.cond.notify_all()
        except (OSError, EOFError) as exc:
            self._close(f"its agent hung up ({exc or type(exc).__name__})")

    def _read(self, length):
        data = bytearray()
        while len(data) < length:
            piece = self._sock.recv(min(length - len(data), 1 << 16))
            if not piece:
                raise EOFError("end of file")
            data += piece
        return bytes(data)

    def _dispatch(self, kind, ident, data):
        if kind == READY:
            self._release = data.decode()
        elif kind == KMSG:
            self._kernel_message(data.decode(errors="replace"))
        elif ident in self._procs:
            self._procs[ident].frame(kind, data)
            if kind == EXIT:
                del self._procs[ident]

    def _kernel_message(self, record):
        """"PRIO,SEQ,USEC,FLAGS[,...];TEXT", then lines of a dictionary."""
        head, _, text = record.partition(";")
        fields = head.split(",")
        text = text.split("\n")[0]
        entry = (int(fields[0]) & 7, int(fields[2]) / 1e6, text)
        self.kmsg.append(entry)
        self._dmesg.write(f"[{entry[1]:12.6f}] <{entry[0]}> {text}\n")
        self._dmesg.flush()


def socket_pair():
    """Our end, and the descriptor for QEMU to inherit."""
    ours, theirs = socket.socketpair()
    os.set_inheritable(theirs.fileno(), True)
    return ours, theirs

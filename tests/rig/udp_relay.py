# SPDX-License-Identifier: GPL-2.0-or-later
"""A relay between the ends of a VXLAN link: what happens to datagrams on a
network happens to them in it.

    end 0                                                     end 1
    127.0.0.1 --- 127.0.0.2  ways[0]: to the right  127.0.0.3 --- 127.0.0.4
                             ways[1]: to the left

Each end takes the relay's address for its peer's.  What a way does follows from
what it is told and from its seed.
"""

import heapq
import random
import select
import socket
import threading
import time

HOSTS = ("127.0.0.1", "127.0.0.4")
SIDES = ("127.0.0.2", "127.0.0.3")
PORT = 4789
_SO_RCVBUFFORCE = 33
_BUFFER = 16 << 20
#: Bytes of any datagram.
_LONGEST = 65536


class Way:
    """One direction.

    fate   a function of a datagram and a random.Random: what becomes of it, as
           pairs of seconds from now and bytes; or None: it is passed on
    rate   bytes per second, or None
    room   what may wait for that, in bytes; what comes then is lost
    taken  how many datagrams came, since the relay began
    passed those that were passed on, as they were then
    """

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.fate = None
        self.rate = None
        self.room = 0
        self.taken = 0
        self.passed = []
        self._free = 0

    def take(self, data, now):
        """The datagrams that one becomes, each behind when it is due."""
        self.taken += 1
        found = [(0, data)] if self.fate is None else \
            self.fate(data, self.random)
        if self.rate is None:
            return [(now + delay, data) for delay, data in found]
        return [pair for delay, data in found
                for pair in self._at_rate(data, now + delay)]

    def _at_rate(self, data, due):
        due = max(due, self._free)
        if (due - time.monotonic()) * self.rate > self.room:
            return []
        self._free = due + len(data) / self.rate
        return [(due, data)]


class Relay:
    """Runs in a thread, with its sockets in a namespace, while the block is
    open.  seed: for what is random; the same seed and datagrams, the same
    fates."""

    def __init__(self, space, seed):
        self.ways = (Way(2 * seed), Way(2 * seed + 1))
        self._space = space
        self._sockets = None
        self._waiting = []
        self._count = 0
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._ending = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.open()
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ending = True
        self._thread.join()
        self.close()

    def open(self):
        """It is there again."""
        sockets = []
        for side in SIDES:
            sock = self._space.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            sock.setblocking(False)
            sock.bind((side, PORT))
            sockets.append(sock)
        with self._lock:
            self._sockets = sockets

    def close(self):
        """Whoever sends to it is told that nobody is there."""
        with self._lock:
            sockets, self._sockets = self._sockets, None
            self._waiting.clear()
        with self._looking:             # which would keep them open
            for sock in sockets or ():
                sock.close()

    def tell(self, fate=None, rate=None, room=0, ways=(0, 1)):
        """From now on; without arguments: passes all on."""
        with self._lock:
            for number in ways:
                way = self.ways[number]
                way.fate, way.rate, way.room = fate, rate, room

    def idle(self):
        """Nothing waits in it."""
        with self._lock:
            return not self._waiting

    def _run(self):
        while not self._ending:
            with self._looking:
                with self._lock:
                    sockets, due = self._sockets, self._pass_on()
                ready = sockets and select.select(sockets, (), (), due)[0]
                with self._lock:
                    for sock in (sockets is self._sockets and ready) or ():
                        self._take(sockets.index(sock), sock)
            if not ready:
                time.sleep(0.0001)      # who wants to close it gets its turn

    def _take(self, number, sock):
        now = time.monotonic()
        for _ in range(64):
            try:
                data = sock.recv(_LONGEST)
            except BlockingIOError:
                break
            except ConnectionRefusedError:
                continue                # the end is not there
            for due, changed in self.ways[number].take(data, now):
                self._count += 1
                heapq.heappush(self._waiting,
                               (due, self._count, number, changed))

    def _pass_on(self):
        """Sends what is due; seconds until the next is, or until to look."""
        while self._waiting:
            due, _, number, data = self._waiting[0]
            wait = due - time.monotonic()
            if wait > 0:
                return min(wait, 0.01)
            # From the side where the receiver takes its peer to be.
            try:
                self._sockets[1 - number].sendto(data,
                                                 (HOSTS[1 - number], PORT))
            except (BlockingIOError, ConnectionRefusedError):
                return 0.001
            heapq.heappop(self._waiting)
            self.ways[number].passed.append(data)
        return 0.01

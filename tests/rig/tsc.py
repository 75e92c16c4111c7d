# SPDX-License-Identifier: GPL-2.0-or-later
"""The rate of the time-stamp counter, which a guest under TCG shares with its host.

A kernel measures it against a timer when it boots.  On a busy host that goes wrong
now and then: a guest that had no processor for a while took 2.1 GHz for 60 MHz, and
its clock then ran 35 times too fast.  So it is told (tsc_early_khz=).
"""

import ctypes
import functools
import mmap
import platform
import time

#: rdtsc; shl $32, %rdx; or %rdx, %rax; ret
_RDTSC = bytes.fromhex("0f31 48c1e220 4809d0 c3")
#: Seconds to measure for, and readings to choose from: this thread may lose its
#: processor in any of them.
_SPAN, _READINGS = 0.05, 50


def _reading(counter):
    """The counter and the time in ns, of the reading that took least."""
    best = None
    for _ in range(_READINGS):
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        count = counter()
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        if best is None or after - before < best[0]:
            best = (after - before, count, (before + after) // 2)
    return best[1:]


def _measure():
    with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE |
                   mmap.PROT_EXEC) as page:
        page.write(_RDTSC)
        start = ctypes.c_char.from_buffer(page)
        counter = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(start))
        count, began = _reading(counter)
        time.sleep(_SPAN)
        later, ended = _reading(counter)
        del start
    return round((later - count) * 1000000 / (ended - began))


@functools.lru_cache(maxsize=None)
def khz():
    """In kHz; None: not known, on a host that is no x86 or lets no program write
    code of its own."""
    if platform.machine() != "x86_64":
        return None
    try:
        return _measure()
    except PermissionError:
        return None

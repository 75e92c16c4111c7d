# SPDX-License-Identifier: GPL-2.0-or-later
"""Counts that do not depend on how fast the machine is: interrupts and
doorbells of a guest's NIC.

Interrupts are the NIC's MSI-X vectors in /proc/interrupts.  Doorbells are
writes of the driver that tell the device to look at a ring:

- vtoe counts them itself (ethtool -S, doorbells);
- for virtio a kprobe counts calls of vp_notify(), which does nothing but
  that write.  The agent's own port is a virtio device too; it is silent
  while a test program runs, but for the report at its end.
"""

import re

PROBE = "rig_doorbell"


class Counter:
    """Interrupts and doorbells of eth0 in one guest since start()."""

    def __init__(self, guest, nic="eth0"):
        self._guest, self._nic = guest, nic
        self._before = None
        driver = guest.run(["readlink", "-f",
                            f"/sys/class/net/{nic}/device/driver"])
        self.driver = driver.strip().rpartition("/")[2]
        if self.driver == "virtio_net":
            self._arm_probe()

    def start(self):
        self._before = (self.interrupts(), self.doorbells())

    def stop(self):
        """(interrupts, doorbells) since start(); None for what this driver
        has no count of."""
        now = (self.interrupts(), self.doorbells())
        return tuple(None if b is None or a is None else a - b
                     for a, b in zip(now, self._before))

    def interrupts(self):
        irqs = set(self._guest.run(
            f"ls /sys/class/net/{self._nic}/device/msi_irqs "
            f"/sys/class/net/{self._nic}/device/../msi_irqs 2>/dev/null; true"
        ).split())
        total = 0
        for line in self._guest.read("/proc/interrupts").splitlines()[1:]:
            number, _, rest = line.partition(":")
            if number.strip() in irqs:
                for word in rest.split():
                    if not word.isdigit():
                        break
                    total += int(word)
        return total

    def doorbells(self):
        if self.driver == "virtio_net":
            profile = self._guest.read("/sys/kernel/tracing/kprobe_profile")
            return int(re.search(rf"{PROBE}\s+(\d+)", profile)[1])
        stats = self._guest.run(["ethtool", "-S", self._nic])
        found = re.search(r"^\s*doorbells: (\d+)", stats, re.M)
        return int(found[1]) if found else None

    def _arm_probe(self):
        tracing = "/sys/kernel/tracing"
        if PROBE not in self._guest.read(f"{tracing}/kprobe_events"):
            self._guest.run(f"echo 'p:{PROBE} vp_notify' "
                            f">> {tracing}/kprobe_events && "
                            f"echo 1 > {tracing}/events/kprobes/{PROBE}"
                            "/enable")


def per_megabyte(counters, megabytes):
    """Sum over the guests, per 10^6 bytes moved: (interrupts, doorbells)."""
    totals = [counter.stop() for counter in counters]
    return tuple(None if any(t[i] is None for t in totals)
                 else sum(t[i] for t in totals) / megabytes
                 for i in range(2))

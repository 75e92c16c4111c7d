#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The rig itself: what the other guest tests stand on."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import kernels, netns, tap, topo       # noqa: E402
from rig.channel import GuestError              # noqa: E402
from rig.guest import Guest                     # noqa: E402
from rig.paths import LOGS                      # noqa: E402


class Alone:
    """One guest without a NIC."""

    def __init__(self, line):
        self.guest = Guest("alone", kernel=line, logs=LOGS / "rig" / line)

    def __enter__(self):
        seconds = self.guest.boot()
        tap.diag(f"ready after {seconds:.1f} s")
        return self.guest

    def __exit__(self, *exc):
        self.guest.__exit__(*exc)


def test_stock_kernel(guest):
    """the guest runs Debian's kernel, unchanged and untainted"""
    tap.expect(guest.run(["uname", "-r"]).strip(),
               kernels.get(guest.kernel).release, "uname -r")
    tap.expect(guest.read("/proc/sys/kernel/tainted").strip(), "0", "taint")


def test_streams_apart(guest):
    """stdout, stderr and the exit code of a program come back as they are"""
    proc = guest.start("echo out; echo err >&2; exit 7")
    tap.expect(proc.wait(), 7, "exit code")
    tap.expect((proc.stdout, proc.stderr), ("out\n", "err\n"), "output")


def test_programs_at_once(guest):
    """several programs run at once, and each is fed and ended by itself"""
    cats = [guest.start(["cat"]) for _ in range(8)]
    for i, cat in enumerate(cats):
        cat.write(f"number {i}\n" * 1000)
    for i, cat in enumerate(cats[:7]):
        cat.close_stdin()
        tap.expect(cat.check(), f"number {i}\n" * 1000, f"cat {i}")
    cats[7].wait_output("number 7")
    tap.expect(cats[7].stop(), -15, "the one that was ended")


def test_large_output(guest):
    """output larger than every buffer on its way arrives whole"""
    text = guest.run("seq 1 200000", timeout=60)
    tap.expect(text, "".join(f"{i}\n" for i in range(1, 200001)), "seq")


def test_late_program(guest):
    """a program over its limit is ended with its children, and the error
    says what it had printed"""
    try:
        guest.run("echo begun; sleep 987 & wait", timeout=1)
    except GuestError as exc:
        assert "begun" in str(exc) and "1 s" in str(exc), exc
    else:
        raise AssertionError("no error")
    tap.expect(guest.status("ps | grep -q '[s]leep 987'"), 1, "grep")


def test_missing_program(guest):
    """a program that is not there is an error that names it"""
    try:
        guest.run(["no-such-program"])
    except GuestError as exc:
        assert "no-such-program: No such file" in str(exc), exc
    else:
        raise AssertionError("no error")


def test_files(guest):
    """a file written into the guest reads the same"""
    guest.write("/tmp/x y", "one\ntwo 'three'\n")
    tap.expect(guest.read("/tmp/x y"), "one\ntwo 'three'\n", "the file")


def test_kernel_warning_is_seen(guest):
    """a warning of the kernel makes the check of its log fail"""
    guest.run("echo 'WARNING: CPU: 0 PID: 1 at nowhere' > /dev/kmsg")
    guest.wait_dmesg("at nowhere")
    tap.expect(len(guest.dmesg_problems()), 1, "problems")
    guest.check_dmesg = False


def test_crash_is_seen():
    """a guest whose kernel panics is an error that shows its console"""
    guest = Guest("panic", logs=LOGS / "rig")
    guest.launch()
    try:
        guest.wait_ready()
        proc = guest.start("echo 1 > /proc/sys/kernel/sysrq; "
                           "echo c > /proc/sysrq-trigger; sleep 60")
        try:
            proc.wait(30)
        except GuestError as exc:
            assert "the guest is gone" in str(exc), exc
            assert "Kernel panic" in str(exc), exc
        else:
            raise AssertionError("no error")
    finally:
        guest.end(check=False)


def test_boot_failure_is_told():
    """QEMU's own words are in the error when it does not start"""
    guest = Guest("wrong", net=["-device", "no-such-device"],
                  logs=LOGS / "rig")
    try:
        guest.boot()
    except Exception as exc:                    # pylint: disable=W0718
        assert "no-such-device" in str(exc), exc
    else:
        guest.end(check=False)
        raise AssertionError("no error")


def test_killed_guest_is_gone():
    """SIGKILL to QEMU ends the guest at once, and waits on it with it"""
    guest = Guest("killed", logs=LOGS / "rig")
    guest.boot()
    pid = guest.pid
    guest.kill()
    assert not os.path.exists(f"/proc/{pid}"), pid


def test_namespaces_vanish():
    """nothing of a namespace is left when its descriptor is closed"""
    reason = netns.missing()
    assert reason is None, reason
    with netns.Namespace() as space:
        space.run("ip link add p0 type veth peer name rig-veth-test "
                  f"netns {os.getpid()}")
        assert os.path.exists("/sys/class/net/rig-veth-test")
    limit = time.monotonic() + 10
    while os.path.exists("/sys/class/net/rig-veth-test"):
        assert time.monotonic() < limit, "the veth pair is still there"
        time.sleep(0.05)


def test_rivals_are_joined():
    """two guests reach each other over each rival, by IPv4 and IPv6"""
    for cls in (topo.VirtioStream, topo.VirtioVxlan):
        with cls(logs=LOGS / "rig" / cls.name) as pair:
            pair.a.run(["ping", "-c", "1", "-W", "10", topo.B4])
            pair.b.run(["ping", "-c", "1", "-W", "10", topo.A6])
            tap.expect(pair.problems(), [], cls.name)


if __name__ == "__main__":
    tap.main(globals(), {line: lambda line=line: Alone(line)
                         for line in kernels.LINES})

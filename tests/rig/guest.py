# SPDX-License-Identifier: GPL-2.0-or-later
"""One virtual machine of a test.

    with Guest("a", net=["-netdev", ..., "-device", ...],
               ip="10.0.0.1/24") as guest:
        guest.boot()
        guest.run(["ping", "-c1", "10.0.0.2"])      # stdout, or GuestError
        server = guest.start(["iperf3", "-s"])      # a Process
        guest.cmd("query-status")                   # QMP
    # QEMU has ended; the guest's log was checked to be clean

A command is a list of words, or a text for the shell.  busybox's shell
prefers its own applets to programs: in a text, say /bin/ip.

QEMU dies with this process whatever ends it (the kernel's parent-death
signal), so nothing is left behind.  Console, QEMU's messages and the kernel
log stay in build/guest/logs.
"""

import asyncio
import re
import shlex
import sys
import time
from pathlib import Path

from . import channel, image, kernels, tsc
from .channel import GuestError
from .paths import LOGS, QEMU, QEMU_PYTHON, SLOW, RigError

#: Without these two, Linux copies memory by an instruction that TCG executes
#: byte by byte, and every system measures three times slower.
CPU = "max,-erms,-fsrm"

#: Kernel messages that no test may leave behind.
UNCLEAN = re.compile(
    r"\bBUG:|kernel BUG|\bOops\b|WARNING:|Call Trace|refcount_t|"
    r"[Uu]se-after-free|[Gg]eneral protection|[Uu]nable to handle|"
    r"soft lockup|hung task|blocked for more than|detected stall|"
    r"self-detected stall|scheduling while atomic|"
    r"sleeping function called|list_(add|del) corruption|"
    r"unregister_netdevice: waiting|DMA-API|"
    r"page allocation failure|Out of memory|NETDEV WATCHDOG|"
    r"transmit queue \d+ timed out|memory leak|segfault|"
    r"UBSAN:|ODEBUG:|Kernel panic|lockdep|"
    r"irq \d+: nobody cared")

#: What a kernel that looks for mistakes says of itself as it boots; and that
#: perftest, which is held against us, crashed in its librdmacm, as it does now and
#: then: it is run again.
ANNOUNCED = re.compile(
    r"(debug|lockdep checking) is enabled\.|DMA-API: preallocated|"
    r"DMA-API: debugging enabled|memory leak detector initialized|"
    r"ib_send_\w+\[\d+\].* in librdmacm")

#: Where on the console the end of a guest begins.
CRASH = re.compile(r"kernel BUG|\bBUG:|Oops|Kernel panic|agent: error")


def machine_class():
    """QEMU's own class to drive it, from the source tree."""
    if str(QEMU_PYTHON) not in sys.path:
        sys.path.insert(0, str(QEMU_PYTHON))
    try:
        from qemu.machine import QEMUMachine    # pylint: disable=C0415
    except ImportError as exc:
        raise RigError(f"no qemu.machine in {QEMU_PYTHON} ({exc}): build "
                       "QEMU first (make setup)") from exc

    class Machine(QEMUMachine):
        """Whose waiting ends in time, whatever else QEMU has to tell."""

        def events_wait(self, events, timeout=60.0):
            end = time.monotonic() + timeout
            others = []
            try:
                while True:
                    event = self.get_qmp_event(
                        max(end - time.monotonic(), 0.001))
                    if any(event["event"] == name
                           and self.event_match(event, match)
                           for name, match in events):
                        return event
                    others.append(event)
            finally:
                self._events[:0] = others

    return Machine


class Guest:
    """A machine with one of the stock kernels and the rig's initramfs.

    name     for messages, logs and its host name
    kernel   "6.1" or "6.12"
    net      QEMU arguments: its netdevs and NICs
    ip       addresses of eth0, separated by commas; None leaves it down
    mtu      of eth0; None leaves the driver's
    smp, mem vCPUs, MiB
    args     further QEMU arguments
    append   further words for the kernel command line
    wrapper  words before QEMU, to run it in a network namespace
    reboot   a reset starts the guest again; else QEMU ends
    recipe   what is on its initramfs, an image.Recipe
    logs     folder for its logs
    """

    def __init__(self, name, kernel="6.12", net=(), ip=None, mtu=None, smp=1,
                 mem=512, args=(), append="", wrapper=(), logs=None, reboot=False,
                 recipe=image.STOCK):
        self.name = name
        self.kernel = kernel
        self.net = list(net)
        self.ip, self.mtu = ip, mtu
        self.smp, self.mem = smp, mem
        self.args = list(args)
        self.append = append
        self.wrapper = list(wrapper)
        self.reboot = reboot
        self.recipe = recipe
        self.logs = Path(logs or LOGS / "manual")
        #: False when the guest is meant to complain in its log.
        self.check_dmesg = True
        self._vm = None
        self._channel = None
        self._started = None

    # Its life.

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.end(check=kind is None)

    def command(self, agent=True):
        """QEMU and its arguments as a list of words.  With agent=False, as a
        person would type it: the console is the terminal."""
        kernel = kernels.get(self.kernel)
        # A busy host makes the kernel believe that the timer does not work,
        # and that a processor which had no turn for 21 s hangs.
        append = ["console=ttyS0", "panic=-1", "no_timer_check",
                  "rcupdate.rcu_cpu_stall_timeout=120",
                  f"vtoe.host={self.name}"]
        if tsc.khz():
            append += [f"tsc_early_khz={tsc.khz()}"]
        append += ["quiet"] if agent else ["loglevel=4"]
        append += [f"vtoe.ip={self.ip}"] if self.ip else []
        append += [f"vtoe.mtu={self.mtu}"] if self.mtu else []
        append += ["vtoe.agent"] if agent else []
        append += [self.append] if self.append else []
        words = [str(QEMU), "-M", "q35", "-accel", "tcg,thread=multi",
                 "-cpu", CPU, "-smp", str(self.smp), "-m", f"{self.mem}M",
                 "-nodefaults", "-no-user-config",
                 *([] if self.reboot else ["-no-reboot"]),
                 "-kernel", str(kernel.vmlinux if agent else kernel.vmlinuz),
                 "-initrd", str(image.get(self.kernel, self.recipe)),
                 "-append", " ".join(append),
                 *self.net, *self.args]
        if not agent:
            words += ["-display", "none", "-serial", "mon:stdio"]
        return words

    def launch(self):
        """Start QEMU and return at once; wait_ready() waits for the guest.
        So several guests boot side by side."""
        if self._vm:
            raise RigError(f"{self.name} is running already")
        if not QEMU.exists():
            raise RigError(f"{QEMU} is missing: build it first (make setup)")
        self.logs.mkdir(parents=True, exist_ok=True)
        self._console_path.write_bytes(b"")
        ours, theirs = channel.socket_pair()
        command = self.command()
        self._vm = machine_class()(
            command[0],
            args=[*command[1:],
                  "-serial", f"file:{self._console_path}",
                  "-chardev", f"socket,id=agent,fd={theirs.fileno()}",
                  "-device", "virtio-serial-pci,id=agent-bus",
                  "-device", "virtserialport,bus=agent-bus.0,chardev=agent,"
                  "name=vtoe.agent"],
            wrapper=["setpriv", "--pdeathsig", "KILL", *self.wrapper],
            name=self.name, log_dir=str(self.logs), qmp_timer=60)
        self._started = time.monotonic()
        try:
            self._vm.launch()
        except Exception as exc:    # pylint: disable=broad-except
            ours.close()
            self._vm = None
            # What QEMU said is the reason; the lost QMP connection is not.
            raise RigError(f"{self.name}: QEMU did not start: "
                           f"{self._qemu_log().strip() or exc}") from None
        finally:
            theirs.close()
        self._channel = channel.Channel(
            self.name, ours, self.logs / f"{self.name}.dmesg",
            self.console_tail)
        return self

    def wait_ready(self, timeout=180):
        """Wait until the guest takes commands; returns seconds since its
        start."""
        release = self._channel.wait_ready(timeout)
        expected = kernels.get(self.kernel).release
        if release != expected:
            raise RigError(f"{self.name} runs kernel {release}, not "
                           f"{expected}")
        return time.monotonic() - self._started

    def boot(self, timeout=180):
        """launch() and wait_ready()."""
        self.launch()
        return self.wait_ready(timeout)

    def reset(self, timeout=180):
        """Press the reset button and wait until the guest is up again.  What
        ran in it is gone."""
        assert self.reboot, f"{self.name} was not made with reboot=True"
        self._channel.expect_reset()
        self.cmd("system_reset")
        self.wait_ready(timeout)

    def end(self, check=True):
        """End QEMU.  With check, its exit and the guest's kernel log have to
        be clean."""
        if not self._vm:
            return
        problems = []
        vm, self._vm = self._vm, None
        if check and not vm.is_running():
            problems.append(f"QEMU ended on its own, exit code "
                            f"{vm.exitcode()}")
        elif check and self.check_dmesg:
            problems += self._settled_problems()
        self._channel.close()
        try:
            vm.shutdown(hard=not check, timeout=20)
        except Exception as exc:    # pylint: disable=broad-except
            # QEMUMachine has killed it by now.
            problems.append(f"QEMU did not end: {exc.__cause__ or exc}")
        if check and problems:
            raise GuestError(f"{self.name}: " + "; ".join(problems)
                             + self._qemu_log())

    def kill(self):
        """SIGKILL to QEMU, as a crash of the host process would be."""
        vm, self._vm = self._vm, None
        self._channel.close("killed by the test")
        vm.kill()

    def wait_end(self, timeout=30):
        """Wait for QEMU to end because of what the guest does."""
        vm, self._vm = self._vm, None
        try:
            vm.wait(timeout)
        finally:
            self._channel.close("it powered off")

    @property
    def running(self):
        return self._vm is not None and self._vm.is_running()

    @property
    def pid(self):
        """Process id of QEMU."""
        return self._vm.get_pid()

    # Inside it.

    def start(self, command):
        """Start a program in the guest; returns its Process."""
        return self._channel.start(_words(command))

    def run(self, command, timeout=30):
        """Run a program to its end; its stdout.  An exit code that is not 0
        is an error."""
        return self.start(command).check(timeout)

    def status(self, command, timeout=30):
        """Run a program to its end; its exit code."""
        return self.start(command).wait(timeout)

    def read(self, path):
        """The content of a file in the guest."""
        return self.run(["cat", path])

    def write(self, path, text):
        """Write a file in the guest."""
        proc = self.start(f"cat > {shlex.quote(path)}")
        proc.write(text)
        proc.close_stdin()
        proc.check()

    def dmesg(self):
        """Kernel messages up to now: (priority, seconds, text)."""
        with self._channel.cond:
            return list(self._channel.kmsg)

    def dmesg_problems(self):
        """Messages that a healthy kernel does not write."""
        return [text for _, _, text in self.dmesg()
                if UNCLEAN.search(text) and not ANNOUNCED.search(text)]

    def wait_dmesg(self, pattern, timeout=30):
        """Wait for a kernel message that matches."""
        def found():
            return next((m for _, _, text in self._channel.kmsg
                         if (m := re.search(pattern, text))), None)

        with self._channel.cond:
            self._channel.cond.wait_for(
                lambda: found() or self._channel.closed, timeout * SLOW)
            match = found()
        if not match:
            raise GuestError(f"{self.name}: no kernel message /{pattern}/ "
                             f"within {timeout} s{self.console_tail()}")
        return match

    def wait_until(self, what, condition, timeout=30, pause=0.1):
        """Wait for a condition that no event announces; ``what`` says which,
        for the error."""
        limit = time.monotonic() + timeout * SLOW
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > limit:
                raise GuestError(f"{self.name}: {what}: not within "
                                 f"{timeout} s{self.console_tail()}")
            time.sleep(pause)

    # Beside it.

    def cmd(self, name, **arguments):
        """A QMP command; its return value.  An error is raised."""
        return self._vm.cmd(name, arguments)

    def qmp(self, name, **arguments):
        """A QMP command; the whole answer, with "return" or "error"."""
        return self._vm.qmp(name, arguments)

    def wait_event(self, name, timeout=30, **match):
        """Wait for a QMP event whose data holds ``match``."""
        try:
            return self._vm.event_wait(name, timeout * SLOW,
                                       {"data": match} if match else None)
        except asyncio.TimeoutError as exc:
            raise GuestError(f"{self.name}: no QMP event {name} {match} "
                             f"within {timeout} s") from exc

    def pause(self):
        """Stop its vCPUs, so that it takes no time from others."""
        self.cmd("stop")

    def resume(self):
        self.cmd("cont")

    def console_tail(self, lines=15):
        """The end of the console, for error messages."""
        try:
            text = self._console_path.read_text(errors="replace")
        except OSError:
            return ""
        shown = [line for line in text.splitlines() if line.strip()]
        # Of a crash the beginning says more than the end.
        crash = next((i for i, line in enumerate(shown)
                      if CRASH.search(line)), None)
        tail = shown[-lines:] if crash is None \
            else shown[crash:crash + lines]
        if not tail:
            return f"\n    (nothing on the console of {self.name})"
        return "".join(f"\n    console of {self.name}: {line}"
                       for line in tail)

    @property
    def _console_path(self):
        return self.logs / f"{self.name}.console"

    def _qemu_log(self):
        path = self.logs / f"{self.name}.log"
        if not path.exists():
            return ""
        return "".join(f"\n    QEMU of {self.name}: {line}" for line
                       in path.read_text(errors="replace").splitlines()[-8:])

    def _settled_problems(self):
        """Look at the log after everything said up to now has come over:
        the agent sends messages before a program's end."""
        try:
            self.run(["true"], timeout=20)
        except GuestError as exc:
            return [f"it does not answer at its end: {exc}"]
        leaks = self._leaks() if kernels.get(self.kernel).debug else []
        return leaks + [f"its kernel said: {text}"
                        for text in self.dmesg_problems()[:4]]

    def _leaks(self):
        """What kmemleak found.  It looks at what is older than 5 s, and
        believes what it finds twice."""
        path = "/sys/kernel/debug/kmemleak"
        try:
            time.sleep(5)
            for _ in range(2):
                self.run(f"echo scan > {path}", timeout=60)
            found = self.read(path)
        except GuestError as exc:
            return [f"kmemleak does not answer: {exc}"]
        return [f"kmemleak: {found[:2000]}"] if found.strip() else []


def _words(command):
    if isinstance(command, str):
        return ["/bin/sh", "-c", command]
    return [str(word) for word in command]


def quote(words, width=76):
    """Words as one shell command, broken into lines for a person."""
    lines, line = [], ""
    pieces = []
    for word in words:
        text = shlex.quote(str(word))
        if pieces and not str(word).startswith("-"):
            pieces[-1] += " " + text
        else:
            pieces.append(text)
    for piece in pieces:
        if line and len(line) + 1 + len(piece) > width:
            lines.append(line)
            line = "    " + piece
        else:
            line = f"{line} {piece}" if line else piece
    lines.append(line)
    return " \\\n".join(lines)


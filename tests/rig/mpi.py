# SPDX-License-Identifier: GPL-2.0-or-later
"""Open MPI and MPICH on guests: one rank on each, over TCP.

    with VtoePair(recipe=mpi.RECIPE) as pair, mpi.hosts(pair.guests):
        mpi.OPEN_MPI.run(pair.guests, ["exchange-openmpi"], ["vtoe-run"])

The ranks are started through sshd; ``prefix`` stands before each rank only.
"""

import re
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from . import apps, image
from .channel import GuestError
from .paths import ROOT

_LIB = "usr/lib/x86_64-linux-gnu"

#: Open MPI without what it needs other networks' libraries for.
_PLUGINS = ("allocator", "bml", "btl_self", "btl_tcp", "coll", "compress",
            "errmgr", "ess", "filem", "grpcomm", "iof", "mpool", "odls",
            "oob", "op", "osc_[!u]", "plm", "pmix", "pml_ob1", "pstat", "ras",
            "rcache", "reachable", "regx", "rmaps", "rml", "routed", "rtc",
            "schizo", "shmem", "state", "topo")

#: Of the package: (the compiler's folder of headers, the library).
_BUILD = {"openmpi": (f"{_LIB}/openmpi/include", f"{_LIB}/libmpi.so.40"),
          "mpich": ("usr/include/x86_64-linux-gnu/mpich",
                    f"{_LIB}/libmpich.so.12")}


def _exchange():
    """Our own program, for both."""
    tools = image.unpacked(RECIPE)
    return {f"usr/local/bin/exchange-{name}": image.compile_own(
        f"exchange-{name}", [ROOT / "tests/guest/mpi/exchange.c"],
        flags=["-isystem", str(tools / headers)],
        libraries=[str(tools / library), "-Wl,--allow-shlib-undefined"])
        for name, (headers, library) in _BUILD.items()}


#: What Open MPI with NetPIPE adds to an image, see image.Recipe.
_OPEN_MPI = {
    "packages": ("openmpi-bin", "openmpi-common", "libopenmpi3",
                 "netpipe-openmpi"),
    "programs": ("usr/bin/orterun", "usr/bin/orted", "usr/bin/NPopenmpi"),
    "files": (*(f"{_LIB}/openmpi/lib/openmpi3/mca_{plugin}*.so"
                for plugin in _PLUGINS),
              f"{_LIB}/pmix2/lib/pmix/*.so",
              "usr/share/openmpi/*.txt", "usr/share/openmpi/*.ini",
              "etc/openmpi/*")}


def with_open_mpi(recipe):
    """The recipe, and Open MPI with NetPIPE."""
    return replace(recipe, **{part: (*getattr(recipe, part), *more)
                              for part, more in _OPEN_MPI.items()})


RECIPE = with_open_mpi(image.Recipe(
    name="initramfs-mpi",
    packages=(*image.PACKAGES, "openssh-server", "openssh-client",
              "libopenmpi-dev", "hpcc", "libblas3", "mpich", "libmpich12",
              "libmpich-dev", "netpipe-mpich2"),
    programs=(*image.PROGRAMS, "usr/sbin/sshd", "usr/bin/ssh",
              "usr/bin/ssh-keygen", "usr/bin/hpcc", "usr/bin/mpiexec.hydra",
              "usr/bin/hydra_pmi_proxy", "usr/bin/NPmpich2"),
    modules=image.MODULES, more=_exchange))


def address(end):
    """A guest's IPv4 address."""
    return re.search(r"inet ([\d.]+)", end.run(["ip", "-4", "addr", "show",
                                                "dev", "eth0"]))[1]


@contextmanager
def hosts(guests):
    """The first guest's root gets into the others."""
    with ExitStack() as stack:
        for far in guests[1:]:
            stack.enter_context(apps.sshd(guests[0], far, []))
        yield


class OpenMpi:
    """Open MPI's starter, and its TCP transport."""
    name = "openmpi"

    @staticmethod
    def run(guests, argv, prefix, timeout=120, done=None):
        """What the ranks say; GuestError if one fails.  done: what they say
        last, an expression; they are ended then."""
        ssh = " ".join([*apps.SSH_WORDS, "-p", str(apps.SSH)])
        return _run(guests[0], [
            "env", "HOME=/root", "PATH=/usr/bin:/usr/local/bin", "orterun",
            "--allow-run-as-root", "-np", str(len(guests)),
            "--host", ",".join(address(g) for g in guests),
            "--mca", "plm_rsh_args", ssh,
            "--mca", "btl", "tcp,self", "--mca", "pml", "ob1",
            "--mca", "btl_tcp_if_include", "eth0",
            "--mca", "oob_tcp_if_include", "eth0", *prefix, *argv], timeout,
                    done)


class Mpich:
    """MPICH's starter, and UCX's TCP transport.

    MPI_Finalize() of MPICH 4.0 may never end, over plain TCP as over streams: who
    is done waits for the others in a barrier of the starter's, where it reads
    nothing that they say, and who is not done waits for its answer (MPICH's pull
    request 6596 took the barrier out).  So no ranks are waited for in there.
    """
    name = "mpich"

    @staticmethod
    def run(guests, argv, prefix, timeout=120, done=None):
        """As of OpenMpi."""
        ssh = " ".join(["exec", "ssh", *apps.SSH_WORDS, "-p", str(apps.SSH)])
        guests[0].write("/tmp/hydra-ssh", f'#!/bin/sh\n{ssh} "$@"\n')
        guests[0].run("chmod +x /tmp/hydra-ssh")
        return _run(guests[0], [
            "env", "HOME=/root", "PATH=/usr/bin:/usr/local/bin",
            "mpiexec.hydra", "-launcher", "ssh",
            "-launcher-exec", "/tmp/hydra-ssh", "-iface", "eth0",
            "-genv", "UCX_TLS", "tcp,self",
            "-genv", "UCX_NET_DEVICES", "eth0", "-n", str(len(guests)),
            "-hosts", ",".join(address(g) for g in guests), *prefix, *argv],
            timeout, done)


OPEN_MPI, MPICH = OpenMpi(), Mpich()


def _run(end, argv, timeout, done):
    proc = end.start(argv)
    if done:
        proc.wait_output(done, timeout)
        proc.stop()
    else:
        proc.check(timeout)
    return proc.stdout + proc.stderr


# --- What is run ----------------------------------------------------------------

def netpipe(library, guests, prefix):
    """A ping-pong of two ranks, 1 to 65536 bytes."""
    program = {"openmpi": "NPopenmpi", "mpich": "NPmpich2"}[library.name]
    said = library.run(guests, [program, "-p", "0", "-n", "30", "-u",
                                "65536"], prefix,
                       done=r" 65536 bytes .* usec$" if library is MPICH
                       else None)
    lines = re.findall(r"(\d+) bytes +\d+ times --> +([\d.]+) Mbps in +"
                       r"([\d.]+) usec", said)
    if not lines or lines[0][0] != "1" or lines[-1][0] != "65536":
        raise GuestError(f"NetPIPE: {said}")
    return {"latency_us": float(lines[0][2]), "rate": float(lines[-1][1])}


def exchange(library, guests, prefix):
    """Our own ping-pong and exchange, 0 bytes to 4 MiB."""
    said = library.run(guests, [f"exchange-{library.name}", *(
        ["abort"] if library is MPICH else [])], prefix)
    lines = re.findall(r"^(pingpong|exchange) (\d+) ([\d.]+)$", said, re.M)
    found = {(what, int(size)): float(us) for what, size, us in lines}
    if len(found) != 48:        # 24 sizes of each
        raise GuestError(f"exchange: {said}")
    return {"pingpong_us": found["pingpong", 8],
            "exchange_us": found["exchange", 8],
            "pingpong_rate": (4 << 20) / found["pingpong", 4 << 20],
            "exchange_rate": (4 << 20) / found["exchange", 4 << 20]}


def hpcc(library, guests, prefix):
    """The HPC challenge, small: Open MPI's only, as Debian builds it."""
    rows = 2 if len(guests) % 2 == 0 else 1
    guests[0].write("/tmp/hpccinf.txt", _hpcc_input(
        size=128, block=16, rows=rows, columns=len(guests) // rows))
    guests[0].run("rm -f /tmp/hpccoutf.txt")
    library.run(guests, ["sh", "-c", "cd /tmp && exec hpcc"], prefix, 600)
    text = guests[0].read("/tmp/hpccoutf.txt")
    if not re.search(r"^Success=1$", text, re.M) or "FAILED" in text:
        raise GuestError(f"hpcc: {text}")
    return text


def _hpcc_input(size, block, rows, columns):
    """hpcc reads the first words of lines, by their number."""
    lines = ["hpcc", "small", "HPL.out", "8 (a file)",
             "1", f"{size} (order of the matrix)", "1", f"{block} (block)",
             "0", "1", f"{rows} (grid)", f"{columns}", "16.0",
             "1", "2", "1", "4", "1", "2", "1", "1", "1", "1", "1", "1", "2",
             "64", "0", "0", "1", "8", "(not read)",
             "0", "0", "0", "0"]
    return "\n".join(lines) + "\n"

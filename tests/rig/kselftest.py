# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's own tests of sockets (tools/testing/selftests/net), built from
Debian's package of the kernel's source; nothing of them is kept here.

    with VtoePair(recipe=kselftest.recipe()) as pair:
        pair.a.run(["sh", "-c", f"cd {kselftest.FOLDER}; ./tcp_inq"])

Leaves in build/guest/kselftest:

    linux/      the parts of the source that are needed, and usr/include,
                the kernel's interface as "make headers" makes it
    bin/        the programs

A source that is there is never fetched again; remove the folder to take the
archive's newest.
"""

import hashlib
import os
import shutil
import subprocess
import sys

from . import debs, image
from .paths import GUEST, RigError, making

PACKAGE = "linux-source-6.12"

#: Where they are on the image.
FOLDER = "/usr/local/lib/selftests"

#: Programs, by their source; the flags that the kernel's own Makefile adds.
PROGRAMS = {
    "bind_bhash": ["-lpthread"],
    "bind_timewait": [],
    "bind_wildcard": [],
    "cmsg_sender": [],
    "epoll_busy_poll": ["-lcap"],
    "fin_ack_lat": [],
    "io_uring_zerocopy_tx": ["-Itools/include"],
    "ip_local_port_range": [],
    "ipv6_flowlabel": [],
    "msg_zerocopy": [],
    "mptcp/mptcp_connect": [],
    "mptcp/mptcp_inq": [],
    "reuseaddr_conflict": [],
    "reuseaddr_ports_exhausted": [],
    "reuseport_addr_any": [],
    "reuseport_bpf": [],
    "reuseport_bpf_cpu": [],
    # Its stable version forgot to include that.
    "reuseport_bpf_numa": ["-include", "stdbool.h", "-lnuma"],
    "reuseport_dualstack": [],
    "rxtimestamp": [],
    "sk_bind_sendto_listen": [],
    "sk_connect_zero_addr": [],
    "sk_so_peek_off": [],
    "so_incoming_cpu": [],
    "so_netns_cookie": [],
    "stress_reuseport_listen": [],
    "tcp_fastopen_backup_key": [],
    "tcp_inq": ["-lpthread"],
    "tcp_mmap": ["-lpthread", "-lcrypto"],
    # Its stable version calls a function with an argument that only later
    # ones have.
    "tls": ["-Dtls_crypto_info_init(a, b, c, ...)="
            "(tls_crypto_info_init)(a, b, c)"],
    "txtimestamp": [],
}

#: Their scripts, unchanged.
SCRIPTS = ("in_netns.sh", "io_uring_zerocopy_tx.sh", "lib.sh",
           "msg_zerocopy.sh", "net_helper.sh", "reuseaddr_ports_exhausted.sh",
           "stress_reuseport_listen.sh", "tcp_fastopen_backup_key.sh")

#: What of the source is unpacked.
PARTS = ("Makefile", "Kbuild", "scripts", "arch/x86/Makefile*",
         "arch/x86/entry/syscalls", "arch/x86/include", "arch/x86/tools",
         "include/uapi", "include/asm-generic", "tools/include",
         "tools/testing/selftests/kselftest*",
         "tools/testing/selftests/net/*.c", "tools/testing/selftests/net/*.h",
         "tools/testing/selftests/net/*.sh",
         "tools/testing/selftests/net/mptcp")

WORK = GUEST / "kselftest"
SOURCE = WORK / "linux"
NET = SOURCE / "tools" / "testing" / "selftests" / "net"


def recipe():
    """The image that has them; building waits until it is made."""
    return image.Recipe(
        name="selftests.img",
        packages=(*image.PACKAGES, "bash", "libcap-dev", "libnuma-dev",
                  "libssl-dev"),
        programs=(*image.PROGRAMS, "bin/bash"),
        modules=(*image.MODULES, "tls", "gcm", "ctr", "ghash_generic"),
        more=_files, shell="bash")


@making
def source():
    """The folder with the parts of the kernel's source, unpacked when
    missing."""
    _unpack()
    return SOURCE


def _files():
    """{path on the image: file} of everything here."""
    _unpack()
    folder = FOLDER.strip("/")
    found = {f"{folder}/{name}": NET / name for name in SCRIPTS}
    for name, flags in PROGRAMS.items():
        program = _build(name, flags)
        found[f"{folder}/{program.name}"] = program
    return found


def _unpack():
    """The source's parts and the kernel's headers, all or nothing."""
    mark = WORK / ".parts"
    wanted = " ".join(PARTS)
    if mark.exists() and mark.read_text().splitlines()[0] == wanted:
        return
    print("kernel's selftests: fetching and unpacking (about half a minute)",
          file=sys.stderr, flush=True)
    debs.refresh()
    package = debs.download([PACKAGE])[PACKAGE]
    shutil.rmtree(WORK, ignore_errors=True)
    SOURCE.mkdir(parents=True)
    # Neither the package nor the archive in it is ever unpacked as a whole.
    inner = f"./usr/src/{PACKAGE}.tar.xz"
    script = ('dpkg-deb --fsys-tarfile "$0" | tar -xO "$1" | xz -dc | '
              'tar -x -C "$2" --strip-components=1 --wildcards '
              '--wildcards-match-slash "${@:3}"')
    debs.run(["bash", "-e", "-o", "pipefail", "-c", script, package, inner,
              SOURCE, *(f"{PACKAGE}/{part}" for part in PARTS)])
    debs.run(["make", "-C", SOURCE, "-s", "-j2", "ARCH=x86", "headers"])
    mark.write_text(f"{wanted}\n{package.name}\n")


def _build(name, flags):
    """One program; its path."""
    source = NET / f"{name}.c"
    tools = image.unpacked(recipe())
    target = WORK / "bin" / source.stem
    stamp = target.with_name(f".{target.name}.inputs")
    # Its warnings are not ours to mend.
    words = ["gcc", "-O2", "-w", "-D_GNU_SOURCE=",
             "-isystem", SOURCE / "usr" / "include",
             "-I", NET.parent, "-I", NET,
             "-isystem", tools / "usr" / "include",
             "-isystem", tools / "usr" / "include" / "x86_64-linux-gnu",
             "-o", target, source,
             "-L", tools / "usr" / "lib" / "x86_64-linux-gnu", *flags]
    words = [str(word) for word in words]
    inputs = " ".join([*words, hashlib.sha256(source.read_bytes()).hexdigest()])
    if target.exists() and stamp.exists() and stamp.read_text() == inputs:
        return target
    target.parent.mkdir(exist_ok=True)
    done = subprocess.run(words, capture_output=True, text=True, timeout=120,
                          check=False, cwd=SOURCE, env={**os.environ, "LC_ALL": "C"})
    if done.returncode:
        raise RigError(f"the selftest {name} did not build:\n{done.stderr}")
    stamp.write_text(inputs)
    return target

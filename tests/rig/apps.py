# SPDX-License-Identifier: GPL-2.0-or-later
"""Servers that people run, and the programs that load them, unmodified.

Each function here runs one such pair once: the server on one guest, the client
on the other, each with ``prefix`` (["vtoe-run"]) before it.  It checks what
came back, and returns figures: {what: value}; whatever ends in "_us" is better
when it is smaller, all else when it is larger.  RECIPE is the image of a guest
that has them all.
"""

import re
from contextlib import contextmanager

from . import image, programs
from .channel import GuestError

PG = "usr/lib/postgresql/15"

RECIPE = image.Recipe(
    name="initramfs-apps",
    packages=(*image.PACKAGES, "nuttcp", "nginx", "wrk", "curl", "hey",
              "redis-server", "redis-tools", "memcached", "libmemcached-tools",
              "openssh-server", "openssh-client", "postgresql-15",
              "postgresql-client-15", "python3.11-minimal",
              "libpython3.11-stdlib"),
    programs=(*image.PROGRAMS, "usr/bin/nuttcp", "usr/sbin/nginx",
              "usr/bin/wrk", "usr/bin/curl", "usr/bin/hey",
              "usr/bin/redis-check-rdb", "usr/bin/redis-benchmark",
              "usr/bin/redis-cli", "usr/bin/memcached", "usr/bin/memcslap",
              "usr/sbin/sshd", "usr/bin/ssh", "usr/bin/scp",
              "usr/bin/ssh-keygen", "usr/lib/openssh/sftp-server",
              f"{PG}/bin/postgres", f"{PG}/bin/initdb", f"{PG}/bin/pgbench",
              "usr/bin/python3.11"),
    files=(f"{PG}/lib/plpgsql.so", f"{PG}/lib/dict_snowball.so",
           "usr/share/postgresql/15/*", "usr/share/postgresql/15/extension/*",
           "usr/share/postgresql/15/timezonesets/*",
           "usr/share/postgresql/15/tsearch_data/*",
           "usr/lib/python3.11/*.py", "usr/lib/python3.11/asyncio/*.py",
           "usr/lib/python3.11/collections/*.py",
           "usr/lib/python3.11/concurrent/**/*.py",
           "usr/lib/python3.11/encodings/*.py",
           "usr/lib/python3.11/importlib/**/*.py",
           "usr/lib/python3.11/logging/*.py", "usr/lib/python3.11/re/*.py",
           "usr/lib/python3.11/lib-dynload/*.so",
           # Loaded by name when a name is looked up or a thread ends.
           "lib/x86_64-linux-gnu/libgcc_s.so.1"),
    modules=image.MODULES)


def listens(end, port):
    """Whether a TCP socket listens on this port; an offloaded one has such a
    companion."""
    wanted = rf"^ *\d+: [0-9A-F]+:{port:04X} [0-9A-F]+:0000 0A "
    return any(re.search(wanted, end.read(f"/proc/net/{table}"), re.M)
               for table in ("tcp", "tcp6"))


@contextmanager
def server(end, argv, port, timeout=60):
    """A server that listens before the body and is ended after it."""
    proc = end.start(argv)
    try:
        end.wait_until(f"{proc} listens on port {port}", lambda:
                       proc.code is not None or listens(end, port), timeout)
        if proc.code is not None:
            proc.check()
            raise GuestError(f"{proc} ended")
        yield proc
    finally:
        if proc.code is None:
            proc.stop()


def _number(pattern, text):
    found = re.search(pattern, text, re.M)
    if not found:
        raise GuestError(f"no {pattern!r} in:\n{text}")
    return float(found[1])


def _digest(end, path):
    return end.run(["sha256sum", path], 60).split()[0]


def _random_file(end, path, megabytes):
    if end.status(["test", "-e", path]):
        end.run(f"dd if=/dev/urandom of={path} bs=1M count={megabytes}", 60)


# --- Transfers -------------------------------------------------------------

def nuttcp(client, far, address, prefix):
    """Bytes one way."""
    with server(far, [*prefix, "nuttcp", "-S", "--nofork"], 5000):
        text = client.run([*prefix, "nuttcp", "-T1", "-fparse", address], 60)
    return {"rate": _number(r"rate_Mbps=([\d.]+)", text)}


# --- HTTP ------------------------------------------------------------------

HTTP = 8080
NGINX = f"""
daemon off; master_process off; pid /tmp/nginx.pid; user root;
error_log /tmp/nginx.err;
events {{ worker_connections 900; }}
http {{
    access_log off; keepalive_requests 1000000; sendfile on; tcp_nopush on;
    client_body_temp_path /tmp/nb; proxy_temp_path /tmp/np;
    fastcgi_temp_path /tmp/nf; uwsgi_temp_path /tmp/nu; scgi_temp_path /tmp/ns;
    server {{ listen {HTTP}; listen [::]:{HTTP}; root /tmp/www; }}
}}
"""


@contextmanager
def nginx(end, prefix):
    """With a page of 1,000 bytes and a file of 8 MiB."""
    end.run(["mkdir", "-p", "/tmp/www"])
    end.write("/tmp/nginx.conf", NGINX)
    end.write("/tmp/www/page", "0123456789" * 100)
    _random_file(end, "/tmp/www/file", 8)
    with server(end, [*prefix, "nginx", "-c", "/tmp/nginx.conf"], HTTP):
        yield


def wrk(client, address, prefix, *options):
    """Figures of one run of wrk."""
    text = client.run([*prefix, "wrk", "-t1", "-c8", "-d2s", "--latency",
                       *options, f"http://{address}:{HTTP}/page"], 60)
    if "Socket errors" in text or "Non-2xx" in text:
        raise GuestError(f"wrk: {text}")
    median = re.search(r"50%\s+([\d.]+)(us|ms|s)", text)
    scale = {"us": 1, "ms": 1e3, "s": 1e6}[median[2]]
    return {"requests": _number(r"Requests/sec:\s+([\d.]+)", text),
            "latency_us": float(median[1]) * scale}


def nginx_keep_alive(client, far, address, prefix):
    """Many requests on a connection."""
    with nginx(far, prefix):
        return wrk(client, address, prefix)


def nginx_close(client, far, address, prefix):
    """A connection for each request."""
    with nginx(far, prefix):
        figures = wrk(client, address, prefix, "-H", "Connection: close")
    return {"connections": figures["requests"]}


def nginx_file(client, far, address, prefix):
    """A file, with curl."""
    with nginx(far, prefix):
        text = client.run(
            [*prefix, "curl", "-sS", "--fail", "-o", "/tmp/got", "-w",
             "%{speed_download}", f"http://{address}:{HTTP}/file"], 60)
        if _digest(client, "/tmp/got") != _digest(far, "/tmp/www/file"):
            raise GuestError("curl: the file is another")
    return {"rate": float(text)}


def nginx_hey(client, far, address, prefix):
    """From a static program, which is not reached by preloading: here
    net.vtoe.auto does it, wherever a prefix is wanted."""
    auto = "/proc/sys/net/vtoe/auto"
    with nginx(far, prefix):
        if prefix:
            client.write(auto, "1")
        try:
            text = client.run(["hey", "-n", "1000", "-c", "4",
                               f"http://{address}:{HTTP}/page"], 60)
        finally:
            if prefix:
                client.write(auto, "0")
    if _number(r"\[200\]\s+(\d+) responses", text) != 1000:
        raise GuestError(f"hey: {text}")
    return {"requests": _number(r"Requests/sec:\s+([\d.]+)", text)}


# --- Stores ----------------------------------------------------------------

REDIS = 6379


def redis(client, far, address, prefix):
    """GET and SET of small values."""
    # One program, whose name says what it is.
    far.run("ln -sf /usr/bin/redis-check-rdb /tmp/redis-server")
    with server(far, [*prefix, "/tmp/redis-server", "--port", str(REDIS),
                      "--save", "", "--protected-mode", "no"], REDIS):
        value = client.run("head -c 100000 /dev/urandom | sha256sum")[:64]
        for words in (["set", "key", value], ["get", "key"]):
            text = client.run([*prefix, "redis-cli", "-h", address, *words])
        if text.strip() != value:
            raise GuestError(f"redis: {text!r}, set was {value!r}")
        text = client.run([*prefix, "redis-benchmark", "-h", address, "-c",
                           "8", "-n", "6000", "-t", "set,get", "-q"], 60)
    text = text.replace("\r", "\n")
    return {f"{op}": _number(rf"^{op.upper()}: ([\d.]+) requests per second, "
                             "p50", text) for op in ("set", "get")}


def memcached(client, far, address, prefix):
    """Small values, four clients."""
    with server(far, [*prefix, "memcached", "-u", "root", "-l", "0.0.0.0",
                      "-U", "0", "-m", "32"], 11211):
        text = client.run([*prefix, "memcslap", f"--servers={address}",
                           "--concurrency=4", "--execute-number=300",
                           "--test=get"], 60)
    return {"requests": 1200 / _number(r"to get +1200 keys by +4 threads: +"
                                       r"([\d.]+) seconds", text)}


def postgres(client, far, address, prefix):
    """pgbench's selects."""
    data = "/tmp/pg"

    def as_nobody(words):
        return f"su nobody -s /bin/sh -c 'exec {words}'"

    if far.status(["test", "-e", data]):
        far.run(f"mkdir {data} && chown nobody {data} && " + as_nobody(
            f"/{PG}/bin/initdb -D {data} -U nobody -A trust --no-sync "
            "--locale=C -E SQL_ASCII"), 200)
        far.write(f"{data}/pg_hba.conf", "host all all 0.0.0.0/0 trust\n"
                  "local all all trust\n")
    # It listens before it lets anybody in.
    with programs.serving(far, "exec " + as_nobody(
            f"{' '.join(prefix)} /{PG}/bin/postgres -D {data} "
            "-c listen_addresses=0.0.0.0 -c fsync=off -c jit=off "
            "-c unix_socket_directories=/tmp -c shared_buffers=16MB"),
            "ready to accept connections", 120):
        bench = [*prefix, f"/{PG}/bin/pgbench", "-h", address, "-U", "nobody"]
        client.run([*bench, "-i", "-q", "-s", "1", "postgres"], 120)
        text = client.run([*bench, "-S", "-n", "-c", "4", "-T", "2",
                           "postgres"], 60)
    if _number(r"number of failed transactions: (\d+)", text):
        raise GuestError(f"pgbench: {text}")
    return {"transactions": _number(r"tps = ([\d.]+) \(without", text)}


# --- Remote shells -----------------------------------------------------------

SSH = 2222


@contextmanager
def sshd(client, far, prefix):
    """Lets the client's root in."""
    for end in (client, far):
        end.run("mkdir -p /run/sshd /root/.ssh /etc/ssh && "
                "grep -q sshd /etc/passwd || "
                "echo sshd:x:100:65534::/run/sshd:/bin/false >> /etc/passwd")
    if client.status(["test", "-e", "/root/.ssh/id"]):
        client.run("ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id")
    far.write("/root/.ssh/authorized_keys", client.read("/root/.ssh/id.pub"))
    far.run("chmod 700 /root /root/.ssh; chmod 600 /root/.ssh/*; "
            "[ -e /etc/ssh/key ] || "
            "ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/key")
    far.write("/etc/ssh/sshd_config", f"Port {SSH}\nHostKey /etc/ssh/key\n"
              "StrictModes no\nUsePAM no\n"
              "AuthorizedKeysFile /root/.ssh/authorized_keys\n"
              "Subsystem sftp /usr/lib/openssh/sftp-server\n")
    with server(far, [*prefix, "/usr/sbin/sshd", "-D", "-e", "-f",
                      "/etc/ssh/sshd_config"], SSH):
        yield


#: How ssh gets in, port apart.
SSH_WORDS = ("-q", "-i", "/root/.ssh/id", "-o", "StrictHostKeyChecking=no",
             "-o", "UserKnownHostsFile=/dev/null")


def ssh(client, far, address, prefix):
    """A command's output, and a file with scp."""
    words = list(SSH_WORDS)
    _random_file(client, "/tmp/mine", 8)
    with sshd(client, far, prefix):
        said = client.run([*prefix, "ssh", *words, "-p", str(SSH), address,
                           "echo from $(hostname)"], 60)
        if said != f"from {far.name}\n":
            raise GuestError(f"ssh: {said!r}")
        seconds = client.run(
            "t0=$(cut -d' ' -f1 /proc/uptime); "
            f"{' '.join([*prefix, 'scp', *words, '-P', str(SSH)])} /tmp/mine "
            f"{address}:/tmp/theirs || exit 1; "
            "echo $t0 $(cut -d' ' -f1 /proc/uptime)", 60).split()
        if _digest(far, "/tmp/theirs") != _digest(client, "/tmp/mine"):
            raise GuestError("scp: the file is another")
    return {"rate": 8 / (float(seconds[1]) - float(seconds[0]))}


# --- Python --------------------------------------------------------------------

ASYNCIO_SERVER = """
import asyncio
async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_server(echo, '0.0.0.0', 7007)
    async with server:
        await server.serve_forever()
asyncio.run(main())
"""

ASYNCIO_CLIENT = """
import asyncio, hashlib, sys, time
async def one(number):
    reader, writer = await asyncio.open_connection(sys.argv[1], 7007)
    for turn in range(50):
        sent = hashlib.sha256(b'%d %d' % (number, turn)).digest() * 8
        writer.write(sent)
        got = await reader.readexactly(len(sent))
        assert got == sent, (number, turn)
    writer.write_eof()
    assert await reader.read() == b''
    writer.close()
    await writer.wait_closed()
async def main():
    began = time.monotonic()
    await asyncio.gather(*(one(number) for number in range(16)))
    print(800 / (time.monotonic() - began))
asyncio.run(main())
"""


def asyncio(client, far, address, prefix):
    """Sixteen connections of an event loop."""
    far.write("/tmp/server.py", ASYNCIO_SERVER)
    client.write("/tmp/client.py", ASYNCIO_CLIENT)
    with server(far, [*prefix, "python3.11", "-S", "/tmp/server.py"], 7007):
        text = client.run([*prefix, "python3.11", "-S", "/tmp/client.py",
                           address], 60)
    return {"requests": float(text)}

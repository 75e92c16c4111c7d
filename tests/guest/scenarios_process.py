# SPDX-License-Identifier: GPL-2.0-or-later
"""Sockets and what belongs to processes: fork, passing, signals, io_uring,
rights, limits; see scenarios.py."""

from rig.lockstep import any_address, connect, listen


def forked(a, b, port):
    """parent and child use one connection, which lives as long as either"""
    connect(a, b, port)
    a("sendall c 10")
    a("child k")
    a("in k sendall c 20")
    b("recvall s 30")
    b("sendall s 40")
    a("in k recvall c 40")
    a("close c")
    b("poll s in+rdhup 50")
    a("in k sendall c 5")
    a("endchild k")
    b("recvall s 6")


def forked_shutdown(a, b, port):
    """a child's shutdown is the parent's, too"""
    connect(a, b, port)
    a("child k")
    a("in k shutdown c wr")
    a("send c 1 nosignal")
    b("recv s 1")
    b("sendall s 10")
    a("recvall c 10")
    a("endchild k")


def forked_listener(a, b, port):
    """two processes accept from one listener"""
    listen(b, port)
    b("child k")
    for name, where in (("c", ""), ("d", "in k "), ("e", "")):
        a(f"socket {name} {a.family}")
        a(f"connect {name} {b.address} {port}")
        b(f"{where}accept l {name}")
        a(f"sendall {name} 100")
        b(f"{where}recvall {name} 100")
    b("close l")
    a(f"socket f {a.family}")
    a(f"connect f {b.address} {port}")
    b("in k accept l f")
    a("sendall f 10")
    b("in k recvall f 10")
    b("endchild k")
    a("poll f in 10000")
    a("recv f 1")


def passed(a, b, port):
    """a connection passed to another process (SCM_RIGHTS) goes on there"""
    b("child k")
    connect(a, b, port)
    a("sendall c 10")
    b("recvall s 4")
    b("pass k s t")
    b("close s")
    a("poll c in+rdhup 50")
    b("in k recvall t 6")
    b("in k sendall t 10000")
    a("recvall c 10000")
    b("in k set t nodelay 1")
    b("in k get t nodelay")
    b("endchild k")
    a("poll c in 10000")
    a("recv c 1")


def passed_listener(a, b, port):
    """a listener and a connecting socket can be passed"""
    b("child k")
    a("child k")
    listen(b, port)
    b("pass k l m")
    b("close l")
    a(f"socket c {a.family}")
    a("pass k c d")
    a("close c")
    a(f"in k connect d {b.address} {port}")
    b("in k accept m s")
    a("in k sendall d 10")
    b("in k recvall s 10")


def interrupted_recv(a, b, port):
    """a signal ends a recv that waits: EINTR, or what it had"""
    connect(a, b, port)
    interrupt(a, "recv c 10")
    interrupt(a, "read c 10")
    b("sendall s 300")
    b("waitoutq s 10000")
    interrupt(a, "recv c 1000 waitall")
    a("signals")
    b("sendall s 10")
    a("recvall c 10")


def restarted_recv(a, b, port):
    """with SA_RESTART a recv goes on after a signal, but not one with a
    time-out"""
    connect(a, b, port)
    a("interrupt restart")
    a.begin("recv c 10")
    a.signalled()
    b("sendall s 10")
    a.finish()
    a("signals")
    a("set c rcvtimeo 15000")
    interrupt(a, "recv c 10", "restart")


def interrupt(actor, command, how=""):
    """The call sleeps, and a signal comes."""
    actor(f"interrupt {how}".strip())
    actor.begin(command)
    actor.signalled()
    actor.finish()


def interrupted_send(a, b, port):
    """a signal ends a send that waits for room, or it goes on"""
    connect(a, b, port)
    a("fill c")
    interrupt(a, "send c 100000")
    a("interrupt restart")
    a.begin("send c 10")
    a.signalled()
    b("drain s 500")
    a.finish()
    a("signals")
    a("shutdown c wr")
    b("drain s 10000")


def interrupted_accept(a, b, port):
    """a signal ends an accept that waits, or it goes on"""
    listen(b, port)
    interrupt(b, "accept l s")
    b("interrupt restart")
    b.begin("accept l s")
    b.signalled()
    a(f"socket c {a.family}")
    a(f"connect c {b.address} {port}")
    b.finish()
    b("signals")
    a("sendall c 10")
    b("recvall s 10")


def interrupted_connect(a, b, port):
    """a signal ends a connect that waits, which then goes on without it"""
    listen(b, port)
    a(f"socket c {a.family}")
    a("interrupt")
    b.guest.pause()
    try:
        a.begin(f"connect c {b.address} {port}")
        a.signalled()
        a.finish()
    finally:
        b.guest.resume()
    a("poll c out 10000")
    a("get c error")
    b("accept l s")
    a("sendall c 10")
    b("recvall s 10")


def restarted_connect(a, b, port):
    """with SA_RESTART a connect goes on to its end, here of a host that is
    not there"""
    del b
    a("socket c tcp")
    interrupt(a, f"connect c 10.77.0.99 {port}", "restart")
    a("signals")
    a("get c error")


def interrupted_close(a, b, port):
    """a signal ends a close that lingers; the peer gets all"""
    connect(a, b, port)
    a("fill c")
    a("set c linger 1 60")
    interrupt(a, "close c")
    a("signals")
    b("drain s 5000")


def lingering_in_vain(a, b, port):
    """SO_LINGER waits for a peer that does not read, for the time asked for"""
    connect(a, b, port)
    a("fill c")
    a("set c linger 1 1")
    a("close c timed")
    b("drain s 5000")


def asynchronous(a, b, port):
    """O_ASYNC: SIGIO for data, room, ends and connections"""
    listen(b, port)
    b("async l")
    b("sigio 0")
    a(f"socket c {a.family}")
    a(f"connect c {b.address} {port}")
    b("sigio 10000")
    b("accept l s")
    a("async c")
    a("sigio 0")
    b("sendall s 10")
    a("sigio 10000")
    a("recvall c 10")
    a("fill c")
    # Room may have come and gone meanwhile.
    a("nosigio")
    b("drain s 500")
    a("sigio 10000")
    b("shutdown s wr")
    a("poll c in 10000")
    a("sigio 10000")
    a("recv c 1")


def uring_stream(a, b, port):
    """io_uring: accept, connect, send, receive and poll"""
    a("uring")
    b("uring")
    listen(b, port)
    b("uaccept r l s")
    b("ureap r 100")
    a(f"socket c {a.family}")
    a(f"uconnect q c {b.address} {port}")
    a("ureap q 10000")
    b("ureap r 10000")
    b("urecv r s 1000")
    b("ureap r 100")
    a("usend q c 100")
    a("ureap q 10000")
    b("ureap r 10000")
    b("upoll r s in")
    b("upoll o s out")
    b("ureap o 10000")
    b("ureap r 100")
    a("usend q c 50000")
    a("ureap q 10000")
    b("ureap r 10000")
    b("recvall s 50000")
    b("urecv r s 10")
    a("shutdown c wr")
    b("ureap r 10000")
    b("usend r s 5")
    b("ureap r 10000")
    a("urecv q c 10")
    a("ureap q 10000")


def uring_large(a, b, port):
    """io_uring: a send larger than all buffers is one completion"""
    a("uring")
    connect(a, b, port)
    a("usend q c 4194304")
    a("ureap q 100")
    b("recvall s 4194304")
    a("ureap q 10000")


def uring_refused(a, b, port):
    """io_uring: a connect that is refused"""
    a("uring")
    a(f"socket c {a.family}")
    a(f"uconnect q c {b.address} {port}")
    a("ureap q 10000")


def uring_cancel(a, b, port):
    """io_uring: requests that wait are cancelled, and the socket goes on"""
    a("uring")
    b("uring")
    listen(b, port)
    b("uaccept r l s")
    b("ucancel x r")
    b("ureap x 10000")
    b("ureap r 10000")
    connect_to_listener(a, b, port)
    for verb in ("urecv q c 10", "upoll q c in"):
        a(verb)
        a("ureap q 100")
        a("ucancel x q")
        a("ureap x 10000")
        a("ureap q 10000")
    a("fill c")
    a("usend q c 100000")
    a("ureap q 100")
    a("ucancel x q")
    a("ureap x 10000")
    a("ureap q 10000")
    b("sendall s 10")
    a("urecv q c 10")
    a("ureap q 10000")


def connect_to_listener(a, b, port):
    b.listening = True
    connect(a, b, port)


def uring_reset(a, b, port):
    """io_uring: a reset ends requests that wait"""
    a("uring")
    connect(a, b, port)
    a("urecv q c 10")
    a("upoll p c in")
    b("set s linger 1 0")
    b("close s")
    a("ureap p 10000")
    a("ureap q 10000")


def mapped_client(a, b, port):
    """an IPv6 socket connects to an IPv4 address"""
    listen(b, port)
    a("socket c tcp6")
    a(f"connect c ::ffff:10.77.0.2 {port}")
    b("accept l s")
    a("name c")
    a("peer c")
    b("peer s")
    a("sendall c 1000")
    b("recvall s 1000")
    a("socket d tcp6")
    a("set d v6only 1")
    a(f"connect d ::ffff:10.77.0.2 {port}")


def mapped_server(a, b, port):
    """an IPv6 listener takes IPv4 connections, unless asked not to"""
    b("socket l tcp6")
    b(f"bind l :: {port}")
    b("listen l 5")
    a("socket c tcp")
    a(f"connect c 10.77.0.2 {port}")
    b("accept l s")
    b("name s")
    b("peer s")
    a("sendall c 1000")
    b("recvall s 1000")
    b("close l")
    b("socket m tcp6")
    b("set m v6only 1")
    b("set m reuseaddr 1")
    b(f"bind m :: {port}")
    b("listen m 5")
    a("socket d tcp")
    a(f"connect d 10.77.0.2 {port}")


def listeners_of_one_port(a, b, port):
    """SO_REUSEPORT: connections are spread over the listeners of a port"""
    for i in range(4):
        b(f"socket l{i} {b.family}")
        b(f"set l{i} reuseport 1")
        b(f"bind l{i} {any_address(b)} {port}")
        b(f"listen l{i} 64")
    b(f"socket m {b.family}")
    b(f"bind m {any_address(b)} {port}")
    for i in range(40):
        a(f"socket c{i} {a.family}")
        a(f"connect c{i} {b.address} {port}")
    b("spread l 4 40")


def privileged_port(a, b, port):
    """ports below 1024 are root's"""
    del a
    b("child k")
    b("in k uid 65534")
    b(f"in k socket l {b.family}")
    b(f"in k bind l {any_address(b)} 80")
    b(f"in k bind l {any_address(b)} {port}")
    b("endchild k")
    b(f"socket l {b.family}")
    b(f"bind l {any_address(b)} 80")


PORTS = "/proc/sys/net/ipv4/ip_local_port_range"
RESERVED = "/proc/sys/net/ipv4/ip_local_reserved_ports"


def reserved_ports(a, b, port):
    """a connect takes no port that is reserved, and fails without one"""
    before = a.guest.read(PORTS)
    listen(b, port)
    a.guest.run(f"echo 61000 61003 > {PORTS}; echo 61000-61002 > {RESERVED}")
    try:
        a(f"socket c {a.family}")
        a(f"connect c {b.address} {port}")
        a("name c port")
        a(f"socket d {a.family}")
        a(f"connect d {b.address} {port}")
        # Without the state of a port that was closed first.
        a("set c linger 1 0")
        a("close c")
    finally:
        a.guest.run(f"echo {before.strip()} > {PORTS}; echo > {RESERVED}")


def buffers(a, b, port):
    """SO_SNDBUF and SO_RCVBUF have their limits, and listeners' go to their
    connections"""
    listen(b, port)
    b("set l rcvbuf 30000")
    b("set l sndbuf 20000")
    a(f"socket c {a.family}")
    for name in ("sndbuf", "rcvbuf"):
        for size in (1, 4096, 100000, 2000000000):
            a(f"set c {name} {size}")
            a(f"get c {name}")
    a("set c notsent_lowat 16384")
    a("get c notsent_lowat")
    a(f"connect c {b.address} {port}")
    b("accept l s")
    b("get s rcvbuf")
    b("get s sndbuf")
    a("get c sndbuf")
    a("set c sndbuf 50000")
    a("get c sndbuf")
    a("get c notsent_lowat")
    a.begin("sendall c 300000")
    b("recvall s 300000")
    a.finish()


#: All of them, by name.
ALL = {name: value for name, value in list(globals().items())
       if callable(value) and value.__module__ == __name__
       and value.__doc__ and name not in ("interrupt",)}

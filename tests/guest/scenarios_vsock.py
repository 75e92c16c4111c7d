# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel's vsock_test shows of its sockets, as scenarios of ours over
TCP; see scenarios.py.  docs/transparency.rst lists which is which."""

from rig.lockstep import any_address, connect, listen


def bound_only(a, b, port):
    """a port that is bound but does not listen refuses"""
    b(f"socket l {b.family}")
    b(f"bind l {any_address(b)} {port}")
    a(f"socket c {a.family}")
    a(f"connect c {b.address} {port}")
    a("get c error")


def client_closed(a, b, port):
    """the client closes: writing ends in EPIPE, and what it had sent can
    still be read"""
    connect(a, b, port)
    a("sendall c 1")
    a("close c")
    closed_peer(b, "s")


def server_closed(a, b, port):
    """the same when the server closes"""
    connect(a, b, port)
    b("sendall s 1")
    b("close s")
    closed_peer(a, "c")


def closed_peer(actor, name):
    # The first write passes and is answered by a reset.
    actor(f"poll {name} rdhup 10000")
    actor(f"send {name} 1 nosignal")
    actor(f"poll {name} none 10000")
    actor(f"send {name} 1")
    actor("sigpipes")
    actor(f"send {name} 1 nosignal")
    actor("sigpipes")
    actor(f"recv {name} 1")
    actor(f"recv {name} 1")


def hundred_connections(a, b, port):
    """a hundred connections at once, each with data"""
    listen(b, port, backlog=128)
    for i in range(100):
        a(f"socket c{i} {a.family}")
        a(f"connect c{i} {b.address} {port}")
        b(f"accept l s{i}")
    for i in range(100):
        sender, receiver = ((a, f"c{i}"), (b, f"s{i}"))[::1 - i % 2 * 2]
        sender[0](f"sendall {sender[1]} 1")
        receiver[0](f"recvall {receiver[1]} 1")
    for i in range(100):
        a(f"close c{i}")
        b(f"recv s{i} 1")
        b(f"close s{i}")


def peek_grows(a, b, port):
    """peeking at nothing, at a part and at all of it takes nothing away"""
    connect(a, b, port)
    b("recv s 64 peek dontwait")
    a("sendall c 64")
    a("waitoutq c 10000")
    b("recv s 32 peek")
    b("recv s 64 peek")
    b("recv s 32 peek trunc")
    b("recv s 64")
    b("recv s 64 peek dontwait")


def poll_low_water(a, b, port):
    """poll is silent below SO_RCVLOWAT, even if bytes come one by one"""
    connect(a, b, port)
    a("set c rcvlowat 128")
    b("send s 1")
    b("waitoutq s 10000")
    a("poll c in 200")
    for _ in range(126):
        b("send s 1")
    b("waitoutq s 10000")
    a("poll c in 200")
    b("send s 1")
    a("poll c in 10000")
    a("recv c 128 dontwait")


def bad_memory(a, b, port):
    """memory that is not there: EFAULT, and the data stay"""
    connect(a, b, port)
    a("badsend c 512")
    a("sendall c 512")
    a("waitoutq c 10000")
    b("badrecv s 512")
    b("recv s 512 dontwait")
    b("recv s 512 dontwait")


def missing_page(a, b, port):
    """a page that is missing in the middle: EFAULT, and nothing is sent or
    taken"""
    connect(a, b, port)
    a("holesend c")
    a("holesend c 0")
    a("send c 12288")
    a("waitoutq c 10000")
    b("holerecv s")
    b("holerecv s 0")
    b("recv s 20000 peek dontwait")
    b("recv s 20000 dontwait")
    b("recv s 1 dontwait")


def messages_join(a, b, port):
    """one read takes the rest of a message and the next one"""
    connect(a, b, port)
    a("send c 5")
    a("waitoutq c 10000")
    b("recv s 2")
    a("send c 5")
    a("waitoutq c 10000")
    b("recv s 62")
    b("recv s 54 dontwait")


def shutdown_write_sigpipe(a, b, port):
    """after shutdown(SHUT_WR) writing is EPIPE and SIGPIPE, or without the
    signal if asked so"""
    connect(a, b, port)
    a("shutdown c wr")
    a("send c 1")
    a("sigpipes")
    a("send c 1 nosignal")
    a("write c 1")
    a("sigpipes")
    b("recv s 1")


def shutdown_read_of_peer(a, b, port):
    """shutdown(SHUT_RD) is not seen by the peer, whose bytes arrive"""
    connect(a, b, port)
    b("shutdown s rd")
    a("send c 1")
    a("send c 1 nosignal")
    a("sigpipes")
    a("poll c in+out+rdhup 0")
    a("waitoutq c 10000")
    b("poll s in+rdhup 0")
    b("recv s 10")
    b("recv s 10")


def zerocopy(a, b, port):
    """MSG_ZEROCOPY: every call is completed, once, in order"""
    connect(a, b, port)
    a("zcsend c 100")
    a("set c zerocopy 1")
    a("get c zerocopy")
    a("errqueue c")
    a("poll c none 0")
    for size in (1, 4096, 65536, 300000):
        a.begin(f"zcsend c {size}")
        b(f"recvall s {size + (100 if size == 1 else 0)}")
        a.finish()
    a("zcwait c 4 10000")
    a("errqueue c")
    a("poll c none 0")
    a("zcsend c 10")
    b("recvall s 10")
    a("poll c none 10000")
    a("errqueue c")
    # Nobody looks meanwhile, and there is little room for what is not read.
    a("set c rcvbuf 2048")
    for _ in range(20):
        a("zcsend c 10")
        b("recvall s 10")
        a("waitoutq c 10000")
    a("poll c none 10000")
    a("errqueue c")
    a("errqueue c")
    a("set c zerocopy 0")
    a("set c zerocopy 2")


def double_bind(a, b, port):
    """a bound port is in use until its connection is gone, and then free"""
    listen(b, port)
    for name, server in (("c", "s"), ("d", "t")):
        a(f"socket {name} {a.family}")
        a(f"bind {name} {any_address(a)} {port}")
        a(f"bind {name} {any_address(a)} {port}")
        a(f"connect {name} {b.address} {port}")
        a(f"bind {name} {any_address(a)} {port}")
        a(f"connect {name} {b.address} {port}")
        b(f"accept l {server}")
        b(f"peer {server}")
        a(f"socket {name}2 {a.family}")
        a(f"bind {name}2 {any_address(a)} {port}")
        # Without the state of a port that was closed first.
        a(f"set {name} linger 1 0")
        a(f"close {name}")
        b(f"poll {server} in 10000")
        b(f"recv {server} 1")


def low_water_raised(a, b, port):
    """raising SO_RCVLOWAT beyond what is there lets the peer send it"""
    connect(a, b, port)
    a.begin("sendall c 3000000")
    b("poll s in 10000")
    b("set s rcvlowat 1000000")
    b("get s rcvlowat")
    b("poll s in 10000")
    # TCP tells earlier if its window is too small for that.
    b("recv s 1000000 waitall")
    b("set s rcvlowat 1")
    b("recvall s 2000000")
    a.finish()


def low_water_after_read(a, b, port):
    """a read that leaves less than SO_RCVLOWAT lets the peer send the rest"""
    connect(a, b, port)
    b("set s rcvlowat 65537")
    a.begin("sendall c 131073")
    b("poll s in 10000")
    b("recv s 65536 dontwait")
    b("poll s in 10000")
    # TCP may wake a reader earlier, when its own buffers are short.
    b("recvall s 65537")
    a.finish()


def low_water_of_small_buffer(a, b, port):
    """SO_RCVLOWAT beyond the buffer cannot stop the connection"""
    b(f"socket l {b.family}")
    b("set l rcvbuf 16384")
    b("set l rcvlowat 1000000")
    b("get l rcvlowat")
    b(f"bind l {any_address(b)} {port}")
    b("listen l 5")
    b.listening = True
    connect(a, b, port)
    b("get s rcvlowat")
    b("set s rcvlowat 1000000")
    b("get s rcvlowat")
    a.begin("sendall c 300000")
    b("poll s in 10000")
    b("set s rcvlowat 1")
    b("recvall s 300000")
    a.finish()


def nothing_unsent(a, b, port):
    """SIOCOUTQ is 0 when the peer has everything"""
    connect(a, b, port)
    a("sendall c 64")
    b("recvall s 64")
    a("waitoutq c 10000")
    a("outq c")


def linger_without_data(a, b, port):
    """close() with SO_LINGER waits for no peer that has got everything but
    has not read it"""
    connect(a, b, port)
    a("set c linger 1 5")
    a("sendall c 1")
    a("waitoutq c 10000")
    a("close c timed")
    b("recvall s 2")


#: All of them, by name.
ALL = {name: value for name, value in list(globals().items())
       if callable(value) and value.__module__ == __name__
       and value.__doc__}

#: Those that one kernel cannot do: docs/transparency.rst.
ONLY = {"zerocopy": ("6.12",)}

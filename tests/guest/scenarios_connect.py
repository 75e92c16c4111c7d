# SPDX-License-Identifier: GPL-2.0-or-later
"""Connecting, listening and ports where it gets less simple; see
scenarios.py."""

from rig.lockstep import any_address, connect, listen

#: Nobody has this address.
NOBODY = "10.77.0.99"


def listened_again(a, b, port):
    """listen() again only changes the backlog"""
    listen(b, port)
    a(f"socket c {a.family}")
    a(f"connect c {b.address} {port}")
    b("poll l in 10000")
    b("listen l 64")
    b("accept l s")
    a("sendall c 10")
    b("recvall s 10")
    b("listen s 5")


def listener_shut_down(a, b, port):
    """shutdown(SHUT_RD) ends listening, and it can be begun again"""
    listen(b, port)
    b("shutdown l wr")
    a(f"socket c {a.family}")
    a(f"connect c {b.address} {port}")
    b("poll l in 10000")
    b("shutdown l rd")
    a("poll c in 10000")
    a("recv c 1")
    b("accept l s")
    b("get l acceptconn")
    b("poll l in+out+rdhup 0")
    a(f"socket d {a.family}")
    a(f"connect d {b.address} {port}")
    b("listen l 5")
    a(f"socket e {a.family}")
    a(f"connect e {b.address} {port}")
    b("accept l s")
    a("sendall e 10")
    b("recvall s 10")


def blocked_accept_and_shutdown(a, b, port):
    """shutdown() of a listener ends an accept that waits in another process"""
    del a
    listen(b, port)
    b("uring")
    b("uaccept r l s")
    b("ureap r 100")
    b("shutdown l rd")
    b("ureap r 10000")


def closed_while_connecting(a, b, port):
    """a socket can be closed or disconnected while it connects"""
    del b
    a("socket c tcp nonblock")
    a(f"connect c {NOBODY} {port}")
    a(f"connect c {NOBODY} {port}")
    a("poll c in+out+rdhup 0")
    a("send c 1 nosignal")
    a("recv c 1")
    a("peer c")
    a("close c")
    a("socket d tcp nonblock")
    a(f"connect d {NOBODY} {port}")
    a("connect d *")
    a("peer d")
    a("poll d in+out+rdhup 0")
    a("socket e tcp nonblock")
    a(f"connect e {NOBODY} {port}")
    a("shutdown e wr")
    a("poll e in+out+rdhup 0")


def connect_timed_out(a, b, port):
    """SO_SNDTIMEO ends the wait of a connect, which goes on"""
    del b
    a("socket c tcp")
    a("set c sndtimeo 200")
    a(f"connect c {NOBODY} {port}")
    a("set c sndtimeo 0")
    a(f"connect c {NOBODY} {port}")
    a("get c error")


def peek_offset(a, b, port):
    """SO_PEEK_OFF: peeks go on where the last one ended, where TCP can"""
    connect(a, b, port)
    a("get c peek_off")
    a("set c peek_off 0")
    a("get c peek_off")
    b("sendall s 100")
    b("waitoutq s 10000")
    # With "trunc" the bytes are not looked at: they begin elsewhere.
    for command in ("recv c 30 peek trunc", "get c peek_off",
                    "recv c 30 peek trunc", "get c peek_off", "recv c 20",
                    "get c peek_off", "recv c 100 peek trunc",
                    "get c peek_off", "recv c 100", "get c peek_off"):
        a(command)


def ports_of_the_kernel(a, b, port):
    """bind() to port 0 gives one that is free and kept"""
    b(f"socket l {b.family}")
    b(f"bind l {any_address(b)} 0")
    b("name l")
    b("listen l 5")
    b("name l")
    a(f"socket c {a.family}")
    a(f"bind c {a.address} 0")
    a("name c")
    listen(b, port, "m")
    a(f"connect c {b.address} {port}")
    a("name c")
    a("peer c")
    b("accept m s")
    b("peer s")
    a(f"socket d {a.family}")
    a(f"bind d {b.address} 0")


#: All of them, by name.
ALL = {name: value for name, value in list(globals().items())
       if callable(value) and value.__module__ == __name__
       and value.__doc__}

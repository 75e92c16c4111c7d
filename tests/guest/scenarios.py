# SPDX-License-Identifier: GPL-2.0-or-later
"""What sockets do, as scenarios for rig.lockstep: plain TCP is the oracle.

Each is a function(a, b, port); its docstring names the promise.  Before a
call whose result depends on what has arrived, the actor waits for that by
poll: nothing here is up to timing.
"""

from rig.lockstep import any_address, connect, listen

#: Waits for bytes, an end or an error.
READABLE = "poll {} in 10000"


def exchange(a, b, port):
    """bytes arrive in order, both ways, in pieces of any size"""
    connect(a, b, port)
    for size in (1, 14, 1000, 1448, 65536):
        a(f"sendall c {size}")
        b(f"recvall s {size}")
        b(f"sendall s {size}")
        a(f"recvall c {size}")


def large(a, b, port):
    """8 MiB go each way at once"""
    connect(a, b, port)
    for first, second in ((a, b), (b, a)):
        first.begin(f"sendall {'c' if first is a else 's'} 8388608")
        second(f"recvall {'s' if first is a else 'c'} 8388608")
        first.finish()


def active_close(a, b, port):
    """the side that closes first: the other reads all, then the end"""
    connect(a, b, port)
    a("sendall c 5000")
    a("close c")
    b("recvall s 5000")
    b("recv s 1")
    b("recv s 1")
    b("poll s in+out+rdhup 10000")
    b("close s")


def passive_close(a, b, port):
    """the accepting side closes first"""
    connect(a, b, port)
    b("sendall s 5000")
    b("close s")
    a("recvall c 5001")
    a("close c")


def half_close(a, b, port):
    """after shutdown(SHUT_WR) the other direction goes on"""
    connect(a, b, port)
    a("sendall c 3000")
    a("shutdown c wr")
    a("send c 1 nosignal")
    a("poll c out 0")
    b("recvall s 3000")
    b("recv s 10")
    b("poll s in+out+rdhup 10000")
    b("sendall s 100000")
    a("recvall c 100000")
    b("shutdown s wr")
    a("recv c 1")
    a("poll c in+out+rdhup 10000")
    b("poll s in+out+rdhup 10000")
    a("get c error")
    a("close c")
    b("close s")


def simultaneous_close(a, b, port):
    """both shut down before either has seen the other's end"""
    connect(a, b, port)
    a.begin("shutdown c wr")
    b.begin("shutdown s wr")
    a.finish()
    b.finish()
    a("recv c 1")
    b("recv s 1")
    a("poll c in+out+rdhup 10000")
    b("poll s in+out+rdhup 10000")
    a("close c")
    b("close s")


def simultaneous_close_with_data(a, b, port):
    """bytes sent before a simultaneous close arrive, on both sides"""
    connect(a, b, port)
    a("sendall c 20000")
    b("sendall s 20000")
    a.begin("shutdown c wr")
    b.begin("shutdown s wr")
    a.finish()
    b.finish()
    a("recvall c 20001")
    b("recvall s 20001")


def shutdown_read(a, b, port):
    """after shutdown(SHUT_RD) reads end at once, writes go on"""
    connect(a, b, port)
    a("shutdown c rd")
    a("poll c in+rdhup 10000")
    a("recv c 1")
    a("sendall c 100")
    b("recvall s 100")


def shutdown_both(a, b, port):
    """shutdown(SHUT_RDWR) ends both directions"""
    connect(a, b, port)
    a("shutdown c rdwr")
    a("recv c 1")
    a("send c 1 nosignal")
    b(READABLE.format("s"))
    b("recv s 1")


def shutdown_twice(a, b, port):
    """a second shutdown, and one on a socket without a peer"""
    connect(a, b, port)
    a("shutdown c wr")
    a("shutdown c wr")
    a(f"socket n {a.family}")
    a("shutdown n wr")
    a("shutdown n rd")


def abort(a, b, port):
    """SO_LINGER 0 and close: the peer gets ECONNRESET, once"""
    connect(a, b, port)
    a("set c linger 1 0")
    a("get c linger")
    a("close c")
    b(READABLE.format("s"))
    b("poll s in+out+rdhup 0")
    b("recv s 1")
    b("recv s 1")
    b("get s error")
    b("send s 1 nosignal")


def abort_so_error(a, b, port):
    """after an abort SO_ERROR tells it once, then reads end"""
    connect(a, b, port)
    b("set s linger 1 0")
    b("close s")
    a("poll c in 10000")
    a("get c error")
    a("get c error")
    a("recv c 1")


def abort_discards(a, b, port):
    """what had arrived before an abort, and was not read, is gone"""
    connect(a, b, port)
    a("sendall c 100")
    b("poll s in 10000")
    a("set c linger 1 0")
    a("close c")
    b("poll s rdhup 10000")
    b("recv s 1000")
    b("recv s 1000")


def unread_close(a, b, port):
    """closing with data unread aborts the connection"""
    connect(a, b, port)
    a("sendall c 100")
    b("poll s in 10000")
    b("close s")
    a(READABLE.format("c"))
    a("poll c in+out+rdhup 0")
    a("recv c 1")
    a("send c 1 nosignal")


def unread_half(a, b, port):
    """closing with part of the data unread aborts, too"""
    connect(a, b, port)
    a("sendall c 100")
    b("recvall s 40")
    b("close s")
    a("poll c in 10000")
    a("recv c 1")


def write_after_peer_closed(a, b, port):
    """the first write after the peer's close passes, later ones end in
    EPIPE and SIGPIPE"""
    connect(a, b, port)
    b("close s")
    a("poll c rdhup 10000")
    a("send c 10")
    a("poll c none 10000")
    a("send c 10")
    a("sigpipes")
    a("send c 10 nosignal")
    a("sigpipes")
    a("recv c 1")


def refused(a, b, port):
    """connecting where nobody listens: ECONNREFUSED; the socket can be
    tried again"""
    a(f"socket c {a.family}")
    a(f"connect c {b.address} {port}")
    a("get c error")
    a("peer c")
    listen(b, port)
    a(f"connect c {b.address} {port}")
    b("accept l s")
    a("sendall c 10")
    b("recvall s 10")


def refused_nonblocking(a, b, port):
    """a refusal of a connect that does not wait is told by poll and
    SO_ERROR"""
    a(f"socket c {a.family} nonblock")
    a(f"connect c {b.address} {port}")
    a("poll c out 10000")
    a("get c error")
    a("get c error")


def nonblocking_connect(a, b, port):
    """connect without waiting: EINPROGRESS, then writable, then connected"""
    listen(b, port)
    a(f"socket c {a.family} nonblock")
    a(f"connect c {b.address} {port}")
    a("poll c out 10000")
    a("get c error")
    a(f"connect c {b.address} {port}")
    a(f"connect c {b.address} {port}")
    b("accept l s")
    a("recv c 1")
    b("sendall s 10")
    a("poll c in 10000")
    a("recv c 100")
    a("recv c 100")


def connect_states(a, b, port):
    """calls on a socket in the wrong state fail as they do with TCP"""
    listen(b, port)
    a(f"socket c {a.family}")
    a("send c 1 nosignal")
    a("recv c 1")
    a("peer c")
    a("name c")
    a(f"socket n {a.family}")
    a("listen n 5")
    a("get n acceptconn")
    a(f"connect n {b.address} {port}")
    a(f"connect c {b.address} {port}")
    a("get c acceptconn")
    b("get l acceptconn")
    b("recv l 1")
    b(f"connect l {a.address} {port}")
    b("accept l s")
    a("accept c x")
    a(f"connect c {b.address} {port}")
    a(f"bind c {any_address(a)} {port}")
    b("peer s")
    b("name s")
    a("peer c")
    a("name c")


def accept_nonblocking(a, b, port):
    """accept without waiting: EAGAIN, then the connection; the new socket
    waits unless asked not to"""
    b(f"socket l {b.family} nonblock")
    b(f"bind l {any_address(b)} {port}")
    b("listen l 5")
    b("accept l s")
    b("poll l in 0")
    a(f"socket c {a.family}")
    a(f"connect c {b.address} {port}")
    b("poll l in 10000")
    b("accept l s")
    b("poll l in 0")
    b("set s rcvtimeo 50")
    b("recv s 1")
    a(f"socket d {a.family}")
    a(f"connect d {b.address} {port}")
    b("poll l in 10000")
    b("accept l t nonblock")
    b("recv t 1")


def accept_after_close(a, b, port):
    """a connection closed before it was accepted is accepted, then ends"""
    listen(b, port)
    a(f"socket c {a.family}")
    a(f"connect c {b.address} {port}")
    a("sendall c 10")
    a("close c")
    b("poll l in 10000")
    b("accept l s")
    b("recvall s 11")


def accept_after_abort(a, b, port):
    """a connection aborted before it was accepted tells so after accept"""
    listen(b, port)
    a(f"socket c {a.family}")
    a(f"connect c {b.address} {port}")
    b("poll l in 10000")
    a("set c linger 1 0")
    a("close c")
    # On the same path behind the abort: it has arrived when this has.
    a(f"socket d {a.family}")
    a(f"connect d {b.address} {port}")
    b("accept l s")
    b("poll s in 10000")
    b("recv s 1")


def listener_closed(a, b, port):
    """closing a listener aborts what nobody accepted, and keeps what was"""
    connect(a, b, port)
    a(f"socket d {a.family}")
    a(f"connect d {b.address} {port}")
    b("poll l in 10000")
    b("close l")
    a("poll d in 10000")
    a("recv d 1")
    a("sendall c 10")
    b("recvall s 10")
    a(f"socket e {a.family}")
    a(f"connect e {b.address} {port}")


def address_in_use(a, b, port):
    """two listeners cannot have one port"""
    listen(b, port)
    b(f"socket m {b.family}")
    b(f"bind m {any_address(b)} {port}")
    b(f"socket n {b.family}")
    b("set n reuseaddr 1")
    b(f"bind n {any_address(b)} {port}")
    b("listen n 5")


def many_accepts(a, b, port):
    """connections are accepted in the order of their connects"""
    listen(b, port)
    for i in range(8):
        a(f"socket c{i} {a.family}")
        a(f"connect c{i} {b.address} {port}")
        a(f"sendall c{i} {i + 1}")
    for i in range(8):
        b(f"accept l s{i}")
        b(f"poll s{i} in 10000")
        b(f"recv s{i} 100")


def timeouts(a, b, port):
    """SO_RCVTIMEO and SO_SNDTIMEO end a wait with EAGAIN"""
    connect(a, b, port)
    a("set c rcvtimeo 100")
    a("get c rcvtimeo")
    a("recv c 1")
    a("recv c 1")
    a("fill c")
    a("set c sndtimeo 100")
    a("get c sndtimeo")
    a("send c 10000")
    a("set c rcvtimeo 0")
    b("sendall s 5")
    a("recvall c 5")


def dontwait(a, b, port):
    """MSG_DONTWAIT does not wait on a socket that does"""
    connect(a, b, port)
    a("recv c 1 dontwait")
    b("sendall s 4")
    a("poll c in 10000")
    a("recv c 10 dontwait")
    a("recv c 10 dontwait")


def peek(a, b, port):
    """MSG_PEEK leaves the bytes where they are; MSG_TRUNC drops them"""
    connect(a, b, port)
    b("sendall s 100")
    b("waitoutq s 10000")
    a("recv c 10 peek")
    a("recv c 200 peek")
    a("recv c 60")
    a("recv c 200 peek")
    a("recv c 200 peek trunc")
    a("recv c 30 trunc")
    a("recv c 200")
    a("recv c 1 peek dontwait")


def waitall(a, b, port):
    """MSG_WAITALL waits for all of it, or for the end"""
    connect(a, b, port)
    a.begin("recv c 1000 waitall")
    b("send s 300")
    b("send s 300")
    b("send s 400")
    a.finish()
    a.begin("recv c 1000 waitall")
    b("send s 300")
    b("shutdown s wr")
    a.finish()


def low_water(a, b, port):
    """SO_RCVLOWAT holds poll and recv back until enough is there"""
    connect(a, b, port)
    a("set c rcvlowat 100")
    a("get c rcvlowat")
    b("sendall s 60")
    b("waitoutq s 10000")
    a("poll c in 100")
    b("sendall s 60")
    a("poll c in 10000")
    a("recv c 1000")


def low_water_before(a, b, port):
    """SO_RCVLOWAT may come before the connection, at either end"""
    listen(b, port)
    b("set l rcvlowat 50")
    a(f"socket c {a.family}")
    a("set c rcvlowat 100")
    a(f"connect c {b.address} {port}")
    b("accept l s")
    for sender, name, receiver, other, part in ((b, "s", a, "c", 60),
                                                (a, "c", b, "s", 30)):
        for wait in (100, 10000):
            sender(f"sendall {name} {part}")
            sender(f"waitoutq {name} 10000")
            receiver(f"poll {other} in {wait}")
        receiver(f"recv {other} 1000")


def lingering_listener(a, b, port):
    """an accepted connection has SO_LINGER of its listener, and resets"""
    listen(b, port)
    b("set l linger 1 0")
    a(f"socket c {a.family}")
    a(f"connect c {b.address} {port}")
    b("accept l s")
    b("get s linger")
    b("close s")
    a("poll c in 10000")
    a("recv c 1")


def busy_poll(a, b, port):
    """SO_BUSY_POLL: recv() and poll() poll the NIC before they sleep"""
    connect(a, b, port)
    a("get c busy_poll")
    a("set c busy_poll 1500")
    a("get c busy_poll")
    a.begin("recv c 100")
    b("sendall s 100")
    a.finish()
    a("poll c in 50")
    b("sendall s 10")
    a("poll c in 10000")
    a("recv c 10")
    a.begin("recv c 100")
    b("shutdown s wr")
    a.finish()


def queues(a, b, port):
    """SIOCINQ and SIOCOUTQ count what waits"""
    connect(a, b, port)
    a("inq c")
    a("outq c")
    b("sendall s 1234")
    b("waitoutq s 10000")
    a("inq c")
    a("recv c 34")
    a("inq c")
    a("shutdown c wr")
    a("recvall c 1200")
    a("inq c")
    b("inq l")


def empty_io(a, b, port):
    """sending and receiving nothing"""
    connect(a, b, port)
    a("send c 0")
    b("sendall s 5")
    a("poll c in 10000")
    a("recv c 0")
    a("recv c 10")
    a("read c 0")
    a("shutdown c wr")
    a("write c 0")


def vectors(a, b, port):
    """readv and writev"""
    connect(a, b, port)
    a("writev c 100 50000")
    b("recvall s 50100")
    b("sendall s 3000")
    b("waitoutq s 10000")
    a("readv c 1000 1000")
    a("readv c 1 5000")


def file_io(a, b, port):
    """read, write, sendfile, and splice to a pipe"""
    connect(a, b, port)
    a("write c 700")
    b("poll s in 10000")
    b("read s 1000")
    a("sendfile c 60000")
    b("recvall s 60000")
    b("sendall s 5000")
    b("waitoutq s 10000")
    a("splice c 3000")
    a("splice c 2000")
    b("close s")
    a("poll c in 10000")
    a("splice c 100")


def duplicates(a, b, port):
    """a connection lives as long as one of its descriptors"""
    connect(a, b, port)
    a("dup c d")
    a("close c")
    b("poll s in+rdhup 50")
    a("sendall d 10")
    b("recvall s 10")
    a("close d")
    b(READABLE.format("s"))
    b("recv s 1")


def poll_states(a, b, port):
    """poll in every state of a connection"""
    a(f"socket c {a.family}")
    a("poll c in+out+rdhup 0")
    listen(b, port)
    b("poll l in+out 0")
    a(f"connect c {b.address} {port}")
    a("poll c in+out+rdhup 0")
    b("poll l in+out 10000")
    b("accept l s")
    b("poll s in+out+rdhup 0")
    a("sendall c 1")
    b("poll s in 10000")
    b("poll s in+out+rdhup 0")
    b("recv s 10")
    b("poll s in+out+rdhup 0")
    a("select c r 0")
    a("select c w 0")
    a("fill c")
    a("poll c out 0")
    a("select c w 0")
    b("shutdown s wr")
    a("poll c rdhup 10000")
    a("poll c in+out+rdhup 0")


def poll_writable_again(a, b, port):
    """a full socket becomes writable when the reader has read"""
    connect(a, b, port)
    a("fill c")
    a("poll c out 50")
    a.begin("poll c out 10000")
    b("drain s 500")
    a.finish()


def epoll_level(a, b, port):
    """epoll, level triggered: told again until it is read"""
    connect(a, b, port)
    a("epoll e")
    a("epadd e c in+rdhup")
    a("epwait e 0")
    b("sendall s 10")
    a("epwait e 10000")
    a("epwait e 0")
    a("recv c 4")
    a("epwait e 0")
    a("recv c 100")
    a("epwait e 0")
    a("epmod e c in+out")
    a("epwait e 0")
    a("epmod e c in+rdhup")
    b("shutdown s wr")
    a("epwait e 10000")
    a("recv c 1")
    a("epwait e 0")
    a("epdel e c")
    a("epwait e 0")


def epoll_edge(a, b, port):
    """epoll, edge triggered: told once for each arrival"""
    connect(a, b, port)
    a("epoll e")
    a("epadd e c in+out+rdhup+et")
    a("epwait e 0")
    a("epwait e 0")
    b("sendall s 10")
    a("epwait e 10000")
    a("epwait e 0")
    a("recv c 4")
    a("epwait e 0")
    b("sendall s 10")
    a("epwait e 10000")
    a("recv c 100")
    b("shutdown s wr")
    a("epwait e 10000")
    a("epwait e 0")


def epoll_oneshot(a, b, port):
    """EPOLLONESHOT: silent until armed again"""
    connect(a, b, port)
    a("epoll e")
    a("epadd e c in+oneshot")
    b("sendall s 10")
    a("epwait e 10000")
    a("recv c 100")
    b("sendall s 10")
    a("poll c in 10000")
    a("epwait e 0")
    a("epmod e c in+oneshot")
    a("epwait e 10000")


def epoll_listener(a, b, port):
    """epoll on a listener and on a socket added before it connects"""
    listen(b, port)
    b("epoll e")
    b("epadd e l in")
    b("epwait e 0")
    a("epoll e")
    a(f"socket c {a.family} nonblock")
    a("epadd e c in+out+rdhup+et")
    a("epwait e 0")
    a(f"connect c {b.address} {port}")
    b("epwait e 10000")
    b("accept l s")
    b("epwait e 0")
    a("poll c out 10000")
    a("epwait e 10000")
    b("close s")
    a("poll c rdhup 10000")
    a("epwait e 10000")


def epoll_abort(a, b, port):
    """epoll tells an abort"""
    connect(a, b, port)
    a("epoll e")
    a("epadd e c in+rdhup")
    b("set s linger 1 0")
    b("close s")
    a("epwait e 10000")
    a("recv c 1")
    a("epwait e 0")


def options(a, b, port):
    """options read back as they were set, before and after connecting"""
    a(f"socket c {a.family}")
    for name, value in (("nodelay", 1), ("keepalive", 1), ("keepidle", 33),
                        ("keepintvl", 7), ("keepcnt", 3), ("oobinline", 1),
                        ("usertimeout", 5000), ("reuseaddr", 1)):
        a(f"get c {name}")
        a(f"set c {name} {value}")
        a(f"get c {name}")
    a("get c type")
    a("get c domain")
    listen(b, port)
    a(f"connect c {b.address} {port}")
    b("accept l s")
    for name in ("nodelay", "keepalive", "keepidle", "keepcnt", "error"):
        a(f"get c {name}")
        b(f"get s {name}")
    a("set c nodelay 0")
    a("get c nodelay")
    a("set c cork 1")
    a("get c cork")
    a("sendall c 10")
    a("set c cork 0")
    b("recvall s 10")


def tcp_states(a, b, port):
    """TCP_INFO tells the state of the connection"""
    a(f"socket c {a.family}")
    a("get c info")
    connect(a, b, port, client="d")
    b("get l info")
    a("get d info")
    b("get s info")
    b("shutdown s wr")
    a("poll d rdhup 10000")
    a("get d info")


def disconnect(a, b, port):
    """connect to AF_UNSPEC takes the connection down; the socket can be
    used again"""
    connect(a, b, port)
    a("connect c *")
    b(READABLE.format("s"))
    b("recv s 1")
    a("peer c")
    a(f"connect c {b.address} {port}")
    b("accept l t")
    a("sendall c 10")
    b("recvall t 10")


def disconnect_bound(a, b, port):
    """a port that the program chose stays, and the address goes"""
    listen(b, port)
    a(f"socket c {a.family}")
    a(f"bind c {any_address(a)} {port}")
    a(f"connect c {b.address} {port}")
    a("name c")
    a("connect c *")
    a("name c")


def disconnect_after_both_ends(a, b, port):
    """connect to AF_UNSPEC after both directions ended resets nothing"""
    connect(a, b, port)
    a("sendall c 200000")
    b("recvall s 200000")
    b("shutdown s wr")
    a("poll c rdhup 10000")
    a("shutdown c wr")
    a("connect c *")
    a("get c error")
    b("poll s in 10000")
    b("recv s 1")
    b("get s error")


def inherited_options(a, b, port):
    """an accepted connection has the options of its listener"""
    listen(b, port)
    for name, value in (("keepidle", 33), ("keepintvl", 7), ("keepcnt", 3),
                        ("usertimeout", 5000), ("nodelay", 1),
                        ("keepalive", 1), ("oobinline", 1),
                        ("rcvlowat", 5)):
        b(f"set l {name} {value}")
    a(f"socket c {a.family}")
    a(f"connect c {b.address} {port}")
    b("accept l s")
    for name in ("keepidle", "keepintvl", "keepcnt", "usertimeout", "nodelay",
                 "keepalive", "oobinline", "rcvlowat"):
        b(f"get s {name}")
    a("sendall c 10")
    b("recvall s 10")


def connect_fails_and_is_tried_again(a, b, port):
    """after a refusal the socket keeps what TCP keeps, and connects"""
    a(f"socket c {a.family}")
    a("set c keepidle 33")
    a(f"connect c {b.address} {port}")
    a("name c")
    listen(b, port)
    a(f"connect c {b.address} {port}")
    a("name c")
    b("accept l s")
    a("sendall c 10")
    b("recvall s 10")
    a("get c keepidle")
    a("connect c *")
    a("name c")
    a("get c keepidle")


def lingering_close(a, b, port):
    """SO_LINGER with time: close returns when the peer has it all"""
    connect(a, b, port)
    a("sendall c 100000")
    a("set c linger 1 10")
    b.begin("recvall s 100001")
    a("close c")
    b.finish()


def killed_client(a, b, port):
    """a client that is killed with data unread aborts; one without ends"""
    connect(a, b, port)
    a("sendall c 10")
    a.kill()
    b("recvall s 11")
    b("close s")


def killed_server(a, b, port):
    """a server that is killed with data unread aborts its connections, and
    its port refuses"""
    connect(a, b, port)
    a("sendall c 10")
    b("poll s in 10000")
    b.kill()
    a("poll c in 10000")
    a("recv c 1")
    a(f"socket d {a.family}")
    a(f"connect d {b.address} {port}")


def blocked_reader_is_woken(a, b, port):
    """a read that waits is ended by the peer's close, abort and data"""
    for i, end in enumerate(("sendall s{} 3", "close s{}", "shutdown s{} wr")):
        connect(a, b, port, client=f"c{i}", server=f"s{i}")
        a.begin(f"recv c{i} 10")
        b(end.format(i))
        a.finish()
    connect(a, b, port, client="c", server="s")
    a.begin("recv c 10")
    b("set s linger 1 0")
    b("close s")
    a.finish()


def blocked_writer_is_woken(a, b, port):
    """a write that waits for room is ended by the peer's abort"""
    connect(a, b, port)
    a("fill c")
    a.begin("sendall c 4194304")
    b("set s linger 1 0")
    b("close s")
    a.finish()
    a("send c 1 nosignal")


def blocked_accept_is_woken(a, b, port):
    """an accept that waits takes the next connection"""
    listen(b, port)
    b.begin("accept l s")
    a(f"socket c {a.family}")
    a(f"connect c {b.address} {port}")
    b.finish()
    a("sendall c 10")
    b("recvall s 10")


#: All of them, by name.
ALL = {name: value for name, value in list(globals().items())
       if callable(value) and value.__module__ == __name__
       and value.__doc__}

#: Those that say something new over IPv6.
SIX = ["exchange", "active_close", "half_close", "abort", "refused",
       "connect_states", "unread_close"]

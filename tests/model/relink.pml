/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stream that outlives its link (docs/specs/vnet-wire.rst, "Resuming";
 * vnet-stream-resume.c).
 *
 * Two ends, 0 the active one and 1 the passive one, each of which sends W bytes and
 * the end.  Control messages are in order, bytes are in order, the two are not
 * ordered against each other.  The link is lost LOSSES times, at any moment; each
 * end notices when it does, or when the peer comes anew.  What was on its way then
 * is gone, and was perhaps read before, up to some message.  The link comes back
 * when its client (0 or 1, CLIENT) has noticed.
 *
 * The data connection alone is lost BREAKS times ("Loss of a data connection";
 * vnet-stream-guard.c).  One end notices, or both, before or after what was on its
 * way has arrived or not; it asks the peer, and the stream goes on.  The stream's id
 * tells what is said of it since from what was said before.
 *
 * Left out: the making of the data connection (it is there when an end may use it),
 * the time limit, aborts, other streams and links.
 *
 * Checked: bytes arrive in order and once; what is said about them can be; an end is
 * heard once; no stream is given up; both ends are through with it at last.
 */
#ifndef W
#define W       2       /* bytes each way */
#endif
#ifndef LOSSES
#define LOSSES  2
#endif
#ifndef BREAKS
#define BREAKS  0
#endif
#ifndef CLIENT
#define CLIENT  0
#endif

#define OPEN        1
#define PARKED      2
#define RESUMING    3
#define OVER        4

#define END         1
#define ACK         2
#define RESUME      3
#define RESUMED     4
#define FORGET      5
#define GONE        6   /* ABORT */
#define PING        7
#define PONG        8
#define REDIAL      9

/* To 0: id, type, offset, end, done. */
chan c0 = [8] of { byte, byte, byte, bool, bool };
chan c1 = [8] of { byte, byte, byte, bool, bool };
/* To 0: id of the connection, number of the byte. */
chan d0 = [W] of { byte, byte };
chan d1 = [W] of { byte, byte };

byte losses = LOSSES;
byte breaks = BREAKS;
bool alive = true;
byte broken = 0;        /* the connection of this id is, and those before it */

byte id[2] = 1;         /* that the stream has at this end */
bool sees[2];           /* this end notices that its connection is broken */
bool asks[2];           /* PING sent, no answer yet */
bool redialed;          /* by 1 */

bool up[2] = true;      /* this end has not noticed a loss */
byte st[2] = OPEN;
byte tx[2], acked[2], rx[2], rx_told[2];
bool told[2];           /* the peer was told the end */
bool tx_done[2];        /* ... and has said so, with all bytes */
bool rx_end[2];         /* the peer's end is known */
bool rx_done[2];        /* ... and all bytes are here */

#define both_over   (st[0] == OVER && st[1] == OVER)

inline flush()
{
    do
    :: nempty(c0) -> c0?_,_,_,_,_
    :: nempty(c1) -> c1?_,_,_,_,_
#ifndef FAULT_LATE_BYTES
    :: nempty(d0) -> d0?_,_
    :: nempty(d1) -> d1?_,_
    :: empty(c0) && empty(c1) && empty(d0) && empty(d1) -> break
#else
    :: empty(c0) && empty(c1) -> break
#endif
    od
}

inline park(e)
{
    if
    :: st[e] == OPEN || st[e] == RESUMING -> st[e] = PARKED
    :: else
    fi;
    asks[e] = false;
    sees[e] = false;
    redialed = redialed && e == 0
}

/* Whether what the data connection carried is missing. */
#define missing(e)  (tx[e] < W || !(told[e] || tx_done[e]) || \
                     acked[e] < tx[e] || !rx_done[e])

/* The active end: a new id, and how far it is. */
inline resume()
{
    id[0]++;
    how_far(0);
    st[0] = RESUMING;
    c1!id[0],RESUME,rx[0],rx_end[0],false
}

/* Bytes of other connections than this one are not read any more. */
inline drop_old(d, n)
{
    do
    :: nempty(d) ->
        d?<i,_>;
        if
        :: i == n -> break
        :: else -> d?_,_
        fi
    :: empty(d) -> break
    od;
    i = 0
}

inline drop_all(d)
{
    do
    :: nempty(d) -> d?_,_
    :: empty(d) -> break
    od
}

/* What RESUME and RESUMED say of this end. */
inline how_far(e)
{
    rx_told[e] = rx[e]
}

/* What was said by RESUME or RESUMED needs no ACK any more. */
inline complete(e)
{
    if
#ifndef FAULT_TOLD_TWICE
    :: rx_end[e] && rx[e] == W -> rx_done[e] = true
#endif
    :: else
    fi
}

/* Goes back to where the peer is. */
inline go_back(e, off, end)
{
    assert(off >= acked[e] && off <= tx[e]);
    assert(!end || told[e] || tx_done[e]);
    assert(end || !tx_done[e]);
    acked[e] = off;
#ifndef FAULT_NOT_BACK
    tx[e] = off;
#endif
#ifdef FAULT_END_TOLD
    told[e] = told[e] || end;
#else
    told[e] = end;
#endif
    if
    :: end && off == W -> tx_done[e] = true
    :: else
    fi
}

inline hear(e, i, type, off, end, done)
{
    if
    :: type == PING ->
        if
        :: e == 0 -> c1!i,PONG,0,false,false
        :: else -> c0!i,PONG,0,false,false
        fi
    :: type == PONG && asks[e] ->
        asks[e] = false;
        if
        :: st[e] != OPEN || !missing(e)
        :: else ->
            if
            :: e == 0 -> resume()
            :: else ->
#ifndef FAULT_SILENT
                c0!id[1],REDIAL,0,false,false;
#endif
                redialed = true
            fi
        fi
    :: type != RESUME && type != FORGET && type != PING && type != PONG &&
       i != id[e]
    :: type == REDIAL && st[e] == OPEN ->
        assert(e == 0);
        asks[0] = false;
        sees[0] = false;
        resume()
    :: type == END && st[e] == OPEN ->
        assert(!rx_end[e]);
        rx_end[e] = true
    :: type == ACK && st[e] == OPEN ->
        assert(off >= acked[e] && off <= tx[e]);
        acked[e] = off;
        if
        :: end ->
            assert(told[e] && tx[e] == W && off == W && !tx_done[e]);
            tx_done[e] = true
        :: else
        fi
    :: type == RESUME && (st[e] == PARKED || st[e] == OPEN) ->
        park(e);
        id[e] = i;
        go_back(e, off, end);
        complete(e);
        if
        :: done ->
            assert(tx_done[e] && rx_done[e]);
            st[e] = OVER
        :: else ->
            how_far(e);
            c0!i,RESUMED,rx[e],rx_end[e],false;
            st[e] = OPEN
        fi
    :: type == RESUME && st[e] == OVER && !done ->
#ifdef FAULT_FORGOTTEN
        c0!i,GONE,0,false,false
#else
        c0!i,RESUMED,W,true,true
#endif
    :: type == RESUMED ->
        assert(st[e] == RESUMING);
        go_back(e, off, end);
        complete(e);
        if
        :: done ->
            assert(tx_done[e] && rx_done[e]);
            st[e] = OVER
        :: else -> st[e] = OPEN
        fi
    :: type == FORGET -> assert(st[e] != PARKED)
    :: type == GONE -> assert(false)
    :: else
    fi
}

proctype end(byte e; chan in; chan out; chan din; chan dout)
{
    byte type, off, i;
    bool fin, done;

    do
    :: atomic { up[e] && st[e] == OPEN && !sees[e] && !asks[e] && tx[e] < W &&
           !(e == 1 && redialed) && nfull(dout) ->
           if
           :: id[e] > broken -> dout!id[e],tx[e]
           :: else
           fi;
           tx[e]++
       }
    :: atomic { up[e] && st[e] == OPEN && tx[e] == W && !told[e] &&
           !tx_done[e] && nfull(out) ->
           told[e] = true;
           out!id[e],END,W,false,false
       }
    :: atomic { up[e] && st[e] == OPEN && nempty(din) && !asks[e] &&
           !(e == 1 && redialed) ->
#ifndef FAULT_LATE_BYTES
           drop_old(din, id[e]);
#endif
           if
           :: empty(din)
           :: nempty(din) ->
               din?_,off;
               assert(off == rx[e]);        /* in order, once */
               rx[e]++;
               off = 0
           fi
       }
    :: atomic { up[e] && st[e] == OPEN && rx[e] > rx_told[e] && nfull(out) ->
           rx_told[e] = rx[e];
           out!id[e],ACK,rx[e],false,false
       }
    :: atomic { up[e] && st[e] == OPEN && rx_end[e] && rx[e] == W &&
           !rx_done[e] && nfull(out) ->
           rx_done[e] = true;
           rx_told[e] = W;
           out!id[e],ACK,W,true,false
       }
    :: atomic { up[e] && st[e] == OPEN && tx_done[e] && rx_done[e] ->
           st[e] = OVER
       }
    :: atomic { up[e] && nempty(in) && nfull(out) ->
           in?i,type,off,fin,done;
           hear(e, i, type, off, fin, done);
           i = 0;
           type = 0;
           off = 0;
           fin = false;
           done = false
       }
    :: atomic { up[e] && sees[e] && nfull(out) ->
           sees[e] = false;
           if
           :: st[e] == OPEN && missing(e) && !(e == 1 && redialed) ->
               asks[e] = true;
               out!id[e],PING,0,false,false
           :: else
           fi
       }
    :: atomic { up[e] && !alive ->
           up[e] = false;
           park(e)
       }
    :: both_over -> break
    od
}

active proctype wire()
{
    do
    :: atomic { alive && losses > 0 && up[0] && up[1] ->
           alive = false;
           losses--
       }
    /* While both ends use the same connection. */
    :: atomic { alive && breaks > 0 && up[0] && up[1] && st[0] == OPEN &&
           st[1] == OPEN && id[0] == id[1] && id[0] > broken ->
           breaks--;
           broken = id[0];
           if
           :: sees[0] = true
           :: sees[1] = true
           :: sees[0] = true; sees[1] = true
           fi;
           if
           :: true
           :: drop_all(d0)
           fi;
           if
           :: true
           :: drop_all(d1)
           fi
       }
    :: atomic { !alive && !up[CLIENT] ->
           /* The other may not have noticed. */
           park(1 - CLIENT);
           flush();
           alive = true;
           up[0] = true;
           up[1] = true;
           if
           :: st[0] == PARKED ->
               resume()
           :: st[0] == OVER ->
               id[0]++;
               c1!id[0],RESUME,W,true,true
           :: else
           fi;
           c1!id[0],FORGET,0,false,false
       }
    :: both_over -> break
    od
}

init
{
    atomic {
        run end(0, c0, c1, d0, d1);
        run end(1, c1, c0, d1, d0)
    }
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One stream between two ends over a message transport
 * (docs/specs/vnet-wire.rst, "Streams"; vnet-stream*.c).
 *
 * End 0 is active, end 1 passive.  They share a control connection (a FIFO
 * each way) and a data connection that is not ordered against it.  A message on
 * the data connection goes into one receive that was granted by CREDIT and uses
 * it up, however short it is.  Its completion at the sender is the
 * acknowledgement.
 *
 * Left out: what bytes say (a message is its offset and its length, of at most
 * RLEN), the link's other streams, hello, the use of an id by a later
 * stream, the transport's own queue limits.  Whether a buffer can be had for
 * lending is chance here; pool.pml has the pool.  Guests are chance, too, but
 * each shuts its direction down some time, so that a stream that does not end
 * is a dead-lock.  Time is order: a timer fires when it likes (or, unless SLOW,
 * not before what the peer said was read: 2 s are longer than a message takes).
 *
 * What may happen is chosen by
 *   W0, W1     bytes that the guests send, at most
 *   LOSS       the data connection is lost once.  Who is told is chance: an RC
 *              connection tells nobody but an end that wants to send
 *   LINK       the control connection is lost once
 *   ABORTS     guests and hosts give up: cancel, reject, abort
 *   CLOSES     guests close with bytes unread
 *   SLOW       timers as above
 *
 * Checked: assertions below; that it ends; without LOSS, LINK and SLOW that no
 * guard time is needed and that both ends finish unless a guest wanted
 * otherwise.
 */
#ifndef W0
#define W0      2
#endif
#ifndef W1
#define W1      1
#endif
#ifndef AHEAD
#define AHEAD   1       /* receives lent ahead of data in an end's life */
#endif
#define RLEN    2       /* bytes of a receive */
#define MAXPOST 4       /* receives that an end has outstanding */

#define OPEN    1
#define ACCEPT  2
#define REJECT  3
#define CREDIT  4
#define WANT    5
#define END     6
#define ACKEND  7
#define ABORT   8

/* A stream at an end. */
#define NONE        0
#define OPENING     1
#define ACCEPTED    2
#define ASKED       3
#define CONFIRMED   4
#define EST         5
#define OVER        6

/* Directions, in the order of their lives. */
#define OPENED      0
#define ENDING      1
#define ENDED       2
#define DONE        3

/* A data connection at an end. */
#define MADE        1
#define UP          2
#define GONE        3

/* What a guest was told, or did itself. */
#define GRACEFUL    1
#define RESET       2
#define FAILED      3
#define LEFT        4       /* it cancelled, rejected or aborted */

chan ctl[2] = [8] of { byte, byte };    /* to the end: type, argument */
chan q[2] = [4] of { byte, byte };      /* to the end: offset, length */
chan sq[2] = [4] of { byte };           /* the end's sends not completed yet */

byte st[2], tx[2], rx[2], cid[2], outcome[2];
byte written[2];                        /* by the guest */
byte sent[2], acked[2], txend[2];
byte completed[2];                      /* bytes; ACKEND may be read before */
byte grants[2];
bool wanting[2];                        /* WANT sent, no CREDIT since */
byte got[2], want[2], rxend[2];
byte lent[2];                           /* receives the transport holds */
byte unsaid[2];                         /* of these, not told by CREDIT yet */
byte spare[2] = AHEAD;                  /* may still be lent ahead */
bool closed[2];                         /* guest takes no more bytes */
bool ackend[2], unread[2];              /* owed: ACK with END; reset */
byte wants_ok[2] = 1;                   /* WANTs that the peer may still send */
bool dead, told[2];                     /* data connection; who is told */
bool link_lost;
bool disturbed;                         /* by a guest, or a loss */

byte inq[2];                            /* for assertions: bytes in q */

#define PEER(i)     (1 - (i))
#define CID_OK(i)   (st[i] == EST && cid[i] == UP && !unread[i])
#define FREE(i)     (lent[i] - len(q[i]))   /* receives a message would meet */

/* Whether the data connection has something to carry, vnet-stream.c.  Bytes are
 * carried when they are acknowledged: a sender may be the only one that
 * learns of a loss. */
#ifdef FAULT_UNACKED
#define NEEDED(i)   (tx[i] < ENDED || rx[i] != DONE)
#else
#define NEEDED(i)   (tx[i] < ENDED || rx[i] != DONE || acked[i] < txend[i])
#endif
#ifdef SLOW
#define TIME_OVER(i) true
#else
#define TIME_OVER(i) (empty(ctl[i]))
#endif

inline say(i, type, arg)
{
    if
    :: link_lost || st[PEER(i)] == OVER     /* nobody, or an unknown id */
    :: else ->
        assert(nfull(ctl[PEER(i)]));
        ctl[PEER(i)]!type, arg
    fi
}

/* What is under way to an end arrives up to some message, and not beyond.  What
 * was acknowledged has arrived. */
inline cut(i)
{
    n = len(q[i]);
    keep = 0;
    do
    :: keep < n -> keep++
    :: keep + len(sq[PEER(i)]) >= n -> break
    od;
    inq[i] = 0;
    do
    :: n > 0 ->
        q[i]?a,l;
        if
        :: keep > 0 ->
            q[i]!a,l;
            inq[i] = inq[i] + l;
            keep--
        :: else
        fi;
        n--
    :: else -> break
    od;
    assert(cid[i] != UP || acked[PEER(i)] <= got[i] + inq[i]);
    a = 0;
    l = 0
}

inline die()
{
    if
    :: dead
    :: else ->
        dead = true;
        cut(0);
        cut(1);
        if
        :: told[0] = true; told[1] = true
        :: told[0] = true
        :: told[1] = true
        :: skip
        fi
    fi
}

/* cid_close(): lent buffers are back when it returns. */
inline drop_cid(i)
{
    if
    :: cid[i] == MADE || cid[i] == UP ->
        do
        :: q[i]?a,l
        :: empty(q[i]) -> break
        od;
        do
        :: sq[i]?l
        :: empty(sq[i]) -> break
        od;
        a = 0;
        l = 0;
        inq[i] = 0;
#ifndef FAULT_LEAK
        lent[i] = 0;
#endif
        unsaid[i] = 0;
        cid[i] = GONE;
        die()
    :: else
    fi
}

inline over(i, how)
{
    assert(outcome[i] == 0);            /* one terminal event */
    outcome[i] = how;
    st[i] = OVER;
    drop_cid(i);
    assert(lent[i] == 0);               /* every receive came back */
    do
    :: ctl[i]?a,l
    :: empty(ctl[i]) -> break
    od;
    a = 0;
    l = 0;
    /* What nobody looks at any more shall not tell states apart. */
    grants[i] = 0;
    wanting[i] = false;
    want[i] = 0;
    wants_ok[i] = 0;
    spare[i] = 0;
    completed[i] = 0;
    closed[i] = false;
    written[i] = 0;
    sent[i] = 0
}

/* The guest is told that both ended.  Then both had all. */
inline finish(i)
{
    assert(got[i] == txend[PEER(i)] && got[PEER(i)] == txend[i]);
    assert(rx[PEER(i)] == DONE && tx[PEER(i)] >= ENDED);
    assert(!unread[i] && !unread[PEER(i)]);
    over(i, GRACEFUL)
}

inline give_up(i)
{
    if
    :: st[i] < ASKED -> over(i, FAILED)
    :: else -> over(i, RESET)
    fi
}

inline check_rx_end(i)
{
    if
#if defined(FAULT_END_EARLY)
    :: st[i] == EST && rx[i] == ENDING ->
#else
    :: st[i] == EST && rx[i] == ENDING && got[i] == rxend[i] ->
#endif
        rx[i] = DONE;
        ackend[i] = true
    :: else
    fi
}

inline check_tx_end(i)
{
    if
    :: st[i] == EST && tx[i] == ENDING && sent[i] == txend[i] ->
        tx[i] = ENDED;
        say(i, END, txend[i])
    :: else
    fi
}

/* A guest that closed is told of no more bytes: that they exist resets. */
inline check_unread(i)
{
    if
    :: closed[i] && want[i] > got[i] -> unread[i] = true
    :: else
    fi
}

inline lend(i)
{
    lent[i]++;
    unsaid[i]++;
    assert(lent[i] <= MAXPOST)
}

inline message(i)
{
    ctl[i]?a,l;
    if
    :: a == OPEN ->
        assert(st[i] == NONE);
        st[i] = ASKED;
        cid[i] = MADE
    :: a == ACCEPT ->
        assert(st[i] == OPENING);
        st[i] = ACCEPTED
    :: a == REJECT ->
        assert(st[i] == OPENING);
        over(i, FAILED)
    :: a == ABORT ->
        assert(st[i] != NONE);
        give_up(i)
    :: a == CREDIT ->
#ifdef FAULT_EARLY_CREDIT
        assert(st[i] == EST);
#else
        assert(st[i] == ACCEPTED || st[i] >= CONFIRMED);
#endif
        grants[i] = grants[i] + l;
        assert(grants[i] <= MAXPOST);
        wanting[i] = false
    :: a == WANT ->
        assert(st[i] == ACCEPTED || st[i] >= CONFIRMED);
        assert(rx[i] == OPENED && l >= want[i]);
        assert(wants_ok[i] > 0);
        wants_ok[i]--;
        want[i] = l;
#ifdef FAULT_WANT_ONCE                  /* looked at now only */
        if
        :: l <= got[i] + RLEN * lent[i] -> want[i] = 0
        :: else
        fi;
#endif
        check_unread(i)
    :: a == END ->
        assert(st[i] == ACCEPTED || st[i] >= CONFIRMED);
        assert(rx[i] == OPENED && l >= got[i]);
        rx[i] = ENDING;
        rxend[i] = l;
        check_rx_end(i)
    :: a == ACKEND ->
        assert(st[i] == EST && tx[i] == ENDED && l == txend[i]);
        tx[i] = DONE;
        acked[i] = l
    fi;
    a = 0;
    l = 0
}

proctype end(byte i)
{
    byte a, l, n, keep;

    do
    :: atomic { nempty(ctl[i]) && st[i] != OVER -> message(i) }

    /* --- the guest --- */
    :: atomic { st[i] == ASKED ->
           st[i] = CONFIRMED;
           say(i, ACCEPT, 0)
       }
#ifdef ABORTS
    :: atomic { st[i] == ASKED ->
           disturbed = true;
           say(i, REJECT, 0);
           over(i, LEFT)
       }
    :: atomic { st[i] != NONE && st[i] != OVER && st[i] != ASKED ->
           disturbed = true;
           say(i, ABORT, 0);
           over(i, LEFT)
       }
#endif
    :: atomic { st[i] == EST && tx[i] == OPENED &&
                written[i] < (i == 0 -> W0 : W1) ->
           written[i]++
       }
    :: atomic { (st[i] == CONFIRMED || st[i] == EST) && tx[i] == OPENED ->
           tx[i] = ENDING;
           txend[i] = written[i];
           check_tx_end(i)
       }
#ifdef CLOSES
    :: atomic { (st[i] == CONFIRMED || st[i] == EST) && tx[i] != OPENED &&
                rx[i] != DONE && !closed[i] ->
           closed[i] = true;
#ifndef FAULT_CLOSE_AFTER_WANT
           check_unread(i)
#endif
       }
#endif

    /* --- the stream machine --- */
    :: atomic { cid[i] == UP && (st[i] == ACCEPTED || st[i] == CONFIRMED) ->
           st[i] = EST;
           check_tx_end(i);
           check_rx_end(i)
       }
    :: atomic { CID_OK(i) && rx[i] == OPENED && !closed[i] && spare[i] > 0 &&
                lent[i] < MAXPOST ->
           spare[i]--;                  /* ahead of data */
           lend(i)
       }
    :: atomic { CID_OK(i) && rx[i] == OPENED && !closed[i] &&
                want[i] > got[i] + RLEN * lent[i] ->
           lend(i)                      /* on demand */
       }
    :: atomic { CID_OK(i) && unsaid[i] > 0 ->
           say(i, CREDIT, unsaid[i]);
           unsaid[i] = 0;
#ifdef FAULT_WANT_ORDER
           wants_ok[i] = 1
#else
           wants_ok[i]++
#endif
       }
    :: atomic { CID_OK(i) && tx[i] < ENDED && sent[i] < written[i] &&
                grants[i] == 0 && !wanting[i] ->
           wanting[i] = true;
           say(i, WANT, written[i])
       }
    :: atomic { ackend[i] && !unread[i] && st[i] == EST ->
           ackend[i] = false;
           say(i, ACKEND, got[i])
       }
    :: atomic { st[i] == EST && tx[i] == DONE && rx[i] == DONE && !ackend[i] &&
                !unread[i] ->
           finish(i)
       }
    :: atomic { st[i] == EST && unread[i] ->
           disturbed = true;
           say(i, ABORT, 0);
           over(i, RESET)
       }

#if defined(ABORTS) || defined(LOSS)
    :: atomic { st[i] == OPENING || st[i] == ACCEPTED || st[i] == CONFIRMED ->
           disturbed = true;            /* connect time-out */
           say(i, ABORT, 0);
           give_up(i)
       }
#endif

    /* --- the transport --- */
    :: atomic { cid[i] == MADE && cid[PEER(i)] != NONE && !dead ->
           cid[i] = UP
       }
    :: atomic { CID_OK(i) && tx[i] < ENDED && sent[i] < written[i] &&
                grants[i] > 0 ->
           if
           :: l = 1
           :: written[i] - sent[i] >= RLEN -> l = RLEN
           fi;
#ifdef FAULT_SHORT
           grants[i] = grants[i] - (l == RLEN);
#else
           grants[i]--;
#endif
           sq[i]!l;
           if
           :: !dead && cid[PEER(i)] == UP ->
               assert(FREE(PEER(i)) > 0);       /* receiver not ready */
               q[PEER(i)]!sent[i],l;
               inq[PEER(i)] = inq[PEER(i)] + l
           :: else
           fi;
           sent[i] = sent[i] + l;
#ifdef FAULT_ACK_EARLY
           acked[i] = sent[i];
#endif
           l = 0;
           check_tx_end(i)
       }
    :: atomic { !dead && cid[i] == UP && nempty(sq[i]) ->
           sq[i]?l;                     /* a send is completed */
#ifdef FAULT_ACK_ADD
           acked[i] = acked[i] + l;
#else
           completed[i] = completed[i] + l;
           if
           :: completed[i] > acked[i] -> acked[i] = completed[i]
           :: else
           fi;
#endif
           assert(acked[i] <= got[PEER(i)] + inq[PEER(i)]);
           l = 0
       }
    :: atomic { cid[i] == UP && nempty(q[i]) && st[i] == EST ->
           q[i]?a,l;                    /* a receive is filled */
           assert(a == got[i]);         /* nothing lost, doubled, reordered */
           inq[i] = inq[i] - l;
           lent[i]--;
           got[i] = got[i] + l;
           if
           :: closed[i] -> unread[i] = true
           :: else
           fi;
           a = 0;
           l = 0;
           check_rx_end(i)
       }
    :: atomic { dead && (cid[i] == MADE || cid[i] == UP) &&
                (told[i] || nempty(sq[i])) && st[i] != OVER ->
           drop_cid(i);
           if
#ifdef FAULT_EOF_IS_END
           :: st[i] == EST && rx[i] == OPENED ->
               rx[i] = DONE;
               rxend[i] = got[i];
               ackend[i] = true
#endif
           :: else
           fi
       }
    :: atomic { cid[i] == GONE && st[i] != OVER && NEEDED(i) && TIME_OVER(i) ->
#if !defined(LOSS) && !defined(LINK) && !defined(SLOW)
           assert(false);               /* nothing was lost: not needed */
#endif
           disturbed = true;
           say(i, ABORT, 0);            /* the guard time is over */
           give_up(i)
       }
    :: atomic { link_lost && st[i] != NONE && st[i] != OVER ->
           disturbed = true;
           if
#ifdef FAULT_LINK_UNREAD
           :: st[i] == EST && tx[i] == DONE && rx[i] == DONE ->
#else
           :: st[i] == EST && tx[i] == DONE && rx[i] == DONE && !unread[i] ->
#endif
               finish(i)
           :: else -> give_up(i)
           fi
       }
    :: st[i] == OVER || (st[i] == NONE && link_lost) -> break
    od
}

proctype losses()
{
    byte a, l, n, keep;

#ifdef LOSS
    if
    :: atomic { cid[0] != NONE && cid[1] != NONE && !dead -> die() }
    :: st[0] == OVER
    fi;
#endif
#ifdef LINK
    link_lost = true;
#endif
    skip
}

init {
    atomic {
        st[0] = OPENING;
        cid[0] = MADE;
        ctl[1]!OPEN,0;
        run end(0);
        run end(1);
        run losses()
    };
    atomic {
        _nr_pr == 1 ->
        assert(disturbed || (outcome[0] == GRACEFUL && outcome[1] == GRACEFUL));
        assert(cid[0] != UP && cid[1] != UP && lent[0] + lent[1] == 0);
#ifdef SEEK0                            /* a pair that has to be possible */
        assert(!(outcome[0] == SEEK0 && outcome[1] == SEEK1 &&
                 (SEEK0 != GRACEFUL || got[1] == W0)));
#endif
    }
}

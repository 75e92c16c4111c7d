/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lending receives of one pool to several streams (vnet-stream-credit.c).
 *
 *   ahead       at most AHEAD to a stream, and only while more than half of
 *               what the guest has posted is free, and no stream waits
 *   on demand   while the peer said that it has more bytes (WANT) than were
 *               received and fit into what is lent; looked at again after
 *               each message, as a short one uses up a long receive
 *   in turn     streams that found the pool empty wait in a queue, and nobody
 *               takes a buffer past it
 *
 * The guest puts each filled buffer back some time, whatever the application
 * does with the bytes: that is the guest driver's promise.  Offsets are
 * relative here (need: what the peer wants to send less what came), so that
 * streams may go on for ever.
 *
 * Left out: ends, aborts and losses of streams (stream.pml); buffers tagged
 * with one stream, which no other can take; credit in bytes; that CREDIT is
 * sent for several at once.  A second WANT overtakes the first one.
 *
 * Checked: what idle streams hold is never more than half of the pool; a stream
 * with bytes and no receive gets one, whatever the others do (ltl, with
 * every process going on: weak fairness).
 */
#ifndef S
#define S       3       /* streams */
#endif
#ifndef P
#define P       4       /* buffers; as rings are, even */
#endif
#ifndef B
#define B       2       /* bytes that a guest has to send at once */
#endif
#ifndef RLEN
#define RLEN    2       /* bytes of a buffer */
#endif
#define AHEAD   2

chan fly[S] = [P] of { byte };  /* lengths of messages under way */
chan queue = [S] of { byte };   /* streams that wait for a buffer */
byte pool = P;
byte held;                      /* filled, with the guest */
byte pend[S];                   /* bytes to send */
byte flying[S];                 /* bytes under way */
byte grants[S];                 /* receives that the sender knows of */
byte untold[S];                 /* and those that CREDIT is still to tell */
byte lent[S];
bool wanting[S];                /* WANT sent, no CREDIT since */
byte wantmsg[S];                /* WANT under way */
byte need[S];
bool queued[S];

#define DEMAND(s)   (need[s] > RLEN * lent[s])
#define IDLE(s)     (pend[s] + flying[s] == 0)
#define LENT        (lent[0] + lent[1] + (S > 2 -> lent[S - 1] : 0))

#ifdef FAULT_NO_HALF
#define SPARE       (pool > 0)
#else
#define SPARE       (pool > (pool + LENT) / 2 && NONE_WAIT)
#endif
#ifdef FAULT_AHEAD_FIRST
#define NONE_WAIT   true
#else
#define NONE_WAIT   empty(queue)
#endif
#ifdef FAULT_NO_QUEUE
#define TURN(s)     true
#else
#define TURN(s)     (empty(queue) || queue?[eval(s)])
#endif

inline check_idle()
{
    assert((IDLE(0) -> lent[0] : 0) + (IDLE(1) -> lent[1] : 0) +
           (S > 2 && IDLE(S - 1) -> lent[S - 1] : 0) <= P / 2)
}

inline lend(s)
{
    pool--;
    lent[s]++;
    untold[s]++;
    check_idle()
}

inline less(what, n)
{
    what = (what > n -> what - n : 0)
}

/* A sender, and the way of CREDIT to it. */
proctype sender(byte s)
{
    byte l;

    do
    :: pend[s] < B -> pend[s]++
    :: IDLE(s) -> break                 /* it stays idle, with what it has */
    :: atomic { pend[s] > 0 && grants[s] > 0 ->
           if
           :: l = 1
           :: pend[s] >= RLEN -> l = RLEN
           fi;
           grants[s]--;
           pend[s] = pend[s] - l;
           flying[s] = flying[s] + l;
           fly[s]!l;
           l = 0
       }
    :: d_step { pend[s] > 0 && grants[s] == 0 && !wanting[s] ->
           wanting[s] = true;
           wantmsg[s] = pend[s] + flying[s]
       }
    :: d_step { untold[s] > 0 ->
           grants[s] = grants[s] + untold[s];
           untold[s] = 0;
           wanting[s] = false
       }
    od
}

proctype receiver(byte s)
{
    byte l;

end:
    do
    :: d_step { wantmsg[s] > 0 ->
#ifdef FAULT_WANT_ONCE                  /* looked at now only */
           need[s] = (wantmsg[s] > RLEN * lent[s] -> wantmsg[s] : 0);
#else
           need[s] = wantmsg[s];
#endif
           wantmsg[s] = 0
       }
    :: d_step { fly[s]?l ->
           flying[s] = flying[s] - l;
           less(need[s], l);
           less(wantmsg[s], l);
           lent[s]--;
           held++;
           l = 0;
           check_idle()
       }
    :: d_step { DEMAND(s) && pool > 0 && TURN(s) ->
           if
           :: queued[s] -> queue?_; queued[s] = false
           :: else
           fi;
           lend(s)
       }
#ifndef FAULT_NO_QUEUE
    :: d_step { DEMAND(s) && !queued[s] && (pool == 0 || nempty(queue)) ->
           queued[s] = true;
           queue!s
       }
#endif
    :: d_step { SPARE && lent[s] < AHEAD && !DEMAND(s) -> lend(s) }
    od
}

proctype guest()
{
end:
    do
    :: d_step { held > 0 -> held--; pool++ }
    od
}

init {
    byte s;

    atomic {
        for (s : 0 .. S - 1) {
            run sender(s);
            run receiver(s)
        }
        run guest();
        s = 0
    }
}

#ifdef LIVE
ltl served { [] ((pend[0] > 0 && grants[0] == 0) -> <> (grants[0] > 0)) }
#endif

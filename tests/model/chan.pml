/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The message channel of a control or frame connection over RDMA: credits in
 * both directions, both sides talking (vnet-rdma-chan.c).
 *
 * Each side keeps N receives posted.  A message uses one up, empty credit
 * messages as well; it comes back as a credit in the header of any later
 * message of the other direction.
 *
 *   1. A message needs a credit.  The last one is only for a message that
 *      returns credits, be it empty or not.
 *   2. A side that owes >= N/2 credits and *may send nothing else now* sends
 *      an empty message.  (Not "has nothing else to say": see FAULT_POLITE.)
 *   3. N/2 >= 2, so that an empty message does not cause an empty answer.
 *   4. A receive is posted again before its credit is returned.
 *
 * Why nobody is stuck.  Say nothing is under way, and both are out of credits.
 * The last message of each spent its last credit and returned some (1).  A got
 * no credit after that, so B's last message had reached A before A sent its
 * last; and the other way round: that cannot be.  So A, say, has a credit.  If
 * B has at most one, A owes it N - 1 or more, which is >= N/2, and returns them
 * (2).  So one can always go on, and what it says lets the other go on.
 *
 * Left out: what a message says (control bytes are a stream, frames may be
 * lost); that several are posted at once; the loss of the connection, which is
 * the loss of the link.  A message arrives at the receiver's adapter when it is
 * sent, which is the worst for receiver-not-ready.
 *
 * Checked: a message never meets an empty receive queue; with any number of
 * messages up to M to say on each side all are said, and all is quiet
 * afterwards; with endless talk (FLOOD) each side goes on speaking (ltl).
 */
#ifndef N
#define N       4       /* receives posted by each side */
#endif
#ifndef SLOTS
#define SLOTS   2       /* sends that one side can have under way */
#endif
#ifndef M
#define M       6       /* messages that a side has to say, at most */
#endif
#define HALF    (N / 2)

#define DATA    1
#define EMPTY   2

chan wire[2] = [2 * N] of { byte, byte };   /* kind, credits returned */
byte posted[2] = N;     /* free receives of a side */
byte credit[2] = N;     /* messages it may send */
byte owed[2];           /* credits it has to return */
byte slots[2] = SLOTS;  /* free send slots */
byte sent[2];           /* sends whose completion was not seen yet */
byte todo[2];           /* messages to say */
bool said[2];           /* FLOOD: turns with each message */

#ifdef FLOOD
#define MORE(i)     true
#define SAY(i)      said[i] = !said[i]
#else
#define MORE(i)     (todo[i] > 0)
#define SAY(i)      todo[i]--
#endif

/* 1. */
#if defined(FAULT_NO_RESERVE)
#define MAY_SAY(i)  (slots[i] > 0 && credit[i] > 0)
#elif defined(LAST_FOR_EMPTY)       /* the stricter reading; holds as well */
#define MAY_SAY(i)  (slots[i] > 0 && credit[i] > 1)
#else
#define MAY_SAY(i)  (slots[i] > 0 && (credit[i] > 1 || \
                                      (credit[i] == 1 && owed[i] > 0)))
#endif

/* 2. */
#if defined(FAULT_POLITE)           /* with LAST_FOR_EMPTY */
#define QUIET(i)    (!MORE(i))
#else
#define QUIET(i)    (!(MORE(i) && MAY_SAY(i)))
#endif
#if defined(FAULT_FREE_EMPTY)       /* empty messages cost nothing */
#define MAY_RETURN(i) (slots[i] > 0)
#define PRICE       0
#else
#define MAY_RETURN(i) (slots[i] > 0 && credit[i] > 0)
#define PRICE       1
#endif

/* 4. */
#if defined(FAULT_EARLY)
byte late[2];
#define REPOST(i, kind) owed[i]++; late[i]++
#elif defined(FAULT_FREE_EMPTY)
#define REPOST(i, kind) posted[i]++; owed[i] = owed[i] + (kind == DATA)
#else
#define REPOST(i, kind) posted[i]++; owed[i]++
#endif

inline post_send(i, kind, price)
{
    assert(posted[1 - i] > 0);          /* receiver not ready */
    posted[1 - i]--;
    assert(credit[i] >= price);
    credit[i] = credit[i] - price;
    slots[i]--;
    sent[i]++;
    wire[1 - i]!kind, owed[i];
    owed[i] = 0;
}

proctype side(byte i)
{
    byte k, n;

    do
    :: atomic { MORE(i) && MAY_SAY(i) ->
progress:
           post_send(i, DATA, 1);
           SAY(i)
       }
    :: atomic { owed[i] >= HALF && QUIET(i) && MAY_RETURN(i) ->
           post_send(i, EMPTY, PRICE)
       }
    :: d_step { sent[i] > 0 ->            /* a completion is polled */
           sent[i]--;
           slots[i]++
       }
    :: d_step { wire[i]?k,n ->
           credit[i] = credit[i] + n;
           assert(credit[i] <= N);
           REPOST(i, k);
           k = 0;
           n = 0
       }
#ifdef FAULT_EARLY
    :: d_step { late[i] > 0 -> late[i]--; posted[i]++ }
#endif
#ifndef FLOOD
    :: atomic { todo[0] + todo[1] + sent[0] + sent[1] == 0 &&
                empty(wire[0]) && empty(wire[1]) &&
                owed[0] < HALF && owed[1] < HALF ->
           assert(credit[1 - i] + owed[i] == N);    /* none was lost */
           break
       }
#endif
    od
}

init {
    byte m;

    atomic {
#ifndef FLOOD
        select(m : 0 .. M);
        todo[0] = m;
        select(m : 0 .. M);
        todo[1] = m;
        m = 0;
#endif
        run side(0);
        run side(1)
    }
}

#ifdef FLOOD
ltl both_go_on {
    []<> said[0] && []<> !said[0] && []<> said[1] && []<> !said[1]
}
#endif

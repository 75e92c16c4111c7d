/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * NOT IMPLEMENTED: version 1 of the wire resets a stream whose data connection
 * alone is lost (for the loss of a link see relink.pml).  This is a check of the
 * design for a later version that goes on, on message transports, too.
 *
 * One direction of a stream.  Its data connection may be lost LOSSES times; the
 * control connection stays.  Connections of a stream are numbered.
 *
 *   1. Who learns of a loss closes its end of the connection.  The sender says
 *      LOST(next number).
 *   2. The receiver, when it learns of the loss or reads LOST: takes what was
 *      placed in its receives already, hands the others back, and only then
 *      says RESUME(next number, received).  No byte of the old connection
 *      arrives after that.
 *   3. The sender, at RESUME: closes the old connection if it has not noticed;
 *      forgets all grants; goes on at `received`, which is not below what was
 *      acknowledged to its guest, so the guest has the bytes still.
 *   4. CREDIT behind RESUME on the control connection is for the new
 *      connection, CREDIT before it for the old one.
 *   5. A LOST or RESUME for a number that an end has reached is ignored.
 *   6. END stays said; it is the offset that counts.
 *
 * Left out: the making of the new connection (it is there when both want it),
 * the loss of the control connection (both offsets would go into the next
 * HELLO), give-up time, the other direction (the same, and independent),
 * lengths: a byte is a message.
 *
 * Checked: bytes arrive in order, once, all; acknowledged bytes are not asked
 * for again; a message meets a receive; it ends.
 */
#ifndef W
#define W       3       /* bytes */
#endif
#ifndef LOSSES
#define LOSSES  2
#endif
#define RECVS   2       /* receives outstanding */

#define CREDIT  1
#define END     2
#define LOST    3
#define RESUME  4
#define ACKEND  5

chan to_recv = [8] of { byte, byte, byte };     /* type, number, offset */
chan to_send = [8] of { byte, byte, byte };
chan fly = [RECVS] of { byte };                 /* offsets under way */

byte losses = LOSSES;
byte alive;                 /* number of the connection that is not lost */
bool told_send, told_recv;  /* that the one before it was lost */

/* The sender. */
byte snum, sent, acked, grants;
byte under_way;             /* sent and not completed */
bool send_up = true, end_said, acked_end;

/* The receiver. */
byte rnum, got, lent;
bool closing, end_heard, end_told;

inline lose()
{
    alive++;
    losses--;
    /* What is under way arrives up to some message; what was completed has. */
    n = len(fly);
    keep = 0;
    do
    :: keep < n -> keep++
    :: keep + under_way >= n -> break
    od;
    do
    :: n > 0 ->
        fly?a;
        if
        :: keep > 0 -> fly!a; keep--
        :: else
        fi;
        n--
    :: else -> break
    od;
    a = 0;
    if
    :: told_send = true; told_recv = true
    :: told_send = true; told_recv = false
    :: told_send = false; told_recv = true
    :: told_send = false; told_recv = false
    fi
}

active proctype sender()
{
    byte type, num, a;

    do
    /* Arrives unless the connection is lost. */
    :: atomic { send_up && sent < W && grants > 0 && !acked_end ->
           grants--;
           under_way++;
           if
           :: snum == alive && rnum == alive ->
               assert(lent > len(fly));         /* receiver not ready */
               fly!sent
           :: else
           fi;
           sent++
       }
    :: d_step { send_up && snum == alive && under_way > 0 ->
           under_way--;
           if
           :: sent - under_way > acked -> acked = sent - under_way
           :: else
           fi
       }
    :: atomic { sent == W && !end_said ->
           end_said = true;
           to_recv!END,0,W
       }
    :: atomic { send_up && snum < alive && (told_send || under_way > 0) ->
           send_up = false;
           under_way = 0;
           to_recv!LOST,snum + 1,0
       }
    :: atomic { to_send?type,num,a ->
           if
           :: type == CREDIT -> grants = grants + a
           :: type == RESUME && num > snum ->
               snum = num;
               send_up = true;
               under_way = 0;
#ifndef FAULT_OLD_CREDIT
               grants = 0;
#endif
#ifdef FAULT_ACKED
               sent = acked
#else
               assert(a >= acked && a <= sent);
               sent = a;
               acked = a
#endif
           :: type == ACKEND ->
               assert(end_said && a == W);
               acked_end = true
           :: else
           fi;
           type = 0;
           num = 0;
           a = 0
       }
    :: acked_end -> break
    od
}

active proctype receiver()
{
    byte type, num, a;

    do
    :: d_step { nempty(fly) ->
           fly?a;
           assert(a == got);                    /* in order, once */
           got++;
           lent--;
           a = 0
       }
    :: atomic { !closing && lent < RECVS && got + lent < W ->
           lent++;
           to_send!CREDIT,rnum,1
       }
    :: d_step { !closing && rnum < alive && told_recv -> closing = true }
#ifdef FAULT_LATE_CLOSE                         /* against 2. */
    :: atomic { closing ->
#else
    :: atomic { closing && empty(fly) ->
#endif
           closing = false;
           rnum++;
           to_send!RESUME,rnum,got;
#ifdef FAULT_LATE_CLOSE
           lent = len(fly)
#else
           lent = 0
#endif
       }
    :: atomic { to_recv?type,num,a ->
           if
           :: type == END -> end_heard = true
           :: type == LOST && num > rnum ->
#ifdef FAULT_NOT_DRAINED                        /* against 2. */
               do
               :: fly?_
               :: empty(fly) -> break
               od;
#endif
               closing = true
           :: else
           fi;
           type = 0;
           num = 0;
           a = 0
       }
    :: atomic { end_heard && got == W && !closing ->
           to_send!ACKEND,rnum,got;
           break
       }
    od
}

active proctype network()
{
    byte a, n, keep;

end:
    do
    :: atomic { losses > 0 && rnum == alive -> lose() }
    od
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The connection manager's events: the table of docs/specs/vnet-wire.rst, line
 * by line, and what really happens to a link when each event comes in each
 * state.
 */
#include <errno.h>
#include <string.h>
#include "vnet-rdma-conn.h"
#include "vnet-rdma-world.h"

#define S   (1000 * RW_MS)

/*
 * One letter for each event, in the order of VnetCmEventType:
 *   a addr resolved, error; r route resolved, error; connect q request,
 *   p response, e error; u unreachable; j rejected; + established;
 *   - disconnected; x device removal; m multicast join, error; c addr change;
 *   t timewait exit; d device ready
 * Results: . unexpected, i ignored, R resolve route, D device, C connect,
 *   Q request, J judge, U up, F fail, L lose, E end, N listen anew
 */
static const char *const table[VNET_RDMA_STATES] = {
    /*                      aarrqpeuj+-xmmctd */
    [VNET_RDMA_ADDR] =     "RF.F..FFF.FF..i..",
    [VNET_RDMA_ROUTE] =    ".FDF..FFF.FF..i..",
    [VNET_RDMA_DEVICE] =   ".F.F..FFF.FF..i.C",
    [VNET_RDMA_CONNECT] =  ".F.F..FFFUFF..iF.",
    [VNET_RDMA_ASKED] =    ".F.F..FFF.FF..i.J",
    [VNET_RDMA_ACCEPT] =   "......FFFULF..iL.",
    [VNET_RDMA_UP] =       "......LLLiLL..iL.",
    [VNET_RDMA_FAILED] =   "......iiiiii..iii",
    [VNET_RDMA_FLUSH] =    "......EEEiEE..iE.",
    [VNET_RDMA_LINGER] =   "......EEEiEE..iE.",
    [VNET_RDMA_LISTEN] =   "....Q......N..i..",
};

static void test_table_is_the_documents(void)
{
    static const char letters[] = {
        [VNET_RDMA_UNEXPECTED] = '.', [VNET_RDMA_IGNORE] = 'i',
        [VNET_RDMA_DO_ROUTE] = 'R', [VNET_RDMA_DO_DEVICE] = 'D',
        [VNET_RDMA_DO_CONNECT] = 'C', [VNET_RDMA_DO_REQUEST] = 'Q',
        [VNET_RDMA_DO_JUDGE] = 'J', [VNET_RDMA_DO_UP] = 'U',
        [VNET_RDMA_DO_FAIL] = 'F', [VNET_RDMA_DO_LOSE] = 'L',
        [VNET_RDMA_DO_END] = 'E', [VNET_RDMA_DO_RELISTEN] = 'N',
    };

    for (int s = 0; s < VNET_RDMA_STATES; s++) {
        g_assert_cmpuint(strlen(table[s]), ==, VNET_CM_EVENTS);
        for (int e = 0; e < VNET_CM_EVENTS; e++) {
            g_assert_cmpint(letters[vnet_rdma_cm_action(s, e)], ==,
                            table[s][e]);
        }
    }
}

static VnetRdmaConn *find(RdmaWorld *rw, bool server, VnetRdmaState state)
{
    GHashTableIter it;
    gpointer c;

    if (!rw->end[server].r) {
        return NULL;
    }
    g_hash_table_iter_init(&it, rw->end[server].r->by_serial);
    while (g_hash_table_iter_next(&it, NULL, &c)) {
        if (((VnetRdmaConn *)c)->state == state) {
            return c;
        }
    }
    return NULL;
}

static bool passive(VnetRdmaState state)
{
    return state == VNET_RDMA_ASKED || state == VNET_RDMA_ACCEPT ||
           state == VNET_RDMA_LISTEN;
}

static RdmaWorld *world_with(VnetRdmaState state, VnetRdmaConn **c)
{
    bool server = passive(state);
    RdmaWorld *rw = rw_new(0, 0);

    if (state == VNET_RDMA_DEVICE || state == VNET_RDMA_ASKED) {
        vfake_hold_device(rw->end[server].x);
    }
    /* What would lead out of it. */
    vfake_withhold(rw->end[server].x,
                   state == VNET_RDMA_ADDR ? 1u << VNET_CM_ADDR_RESOLVED :
                   state == VNET_RDMA_ROUTE ? 1u << VNET_CM_ROUTE_RESOLVED :
                   state == VNET_RDMA_CONNECT || state == VNET_RDMA_ACCEPT ?
                   1u << VNET_CM_ESTABLISHED : 0);
    if (state == VNET_RDMA_LINGER) {
        rw_run(rw);
        vfake_withhold(rw->end[0].x, 1u << VNET_CM_DISCONNECTED);
        vfake_break(vfake_cm_of(rw->end[0].x, VNET_CONN_FRAME, 0),
                    VNET_WC_FATAL_ERR, true);
    }
    if (state == VNET_RDMA_FLUSH) {
        rw_run(rw);
        vfake_stall(vfake_cm_of(rw->end[0].x, VNET_CONN_CONTROL, 0), true);
        vnet_link_violation(vnet_rdma_link(rw->end[0].r),
                            VNET_WIRE_BAD_VALUE, "test");
        rw_dispatch(rw);
    }
    while (!(*c = find(rw, server, state))) {
        g_assert_true(rw_step(rw));
    }
    if (state == VNET_RDMA_CONNECT) {
        rw_run(rw);             /* the server has answered */
    }
    return rw;
}

static void test_each_event_in_each_state(void)
{
    for (int s = 0; s < VNET_RDMA_STATES; s++) {
        /* One that has failed is never seen between dispatches. */
        for (int e = 0; s != VNET_RDMA_FAILED && e < VNET_CM_EVENTS; e++) {
            VnetRdmaConn *c;
            RdmaWorld *rw;
            RdmaEnd *end;
            uint64_t serial, unexpected;
            VnetCmEvent ev;
            int hold;

            if (e == VNET_CM_CONNECT_REQUEST) {
                continue;       /* is for listeners; see the stranger's tests */
            }
            rw = world_with(s, &c);
            end = &rw->end[passive(s)];
            serial = c->serial;
            unexpected = rw_stats(rw, passive(s))->cm_unexpected;
            hold = end->r->nsetup;
            ev = (VnetCmEvent) {
                .type = e, .cm = c->cm,
                .status = e == VNET_CM_DEVICE_READY ? -EIO : 0,
            };
            /* Past the queue, where others may be before it. */
            vnet_rdma_cm_event(end->r, &ev);
            g_assert_cmpuint(rw_stats(rw, passive(s))->cm_unexpected -
                             unexpected, ==, table[s][e] == '.');
            c = vnet_rdma_conn_find(end->r, serial);
            switch (table[s][e]) {
            case '.':
            case 'i':
                g_assert_nonnull(c);
                g_assert_cmpint(c->state, !=, VNET_RDMA_FAILED);
                break;
            case 'F':
            case 'L':
            case 'C':
            case 'J':
                g_assert_nonnull(c);
                g_assert_cmpint(c->state, ==, VNET_RDMA_FAILED);
                g_assert_nonnull(c->why);
                break;
            case 'E':
            case 'N':
                g_assert_null(c);
                break;
            default:
                g_assert_nonnull(c);
                break;
            }
            rw_dispatch(rw);
            if (end->r->nsetup || hold || s == VNET_RDMA_DEVICE) {
                vfake_device_ready(end->x, 0, "");
            }
            vfake_withhold(rw->end[0].x, 0);
            vfake_withhold(rw->end[1].x, 0);
            rw_advance(rw, 40 * S);
            g_assert_true(rw_is_up(rw));
            rw_check_idle(rw);
            rw_free(rw);
        }
    }
}

static void test_request_of_nobody_is_freed(void)
{
    RdmaWorld *rw = rw_up(0);
    VnetVCm *cm;
    VnetCmEvent ev = { .type = VNET_CM_CONNECT_REQUEST };

    /* It comes for an id that is no listener, and for one that is gone. */
    g_assert_cmpint(vfake_verbs()->cm_new(rw->end[0].x, &cm), ==, 0);
    ev.cm = cm;
    ev.listener = vfake_cm(rw->end[0].x, 0);
    vnet_rdma_cm_event(rw->end[0].r, &ev);
    g_assert_cmpint(vfake_verbs()->cm_new(rw->end[0].x, &cm), ==, 0);
    ev.cm = cm;
    ev.listener = (VnetVCm *)rw;
    vnet_rdma_cm_event(rw->end[0].r, &ev);
    g_assert_cmpuint(vfake_counts(rw->end[0].x).cms, ==, 2);
    g_assert_cmpuint(rw_stats(rw, false)->cm_unexpected, ==, 2);
    rw_free(rw);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define T(name) g_test_add_func("/rdma/cm/" #name, test_##name)
    T(table_is_the_documents);
    T(each_event_in_each_state);
    T(request_of_nobody_is_freed);
    return g_test_run();
}

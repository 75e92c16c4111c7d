/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An rdma link as a whole: how it comes up, refuses, is lost, and comes again.
 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include "vnet-rdma-world.h"

#define S   (1000 * RW_MS)

static const struct sockaddr_in server_addr = {
    .sin_family = AF_INET,
};

static const struct sockaddr *server_sa(void)
{
    static struct sockaddr_in in;

    in = server_addr;
    in.sin_port = htons(RW_PORT);
    return (struct sockaddr *)&in;
}

/* --- Coming up ----------------------------------------------------------- */

static void test_link_comes_up_with_frames(void)
{
    RdmaWorld *rw = rw_up(0);

    g_assert_cmpuint(rw_stats(rw, false)->dialed, ==, 2);
    g_assert_cmpuint(rw_stats(rw, true)->accepted, ==, 2);
    g_assert_true(rw->end[0].nic->carrier);
    rw_check_idle(rw);
    rw_free(rw);
}

static void test_any_order_of_events_brings_it_up(void)
{
    for (guint32 seed = 1; seed <= 100; seed++) {
        rw_free(rw_up(seed));
    }
}

static void test_preamble_is_the_private_data(void)
{
    RdmaWorld *rw = rw_new(0, 0);

    /* A stranger with the right length and the wrong bytes. */
    vfake_stranger(rw->end[1].x, server_sa(), "GET / HTTP/1.0", 15);
    rw_run(rw);
    g_assert_cmpint(vfake_stranger_answer(rw->f), ==, VTOE_REASON_PROTOCOL);
    g_assert_cmpuint(rw_stats(rw, true)->refused_preamble, ==, 1);
    g_assert_cmpuint(rw_link_stats(rw, true)->bad_magic, ==, 1);
    g_assert_true(rw_is_up(rw));
    rw_free(rw);
}

static void test_data_with_a_wrong_token_is_refused(void)
{
    RdmaWorld *rw = rw_up(0);
    uint8_t buf[VNET_PREAMBLE_SIZE];
    const VnetPreamble p = {
        .version = 1, .kind = VNET_CONN_DATA, .epoch = 5, .token = 6,
        .stream_id = 1,
    };

    vnet_wire_put_preamble(buf, &p);
    vfake_stranger(rw->end[1].x, server_sa(), buf, sizeof(buf));
    rw_run(rw);
    g_assert_cmpint(vfake_stranger_answer(rw->f), ==, VTOE_REASON_POLICY);
    g_assert_cmpuint(rw_link_stats(rw, true)->refused_token, ==, 1);
    g_assert_true(rw_is_up(rw));
    rw_check_idle(rw);
    rw_free(rw);
}

static void test_second_client_is_refused_with_the_reason(void)
{
    RdmaWorld *rw = rw_up(0);
    uint8_t buf[VNET_PREAMBLE_SIZE];
    const VnetPreamble p = {
        .version = 1, .kind = VNET_CONN_CONTROL, .epoch = 99,
    };

    vnet_wire_put_preamble(buf, &p);
    vfake_stranger(rw->end[1].x, server_sa(), buf, sizeof(buf));
    rw_run(rw);
    g_assert_cmpint(vfake_stranger_answer(rw->f), ==, VTOE_REASON_LIMIT);
    g_assert_cmpuint(rw_link_stats(rw, true)->refused_busy, ==, 1);
    g_assert_true(rw_is_up(rw));
    rw_free(rw);
}

static void test_rejection_tells_reason_and_text(void)
{
    RdmaWorld *rw = rw_new(0, 0);
    uint8_t buf[VNET_PREAMBLE_SIZE];
    const VnetPreamble p = {
        .version = 1, .kind = VNET_CONN_CONTROL, .epoch = 99,
    };

    /* Another client is there first. */
    vnet_wire_put_preamble(buf, &p);
    vfake_stranger(rw->end[1].x, server_sa(), buf, sizeof(buf));
    rw_run(rw);
    g_assert_cmpstr(rw_state(rw, false), ==, "down");
    g_assert_cmpstr(rw_last_error(rw, false), ==, "cannot connect to "
                    "10.0.0.1:4711: peer said: this link has a peer (limit)");
    rw_free(rw);
}

static void test_nobody_listens(void)
{
    RdmaWorld *rw = rw_new(0, 0);

    rw_free_end(rw, true);
    rw_run(rw);
    g_assert_cmpstr(rw_last_error(rw, false), ==, "cannot connect to "
                    "10.0.0.1:4711: nobody listens at 10.0.0.1:4711");
    rw_free(rw);
}

static void test_address_without_a_device_is_named(void)
{
    RdmaWorld *rw = rw_new(0, 0);

    vfake_no_device(rw->end[0].x, ENODEV);
    rw_run(rw);
    g_assert_cmpstr(rw_last_error(rw, false), ==, "cannot connect to "
                    "10.0.0.1:4711: address resolution: no RDMA device of "
                    "this host leads to 10.0.0.1:4711 (rdma link show, "
                    "ibv_devinfo)");
    vfake_no_device(rw->end[0].x, 0);
    rw_advance(rw, 1 * S);
    g_assert_true(rw_is_up(rw));
    rw_free(rw);
}

static void test_attempts_back_off(void)
{
    RdmaWorld *rw = rw_new(0, 0);

    vfake_no_device(rw->end[0].x, ENODEV);
    rw_advance(rw, 60 * S);
    /* 100 ms, doubling up to 5 s, a quarter either way */
    g_assert_cmpuint(rw_stats(rw, false)->dial_failed, >, 10);
    g_assert_cmpuint(rw_stats(rw, false)->dial_failed, <, 30);
    rw_free(rw);
}

static void test_name_that_is_none(void)
{
    RdmaWorld *rw = rw_new(0, 0);

    rw->end[0].lookup_error = "Name or service not known";
    rw_run(rw);
    g_assert_cmpstr(rw_last_error(rw, false), ==, "cannot connect to "
                    "10.0.0.1:4711: Name or service not known");
    rw_free(rw);
}

/* --- The device ---------------------------------------------------------- */

static void test_waits_for_guest_memory(gconstpointer server)
{
    RdmaWorld *rw = rw_new(0, 0);
    VnetVCtx *x = rw->end[GPOINTER_TO_INT(server)].x;

    vfake_hold_device(x);
    rw_run(rw);
    g_assert_false(rw_is_up(rw));
    vfake_device_ready(x, 0, "");
    rw_run(rw);
    g_assert_true(rw_is_up(rw));
    rw_free(rw);
}

static void test_memory_that_cannot_be_registered(void)
{
    RdmaWorld *rw = rw_new(0, 0);

    vfake_hold_device(rw->end[0].x);
    rw_run(rw);
    vfake_device_ready(rw->end[0].x, -ENOMEM, "cannot register 4096 MiB");
    rw_run(rw);
    g_assert_cmpstr(rw_last_error(rw, false), ==, "cannot connect to "
                    "10.0.0.1:4711: cannot register 4096 MiB");
    g_assert_cmpuint(rw_stats(rw, false)->device_failed, ==, 1);
    /* It is tried again with the next attempt. */
    rw_advance(rw, 1 * S);
    g_assert_true(rw_is_up(rw));
    rw_free(rw);
}

static void test_server_memory_that_cannot_be_registered(void)
{
    RdmaWorld *rw = rw_new(0, 0);

    vfake_hold_device(rw->end[1].x);
    rw_run(rw);
    vfake_device_ready(rw->end[1].x, -ENOMEM, "cannot register 4096 MiB");
    rw_run(rw);
    g_assert_cmpstr(rw_state(rw, false), ==, "down");
    rw_advance(rw, 1 * S);
    g_assert_true(rw_is_up(rw));
    rw_free(rw);
}

static void test_device_that_never_gets_ready(gconstpointer server)
{
    RdmaWorld *rw = rw_new(0, 0);

    vfake_hold_device(rw->end[GPOINTER_TO_INT(server)].x);
    rw_advance(rw, 6 * S);
    g_assert_cmpstr(rw_state(rw, false), ==, "down");
    g_assert_cmpuint(rw_stats(rw, GPOINTER_TO_INT(server))->setup_timeout, >=,
                     1);
    rw_free(rw);
}

static void test_device_removal_ends_the_link(gconstpointer server)
{
    RdmaWorld *rw = rw_up(0);
    VnetVCtx *x = rw->end[GPOINTER_TO_INT(server)].x;
    VnetVDev *dev = rw->end[GPOINTER_TO_INT(server)].watched;

    /* The kernel tells each id. */
    for (unsigned i = 0; i < vfake_cm_count(x); i++) {
        vfake_inject(vfake_cm(x, i), VNET_CM_DEVICE_REMOVAL, 0);
    }
    rw_run(rw);
    g_assert_cmpstr(rw_last_error(rw, GPOINTER_TO_INT(server)), ==,
                    "control connection: the RDMA device was removed");
    g_assert_true(rw->end[GPOINTER_TO_INT(server)].watched != dev ||
                  !vfake_counts(x).devs);
    rw_advance(rw, 6 * S);
    g_assert_true(rw_is_up(rw));
    rw_check_idle(rw);
    rw_free(rw);
}

static void test_listener_of_a_removed_device_comes_back(void)
{
    RdmaWorld *rw = rw_new(0, 0);

    vfake_inject(vfake_cm(rw->end[1].x, 0), VNET_CM_DEVICE_REMOVAL, 0);
    vfake_fail(rw->end[1].x, VFAKE_LISTEN, ENODEV, 0);
    rw_run(rw);
    rw_advance(rw, 1500 * RW_MS);
    g_assert_cmpint(rw_info(rw, true).stage, ==, VNET_RDMA_WAITING);
    g_assert_cmpstr(rw_last_error(rw, true), ==, "cannot listen: no RDMA "
                    "device of this host has the address 10.0.0.1:4711 (rdma "
                    "link show, ibv_devinfo)");
    rw_advance(rw, 10 * S);
    g_assert_true(rw_is_up(rw));
    rw_free(rw);
}

/* --- Loss ---------------------------------------------------------------- */

static void test_bye_is_read_before_the_connection_ends(gconstpointer server)
{
    RdmaWorld *rw = rw_up(0);
    bool which = GPOINTER_TO_INT(server);

    rw_free_end(rw, which);
    rw_run(rw);
    /* Nothing more was executed for an end that is gone: the peer sees the
     * connection go, whatever it could still be told. */
    g_assert_cmpstr(rw_state(rw, !which), ==, "down");
    rw_free(rw);
}

static void test_violation_says_bye(void)
{
    RdmaWorld *rw = rw_up(0);
    const uint8_t bad[8 + 8] = { 0, 0, 0, 0, 0, 0, 0, 8, 99, 0, 0, 8 };

    vfake_message(vfake_cm_of(rw->end[1].x, VNET_CONN_CONTROL, 0), bad,
                  sizeof(bad));
    rw_run(rw);
    g_assert_cmpuint(rw_link_stats(rw, true)->bad_kind, ==, 1);
    g_assert_cmpuint(rw_link_stats(rw, false)->lost_bye, ==, 1);
    rw_advance(rw, 3 * S);
    g_assert_true(rw_is_up(rw));
    rw_check_idle(rw);
    rw_free(rw);
}

static void test_silent_peer_is_given_up(void)
{
    RdmaWorld *rw = rw_up(0);

    vfake_stall(vfake_cm_of(rw->end[0].x, VNET_CONN_CONTROL, 0), true);
    rw_advance(rw, 7 * S);
    g_assert_cmpuint(rw_link_stats(rw, true)->lost_heartbeat, ==, 1);
    rw_advance(rw, 20 * S);
    g_assert_true(rw_is_up(rw));
    rw_check_idle(rw);
    rw_free(rw);
}

static void test_lost_disconnect_is_noticed_and_lingers_no_longer(void)
{
    RdmaWorld *rw = rw_up(0);

    vfake_lose(rw->end[0].x, 1u << VNET_CM_DISCONNECTED);
    vfake_lose(rw->end[1].x, 1u << VNET_CM_DISCONNECTED);
    vfake_break(vfake_cm_of(rw->end[1].x, VNET_CONN_CONTROL, 0),
                VNET_WC_FATAL_ERR, true);
    rw_run(rw);
    g_assert_cmpstr(rw_state(rw, true), ==, "down");
    g_assert_cmpuint(rw_info(rw, true).lingering, ==, 2);
    rw_advance(rw, 2100 * RW_MS);
    g_assert_cmpuint(rw_stats(rw, true)->disconnects_lost, ==, 2);
    vfake_lose(rw->end[0].x, 0);
    vfake_lose(rw->end[1].x, 0);
    rw_advance(rw, 10 * S);
    g_assert_true(rw_is_up(rw));
    rw_check_idle(rw);
    rw_free(rw);
}

static void test_client_that_comes_again_replaces_itself(void)
{
    RdmaWorld *rw = rw_up(0);

    /* The client alone knows that its connection broke. */
    vfake_lose(rw->end[1].x, 1u << VNET_CM_DISCONNECTED);
    vfake_stall(vfake_cm_of(rw->end[1].x, VNET_CONN_CONTROL, 0), true);
    vfake_break(vfake_cm_of(rw->end[0].x, VNET_CONN_CONTROL, 0),
                VNET_WC_RETRY_EXC_ERR, false);
    rw_run(rw);
    g_assert_cmpstr(rw_state(rw, false), ==, "down");
    g_assert_cmpstr(rw_state(rw, true), ==, "up");
    vfake_lose(rw->end[1].x, 0);
    rw_advance(rw, 1 * S);
    g_assert_true(rw_is_up(rw));
    g_assert_cmpuint(rw_link_stats(rw, true)->downs, ==, 1);
    rw_advance(rw, 3 * S);
    rw_check_idle(rw);
    rw_free(rw);
}

/* --- Errors of each operation -------------------------------------------- */

static void test_each_operation_may_fail_once(void)
{
    static const int errors[] = { EAGAIN, ENOMEM, EINVAL };

    for (int server = 0; server < 2; server++) {
        for (int op = 0; op < VFAKE_OPS; op++) {
            for (unsigned e = 0; e < G_N_ELEMENTS(errors); e++) {
                for (unsigned skip = 0; skip < 4; skip++) {
                    RdmaWorld *rw = rw_new(0, 0);

                    vfake_fail(rw->end[server].x, op, errors[e], skip);
                    rw_advance(rw, 20 * S);
                    g_assert_true(rw_is_up(rw));
                    rw_free(rw);
                }
            }
        }
    }
}

static void test_each_operation_may_fail_while_up(void)
{
    for (int server = 0; server < 2; server++) {
        for (int op = 0; op < VFAKE_OPS; op++) {
            for (unsigned skip = 0; skip < 6; skip++) {
                RdmaWorld *rw = rw_up(0);

                vfake_fail(rw->end[server].x, op, ENOMEM, skip);
                rw_connect(rw, false, 100000);
                rw_connect(rw, true, 100000);
                rw_advance(rw, 30 * S);
                vfake_fail(rw->end[server].x, op, 0, 0);
                rw_advance(rw, 10 * S);
                g_assert_true(rw_is_up(rw));
                rw_check_idle(rw);
                rw_free(rw);
            }
        }
    }
}

static void test_time_out_at_each_step(void)
{
    static const uint32_t steps[] = {
        1u << VNET_CM_ADDR_RESOLVED, 1u << VNET_CM_ROUTE_RESOLVED,
        1u << VNET_CM_CONNECT_REQUEST, 1u << VNET_CM_ESTABLISHED,
    };

    for (int server = 0; server < 2; server++) {
        for (unsigned i = 0; i < G_N_ELEMENTS(steps); i++) {
            RdmaWorld *rw = rw_new(0, 0);

            vfake_lose(rw->end[server].x, steps[i]);
            rw_advance(rw, 12 * S);
            vfake_lose(rw->end[server].x, 0);
            rw_advance(rw, 30 * S);
            g_assert_true(rw_is_up(rw));
            rw_check_idle(rw);
            rw_free(rw);
        }
    }
}

static void test_request_that_is_never_answered(void)
{
    RdmaWorld *rw = rw_new(0, 0);

    vfake_mute(rw->end[0].x, true);
    rw_advance(rw, 5500 * RW_MS);
    g_assert_cmpstr(rw_last_error(rw, false), ==, "cannot connect to "
                    "10.0.0.1:4711: no connection within 5000 ms (connecting)");
    rw_free(rw);
}

static void test_hello_before_established_is_taken(void)
{
    RdmaWorld *rw = rw_new(0, 0);

    /* The server's ESTABLISHED never comes, the client's hello does. */
    vfake_withhold(rw->end[1].x, 1u << VNET_CM_ESTABLISHED);
    rw_run(rw);
    g_assert_true(rw_is_up(rw));
    vfake_withhold(rw->end[1].x, 0);
    rw_advance(rw, 10 * S);
    g_assert_true(rw_is_up(rw));
    rw_free(rw);
}

static void test_an_end_may_be_removed_at_any_moment(void)
{
    for (guint32 seed = 1; seed <= 300; seed++) {
        RdmaWorld *rw = rw_new(seed, 0);

        for (guint32 n = seed % 60; n && rw_step(rw); n--) {
            /* somewhere on the way */
        }
        rw_free_end(rw, seed & 1);
        rw_run(rw);
        rw_free(rw);
    }
}

int main(int argc, char **argv)
{
    void *client = GINT_TO_POINTER(0), *server = GINT_TO_POINTER(1);

    g_test_init(&argc, &argv, NULL);
#define T(name) g_test_add_func("/rdma/link/" #name, test_##name)
#define T2(name) \
    g_test_add_data_func("/rdma/link/" #name "/client", client, test_##name); \
    g_test_add_data_func("/rdma/link/" #name "/server", server, test_##name)
    T(link_comes_up_with_frames);
    T(any_order_of_events_brings_it_up);
    T(preamble_is_the_private_data);
    T(data_with_a_wrong_token_is_refused);
    T(second_client_is_refused_with_the_reason);
    T(rejection_tells_reason_and_text);
    T(nobody_listens);
    T(address_without_a_device_is_named);
    T(attempts_back_off);
    T(name_that_is_none);
    T2(waits_for_guest_memory);
    T(memory_that_cannot_be_registered);
    T(server_memory_that_cannot_be_registered);
    T2(device_that_never_gets_ready);
    T2(device_removal_ends_the_link);
    T(listener_of_a_removed_device_comes_back);
    T2(bye_is_read_before_the_connection_ends);
    T(violation_says_bye);
    T(silent_peer_is_given_up);
    T(lost_disconnect_is_noticed_and_lingers_no_longer);
    T(client_that_comes_again_replaces_itself);
    T(each_operation_may_fail_once);
    T(each_operation_may_fail_while_up);
    T(time_out_at_each_step);
    T(request_that_is_never_answered);
    T(hello_before_established_is_taken);
    T(an_end_may_be_removed_at_any_moment);
    return g_test_run();
}

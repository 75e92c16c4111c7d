/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The links as they are where librdmacm and libibverbs were missing at build
 * time: this program is made of them, without these libraries, and so they have
 * all they need.  A link of type rdma says what to install.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "vnet-shell.h"

static void assert_refused(bool server)
{
    SocketAddress addr = {
        .type = SOCKET_ADDRESS_TYPE_INET,
        .u.inet = { .host = (char *)"192.0.2.1", .port = (char *)"7471" },
    };
    const VnetLinkOptions o = {
        .id = (char *)"l0",
        .has_type = true,
        .type = VNET_LINK_TYPE_RDMA,
        .addr = &addr,
        .has_server = true,
        .server = server,
    };
    Error *err = NULL;

    g_assert_false(vnet_anylink_check(&o, &err));
    g_assert_cmpstr(error_get_pretty(err), ==, "link l0: this QEMU was built "
                    "without RDMA; install librdmacm-dev and libibverbs-dev "
                    "and build again");
    error_free(err);
}

static void test_link_names_the_packages(void)
{
    assert_refused(false);
    assert_refused(true);
}

static void test_other_links_work(void)
{
    SocketAddress addr = {
        .type = SOCKET_ADDRESS_TYPE_UNIX,
        .u.q_unix = { .path = (char *)"/nowhere" },
    };
    const VnetLinkOptions o = { .id = (char *)"l0", .addr = &addr };

    g_assert_true(vnet_anylink_check(&o, &error_abort));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vnet/no-rdma/link-names-the-packages",
                    test_link_names_the_packages);
    g_test_add_func("/vnet/no-rdma/other-links-work", test_other_links_work);
    return g_test_run();
}

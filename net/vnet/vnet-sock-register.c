/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Links over sockets: registration, by which one end makes both.
 *
 * Theory of operation
 *
 * A registrar is a server link that never has a peer itself.  It accepts and
 * reads connections as others do (vnet-sock-accept.c), a control connection's
 * hello included, because the name in there says whose it is.  Then it gives
 * the connection to the link that this peer has, a server link without a
 * listening socket of its own; the registry, which is the shell's, makes it if
 * it is the peer's first time, and may refuse.  From there on all is as on any
 * server link.  The peer's other connections name epoch and token of their
 * link, and are given to it.
 *
 * Such a link ends when its peer says good-bye, or was lost and did not come
 * again within forget-ms.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/timer.h"
#include "vnet-sock.h"

void vnet_sock_register_init(VnetSockLink *k, const VnetSockConfig *cfg)
{
    if (cfg->registry) {
        k->registry = *cfg->registry;
        k->registered = g_ptr_array_new();
    }
    if (cfg->registrar) {
        k->registrar = cfg->registrar;
        k->forget_ns = cfg->forget_ms * (int64_t)SCALE_MS;
        g_ptr_array_add(k->registrar->registered, k);
    }
}

void vnet_sock_register_free(VnetSockLink *k)
{
    if (k->registered) {
        /* The owner of them all frees them first. */
        assert(!k->registered->len);
        g_ptr_array_unref(k->registered);
    }
    if (k->registrar) {
        g_ptr_array_remove_fast(k->registrar->registered, k);
    }
}

bool vnet_sock_is_registrar(const VnetSockLink *k)
{
    return k->registered;
}

void vnet_sock_expect_peer(VnetSockLink *k)
{
    vnet_loop_timer_arm(&k->timer, vnet_loop_now() +
                        (vnet_link_expects_peer(k->l) ? k->forget_ns : 0));
}

static void vnet_sock_register_deny(VnetSockLink *k, int fd, const char *why)
{
    uint8_t bye[VNET_MSG_MAX];
    VnetMsg m = {
        .type = VNET_MSG_BYE,
        .u.bye.reason = VTOE_REASON_POLICY,
    };

    g_strlcpy(m.u.bye.text, why, sizeof(m.u.bye.text));
    k->stats.register_denied++;
    vnet_sock_note_refusal(k, fd, why);
    vnet_sock_refuse(k, fd, bye, vnet_wire_put_msg(bye, &m));
}

void vnet_sock_register(VnetSockLink *k, int fd, const VnetPreamble *p,
                        const uint8_t *hello, size_t len)
{
    Error *err = NULL;
    VnetSockLink *to;
    size_t used;
    VnetMsg m;
    VnetWireError e = vnet_wire_get_msg(hello, len, &m, &used);

    if (e == VNET_WIRE_OK && m.type != VNET_MSG_HELLO) {
        e = VNET_WIRE_BAD_KIND;
    }
    if (e != VNET_WIRE_OK) {
        /* A message of an impossible length was not read any further. */
        vnet_link_count_bad(k->l, e == VNET_WIRE_SHORT ? VNET_WIRE_BAD_LENGTH :
                            e);
        vnet_sock_close_fd(k, fd, true);
        return;
    }
    to = k->registry.find(k->registry.opaque, m.u.hello.name,
                          vnet_sock_identity(k, fd), &err);
    if (to && to->identity &&
        g_strcmp0(to->identity, vnet_sock_identity(k, fd))) {
        error_setg(&err, "the link \"%s\" is another's", to->id);
    }
    if (err) {
        vnet_sock_register_deny(k, fd, error_get_pretty(err));
        error_free(err);
        return;
    }
    k->stats.registered++;
    vnet_sock_move(k, to, fd);
    vnet_sock_admit_control(to, fd, p);
    if (to->stage != VNET_SOCK_CONNECTED) {
        vnet_sock_expect_peer(to);
    } else if (to->control.poll.fd == fd) {
        vnet_link_control(to->l, hello, len);
    }
}

VnetSockLink *vnet_sock_registered(VnetSockLink *k, int fd,
                                   const VnetPreamble *p)
{
    VnetStream *none;

    for (guint i = 0; i < k->registered->len; i++) {
        VnetSockLink *to = k->registered->pdata[i];

        if (vnet_link_is_meant(to->l, p)) {
            vnet_sock_move(k, to, fd);
            return to;
        }
    }
    /* Never; it is counted. */
    vnet_link_admits(k->l, p, &none);
    vnet_sock_close_fd(k, fd, true);
    return NULL;
}

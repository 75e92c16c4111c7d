/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest driver's policy, given any bytes.
 *
 * What is accepted has no more rules than there was room for, rules that make
 * sense, and verdicts that agree: who may not listen at all may not listen on
 * any address.  What is refused has a message that ends.
 */
#include <stdlib.h>
#include <string.h>
#include <glib.h>
#include "../../guest-linux/vtoe_policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(c) do { if (!(c)) { abort(); } } while (0)

static void check_rule(const struct vtoe_policy_rules *p, u32 i)
{
    const struct vtoe_policy_rule *r = &p->rule[i];
    u8 family = r->family ? r->family : 6;
    enum vtoe_policy_verdict verdict;

    CHECK(r->family == 0 || r->family == 4 || r->family == 6);
    CHECK(r->prefix <= (r->family == 4 ? 32 : r->family == 6 ? 128 : 0));
    CHECK(r->port_min <= r->port_max);
    CHECK(r->dirs && !(r->dirs & ~VTOE_POLICY_BOTH));
    verdict = vtoe_policy_verdict(p, VTOE_POLICY_LISTEN, family, r->addr,
                                  r->port_max);
    CHECK(verdict == VTOE_POLICY_LEAVE ||
          vtoe_policy_may_listen(p, family, r->port_max));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char error[VTOE_POLICY_ERROR_MAX];
    /* Just the room there is, for the sanitizer to see its end. */
    u32 room = MIN(vtoe_policy_lines((const char *)data, size), 16);
    g_autofree struct vtoe_policy_rules *p =
        g_malloc(sizeof(*p) + room * sizeof(p->rule[0]));

    memset(error, 'x', sizeof(error));
    if (vtoe_policy_parse((const char *)data, size, p, room, error)) {
        CHECK(memchr(error, '\0', sizeof(error)));
        CHECK(g_str_has_prefix(error, "line "));
        return 0;
    }
    CHECK(p->n <= room);
    for (u32 i = 0; i < p->n; i++) {
        check_rule(p, i);
    }
    return 0;
}

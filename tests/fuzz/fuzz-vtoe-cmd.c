/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command decoder of the vtoe device on any bytes: what it accepts is in
 * the ranges that docs/specs/vtoe.rst section 4 gives.
 */
#include "vtoe-int.h"

#define CHECK(cond) do { if (!(cond)) { abort(); } } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_ok(const VtoeCmd *c, unsigned pairs)
{
    bool opens = c->op == VTOE_CMD_CONNECT || c->op == VTOE_CMD_ACCEPT;

    CHECK(c->op >= VTOE_CMD_CONNECT && c->op <= VTOE_CMD_QUERY);
    CHECK(c->sid != VTOE_SID_FRAME && c->sid != VTOE_SID_ANY);
    CHECK(!c->flags || (opens && c->flags == VTOE_CMD_F_SHUTDOWN_EVENT));
    if (opens) {
        CHECK(c->pair >= 1 && c->pair < pairs);
    }
    if (c->op <= VTOE_CMD_UNLISTEN) {
        CHECK(!(c->sid & VTOE_SID_PASSIVE));
    }
    if (c->op == VTOE_CMD_CONNECT || c->op == VTOE_CMD_LISTEN) {
        CHECK(c->flow.family == 4 || c->flow.family == 6);
        CHECK(c->flow.lport);
        for (unsigned i = 4; c->flow.family == 4 && i < 16; i++) {
            CHECK(!c->flow.laddr[i] && !c->flow.raddr[i]);
        }
    }
    if (c->op == VTOE_CMD_CONNECT) {
        CHECK(c->flow.rport && vtoe_mac_ok(c->flow.rmac));
    }
    if (c->op == VTOE_CMD_LISTEN) {
        CHECK(c->value >= 1 && c->value <= UINT16_MAX);
    }
    if (c->op == VTOE_CMD_REJECT || c->op == VTOE_CMD_ABORT) {
        CHECK(c->reason <= VTOE_REASON_MAX);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vtoe_cmd raw;
    struct vtoe_flow back;
    unsigned pairs;
    VtoeCmd cmd, again;

    if (size < 1 + sizeof(raw)) {
        return -1;
    }
    pairs = data[0] % 64 + 1;
    memcpy(&raw, data + 1, sizeof(raw));
    if (vtoe_cmd_decode(&raw, pairs, &cmd) == VTOE_CMD_OK) {
        check_ok(&cmd, pairs);
    }
    /* A flow survives the way back. */
    vtoe_flow_to_abi(&cmd.flow, &back);
    raw.flow = back;
    vtoe_cmd_decode(&raw, pairs, &again);
    CHECK(memcmp(&again.flow, &cmd.flow, sizeof(cmd.flow)) == 0);
    return 0;
}

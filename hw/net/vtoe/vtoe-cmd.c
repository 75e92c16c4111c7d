/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Decoding of commands (docs/specs/vtoe.rst section 4).
 *
 * Pure functions on a private copy of the command: no device, no state, so
 * that they can be tested and fuzzed alone.  What depends on state is checked
 * where the command is executed, in vtoe-control.c.
 */
#include "vtoe-int.h"

static bool guest_sid_ok(uint32_t sid)
{
    return sid != VTOE_SID_FRAME && sid < VTOE_SID_PASSIVE;
}

static bool any_sid_ok(uint32_t sid)
{
    return sid != VTOE_SID_FRAME && sid != VTOE_SID_ANY;
}

static bool decode_flow(const struct vtoe_flow *raw, VnetFlow *flow)
{
    unsigned alen = raw->family == 4 ? 4 : 16;

    memset(flow, 0, sizeof(*flow));
    flow->family = raw->family;
    flow->lport = GUINT16_FROM_LE(raw->lport);
    flow->rport = GUINT16_FROM_LE(raw->rport);
    memcpy(flow->lmac, raw->lmac, 6);
    memcpy(flow->rmac, raw->rmac, 6);
    memcpy(flow->laddr, raw->laddr, alen);
    memcpy(flow->raddr, raw->raddr, alen);
    return raw->family == 4 || raw->family == 6;
}

void vtoe_flow_to_abi(const VnetFlow *flow, struct vtoe_flow *out)
{
    memset(out, 0, sizeof(*out));
    out->family = flow->family;
    out->lport = GUINT16_TO_LE(flow->lport);
    out->rport = GUINT16_TO_LE(flow->rport);
    memcpy(out->lmac, flow->lmac, 6);
    memcpy(out->rmac, flow->rmac, 6);
    memcpy(out->laddr, flow->laddr, 16);
    memcpy(out->raddr, flow->raddr, 16);
}

enum vtoe_cmd_status vtoe_cmd_decode(const struct vtoe_cmd *raw, unsigned pairs,
                                     VtoeCmd *out)
{
    bool flow_ok, ok;
    uint8_t flags = 0;

    out->op = raw->op;
    out->flags = raw->flags;
    out->reason = GUINT16_FROM_LE(raw->reason);
    out->tag = GUINT32_FROM_LE(raw->tag);
    out->sid = GUINT32_FROM_LE(raw->sid);
    out->pair = GUINT32_FROM_LE(raw->pair);
    out->value = GUINT64_FROM_LE(raw->value);
    flow_ok = decode_flow(&raw->flow, &out->flow);

    switch (raw->op) {
    case VTOE_CMD_CONNECT:
        flags = VTOE_CMD_F_SHUTDOWN_EVENT;
        ok = guest_sid_ok(out->sid) && out->pair >= 1 && out->pair < pairs &&
             flow_ok && out->flow.lport && out->flow.rport &&
             vtoe_mac_ok(out->flow.lmac) && vtoe_mac_ok(out->flow.rmac);
        break;
    case VTOE_CMD_LISTEN:
        ok = guest_sid_ok(out->sid) && flow_ok && out->flow.lport &&
             out->value >= 1 && out->value <= UINT16_MAX;
        break;
    case VTOE_CMD_UNLISTEN:
        ok = guest_sid_ok(out->sid);
        break;
    case VTOE_CMD_ACCEPT:
        flags = VTOE_CMD_F_SHUTDOWN_EVENT;
        ok = any_sid_ok(out->sid) && out->pair >= 1 && out->pair < pairs;
        break;
    case VTOE_CMD_REJECT:
        ok = any_sid_ok(out->sid) && out->reason != VTOE_REASON_NONE &&
             out->reason <= VTOE_REASON_MAX;
        break;
    case VTOE_CMD_ABORT:
        ok = any_sid_ok(out->sid) && out->reason <= VTOE_REASON_MAX;
        break;
    case VTOE_CMD_SHUTDOWN:
    case VTOE_CMD_CLOSE:
    case VTOE_CMD_CREDIT:
    case VTOE_CMD_QUERY:
        ok = any_sid_ok(out->sid);
        break;
    default:
        return VTOE_CMD_UNSUPPORTED;
    }
    return ok && !(out->flags & ~flags) ? VTOE_CMD_OK : VTOE_CMD_INVALID;
}

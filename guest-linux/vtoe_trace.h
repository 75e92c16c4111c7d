/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tracepoints of module vtoe: what is asked of the device, what it says, and
 * what a poll of a stream pair brought.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM vtoe

#if !defined(VTOE_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define VTOE_TRACE_H

#include <linux/tracepoint.h>
#include "vtoe.h"

#define VTOE_TRACE_COMMANDS(X) \
	X(CONNECT) X(LISTEN) X(UNLISTEN) X(ACCEPT) X(REJECT) X(SHUTDOWN) \
	X(ABORT) X(CLOSE) X(CREDIT) X(QUERY)
#define VTOE_TRACE_EVENTS(X) \
	X(COMMAND_DONE) X(CONNECT_REQUEST) X(CONNECT_ESTABLISHED) \
	X(DISCONNECTED) X(ADDRESS_ERROR) X(UNREACHABLE) X(CONNECT_REJECTED) \
	X(ROUTE_ERROR) X(CONNECT_ERROR) X(PEER_SHUTDOWN) X(DEVICE_REMOVED) \
	X(PEER_CAPABILITY) X(LINK_STATE)

#define VTOE_TRACE_CMD_ENUM(n)	TRACE_DEFINE_ENUM(VTOE_CMD_##n);
#define VTOE_TRACE_EV_ENUM(n)	TRACE_DEFINE_ENUM(VTOE_EVENT_##n);
VTOE_TRACE_COMMANDS(VTOE_TRACE_CMD_ENUM)
VTOE_TRACE_EVENTS(VTOE_TRACE_EV_ENUM)

#define VTOE_TRACE_CMD_NAME(n)	{ VTOE_CMD_##n, #n },
#define VTOE_TRACE_EV_NAME(n)	{ VTOE_EVENT_##n, #n },

TRACE_EVENT(vtoe_command,
	TP_PROTO(const struct vtoe_dev *dev, const struct vtoe_cmd *cmd),
	TP_ARGS(dev, cmd),
	TP_STRUCT__entry(
		__field(int, ifindex)
		__field(u8, op)
		__field(u32, sid)
		__field(u32, tag)
		__field(u64, value)
		__field(u16, reason)
	),
	TP_fast_assign(
		__entry->ifindex = dev->netdev->ifindex;
		__entry->op = cmd->op;
		__entry->sid = le32_to_cpu(cmd->sid);
		__entry->tag = le32_to_cpu(cmd->tag);
		__entry->value = le64_to_cpu(cmd->value);
		__entry->reason = le16_to_cpu(cmd->reason);
	),
	TP_printk("ifindex=%d op=%s sid=%#x tag=%u value=%llu reason=%u",
		  __entry->ifindex,
		  __print_symbolic(__entry->op,
				   VTOE_TRACE_COMMANDS(VTOE_TRACE_CMD_NAME)
				   { 0, "none" }),
		  __entry->sid, __entry->tag, __entry->value, __entry->reason)
);

TRACE_EVENT(vtoe_event,
	TP_PROTO(const struct vtoe_dev *dev, const struct vtoe_event *ev),
	TP_ARGS(dev, ev),
	TP_STRUCT__entry(
		__field(int, ifindex)
		__field(u8, type)
		__field(u32, sid)
		__field(u32, tag)
		__field(u64, value)
		__field(u16, reason)
	),
	TP_fast_assign(
		__entry->ifindex = dev->netdev->ifindex;
		__entry->type = ev->type;
		__entry->sid = le32_to_cpu(ev->sid);
		__entry->tag = le32_to_cpu(ev->tag);
		__entry->value = le64_to_cpu(ev->value);
		__entry->reason = le16_to_cpu(ev->reason);
	),
	TP_printk("ifindex=%d type=%s sid=%#x tag=%u value=%llu reason=%u",
		  __entry->ifindex,
		  __print_symbolic(__entry->type,
				   VTOE_TRACE_EVENTS(VTOE_TRACE_EV_NAME)
				   { 0, "none" }),
		  __entry->sid, __entry->tag, __entry->value, __entry->reason)
);

TRACE_EVENT(vtoe_poll,
	TP_PROTO(const struct vtoe_pair *p, int work),
	TP_ARGS(p, work),
	TP_STRUCT__entry(
		__field(int, ifindex)
		__field(u16, pair)
		__field(int, work)
		__field(u32, bytes)
		__field(u32, free)
	),
	TP_fast_assign(
		__entry->ifindex = p->dev->netdev->ifindex;
		__entry->pair = p->q.index;
		__entry->work = work;
		__entry->bytes = p->poll_bytes;
		__entry->free = p->nids;
	),
	TP_printk("ifindex=%d pair=%u completions=%d bytes=%u buffers_missing=%u",
		  __entry->ifindex, __entry->pair, __entry->work,
		  __entry->bytes, __entry->free)
);

#endif /* VTOE_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE vtoe_trace
#include <trace/define_trace.h>

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The overlay's counters, each once, as X(name, meaning).  The names are those
 * of QMP (with '-' for '_').  All are 64-bit and only grow.
 *
 * Frames: what enters a switch ends in exactly one of the core's counters, so
 *   frames_in = frames_forwarded + frames_flooded + sum of frames_drop_*
 * and a flooded frame's copies are counted where they went (tx_frames of a link
 * or a port) or in that link's or port's drop counter.
 * Streams: each one made ends in exactly one of streams_graceful, connect_*
 * (active, before Established), rejected_*, reset_*.
 */
#ifndef VNET_STATS_H
#define VNET_STATS_H

#include <stddef.h>
#include <stdint.h>

#define VNET_CORE_STATS(X) \
    X(frames_in, "frames from ports and links") \
    X(frames_forwarded, "to one port or link") \
    X(frames_flooded, "to several, or to an unknown address") \
    X(frames_drop_short, "shorter than an Ethernet header") \
    X(frames_drop_long, "longer than the largest frame") \
    X(frames_drop_bad_offload, "checksum or segmentation fields are wrong") \
    X(frames_drop_bad_src, "source address is a group or zero") \
    X(frames_drop_reflected, "own port's address came back by a link") \
    X(frames_drop_forged, "from an address that its source was not given") \
    X(frames_drop_storm, "flooded more than flood-limit") \
    X(frames_drop_hairpin, "destination lies where the frame came from") \
    X(frames_drop_split_horizon, "for a link that gets none of this one's") \
    X(frames_drop_route_down, "no end that the routes name is up") \
    X(frames_drop_no_target, "nothing to flood to") \
    X(frames_drop_refused, "the only targets dropped it") \
    X(frames_drop_busy, "from a link, for a link that is busy") \
    X(frames_busy, "offers put off (not in frames_in): link busy") \
    X(macs_learnt, "addresses learnt") \
    X(macs_moved, "learnt addresses that changed place") \
    X(macs_aged, "learnt addresses that timed out") \
    X(macs_full, "not learnt: table full") \
    X(macs_conflict, "frames from an address claimed elsewhere") \
    X(streams_active, "streams this side's guests asked for") \
    X(streams_passive, "streams peers asked for and a NIC saw") \
    X(streams_established, "streams that came to carry data") \
    X(streams_parked, "times a stream lost its link and waited for one") \
    X(streams_resumed, "times one went on after that") \
    X(streams_graceful, "streams both ends finished") \
    X(connect_no_peer, "connect: address unknown") \
    X(connect_no_streams, "connect: address takes no streams") \
    X(connect_forged, "connect: not from the locked port's address") \
    X(connect_no_route, "connect: no link configured") \
    X(connect_link_down, "connect: link is down") \
    X(connect_link_lost, "connect: link lost while connecting") \
    X(connect_cid_failed, "connect: data connection failed") \
    X(connect_rejected, "connect: the peer rejected it") \
    X(connect_peer_abort, "connect: the peer reset it") \
    X(connect_timeout, "connect: no answer in time") \
    X(connect_limit, "connect: limit of this host or the peer") \
    X(connect_violation, "connect: the peer broke the protocol") \
    X(connect_host, "connect: host error") \
    X(connect_cancelled, "connect: given up by this side") \
    X(rejected_policy, "open refused: network id, or address not given") \
    X(rejected_no_peer, "open refused: no such port") \
    X(rejected_no_streams, "open refused: port takes no streams") \
    X(rejected_limit, "open refused: stream limit") \
    X(rejected_host, "open refused: host error") \
    X(rejected_port, "open refused by the NIC or its guest") \
    X(reset_local, "reset by this side's guest") \
    X(reset_device, "reset by this side's device") \
    X(reset_unread, "reset: bytes came after close") \
    X(reset_peer, "reset by the peer") \
    X(reset_cancelled, "request withdrawn before it was accepted") \
    X(reset_link_lost, "reset: link or data connection lost") \
    X(reset_timeout, "reset: accepted, but no data connection") \
    X(reset_violation, "reset: the peer broke the protocol")

#define VNET_LINK_STATS(X) \
    X(ups, "times the link came up") \
    X(downs, "times it went down after it was up") \
    X(attempts_failed, "connections that ended before hello") \
    X(rx_msgs, "control messages received") \
    X(tx_msgs, "control messages sent") \
    X(rx_frames, "frames received") \
    X(rx_frame_bytes, "their bytes") \
    X(tx_frames, "frames sent") \
    X(tx_frame_bytes, "their bytes") \
    X(rx_stream_bytes, "stream bytes received") \
    X(tx_stream_bytes, "stream bytes sent") \
    X(bytes_copied, "stream bytes the transport copied") \
    X(frame_bytes_copied, "frame bytes the transport copied") \
    X(tx_drop_down, "frames dropped: link is not up") \
    X(tx_drop_busy, "frame copies dropped: link busy") \
    X(tx_drop_gso, "frames dropped: peer takes no offloads") \
    X(tx_drop_hops, "frames dropped: they have crossed too many links") \
    X(tx_drop_transport, "frames dropped by the transport") \
    X(rx_drop_vni, "frames dropped: other network id") \
    X(rx_drop_down, "frames dropped: link is not up") \
    X(acks_sent, "acknowledgements sent") \
    X(acks_received, "acknowledgements received") \
    X(credits_sent, "messages that told of receives") \
    X(credits_received, "... that were received") \
    X(wants_sent, "times bytes waited for a receive") \
    X(wants_received, "... at the peer") \
    X(receives_ahead, "buffers lent before there were bytes") \
    X(receives_wanted, "buffers lent for bytes of the peer") \
    X(pings_sent, "heartbeats sent") \
    X(heartbeats_missed, "intervals of silence") \
    X(unknown_stream, "late messages for streams that are gone") \
    X(macs_full, "announced addresses over the limit") \
    X(macs_vni, "announced addresses of another network id") \
    X(nets_full, "announced network ids over the limit") \
    X(nets_denied, "announced network ids that the peer was not given") \
    X(macs_denied, "announced addresses that the peer was not given") \
    X(refused_self, "connections from this very host") \
    X(refused_busy, "second peers while one was up") \
    X(refused_token, "frame or data connections that do not belong") \
    X(refused_stream, "data connections of streams that are gone") \
    X(lost_transport, "control or frame connection lost") \
    X(lost_hello, "no hello in time") \
    X(lost_heartbeat, "peer silent, or without an answer, for too long") \
    X(lost_bye, "closed by the peer") \
    X(lost_overflow, "peer does not read control messages") \
    X(lost_vni, "hello: no network id in common") \
    X(lost_version, "hello: no common version") \
    X(bad_magic, "closed: no VNET preamble") \
    X(bad_version, "closed: preamble of an unknown version") \
    X(bad_kind, "closed: unknown connection or message type") \
    X(bad_length, "closed: length does not fit the type") \
    X(bad_value, "closed: field out of range") \
    X(bad_order, "closed: message not allowed in this state") \
    X(bad_offset, "closed: acknowledgement or end out of range") \
    X(bad_credit, "closed: credit or want out of range")

#define VNET_PORT_STATS(X) \
    X(rx_frames, "frames given to the NIC") \
    X(rx_frame_bytes, "their bytes") \
    X(rx_drop, "frames the NIC dropped") \
    X(rx_drop_rate, "frames dropped: more than rx-rate") \
    X(rx_held, "times a stream waited for rx-rate") \
    X(tx_held, "times the NIC or a stream waited for tx-rate") \
    X(tx_frames, "frames from the NIC") \
    X(tx_frame_bytes, "their bytes") \
    X(tx_busy, "frames put off") \
    X(tx_drop, "frames from the NIC that went nowhere")

#define VNET_STAT_FIELD(name, meaning) uint64_t name;
typedef struct VnetCoreStats { VNET_CORE_STATS(VNET_STAT_FIELD) } VnetCoreStats;
typedef struct VnetLinkStats { VNET_LINK_STATS(VNET_STAT_FIELD) } VnetLinkStats;
typedef struct VnetPortStats { VNET_PORT_STATS(VNET_STAT_FIELD) } VnetPortStats;
#undef VNET_STAT_FIELD

/* For walking a struct of counters by name; ends with name == NULL. */
typedef struct VnetStatDesc {
    const char *name;
    const char *meaning;
    size_t offset;              /* of the uint64_t in the struct */
} VnetStatDesc;
extern const VnetStatDesc vnet_core_stat_descs[];
extern const VnetStatDesc vnet_link_stat_descs[];
extern const VnetStatDesc vnet_port_stat_descs[];

#endif /* VNET_STATS_H */

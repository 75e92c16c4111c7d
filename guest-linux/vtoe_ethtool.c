// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ethtool: who we are, ring sizes, channels, counters.
 *
 * Counters that the device has too bear the device's names (vtoe.rst); the
 * guest's own begin with drv_.
 */
#include <linux/ethtool.h>
#include <linux/pci.h>
#include "vtoe.h"

#define VTOE_FRAME_NAMES(X) \
	X(tx_frames) X(tx_frame_bytes) X(tx_frames_csum) X(tx_frames_tso) \
	X(rx_frames) X(rx_frame_bytes) X(rx_frames_csum) X(rx_frames_tso) \
	X(drv_tx_dropped) X(drv_tx_busy) X(drv_rx_dropped) \
	X(doorbells) X(interrupts) X(drv_polls) \
	X(drv_bufs) X(drv_bufs_free) X(drv_bufs_failed) X(drv_commands_open)

#define VTOE_NAME(n) #n,
static const char vtoe_stat_names[][ETH_GSTRING_LEN] = {
	VTOE_FRAME_NAMES(VTOE_NAME)
	VTOE_CTRL_COUNTERS(VTOE_NAME)
	VTOE_PAIR_COUNTERS(VTOE_NAME)
};

#define VTOE_NAME_PAIR(n) "pair%u_" #n,
static const char *const vtoe_pair_names[] = {
	VTOE_PAIR_COUNTERS(VTOE_NAME_PAIR)
	"pair%u_doorbells", "pair%u_interrupts", "pair%u_drv_polls",
};

#define VTOE_ONE(n) + 1
#define VTOE_NPAIR_ST	(0 VTOE_PAIR_COUNTERS(VTOE_ONE))

static void vtoe_get_drvinfo(struct net_device *netdev,
			     struct ethtool_drvinfo *info)
{
	struct vtoe_dev *dev = vtoe_priv(netdev);

	strscpy(info->driver, VTOE_DRV_NAME, sizeof(info->driver));
	strscpy(info->version, VTOE_DRV_VERSION, sizeof(info->version));
	strscpy(info->bus_info, pci_name(dev->pdev), sizeof(info->bus_info));
}

static void vtoe_get_ringparam(struct net_device *netdev,
			       struct ethtool_ringparam *ring,
			       struct kernel_ethtool_ringparam *kring,
			       struct netlink_ext_ack *extack)
{
	struct vtoe_dev *dev = vtoe_priv(netdev);

	ring->rx_max_pending = dev->max_ring;
	ring->tx_max_pending = dev->max_ring;
	ring->rx_pending = dev->fq.recv_size;
	ring->tx_pending = dev->fq.send_size;
}

static void vtoe_get_channels(struct net_device *netdev,
			      struct ethtool_channels *ch)
{
	struct vtoe_dev *dev = vtoe_priv(netdev);

	/*
	 * One combined channel for frames; stream pairs and the control queue
	 * are of no known kind.
	 */
	ch->max_combined = 1;
	ch->combined_count = 1;
	ch->max_other = dev->max_pairs;
	ch->other_count = 1 + dev->nstream;
}

static int vtoe_get_link_ksettings(struct net_device *netdev,
				   struct ethtool_link_ksettings *ks)
{
	ks->base.speed = SPEED_UNKNOWN;
	ks->base.duplex = DUPLEX_FULL;
	ks->base.port = PORT_OTHER;
	return 0;
}

static int vtoe_get_sset_count(struct net_device *netdev, int sset)
{
	struct vtoe_dev *dev = vtoe_priv(netdev);

	if (sset != ETH_SS_STATS)
		return -EOPNOTSUPP;
	return ARRAY_SIZE(vtoe_stat_names) +
	       dev->nstream * ARRAY_SIZE(vtoe_pair_names);
}

static void vtoe_get_strings(struct net_device *netdev, u32 sset, u8 *data)
{
	struct vtoe_dev *dev = vtoe_priv(netdev);
	u32 i, j;

	if (sset != ETH_SS_STATS)
		return;
	memcpy(data, vtoe_stat_names, sizeof(vtoe_stat_names));
	data += sizeof(vtoe_stat_names);
	for (i = 0; i < dev->nstream; i++)
		for (j = 0; j < ARRAY_SIZE(vtoe_pair_names); j++)
			ethtool_sprintf(&data, vtoe_pair_names[j], i + 1);
}

static void vtoe_get_ethtool_stats(struct net_device *netdev,
				   struct ethtool_stats *stats, u64 *data)
{
	struct vtoe_dev *dev = vtoe_priv(netdev);
	u64 doorbells = dev->cq.doorbells + dev->fq.doorbells;
	u64 interrupts = dev->cq.interrupts + dev->fq.interrupts;
	u64 polls = dev->cq.polls + dev->fq.polls;
	u64 sum[VTOE_NPAIR_ST] = { 0 };
	u32 i, j;

	for (i = 0; i < dev->nstream; i++) {
		const struct vtoe_pair *p = &dev->pairs[i];

		doorbells += p->q.doorbells;
		interrupts += p->q.interrupts;
		polls += p->q.polls;
		for (j = 0; j < VTOE_NPAIR_ST; j++)
			sum[j] += ((const u64 *)&p->st)[j];
	}
	*data++ = dev->tx_stats.packets;
	*data++ = dev->tx_stats.bytes;
	*data++ = dev->tx_stats.csum;
	*data++ = dev->tx_stats.gso;
	*data++ = dev->rx_stats.packets;
	*data++ = dev->rx_stats.bytes;
	*data++ = dev->rx_stats.csum;
	*data++ = dev->rx_stats.gso;
	*data++ = dev->tx_stats.dropped;
	*data++ = dev->tx_stats.busy;
	*data++ = dev->rx_stats.dropped;
	*data++ = doorbells;
	*data++ = interrupts;
	*data++ = polls;
	*data++ = dev->pool.nall;
	*data++ = dev->pool.nfree;
	*data++ = dev->pool.failures;
	*data++ = dev->cmds_out;
	memcpy(data, &dev->st, sizeof(dev->st));
	data += sizeof(dev->st) / sizeof(u64);
	memcpy(data, sum, sizeof(sum));
	data += VTOE_NPAIR_ST;
	for (i = 0; i < dev->nstream; i++) {
		const struct vtoe_pair *p = &dev->pairs[i];

		memcpy(data, &p->st, sizeof(p->st));
		data += VTOE_NPAIR_ST;
		*data++ = p->q.doorbells;
		*data++ = p->q.interrupts;
		*data++ = p->q.polls;
	}
}

const struct ethtool_ops vtoe_ethtool_ops = {
	.get_drvinfo		= vtoe_get_drvinfo,
	.get_link		= ethtool_op_get_link,
	.get_link_ksettings	= vtoe_get_link_ksettings,
	.get_ringparam		= vtoe_get_ringparam,
	.get_channels		= vtoe_get_channels,
	.get_sset_count		= vtoe_get_sset_count,
	.get_strings		= vtoe_get_strings,
	.get_ethtool_stats	= vtoe_get_ethtool_stats,
	.get_ts_info		= ethtool_op_get_ts_info,
};

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Frames out: pair 0's SendWQ.
 *
 * A frame is a chain of descriptors, its first one with the checksum and
 * segmentation request.  The device counts finished frames in its completions
 * (SID 0); tx_frames[] is indexed by that count, tx_maps[] by descriptor.  The
 * queue is stopped while fewer descriptors are free than the largest frame
 * needs.  Free is what belongs to no frame that has not been completed: the
 * device may have consumed descriptors (send_cons) whose completion we have
 * not seen, and those are still in tx_frames[] and tx_maps[].
 */
#include <linux/dma-mapping.h>
#include <linux/etherdevice.h>
#include <linux/virtio_net.h>
#include "vtoe.h"

static_assert(sizeof(struct virtio_net_hdr) == sizeof(struct vtoe_net_hdr));
static_assert(MAX_SKB_FRAGS + 1 <= VTOE_FRAME_MAX_DESC);

void vtoe_tx_init(struct vtoe_dev *dev)
{
	dev->tx_frame_prod = 0;
	dev->tx_frame_cons = 0;
	dev->tx_desc_cons = dev->fq.send_prod;
	netdev_tx_reset_queue(netdev_get_tx_queue(dev->netdev, 0));
}

/* Free descriptors of pair 0's send ring. */
static u32 vtoe_frame_room(const struct vtoe_dev *dev)
{
	return dev->fq.send_size - (READ_ONCE(dev->fq.send_prod) -
				    READ_ONCE(dev->tx_desc_cons));
}

static void vtoe_tx_unmap(struct vtoe_dev *dev, u32 first, u32 n)
{
	u32 mask = dev->fq.send_size - 1;

	for (; n; n--, first++) {
		struct vtoe_tx_map *m = &dev->tx_maps[first & mask];

		if (m->page)
			dma_unmap_page(&dev->pdev->dev, m->dma, m->len,
				       DMA_TO_DEVICE);
		else
			dma_unmap_single(&dev->pdev->dev, m->dma, m->len,
					 DMA_TO_DEVICE);
	}
}

/* After a reset: the frames on their way are lost. */
void vtoe_tx_reclaim(struct vtoe_dev *dev)
{
	u32 mask = dev->fq.send_size - 1;

	for (; dev->tx_frame_cons != dev->tx_frame_prod; dev->tx_frame_cons++) {
		struct vtoe_tx_frame *f =
			&dev->tx_frames[dev->tx_frame_cons & mask];

		vtoe_tx_unmap(dev, f->first, f->ndesc);
		dev_kfree_skb_any(f->skb);
	}
}

/* Fills one descriptor. */
static void vtoe_tx_desc(struct vtoe_dev *dev, u32 index, dma_addr_t dma,
			 u32 len, bool page, bool more)
{
	u32 mask = dev->fq.send_size - 1;
	struct vtoe_send_desc *d = (struct vtoe_send_desc *)dev->fq.send +
				   (index & mask);
	struct vtoe_tx_map *m = &dev->tx_maps[index & mask];

	m->dma = dma;
	m->len = len;
	m->page = page;
	d->addr = cpu_to_le64(dma);
	d->len = cpu_to_le32(len);
	d->sid = cpu_to_le32(VTOE_SID_FRAME);
	d->op = VTOE_SEND_DATA;
	d->flags = more ? VTOE_SEND_F_MORE : 0;
	memset(&d->hdr, 0, sizeof(d->hdr));
	d->reserved = 0;
}

netdev_tx_t vtoe_start_xmit(struct sk_buff *skb, struct net_device *netdev)
{
	struct vtoe_dev *dev = vtoe_priv(netdev);
	struct vtoe_queue *q = &dev->fq;
	u32 mask = q->send_size - 1;
	u32 old = q->send_prod, index = old;
	struct netdev_queue *txq = netdev_get_tx_queue(netdev, 0);
	struct vtoe_send_desc *d;
	struct vtoe_tx_frame *f;
	struct virtio_net_hdr hdr;
	unsigned int i, nfrags = skb_shinfo(skb)->nr_frags;
	dma_addr_t dma;
	bool kick;

	if (unlikely(vtoe_frame_room(dev) < VTOE_FRAME_MAX_DESC)) {
		/* The queue should have been stopped. */
		netif_tx_stop_queue(txq);
		dev->tx_stats.busy++;
		return NETDEV_TX_BUSY;
	}
	if (unlikely(virtio_net_hdr_from_skb(skb, &hdr, true, false, 0))) {
		netdev_warn_once(netdev, "segmentation type %#x not supported\n",
				 skb_shinfo(skb)->gso_type);
		goto drop;
	}
	skb_tx_timestamp(skb);
	dma = dma_map_single(&dev->pdev->dev, skb->data, skb_headlen(skb),
			     DMA_TO_DEVICE);
	if (dma_mapping_error(&dev->pdev->dev, dma))
		goto drop;
	vtoe_tx_desc(dev, index++, dma, skb_headlen(skb), false, nfrags);
	for (i = 0; i < nfrags; i++) {
		const skb_frag_t *frag = &skb_shinfo(skb)->frags[i];

		dma = skb_frag_dma_map(&dev->pdev->dev, frag, 0,
				       skb_frag_size(frag), DMA_TO_DEVICE);
		if (dma_mapping_error(&dev->pdev->dev, dma)) {
			vtoe_tx_unmap(dev, old, index - old);
			goto drop;
		}
		vtoe_tx_desc(dev, index++, dma, skb_frag_size(frag), true,
			     i + 1 < nfrags);
	}
	d = (struct vtoe_send_desc *)q->send + (old & mask);
	memcpy(&d->hdr, &hdr, sizeof(d->hdr));
	f = &dev->tx_frames[dev->tx_frame_prod & mask];
	f->skb = skb;
	f->bytes = skb->len;
	f->first = old;
	f->ndesc = index - old;
	q->send_prod = index;
	dev->tx_frame_prod++;

	u64_stats_update_begin(&dev->tx_stats.sync);
	dev->tx_stats.packets++;
	dev->tx_stats.bytes += skb->len;
	if (skb->ip_summed == CHECKSUM_PARTIAL)
		dev->tx_stats.csum++;
	if (skb_is_gso(skb))
		dev->tx_stats.gso++;
	u64_stats_update_end(&dev->tx_stats.sync);

	if (unlikely(vtoe_frame_room(dev) < VTOE_FRAME_MAX_DESC)) {
		netif_tx_stop_queue(txq);
		/* Pairs with vtoe_tx_done(): one of us sees the other. */
		smp_mb();
		if (vtoe_frame_room(dev) >= VTOE_FRAME_MAX_DESC)
			netif_tx_start_queue(txq);
	}
	kick = __netdev_tx_sent_queue(txq, f->bytes, netdev_xmit_more());
	/* What a series of frames adds is published once. */
	if (kick || netif_xmit_stopped(txq)) {
		u32 told = le32_to_cpu(q->ctrl->send_prod);

		if (vtoe_send_publish(q, told)) {
			dev->tx_stats.kicks++;
			vtoe_doorbell(q);
		}
	}
	return NETDEV_TX_OK;

drop:
	dev->tx_stats.dropped++;
	dev_kfree_skb_any(skb);
	if (!netdev_xmit_more()) {
		u32 told = le32_to_cpu(q->ctrl->send_prod);

		if (told != q->send_prod && vtoe_send_publish(q, told))
			vtoe_doorbell(q);
	}
	return NETDEV_TX_OK;
}

/* The device has finished `done' frames since it was started. */
void vtoe_tx_done(struct vtoe_dev *dev, u64 done, int budget)
{
	struct netdev_queue *txq = netdev_get_tx_queue(dev->netdev, 0);
	u32 mask = dev->fq.send_size - 1;
	unsigned int packets = 0, bytes = 0;
	u32 prod = READ_ONCE(dev->tx_frame_prod);
	u32 n = (u32)done - dev->tx_frame_cons;

	if (unlikely(n > prod - dev->tx_frame_cons)) {
		vtoe_need_reset(dev, "completion of frames never sent");
		return;
	}
	for (; n; n--, dev->tx_frame_cons++) {
		struct vtoe_tx_frame *f =
			&dev->tx_frames[dev->tx_frame_cons & mask];

		vtoe_tx_unmap(dev, f->first, f->ndesc);
		packets++;
		bytes += f->bytes;
		WRITE_ONCE(dev->tx_desc_cons, f->first + f->ndesc);
		napi_consume_skb(f->skb, budget);
		f->skb = NULL;
	}
	netdev_tx_completed_queue(txq, packets, bytes);
	/* Pairs with vtoe_start_xmit(). */
	smp_mb();
	if (unlikely(netif_tx_queue_stopped(txq)) &&
	    vtoe_frame_room(dev) >= VTOE_FRAME_MAX_DESC * 2)
		netif_tx_wake_queue(txq);
}

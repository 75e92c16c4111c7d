// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Frames in: pair 0's RecvWQ, and the NAPI of pair 0.
 *
 * Buffers are single pages of a page pool.  A frame of up to the usual MTU is
 * copied out and its page used again at once: sockets are charged for all of a
 * page, and with many connections that is what TCP's memory ends by.  Of a larger
 * one the headers are copied and the pages become fragments that return to the
 * pool when the skb is freed.  A frame larger than a page (RX_TSO) comes in several
 * completions.
 */
#include <linux/dma-mapping.h>
#include <linux/etherdevice.h>
#include <linux/slab.h>
#include <linux/virtio_net.h>
#include "vtoe.h"

#define VTOE_RX_PULL	128u	/* header bytes copied from a larger frame */

static void vtoe_rx_post_page(struct vtoe_dev *dev, struct page *page, u32 id)
{
	struct vtoe_queue *q = &dev->fq;
	struct vtoe_recv_desc *d = &q->recv[q->recv_prod & (q->recv_size - 1)];

	d->addr = cpu_to_le64(page_pool_get_dma_addr(page));
	d->len = cpu_to_le32(PAGE_SIZE);
	d->sid = cpu_to_le32(VTOE_SID_FRAME);
	d->id = cpu_to_le32(id);
	dev->rx_slots[id] = page;
	q->recv_prod++;
}

/*
 * Gives free pages to the device.  Completions come in ring order on pair 0, so
 * the ring index is the id.
 */
void vtoe_rx_fill(struct vtoe_dev *dev)
{
	struct vtoe_queue *q = &dev->fq;
	u32 old = q->recv_prod;

	while (!dev->rx_slots[q->recv_prod & (q->recv_size - 1)]) {
		struct page *page = page_pool_dev_alloc_pages(dev->rx_pages);

		if (unlikely(!page))
			break;
		vtoe_rx_post_page(dev, page, q->recv_prod & (q->recv_size - 1));
	}
	if (q->recv_prod != old && vtoe_recv_publish(q, old))
		vtoe_doorbell(q);
}

int vtoe_rx_init(struct vtoe_dev *dev)
{
	struct page_pool_params pp = {
		.flags = PP_FLAG_DMA_MAP | PP_FLAG_DMA_SYNC_DEV,
		.order = 0,
		.pool_size = dev->fq.recv_size,
		.nid = dev_to_node(&dev->pdev->dev),
		.dev = &dev->pdev->dev,
		.dma_dir = DMA_FROM_DEVICE,
		.max_len = PAGE_SIZE,
		.offset = 0,
	};
	struct page_pool *pool;

	if (!dev->rx_pages) {
		pool = page_pool_create(&pp);
		if (IS_ERR(pool))
			return PTR_ERR(pool);
		dev->rx_pages = pool;
	}
	dev->rx_skb = NULL;
	dev->rx_more = 0;
	return 0;
}

/* After a reset: all pages come back. */
void vtoe_rx_reclaim(struct vtoe_dev *dev)
{
	u32 i;

	for (i = 0; dev->rx_slots && i < dev->fq.recv_size; i++) {
		if (dev->rx_slots[i])
			page_pool_put_full_page(dev->rx_pages, dev->rx_slots[i],
						false);
		dev->rx_slots[i] = NULL;
	}
	if (dev->rx_skb)
		dev_kfree_skb_any(dev->rx_skb);
	dev->rx_skb = NULL;
	dev->rx_more = 0;
}

static void vtoe_rx_drop(struct vtoe_dev *dev, struct page *page)
{
	u64_stats_update_begin(&dev->rx_stats.sync);
	dev->rx_stats.dropped++;
	u64_stats_update_end(&dev->rx_stats.sync);
	page_pool_recycle_direct(dev->rx_pages, page);
}

static void vtoe_rx_deliver(struct vtoe_dev *dev, struct sk_buff *skb)
{
	struct net_device *netdev = dev->netdev;
	const struct virtio_net_hdr *hdr = (void *)skb->cb;

	u64_stats_update_begin(&dev->rx_stats.sync);
	dev->rx_stats.packets++;
	dev->rx_stats.bytes += skb->len;
	if (hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		dev->rx_stats.csum++;
	if (hdr->gso_type != VIRTIO_NET_HDR_GSO_NONE)
		dev->rx_stats.gso++;
	u64_stats_update_end(&dev->rx_stats.sync);

	if (hdr->flags & VIRTIO_NET_HDR_F_DATA_VALID)
		skb->ip_summed = CHECKSUM_UNNECESSARY;
	if (unlikely(virtio_net_hdr_to_skb(skb, hdr, true))) {
		net_warn_ratelimited("%s: frame of %u bytes with a bad header: gso %#x size %u csum %u+%u\n",
				     netdev->name, skb->len, hdr->gso_type,
				     le16_to_cpu((__force __le16)hdr->gso_size),
				     le16_to_cpu((__force __le16)hdr->csum_start),
				     le16_to_cpu((__force __le16)hdr->csum_offset));
		dev->rx_stats.dropped++;
		dev_kfree_skb_any(skb);
		return;
	}
	skb_record_rx_queue(skb, 0);
	skb->protocol = eth_type_trans(skb, netdev);
	napi_gro_receive(&dev->fq.napi, skb);
}

/* One buffer of a frame. */
void vtoe_rx_comp(struct vtoe_dev *dev, const struct vtoe_comp *c)
{
	u32 id = le32_to_cpu(c->id);
	u32 len = le32_to_cpu(c->len);
	struct sk_buff *skb = dev->rx_skb;
	struct page *page;
	u32 pull = 0;

	if (unlikely(id >= dev->fq.recv_size || !dev->rx_slots[id] ||
		     len > PAGE_SIZE)) {
		vtoe_need_reset(dev, "frame in a buffer the device does not have");
		return;
	}
	page = dev->rx_slots[id];
	dev->rx_slots[id] = NULL;
	dma_sync_single_for_cpu(&dev->pdev->dev, page_pool_get_dma_addr(page),
				len, DMA_FROM_DEVICE);

	if (!skb) {
		u32 n = le16_to_cpu(c->u.frame.num_buffers);
		bool small = n <= 1 && len <= VTOE_RX_COPYBREAK;

		if (unlikely(dev->rx_more)) {
			/* The rest of a frame whose skb could not be had. */
			dev->rx_more--;
			page_pool_recycle_direct(dev->rx_pages, page);
			return;
		}
		pull = small ? len : min(len, VTOE_RX_PULL);
		skb = len >= ETH_HLEN && n <= MAX_SKB_FRAGS ?
		      napi_alloc_skb(&dev->fq.napi, pull) : NULL;
		dev->rx_more = n ? n - 1 : 0;
		if (unlikely(!skb)) {
			vtoe_rx_drop(dev, page);
			return;
		}
		memcpy(__skb_put(skb, pull), page_address(page), pull);
		memcpy(skb->cb, &c->u.frame.hdr, sizeof(c->u.frame.hdr));
		skb_mark_for_recycle(skb);
	} else {
		dev->rx_more--;
	}
	if (len > pull)
		skb_add_rx_frag(skb, skb_shinfo(skb)->nr_frags, page, pull,
				len - pull, PAGE_SIZE);
	else
		page_pool_recycle_direct(dev->rx_pages, page);
	if (dev->rx_more) {
		dev->rx_skb = skb;
		return;
	}
	dev->rx_skb = NULL;
	vtoe_rx_deliver(dev, skb);
}

int vtoe_frame_poll(struct napi_struct *napi, int budget)
{
	struct vtoe_queue *q = container_of(napi, struct vtoe_queue, napi);
	struct vtoe_dev *dev = container_of(q, struct vtoe_dev, fq);
	const struct vtoe_comp *ring = q->comp;
	u64 done = 0;
	int work = 0;
	bool sent = false;

	q->polls++;
	while (work < budget) {
		u32 n = vtoe_comp_ready(q);

		if (!n)
			break;
		for (; n && work < budget; n--) {
			const struct vtoe_comp *c =
				&ring[q->comp_cons & (q->comp_size - 1)];

			if (c->type == VTOE_COMP_RECV) {
				vtoe_rx_comp(dev, c);
				work++;
			} else if (c->type == VTOE_COMP_SEND) {
				done = le64_to_cpu(c->u.offset);
				sent = true;
			} else {
				vtoe_need_reset(dev, "unknown completion");
			}
			q->comp_cons++;
		}
	}
	if (sent)
		vtoe_tx_done(dev, done, budget);
	vtoe_comp_release(q);
	vtoe_rx_fill(dev);
	if (unlikely(!budget))
		return 0;
	/* No page at all: nothing would tell when there is memory again. */
	if (unlikely(!dev->rx_slots[(q->recv_prod - 1) & (q->recv_size - 1)]))
		return budget;
	if (work == budget)
		return budget;
	vtoe_poll_done(q, work, 0);
	return work;
}

/* Memory of pair 0. */
int vtoe_frames_alloc(struct vtoe_dev *dev)
{
	int err;

	err = vtoe_queue_alloc(dev, &dev->fq, 0, VTOE_FRAME_SEND_RING,
			       VTOE_FRAME_RECV_RING, VTOE_FRAME_COMP_RING);
	if (err)
		return err;
	if (dev->fq.send_size < 2 * VTOE_FRAME_MAX_DESC) {
		dev_err(&dev->pdev->dev, "rings of %u cannot carry frames\n",
			dev->fq.send_size);
		return -EPROTO;
	}
	dev->tx_frames = kvcalloc(dev->fq.send_size, sizeof(*dev->tx_frames),
				  GFP_KERNEL);
	dev->tx_maps = kvcalloc(dev->fq.send_size, sizeof(*dev->tx_maps),
				GFP_KERNEL);
	dev->rx_slots = kvcalloc(dev->fq.recv_size, sizeof(*dev->rx_slots),
				 GFP_KERNEL);
	if (!dev->tx_frames || !dev->tx_maps || !dev->rx_slots)
		return -ENOMEM;
	u64_stats_init(&dev->tx_stats.sync);
	u64_stats_init(&dev->rx_stats.sync);
	netif_napi_add(dev->netdev, &dev->fq.napi, vtoe_frame_poll);
	return 0;
}

void vtoe_frames_free(struct vtoe_dev *dev)
{
	if (dev->fq.napi.poll)
		netif_napi_del(&dev->fq.napi);
	if (dev->rx_pages)
		page_pool_destroy(dev->rx_pages);
	dev->rx_pages = NULL;
	vtoe_queue_free(dev, &dev->fq);
	kvfree(dev->tx_frames);
	kvfree(dev->tx_maps);
	kvfree(dev->rx_slots);
	dev->tx_frames = NULL;
	dev->tx_maps = NULL;
	dev->rx_slots = NULL;
}

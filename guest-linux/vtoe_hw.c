// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Registers and queues of the device (vtoe.rst, sections 2 and 3).
 *
 * The registers are used through their mirror at the start of BAR 2; they are
 * touched at set-up, reset and reconfiguration only.  The data path knows
 * rings in memory and one doorbell write per queue.
 */
#include <linux/dma-mapping.h>
#include <linux/etherdevice.h>
#include <linux/interrupt.h>
#include "vtoe.h"

u32 vtoe_rd(const struct vtoe_dev *dev, u32 reg)
{
	return readl(dev->regs + reg);
}

void vtoe_wr(const struct vtoe_dev *dev, u32 reg, u32 val)
{
	writel(val, dev->regs + reg);
}

/* Stops the device; when this returns it no longer touches our memory. */
void vtoe_hw_reset(struct vtoe_dev *dev)
{
	vtoe_wr(dev, VTOE_REG_STATUS, 0);
	vtoe_rd(dev, VTOE_REG_STATUS);
}

/* Reads what the device is; it stays reset.  Returns 0 or -ENODEV, -EPROTO. */
int vtoe_hw_identify(struct vtoe_dev *dev)
{
	struct device *d = &dev->pdev->dev;
	u32 val;

	vtoe_hw_reset(dev);
	val = vtoe_rd(dev, VTOE_REG_MAGIC);
	if (val != VTOE_MAGIC) {
		dev_err(d, "magic is %#x, not %#x\n", val, VTOE_MAGIC);
		return -ENODEV;
	}
	val = vtoe_rd(dev, VTOE_REG_VERSION);
	if (val != VTOE_ABI_VERSION) {
		dev_err(d, "device speaks ABI version %u, this driver %u\n",
			val, VTOE_ABI_VERSION);
		return -EPROTO;
	}
	dev->max_pairs = vtoe_rd(dev, VTOE_REG_MAX_PAIRS);
	dev->max_ring = vtoe_rd(dev, VTOE_REG_MAX_RING);
	dev->max_segment = vtoe_rd(dev, VTOE_REG_MAX_SEGMENT);
	dev->max_inflight = vtoe_rd(dev, VTOE_REG_MAX_INFLIGHT);
	if (!dev->max_pairs || dev->max_ring < 64 ||
	    dev->max_segment < PAGE_SIZE) {
		dev_err(d, "impossible limits: %u pairs, rings of %u, segments of %u\n",
			dev->max_pairs, dev->max_ring, dev->max_segment);
		return -EPROTO;
	}
	return 0;
}

/* Negotiates features; queues are enabled next, then DRIVER_OK is set. */
int vtoe_hw_start(struct vtoe_dev *dev)
{
	u64 offered, want;
	u32 status;

	vtoe_hw_reset(dev);
	dev->generation = vtoe_rd(dev, VTOE_REG_GENERATION);
	vtoe_wr(dev, VTOE_REG_STATUS, VTOE_STATUS_DRIVER);
	offered = vtoe_rd(dev, VTOE_REG_DEV_FEATURES) |
		  (u64)vtoe_rd(dev, VTOE_REG_DEV_FEATURES_HI) << 32;
	want = offered & (VTOE_F_CSUM | VTOE_F_TSO | VTOE_F_RX_CSUM |
			  VTOE_F_RX_TSO | VTOE_F_STREAM);
	if (!(want & VTOE_F_CSUM))
		want &= ~VTOE_F_TSO;
	if (!(want & VTOE_F_RX_CSUM))
		want &= ~VTOE_F_RX_TSO;
	if (!dev->nstream || dev->max_inflight < 2)
		want &= ~VTOE_F_STREAM;
	vtoe_wr(dev, VTOE_REG_DRV_FEATURES, lower_32_bits(want));
	vtoe_wr(dev, VTOE_REG_DRV_FEATURES_HI, upper_32_bits(want));
	vtoe_wr(dev, VTOE_REG_STATUS,
		VTOE_STATUS_DRIVER | VTOE_STATUS_FEATURES_OK);
	status = vtoe_rd(dev, VTOE_REG_STATUS);
	if (!(status & VTOE_STATUS_FEATURES_OK)) {
		dev_err(&dev->pdev->dev,
			"device offers features %#llx and refuses %#llx\n",
			offered, want);
		return -EPROTO;
	}
	dev->features = want;
	return 0;
}

void vtoe_hw_mac(const struct vtoe_dev *dev, u8 mac[6])
{
	u32 lo = vtoe_rd(dev, VTOE_REG_MAC_LO);
	u32 hi = vtoe_rd(dev, VTOE_REG_MAC_HI);

	mac[0] = lo;
	mac[1] = lo >> 8;
	mac[2] = lo >> 16;
	mac[3] = lo >> 24;
	mac[4] = hi;
	mac[5] = hi >> 8;
}

void vtoe_hw_set_mac(struct vtoe_dev *dev, const u8 mac[6])
{
	vtoe_wr(dev, VTOE_REG_CUR_MAC_LO,
		mac[0] | mac[1] << 8 | mac[2] << 16 | (u32)mac[3] << 24);
	vtoe_wr(dev, VTOE_REG_CUR_MAC_HI, mac[4] | mac[5] << 8);
}

u32 vtoe_hw_max_mtu(const struct vtoe_dev *dev)
{
	return vtoe_rd(dev, VTOE_REG_MAC_HI) >> 16;
}

/* Largest power of two that is at most n and the device's limit. */
static u32 vtoe_ring_size(const struct vtoe_dev *dev, u32 n)
{
	return rounddown_pow_of_two(min(n, dev->max_ring));
}

/* Memory for a queue's rings; a size of 0: no such ring. */
int vtoe_queue_alloc(struct vtoe_dev *dev, struct vtoe_queue *q, u16 index,
		     u32 send, u32 recv, u32 comp)
{
	bool ctrl = index == VTOE_QUEUE_CONTROL;
	size_t slen, rlen, clen;

	q->index = index;
	q->send_size = vtoe_ring_size(dev, send);
	q->recv_size = recv ? vtoe_ring_size(dev, recv) : 0;
	q->comp_size = vtoe_ring_size(dev, comp);
	slen = ALIGN((size_t)q->send_size *
		     (ctrl ? sizeof(struct vtoe_cmd) :
		      sizeof(struct vtoe_send_desc)), 64);
	rlen = ALIGN((size_t)q->recv_size * sizeof(struct vtoe_recv_desc), 64);
	clen = ALIGN((size_t)q->comp_size *
		     (ctrl ? sizeof(struct vtoe_event) :
		      sizeof(struct vtoe_comp)), 64);
	q->mem_len = sizeof(struct vtoe_queue_ctrl) + slen + rlen + clen;
	q->mem = dma_alloc_coherent(&dev->pdev->dev, q->mem_len, &q->mem_dma,
				    GFP_KERNEL);
	if (!q->mem)
		return -ENOMEM;
	q->ctrl = q->mem;
	q->send = q->mem + sizeof(struct vtoe_queue_ctrl);
	q->recv = q->send + slen;
	q->comp = (void *)q->recv + rlen;
	q->doorbell = dev->regs + (ctrl ? VTOE_REG_CTRL_DOORBELL :
				   VTOE_DOORBELL_OFFSET(index));
	return 0;
}

void vtoe_queue_free(struct vtoe_dev *dev, struct vtoe_queue *q)
{
	if (!q->mem)
		return;
	dma_free_coherent(&dev->pdev->dev, q->mem_len, q->mem, q->mem_dma);
	q->mem = NULL;
}

/* All indices back to 0, as after a reset of the device. */
void vtoe_queue_clear(struct vtoe_queue *q)
{
	memset(q->ctrl, 0, sizeof(*q->ctrl));
	q->send_prod = 0;
	q->send_cons = 0;
	q->recv_prod = 0;
	q->comp_cons = 0;
	q->comp_told = 0;
}

/* Gives a queue to the device.  Returns 0 or -EIO. */
int vtoe_queue_enable(struct vtoe_dev *dev, struct vtoe_queue *q, u32 vector)
{
	dma_addr_t base = q->mem_dma;
	u64 send = base + ((void *)q->send - q->mem);
	u64 recv = base + ((void *)q->recv - q->mem);
	u64 comp = base + (q->comp - q->mem);

	vtoe_queue_clear(q);
	vtoe_wr(dev, VTOE_REG_QUEUE_SELECT, q->index);
	vtoe_wr(dev, VTOE_REG_SEND_SIZE, q->send_size);
	vtoe_wr(dev, VTOE_REG_RECV_SIZE, q->recv_size);
	vtoe_wr(dev, VTOE_REG_COMP_SIZE, q->comp_size);
	vtoe_wr(dev, VTOE_REG_SEND_ADDR, lower_32_bits(send));
	vtoe_wr(dev, VTOE_REG_SEND_ADDR_HI, upper_32_bits(send));
	if (q->recv_size) {
		vtoe_wr(dev, VTOE_REG_RECV_ADDR, lower_32_bits(recv));
		vtoe_wr(dev, VTOE_REG_RECV_ADDR_HI, upper_32_bits(recv));
	}
	vtoe_wr(dev, VTOE_REG_COMP_ADDR, lower_32_bits(comp));
	vtoe_wr(dev, VTOE_REG_COMP_ADDR_HI, upper_32_bits(comp));
	vtoe_wr(dev, VTOE_REG_CTRL_ADDR, lower_32_bits(base));
	vtoe_wr(dev, VTOE_REG_CTRL_ADDR_HI, upper_32_bits(base));
	vtoe_wr(dev, VTOE_REG_QUEUE_VECTOR, vector);
	vtoe_wr(dev, VTOE_REG_QUEUE_ENABLE, 1);
	if (vtoe_rd(dev, VTOE_REG_QUEUE_ENABLE) != 1) {
		dev_err(&dev->pdev->dev,
			"queue %#x refused: rings %u/%u/%u at %pad, vector %u, violation %u\n",
			q->index, q->send_size, q->recv_size, q->comp_size,
			&base, vector, vtoe_rd(dev, VTOE_REG_VIOLATION));
		return -EIO;
	}
	return 0;
}

/*
 * While NAPI works, comp_event stays behind and the device raises nothing;
 * vtoe_comp_arm() ends that.
 */
static irqreturn_t vtoe_irq(int irq, void *data)
{
	struct vtoe_queue *q = data;

	q->interrupts++;
	napi_schedule_irqoff(&q->napi);
	return IRQ_HANDLED;
}

static int vtoe_irq_request(struct vtoe_dev *dev, struct vtoe_queue *q,
			    u32 vector, const char *what, int n)
{
	int irq = pci_irq_vector(dev->pdev, vector);
	int err;

	if (n < 0)
		snprintf(q->irq_name, sizeof(q->irq_name), "%s-%s",
			 pci_name(dev->pdev), what);
	else
		snprintf(q->irq_name, sizeof(q->irq_name), "%s-%s%d",
			 pci_name(dev->pdev), what, n);
	err = request_irq(irq, vtoe_irq, 0, q->irq_name, q);
	if (err) {
		dev_err(&dev->pdev->dev, "vector %u (%s): error %d\n", vector,
			q->irq_name, err);
		return err;
	}
	q->irq = irq;
	return 0;
}

/* Vector 0: control, 1: frames, 2..: stream pairs.  NAPI must exist. */
int vtoe_irqs_request(struct vtoe_dev *dev)
{
	u32 i;
	int err;

	err = vtoe_irq_request(dev, &dev->cq, 0, "control", -1);
	if (!err)
		err = vtoe_irq_request(dev, &dev->fq, 1, "frames", -1);
	for (i = 0; !err && i < dev->nstream; i++) {
		err = vtoe_irq_request(dev, &dev->pairs[i].q, 2 + i, "pair",
				       i + 1);
		if (!err)
			irq_set_affinity_and_hint(dev->pairs[i].q.irq,
						  cpumask_of(cpumask_local_spread(i,
						      dev_to_node(&dev->pdev->dev))));
	}
	if (err)
		vtoe_irqs_free(dev);
	return err;
}

static void vtoe_irq_free(struct vtoe_queue *q)
{
	if (!q->irq)
		return;
	irq_set_affinity_and_hint(q->irq, NULL);
	free_irq(q->irq, q);
	q->irq = 0;
}

void vtoe_irqs_free(struct vtoe_dev *dev)
{
	u32 i;

	for (i = 0; i < dev->nstream; i++)
		vtoe_irq_free(&dev->pairs[i].q);
	vtoe_irq_free(&dev->fq);
	vtoe_irq_free(&dev->cq);
}

/* Something is wrong with the device: start over. */
void vtoe_need_reset(struct vtoe_dev *dev, const char *why)
{
	if (test_bit(VTOE_DEV_GONE, &dev->state) ||
	    test_and_set_bit(VTOE_DEV_RESETTING, &dev->state))
		return;
	netdev_warn(dev->netdev, "reset: %s\n", why);
	schedule_work(&dev->reset_work);
}

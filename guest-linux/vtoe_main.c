// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Module vtoe: a VTOE NIC's PCI function and network device.
 *
 * States: probed and started (DRIVER_OK; control queue and stream pairs work
 * whether the interface is up or not), stopped (suspend, or between the halves
 * of a reset), gone.  vtoe_start() and vtoe_stop() are the only ways between
 * them; both run under dev->life_lock.  Frames flow while the device is started
 * and the interface is up.
 */
#include <linux/auxiliary_bus.h>
#include <linux/dma-mapping.h>
#include <linux/etherdevice.h>
#include <linux/module.h>
#include <linux/rtnetlink.h>
#include <linux/slab.h>
#include "vtoe_cap.h"

static DEFINE_IDA(vtoe_adev_ida);

/* --- start and stop ------------------------------------------------------- */

static void vtoe_napi_kick(struct napi_struct *napi)
{
	local_bh_disable();
	napi_schedule(napi);
	local_bh_enable();
}

static void vtoe_frames_up(struct vtoe_dev *dev)
{
	if (dev->frames_up || !netif_running(dev->netdev) ||
	    !test_bit(VTOE_DEV_RUNNING, &dev->state))
		return;
	dev->frames_up = true;
	napi_enable(&dev->fq.napi);
	vtoe_napi_kick(&dev->fq.napi);
	netif_tx_start_all_queues(dev->netdev);
}

static void vtoe_frames_down(struct vtoe_dev *dev)
{
	if (!dev->frames_up)
		return;
	dev->frames_up = false;
	/* First who wakes the queue. */
	napi_disable(&dev->fq.napi);
	netif_tx_disable(dev->netdev);
}

static void vtoe_apply_rx_mode(struct vtoe_dev *dev)
{
	struct net_device *netdev = dev->netdev;
	u32 filter = 0;

	if (netdev->flags & IFF_PROMISC)
		filter |= VTOE_RX_PROMISC | VTOE_RX_ALLMULTI;
	if (netdev->flags & IFF_ALLMULTI || !netdev_mc_empty(netdev))
		filter |= VTOE_RX_ALLMULTI;
	if (netdev_uc_count(netdev))
		filter |= VTOE_RX_PROMISC;
	vtoe_wr(dev, VTOE_REG_RX_FILTER, filter);
}

/* Brings a reset device to DRIVER_OK.  On error the device is reset. */
static int vtoe_start(struct vtoe_dev *dev)
{
	u32 i;
	int err;

	err = vtoe_hw_start(dev);
	if (err)
		return err;
	err = vtoe_queue_enable(dev, &dev->cq, 0);
	if (!err)
		err = vtoe_queue_enable(dev, &dev->fq, 1);
	for (i = 0; !err && i < dev->nstream; i++)
		err = vtoe_queue_enable(dev, &dev->pairs[i].q, 2 + i);
	if (err)
		goto fail;
	vtoe_tx_init(dev);
	err = vtoe_rx_init(dev);
	if (err)
		goto fail;
	err = vtoe_streams_fill(dev);
	if (err)
		goto fail;
	if (dev->netdev->reg_state != NETREG_UNINITIALIZED) {
		vtoe_hw_set_mac(dev, dev->netdev->dev_addr);
		vtoe_apply_rx_mode(dev);
	}
	vtoe_wr(dev, VTOE_REG_STATUS, VTOE_STATUS_DRIVER |
		VTOE_STATUS_FEATURES_OK | VTOE_STATUS_DRIVER_OK);
	vtoe_rx_fill(dev);
	clear_bit(VTOE_DEV_RESETTING, &dev->state);
	vtoe_cmd_start(dev);
	napi_enable(&dev->cq.napi);
	vtoe_napi_kick(&dev->cq.napi);
	vtoe_streams_start(dev);
	if (vtoe_rd(dev, VTOE_REG_LINK) & 1)
		netif_carrier_on(dev->netdev);
	else
		netif_carrier_off(dev->netdev);
	vtoe_frames_up(dev);
	return 0;

fail:
	vtoe_hw_reset(dev);
	vtoe_streams_reclaim(dev);
	vtoe_rx_reclaim(dev);
	return err;
}

/*
 * Takes the device out of DRIVER_OK and everything back from it; all sessions
 * end with the given reason.
 */
static void vtoe_stop(struct vtoe_dev *dev, u16 reason)
{
	if (!test_bit(VTOE_DEV_RUNNING, &dev->state))
		return;
	/* Its link events are over once it has been unregistered. */
	if (dev->netdev->reg_state == NETREG_REGISTERED)
		netif_carrier_off(dev->netdev);
	vtoe_frames_down(dev);
	napi_disable(&dev->cq.napi);
	vtoe_streams_stop(dev);
	vtoe_cmd_stop(dev);
	vtoe_hw_reset(dev);
	vtoe_streams_end_all(dev, reason);
	vtoe_streams_reclaim(dev);
	vtoe_tx_reclaim(dev);
	vtoe_rx_reclaim(dev);
}

/* rtnl and life_lock are held. */
static void vtoe_restarted(struct vtoe_dev *dev)
{
	if (dev->client_ops)
		dev->client_ops->restarted(dev->client);
}

static void vtoe_reset_work(struct work_struct *work)
{
	struct vtoe_dev *dev = container_of(work, struct vtoe_dev, reset_work);
	int err;

	rtnl_lock();
	mutex_lock(&dev->life_lock);
	/* Not running: it sleeps, or shuts down, since this was asked for. */
	if (test_bit(VTOE_DEV_GONE, &dev->state) ||
	    !test_bit(VTOE_DEV_RUNNING, &dev->state))
		goto out;
	netdev_warn(dev->netdev, "status %#x, violation %u\n",
		    vtoe_rd(dev, VTOE_REG_STATUS),
		    vtoe_rd(dev, VTOE_REG_VIOLATION));
	vtoe_stop(dev, VTOE_REASON_DEVICE_RESET);
	dev->st.resets++;
	err = vtoe_start(dev);
	if (err) {
		netdev_err(dev->netdev, "the device does not start again: error %d\n",
			   err);
		goto out;
	}
	vtoe_restarted(dev);
out:
	mutex_unlock(&dev->life_lock);
	rtnl_unlock();
}

static void vtoe_watchdog(struct work_struct *work)
{
	struct vtoe_dev *dev = container_of(to_delayed_work(work),
					    struct vtoe_dev, watchdog);

	if (vtoe_cmd_stuck(dev))
		vtoe_need_reset(dev, "a command was not answered");
	schedule_delayed_work(&dev->watchdog, VTOE_WATCHDOG_PERIOD);
}

/* --- net_device ----------------------------------------------------------- */

static int vtoe_open(struct net_device *netdev)
{
	struct vtoe_dev *dev = vtoe_priv(netdev);

	mutex_lock(&dev->life_lock);
	vtoe_frames_up(dev);
	mutex_unlock(&dev->life_lock);
	return 0;
}

static int vtoe_close(struct net_device *netdev)
{
	struct vtoe_dev *dev = vtoe_priv(netdev);

	mutex_lock(&dev->life_lock);
	vtoe_frames_down(dev);
	mutex_unlock(&dev->life_lock);
	return 0;
}

static void vtoe_get_stats64(struct net_device *netdev,
			     struct rtnl_link_stats64 *st)
{
	struct vtoe_dev *dev = vtoe_priv(netdev);
	unsigned int start;

	do {
		start = u64_stats_fetch_begin(&dev->tx_stats.sync);
		st->tx_packets = dev->tx_stats.packets;
		st->tx_bytes = dev->tx_stats.bytes;
		st->tx_dropped = dev->tx_stats.dropped;
	} while (u64_stats_fetch_retry(&dev->tx_stats.sync, start));
	do {
		start = u64_stats_fetch_begin(&dev->rx_stats.sync);
		st->rx_packets = dev->rx_stats.packets;
		st->rx_bytes = dev->rx_stats.bytes;
		st->rx_dropped = dev->rx_stats.dropped;
	} while (u64_stats_fetch_retry(&dev->rx_stats.sync, start));
}

static int vtoe_set_mac_address(struct net_device *netdev, void *p)
{
	struct vtoe_dev *dev = vtoe_priv(netdev);
	int err = eth_prepare_mac_addr_change(netdev, p);

	if (err)
		return err;
	mutex_lock(&dev->life_lock);
	eth_commit_mac_addr_change(netdev, p);
	if (test_bit(VTOE_DEV_RUNNING, &dev->state))
		vtoe_hw_set_mac(dev, netdev->dev_addr);
	mutex_unlock(&dev->life_lock);
	return 0;
}

static void vtoe_set_rx_mode(struct net_device *netdev)
{
	struct vtoe_dev *dev = vtoe_priv(netdev);

	if (test_bit(VTOE_DEV_RUNNING, &dev->state))
		vtoe_apply_rx_mode(dev);
}

static void vtoe_tx_timeout(struct net_device *netdev, unsigned int txqueue)
{
	vtoe_need_reset(vtoe_priv(netdev), "a frame was not sent");
}

/* Segments that are smaller than the card takes are cut by the stack. */
static netdev_features_t vtoe_features_check(struct sk_buff *skb,
					     struct net_device *netdev,
					     netdev_features_t features)
{
	if (skb_is_gso(skb) &&
	    skb_shinfo(skb)->gso_size < VTOE_NET_HDR_GSO_SIZE_MIN)
		features &= ~NETIF_F_GSO_MASK;
	return features;
}

static const struct net_device_ops vtoe_netdev_ops = {
	.ndo_open		= vtoe_open,
	.ndo_stop		= vtoe_close,
	.ndo_start_xmit		= vtoe_start_xmit,
	.ndo_get_stats64	= vtoe_get_stats64,
	.ndo_validate_addr	= eth_validate_addr,
	.ndo_set_mac_address	= vtoe_set_mac_address,
	.ndo_set_rx_mode	= vtoe_set_rx_mode,
	.ndo_tx_timeout		= vtoe_tx_timeout,
	.ndo_features_check	= vtoe_features_check,
};

static void vtoe_netdev_setup(struct vtoe_dev *dev)
{
	struct net_device *netdev = dev->netdev;
	u8 mac[ETH_ALEN];

	netdev->netdev_ops = &vtoe_netdev_ops;
	netdev->ethtool_ops = &vtoe_ethtool_ops;
	netdev->watchdog_timeo = 5 * HZ;
	netdev->hw_features = NETIF_F_SG;
	if (dev->features & VTOE_F_CSUM)
		netdev->hw_features |= NETIF_F_HW_CSUM;
	if (dev->features & VTOE_F_TSO)
		netdev->hw_features |= NETIF_F_TSO | NETIF_F_TSO6 |
				       NETIF_F_TSO_ECN;
	netdev->features = netdev->hw_features | NETIF_F_HIGHDMA;
	if (dev->features & VTOE_F_RX_CSUM)
		netdev->features |= NETIF_F_RXCSUM;
	if (dev->features & VTOE_F_RX_TSO)
		netdev->features |= NETIF_F_GRO_HW;
	netdev->vlan_features = netdev->features;
	netdev->min_mtu = ETH_MIN_MTU;
	netdev->max_mtu = max_t(u32, vtoe_hw_max_mtu(dev), ETH_MIN_MTU);
	netdev->mtu = min_t(u32, ETH_DATA_LEN, netdev->max_mtu);
	vtoe_hw_mac(dev, mac);
	if (is_valid_ether_addr(mac)) {
		eth_hw_addr_set(netdev, mac);
	} else {
		eth_hw_addr_random(netdev);
		dev_warn(&dev->pdev->dev, "MAC %pM is invalid, using %pM\n",
			 mac, netdev->dev_addr);
	}
}

/* --- auxiliary device ----------------------------------------------------- */

static void vtoe_adev_release(struct device *d)
{
	struct vtoe_adev *va = container_of(d, struct vtoe_adev, adev.dev);

	ida_free(&vtoe_adev_ida, va->adev.id);
	kref_put(&va->dev->kref, vtoe_dev_release);
	kfree(va);
}

static int vtoe_adev_add(struct vtoe_dev *dev)
{
	struct vtoe_adev *va;
	int err;

	if (!vtoe_dev_stream_pairs(dev))
		return 0;
	va = kzalloc(sizeof(*va), GFP_KERNEL);
	if (!va)
		return -ENOMEM;
	err = ida_alloc(&vtoe_adev_ida, GFP_KERNEL);
	if (err < 0) {
		kfree(va);
		return err;
	}
	va->dev = dev;
	va->adev.id = err;
	va->adev.name = VTOE_AUX_NAME;
	va->adev.dev.parent = &dev->pdev->dev;
	va->adev.dev.release = vtoe_adev_release;
	err = auxiliary_device_init(&va->adev);
	if (err) {
		ida_free(&vtoe_adev_ida, va->adev.id);
		kfree(va);
		return err;
	}
	kref_get(&dev->kref);
	err = auxiliary_device_add(&va->adev);
	if (err) {
		auxiliary_device_uninit(&va->adev);
		return err;
	}
	dev->vadev = va;
	return 0;
}

static void vtoe_adev_del(struct vtoe_dev *dev)
{
	if (!dev->vadev)
		return;
	auxiliary_device_delete(&dev->vadev->adev);
	auxiliary_device_uninit(&dev->vadev->adev);
	dev->vadev = NULL;
}

/* --- PCI ------------------------------------------------------------------ */

/* The last holder (driver, auxiliary device, session) is gone. */
static void vtoe_dev_free(struct rcu_head *rcu)
{
	struct vtoe_dev *dev = container_of(rcu, struct vtoe_dev, rcu);

	kfree(dev->pairs);
	kfree(dev);
}

/* Whoever follows a session under RCU finds its pair, too. */
void vtoe_dev_release(struct kref *kref)
{
	call_rcu(&container_of(kref, struct vtoe_dev, kref)->rcu,
		 vtoe_dev_free);
}

/* Vectors: control, frames, one per stream pair. */
static int vtoe_vectors(struct vtoe_dev *dev)
{
	u32 streams = 0;
	int n;

	if (vtoe_rd(dev, VTOE_REG_DEV_FEATURES) & VTOE_F_STREAM)
		streams = min3(dev->max_pairs - 1, num_online_cpus(),
			       VTOE_MAX_PAIRS - 1);
	n = pci_alloc_irq_vectors(dev->pdev, 2, 2 + streams, PCI_IRQ_MSIX);
	if (n < 0) {
		dev_err(&dev->pdev->dev, "no 2 MSI-X vectors: error %d\n", n);
		return n;
	}
	if ((u32)n < 2 + streams)
		dev_info(&dev->pdev->dev, "%d of %u vectors: %u stream pairs\n",
			 n, 2 + streams, n - 2);
	dev->nvec = n;
	return 0;
}

static void vtoe_free_rings(struct vtoe_dev *dev)
{
	vtoe_streams_free(dev);
	vtoe_frames_free(dev);
	if (dev->cq.napi.poll)
		netif_napi_del(&dev->cq.napi);
	vtoe_cmd_fini(dev);
	vtoe_queue_free(dev, &dev->cq);
}

static int vtoe_alloc_rings(struct vtoe_dev *dev)
{
	int err;

	err = vtoe_queue_alloc(dev, &dev->cq, VTOE_QUEUE_CONTROL,
			       VTOE_CMD_RING, 0, VTOE_EVENT_RING);
	if (!err) {
		netif_napi_add(dev->netdev, &dev->cq.napi, vtoe_ctrl_poll);
		err = vtoe_cmd_init(dev);
	}
	if (!err)
		err = vtoe_frames_alloc(dev);
	if (!err)
		err = vtoe_streams_alloc(dev, dev->nvec - 2);
	if (err)
		vtoe_free_rings(dev);
	return err;
}

static int vtoe_map(struct vtoe_dev *dev)
{
	struct pci_dev *pdev = dev->pdev;
	resource_size_t len = pci_resource_len(pdev, VTOE_BAR_MMIO);

	if (!(pci_resource_flags(pdev, VTOE_BAR_MMIO) & IORESOURCE_MEM) ||
	    len < VTOE_DOORBELL_OFFSET(1)) {
		dev_err(&pdev->dev, "BAR %d has %llu bytes, at least %u are needed\n",
			VTOE_BAR_MMIO, (unsigned long long)len,
			VTOE_DOORBELL_OFFSET(1));
		return -ENODEV;
	}
	dev->regs = pci_iomap(pdev, VTOE_BAR_MMIO, 0);
	if (!dev->regs)
		return -ENOMEM;
	return 0;
}

static int vtoe_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct net_device *netdev;
	struct vtoe_dev *dev;
	int err;

	err = pci_enable_device_mem(pdev);
	if (err)
		return err;
	err = pci_request_selected_regions(pdev, BIT(VTOE_BAR_MMIO),
					   VTOE_DRV_NAME);
	if (err)
		goto err_disable;
	pci_set_master(pdev);
	err = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (err)
		goto err_regions;
	dev = kzalloc(sizeof(*dev), GFP_KERNEL);
	netdev = alloc_etherdev(sizeof(struct vtoe_priv));
	if (!dev || !netdev) {
		err = -ENOMEM;
		kfree(dev);
		dev = NULL;
		goto err_free;
	}
	((struct vtoe_priv *)netdev_priv(netdev))->dev = dev;
	SET_NETDEV_DEV(netdev, &pdev->dev);
	dev->pdev = pdev;
	dev->netdev = netdev;
	kref_init(&dev->kref);
	mutex_init(&dev->life_lock);
	INIT_WORK(&dev->reset_work, vtoe_reset_work);
	INIT_DELAYED_WORK(&dev->watchdog, vtoe_watchdog);
	vtoe_pool_init(&dev->pool, &pdev->dev);
	pci_set_drvdata(pdev, dev);

	err = vtoe_map(dev);
	if (err)
		goto err_free;
	err = vtoe_hw_identify(dev);
	if (err)
		goto err_unmap;
	err = vtoe_vectors(dev);
	if (err)
		goto err_unmap;
	err = vtoe_alloc_rings(dev);
	if (err)
		goto err_vectors;
	err = vtoe_irqs_request(dev);
	if (err)
		goto err_rings;
	mutex_lock(&dev->life_lock);
	err = vtoe_start(dev);
	mutex_unlock(&dev->life_lock);
	if (err)
		goto err_irqs;
	vtoe_netdev_setup(dev);
	err = register_netdev(netdev);
	if (err)
		goto err_stop;
	err = vtoe_adev_add(dev);
	if (err)
		goto err_netdev;
	schedule_delayed_work(&dev->watchdog, VTOE_WATCHDOG_PERIOD);
	netdev_info(netdev, "VTOE, MAC %pM, %u stream pairs, features %#llx\n",
		    netdev->dev_addr, vtoe_dev_stream_pairs(dev),
		    dev->features);
	return 0;

err_netdev:
	unregister_netdev(netdev);
err_stop:
	mutex_lock(&dev->life_lock);
	set_bit(VTOE_DEV_GONE, &dev->state);
	vtoe_stop(dev, VTOE_REASON_DEVICE_RESET);
	mutex_unlock(&dev->life_lock);
	cancel_work_sync(&dev->reset_work);
err_irqs:
	vtoe_irqs_free(dev);
err_rings:
	vtoe_free_rings(dev);
err_vectors:
	pci_free_irq_vectors(pdev);
err_unmap:
	pci_iounmap(pdev, dev->regs);
err_free:
	if (netdev)
		free_netdev(netdev);
	if (dev) {
		vtoe_pool_detach(&dev->pool);
		kref_put(&dev->kref, vtoe_dev_release);
	}
err_regions:
	pci_release_selected_regions(pdev, BIT(VTOE_BAR_MMIO));
err_disable:
	pci_disable_device(pdev);
	return err;
}

static void vtoe_remove(struct pci_dev *pdev)
{
	struct vtoe_dev *dev = pci_get_drvdata(pdev);
	struct net_device *netdev = dev->netdev;

	set_bit(VTOE_DEV_GONE, &dev->state);
	cancel_delayed_work_sync(&dev->watchdog);
	cancel_work_sync(&dev->reset_work);
	vtoe_adev_del(dev);
	unregister_netdev(netdev);
	mutex_lock(&dev->life_lock);
	vtoe_stop(dev, VTOE_REASON_DEVICE_RESET);
	mutex_unlock(&dev->life_lock);
	vtoe_irqs_free(dev);
	vtoe_free_rings(dev);
	vtoe_pool_detach(&dev->pool);
	pci_free_irq_vectors(pdev);
	pci_iounmap(pdev, dev->regs);
	dev->regs = NULL;
	free_netdev(netdev);
	dev->netdev = NULL;
	pci_clear_master(pdev);
	pci_release_selected_regions(pdev, BIT(VTOE_BAR_MMIO));
	pci_disable_device(pdev);
	kref_put(&dev->kref, vtoe_dev_release);
}

static void vtoe_shutdown(struct pci_dev *pdev)
{
	struct vtoe_dev *dev = pci_get_drvdata(pdev);

	rtnl_lock();
	mutex_lock(&dev->life_lock);
	netif_device_detach(dev->netdev);
	vtoe_stop(dev, VTOE_REASON_DEVICE_RESET);
	mutex_unlock(&dev->life_lock);
	rtnl_unlock();
	pci_clear_master(pdev);
}

/* Streams do not survive a sleep: their peers would not wait. */
static int vtoe_down(struct vtoe_dev *dev)
{
	rtnl_lock();
	mutex_lock(&dev->life_lock);
	netif_device_detach(dev->netdev);
	vtoe_stop(dev, VTOE_REASON_DEVICE_RESET);
	mutex_unlock(&dev->life_lock);
	rtnl_unlock();
	return 0;
}

static int vtoe_up(struct vtoe_dev *dev)
{
	int err;

	rtnl_lock();
	mutex_lock(&dev->life_lock);
	err = vtoe_start(dev);
	if (err) {
		netdev_err(dev->netdev, "the device does not start: error %d\n",
			   err);
	} else {
		netif_device_attach(dev->netdev);
		vtoe_restarted(dev);
	}
	mutex_unlock(&dev->life_lock);
	rtnl_unlock();
	return err;
}

static int __maybe_unused vtoe_suspend(struct device *d)
{
	return vtoe_down(dev_get_drvdata(d));
}

static int __maybe_unused vtoe_resume(struct device *d)
{
	return vtoe_up(dev_get_drvdata(d));
}

static SIMPLE_DEV_PM_OPS(vtoe_pm_ops, vtoe_suspend, vtoe_resume);

/* A function-level reset asked for by the administrator. */
static void vtoe_flr_prepare(struct pci_dev *pdev)
{
	vtoe_down(pci_get_drvdata(pdev));
}

static void vtoe_flr_done(struct pci_dev *pdev)
{
	vtoe_up(pci_get_drvdata(pdev));
}

static const struct pci_error_handlers vtoe_err_handlers = {
	.reset_prepare	= vtoe_flr_prepare,
	.reset_done	= vtoe_flr_done,
};

static const struct pci_device_id vtoe_ids[] = {
	{ PCI_DEVICE(VTOE_PCI_VENDOR_ID, VTOE_PCI_DEVICE_ID) },
	{ }
};
MODULE_DEVICE_TABLE(pci, vtoe_ids);

static struct pci_driver vtoe_driver = {
	.name		= VTOE_DRV_NAME,
	.id_table	= vtoe_ids,
	.probe		= vtoe_probe,
	.remove		= vtoe_remove,
	.shutdown	= vtoe_shutdown,
	.driver.pm	= &vtoe_pm_ops,
	.err_handler	= &vtoe_err_handlers,
};

static int __init vtoe_init(void)
{
	int err = vtoe_pool_module_init();

	if (err)
		return err;
	err = vtoe_cap_module_init();
	if (err)
		goto err_pool;
	err = pci_register_driver(&vtoe_driver);
	if (err)
		goto err_cap;
	return 0;

err_cap:
	vtoe_cap_module_exit();
err_pool:
	vtoe_pool_module_exit();
	return err;
}

static void __exit vtoe_exit(void)
{
	pci_unregister_driver(&vtoe_driver);
	vtoe_cap_module_exit();
	/* Devices are freed after grace periods. */
	rcu_barrier();
	vtoe_pool_module_exit();
	ida_destroy(&vtoe_adev_ida);
}

module_init(vtoe_init);
module_exit(vtoe_exit);

MODULE_DESCRIPTION("VTOE network device");
MODULE_LICENSE("GPL");
MODULE_VERSION(VTOE_DRV_VERSION);

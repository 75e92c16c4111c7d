// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Memory of stream data.
 *
 * A stock Debian kernel zeroes every page it allocates (init_on_alloc), which
 * costs as much as a copy of the data.  So buffers are kept: a pool per device
 * holds free pieces of 32 KiB, mapped for DMA both ways, used for receiving
 * and sending alike, last in first out.  Their contents never leave the kernel
 * beyond the bytes that were written by the device or the sender.
 *
 * Every buffer of a pool is on pool->all until it is freed for good.  When the
 * device goes, vtoe_pool_detach() unmaps them all; those that sockets still
 * hold are plain memory from then on (pool->dmadev is NULL).
 *
 * Received messages of up to VTOE_COPYBREAK bytes are copied into small objects
 * instead, so that a short message does not tie up 32 KiB.
 *
 * Limits: at most VTOE_POOL_KEEP free buffers are kept; the others return to
 * the page allocator.  If an allocation of that order fails, a single page is
 * tried.
 */
#include <linux/dma-mapping.h>
#include <linux/slab.h>
#include "vtoe.h"

#define VTOE_SMALL_SIZE	1024u

static struct kmem_cache *vtoe_small_cache;
static struct kmem_cache *vtoe_buf_cache;

/* A constructor exempts a cache from being zeroed at each allocation. */
static void vtoe_small_ctor(void *obj)
{
	struct vtoe_buf *b = obj;

	INIT_LIST_HEAD(&b->all);
}

int __init vtoe_pool_module_init(void)
{
	vtoe_small_cache = kmem_cache_create_usercopy("vtoe_small",
						      VTOE_SMALL_SIZE, 0,
						      SLAB_HWCACHE_ALIGN,
						      sizeof(struct vtoe_buf),
						      VTOE_SMALL_SIZE -
						      sizeof(struct vtoe_buf),
						      vtoe_small_ctor);
	if (!vtoe_small_cache)
		return -ENOMEM;
	vtoe_buf_cache = KMEM_CACHE(vtoe_buf, 0);
	if (!vtoe_buf_cache) {
		kmem_cache_destroy(vtoe_small_cache);
		return -ENOMEM;
	}
	return 0;
}

void vtoe_pool_module_exit(void)
{
	kmem_cache_destroy(vtoe_buf_cache);
	kmem_cache_destroy(vtoe_small_cache);
}

void vtoe_pool_init(struct vtoe_pool *pool, struct device *dmadev)
{
	pool->dmadev = dmadev;
	spin_lock_init(&pool->lock);
	INIT_LIST_HEAD(&pool->free);
	INIT_LIST_HEAD(&pool->all);
}

static struct vtoe_buf *vtoe_buf_new(struct vtoe_pool *pool, gfp_t gfp)
{
	unsigned int order = VTOE_BUF_ORDER;
	struct device *dmadev;
	struct vtoe_buf *b;
	struct page *page;

	b = kmem_cache_alloc(vtoe_buf_cache, gfp);
	if (!b)
		goto fail;
	page = alloc_pages((gfp & ~__GFP_DIRECT_RECLAIM) | __GFP_COMP |
			   __GFP_NOWARN | __GFP_NORETRY, order);
	if (!page) {
		order = 0;
		page = alloc_page(gfp | __GFP_NOWARN);
		if (!page)
			goto fail_page;
	}
	b->pool = pool;
	b->va = page_address(page);
	b->size = PAGE_SIZE << order;
	b->truesize = b->size;
	b->off = 0;
	b->len = 0;

	spin_lock_bh(&pool->lock);
	dmadev = pool->dmadev;
	if (!dmadev)
		goto fail_gone;
	b->dma = dma_map_page(dmadev, page, 0, b->size, DMA_BIDIRECTIONAL);
	if (dma_mapping_error(dmadev, b->dma))
		goto fail_gone;
	list_add(&b->all, &pool->all);
	pool->nall++;
	spin_unlock_bh(&pool->lock);
	return b;

fail_gone:
	spin_unlock_bh(&pool->lock);
	__free_pages(page, order);
fail_page:
	kmem_cache_free(vtoe_buf_cache, b);
fail:
	spin_lock_bh(&pool->lock);
	pool->failures++;
	spin_unlock_bh(&pool->lock);
	return NULL;
}

/* A buffer with off and len 0, or NULL. */
struct vtoe_buf *vtoe_buf_get(struct vtoe_pool *pool, gfp_t gfp)
{
	struct vtoe_buf *b;

	spin_lock_bh(&pool->lock);
	if (likely(!list_empty(&pool->free))) {
		b = list_first_entry(&pool->free, struct vtoe_buf, node);
		list_del(&b->node);
		pool->nfree--;
		spin_unlock_bh(&pool->lock);
		b->off = 0;
		b->len = 0;
		return b;
	}
	spin_unlock_bh(&pool->lock);
	return vtoe_buf_new(pool, gfp);
}

/* A small object with a copy of len bytes (up to VTOE_COPYBREAK), or NULL. */
struct vtoe_buf *vtoe_buf_copy(const void *data, u32 len)
{
	struct vtoe_buf *b = kmem_cache_alloc(vtoe_small_cache,
					      GFP_ATOMIC | __GFP_NOWARN);

	if (unlikely(!b))
		return NULL;
	b->pool = NULL;
	b->va = b + 1;
	b->size = VTOE_SMALL_SIZE - sizeof(*b);
	b->truesize = VTOE_SMALL_SIZE;
	b->off = 0;
	b->len = len;
	memcpy(b->va, data, len);
	return b;
}

static void vtoe_buf_destroy(struct vtoe_buf *b)
{
	free_pages((unsigned long)b->va, get_order(b->size));
	kmem_cache_free(vtoe_buf_cache, b);
}

void vtoe_buf_free(struct vtoe_buf *b)
{
	struct vtoe_pool *pool = b->pool;

	if (vtoe_buf_is_small(b)) {
		kmem_cache_free(vtoe_small_cache, b);
		return;
	}
	spin_lock_bh(&pool->lock);
	if (likely(pool->dmadev && pool->nfree < VTOE_POOL_KEEP &&
		   b->size > PAGE_SIZE)) {
		list_add(&b->node, &pool->free);
		pool->nfree++;
		spin_unlock_bh(&pool->lock);
		return;
	}
	if (pool->dmadev)
		dma_unmap_page(pool->dmadev, b->dma, b->size,
			       DMA_BIDIRECTIONAL);
	list_del(&b->all);
	pool->nall--;
	spin_unlock_bh(&pool->lock);
	vtoe_buf_destroy(b);
}
EXPORT_SYMBOL_GPL(vtoe_buf_free);

/* All of a list, which is empty then. */
void vtoe_bufs_free(struct list_head *bufs)
{
	struct vtoe_buf *b, *tmp;

	list_for_each_entry_safe(b, tmp, bufs, node)
		vtoe_buf_free(b);
	INIT_LIST_HEAD(bufs);
}

/* The device is going: it touches no buffer any more. */
void vtoe_pool_detach(struct vtoe_pool *pool)
{
	struct vtoe_buf *b, *tmp;
	LIST_HEAD(free);

	spin_lock_bh(&pool->lock);
	/*
	 * What came was synced when it came, and what a socket has may have
	 * been joined since.
	 */
	list_for_each_entry(b, &pool->all, all)
		dma_unmap_page_attrs(pool->dmadev, b->dma, b->size,
				     DMA_BIDIRECTIONAL,
				     DMA_ATTR_SKIP_CPU_SYNC);
	pool->dmadev = NULL;
	list_splice_init(&pool->free, &free);
	pool->nfree = 0;
	list_for_each_entry(b, &free, node) {
		list_del(&b->all);
		pool->nall--;
	}
	spin_unlock_bh(&pool->lock);
	list_for_each_entry_safe(b, tmp, &free, node)
		vtoe_buf_destroy(b);
}

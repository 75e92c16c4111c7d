/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vtoe-pci: access to guest memory.
 *
 * Promises:
 *  - Only RAM is reached.  An address that leads anywhere else (MMIO, a BAR of
 *    the device itself, ROM, memory of a passed-through device, nothing, or
 *    anything while bus mastering is off) is refused.  This is what keeps the
 *    device thread from ever entering another device, or waiting for the BQL
 *    on the way to it, wherever a guest points it.
 *  - The check and the access use the same translation: it is made once, here,
 *    under RCU, and not again by a function that would check less.
 *  - Memory that stays mapped keeps its MemoryRegion alive.
 *  - What was written is marked dirty for migration, and code translated from
 *    it is thrown away: address_space_unmap() does both, for every write.
 */

#include "qemu/osdep.h"
#include "exec/memory.h"
#include "qemu/bswap.h"
#include "qemu/rcu.h"
#include "vtoe-pci.h"

/*
 * Host address of guest address addr, NULL if it is not RAM.  *len is reduced
 * to what is contiguous.  RCU read lock held; the result lives as long.
 */
static void *vtoe_dma_translate(VtoePCI *s, uint64_t addr, size_t *len,
                                bool is_write, MemoryRegion **region)
{
    const MemTxAttrs attrs = { .memory = 1 };
    hwaddr l = *len, xlat;
    MemoryRegion *mr;

    if (*len == 0 || addr + *len - 1 < addr) {
        return NULL;
    }
    mr = address_space_translate(pci_get_address_space(PCI_DEVICE(s)), addr,
                                 &xlat, &l, is_write, attrs);
    if (!memory_region_is_ram(mr) || memory_region_is_ram_device(mr) ||
        mr->rom_device || mr->readonly || l == 0) {
        return NULL;
    }
    *len = MIN(*len, l);
    *region = mr;
    return memory_region_get_ram_ptr(mr) + xlat;
}

/* Ends a write of len bytes to host, a result of vtoe_dma_translate(). */
static void vtoe_dma_written(VtoePCI *s, MemoryRegion *mr, void *host,
                             size_t len)
{
    memory_region_ref(mr);      /* which the next line drops */
    address_space_unmap(pci_get_address_space(PCI_DEVICE(s)), host, len, true,
                        len);
}

bool vtoe_op_dma_read(void *opaque, uint64_t addr, void *buf, size_t len)
{
    VtoePCI *s = opaque;
    MemoryRegion *mr;

    RCU_READ_LOCK_GUARD();
    while (len > 0) {
        size_t n = len;
        void *host = vtoe_dma_translate(s, addr, &n, false, &mr);

        if (!host) {
            return false;
        }
        fuzz_dma_read_cb(addr, n, mr);
        memcpy(buf, host, n);
        buf += n;
        addr += n;
        len -= n;
    }
    return true;
}

bool vtoe_op_dma_write(void *opaque, uint64_t addr, const void *buf,
                       size_t len)
{
    VtoePCI *s = opaque;
    MemoryRegion *mr;

    RCU_READ_LOCK_GUARD();
    while (len > 0) {
        size_t n = len;
        void *host = vtoe_dma_translate(s, addr, &n, true, &mr);

        if (!host) {
            return false;
        }
        memcpy(host, buf, n);
        vtoe_dma_written(s, mr, host, n);
        buf += n;
        addr += n;
        len -= n;
    }
    return true;
}

bool vtoe_op_dma_load32(void *opaque, uint64_t addr, uint32_t *val)
{
    VtoePCI *s = opaque;
    MemoryRegion *mr;
    size_t n = sizeof(*val);
    void *host;

    RCU_READ_LOCK_GUARD();
    if (addr & 3) {
        return false;
    }
    host = vtoe_dma_translate(s, addr, &n, false, &mr);
    if (!host || n < sizeof(*val)) {
        return false;
    }
    fuzz_dma_read_cb(addr, n, mr);
    *val = le32_to_cpu(qatomic_read((uint32_t *)host));
    smp_rmb();          /* the index before what it says is there */
    return true;
}

bool vtoe_op_dma_store32(void *opaque, uint64_t addr, uint32_t val)
{
    VtoePCI *s = opaque;
    MemoryRegion *mr;
    size_t n = sizeof(val);
    void *host;

    RCU_READ_LOCK_GUARD();
    if (addr & 3) {
        return false;
    }
    host = vtoe_dma_translate(s, addr, &n, true, &mr);
    if (!host || n < sizeof(val)) {
        return false;
    }
    smp_wmb();          /* what the index says is there before the index */
    qatomic_set((uint32_t *)host, cpu_to_le32(val));
    vtoe_dma_written(s, mr, host, n);
    return true;
}

void vtoe_op_barrier(void *opaque)
{
    smp_mb();           /* as vtoe-dev.h asks: an index against an event */
}

bool vtoe_op_dma_map(void *opaque, uint64_t addr, size_t len, bool to_guest,
                     VtoeMap *map)
{
    VtoePCI *s = opaque;
    MemoryRegion *mr;
    size_t n = len;
    void *host;

    RCU_READ_LOCK_GUARD();
    host = vtoe_dma_translate(s, addr, &n, to_guest, &mr);
    if (!host || n < len) {
        return false;
    }
    if (!to_guest) {
        fuzz_dma_read_cb(addr, len, mr);
    }
    memory_region_ref(mr);
    *map = (VtoeMap) { .host = host, .len = len, .priv = mr, .addr = addr };
    return true;
}

void vtoe_op_dma_unmap(void *opaque, VtoeMap *map, bool to_guest,
                       size_t written)
{
    VtoePCI *s = opaque;

    if (to_guest && written > 0) {
        address_space_unmap(pci_get_address_space(PCI_DEVICE(s)), map->host,
                            map->len, true, MIN(written, map->len));
    } else {
        memory_region_unref(map->priv);
    }
    *map = (VtoeMap) { };
}

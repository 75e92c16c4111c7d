/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Protection domains and the memory that is registered in them: see
 * vnet-verbs-ib.h.  They are the process's, one per device, and links share
 * them.
 *
 * A domain lives longer than the connections on it.  librdmacm closes a device
 * that was removed with its last rdma_cm_id, if it has noticed; an id of our own,
 * bound to the device and to nothing else, keeps it until the domain is freed.
 *
 * The table of registered pieces is read for each piece that is sent or posted,
 * in the VNET thread, and changed by the main loop: RCU.
 */

#include "qemu/osdep.h"
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include "qemu/lockable.h"
#include "qemu/units.h"
#include "vnet-verbs-ib-int.h"

typedef struct VnetIbRegion {
    uintptr_t start, end;
    uint32_t lkey;
    struct ibv_mr *mr;
} VnetIbRegion;

/* Read under RCU; replaced as a whole. */
typedef struct VnetIbRegions {
    struct rcu_head rcu;
    unsigned n;
    VnetIbRegion r[];
} VnetIbRegions;

static QemuMutex vnet_ib_lock;
static QTAILQ_HEAD(, VnetIbPd) vnet_ib_pds =
    QTAILQ_HEAD_INITIALIZER(vnet_ib_pds);

static void __attribute__((constructor)) vnet_ib_init(void)
{
    qemu_mutex_init(&vnet_ib_lock);
}

/* --- Memory ----------------------------------------------------------- */

static void vnet_ib_regions_set(VnetIbPd *pd, VnetIbRegions *new)
{
    VnetIbRegions *old = pd->regions;

    qatomic_rcu_set(&pd->regions, new);
    if (old) {
        g_free_rcu(old, rcu);
    }
}

static VnetIbRegions *vnet_ib_regions_new(unsigned n)
{
    VnetIbRegions *new = g_malloc0(sizeof(*new) + n * sizeof(new->r[0]));

    new->n = n;
    return new;
}

bool vnet_ib_pd_add(VnetIbPd *pd, void *host, size_t size, char **why)
{
    VnetIbRegions *old = pd->regions, *new;
    unsigned n = old ? old->n : 0;
    struct ibv_mr *mr = ibv_reg_mr(pd->pd, host, size, IBV_ACCESS_LOCAL_WRITE);

    if (!mr && errno != ENOMEM) {
        /* Memory that is read-only for us can still be sent from. */
        int err = errno;

        mr = ibv_reg_mr(pd->pd, host, size, 0);
        errno = err;
    }
    if (!mr) {
        *why = g_strdup_printf("cannot register %zu MiB of the guest's memory "
                               "with RDMA device %s: %s",
                               (size_t)DIV_ROUND_UP(size, MiB),
                               vnet_ib_pd_name(pd), strerror(errno));
        return false;
    }
    new = vnet_ib_regions_new(n + 1);
    if (n) {
        memcpy(new->r, old->r, n * sizeof(new->r[0]));
    }
    new->r[n] = (VnetIbRegion) {
        (uintptr_t)host, (uintptr_t)host + size, mr->lkey, mr,
    };
    vnet_ib_regions_set(pd, new);
    return true;
}

void vnet_ib_pd_del(VnetIbPd *pd, void *host)
{
    VnetIbRegions *old = pd->regions, *new;
    struct ibv_mr *mr = NULL;
    unsigned i, n = 0;

    if (!old) {
        return;
    }
    new = vnet_ib_regions_new(old->n);
    for (i = 0; i < old->n; i++) {
        if (old->r[i].start == (uintptr_t)host) {
            mr = old->r[i].mr;
        } else {
            new->r[n++] = old->r[i];
        }
    }
    new->n = n;
    vnet_ib_regions_set(pd, new);
    if (mr) {
        /* What is still posted there fails with a protection error. */
        ibv_dereg_mr(mr);
    }
}

int vnet_ib_lkey(VnetVDev *dev, const void *addr, size_t len,
                        uint32_t *lkey)
{
    uintptr_t start = (uintptr_t)addr;
    VnetIbRegions *regions;
    unsigned i;

    RCU_READ_LOCK_GUARD();
    regions = qatomic_rcu_read(&dev->pd->regions);
    for (i = 0; regions && i < regions->n; i++) {
        const VnetIbRegion *r = &regions->r[i];

        if (start >= r->start && start < r->end && len <= r->end - start) {
            *lkey = r->lkey;
            return 0;
        }
    }
    return -EFAULT;
}

int vnet_ib_reg_mem(VnetVDev *dev, void *addr, size_t len, VnetVMr **mr,
                           uint32_t *lkey)
{
    struct ibv_mr *m = ibv_reg_mr(dev->pd->pd, addr, len,
                                  IBV_ACCESS_LOCAL_WRITE);

    if (!m) {
        return -errno;
    }
    *mr = (VnetVMr *)m;
    *lkey = m->lkey;
    return 0;
}

void vnet_ib_unreg_mem(VnetVMr *mr)
{
    ibv_dereg_mr((struct ibv_mr *)mr);
}

/* --- Protection domains ----------------------------------------------- */

const char *vnet_ib_pd_name(const VnetIbPd *pd)
{
    return ibv_get_device_name(pd->verbs->device);
}

void vnet_ib_pd_set_user(VnetIbPd *pd, void *user)
{
    pd->user = user;
}

void *vnet_ib_pd_user(const VnetIbPd *pd)
{
    return pd->user;
}

void vnet_ib_pd_ready(VnetIbPd *pd, const char *why)
{
    qemu_mutex_lock(&vnet_ib_lock);
    g_free(pd->why);
    pd->why = g_strdup(why);
    pd->state = why ? VNET_IB_PD_FAILED : VNET_IB_PD_READY;
    qemu_mutex_unlock(&vnet_ib_lock);
    vnet_ib_wake_all();
    vnet_ib_pd_put(pd);         /* of vnet_ib_pd_want() */
}

VnetIbPdState vnet_ib_pd_state(VnetIbPd *pd, char *why, size_t size)
{
    VnetIbPdState state;

    qemu_mutex_lock(&vnet_ib_lock);
    state = pd->state;
    if (state == VNET_IB_PD_FAILED) {
        g_strlcpy(why, pd->why, size);
    }
    qemu_mutex_unlock(&vnet_ib_lock);
    return state;
}

VnetIbPdState vnet_ib_pd_want(VnetIbPd *pd)
{
    VnetIbPdState state;
    bool want;

    qemu_mutex_lock(&vnet_ib_lock);
    want = pd->state == VNET_IB_PD_NEW || pd->state == VNET_IB_PD_FAILED;
    if (want) {
        pd->state = VNET_IB_PD_WANTED;
        pd->refs++;             /* until it is ready: who wants it may be gone */
    }
    state = pd->state;
    qemu_mutex_unlock(&vnet_ib_lock);
    if (want) {
        pd->mem->want(pd);
    }
    return state;
}

bool vnet_ib_pd_unused(VnetIbPd *pd)
{
    bool unused;

    qemu_mutex_lock(&vnet_ib_lock);
    pd->unwanting = false;
    unused = !pd->refs;
    if (unused) {
        QTAILQ_REMOVE(&vnet_ib_pds, pd, next);
    }
    qemu_mutex_unlock(&vnet_ib_lock);
    return unused;
}

void vnet_ib_pd_removed(struct ibv_context *verbs)
{
    VnetIbPd *pd;

    QEMU_LOCK_GUARD(&vnet_ib_lock);
    QTAILQ_FOREACH(pd, &vnet_ib_pds, next) {
        pd->removed |= pd->verbs == verbs;
    }
}

static bool vnet_ib_in_use(struct ibv_context *verbs)
{
    VnetIbPd *pd;

    QEMU_LOCK_GUARD(&vnet_ib_lock);
    QTAILQ_FOREACH(pd, &vnet_ib_pds, next) {
        if (pd->verbs == verbs) {
            return true;
        }
    }
    return false;
}

static void vnet_ib_unhold(VnetIbPd *pd)
{
    if (pd->holder) {
        rdma_destroy_id(pd->holder);
        pd->holder = NULL;
    }
}

static void vnet_ib_close(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

/* If fd still is what kept is a copy of, /dev/null takes its place. */
static void vnet_ib_replace(int fd, int kept, int null)
{
    pid_t pid = getpid();

    if (syscall(SYS_kcmp, pid, pid, KCMP_FILE, fd, kept) == 0) {
        dup3(null, fd, O_CLOEXEC);
    }
}

/*
 * A device that was removed and that we have nothing on any more but the holder.
 * librdmacm (44) notices that it is gone when it next meets a new one, and never
 * if it was the only one; until it closes it the kernel's removal waits, with
 * whoever asked for it.  So what the descriptors refer to goes now; the numbers
 * stay librdmacm's.  With its last id librdmacm frees a domain of its own, which
 * needs the descriptors, and closes the device, if it has noticed.
 */
static void vnet_ib_let_go(VnetIbPd *pd)
{
    int cmd = pd->verbs->cmd_fd, async = pd->verbs->async_fd;
    int kept_cmd = fcntl(cmd, F_DUPFD_CLOEXEC, 0);
    int kept_async = fcntl(async, F_DUPFD_CLOEXEC, 0);
    int null = qemu_open_old("/dev/null", O_RDWR);

    vnet_ib_unhold(pd);
    if (null >= 0 && kept_cmd >= 0 && kept_async >= 0) {
        vnet_ib_replace(cmd, kept_cmd, null);
        vnet_ib_replace(async, kept_async, null);
    }
    vnet_ib_close(kept_cmd);
    vnet_ib_close(kept_async);
    vnet_ib_close(null);
}

void vnet_ib_pd_free(VnetIbPd *pd)
{
    vnet_ib_regions_set(pd, NULL);
    ibv_dealloc_pd(pd->pd);
    if (pd->removed && !vnet_ib_in_use(pd->verbs)) {
        vnet_ib_let_go(pd);
    }
    vnet_ib_unhold(pd);
    g_free(pd->why);
    g_free(pd);
}

/* An id with a channel of its own, that has nothing but the device. */
static struct rdma_cm_id *vnet_ib_hold(struct rdma_cm_id *id)
{
    struct sockaddr_storage local = id->route.addr.src_storage;
    struct rdma_cm_id *holder;

    if (local.ss_family == AF_INET) {
        ((struct sockaddr_in *)&local)->sin_port = 0;
    } else if (local.ss_family == AF_INET6) {
        ((struct sockaddr_in6 *)&local)->sin6_port = 0;
    } else {
        return NULL;
    }
    if (rdma_create_id(NULL, &holder, NULL, RDMA_PS_TCP)) {
        return NULL;
    }
    if (rdma_bind_addr(holder, (struct sockaddr *)&local) ||
        holder->verbs != id->verbs) {
        rdma_destroy_id(holder);
        return NULL;
    }
    return holder;
}

VnetIbPd *vnet_ib_pd_get(VnetVCtx *x, struct rdma_cm_id *id)
{
    VnetIbPd *pd;

    QEMU_LOCK_GUARD(&vnet_ib_lock);
    QTAILQ_FOREACH(pd, &vnet_ib_pds, next) {
        if (pd->verbs == id->verbs && pd->mem == x->cfg.mem) {
            pd->refs++;
            return pd;
        }
    }
    pd = g_new0(VnetIbPd, 1);
    pd->verbs = id->verbs;
    pd->mem = x->cfg.mem;
    pd->refs = 1;
    pd->pd = ibv_alloc_pd(id->verbs);
    if (!pd->pd) {
        int err = errno;

        g_free(pd);
        errno = err;
        return NULL;
    }
    pd->holder = vnet_ib_hold(id);
    QTAILQ_INSERT_TAIL(&vnet_ib_pds, pd, next);
    return pd;
}

void vnet_ib_pd_put(VnetIbPd *pd)
{
    bool unwant;

    qemu_mutex_lock(&vnet_ib_lock);
    unwant = !--pd->refs && !pd->unwanting;
    pd->unwanting |= unwant;
    qemu_mutex_unlock(&vnet_ib_lock);
    if (unwant) {
        pd->mem->unwant(pd);
    }
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Memory control groups: a program's group pays for the data of its streams,
 * as for those of TCP.
 *
 * What a stream holds is charged: data that arrived and were not read, by the
 * memory they stand for, and data that were sent and not acknowledged, by their
 * bytes.  Sockets of the root group are not, and cost nothing here.
 *
 * The core keeps a socket's account (sk_forward_alloc) under the socket lock.
 * Data arrive without it; they are booked there if nobody has the lock, else
 * when its owner lets go.
 *
 * What is booked goes up and down in steps, so that small messages need no
 * booking of their own.
 *
 * The limit is kept by looking before: the kernel lets a charge from softirq
 * pass, and one from a system call would reclaim, and kill at the end.  (TCP's
 * writers are killed so.)  Near the group's limit, and if nothing can be
 * reclaimed, sending waits until everything that was sent is acknowledged, then
 * may have a page.  The window is at most a part of what the group has
 * left, but VTOE_MEM_WINDOW for who reads, which is no waste.
 */
#include <linux/memcontrol.h>
#include "vtoe_sock.h"

/* Limits for all are vtoe_mem_share()'s; the core wants some of its own. */
atomic_long_t vtoe_mem_allocated;
DEFINE_PER_CPU(int, vtoe_mem_fw_alloc);
long vtoe_mem_limits[3] = { LONG_MAX, LONG_MAX, LONG_MAX };

/* Bytes that the socket's group, and those above it, have left; or many. */
static u64 vtoe_mem_room(const struct sock *sk)
{
	unsigned long room = U32_MAX;	/* pages */
#ifdef CONFIG_MEMCG
	struct mem_cgroup *memcg;

	for (memcg = sk->sk_memcg; memcg; memcg = parent_mem_cgroup(memcg)) {
		unsigned long max = READ_ONCE(memcg->memory.max);
		unsigned long used = page_counter_read(&memcg->memory);

		room = min(room, max - min(used, max));
	}
#endif
	return (u64)room << PAGE_SHIFT;
}

/*
 * Makes room in the program's group by taking memory and giving it back: that
 * reclaims what its files have in memory, and kills nobody.  False: there is
 * not that much.  lock_sock() is held.
 */
static bool vtoe_mem_reclaim(void)
{
	struct page *pages[VTOE_MEM_RECLAIM / VTOE_MEM_STEP];
	unsigned int order = get_order(VTOE_MEM_STEP), n, i;

	for (n = 0; n < ARRAY_SIZE(pages); n++) {
		pages[n] = alloc_pages(GFP_KERNEL_ACCOUNT | __GFP_NORETRY |
				       __GFP_NOWARN, order);
		if (!pages[n])
			break;
	}
	for (i = 0; i < n; i++)
		__free_pages(pages[i], order);
	return n == ARRAY_SIZE(pages);
}

/*
 * Books what the stream holds and extra bytes more, rounded up to a step.
 * lock_sock() or the spin lock is held.
 */
static void vtoe_mem_book(struct sock *sk, u32 extra, u32 step)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	u32 want = round_up(vtoe_mem_held(sk) + extra, step);
	int more = want - vsk->charged;

	local_bh_disable();
	/* Not as SK_MEM_SEND: that would shrink SO_SNDBUF. */
	if (more <= sk->sk_forward_alloc ||
	    __sk_mem_schedule(sk, more - sk->sk_forward_alloc, SK_MEM_RECV)) {
		if (more > 0) {
			sk_mem_charge(sk, more);
		} else {
			sk_mem_uncharge(sk, -more);
			sk_mem_reclaim(sk);
		}
		vsk->charged = want;
	}
	local_bh_enable();
}

/* Something arrived, was read or acknowledged. */
void vtoe_mem_update(struct sock *sk)
{
	vtoe_mem_book(sk, 0, VTOE_MEM_STEP);
}

/*
 * How much of len bytes may be sent now; 0: it waits for acknowledgements.
 */
u32 vtoe_mem_send(struct sock *sk, u32 len)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	u32 held = vtoe_mem_held(sk);

	if (held + len <= vsk->charged) {
		/* It is paid for. */
	} else if (vtoe_mem_room(sk) >= len + VTOE_MEM_RESERVE ||
		   (vtoe_mem_reclaim() &&
		    vtoe_mem_room(sk) >= len + VTOE_MEM_RESERVE)) {
		vtoe_mem_book(sk, len, VTOE_MEM_STEP);
	} else if (!vtoe_tx_unacked(&vsk->conn->s)) {
		len = min_t(u32, len, PAGE_SIZE);
		vtoe_mem_book(sk, len, PAGE_SIZE);
	} else {
		len = 0;
	}
	WRITE_ONCE(vsk->mem_short, !len);
	return len;
}

/* The largest window that the group can bear, but at least that. */
u32 vtoe_mem_window(const struct sock *sk, u32 least)
{
	return clamp_t(u64, vtoe_mem_room(sk) / VTOE_MEM_PART, least, S32_MAX);
}

/* The socket lets go of its stream. */
void vtoe_mem_release(struct sock *sk)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);

	if (vsk->charged) {
		sk_mem_uncharge(sk, vsk->charged);
		sk_mem_reclaim(sk);
		vsk->charged = 0;
	}
	vsk->mem_short = false;
}

/*
 * An accepted socket belongs to who accepts it.  Where the listener has no
 * group the kernel does not count sockets, or it is the root's.
 */
void vtoe_mem_accept(struct sock *sk, const struct sock *lsk)
{
#ifdef CONFIG_MEMCG
	struct mem_cgroup *memcg;

	if (!mem_cgroup_sockets_enabled || !lsk->sk_memcg)
		return;
	rcu_read_lock();
	memcg = mem_cgroup_from_task(current);
	if (memcg && memcg->css.parent && css_tryget(&memcg->css))
		sk->sk_memcg = memcg;
	rcu_read_unlock();
#endif
}

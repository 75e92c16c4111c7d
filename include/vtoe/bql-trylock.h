/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Taking the BQL only if that needs no waiting.  QEMU 10.0 has no such
 * function; patches/qemu-10.0/07-bql.patch adds it beside bql_lock().
 */
#ifndef VTOE_BQL_TRYLOCK_H
#define VTOE_BQL_TRYLOCK_H

/*
 * True if the calling thread, which must not hold the BQL, holds it now; it
 * then ends with bql_unlock().  Any thread.
 */
bool bql_trylock(void);

#endif /* VTOE_BQL_TRYLOCK_H */

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where sessions show what they do to capture devices (vtoe_cap.c).  Nothing
 * but a patched-out jump while no capture device is up.
 */
#ifndef VTOE_CAP_H
#define VTOE_CAP_H

#include <linux/jump_label.h>
#include "vtoe.h"

DECLARE_STATIC_KEY_FALSE(vtoe_cap_key);

#define vtoe_cap_on()	static_branch_unlikely(&vtoe_cap_key)

int vtoe_cap_module_init(void);
void vtoe_cap_module_exit(void);

/* A command is composed; cmd_lock is held. */
void vtoe_cap_command(struct vtoe_session *s, unsigned int bit);
/*
 * Bytes are given to the device; tx_lock is held, tx_posted does not have them
 * yet.
 */
void vtoe_cap_sent(struct vtoe_session *s, const void *data, u32 len);
/* ... now it has. */
void vtoe_cap_posted(struct vtoe_session *s);
/* Credit is given to the peer; tx_lock is held. */
void vtoe_cap_credit(struct vtoe_session *s);
/* The stream is up. */
void vtoe_cap_established(struct vtoe_session *s);
/* In NAPI: the batch, before it is handed up; then what else came. */
void vtoe_cap_received(struct vtoe_session *s);
void vtoe_cap_acked(struct vtoe_session *s);
void vtoe_cap_end(struct vtoe_session *s);
void vtoe_cap_abort(struct vtoe_session *s);
/* The last event of a session. */
void vtoe_cap_finish(struct vtoe_session *s);

#endif /* VTOE_CAP_H */

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the agent in a guest and the host say to each other.
 *
 * The channel is one virtio-serial port named "vtoe.agent".  Both directions
 * carry frames: this header, then len bytes.  All fields are little endian.
 * An id names a process; the host chooses it, and may use it again after
 * EXIT.  tests/rig/channel.py is the other side.
 */
#ifndef VTOE_RIG_AGENT_H
#define VTOE_RIG_AGENT_H

#include <stdint.h>

#define AGENT_PORT_NAME "vtoe.agent"

struct agent_frame {
    uint32_t len;       /* bytes that follow, at most AGENT_MAX_PAYLOAD */
    uint32_t id;        /* the process meant; 0 for the guest itself */
    uint32_t type;      /* enum agent_type */
};

_Static_assert(sizeof(struct agent_frame) == 12, "as channel.py packs it");

#define AGENT_MAX_PAYLOAD (256 * 1024)

enum agent_type {
    /* host to guest */
    AGENT_RUN = 1,      /* argv, each string with its NUL */
    AGENT_STDIN = 2,    /* bytes for stdin; none: end of file */
    AGENT_KILL = 3,     /* uint32_t signal, to the process group */

    /* guest to host */
    AGENT_READY = 16,   /* uname -r; modules are loaded, network is set up */
    AGENT_STDOUT = 17,
    AGENT_STDERR = 18,
    AGENT_EXIT = 19,    /* int32_t: exit code, or minus the signal */
    AGENT_KMSG = 20,    /* one record of /dev/kmsg as the kernel gives it */
};

#endif

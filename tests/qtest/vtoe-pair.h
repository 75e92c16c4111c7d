/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two QEMUs with a vtoe-pci each, joined by a vnet link, and drivers in both:
 *
 *      a: 52:54:00:00:00:0a --- vnet n0 --- l0 --- vnet n0 --- b: ...:0b
 *         (10.0.0.1)            client          server        (10.0.0.2)
 *
 * The environment says what the link is:
 *      VTOE_LINK           unix (the default), tcp on the loopback address, tls
 *                          (the same with a shared key), registrar (unix, b's
 *                          link is made when a registers) or rdma
 *      VTOE_RDMA_SERVER    with rdma: the address on which b listens
 */
#ifndef VTOE_PAIR_H
#define VTOE_PAIR_H

#include "vtoe-driver.h"
#include "vtoe-relay.h"

typedef struct VtoeHost {
    QOSState *qs;
    QTestState *qts;
    QPCIDevice *pci;
    VtoeDriver *d;
    uint8_t *ram;                   /* guest memory from 0 on, or NULL */
    size_t ram_size;
    uint8_t *dimm;                  /* and what was plugged in, or NULL ... */
    uint64_t dimm_addr, dimm_size;  /* ... at this guest physical address */
    bool killed;
} VtoeHost;

typedef struct VtoePair {
    char *dir;
    VtoeHost a, b;
} VtoePair;

extern const uint8_t vtoe_mac_a[6], vtoe_mac_b[6], vtoe_mac_none[6];

#define VTOE_SLOT   4
/* Netdev options but id, and the device's; for vtoe_host_boot(). */
#define VTOE_NIC_A  "vtoe-pci,id=nic0,netdev=n0,addr=4,mac=52:54:00:00:00:0a"
#define VTOE_NIC_B  "vtoe-pci,id=nic0,netdev=n0,addr=4,mac=52:54:00:00:00:0b"

/* What VTOE_LINK says, with the default filled in. */
const char *vtoe_link_type(void);
/* From now on, in place of what VTOE_LINK says. */
void vtoe_link_set_type(const char *type);
/*
 * The vnet options of the two ends of a link, but vni and id; to be freed.
 * dir: an own folder for what the link needs.
 */
void vtoe_link_options(const char *dir, char **client, char **server);

/* Boots one QEMU; the device is found at VTOE_SLOT and has a driver. */
void vtoe_host_boot(VtoeHost *h, const char *machine, const char *netdev,
                    const char *device);
/*
 * The same on the pc machine, with `mib` of memory that the test has at .ram, too.
 */
void vtoe_host_boot_shared(VtoeHost *h, unsigned mib, const char *netdev,
                           const char *device);
void vtoe_host_quit(VtoeHost *h);
/* SIGKILL, as a crash of the host would end it. */
void vtoe_host_kill(VtoeHost *h);

/*
 * Both ends booted, link up; no driver started. extra: device options of both,
 * "" for none, else beginning with a comma.
 */
VtoePair *vtoe_pair_boot(const char *machine, const char *extra);
/*
 * The same on the pc machine, each guest with `mib` of memory that the test
 * has at .ram, too: for more bytes and entries of rings than qtest commands can
 * carry.
 */
VtoePair *vtoe_pair_boot_shared(unsigned mib, const char *extra);
/* The same; both: more options of both netdevs, beginning with a comma. */
VtoePair *vtoe_pair_boot_netdevs(unsigned mib, const char *both);
/*
 * The same with slots for memory that is plugged in; client: more options of
 * a's link, "" for none, else beginning with a comma.
 */
VtoePair *vtoe_pair_boot_slots(unsigned mib, const char *client);
/*
 * The same with a relay (vtoe-relay.h) in the link, which is of type unix, tcp
 * or tls; both: more options of both netdevs, client: of a's.  The path is where
 * a finds it, if that is a unix link; to be freed.
 */
VtoePair *vtoe_pair_boot_relayed(unsigned mib, const char *both,
                                 const char *client, uint32_t seed,
                                 VtoeRelay **relay);
char *vtoe_pair_relay_path(VtoePair *p);
/* Guest memory of a host that has it, wherever it is. */
void *vtoe_host_memory(VtoeHost *h, uint64_t addr, size_t len);
/* A DIMM of so many bytes; it is at h->dimm_addr.  One at a time. */
void vtoe_host_plug(VtoePair *p, VtoeHost *h, size_t size);
/* Takes it out again, as a guest agrees. */
void vtoe_host_unplug(VtoeHost *h);
/*
 * Brings both devices up with 2 pairs and rings of VTOE_TEST_RING, until each
 * knows that the other takes streams.
 */
void vtoe_pair_bring_up(VtoePair *p);
/* Waits until each knows that the other takes streams. */
void vtoe_pair_wait_streams(VtoePair *p);
/* Both of these, on the pc machine. */
VtoePair *vtoe_pair_start(const char *extra);
void vtoe_pair_quit(VtoePair *p);

/* An open stream. */
typedef struct VtoeTestStream {
    uint32_t a, b;                  /* SIDs; a connected */
} VtoeTestStream;

#define VTOE_TEST_PORT  5000
#define VTOE_TEST_CREDIT (1u << 30)

/* b listens on VTOE_TEST_PORT with id 1. */
void vtoe_pair_listen(VtoePair *p);
struct vtoe_flow vtoe_pair_flow(uint16_t lport);
/* a connects with SID sid, b's CONNECT_REQUEST is returned. */
struct vtoe_event vtoe_pair_request(VtoePair *p, uint32_t sid);
VtoeTestStream vtoe_pair_connect(VtoePair *p, uint32_t sid);
/*
 * Sends len bytes of a pattern from one to the other and compares; both ends'
 * buffers are the test's own. start: what was sent before.
 */
void vtoe_pair_transfer(VtoeDriver *from, uint32_t sid_from, VtoeDriver *to,
                        uint32_t sid_to, uint64_t start, uint32_t len);
/* Waits until h has no open streams. */
void vtoe_wait_no_streams(VtoeHost *h);

#endif /* VTOE_PAIR_H */

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the netdev shell show each other:
 *   vnet.c         options, life and claims of a netdev
 *   vnet-overlay.c the thread and the core, of one netdev or several
 *   vnet-anylink.c a link, of whichever type
 *   vnet-register.c   links that peers get by registering
 *   vnet-link-qmp.c   monitor commands that make and remove a link
 *   vnet-link-change.c   links by VNET's language: a file, a monitor command
 *   vnet-link-options.c  a link's options, in QAPI and in VNET's language
 *   vnet-nic.c     NICs without a port of their own (virtio-net, e1000e)
 *   vnet-event.c   events of the VNET thread, for the monitor
 *   vnet-status.c  a snapshot, for the monitor
 *   vnet-qmp.c     monitor commands that show
 *   vnet-capture-qmp.c  captures: the monitor's commands, and the file
 *   vnet-rate-qmp.c   limits: as options, and the monitor's command
 *   vnet-route-qmp.c  static routes: from a file, and the monitor's command
 *
 * Functions without another remark are for the main loop, under the BQL.
 */
#ifndef VNET_SHELL_H
#define VNET_SHELL_H

#include "net/net.h"
#include "qapi/qapi-types-vnet.h"
#include "qemu/queue.h"
#include "qemu/thread.h"
#include "system/iothread.h"
#include "vnet-link-lang.h"
#include "vnet-link-rdma.h"
#include "vnet-link-sock.h"
#include "vnet-link-vxlan.h"
#include "vnet-query.h"
#include "vtoe/vnet-netdev.h"


typedef struct VnetNetdev VnetNetdev;
typedef struct VnetNic VnetNic;
typedef struct VnetEvents VnetEvents;
typedef struct VnetCaptureFile VnetCaptureFile;

/* The thread and the core that netdevs share; each has a reference. */
typedef struct VnetOverlay {
    unsigned refs;
    VnetNetdev *owner;          /* the one with links; NULL: it is gone */
    char *id;                   /* its id */
    IOThread *iothread;
    bool own_thread;
    AioContext *ctx;
    QemuSemaphore call_done;    /* of vnet_netdev_call() */
    VnetLoop *loop;             /* VNET thread's; NULL: there is none yet */
} VnetOverlay;

struct VnetNetdev {
    NetClientState nc;
    char *name;                 /* as told to peers */
    uint32_t vni;
    uint32_t mtu;               /* of the links that it was made with */
    uint32_t resume_ms;
    VnetOverlay *ov;            /* NULL: stopped */
    VnetNet *net;               /* VNET thread's */
    GPtrArray *links;           /* of VnetAnyLink; VNET thread's.  Of one that
                                 * has joined another: none, ever */
    unsigned last_link;         /* highest index of a link; VNET thread's */
    VnetEvents *events;
    VnetCaptureFile *capture;   /* NULL: none; changed in the VNET thread while
                                 * the BQL is held */
    VnetNic *nic;
    bool claimed;               /* by a NIC with a port of its own */
    char *nic_id;
    const VnetNicOps *nic_ops;
    void *nic_opaque;
    QTAILQ_ENTRY(VnetNetdev) next;
};

/* --- vnet-overlay.c --------------------------------------------------- */

/* Runs fn in the VNET thread, and waits for it. */
void vnet_netdev_call(VnetNetdev *n, void (*fn)(VnetNetdev *n, void *arg),
                      void *arg);
/*
 * Gives n an overlay that it owns, without a core yet: in iothread, or if that is
 * NULL in a thread of its own, which polls for poll_max_ns.  False and *errp.
 */
bool vnet_overlay_new(VnetNetdev *n, IOThread *iothread, uint32_t poll_max_ns,
                      Error **errp);
/* Gives n the overlay of its owner. */
void vnet_overlay_join(VnetNetdev *n, VnetNetdev *owner);
/*
 * Takes it from n, whose links, ports and network are gone.  With the last one the
 * core ends, and its own thread; when it is the owner, those that are left keep
 * both, and have no carrier.
 */
void vnet_overlay_leave(VnetNetdev *n);
/*
 * Whether a netdev with these options may join what o->overlay names; *owner is
 * that one.  False and *errp.
 */
bool vnet_overlay_may_join(const NetdevVnetOptions *o, VnetNetdev **owner,
                           Error **errp);

/* --- vnet.c ----------------------------------------------------------- */

/* All vnet netdevs of this QEMU, in the order of their creation. */
VnetNetdev *vnet_netdev_next(VnetNetdev *after);
/* It was deleted, but its NIC is still there and keeps it; there may be another of
 * its name. */
bool vnet_netdev_is_ending(const VnetNetdev *n);
/* The one with this id; or NULL and *errp. */
VnetNetdev *vnet_netdev_find(const char *id, Error **errp);
/* The same, if it may have links. */
VnetNetdev *vnet_netdev_find_owner(const char *id, Error **errp);

/* --- vnet-anylink.c --------------------------------------------------- */

typedef struct VnetAnyLink VnetAnyLink;
struct VnetAnyLink {
    VnetNetdev *n;
    /* One of them is set. */
    VnetSockLink *sock;
    VnetRdmaLink *rdma;
    VnetVxlanLink *vxlan;
    VnetLinkOptions *options;
    /* The peer registered with it; NULL: it did not, and def is what it is in
     * VNET's language. */
    VnetAnyLink *registrar;
    VnetLinkDef *def;
};

/* VNET thread.  The link with this id; or NULL. */
VnetAnyLink *vnet_anylink_find(VnetNetdev *n, const char *id);
/* VNET thread: removes a link, and the links that it is the registrar of. */
void vnet_anylink_remove(VnetNetdev *n, VnetAnyLink *k);
void vnet_anylink_remove_all(VnetNetdev *n);
/* Checks the options without side effects. False and *errp, naming it. */
bool vnet_anylink_check(const VnetLinkOptions *o, Error **errp);
/* Main loop, or while it waits: whether its credentials are there.  False and *errp. */
bool vnet_anylink_check_creds(const VnetLinkOptions *o, Error **errp);
/* Whether it has a socket that listens. */
bool vnet_anylink_listens(const VnetLinkOptions *o);
/* The peer and the port of a vxlan link, to be freed; NULL: it is none. */
char *vnet_anylink_receives_from(const VnetLinkOptions *o);
/* The socket that has to be bound, if the link has one. -1: none, or *errp. */
int vnet_anylink_listen(const VnetLinkOptions *o, Error **errp);
/* The largest IP packet that is sure to fit into its frames, as of now. */
uint32_t vnet_anylink_mtu(const VnetLinkOptions *o);
/*
 * VNET thread.  def is what the options are in VNET's language; without an
 * index it gets the next one.  fd is vnet_anylink_listen()'s and becomes the
 * link's.  NULL and *errp: it cannot be made; fd stays the caller's then.
 */
VnetAnyLink *vnet_anylink_new(VnetNetdev *n, const VnetLinkOptions *o,
                              VnetLinkDef *def, int fd, Error **errp);
/*
 * VNET thread: the link of a peer that registers.  peer: what it has of its own, or
 * NULL; else it is as the registrar's options say.
 */
VnetAnyLink *vnet_anylink_new_registered(VnetAnyLink *registrar,
                                         const char *id,
                                         const VnetPeerOptions *peer,
                                         Error **errp);
void vnet_anylink_free(VnetAnyLink *k);
VnetLink *vnet_anylink_link(VnetAnyLink *k);

/* --- vnet-register.c -------------------------------------------------- */

#define VNET_MAX_PEERS          4096    /* of a registrar's peers= */
#define VNET_FORGET_MS          60000

/* Checks the options that have to do with it. False and *errp, naming it. */
bool vnet_register_check(const VnetLinkOptions *o, Error **errp);
/* VNET thread: the registry of a registrar. */
VnetSockRegistry vnet_register_registry(VnetAnyLink *registrar);

/* --- vnet-link-options.c, any thread ---------------------------------- */

VnetLinkDef *vnet_link_options_def(const VnetLinkOptions *o);
/* NULL and *errp: they are no options of a link. */
VnetLinkOptions *vnet_link_def_options(const VnetLinkDef *d, Error **errp);
/* Whether a link can have the id that it has. False and *errp. */
bool vnet_link_id_check(const VnetLinkOptions *o, Error **errp);

/* --- vnet-link-place.c ------------------------------------------------ */

/* Where it listens, or receives from as a vxlan link: the same text for the same
 * place; NULL: nowhere.  To be freed. */
char *vnet_link_place(const VnetLinkOptions *o);
/* Whether both do, and could not at the same time, or not both at each of the places
 * that they may get. */
bool vnet_link_places_meet(const VnetLinkOptions *a, const VnetLinkOptions *b);
/* Whether o is not in the way of another, whose netdev's name is in the error if it is
 * not NULL. */
bool vnet_link_check_place(const VnetLinkOptions *o,
                           const VnetLinkOptions *other, const char *netdev,
                           Error **errp);
/* Main loop: the same for all links of this QEMU but those of one netdev, or NULL. */
bool vnet_link_check_places(const VnetLinkOptions *o, const VnetNetdev *but,
                            Error **errp);

/* --- vnet-link-change.c ----------------------------------------------- */

/* The links that commands in a file make; NULL: none, or *errp. */
VnetLinkOptionsList *vnet_links_load(const char *path, Error **errp);
/* Takes the error over. */
void vnet_lang_error(VnetLangError *err, Error **errp);

/* --- vnet-nic.c ------------------------------------------------------- */

VnetNic *vnet_nic_new(VnetNetdev *n);
/* The port is detached. */
void vnet_nic_free(VnetNic *nic);
/*
 * Joins the NIC that is there, if there is one, to the switch; leaves the
 * switch if there is none, or it has a port of its own.
 */
void vnet_nic_update(VnetNic *nic);
void vnet_nic_detach(VnetNic *nic);
ssize_t vnet_nic_receive_iov(NetClientState *nc, const struct iovec *iov,
                             int iovcnt);
bool vnet_nic_has_vnet_hdr(NetClientState *nc);
bool vnet_nic_has_vnet_hdr_len(NetClientState *nc, int len);
void vnet_nic_set_vnet_hdr_len(NetClientState *nc, int len);
void vnet_nic_set_offload(NetClientState *nc, int csum, int tso4, int tso6,
                          int ecn, int ufo, int uso4, int uso6);
/* Appends its counters. */
void vnet_nic_counters(VnetNic *nic, VnetNamedCounterList ***tail);

/* --- vnet-event.c ----------------------------------------------------- */

VnetEvents *vnet_events_new(VnetNetdev *n);
/* After the loop, which called, is gone. What is queued is emitted. */
void vnet_events_free(VnetEvents *e);
/* VNET thread; the functions of VnetLoopOps. */
void vnet_events_link(VnetEvents *e, VnetLink *l, const char *state,
                      const char *msg);
/* VNET thread: a link with this id is gone; nothing of it is kept but an event that
 * is owed. */
void vnet_events_forget(VnetEvents *e, const char *link);
/* VNET thread: there is a link more. */
void vnet_events_recount(VnetEvents *e);
void vnet_events_stream(VnetEvents *e, VnetStream *s, const char *state,
                        enum vtoe_reason reason);
bool vnet_events_limit(VnetEvents *e, VnetCoreLimit limit, const VnetPort *port,
                       const VnetLink *l, uint64_t suppressed);

/* --- vnet-route-qmp.c ------------------------------------------------- */

/* The commands in a file, which fit an empty table; or NULL and *errp. */
GArray *vnet_routes_load(const char *path, Error **errp);
/* Any thread. */
VnetRoute *vnet_route_status(const VnetRule *rule);

/* --- vnet-capture-qmp.c ----------------------------------------------- */

/* VNET thread: ends it, and gives it to *arg. */
void vnet_capture_end_in_thread(VnetNetdev *n, void *arg);
/* c may be NULL. Waits for what has to be written. */
void vnet_capture_free(VnetCaptureFile *c);
/* Any thread. */
VnetCapture *vnet_capture_status(VnetCaptureFile *c);

/* --- vnet-rate-qmp.c -------------------------------------------------- */

/* False and *errp, which names the value; r may be NULL. */
bool vnet_rate_check(const VnetRate *r, const char *name, VnetRates *out,
                     Error **errp);
/* NULL: there is no limit. Any thread. */
VnetRate *vnet_rate_status(const VnetRates *rates);

/* --- vnet-status.c ---------------------------------------------------- */

/* A snapshot; asks the VNET thread and waits for it. */
VnetStatus *vnet_netdev_status(VnetNetdev *n);
/* "10.0.0.1:80", "[fe80::1]:80"; g_free() it.  Any thread. */
char *vnet_flow_end_str(uint8_t family, const uint8_t addr[16], uint16_t port);

#endif /* VNET_SHELL_H */

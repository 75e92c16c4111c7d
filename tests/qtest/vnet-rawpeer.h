/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The other end of a vnet link, made of bare sockets: what a peer says, byte by
 * byte, so that a test can say any of it wrong.  And what tests ask a QEMU
 * about its overlay.
 *
 * Sockets block, with a deadline of VNET_RAW_WAIT_S; who waits longer has
 * failed.
 */
#ifndef VNET_RAWPEER_H
#define VNET_RAWPEER_H

#include "libqtest.h"
#include "qobject/qdict.h"
#include "net/vnet/vnet-wire.h"

#define VNET_RAW_WAIT_S 10

typedef struct VnetRawPeer {
    int fd;                     /* control connection */
    uint64_t epoch;
    uint64_t token;             /* from the server's hello */
    uint8_t buf[4096];          /* received and not used yet */
    size_t len;
    VnetMsg hello;              /* the other end's */
} VnetRawPeer;

/* --- The link's client end: the QEMU is the server -------------------- */

/* A connection to a unix socket that says nothing yet. */
int vnet_raw_connect(const char *path);
/* A control connection after its preamble. */
void vnet_raw_start(VnetRawPeer *p, const char *path);
/* The hello that a peer with nothing to hide says. */
void vnet_raw_make_hello(const VnetRawPeer *p, uint32_t vni, VnetMsg *m);
/* Connects, and says and hears hello. */
void vnet_raw_up(VnetRawPeer *p, const char *path, uint32_t vni);
void vnet_raw_close(VnetRawPeer *p);
/* A frame or data connection of the peer, after its preamble. */
int vnet_raw_open(const VnetRawPeer *p, const char *path, VnetConnKind kind,
                  uint32_t stream_id);

/* --- The server end: the QEMU is the client --------------------------- */

int vnet_raw_listen(const char *path);
/* Waits for the control connection and says and hears hello. */
void vnet_raw_accept_up(VnetRawPeer *p, int listen_fd, uint32_t vni);
/* The next connection, whose preamble must be of this kind. */
int vnet_raw_accept(int listen_fd, VnetConnKind kind, VnetPreamble *pre);

/* --- Either end ------------------------------------------------------- */

void vnet_raw_write(int fd, const void *buf, size_t len);
void vnet_raw_read(int fd, void *buf, size_t len);
/* True: ended or reset; false: there were bytes. */
bool vnet_raw_ended(int fd);
void vnet_raw_send(VnetRawPeer *p, const VnetMsg *m);
void vnet_raw_receive(VnetRawPeer *p, VnetMsg *m);
/* Reads until a message of this type comes; others are left out. */
void vnet_raw_expect(VnetRawPeer *p, VnetMsgType type, VnetMsg *m);
/* A BYE with this in its text, or with NULL any or none, and then the end. */
void vnet_raw_expect_end(VnetRawPeer *p, const char *text);
/* The link works: a PING is answered. */
void vnet_raw_ping(VnetRawPeer *p);
void vnet_raw_send_frame(int fd, const VnetWireFrame *f, const void *data);
/* Returns the length; what does not fit fails the test. */
size_t vnet_raw_receive_frame(int fd, VnetWireFrame *f, void *data, size_t max);

/* --- A QEMU's own view ------------------------------------------------ */

/* query-vnet of one netdev; qobject_unref() it. */
QDict *vnet_status(QTestState *qts, const char *netdev);
/* A link in there; stays the status'. */
QDict *vnet_status_link(QDict *status, const char *link);
/* A counter in the list "counters" of such a dict. */
uint64_t vnet_counter(QDict *dict, const char *name);
uint64_t vnet_link_counter(QTestState *qts, const char *netdev,
                           const char *link, const char *name);
/* A string of a link, "" if it has none; g_free() it. */
char *vnet_link_str(QTestState *qts, const char *netdev, const char *link,
                    const char *member);
/* Waits until it is this one. */
void vnet_wait_link(QTestState *qts, const char *netdev, const char *link,
                    const char *member, const char *value);
/* Waits until "info network" says this. */
void vnet_wait_info(QTestState *qts, const char *text);
/* Waits until the counter has at least this value. */
void vnet_wait_link_counter(QTestState *qts, const char *netdev,
                            const char *link, const char *name,
                            uint64_t value);
/* The same of a counter of the netdev. */
void vnet_wait_core_counter(QTestState *qts, const char *netdev,
                            const char *name, uint64_t value);
/* Waits for the event, of this link. Returns its data's member, g_free() it. */
char *vnet_wait_event(QTestState *qts, const char *event, const char *link,
                      const char *member);
unsigned vnet_open_fds(QTestState *qts);

#endif /* VNET_RAWPEER_H */

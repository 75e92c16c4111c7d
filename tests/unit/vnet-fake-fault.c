/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fake links in the hands of a test, see vnet-fake.h: cuts, stalls, bytes that
 * nobody sent, and what is seen of them.
 */
#include "vnet-fake-int.h"

VnetLink *fake_link_client(FakeLink *l)
{
    return l->end[0].vl;
}

VnetLink *fake_link_server(FakeLink *l)
{
    return l->end[1].vl;
}

void fake_link_cut(FakeLink *l, bool server_sees, bool client_sees)
{
    if (client_sees) {
        vnet_link_down(l->end[0].vl, "cut");
    }
    if (server_sees) {
        vnet_link_down(l->end[1].vl, "cut");
    }
    fake_dispatch(l->w);
}

void fake_link_stall_control(FakeLink *l, bool stall)
{
    l->stall_control = stall;
}

void fake_link_stall_data(FakeLink *l, bool stall)
{
    l->stall_data = stall;
}

void fake_link_frames_busy(FakeLink *l, bool server, bool busy)
{
    l->end[server].frames_busy = busy;
}

void fake_link_block(FakeLink *l, bool block)
{
    l->block = block;
}

void fake_link_set_identity(FakeLink *l, const char *identity)
{
    l->identity = identity;
}

void fake_link_inject(FakeLink *l, bool to_server, const void *p, size_t len)
{
    g_assert_nonnull(l->end[to_server].control);
    g_byte_array_append(l->end[to_server].control->dir[to_server].bytes, p,
                        len);
}

void fake_link_inject_msg(FakeLink *l, bool to_server, const VnetMsg *m)
{
    uint8_t buf[VNET_MSG_MAX];
    size_t n = vnet_wire_put_msg(buf, m);

    fake_link_inject(l, to_server, buf, n);
}

void fake_link_swallow(FakeLink *l, bool to_server, uint8_t type)
{
    l->end[to_server].swallow = type;
}

size_t fake_link_data_waiting(FakeLink *l)
{
    size_t n = 0;

    for (guint i = 0; i < l->conns->len; i++) {
        FakeConn *c = l->conns->pdata[i];

        if (c->p.kind == VNET_CONN_DATA) {
            n += c->dir[0].bytes->len + c->dir[1].bytes->len;
        }
    }
    return n;
}

unsigned fake_link_conns(FakeLink *l)
{
    return l->conns->len;
}

uint64_t fake_link_token(FakeLink *l)
{
    return l->end[0].frame_preamble.token;
}

void fake_link_refuse_cids(FakeLink *l, bool open_null, int connect_err)
{
    l->cid_null = open_null;
    l->connect_err = connect_err;
}

static VnetCid *find_cid(FakeStream *fs)
{
    FakeWorld *w = fs->nic->h->w;

    for (guint i = 0; i < w->links->len; i++) {
        FakeLink *l = w->links->pdata[i];

        for (int j = 0; j < 2; j++) {
            for (guint k = 0; k < l->end[j].cids->len; k++) {
                VnetCid *c = l->end[j].cids->pdata[k];

                if (c->s == fs->s) {
                    return c;
                }
            }
        }
    }
    return NULL;
}

static void break_pipe(FakeConn *c, bool to_server, int err)
{
    g_byte_array_set_size(c->dir[to_server].bytes, 0);
    c->dir[to_server].err = err;
    fake_msg_lose(c, to_server);
}

void fake_stream_break_cid(FakeStream *fs, int err)
{
    VnetCid *c = find_cid(fs);

    for (int i = 0; c && c->c && i < 2; i++) {
        break_pipe(c->c, i, err);
    }
}

void fake_stream_break_half(FakeStream *fs, int err)
{
    VnetCid *c = find_cid(fs);

    if (c && c->c) {
        break_pipe(c->c, c->e->server, err);
        c->c->silent = true;
    }
}

void fake_stream_inject(FakeStream *fs, const void *p, size_t len)
{
    VnetCid *c = find_cid(fs);

    g_byte_array_append(c->c->dir[c->e->server].bytes, p, len);
}

void fake_stream_inject_msg(FakeStream *fs, const void *p, size_t len)
{
    VnetCid *c = find_cid(fs);

    fake_msg_send(c->c, c->e->server, p, len);
}

const VnetLinkStats *fake_link_stats(FakeLink *l, bool server)
{
    return vnet_link_stats(l->end[server].vl);
}

typedef struct FindError {
    VnetLink *l;
    const char *error;
} FindError;

static void find_error(void *opaque, const VnetLinkInfo *info)
{
    FindError *f = opaque;

    if (info->link == f->l) {
        f->error = info->last_error;
    }
}

const char *fake_last_error(FakeLink *l, bool server)
{
    FindError f = { l->end[server].vl, NULL };

    vnet_query_links(l->end[server].h->core, find_error, &f);
    return f.error;
}

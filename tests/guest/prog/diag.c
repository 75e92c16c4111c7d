/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lists VTOE sockets by netlink (inet_diag), one a line:
 *
 *   diag 4|6
 *
 *   MODE state STATE sport PORT dport PORT rq BYTES wq BYTES sid SID reason R
 */
#include "common.h"
#include "../../../guest-linux/vtoe_diag.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PROTOCOL 261

static void show(const struct nlmsghdr *nlh)
{
    const struct inet_diag_msg *msg = NLMSG_DATA(nlh);
    int left = nlh->nlmsg_len - NLMSG_LENGTH(sizeof(*msg));
    const struct rtattr *attr = (const void *)(msg + 1);
    struct vtoe_diag_info info = { .mode = "?" };

    for (; RTA_OK(attr, left); attr = RTA_NEXT(attr, left)) {
        if (attr->rta_type == INET_DIAG_INFO &&
            RTA_PAYLOAD(attr) >= sizeof(info)) {
            memcpy(&info, RTA_DATA(attr), sizeof(info));
        }
    }
    printf("%s state %u sport %u dport %u rq %u wq %u sid 0x%x reason %s\n",
           info.mode, msg->idiag_state, ntohs(msg->id.idiag_sport),
           ntohs(msg->id.idiag_dport), msg->idiag_rqueue, msg->idiag_wqueue,
           info.sid, info.reason);
}

int main(int argc, char **argv)
{
    struct {
        struct nlmsghdr nlh;
        struct inet_diag_req_v2 req;
        struct rtattr attr;
        uint32_t protocol;
    } ask = {
        .nlh = {
            .nlmsg_len = sizeof(ask),
            .nlmsg_type = SOCK_DIAG_BY_FAMILY,
            .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
        },
        .req = { .idiag_states = ~0u },
        .attr = {
            .rta_len = RTA_LENGTH(sizeof(uint32_t)),
            .rta_type = INET_DIAG_REQ_PROTOCOL,
        },
        .protocol = PROTOCOL,
    };
    static char buf[65536] __attribute__((aligned(8)));
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG);
    int len;

    if (argc != 2) {
        die("usage: diag 4|6");
    }
    ask.req.sdiag_family = parse_number(argv[1], 6) == 6 ? AF_INET6 : AF_INET;
    if (fd < 0 || send(fd, &ask, sizeof(ask), 0) != sizeof(ask)) {
        die("netlink: %s", errno_name(errno));
    }
    while ((len = recv(fd, buf, sizeof(buf), 0)) > 0) {
        struct nlmsghdr *nlh = (struct nlmsghdr *)buf;

        for (; NLMSG_OK(nlh, len); nlh = NLMSG_NEXT(nlh, len)) {
            if (nlh->nlmsg_type == NLMSG_DONE) {
                int error = *(const int *)NLMSG_DATA(nlh);

                if (error < 0) {
                    die("inet_diag: %s", errno_name(-error));
                }
                return 0;
            }
            if (nlh->nlmsg_type == NLMSG_ERROR) {
                const struct nlmsgerr *err = NLMSG_DATA(nlh);

                die("inet_diag: %s", errno_name(-err->error));
            }
            show(nlh);
        }
    }
    die("netlink: %s", errno_name(errno));
}

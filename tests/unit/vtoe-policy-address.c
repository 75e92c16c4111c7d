/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the guest driver's policy needs of the kernel, as a program has it. */
#include <arpa/inet.h>
#include <string.h>
#include "../../guest-linux/vtoe_policy.h"

u8 vtoe_policy_address(const char *word, u8 addr[16])
{
    memset(addr, 0, 16);
    if (inet_pton(AF_INET, word, addr) == 1) {
        return 4;
    }
    return inet_pton(AF_INET6, word, addr) == 1 ? 6 : 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QEMU's own, for what cc-sanitize compiles with the thread sanitizer. */
#include_next "config-host.h"
#define CONFIG_TSAN

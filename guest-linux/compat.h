/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Differences between the kernels we build for.  vtoe_config.h is written by
 * the script `configure', which compiles the files in probes/ against the
 * kernel at hand; a HAVE_ macro says that its probe compiled.  Distributions
 * change interfaces within a version, so versions are not looked at.
 */
#ifndef VTOE_COMPAT_H
#define VTOE_COMPAT_H

#include "vtoe_config.h"

#ifdef HAVE_PAGE_POOL_HELPERS
#include <net/page_pool/helpers.h>
#include <net/page_pool/types.h>
#else
#include <net/page_pool.h>
#endif

#endif /* VTOE_COMPAT_H */

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stream-bench: keys for a link with TLS, in QEMU's own objects.
 */

#include "qemu/osdep.h"
#include <malloc.h>
#include "crypto/init.h"
#include "crypto/tlscredspsk.h"
#include "crypto/tlscredsx509.h"
#include "qapi/error.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "qom/object.h"
#include "stream-bench-tls.h"

QCryptoTLSCreds *bench_creds(const BenchJob *job, bool server, Error **errp)
{
    bool psk = job->tls == BENCH_TLS_PSK;
    Object *creds;

    /*
     * So small a heap would be given back to the kernel, and taken again, with each
     * record.  A QEMU's is large enough not to be.
     */
    mallopt(M_TRIM_THRESHOLD, 64 * MiB);
    mallopt(M_MMAP_THRESHOLD, 32 * MiB);
    module_call_init(MODULE_INIT_QOM);
    if (qcrypto_init(errp) < 0) {
        return NULL;
    }
    creds = object_new_with_props(psk ? TYPE_QCRYPTO_TLS_CREDS_PSK :
                                  TYPE_QCRYPTO_TLS_CREDS_X509,
                                  object_get_objects_root(), "tls0", errp,
                                  "endpoint", server ? "server" : "client",
                                  "dir", job->creds,
                                  "priority", job->priority ?: "NORMAL",
                                  psk && !server ? "username" : NULL, "vtoe",
                                  NULL);
    return creds ? QCRYPTO_TLS_CREDS(creds) : NULL;
}

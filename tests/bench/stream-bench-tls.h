/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stream-bench: keys for a link with TLS, see stream-bench-tls.c.
 */
#ifndef STREAM_BENCH_TLS_H
#define STREAM_BENCH_TLS_H

#include "crypto/tlscreds.h"
#include "stream-bench.h"

/* What the server's certificate says. */
#define BENCH_TLS_HOST  "server.vtoe.test"

/*
 * The object with the keys of an end, from the folder job->creds; stays there until
 * the process ends.  NULL and *errp: they are not usable.
 */
QCryptoTLSCreds *bench_creds(const BenchJob *job, bool server, Error **errp);

#endif /* STREAM_BENCH_TLS_H */

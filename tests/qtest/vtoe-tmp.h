/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Folders for sockets and files that do not outlive their test, whether it
 * passes or fails.
 */
#ifndef VTOE_TMP_H
#define VTOE_TMP_H

/*
 * Makes a folder called NAME-XXXXXX.  To be made before the QEMUs that use it,
 * as they are ended before it is removed when the test fails.
 */
char *vtoe_tmp_dir(const char *name);
/* Removes a folder of vtoe_tmp_dir() with its files, and frees its name. */
void vtoe_tmp_remove(char *dir);

#endif /* VTOE_TMP_H */

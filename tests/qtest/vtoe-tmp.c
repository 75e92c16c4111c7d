/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Folders that do not outlive their test, see vtoe-tmp.h.
 *
 * A failed g_assert() raises SIGABRT, where libqtest calls whoever asked for
 * it, the latest first.  A g_error() raises SIGTRAP, which is made the same.  A
 * test that is killed leaves its folder to scripts/check.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "vtoe-tmp.h"

static void remove_dir(void *opaque)
{
    const char *name, *path = opaque;
    GDir *dir = g_dir_open(path, 0, NULL);

    if (dir) {
        while ((name = g_dir_read_name(dir))) {
            g_autofree char *file = g_build_filename(path, name, NULL);

            unlink(file);
        }
        g_dir_close(dir);
    }
    rmdir(path);
}

static void on_trap(int signo)
{
    abort();
}

char *vtoe_tmp_dir(const char *name)
{
    g_autofree char *template = g_strconcat(name, "-XXXXXX", NULL);
    char *dir = g_dir_make_tmp(template, NULL);
    const struct sigaction trap = { .sa_handler = on_trap };

    g_assert(dir);
    sigaction(SIGTRAP, &trap, NULL);
    qtest_add_abrt_handler(remove_dir, dir);
    return dir;
}

void vtoe_tmp_remove(char *dir)
{
    qtest_remove_abrt_handler(dir);
    remove_dir(dir);
    g_free(dir);
}

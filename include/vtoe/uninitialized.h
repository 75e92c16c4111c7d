/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VTOE_UNINITIALIZED: QEMU has the compiler clear what is on the stack.  Of a
 * large array in a function that is called for each message that is most of the
 * call; one that is written before it is read says so by this, behind its name.
 */
#ifndef VTOE_UNINITIALIZED_H
#define VTOE_UNINITIALIZED_H

#ifndef __has_attribute
#define __has_attribute(name) 0
#endif

#if __has_attribute(uninitialized)
#define VTOE_UNINITIALIZED __attribute__((uninitialized))
#else
#define VTOE_UNINITIALIZED
#endif

#endif /* VTOE_UNINITIALIZED_H */

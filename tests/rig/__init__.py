# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest test rig: kernels, initramfs, virtual machines and topologies.

Layers, each using only those above it:

    paths       where things are
    debs        Debian packages, fetched and unpacked under build/
    kernels     the two stock kernels, with modules and headers
    cpio        an initramfs archive, written byte by byte
    image       what the guests boot: programs, modules, the agent
    channel     talks to the agent in a guest
    guest       one virtual machine
    rdma_image  what a guest boots that is a host with RDMA
    rdma        that guest
    qtests      qtest programs in it
    nested      guests in it
    netns       network namespaces that vanish with this process
    topo        pairs of guests, joined by ours or by a rival
    programs    iperf3 and sockperf: run them, read their figures
    counts      interrupts and doorbells of a guest's NIC
"""

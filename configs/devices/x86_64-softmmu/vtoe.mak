# SPDX-License-Identifier: GPL-2.0-or-later
#
# The devices of our QEMU: what the guests, the rivals and the tests use.
# Everything else is left out, which makes the build a third shorter.

# machines and buses
CONFIG_I440FX=y
CONFIG_Q35=y
CONFIG_PCIE_PORT=y

# the device itself
CONFIG_VTOE_PCI=y

# other NICs, on the overlay and beside it
CONFIG_E1000E_PCI_EXPRESS=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_NET=y

# disk, console and entropy of the guests, and how a guest ends QEMU
CONFIG_VIRTIO_BLK=y
CONFIG_VIRTIO_SERIAL=y
CONFIG_VIRTIO_RNG=y
CONFIG_ISA_DEBUG=y

# what gives a guest's memory back, which must not happen while it is registered
CONFIG_VIRTIO_BALLOON=y
CONFIG_VIRTIO_MEM=y

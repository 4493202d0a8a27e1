/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PCI bus 0 behind configuration mechanism 1 (PCI 3.0, 3.2.2.3.2): the address register at 0xcf8,
 * the data window at 0xcfc-0xcff. The bus holds functions that devices bring along; the host bridge
 * is always there. A function that does not exist reads all ones.
 *
 * The host bridge is 8086:0d57, class 06.00.00, without BARs or capabilities: an Intel id, because
 * some guests trust mechanism 1 only when a known vendor answers, and one that no driver and no
 * quirk claims.
 */
#ifndef SLUICE_VM_DEV_PCI_H
#define SLUICE_VM_DEV_PCI_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/spinlock.h"
#include "vm/bus.h"

#define PCI_CONFIG_SIZE	  256
#define PCI_FUNCTIONS	  256 /* of one bus: device << 3 | function */
#define PCI_STATE_VERSION 1

#define PCI_HOST_VENDOR 0x8086
#define PCI_HOST_DEVICE 0x0d57

#define PCI_VENDOR_ID	0x00 /* offsets in the type 0 header (PCI 3.0, 6.1) */
#define PCI_DEVICE_ID	0x02
#define PCI_COMMAND	0x04
#define PCI_STATUS	0x06
#define PCI_REVISION	0x08
#define PCI_CLASS	0x09 /* programming interface, subclass, base class */
#define PCI_HEADER_TYPE 0x0e

/* A function's configuration space: guest-visible state, little-endian bytes. */
struct pci_function_state {
	uint8_t config[PCI_CONFIG_SIZE];
};

/*
 * A function as its device owns it. `writable` has a one for every bit that a guest may change; the
 * rest of config[] is the device's. `written`, when given, is told afterwards which bytes a guest
 * has written (whether or not a bit changed), with the bus locked: BARs and enables are looked at
 * there.
 */
struct pci_function {
	struct pci_function_state s;
	uint8_t writable[PCI_CONFIG_SIZE];
	void (*written)(struct pci_function *fn, unsigned off, unsigned size);
};

struct pci_state {
	uint32_t version; /* PCI_STATE_VERSION */
	uint32_t address; /* 0xcf8 */
};

struct pci {
	struct spinlock lock;
	struct pci_state s;
	struct pci_function *function[PCI_FUNCTIONS];
	struct pci_function host;
};

/* The bus with its host bridge at 00.0. pci_reset must follow. */
void pci_init(struct pci *pci);

/* Adds a function, borrowed for the life of the bus; while the board is assembled. -EEXIST. */
int pci_add(struct pci *pci, unsigned device, unsigned function, struct pci_function *fn);

/* The address register and the bridge; devices reset their own functions. */
void pci_reset(struct pci *pci);

/* Fills in ids and class (base class << 16 | subclass << 8 | interface); clears the rest. */
void pci_function_init(struct pci_function *fn, uint16_t vendor, uint16_t device, uint32_t class);

/* Little-endian fields of a configuration space, for devices. */
void pci_set16(struct pci_function *fn, unsigned off, uint16_t val);

/* Eight ports from 0xcf8. */
extern const struct io_ops pci_ops;

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An I/O APIC with 24 inputs (Intel 82093AA data sheet, order number 290566; version 0x20 adds the
 * EOI register of later chipsets).
 *
 * Level-triggered interrupts set remote IRR when a local APIC takes them and are sent again when
 * the EOI broadcast finds the input still asserted. Polarity is stored and otherwise ignored:
 * inputs are logical levels. Everything takes the model's own lock; delivery to the local APICs
 * happens under it and takes none.
 */
#ifndef SLUICE_VM_DEV_IOAPIC_H
#define SLUICE_VM_DEV_IOAPIC_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/spinlock.h"
#include "vm/bus.h"
#include "vm/dev/lapic.h"

#define IOAPIC_PINS	     24
#define IOAPIC_BASE	     0xfec00000ULL /* guest-physical, where PCs have it */
#define IOAPIC_SIZE	     0x1000ULL
#define IOAPIC_STATE_VERSION 1

/* Versions this model can be: the plain one and the one with an EOI register at offset 0x40. */
#define IOAPIC_VERSION_82093AA 0x11
#define IOAPIC_VERSION_EOI     0x20

/* Redirection entry (data sheet 3.2.4). */
#define IOAPIC_REDIR_VECTOR	0xffULL
#define IOAPIC_REDIR_MODE	(7ULL << 8) /* enum lapic_delivery */
#define IOAPIC_REDIR_LOGICAL	(1ULL << 11)
#define IOAPIC_REDIR_PENDING	(1ULL << 12) /* read-only: level asserted, not yet taken */
#define IOAPIC_REDIR_ACTIVE_LOW (1ULL << 13)
#define IOAPIC_REDIR_REMOTE_IRR (1ULL << 14) /* read-only: taken, EOI outstanding */
#define IOAPIC_REDIR_LEVEL	(1ULL << 15)
#define IOAPIC_REDIR_MASKED	(1ULL << 16)
#define IOAPIC_REDIR_DEST_SHIFT 56

struct ioapic_state {
	uint32_t version; /* IOAPIC_STATE_VERSION */
	uint32_t id;	  /* register 0, bits 24-27 */
	uint32_t select;  /* index register */
	uint32_t lines;	  /* levels at the inputs, bit per pin */
	uint64_t redir[IOAPIC_PINS];
};

struct ioapic {
	struct spinlock lock;
	struct ioapic_state s;
	struct lapic_bus *bus;
	uint8_t chip_version;
};

/* `bus` is borrowed for the life of the model; `chip_version` is one of the two above. */
void ioapic_create(struct ioapic *io, struct lapic_bus *bus, uint8_t chip_version);

/* All entries masked, ID 0; input levels are kept: they belong to the devices. */
void ioapic_reset(struct ioapic *io);

/* Input `pin` has this level; the form of irq_line.set, ctx is the struct ioapic. Pins above 23 are
 * ignored. */
void ioapic_set_irq(void *ctx, unsigned pin, bool level);

/* EOI broadcast of a level-triggered vector; the form of lapic_bus.eoi, ctx is the struct ioapic.
 */
void ioapic_eoi(void *ctx, uint8_t vector);

/* The register window, `off` from its base: 0x00 index, 0x10 data, 0x40 EOI. Anything else reads 0.
 */
uint64_t ioapic_mmio_read(struct ioapic *io, uint64_t off, unsigned size);
void ioapic_mmio_write(struct ioapic *io, uint64_t off, unsigned size, uint64_t val);

/* The same for a memory bus, dev is the struct ioapic: one region of IOAPIC_SIZE. */
extern const struct io_ops ioapic_ops;

/* Copies of the guest-visible state. ioapic_load refuses (-EINVAL) a version or value it does not
 * know and then changes nothing. */
void ioapic_save(struct ioapic *io, struct ioapic_state *out);
int ioapic_load(struct ioapic *io, const struct ioapic_state *in);

#endif

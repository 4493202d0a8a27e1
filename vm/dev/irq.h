/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How devices signal interrupts: lines with a level, and message-signalled interrupts. A device
 * knows only its line; the board decides what hangs on it (8259, I/O APIC, both).
 */
#ifndef SLUICE_VM_DEV_IRQ_H
#define SLUICE_VM_DEV_IRQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * One interrupt line. `level` is logical: true is asserted, whatever the polarity of the wire. The
 * receiver takes its own lock and calls nothing back into the device, so a device may drive its
 * line with its own lock held. Setting the level it already has is a no-op.
 */
struct irq_line {
	void (*set)(void *ctx, unsigned pin, bool level);
	void *ctx;
	unsigned pin; /* input number at the receiver */
};

/* A line without a receiver (set == NULL) goes nowhere. */
static inline void irq_line_set(const struct irq_line *line, bool level)
{
	if (line->set != NULL)
		line->set(line->ctx, line->pin, level);
}

/* A rising and a falling edge: one interrupt at an edge-triggered input. */
static inline void irq_line_pulse(const struct irq_line *line)
{
	irq_line_set(line, true);
	irq_line_set(line, false);
}

/*
 * A message-signalled interrupt as a device writes it: a 32-bit store of `data` to `address` (SDM
 * vol 3 "Message Signalled Interrupts"; APM vol 2 16.6). lapic_bus_msi delivers it.
 */
struct msi_msg {
	uint64_t address;
	uint32_t data;
};

#endif

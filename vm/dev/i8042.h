/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A keyboard controller with nothing plugged in. Its use is the reset line; the rest is there so
 * that a guest that probes it gets its answers at once instead of waiting for time-outs: self tests
 * pass, a byte for the keyboard or the mouse comes back as "no answer". ACPI guests are told that
 * there is none.
 */
#ifndef SLUICE_VM_DEV_I8042_H
#define SLUICE_VM_DEV_I8042_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/spinlock.h"
#include "vm/bus.h"
#include "vm/dev/irq.h"

#define I8042_STATE_VERSION 1

struct i8042_state {
	uint32_t version; /* I8042_STATE_VERSION */
	uint8_t status;	  /* port 0x64 */
	uint8_t data;	  /* output buffer, valid with status bit 0 */
	uint8_t command;  /* command byte ("control register") */
	uint8_t pending;  /* command that waits for its data byte; 0: none */
	uint8_t ram[32];
};

struct i8042 {
	struct spinlock lock;
	struct i8042_state s;
	struct irq_line keyboard, mouse; /* IRQ 1 and 12 */
	void (*reset)(void *ctx);	 /* the reset line was pulsed; called with the lock held */
	void *ctx;
};

/* Lines are copied, `ctx` is borrowed. i8042_reset must follow. */
void i8042_init(struct i8042 *kbc, const struct irq_line *keyboard, const struct irq_line *mouse,
		void (*reset)(void *ctx), void *ctx);
void i8042_reset(struct i8042 *kbc);

/* Port 0x60, and port 0x64. */
extern const struct io_ops i8042_data_ops;
extern const struct io_ops i8042_command_ops;

#endif

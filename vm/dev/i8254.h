/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The 8254 interval timer (Intel data sheet, order number 231164) and the system port 0x61 that
 * gates its channel 2. Channel 0 drives IRQ 0, channel 1 is the refresh request of old (visible as
 * the toggling bit 4 of port 0x61), channel 2 the speaker.
 *
 * Nothing counts here: each channel remembers when it was loaded, and what it shows is computed
 * from the VM's clock. A timer exists only for the next rising edge of channel 0's output.
 */
#ifndef SLUICE_VM_DEV_I8254_H
#define SLUICE_VM_DEV_I8254_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/spinlock.h"
#include "vm/bus.h"
#include "vm/dev/irq.h"
#include "vm/dev/vtimer.h"

#define I8254_HZ	    1193182ULL
#define I8254_CHANNELS	    3
#define I8254_STATE_VERSION 1

/* Ticks are periods of I8254_HZ since the VM's clock was at 0. */
struct i8254_channel_state {
	int64_t start;	   /* tick at which `period` was loaded into the counter */
	int64_t held;	   /* counting stands still: ticks it had counted */
	int64_t switch_at; /* tick at which `count` replaces `period`; INT64_MAX: at a trigger */
	uint32_t period;   /* 1..65536; 0: nothing was loaded since the control word */
	uint32_t count;	   /* the count register, 1..65536 */
	uint16_t latched;  /* value of the counter latch command */
	uint8_t mode;	   /* 0..5 */
	uint8_t access;	   /* 1 low byte, 2 high byte, 3 both */
	uint8_t bcd;
	uint8_t gate;
	uint8_t counting;   /* 0: stopped by its gate, or between two bytes of a count */
	uint8_t triggered;  /* modes 1 and 5: the gate has risen since the count was written */
	uint8_t pending;    /* `count` has been written and not loaded */
	uint8_t write_high; /* access 3: the next write is the high byte, `low` the first */
	uint8_t low;
	uint8_t read_high;    /* access 3: the next read is the high byte */
	uint8_t latched_left; /* bytes of `latched` not read yet */
	uint8_t status;	      /* value of the read-back command */
	uint8_t status_latched;
};

struct i8254_state {
	uint32_t version;  /* I8254_STATE_VERSION */
	uint8_t speaker;   /* port 0x61 bits 0-3 as written */
	int64_t next_edge; /* tick of channel 0's next rising edge; -1: there is none */
	struct i8254_channel_state ch[I8254_CHANNELS];
};

struct i8254 {
	struct spinlock lock;
	struct i8254_state s;
	struct irq_line irq; /* IRQ 0 */
	struct vtimer timer;
};

/* `clock` is borrowed, `irq` copied. i8254_reset must follow. */
void i8254_init(struct i8254 *pit, const struct vclock *clock, const struct irq_line *irq);

/* Power-on, with the VM's clock as it is. No output rises before the guest programs a channel. */
void i8254_reset(struct i8254 *pit);

/* The VM's clock was stopped / started. */
void i8254_pause(struct i8254 *pit);
void i8254_resume(struct i8254 *pit);

/* Four ports from 0x40, and port 0x61. */
extern const struct io_ops i8254_ops;
extern const struct io_ops port61_ops;

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The two reset registers of a PC's chipset: the reset control register at 0xcf9 and the fast reset
 * bit of system control port A at 0x92. (The third way goes through the keyboard controller.)
 */
#ifndef SLUICE_VM_DEV_RESET_CTL_H
#define SLUICE_VM_DEV_RESET_CTL_H

#include <stdint.h>

#include "lib/spinlock.h"
#include "vm/bus.h"

#define RESET_PORT	    0xcf9
#define RESET_VALUE	    0x06 /* hard reset; 0x0e, with power cycle, does the same here */
#define RESET_STATE_VERSION 1

struct reset_ctl_state {
	uint32_t version; /* RESET_STATE_VERSION */
	uint8_t control;  /* 0xcf9 as it reads */
	uint8_t port92;
};

struct reset_ctl {
	struct spinlock lock;
	struct reset_ctl_state s;
	void (*reset)(void *ctx); /* the guest asks for a reset; called with the lock held */
	void *ctx;
};

/* `ctx` is borrowed. reset_ctl_reset must follow. */
void reset_ctl_init(struct reset_ctl *rc, void (*reset)(void *ctx), void *ctx);
void reset_ctl_reset(struct reset_ctl *rc);

/* Port 0xcf9, and port 0x92. */
extern const struct io_ops reset_ctl_ops;
extern const struct io_ops port92_ops;

#endif

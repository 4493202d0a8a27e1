/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The test guests' way out: a write to port 0xf4 ends the guest, and what was written is its
 * status. (Emulators that turn it into a process's exit status report value << 1 | 1; a line for
 * people has no reason to.)
 */
#ifndef SLUICE_VM_DEV_DEBUG_EXIT_H
#define SLUICE_VM_DEV_DEBUG_EXIT_H

#include <stdint.h>

#include "vm/bus.h"

#define DEBUG_EXIT_PORT	 0xf4
#define DEBUG_EXIT_PORTS 4

/* Stateless. */
struct debug_exit {
	void (*exit)(void *ctx, uint32_t status);
	void *ctx;
};

extern const struct io_ops debug_exit_ops;

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ticket spinlock: fair, so no pCPU starves. Interrupts are off in all code that takes one; a
 * handler takes at most its own device's (the console UART's), which nobody holds when the
 * interrupt window opens; nobody takes one while in guest mode or inside a reader section
 * (tlbi/agent.h).
 */
#ifndef SLUICE_LIB_SPINLOCK_H
#define SLUICE_LIB_SPINLOCK_H

#include <stdbool.h>

#include "arch/hw.h"
#include "lib/atomic.h"

struct spinlock {
	atomic_u32 next;   /* the ticket the next comer draws */
	atomic_u32 served; /* the ticket that holds the lock */
};

#define SPINLOCK_INIT                                                                              \
	{                                                                                          \
		{0},                                                                               \
		{                                                                                  \
			0                                                                          \
		}                                                                                  \
	}

static inline void spin_lock(struct spinlock *l)
{
	uint32_t mine = atomic_add32(&l->next, 1);

	while (atomic_load32_acq(&l->served) != mine)
		hw_relax();
}

/* Only the holder writes `served`, so that its own read of it needs no order. */
static inline void spin_unlock(struct spinlock *l)
{
	atomic_store32_rel(&l->served, atomic_load32(&l->served) + 1);
}

/* For assertions: somebody holds the lock. */
static inline bool spin_is_locked(const struct spinlock *l)
{
	return atomic_load32(&l->served) != atomic_load32(&l->next);
}

#endif

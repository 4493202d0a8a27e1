/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device's one-shot timer in its VM's time. Stopping the VM's clock stops it.
 *
 * The device's lock guards it. Its function takes that lock, so when it is called the deadline may
 * just have been moved: it must look at the device anew and may find that nothing is due.
 */
#ifndef SLUICE_VM_DEV_VTIMER_H
#define SLUICE_VM_DEV_VTIMER_H

#include "lib/spinlock.h"
#include "vm/clock.h"
#include "vm/timer.h"

struct vtimer {
	struct timer timer;
	const struct vclock *clock;
	uint64_t deadline; /* ns of the VM's clock; VCLOCK_NEVER: not waiting */
};

/* `fn` gets &t->timer; see timer_init. `clock` is borrowed. */
static inline void vtimer_init(struct vtimer *t, const struct vclock *clock,
			       void (*fn)(struct timer *))
{
	timer_init(&t->timer, fn);
	t->clock = clock;
	t->deadline = VCLOCK_NEVER;
}

static inline uint64_t vtimer_now(const struct vtimer *t)
{
	return vclock_now(t->clock);
}

/* Waits again for what it waited for, after the clock was started. Device lock held. */
static inline void vtimer_resume(struct vtimer *t)
{
	timer_arm(&t->timer, vclock_to_host(t->clock, t->deadline));
}

/* Moves or, with VCLOCK_NEVER, cancels it. While the clock stands the deadline is only noted.
 * Device lock held. */
static inline void vtimer_set(struct vtimer *t, uint64_t vm_ns)
{
	if (t->deadline == VCLOCK_NEVER && vm_ns == VCLOCK_NEVER)
		return;
	t->deadline = vm_ns;
	vtimer_resume(t);
}

/* The clock was stopped, or the object is about to go away: after the return the function is not
 * running and will not be called. `lock` is the device's, NOT held. */
static inline void vtimer_pause(struct vtimer *t, struct spinlock *lock)
{
	/* A function that still saw the clock run arms it under the lock: that is over then. */
	spin_lock(lock);
	spin_unlock(lock);
	timer_cancel_sync(&t->timer);
}

#endif

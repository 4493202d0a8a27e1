/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device's one-shot timer in its VM's time. Stopping the VM's clock stops it.
 *
 * The device's lock guards it, so it can be late but never lost: its function must look at the
 * device anew and find that nothing is due when it was called for a deadline that has since been
 * moved. That is also why setting it to VCLOCK_NEVER leaves the host timer alone: a cancel would
 * wait for a function that waits for our lock.
 */
#ifndef SLUICE_VM_DEV_VTIMER_H
#define SLUICE_VM_DEV_VTIMER_H

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
	uint64_t host = vclock_to_host(t->clock, t->deadline);

	if (host != VCLOCK_NEVER)
		timer_arm(&t->timer, host);
}

/* Device lock held. While the clock stands the deadline is only noted. */
static inline void vtimer_set(struct vtimer *t, uint64_t vm_ns)
{
	t->deadline = vm_ns;
	vtimer_resume(t);
}

/* Before the object goes away, or when the clock was stopped. Device lock NOT held. */
static inline void vtimer_pause(struct vtimer *t)
{
	timer_cancel_sync(&t->timer);
}

#endif

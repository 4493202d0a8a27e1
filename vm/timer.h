/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One-shot timers in host time. Each pCPU has a queue (a pairing heap linked through the timers, so
 * arming cannot fail) and keeps its hardware timer set to the earliest deadline.
 */
#ifndef SLUICE_VM_TIMER_H
#define SLUICE_VM_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/spinlock.h"

#define TIMER_NEVER UINT64_MAX

struct timer_queue;

/* Owned by whoever embeds it; nobody but vm/timer.c looks inside. */
struct timer {
	uint64_t deadline; /* ns of machine_now */
	void (*fn)(struct timer *t);
	struct timer_queue *queue; /* the one it was armed on last */
	struct timer *child;	   /* leftmost child */
	struct timer *next;	   /* right sibling */
	struct timer *prev;	   /* left sibling, or the parent of a leftmost child */
	bool armed;
};

/* One per pCPU. */
struct timer_queue {
	struct spinlock lock;
	struct timer *root;    /* earliest deadline */
	struct timer *running; /* whose fn is being called now */
	uint64_t hw_deadline;  /* what the pCPU's hardware timer was last set to */
	unsigned cpu;
};

/* `fn` runs on the pCPU that armed the timer, from its main loop: interrupts off, no lock held. It
 * may arm and cancel any timer, its own included, and free the object `t` is in. */
void timer_init(struct timer *t, void (*fn)(struct timer *t));

/*
 * Fires once at `host_deadline_ns` or as soon after as the main loop comes round; a deadline in the
 * past fires in the next round. An armed timer is moved. TIMER_NEVER cancels. The timer goes to the
 * queue of the pCPU that calls.
 */
void timer_arm(struct timer *t, uint64_t host_deadline_ns);

/*
 * After the return fn is not called any more until the timer is armed again, and a call that was
 * going on on another pCPU is over: the object may be freed. So the caller must not hold a lock
 * that fn takes. Inside its own fn, or unarmed, a no-op.
 */
void timer_cancel(struct timer *t);

bool timer_armed(const struct timer *t);

/* For the main loop. */
void timer_queue_init(struct timer_queue *q, unsigned cpu);

/* Calls every timer of this pCPU that is due, then sets the hardware to the next. Timers that fn
 * arms in the past wait for the next call, so this always ends. */
void timer_queue_run(struct timer_queue *q);

#endif

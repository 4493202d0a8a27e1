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
	uint64_t order;	   /* of arming: equal deadlines fire first come, first served */
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
	uint64_t armed;	       /* timers ever armed on it: gives `order` */
	uint64_t now;	       /* when the run that is going on began */
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
 * The timer is not armed any more. A call of fn that is going on on another pCPU is not waited for
 * (fn takes its device's lock and looks again), so this may be called with that lock held.
 * Concurrent calls of timer_arm and timer_cancel for one timer are serialised by its owner.
 */
void timer_cancel(struct timer *t);

/*
 * The same, and a call of fn on another pCPU has returned as well: the object may be freed. The
 * caller holds no lock that fn takes. Inside the timer's own fn it does not wait for itself.
 */
void timer_cancel_sync(struct timer *t);

bool timer_armed(const struct timer *t);

/* For the main loop. */
void timer_queue_init(struct timer_queue *q, unsigned cpu);

/* After the hardware timer fired: calls every timer of this pCPU that is due, then sets the
 * hardware to the next. Timers that fn arms into the past wait for the next call, so this always
 * ends. */
void timer_queue_run(struct timer_queue *q);

#endif

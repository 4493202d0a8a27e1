/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Timer queues: a pairing heap for each pCPU. Arming is O(1), cancelling and taking the earliest
 *are O(log n) amortised, and no memory is allocated.
 *
 *	root --child--> first --next--> second --next--> ...
 *	     <--prev---       <--prev--
 *
 * A parent fires before its children; siblings are in no order.
 */
#include "vm/timer.h"

#include <stddef.h>

#include "arch/hw.h"
#include "arch/machine.h"
#include "lib/check.h"
#include "lib/util.h"
#include "vm/pcpu.h"

static bool earlier(const struct timer *a, const struct timer *b)
{
	return a->deadline != b->deadline ? a->deadline < b->deadline : a->order < b->order;
}

/* Joins two heaps, either of which may be empty; roots have no siblings and no parent. */
static struct timer *meld(struct timer *a, struct timer *b)
{
	struct timer *top, *sub;

	if (!a || !b)
		return a ? a : b;
	top = earlier(b, a) ? b : a;
	sub = top == a ? b : a;
	sub->next = top->child;
	if (sub->next)
		sub->next->prev = sub;
	sub->prev = top;
	top->child = sub;
	return top;
}

/* Makes one heap of a list of siblings: pairs from the left, then all pairs from the right. */
static struct timer *meld_siblings(struct timer *first)
{
	struct timer *pairs = NULL, *all = NULL;

	while (first) {
		struct timer *a = first, *b = a->next, *pair;

		first = b ? b->next : NULL;
		a->next = a->prev = NULL;
		if (b)
			b->next = b->prev = NULL;
		pair = meld(a, b);
		pair->next = pairs; /* a stack, so that the second pass goes from the right */
		pairs = pair;
	}
	while (pairs) {
		struct timer *pair = pairs;

		pairs = pair->next;
		pair->next = NULL;
		all = meld(all, pair);
	}
	return all;
}

/* Caller holds q->lock; t is in q's heap. */
static void heap_remove(struct timer_queue *q, struct timer *t)
{
	struct timer *rest = meld_siblings(t->child);

	if (t == q->root) {
		q->root = rest;
	} else {
		if (t->prev->child == t)
			t->prev->child = t->next;
		else
			t->prev->next = t->next;
		if (t->next)
			t->next->prev = t->prev;
		q->root = meld(q->root, rest);
	}
	t->child = t->next = t->prev = NULL;
	t->armed = false;
}

/* Caller holds q->lock and runs on q's pCPU. */
static void set_hardware(struct timer_queue *q)
{
	uint64_t want = q->root ? q->root->deadline : TIMER_NEVER;

	if (want == q->hw_deadline)
		return;
	q->hw_deadline = want;
	machine_timer_set(want);
}

void timer_init(struct timer *t, void (*fn)(struct timer *t))
{
	*t = (struct timer){.fn = fn};
}

void timer_arm(struct timer *t, uint64_t host_deadline_ns)
{
	struct timer_queue *q = &this_pcpu()->timers;

	timer_cancel(t);
	if (host_deadline_ns == TIMER_NEVER)
		return;
	spin_lock(&q->lock);
	t->queue = q;
	/* Armed by a timer of the run that is going on, into the past: behind all that are due, so
	 * that it hides none of them. */
	t->deadline = q->running ? max_u64(host_deadline_ns, q->now) : host_deadline_ns;
	t->order = q->armed++;
	t->armed = true;
	q->root = meld(q->root, t);
	/* While timers run, timer_queue_run sets the hardware once at its end. */
	if (!q->running)
		set_hardware(q);
	spin_unlock(&q->lock);
}

void timer_cancel(struct timer *t)
{
	struct timer_queue *q = t->queue;

	if (!q)
		return;
	spin_lock(&q->lock);
	if (t->armed) {
		heap_remove(q, t);
		/* Another pCPU's hardware cannot be set from here; at worst it fires for nothing.
		 */
		if (q == &this_pcpu()->timers && !q->running)
			set_hardware(q);
	}
	spin_unlock(&q->lock);
}

/*
 * Is its fn going on on another pCPU? Each is asked: it may have been armed anew, on this one or a
 * third, since that one took it.
 */
static bool runs_elsewhere(const struct timer *t)
{
	bool running = false;

	for (unsigned i = 0; i < MAX_PCPUS && !running; i++) {
		struct pcpu *p = pcpu_get(i);

		if (!p || p == this_pcpu())
			continue;
		spin_lock(&p->timers.lock);
		running = p->timers.running == t;
		spin_unlock(&p->timers.lock);
	}
	return running;
}

/* A function that is going on may arm its timer once more, so look at both in one go. */
void timer_cancel_sync(struct timer *t)
{
	for (;;) {
		timer_cancel(t);
		if (!t->queue || (!runs_elsewhere(t) && !timer_armed(t)))
			return;
		hw_relax();
	}
}

bool timer_armed(const struct timer *t)
{
	return t->armed;
}

void timer_queue_init(struct timer_queue *q, unsigned cpu)
{
	*q = (struct timer_queue){.lock = SPINLOCK_INIT, .hw_deadline = TIMER_NEVER, .cpu = cpu};
}

/*
 * The earliest timer that is due, taken out; NULL when there is none. One that was armed during
 * this run waits for the next: a device whose period is shorter than its fn takes would keep the
 * main loop here for ever. timer_arm has sorted it behind all others that are due.
 */
static struct timer *take_due(struct timer_queue *q, uint64_t first_new)
{
	struct timer *t = q->root;

	if (!t || t->deadline > q->now || t->order >= first_new)
		return NULL;
	heap_remove(q, t);
	q->running = t;
	return t;
}

void timer_queue_run(struct timer_queue *q)
{
	uint64_t now = machine_now(), first_new;
	struct timer *t;

	spin_lock(&q->lock);
	CHECK(!q->running);
	q->now = now;
	first_new = q->armed;
	while ((t = take_due(q, first_new)) != NULL) {
		spin_unlock(&q->lock);
		t->fn(t);
		spin_lock(&q->lock);
		q->running = NULL;
	}
	/* The one-shot has fired, maybe a little early: whatever it was set to, set it again. */
	q->hw_deadline = TIMER_NEVER;
	set_hardware(q);
	spin_unlock(&q->lock);
}

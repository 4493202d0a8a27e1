/* SPDX-License-Identifier: BSD-2-Clause */
/* The queue of dead frames, oldest first. See mm/reclaim.h. */
#include "mm/reclaim.h"

#include "lib/check.h"
#include "lib/spinlock.h"
#include "lib/util.h"
#include "mm/frame.h"
#include "mm/frames.h"

static const struct reclaim_agents *agents;

static struct spinlock lock = SPINLOCK_INIT; /* leaf, but the agents may be asked under it */
static struct reclaim_list queue;

void reclaim_init(const struct reclaim_agents *a)
{
	agents = a;
	queue = (struct reclaim_list){0};
}

static void list_append(struct reclaim_list *l, struct frame *f)
{
	f->dead.next = NULL;
	if (l->last)
		l->last->dead.next = f;
	else
		l->first = f;
	l->last = f;
}

static struct frame *list_pop(struct reclaim_list *l)
{
	struct frame *f = l->first;

	l->first = f->dead.next;
	if (!l->first)
		l->last = NULL;
	return f;
}

bool reclaim_add(struct reclaim_list *l, pa_t pa, unsigned order)
{
	struct frame *f = frame_at(pa);
	uint8_t none = 0;

	if (!atomic_cas8(&f->dead_order, &none, (uint8_t)(order + 1)))
		return false;
	list_append(l, f);
	l->pages += BIT(order);
	return true;
}

/* The mark goes before the reference: whoever gets the frame next may queue it again. */
static uint64_t release(struct frame *f)
{
	unsigned order = atomic_load8(&f->dead_order) - 1u;

	atomic_store8_rel(&f->dead_order, 0);
	frames_put(frame_pa(f), order);
	return BIT(order);
}

void reclaim_release(struct reclaim_list *l)
{
	while (l->first)
		release(list_pop(l));
	l->pages = 0;
}

void reclaim_queue(struct reclaim_list *l, uint64_t space, uint64_t epoch)
{
	if (!l->first)
		return;
	for (struct frame *f = l->first; f; f = f->dead.next) {
		f->dead.space = space;
		f->dead.epoch = epoch;
	}
	spin_lock(&lock);
	if (queue.last)
		queue.last->dead.next = l->first;
	else
		queue.first = l->first;
	queue.last = l->last;
	queue.pages += l->pages;
	spin_unlock(&lock);
	*l = (struct reclaim_list){0};
}

/* Moves up to `budget` passed blocks from the head of the queue to *l. Asks once per batch. */
static void take_passed(struct reclaim_list *l, uint64_t budget)
{
	uint64_t space = 0, epoch = 0;

	spin_lock(&lock);
	for (; budget && queue.first; budget--) {
		struct frame *f = queue.first;

		if (f->dead.space != space || f->dead.epoch != epoch) {
			if (agents->behind(f->dead.space, f->dead.epoch))
				break;
			space = f->dead.space;
			epoch = f->dead.epoch;
		}
		list_pop(&queue);
		list_append(l, f);
		l->pages += BIT(atomic_load8(&f->dead_order) - 1u);
	}
	spin_unlock(&lock);
}

uint64_t reclaim_poll(uint64_t budget)
{
	struct reclaim_list l = {0};
	uint64_t pages;

	if (!agents)
		return 0;
	take_passed(&l, budget);
	pages = l.pages;
	reclaim_release(&l);
	if (pages) {
		/* Still counted as waiting until they are free: a promise may rely on them. */
		spin_lock(&lock);
		queue.pages -= pages;
		spin_unlock(&lock);
	}
	return pages;
}

/* What the oldest entry waits for; false when the queue is empty. */
static bool oldest(uint64_t *space, uint64_t *epoch)
{
	bool any;

	spin_lock(&lock);
	any = queue.first;
	if (any) {
		*space = queue.first->dead.space;
		*epoch = queue.first->dead.epoch;
	}
	spin_unlock(&lock);
	return any;
}

uint64_t reclaim_force(void)
{
	uint64_t freed = 0, goal = reclaim_pending(), space, epoch;

	while (freed < goal && oldest(&space, &epoch)) {
		agents->wait(space, epoch);
		freed += reclaim_poll(UINT64_MAX);
	}
	return freed;
}

uint64_t reclaim_pending(void)
{
	uint64_t pages;

	spin_lock(&lock);
	pages = queue.pages;
	spin_unlock(&lock);
	return pages;
}

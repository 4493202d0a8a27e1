/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reclaim: references to dead frames, each held until every agent that might still reach the frame
 * has passed the epoch of the space that gave it up. Links live in the frame descriptors: stale
 * guest stores and hardware accessed/dirty updates can still land in the frames themselves.
 *
 * A frame can wait once at a time; reclaim_add says so and the caller settles at once instead.
 */
#ifndef SLUICE_MM_RECLAIM_H
#define SLUICE_MM_RECLAIM_H

#include <stdbool.h>
#include <stdint.h>

#include "mm/types.h"

struct frame;

/* Dead frames of one batch, not queued yet. Belongs to one pCPU. Zero is the empty list. */
struct reclaim_list {
	struct frame *first, *last;
	uint64_t pages;
};

/* How reclaim asks and forces the agents; tlbi/agent.c provides it. */
struct reclaim_agents {
	bool (*behind)(uint64_t space, uint64_t epoch); /* may anyone still reach what died then? */
	void (*wait)(uint64_t space, uint64_t epoch);	/* makes them pass; returns when all have */
};

void reclaim_init(const struct reclaim_agents *agents);

/* Hands one reference to 1 << order frames at `pa` to the list; false: they wait already, nothing
 * done. */
bool reclaim_add(struct reclaim_list *l, pa_t pa, unsigned order);

/* Drops the references of a settled batch; the list is empty then. */
void reclaim_release(struct reclaim_list *l);

/* Queues the batch until nobody is behind `epoch` of space id `space`; the list is empty then. */
void reclaim_queue(struct reclaim_list *l, uint64_t space, uint64_t epoch);

/* Releases up to `budget` blocks that everybody has passed, oldest first. Returns how many frames.
 */
uint64_t reclaim_poll(uint64_t budget);

/*
 * Makes the agents pass and releases what was queued before the call. Returns how many frames it
 * released itself: 0 when nothing waited. Waits; not in a reader section.
 */
uint64_t reclaim_force(void);

/* Frames that wait. */
uint64_t reclaim_pending(void);

#endif

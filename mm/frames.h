/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Machine memory in frames of 4 KiB: a buddy allocator for blocks of 4 KiB << order up to 1 GiB, a
 * descriptor per frame, and an account of what is promised.
 *
 * Every allocated frame has a reference count. A block is a run of frames whose counts are equal;
 * taking or dropping a reference to a part of a block splits it as needed, so callers think in
 * frames and pay for blocks. A frame is free again when its last reference goes.
 *
 * All functions take the allocator's lock for a bounded time; it is a leaf lock.
 */
#ifndef SLUICE_MM_FRAMES_H
#define SLUICE_MM_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mm/types.h"

#define FRAME_MAX_ORDER 18 /* 1 GiB */

/* All in frames. */
struct frames_stat {
	uint64_t total;	   /* handed to the allocator: usable memory less the descriptors */
	uint64_t free;	   /* in no use */
	uint64_t reserved; /* promised by frames_reserve, not allocated yet; part of free or of
			      pending */
	uint64_t pending;  /* dead, but some agent may still reach them (mm/reclaim.h) */
	uint64_t overhead; /* descriptors */
	uint64_t largest;  /* the largest free block */
};

/* A promise: allocations that name it cannot fail until it is used up. Zero is the empty one. */
struct frames_reserve {
	uint64_t pages;
};

/*
 * Takes over the memory of `usable`: any number of ranges in any order, which may be unaligned,
 * overlap, be empty or wrap (those are ignored). Only frames that lie wholly in one range are used;
 * frame 0 never is. Returns -ENOMEM when there is nothing to allocate from. Called once, before
 * other pCPUs run.
 */
int frames_init(const struct mem_range *usable, size_t n);

struct frames_stat frames_stat(void);

/* Promises `pages` more to *r, or returns -ENOMEM and changes nothing. */
int frames_reserve(struct frames_reserve *r, uint64_t pages);

/* Gives the unused part of the promise back. */
void frames_unreserve(struct frames_reserve *r);

/*
 * A block of 1 << order frames, aligned to its size, with one reference and unknown contents. From
 * the promise *r (single frames never fail then; larger blocks return -ENOMEM when memory is
 * fragmented), or with r == NULL from what nobody was promised. Under pressure this waits for dead
 * frames (kicking pCPUs out of their guests): not to be called inside a reader section.
 */
int frames_alloc(struct frames_reserve *r, unsigned order, pa_t *out);

/* As frames_alloc, but does not wait: -ENOMEM when there is no such block now. */
int frames_try_alloc(struct frames_reserve *r, unsigned order, pa_t *out);

/* One more, one fewer reference to each of the 1 << order frames at `pa`, which are allocated. */
void frames_get(pa_t pa, unsigned order);
void frames_put(pa_t pa, unsigned order);

/* True when nobody has a second reference to any of the 1 << order allocated frames at `pa`. */
bool frames_exclusive(pa_t pa, unsigned order);

/* Undoes frames_alloc(r, order, &pa) for a block that nobody else has a reference to. */
void frames_unalloc(struct frames_reserve *r, pa_t pa, unsigned order);

/* True when `pa` lies in memory that frames_init took. */
bool frames_owns(pa_t pa);

/* References to the frame at `pa`; 0 when it is free. For reports and tests. */
uint32_t frames_refs(pa_t pa);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frame descriptors: private to mm/. One per frame, in an array at an end of the stretch of memory
 * that it describes. Fields belong to the allocator's lock unless said otherwise.
 */
#ifndef SLUICE_MM_FRAME_H
#define SLUICE_MM_FRAME_H

#include <stdint.h>

#include "lib/atomic.h"
#include "mm/types.h"

enum frame_state {
	FRAME_INNER, /* not the first frame of a block: what counts is in the first one's descriptor
		      */
	FRAME_FREE,  /* first of a free block */
	FRAME_USED,  /* first of an allocated block */
	FRAME_CUT,   /* an allocated frame cut into kalloc's objects: FRAME_CUT + their class */
};

struct frame {
	union {
		struct { /* FRAME_FREE: the list of its order */
			struct frame *next, *prev;
		} free;
		/*
		 * Waits for reclaim (any frame of an allocated block): the owner of the list or the
		 * queue's lock.
		 */
		struct {
			struct frame *next;
			uint64_t space, epoch;
		} dead;
		struct { /* kalloc's pages of small objects: kalloc's lock */
			struct frame *next, *prev;
			void *free; /* objects, linked by their first word */
		} slab;
	};
	uint32_t refs;	      /* of every frame of the block */
	uint8_t order;	      /* of the block */
	uint8_t state;	      /* enum frame_state */
	atomic_u8 dead_order; /* 0, or 1 + order of the leaf that waits from here on */
	union {
		uint8_t slab_used; /* FRAME_CUT: objects in use, 0 when it goes */
		atomic_u8 ledger;  /* any other frame of a block: enum ledger_note */
	};
};

/* What mm/ledger.c knows of a frame. */
enum ledger_note {
	LEDGER_UNKNOWN,	 /* caches may hold lines that memory does not know of, or the reverse */
	LEDGER_CLEAN,	 /* memory has it all, no cache anything else */
	LEDGER_MAYBE_NC, /* mapped: a guest may access it past the caches */
};

_Static_assert(sizeof(struct frame) == 32, "128 descriptors fill a frame");

/* The descriptor of the frame at `pa`, which the allocator owns. */
struct frame *frame_at(pa_t pa);

/* Its inverse. */
pa_t frame_pa(const struct frame *f);

/* Changes the state of an allocated block: who frees its buddy looks at it at any time. */
void frame_set_state(struct frame *f, unsigned state);

#endif

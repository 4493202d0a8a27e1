/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A space: one guest-physical address space, as far as stale translations are concerned.
 *
 * The epoch counts batches of reductions (present -> absent, fewer permissions, another frame,
 * memory type or size, a freed table, a changed root). Somebody who flushed after sampling epoch E
 * holds nothing that a batch up to E took away.
 */
#ifndef SLUICE_TLBI_SPACE_H
#define SLUICE_TLBI_SPACE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/atomic.h"
#include "lib/spinlock.h"
#include "mm/types.h"

struct tlbi_gather;

/* What a batch reduced: [start, end), bit n of levels for leaves of level n. */
struct tlbi_range {
	uint64_t start, end;
	uint8_t levels;
};

#define TLBI_OWED_RANGES 4

/* Reductions that broadcast commands are still to be given for (tlbi/broadcast.h). */
struct tlbi_owed {
	struct spinlock lock; /* held while they are given; leaf, but hardware is waited for */
	unsigned n;
	struct tlbi_range ranges[TLBI_OWED_RANGES];
};

struct space {
	uint64_t id;	      /* never 0, never used again */
	pa_t root;	      /* the root table's frame; constant */
	atomic_u64 epoch;     /* moves under `lock` */
	atomic_u64 settled;   /* every agent is known to have passed this epoch */
	struct spinlock lock; /* structure changes; comes before the allocator's lock */
	bool dead;	      /* nobody enters or reads it any more; under `lock` */

	/* arm64 */
	atomic_u64 vmid;	   /* tlbi/vmid.c */
	atomic_u64 flushed;	   /* commands for every batch up to this epoch are complete */
	struct tlbi_owed owed;	   /* for the batches after it */
	struct space *next_living; /* tlbi/vmid.c */
};

/* Witness of a held lock: only space_lock makes one, and structure changes ask for it. */
struct space_locked {
	struct space *space;
};

void space_init(struct space *s, pa_t root);

/*
 * The space's end, before its tables are taken apart: nobody enters or reads it again. Frames and
 * tables that it gives up from now on owe no flush, only that no pCPU has its root loaded.
 */
void space_retire(struct space_locked locked);

/* Not in a reader section. */
struct space_locked space_lock(struct space *s);

/*
 * Before the lock goes, what the batch `g` reduced gets its epoch (gather_issue), so that two
 * batches never share one. g may be settled already.
 */
void space_unlock(struct space_locked locked, struct tlbi_gather *g);

static inline uint64_t space_epoch(const struct space *s)
{
	return atomic_load64_acq(&s->epoch);
}

/* True when some agent may still use a translation that a batch up to `epoch` took away. */
bool space_behind(struct space *s, uint64_t epoch);

/*
 * Asks every agent that is behind to pass, without waiting for any. arm64: gives the commands that
 * are owed, and waits for those.
 */
void space_force(struct space *s, uint64_t epoch);

/* Waits until nobody is behind. Not in a reader section. */
void space_wait(struct space *s, uint64_t epoch);

#endif

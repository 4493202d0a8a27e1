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

struct space {
	uint64_t id;	      /* never 0, never used again */
	pa_t root;	      /* the root table's frame; constant */
	atomic_u64 epoch;     /* moves under `lock` */
	atomic_u64 settled;   /* every agent is known to have passed this epoch */
	struct spinlock lock; /* structure changes; comes before the allocator's lock */
};

/* Witness of a held lock: only space_lock makes one, and structure changes ask for it. */
struct space_locked {
	struct space *space;
};

void space_init(struct space *s, pa_t root);

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

/* Asks every agent that is behind to pass, without waiting. */
void space_force(struct space *s, uint64_t epoch);

#endif

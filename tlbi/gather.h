/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The gather: what a batch of changes to a space still owes. Every function that can reduce a
 * translation takes one, so nobody can forget that there is something to settle.
 *
 *   CLEAN --reduce--> OWED --gather_issue (epoch moves)--> ISSUED --settle--> COMPLETE
 *
 * Two ways to settle. gather_sync: when it returns, nothing that the batch took away is reachable.
 * gather_defer: frames go to reclaim and come back when nothing can reach them; only for a batch
 * that did nothing but present -> absent (it settles at once otherwise).
 */
#ifndef SLUICE_TLBI_GATHER_H
#define SLUICE_TLBI_GATHER_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/util.h"
#include "mm/reclaim.h"
#include "tlbi/space.h"

enum gather_state { GATHER_CLEAN, GATHER_OWED, GATHER_ISSUED, GATHER_COMPLETE };

struct tlbi_gather {
	struct space *space;
	enum gather_state state;
	bool must_sync;		  /* something other than present -> absent */
	bool by_page;		  /* arm64: each leaf is settled with hardware as it is recorded */
	bool ledger;		  /* arm64: caches need care (mm/ledger.h) */
	bool tables;		  /* walk caches may hold dead tables */
	uint8_t levels;		  /* bit n: a leaf of level n was reduced */
	uint64_t start, end;	  /* hull of what was reduced, guest-physical */
	uint64_t epoch;		  /* of the batch, once issued */
	struct reclaim_list dead; /* leaf frames and tables: one reference each */
};

/* Declares a gather for `space`; leaving its scope unsettled stops the machine. */
#define TLBI_GATHER(name, sp)                                                                      \
	struct tlbi_gather name __attribute__((cleanup(gather_assert_settled))) = {.space = (sp)}

void gather_assert_settled(const struct tlbi_gather *g);

/* What the translation [at, at + size) of a leaf of `level` was reduced by. */
enum gather_reduction {
	GATHER_ABSENT,	/* it is gone */
	GATHER_CHANGED, /* it is another one: permissions, frame, memory type or size */
};

/* The part of gather_leaf that the leaves of a run do not need. */
void gather_first(struct tlbi_gather *g, ipa_t at, unsigned level);

/* Records a reduction that was just made; space lock held. Inline: once per entry of a range. */
static inline void gather_leaf(struct tlbi_gather *g, ipa_t at, uint64_t size, unsigned level,
			       enum gather_reduction what)
{
	if (g->state != GATHER_OWED || g->by_page)
		gather_first(g, at, level);
	g->start = min_u64(g->start, at.v);
	g->end = max_u64(g->end, at.v + size);
	g->levels |= (uint8_t)BIT(level);
	g->must_sync |= what == GATHER_CHANGED;
}

/*
 * Hands over the reference that the batch's dead leaf held to 1 << order frames; `used`: it may
 * have been accessed through that leaf. When the frames wait for another space already, everything
 * so far is settled on the spot (the pCPU waits).
 */
void gather_frame(struct tlbi_gather *g, pa_t pa, unsigned order, bool used);

/* Hands over a table that was unlinked and frozen; it translated from `at` on. */
void gather_table(struct tlbi_gather *g, ipa_t at, pa_t table);

/*
 * An operation found nothing to reduce: entries that say already what it wanted. Somebody else may
 * have made them so and not settled yet; what is owed for that, the batch owes as well. `sync`: it
 * may not be deferred. Nothing to do when the batch has reductions of its own, whose epoch is
 * later. Space lock held.
 */
void gather_adopt(struct tlbi_gather *g, bool sync);

/* Gives the batch its epoch, after its last entry; space lock held. Idempotent. */
void gather_issue(struct tlbi_gather *g);

/* Settle. The lock is released (gather issued), or still held: then the batch is issued here. */
void gather_sync(struct tlbi_gather *g);
void gather_defer(struct tlbi_gather *g);

#endif

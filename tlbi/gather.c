/* SPDX-License-Identifier: BSD-2-Clause */
/* The life of a gather. See tlbi/gather.h. */
#include "tlbi/gather.h"

#include "arch/hw.h"
#include "lib/check.h"
#include "lib/util.h"
#include "mm/frames.h"
#include "mm/ledger.h"
#include "tlbi/agent.h"
#include "tlbi/broadcast.h"

/* Blocks that a deferring pCPU releases on the way, so that reclaim keeps pace without a timer. */
#define DEFER_BUDGET 1024

void gather_assert_settled(const struct tlbi_gather *g)
{
	CHECK(g->state == GATHER_CLEAN || g->state == GATHER_COMPLETE);
	CHECK(!g->dead.first);
}

/* A batch of which nothing is known yet. */
static void begin(struct tlbi_gather *g, enum gather_state state)
{
	*g = (struct tlbi_gather){.space = g->space, .state = state, .start = UINT64_MAX};
	g->by_page = broadcast_by_page();
	g->ledger = ledger_in_use();
}

/*
 * The batch owes something from here on. A settled gather may begin another batch; one that was
 * issued goes on, and the later epoch covers both.
 */
static void owe(struct tlbi_gather *g)
{
	CHECK(spin_is_locked(&g->space->lock));
	if (g->state == GATHER_ISSUED)
		g->state = GATHER_OWED;
	if (g->state == GATHER_OWED)
		return;
	begin(g, GATHER_OWED);
}

void gather_first(struct tlbi_gather *g, ipa_t at, unsigned level)
{
	owe(g);
	if (g->by_page)
		broadcast_leaf(g->space, at, level);
}

void gather_frame(struct tlbi_gather *g, pa_t pa, unsigned order, bool used)
{
	CHECK(g->state == GATHER_OWED);
	if (g->ledger)
		ledger_unmap(pa, order, used, g->by_page);
	if (reclaim_add(&g->dead, pa, order))
		return;
	gather_sync(g);
	frames_put(pa, order);
}

void gather_table(struct tlbi_gather *g, ipa_t at, pa_t table)
{
	owe(g);
	g->tables = true;
	if (broadcast_in_use())
		broadcast_table(g->space, at);
	/* Nobody else refers to a table, so it cannot wait twice. */
	CHECK(reclaim_add(&g->dead, table, 0));
}

void gather_adopt(struct tlbi_gather *g, bool sync)
{
	uint64_t epoch = space_epoch(g->space);

	CHECK(spin_is_locked(&g->space->lock));
	if (g->state == GATHER_OWED || !space_behind(g->space, epoch))
		return;
	if (g->state != GATHER_ISSUED)
		begin(g, GATHER_ISSUED);
	g->epoch = epoch;
	g->must_sync |= sync;
}

void gather_issue(struct tlbi_gather *g)
{
	struct space *s = g->space;

	if (g->state != GATHER_OWED)
		return;
	CHECK(spin_is_locked(&s->lock));
	/* The entries first: who sees the new epoch and flushes must not find the old ones again.
	 */
	if (broadcast_in_use()) {
		broadcast_barrier(HW_BARRIER_ENTRIES);
		g->epoch = broadcast_issue(s, g->start, g->by_page ? 0 : g->end, g->levels);
	} else {
		hw_barrier(HW_BARRIER_ENTRIES);
		g->epoch = atomic_load64(&s->epoch) + 1;
		atomic_store64_rel(&s->epoch, g->epoch);
	}
	g->state = GATHER_ISSUED;
}

void gather_sync(struct tlbi_gather *g)
{
	gather_issue(g);
	if (g->state != GATHER_ISSUED)
		return;
	space_wait(g->space, g->epoch);
	reclaim_release(&g->dead);
	g->state = GATHER_COMPLETE;
}

void gather_defer(struct tlbi_gather *g)
{
	gather_issue(g);
	if (g->state != GATHER_ISSUED)
		return;
	if (g->must_sync) {
		gather_sync(g);
		return;
	}
	reclaim_queue(&g->dead, g->space->id, g->epoch);
	g->state = GATHER_COMPLETE;
	reclaim_poll(DEFER_BUDGET);
}

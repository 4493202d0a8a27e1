/* SPDX-License-Identifier: BSD-2-Clause */
/* Identity, lock and epochs of a space. See tlbi/space.h. */
#include "tlbi/space.h"

#include "lib/check.h"
#include "tlbi/agent.h"
#include "tlbi/broadcast.h"
#include "tlbi/gather.h"
#include "tlbi/vmid.h"

static atomic_u64 last_id;

void space_init(struct space *s, pa_t root)
{
	*s = (struct space){.id = atomic_add64(&last_id, 1) + 1, .root = root, .epoch = {1}};
	atomic_store64(&s->settled, 1);
	atomic_store64(&s->flushed, 1);
}

void space_retire(struct space_locked locked)
{
	locked.space->dead = true;
	if (broadcast_in_use())
		vmid_retire(locked.space);
}

struct space_locked space_lock(struct space *s)
{
	/* The holder may wait for readers: one that waits for the holder would wait for ever. */
	CHECK(!reader_active());
	spin_lock(&s->lock);
	return (struct space_locked){s};
}

void space_unlock(struct space_locked locked, struct tlbi_gather *g)
{
	CHECK(g->space == locked.space);
	gather_issue(g);
	spin_unlock(&locked.space->lock);
}

bool space_behind(struct space *s, uint64_t epoch)
{
	uint64_t settled = atomic_load64_acq(&s->settled);

	if (epoch <= settled)
		return false;
	/* Of a batch that is still open: who enters now would not flush for it. */
	if (epoch > space_epoch(s))
		return true;
	/* Commands that are owed are known here; by id they would have to be searched for. */
	if (broadcast_in_use() && !s->dead) {
		if (broadcast_behind(s, epoch) || readers_behind(s->id, epoch))
			return true;
	} else if (agents_behind(s->id, epoch)) {
		return true;
	}
	while (settled < epoch && !atomic_cas64(&s->settled, &settled, epoch))
		;
	return false;
}

void space_wait(struct space *s, uint64_t epoch)
{
	while (space_behind(s, epoch)) {
		/* By id only a space that was entered once is found. */
		if (broadcast_in_use())
			space_force(s, epoch);
		agents_wait(s->id, epoch);
	}
}

void space_force(struct space *s, uint64_t epoch)
{
	if (broadcast_in_use() && !s->dead)
		broadcast_flush(s, epoch);
	else
		agents_force(s->id, epoch);
}

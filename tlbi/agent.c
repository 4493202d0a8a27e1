/* SPDX-License-Identifier: BSD-2-Clause */
/* What each pCPU may still reach, and how to make it let go. See tlbi/agent.h. */
#include "tlbi/agent.h"

#include "arch/hw.h"
#include "lib/check.h"
#include "lib/log.h"
#include "lib/util.h"
#include "tlbi/broadcast.h"
#include "tlbi/vmid.h"

#define REQ_KICK BIT(0) /* a kick is on its way for this entry */

/* One use of a space: guest mode or a reader section. */
struct use {
	atomic_u64 space; /* its id; 0: none. Guest mode: this is the pCPU's mode, IN_GUEST or
			     OUTSIDE */
	atomic_u64 epoch; /* nothing older is reachable */
};

/* A cache line per pCPU: others read it only when they shoot down. */
struct agent {
	struct use guest, reader;
	atomic_u32 requests;
	atomic_u64 kicks, coalesced; /* sent by this pCPU */
} __attribute__((aligned(64)));

static struct agent agents[MAX_PCPUS];
static atomic_u32 nr_agents;

void agent_init(unsigned pcpu)
{
	uint32_t n = atomic_load32(&nr_agents);

	CHECK(pcpu < MAX_PCPUS);
	while (n <= pcpu && !atomic_cas32(&nr_agents, &n, pcpu + 1))
		;
}

/*
 * Begins a use and returns the epoch from which on nothing is owed to it: sampled after the use was
 * published, before anything is flushed.
 *
 * The barrier orders the publication before the sample, against agents_behind's, which orders the
 * move of the epoch before the look at us: one of the two sees the other. The zero goes first, so
 * that nobody takes an epoch of another space for one of this.
 */
static uint64_t use_begin(struct use *u, const struct space *s)
{
	CHECK(atomic_load64(&u->space) == 0);
	atomic_store64(&u->epoch, 0);
	atomic_store64_rel(&u->space, s->id);
	atomic_fence();
	return space_epoch(s);
}

/* Release: what was done with the translations happened before others see that it is over. */
static void use_end(struct use *u)
{
	atomic_store64_rel(&u->space, 0);
}

static bool use_behind(const struct use *u, uint64_t space, uint64_t epoch)
{
	return atomic_load64_acq(&u->space) == space && atomic_load64_acq(&u->epoch) < epoch;
}

uint64_t agent_guest_begin(unsigned pcpu, const struct space *s)
{
	struct agent *a = &agents[pcpu];
	uint64_t epoch;

	CHECK(atomic_load64(&a->reader.space) == 0);
	epoch = use_begin(&a->guest, s);
	/*
	 * A request seen here is served by this entry: it was made after its epoch moved, so sample
	 * again. One made later finds the bit clear and kicks.
	 */
	if (atomic_load32(&a->requests) && atomic_xchg32(&a->requests, 0))
		epoch = space_epoch(s);
	return epoch;
}

void agent_guest_clean(unsigned pcpu, uint64_t epoch)
{
	atomic_store64_rel(&agents[pcpu].guest.epoch, epoch);
}

void agent_guest_end(unsigned pcpu)
{
	hw_barrier(HW_BARRIER_EXIT);
	use_end(&agents[pcpu].guest);
}

bool agent_in_guest(unsigned pcpu)
{
	return atomic_load64(&agents[pcpu].guest.space) != 0;
}

void reader_enter(const struct space *s)
{
	struct use *u = &agents[hw_cpu()].reader;

	atomic_store64_rel(&u->epoch, use_begin(u, s));
}

void reader_exit(void)
{
	use_end(&agents[hw_cpu()].reader);
}

bool reader_active(void)
{
	return atomic_load64(&agents[hw_cpu()].reader.space) != 0;
}

bool readers_behind(uint64_t space, uint64_t epoch)
{
	uint32_t n = atomic_load32_acq(&nr_agents);

	/* The epoch moved before: order that before the look, see use_begin. */
	atomic_fence();
	for (uint32_t i = 0; i < n; i++)
		if (use_behind(&agents[i].reader, space, epoch))
			return true;
	return false;
}

static bool guests_behind(uint64_t space, uint64_t epoch)
{
	uint32_t n = atomic_load32_acq(&nr_agents);

	atomic_fence(); /* the same */
	for (uint32_t i = 0; i < n; i++)
		if (use_behind(&agents[i].guest, space, epoch))
			return true;
	return false;
}

bool agents_behind(uint64_t space, uint64_t epoch)
{
	return (broadcast_in_use() ? vmid_behind(space, epoch) : guests_behind(space, epoch)) ||
	       readers_behind(space, epoch);
}

void agents_force(uint64_t space, uint64_t epoch)
{
	uint32_t n = atomic_load32_acq(&nr_agents);
	struct agent *self = &agents[hw_cpu()];

	if (broadcast_in_use()) {
		vmid_pass(space, epoch);
		return;
	}
	atomic_fence();
	for (uint32_t i = 0; i < n; i++) {
		struct agent *a = &agents[i];

		if (!use_behind(&a->guest, space, epoch))
			continue;
		/* Set already: somebody else's kick ends the same stay in the guest. */
		if (atomic_or32(&a->requests, REQ_KICK) & REQ_KICK) {
			atomic_add64(&self->coalesced, 1);
		} else {
			atomic_add64(&self->kicks, 1);
			hw_kick(i);
		}
	}
}

#define WAIT_TURNS_REPORT BIT(26) /* seconds: nobody stays that long after a kick */

void agents_wait(uint64_t space, uint64_t epoch)
{
	CHECK(!reader_active() && !agent_in_guest(hw_cpu()));
	if (!agents_behind(space, epoch))
		return;
	agents_force(space, epoch);
	for (uint64_t turn = 1; agents_behind(space, epoch); turn++) {
		hw_relax();
		/* Somebody may wait for this pCPU at the same time. */
		if (broadcast_in_use())
			vmid_poll(hw_cpu());
		/* Never presumed clean: whoever does not answer keeps its frames, and us. */
		if (turn % WAIT_TURNS_REPORT == 0)
			log_err("a pCPU does not leave space %llu", (unsigned long long)space);
	}
}

void agent_count_kicks(unsigned pcpu, uint64_t *kicks, uint64_t *coalesced)
{
	*kicks = atomic_load64(&agents[pcpu].kicks);
	*coalesced = atomic_load64(&agents[pcpu].coalesced);
}

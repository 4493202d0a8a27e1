/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two CPUs take turns at a lock; under it each reads its counter and compares with what the one
 * before read. A reading below the one before it means that the counters differ by at least that
 * much, since the lock orders the two. What is seen that way is how far time would go backwards for
 * software, no more and no less, so a difference that nobody can see is none.
 */
#include "arch/x86/tsc_sync.h"

#include "arch/machine.h"
#include "arch/x86/cpu.h"
#include "arch/x86/time.h"
#include "lib/atomic.h"
#include "lib/util.h"

#define ROUNDS	    3	/* of measuring and moving: moving itself takes a while that is not known */
#define TURNS_PER_S 500 /* a 500th of a second for each measurement */
#define PATIENCE_S  5	/* for the other CPU: an emulated one may have to wait for a host CPU */

/* Of the one pair that is at it. */
static struct {
	atomic_u32 next, served; /* a ticket lock whose wait ends: its holder may have died */
	uint64_t last;
	uint64_t behind, ahead; /* the new CPU's counter was seen to be by that much */
	atomic_u32 meeting;	/* counts arrivals: both wait for each other before each step */
	int64_t move;		/* what the new CPU is to add to its counter; 0: nothing */
	int64_t moved;
} pair;

/* Waits until the word has come up to `target`. False when the other CPU took too long. */
static bool wait_for(const atomic_u32 *word, uint32_t target)
{
	uint64_t start = rdtsc_ordered();

	while ((int32_t)(atomic_load32_acq(word) - target) < 0) {
		if (rdtsc_ordered() - start > PATIENCE_S * time_tsc_hz())
			return false;
		cpu_relax();
	}
	return true;
}

/* Both have arrived when the count is even again; neither can be two ahead of the other. */
static bool meet(void)
{
	uint32_t mine = atomic_add32(&pair.meeting, 1);

	return wait_for(&pair.meeting, (mine | 1) + 1);
}

/* Reads in turns for a while and notes in *worst how far the other's reading lay ahead of ours. */
static bool compare(uint64_t *worst)
{
	uint64_t end = rdtsc_ordered() + time_tsc_hz() / TURNS_PER_S, now;

	do {
		uint32_t mine = atomic_add32(&pair.next, 1);

		if (!wait_for(&pair.served, mine))
			return false;
		now = rdtsc_ordered();
		if ((int64_t)(pair.last - now) > (int64_t)*worst)
			*worst = pair.last - now;
		pair.last = now;
		atomic_store32_rel(&pair.served, mine + 1);
	} while ((int64_t)(end - now) > 0);
	return true;
}

uint64_t tsc_sync_boot(int64_t *moved)
{
	uint64_t worst = 0;

	pair.moved = 0;
	for (unsigned i = 0; i < ROUNDS; i++) {
		pair.last = 0;
		pair.behind = pair.ahead = 0;
		if (!meet() || !compare(&pair.ahead) || !meet())
			return UINT64_MAX;
		worst = max_u64(pair.behind, pair.ahead);
		/* Both at once: the counters do not even run alike, there is nothing to add. */
		pair.move = pair.behind && pair.ahead ? 0
			    : pair.behind	      ? (int64_t)pair.behind
						      : -(int64_t)pair.ahead;
		if (i == ROUNDS - 1)
			pair.move = 0;
		pair.moved += pair.move;
		if (!meet()) /* the other one reads how far to move */
			return UINT64_MAX;
		if (!meet()) /* and has moved */
			return UINT64_MAX;
		if (pair.move == 0)
			break;
	}
	*moved = pair.moved;
	return worst;
}

void tsc_sync_abandon(void)
{
	atomic_store32(&pair.meeting, 0);
	atomic_store32(&pair.next, 0);
	atomic_store32(&pair.served, 0);
}

/* IA32_TSC_ADJUST takes a difference, the counter itself only a value that is old by then. */
static void move_counter(int64_t by)
{
	uint64_t adjust;

	if (cpuid_checked(7, 0).ebx & BIT(1) && rdmsr_safe(MSR_TSC_ADJUST, &adjust))
		wrmsr_safe(MSR_TSC_ADJUST, adjust + (uint64_t)by);
	else
		wrmsr_safe(MSR_TSC, rdtsc_ordered() + (uint64_t)by);
}

void tsc_sync_other(void)
{
	int64_t move;

	/* The boot CPU gives up as we do, and resets this CPU. */
	do {
		if (!meet() || !compare(&pair.behind) || !meet() || !meet())
			machine_halt();
		move = pair.move;
		if (move)
			move_counter(move);
		if (!meet())
			machine_halt();
	} while (move);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two CPUs take turns at a lock; under it each reads its counter and compares with what the one
 * before read. A reading below the one before it means that the counters differ by at least that
 * much, since the lock orders the two. What is seen that way is how far time would go backwards for
 * software, no more and no less, so a difference that nobody can see is none.
 */
#include "arch/x86/tsc_sync.h"

#include "arch/x86/cpu.h"
#include "arch/x86/time.h"
#include "lib/atomic.h"
#include "lib/spinlock.h"
#include "lib/util.h"

#define ROUNDS	    3	/* of measuring and moving: moving itself takes a while that is not known */
#define TURNS_PER_S 500 /* a 500th of a second for each measurement */

/* Of the one pair that is at it. */
static struct {
	struct spinlock lock;
	uint64_t last;
	uint64_t behind, ahead; /* the new CPU's counter was seen to be by that much */
	atomic_u32 meeting;	/* counts arrivals: both wait for each other before each step */
	int64_t move;		/* what the new CPU is to add to its counter; 0: nothing */
	int64_t moved;
} pair = {.lock = SPINLOCK_INIT};

/* Both have arrived when the count is even again; neither can be two ahead of the other. */
static void meet(void)
{
	uint32_t mine = atomic_add32(&pair.meeting, 1), target = (mine | 1) + 1;

	while ((int32_t)(atomic_load32_acq(&pair.meeting) - target) < 0)
		cpu_relax();
}

/* Reads in turns for a while and notes in *worst how far the other's reading lay ahead of ours. */
static void compare(uint64_t *worst)
{
	uint64_t end = rdtsc_ordered() + time_tsc_hz() / TURNS_PER_S, now;

	do {
		spin_lock(&pair.lock);
		now = rdtsc_ordered();
		if ((int64_t)(pair.last - now) > (int64_t)*worst)
			*worst = pair.last - now;
		pair.last = now;
		spin_unlock(&pair.lock);
	} while ((int64_t)(end - now) > 0);
}

uint64_t tsc_sync_boot(int64_t *moved)
{
	uint64_t worst = 0;

	pair.moved = 0;
	for (unsigned i = 0; i < ROUNDS; i++) {
		pair.last = 0;
		pair.behind = pair.ahead = 0;
		meet();
		compare(&pair.ahead);
		meet();
		worst = max_u64(pair.behind, pair.ahead);
		/* Both at once: the counters do not even run alike, there is nothing to add. */
		pair.move = pair.behind && pair.ahead ? 0
			    : pair.behind	      ? (int64_t)pair.behind
						      : -(int64_t)pair.ahead;
		if (i == ROUNDS - 1)
			pair.move = 0;
		pair.moved += pair.move;
		meet();
		meet(); /* the other one has read and moved */
		if (pair.move == 0)
			break;
	}
	*moved = pair.moved;
	return worst;
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

	do {
		meet();
		compare(&pair.behind);
		meet();
		meet();
		move = pair.move;
		if (move)
			move_counter(move);
		meet();
	} while (move);
}

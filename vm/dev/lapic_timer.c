/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The local APIC's timer (SDM vol 3 "APIC Timer").
 *
 * Nothing ticks: the state is the moment at which the count reaches 0 in the VM's clock, or the TSC
 * deadline; counts are computed when asked for. The host timer is a wake-up call and no more: it
 * leaves a mark for the owner, who looks at the clock. A masked timer counts and needs no wake-up
 * call.
 */
#include "lib/util.h"
#include "vm/dev/lapic_internal.h"

/*
 * A periodic timer does not wake the host more often than this, whatever the guest asks for. The
 * count it reads stays exact; ticks that lie closer together merge, as they do in IRR.
 */
#define MIN_PERIOD_NS 50000U

static bool deadline_mode(const struct lapic *a)
{
	return (a->s.lvt[LAPIC_LVT_TIMER] & LVT_DEADLINE) != 0;
}

/* log2 of the divider: bits 0, 1 and 3 hold it minus one, modulo 8. */
static unsigned divide_shift(uint32_t divide)
{
	return (((divide & 3) | (divide >> 1 & 4)) + 1) & 7;
}

static uint64_t period_ns(const struct lapic *a)
{
	return (uint64_t)a->s.initial_count << divide_shift(a->s.divide);
}

static void host_timer_fired(struct timer *t)
{
	struct lapic *a = container_of(t, struct lapic, timer);

	lapic_raise_work(a, LAPIC_WORK_TIMER);
}

void lapic_timer_init(struct lapic *a)
{
	timer_init(&a->timer, host_timer_fired);
}

void lapic_timer_stop(struct lapic *a)
{
	a->s.initial_count = 0;
	a->s.timer_expiry = TIMER_NEVER;
	a->s.tsc_deadline = 0;
	timer_cancel(&a->timer);
}

bool lapic_timer_due(const struct lapic *a)
{
	if (deadline_mode(a))
		return a->s.tsc_deadline != 0 && a->c.ops->tsc_now(a->c.vcpu) >= a->s.tsc_deadline;
	return a->s.timer_expiry != TIMER_NEVER && vclock_now(a->c.clock) >= a->s.timer_expiry;
}

/* The count has reached 0: starts over, or stays there. */
static void reload(struct lapic *a)
{
	uint64_t period = period_ns(a);
	uint64_t late;

	if (!(a->s.lvt[LAPIC_LVT_TIMER] & LVT_PERIODIC) || period == 0) {
		a->s.timer_expiry = TIMER_NEVER;
		return;
	}
	late = vclock_now(a->c.clock) - a->s.timer_expiry;
	a->s.timer_expiry += (late / period + 1) * period;
}

static void arm_host_timer(struct lapic *a)
{
	uint64_t expiry = a->s.timer_expiry;

	if (a->s.lvt[LAPIC_LVT_TIMER] & LVT_MASKED) {
		timer_cancel(&a->timer);
	} else if (deadline_mode(a)) {
		if (a->s.tsc_deadline != 0)
			timer_arm(&a->timer, a->c.ops->tsc_to_host(a->c.vcpu, a->s.tsc_deadline));
		else
			timer_cancel(&a->timer);
	} else if (expiry == TIMER_NEVER) {
		timer_cancel(&a->timer);
	} else {
		if ((a->s.lvt[LAPIC_LVT_TIMER] & LVT_PERIODIC) && period_ns(a) < MIN_PERIOD_NS)
			expiry = max_u64(expiry, vclock_now(a->c.clock) + MIN_PERIOD_NS);
		timer_arm(&a->timer, vclock_to_host(a->c.clock, expiry));
	}
}

/* Fires what is due under the present setting: before a change of it, so that no tick is lost. */
static void expire(struct lapic *a)
{
	if (!lapic_timer_due(a))
		return;
	if (deadline_mode(a))
		a->s.tsc_deadline = 0;
	else
		reload(a);
	lapic_fire(a, LAPIC_LVT_TIMER);
}

void lapic_timer_update(struct lapic *a)
{
	expire(a);
	arm_host_timer(a);
}

/* Rounded up: the count is 0 from the expiry on, not before. */
uint32_t lapic_timer_count(const struct lapic *a)
{
	unsigned shift = divide_shift(a->s.divide);
	uint64_t now;

	if (a->s.timer_expiry == TIMER_NEVER)
		return 0;
	now = vclock_now(a->c.clock);
	if (now >= a->s.timer_expiry)
		return 0;
	return (uint32_t)((a->s.timer_expiry - now + BIT(shift) - 1) >> shift);
}

void lapic_timer_set_initial(struct lapic *a, uint32_t count)
{
	if (deadline_mode(a))
		return; /* ignored (SDM vol 3 "TSC-Deadline Mode") */
	expire(a);
	a->s.initial_count = count;
	a->s.timer_expiry = count != 0 ? vclock_now(a->c.clock) + period_ns(a) : TIMER_NEVER;
	arm_host_timer(a);
}

/* The count goes on from where it is, at the new rate. */
void lapic_timer_set_divide(struct lapic *a, uint32_t divide)
{
	uint64_t left;

	expire(a);
	left = lapic_timer_count(a);
	a->s.divide = divide;
	if (a->s.timer_expiry != TIMER_NEVER)
		a->s.timer_expiry = vclock_now(a->c.clock) + (left << divide_shift(divide));
	arm_host_timer(a);
}

/*
 * Between one-shot and periodic the count goes on. To and from TSC-deadline mode the timer is
 * disarmed.
 */
void lapic_timer_set_lvt(struct lapic *a, uint32_t lvt)
{
	bool was_deadline = deadline_mode(a);

	expire(a);
	a->s.lvt[LAPIC_LVT_TIMER] = lvt;
	if (deadline_mode(a) != was_deadline)
		lapic_timer_stop(a);
	arm_host_timer(a);
}

void lapic_timer_set_deadline(struct lapic *a, uint64_t tsc)
{
	if (!deadline_mode(a))
		return;
	expire(a);
	a->s.tsc_deadline = tsc;
	lapic_timer_update(a);
}

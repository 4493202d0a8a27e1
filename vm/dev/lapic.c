/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The local APIC: requests, priorities and end of interrupt; the LVT inputs; reset.
 *
 * Memory order. A sender sets TMR, then IRR, then kicks. The owner that finds the IRR bit reads TMR
 * after it. Both bits move by read-modify-writes that acquire and release, so no more is needed;
 * that a kick is not lost is the run loop's matter (it looks at IRR after it has announced guest
 * mode).
 */
#include "vm/dev/lapic.h"

#include "lib/errno.h"
#include "lib/string.h"
#include "lib/util.h"
#include "vm/dev/lapic_internal.h"

#define MAX_ID 255U /* 255 itself is the broadcast of an 8-bit destination */

static uint32_t bit32(uint8_t n)
{
	return 1U << (n % 32);
}

static int highest_bit(uint32_t word)
{
	return 31 - __builtin_clz(word);
}

/* Twice an entry, and nearly always nothing: eight loads without a loop. */
static bool any_request(const struct lapic *a)
{
	const atomic_u32 *w = a->s.irr;

	return (atomic_load32_acq(&w[0]) | atomic_load32_acq(&w[1]) | atomic_load32_acq(&w[2]) |
		atomic_load32_acq(&w[3]) | atomic_load32_acq(&w[4]) | atomic_load32_acq(&w[5]) |
		atomic_load32_acq(&w[6]) | atomic_load32_acq(&w[7])) != 0;
}

static int highest_request(const struct lapic *a)
{
	if (!any_request(a))
		return -1;
	for (int i = 7; i >= 0; i--) {
		uint32_t word = atomic_load32_acq(&a->s.irr[i]);

		if (word != 0)
			return i * 32 + highest_bit(word);
	}
	return -1;
}

int lapic_highest_isr(const struct lapic *apic)
{
	for (int i = 7; i >= 0; i--)
		if (apic->s.isr[i] != 0)
			return i * 32 + highest_bit(apic->s.isr[i]);
	return -1;
}

uint8_t lapic_ppr(const struct lapic *apic)
{
	int isr = lapic_highest_isr(apic);
	uint32_t class = isr < 0 ? 0 : (uint32_t)isr & 0xf0;

	return (uint8_t)((apic->s.tpr & 0xf0) >= class ? apic->s.tpr : class);
}

bool lapic_enabled(const struct lapic *apic)
{
	return is_enabled(apic);
}

bool lapic_x2apic(const struct lapic *apic)
{
	return is_x2(apic);
}

void lapic_publish(struct lapic *a)
{
	atomic_store64(&a->route, lapic_route_word(a));
}

/* --- what others do --- */

void lapic_request(struct lapic *a, uint8_t vector, bool level)
{
	uint32_t bit = bit32(vector);

	if (level)
		atomic_or32(&a->s.tmr[vector / 32], bit);
	else
		atomic_and32(&a->s.tmr[vector / 32], ~bit);
	/* Requested already: whoever did it has kicked. */
	if (!(atomic_or32(&a->s.irr[vector / 32], bit) & bit))
		a->c.ops->kick(a->c.vcpu);
}

void lapic_raise_work(struct lapic *a, uint32_t work)
{
	atomic_or32(&a->s.work, work);
	a->c.ops->kick(a->c.vcpu);
}

void lapic_error(struct lapic *a, uint32_t bits)
{
	if (atomic_or32(&a->s.errors, bits) == 0)
		lapic_raise_work(a, LAPIC_WORK_ERROR);
}

void lapic_lint(void *ctx, unsigned pin, bool level)
{
	struct lapic *a = ctx;
	uint32_t bit = 1U << (pin & 1);

	if (pin > 1)
		return;
	if (!level)
		atomic_and32(&a->s.pins, ~bit);
	else if (!(atomic_or32(&a->s.pins, bit) & bit))
		lapic_raise_work(a, pin == 0 ? LAPIC_WORK_LINT0_EDGE : LAPIC_WORK_LINT1_EDGE);
}

void lapic_lint0(struct lapic *apic, bool level)
{
	lapic_lint(apic, 0, level);
}

void lapic_lint1(struct lapic *apic, bool level)
{
	lapic_lint(apic, 1, level);
}

void lapic_nmi(struct lapic *apic)
{
	apic->c.ops->nmi(apic->c.vcpu);
}

/* --- the owner: LVT entries --- */

static enum lapic_delivery lvt_mode(const struct lapic *a, unsigned i)
{
	if (i == LAPIC_LVT_TIMER || i == LAPIC_LVT_ERROR)
		return LAPIC_FIXED; /* they have no such field */
	return (enum lapic_delivery)((a->s.lvt[i] & LVT_MODE) >> 8);
}

static bool is_lint(unsigned i)
{
	return i == LAPIC_LVT_LINT0 || i == LAPIC_LVT_LINT1;
}

/* Level-triggered: fixed mode only, the others are edges whatever the entry says. */
static bool lvt_level(const struct lapic *a, unsigned i)
{
	return is_lint(i) && (a->s.lvt[i] & LVT_LEVEL) && lvt_mode(a, i) == LAPIC_FIXED;
}

static bool pin_asserted(const struct lapic *a, unsigned lint)
{
	return (atomic_load32(&a->s.pins) >> (lint - LAPIC_LVT_LINT0) & 1) != 0;
}

/* False when the vector is illegal. */
static bool request_local(struct lapic *a, unsigned i, bool level)
{
	uint8_t vector = a->s.lvt[i] & LVT_VECTOR;

	if (vector < MIN_VECTOR) {
		lapic_error(a, ESR_RECEIVE_ILLEGAL_VECTOR);
		return false;
	}
	lapic_request(a, vector, level);
	return true;
}

void lapic_fire(struct lapic *a, unsigned i)
{
	if (!is_enabled(a) || (a->s.lvt[i] & LVT_MASKED))
		return;
	switch (lvt_mode(a, i)) {
	case LAPIC_FIXED:
		request_local(a, i, false);
		break;
	case LAPIC_NMI:
		a->c.ops->nmi(a->c.vcpu);
		break;
	case LAPIC_INIT:
		a->c.ops->init(a->c.vcpu);
		break;
	default: /* ExtINT is a level: lapic_accepts_extint; SMI is ignored */
		break;
	}
}

void lapic_try_lint(struct lapic *a, unsigned i)
{
	if (!is_enabled(a) || (a->s.lvt[i] & (LVT_MASKED | LVT_REMOTE_IRR)) || !lvt_level(a, i) ||
	    !pin_asserted(a, i))
		return;
	if (request_local(a, i, true))
		a->s.lvt[i] |= LVT_REMOTE_IRR;
}

static void lint_edge(struct lapic *a, unsigned i)
{
	if (!is_enabled(a)) {
		/* The pins are INTR and NMI of the processor then. */
		if (i == LAPIC_LVT_LINT1)
			a->c.ops->nmi(a->c.vcpu);
	} else if (lvt_level(a, i)) {
		lapic_try_lint(a, i);
	} else {
		lapic_fire(a, i);
	}
}

void lapic_do_work(struct lapic *a)
{
	uint32_t work = atomic_load32(&a->s.work) & ~LAPIC_WORK_EXTINT;

	if (work == 0)
		return;
	work &= atomic_and32(&a->s.work, ~work);
	if (work & LAPIC_WORK_TIMER)
		lapic_timer_update(a);
	if (work & LAPIC_WORK_LINT0_EDGE)
		lint_edge(a, LAPIC_LVT_LINT0);
	if (work & LAPIC_WORK_LINT1_EDGE)
		lint_edge(a, LAPIC_LVT_LINT1);
	if (work & LAPIC_WORK_ERROR)
		lapic_fire(a, LAPIC_LVT_ERROR);
}

void lapic_local_event(struct lapic *apic, enum lapic_lvt lvt)
{
	lapic_fire(apic, lvt);
}

/* --- the owner: run loop --- */

int lapic_pending(struct lapic *apic)
{
	int vector;

	lapic_do_work(apic);
	vector = highest_request(apic);
	if (vector < 0 || !is_enabled(apic) || (vector & 0xf0) <= (lapic_ppr(apic) & 0xf0))
		return -1;
	return vector;
}

int lapic_highest_irr(struct lapic *apic)
{
	lapic_do_work(apic);
	return highest_request(apic);
}

void lapic_ack(struct lapic *apic, int vector)
{
	uint8_t v = (uint8_t)vector;

	atomic_and32(&apic->s.irr[v / 32], ~bit32(v));
	apic->s.isr[v / 32] |= bit32(v);
}

static void lint_eoi(struct lapic *a, unsigned i, uint8_t vector)
{
	if ((a->s.lvt[i] & LVT_REMOTE_IRR) && (a->s.lvt[i] & LVT_VECTOR) == vector) {
		a->s.lvt[i] &= ~LVT_REMOTE_IRR;
		lapic_try_lint(a, i);
	}
}

void lapic_eoi(struct lapic *apic)
{
	int highest = lapic_highest_isr(apic);
	struct lapic_bus *bus = apic->c.bus;
	uint8_t vector;

	if (highest < 0)
		return;
	vector = (uint8_t)highest;
	apic->s.isr[vector / 32] &= ~bit32(vector);
	if (!(atomic_load32(&apic->s.tmr[vector / 32]) & bit32(vector)))
		return;
	lint_eoi(apic, LAPIC_LVT_LINT0, vector);
	lint_eoi(apic, LAPIC_LVT_LINT1, vector);
	if (bus->eoi != NULL)
		bus->eoi(bus->eoi_ctx, vector);
}

uint8_t lapic_tpr(const struct lapic *apic)
{
	return (uint8_t)apic->s.tpr;
}

void lapic_set_tpr(struct lapic *apic, uint8_t tpr)
{
	if (apic->s.tpr == tpr)
		return;
	apic->s.tpr = tpr;
	lapic_publish(apic);
}

bool lapic_accepts_extint(const struct lapic *apic)
{
	uint32_t lvt = apic->s.lvt[LAPIC_LVT_LINT0];

	if (!is_enabled(apic) || (atomic_load32(&apic->s.work) & LAPIC_WORK_EXTINT))
		return true;
	return !(lvt & LVT_MASKED) && lvt_mode(apic, LAPIC_LVT_LINT0) == LAPIC_EXTINT;
}

void lapic_extint_taken(struct lapic *apic)
{
	atomic_and32(&apic->s.work, ~LAPIC_WORK_EXTINT);
}

/* --- life --- */

uint32_t lapic_ldr(const struct lapic *a)
{
	if (is_x2(a))
		return a->s.id >> 4 << 16 | 1U << (a->s.id & 0xf);
	return a->s.ldr;
}

void lapic_reset(struct lapic *apic, enum lapic_reset_kind kind)
{
	struct lapic_state *s = &apic->s;

	s->version = LAPIC_STATE_VERSION;
	s->id = apic->c.id;
	if (kind == LAPIC_RESET_POWER_ON)
		s->base = LAPIC_BASE | LAPIC_BASE_ENABLE | (apic->c.bsp ? LAPIC_BASE_BSP : 0);
	s->tpr = 0;
	s->ldr = 0;
	s->dfr = DFR_FLAT;
	s->svr = SVR_VECTOR;
	s->esr = 0;
	s->icr = 0;
	s->divide = 0;
	for (unsigned i = 0; i < LAPIC_LVT_COUNT; i++)
		s->lvt[i] = LVT_MASKED;
	lapic_timer_stop(apic);
	/* Takes nothing new before it forgets; what a sender has looked up earlier is on its way.
	 */
	lapic_publish(apic);
	for (unsigned i = 0; i < 8; i++) {
		s->isr[i] = 0;
		atomic_xchg32(&s->irr[i], 0);
		atomic_xchg32(&s->tmr[i], 0);
	}
	atomic_xchg32(&s->errors, 0);
	atomic_xchg32(&s->work, 0);
}

int lapic_init(struct lapic *apic, const struct lapic_config *config)
{
	bool deadline = (config->features & LAPIC_HAS_TSC_DEADLINE) != 0;

	if (config->id >= MAX_ID || config->phys_bits < 36 || config->phys_bits > 52 ||
	    (config->features & ~(LAPIC_HAS_X2APIC | LAPIC_HAS_TSC_DEADLINE)) ||
	    (deadline && (config->ops->tsc_now == NULL || config->ops->tsc_to_host == NULL)))
		return -EINVAL;
	memset(apic, 0, sizeof(*apic));
	apic->c = *config;
	lapic_timer_init(apic);
	lapic_reset(apic, LAPIC_RESET_POWER_ON);
	return lapic_bus_add(config->bus, apic);
}

void lapic_virtual_wire(struct lapic *apic)
{
	apic->s.svr |= SVR_ENABLE;
	apic->s.lvt[LAPIC_LVT_LINT0] = LAPIC_EXTINT << 8;
	apic->s.lvt[LAPIC_LVT_LINT1] = LAPIC_NMI << 8;
	lapic_publish(apic);
}

void lapic_suspend(struct lapic *apic)
{
	timer_cancel_sync(&apic->timer);
}

void lapic_resume(struct lapic *apic)
{
	lapic_timer_update(apic);
}

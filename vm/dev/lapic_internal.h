/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the four files of the local APIC model share: lapic.c (interrupts and inputs),
 * lapic_timer.c, lapic_regs.c (registers, snapshots), lapic_bus.c (messages). Nobody else includes
 * it.
 */
#ifndef SLUICE_VM_DEV_LAPIC_INTERNAL_H
#define SLUICE_VM_DEV_LAPIC_INTERNAL_H

#include "vm/dev/lapic.h"

/* LVT entries, and the same bits of ICR (SDM vol 3 figure "Local Vector Table"). */
#define LVT_VECTOR     0xffU
#define LVT_MODE       (7U << 8)  /* enum lapic_delivery */
#define LVT_PENDING    (1U << 12) /* read-only; always 0: delivery takes no time here */
#define LVT_ACTIVE_LOW (1U << 13)
#define LVT_REMOTE_IRR (1U << 14) /* read-only */
#define LVT_LEVEL      (1U << 15)
#define LVT_MASKED     (1U << 16)
#define LVT_PERIODIC   (1U << 17) /* timer entry only, as the next */
#define LVT_DEADLINE   (1U << 18)

#define SVR_VECTOR 0xffU
#define SVR_ENABLE (1U << 8)
#define SVR_FOCUS  (1U << 9) /* stored, no effect */

#define DFR_FLAT 0xffffffffU

/* ESR bits (SDM vol 3 "Error Handling"). */
#define ESR_SEND_ILLEGAL_VECTOR	   (1U << 5)
#define ESR_RECEIVE_ILLEGAL_VECTOR (1U << 6)
#define ESR_ILLEGAL_REGISTER	   (1U << 7)

#define ESR_ALL (ESR_SEND_ILLEGAL_VECTOR | ESR_RECEIVE_ILLEGAL_VECTOR | ESR_ILLEGAL_REGISTER)

#define MIN_VECTOR 16 /* lower ones are illegal in fixed and lowest-priority mode */

/* Destination shorthands of ICR, bits 18-19. */
enum lapic_shorthand { SHORTHAND_NONE, SHORTHAND_SELF, SHORTHAND_ALL, SHORTHAND_OTHERS };

/* --- lapic.c --- */

static inline bool is_enabled(const struct lapic *a)
{
	return (a->s.base & LAPIC_BASE_ENABLE) != 0;
}

static inline bool is_x2(const struct lapic *a)
{
	return (a->s.base & LAPIC_BASE_X2APIC) != 0;
}

static inline bool is_soft_enabled(const struct lapic *a)
{
	return (a->s.svr & SVR_ENABLE) != 0;
}

/* LDR as the guest reads it: derived from the ID in x2APIC mode (SDM vol 3 "Logical x2APIC ID"). */
uint32_t lapic_ldr(const struct lapic *a);

/* Any pCPU: requests `vector` (16-255). */
void lapic_request(struct lapic *a, uint8_t vector, bool level);

/* Any pCPU: sets ESR bits and owes an error interrupt when they are the first since ESR was
 * written. */
void lapic_error(struct lapic *a, uint32_t bits);

/* Any pCPU: leaves LAPIC_WORK_* for the owner and kicks. */
void lapic_raise_work(struct lapic *a, uint32_t work);

/* Deals with the work that has arrived. */
void lapic_do_work(struct lapic *a);

/* An edge at LVT entry `i`: delivers as the entry says, unless masked. */
void lapic_fire(struct lapic *a, unsigned i);

/* LINT entry `i` may be due: level-triggered, asserted, no remote IRR. */
void lapic_try_lint(struct lapic *a, unsigned i);

/* Makes the route word agree with the state; after every change of what it holds. */
void lapic_publish(struct lapic *a);

/* --- lapic_timer.c --- */

void lapic_timer_init(struct lapic *a);

/* Stops and forgets: initial count, deadline, host timer. */
void lapic_timer_stop(struct lapic *a);

/* Fires what is due by the clock now, and sets the host timer for what comes. */
void lapic_timer_update(struct lapic *a);

/* True when it would fire now. */
bool lapic_timer_due(const struct lapic *a);

uint32_t lapic_timer_count(const struct lapic *a);
void lapic_timer_set_initial(struct lapic *a, uint32_t count);
void lapic_timer_set_divide(struct lapic *a, uint32_t divide);
void lapic_timer_set_lvt(struct lapic *a, uint32_t lvt);
void lapic_timer_set_deadline(struct lapic *a, uint64_t tsc);

/* --- lapic_bus.c --- */

/* As lapic_bus_send, from `self` with a shorthand instead of a destination. */
unsigned lapic_bus_send_from(struct lapic_bus *bus, const struct lapic_msg *msg,
			     const struct lapic *self, enum lapic_shorthand shorthand);

/* What a sender must know of a local APIC, in one word, so that it is read in one piece. */
uint64_t lapic_route_word(const struct lapic *a);

int lapic_bus_add(struct lapic_bus *bus, struct lapic *a);

#endif

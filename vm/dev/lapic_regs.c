/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The local APIC's registers: by memory access (xAPIC), by MSR (x2APIC), IA32_APIC_BASE and
 * IA32_TSC_DEADLINE (SDM vol 3 "Local APIC Address Map", "x2APIC Register Address Space");
 * snapshots.
 *
 * A register has the number of its 16-byte slot, which is also its MSR's offset from 0x800.
 */
#include "lib/errno.h"
#include "lib/util.h"
#include "mm/types.h"
#include "vm/dev/lapic_internal.h"

enum reg {
	REG_ID = 0x02,
	REG_VERSION = 0x03,
	REG_TPR = 0x08,
	REG_APR = 0x09, /* from here on: xAPIC mode only where it says so */
	REG_PPR = 0x0a,
	REG_EOI = 0x0b, /* write-only */
	REG_RRD = 0x0c, /* xAPIC */
	REG_LDR = 0x0d,
	REG_DFR = 0x0e, /* xAPIC */
	REG_SVR = 0x0f,
	REG_ISR = 0x10, /* eight each */
	REG_TMR = 0x18,
	REG_IRR = 0x20,
	REG_ESR = 0x28,
	REG_ICR = 0x30,
	REG_ICR_HIGH = 0x31, /* xAPIC */
	REG_LVT = 0x32,	     /* LAPIC_LVT_COUNT of them, in order */
	REG_INITIAL = 0x38,
	REG_CURRENT = 0x39,
	REG_DIVIDE = 0x3e,
	REG_SELF_IPI = 0x3f, /* x2APIC, write-only */
};

#define REG_COUNT 0x40

#define VERSION_VALUE ((LAPIC_LVT_COUNT - 1U) << 16 | 0x14U)

#define DFR_WRITABLE	0xf0000000U
#define LDR_WRITABLE	0xff000000U
#define SVR_WRITABLE	(SVR_VECTOR | SVR_ENABLE | SVR_FOCUS)
#define DIVIDE_WRITABLE 0xbU

#define ICR_LOGICAL	    BIT(11)
#define ICR_PENDING	    BIT(12) /* read-only, tolerated in x2APIC writes */
#define ICR_ASSERT	    BIT(14)
#define ICR_LEVEL	    BIT(15)
#define ICR_SHORTHAND_SHIFT 18
#define ICR_WRITABLE                                                                               \
	(LVT_VECTOR | LVT_MODE | ICR_LOGICAL | ICR_ASSERT | ICR_LEVEL |                            \
	 (3ULL << ICR_SHORTHAND_SHIFT))
#define ICR_XAPIC_DEST_SHIFT 56

/* --- interprocessor interrupts --- */

/*
 * ICR has been written. All but INIT are edges (SDM vol 3, ICR trigger mode); the INIT level
 * de-assert message was for arbitration IDs, which nobody has any more.
 */
static void send_ipi(struct lapic *a)
{
	uint64_t icr = a->s.icr;
	enum lapic_shorthand shorthand = (enum lapic_shorthand)(icr >> ICR_SHORTHAND_SHIFT & 3);
	struct lapic_msg msg = {
		.wide = is_x2(a),
		.dest = (uint32_t)(icr >> (is_x2(a) ? 32 : ICR_XAPIC_DEST_SHIFT)),
		.logical = (icr & ICR_LOGICAL) != 0,
		.mode = (enum lapic_delivery)((icr & LVT_MODE) >> 8),
		.vector = icr & LVT_VECTOR,
	};

	if (msg.mode == LAPIC_INIT && (icr & ICR_LEVEL) && !(icr & ICR_ASSERT))
		return;
	if (msg.mode == LAPIC_EXTINT) /* reserved in ICR */
		return;
	if ((msg.mode == LAPIC_FIXED || msg.mode == LAPIC_LOWEST) && msg.vector < MIN_VECTOR)
		lapic_error(a, ESR_SEND_ILLEGAL_VECTOR);
	else
		lapic_bus_send_from(a->c.bus, &msg, a, shorthand);
}

static void self_ipi(struct lapic *a, uint8_t vector)
{
	if (vector < MIN_VECTOR)
		lapic_error(a, ESR_SEND_ILLEGAL_VECTOR);
	else if (is_soft_enabled(a))
		lapic_request(a, vector, false);
}

/* --- reading --- */

/* Who polls IRR or the count sees a tick without waiting for the host timer. */
static void catch_up(struct lapic *a)
{
	lapic_do_work(a);
	if (lapic_timer_due(a))
		lapic_timer_update(a);
}

/* Arbitration priority (APM vol 2 16.6.4). */
static uint32_t read_apr(struct lapic *a)
{
	int irr = lapic_highest_irr(a);
	int isr = lapic_highest_isr(a);
	uint32_t irr_class = irr < 0 ? 0 : (uint32_t)irr & 0xf0;
	uint32_t isr_class = isr < 0 ? 0 : (uint32_t)isr & 0xf0;
	uint32_t tpr_class = a->s.tpr & 0xf0;

	if (tpr_class >= irr_class && tpr_class > isr_class)
		return a->s.tpr;
	return (uint32_t)max_u64(tpr_class, max_u64(irr_class, isr_class));
}

static uint32_t read_vectors(struct lapic *a, unsigned reg)
{
	if (reg < REG_TMR)
		return a->s.isr[reg - REG_ISR];
	if (reg < REG_IRR)
		return atomic_load32(&a->s.tmr[reg - REG_TMR]);
	return atomic_load32(&a->s.irr[reg - REG_IRR]);
}

static uint64_t read_icr(const struct lapic *a, unsigned reg)
{
	if (is_x2(a))
		return a->s.icr;
	return reg == REG_ICR ? (uint32_t)a->s.icr : a->s.icr >> 32;
}

static bool is_lvt(unsigned reg)
{
	return reg >= REG_LVT && reg < REG_LVT + LAPIC_LVT_COUNT;
}

/* False when there is no such register to read in this mode. */
static bool read_reg(struct lapic *a, unsigned reg, uint64_t *val)
{
	bool x2 = is_x2(a);

	if (reg >= REG_ISR && reg < REG_ESR) {
		*val = read_vectors(a, reg);
		return true;
	}
	if (is_lvt(reg)) {
		*val = a->s.lvt[reg - REG_LVT];
		return true;
	}
	*val = 0;
	switch (reg) {
	case REG_ID:
		*val = x2 ? a->s.id : a->s.id << 24;
		return true;
	case REG_VERSION:
		*val = VERSION_VALUE;
		return true;
	case REG_TPR:
		*val = a->s.tpr;
		return true;
	case REG_APR:
		*val = read_apr(a);
		return !x2;
	case REG_PPR:
		*val = lapic_ppr(a);
		return true;
	case REG_EOI:
	case REG_RRD:
		return !x2; /* 0 */
	case REG_LDR:
		*val = lapic_ldr(a);
		return true;
	case REG_DFR:
		*val = a->s.dfr;
		return !x2;
	case REG_SVR:
		*val = a->s.svr;
		return true;
	case REG_ESR:
		*val = a->s.esr;
		return true;
	case REG_ICR:
	case REG_ICR_HIGH:
		*val = read_icr(a, reg);
		return reg == REG_ICR || !x2;
	case REG_INITIAL:
		*val = a->s.initial_count;
		return true;
	case REG_CURRENT:
		*val = lapic_timer_count(a);
		return true;
	case REG_DIVIDE:
		*val = a->s.divide;
		return true;
	default:
		return false;
	}
}

/* --- writing --- */

/* The bits of an LVT entry that are not reserved, the read-only ones left out. */
static uint32_t lvt_writable(const struct lapic *a, unsigned i)
{
	uint32_t bits = LVT_VECTOR | LVT_MASKED;

	switch (i) {
	case LAPIC_LVT_TIMER:
		bits |= LVT_PERIODIC;
		if (a->c.features & LAPIC_HAS_TSC_DEADLINE)
			bits |= LVT_DEADLINE;
		return bits;
	case LAPIC_LVT_LINT0:
	case LAPIC_LVT_LINT1:
		return bits | LVT_MODE | LVT_ACTIVE_LOW | LVT_LEVEL;
	case LAPIC_LVT_ERROR:
		return bits;
	default:
		return bits | LVT_MODE;
	}
}

static void write_lvt(struct lapic *a, unsigned i, uint32_t val)
{
	uint32_t remote_irr = a->s.lvt[i] & LVT_REMOTE_IRR;

	lapic_do_work(a); /* an edge that came before meets the old entry */
	val &= lvt_writable(a, i);
	if (!is_soft_enabled(a))
		val |= LVT_MASKED;
	if (i == LAPIC_LVT_TIMER) {
		lapic_timer_set_lvt(a, val);
		return;
	}
	if (val & LVT_LEVEL)
		val |= remote_irr;
	a->s.lvt[i] = val;
	lapic_try_lint(a, i);
	if (i == LAPIC_LVT_LINT0 && lapic_accepts_extint(a))
		a->c.ops->kick(a->c.vcpu); /* the 8259 may have been waiting for this */
}

static void write_svr(struct lapic *a, uint32_t val)
{
	lapic_do_work(a);
	a->s.svr = val & SVR_WRITABLE;
	if (!is_soft_enabled(a)) {
		for (unsigned i = 0; i < LAPIC_LVT_COUNT; i++)
			write_lvt(a, i, a->s.lvt[i] | LVT_MASKED);
	}
	lapic_publish(a);
}

static void write_icr(struct lapic *a, uint64_t val)
{
	if (is_x2(a))
		a->s.icr = val & (ICR_WRITABLE | (uint64_t)UINT32_MAX << 32);
	else
		a->s.icr = (a->s.icr & ((uint64_t)UINT32_MAX << 32)) | (val & ICR_WRITABLE);
	send_ipi(a);
}

static void write_reg(struct lapic *a, unsigned reg, uint64_t val)
{
	uint32_t val32 = (uint32_t)val;

	if (is_lvt(reg)) {
		write_lvt(a, reg - REG_LVT, val32);
		return;
	}
	switch (reg) {
	case REG_TPR:
		lapic_set_tpr(a, (uint8_t)val);
		break;
	case REG_EOI:
		lapic_eoi(a);
		break;
	case REG_LDR:
		a->s.ldr = val32 & LDR_WRITABLE;
		lapic_publish(a);
		break;
	case REG_DFR:
		a->s.dfr = val32 | ~DFR_WRITABLE;
		lapic_publish(a);
		break;
	case REG_SVR:
		write_svr(a, val32);
		break;
	case REG_ESR:
		a->s.esr = atomic_xchg32(&a->s.errors, 0);
		break;
	case REG_ICR:
		write_icr(a, val);
		break;
	case REG_ICR_HIGH:
		a->s.icr = (uint32_t)a->s.icr | (val << 32 & 0xffULL << ICR_XAPIC_DEST_SHIFT);
		break;
	case REG_INITIAL:
		lapic_timer_set_initial(a, val32);
		break;
	case REG_DIVIDE:
		lapic_timer_set_divide(a, val32 & DIVIDE_WRITABLE);
		break;
	case REG_SELF_IPI:
		self_ipi(a, (uint8_t)val);
		break;
	default: /* read-only */
		break;
	}
}

/* --- memory accesses --- */

static bool in_xapic_mode(const struct lapic *a)
{
	return is_enabled(a) && !is_x2(a);
}

bool lapic_claims(const struct lapic *apic, uint64_t gpa)
{
	return in_xapic_mode(apic) &&
	       align_down(gpa, PAGE_SIZE) ==
		       (apic->s.base & (BIT(apic->c.phys_bits) - 1) & ~(uint64_t)PAGE_MASK);
}

uint64_t lapic_mmio_read(struct lapic *apic, uint64_t off, unsigned size)
{
	unsigned reg = (unsigned)(off >> 4) & 0xff;
	unsigned byte = (unsigned)off & 0xf;
	uint64_t val = 0;

	if (!in_xapic_mode(apic))
		return UINT64_MAX;
	lapic_do_work(apic);
	if (lapic_timer_due(apic))
		lapic_timer_update(
			apic); /* who polls IRR or the count sees it without the host timer */
	if (!read_reg(apic, reg, &val)) {
		lapic_error(apic, ESR_ILLEGAL_REGISTER);
		return 0;
	}
	if (byte + size > 4 && !(byte == 0 && size == 8))
		return 0;
	return (uint32_t)val >> (byte * 8);
}

/* Slots one may write in xAPIC mode without it being an error: all that can be read as well. */
static bool slot_exists(struct lapic *a, unsigned reg)
{
	uint64_t ignored;

	return read_reg(a, reg, &ignored);
}

void lapic_mmio_write(struct lapic *apic, uint64_t off, unsigned size, uint64_t val)
{
	unsigned reg = (unsigned)(off >> 4) & 0xff;

	if (!in_xapic_mode(apic) || size != 4 || (off & 0xf) != 0)
		return;
	if (slot_exists(apic, reg))
		write_reg(apic, reg, (uint32_t)val);
	else
		lapic_error(apic, ESR_ILLEGAL_REGISTER);
}

/* --- MSRs --- */

/* The bits one may write in x2APIC mode; false for registers that cannot be written. Read-only bits
 * count as writable: who writes back what he read is not punished. */
static bool x2_writable(const struct lapic *a, unsigned reg, uint64_t *bits)
{
	if (is_lvt(reg)) {
		*bits = lvt_writable(a, reg - REG_LVT) | LVT_PENDING;
		if (reg == REG_LVT + LAPIC_LVT_LINT0 || reg == REG_LVT + LAPIC_LVT_LINT1)
			*bits |= LVT_REMOTE_IRR;
		return true;
	}
	switch (reg) {
	case REG_TPR:
	case REG_SELF_IPI:
		*bits = 0xff;
		return true;
	case REG_EOI:
	case REG_ESR:
		*bits = 0;
		return true;
	case REG_SVR:
		*bits = SVR_WRITABLE;
		return true;
	case REG_ICR:
		*bits = ICR_WRITABLE | ICR_PENDING | (uint64_t)UINT32_MAX << 32;
		return true;
	case REG_INITIAL:
		*bits = UINT32_MAX;
		return true;
	case REG_DIVIDE:
		*bits = DIVIDE_WRITABLE;
		return true;
	default:
		return false;
	}
}

static bool is_x2_msr(uint32_t msr)
{
	return msr >= LAPIC_MSR_X2APIC && msr < LAPIC_MSR_X2APIC + LAPIC_MSR_X2APIC_COUNT;
}

bool lapic_msr_mine(uint32_t msr)
{
	return is_x2_msr(msr) || msr == LAPIC_MSR_BASE || msr == LAPIC_MSR_TSC_DEADLINE;
}

/* No reserved bit, and a mode that exists. */
static bool base_valid(const struct lapic *a, uint64_t base)
{
	uint64_t legal = (BIT(a->c.phys_bits) - 1) & ~(uint64_t)PAGE_MASK;

	legal |= LAPIC_BASE_BSP | LAPIC_BASE_ENABLE;
	if (a->c.features & LAPIC_HAS_X2APIC)
		legal |= LAPIC_BASE_X2APIC;
	return !(base & ~legal) && !((base & LAPIC_BASE_X2APIC) && !(base & LAPIC_BASE_ENABLE));
}

/*
 * Legal changes (SDM vol 3 figure "Local x2APIC State Transitions"): disabled <-> xAPIC -> x2APIC
 * -> disabled. A local APIC that was disabled begins anew.
 */
static int write_base(struct lapic *a, uint64_t val)
{
	bool enable = (val & LAPIC_BASE_ENABLE) != 0;
	bool x2 = (val & LAPIC_BASE_X2APIC) != 0;

	if (!base_valid(a, val) || (x2 && !is_enabled(a)) || (enable && !x2 && is_x2(a)))
		return -EINVAL;
	if (x2 && !is_x2(a)) {
		a->s.icr = (uint32_t)a->s.icr;
		a->s.ldr = 0;
		a->s.dfr = DFR_FLAT;
	}
	if (!enable && is_enabled(a))
		lapic_reset(a, LAPIC_RESET_INIT);
	a->s.base = val;
	lapic_publish(a);
	return 0;
}

static int read_x2(struct lapic *a, unsigned reg, uint64_t *val)
{
	if (!is_x2(a) || reg >= REG_COUNT)
		return -EINVAL;
	catch_up(a);
	return read_reg(a, reg, val) ? 0 : -EINVAL;
}

static int write_x2(struct lapic *a, unsigned reg, uint64_t val)
{
	uint64_t bits;

	if (!is_x2(a) || reg >= REG_COUNT || !x2_writable(a, reg, &bits) || (val & ~bits))
		return -EINVAL;
	write_reg(a, reg, val);
	return 0;
}

int lapic_msr_read(struct lapic *apic, uint32_t msr, uint64_t *val)
{
	if (msr == LAPIC_MSR_BASE) {
		*val = apic->s.base;
		return 0;
	}
	if (msr == LAPIC_MSR_TSC_DEADLINE) {
		if (!(apic->c.features & LAPIC_HAS_TSC_DEADLINE))
			return -EINVAL;
		catch_up(apic);
		*val = apic->s.tsc_deadline;
		return 0;
	}
	return is_x2_msr(msr) ? read_x2(apic, msr - LAPIC_MSR_X2APIC, val) : -EINVAL;
}

int lapic_msr_write(struct lapic *apic, uint32_t msr, uint64_t val)
{
	if (msr == LAPIC_MSR_BASE)
		return write_base(apic, val);
	if (msr == LAPIC_MSR_TSC_DEADLINE) {
		if (!(apic->c.features & LAPIC_HAS_TSC_DEADLINE))
			return -EINVAL;
		lapic_timer_set_deadline(apic, val);
		return 0;
	}
	return is_x2_msr(msr) ? write_x2(apic, msr - LAPIC_MSR_X2APIC, val) : -EINVAL;
}

/* --- snapshots --- */

void lapic_save(struct lapic *apic, struct lapic_state *out)
{
	catch_up(apic);
	*out = apic->s;
}

static bool lvt_valid(const struct lapic *a, const struct lapic_state *in, unsigned i)
{
	uint32_t lvt = in->lvt[i];
	bool lint = i == LAPIC_LVT_LINT0 || i == LAPIC_LVT_LINT1;

	if (lvt & ~(lvt_writable(a, i) | (lint ? LVT_REMOTE_IRR : 0)))
		return false;
	if ((lvt & LVT_REMOTE_IRR) && !(lvt & LVT_LEVEL))
		return false;
	return (lvt & LVT_MASKED) || (in->svr & SVR_ENABLE);
}

static bool timer_valid(const struct lapic_state *in)
{
	bool counting = in->timer_expiry != TIMER_NEVER;

	if (in->lvt[LAPIC_LVT_TIMER] & LVT_DEADLINE)
		return in->initial_count == 0 && !counting;
	return in->tsc_deadline == 0 && (!counting || in->initial_count != 0);
}

static bool state_valid(const struct lapic *a, const struct lapic_state *in)
{
	if (in->version != LAPIC_STATE_VERSION || in->id != a->c.id || !base_valid(a, in->base))
		return false;
	if ((in->tpr & ~0xffU) || (in->ldr & ~LDR_WRITABLE) || (in->svr & ~SVR_WRITABLE) ||
	    (in->dfr | DFR_WRITABLE) != DFR_FLAT || (in->divide & ~DIVIDE_WRITABLE) ||
	    ((uint32_t)in->icr & ~ICR_WRITABLE) || ((in->esr | in->errors.v) & ~ESR_ALL))
		return false;
	if (((in->isr[0] | in->irr[0].v | in->tmr[0].v) & 0xffff) || (in->pins.v & ~3U) ||
	    (in->work.v & ~(LAPIC_WORK_EXTINT * 2 - 1)))
		return false;
	for (unsigned i = 0; i < LAPIC_LVT_COUNT; i++)
		if (!lvt_valid(a, in, i))
			return false;
	return timer_valid(in);
}

int lapic_load(struct lapic *apic, const struct lapic_state *in)
{
	if (!state_valid(apic, in))
		return -EINVAL;
	timer_cancel(&apic->timer);
	apic->s = *in;
	lapic_publish(apic);
	lapic_timer_update(apic);
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* The local APIC: registers in both modes, priorities, IPIs and destinations, LVT, timer,
 * snapshots. */
// links: vm/dev/lapic.c vm/dev/lapic_bus.c vm/dev/lapic_regs.c vm/dev/lapic_timer.c
// links: vm/clock.c vm/timer.c
#include "lib/errno.h"
#include "lib/util.h"
#include "tests/unit/lapic_env.h"
#include "vm/dev/lapic_internal.h"

#define ID	0x20
#define VERSION 0x30
#define TPR	0x80
#define APR	0x90
#define PPR	0xa0
#define EOI	0xb0
#define RRD	0xc0
#define LDR	0xd0
#define DFR	0xe0
#define SVR	0xf0
#define ISR	0x100
#define TMR	0x180
#define IRR	0x200
#define ESR	0x280
#define ICR	0x300
#define ICR2	0x310
#define LVT	0x320 /* timer; the others follow at 16 bytes */
#define TIMER	0x320
#define PERF	0x340
#define LINT0	0x350
#define LINT1	0x360
#define ERROR	0x370
#define INITIAL 0x380
#define CURRENT 0x390
#define DIVIDE	0x3e0

#define BY_1 0xbU /* divide configuration: by one */

#define XAPIC  0xfee00800ULL
#define X2APIC 0xfee00c00ULL
#define OFF    0xfee00000ULL

static int wrmsr(unsigned i, uint32_t msr, uint64_t val)
{
	return lapic_msr_write(&cpu[i].apic, msr, val);
}

/* The value, or all ones where the guest gets #GP. */
static uint64_t rdmsr(unsigned i, uint32_t msr)
{
	uint64_t val = 0;

	return lapic_msr_read(&cpu[i].apic, msr, &val) == 0 ? val : UINT64_MAX;
}

static uint64_t rdx2(unsigned i, unsigned off)
{
	return rdmsr(i, 0x800 + off / 16);
}

static int wrx2(unsigned i, unsigned off, uint64_t val)
{
	return wrmsr(i, 0x800 + off / 16, val);
}

static void setup(unsigned cpus)
{
	env_setup(cpus);
	env_enable(cpus);
}

static void to_x2(unsigned cpus)
{
	for (unsigned i = 0; i < cpus; i++)
		wrmsr(i, 0x1b, X2APIC);
}

/* A message as an I/O APIC sends it. */
static unsigned send(uint8_t dest, bool logical, unsigned mode, uint8_t vector, bool level)
{
	struct lapic_msg msg = {.dest = dest,
				.logical = logical,
				.mode = (enum lapic_delivery)mode,
				.vector = vector,
				.level = level};

	return lapic_bus_send(&env_bus, &msg);
}

static int eoi_seen;

static void note_eoi(void *ctx, uint8_t vector)
{
	(void)ctx;
	eoi_seen = vector;
}

/* --- life --- */

static void test_init(void)
{
	struct lapic extra;
	struct lapic_config c;
	struct lapic_ops no_tsc = env_ops;

	env_setup(2);
	memset(&extra, 0, sizeof(extra));
	c = env_config(1);
	ok(lapic_init(&extra, &c) == -EEXIST, "an ID twice");
	c = env_config(2);
	c.id = 255;
	ok(lapic_init(&extra, &c) == -EINVAL, "the broadcast ID");
	c = env_config(2);
	c.phys_bits = 53;
	ok(lapic_init(&extra, &c) == -EINVAL, "an address width that cannot be");
	c.phys_bits = 35;
	ok(lapic_init(&extra, &c) == -EINVAL, "nor that");
	c.phys_bits = 52;
	c.id = 254;
	ok(lapic_init(&extra, &c) == 0, "the limits themselves are allowed");
	c = env_config(3);
	c.phys_bits = 36;
	ok(lapic_init(&cpu[3].apic, &c) == 0, "both of them");
	c = env_config(2);
	c.features = 4;
	ok(lapic_init(&extra, &c) == -EINVAL, "an unknown feature");
	c = env_config(2);
	no_tsc.tsc_to_host = NULL;
	c.ops = &no_tsc;
	ok(lapic_init(&extra, &c) == -EINVAL, "TSC deadlines without a TSC");
	env_bus.count = LAPIC_BUS_MAX;
	for (unsigned i = 0; i < LAPIC_BUS_MAX; i++)
		env_bus.apic[i] = &cpu[0].apic;
	c = env_config(2);
	ok(lapic_init(&extra, &c) == -ENOSPC, "a full bus");
}

static void test_power_on(void)
{
	unsigned wrong = 0;

	env_setup(2);
	is_u64(rd(0, ID), 0, "ID of CPU 0");
	is_u64(rd(1, ID), 0x01000000, "ID of CPU 1");
	is_u64(rd(0, VERSION), 0x00050014, "version: 0x14, six LVT entries");
	is_u64(rd(0, SVR), 0xff, "software-disabled");
	is_u64(rd(0, DFR), 0xffffffff, "flat");
	is_u64(rd(0, LDR), 0, "no logical ID");
	for (unsigned i = 0; i < 6; i++)
		wrong += rd(0, LVT + 16 * i) != 0x10000;
	is_u64(wrong, 0, "all LVT entries masked");
	for (unsigned off = ISR; off < ESR; off += 16)
		wrong += rd(0, off) != 0;
	is_u64(wrong, 0, "ISR, TMR, IRR empty");
	ok(!rd(0, TPR) && !rd(0, PPR) && !rd(0, APR) && !rd(0, RRD) && !rd(0, ICR) &&
		   !rd(0, ICR2) && !rd(0, INITIAL) && !rd(0, CURRENT) && !rd(0, DIVIDE) &&
		   !rd(0, EOI),
	   "everything else 0");
	is_u64(rdmsr(0, 0x1b), 0xfee00900, "APIC_BASE of the boot processor");
	is_u64(rdmsr(1, 0x1b), 0xfee00800, "and of another");
	wr(0, ESR, 0);
	is_u64(rd(0, ESR), 0, "no error by looking at it");
}

static void test_reset(void)
{
	setup(1);
	wr(0, TPR, 0x20);
	wr(0, LDR, 0x01000000);
	wr(0, DIVIDE, BY_1);
	wr(0, TIMER, 0x40);
	wr(0, INITIAL, 1000);
	send(0, false, LAPIC_FIXED, 0x55, true);
	take(0);
	send(0, false, LAPIC_FIXED, 0x66, false);
	send(0, false, LAPIC_EXTINT, 0, false);
	rd(0, 0);
	wr(0, ESR, 0);
	wrmsr(0, 0x1b, 0xfed40800);
	lapic_reset(&cpu[0].apic, LAPIC_RESET_INIT);
	ok(!timer_armed(&cpu[0].apic.timer), "INIT stops the host timer");
	ok(!lapic_accepts_extint(&cpu[0].apic), "forgets an ExtINT message");
	ok(!rd(0, ESR) && !rd(0, DIVIDE), "errors and the divider");
	ok(lapic_highest_irr(&cpu[0].apic) < 0 && lapic_highest_isr(&cpu[0].apic) < 0,
	   "INIT forgets requests");
	ok(!rd(0, TPR) && !rd(0, LDR) && rd(0, SVR) == 0xff && rd(0, TIMER) == 0x10000 &&
		   !rd(0, TMR + 0x20),
	   "and settings");
	rig_advance(10000);
	ok(take(0) < 0 && !timer_armed(&cpu[0].apic.timer), "and stops the timer");
	is_u64(rdmsr(0, 0x1b), 0xfed40800, "APIC_BASE survives INIT");
	lapic_reset(&cpu[0].apic, LAPIC_RESET_POWER_ON);
	is_u64(rdmsr(0, 0x1b), 0xfee00900, "not power-on");
	to_x2(1);
	lapic_reset(&cpu[0].apic, LAPIC_RESET_INIT);
	ok(lapic_x2apic(&cpu[0].apic) && rdx2(0, SVR) == 0xff, "x2APIC mode survives INIT");
	lapic_lint0(&cpu[0].apic, true);
	lapic_reset(&cpu[0].apic, LAPIC_RESET_INIT);
	wrx2(0, SVR, 0x1ff);
	wrx2(0, LINT0, 0x8044);
	is_u64((uint64_t)take(0), 0x44, "levels at the pins survive a reset: they are not ours");
}

/* --- memory registers --- */

static void test_mmio_writable(void)
{
	static const struct {
		unsigned off;
		uint32_t want; /* after all ones were written */
		const char *name;
	} t[] = {
		{ID, 0, "ID is read-only"},
		{VERSION, 0x00050014, "version is read-only"},
		{TPR, 0xff, "TPR"},
		{APR, 0xff, "APR is read-only and follows TPR"},
		{PPR, 0xff, "PPR is read-only and follows TPR"},
		{RRD, 0, "RRD is read-only"},
		{LDR, 0xff000000, "LDR"},
		{DFR, 0xffffffff, "DFR"},
		{ISR, 0, "ISR is read-only"},
		{TMR, 0, "TMR is read-only"},
		{IRR, 0, "IRR is read-only"},
		{ICR2, 0xff000000, "ICR destination"},
		{TIMER, 0x700ff, "LVT timer"},
		{0x330, 0x107ff, "LVT thermal"},
		{PERF, 0x107ff, "LVT performance"},
		{LINT0, 0x1a7ff, "LVT LINT0"},
		{LINT1, 0x1a7ff, "LVT LINT1"},
		{ERROR, 0x100ff, "LVT error"},
		{CURRENT, 0, "current count is read-only"},
		{DIVIDE, 0xb, "divide configuration"},
		{SVR, 0x3ff, "SVR"},
	};

	setup(1);
	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		wr(0, t[i].off, 0xffffffff);
		is_u64(rd(0, t[i].off), t[i].want, t[i].name);
	}
	wr(0, DFR, 0);
	is_u64(rd(0, DFR), 0x0fffffff, "DFR low bits are ones");
	wr(0, ESR, 0);
	is_u64(rd(0, ESR), 0, "and none of it was an error");
	wr(0, ICR, 0x000cffff & ~0x500U);
	ok((rd(0, ICR) & 0x1000) == 0, "delivery status reads idle");
}

static void test_mmio_shape(void)
{
	struct lapic *a = &cpu[0].apic;

	setup(1);
	is_u64(lapic_mmio_read(a, VERSION, 1), 0x00050014, "narrow read: the caller cuts");
	is_u64(lapic_mmio_read(a, VERSION + 2, 1) & 0xff, 0x05, "third byte");
	is_u64(lapic_mmio_read(a, VERSION + 2, 4), 0, "a read across the slot's end");
	is_u64(lapic_mmio_read(a, VERSION + 4, 4), 0, "a read of the unused part");
	is_u64(lapic_mmio_read(a, VERSION, 8), 0x00050014, "a wide read");
	is_u64(lapic_mmio_read(a, 0x12345000 + VERSION, 4), 0x00050014,
	       "only the page offset counts");
	lapic_mmio_write(a, TPR, 1, 0x11);
	lapic_mmio_write(a, TPR, 2, 0x11);
	lapic_mmio_write(a, TPR, 8, 0x11);
	lapic_mmio_write(a, TPR + 4, 4, 0x11);
	lapic_mmio_write(a, TPR + 1, 4, 0x11);
	is_u64(rd(0, TPR), 0, "writes of another shape are ignored");
}

static void test_errors(void)
{
	static const unsigned reserved[] = {0x000, 0x010, 0x040, 0x070, 0x290, 0x2f0,
					    0x3a0, 0x3d0, 0x3f0, 0x400, 0xff0};
	unsigned wrong = 0;

	for (unsigned i = 0; i < 2 * ARRAY_SIZE(reserved); i++) {
		setup(1);
		if (i % 2)
			wr(0, reserved[i / 2], 0);
		else
			wrong += rd(0, reserved[i / 2]) != 0;
		wrong += rd(0, ESR) != 0;
		wr(0, ESR, 0);
		wrong += rd(0, ESR) != 0x80;
		wr(0, ESR, 0);
		wrong += rd(0, ESR) != 0;
	}
	is_u64(wrong, 0, "reserved slots: 0, and ESR bit 7 once it is latched");
	setup(1);
	wr(0, ERROR, 0x70);
	wr(0, ICR, 0x4000 | 0x0f | 1 << 18);
	is_u64((uint64_t)take(0), 0x70, "sending an illegal vector: error interrupt");
	wr(0, EOI, 0);
	rd(0, 0);
	ok(take(0) < 0, "no second one before ESR is written");
	wr(0, ESR, 0);
	is_u64(rd(0, ESR), 0xa0, "both bits");
	is_u64(send(0, false, LAPIC_FIXED, 0x0f, false), 0, "an illegal vector is not taken");
	is_u64((uint64_t)take(0), 0x70, "but is an error");
	wr(0, ESR, 0);
	is_u64(rd(0, ESR), 0x40, "of receiving");
	ok(!rd(0, IRR), "and never requested");
	is_u64(send(0, false, LAPIC_FIXED, 0x10, false), 1, "16 is legal");
	wr(0, EOI, 0);
	is_u64((uint64_t)take(0), 0x10, "and delivered");
	wr(0, EOI, 0);
	wr(0, 0x330, 0x10);
	lapic_local_event(&cpu[0].apic, LAPIC_LVT_THERMAL);
	is_u64((uint64_t)take(0), 0x10, "in an LVT entry as well");
	is_u64(rd(0, TMR), 0, "as an edge");
	wr(0, EOI, 0);
	wr(0, ERROR, 0x05);
	rd(0, 0);
	ok(take(0) < 0, "an error vector that is illegal itself");
	wr(0, ESR, 0);
	is_u64(rd(0, ESR), 0xc0, "is one more error, and no loop");
	lapic_pending(&cpu[0].apic);
	wr(0, ERROR, 0x10070);
	rd(0, 0);
	ok(take(0) < 0, "masked error entry");
	setup(1);
	wr(0, TIMER, 0x05);
	wr(0, DIVIDE, BY_1);
	wr(0, INITIAL, 10);
	rig_advance(20);
	ok(take(0) < 0, "a timer with an illegal vector");
	wr(0, ESR, 0);
	is_u64(rd(0, ESR), 0x40, "is an error");
}

/* --- priorities --- */

static void test_priority(void)
{
	setup(1);
	eoi_seen = -1;
	env_bus.eoi = note_eoi;
	for (unsigned v = 16; v < 256; v += 16)
		send(0, false, LAPIC_FIXED, (uint8_t)v, false);
	is_u64((uint64_t)lapic_pending(&cpu[0].apic), 0xf0, "the highest first");
	is_u64(rd(0, APR), 0xf0, "APR counts requests");
	is_u64((uint64_t)take(0), 0xf0, "taken");
	is_u64(rd(0, ISR + 0x70), 0x10000, "ISR");
	is_u64(rd(0, IRR + 0x70), 1, "IRR: 0xe0 is left in that word");
	is_u64(rd(0, PPR), 0xf0, "PPR is the class in service");
	ok(take(0) < 0, "nothing above it");
	send(0, false, LAPIC_FIXED, 0xf5, false);
	ok(take(0) < 0, "the same class does not nest");
	wr(0, EOI, 0);
	is_u64((uint64_t)take(0), 0xf5, "after EOI it comes");
	wr(0, EOI, 0);
	ok(eoi_seen == -1, "the EOI of an edge is not broadcast");
	wr(0, TPR, 0xc3);
	is_u64(rd(0, PPR), 0xc3, "PPR is TPR when nothing is in service");
	is_u64((uint64_t)take(0), 0xe0, "above TPR");
	is_u64(rd(0, PPR), 0xe0, "class in service above TPR");
	wr(0, EOI, 0);
	is_u64((uint64_t)take(0), 0xd0, "0xd0");
	wr(0, TPR, 0xd7);
	is_u64(rd(0, PPR), 0xd7, "equal classes: TPR");
	wr(0, EOI, 0);
	ok(take(0) < 0, "TPR holds the rest back");
	is_u64((uint64_t)lapic_highest_irr(&cpu[0].apic), 0xc0, "which is 0xc0");
	is_u64(lapic_tpr(&cpu[0].apic), 0xd7, "lapic_tpr");
	lapic_set_tpr(&cpu[0].apic, 0xb0);
	is_u64((uint64_t)take(0), 0xc0, "lapic_set_tpr releases it");
	send(0, false, LAPIC_FIXED, 0xe1, true);
	is_u64((uint64_t)take(0), 0xe1, "nested");
	is_u64((uint64_t)lapic_highest_isr(&cpu[0].apic), 0xe1, "highest in service");
	wr(0, EOI, 0);
	ok(eoi_seen == 0xe1, "the EOI of a level is broadcast");
	is_u64((uint64_t)lapic_highest_isr(&cpu[0].apic), 0xc0, "back at the outer one");
	eoi_seen = -1;
	wr(0, EOI, 0);
	wr(0, EOI, 0);
	ok(eoi_seen == -1 && lapic_highest_isr(&cpu[0].apic) < 0, "an EOI too many does nothing");
	send(0, false, LAPIC_FIXED, 0xe1, false);
	take(0);
	wr(0, EOI, 0);
	ok(eoi_seen == -1, "an edge of the same vector clears TMR");
}

static void test_kicks(void)
{
	setup(1);
	cpu[0].kicks = 0;
	send(0, false, LAPIC_FIXED, 0x41, false);
	is_u64(cpu[0].kicks, 1, "a request kicks");
	send(0, false, LAPIC_FIXED, 0x41, false);
	is_u64(cpu[0].kicks, 1, "again before it is taken: no kick");
	take(0);
	send(0, false, LAPIC_FIXED, 0x41, false);
	is_u64(cpu[0].kicks, 2, "in service it may be requested again");
}

static void test_soft_disable(void)
{
	setup(1);
	wr(0, LINT0, 0x700);
	wr(0, TIMER, 0x40);
	wr(0, DIVIDE, BY_1);
	send(0, false, LAPIC_FIXED, 0x41, false);
	wr(0, INITIAL, 1000);
	wr(0, SVR, 0xff);
	ok((rd(0, LINT0) & 0x10000) && (rd(0, TIMER) & 0x10000), "LVT entries get masked");
	wr(0, TIMER, 0x40);
	ok(rd(0, TIMER) & 0x10000, "and cannot be unmasked");
	is_u64(send(0, false, LAPIC_FIXED, 0x42, false), 0, "takes no fixed interrupt");
	is_u64(send(0, false, LAPIC_LOWEST, 0x42, false), 0, "nor lowest priority");
	ok(send(0, false, LAPIC_NMI, 0, false) == 1 && cpu[0].nmis == 1, "but NMI");
	ok(send(0, false, LAPIC_INIT, 0, false) == 1 && cpu[0].inits == 1, "INIT");
	ok(send(0, false, LAPIC_STARTUP, 9, false) == 1 && cpu[0].sipi_vector == 9, "and SIPI");
	is_u64((uint64_t)take(0), 0x41, "what was requested before is still delivered");
	rig_advance(2000);
	wr(0, EOI, 0);
	ok(take(0) < 0, "the timer is masked");
	wr(0, SVR, 0x1ff);
	ok(rd(0, TIMER) & 0x10000, "enabling leaves the entries masked");
}

/* --- IPIs --- */

static void ipi(unsigned from, uint32_t dest, uint32_t low)
{
	wr(from, ICR2, dest << 24);
	wr(from, ICR, low | 0x4000);
}

/* Which CPUs take `vector` now, as a mask; takes and ends it. */
static unsigned takers(unsigned cpus, int vector)
{
	unsigned mask = 0;

	for (unsigned i = 0; i < cpus; i++) {
		if (take(i) == vector) {
			mask |= 1U << i;
			lapic_eoi(&cpu[i].apic);
		}
	}
	return mask;
}

static void test_ipi(void)
{
	setup(4);
	ipi(0, 2, 0x40);
	is_u64(takers(4, 0x40), 0x4, "physical");
	is_u64(rd(0, ICR), 0x4040, "ICR reads back");
	is_u64(rd(0, ICR2), 0x02000000, "its destination as well");
	ipi(0, 0, 0x40);
	is_u64(takers(4, 0x40), 0x1, "to itself by ID");
	ipi(0, 0xff, 0x40);
	is_u64(takers(4, 0x40), 0xf, "physical broadcast");
	ipi(0, 9, 0x40);
	is_u64(takers(4, 0x40), 0, "nobody there");
	ipi(1, 0, 0x40 | 1 << 18);
	is_u64(takers(4, 0x40), 0x2, "self");
	ipi(1, 0, 0x40 | 2 << 18);
	is_u64(takers(4, 0x40), 0xf, "all");
	ipi(1, 0, 0x40 | 3 << 18);
	is_u64(takers(4, 0x40), 0xd, "all others");
	ipi(1, 3, 0x8040);
	is_u64(takers(4, 0x40), 0x8, "with trigger mode level");
	is_u64(rd(3, TMR + 0x20), 0, "it is an edge all the same");
	ipi(0, 1, 0x400);
	ok(cpu[1].nmis == 1, "NMI");
	ipi(0, 0, 0x400 | 3 << 18);
	ok(cpu[0].nmis == 0 && cpu[1].nmis == 2 && cpu[3].nmis == 1, "NMI to all others");
	ipi(0, 1, 0x500);
	ok(cpu[1].inits == 1, "INIT");
	wr(0, ICR, 0x8500);
	ok(cpu[1].inits == 1, "INIT level de-assert does nothing");
	ipi(0, 1, 0x8500);
	ok(cpu[1].inits == 2, "INIT level assert");
	ipi(0, 1, 0x69f);
	ok(cpu[1].sipis == 1 && cpu[1].sipi_vector == 0x9f, "SIPI");
	ipi(0, 1, 0x601);
	ok(cpu[1].sipi_vector == 1, "SIPI vectors below 16 are legal");
	ipi(0, 1, 0x740);
	ipi(0, 1, 0x340);
	ipi(0, 1, 0x240);
	ok(take(1) < 0 && !lapic_accepts_extint(&cpu[1].apic), "ExtINT, reserved and SMI: nothing");
	ipi(0, 0, 0x500 | 1 << 18);
	ok(cpu[0].inits == 1, "INIT to itself");
	cpu[0].inits = cpu[0].sipis = 0;
	setup(1);
	ipi(0, 0, 0x500 | 3 << 18);
	ipi(0, 0, 0x608 | 3 << 18);
	ok(cpu[0].inits == 0 && cpu[0].sipis == 0, "INIT and SIPI to all others, alone");
}

static void test_lowest(void)
{
	unsigned count[4] = {0}, t;

	setup(4);
	for (unsigned i = 0; i < 40; i++) {
		ipi(0, 0xff, 0x140);
		t = takers(4, 0x40);
		if (t == 0 || (t & (t - 1)))
			break;
		count[__builtin_ctz(t)]++;
	}
	ok(count[0] == 10 && count[1] == 10 && count[2] == 10 && count[3] == 10,
	   "lowest priority: exactly one, in turn among equals");
	wr(0, TPR, 0x20);
	wr(1, TPR, 0x20);
	wr(3, TPR, 0x30);
	ipi(0, 0xff, 0x140);
	is_u64(takers(4, 0x40), 0x4, "to the lowest task priority");
	wr(2, SVR, 0xff);
	ipi(0, 0xff, 0x140);
	t = takers(4, 0x40);
	ok(t == 1 || t == 2, "not to one that is software-disabled");
	ipi(0, 0, 0x140 | 3 << 18);
	is_u64(takers(4, 0x40), 0x2, "all others: the lowest of them");
	ipi(0, 7, 0x140);
	is_u64(takers(4, 0x40), 0, "nobody there");
	for (unsigned i = 0; i < 4; i++)
		wr(i, SVR, 0xff);
	ipi(0, 0xff, 0x140);
	is_u64(takers(4, 0x40), 0, "nobody willing");
}

static bool want_logical(unsigned i, unsigned dest, bool cluster)
{
	unsigned ldr = cluster ? (i / 4) << 4 | 1U << (i % 4) : 1U << i;

	if (dest == 0xff)
		return true;
	if (!cluster)
		return dest & ldr;
	return dest >> 4 == ldr >> 4 && (dest & ldr & 15);
}

static void test_logical(void)
{
	for (unsigned cluster = 0; cluster < 2; cluster++) {
		unsigned wrong = 0;

		setup(8);
		for (unsigned i = 0; i < 8; i++) {
			wr(i, DFR, cluster ? 0 : 0xffffffff);
			wr(i, LDR, (cluster ? (i / 4) << 4 | 1U << (i % 4) : 1U << i) << 24);
		}
		for (unsigned dest = 0; dest < 256; dest++) {
			unsigned got, want = 0;

			for (unsigned i = 0; i < 8; i++)
				want |= (unsigned)want_logical(i, dest, cluster) << i;
			ipi(3, dest, 0x840);
			got = takers(8, 0x40);
			wrong += got != want;
		}
		ok(wrong == 0, "logical %s, all destinations, 8 CPUs",
		   cluster ? "cluster" : "flat");
	}
	setup(1);
	wr(0, LDR, 0xff000000);
	wr(0, DFR, 0x50000000);
	ipi(0, 1, 0x840);
	is_u64(takers(1, 0x40), 0, "an undefined model: no match");
	ipi(0, 0xff, 0x840);
	is_u64(takers(1, 0x40), 1, "but the broadcast");
}

static void x2ipi(unsigned from, uint32_t dest, uint32_t low)
{
	wrx2(from, ICR, (uint64_t)dest << 32 | low | 0x4000);
}

static void test_x2_ipi(void)
{
	unsigned wrong = 0;

	setup(8);
	/* IDs across two clusters. */
	for (unsigned i = 0; i < 8; i++)
		cpu[i].apic.c.id = cpu[i].apic.s.id = i + 12;
	to_x2(8);
	is_u64(rdx2(0, ID), 12, "x2APIC ID");
	is_u64(rdx2(0, LDR), 0x00001000, "logical ID derived: cluster 0");
	is_u64(rdx2(5, LDR), 0x00010002, "cluster 1");
	x2ipi(0, 14, 0x40);
	is_u64(takers(8, 0x40), 0x4, "physical");
	is_u64(rdx2(0, ICR), 14ULL << 32 | 0x4040, "ICR is one register");
	x2ipi(0, 0xffffffff, 0x40);
	is_u64(takers(8, 0x40), 0xff, "broadcast");
	x2ipi(0, 0xff, 0x40);
	is_u64(takers(8, 0x40), 0, "0xff is no broadcast here");
	for (unsigned dest = 0; dest < 0x10000; dest += 0x0fff) {
		x2ipi(0, dest, 0x840);
		wrong += takers(8, 0x40) != (dest >> 12 & 0xf);
		x2ipi(0, 0x10000 | dest, 0x840);
		wrong += takers(8, 0x40) != (dest & 0xf) << 4;
		x2ipi(0, 0x20000 | dest, 0x840);
		wrong += takers(8, 0x40) != 0;
	}
	is_u64(wrong, 0, "logical: cluster and members");
	x2ipi(0, 0xffffffff, 0x840);
	is_u64(takers(8, 0x40), 0xff, "logical broadcast");
	x2ipi(2, 0, 0x40 | 3 << 18);
	is_u64(takers(8, 0x40), 0xfb, "all others");
	x2ipi(2, 13, 0x500);
	x2ipi(2, 13, 0x610);
	ok(cpu[1].inits == 1 && cpu[1].sipi_vector == 0x10, "INIT, SIPI");
	is_u64((uint64_t)wrx2(3, 0x3f0, 0x77), 0, "self-IPI register");
	is_u64(takers(8, 0x77), 0x8, "to itself");
	wrx2(3, 0x3f0, 0x05);
	ok(take(3) < 0, "self-IPI with an illegal vector");
	wrx2(3, ESR, 0);
	is_u64(rdx2(3, ESR), 0x20, "is an error");
	is_u64(send(14, false, LAPIC_FIXED, 0x40, false), 1, "8-bit destination, physical");
	is_u64(takers(8, 0x40), 0x4, "is the ID");
	is_u64(send(0xff, false, LAPIC_FIXED, 0x40, false), 8, "8-bit broadcast");
	takers(8, 0x40);
	wrx2(3, SVR, 0xff);
	wrx2(3, 0x3f0, 0x77);
	ok(take(3) < 0, "software-disabled: no self-IPI");
}

static void test_msi(void)
{
	struct msi_msg m = {0xfee01000, 0x4041};

	setup(4);
	ok(lapic_bus_msi(&env_bus, &m), "MSI");
	is_u64(takers(4, 0x41), 0x2, "physical");
	m.address = 0xfee0c000 | 4;
	wr(2, LDR, 0x04000000);
	wr(3, LDR, 0x08000000);
	lapic_bus_msi(&env_bus, &m);
	is_u64(takers(4, 0x41), 0xc, "logical");
	m.address |= 8;
	lapic_bus_msi(&env_bus, &m);
	is_u64((uint64_t)__builtin_popcount(takers(4, 0x41)), 1, "redirection hint: one of them");
	m = (struct msi_msg){0xfee01000, 0xc041};
	lapic_bus_msi(&env_bus, &m);
	is_u64(rd(1, TMR + 0x20), 2, "level asserted");
	takers(4, 0x41);
	m.data = 0x8041;
	ok(lapic_bus_msi(&env_bus, &m) && takers(4, 0x41) == 0, "level de-asserted: nothing");
	m = (struct msi_msg){0xfee01000, 0x0400};
	lapic_bus_msi(&env_bus, &m);
	ok(cpu[1].nmis == 1, "NMI");
	m.data = 0x0600;
	lapic_bus_msi(&env_bus, &m);
	ok(cpu[1].sipis == 0, "start-up is reserved");
	m = (struct msi_msg){0xfec00000, 0x41};
	ok(!lapic_bus_msi(&env_bus, &m), "another address");
	m.address = 0x1fee00000;
	ok(!lapic_bus_msi(&env_bus, &m), "and one above 4 GiB");
}

/* --- modes --- */

static void test_base_transitions(void)
{
	static const uint64_t value[] = {OFF, XAPIC, X2APIC, 0xfee00400};
	/* [from][to]: off, xAPIC, x2APIC, x2APIC without enable */
	static const bool legal[3][4] = {{1, 1, 0, 0}, {1, 1, 1, 0}, {1, 0, 1, 0}};
	unsigned wrong = 0;

	for (unsigned from = 0; from < 3; from++) {
		for (unsigned to = 0; to < 4; to++) {
			int got;

			setup(1);
			if (from == 2)
				to_x2(1);
			else
				wrmsr(0, 0x1b, value[from]);
			got = wrmsr(0, 0x1b, value[to]);
			wrong += got != (legal[from][to] ? 0 : -EINVAL);
			wrong += rdmsr(0, 0x1b) != value[legal[from][to] ? to : from];
		}
	}
	is_u64(wrong, 0, "mode changes: the legal ones and no others");
}

static void test_base(void)
{
	struct lapic_config c;

	setup(1);
	for (unsigned bit = 0; bit < 64; bit++) {
		bool reserved = bit < 8 || bit == 9 || bit >= 40;

		if (reserved && wrmsr(0, 0x1b, XAPIC | BIT(bit)) != -EINVAL)
			ok(false, "reserved bit %u", bit);
	}
	ok(rdmsr(0, 0x1b) == 0xfee00900, "reserved bits");
	is_u64((uint64_t)wrmsr(0, 0x1b, 0xfed40900), 0, "the base can be moved");
	ok(lapic_claims(&cpu[0].apic, 0xfed40fff) && !lapic_claims(&cpu[0].apic, 0xfee00030),
	   "and is claimed there");
	ok(rd(0, SVR) == 0x1ff, "moving changes no register");
	wrmsr(0, 0x1b, XAPIC);
	wr(0, TPR, 0x33);
	wr(0, LDR, 0x01000000);
	wr(0, LINT1, 0x400);
	to_x2(1);
	ok(rdx2(0, TPR) == 0x33 && rdx2(0, SVR) == 0x1ff && rdx2(0, LINT1) == 0x400,
	   "to x2APIC: registers stay");
	ok(!lapic_claims(&cpu[0].apic, 0xfee00030), "no register page in x2APIC mode");
	is_u64(lapic_mmio_read(&cpu[0].apic, VERSION, 4), UINT64_MAX, "it reads all ones");
	wr(0, TPR, 0x44);
	is_u64(rdx2(0, TPR), 0x33, "and ignores writes");
	wrmsr(0, 0x1b, OFF);
	ok(!lapic_enabled(&cpu[0].apic) && rdx2(0, TPR) == UINT64_MAX, "disabled: no registers");
	ok(send(0, false, LAPIC_FIXED, 0x40, false) == 0 &&
		   send(0xff, false, LAPIC_NMI, 0, false) == 0 && cpu[0].nmis == 0,
	   "and off the bus");
	ok(lapic_accepts_extint(&cpu[0].apic), "LINT0 is the INTR pin then");
	lapic_lint1(&cpu[0].apic, true);
	ok(take(0) < 0 && cpu[0].nmis == 1, "LINT1 the NMI pin");
	wrmsr(0, 0x1b, XAPIC);
	ok(rd(0, SVR) == 0xff && rd(0, TPR) == 0 && rd(0, LDR) == 0, "enabled again: begins anew");
	setup(1);
	send(0, false, LAPIC_FIXED, 0x40, false);
	wrmsr(0, 0x1b, OFF);
	ok(take(0) < 0, "nothing is delivered while disabled");
	env_setup(0);
	c = env_config(0);
	c.features = 0;
	lapic_init(&cpu[0].apic, &c);
	ok(wrmsr(0, 0x1b, X2APIC) == -EINVAL, "no x2APIC mode without the feature");
	ok(wrmsr(0, 0x6e0, 1) == -EINVAL && rdmsr(0, 0x6e0) == UINT64_MAX, "nor a TSC deadline");
	wr(0, SVR, 0x1ff);
	wr(0, TIMER, 0x40040);
	is_u64(rd(0, TIMER), 0x40, "nor its mode bit");
}

static void test_msr_access(void)
{
	/* Readable, writable, what may be written. */
	static const struct {
		unsigned off;
		bool r, w;
		uint64_t legal, illegal;
	} t[] = {
		{ID, 1, 0, 0, 0},
		{VERSION, 1, 0, 0, 0},
		{TPR, 1, 1, 0xff, 0x100},
		{APR, 0, 0, 0, 0},
		{PPR, 1, 0, 0, 0},
		{EOI, 0, 1, 0, 1},
		{RRD, 0, 0, 0, 0},
		{LDR, 1, 0, 0, 0},
		{DFR, 0, 0, 0, 0},
		{SVR, 1, 1, 0x3ff, 0x1000},
		{ISR, 1, 0, 0, 0},
		{TMR + 0x70, 1, 0, 0, 0},
		{IRR + 0x30, 1, 0, 0, 0},
		{ESR, 1, 1, 0, 1},
		{0x2f0, 0, 0, 0, 0},
		{ICR, 1, 1, 0xffffffff000c5840, 0x00100000},
		{ICR, 1, 1, 0x40, 0x2040},
		{ICR, 1, 1, 0x40, 0x10040},
		{ICR2, 0, 0, 0, 0},
		{TIMER, 1, 1, 0x710ff, 0x100},
		{0x330, 1, 1, 0x117ff, 0x800},
		{PERF, 1, 1, 0x117ff, 0x8000},
		{LINT0, 1, 1, 0x1f7ff, 0x20000},
		{LINT1, 1, 1, 0x1f7ff, 0x800},
		{ERROR, 1, 1, 0x110ff, 0x100},
		{INITIAL, 1, 1, 0xffffffff, 0x100000000},
		{CURRENT, 1, 0, 0, 0},
		{DIVIDE, 1, 1, 0xb, 0x4},
		{0x3f0, 0, 1, 0xff, 0x100},
		{0x000, 0, 0, 0, 0},
		{0x400, 0, 0, 0, 0},
		{0xff0, 0, 0, 0, 0},
	};

	setup(1);
	ok(rdx2(0, VERSION) == UINT64_MAX && wrx2(0, TPR, 0) == -EINVAL,
	   "no x2APIC registers in xAPIC mode");
	to_x2(1);
	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		uint64_t ignored;
		bool r = lapic_msr_read(&cpu[0].apic, 0x800 + t[i].off / 16, &ignored) == 0;
		int w = wrx2(0, t[i].off, t[i].legal);

		ok(r == t[i].r, "x2APIC %#x is %sreadable", t[i].off, t[i].r ? "" : "not ");
		ok(w == (t[i].w ? 0 : -EINVAL), "x2APIC %#x is %swritable", t[i].off,
		   t[i].w ? "" : "not ");
		if (t[i].w)
			ok(wrx2(0, t[i].off, t[i].illegal) == -EINVAL &&
				   (t[i].off == ICR || wrx2(0, t[i].off, BIT(32)) == -EINVAL),
			   "x2APIC %#x refuses reserved bits", t[i].off);
	}
	ok(lapic_msr_mine(0x1b) && lapic_msr_mine(0x6e0) && lapic_msr_mine(0x800) &&
		   lapic_msr_mine(0x8ff) && !lapic_msr_mine(0x7ff) && !lapic_msr_mine(0x900),
	   "which MSRs are the local APIC's");
	ok(rdmsr(0, 0x10) == UINT64_MAX && wrmsr(0, 0x10, 0) == -EINVAL, "and no others");
}

/* --- pins --- */

static void test_virtual_wire(void)
{
	struct lapic *a = &cpu[0].apic;

	setup(1);
	env_bus.eoi = note_eoi;
	ok(!lapic_accepts_extint(a), "LINT0 is masked at first");
	lapic_virtual_wire(a);
	ok(lapic_accepts_extint(a), "virtual wire: ExtINT");
	is_u64(rd(0, LINT0), 0x700, "LINT0");
	is_u64(rd(0, LINT1), 0x400, "LINT1");
	is_u64(rd(0, SVR), 0x1ff, "enabled");
	env_setup(1);
	lapic_virtual_wire(a);
	is_u64(send(0, false, LAPIC_FIXED, 0x20, false), 1, "and known to senders");
	take(0);
	lapic_eoi(a);
	env_bus.eoi = note_eoi;
	cpu[0].kicks = 0;
	lapic_lint0(a, true);
	is_u64(cpu[0].kicks, 1, "INTR kicks");
	ok(take(0) < 0, "and is no request of the local APIC");
	lapic_lint0(a, false);
	lapic_lint1(a, true);
	take(0);
	lapic_lint1(a, true);
	take(0);
	is_u64(cpu[0].nmis, 1, "LINT1: an NMI for an edge");
	wr(0, LINT0, 0x10700);
	ok(!lapic_accepts_extint(a), "masked");
	cpu[0].kicks = 0;
	wr(0, LINT0, 0x700);
	ok(cpu[0].kicks > 0, "unmasking ExtINT looks at the 8259 again");
}

static void test_lint(void)
{
	struct lapic *a = &cpu[0].apic;

	test_virtual_wire();
	/* Fixed, edge: the virtual wire fallback of Linux. */
	wr(0, LINT0, 0x30);
	lapic_lint0(a, true);
	is_u64((uint64_t)take(0), 0x30, "fixed edge");
	wr(0, EOI, 0);
	ok(take(0) < 0, "once");
	lapic_lint0(a, false);
	lapic_lint0(a, true);
	lapic_lint0(a, false);
	is_u64((uint64_t)take(0), 0x30, "a pulse is not lost");
	wr(0, EOI, 0);
	wr(0, LINT0, 0x10030);
	lapic_lint0(a, true);
	ok(take(0) < 0, "masked");
	wr(0, LINT0, 0x30);
	ok(take(0) < 0, "an edge while masked is lost");
	lapic_lint0(a, false);
	/* Fixed, level. */
	wr(0, LINT0, 0x8031);
	lapic_lint0(a, true);
	is_u64((uint64_t)take(0), 0x31, "fixed level");
	is_u64(rd(0, LINT0), 0xc031, "remote IRR");
	eoi_seen = -1;
	wr(0, EOI, 0);
	is_u64((uint64_t)take(0), 0x31, "again after EOI while asserted");
	lapic_lint0(a, false);
	wr(0, EOI, 0);
	ok(take(0) < 0 && rd(0, LINT0) == 0x8031, "not once it fell");
	lapic_lint0(a, true);
	is_u64((uint64_t)take(0), 0x31, "up again");
	send(0, false, LAPIC_FIXED, 0x91, true);
	take(0);
	wr(0, EOI, 0);
	is_u64(rd(0, LINT0), 0xc031, "the EOI of another level leaves remote IRR");
	wr(0, LINT0, 0x8031);
	is_u64(rd(0, LINT0), 0xc031, "as does writing the entry");
	wr(0, LINT0, 0x31);
	is_u64(rd(0, LINT0), 0x31, "edge mode has none");
	wr(0, EOI, 0);
	wr(0, LINT1, 0x8032);
	lapic_lint1(a, false);
	lapic_lint1(a, true);
	is_u64((uint64_t)take(0), 0x32, "LINT1 as level");
	wr(0, EOI, 0);
	is_u64((uint64_t)take(0), 0x32, "again after EOI");
	wr(0, LINT1, 0x10000);
	wr(0, EOI, 0);
	wr(0, LINT0, 0x10000);
	lapic_lint0(a, false);
	wr(0, LINT1, 0x500);
	lapic_lint1(a, false);
	lapic_lint1(a, true);
	take(0);
	is_u64(cpu[0].inits, 1, "LINT1 as INIT");
	lapic_lint(a, 2, true);
	lapic_nmi(a);
	is_u64(cpu[0].nmis, 2, "an NMI past LINT1");
	wr(0, PERF, 0x400);
	lapic_local_event(a, LAPIC_LVT_PERF);
	is_u64(cpu[0].nmis, 3, "performance counter entry as NMI");
	wr(0, 0x330, 0x66);
	lapic_local_event(a, LAPIC_LVT_THERMAL);
	is_u64((uint64_t)take(0), 0x66, "thermal entry");
	/* An edge that came before the entry was masked has been seen. */
	wr(0, EOI, 0);
	wr(0, LINT0, 0x45);
	lapic_lint0(a, true);
	wr(0, LINT0, 0x10045);
	is_u64((uint64_t)take(0), 0x45, "an edge meets the entry that was there when it came");
}

/* --- timer --- */

static void test_timer_oneshot(void)
{
	setup(1);
	wr(0, TIMER, 0x40);
	wr(0, DIVIDE, BY_1);
	wr(0, INITIAL, 100000);
	is_u64(rd(0, INITIAL), 100000, "initial count");
	is_u64(rd(0, CURRENT), 100000, "starts there");
	is_u64(rig_next_timer(), machine_now() + 100000, "the host timer is set to its end");
	rig_advance(30000);
	is_u64(rd(0, CURRENT), 70000, "counts nanoseconds");
	rig_advance(69999);
	is_u64(rd(0, CURRENT), 1, "one left");
	ok(take(0) < 0, "not yet");
	cpu[0].kicks = 0;
	rig_advance(1);
	ok(cpu[0].kicks > 0, "kicks");
	is_u64((uint64_t)take(0), 0x40, "fires");
	is_u64(rd(0, CURRENT), 0, "stays at 0");
	wr(0, EOI, 0);
	rig_advance(1000000);
	ok(take(0) < 0, "once");
	wr(0, INITIAL, 1000);
	wr(0, INITIAL, 0);
	rig_advance(5000);
	ok(take(0) < 0 && !timer_armed(&cpu[0].apic.timer), "a count of 0 stops it");
	wr(0, INITIAL, 1000);
	rig_skip(1000);
	is_u64(rd(0, IRR + 0x20), 1, "who polls IRR sees it without the host timer");
	take(0);
	wr(0, EOI, 0);
	wr(0, INITIAL, 1000);
	rig_skip(1000);
	wr(0, INITIAL, 5000);
	is_u64((uint64_t)take(0), 0x40, "a tick that was due is not lost by starting anew");
	wr(0, INITIAL, 0xffffffff);
	is_u64(rd(0, CURRENT), 0xffffffff, "the largest count");
}

static void test_timer_divide(void)
{
	static const uint8_t config[] = {0xb, 0x0, 0x1, 0x2, 0x3, 0x8, 0x9, 0xa};
	unsigned wrong = 0;

	for (unsigned i = 0; i < 8; i++) {
		setup(1);
		wr(0, TIMER, 0x40);
		wr(0, DIVIDE, config[i]);
		wr(0, INITIAL, 1000);
		rig_advance((1000ULL << i) - 1);
		wrong += take(0) >= 0 || rd(0, CURRENT) != 1;
		rig_advance(1);
		wrong += take(0) != 0x40 || rd(0, CURRENT) != 0;
	}
	is_u64(wrong, 0, "dividers 1 to 128");
	setup(1);
	wr(0, TIMER, 0x40);
	wr(0, DIVIDE, BY_1);
	wr(0, INITIAL, 1000);
	rig_advance(400);
	wr(0, DIVIDE, 0x1); /* by 4 */
	is_u64(rd(0, CURRENT), 600, "a new divider goes on from the count");
	rig_advance(600 * 4 - 1);
	ok(take(0) < 0 && rd(0, CURRENT) == 1, "at its rate");
	rig_advance(1);
	is_u64((uint64_t)take(0), 0x40, "to the end");
}

static void test_timer_periodic(void)
{
	unsigned ticks = 0;

	setup(1);
	wr(0, TIMER, 0x20040);
	wr(0, DIVIDE, BY_1);
	wr(0, INITIAL, 1000000);
	for (unsigned i = 0; i < 1000; i++) {
		rig_advance(100000);
		if (take(0) == 0x40)
			ticks++;
		wr(0, EOI, 0);
	}
	is_u64(ticks, 100, "periodic: 100 ticks in 100 ms");
	rig_advance(5300000);
	is_u64((uint64_t)take(0), 0x40, "late: ticks merge");
	wr(0, EOI, 0);
	ok(take(0) < 0, "into one");
	is_u64(rd(0, CURRENT), 700000, "and the phase is kept");
	is_u64(rig_next_timer(), machine_now() + 700000, "for the host timer, too");
	wr(0, TIMER, 0x30040);
	ok(!timer_armed(&cpu[0].apic.timer), "masked: no host timer");
	rig_advance(1000000);
	is_u64(rd(0, CURRENT), 700000, "but it counts");
	ok(take(0) < 0, "in silence");
	wr(0, TIMER, 0x20040);
	rig_advance(700000);
	is_u64((uint64_t)take(0), 0x40, "unmasked: ticks at its phase");
	wr(0, INITIAL, 10);
	ok(rig_next_timer() >= machine_now() + 40000, "a mad period does not own the host");
	rig_advance(10);
	is_u64(rd(0, CURRENT), 10, "its count is exact");
}

/* Modes changed while it counts (as kvm-unit-tests' apic test does). */
static void test_timer_modes(void)
{
	setup(1);
	wr(0, DIVIDE, BY_1);
	wr(0, TIMER, 0x10040);
	wr(0, INITIAL, 1000000);
	rig_advance(600000);
	wr(0, TIMER, 0x30040);
	is_u64(rd(0, CURRENT), 400000, "one-shot to periodic: goes on");
	rig_advance(500000);
	is_u64(rd(0, CURRENT), 900000, "and reloads");
	wr(0, TIMER, 0x10040);
	is_u64(rd(0, CURRENT), 900000, "periodic to one-shot: goes on");
	rig_advance(1000000);
	is_u64(rd(0, CURRENT), 0, "and stops at 0");
	wr(0, TIMER, 0x30040);
	rig_advance(100);
	is_u64(rd(0, CURRENT), 0, "periodic again: stays at 0");
	is_u64(rd(0, INITIAL), 1000000, "though the initial count is there");
	wr(0, TIMER, 0x40);
	wr(0, INITIAL, 1000);
	wr(0, TIMER, 0x40041);
	ok(rd(0, INITIAL) == 0 && rd(0, CURRENT) == 0, "to TSC-deadline: disarmed");
	rig_advance(10000);
	ok(take(0) < 0, "nothing fires");
	wr(0, INITIAL, 1000);
	is_u64(rd(0, INITIAL), 0, "the initial count is ignored in TSC-deadline mode");
	wrmsr(0, 0x6e0, env_tsc_now(NULL) + 1000);
	wr(0, TIMER, 0x41);
	is_u64(rdmsr(0, 0x6e0), 0, "from TSC-deadline: disarmed");
	wr(0, TIMER, 0x40041);
	rig_advance(10000);
	ok(take(0) < 0, "also after going back");
	setup(1);
	wr(0, DIVIDE, BY_1);
	wr(0, TIMER, 0x40);
	wr(0, INITIAL, 1000);
	rig_skip(1000);
	wr(0, TIMER, 0x10040);
	is_u64((uint64_t)take(0), 0x40, "a tick due before the entry was masked is not lost");
}

static void test_timer_deadline(void)
{
	uint64_t tsc;

	setup(1);
	wrmsr(0, 0x6e0, 12345);
	is_u64(rdmsr(0, 0x6e0), 0, "in other modes the deadline is ignored and reads 0");
	wr(0, TIMER, 0x40041);
	tsc = env_tsc_now(NULL) + 2001;
	wrmsr(0, 0x6e0, tsc);
	is_u64(rdmsr(0, 0x6e0), tsc, "armed");
	is_u64(rig_next_timer(), machine_now() + 1001, "host timer, rounded up");
	is_u64(rd(0, CURRENT), 0, "no count in this mode");
	rig_advance(1000);
	ok(take(0) < 0, "not yet");
	rig_advance(1);
	is_u64((uint64_t)take(0), 0x41, "fires");
	is_u64(rdmsr(0, 0x6e0), 0, "and disarms");
	wr(0, EOI, 0);
	rig_advance(100000);
	ok(take(0) < 0, "once");
	wrmsr(0, 0x6e0, 1);
	is_u64((uint64_t)take(0), 0x41, "a deadline in the past fires at once");
	is_u64(rdmsr(0, 0x6e0), 0, "and is disarmed");
	wr(0, EOI, 0);
	wrmsr(0, 0x6e0, env_tsc_now(NULL));
	is_u64((uint64_t)take(0), 0x41, "so does one that is now");
	wr(0, EOI, 0);
	wrmsr(0, 0x6e0, env_tsc_now(NULL) + 2000);
	rig_skip(1000);
	wrmsr(0, 0x6e0, 0);
	is_u64((uint64_t)take(0), 0x41, "one that was due is not lost by writing the next");
	wr(0, EOI, 0);
	wrmsr(0, 0x6e0, env_tsc_now(NULL) + 2000);
	wrmsr(0, 0x6e0, 0);
	rig_advance(10000);
	ok(take(0) < 0 && !timer_armed(&cpu[0].apic.timer), "0 disarms");
	wrmsr(0, 0x6e0, env_tsc_now(NULL) + 2000);
	wr(0, TIMER, 0x50041);
	rig_advance(5000);
	ok(take(0) < 0, "masked");
	is_u64(rdmsr(0, 0x6e0), 0, "it passes all the same");
	wr(0, TIMER, 0x40041);
	ok(take(0) < 0, "and is gone");
	wrmsr(0, 0x6e0, UINT64_MAX);
	rig_advance(1000000);
	ok(take(0) < 0 && rdmsr(0, 0x6e0) == UINT64_MAX, "never");
	/* A wake-up call that comes early is repeated. */
	wrmsr(0, 0x6e0, env_tsc_now(NULL) + 20000);
	lapic_raise_work(&cpu[0].apic, LAPIC_WORK_TIMER);
	timer_cancel(&cpu[0].apic.timer);
	ok(take(0) < 0 && timer_armed(&cpu[0].apic.timer), "an early wake-up arms again");
}

static void test_timer_pause(void)
{
	setup(1);
	wr(0, TIMER, 0x40);
	wr(0, DIVIDE, BY_1);
	wr(0, INITIAL, 100000);
	rig_advance(40000);
	lapic_suspend(&cpu[0].apic);
	ok(!timer_armed(&cpu[0].apic.timer), "suspended");
	vclock_stop(&rig_clock);
	rig_advance(10000000);
	is_u64(rd(0, CURRENT), 60000, "a paused VM's timer stands");
	ok(take(0) < 0, "and does not fire");
	lapic_resume(&cpu[0].apic);
	ok(!timer_armed(&cpu[0].apic.timer), "while the clock stands there is nothing to arm");
	vclock_start(&rig_clock);
	lapic_resume(&cpu[0].apic);
	rig_advance(59999);
	ok(take(0) < 0, "it goes on");
	rig_advance(1);
	is_u64((uint64_t)take(0), 0x40, "for what was left");
}

/* --- snapshots --- */

static void test_snapshot(void)
{
	struct lapic_state a, b;
	struct lapic *apic = &cpu[0].apic;

	setup(1);
	wr(0, TIMER, 0x20040);
	wr(0, DIVIDE, BY_1);
	wr(0, INITIAL, 100000);
	wr(0, LINT0, 0x8031);
	lapic_lint0(apic, true);
	take(0);
	send(0, false, LAPIC_FIXED, 0x99, true);
	rig_advance(30000);
	lapic_save(apic, &a);
	lapic_reset(apic, LAPIC_RESET_POWER_ON);
	is_u64((uint64_t)lapic_load(apic, &a), 0, "load");
	lapic_save(apic, &b);
	ok(memcmp(&a, &b, sizeof(a)) == 0, "gives the same state");
	is_u64((uint64_t)take(0), 0x99, "requests included");
	is_u64(rd(0, CURRENT), 70000, "and the timer");
	ok(timer_armed(&apic->timer), "which is armed");
	is_u64(send(0, false, LAPIC_FIXED, 0x9a, true), 1, "senders know it again");
	lapic_save(apic, &a);

#define REFUSES(change, name)                                                                      \
	do {                                                                                       \
		b = a;                                                                             \
		change;                                                                            \
		ok(lapic_load(apic, &b) == -EINVAL, "refuses %s", name);                           \
	} while (0)
	REFUSES(b.version = 2, "another version");
	REFUSES(b.id = 3, "another ID");
	REFUSES(b.base = 0xfee00400, "a mode that is none");
	REFUSES(b.base |= BIT(45), "an address beyond its width");
	REFUSES(b.tpr = 0x100, "a wide TPR");
	REFUSES(b.ldr = 1, "reserved bits of LDR");
	REFUSES(b.dfr = 0, "reserved bits of DFR");
	REFUSES(b.svr = 0x1000, "reserved bits of SVR");
	REFUSES(b.svr = 0xff, "unmasked entries while software-disabled");
	REFUSES(b.divide = 4, "reserved bits of the divider");
	REFUSES(b.irr[0].v = 1, "an illegal vector requested");
	REFUSES(b.isr[0] = 1, "one in service");
	REFUSES(b.esr = 1, "an error that does not exist");
	REFUSES(b.icr = 0x2000, "reserved bits of ICR");
	REFUSES(b.pins.v = 4, "a third pin");
	REFUSES(b.work.v = 0x20, "unknown work");
	REFUSES(b.lvt[LAPIC_LVT_ERROR] = 0x700, "reserved bits of an LVT entry");
	REFUSES(b.lvt[LAPIC_LVT_LINT1] = 0x4000, "remote IRR of an edge");
	REFUSES(b.initial_count = 0, "counting from nothing");
	REFUSES(b.tsc_deadline = 1, "a deadline in another mode");
	REFUSES(b.lvt[LAPIC_LVT_TIMER] = 0x40040, "a count in TSC-deadline mode");
	lapic_save(apic, &b);
	ok(memcmp(&a, &b, sizeof(a)) == 0, "a refused load changes nothing");
}

/* --- random operations --- */

static int highest_of(const uint32_t *words)
{
	for (int v = 255; v >= 0; v--)
		if (words[v / 32] >> (v % 32) & 1)
			return v;
	return -1;
}

/* What must hold for any local APIC at any time; the reference for PPR and for what is deliverable.
 */
static bool invariants_hold(unsigned i)
{
	struct lapic *a = &cpu[i].apic;
	struct lapic_state s;
	uint32_t irr[8];
	int in_service, request, ppr, want;

	lapic_save(a, &s);
	for (unsigned w = 0; w < 8; w++)
		irr[w] = s.irr[w].v;
	in_service = highest_of(s.isr);
	request = highest_of(irr);
	ppr = in_service < 0 ? 0 : in_service / 16 * 16;
	if (s.tpr / 16 * 16 >= (unsigned)ppr)
		ppr = (int)s.tpr;
	want = request >= 0 && request / 16 > ppr / 16 && (s.base & BIT(11)) ? request : -1;
	if (lapic_ppr(a) != ppr || lapic_pending(a) != want || (s.irr[0].v & 0xffff) ||
	    (s.isr[0] & 0xffff))
		return false;
	if (lapic_timer_count(a) > s.initial_count ||
	    atomic_load64(&a->route) != lapic_route_word(a))
		return false;
	/* A save finds nothing overdue, and every state that is reached can be loaded. */
	return !lapic_timer_due(a) && lapic_load(a, &s) == 0 && lapic_ppr(a) == ppr;
}

static void random_access(unsigned i)
{
	unsigned off = rand() % 8 ? (unsigned)rand() % 0x40 * 16 : (unsigned)rand() % 0x1000;
	uint64_t val = (uint32_t)rand() & (rand() % 2 ? 0x7ffffU : 0xffffffffU);
	static const uint64_t bases[] = {XAPIC, X2APIC, OFF, 0xfee00400, 0xfed40800};
	static const unsigned sizes[] = {1, 2, 4, 8};
	uint64_t ignored;

	switch (rand() % 16) {
	case 0:
		wrmsr(i, 0x1b, bases[rand() % 5]);
		break;
	case 1:
		wrmsr(i, 0x6e0, rand() % 4 ? env_tsc_now(NULL) + val : (uint64_t)rand());
		break;
	case 2:
	case 3:
		lapic_msr_read(&cpu[i].apic, 0x800 + off / 16, &ignored);
		break;
	case 4:
	case 5:
		wrx2(i, off, rand() % 2 ? val : val & 0xff);
		break;
	case 6:
		lapic_mmio_write(&cpu[i].apic, off, sizes[rand() % 4], val);
		break;
	case 7:
		lapic_mmio_read(&cpu[i].apic, off, sizes[rand() % 4]);
		break;
	case 8:
		wr(i, SVR, 0x1ff);
		wrx2(i, SVR, 0x1ff);
		break;
	default:
		wr(i, off & 0xff0, (uint32_t)val);
		break;
	}
}

static void test_fuzz(void)
{
	unsigned broken = 0, taken = 0, ticks = 0;

	srand(20221);
	setup(4);
	for (unsigned n = 0; n < 150000; n++) {
		unsigned i = (unsigned)rand() % 4;

		switch (rand() % 8) {
		case 0:
			send((uint8_t)rand() % 6, rand() % 2, (unsigned)rand() % 8, (uint8_t)rand(),
			     rand() % 2);
			break;
		case 1:
			lapic_lint(&cpu[i].apic, (unsigned)rand() % 3, rand() % 2);
			break;
		case 2:
			rig_advance((uint64_t)rand() % 200000);
			break;
		case 3:
			taken += take(i) >= 0;
			break;
		case 4:
			lapic_eoi(&cpu[i].apic);
			break;
		default:
			random_access(i);
			break;
		}
		ticks += timer_armed(&cpu[i].apic.timer);
		if (rand() % 4096 == 0)
			lapic_reset(&cpu[i].apic, LAPIC_RESET_INIT);
		broken += !invariants_hold(i);
	}
	is_u64(broken, 0,
	       "random operations: priorities as a reference computes them, states loadable");
	ok(taken > 1000 && ticks > 1000, "and much happened (%u taken, %u with a timer)", taken,
	   ticks);
}

int main(void)
{
	test_init();
	test_power_on();
	test_reset();
	test_mmio_writable();
	test_mmio_shape();
	test_errors();
	test_priority();
	test_kicks();
	test_soft_disable();
	test_ipi();
	test_lowest();
	test_logical();
	test_x2_ipi();
	test_msi();
	test_base_transitions();
	test_base();
	test_msr_access();
	test_lint();
	test_timer_oneshot();
	test_timer_divide();
	test_timer_periodic();
	test_timer_modes();
	test_timer_deadline();
	test_timer_pause();
	test_snapshot();
	test_fuzz();
	return tap_done();
}

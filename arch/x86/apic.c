/* SPDX-License-Identifier: BSD-2-Clause */
/* Local APIC, by memory-mapped registers or, where the CPU has it, in x2APIC mode. */
#include "arch/x86/apic.h"

#include "arch/x86/cpu.h"
#include "arch/x86/paging.h"
#include "arch/x86/percpu.h"
#include "arch/x86/traps.h"
#include "lib/check.h"
#include "lib/util.h"

/* Register offsets (SDM 3A table 10-1); x2APIC mode has them as MSRs. */
enum {
	REG_ID = 0x20,
	REG_VERSION = 0x30,
	REG_TPR = 0x80,
	REG_EOI = 0xb0,
	REG_LDR = 0xd0,
	REG_DFR = 0xe0,
	REG_SVR = 0xf0,
	REG_ISR = 0x100,
	REG_ESR = 0x280,
	REG_LVT_CMCI = 0x2f0,
	REG_ICR = 0x300,
	REG_ICR_HIGH = 0x310,
	REG_LVT_TIMER = 0x320,
	REG_LVT_THERMAL = 0x330,
	REG_LVT_PERF = 0x340,
	REG_LVT_LINT0 = 0x350,
	REG_LVT_LINT1 = 0x360,
	REG_LVT_ERROR = 0x370,
	REG_TIMER_COUNT = 0x380,
	REG_TIMER_NOW = 0x390,
	REG_TIMER_DIVIDE = 0x3e0,
};

#define BASE_ENABLE  BIT(11)
#define BASE_X2APIC  BIT(10)
#define BASE_DEFAULT 0xfee00000ULL

#define SVR_ENABLE   0x100U
#define LVT_MASKED   0x10000U
#define LVT_LEVEL    0x8000U
#define LVT_LOW	     0x2000U
#define LVT_NMI	     0x400U
#define LVT_DEADLINE 0x40000U
#define DIVIDE_BY_1  0xbU
#define ICR_PENDING  0x1000U
#define ICR_ASSERT   0x4000U
#define ICR_NMI	     0x400U
#define ICR_INIT     0x500U
#define ICR_STARTUP  0x600U
#define ICR_PATIENCE 1000000

static bool x2apic;
static volatile uint8_t *regs; /* NULL in x2APIC mode */
static const struct acpi_info *firmware;

static uint32_t apic_read(unsigned reg)
{
	if (x2apic)
		return (uint32_t)rdmsr(MSR_X2APIC + (reg >> 4));
	return mmio_read32(regs + reg);
}

static void apic_write(unsigned reg, uint32_t v)
{
	if (x2apic)
		wrmsr(MSR_X2APIC + (reg >> 4), v);
	else
		mmio_write32(regs + reg, v);
}

uint32_t apic_id(void)
{
	uint32_t id = apic_read(REG_ID);

	return x2apic ? id : id >> 24;
}

bool apic_is_x2apic(void)
{
	return x2apic;
}

void apic_eoi(void)
{
	apic_write(REG_EOI, 0);
}

/* ---- set-up ---- */

void apic_init(const struct acpi_info *acpi)
{
	struct cpuid id = cpuid_checked(1, 0);
	uint64_t base;

	if (!(id.edx & BIT(9)) && !(rdmsr_safe(MSR_APIC_BASE, &base) && base & BASE_ENABLE))
		panic("this CPU has no local APIC, or firmware has switched it off");
	firmware = acpi;
	base = rdmsr(MSR_APIC_BASE);
	x2apic = id.ecx & BIT(21) || base & BASE_X2APIC;
	if (!x2apic) {
		uint64_t at = base & (BIT(52) - 1) & ~PAGE_MASK;

		regs = paging_map_device(pa(at ? at : BASE_DEFAULT), PAGE_SIZE);
		if (regs == NULL)
			panic("the local APIC's registers at 0x%lx cannot be mapped", at);
	}
	apic_init_cpu();
}

/* x2APIC mode is entered from xAPIC mode only (SDM 3A figure 10-27). */
static void set_mode(void)
{
	uint64_t base = rdmsr(MSR_APIC_BASE);

	if (!(base & BASE_ENABLE)) {
		base |= BASE_ENABLE;
		wrmsr(MSR_APIC_BASE, base);
	}
	if (x2apic && !(base & BASE_X2APIC))
		wrmsr(MSR_APIC_BASE, base | BASE_X2APIC);
}

/* Firmware's entries: masked before ours are written, and before anything is enabled. */
static void mask_lvt(void)
{
	unsigned max = apic_read(REG_VERSION) >> 16 & 0xff;

	apic_write(REG_LVT_TIMER, LVT_MASKED);
	apic_write(REG_LVT_LINT0, LVT_MASKED); /* where the 8259s come in */
	apic_write(REG_LVT_LINT1, LVT_MASKED);
	apic_write(REG_LVT_ERROR, LVT_MASKED);
	if (max >= 4)
		apic_write(REG_LVT_PERF, LVT_MASKED);
	if (max >= 5)
		apic_write(REG_LVT_THERMAL, LVT_MASKED);
	if (max >= 6)
		apic_write(REG_LVT_CMCI, LVT_MASKED);
}

/* The pins that firmware says carry NMI. */
static void set_nmi_pins(void)
{
	uint32_t id = apic_id(), uid = ACPI_NMI_ALL;

	for (size_t i = 0; i < firmware->nr_cpus; i++)
		if (firmware->cpus[i].apic_id == id)
			uid = firmware->cpus[i].uid;
	for (size_t i = 0; i < firmware->nr_nmis; i++) {
		const struct acpi_lapic_nmi *n = &firmware->nmis[i];

		if (n->uid != ACPI_NMI_ALL && n->uid != uid)
			continue;
		/* NMIs are edge triggered whatever the entry says (SDM 3A 10.5.1). */
		apic_write(n->lint ? REG_LVT_LINT1 : REG_LVT_LINT0,
			   LVT_NMI | (n->active_low ? LVT_LOW : 0));
	}
}

/* What firmware left in service would block everything of the same priority and below. */
static void finish_in_service(void)
{
	for (unsigned guard = 0; guard < 256; guard++) {
		uint32_t any = 0;

		for (unsigned i = 0; i < 8; i++)
			any |= apic_read(REG_ISR + 16 * i);
		if (any == 0)
			return;
		apic_eoi();
	}
}

void apic_init_cpu(void)
{
	set_mode();
	if (!x2apic) {
		apic_write(REG_DFR, 0xffffffff); /* flat; we address by physical id only */
		apic_write(REG_LDR, 0);
	}
	mask_lvt();
	apic_write(REG_TIMER_COUNT, 0);
	apic_write(REG_TPR, 0);
	apic_write(REG_SVR, SVR_ENABLE | VEC_SPURIOUS);
	finish_in_service();
	apic_write(REG_ESR, 0);
	apic_write(REG_LVT_ERROR, VEC_APIC_ERROR);
	set_nmi_pins();
}

void apic_error_interrupt(void)
{
	apic_write(REG_ESR, 0); /* latches what happened (SDM 3A 10.5.3) */
	this_cpu()->apic_errors |= apic_read(REG_ESR);
	apic_eoi();
}

/* ---- IPIs (SDM 3A 10.6) ---- */

static void send(uint32_t to, uint32_t command)
{
	if (x2apic) {
		/* The MSR does not wait for earlier stores; an IPI says that they can be seen. */
		__asm__ volatile("mfence; lfence" ::: "memory");
		wrmsr(MSR_X2APIC + (REG_ICR >> 4), (uint64_t)to << 32 | command);
		return;
	}
	for (unsigned i = 0; i < ICR_PATIENCE && apic_read(REG_ICR) & ICR_PENDING; i++)
		cpu_relax();
	apic_write(REG_ICR_HIGH, to << 24);
	apic_write(REG_ICR, command);
}

void apic_send_ipi(uint32_t to, uint8_t vector)
{
	send(to, ICR_ASSERT | vector);
}

void apic_send_nmi(uint32_t to)
{
	send(to, ICR_ASSERT | ICR_NMI);
}

void apic_send_init(uint32_t to)
{
	send(to, ICR_ASSERT | ICR_INIT);
}

void apic_send_startup(uint32_t to, uint8_t page)
{
	send(to, ICR_ASSERT | ICR_STARTUP | page);
}

/* ---- timer (SDM 3A 10.5.4) ---- */

void apic_timer_init(enum apic_timer_mode mode)
{
	apic_write(REG_TIMER_DIVIDE, DIVIDE_BY_1);
	apic_write(REG_LVT_TIMER, VEC_TIMER | (mode == APIC_TIMER_TSC_DEADLINE ? LVT_DEADLINE : 0));
	/* The mode must have changed before the first deadline is written. */
	__asm__ volatile("mfence" ::: "memory");
}

void apic_timer_start(uint32_t count)
{
	apic_write(REG_TIMER_COUNT, count);
}

uint32_t apic_timer_remaining(void)
{
	return apic_read(REG_TIMER_NOW);
}

void apic_timer_deadline(uint64_t tsc)
{
	wrmsr(MSR_TSC_DEADLINE, tsc);
}

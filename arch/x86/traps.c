/* SPDX-License-Identifier: BSD-2-Clause */
/* The interrupt descriptor table, dispatch, and the report of an exception nobody expected. */
#include "arch/x86/traps.h"

#include "arch/hw.h"
#include "arch/machine.h"
#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "arch/x86/paging.h"
#include "arch/x86/panic.h"
#include "arch/x86/percpu.h"
#include "arch/x86/smp.h"
#include "arch/x86/time.h"
#include "arch/x86/uart.h"
#include "lib/format.h"
#include "lib/util.h"

#define NR_VECTORS     256
#define GATE_INTERRUPT 0x8eULL /* present, ring 0, 64-bit interrupt gate (SDM 3A figure 6-8) */

struct gate {
	uint64_t low, high;
};

struct fixup {
	int32_t insn, target; /* each relative to its own place */
};

extern const uint8_t trap_stubs[];
extern const struct fixup fixups_start[], fixups_end[];

static struct gate idt[NR_VECTORS] __attribute__((aligned(4096)));

static const char *const exception_names[] = {
	[VEC_DE] = "#DE divide error",
	[VEC_DB] = "#DB debug",
	[VEC_NMI] = "NMI",
	[VEC_BP] = "#BP breakpoint",
	[VEC_OF] = "#OF overflow",
	[VEC_BR] = "#BR bound range",
	[VEC_UD] = "#UD invalid opcode",
	[VEC_NM] = "#NM device not available",
	[VEC_DF] = "#DF double fault",
	[VEC_TS] = "#TS invalid TSS",
	[VEC_NP] = "#NP segment not present",
	[VEC_SS] = "#SS stack fault",
	[VEC_GP] = "#GP general protection",
	[VEC_PF] = "#PF page fault",
	[VEC_MF] = "#MF x87 error",
	[VEC_AC] = "#AC alignment check",
	[VEC_MC] = "#MC machine check",
	[VEC_XM] = "#XM SIMD error",
	[VEC_VE] = "#VE virtualisation exception",
	[VEC_CP] = "#CP control protection",
	[VEC_VC] = "#VC VMM communication",
	[VEC_SX] = "#SX security exception",
};

static void set_gate(unsigned vector, unsigned ist)
{
	uint64_t at = (uint64_t)(uintptr_t)(trap_stubs + 16 * (size_t)vector);

	idt[vector].low = (at & 0xffff) | SEL_CODE << 16 | (uint64_t)ist << 32 |
			  GATE_INTERRUPT << 40 | (at >> 16 & 0xffff) << 48;
	idt[vector].high = at >> 32;
}

void traps_load(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) idtr = {sizeof(idt) - 1, (uint64_t)(uintptr_t)idt};

	__asm__ volatile("lidt %0" ::"m"(idtr));
}

void traps_init(void)
{
	for (unsigned v = 0; v < NR_VECTORS; v++)
		set_gate(v, 0);
	set_gate(VEC_NMI, IST_NMI);
	set_gate(VEC_DF, IST_DF);
	set_gate(VEC_MC, IST_MC);
	traps_load();
}

/* ---- reports ---- */

static void describe_error(const struct trap_frame *f, char *buf, size_t size)
{
	uint64_t e = f->error;

	if (f->vector == VEC_PF)
		snprintf(buf, size, "%s of %s page at %016lx%s%s",
			 e & BIT(4)   ? "fetch"
			 : e & BIT(1) ? "write"
				      : "read",
			 e & BIT(0) ? "a protected" : "an absent", read_cr2(),
			 e & BIT(3) ? ", reserved bit" : "", e & BIT(5) ? ", protection key" : "");
	else if (e)
		snprintf(buf, size, "error code %lx (%s selector %04lx)", e,
			 e & BIT(1)   ? "IDT"
			 : e & BIT(2) ? "LDT"
				      : "GDT",
			 e & 0xfff8);
	else
		buf[0] = '\0';
}

/* A fault just below a stack is an overflow of it. */
static void report_overflow(uint64_t addr)
{
	for (unsigned i = 0; i < MAX_PCPUS; i++) {
		const struct percpu_stacks *s = percpu_of(i) ? percpu_of(i)->stacks : &boot_stacks;
		const struct {
			const uint8_t *guard;
			const char *name;
		} list[] = {{s->guard_main, "main"},
			    {s->guard_nmi, "NMI"},
			    {s->guard_df, "double-fault"},
			    {s->guard_mc, "machine-check"}};

		for (size_t k = 0; percpu_of(i) && k < ARRAY_SIZE(list); k++)
			if (addr - (uint64_t)(uintptr_t)list[k].guard < PAGE_SIZE)
				report("*** the %s stack of cpu %u has overflowed", list[k].name,
				       i);
	}
}

static void report_registers(const struct trap_frame *f)
{
	report("rip %04lx:%016lx  rsp %04lx:%016lx  rflags %08lx", f->cs, f->rip, f->ss, f->rsp,
	       f->rflags);
	report("rax %016lx  rbx %016lx  rcx %016lx  rdx %016lx", f->rax, f->rbx, f->rcx, f->rdx);
	report("rsi %016lx  rdi %016lx  rbp %016lx  r8  %016lx", f->rsi, f->rdi, f->rbp, f->r8);
	report("r9  %016lx  r10 %016lx  r11 %016lx  r12 %016lx", f->r9, f->r10, f->r11, f->r12);
	report("r13 %016lx  r14 %016lx  r15 %016lx", f->r13, f->r14, f->r15);
	report("cr0 %08lx  cr2 %016lx  cr3 %016lx  cr4 %08lx  efer %04lx", read_cr0(), read_cr2(),
	       read_cr3(), read_cr4(), rdmsr(MSR_EFER));
}

/* The banks that hold something (SDM 3B 15.3.2). */
static void report_machine_check(void)
{
	uint64_t cap, status;

	if (!rdmsr_safe(MSR_MCG_CAP, &cap))
		return;
	report("mcg_status %lx", rdmsr(MSR_MCG_STATUS));
	for (uint32_t bank = 0; bank < (cap & 0xff); bank++) {
		uint32_t msr = MSR_MC0_CTL + 4 * bank;
		uint64_t addr = 0, misc = 0;

		if (!rdmsr_safe(msr + 1, &status) || !(status & BIT(63)))
			continue;
		if (status & BIT(58))
			rdmsr_safe(msr + 2, &addr);
		if (status & BIT(59))
			rdmsr_safe(msr + 3, &misc);
		report("bank %u status %016lx address %016lx misc %016lx", bank, status, addr,
		       misc);
	}
}

static _Noreturn void die(const struct trap_frame *f)
{
	const char *name =
		f->vector < ARRAY_SIZE(exception_names) ? exception_names[f->vector] : NULL;
	char error[128];

	if (!panic_begin())
		machine_halt();
	describe_error(f, error, sizeof(error));
	report("*** %s%s%s", name ? name : "reserved exception", error[0] ? ": " : "", error);
	if (f->vector == VEC_PF || f->vector == VEC_DF)
		report_overflow(read_cr2());
	report_registers(f);
	if (f->vector == VEC_MC)
		report_machine_check();
	report_backtrace(f->rip, f->rbp);
	panic_end();
}

/* ---- handlers ---- */

/* An instruction that was expected to fault perhaps (rdmsr_safe) goes on at its other way out. */
static bool fix_up(struct trap_frame *f)
{
	for (const struct fixup *x = fixups_start; x < fixups_end; x++) {
		if ((uint64_t)(uintptr_t)&x->insn + (uint64_t)(int64_t)x->insn != f->rip)
			continue;
		f->rip = (uint64_t)(uintptr_t)&x->target + (uint64_t)(int64_t)x->target;
		return true;
	}
	return false;
}

/* Ports 61h: bit 7 memory parity (SERR#), bit 6 I/O channel check. Others may be a button or a
 * stray. */
static void handle_nmi(const struct trap_frame *f)
{
	if (smp_stopping())
		machine_halt();
	if (in8(0x61) & 0xc0)
		die(f);
	this_cpu()->nmi_count++;
}

static void handle_exception(struct trap_frame *f)
{
	if (f->vector == VEC_NMI)
		handle_nmi(f);
	else if (f->vector == VEC_DF || f->vector == VEC_MC || !fix_up(f))
		die(f);
}

void trap_handle(struct trap_frame *f)
{
	switch (f->vector) {
	case 0 ... 31:
		handle_exception(f);
		return;
	case VEC_TIMER:
		apic_eoi();
		time_interrupt();
		return;
	case VEC_CONSOLE:
		uart_interrupt();
		apic_eoi();
		return;
	case VEC_KICK:
		apic_eoi(); /* it came to end a guest or a sleep, and has */
		return;
	case VEC_APIC_ERROR:
		apic_error_interrupt();
		return;
	case VEC_SPURIOUS: /* has no bit in service: no EOI */
	case VEC_PIC + 7:  /* nor have these at the local APIC; the 8259s are masked */
	case VEC_PIC + 15:
		this_cpu()->spurious_count++;
		return;
	default:
		this_cpu()->spurious_count++;
		apic_eoi();
	}
}

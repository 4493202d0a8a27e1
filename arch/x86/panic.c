/* SPDX-License-Identifier: BSD-2-Clause */
/* panic() and back traces. Everything here may run with the machine in any state. */
#include "arch/x86/panic.h"

#include <stdarg.h>

#include "arch/hw.h"
#include "arch/machine.h"
#include "arch/x86/cpu.h"
#include "arch/x86/paging.h"
#include "arch/x86/percpu.h"
#include "arch/x86/smp.h"
#include "arch/x86/symbols.h"
#include "arch/x86/uart.h"
#include "lib/atomic.h"
#include "lib/check.h"
#include "lib/format.h"
#include "lib/util.h"

#define BACKTRACE_MAX 32

void report(const char *fmt, ...)
{
	char line[256];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	uart_write_unlocked(line, min_u64((uint64_t)n, sizeof(line) - 1));
	uart_write_unlocked("\r\n", 2);
}

static void report_address(uint64_t addr)
{
	const char *name;
	uint64_t offset;

	if (symbols_find(addr, &name, &offset))
		report("  %016lx %s+0x%lx", addr, name, offset);
	else
		report("  %016lx", addr);
}

/* Does a saved frame pointer, and the return address above it, lie in one stack of any CPU? */
static bool on_a_stack(uint64_t rbp)
{
	if (!is_aligned(rbp, 8))
		return false;
	for (unsigned i = 0; i < MAX_PCPUS; i++) {
		const struct percpu_stacks *s = percpu_of(i) ? percpu_of(i)->stacks : &boot_stacks;
		const uint8_t *parts[] = {s->main, s->nmi, s->df, s->mc};
		const size_t sizes[] = {sizeof(s->main), sizeof(s->nmi), sizeof(s->df),
					sizeof(s->mc)};

		for (size_t k = 0; k < ARRAY_SIZE(parts); k++) {
			uint64_t base = (uint64_t)(uintptr_t)parts[k];

			if (rbp >= base && range_fits(rbp - base, 16, sizes[k]))
				return true;
		}
	}
	return false;
}

void report_backtrace(uint64_t rip, uint64_t rbp)
{
	report("back trace:");
	report_address(rip);
	for (unsigned i = 0; i < BACKTRACE_MAX && on_a_stack(rbp); i++) {
		const uint64_t *frame = (const uint64_t *)(uintptr_t)rbp;

		if (frame[1] == 0)
			return;
		/* The call is before the return address, in what may be another function's last
		 * line. */
		report_address(frame[1] - 1);
		rbp = frame[0];
	}
}

/* GS may be a guest's or not set at all: believe it only when it is one of ours. */
static struct percpu *trusted_cpu(void)
{
	uint64_t gs = rdmsr(MSR_GS_BASE);

	for (unsigned i = 0; i < MAX_PCPUS; i++)
		if (percpu_of(i) && (uint64_t)(uintptr_t)percpu_of(i) == gs)
			return percpu_of(i);
	return NULL;
}

/* The first CPU has the line to itself; a panic inside of it, or on another CPU, just halts. */
bool panic_begin(void)
{
	static atomic_u32 begun;
	struct percpu *cpu = trusted_cpu();

	interrupts_off();
	if (atomic_add32(&begun, 1) > 0)
		return false;
	smp_stop_others();
	report("%s", "");
	if (cpu)
		report("*** Sluice has stopped on cpu %u", cpu->index);
	else
		report("*** Sluice has stopped (per-CPU data not reachable)");
	return true;
}

void panic_end(void)
{
	report("The machine is halted; reset it to start again.");
	machine_halt();
}

void panic(const char *fmt, ...)
{
	const uint64_t *frame = __builtin_frame_address(0);
	char text[256];
	va_list ap;

	if (!panic_begin())
		machine_halt();
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	report("*** %s", text);
	report_backtrace(frame[1] - 1, frame[0]);
	panic_end();
}

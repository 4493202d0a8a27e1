/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The other CPUs: INIT to all, then one after the other a start-up IPI (SDM 3A 9.4.4,
 * MultiProcessor Specification B.4), so that one trampoline page and one set of words for it do.
 *
 * Each moves through the states below. Both sides change it by compare-and-swap: a CPU that comes
 * late finds that it was given up and stops, before it has touched anything.
 */
#include "arch/x86/smp.h"

#include "arch/hw.h"
#include "arch/machine.h"
#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "arch/x86/paging.h"
#include "arch/x86/percpu.h"
#include "arch/x86/time.h"
#include "arch/x86/traps.h"
#include "arch/x86/tsc_sync.h"
#include "lib/atomic.h"
#include "lib/check.h"
#include "lib/log.h"
#include "lib/string.h"
#include "lib/util.h"
#include "mm/kalloc.h"

enum start_state {
	START_WAITING,	/* the boot CPU waits for it */
	START_ARRIVED,	/* it runs C; counters are compared */
	START_READY,	/* it can be used, and waits for the word to run */
	START_REFUSED,	/* it cannot, and has stopped */
	START_ABANDONED /* it took too long */
};

#define INIT_DELAY_US  10000   /* MultiProcessor Specification B.4 */
#define STARTUP_GAP_US 200     /* before the second start-up IPI, for CPUs that missed the first */
#define ARRIVAL_US     1000000 /* an emulated CPU may wait for a host CPU that long */
#define READY_US       5000000
#define XAPIC_ID_LIMIT 0xff /* ids from here on exist in x2APIC mode only */
#define POLL_US	       10

struct trampoline_words {
	uint32_t to_protected[2], to_long[2]; /* far pointers */
	uint16_t unused, gdt_limit;
	uint32_t gdt_base;
	uint32_t root, unused2;
	uint64_t stack, argument, start;
};

extern const uint8_t trampoline[], trampoline_end[], trampoline_words[]; /* trampoline.asm */

static pa_t page;
static struct machine_cpu *cpus;
static unsigned nr_cpus;

static const char *(*ask_ready)(void);
static void (*run)(void);
static atomic_u32 may_run; /* all are up and the trampoline is gone */
static atomic_u32 stopping;

/* Of the CPU that is being started; a static one each, since a late one may still look. */
static struct {
	atomic_u32 state;
	const char *refusal;
} starts[MAX_PCPUS];

void smp_init(pa_t trampoline_page, struct machine_cpu *list, unsigned n)
{
	page = trampoline_page;
	cpus = list;
	nr_cpus = n;
}

/* ---- on the CPU that starts ---- */

static bool advance(unsigned cpu, uint32_t from, uint32_t to)
{
	return atomic_cas32(&starts[cpu].state, &from, to);
}

/* Exceptions first, so that whatever goes wrong afterwards is reported. */
static _Noreturn void start_here(struct percpu *p)
{
	percpu_load(p);
	traps_load();
	paging_load();
	if (!advance(p->index, START_WAITING, START_ARRIVED))
		machine_halt();
	apic_init_cpu();
	time_init_cpu();
	tsc_sync_other();
	starts[p->index].refusal = apic_id() != p->apic_id
					   ? "its local APIC has another id than ACPI says"
					   : ask_ready();
	if (!advance(p->index, START_ARRIVED,
		     starts[p->index].refusal ? START_REFUSED : START_READY) ||
	    starts[p->index].refusal)
		machine_halt();
	while (!atomic_load32_acq(&may_run))
		cpu_relax();
	paging_forget_trampoline();
	run();
	panic("cpu %u has nothing to run", p->index);
}

/* ---- on the boot CPU ---- */

/* Waits until the CPU's state is not `from` any more. False when it took longer than `us`. */
static bool wait_while(unsigned cpu, uint32_t from, uint32_t us)
{
	for (uint32_t waited = 0; atomic_load32_acq(&starts[cpu].state) == from;
	     waited += POLL_US) {
		if (waited >= us)
			return false;
		time_delay_us(POLL_US);
	}
	return true;
}

static void fill_trampoline(struct percpu *p)
{
	uint8_t *to = direct_map(page);
	struct trampoline_words *w =
		(struct trampoline_words *)(void *)(to + (trampoline_words - trampoline));
	uint32_t at = (uint32_t)page.v;

	memcpy(to, trampoline, (size_t)(trampoline_end - trampoline));
	w->to_protected[0] += at;
	w->to_long[0] += at;
	w->gdt_base += at;
	w->root = (uint32_t)paging_root().v;
	w->stack = (uint64_t)(uintptr_t)(p->stacks->main + sizeof(p->stacks->main));
	w->argument = (uint64_t)(uintptr_t)p;
	w->start = (uint64_t)(uintptr_t)start_here;
}

static const char *prepare(unsigned cpu)
{
	struct percpu *p = kzalloc(sizeof(*p));
	struct percpu_stacks *stacks = p ? paging_map_stacks() : NULL;

	if (!stacks) {
		kfree(p);
		return "not enough memory for its stacks";
	}
	percpu_init(p, stacks, cpu, cpus[cpu].hw_id);
	fill_trampoline(p);
	return NULL;
}

/* False when the CPU stopped answering. */
static bool compare_counters(unsigned cpu)
{
	int64_t moved;
	uint64_t worst = tsc_sync_boot(&moved);

	if (worst == UINT64_MAX)
		return false;
	if (moved)
		log_warn("cpu %u: its time-stamp counter was moved by %ld ticks", cpu, moved);
	if (worst)
		log_warn("cpu %u: its time-stamp counter differs, time goes back by %lu ticks", cpu,
			 worst);
	return true;
}

/* A CPU that arrived and is silent now. */
static void give_up(unsigned cpu)
{
	apic_send_init(cpus[cpu].hw_id);
	time_delay_us(INIT_DELAY_US);
	tsc_sync_abandon();
}

/* Brings one CPU up to START_READY. NULL, or why it is left out. */
static const char *start(unsigned cpu)
{
	uint32_t id = cpus[cpu].hw_id;
	const char *why = prepare(cpu);

	if (why)
		return why;
	apic_send_startup(id, (uint8_t)(page.v >> PAGE_SHIFT));
	if (!wait_while(cpu, START_WAITING, STARTUP_GAP_US)) {
		apic_send_startup(id, (uint8_t)(page.v >> PAGE_SHIFT));
		wait_while(cpu, START_WAITING, ARRIVAL_US);
	}
	if (advance(cpu, START_WAITING, START_ABANDONED)) {
		apic_send_init(id);
		return "it does not come up";
	}
	if (compare_counters(cpu))
		wait_while(cpu, START_ARRIVED, READY_US);
	if (advance(cpu, START_ARRIVED, START_ABANDONED)) {
		give_up(cpu);
		return "it came up and then stopped answering";
	}
	return starts[cpu].refusal;
}

static bool can_address(const struct machine_cpu *c)
{
	return apic_is_x2apic() || c->hw_id < XAPIC_ID_LIMIT;
}

static void init_all(void)
{
	for (unsigned i = 1; i < nr_cpus; i++)
		if (cpus[i].usable && can_address(&cpus[i]))
			apic_send_init(cpus[i].hw_id);
	time_delay_us(INIT_DELAY_US);
}

static void start_all(void)
{
	init_all();
	for (unsigned i = 1; i < nr_cpus; i++) {
		const char *why;

		if (!cpus[i].usable)
			continue;
		why = can_address(&cpus[i]) ? start(i)
					    : "its APIC id needs x2APIC mode, which is not there";
		cpus[i].running = !why;
		if (why)
			log_err("cpu %u (APIC id %u) is left out: %s", i, cpus[i].hw_id, why);
	}
}

unsigned machine_start_cpus(const char *(*ready)(void), void (*main_loop)(void))
{
	unsigned running = 1, usable = 0;

	for (unsigned i = 1; i < nr_cpus; i++)
		usable += cpus[i].usable;
	if (usable == 0)
		return 1;
	ask_ready = ready;
	run = main_loop;
	if (page.v == 0 || !paging_map_trampoline(page)) {
		log_err("%u CPUs are left out: no free page below 1 MiB to start them in", usable);
		return 1;
	}
	start_all();
	paging_unmap_trampoline(page);
	atomic_store32_rel(&may_run, 1);
	for (unsigned i = 1; i < nr_cpus; i++)
		running += cpus[i].running;
	return running;
}

/* ---- panic ---- */

bool smp_stopping(void)
{
	return atomic_load32_acq(&stopping) != 0;
}

void smp_stop_others(void)
{
	atomic_store32_rel(&stopping, 1);
	for (unsigned i = 0; i < nr_cpus; i++)
		if (cpus[i].running && cpus[i].hw_id != apic_id())
			apic_send_nmi(cpus[i].hw_id);
}

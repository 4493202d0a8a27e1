/* SPDX-License-Identifier: BSD-2-Clause */
/* The structures of the physical CPUs and their work bits. */
#include "vm/pcpu.h"

#include <stddef.h>

#include "arch/hw.h"
#include "lib/check.h"
#include "lib/errno.h"
#include "mm/kalloc.h"

static struct pcpu boot_pcpu;	    /* there before any allocation */
static atomic_u64 pcpus[MAX_PCPUS]; /* addresses */

static void slice_over(struct timer *t)
{
	(void)t;
	pcpu_raise(PCPU_WORK_RESCHED);
}

int pcpu_init(unsigned cpu)
{
	struct pcpu *p;

	CHECK(cpu < MAX_PCPUS && !pcpu_get(cpu));
	p = cpu == PCPU_BOOT ? &boot_pcpu : kzalloc(sizeof(*p));
	if (!p)
		return -ENOMEM;
	*p = (struct pcpu){.id = cpu, .runq = {.lock = SPINLOCK_INIT}};
	timer_queue_init(&p->timers, cpu);
	timer_init(&p->slice, slice_over);
	atomic_store64_rel(&pcpus[cpu], (uint64_t)(uintptr_t)p);
	return 0;
}

struct pcpu *this_pcpu(void)
{
	return pcpu_get(hw_cpu());
}

struct pcpu *pcpu_get(unsigned cpu)
{
	return cpu < MAX_PCPUS ? (struct pcpu *)(uintptr_t)atomic_load64_acq(&pcpus[cpu]) : NULL;
}

void pcpu_raise(unsigned work_bits)
{
	struct pcpu *p = this_pcpu();

	if (p)
		atomic_or32(&p->work, work_bits);
}

void pcpu_raise_on(unsigned cpu, unsigned work_bits)
{
	struct pcpu *p = pcpu_get(cpu);

	/* Who set a bit that is still there kicks, or has kicked: the target will look. */
	if (!p || !(~atomic_or32(&p->work, work_bits) & work_bits))
		return;
	if (cpu != hw_cpu())
		hw_kick(cpu); /* it stays pending until the target looks: no wake-up is lost */
}

bool pcpu_work_pending(void)
{
	return atomic_load32_acq(&this_pcpu()->work) != 0;
}

unsigned pcpu_take_work(void)
{
	return atomic_xchg32(&this_pcpu()->work, 0);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* The machine under a device test: one pCPU, a clock that the test moves, recorded interrupt lines.
 */
#include "tests/host/devrig.h"

#include "arch/machine.h"
#include "vm/pcpu.h"

struct vclock rig_clock;
uint64_t rig_wallclock;
unsigned rig_timers_run;

static struct pcpu cpu;
static uint64_t now, hardware = MACHINE_NEVER;

uint64_t machine_now(void)
{
	return now;
}

uint64_t machine_wallclock(void)
{
	return rig_wallclock + now;
}

void machine_timer_set(uint64_t deadline_ns)
{
	hardware = deadline_ns;
}

struct pcpu *this_pcpu(void)
{
	return &cpu;
}

struct pcpu *pcpu_get(unsigned index)
{
	return index == PCPU_BOOT ? &cpu : NULL;
}

void rig_reset(void)
{
	now = 0;
	hardware = MACHINE_NEVER;
	timer_queue_init(&cpu.timers, 0);
	vclock_reset(&rig_clock);
	vclock_start(&rig_clock);
	rig_timers_run = 0;
}

void rig_advance(uint64_t ns)
{
	uint64_t end = now + ns;

	while (hardware <= end) {
		now = hardware > now ? hardware : now;
		hardware = MACHINE_NEVER;
		rig_timers_run++;
		timer_queue_run(&cpu.timers);
	}
	now = end;
}

void rig_skip(uint64_t ns)
{
	now += ns;
}

uint64_t rig_next_timer(void)
{
	return hardware;
}

static void line_set(void *ctx, unsigned pin, bool level)
{
	struct rig_line *l = ctx;

	(void)pin;
	l->rises += level && !l->level;
	l->falls += !level && l->level;
	l->level = level;
}

struct irq_line rig_line(struct rig_line *l)
{
	return (struct irq_line){.set = line_set, .ctx = l};
}

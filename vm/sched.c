/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The main loop of each pCPU: take interrupts, do the work they announced, run a vCPU until there
 * is work again or its slice is over, idle when there is nothing to run.
 *
 * A vCPU that wakes goes before those that have been computing, until its slice is used up; then it
 * queues behind them. So a guest that waits for input answers at once beside one that spins, and
 * nobody waits for longer than one slice of each other vCPU.
 */
#include "vm/sched.h"

#include <stddef.h>

#include "arch/hw.h"
#include "arch/machine.h"
#include "arch/vcpu.h"
#include "lib/check.h"
#include "vm/console.h"
#include "vm/pcpu.h"
#include "vm/vcpu.h"
#include "vm/vm.h"

/* --- run queue; the caller holds its lock ----------------------------------------------------- */

static void push_head(struct vcpu_list *l, struct vcpu *v)
{
	v->next = l->head;
	l->head = v;
	if (!l->tail)
		l->tail = v;
}

static void push_tail(struct vcpu_list *l, struct vcpu *v)
{
	v->next = NULL;
	if (l->tail)
		l->tail->next = v;
	else
		l->head = v;
	l->tail = v;
}

static struct vcpu *pop_head(struct vcpu_list *l)
{
	struct vcpu *v = l->head;

	if (v) {
		l->head = v->next;
		if (!l->head)
			l->tail = NULL;
	}
	return v;
}

static bool unlink_from(struct vcpu_list *l, struct vcpu *v)
{
	struct vcpu *before = NULL;

	for (struct vcpu *at = l->head; at; before = at, at = at->next) {
		if (at != v)
			continue;
		if (before)
			before->next = v->next;
		else
			l->head = v->next;
		if (l->tail == v)
			l->tail = before;
		return true;
	}
	return false;
}

/* Who was interrupted in its slice goes on with it; who has used it up goes to the end. */
static void requeue(struct runq *q, struct vcpu *v)
{
	v->state = VCPU_RUNNABLE;
	if (v->slice_left > 0)
		push_head(&q->ready, v);
	else
		push_tail(&q->ready, v);
}

/* --- vCPUs in and out of it ------------------------------------------------------------------- */

/* Locks the run queue that the vCPU belongs to at the moment. */
static struct pcpu *lock_runq_of(const struct vcpu *v)
{
	for (;;) {
		unsigned cpu = v->cpu;
		struct pcpu *p = pcpu_get(cpu);

		spin_lock(&p->runq.lock);
		if (v->cpu == cpu)
			return p;
		spin_unlock(&p->runq.lock); /* it moved meanwhile */
	}
}

void sched_add(struct vcpu *v, unsigned cpu)
{
	struct pcpu *p = pcpu_get(cpu);

	spin_lock(&p->runq.lock);
	CHECK(v->state == VCPU_OFF);
	v->cpu = cpu;
	v->slice_left = 0;
	requeue(&p->runq, v);
	spin_unlock(&p->runq.lock);
	pcpu_raise_on(cpu, PCPU_WORK_RESCHED);
}

bool sched_remove(struct vcpu *v)
{
	struct pcpu *p = lock_runq_of(v);
	bool out = v->state != VCPU_RUNNING;

	if (v->state == VCPU_RUNNABLE)
		CHECK(unlink_from(&p->runq.woken, v) || unlink_from(&p->runq.ready, v));
	if (out)
		v->state = VCPU_OFF;
	spin_unlock(&p->runq.lock);
	return out;
}

void vcpu_kick(struct vcpu *v)
{
	struct pcpu *p = lock_runq_of(v);
	bool wake = v->state == VCPU_HALTED, elsewhere;

	if (wake) {
		v->state = VCPU_RUNNABLE;
		push_tail(v->slice_left > 0 ? &p->runq.woken : &p->runq.ready, v);
	}
	elsewhere = v->state == VCPU_RUNNING && p->id != hw_cpu();
	spin_unlock(&p->runq.lock);
	if (wake)
		pcpu_raise_on(p->id, PCPU_WORK_RESCHED);
	else if (elsewhere)
		hw_kick(p->id);
	/* One that runs on this pCPU is being handled here and looks before it enters again; one
	 * in a queue looks when its turn comes. */
}

/* --- the loop --------------------------------------------------------------------------------- */

static struct vcpu *pick(struct pcpu *p)
{
	struct vcpu *v;

	spin_lock(&p->runq.lock);
	v = pop_head(&p->runq.woken);
	if (!v)
		v = pop_head(&p->runq.ready);
	if (v)
		v->state = VCPU_RUNNING;
	spin_unlock(&p->runq.lock);
	return v;
}

/* The slice timer stays armed over the interruptions of a slice: a short exit to the main loop does
 * not touch the hardware timer. */
static void begin_slice(struct pcpu *p, struct vcpu *v, uint64_t now)
{
	bool goes_on = v == p->previous && v->slice_left > 0 && timer_armed(&p->slice);

	if (v != p->previous)
		p->switches++;
	p->previous = v;
	if (goes_on)
		return;
	if (v->slice_left == 0)
		v->slice_left = SCHED_SLICE_NS;
	timer_arm(&p->slice, now + v->slice_left);
}

static void run(struct pcpu *p, struct vcpu *v)
{
	uint64_t start = machine_now(), end;
	enum vcpu_run why;

	begin_slice(p, v, start);
	p->current = v;
	why = vm_stopping(v->vm) ? VCPU_RUN_STOPPED : arch_vcpu_run(v);
	p->current = NULL;
	end = machine_now();
	v->run_ns += end - start;
	p->guest_ns += end - start;
	v->slice_left =
		timer_armed(&p->slice) && p->slice.deadline > end ? p->slice.deadline - end : 0;

	spin_lock(&p->runq.lock);
	if (why == VCPU_RUN_WORK)
		requeue(&p->runq, v);
	else
		v->state = why == VCPU_RUN_HALTED ? VCPU_HALTED : VCPU_OFF;
	spin_unlock(&p->runq.lock);

	/* An event that came after the vCPU had looked and before it was halted has kicked in vain.
	 * Asked without the lock: the answer may need a device's, which comes first. */
	if (why == VCPU_RUN_HALTED && arch_vcpu_has_event(v))
		vcpu_kick(v);
	if (why == VCPU_RUN_STOPPED)
		pcpu_raise_on(PCPU_BOOT, PCPU_WORK_VM);
}

static void idle(struct pcpu *p)
{
	uint64_t start = machine_now();

	timer_cancel(&p->slice); /* nobody's: it would only end the sleep */
	machine_idle();
	p->idle_ns += machine_now() - start;
}

static void do_work(struct pcpu *p)
{
	unsigned work = pcpu_take_work();

	if (work & PCPU_WORK_TIMER)
		timer_queue_run(&p->timers);
	if (work & PCPU_WORK_VM)
		vm_work();
	if (work & PCPU_WORK_CONSOLE)
		console_work();
	/* The queue is looked at next in any case. Who raises this has changed the queue before. */
	atomic_and32(&p->work, ~PCPU_WORK_RESCHED);
}

void sched_step(void)
{
	struct pcpu *p = this_pcpu();
	struct vcpu *v;

	machine_take_interrupts();
	do_work(p);
	v = pick(p);
	if (v)
		run(p, v);
	else if (!pcpu_work_pending())
		idle(p); /* interrupts are off since we looked: what comes now ends the sleep */
}

void sched_main(void)
{
	for (;;)
		sched_step();
}

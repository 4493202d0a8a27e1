/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The main loop of each pCPU: take interrupts, do the work they announced, run a vCPU until there
 * is work again or its slice is over, idle when there is nothing to run.
 *
 * A vCPU that wakes goes before those that have been computing, until its slice is used up; then it
 * queues behind them. So a guest that waits for input answers at once beside one that spins, and
 * nobody waits for longer than one slice of each other vCPU.
 *
 * A vCPU stays on its pCPU, where tags and caches know it, as long as that one gets round to it. It
 * moves when another has nothing to run (fetch), or when it has used its slice up and the queue of
 * another is shorter by two (lighter). Either way its registers must have left the old pCPU before:
 * one vCPU of each pCPU is `resident`, the one that ran last, and does not move.
 *
 * Who queues a vCPU and then finds no idle pCPU, and who marks itself idle and then finds no queue,
 * cannot both be wrong: both write, fence, read.
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

static void unlink_vcpu(struct runq *q, struct vcpu *v)
{
	CHECK(unlink_from(&q->woken, v) || unlink_from(&q->ready, v));
	atomic_add32(&q->waiting, (uint32_t)-1);
}

/* Who was interrupted in its slice goes on with it; who has used it up goes to the end. */
static void requeue(struct runq *q, struct vcpu *v)
{
	v->state = VCPU_RUNNABLE;
	if (v->slice_left > 0)
		push_head(&q->ready, v);
	else
		push_tail(&q->ready, v);
	atomic_add32(&q->waiting, 1);
}

/* Somebody who has slept goes first while it has time; so does one that only runs to its end. */
static void enqueue_woken(struct runq *q, struct vcpu *v)
{
	v->state = VCPU_RUNNABLE;
	push_tail(v->slice_left > 0 || vm_stopping(v->vm) ? &q->woken : &q->ready, v);
	atomic_add32(&q->waiting, 1);
}

/* --- where a vCPU may be ---------------------------------------------------------------------- */

static atomic_u32 nr_idle; /* pCPUs whose `idle` is set */

/* pCPUs have indexes below this; some of them have never come up. */
static unsigned nr_pcpus(void)
{
	return machine_info()->nr_cpus;
}

static bool in_set(const uint64_t *cpus, unsigned cpu)
{
	uint64_t any = 0;

	for (unsigned i = 0; i < CONF_CPUS_MAX / 64; i++)
		any |= cpus[i];
	return any == 0 || (cpus[cpu / 64] >> cpu % 64 & 1);
}

static bool may_run_on(const struct vcpu *v, unsigned cpu)
{
	return in_set(v->vm->conf.cpus, cpu);
}

static bool is_resident(const struct vcpu *v)
{
	return atomic_load32_acq(&v->resident) != 0;
}

bool sched_can_place(const uint64_t *cpus)
{
	for (unsigned i = 0; i < nr_pcpus(); i++)
		if (pcpu_get(i) && in_set(cpus, i))
			return true;
	return false;
}

/* The boot CPU comes last among equals: it has the monitor and the console to do as well. */
static struct pcpu *place(const struct vcpu *v)
{
	struct pcpu *best = NULL;

	for (unsigned i = 1; i <= nr_pcpus(); i++) {
		struct pcpu *p = pcpu_get(i % nr_pcpus());

		if (p && may_run_on(v, p->id) &&
		    (!best ||
		     atomic_load32(&p->runq.assigned) < atomic_load32(&best->runq.assigned)))
			best = p;
	}
	CHECK(best); /* vm_start has asked sched_can_place */
	return best;
}

/* An idle pCPU that may run the vCPU, claimed: the caller raises work on it. NULL: there is none.
 */
static struct pcpu *claim_idle(const struct vcpu *v)
{
	atomic_fence(); /* the vCPU was queued before; see the head of this file */
	for (unsigned i = 0; atomic_load32(&nr_idle) && i < nr_pcpus(); i++) {
		struct pcpu *p = pcpu_get(i);
		uint32_t one = 1;

		if (!p || !may_run_on(v, i) || !atomic_load32(&p->idle) ||
		    !atomic_cas32(&p->idle, &one, 0))
			continue;
		atomic_add32(&nr_idle, (uint32_t)-1);
		return p;
	}
	return NULL;
}

/* --- vCPUs in and out of it ------------------------------------------------------------------- */

/* Locks the run queue that the vCPU belongs to at the moment. */
static struct pcpu *lock_runq_of(const struct vcpu *v)
{
	for (;;) {
		unsigned cpu = atomic_load32_acq(&v->cpu);
		struct pcpu *p = pcpu_get(cpu);

		spin_lock(&p->runq.lock);
		if (atomic_load32(&v->cpu) == cpu)
			return p;
		spin_unlock(&p->runq.lock); /* it moved meanwhile */
	}
}

/* The vCPU, in no list, leaves `from`, whose lock the caller holds, for `to`. */
static void move(struct vcpu *v, struct pcpu *from, struct pcpu *to)
{
	atomic_add32(&from->runq.assigned, (uint32_t)-1);
	atomic_add32(&to->runq.assigned, 1);
	v->state = VCPU_RUNNING; /* before others look for it at its new pCPU */
	atomic_store32_rel(&v->cpu, to->id);
}

void sched_add(struct vcpu *v)
{
	struct pcpu *p = place(v), *before = lock_runq_of(v);

	/* A sibling that runs already may be kicking it, by the queue where it was. */
	CHECK(v->state == VCPU_OFF);
	atomic_store32_rel(&v->cpu, p->id);
	spin_unlock(&before->runq.lock);
	spin_lock(&p->runq.lock);
	atomic_add32(&p->runq.assigned, 1);
	v->slice_left = 0;
	requeue(&p->runq, v);
	spin_unlock(&p->runq.lock);
	pcpu_raise_on(p->id, PCPU_WORK_RESCHED);
}

/* Its registers leave this pCPU. */
static void evict(struct pcpu *p)
{
	struct vcpu *v = p->resident;

	if (!v)
		return;
	arch_vcpu_put(v);
	p->resident = NULL;
	atomic_store32_rel(&v->resident, 0); /* whoever sees it finds the registers in memory */
}

bool sched_remove(struct vcpu *v)
{
	struct pcpu *p = lock_runq_of(v);
	bool here = p->id == hw_cpu();
	bool out = v->state == VCPU_OFF || (v->state != VCPU_RUNNING && (here || !is_resident(v)));

	if (out && v->state == VCPU_RUNNABLE)
		unlink_vcpu(&p->runq, v);
	if (out && v->state != VCPU_OFF) {
		v->state = VCPU_OFF;
		atomic_add32(&p->runq.assigned, (uint32_t)-1);
	}
	spin_unlock(&p->runq.lock);
	if (out && here && p->resident == v)
		evict(p);
	return out;
}

void vcpu_kick(struct vcpu *v)
{
	struct pcpu *p = lock_runq_of(v), *wake = NULL;
	bool elsewhere = v->state == VCPU_RUNNING && p->id != hw_cpu();

	if (v->state == VCPU_HALTED) {
		enqueue_woken(&p->runq, v);
		if (!is_resident(v) &&
		    (atomic_load32(&p->runq.busy) || atomic_load32(&p->runq.waiting) > 1))
			wake = claim_idle(v);
		wake = wake ? wake : p;
	}
	spin_unlock(&p->runq.lock);
	if (wake)
		pcpu_raise_on(wake->id, PCPU_WORK_RESCHED);
	else if (elsewhere)
		hw_kick(p->id);
	/* One that runs on this pCPU is being handled here and looks before it enters again; one
	 * in a queue looks when its turn comes. */
}

/* --- between pCPUs ---------------------------------------------------------------------------- */

/* The first of the list that pCPU `cpu` may take. */
static struct vcpu *movable(const struct vcpu_list *l, unsigned cpu)
{
	struct vcpu *v = l->head;

	while (v && (is_resident(v) || !may_run_on(v, cpu)))
		v = v->next;
	return v;
}

static struct vcpu *fetch_from(struct pcpu *other, struct pcpu *p)
{
	struct vcpu *v;

	spin_lock(&other->runq.lock);
	v = movable(&other->runq.woken, p->id);
	if (!v)
		v = movable(&other->runq.ready, p->id);
	if (v) {
		unlink_vcpu(&other->runq, v);
		move(v, other, p);
	}
	spin_unlock(&other->runq.lock);
	return v;
}

/* A vCPU that waits for another pCPU, in state running; NULL: there is none. */
static struct vcpu *fetch(struct pcpu *p)
{
	for (unsigned i = 1; i < nr_pcpus(); i++) {
		struct pcpu *other = pcpu_get((p->id + i) % nr_pcpus());
		struct vcpu *v = NULL;

		if (other && atomic_load32(&other->runq.waiting))
			v = fetch_from(other, p);
		if (!v)
			continue;
		p->fetched++;
		spin_lock(&p->runq.lock);
		atomic_store32(&p->runq.busy, 1);
		spin_unlock(&p->runq.lock);
		return v;
	}
	return NULL;
}

/* This pCPU is about to be busy for a while and vCPUs wait here: idle ones are to fetch them. */
static void share(struct pcpu *p)
{
	const struct vcpu_list *lists[] = {&p->runq.woken, &p->runq.ready};

	atomic_fence(); /* registers have left, perhaps: that was before the look at who is idle */
	if (!atomic_load32(&p->runq.waiting) || !atomic_load32(&nr_idle))
		return;
	spin_lock(&p->runq.lock);
	for (unsigned i = 0; i < 2; i++) {
		for (const struct vcpu *v = lists[i]->head; v; v = v->next) {
			struct pcpu *idle = is_resident(v) ? NULL : claim_idle(v);

			if (idle)
				pcpu_raise_on(idle->id, PCPU_WORK_RESCHED);
		}
	}
	spin_unlock(&p->runq.lock);
}

void sched_step_aside(void)
{
	struct pcpu *p = this_pcpu();

	evict(p);
	spin_lock(&p->runq.lock);
	atomic_store32(&p->runq.busy,
		       1); /* until it picks again: who wakes here is sent elsewhere */
	spin_unlock(&p->runq.lock);
	share(p);
}

static uint32_t load_of(const struct pcpu *p)
{
	return atomic_load32(&p->runq.waiting) + atomic_load32(&p->runq.busy);
}

/* A pCPU that would still be no worse off than this one if it took the vCPU that has just computed
 * here; NULL: there is none. */
static struct pcpu *lighter(struct pcpu *p, const struct vcpu *v)
{
	uint32_t own = atomic_load32(&p->runq.waiting) + 1;

	for (unsigned i = 1; own > 1 && i < nr_pcpus(); i++) {
		struct pcpu *other = pcpu_get((p->id + i) % nr_pcpus());

		if (other && load_of(other) + 2 <= own && may_run_on(v, other->id))
			return other;
	}
	return NULL;
}

/* The vCPU, which runs no more, goes to the end of another pCPU's queue. */
static void hand_over(struct pcpu *p, struct pcpu *to, struct vcpu *v)
{
	evict(p);
	spin_lock(&p->runq.lock);
	atomic_store32(&p->runq.busy, 0);
	move(v, p, to);
	spin_unlock(&p->runq.lock);
	spin_lock(&to->runq.lock);
	requeue(&to->runq, v);
	spin_unlock(&to->runq.lock);
	pcpu_raise_on(to->id, PCPU_WORK_RESCHED);
}

/* --- the loop --------------------------------------------------------------------------------- */

static struct vcpu *pick(struct pcpu *p)
{
	struct vcpu *v;

	spin_lock(&p->runq.lock);
	v = pop_head(&p->runq.woken);
	if (!v)
		v = pop_head(&p->runq.ready);
	if (v) {
		v->state = VCPU_RUNNING;
		atomic_add32(&p->runq.waiting, (uint32_t)-1);
	}
	atomic_store32(&p->runq.busy, v != NULL);
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

static void make_resident(struct pcpu *p, struct vcpu *v)
{
	if (p->resident == v)
		return;
	evict(p);
	p->resident = v;
	atomic_store32(&v->resident, 1);
}

/* Where the vCPU goes after it ran. */
static void leave(struct pcpu *p, struct vcpu *v, enum vcpu_run why)
{
	struct pcpu *to = why == VCPU_RUN_WORK && v->slice_left == 0 && !vm_stopping(v->vm)
				  ? lighter(p, v)
				  : NULL;

	if (to) {
		hand_over(p, to, v);
		return;
	}
	if (why == VCPU_RUN_STOPPED)
		evict(p); /* once it is off it may be destroyed at any moment */
	spin_lock(&p->runq.lock);
	atomic_store32(&p->runq.busy, 0);
	if (why == VCPU_RUN_WORK) {
		requeue(&p->runq, v);
	} else if (why == VCPU_RUN_HALTED) {
		v->state = VCPU_HALTED;
	} else {
		v->state = VCPU_OFF;
		atomic_add32(&p->runq.assigned, (uint32_t)-1);
	}
	spin_unlock(&p->runq.lock);

	/* An event that came after the vCPU had looked and before it was halted has kicked in vain.
	 * Asked without the lock: the answer may need a device's, which comes first. It is still
	 * resident here, so nobody else runs or destroys it. */
	if (why == VCPU_RUN_HALTED && arch_vcpu_has_event(v))
		vcpu_kick(v);
	if (why == VCPU_RUN_STOPPED)
		pcpu_raise_on(PCPU_BOOT, PCPU_WORK_VM);
}

static void run(struct pcpu *p, struct vcpu *v)
{
	uint64_t start = machine_now(), end;
	enum vcpu_run why;

	make_resident(p, v);
	share(p);
	begin_slice(p, v, start);
	p->current = v;
	why = vm_stopping(v->vm) ? VCPU_RUN_STOPPED : arch_vcpu_run(v);
	p->current = NULL;
	end = machine_now();
	v->run_ns += end - start;
	p->guest_ns += end - start;
	v->slice_left =
		timer_armed(&p->slice) && p->slice.deadline > end ? p->slice.deadline - end : 0;
	leave(p, v, why);
}

static void sleep(struct pcpu *p)
{
	uint64_t start = machine_now();

	timer_cancel(&p->slice); /* nobody's: it would only end the sleep */
	atomic_store64(&p->idle_since, start);
	machine_idle();
	atomic_store64(&p->idle_since, 0);
	p->idle_ns += machine_now() - start;
}

/* Nothing waits here: fetches a vCPU that waits elsewhere, or sleeps. */
static struct vcpu *idle(struct pcpu *p)
{
	struct vcpu *v;

	atomic_store32(&p->idle, 1);
	atomic_add32(&nr_idle, 1);
	atomic_fence(); /* from here on others see it; see the head of this file */
	v = fetch(p);
	/* Interrupts are off since we looked: what comes now ends the sleep. */
	if (!v && !pcpu_work_pending())
		sleep(p);
	if (atomic_xchg32(&p->idle, 0))
		atomic_add32(&nr_idle, (uint32_t)-1);
	return v;
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
	if (!v)
		v = idle(p);
	if (v)
		run(p, v);
}

void sched_main(void)
{
	for (;;)
		sched_step();
}

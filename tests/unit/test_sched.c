/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vm/sched.c on several pCPUs: first step by step, where a test chooses whose turn it is; then on
 * real threads, a pCPU each, with vCPUs that wake each other, compute, end and are freed. In both,
 * nobody may run a vCPU whose registers are in another pCPU or that somebody else runs, and a
 * wake-up that gets lost stops the test.
 */
// links: vm/sched.c vm/pcpu.c vm/timer.c vm/vcpu.c
// threads: yes
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "arch/machine.h"
#include "arch/vcpu.h"
#include "tests/host/hw_host.h"
#include "tests/tap.h"
#include "vm/console.h"
#include "vm/pcpu.h"
#include "vm/sched.h"
#include "vm/vcpu.h"
#include "vm/vm.h"

#define CPUS   4u
#define NOBODY UINT32_MAX

enum kind {
	SPINS,	/* computes for ever */
	WAITS,	/* takes an event, wakes a sibling with it, halts */
	SLEEPS, /* halts */
};

struct vcpu_arch {
	enum kind kind;
	atomic_u32 inside;    /* somebody runs it */
	atomic_u32 loaded_on; /* pCPU whose registers hold it, or NOBODY */
	atomic_u32 events;
	atomic_u64 runs;
	uint64_t dice;
};

static atomic_u32 wrong; /* rules broken, counted on any thread */
static atomic_u32 passes;
static bool threads, real_time;
static atomic_u64 now;
static uint64_t timers[CPUS];
static unsigned taken[CPUS], sleeps[CPUS];
static atomic_u32 finished;
static struct vcpu *in_registers[CPUS];

static void rule(bool kept)
{
	if (!kept)
		atomic_add32(&wrong, 1);
}

/* --- the machine ------------------------------------------------------------------------------ */

uint64_t machine_now(void)
{
	struct timespec t;

	if (!real_time)
		return atomic_load64(&now);
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void machine_timer_set(uint64_t deadline_ns)
{
	timers[hw_cpu()] = deadline_ns;
}

static bool timer_due(unsigned cpu)
{
	return timers[cpu] <= machine_now();
}

static unsigned kicks(unsigned cpu)
{
	return __atomic_load_n(&host_kicks[cpu], __ATOMIC_ACQUIRE);
}

void machine_take_interrupts(void)
{
	unsigned cpu = hw_cpu();

	taken[cpu] = kicks(cpu);
	if (timer_due(cpu)) {
		timers[cpu] = UINT64_MAX;
		pcpu_raise(PCPU_WORK_TIMER);
	}
}

/* A kick that was delivered before does not end the sleep: who sleeps had better have looked. */
void machine_idle(void)
{
	unsigned cpu = hw_cpu();

	sleeps[cpu]++;
	while (threads && kicks(cpu) == taken[cpu] && !timer_due(cpu) && !atomic_load32(&finished))
		sched_yield();
	machine_take_interrupts();
}

const struct machine_info *machine_info(void)
{
	static const struct machine_info info = {.nr_cpus = CPUS};

	return &info;
}

void vm_work(void)
{
}

void console_work(void)
{
}

void tlbi_vcpu_init(struct tlbi_vcpu *v)
{
	(void)v;
}

/* --- vCPUs ------------------------------------------------------------------------------------ */

static unsigned roll(uint64_t *x, unsigned below)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return (unsigned)(*x % below);
}

static void wake(struct vcpu *v)
{
	atomic_add32(&v->arch->events, 1);
	vcpu_kick(v);
}

static void enter(struct vcpu *v)
{
	unsigned cpu = hw_cpu();
	uint32_t on = atomic_load32_acq(&v->arch->loaded_on);

	rule(atomic_xchg32(&v->arch->inside, 1) == 0);
	rule(on == NOBODY || on == cpu);
	rule(!in_registers[cpu] || in_registers[cpu] == v);
	rule(atomic_load32(&v->cpu) == cpu && v->state == VCPU_RUNNING);
	in_registers[cpu] = v;
	atomic_store32_rel(&v->arch->loaded_on, cpu);
	atomic_add64(&v->arch->runs, 1);
}

static enum vcpu_run outcome(struct vcpu *v)
{
	struct vcpu_arch *a = v->arch;

	if (a->kind == SPINS) {
		while (!pcpu_work_pending() && !vm_stopping(v->vm)) {
			machine_take_interrupts();
			if (!threads)
				atomic_add64(&now, 1000000);
			if (threads)
				sched_yield();
		}
		return vm_stopping(v->vm) ? VCPU_RUN_STOPPED : VCPU_RUN_WORK;
	}
	atomic_add64(&now, threads ? 0 : 1000);
	if (a->kind == WAITS && atomic_load32_acq(&a->events)) {
		atomic_add32(&a->events, (uint32_t)-1);
		atomic_add32(&passes, 1);
		wake(v->vm->vcpus[roll(&a->dice, v->vm->nr_vcpus)]);
	}
	return vm_stopping(v->vm) ? VCPU_RUN_STOPPED : VCPU_RUN_HALTED;
}

enum vcpu_run arch_vcpu_run(struct vcpu *v)
{
	enum vcpu_run why;

	enter(v);
	why = outcome(v);
	rule(atomic_xchg32(&v->arch->inside, 0) == 1);
	return why;
}

void arch_vcpu_put(struct vcpu *v)
{
	unsigned cpu = hw_cpu();

	rule(in_registers[cpu] == v || !in_registers[cpu]);
	in_registers[cpu] = NULL;
	atomic_store32_rel(&v->arch->loaded_on, NOBODY);
}

bool arch_vcpu_has_event(const struct vcpu *v)
{
	return vm_stopping(v->vm) || atomic_load32_acq(&v->arch->events);
}

/* --- guests ----------------------------------------------------------------------------------- */

static struct vm *guest(enum kind kind, unsigned vcpus, uint64_t cpus)
{
	static uint64_t seed = 88172645463325252u;
	struct vm *vm = calloc(1, sizeof(*vm));

	vm->nr_vcpus = vcpus;
	vm->conf.cpus[0] = cpus;
	for (unsigned i = 0; i < vcpus; i++) {
		struct vcpu *v = vm->vcpus[i] = vcpu_new(vm, i);

		v->arch = calloc(1, sizeof(*v->arch));
		v->arch->kind = kind;
		v->arch->dice = seed += 2;
		atomic_store32(&v->arch->loaded_on, NOBODY);
	}
	for (unsigned i = 0; i < vcpus; i++)
		sched_add(vm->vcpus[i]);
	return vm;
}

static void stop(struct vm *vm)
{
	atomic_store32_rel(&vm->stopping, 1);
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		vcpu_kick(vm->vcpus[i]);
}

static bool all_out(struct vm *vm)
{
	bool out = true;

	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		out &= sched_remove(vm->vcpus[i]);
	return out;
}

/* No pCPU may touch it any more: the address sanitizer watches. */
static void release(struct vm *vm)
{
	for (unsigned i = 0; i < vm->nr_vcpus; i++) {
		struct vcpu *v = vm->vcpus[i];

		rule(v->state == VCPU_OFF && !atomic_load32(&v->arch->inside));
		rule(atomic_load32(&v->arch->loaded_on) == NOBODY);
		free(v->arch);
		vcpu_free(v);
	}
	free(vm);
}

static void steps(unsigned cpu, unsigned n)
{
	host_cpu = cpu;
	while (n-- > 0)
		sched_step();
	host_cpu = 0;
}

static void end(struct vm *vm)
{
	stop(vm);
	for (unsigned i = 0; i < 100 && !all_out(vm); i++)
		for (unsigned cpu = 0; cpu < CPUS; cpu++)
			steps(cpu, 1);
	rule(all_out(vm));
	release(vm);
}

static unsigned cpu_of(const struct vm *vm, unsigned i)
{
	return atomic_load32(&vm->vcpus[i]->cpu);
}

static bool nothing_left(void)
{
	bool nothing = true;

	for (unsigned i = 0; i < CPUS; i++) {
		const struct pcpu *p = pcpu_get(i);

		nothing &= !atomic_load32(&p->runq.waiting) && !atomic_load32(&p->runq.assigned) &&
			   !atomic_load32(&p->runq.busy) && !p->runq.ready.head &&
			   !p->runq.woken.head;
	}
	return nothing;
}

/* --- step by step ----------------------------------------------------------------------------- */

static void test_place(void)
{
	uint64_t only_5[CONF_CPUS_MAX / 64] = {1u << 5}, far[CONF_CPUS_MAX / 64] = {0, 1},
					any[4] = {0};
	struct vm *a = guest(SLEEPS, 4, 0), *b = guest(SLEEPS, 2, 0),
		  *c = guest(SLEEPS, 2, 1u << 2);

	ok(cpu_of(a, 0) == 1 && cpu_of(a, 1) == 2 && cpu_of(a, 2) == 3 && cpu_of(a, 3) == 0,
	   "vCPUs spread over all, the boot CPU last");
	ok(cpu_of(b, 0) == 1 && cpu_of(b, 1) == 2, "and go to the emptiest");
	ok(cpu_of(c, 0) == 2 && cpu_of(c, 1) == 2, "but not beyond what `cpu =` names");
	ok(sched_can_place(any) && !sched_can_place(only_5) && !sched_can_place(far),
	   "a CPU that does not run is no place");
	end(a);
	end(b);
	end(c);
	ok(nothing_left(), "nothing is left behind");
}

static void test_fetch(void)
{
	struct vm *a = guest(SPINS, 3, 1u << 1), *pinned = guest(SPINS, 2, 1u << 1), *late;
	unsigned before;

	steps(1, 1);
	ok(in_registers[1] == a->vcpus[0], "one of five has run at pCPU 1");
	a->conf.cpus[0] = 0;
	steps(3, 1);
	steps(2, 1);
	ok(cpu_of(a, 1) == 3 && cpu_of(a, 2) == 2, "who is idle takes what waits elsewhere");
	ok(in_registers[3] == a->vcpus[1] && in_registers[2] == a->vcpus[2], "and runs it");
	steps(0, 1);
	is_u64(cpu_of(a, 0), 1, "but not what is in another's registers");
	ok(cpu_of(pinned, 0) == 1 && cpu_of(pinned, 1) == 1, "nor what is pinned");
	end(a);

	late = guest(SLEEPS, 1, 1u << 1 | 1u << 2);
	while (late->vcpus[0]->state != VCPU_HALTED)
		steps(atomic_load32(&late->vcpus[0]->cpu), 1);
	late->vcpus[0]->arch->kind = SPINS;
	is_u64(cpu_of(late, 0), 2, "one sleeps at pCPU 2, which has nothing else to do");
	steps(3, 1);
	before = kicks(2);
	vcpu_kick(late->vcpus[0]);
	ok(kicks(2) == before + 1 && late->vcpus[0]->state == VCPU_RUNNABLE,
	   "its own pCPU is woken");
	steps(3, 2);
	is_u64(cpu_of(late, 0), 2, "a vCPU with registers in its pCPU is not taken");
	end(late);
	end(pinned);
	ok(nothing_left(), "nothing is left behind");
}

/* A wake-up at a pCPU that computes goes to an idle one. */
static void test_wake_elsewhere(void)
{
	struct vm *a = guest(SLEEPS, 1, 1u << 1), *b = guest(SPINS, 1, 1u << 1);
	uint32_t idle = 0;

	steps(1, 1);
	steps(1, 1);
	ok(a->vcpus[0]->state == VCPU_HALTED && in_registers[1] == b->vcpus[0],
	   "one sleeps and is out of the registers, one computes");
	a->conf.cpus[0] = 0;
	atomic_store32(&pcpu_get(1)->runq.busy, 1); /* inside of arch_vcpu_run */
	host_cpu = 2;
	ok(atomic_load32(&pcpu_get(2)->idle) == 0, "nobody is idle while nobody says so");
	host_cpu = 0;
	vcpu_kick(a->vcpus[0]);
	is_u64(atomic_load32(&pcpu_get(1)->work) & PCPU_WORK_RESCHED, PCPU_WORK_RESCHED,
	       "then its pCPU hears of it");
	atomic_store32(&pcpu_get(1)->runq.busy, 0);
	steps(2, 1);
	is_u64(cpu_of(a, 0), 2, "the next that has nothing to do fetches it");
	ok(atomic_load32(&pcpu_get(2)->idle) == idle && pcpu_get(2)->fetched > 0,
	   "and is not idle");
	end(a);
	end(b);
	ok(nothing_left(), "nothing is left behind");
}

/* What waits for a pCPU that has something long to do goes elsewhere, its registers included. */
static void test_aside(void)
{
	struct vm *a = guest(SPINS, 1, 1u << 1), *b = guest(SLEEPS, 1, 1u << 1);

	steps(1, 1);
	steps(1, 1);
	steps(1, 1);
	ok(a->vcpus[0]->state == VCPU_RUNNABLE && in_registers[1] == a->vcpus[0] &&
		   b->vcpus[0]->state == VCPU_HALTED,
	   "one waits with its registers there, one sleeps");
	a->conf.cpus[0] = b->conf.cpus[0] = 0;
	steps(2, 1);
	is_u64(cpu_of(a, 0), 1, "nobody may take it");
	host_cpu = 1;
	sched_step_aside();
	host_cpu = 0;
	steps(2, 1);
	is_u64(cpu_of(a, 0), 2, "until its pCPU steps aside");
	vcpu_kick(b->vcpus[0]);
	steps(3, 1);
	is_u64(cpu_of(b, 0), 3, "the one that wakes meanwhile goes as well");
	steps(1, 1);
	end(a);
	end(b);
	ok(nothing_left(), "nothing is left behind");
}

/* Three that compute at one pCPU and none at the next even out by themselves. */
static void test_even(void)
{
	struct vm *a = guest(SPINS, 3, 1u << 1), *b = guest(SPINS, 1, 1u << 2);
	unsigned at1 = 0;

	for (unsigned i = 0; i < 3; i++)
		a->vcpus[i]->vm->conf.cpus[0] = 1u << 1 | 1u << 2;
	for (unsigned i = 0; i < 60; i++) {
		steps(2, 1);
		steps(1, 1);
	}
	for (unsigned i = 0; i < 3; i++)
		at1 += cpu_of(a, i) == 1;
	is_u64(at1, 2, "four that compute on two pCPUs: two each");
	end(a);
	end(b);
	ok(nothing_left(), "nothing is left behind");
}

static void test_end(void)
{
	struct vm *a = guest(SLEEPS, 1, 1u << 3);

	steps(3, 2);
	ok(a->vcpus[0]->state == VCPU_HALTED && in_registers[3] == a->vcpus[0],
	   "it sleeps, with registers in pCPU 3");
	stop(a);
	ok(!all_out(a), "pCPU 0 cannot take it off");
	steps(3, 1);
	ok(all_out(a) && !in_registers[3], "pCPU 3 lets go of it");
	is_u64(atomic_load32(&pcpu_get(0)->work) & PCPU_WORK_VM, PCPU_WORK_VM,
	       "and tells the boot CPU");
	pcpu_take_work();
	release(a);
	a = guest(SLEEPS, 2, 1u << 0);
	steps(0, 3);
	stop(a);
	ok(all_out(a), "what is in its own registers the boot CPU takes off itself");
	release(a);
	ok(nothing_left(), "nothing is left behind");
}

/* --- on threads ------------------------------------------------------------------------------- */

#define LIVES	 60u
#define PASSES	 20u /* in each of them */
#define PATIENCE 60  /* seconds; a lost wake-up stops everything */

static void *other_cpu(void *arg)
{
	host_cpu = (unsigned)(uintptr_t)arg;
	while (!atomic_load32_acq(&finished))
		sched_step();
	return NULL;
}

static time_t until;

/* The boot CPU's thread runs vCPUs like the others, and ends and starts guests in between. */
static bool step_until_passes(uint32_t goal)
{
	while (atomic_load32(&passes) < goal && time(NULL) < until)
		sched_step();
	return atomic_load32(&passes) >= goal;
}

static bool replace(struct vm **vm)
{
	enum kind kind = (*vm)->vcpus[0]->arch->kind;
	unsigned vcpus = (*vm)->nr_vcpus;

	stop(*vm);
	while (!all_out(*vm) && time(NULL) < until)
		sched_step();
	if (time(NULL) >= until)
		return false;
	release(*vm);
	*vm = guest(kind, vcpus, 0);
	if (kind == WAITS)
		wake((*vm)->vcpus[0]);
	return true;
}

static void test_threads(void)
{
	const unsigned vcpus[] = {4, 1, 3, 8};
	struct vm *vm[4];
	pthread_t id[CPUS];
	unsigned lives = 0;

	until = time(NULL) + PATIENCE;
	threads = real_time = true;
	for (unsigned i = 0; i < CPUS; i++)
		timers[i] = UINT64_MAX;
	for (unsigned i = 0; i < 4; i++) {
		vm[i] = guest(i == 1 ? SPINS : WAITS, vcpus[i], 0);
		if (i != 1)
			wake(vm[i]->vcpus[0]);
	}
	for (uintptr_t i = 1; i < CPUS; i++)
		pthread_create(&id[i], NULL, other_cpu, (void *)i);
	while (lives < LIVES && step_until_passes(atomic_load32(&passes) + PASSES) &&
	       replace(&vm[lives % 4]))
		lives++;
	is_u64(lives, LIVES, "guests end and start, and no wake-up is lost");
	ok(step_until_passes(atomic_load32(&passes) + 1000), "the last of them are awake");
	for (unsigned i = 0; i < 4; i++) {
		stop(vm[i]);
		while (!all_out(vm[i]))
			sched_step();
		release(vm[i]);
	}
	atomic_store32_rel(&finished, 1);
	for (unsigned i = 1; i < CPUS; i++)
		pthread_join(id[i], NULL);
	ok(nothing_left(), "nothing is left behind");
}

int main(void)
{
	for (unsigned i = 0; i < CPUS; i++) {
		timers[i] = UINT64_MAX;
		pcpu_init(i);
	}
	test_place();
	test_fetch();
	test_wake_elsewhere();
	test_aside();
	test_even();
	test_end();
	is_u64(atomic_load32(&wrong), 0, "no vCPU in two places, step by step");
	test_threads();
	is_u64(atomic_load32(&wrong), 0, "no vCPU in two places, on threads");
	return tap_done();
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What each physical CPU has for itself. Interrupt handlers do no more than raise work bits here;
 * the main loop (vm/sched.c) does the work.
 *
 * Lock order, outermost first; a lock is never taken while holding one further down:
 *	device locks (vm/dev, vm/x86) -> vm.end_lock -> run queue -> timer queue
 * Among devices: whoever raises an interrupt -> 8259s or I/O APIC; local APICs have no lock. Of run
 * queues and timer queues one is held at a time. The console's lock comes after all of them; under
 *it only the machine's UART is locked and nothing called back. A lock of a space (tlbi/) is taken
 *with none of these held.
 */
#ifndef SLUICE_VM_PCPU_H
#define SLUICE_VM_PCPU_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/atomic.h"
#include "lib/spinlock.h"
#include "vm/timer.h"

#define PCPU_WORK_TIMER	  (1u << 0) /* the hardware timer fired */
#define PCPU_WORK_CONSOLE (1u << 1) /* UART: input, or room for output; a ring moved (boot CPU) */
#define PCPU_WORK_RESCHED (1u << 2) /* the run queue changed, or the slice is over */
#define PCPU_WORK_VM	  (1u << 3) /* a guest ends (boot CPU) */

#define PCPU_BOOT                                                                                  \
	0u /* index of the boot CPU: console, monitor and the table of guests live there */

struct vcpu;

struct vcpu_list {
	struct vcpu *head, *tail; /* linked by vcpu.next */
};

/* The vCPUs that are ready to run on a pCPU. */
struct runq {
	struct spinlock lock;
	struct vcpu_list woken; /* with some of their slice left: before all others */
	struct vcpu_list ready;
	atomic_u32 waiting;  /* how many are in the two lists; written under the lock */
	atomic_u32 assigned; /* vCPUs that are not off and have this pCPU as their `cpu` */
	atomic_u32 busy; /* 1: the pCPU runs one that is in neither list; written under the lock */
};

struct pcpu {
	unsigned id;
	atomic_u32 work; /* PCPU_WORK_* */
	struct timer_queue timers;
	struct runq runq;
	struct vcpu *current;	    /* in arch_vcpu_run; NULL otherwise */
	struct vcpu *previous;	    /* the last that was; may be gone, only compared */
	struct vcpu *resident;	    /* whose registers are still in this pCPU, or NULL */
	struct timer slice;	    /* the end of its slice */
	atomic_u32 idle;	    /* has nothing to run; who clears it gives it work */
	atomic_u64 idle_since;	    /* 0: does not sleep now */
	uint64_t guest_ns, idle_ns; /* time in arch_vcpu_run, in machine_idle */
	uint64_t switches;	    /* times another vCPU than the one before was run */
	uint64_t fetched;	    /* vCPUs it took over from other pCPUs */
};

/*
 * Gives pCPU `cpu` its structure, -ENOMEM when there is no room for it. Done by that pCPU, last of
 * what it needs: from then on others may give it work.
 */
int pcpu_init(unsigned cpu);

/* The structure of the pCPU that asks, of pCPU `cpu` (NULL: never came up). */
struct pcpu *this_pcpu(void);
struct pcpu *pcpu_get(unsigned cpu);

/* Raises work on the pCPU that calls; from interrupt handlers too. No-op before pcpu_init. */
void pcpu_raise(unsigned work_bits);

/* Raises work on another pCPU and gets it out of its guest or its sleep. */
void pcpu_raise_on(unsigned cpu, unsigned work_bits);

/* Is there work for this pCPU: arch_vcpu_run asks before each entry and returns VCPU_RUN_WORK. */
bool pcpu_work_pending(void);

/* All pending work bits, which are clear then. */
unsigned pcpu_take_work(void);

#endif

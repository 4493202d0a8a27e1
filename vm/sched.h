/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The main loop of a pCPU and its run queue: round robin with preemption. A halted vCPU is in no
 * queue; vcpu_kick puts it back.
 */
#ifndef SLUICE_VM_SCHED_H
#define SLUICE_VM_SCHED_H

#include <stdbool.h>

#define SCHED_SLICE_NS 10000000ull /* 10 ms */

struct vcpu;

/* Runs this pCPU for ever: work, then a vCPU's slice, else idle. */
_Noreturn void sched_main(void);

/* One round of it. */
void sched_step(void);

/* A vCPU that is off becomes runnable on pCPU `cpu`. */
void sched_add(struct vcpu *v, unsigned cpu);

/* Takes the vCPU off the scheduler. False when it is inside arch_vcpu_run at this moment: once its
 * VM is stopping it comes out by itself and PCPU_WORK_VM is raised on the boot CPU. */
bool sched_remove(struct vcpu *v);

#endif

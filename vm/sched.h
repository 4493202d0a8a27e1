/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The main loop of a pCPU and its run queue: round robin with preemption. A halted vCPU is in no
 * queue; vcpu_kick puts it back. A pCPU that has nothing to run takes over what waits elsewhere.
 */
#ifndef SLUICE_VM_SCHED_H
#define SLUICE_VM_SCHED_H

#include <stdbool.h>
#include <stdint.h>

#define SCHED_SLICE_NS 10000000ull /* 10 ms */

struct vcpu;

/* Runs this pCPU for ever: work, then a vCPU's slice, else idle. */
_Noreturn void sched_main(void);

/* One round of it. */
void sched_step(void);

/* Is there a pCPU among `cpus` (bit n: pCPU n; all clear: any) that runs guests? */
bool sched_can_place(const uint64_t *cpus);

/* A vCPU that is off becomes runnable on the pCPU with the fewest of those that its guest may use.
 */
void sched_add(struct vcpu *v);

/*
 * Takes the vCPU off the scheduler. False when another pCPU has it at this moment, in arch_vcpu_run
 * or with registers of it: once its VM is stopping it comes off by itself and PCPU_WORK_VM is
 * raised on the boot CPU.
 */
bool sched_remove(struct vcpu *v);

/* This pCPU is about to do something long (images are copied, memory is cleared): vCPUs that wait
 * for it, or wake here meanwhile, go to pCPUs that have nothing to do. */
void sched_step_aside(void);

#endif

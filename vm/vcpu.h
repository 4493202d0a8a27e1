/* SPDX-License-Identifier: BSD-2-Clause */
/* A virtual CPU: what the scheduler, the devices and the architecture's lower half share of it. */
#ifndef SLUICE_VM_VCPU_H
#define SLUICE_VM_VCPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/atomic.h"
#include "tlbi/tags.h"

#define VCPU_EXIT_COUNTERS 64

struct vm;
struct vcpu_arch;

enum vcpu_state {
	VCPU_OFF,      /* its VM does not run; the scheduler does not know it */
	VCPU_RUNNABLE, /* in a run queue */
	VCPU_RUNNING,  /* in arch_vcpu_run on pCPU `cpu` */
	VCPU_HALTED,   /* waits for vcpu_kick */
};

struct vcpu {
	struct vm *vm;
	unsigned id; /* within the VM, 0.. */
	struct vcpu_arch
		*arch; /* arch/ owns it: exists from arch_vcpu_create to arch_vcpu_destroy */
	struct tlbi_vcpu tlb;
	unsigned ran_on; /* arch/ again: the pCPU that ran it last, where its timer is armed */
	uint64_t exits[VCPU_EXIT_COUNTERS]; /* arch/ counts; arch_vcpu_exit_name says what; since
					       start */

	/*
	 * The rest is the scheduler's, under the lock of pCPU `cpu`'s run queue. `cpu` itself
	 * changes under the lock of the queue that the vCPU leaves.
	 */
	enum vcpu_state state;
	atomic_u32 cpu; /* pCPU whose queue it is in, runs on or ran on last */
	atomic_u32
		resident;  /* 1: registers of it are still in that pCPU, it can run nowhere else */
	struct vcpu *next; /* in the run queue */
	uint64_t slice_left; /* ns of its slice that remain; 0: the next one is a whole slice */
	uint64_t run_ns;     /* time in arch_vcpu_run since the VM was started */
};

/*
 * Something is pending for the vCPU (an interrupt, INIT, SIPI, the end of its VM): a halted one
 * becomes runnable, one that runs on another pCPU leaves its guest and looks. What is pending must
 * have been published before. From any context; takes only the run queue's lock.
 */
void vcpu_kick(struct vcpu *v);

/* Allocates; the vCPU is off. NULL when out of memory. */
struct vcpu *vcpu_new(struct vm *vm, unsigned id);

/* The vCPU is off. */
void vcpu_free(struct vcpu *v);

/* Exits of all causes since the VM was started. */
uint64_t vcpu_exits_total(const struct vcpu *v);

#endif

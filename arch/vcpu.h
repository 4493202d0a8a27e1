/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A virtual CPU as vm/ sees it. Implemented once per architecture; whether SVM or VMX (or EL2) runs
 * below is not visible here. All functions run with interrupts off on the pCPU that owns the vCPU
 * at the time, unless said otherwise.
 */
#ifndef SLUICE_ARCH_VCPU_H
#define SLUICE_ARCH_VCPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vcpu;
struct vcpu_start;
struct lapic_ops;

/* Why arch_vcpu_run came back. */
enum vcpu_run {
	VCPU_RUN_WORK,	  /* work bits of this pCPU are pending: do them, then run it again */
	VCPU_RUN_HALTED,  /* it waits for an event: arch_vcpu_has_event tells when */
	VCPU_RUN_STOPPED, /* vm_stop was called for its VM */
};

/*
 * Turns the virtualisation extension on for this pCPU. NULL, or a sentence why this machine cannot
 * run guests (no such extension, disabled by firmware, no nested paging, ...), static storage.
 */
const char *arch_virt_init(void);

/* One line for people: extension, nested paging, tags, optional features in use. Static storage. */
const char *arch_virt_describe(void);

/* Allocates and frees v->arch. 0 or -ENOMEM. A destroyed vCPU is in no pCPU's
 * registers but this one's. */
int arch_vcpu_create(struct vcpu *v);
void arch_vcpu_destroy(struct vcpu *v);

/*
 * Power-on state, then the registers that `start` names; NULL: it waits for another vCPU to start
 * it (x86: SIPI). Events and injections are forgotten. vCPU 0 first: the others share its time.
 */
void arch_vcpu_start(struct vcpu *v, const struct vcpu_start *start);

/* Runs the guest until there is something to do outside. After another pCPU ran it, that one has
 * called arch_vcpu_put; and no other vCPU is left in this one's registers. */
enum vcpu_run arch_vcpu_run(struct vcpu *v);

/*
 * Registers of a vCPU may stay in the pCPU when arch_vcpu_run returns. Takes them out, so that
 * another pCPU can run it or it can be destroyed. By the pCPU that ran it last.
 */
void arch_vcpu_put(struct vcpu *v);

/* Would a halted vCPU wake: an interrupt it can take, an NMI, INIT or SIPI. */
bool arch_vcpu_has_event(const struct vcpu *v);

/* Registers and mode as text, several lines; returns the length, cut to n. For crash reports and
 * `info`. */
size_t arch_vcpu_report(const struct vcpu *v, char *buf, size_t n);

/* Name of exit counter `i` for `info`; NULL when there is no such counter. i < VCPU_EXIT_COUNTERS.
 */
const char *arch_vcpu_exit_name(unsigned i);

/* Instruction pointer now, for the one-line death notice. */
uint64_t arch_vcpu_pc(const struct vcpu *v);

/* x86: what a local APIC needs from its vCPU (clock, kick, NMI, INIT, SIPI); ctx is the struct
 * vcpu. */
const struct lapic_ops *arch_lapic_ops(void);

/* x86: physical address bits that guests are told of, 36..52. */
unsigned arch_guest_phys_bits(void);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The PC as its vCPUs see it: ports, memory-mapped devices and interrupt controllers. Called by the
 * exit handlers of arch/x86, on the pCPU that runs the vCPU, interrupts off.
 *
 * What nobody claims reads as all ones and swallows writes, as on a PC; it is counted, not logged.
 */
#ifndef SLUICE_VM_X86_PC_H
#define SLUICE_VM_X86_PC_H

#include <stdbool.h>
#include <stdint.h>

struct lapic;
struct pc;
struct vcpu;

/* `size` is 1, 2 or 4. The value is in the low `size` bytes, the rest is zero. */
uint64_t pc_pio_read(struct vcpu *vcpu, uint16_t port, unsigned size);
void pc_pio_write(struct vcpu *vcpu, uint16_t port, unsigned size, uint32_t val);

/*
 * An access to guest-physical memory that is not RAM; `size` is 1, 2, 4 or 8. Returns false when
 * nobody is there: *val is then all ones of that size.
 */
bool pc_mmio_read(struct vcpu *vcpu, uint64_t gpa, unsigned size, uint64_t *val);
bool pc_mmio_write(struct vcpu *vcpu, uint64_t gpa, unsigned size, uint64_t val);

/* The same with the region that guestmem_resolve named (or GM_NO_REGION): no search then. */
bool pc_region_read(struct vcpu *vcpu, uint32_t region, uint64_t gpa, unsigned size, uint64_t *val);
bool pc_region_write(struct vcpu *vcpu, uint32_t region, uint64_t gpa, unsigned size, uint64_t val);

/* The vCPU's local APIC: never NULL once board_create has succeeded. */
struct lapic *pc_lapic(struct vcpu *vcpu);

/*
 * The 8259 pair's request as this vCPU's LAPIC passes it on through LINT0 in ExtINT mode.
 * pc_pic_pending: would pc_pic_ack give a vector? pc_pic_ack is the INTA cycle: it returns the
 * vector and moves the request into service, or -1 when there is none (or LINT0 does not pass it).
 */
bool pc_pic_pending(struct vcpu *vcpu);
int pc_pic_ack(struct vcpu *vcpu);

struct pc_stats {
	uint64_t unclaimed_pio_reads, unclaimed_pio_writes;
	uint64_t unclaimed_mmio_reads, unclaimed_mmio_writes;
};

/* Accesses that nobody answered since the board was created; a snapshot, not exact while vCPUs run.
 */
struct pc_stats pc_stats(const struct pc *pc);

#endif

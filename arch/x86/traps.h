/* SPDX-License-Identifier: BSD-2-Clause */
/* Exceptions and interrupts of the host: the descriptor table, the frame, who handles which vector.
 */
#ifndef SLUICE_ARCH_X86_TRAPS_H
#define SLUICE_ARCH_X86_TRAPS_H

#include <stdint.h>

/* What trap_entry.asm leaves on the stack, lowest address first. */
struct trap_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
	uint64_t rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss; /* pushed by the CPU */
};

/*
 * Vectors of our own. A vector's upper four bits are its priority at the local APIC (SDM
 * 3A 10.8.3). The 8259s sit at 0x20 for the spurious interrupts that masking does not keep away.
 */
#define VEC_PIC	       0x20
#define VEC_CONSOLE    0x40 /* UART, through the I/O APIC */
#define VEC_TIMER      0xe0 /* local APIC timer */
#define VEC_KICK       0xf0 /* leave the guest, look at your work; nothing else */
#define VEC_APIC_ERROR 0xf1
#define VEC_SPURIOUS   0xff /* low four bits set, as old local APICs want (SDM 3A 10.9) */

/* Fills the table (once) and loads it on this CPU. */
void traps_init(void);
void traps_load(void);

/* Called by trap_entry.asm. */
void trap_handle(struct trap_frame *f);

#endif

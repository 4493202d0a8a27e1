/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Execution of one guest instruction in C: what remains to be done when a guest's load or store
 * reached a device instead of memory, or when a string port instruction was intercepted. Operands
 * may lie in RAM or in devices, on either side, and may cross pages. Pure: state in, state out;
 * host-buildable.
 *
 * The caller copies the vCPU's registers in, calls emulate(), and copies general registers, RIP and
 * RFLAGS back on EMU_DONE. Clearing the interrupt shadow is the caller's work.
 */
#ifndef SLUICE_ARCH_X86_EMULATE_H
#define SLUICE_ARCH_X86_EMULATE_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86/decode.h"
#include "arch/x86/guest_walk.h"

/* A segment's hidden part, in the VMCB's form (APM volume 2, 15.5.1): limit in bytes, attributes
 * packed. */
struct emu_seg {
	uint64_t base;
	uint32_t limit;
	uint16_t selector;
	uint16_t attr; /* 3:0 type, 4 S, 6:5 DPL, 7 P, 8 AVL, 9 L, 10 D/B, 11 G */
};

/*
 * What the hardware said about the access that caused the exit. When the instruction has one memory
 * operand that fits, `gpa` is taken for its address and the guest's page tables are not walked
 * again.
 */
struct emu_hint {
	bool valid; /* only for a fault on the final address, not on a table of the guest's own walk
		     */
	bool write; /* the hardware has checked the access for writing */
	bool device; /* gpa is known to be a device's */
	uint64_t gpa;
};

struct emu_cpu {
	uint64_t gpr[GPR_COUNT]; /* by encoding number: enum x86_gpr */
	uint64_t rip;
	uint64_t rflags;
	struct emu_seg seg[SEG_COUNT]; /* by enum x86_seg */
	struct guest_paging paging;
	uint8_t cpl;

	/* Given for this instruction. */
	uint8_t fetched[INSN_MAX_LENGTH]; /* instruction bytes from decode assists */
	uint8_t nr_fetched;		  /* how many; 0: fetch them from guest memory */
	struct emu_hint hint;
	/*
	 * 0: an exit for memory. 1, 2, 4: an IOIO exit for a string instruction of this size; then
	 * only INS and OUTS are executed, as the hardware has checked the permission for nothing
	 * else.
	 */
	uint8_t io_size;

	/* Out, with EMU_DONE: RFLAGS.TF was set, so #DB with DR6.BS is due before the next
	 * instruction. */
	bool step_trap;
	/* Out, with EMU_DONE: the instruction was LMSW, and this is its operand: the caller loads
	 * CR0. */
	bool msw_loaded;
	uint16_t msw;
};

/* The devices. `ctx` is what emulate() was given. */
struct emu_ops {
	/* `size` is 1, 2, 4 or 8; the access is within a page. Called once per access and piece. */
	uint64_t (*mmio_read)(void *ctx, uint64_t gpa, unsigned size);
	void (*mmio_write)(void *ctx, uint64_t gpa, unsigned size, uint64_t value);
	/* INS and OUTS, size 1, 2 or 4; may be NULL when io_size is always 0. */
	uint32_t (*pio_read)(void *ctx, uint16_t port, unsigned size);
	void (*pio_write)(void *ctx, uint16_t port, unsigned size, uint32_t value);
};

enum emu_result {
	EMU_DONE,  /* executed; of a rep string instruction perhaps a part, with RIP still on it */
	EMU_FAULT, /* inject fault->vector; registers are as the guest's handler must see them */
	EMU_UNSUPPORTED, /* fault->why and fault->bytes say what; the guest cannot go on */
	EMU_RETRY,	 /* nothing happened: run the guest again, it will exit again if need be */
};

struct emu_fault {
	uint8_t vector;
	bool has_error;
	uint32_t error;
	uint64_t cr2;	 /* valid for #PF */
	const char *why; /* EMU_UNSUPPORTED: for the report, static text */
	uint8_t bytes[INSN_MAX_LENGTH];
	uint8_t nr_bytes; /* instruction bytes known, with EMU_UNSUPPORTED */
};

/* Iterations of a rep string instruction done in one call at most, so that interrupts get their
 * turn. */
#define EMU_REP_MAX 256

/*
 * Executes the instruction at CS:RIP. `gm` is the guest's memory. On EMU_FAULT and a partly done
 * rep, RFLAGS.RF is set as the saved image must have it (SDM volume 3, 18.3.1.1). With EMU_FAULT
 * and EMU_UNSUPPORTED the registers hold what earlier iterations of a rep did, RIP is still on the
 * instruction, and a device may have been read. With EMU_RETRY registers and RAM are as before.
 */
enum emu_result emulate(struct emu_cpu *cpu, struct guestmem *gm, const struct emu_ops *ops,
			void *ctx, struct emu_fault *fault);

/* The mode the vCPU decodes in, from EFER.LMA and CS. */
enum insn_mode emu_mode(const struct emu_cpu *cpu);

/*
 * Fetches up to 15 bytes at CS:RIP into buf without executing: for intercepts that need the length
 * or the operands of an instruction. Stops early at a page that cannot be read. Returns how many.
 */
unsigned emu_fetch(struct emu_cpu *cpu, struct guestmem *gm, uint8_t buf[INSN_MAX_LENGTH]);

#endif

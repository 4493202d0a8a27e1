/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a loader wants a vCPU to begin: the whole of what a boot protocol promises to a kernel at its
 * first instruction. Plain data; the architecture turns it into register state.
 */
#ifndef SLUICE_VM_START_H
#define SLUICE_VM_START_H

#include <stdint.h>

enum start_mode {
	START_X86_LONG,	     /* 64-bit, paging on with the given CR3 (Linux 64-bit boot protocol) */
	START_X86_PROTECTED, /* 32-bit flat segments, paging off (multiboot, PVH) */
	START_X86_REAL,	 /* 16-bit, CS base = rip & ~0xfff: an application processor after SIPI */
	START_ARM64_EL1, /* MMU off, x0..x3 given */
};

/*
 * x86: segments are flat with the given selectors (base 0, limit 4G, loaded as if from the
 * descriptor table at gdt_base); interrupts off, direction flag clear, all registers not named are
 * zero.
 */
struct vcpu_start {
	enum start_mode mode;
	uint64_t entry; /* RIP or PC */
	uint64_t stack; /* RSP, 0 when the protocol gives none */
	uint64_t cr3;	/* START_X86_LONG: guest-physical root of page tables the loader wrote */
	uint64_t gdt_base;
	uint16_t gdt_limit; /* 0: no table was written */
	uint16_t cs, ds;    /* selectors; ds serves SS, DS, ES (FS, GS as well in protected mode) */
	uint64_t rax, rbx, rcx, rdx, rsi, rdi;
	uint64_t x[4]; /* arm64: x0..x3 */
};

#endif

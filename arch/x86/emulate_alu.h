/* SPDX-License-Identifier: BSD-2-Clause */
/* The arithmetic of emulated instructions: results and flags, computed in C. */
#ifndef SLUICE_ARCH_X86_EMULATE_ALU_H
#define SLUICE_ARCH_X86_EMULATE_ALU_H

#include <stdint.h>

#include "arch/x86/decode.h"

/* The bits of an operand of `size` bytes: 1, 2, 4 or 8. */
static inline uint64_t emu_mask(unsigned size)
{
	return UINT64_MAX >> (64 - 8 * size);
}

/*
 * The result of `op` on a (the destination) and b (ignored when op has one operand), both cut to
 * `size` bytes first. op is one of INSN_ADD..INSN_CMP, INSN_TEST, INSN_INC, INSN_DEC, INSN_NOT,
 * INSN_NEG, and INSN_BT..INSN_BTC, whose b is the bit's number. For CMP, TEST and BT the result is
 * a.
 *
 * Updates CF, PF, AF, ZF, SF and OF in *rflags as the manual defines them. Where it leaves a flag
 * undefined: AF is cleared by the logical operations; the bit tests change nothing but CF.
 */
uint64_t emu_alu(enum insn_op op, uint64_t a, uint64_t b, unsigned size, uint64_t *rflags);

/* Sign-extends the lowest `size` bytes. */
uint64_t emu_sign_extend(uint64_t v, unsigned size);

/* Reverses the lowest `size` bytes. */
uint64_t emu_byte_swap(uint64_t v, unsigned size);

#endif

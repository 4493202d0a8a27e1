/* SPDX-License-Identifier: BSD-2-Clause */
/* The arithmetic of emulated instructions. Flags: Intel SDM volume 1, 3.4.3.1 and appendix A. */
#include "arch/x86/emulate_alu.h"

#include "arch/x86/regs.h"

#define FLAGS_RESULT (RFLAGS_PF | RFLAGS_ZF | RFLAGS_SF)
#define FLAGS_ALL    (FLAGS_RESULT | RFLAGS_CF | RFLAGS_AF | RFLAGS_OF)

uint64_t emu_sign_extend(uint64_t v, unsigned size)
{
	uint64_t sign = 1ULL << (8 * size - 1);

	return ((v & emu_mask(size)) ^ sign) - sign;
}

uint64_t emu_byte_swap(uint64_t v, unsigned size)
{
	uint64_t swapped = 0;

	for (unsigned i = 0; i < size; i++)
		swapped = swapped << 8 | ((v >> (8 * i)) & 0xff);
	return swapped;
}

static uint64_t flag(bool set, uint64_t bit)
{
	return set ? bit : 0;
}

/* Zero, sign and the parity of the lowest byte. */
static uint64_t flags_of_result(uint64_t r, unsigned size)
{
	unsigned nibble = (unsigned)(r ^ r >> 4) & 15;
	bool odd = (0x6996U >> nibble) & 1; /* bit n: whether n has an odd number of ones */

	return flag(!odd, RFLAGS_PF) | flag(r == 0, RFLAGS_ZF) |
	       flag(r >> (8 * size - 1), RFLAGS_SF);
}

static void set_flags(uint64_t *rflags, uint64_t which, uint64_t flags)
{
	*rflags = (*rflags & ~which) | (flags & which);
}

/* a + b + carry; `which` flags are updated. */
static uint64_t add(uint64_t a, uint64_t b, bool carry, unsigned size, uint64_t which,
		    uint64_t *rflags)
{
	uint64_t r = (a + b + carry) & emu_mask(size);
	bool overflow = (((a ^ r) & (b ^ r)) >> (8 * size - 1)) & 1;

	set_flags(rflags, which,
		  flags_of_result(r, size) | flag(r < a || (carry && r == a), RFLAGS_CF) |
			  flag(overflow, RFLAGS_OF) | ((a ^ b ^ r) & RFLAGS_AF));
	return r;
}

/* a - b - borrow. */
static uint64_t sub(uint64_t a, uint64_t b, bool borrow, unsigned size, uint64_t which,
		    uint64_t *rflags)
{
	uint64_t r = (a - b - borrow) & emu_mask(size);
	bool overflow = (((a ^ b) & (a ^ r)) >> (8 * size - 1)) & 1;

	set_flags(rflags, which,
		  flags_of_result(r, size) | flag(a < b || (borrow && a == b), RFLAGS_CF) |
			  flag(overflow, RFLAGS_OF) | ((a ^ b ^ r) & RFLAGS_AF));
	return r;
}

static uint64_t logic(uint64_t r, unsigned size, uint64_t *rflags)
{
	set_flags(rflags, FLAGS_ALL, flags_of_result(r, size));
	return r;
}

static uint64_t bit_op(enum insn_op op, uint64_t a, uint64_t b, unsigned size, uint64_t *rflags)
{
	uint64_t bit = 1ULL << (b & (8 * size - 1));

	set_flags(rflags, RFLAGS_CF, flag(a & bit, RFLAGS_CF));
	switch (op) {
	case INSN_BTS:
		return a | bit;
	case INSN_BTR:
		return a & ~bit;
	case INSN_BTC:
		return a ^ bit;
	default:
		return a;
	}
}

uint64_t emu_alu(enum insn_op op, uint64_t a, uint64_t b, unsigned size, uint64_t *rflags)
{
	bool carry = *rflags & RFLAGS_CF;

	a &= emu_mask(size);
	b &= emu_mask(size);
	switch (op) {
	case INSN_ADD:
		return add(a, b, false, size, FLAGS_ALL, rflags);
	case INSN_ADC:
		return add(a, b, carry, size, FLAGS_ALL, rflags);
	case INSN_SUB:
		return sub(a, b, false, size, FLAGS_ALL, rflags);
	case INSN_SBB:
		return sub(a, b, carry, size, FLAGS_ALL, rflags);
	case INSN_CMP:
		sub(a, b, false, size, FLAGS_ALL, rflags);
		return a;
	case INSN_INC:
		return add(a, 1, false, size, FLAGS_ALL & ~RFLAGS_CF, rflags);
	case INSN_DEC:
		return sub(a, 1, false, size, FLAGS_ALL & ~RFLAGS_CF, rflags);
	case INSN_NEG:
		return sub(0, a, false, size, FLAGS_ALL, rflags);
	case INSN_NOT:
		return ~a & emu_mask(size);
	case INSN_AND:
		return logic(a & b, size, rflags);
	case INSN_OR:
		return logic(a | b, size, rflags);
	case INSN_XOR:
		return logic(a ^ b, size, rflags);
	case INSN_TEST:
		logic(a & b, size, rflags);
		return a;
	default:
		return bit_op(op, a, b, size, rflags);
	}
}

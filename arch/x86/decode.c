/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The instruction decoder. Three steps: prefixes and opcode; the bytes that follow the opcode,
 * which a shape per opcode determines; the meaning, for the instructions that have a name in enum
 * insn_op.
 */
#include "arch/x86/decode.h"

#include "lib/string.h"
#include "lib/util.h"

#define REX_W 8U
#define REX_R 4U
#define REX_X 2U
#define REX_B 1U

/* What follows an opcode; one character per opcode, 16 to a row. */
enum shape {
	S_NONE = '.',	  /* nothing */
	S_NONE_32 = '6',  /* nothing; invalid in 64-bit mode */
	S_MODRM = 'm',	  /* ModRM */
	S_MODRM_32 = 'h', /* ModRM; invalid, or another encoding's prefix, in 64-bit mode */
	S_MODRM_B = 'B',  /* ModRM, 8-bit immediate */
	S_MODRM_B_32 = 'H',
	S_MODRM_Z = 'Z', /* ModRM, immediate of the operand size, at most 32 bits */
	S_GROUP3 = '3',	 /* ModRM, immediate when ModRM.reg is 0 or 1 */
	S_EXTRQ = 'q',	 /* ModRM; two bytes more with 66 or F2 */
	S_REG = 'r',	 /* ModRM that always means registers */
	S_BYTE = 'b',	 /* 8-bit immediate or displacement */
	S_BYTE_32 = 'i',
	S_Z = 'z',	 /* immediate of the operand size, at most 32 bits */
	S_V = 'v',	 /* immediate of the operand size */
	S_WORD = 'w',	 /* 16-bit immediate */
	S_ENTER = 'e',	 /* 16-bit and 8-bit immediate */
	S_MOFFS = 'o',	 /* offset of the address size */
	S_FAR_32 = 'a',	 /* offset of the operand size and selector */
	S_BRANCH = 'j',	 /* displacement of the operand size */
	S_PREFIX = 'p',	 /* prefix or escape: handled before */
	S_UNKNOWN = 'u', /* differs between vendors */
	S_INVALID = 'x',
};

static const char shapes_one_byte[] = "mmmmbz66mmmmbz6p" /* 00 */
				      "mmmmbz66mmmmbz66" /* 10 */
				      "mmmmbzp6mmmmbzp6" /* 20 */
				      "mmmmbzp6mmmmbzp6" /* 30 */
				      "................" /* 40 */
				      "................" /* 50 */
				      "66hmppppzZbB...." /* 60 */
				      "bbbbbbbbbbbbbbbb" /* 70 */
				      "BZHBmmmmmmmmmmmm" /* 80 */
				      "..........a....." /* 90 */
				      "oooo....bz......" /* a0 */
				      "bbbbbbbbvvvvvvvv" /* b0 */
				      "BBw.hhBZe.w..b6." /* c0 */
				      "mmmmii6.mmmmmmmm" /* d0 */
				      "bbbbbbbbjjab...." /* e0 */
				      "p.pp..33......mm" /* f0 */;

static const char shapes_0f[] = "mmmmx.....x.xm.B" /* 00 */
				"mmmmmmmmmmmmmmmm" /* 10 */
				"rrrrxxxxmmmmmmmm" /* 20 */
				"......x.pxpxxxxx" /* 30 */
				"mmmmmmmmmmmmmmmm" /* 40 */
				"mmmmmmmmmmmmmmmm" /* 50 */
				"mmmmmmmmmmmmmmmm" /* 60 */
				"BBBBmmm.qmxxmmmm" /* 70 */
				"jjjjjjjjjjjjjjjj" /* 80 */
				"mmmmmmmmmmmmmmmm" /* 90 */
				"...mBmuu...mBmmm" /* a0 */
				"mmmmmmmmmmBmmmmm" /* b0 */
				"mmBmBBBm........" /* c0 */
				"mmmmmmmmmmmmmmmm" /* d0 */
				"mmmmmmmmmmmmmmmm" /* e0 */
				"mmmmmmmmmmmmmmmu" /* f0 */;

_Static_assert(sizeof(shapes_one_byte) == 257, "one shape per opcode");
_Static_assert(sizeof(shapes_0f) == 257, "one shape per opcode");

struct decoder {
	const uint8_t *bytes;
	size_t n;
	size_t pos;
	struct insn *in;
	bool opsize_prefix;	  /* 66 */
	bool addr_prefix;	  /* 67 */
	uint8_t seg;		  /* override, or SEG_COUNT */
	enum decode_result error; /* sticky: the first shortage of bytes */
};

/* ---- bytes ---- */

static uint8_t next_byte(struct decoder *d)
{
	if (d->pos < d->n)
		return d->bytes[d->pos++];
	if (d->error == DECODE_OK)
		d->error = d->n < INSN_MAX_LENGTH ? DECODE_TRUNCATED : DECODE_TOO_LONG;
	return 0;
}

static uint64_t next_unsigned(struct decoder *d, unsigned size)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < size; i++)
		v |= (uint64_t)next_byte(d) << (8 * i);
	return v;
}

static int64_t next_signed(struct decoder *d, unsigned size)
{
	uint64_t v = next_unsigned(d, size);
	uint64_t sign = 1ULL << (8 * size - 1);

	return (int64_t)((v ^ sign) - sign);
}

/* ---- prefixes and opcode ---- */

/* In 64-bit mode ES, CS, SS and DS overrides do nothing: an earlier FS or GS stays. */
static void segment_prefix(struct decoder *d, uint8_t seg)
{
	if (d->in->mode != INSN_MODE_64 || seg >= SEG_FS)
		d->seg = seg;
}

static bool legacy_prefix(struct decoder *d, uint8_t byte)
{
	switch (byte) {
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
		segment_prefix(d, (byte >> 3) & 3);
		return true;
	case 0x64:
	case 0x65:
		segment_prefix(d, byte & 7);
		return true;
	case 0x66:
		d->opsize_prefix = true;
		return true;
	case 0x67:
		d->addr_prefix = true;
		return true;
	case 0xf0:
		d->in->lock = true;
		return true;
	case 0xf2:
		d->in->rep = REP_F2;
		return true;
	case 0xf3:
		d->in->rep = REP_F3;
		return true;
	default:
		return false;
	}
}

static void decode_prefixes(struct decoder *d)
{
	struct insn *in = d->in;
	uint8_t byte;

	/* A REX counts only directly before the opcode. */
	while (byte = next_byte(d), d->error == DECODE_OK) {
		if (legacy_prefix(d, byte))
			in->rex = 0;
		else if (in->mode == INSN_MODE_64 && (byte & 0xf0) == 0x40)
			in->rex = byte;
		else
			break;
	}
	in->opcode = byte;
	if (byte != 0x0f)
		return;
	in->map = 1;
	in->opcode = next_byte(d);
	if (in->opcode == 0x38 || in->opcode == 0x3a) {
		in->map = in->opcode == 0x38 ? 2 : 3;
		in->opcode = next_byte(d);
	}
}

/* Instructions whose operand size in 64-bit mode is 64 bits without REX.W: stack and near branches.
 */
static bool defaults_to_64(const struct insn *in)
{
	uint8_t op = in->opcode;

	if (in->map == 1)
		return (op & 0xf0) == 0x80 || (op & 0xf6) == 0xa0;
	return in->map == 0 && ((op & 0xf0) == 0x50 || op == 0x68 || op == 0x6a || op == 0x8f ||
				op == 0x9c || op == 0x9d || op == 0xe8 || op == 0xe9);
}

static void decode_sizes(struct decoder *d)
{
	struct insn *in = d->in;

	switch (in->mode) {
	case INSN_MODE_16:
		in->opsize = d->opsize_prefix ? 4 : 2;
		in->addr_size = d->addr_prefix ? 4 : 2;
		break;
	case INSN_MODE_32:
		in->opsize = d->opsize_prefix ? 2 : 4;
		in->addr_size = d->addr_prefix ? 2 : 4;
		break;
	default:
		in->opsize = d->opsize_prefix ? 2 : defaults_to_64(in) ? 8 : 4;
		if (in->rex & REX_W)
			in->opsize = 8;
		in->addr_size = d->addr_prefix ? 4 : 8;
		break;
	}
}

static enum shape shape_of(const struct insn *in)
{
	switch (in->map) {
	case 0:
		return (enum shape)shapes_one_byte[in->opcode];
	case 1:
		return (enum shape)shapes_0f[in->opcode];
	case 2:
		return S_MODRM;
	default:
		return S_MODRM_B;
	}
}

/* ---- ModRM and what follows ---- */

static uint8_t rex_bit(const struct insn *in, unsigned bit)
{
	return in->rex & bit ? 8 : 0;
}

static unsigned modrm_reg(const struct insn *in)
{
	return (in->modrm >> 3) & 7;
}

static bool modrm_is_memory(const struct insn *in)
{
	return in->has_modrm && in->modrm < 0xc0;
}

/* 16-bit addressing: SDM volume 2, table 2-1. */
static void decode_memory_16(struct decoder *d)
{
	static const uint8_t base[8] = {GPR_RBX, GPR_RBX, GPR_RBP, GPR_RBP,
					GPR_RSI, GPR_RDI, GPR_RBP, GPR_RBX};
	static const uint8_t index[8] = {GPR_RSI,     GPR_RDI,	   GPR_RSI,	GPR_RDI,
					 INSN_NO_REG, INSN_NO_REG, INSN_NO_REG, INSN_NO_REG};
	struct insn_mem *m = &d->in->mem;
	unsigned mod = d->in->modrm >> 6, rm = d->in->modrm & 7;

	m->base = base[rm];
	m->index = index[rm];
	if (mod == 0 && rm == 6) {
		m->base = INSN_NO_REG;
		m->disp = next_signed(d, 2);
	} else if (mod != 0) {
		m->disp = next_signed(d, mod == 1 ? 1 : 2);
	}
}

/* 32- and 64-bit addressing: SDM volume 2, tables 2-2 and 2-3, section 2.2.1. */
static void decode_memory_32(struct decoder *d)
{
	struct insn *in = d->in;
	struct insn_mem *m = &in->mem;
	unsigned mod = in->modrm >> 6, rm = in->modrm & 7;

	if (rm == 4) {
		uint8_t sib = next_byte(d);
		uint8_t index = ((sib >> 3) & 7) | rex_bit(in, REX_X);

		rm = sib & 7;
		if (index != 4) {
			m->index = index;
			m->scale = (uint8_t)(1U << (sib >> 6));
		}
	} else if (mod == 0 && rm == 5 && in->mode == INSN_MODE_64) {
		m->rip_relative = true;
	}
	if (mod == 0 && rm == 5)
		m->disp = next_signed(d, 4);
	else
		m->base = (uint8_t)(rm | rex_bit(in, REX_B));
	if (mod != 0)
		m->disp = next_signed(d, mod == 1 ? 1 : 4);
}

static void decode_modrm(struct decoder *d, enum shape shape)
{
	struct insn *in = d->in;
	struct insn_mem *m = &in->mem;

	in->has_modrm = true;
	in->modrm = next_byte(d);
	if (shape == S_REG)
		in->modrm |= 0xc0;
	if (!modrm_is_memory(in))
		return;
	if (in->addr_size == 2)
		decode_memory_16(d);
	else
		decode_memory_32(d);
	/* rSP or rBP as base means the stack segment; R12 and R13 do not. */
	if (m->base == GPR_RSP || m->base == GPR_RBP)
		m->seg = SEG_SS;
}

/* Reads what follows ModRM, or the opcode. */
static void decode_immediate(struct decoder *d, enum shape shape)
{
	struct insn *in = d->in;
	unsigned z = in->opsize == 2 ? 2 : 4;

	switch (shape) {
	case S_BYTE:
	case S_BYTE_32:
	case S_MODRM_B:
	case S_MODRM_B_32:
		in->imm = next_signed(d, 1);
		break;
	case S_Z:
	case S_MODRM_Z:
	case S_BRANCH:
		in->imm = next_signed(d, z);
		break;
	case S_V:
		in->imm = next_signed(d, in->opsize);
		break;
	case S_WORD:
		in->imm = next_signed(d, 2);
		break;
	case S_ENTER:
		in->imm = next_signed(d, 3);
		break;
	case S_MOFFS:
		in->mem.disp = (int64_t)next_unsigned(d, in->addr_size);
		break;
	case S_FAR_32:
		in->imm = next_signed(d, z + 2);
		break;
	case S_GROUP3:
		if (modrm_reg(in) < 2)
			in->imm = next_signed(d, in->opcode & 1 ? z : 1);
		break;
	case S_EXTRQ:
		if (d->opsize_prefix || in->rep == REP_F2)
			in->imm = next_signed(d, 2);
		break;
	default:
		break;
	}
}

static bool shape_has_modrm(enum shape shape)
{
	return shape == S_MODRM || shape == S_MODRM_32 || shape == S_MODRM_B ||
	       shape == S_MODRM_B_32 || shape == S_MODRM_Z || shape == S_GROUP3 ||
	       shape == S_EXTRQ || shape == S_REG;
}

static bool shape_is_32_only(enum shape shape)
{
	return shape == S_NONE_32 || shape == S_MODRM_32 || shape == S_MODRM_B_32 ||
	       shape == S_BYTE_32 || shape == S_FAR_32;
}

/* VEX (C4, C5), EVEX (62) and XOP (8F) begin like older instructions and go on differently. */
static bool is_vector_prefix(struct decoder *d)
{
	const struct insn *in = d->in;
	uint8_t op = in->opcode;
	uint8_t next;

	if (in->map != 0 || (op != 0xc4 && op != 0xc5 && op != 0x62 && op != 0x8f))
		return false;
	if (op != 0x8f && in->mode == INSN_MODE_64)
		return true;
	next = next_byte(d);
	if (d->error == DECODE_OK)
		d->pos--;
	return op == 0x8f ? (next & 0x38) != 0 : next >= 0xc0;
}

/* ---- meaning ---- */

static unsigned reg_field(const struct insn *in)
{
	return modrm_reg(in) | rex_bit(in, REX_R);
}

static struct insn_opnd opnd_reg(const struct insn *in, unsigned reg, unsigned size)
{
	/* Without REX the byte registers 4..7 are AH, CH, DH, BH. */
	bool high = size == 1 && in->rex == 0 && reg >= 4 && reg < 8;

	return (struct insn_opnd){
		.kind = OPND_REG,
		.reg = (uint8_t)(high ? reg - 4 : reg),
		.high = high,
		.size = (uint8_t)size,
	};
}

static struct insn_opnd opnd_modrm_reg(const struct insn *in, unsigned size)
{
	return opnd_reg(in, reg_field(in), size);
}

static struct insn_opnd opnd_of(enum insn_opnd_kind kind, unsigned size)
{
	return (struct insn_opnd){.kind = (uint8_t)kind, .reg = INSN_NO_REG, .size = (uint8_t)size};
}

static struct insn_opnd opnd_rm(const struct insn *in, unsigned size)
{
	if (modrm_is_memory(in))
		return opnd_of(OPND_MEM, size);
	return opnd_reg(in, (in->modrm & 7U) | rex_bit(in, REX_B), size);
}

/* Names the instruction and its operation size. */
static void name(struct insn *in, enum insn_op op, unsigned opsize)
{
	in->op = (uint8_t)op;
	in->opsize = (uint8_t)opsize;
}

static void op_rm(struct insn *in, enum insn_op op, unsigned size)
{
	name(in, op, size);
	in->dst = opnd_rm(in, size);
}

static void op_rm_reg(struct insn *in, enum insn_op op, unsigned size)
{
	op_rm(in, op, size);
	in->src = opnd_modrm_reg(in, size);
}

static void op_reg_rm(struct insn *in, enum insn_op op, unsigned size)
{
	name(in, op, size);
	in->dst = opnd_modrm_reg(in, size);
	in->src = opnd_rm(in, size);
}

static void op_rm_imm(struct insn *in, enum insn_op op, unsigned size)
{
	op_rm(in, op, size);
	in->src = opnd_of(OPND_IMM, size);
}

static void op_acc_imm(struct insn *in, enum insn_op op, unsigned size)
{
	name(in, op, size);
	in->dst = opnd_reg(in, GPR_RAX, size);
	in->src = opnd_of(OPND_IMM, size);
}

/* Operation size of the opcodes whose lowest bit says byte or not. */
static unsigned size_by_bit0(const struct insn *in)
{
	return in->opcode & 1 ? in->opsize : 1;
}

/* 00-3f: eight operations in six forms. */
static void decode_alu(struct insn *in)
{
	enum insn_op op = INSN_ADD + (in->opcode >> 3);
	unsigned size = size_by_bit0(in);

	switch (in->opcode & 7) {
	case 0:
	case 1:
		op_rm_reg(in, op, size);
		break;
	case 2:
	case 3:
		op_reg_rm(in, op, size);
		break;
	case 4:
	case 5:
		op_acc_imm(in, op, size);
		break;
	default:
		break; /* push and pop of segments, adjustments */
	}
}

static void decode_string(struct insn *in)
{
	unsigned size = size_by_bit0(in);
	struct insn_opnd si = opnd_of(OPND_SI, size), di = opnd_of(OPND_DI, size);
	struct insn_opnd acc = opnd_reg(in, GPR_RAX, size);

	switch (in->opcode & 0xfe) {
	case 0xa4:
		name(in, INSN_MOVS, size);
		in->dst = di, in->src = si;
		break;
	case 0xa6:
		name(in, INSN_CMPS, size);
		in->dst = si, in->src = di;
		break;
	case 0xaa:
		name(in, INSN_STOS, size);
		in->dst = di, in->src = acc;
		break;
	case 0xac:
		name(in, INSN_LODS, size);
		in->dst = acc, in->src = si;
		break;
	case 0xae:
		name(in, INSN_SCAS, size);
		in->dst = acc, in->src = di;
		break;
	default:
		break;
	}
}

/* Ports are 8, 16 or 32 bits wide whatever REX.W says. */
static unsigned port_size(const struct insn *in)
{
	unsigned size = size_by_bit0(in);

	return size == 8 ? 4 : size;
}

static void decode_port(struct insn *in)
{
	unsigned size = port_size(in);
	struct insn_opnd port = opnd_of(OPND_PORT, 2);
	struct insn_opnd acc = opnd_reg(in, GPR_RAX, size);

	switch (in->opcode) {
	case 0x6c:
	case 0x6d:
		name(in, INSN_INS, size);
		port.reg = GPR_RDX;
		in->dst = opnd_of(OPND_DI, size), in->src = port;
		return;
	case 0x6e:
	case 0x6f:
		name(in, INSN_OUTS, size);
		port.reg = GPR_RDX;
		in->dst = port, in->src = opnd_of(OPND_SI, size);
		return;
	default:
		break;
	}
	if (in->opcode & 8)
		port.reg = GPR_RDX; /* ec-ef */
	else
		in->imm &= 0xff; /* e4-e7 */
	if (in->opcode & 2) {
		name(in, INSN_OUT, size);
		in->dst = port, in->src = acc;
	} else {
		name(in, INSN_IN, size);
		in->dst = acc, in->src = port;
	}
}

/* mov to or from rAX at an absolute offset. */
static void decode_moffs(struct insn *in)
{
	unsigned size = size_by_bit0(in);

	name(in, INSN_MOV, size);
	in->dst = opnd_reg(in, GPR_RAX, size);
	in->src = opnd_of(OPND_MEM, size);
	if (in->opcode & 2) {
		struct insn_opnd memory = in->src;

		in->src = in->dst;
		in->dst = memory;
	}
}

/* mov r/m, segment register: 16 bits to memory, the operand size to a register. */
static enum decode_result decode_mov_from_sreg(struct insn *in)
{
	if (modrm_reg(in) >= SEG_COUNT)
		return DECODE_INVALID;
	op_rm(in, INSN_MOV, modrm_is_memory(in) ? 2 : in->opsize);
	in->src = opnd_of(OPND_SREG, 2);
	in->src.reg = (uint8_t)modrm_reg(in);
	return DECODE_OK;
}

/* f6, f7: test, not, neg; the multiplications and divisions have no name. */
static void decode_group3(struct insn *in)
{
	unsigned size = size_by_bit0(in);

	switch (modrm_reg(in)) {
	case 0:
	case 1:
		op_rm_imm(in, INSN_TEST, size);
		break;
	case 2:
		op_rm(in, INSN_NOT, size);
		break;
	case 3:
		op_rm(in, INSN_NEG, size);
		break;
	default:
		break;
	}
}

static void push_or_pop(struct insn *in, enum insn_op op, struct insn_opnd opnd)
{
	name(in, op, opnd.size);
	if (op == INSN_PUSH)
		in->src = opnd;
	else
		in->dst = opnd;
}

/* fe, ff: inc, dec, push; calls and jumps have no name. */
static enum decode_result decode_group45(struct decoder *d)
{
	struct insn *in = d->in;
	unsigned reg = modrm_reg(in);
	unsigned stack_size = in->mode != INSN_MODE_64 ? in->opsize : d->opsize_prefix ? 2 : 8;

	if (reg <= 1)
		op_rm(in, reg == 0 ? INSN_INC : INSN_DEC, size_by_bit0(in));
	else if (in->opcode == 0xfe || reg == 7)
		return DECODE_INVALID;
	else if (reg == 6)
		push_or_pop(in, INSN_PUSH, opnd_rm(in, in->rex & REX_W ? 8 : stack_size));
	return DECODE_OK;
}

/* 40-5f and 90-97: the register is in the opcode. */
static void decode_opcode_reg(struct insn *in)
{
	unsigned reg = (in->opcode & 7U) | rex_bit(in, REX_B);
	struct insn_opnd opnd = opnd_reg(in, reg, in->opsize);

	switch (in->opcode & 0xf8) {
	case 0x40:
	case 0x48:
		name(in, in->opcode < 0x48 ? INSN_INC : INSN_DEC, in->opsize);
		in->dst = opnd;
		break;
	case 0x50:
		push_or_pop(in, INSN_PUSH, opnd);
		break;
	case 0x58:
		push_or_pop(in, INSN_POP, opnd);
		break;
	default: /* 90: xchg with rAX, but with itself it is nop, and with F3 pause */
		if (in->opcode == 0x90 && in->rep == REP_F3) {
			name(in, INSN_PAUSE, in->opsize);
		} else if (reg != 0) {
			name(in, INSN_XCHG, in->opsize);
			in->dst = opnd;
			in->src = opnd_reg(in, GPR_RAX, in->opsize);
		}
		break;
	}
}

static void decode_mov_imm_to_reg(struct insn *in)
{
	unsigned size = in->opcode & 8 ? in->opsize : 1;

	name(in, INSN_MOV, size);
	in->dst = opnd_reg(in, (in->opcode & 7U) | rex_bit(in, REX_B), size);
	in->src = opnd_of(OPND_IMM, size);
}

static void decode_movsxd(struct insn *in)
{
	/* With 66 the size of the source differs between vendors; nobody uses that. */
	if (in->mode != INSN_MODE_64 || in->opsize == 2)
		return;
	op_reg_rm(in, INSN_MOVSX, in->opsize);
	in->src.size = 4;
}

/* One-byte opcodes 00-7f that have a name. */
static void name_low_half(struct insn *in)
{
	switch (in->opcode >> 4) {
	case 0x4:
	case 0x5:
		decode_opcode_reg(in);
		break;
	case 0x6:
		if (in->opcode == 0x63)
			decode_movsxd(in);
		else if (in->opcode >= 0x6c)
			decode_port(in);
		break;
	case 0x7:
		break;
	default:
		decode_alu(in);
		break;
	}
}

/* One-byte opcodes 80-9f. */
static enum decode_result name_80_9f(struct insn *in)
{
	unsigned size = size_by_bit0(in);

	switch (in->opcode) {
	case 0x80:
	case 0x81:
	case 0x82:
	case 0x83:
		op_rm_imm(in, INSN_ADD + modrm_reg(in), size);
		break;
	case 0x84:
	case 0x85:
		op_rm_reg(in, INSN_TEST, size);
		break;
	case 0x86:
	case 0x87:
		op_rm_reg(in, INSN_XCHG, size);
		break;
	case 0x88:
	case 0x89:
		op_rm_reg(in, INSN_MOV, size);
		break;
	case 0x8a:
	case 0x8b:
		op_reg_rm(in, INSN_MOV, size);
		break;
	case 0x8c:
		return decode_mov_from_sreg(in);
	case 0x8f: /* /0: others were told apart as XOP */
		push_or_pop(in, INSN_POP, opnd_rm(in, in->opsize));
		break;
	case 0x9c:
		name(in, INSN_PUSHF, in->opsize);
		break;
	case 0x9d:
		name(in, INSN_POPF, in->opsize);
		break;
	default:
		if (in->opcode >= 0x90 && in->opcode <= 0x97)
			decode_opcode_reg(in);
		break;
	}
	return DECODE_OK;
}

/* One-byte opcodes c0-ff. */
static enum decode_result name_c0_ff(struct decoder *d)
{
	struct insn *in = d->in;

	switch (in->opcode) {
	case 0xc6:
	case 0xc7:
		if (modrm_reg(in) == 0)
			op_rm_imm(in, INSN_MOV, size_by_bit0(in));
		break;
	case 0xcc:
		name(in, INSN_INT3, in->opsize);
		break;
	case 0xcd:
		name(in, INSN_INT, in->opsize);
		in->imm &= 0xff;
		break;
	case 0xce:
		name(in, INSN_INTO, in->opsize);
		break;
	case 0xcf:
		name(in, INSN_IRET, in->opsize);
		break;
	case 0xf1:
		name(in, INSN_INT1, in->opsize);
		break;
	case 0xf4:
		name(in, INSN_HLT, in->opsize);
		break;
	case 0xf6:
	case 0xf7:
		decode_group3(in);
		break;
	case 0xfe:
	case 0xff:
		return decode_group45(d);
	default:
		if ((in->opcode & 0xf4) == 0xe4)
			decode_port(in);
		break;
	}
	return DECODE_OK;
}

static enum decode_result name_one_byte(struct decoder *d)
{
	struct insn *in = d->in;

	switch (in->opcode >> 4) {
	case 0x8:
	case 0x9:
		return name_80_9f(in);
	case 0xa:
		if (in->opcode < 0xa4)
			decode_moffs(in);
		else if (in->opcode < 0xa8 || in->opcode >= 0xaa)
			decode_string(in);
		else
			op_acc_imm(in, INSN_TEST, size_by_bit0(in));
		return DECODE_OK;
	case 0xb:
		decode_mov_imm_to_reg(in);
		return DECODE_OK;
	case 0xc:
	case 0xe:
	case 0xf:
		return name_c0_ff(d);
	case 0xd:
		return DECODE_OK;
	default:
		name_low_half(in);
		return DECODE_OK;
	}
}

/* 0F 00: descriptor-table registers of the system segments. */
static void decode_group6(struct insn *in)
{
	static const uint8_t ops[8] = {INSN_SLDT, INSN_STR, INSN_LLDT, INSN_LTR};
	enum insn_op op = ops[modrm_reg(in)];

	if (op == INSN_SLDT || op == INSN_STR) {
		op_rm(in, op, modrm_is_memory(in) ? 2 : in->opsize);
	} else if (op != INSN_OTHER) {
		name(in, op, 2);
		in->src = opnd_rm(in, 2);
	}
}

/*
 * 0F 01 with a register form: instructions without operands, by the whole ModRM byte. With 66, F3
 * or F2 Intel's encodings are other instructions, or none; AMD's ignore them.
 */
static enum insn_op group7_by_modrm(uint8_t modrm, bool prefixed)
{
	static const struct {
		uint8_t modrm, op;
		bool no_prefix;
	} ops[] = {
		{0xc1, INSN_VMCALL, true},   {0xc8, INSN_MONITOR, true},
		{0xc9, INSN_MWAIT, true},    {0xd0, INSN_XGETBV, true},
		{0xd1, INSN_XSETBV, true},   {0xd8, INSN_VMRUN, false},
		{0xd9, INSN_VMMCALL, false}, {0xda, INSN_VMLOAD, false},
		{0xdb, INSN_VMSAVE, false},  {0xdc, INSN_STGI, false},
		{0xdd, INSN_CLGI, false},    {0xde, INSN_SKINIT, false},
		{0xdf, INSN_INVLPGA, false}, {0xf9, INSN_RDTSCP, false},
		{0xfa, INSN_MONITORX, true}, {0xfb, INSN_MWAITX, true},
		{0xfd, INSN_RDPRU, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		if (ops[i].modrm == modrm)
			return prefixed && ops[i].no_prefix ? INSN_OTHER : ops[i].op;
	return INSN_OTHER;
}

/* 0F 01. */
static void decode_group7(struct decoder *d)
{
	static const uint8_t memory_ops[8] = {INSN_SGDT, INSN_SIDT, INSN_LGDT, INSN_LIDT,
					      INSN_SMSW, 0,	    INSN_LMSW, INSN_INVLPG};
	struct insn *in = d->in;
	enum insn_op op = memory_ops[modrm_reg(in)];

	if (op == INSN_SMSW) {
		op_rm(in, op, modrm_is_memory(in) ? 2 : in->opsize);
	} else if (op == INSN_LMSW) {
		name(in, op, 2);
		in->src = opnd_rm(in, 2);
	} else if (modrm_is_memory(in)) {
		/* The operand of the descriptor tables is a limit and a base; INVLPG takes an
		 * address. */
		name(in, op, in->mode == INSN_MODE_64 ? 8 : 4);
		in->src = opnd_of(OPND_MEM, op == INSN_INVLPG ? 0 : 2U + in->opsize);
	} else {
		name(in, group7_by_modrm(in->modrm, d->opsize_prefix || in->rep != REP_NONE),
		     in->opsize);
	}
}

/* 0F 20-23: mov to and from control and debug registers, 64 bits wide in 64-bit mode, else 32. */
static enum decode_result decode_mov_cr_dr(struct insn *in)
{
	unsigned size = in->mode == INSN_MODE_64 ? 8 : 4;
	bool debug = in->opcode & 1;
	struct insn_opnd special = opnd_of(debug ? OPND_DR : OPND_CR, size);
	unsigned reg = reg_field(in);

	/* LOCK MOV CR0 names CR8: AMD's way for 32-bit code (APM volume 3, MOV CRn). */
	if (in->lock && !debug && reg == 0) {
		in->lock = false;
		reg = 8;
	}
	if (debug ? reg >= 8 : reg != 0 && reg != 2 && reg != 3 && reg != 4 && reg != 8)
		return DECODE_INVALID;
	special.reg = (uint8_t)reg;
	name(in, debug ? INSN_MOV_DR : INSN_MOV_CR, size);
	in->dst = opnd_rm(in, size);
	in->src = special;
	if (in->opcode & 2) {
		in->src = in->dst;
		in->dst = special;
	}
	return DECODE_OK;
}

static void decode_0f_no_operands(struct insn *in)
{
	static const struct {
		uint8_t opcode, op;
	} ops[] = {
		{0x06, INSN_CLTS},  {0x08, INSN_INVD},	{0x09, INSN_WBINVD},
		{0x30, INSN_WRMSR}, {0x31, INSN_RDTSC}, {0x32, INSN_RDMSR},
		{0x33, INSN_RDPMC}, {0xa2, INSN_CPUID}, {0xaa, INSN_RSM},
	};

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		if (ops[i].opcode == in->opcode)
			name(in, ops[i].op, in->opsize);
	if (in->op == INSN_WBINVD && in->rep == REP_F3)
		in->op = INSN_WBNOINVD;
}

/* 0F ba: bit operations with an immediate. */
static enum decode_result decode_group8(struct insn *in)
{
	if (modrm_reg(in) < 4)
		return DECODE_INVALID;
	op_rm_imm(in, INSN_BT + (modrm_reg(in) & 3U), in->opsize);
	in->imm &= 0xff;
	return DECODE_OK;
}

/* 0F c3: a store of a doubleword or quadword only, without mandatory prefix. */
static enum decode_result decode_movnti(struct decoder *d)
{
	if (!modrm_is_memory(d->in) || d->opsize_prefix || d->in->rep != REP_NONE)
		return DECODE_INVALID;
	op_rm_reg(d->in, INSN_MOV, d->in->opsize == 2 ? 4 : d->in->opsize);
	return DECODE_OK;
}

/* 0F b6, b7, be, bf: the source is a byte or a word. */
static void decode_extend(struct insn *in, enum insn_op op)
{
	op_reg_rm(in, op, in->opsize);
	in->src = opnd_rm(in, in->opcode & 1 ? 2 : 1);
}

static enum decode_result name_0f(struct decoder *d)
{
	struct insn *in = d->in;

	switch (in->opcode) {
	case 0x00:
		decode_group6(in);
		break;
	case 0x01:
		decode_group7(d);
		break;
	case 0x20:
	case 0x21:
	case 0x22:
	case 0x23:
		return decode_mov_cr_dr(in);
	case 0xa3:
	case 0xab:
	case 0xb3:
	case 0xbb:
		op_rm_reg(in, INSN_BT + ((in->opcode >> 3) & 3U), in->opsize);
		break;
	case 0xb0:
	case 0xb1:
		op_rm_reg(in, INSN_CMPXCHG, size_by_bit0(in));
		break;
	case 0xb6:
	case 0xb7:
		decode_extend(in, INSN_MOVZX);
		break;
	case 0xbe:
	case 0xbf:
		decode_extend(in, INSN_MOVSX);
		break;
	case 0xba:
		return decode_group8(in);
	case 0xc0:
	case 0xc1:
		op_rm_reg(in, INSN_XADD, size_by_bit0(in));
		break;
	case 0xc3:
		return decode_movnti(d);
	case 0x0b: /* UD2 */
	case 0xb9: /* UD1 */
		return DECODE_INVALID;
	default:
		decode_0f_no_operands(in);
		break;
	}
	return DECODE_OK;
}

/* 0F38: movbe, which F2 turns into crc32, and invpcid. */
static enum decode_result name_0f38(struct decoder *d)
{
	struct insn *in = d->in;

	if ((in->opcode & 0xfe) == 0xf0 && in->rep == REP_NONE) {
		if (!modrm_is_memory(in))
			return DECODE_INVALID;
		if (in->opcode == 0xf0)
			op_reg_rm(in, INSN_MOVBE, in->opsize);
		else
			op_rm_reg(in, INSN_MOVBE, in->opsize);
	} else if (in->opcode == 0x82 && d->opsize_prefix && in->rep == REP_NONE) {
		if (!modrm_is_memory(in))
			return DECODE_INVALID;
		op_reg_rm(in, INSN_INVPCID, in->mode == INSN_MODE_64 ? 8 : 4);
		in->src.size = 16;
	}
	return DECODE_OK;
}

/* LOCK is allowed for these, and only when the destination is memory. */
static bool may_lock(const struct insn *in)
{
	if (in->dst.kind != OPND_MEM)
		return false;
	switch (in->op) {
	case INSN_ADD:
	case INSN_OR:
	case INSN_ADC:
	case INSN_SBB:
	case INSN_AND:
	case INSN_SUB:
	case INSN_XOR:
	case INSN_INC:
	case INSN_DEC:
	case INSN_NOT:
	case INSN_NEG:
	case INSN_BTS:
	case INSN_BTR:
	case INSN_BTC:
	case INSN_XCHG:
	case INSN_XADD:
	case INSN_CMPXCHG:
		return true;
	default:
		return false;
	}
}

static enum decode_result decode_meaning(struct decoder *d)
{
	struct insn *in = d->in;
	enum decode_result r = DECODE_OK;

	switch (in->map) {
	case 0:
		r = name_one_byte(d);
		break;
	case 1:
		r = name_0f(d);
		break;
	case 2:
		r = name_0f38(d);
		break;
	default:
		break;
	}
	if (r != DECODE_OK)
		return r;
	if (in->op == INSN_OTHER)
		return DECODE_UNSUPPORTED;
	if (in->lock && !may_lock(in))
		return DECODE_INVALID;
	return DECODE_OK;
}

/*
 * Near branches with 66 in 64-bit mode have 16-bit displacements on AMD processors and 32-bit ones
 * on Intel's. No compiler emits them.
 */
static bool length_is_vendors(const struct decoder *d, enum shape shape)
{
	return shape == S_UNKNOWN ||
	       (shape == S_BRANCH && d->in->mode == INSN_MODE_64 && d->opsize_prefix);
}

enum decode_result insn_decode(const uint8_t *bytes, size_t n, enum insn_mode mode,
			       struct insn *insn)
{
	struct decoder d = {
		.bytes = bytes,
		.n = n < INSN_MAX_LENGTH ? n : INSN_MAX_LENGTH,
		.in = insn,
		.seg = SEG_COUNT,
	};
	enum shape shape;

	memset(insn, 0, sizeof(*insn));
	insn->mode = (uint8_t)mode;
	insn->mem = (struct insn_mem){
		.seg = SEG_DS, .base = INSN_NO_REG, .index = INSN_NO_REG, .scale = 1};
	decode_prefixes(&d);
	if (d.error != DECODE_OK)
		return d.error;
	decode_sizes(&d);
	shape = shape_of(insn);
	if (is_vector_prefix(&d))
		return d.error == DECODE_OK ? DECODE_UNSUPPORTED : d.error;
	if (shape == S_INVALID || (shape_is_32_only(shape) && mode == INSN_MODE_64))
		return DECODE_INVALID;
	if (length_is_vendors(&d, shape))
		return DECODE_UNSUPPORTED;
	if (shape_has_modrm(shape))
		decode_modrm(&d, shape);
	decode_immediate(&d, shape);
	if (d.error != DECODE_OK)
		return d.error;
	insn->length = (uint8_t)d.pos;
	if (d.seg != SEG_COUNT)
		insn->mem.seg = d.seg;
	return decode_meaning(&d);
}

unsigned insn_length(const uint8_t *bytes, size_t n, enum insn_mode mode)
{
	struct insn insn;
	enum decode_result r = insn_decode(bytes, n, mode, &insn);

	return r == DECODE_OK || r == DECODE_UNSUPPORTED ? insn.length : 0;
}

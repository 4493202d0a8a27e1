/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Decoding of guest instructions: from bytes and a mode to a description that the emulator executes
 * and the exit handlers look at. Pure: no guest access, no hardware. The encodings are those of
 * Intel SDM volume 2, appendix A (opcode maps) and AMD APM volume 3, appendix A.
 *
 * The decoder knows the length of every instruction of the one-byte, 0F, 0F38, 0F3A and 3DNow! maps
 * and the meaning of those that can reach emulated devices or that a hypervisor intercepts.
 */
#ifndef SLUICE_ARCH_X86_DECODE_H
#define SLUICE_ARCH_X86_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INSN_MAX_LENGTH 15 /* longer ones raise #GP(0) */
#define INSN_NO_REG	0xff

/* Default operand and address size: CS.L and CS.D. */
enum insn_mode {
	INSN_MODE_16,
	INSN_MODE_32,
	INSN_MODE_64,
};

enum decode_result {
	DECODE_OK,
	DECODE_UNSUPPORTED, /* may be valid; insn.length is set when it is known, else 0 */
	DECODE_TRUNCATED,   /* more bytes are needed */
	DECODE_INVALID,	    /* every processor raises #UD */
	DECODE_TOO_LONG,    /* over 15 bytes: #GP(0) */
};

/* Segment registers by their number in encodings and in SREG order. */
enum x86_seg { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_COUNT };

/* General registers by their number in encodings. */
enum x86_gpr {
	GPR_RAX,
	GPR_RCX,
	GPR_RDX,
	GPR_RBX,
	GPR_RSP,
	GPR_RBP,
	GPR_RSI,
	GPR_RDI,
	GPR_R8,
	GPR_R15 = 15,
	GPR_COUNT,
};

enum insn_rep { REP_NONE, REP_F3 /* rep, repe */, REP_F2 /* repne */ };

enum insn_op {
	INSN_OTHER, /* length only */

	/* Data movement and ALU: emulate() executes these. INSN_ADD..INSN_CMP are in encoding
	   order. */
	INSN_ADD,
	INSN_OR,
	INSN_ADC,
	INSN_SBB,
	INSN_AND,
	INSN_SUB,
	INSN_XOR,
	INSN_CMP,
	INSN_TEST,
	INSN_INC,
	INSN_DEC,
	INSN_NOT,
	INSN_NEG,
	INSN_BT, /* BT..BTC in encoding order */
	INSN_BTS,
	INSN_BTR,
	INSN_BTC,
	INSN_MOV, /* also movnti */
	INSN_MOVZX,
	INSN_MOVSX, /* also movsxd */
	INSN_MOVBE,
	INSN_XCHG,
	INSN_XADD,
	INSN_CMPXCHG,
	INSN_PUSH, /* of memory or register */
	INSN_POP,
	INSN_MOVS, /* string instructions: dst and src are OPND_DI, OPND_SI or the accumulator */
	INSN_STOS,
	INSN_LODS,
	INSN_CMPS,
	INSN_SCAS,
	INSN_INS,
	INSN_OUTS,

	/* Port I/O: one of dst and src is OPND_PORT. opsize is 1, 2 or 4. */
	INSN_IN,
	INSN_OUT,

	/* System instructions: what an intercept handler may have to recognise and step over. */
	INSN_MOV_CR, /* dst or src is OPND_CR, the other OPND_REG of 4 or 8 bytes */
	INSN_MOV_DR, /* the same with OPND_DR */
	INSN_CLTS,
	INSN_LMSW,
	INSN_SMSW,
	INSN_CPUID,
	INSN_RDMSR,
	INSN_WRMSR,
	INSN_RDTSC,
	INSN_RDTSCP,
	INSN_RDPMC,
	INSN_RDPRU,
	INSN_XGETBV,
	INSN_XSETBV,
	INSN_HLT,
	INSN_PAUSE,
	INSN_MONITOR,
	INSN_MWAIT,
	INSN_MONITORX,
	INSN_MWAITX,
	INSN_INVD,
	INSN_WBINVD,
	INSN_WBNOINVD,
	INSN_INVLPG,
	INSN_INVLPGA,
	INSN_INVPCID,
	INSN_VMRUN,
	INSN_VMMCALL,
	INSN_VMLOAD,
	INSN_VMSAVE,
	INSN_STGI,
	INSN_CLGI,
	INSN_SKINIT,
	INSN_VMCALL,
	INSN_RSM,
	INSN_SGDT,
	INSN_SIDT,
	INSN_LGDT,
	INSN_LIDT,
	INSN_SLDT,
	INSN_STR,
	INSN_LLDT,
	INSN_LTR,
	INSN_INT3,
	INSN_INT1,
	INSN_INT,
	INSN_INTO,
	INSN_IRET,
	INSN_PUSHF,
	INSN_POPF,
};

enum insn_opnd_kind {
	OPND_NONE,
	OPND_REG,  /* general register .reg, .high for AH CH DH BH */
	OPND_MEM,  /* at insn.mem */
	OPND_IMM,  /* insn.imm */
	OPND_SI,   /* memory at insn.mem.seg:rSI */
	OPND_DI,   /* memory at ES:rDI */
	OPND_SREG, /* segment register .reg */
	OPND_CR,   /* control register .reg */
	OPND_DR,   /* debug register .reg */
	OPND_PORT, /* port: insn.imm if .reg is INSN_NO_REG, else DX */
};

struct insn_opnd {
	uint8_t kind; /* enum insn_opnd_kind */
	uint8_t reg;
	bool high;
	uint8_t size; /* bytes */
};

/* An effective address; INSN_NO_REG for parts that are absent. */
struct insn_mem {
	uint8_t seg; /* enum x86_seg: the segment that applies, defaults and overrides resolved */
	uint8_t base;
	uint8_t index;
	uint8_t scale;	   /* 1, 2, 4 or 8 */
	bool rip_relative; /* base is the address of the next instruction */
	int64_t disp;	   /* sign-extended; a moffs is zero-extended from the address size */
};

struct insn {
	uint8_t length;	   /* bytes, 1..15 */
	uint8_t mode;	   /* enum insn_mode */
	uint8_t op;	   /* enum insn_op */
	uint8_t opsize;	   /* bytes the operation works on: 1, 2, 4 or 8 */
	uint8_t addr_size; /* bytes: 2, 4 or 8 */
	uint8_t rep; /* enum insn_rep: the last F2 or F3 prefix, whether or not it has a meaning */
	bool lock;
	bool has_modrm;
	uint8_t modrm;
	uint8_t rex; /* 0 or 40h..4fh */
	uint8_t map; /* 0: one byte, 1: 0F, 2: 0F38, 3: 0F3A */
	uint8_t opcode;
	struct insn_opnd dst, src;
	struct insn_mem mem; /* valid when dst or src is OPND_MEM or OPND_SI */
	int64_t imm;	     /* sign-extended as the operation uses it */
};

/*
 * Decodes the instruction at bytes[0..n). Reads no more than 15 of them. *insn is written in every
 * case; its length is valid with DECODE_OK, and with DECODE_UNSUPPORTED when it is not 0.
 */
enum decode_result insn_decode(const uint8_t *bytes, size_t n, enum insn_mode mode,
			       struct insn *insn);

/*
 * The length of the instruction at bytes[0..n), for stepping over one that was intercepted on
 * processors that do not save the next RIP (APM volume 2, 15.7.1). 0 when it is invalid, truncated
 * or unknown.
 */
unsigned insn_length(const uint8_t *bytes, size_t n, enum insn_mode mode);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
// links: arch/x86/decode.c
/*
 * The decoder against Zydis, a disassembler that the distribution maintains: enumerated and random
 * encodings in the three modes. What we accept, Zydis accepts, with the same length, instruction,
 * operation size and operands; where both know a length, it is the same; what we call invalid,
 * Zydis rejects; and what Zydis calls by one of our names, we accept. Reproducible: one fixed seed.
 */
#include <dlfcn.h>
#include <stdlib.h>

#include "arch/x86/decode.h"
#include "lib/util.h"
#include "tests/tap.h"

#if __has_include(<Zydis/Zydis.h>)
#include <Zydis/Zydis.h>

/* Found at run time, so that the test builds and says so where the library is missing. */
static struct {
	ZyanStatus (*init)(ZydisDecoder *, ZydisMachineMode, ZydisStackWidth);
	ZyanStatus (*decode)(const ZydisDecoder *, ZydisDecoderContext *, const void *, ZyanUSize,
			     ZydisDecodedInstruction *);
	ZyanStatus (*operands)(const ZydisDecoder *, const ZydisDecoderContext *,
			       const ZydisDecodedInstruction *, ZydisDecodedOperand *, ZyanU8);
	const char *(*mnemonic)(ZydisMnemonic);
} zydis;

static bool zydis_load(void)
{
	void *lib = dlopen("libZydis.so", RTLD_NOW);

	if (!lib)
		return false;
	*(void **)&zydis.init = dlsym(lib, "ZydisDecoderInit");
	*(void **)&zydis.decode = dlsym(lib, "ZydisDecoderDecodeInstruction");
	*(void **)&zydis.operands = dlsym(lib, "ZydisDecoderDecodeOperands");
	*(void **)&zydis.mnemonic = dlsym(lib, "ZydisMnemonicGetString");
	return zydis.init && zydis.decode && zydis.operands && zydis.mnemonic;
}

/* Instruction names on both sides. Several of theirs may be one of ours. */
static const struct {
	ZydisMnemonic theirs;
	enum insn_op ours;
} names[] = {
	{ZYDIS_MNEMONIC_ADD, INSN_ADD},
	{ZYDIS_MNEMONIC_OR, INSN_OR},
	{ZYDIS_MNEMONIC_ADC, INSN_ADC},
	{ZYDIS_MNEMONIC_SBB, INSN_SBB},
	{ZYDIS_MNEMONIC_AND, INSN_AND},
	{ZYDIS_MNEMONIC_SUB, INSN_SUB},
	{ZYDIS_MNEMONIC_XOR, INSN_XOR},
	{ZYDIS_MNEMONIC_CMP, INSN_CMP},
	{ZYDIS_MNEMONIC_TEST, INSN_TEST},
	{ZYDIS_MNEMONIC_INC, INSN_INC},
	{ZYDIS_MNEMONIC_DEC, INSN_DEC},
	{ZYDIS_MNEMONIC_NOT, INSN_NOT},
	{ZYDIS_MNEMONIC_NEG, INSN_NEG},
	{ZYDIS_MNEMONIC_BT, INSN_BT},
	{ZYDIS_MNEMONIC_BTS, INSN_BTS},
	{ZYDIS_MNEMONIC_BTR, INSN_BTR},
	{ZYDIS_MNEMONIC_BTC, INSN_BTC},
	{ZYDIS_MNEMONIC_MOV, INSN_MOV},
	{ZYDIS_MNEMONIC_MOVNTI, INSN_MOV},
	{ZYDIS_MNEMONIC_MOVZX, INSN_MOVZX},
	{ZYDIS_MNEMONIC_MOVSX, INSN_MOVSX},
	{ZYDIS_MNEMONIC_MOVSXD, INSN_MOVSX},
	{ZYDIS_MNEMONIC_MOVBE, INSN_MOVBE},
	{ZYDIS_MNEMONIC_XCHG, INSN_XCHG},
	{ZYDIS_MNEMONIC_XADD, INSN_XADD},
	{ZYDIS_MNEMONIC_CMPXCHG, INSN_CMPXCHG},
	{ZYDIS_MNEMONIC_PUSH, INSN_PUSH},
	{ZYDIS_MNEMONIC_POP, INSN_POP},
	{ZYDIS_MNEMONIC_MOVSB, INSN_MOVS},
	{ZYDIS_MNEMONIC_MOVSW, INSN_MOVS},
	{ZYDIS_MNEMONIC_MOVSD, INSN_MOVS},
	{ZYDIS_MNEMONIC_MOVSQ, INSN_MOVS},
	{ZYDIS_MNEMONIC_STOSB, INSN_STOS},
	{ZYDIS_MNEMONIC_STOSW, INSN_STOS},
	{ZYDIS_MNEMONIC_STOSD, INSN_STOS},
	{ZYDIS_MNEMONIC_STOSQ, INSN_STOS},
	{ZYDIS_MNEMONIC_LODSB, INSN_LODS},
	{ZYDIS_MNEMONIC_LODSW, INSN_LODS},
	{ZYDIS_MNEMONIC_LODSD, INSN_LODS},
	{ZYDIS_MNEMONIC_LODSQ, INSN_LODS},
	{ZYDIS_MNEMONIC_CMPSB, INSN_CMPS},
	{ZYDIS_MNEMONIC_CMPSW, INSN_CMPS},
	{ZYDIS_MNEMONIC_CMPSD, INSN_CMPS},
	{ZYDIS_MNEMONIC_CMPSQ, INSN_CMPS},
	{ZYDIS_MNEMONIC_SCASB, INSN_SCAS},
	{ZYDIS_MNEMONIC_SCASW, INSN_SCAS},
	{ZYDIS_MNEMONIC_SCASD, INSN_SCAS},
	{ZYDIS_MNEMONIC_SCASQ, INSN_SCAS},
	{ZYDIS_MNEMONIC_INSB, INSN_INS},
	{ZYDIS_MNEMONIC_INSW, INSN_INS},
	{ZYDIS_MNEMONIC_INSD, INSN_INS},
	{ZYDIS_MNEMONIC_OUTSB, INSN_OUTS},
	{ZYDIS_MNEMONIC_OUTSW, INSN_OUTS},
	{ZYDIS_MNEMONIC_OUTSD, INSN_OUTS},
	{ZYDIS_MNEMONIC_IN, INSN_IN},
	{ZYDIS_MNEMONIC_OUT, INSN_OUT},
	{ZYDIS_MNEMONIC_CLTS, INSN_CLTS},
	{ZYDIS_MNEMONIC_LMSW, INSN_LMSW},
	{ZYDIS_MNEMONIC_SMSW, INSN_SMSW},
	{ZYDIS_MNEMONIC_CPUID, INSN_CPUID},
	{ZYDIS_MNEMONIC_RDMSR, INSN_RDMSR},
	{ZYDIS_MNEMONIC_WRMSR, INSN_WRMSR},
	{ZYDIS_MNEMONIC_RDTSC, INSN_RDTSC},
	{ZYDIS_MNEMONIC_RDTSCP, INSN_RDTSCP},
	{ZYDIS_MNEMONIC_RDPMC, INSN_RDPMC},
	{ZYDIS_MNEMONIC_RDPRU, INSN_RDPRU},
	{ZYDIS_MNEMONIC_XGETBV, INSN_XGETBV},
	{ZYDIS_MNEMONIC_XSETBV, INSN_XSETBV},
	{ZYDIS_MNEMONIC_HLT, INSN_HLT},
	{ZYDIS_MNEMONIC_PAUSE, INSN_PAUSE},
	{ZYDIS_MNEMONIC_MONITOR, INSN_MONITOR},
	{ZYDIS_MNEMONIC_MWAIT, INSN_MWAIT},
	{ZYDIS_MNEMONIC_MONITORX, INSN_MONITORX},
	{ZYDIS_MNEMONIC_MWAITX, INSN_MWAITX},
	{ZYDIS_MNEMONIC_INVD, INSN_INVD},
	{ZYDIS_MNEMONIC_WBINVD, INSN_WBINVD},
	{ZYDIS_MNEMONIC_INVLPG, INSN_INVLPG},
	{ZYDIS_MNEMONIC_INVLPGA, INSN_INVLPGA},
	{ZYDIS_MNEMONIC_INVPCID, INSN_INVPCID},
	{ZYDIS_MNEMONIC_VMRUN, INSN_VMRUN},
	{ZYDIS_MNEMONIC_VMMCALL, INSN_VMMCALL},
	{ZYDIS_MNEMONIC_VMLOAD, INSN_VMLOAD},
	{ZYDIS_MNEMONIC_VMSAVE, INSN_VMSAVE},
	{ZYDIS_MNEMONIC_STGI, INSN_STGI},
	{ZYDIS_MNEMONIC_CLGI, INSN_CLGI},
	{ZYDIS_MNEMONIC_SKINIT, INSN_SKINIT},
	{ZYDIS_MNEMONIC_VMCALL, INSN_VMCALL},
	{ZYDIS_MNEMONIC_RSM, INSN_RSM},
	{ZYDIS_MNEMONIC_SGDT, INSN_SGDT},
	{ZYDIS_MNEMONIC_SIDT, INSN_SIDT},
	{ZYDIS_MNEMONIC_LGDT, INSN_LGDT},
	{ZYDIS_MNEMONIC_LIDT, INSN_LIDT},
	{ZYDIS_MNEMONIC_SLDT, INSN_SLDT},
	{ZYDIS_MNEMONIC_STR, INSN_STR},
	{ZYDIS_MNEMONIC_LLDT, INSN_LLDT},
	{ZYDIS_MNEMONIC_LTR, INSN_LTR},
	{ZYDIS_MNEMONIC_INT3, INSN_INT3},
	{ZYDIS_MNEMONIC_INT1, INSN_INT1},
	{ZYDIS_MNEMONIC_INT, INSN_INT},
	{ZYDIS_MNEMONIC_INTO, INSN_INTO},
	{ZYDIS_MNEMONIC_IRET, INSN_IRET},
	{ZYDIS_MNEMONIC_IRETD, INSN_IRET},
	{ZYDIS_MNEMONIC_IRETQ, INSN_IRET},
	{ZYDIS_MNEMONIC_PUSHF, INSN_PUSHF},
	{ZYDIS_MNEMONIC_PUSHFD, INSN_PUSHF},
	{ZYDIS_MNEMONIC_PUSHFQ, INSN_PUSHF},
	{ZYDIS_MNEMONIC_POPF, INSN_POPF},
	{ZYDIS_MNEMONIC_POPFD, INSN_POPF},
	{ZYDIS_MNEMONIC_POPFQ, INSN_POPF},
};

static uint8_t ours_of[ZYDIS_MNEMONIC_MAX_VALUE + 1];

static const char *const mode_names[] = {"16-bit", "32-bit", "64-bit"};

static uint64_t random_state = 0x5eed0fdec0de;

static uint64_t random_u64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* ---- comparison of one encoding ---- */

struct counts {
	uint64_t encodings, accepted, lengths, mismatches;
	bool seen[256]; /* by enum insn_op */
};

struct trial {
	enum insn_mode mode;
	const uint8_t *bytes;
	ZydisDecoder *decoder;
	struct counts *counts;
	/* filled in on the way */
	struct insn in;
	enum decode_result result;
	ZydisDecodedInstruction z;
	ZydisDecoderContext context;
	ZydisDecodedOperand opnds[ZYDIS_MAX_OPERAND_COUNT];
};

static void mismatch(struct trial *t, const char *what)
{
	if (t->counts->mismatches++ >= 20)
		return;
	printf("# %s: %s:", mode_names[t->mode], what);
	for (unsigned i = 0; i < INSN_MAX_LENGTH; i++)
		printf(" %02x", t->bytes[i]);
	printf(" ours: result %d length %u op %u size %u; theirs: %s length %u width %u\n",
	       t->result, t->in.length, t->in.op, t->in.opsize, zydis.mnemonic(t->z.mnemonic),
	       t->z.length, t->z.operand_width);
}

/* A register as its kind, number and whether it is a high byte. */
static struct insn_opnd register_of(ZydisRegister r)
{
	static const struct {
		ZydisRegister first, last;
		uint8_t kind, size;
	} ranges[] = {
		{ZYDIS_REGISTER_AX, ZYDIS_REGISTER_R15W, OPND_REG, 2},
		{ZYDIS_REGISTER_EAX, ZYDIS_REGISTER_R15D, OPND_REG, 4},
		{ZYDIS_REGISTER_RAX, ZYDIS_REGISTER_R15, OPND_REG, 8},
		{ZYDIS_REGISTER_ES, ZYDIS_REGISTER_GS, OPND_SREG, 2},
		{ZYDIS_REGISTER_CR0, ZYDIS_REGISTER_CR15, OPND_CR, 0},
		{ZYDIS_REGISTER_DR0, ZYDIS_REGISTER_DR15, OPND_DR, 0},
	};

	if (r >= ZYDIS_REGISTER_AL && r <= ZYDIS_REGISTER_BL)
		return (struct insn_opnd){OPND_REG, (uint8_t)(r - ZYDIS_REGISTER_AL), false, 1};
	if (r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH)
		return (struct insn_opnd){OPND_REG, (uint8_t)(r - ZYDIS_REGISTER_AH), true, 1};
	if (r >= ZYDIS_REGISTER_SPL && r <= ZYDIS_REGISTER_R15B)
		return (struct insn_opnd){OPND_REG, (uint8_t)(r - ZYDIS_REGISTER_SPL + 4), false,
					  1};
	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++)
		if (r >= ranges[i].first && r <= ranges[i].last)
			return (struct insn_opnd){ranges[i].kind, (uint8_t)(r - ranges[i].first),
						  false, ranges[i].size};
	return (struct insn_opnd){.reg = INSN_NO_REG};
}

static bool same_memory(const struct trial *t, const ZydisDecodedOperand *z)
{
	const struct insn_mem *m = &t->in.mem;
	struct insn_opnd base = register_of(z->mem.base), index = register_of(z->mem.index);
	bool rip = z->mem.base == ZYDIS_REGISTER_RIP || z->mem.base == ZYDIS_REGISTER_EIP;
	int64_t disp = z->mem.disp.has_displacement ? z->mem.disp.value : 0;

	if (t->in.opcode >= 0xa0 && t->in.opcode <= 0xa3 && t->in.map == 0) {
		/* They sign-extend an absolute offset. */
		unsigned shift = 64 - 8U * t->in.addr_size;

		disp = (int64_t)((uint64_t)disp << shift >> shift);
	}
	return m->rip_relative == rip && m->base == base.reg && m->index == index.reg &&
	       (m->index == INSN_NO_REG || m->scale == z->mem.scale) && m->disp == disp &&
	       m->seg == register_of(z->mem.segment).reg &&
	       t->z.address_width == 8 * t->in.addr_size;
}

static bool same_operand(const struct trial *t, const struct insn_opnd *o,
			 const ZydisDecodedOperand *z)
{
	uint64_t mask = o->size >= 8 || o->size == 0 ? UINT64_MAX : BIT(8 * o->size) - 1;
	struct insn_opnd r;

	switch (z->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER:
		r = register_of(z->reg.value);
		if (o->kind == OPND_PORT)
			return o->reg == GPR_RDX && z->reg.value == ZYDIS_REGISTER_DX;
		return o->kind == r.kind && o->reg == r.reg && o->high == r.high &&
		       (r.size == 0 || o->size == r.size);
	case ZYDIS_OPERAND_TYPE_MEMORY:
		return o->kind == OPND_MEM && (o->size == 0 || o->size * 8 == z->size) &&
		       same_memory(t, z);
	case ZYDIS_OPERAND_TYPE_IMMEDIATE:
		if (o->kind == OPND_PORT)
			return o->reg == INSN_NO_REG && (uint64_t)t->in.imm == z->imm.value.u;
		return o->kind == OPND_IMM &&
		       ((uint64_t)t->in.imm & mask) == (z->imm.value.u & mask);
	default:
		return false;
	}
}

static bool is_string(enum insn_op op)
{
	return op >= INSN_MOVS && op <= INSN_OUTS;
}

/* Theirs lists a string instruction's operands as implicit ones: the segment of rSI and the sizes.
 */
static void compare_string(struct trial *t)
{
	bool si = t->in.dst.kind == OPND_SI || t->in.src.kind == OPND_SI;
	bool di = t->in.dst.kind == OPND_DI || t->in.src.kind == OPND_DI;

	for (unsigned i = 0; i < t->z.operand_count; i++) {
		const ZydisDecodedOperand *z = &t->opnds[i];
		uint8_t base;

		if (z->type != ZYDIS_OPERAND_TYPE_MEMORY)
			continue;
		base = register_of(z->mem.base).reg;
		if (z->size != t->in.opsize * 8U || t->z.address_width != 8 * t->in.addr_size)
			mismatch(t, "string size");
		if (base == GPR_RSI && (!si || t->in.mem.seg != register_of(z->mem.segment).reg))
			mismatch(t, "string source");
		if (base == GPR_RDI && !di)
			mismatch(t, "string destination");
		si &= base != GPR_RSI;
		di &= base != GPR_RDI;
	}
	if (si || di)
		mismatch(t, "string operand that they do not have");
}

/* Those whose operands we do not describe, or that name theirs differently. */
static bool operands_matter(enum insn_op op)
{
	return op < INSN_CLTS || op == INSN_LMSW || op == INSN_SMSW || op == INSN_LLDT ||
	       op == INSN_LTR || op == INSN_SLDT || op == INSN_STR || op == INSN_INVLPG ||
	       op == INSN_INVPCID;
}

static void compare_operands(struct trial *t)
{
	const struct insn_opnd *ours[2] = {&t->in.dst, &t->in.src};
	unsigned n = 0;

	if (!ZYAN_SUCCESS(
		    zydis.operands(t->decoder, &t->context, &t->z, t->opnds, t->z.operand_count))) {
		mismatch(t, "operands undecodable");
		return;
	}
	if (is_string(t->in.op)) {
		compare_string(t);
		return;
	}
	if (!operands_matter(t->in.op))
		return;
	for (unsigned i = 0; i < 2; i++) {
		if (ours[i]->kind == OPND_NONE)
			continue;
		if (n >= t->z.operand_count_visible || !same_operand(t, ours[i], &t->opnds[n])) {
			mismatch(t, i == 0 ? "destination" : "source");
			return;
		}
		n++;
	}
	if (n != t->z.operand_count_visible)
		mismatch(t, "number of operands");
}

/* Encodings that bear one of our names and that we leave out on purpose. */
static bool left_out(const struct trial *t)
{
	switch (t->z.mnemonic) {
	case ZYDIS_MNEMONIC_MOV: /* mov to a segment register */
		return t->in.map == 0 && t->in.opcode == 0x8e;
	case ZYDIS_MNEMONIC_MOVSXD: /* 16-bit */
		return t->z.operand_width == 16;
	case ZYDIS_MNEMONIC_PUSH: /* immediates and segment registers */
	case ZYDIS_MNEMONIC_POP:
		return t->in.map == 1 || (t->in.opcode & 0xc6) == 0x06 || t->in.opcode == 0x68 ||
		       t->in.opcode == 0x6a;
	case ZYDIS_MNEMONIC_MOVSD: /* the SSE2 instruction */
	case ZYDIS_MNEMONIC_CMPSD:
		return t->in.map == 1;
	default:
		return false;
	}
}

/* Their mov has many forms; a prefix makes another instruction of our wbinvd only. */
static bool same_instruction(const struct trial *t)
{
	if (t->in.op == INSN_MOV_CR || t->in.op == INSN_MOV_DR)
		return t->z.mnemonic == ZYDIS_MNEMONIC_MOV;
	if (t->in.op == INSN_WBNOINVD)
		return t->z.mnemonic == ZYDIS_MNEMONIC_WBINVD;
	return ours_of[t->z.mnemonic] == t->in.op;
}

/* Where Zydis 4.0 is wrong, by the manuals. */
static bool theirs_is_wrong(const struct trial *t)
{
	const struct insn *in = &t->in;

	/* LOCK MOV CR0 is CR8 on AMD processors (APM volume 3, MOV CRn); it knows Intel's only. */
	if (in->op == INSN_MOV_CR && (in->modrm & 0x38) == 0 && memchr(t->bytes, 0xf0, in->length))
		return true;
	/* A SIB without base is one whatever REX.B says (SDM volume 2, 2.2.1.2): not with 67. */
	return in->mode == INSN_MODE_64 && in->addr_size == 4 && (in->rex & 1) && in->has_modrm &&
	       (in->modrm & 0xc7) == 4 && in->mem.base == INSN_NO_REG;
}

static void compare_accepted(struct trial *t, bool theirs)
{
	if (theirs_is_wrong(t))
		return;
	t->counts->accepted++;
	t->counts->seen[t->in.op] = true;
	if (!theirs)
		mismatch(t, "we accept, they reject");
	else if (t->z.length != t->in.length)
		mismatch(t, "length");
	else if (!same_instruction(t))
		mismatch(t, "instruction");
	else
		compare_operands(t);
}

static void compare(struct trial *t)
{
	bool theirs;

	t->counts->encodings++;
	t->result = insn_decode(t->bytes, INSN_MAX_LENGTH, t->mode, &t->in);
	memset(&t->z, 0, offsetof(ZydisDecodedInstruction, raw));
	theirs = ZYAN_SUCCESS(
		zydis.decode(t->decoder, &t->context, t->bytes, INSN_MAX_LENGTH, &t->z));
	switch (t->result) {
	case DECODE_OK:
		compare_accepted(t, theirs);
		break;
	case DECODE_UNSUPPORTED:
		if (!theirs)
			break;
		t->counts->lengths += t->in.length != 0;
		if (t->in.length != 0 && t->in.length != t->z.length)
			mismatch(t, "length of an unnamed instruction");
		if (ours_of[t->z.mnemonic] != INSN_OTHER && !left_out(t))
			mismatch(t, "they know it by a name of ours");
		break;
	case DECODE_INVALID:
		if (theirs && t->z.mnemonic != ZYDIS_MNEMONIC_UD0 &&
		    t->z.mnemonic != ZYDIS_MNEMONIC_UD1 && t->z.mnemonic != ZYDIS_MNEMONIC_UD2)
			mismatch(t, "we call it invalid, they do not");
		break;
	default: /* 15 bytes were there: it is too long, never truncated */
		if (theirs || t->result == DECODE_TRUNCATED)
			mismatch(t, "too long");
		break;
	}
}

/* With fewer bytes than it has, an instruction is truncated; with exactly those, it is the same. */
static void compare_truncated(struct trial *t)
{
	struct insn again;
	unsigned length = t->in.length;

	if (t->result != DECODE_OK && (t->result != DECODE_UNSUPPORTED || length == 0))
		return;
	if (insn_decode(t->bytes, length, t->mode, &again) != t->result ||
	    memcmp(&again, &t->in, sizeof(again)) != 0)
		mismatch(t, "exact length");
	length = (unsigned)(random_u64() % length);
	if (insn_decode(t->bytes, length, t->mode, &again) != DECODE_TRUNCATED)
		mismatch(t, "truncation");
}

/* ---- encodings ---- */

static unsigned put_opcode(uint8_t *p, unsigned map, uint8_t opcode)
{
	unsigned n = 0;

	if (map > 0)
		p[n++] = 0x0f;
	if (map > 1)
		p[n++] = map == 2 ? 0x38 : 0x3a;
	p[n++] = opcode;
	return n;
}

static void put_random(uint8_t *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		p[i] = (uint8_t)(random_u64() >> 24);
}

/* Every opcode of a map with every ModRM byte, after the given prefixes. */
static void enumerate(struct trial *t, uint8_t *bytes, unsigned prefixes, unsigned map)
{
	for (unsigned opcode = 0; opcode < 256; opcode++) {
		for (unsigned modrm = 0; modrm < 256; modrm++) {
			unsigned n = prefixes;

			n += put_opcode(bytes + n, map, (uint8_t)opcode);
			bytes[n++] = (uint8_t)modrm;
			put_random(bytes + n, INSN_MAX_LENGTH - n);
			compare(t);
		}
	}
}

static void enumerate_all(struct trial *t)
{
	static const struct {
		uint8_t n, bytes[4];
	} prefixes[] = {
		{0, {0}},	   {1, {0x66}},	      {1, {0x67}},	 {1, {0xf0}},
		{1, {0xf2}},	   {1, {0xf3}},	      {1, {0x65}},	 {1, {0x48}},
		{1, {0x41}},	   {2, {0x67, 0x44}}, {2, {0x66, 0x4f}}, {2, {0x36, 0x66}},
		{2, {0xf3, 0x48}}, {2, {0xf0, 0x66}},
	};
	uint8_t bytes[INSN_MAX_LENGTH];

	t->bytes = bytes;
	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
		memcpy(bytes, prefixes[i].bytes, sizeof(prefixes[i].bytes));
		for (unsigned map = 0; map < 2; map++)
			enumerate(t, bytes, prefixes[i].n, map);
	}
	for (unsigned map = 2; map < 4; map++) {
		enumerate(t, bytes, 0, map);
		bytes[0] = 0x66;
		enumerate(t, bytes, 1, map);
		bytes[0] = 0xf2;
		enumerate(t, bytes, 1, map);
	}
}

/* Random prefixes in any order and number, a random opcode, random bytes. */
static void random_all(struct trial *t, unsigned n)
{
	static const uint8_t prefixes[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67,
					   0xf0, 0xf2, 0xf3, 0x40, 0x48, 0x41, 0x44, 0x4f};
	uint8_t bytes[INSN_MAX_LENGTH];

	t->bytes = bytes;
	for (unsigned i = 0; i < n; i++) {
		uint64_t r = random_u64();
		/* Mostly few; sometimes so many that the instruction grows too long. */
		unsigned count = (unsigned)(r >> 4 & 0xff) % ((r & 15) == 0 ? 15 : 5);
		unsigned at = 0;

		put_random(bytes, sizeof(bytes));
		while (at < count)
			bytes[at++] = prefixes[random_u64() % sizeof(prefixes)];
		if (at < 12)
			put_opcode(bytes + at, (r >> 16) % 8 < 4 ? 0 : (r >> 16) % 4,
				   (uint8_t)(r >> 24));
		compare(t);
		compare_truncated(t);
	}
}

static void test_mode(enum insn_mode mode, struct counts *counts)
{
	static const ZydisMachineMode machine[] = {ZYDIS_MACHINE_MODE_LEGACY_16,
						   ZYDIS_MACHINE_MODE_LEGACY_32,
						   ZYDIS_MACHINE_MODE_LONG_64};
	static const ZydisStackWidth stack[] = {ZYDIS_STACK_WIDTH_16, ZYDIS_STACK_WIDTH_32,
						ZYDIS_STACK_WIDTH_64};
	ZydisDecoder decoder;
	struct trial t = {.mode = mode, .decoder = &decoder, .counts = counts};

	ok(ZYAN_SUCCESS(zydis.init(&decoder, machine[mode], stack[mode])), "Zydis decodes %s code",
	   mode_names[mode]);
	enumerate_all(&t);
	ok(counts->mismatches == 0,
	   "%s: enumerated encodings agree (%" PRIu64 ", %" PRIu64 " accepted)", mode_names[mode],
	   counts->encodings, counts->accepted);
	counts->mismatches = 0;
	random_all(&t, 500000);
	ok(counts->mismatches == 0, "%s: random encodings agree (%" PRIu64 " in all)",
	   mode_names[mode], counts->encodings);
	/* The comparison is worth something only when both sides knew a good part. */
	ok(counts->accepted > counts->encodings / 8 && counts->lengths > counts->encodings / 8,
	   "%s: a good part was comparable", mode_names[mode]);
}

int main(void)
{
	static struct counts counts[3];
	unsigned unseen = 0;

	if (!zydis_load()) {
		skip("decoder against Zydis", "libZydis.so does not load (package libzydis-dev)");
		return tap_done();
	}
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		ours_of[names[i].theirs] = (uint8_t)names[i].ours;
	for (unsigned mode = INSN_MODE_16; mode <= INSN_MODE_64; mode++)
		test_mode(mode, &counts[mode]);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		enum insn_op op = names[i].ours;

		if (!counts[0].seen[op] && !counts[1].seen[op] && !counts[2].seen[op]) {
			printf("# never accepted: %s\n", zydis.mnemonic(names[i].theirs));
			unseen++;
		}
	}
	is_u64(unseen, 0, "every named instruction was accepted at least once");
	return tap_done();
}
#else
int main(void)
{
	skip("decoder against Zydis", "no header Zydis/Zydis.h (package libzydis-dev)");
	return tap_done();
}
#endif

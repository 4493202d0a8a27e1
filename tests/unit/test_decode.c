/* SPDX-License-Identifier: BSD-2-Clause */
// links: arch/x86/decode.c
/*
 * The decoder by a table of cases with their meaning written out: what one looks up when the
 * comparison with Zydis says that something is wrong, and what it cannot tell.
 */
#include "arch/x86/decode.h"
#include "lib/util.h"
#include "tests/tap.h"

#define M16 INSN_MODE_16
#define M32 INSN_MODE_32
#define M64 INSN_MODE_64
#define NO  INSN_NO_REG

/* An instruction with a memory operand. */
static const struct {
	const char *text;
	enum insn_mode mode;
	uint8_t n, bytes[15];
	enum insn_op op;
	uint8_t opsize, addr_size, seg, base, index, scale;
	int64_t disp;
	uint8_t dst, src; /* kinds */
	int64_t imm;
} memory_cases[] = {
	{"mov eax, [rdi+0x20]",
	 M64,
	 3,
	 {0x8b, 0x47, 0x20},
	 INSN_MOV,
	 4,
	 8,
	 SEG_DS,
	 GPR_RDI,
	 NO,
	 1,
	 0x20,
	 OPND_REG,
	 OPND_MEM,
	 0},
	{"mov [rsp+rcx*8-8], r9",
	 M64,
	 5,
	 {0x4c, 0x89, 0x4c, 0xcc, 0xf8},
	 INSN_MOV,
	 8,
	 8,
	 SEG_SS,
	 GPR_RSP,
	 GPR_RCX,
	 8,
	 -8,
	 OPND_MEM,
	 OPND_REG,
	 0},
	{"mov eax, [r12]",
	 M64,
	 4,
	 {0x41, 0x8b, 0x04, 0x24},
	 INSN_MOV,
	 4,
	 8,
	 SEG_DS,
	 12,
	 NO,
	 1,
	 0,
	 OPND_REG,
	 OPND_MEM,
	 0},
	{"mov eax, [r13+0]",
	 M64,
	 4,
	 {0x41, 0x8b, 0x45, 0x00},
	 INSN_MOV,
	 4,
	 8,
	 SEG_DS,
	 13,
	 NO,
	 1,
	 0,
	 OPND_REG,
	 OPND_MEM,
	 0},
	{"mov eax, [rbp+r12*1+0]",
	 M64,
	 5,
	 {0x42, 0x8b, 0x44, 0x25, 0x00},
	 INSN_MOV,
	 4,
	 8,
	 SEG_SS,
	 GPR_RBP,
	 12,
	 1,
	 0,
	 OPND_REG,
	 OPND_MEM,
	 0},
	{"mov eax, [0xfee00030]",
	 M32,
	 5,
	 {0xa1, 0x30, 0x00, 0xe0, 0xfe},
	 INSN_MOV,
	 4,
	 4,
	 SEG_DS,
	 NO,
	 NO,
	 1,
	 0xfee00030,
	 OPND_REG,
	 OPND_MEM,
	 0},
	{"mov al, [moffs64]",
	 M64,
	 9,
	 {0xa0, 1, 2, 3, 4, 5, 6, 7, 0x80},
	 INSN_MOV,
	 1,
	 8,
	 SEG_DS,
	 NO,
	 NO,
	 1,
	 (int64_t)0x8007060504030201,
	 OPND_REG,
	 OPND_MEM,
	 0},
	{"mov dword [rax], -2",
	 M64,
	 7,
	 {0x48, 0xc7, 0x00, 0xfe, 0xff, 0xff, 0xff},
	 INSN_MOV,
	 8,
	 8,
	 SEG_DS,
	 GPR_RAX,
	 NO,
	 1,
	 0,
	 OPND_MEM,
	 OPND_IMM,
	 -2},
	{"add word [bp+di-1], -3",
	 M16,
	 4,
	 {0x83, 0x43, 0xff, 0xfd},
	 INSN_ADD,
	 2,
	 2,
	 SEG_SS,
	 GPR_RBP,
	 GPR_RDI,
	 1,
	 -1,
	 OPND_MEM,
	 OPND_IMM,
	 -3},
	{"mov ax, [0x1234]",
	 M16,
	 4,
	 {0x8b, 0x06, 0x34, 0x12},
	 INSN_MOV,
	 2,
	 2,
	 SEG_DS,
	 NO,
	 NO,
	 1,
	 0x1234,
	 OPND_REG,
	 OPND_MEM,
	 0},
	{"mov eax, [eax+eax*2]",
	 M16,
	 5,
	 {0x66, 0x67, 0x8b, 0x04, 0x40},
	 INSN_MOV,
	 4,
	 4,
	 SEG_DS,
	 GPR_RAX,
	 GPR_RAX,
	 2,
	 0,
	 OPND_REG,
	 OPND_MEM,
	 0},
	{"mov fs:[bx], cx",
	 M32,
	 5,
	 {0x64, 0x67, 0x66, 0x89, 0x0f},
	 INSN_MOV,
	 2,
	 2,
	 SEG_FS,
	 GPR_RBX,
	 NO,
	 1,
	 0,
	 OPND_MEM,
	 OPND_REG,
	 0},
	{"mov gs:[rax], ecx (then cs)",
	 M64,
	 4,
	 {0x65, 0x2e, 0x89, 0x08},
	 INSN_MOV,
	 4,
	 8,
	 SEG_GS,
	 GPR_RAX,
	 NO,
	 1,
	 0,
	 OPND_MEM,
	 OPND_REG,
	 0},
	{"rex that does not count",
	 M64,
	 4,
	 {0x48, 0x66, 0x89, 0x08},
	 INSN_MOV,
	 2,
	 8,
	 SEG_DS,
	 GPR_RAX,
	 NO,
	 1,
	 0,
	 OPND_MEM,
	 OPND_REG,
	 0},
	{"movzx r8d, word [rbx]",
	 M64,
	 4,
	 {0x44, 0x0f, 0xb7, 0x03},
	 INSN_MOVZX,
	 4,
	 8,
	 SEG_DS,
	 GPR_RBX,
	 NO,
	 1,
	 0,
	 OPND_REG,
	 OPND_MEM,
	 0},
	{"movsxd rax, [rbx]",
	 M64,
	 3,
	 {0x48, 0x63, 0x03},
	 INSN_MOVSX,
	 8,
	 8,
	 SEG_DS,
	 GPR_RBX,
	 NO,
	 1,
	 0,
	 OPND_REG,
	 OPND_MEM,
	 0},
	{"movbe [edi], ax",
	 M32,
	 5,
	 {0x66, 0x0f, 0x38, 0xf1, 0x07},
	 INSN_MOVBE,
	 2,
	 4,
	 SEG_DS,
	 GPR_RDI,
	 NO,
	 1,
	 0,
	 OPND_MEM,
	 OPND_REG,
	 0},
	{"lock cmpxchg [rdi], cl",
	 M64,
	 4,
	 {0xf0, 0x0f, 0xb0, 0x0f},
	 INSN_CMPXCHG,
	 1,
	 8,
	 SEG_DS,
	 GPR_RDI,
	 NO,
	 1,
	 0,
	 OPND_MEM,
	 OPND_REG,
	 0},
	{"bts dword [rdi], 35",
	 M64,
	 4,
	 {0x0f, 0xba, 0x2f, 0x23},
	 INSN_BTS,
	 4,
	 8,
	 SEG_DS,
	 GPR_RDI,
	 NO,
	 1,
	 0,
	 OPND_MEM,
	 OPND_IMM,
	 35},
	{"push qword [rax]",
	 M64,
	 2,
	 {0xff, 0x30},
	 INSN_PUSH,
	 8,
	 8,
	 SEG_DS,
	 GPR_RAX,
	 NO,
	 1,
	 0,
	 OPND_NONE,
	 OPND_MEM,
	 0},
	{"outs dx, byte fs:[esi]",
	 M32,
	 2,
	 {0x64, 0x6e},
	 INSN_OUTS,
	 1,
	 4,
	 SEG_FS,
	 NO,
	 NO,
	 1,
	 0,
	 OPND_PORT,
	 OPND_SI,
	 0},
	{"rep movsq",
	 M64,
	 3,
	 {0xf3, 0x48, 0xa5},
	 INSN_MOVS,
	 8,
	 8,
	 SEG_DS,
	 NO,
	 NO,
	 1,
	 0,
	 OPND_DI,
	 OPND_SI,
	 0},
};

static void test_memory_cases(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(memory_cases); i++) {
		struct insn in;
		bool good = insn_decode(memory_cases[i].bytes, 15, memory_cases[i].mode, &in) ==
			    DECODE_OK;

		good &= in.length == memory_cases[i].n && in.op == memory_cases[i].op &&
			in.opsize == memory_cases[i].opsize &&
			in.addr_size == memory_cases[i].addr_size &&
			in.mem.seg == memory_cases[i].seg && in.mem.base == memory_cases[i].base &&
			in.mem.index == memory_cases[i].index &&
			in.mem.scale == memory_cases[i].scale &&
			in.mem.disp == memory_cases[i].disp && in.dst.kind == memory_cases[i].dst &&
			in.src.kind == memory_cases[i].src && in.imm == memory_cases[i].imm &&
			!in.mem.rip_relative;
		ok(good, "%s", memory_cases[i].text);
	}
}

/* Instructions that are intercepted: name and length, in every mode. */
static const struct {
	const char *text;
	uint8_t n, bytes[6];
	enum insn_op op;
} system_cases[] = {
	{"cpuid", 2, {0x0f, 0xa2}, INSN_CPUID},
	{"rdmsr", 2, {0x0f, 0x32}, INSN_RDMSR},
	{"wrmsr", 2, {0x0f, 0x30}, INSN_WRMSR},
	{"hlt", 1, {0xf4}, INSN_HLT},
	{"rep cpuid", 3, {0xf3, 0x0f, 0xa2}, INSN_CPUID},
	{"xsetbv", 3, {0x0f, 0x01, 0xd1}, INSN_XSETBV},
	{"vmmcall", 3, {0x0f, 0x01, 0xd9}, INSN_VMMCALL},
	{"vmcall", 3, {0x0f, 0x01, 0xc1}, INSN_VMCALL},
	{"vmrun", 3, {0x0f, 0x01, 0xd8}, INSN_VMRUN},
	{"skinit", 3, {0x0f, 0x01, 0xde}, INSN_SKINIT},
	{"invlpga", 3, {0x0f, 0x01, 0xdf}, INSN_INVLPGA},
	{"monitor", 3, {0x0f, 0x01, 0xc8}, INSN_MONITOR},
	{"mwait", 3, {0x0f, 0x01, 0xc9}, INSN_MWAIT},
	{"rdtscp", 3, {0x0f, 0x01, 0xf9}, INSN_RDTSCP},
	{"invd", 2, {0x0f, 0x08}, INSN_INVD},
	{"wbinvd", 2, {0x0f, 0x09}, INSN_WBINVD},
	{"wbnoinvd", 3, {0xf3, 0x0f, 0x09}, INSN_WBNOINVD},
	{"rdpmc", 2, {0x0f, 0x33}, INSN_RDPMC},
	{"rdtsc", 2, {0x0f, 0x31}, INSN_RDTSC},
	{"pause", 2, {0xf3, 0x90}, INSN_PAUSE},
	{"rsm", 2, {0x0f, 0xaa}, INSN_RSM},
	{"clts", 2, {0x0f, 0x06}, INSN_CLTS},
	{"lmsw [bx+si] or [eax]", 3, {0x0f, 0x01, 0x30}, INSN_LMSW},
	{"smsw ax", 3, {0x0f, 0x01, 0xe0}, INSN_SMSW},
	{"invlpg [bx+si] or [eax]", 3, {0x0f, 0x01, 0x38}, INSN_INVLPG},
	{"mov cr0, eax", 3, {0x0f, 0x22, 0xc0}, INSN_MOV_CR},
	{"mov cr0 with mod 0", 3, {0x0f, 0x22, 0x04}, INSN_MOV_CR},
	{"mov dr7, eax", 3, {0x0f, 0x23, 0xf8}, INSN_MOV_DR},
	{"int3", 1, {0xcc}, INSN_INT3},
	{"int1", 1, {0xf1}, INSN_INT1},
	{"int 0x80", 2, {0xcd, 0x80}, INSN_INT},
	{"in al, 0xff", 2, {0xe4, 0xff}, INSN_IN},
	{"out dx, al", 1, {0xee}, INSN_OUT},
	{"ins byte", 1, {0x6c}, INSN_INS},
};

static void test_system_cases(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(system_cases); i++) {
		bool good = true;

		for (unsigned mode = M16; mode <= M64; mode++) {
			struct insn in;

			good &= insn_decode(system_cases[i].bytes, 6, mode, &in) == DECODE_OK &&
				in.op == system_cases[i].op && in.length == system_cases[i].n &&
				insn_length(system_cases[i].bytes, 6, mode) == in.length;
		}
		ok(good, "%s", system_cases[i].text);
	}
}

static void test_operands(void)
{
	struct insn in;

	insn_decode((const uint8_t *)"\x0f\x20\xe3", 3, M64, &in);
	ok(in.src.kind == OPND_CR && in.src.reg == 4 && in.dst.reg == GPR_RBX && in.dst.size == 8,
	   "mov rbx, cr4");
	insn_decode((const uint8_t *)"\x0f\x22\xd8", 3, M16, &in);
	ok(in.dst.kind == OPND_CR && in.dst.reg == 3 && in.src.reg == GPR_RAX && in.src.size == 4,
	   "mov cr3, eax in 16-bit code");
	insn_decode((const uint8_t *)"\x45\x0f\x22\xc1", 4, M64, &in);
	ok(in.dst.reg == 8 && in.src.reg == 9, "mov cr8, r9");
	insn_decode((const uint8_t *)"\xf0\x0f\x22\xc0", 4, M32, &in);
	ok(in.op == INSN_MOV_CR && in.dst.reg == 8, "lock mov cr0, eax is AMD's mov cr8");
	insn_decode((const uint8_t *)"\x0f\x21\xf1", 3, M64, &in);
	ok(in.src.kind == OPND_DR && in.src.reg == 6 && in.dst.reg == GPR_RCX, "mov rcx, dr6");
	insn_decode((const uint8_t *)"\xe5\xcf", 2, M16, &in);
	ok(in.src.kind == OPND_PORT && in.src.reg == NO && in.imm == 0xcf && in.opsize == 2,
	   "in ax, 0xcf: the port is unsigned");
	insn_decode((const uint8_t *)"\x48\xef", 2, M64, &in);
	ok(in.dst.kind == OPND_PORT && in.dst.reg == GPR_RDX && in.opsize == 4,
	   "out dx, eax: never 64 bits");
	insn_decode((const uint8_t *)"\x88\x20", 2, M64, &in);
	ok(in.src.reg == GPR_RAX && in.src.high, "ah");
	insn_decode((const uint8_t *)"\x40\x88\x20", 3, M64, &in);
	ok(in.src.reg == GPR_RSP && !in.src.high, "spl");
	insn_decode((const uint8_t *)"\x8b\x05\x10\x00\x00\x00", 6, M64, &in);
	ok(in.mem.rip_relative && in.mem.disp == 0x10 && in.mem.base == NO, "RIP-relative");
	insn_decode((const uint8_t *)"\x8b\x04\x25\x10\x00\x00\x80", 7, M64, &in);
	ok(!in.mem.rip_relative && in.mem.disp == -0x7ffffff0LL && in.mem.base == NO,
	   "absolute, sign-extended");
}

static void test_results(void)
{
	static const struct {
		const char *text;
		enum insn_mode mode;
		uint8_t n, bytes[16];
		enum decode_result want;
	} cases[] = {
		{"no byte", M64, 0, {0}, DECODE_TRUNCATED},
		{"prefixes only", M64, 3, {0x66, 0xf3, 0x48}, DECODE_TRUNCATED},
		{"0f", M64, 1, {0x0f}, DECODE_TRUNCATED},
		{"half a displacement", M64, 4, {0x8b, 0x80, 1, 2}, DECODE_TRUNCATED},
		{"15 prefixes", M64, 15, "fffffffffffffff", DECODE_TOO_LONG},
		{"16 prefixes", M64, 16, "ffffffffffffffff", DECODE_TOO_LONG},
		{"14 prefixes and nop", M64, 15, "ffffffffffffff\x90", DECODE_UNSUPPORTED},
		{"14 prefixes and mov", M64, 16, "ffffffffffffff\x8b", DECODE_TOO_LONG},
		{"lock mov", M64, 3, {0xf0, 0x89, 0x00}, DECODE_INVALID},
		{"lock add to a register", M64, 3, {0xf0, 0x01, 0xc0}, DECODE_INVALID},
		{"lock cmp", M64, 3, {0xf0, 0x39, 0x00}, DECODE_INVALID},
		{"lock bt", M64, 4, {0xf0, 0x0f, 0xa3, 0x00}, DECODE_INVALID},
		{"lock cpuid", M64, 3, {0xf0, 0x0f, 0xa2}, DECODE_INVALID},
		{"push es in 64-bit mode", M64, 1, {0x06}, DECODE_INVALID},
		{"82 in 64-bit mode", M64, 3, {0x82, 0x00, 0x00}, DECODE_INVALID},
		{"ud2", M64, 2, {0x0f, 0x0b}, DECODE_INVALID},
		{"mov cr1", M64, 3, {0x0f, 0x22, 0xc8}, DECODE_INVALID},
		{"mov dr8", M64, 4, {0x44, 0x0f, 0x23, 0xc0}, DECODE_INVALID},
		{"movbe between registers", M64, 4, {0x0f, 0x38, 0xf0, 0xc0}, DECODE_INVALID},
		{"vmovups", M64, 4, {0xc5, 0xf8, 0x10, 0x00}, DECODE_UNSUPPORTED},
		{"movups", M64, 3, {0x0f, 0x10, 0x00}, DECODE_UNSUPPORTED},
		{"les", M32, 2, {0xc4, 0x00}, DECODE_UNSUPPORTED},
		{"call", M64, 5, {0xe8, 1, 2, 3, 4}, DECODE_UNSUPPORTED},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct insn in;

		ok(insn_decode(cases[i].bytes, cases[i].n, cases[i].mode, &in) == cases[i].want,
		   "%s", cases[i].text);
	}
	is_u64(insn_length((const uint8_t *)"\x0f\x10\x00", 3, M64), 3, "the length of movups");
	is_u64(insn_length((const uint8_t *)"\x66\xe9\x00\x00\x00\x00", 6, M64), 0,
	       "no length where vendors differ");
	is_u64(insn_length((const uint8_t *)"\x0f\x0b", 2, M64), 0, "no length of what is invalid");
}

int main(void)
{
	test_memory_cases();
	test_system_cases();
	test_operands();
	test_results();
	return tap_done();
}

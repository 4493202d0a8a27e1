/* SPDX-License-Identifier: BSD-2-Clause */
// links: arch/x86/emulate.c arch/x86/emulate_alu.c arch/x86/decode.c arch/x86/guest_walk.c
/*
 * The emulator against the processor that runs this test: random instructions with random
 * registers, flags and memory are executed for real, on a page of memory, and by emulate(), on
 * guest RAM, on a device, and across the border between both. Registers, flags, memory and RIP must
 * agree.
 */
#include "tests/tap.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "arch/x86/emulate.h"
#include "arch/x86/emulate_alu.h"
#include "arch/x86/regs.h"
#include "lib/util.h"
#include "vm/guestmem.h"
#include "tests/host/guestmem_flat.h"

/* Below 2 GiB, so that absolute 32-bit displacements and 32-bit addresses reach everything. */
#define DATA  0x10000000UL /* three pages */
#define CODE  0x20000000UL
#define STATE 0x30000000UL

#define DATA_SIZE (3 * PAGE_SIZE)
#define BORDER	  (DATA + PAGE_SIZE) /* what is tested lies around here */

struct state {
	uint64_t gpr[16]; /* by encoding number, in and out */
	uint64_t rflags;
	uint64_t entry;
	uint64_t exit; /* address of native_exit */
	uint64_t host_rsp;
};

static struct state *const state = (void *)STATE;

void native_run(void);
void native_exit(void);

/* Loads all registers from STATE, jumps to the code; native_exit stores them again. */
__asm__(".text\n"
	".globl native_run\n"
	"native_run:\n"
	"	push %rbx\n	push %rbp\n	push %r12\n	push %r13\n	push %r14\n	"
	"push %r15\n"
	"	mov %rsp, 0x30000098\n"
	"	pushq 0x30000080\n	popfq\n"
	"	mov 0x30000000, %rax\n	mov 0x30000008, %rcx\n"
	"	mov 0x30000010, %rdx\n	mov 0x30000018, %rbx\n"
	"	mov 0x30000020, %rsp\n	mov 0x30000028, %rbp\n"
	"	mov 0x30000030, %rsi\n	mov 0x30000038, %rdi\n"
	"	mov 0x30000040, %r8\n	mov 0x30000048, %r9\n"
	"	mov 0x30000050, %r10\n	mov 0x30000058, %r11\n"
	"	mov 0x30000060, %r12\n	mov 0x30000068, %r13\n"
	"	mov 0x30000070, %r14\n	mov 0x30000078, %r15\n"
	"	jmp *0x30000088\n"
	".globl native_exit\n"
	"native_exit:\n"
	"	mov %rax, 0x30000000\n	mov %rcx, 0x30000008\n"
	"	mov %rdx, 0x30000010\n	mov %rbx, 0x30000018\n"
	"	mov %rsp, 0x30000020\n	mov %rbp, 0x30000028\n"
	"	mov %rsi, 0x30000030\n	mov %rdi, 0x30000038\n"
	"	mov %r8, 0x30000040\n	mov %r9, 0x30000048\n"
	"	mov %r10, 0x30000050\n	mov %r11, 0x30000058\n"
	"	mov %r12, 0x30000060\n	mov %r13, 0x30000068\n"
	"	mov %r14, 0x30000070\n	mov %r15, 0x30000078\n"
	"	mov 0x30000098, %rsp\n"
	"	pushfq\n	popq 0x30000080\n	cld\n"
	"	pop %r15\n	pop %r14\n	pop %r13\n	pop %r12\n	pop %rbp\n	"
	"pop %rbx\n"
	"	ret\n");

_Static_assert(offsetof(struct state, rflags) == 0x80 && offsetof(struct state, host_rsp) == 0x98,
	       "offsets in the assembly above");

/* ---- the emulated side ---- */

static struct guestmem gm;
static uint8_t device[DATA_SIZE]; /* answers where there is no RAM */
static unsigned device_accesses;

static uint64_t device_read(void *ctx, uint64_t gpa, unsigned size)
{
	uint64_t v = 0;

	(void)ctx;
	device_accesses++;
	memcpy(&v, device + (gpa - DATA), size);
	return v;
}

static void device_write(void *ctx, uint64_t gpa, unsigned size, uint64_t value)
{
	(void)ctx;
	device_accesses++;
	memcpy(device + (gpa - DATA), &value, size);
}

static const struct emu_ops ops = {.mmio_read = device_read, .mmio_write = device_write};

/* The guest's view of DATA: RAM or device, page by page. */
static uint8_t *guest_page(unsigned page)
{
	uint8_t *ram = guestmem_flat_at(&gm, DATA + page * PAGE_SIZE, PAGE_SIZE);

	return ram ? ram : device + page * PAGE_SIZE;
}

/* ---- one random trial ---- */

static uint64_t random_state = 0xab5e1ec7ed5eedULL;

static uint64_t random_u64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* Values that carry, overflow and sign-extend more often than uniform ones. */
static uint64_t random_value(void)
{
	static const uint64_t edges[] = {0,	     1,		0x7f,	 0x80,	     0xff,
					 0x7fff,     0x8000,	0xffff,	 0x7fffffff, 0x80000000,
					 0xffffffff, INT64_MAX, BIT(63), UINT64_MAX, 0x10};
	uint64_t r = random_u64();

	return r & 3 ? random_u64() : edges[(r >> 2) % ARRAY_SIZE(edges)];
}

static bool have_movbe(void)
{
	unsigned a, b, c = 0, d;

	return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_MOVBE);
}

struct trial {
	uint8_t bytes[16];
	struct insn in;
	uint64_t target; /* address that the memory operand shall have */
	unsigned page;	 /* of that address: 0 or 1 */
};

static bool is_tested(const struct insn *in, bool movbe)
{
	if (in->op < INSN_ADD || in->op > INSN_SCAS || (in->op == INSN_MOVBE && !movbe))
		return false;
	/* Segment registers hold selectors of the host; an instruction of the host's own segments.
	 */
	if (in->src.kind == OPND_SREG || in->mem.seg >= SEG_FS)
		return false;
	/* The stack pointer as an ordinary operand is fine; addressing with an altered one is not.
	 */
	return true;
}

/* A random instruction in a form whose address can be chosen: ModRM 5 (RIP), or base and index. */
static bool make_instruction(struct trial *t, bool movbe)
{
	static const uint8_t prefixes[] = {0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x3e, 0x36};
	unsigned n = 0;

	for (unsigned i = 0; i < sizeof(t->bytes); i++)
		t->bytes[i] = (uint8_t)random_u64();
	while (random_u64() % 3 == 0 && n < 3)
		t->bytes[n++] = prefixes[random_u64() % sizeof(prefixes)];
	if (random_u64() & 1)
		t->bytes[n++] = (uint8_t)(0x40 | (random_u64() & 15));
	switch (random_u64() % 5) {
	case 0:
	case 1:
		t->bytes[n++] = 0x0f;
		if (random_u64() % 16 == 0) {
			t->bytes[n++] = 0x38;
			t->bytes[n] = 0xf0 | (t->bytes[n] & 1);
		}
		break;
	case 2: /* strings are few among the opcodes */
		t->bytes[n] = (uint8_t)(0xa4 + random_u64() % 12);
		break;
	default:
		break;
	}
	return insn_decode(t->bytes, 15, INSN_MODE_64, &t->in) == DECODE_OK &&
	       is_tested(&t->in, movbe);
}

static uint64_t index_value(const struct insn *in)
{
	return in->mem.index == INSN_NO_REG ? 0 : state->gpr[in->mem.index] * in->mem.scale;
}

/* Sets registers, or the displacement in the code, so that the operand lies at t->target. */
static bool aim(struct trial *t)
{
	struct insn *in = &t->in;
	uint64_t disp = t->target - index_value(in);
	uint32_t narrow;

	if (in->mem.base != INSN_NO_REG) {
		if (in->mem.base == in->mem.index)
			return false;
		state->gpr[in->mem.base] = disp - (uint64_t)in->mem.disp;
		return true;
	}
	if (!in->has_modrm) { /* moffs: the instruction ends in it */
		memcpy(t->bytes + in->length - in->addr_size, &t->target, in->addr_size);
		return insn_decode(t->bytes, 15, INSN_MODE_64, in) == DECODE_OK;
	}
	/* Absolute or RIP-relative: four bytes before the immediate. */
	if (in->mem.rip_relative)
		disp -= CODE + in->length;
	narrow = (uint32_t)disp;
	if ((uint64_t)(int32_t)narrow != disp && in->addr_size == 8)
		return false;
	for (unsigned at = 1; at + 4 <= in->length; at++) {
		if (memcmp(t->bytes + at, &in->mem.disp, 4) == 0) {
			memcpy(t->bytes + at, &narrow, 4);
			return insn_decode(t->bytes, 15, INSN_MODE_64, in) == DECODE_OK;
		}
	}
	return false;
}

static bool has_kind(const struct insn *in, enum insn_opnd_kind kind)
{
	return in->dst.kind == kind || in->src.kind == kind;
}

static bool uses_register(const struct insn *in, unsigned reg)
{
	return in->mem.base == reg || in->mem.index == reg;
}

static bool set_registers(struct trial *t)
{
	struct insn *in = &t->in;

	for (unsigned i = 0; i < 16; i++)
		state->gpr[i] = random_value();
	state->rflags = (random_u64() & (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF |
					 RFLAGS_OF | RFLAGS_DF)) |
			RFLAGS_ONE | RFLAGS_IF;
	/* Around the border of two pages, so that a good part of the operands crosses it. */
	t->target = BORDER - 12 + random_u64() % 24;
	if (in->mem.index != INSN_NO_REG && has_kind(in, OPND_MEM))
		state->gpr[in->mem.index] &= 0xffff;
	if (in->op == INSN_PUSH || in->op == INSN_POP) {
		if (uses_register(in, GPR_RSP))
			return false;
		state->gpr[GPR_RSP] = BORDER - 0x800 + (random_u64() & 0x7);
	}
	/* A bit number from a register reaches far: keep it near, and out of the address. */
	if (in->op >= INSN_BT && in->op <= INSN_BTC && in->src.kind == OPND_REG) {
		if (uses_register(in, in->src.reg))
			return false;
		state->gpr[in->src.reg] = (uint64_t)((int64_t)(random_u64() % 2048) - 1024);
	}
	if (in->op >= INSN_MOVS && in->op <= INSN_SCAS) {
		state->gpr[GPR_RSI] = BORDER - 12 + random_u64() % 24;
		state->gpr[GPR_RDI] = BORDER - 12 + random_u64() % 24;
		state->gpr[GPR_RCX] = random_u64() % 7;
	}
	return !has_kind(in, OPND_MEM) || aim(t);
}

static void fill_memory(void)
{
	uint64_t *data = (void *)DATA;

	/* Few distinct bytes: compare instructions shall find equal ones. */
	for (unsigned i = 0; i < DATA_SIZE / 8; i++)
		data[i] = (i & 3) == 0 ? 0x1111111111111111ULL : random_value();
	for (unsigned page = 0; page < 3; page++)
		memcpy(guest_page(page), (uint8_t *)DATA + page * PAGE_SIZE, PAGE_SIZE);
}

/* The same value in accumulator and memory now and then, for cmpxchg and scas. */
static void make_equal(const struct trial *t)
{
	if (t->in.op == INSN_CMPXCHG && (random_u64() & 1) && !uses_register(&t->in, GPR_RAX) &&
	    t->in.dst.kind == OPND_MEM)
		memcpy(&state->gpr[GPR_RAX], (void *)t->target, 8);
	else if (t->in.op == INSN_SCAS && (random_u64() & 1))
		state->gpr[GPR_RAX] = 0x1111111111111111ULL;
}

static void set_cpu(struct emu_cpu *cpu)
{
	memset(cpu, 0, sizeof(*cpu));
	memcpy(cpu->gpr, state->gpr, sizeof(cpu->gpr));
	cpu->rflags = state->rflags;
	cpu->rip = CODE;
	cpu->seg[SEG_CS].attr = 0xa9b;
	cpu->paging.cr0 = CR0_PE; /* no paging: linear addresses are the guest's physical ones */
	cpu->paging.efer = EFER_LMA;
	cpu->paging.phys_bits = 48;
}

/* Flags that the manual leaves undefined. */
static uint64_t undefined_flags(enum insn_op op)
{
	switch (op) {
	case INSN_AND:
	case INSN_OR:
	case INSN_XOR:
	case INSN_TEST:
		return RFLAGS_AF;
	case INSN_BT:
	case INSN_BTS:
	case INSN_BTR:
	case INSN_BTC:
		return RFLAGS_OF | RFLAGS_SF | RFLAGS_AF | RFLAGS_PF;
	default:
		return 0;
	}
}

static void run_native(const struct trial *t)
{
	static const uint8_t jump[] = {0xff, 0x24, 0x25, 0x90,
				       0x00, 0x00, 0x30}; /* jmp *STATE.exit */
	uint8_t *code = (void *)CODE;

	memcpy(code, t->bytes, t->in.length);
	memcpy(code + t->in.length, jump, sizeof(jump));
	state->entry = CODE;
	state->exit = (uintptr_t)native_exit;
	native_run();
}

static enum emu_result run_emulated(struct emu_cpu *cpu, const struct trial *t,
				    struct emu_fault *fault)
{
	enum emu_result r = EMU_DONE;

	memcpy(cpu->fetched, t->bytes, t->in.length);
	cpu->nr_fetched = t->in.length;
	for (unsigned i = 0; r == EMU_DONE && cpu->rip == CODE && i < 16; i++)
		r = emulate(cpu, &gm, &ops, NULL, fault);
	return r;
}

static void complain(const struct trial *t, const struct emu_cpu *cpu, const char *what)
{
	printf("# %s:", what);
	for (unsigned i = 0; i < t->in.length; i++)
		printf(" %02x", t->bytes[i]);
	printf(" (op %u)\n", t->in.op);
	for (unsigned i = 0; i < 16; i++)
		if (cpu->gpr[i] != state->gpr[i])
			printf("#   register %u: got %#" PRIx64 ", want %#" PRIx64 "\n", i,
			       cpu->gpr[i], state->gpr[i]);
	printf("#   flags: got %#" PRIx64 ", want %#" PRIx64 "\n", cpu->rflags, state->rflags);
}

static bool same_memory(void)
{
	for (unsigned page = 0; page < 3; page++)
		if (memcmp(guest_page(page), (uint8_t *)DATA + page * PAGE_SIZE, PAGE_SIZE) != 0)
			return false;
	return true;
}

/* False when the emulator differs from the processor. */
static bool compare(const struct trial *t, unsigned *by_op)
{
	uint64_t defined = ~(undefined_flags(t->in.op) | RFLAGS_RF);
	struct emu_cpu cpu;
	struct emu_fault fault;
	enum emu_result r;

	set_cpu(&cpu);
	r = run_emulated(&cpu, t, &fault);
	/* What the emulator refuses by design: a locked access that crosses into or in RAM. */
	if (r == EMU_UNSUPPORTED && (t->in.lock || t->in.op == INSN_XCHG))
		return true;
	run_native(t);
	by_op[t->in.op]++;
	if (r != EMU_DONE || cpu.rip != CODE + t->in.length)
		complain(t, &cpu, r == EMU_DONE ? "RIP" : "result");
	else if (memcmp(cpu.gpr, state->gpr, sizeof(cpu.gpr)) != 0)
		complain(t, &cpu, "registers");
	else if ((cpu.rflags ^ state->rflags) & defined)
		complain(t, &cpu, "flags");
	else if (!same_memory())
		complain(t, &cpu, "memory");
	else
		return true;
	return false;
}

static void test_backing(const char *name, unsigned ram_from, unsigned ram_pages, unsigned trials)
{
	static unsigned by_op[256];
	char err[80];
	bool movbe = have_movbe();
	unsigned bad = 0, done = 0, untested = 0;

	memset(by_op, 0, sizeof(by_op));
	device_accesses = 0;
	guestmem_init(&gm, err, sizeof(err));
	if (ram_pages)
		guestmem_add_ram(&gm, ipa(DATA + ram_from * PAGE_SIZE), ram_pages * PAGE_SIZE);
	while (done < trials && bad < 10) {
		struct trial t;

		if (!make_instruction(&t, movbe) || !set_registers(&t))
			continue;
		if (done++ % 16 == 0 || t.in.op >= INSN_MOVS)
			fill_memory();
		make_equal(&t);
		bad += !compare(&t, by_op);
	}
	guestmem_destroy(&gm);
	ok(bad == 0, "%s: %u instructions do what the processor does", name, done);
	for (unsigned op = INSN_ADD; op <= INSN_SCAS; op++)
		if (by_op[op] < 20 && !(op == INSN_MOVBE && !movbe)) {
			printf("# instruction %u was tried %u times\n", op, by_op[op]);
			untested++;
		}
	is_u64(untested, 0, "every instruction was tried often enough");
	ok((device_accesses > trials / 4) == (ram_pages < 3),
	   "the device was accessed as it should");
}

static bool map_fixed(uint64_t at, uint64_t size, int prot)
{
	return mmap((void *)at, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
		    0) == (void *)at;
}

int main(void)
{
	int rw = PROT_READ | PROT_WRITE;

	if (!map_fixed(DATA, DATA_SIZE, rw) || !map_fixed(STATE, PAGE_SIZE, rw) ||
	    !map_fixed(CODE, PAGE_SIZE, rw | PROT_EXEC)) {
		skip("emulation against the processor",
		     "this system grants no executable memory at a fixed address");
		return tap_done();
	}
	if (!have_movbe())
		skip("movbe against the processor", "this processor has no movbe");
	test_backing("RAM", 0, 3, 40000);
	test_backing("device", 0, 0, 40000);
	test_backing("RAM, then device", 0, 1, 40000);
	test_backing("device, then RAM", 1, 2, 40000);
	return tap_done();
}
#else
int main(void)
{
	skip("emulation against the processor", "the host is not x86-64");
	return tap_done();
}
#endif

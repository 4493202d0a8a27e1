/* SPDX-License-Identifier: BSD-2-Clause */
// links: arch/x86/emulate.c arch/x86/emulate_alu.c arch/x86/decode.c arch/x86/guest_walk.c
/*
 * Emulation by hand-made cases: what a random comparison with the processor cannot reach. Faults
 * and their order, segments, paging, repetition, fetching, single steps, and what devices get to
 * see.
 */
#include "arch/x86/emulate.h"
#include "arch/x86/regs.h"
#include "arch/x86/vmcb.h"
#include "lib/util.h"
#include "tests/host/guestmem_flat.h"
#include "tests/tap.h"
#include "vm/guestmem.h"

#define RAM_SIZE (4 * MIB)
#define CODE	 0x1000ULL
#define TABLES	 0x10000ULL /* PML4, PDPT, PD, PT of the first 2 MiB, then those of the device */
#define DATA	 0x20000ULL
#define HOLE	 0x30000ULL /* this page is not present */
#define USER	 0x40000ULL /* this page is the user's */
#define CODE2	 0x50000ULL /* the next page is not present */
#define DEVICE	 0xfee00000ULL

#define PTE_KERNEL 0x003ULL
#define PTE_USER   0x007ULL

static struct guestmem gm;
static struct emu_cpu cpu;
static struct emu_fault fault;

/* What devices and ports saw. */
static struct access {
	char kind; /* r, w, i, o */
	uint64_t at;
	unsigned size;
	uint64_t value;
} seen[2048];
static unsigned nr_seen;
static uint64_t device_value; /* what reads give */

static void note(char kind, uint64_t at, unsigned size, uint64_t value)
{
	if (nr_seen < ARRAY_SIZE(seen))
		seen[nr_seen++] = (struct access){kind, at, size, value};
}

static uint64_t mmio_read(void *ctx, uint64_t gpa, unsigned size)
{
	(void)ctx;
	note('r', gpa, size, 0);
	return device_value;
}

static void mmio_write(void *ctx, uint64_t gpa, unsigned size, uint64_t value)
{
	(void)ctx;
	note('w', gpa, size, value);
}

static uint32_t pio_read(void *ctx, uint16_t port, unsigned size)
{
	(void)ctx;
	note('i', port, size, 0);
	return (uint32_t)device_value++;
}

static void pio_write(void *ctx, uint16_t port, unsigned size, uint32_t value)
{
	(void)ctx;
	note('o', port, size, value);
}

static const struct emu_ops ops = {mmio_read, mmio_write, pio_read, pio_write};

static bool saw(unsigned i, char kind, uint64_t at, unsigned size, uint64_t value)
{
	return i < nr_seen && seen[i].kind == kind && seen[i].at == at && seen[i].size == size &&
	       (kind == 'r' || kind == 'i' || seen[i].value == value);
}

/* ---- the guest ---- */

static void poke(uint64_t at, uint64_t v, unsigned size)
{
	memcpy(guestmem_flat_at(&gm, at, size), &v, size);
}

static uint64_t peek(uint64_t at, unsigned size)
{
	uint64_t v = 0;

	memcpy(&v, guestmem_flat_at(&gm, at, size), size);
	return v;
}

/* Four-level tables: the first 2 MiB one to one, the device's page, both also readable by users'
 * tables. */
static void build_tables(void)
{
	uint64_t pml4 = TABLES, pdpt = pml4 + 0x1000, pd = pdpt + 0x1000, pt = pd + 0x1000;
	uint64_t pd3 = pt + 0x1000, pt3 = pd3 + 0x1000;

	poke(pml4, pdpt | PTE_USER, 8);
	poke(pdpt, pd | PTE_USER, 8);
	poke(pd, pt | PTE_USER, 8);
	poke(pdpt + 8 * 3, pd3 | PTE_USER, 8);
	poke(pd3 + 8 * 503, pt3 | PTE_USER, 8);
	poke(pt3, DEVICE | PTE_KERNEL, 8);
	for (uint64_t page = 0; page < 512; page++)
		poke(pt + 8 * page, page << 12 | PTE_KERNEL, 8);
	poke(pt + 8 * (HOLE >> 12), 0, 8);
	poke(pt + 8 * (USER >> 12), USER | PTE_USER, 8);
	poke(pt + 8 * ((CODE2 >> 12) + 1), 0, 8);
}

static void flat_segments(uint16_t code)
{
	for (unsigned i = 0; i < SEG_COUNT; i++)
		cpu.seg[i] = (struct emu_seg){.limit = UINT32_MAX,
					      .selector = 0x10,
					      .attr = ATTR_DB | ATTR_P | ATTR_S | 3};
	cpu.seg[SEG_CS].attr = code | ATTR_P | ATTR_S | 0xb;
	cpu.seg[SEG_CS].selector = 8;
}

static void reset(void)
{
	memset(&cpu, 0, sizeof(cpu));
	nr_seen = 0;
	device_value = 0;
	cpu.rflags = RFLAGS_ONE;
	cpu.rip = CODE;
	cpu.paging.phys_bits = 40;
	build_tables();
}

static void mode_64(void)
{
	reset();
	flat_segments(ATTR_L);
	cpu.paging.cr0 = CR0_PE | CR0_PG | CR0_WP;
	cpu.paging.cr3 = TABLES;
	cpu.paging.cr4 = CR4_PAE;
	cpu.paging.efer = EFER_LMA | EFER_LME | EFER_NXE;
}

static void mode_32(void) /* protected, no paging */
{
	reset();
	flat_segments(ATTR_DB);
	cpu.paging.cr0 = CR0_PE;
}

static void mode_real(void)
{
	reset();
	for (unsigned i = 0; i < SEG_COUNT; i++)
		cpu.seg[i] = (struct emu_seg){.limit = 0xffff, .attr = ATTR_P | ATTR_S | 3};
}

/* Puts the code at RIP (linear is physical) and runs it once. */
static enum emu_result run_bytes(const char *bytes, size_t n)
{
	uint64_t at = cpu.rip + (emu_mode(&cpu) == INSN_MODE_64 ? 0 : cpu.seg[SEG_CS].base);

	memcpy(guestmem_flat_at(&gm, at, n), bytes, n);
	return emulate(&cpu, &gm, &ops, NULL, &fault);
}

#define RUN(bytes) run_bytes(bytes, sizeof(bytes) - 1)

static bool faulted(enum emu_result r, uint8_t vector, uint32_t error)
{
	return r == EMU_FAULT && fault.vector == vector &&
	       (!fault.has_error || fault.error == error) &&
	       fault.has_error == (vector != VEC_UD) && (cpu.rflags & RFLAGS_RF);
}

/* ---- cases ---- */

static void test_device_access(void)
{
	mode_64();
	cpu.gpr[GPR_RAX] = UINT64_MAX;
	device_value = 0x11223344;
	cpu.rflags |= RFLAGS_RF;
	ok(RUN("\x8b\x04\x25\x20\x00\xe0\xfe") == EMU_FAULT, "mov eax, [fee00020] sign-extends");
	ok(faulted(EMU_FAULT, VEC_PF, 0) && fault.cr2 == 0xfffffffffee00020ULL && nr_seen == 0,
	   "... to a canonical address that is not present");
	cpu.gpr[GPR_RBX] = DEVICE;
	ok(RUN("\x8b\x43\x20") == EMU_DONE && cpu.gpr[GPR_RAX] == 0x11223344,
	   "a 32-bit load clears the upper half");
	ok(nr_seen == 1 && saw(0, 'r', DEVICE + 0x20, 4, 0) && cpu.rip == CODE + 3, "one read");
	ok(!(cpu.rflags & RFLAGS_RF), "RF is cleared");

	mode_64();
	cpu.gpr[GPR_RBX] = DEVICE;
	ok(RUN("\xc7\x43\x10\xfe\xff\xff\xff") == EMU_DONE && nr_seen == 1 &&
		   saw(0, 'w', DEVICE + 0x10, 4, 0xfffffffe),
	   "mov dword [device], imm32");
	nr_seen = 0, cpu.rip = CODE;
	ok(RUN("\x48\xc7\x43\x10\xfe\xff\xff\xff") == EMU_DONE && nr_seen == 1 &&
		   saw(0, 'w', DEVICE + 0x10, 8, 0xfffffffffffffffe),
	   "mov qword [device], imm32 sign-extends");
	nr_seen = 0, cpu.rip = CODE, device_value = 0x80;
	ok(RUN("\x83\x4b\x08\x01") == EMU_DONE && nr_seen == 2 && saw(0, 'r', DEVICE + 8, 4, 0) &&
		   saw(1, 'w', DEVICE + 8, 4, 0x81),
	   "or dword [device], 1: one read and one write");
	nr_seen = 0, cpu.rip = CODE, device_value = 0xfff0;
	ok(RUN("\x0f\xbe\x03") == EMU_DONE && cpu.gpr[GPR_RAX] == 0xfffffff0 && nr_seen == 1,
	   "movsx eax, byte [device]: what a device gives beyond a byte is cut");
	nr_seen = 0, cpu.rip = CODE, cpu.gpr[GPR_RBX] = DEVICE + 0x1000 - 0x50;
	cpu.gpr[GPR_RCX] = 0x1234;
	ok(RUN("\x66\x89\x4b\x4d") == EMU_DONE && nr_seen == 1 &&
		   saw(0, 'w', DEVICE + 0xffd, 2, 0x1234),
	   "an unaligned access within the page stays one");
}

static void test_moves_between(void)
{
	mode_64();
	cpu.gpr[GPR_RSI] = DEVICE;
	cpu.gpr[GPR_RDI] = HOLE;
	ok(faulted(RUN("\xa5"), VEC_PF, PF_ERR_W) && fault.cr2 == HOLE && nr_seen == 0,
	   "movs from a device to a missing page: the device is not read");
	ok(cpu.gpr[GPR_RSI] == DEVICE && cpu.rip == CODE, "... and nothing moved");
	cpu.gpr[GPR_RDI] = DATA;
	device_value = 0x55667788;
	ok(RUN("\xa5") == EMU_DONE && peek(DATA, 4) == 0x55667788 && nr_seen == 1 &&
		   cpu.gpr[GPR_RSI] == DEVICE + 4 && cpu.gpr[GPR_RDI] == DATA + 4,
	   "movs from a device to RAM");
	nr_seen = 0, cpu.rip = CODE, cpu.rflags |= RFLAGS_DF;
	cpu.gpr[GPR_RSI] = DEVICE + 8, cpu.gpr[GPR_RDI] = DEVICE + 0x80;
	ok(RUN("\x48\xa5") == EMU_DONE && nr_seen == 2 && saw(0, 'r', DEVICE + 8, 8, 0) &&
		   saw(1, 'w', DEVICE + 0x80, 8, 0x55667788) && cpu.gpr[GPR_RSI] == DEVICE &&
		   cpu.gpr[GPR_RDI] == DEVICE + 0x78,
	   "movs from device to device, downwards");
}

static void test_rep(void)
{
	unsigned calls = 0;

	mode_64();
	cpu.gpr[GPR_RDI] = DEVICE;
	cpu.gpr[GPR_RCX] = 1000;
	cpu.gpr[GPR_RAX] = 0xabcd;
	while (cpu.rip == CODE && calls < 10 && RUN("\xf3\xaa") == EMU_DONE) {
		if (calls++ == 0)
			ok(cpu.rip == CODE && cpu.gpr[GPR_RCX] == 1000 - EMU_REP_MAX &&
				   cpu.gpr[GPR_RDI] == DEVICE + EMU_REP_MAX &&
				   nr_seen == EMU_REP_MAX && (cpu.rflags & RFLAGS_RF),
			   "a long rep stos stops on itself, with RF");
	}
	ok(calls == 4 && nr_seen == 1000 && cpu.gpr[GPR_RCX] == 0 && cpu.rip == CODE + 2 &&
		   !(cpu.rflags & RFLAGS_RF) && saw(999, 'w', DEVICE + 999, 1, 0xcd),
	   "... and goes on to its end");

	mode_64();
	cpu.gpr[GPR_RSI] = DEVICE;
	cpu.gpr[GPR_RDI] = HOLE - 3;
	cpu.gpr[GPR_RCX] = 10;
	ok(faulted(RUN("\xf3\xa4"), VEC_PF, PF_ERR_W) && fault.cr2 == HOLE &&
		   cpu.gpr[GPR_RCX] == 7 && cpu.gpr[GPR_RSI] == DEVICE + 3 &&
		   cpu.gpr[GPR_RDI] == HOLE && nr_seen == 3 && cpu.rip == CODE,
	   "a fault in the fourth element finds three done");

	mode_64();
	cpu.gpr[GPR_RDI] = HOLE;
	ok(RUN("\xf3\xab") == EMU_DONE && cpu.rip == CODE + 2 && nr_seen == 0,
	   "rep with a count of 0 touches nothing");
	cpu.rip = CODE, cpu.gpr[GPR_RCX] = 5, cpu.gpr[GPR_RDI] = DATA, cpu.gpr[GPR_RSI] = DATA + 64;
	ok(RUN("\xf3\xa4") == EMU_DONE && cpu.gpr[GPR_RCX] == 4 && cpu.rip == CODE,
	   "between RAM and RAM the guest goes on by itself");
	cpu.gpr[GPR_RSI] = DEVICE, cpu.gpr[GPR_RDI] = DATA, cpu.gpr[GPR_RCX] = 9;
	device_value = 7, poke(DATA, 0x0707070707070007, 8), poke(DATA + 8, 7, 8);
	ok(RUN("\xf3\xa6") == EMU_DONE && cpu.gpr[GPR_RCX] == 7 && cpu.rip == CODE + 2 &&
		   !(cpu.rflags & RFLAGS_ZF),
	   "repe cmps stops at a difference");
	mode_real();
	cpu.gpr[GPR_RCX] = 0xffff0002, cpu.gpr[GPR_RDI] = 0x1234ffff;
	cpu.seg[SEG_ES].base = DEVICE;
	ok(RUN("\xf3\xaa") == EMU_DONE && cpu.gpr[GPR_RCX] == 0xffff0000 &&
		   cpu.gpr[GPR_RDI] == 0x12340001 && saw(1, 'w', DEVICE, 1, 0),
	   "16-bit counts and pointers wrap in their lower half");
}

static void test_single_step(void)
{
	mode_64();
	cpu.rflags |= RFLAGS_TF;
	cpu.gpr[GPR_RBX] = DEVICE;
	ok(RUN("\x89\x03") == EMU_DONE && cpu.step_trap, "TF: the trap is reported");
	cpu.rflags &= ~RFLAGS_TF;
	cpu.rip = CODE;
	ok(RUN("\x89\x03") == EMU_DONE && !cpu.step_trap, "no TF: none");
	mode_64();
	cpu.rflags |= RFLAGS_TF;
	cpu.gpr[GPR_RDI] = DEVICE, cpu.gpr[GPR_RCX] = 3;
	ok(RUN("\xf3\xab") == EMU_DONE && cpu.step_trap && cpu.gpr[GPR_RCX] == 2 &&
		   cpu.rip == CODE && (cpu.rflags & RFLAGS_RF),
	   "TF: a trap after each element");
}

static void test_fetch(void)
{
	static const uint8_t load[] = {0x8b, 0x43, 0x20};
	uint8_t buf[INSN_MAX_LENGTH];

	mode_64();
	cpu.gpr[GPR_RBX] = DEVICE;
	cpu.rip = CODE + 0xffe;
	ok(RUN("\x8b\x43\x20") == EMU_DONE && cpu.rip == CODE + 0x1001 && nr_seen == 1,
	   "an instruction that crosses a page");
	cpu.rip = CODE2 + 0xffe;
	memcpy(guestmem_flat_at(&gm, cpu.rip, 3), load, 3);
	ok(faulted(emulate(&cpu, &gm, &ops, NULL, &fault), VEC_PF, PF_ERR_I) &&
		   fault.cr2 == CODE2 + 0x1000,
	   "... into a missing one: #PF for a fetch");
	is_u64(emu_fetch(&cpu, &gm, buf), 2, "emu_fetch stops there");
	poke(CODE2 + 0xffe, 0x038b, 2);
	ok(emulate(&cpu, &gm, &ops, NULL, &fault) == EMU_DONE,
	   "one that ends at the page's end does not need the next");
	mode_64();
	cpu.gpr[GPR_RBX] = DEVICE;
	poke(CODE, 0x20ffff, 3);
	memcpy(cpu.fetched, load, 2);
	cpu.nr_fetched = 2;
	ok(emulate(&cpu, &gm, &ops, NULL, &fault) == EMU_DONE && cpu.rip == CODE + 3 &&
		   saw(0, 'r', DEVICE + 0x20, 4, 0),
	   "what the assist gave is used, the rest is fetched");
	cpu.rip = DEVICE, cpu.nr_fetched = 0;
	ok(emulate(&cpu, &gm, &ops, NULL, &fault) == EMU_UNSUPPORTED && fault.why,
	   "code in a device is not executed");
	cpu.rip = 0x0000800000000000;
	ok(faulted(emulate(&cpu, &gm, &ops, NULL, &fault), VEC_GP, 0),
	   "a RIP that is not canonical");

	mode_real();
	cpu.seg[SEG_CS].base = CODE;
	cpu.seg[SEG_DS].base = DEVICE;
	cpu.seg[SEG_CS].limit = 0x102;
	cpu.rip = 0x100;
	ok(RUN("\x8b\x47\x20") == EMU_DONE && saw(0, 'r', DEVICE + 0x20, 2, 0),
	   "up to the CS limit");
	cpu.rip = 0x101;
	ok(faulted(RUN("\x8b\x47\x20"), VEC_GP, 0), "beyond the CS limit");
	mode_64();
	ok(faulted(RUN("\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x8b\x03"), VEC_GP,
		   0),
	   "more than 15 bytes");
	ok(faulted(RUN("\xf0\x8b\x03"), VEC_UD, 0), "lock mov");
	ok(RUN("\x0f\x10\x03") == EMU_UNSUPPORTED && fault.nr_bytes >= 3 &&
		   memcmp(fault.bytes, "\x0f\x10\x03", 3) == 0 && cpu.rip == CODE,
	   "an instruction that is not supported is reported with its bytes");
	ok(RUN("\x0f\xa2") == EMU_UNSUPPORTED, "and so is one that has nothing to do with memory");
}

static void test_segments(void)
{
	mode_32();
	cpu.gpr[GPR_RBX] = DATA;
	cpu.seg[SEG_DS].limit = DATA + 3;
	ok(RUN("\x8b\x03") == EMU_DONE, "the last dword within the limit");
	cpu.rip = CODE, cpu.seg[SEG_DS].limit--;
	ok(faulted(RUN("\x8b\x03"), VEC_GP, 0), "beyond the limit");
	cpu.seg[SEG_SS].limit = 0x1000, cpu.gpr[GPR_RBP] = 0xffe;
	ok(faulted(RUN("\x8b\x45\x00"), VEC_SS, 0), "beyond the stack's limit: #SS");
	ok(RUN("\x3e\x8a\x45\x00") == EMU_DONE, "unless another segment is named");
	mode_32();
	cpu.gpr[GPR_RBX] = UINT32_MAX;
	cpu.seg[SEG_DS].limit = UINT32_MAX;
	ok(faulted(RUN("\x8b\x03"), VEC_GP, 0), "wrapping at 4 GiB exceeds any limit");

	mode_32();
	cpu.gpr[GPR_RBX] = 0x2000;
	cpu.seg[SEG_DS].attr |= 4; /* expand-down */
	cpu.seg[SEG_DS].limit = 0x1fff;
	cpu.seg[SEG_DS].base = DATA - 0x2000;
	ok(RUN("\x8b\x03") == EMU_DONE, "expand-down: above the limit");
	cpu.rip = CODE, cpu.gpr[GPR_RBX] = 0x1fff;
	ok(faulted(RUN("\x8b\x03"), VEC_GP, 0), "expand-down: at the limit");
	cpu.seg[SEG_DS].attr &= (uint16_t)~ATTR_DB;
	cpu.gpr[GPR_RBX] = 0xfffe;
	ok(faulted(RUN("\x8b\x03"), VEC_GP, 0), "expand-down: beyond 64K of a small segment");

	mode_32();
	cpu.gpr[GPR_RBX] = DATA;
	cpu.seg[SEG_DS].attr &= (uint16_t)~2;
	ok(faulted(RUN("\x89\x03"), VEC_GP, 0), "a write to a read-only segment");
	ok(faulted(RUN("\x01\x03"), VEC_GP, 0), "a read-modify-write to one");
	ok(RUN("\x39\x03") == EMU_DONE, "but a compare is a read");
	cpu.rip = CODE;
	ok(faulted(RUN("\x2e\x89\x03"), VEC_GP, 0), "a write to the code segment");
	ok(RUN("\x2e\x8b\x03") == EMU_DONE, "a read from it");
	cpu.rip = CODE, cpu.seg[SEG_CS].attr &= (uint16_t)~2;
	ok(faulted(RUN("\x2e\x8b\x03"), VEC_GP, 0), "a read from an execute-only one");
	cpu.seg[SEG_DS].attr = 0;
	ok(faulted(RUN("\x8b\x03"), VEC_GP, 0), "a null segment");

	mode_32();
	cpu.seg[SEG_DS].base = 0xfffff000, cpu.gpr[GPR_RBX] = 0x21000;
	poke(DATA, 0x1234, 4);
	ok(RUN("\x8b\x03") == EMU_DONE && cpu.gpr[GPR_RAX] == 0x1234,
	   "base plus offset wraps at 4 GiB");
	cpu.rip = CODE, cpu.gpr[GPR_RBX] = 0xffe, cpu.gpr[GPR_RAX] = 0x44332211;
	ok(RUN("\x89\x03") == EMU_DONE && nr_seen == 1 && saw(0, 'w', 0xfffffffe, 2, 0x2211) &&
		   peek(0, 2) == 0x4433,
	   "and so does an operand that lies across");
	mode_64();
	cpu.seg[SEG_DS].base = 0x1000, cpu.seg[SEG_GS].base = 0x100;
	cpu.seg[SEG_DS].limit = 0, cpu.seg[SEG_DS].attr = 0;
	cpu.gpr[GPR_RBX] = DATA, poke(DATA + 0x100, 0x77, 4);
	ok(RUN("\x65\x8b\x03") == EMU_DONE && cpu.gpr[GPR_RAX] == 0x77,
	   "64-bit: GS has a base, the other segments are nothing");
	cpu.rip = CODE, cpu.gpr[GPR_RBX] = 0x00007fffffffffff;
	ok(faulted(RUN("\x8b\x03"), VEC_GP, 0), "64-bit: the end is not canonical");
	cpu.gpr[GPR_RSP] = 0x0000800000000000;
	ok(faulted(RUN("\x8b\x04\x24"), VEC_SS, 0), "64-bit: #SS when RSP is the base");
	cpu.paging.cr4 |= CR4_LA57;
	ok(!faulted(RUN("\x8b\x04\x24"), VEC_SS, 0), "64-bit: 57 bits with LA57");
	mode_real();
	cpu.gpr[GPR_RBX] = 0xffff;
	ok(faulted(RUN("\x8b\x07"), VEC_GP, 0), "real mode: a word at ffff");
	ok(RUN("\x8a\x07") == EMU_DONE, "real mode: a byte at ffff");
}

static void test_paging(void)
{
	mode_64();
	cpu.gpr[GPR_RBX] = DATA, cpu.cpl = 3;
	poke(CODE, 0x038b, 2), memcpy(cpu.fetched, "\x8b\x03", 2), cpu.nr_fetched = 2;
	ok(faulted(emulate(&cpu, &gm, &ops, NULL, &fault), VEC_PF, PF_ERR_P | PF_ERR_U),
	   "the user cannot read the kernel's page");
	cpu.cpl = 0, cpu.paging.cr4 |= CR4_SMAP, cpu.gpr[GPR_RBX] = USER;
	ok(faulted(emulate(&cpu, &gm, &ops, NULL, &fault), VEC_PF, PF_ERR_P), "SMAP");
	cpu.rflags |= RFLAGS_AC;
	ok(emulate(&cpu, &gm, &ops, NULL, &fault) == EMU_DONE, "SMAP with AC");

	mode_64();
	cpu.gpr[GPR_RBX] = HOLE - 2;
	cpu.gpr[GPR_RAX] = 0x11223344, poke(HOLE - 2, 0, 2);
	ok(faulted(RUN("\x89\x03"), VEC_PF, PF_ERR_W) && fault.cr2 == HOLE &&
		   peek(HOLE - 2, 2) == 0,
	   "a store across pages: CR2 is in the second, the first is unchanged");
	cpu.paging.cr3 = 0x100000000;
	memcpy(cpu.fetched, "\x8b\x03", 2), cpu.nr_fetched = 2;
	ok(emulate(&cpu, &gm, &ops, NULL, &fault) == EMU_UNSUPPORTED,
	   "page tables that are no RAM");

	mode_64();
	cpu.paging.cr0 |= CR0_AM, cpu.rflags |= RFLAGS_AC, cpu.cpl = 3;
	cpu.gpr[GPR_RBX] = USER + 2;
	memcpy(cpu.fetched, "\x8b\x03", 2), cpu.nr_fetched = 2;
	ok(faulted(emulate(&cpu, &gm, &ops, NULL, &fault), VEC_AC, 0), "alignment check");
	cpu.gpr[GPR_RBX] = USER + 4;
	ok(emulate(&cpu, &gm, &ops, NULL, &fault) == EMU_DONE, "aligned: none");
}

static void test_hint(void)
{
	mode_64();
	cpu.gpr[GPR_RBX] = HOLE + 0x30; /* a walk would fault */
	cpu.hint = (struct emu_hint){true, false, false, DEVICE + 0x30};
	ok(RUN("\x8b\x03") == EMU_DONE && saw(0, 'r', DEVICE + 0x30, 4, 0),
	   "a read goes by the hint");
	cpu.rip = CODE, cpu.hint = (struct emu_hint){true, false, false, DEVICE + 0x30};
	ok(faulted(RUN("\x01\x03"), VEC_PF, PF_ERR_W), "a write does not go by a read's hint");
	cpu.hint = (struct emu_hint){true, true, false, DEVICE + 0x30};
	ok(RUN("\x01\x03") == EMU_DONE, "but by a write's");
	cpu.rip = CODE, cpu.hint = (struct emu_hint){true, true, false, DEVICE + 0x34};
	ok(faulted(RUN("\x8b\x03"), VEC_PF, 0), "nor by one for another place in the page");
	cpu.gpr[GPR_RSI] = DATA + 0x30, cpu.gpr[GPR_RDI] = DATA + 0x30;
	cpu.hint = (struct emu_hint){true, true, false, DEVICE + 0x30};
	nr_seen = 0;
	ok(RUN("\xa4") == EMU_DONE && nr_seen == 0, "movs has two operands: no hint");
	cpu.rip = CODE, cpu.gpr[GPR_RDI] = HOLE - 4, cpu.gpr[GPR_RCX] = 2;
	cpu.hint = (struct emu_hint){true, true, false, DEVICE + 0xffc};
	ok(faulted(RUN("\xf3\xab"), VEC_PF, PF_ERR_W) && nr_seen == 1 && cpu.gpr[GPR_RCX] == 1,
	   "a rep's hint is for its first element only");
}

static void test_ports(void)
{
	mode_64();
	cpu.gpr[GPR_RDX] = 0x1f0, cpu.gpr[GPR_RDI] = DATA, cpu.gpr[GPR_RCX] = 3;
	cpu.io_size = 2, device_value = 0xa0;
	ok(RUN("\xf3\x66\x6d") == EMU_DONE && nr_seen == 3 && saw(2, 'i', 0x1f0, 2, 0) &&
		   peek(DATA, 4) == 0x00a100a0 && peek(DATA + 4, 2) == 0xa2 &&
		   cpu.gpr[GPR_RDI] == DATA + 6 && cpu.rip == CODE + 3,
	   "rep insw");
	cpu.rip = CODE, cpu.gpr[GPR_RDI] = HOLE, cpu.gpr[GPR_RCX] = 3, nr_seen = 0;
	ok(faulted(RUN("\xf3\x66\x6d"), VEC_PF, PF_ERR_W) && nr_seen == 0,
	   "ins to a missing page does not read the port");
	cpu.gpr[GPR_RSI] = DATA, cpu.io_size = 1;
	ok(RUN("\x6e") == EMU_DONE && nr_seen == 1 && saw(0, 'o', 0x1f0, 1, 0xa0), "outsb");
	cpu.rip = CODE, cpu.io_size = 1, nr_seen = 0;
	ok(RUN("\x6f") == EMU_RETRY && nr_seen == 0 && cpu.rip == CODE,
	   "another size: changed, again");
	cpu.gpr[GPR_RBX] = DEVICE;
	ok(RUN("\x8b\x03") == EMU_RETRY && nr_seen == 0, "another instruction: changed, again");
	cpu.io_size = 0;
	ok(RUN("\x6e") == EMU_UNSUPPORTED && nr_seen == 0,
	   "a port instruction without a port exit");
}

static void test_stack_and_locks(void)
{
	mode_32();
	cpu.gpr[GPR_RBX] = DEVICE, device_value = 0x99;
	cpu.seg[SEG_SS].attr &= (uint16_t)~ATTR_DB;
	cpu.gpr[GPR_RSP] = 0xabcd0000;
	ok(RUN("\xff\x33") == EMU_DONE && cpu.gpr[GPR_RSP] == 0xabcdfffc && peek(0xfffc, 4) == 0x99,
	   "push [device] on a 16-bit stack");
	cpu.rip = CODE;
	ok(RUN("\x8f\x03") == EMU_DONE && cpu.gpr[GPR_RSP] == 0xabcd0000 &&
		   saw(1, 'w', DEVICE, 4, 0x99),
	   "pop [device]");
	mode_32();
	cpu.gpr[GPR_RSP] = DATA, poke(DATA, 0x5a, 4);
	ok(RUN("\x8f\x44\x24\x04") == EMU_DONE && peek(DATA + 8, 4) == 0x5a,
	   "pop [esp + 4] uses the new ESP");
	poke(DATA + 16, 0xff, 8), cpu.gpr[GPR_RBX] = DATA + 16, cpu.rip = CODE;
	ok(RUN("\xf0\xfe\x03") == EMU_DONE && peek(DATA + 16, 2) == 0, "lock inc in RAM");
	cpu.gpr[GPR_RBX] = DATA + 17, cpu.rip = CODE;
	ok(RUN("\xf0\xff\x03") == EMU_UNSUPPORTED && peek(DATA + 16, 8) == 0,
	   "lock inc in RAM, unaligned: not done half");
	poke(DATA, 0, 2);
	cpu.gpr[GPR_RBX] = DATA, cpu.rip = CODE;
	ok(RUN("\x66\x8c\x0b") == EMU_DONE && peek(DATA, 2) == 8, "mov [mem], cs");
}

static void test_modes(void)
{
	mode_64();
	is_u64(emu_mode(&cpu), INSN_MODE_64, "CS.L in long mode");
	cpu.paging.efer = 0;
	cpu.seg[SEG_CS].attr |= ATTR_DB;
	is_u64(emu_mode(&cpu), INSN_MODE_32, "CS.L outside long mode is nothing, CS.D counts");
	mode_real();
	is_u64(emu_mode(&cpu), INSN_MODE_16, "real mode");
	mode_64();
	cpu.seg[SEG_CS].attr = ATTR_P | ATTR_S | ATTR_DB | 0xb;
	cpu.gpr[GPR_RBX] = DEVICE | 0xffffffff00000000;
	ok(RUN("\x8b\x03") == EMU_DONE && saw(0, 'r', DEVICE, 4, 0),
	   "compatibility mode: addresses have 32 bits");
	/* A page-crossing operand, RAM then device, in 4-level tables of the guest's choice. */
	mode_64();
	poke(TABLES + 0x3000 + 8 * ((DATA >> 12) + 1), DEVICE | PTE_KERNEL, 8);
	cpu.gpr[GPR_RBX] = DATA + 0xfff, cpu.gpr[GPR_RAX] = 0x44332211;
	ok(RUN("\x89\x03") == EMU_DONE && peek(DATA + 0xfff, 1) == 0x11 && nr_seen == 2 &&
		   saw(0, 'w', DEVICE, 2, 0x3322) && saw(1, 'w', DEVICE + 2, 1, 0x44),
	   "a store across RAM and device: natural pieces");
}

int main(void)
{
	char err[80];

	guestmem_init(&gm, err, sizeof(err));
	guestmem_add_ram(&gm, ipa(0), RAM_SIZE);
	test_device_access();
	test_moves_between();
	test_rep();
	test_single_step();
	test_fetch();
	test_segments();
	test_paging();
	test_hint();
	test_ports();
	test_stack_and_locks();
	test_modes();
	guestmem_destroy(&gm);
	return tap_done();
}

/* SPDX-License-Identifier: BSD-2-Clause */
// links: arch/x86/emulate.c arch/x86/emulate_alu.c arch/x86/decode.c arch/x86/guest_walk.c
/*
 * Emulation while other vCPUs change what it works on: a locked operation that loses, and page
 * tables that do not hold still. Nothing may be half done, and what has been done is kept.
 */
#include "arch/x86/emulate.h"
#include "arch/x86/regs.h"
#include "arch/x86/vmcb.h"
#include "lib/errno.h"
#include "lib/util.h"
#include "tests/tap.h"
#include "vm/guestmem.h"

#define CODE	  0x1000U
#define TABLE	  0x2000U /* 32-bit: page directory, then the table of the first 4 MiB */
#define DATA	  0x4000U
#define DEVICE	  0x100000U
#define MEMORY	  0x10000U
#define CODE_ATTR (ATTR_P | ATTR_S | ATTR_DB | 0xb)

static _Alignas(8) uint8_t memory[MEMORY];
static void (*before_exchange)(void);
static unsigned device_writes;
static struct emu_cpu cpu;

int guestmem_read(struct guestmem *gm, ipa_t at, void *dst, size_t n)
{
	(void)gm;
	if (!range_fits(at.v, n, MEMORY))
		return -EFAULT;
	memcpy(dst, memory + at.v, n);
	return 0;
}

int guestmem_write(struct guestmem *gm, ipa_t at, const void *src, size_t n)
{
	(void)gm;
	if (!range_fits(at.v, n, MEMORY))
		return -EFAULT;
	memcpy(memory + at.v, src, n);
	return 0;
}

int guestmem_cmpxchg(struct guestmem *gm, ipa_t at, unsigned size, uint64_t *expected,
		     uint64_t desired)
{
	uint64_t found = 0;

	(void)gm;
	if (before_exchange)
		before_exchange();
	if (!range_fits(at.v, size, MEMORY))
		return -EFAULT;
	memcpy(&found, memory + at.v, size);
	if (found != *expected) {
		*expected = found;
		return -EAGAIN;
	}
	memcpy(memory + at.v, &desired, size);
	return 0;
}

bool guestmem_is_ram(const struct guestmem *gm, ipa_t at, uint64_t size)
{
	(void)gm;
	return range_fits(at.v, size, MEMORY);
}

static void mmio_write(void *ctx, uint64_t gpa, unsigned size, uint64_t value)
{
	(void)ctx, (void)gpa, (void)size, (void)value;
	device_writes++;
}

static const struct emu_ops ops = {.mmio_write = mmio_write};

static void put32(uint32_t at, uint32_t v)
{
	memcpy(memory + at, &v, 4);
}

static uint32_t get32(uint32_t at)
{
	uint32_t v;

	memcpy(&v, memory + at, 4);
	return v;
}

static void set_up(const char *code, size_t n)
{
	memset(memory, 0, sizeof(memory));
	memset(&cpu, 0, sizeof(cpu));
	put32(TABLE, (TABLE + 0x1000) | 0x67);
	for (uint32_t page = 0; page < 1024; page++)
		put32(TABLE + 0x1000 + 4 * page, page << 12 | 0x67);
	memcpy(memory + CODE, code, n);
	for (unsigned i = 0; i < SEG_COUNT; i++)
		cpu.seg[i] = (struct emu_seg){.limit = UINT32_MAX, .attr = ATTR_P | ATTR_S | 3};
	cpu.seg[SEG_CS].attr = CODE_ATTR;
	cpu.rip = CODE;
	cpu.rflags = RFLAGS_ONE | RFLAGS_CF;
	cpu.paging = (struct guest_paging){.cr0 = CR0_PE | CR0_PG, .cr3 = TABLE, .phys_bits = 36};
	before_exchange = NULL;
	device_writes = 0;
}

static void other_increments(void)
{
	put32(DATA, get32(DATA) + 1);
	before_exchange = NULL;
}

/* Keeps changing a bit of the second device page's entry that software may use. */
static void other_never_stops(void)
{
	put32(TABLE + 0x1000 + 4 * (DEVICE / 0x1000 + 1),
	      get32(TABLE + 0x1000 + 4 * (DEVICE / 0x1000 + 1)) ^ 0x200);
}

int main(void)
{
	struct emu_fault fault;
	struct emu_cpu before;

	set_up("\xf0\xff\x03", 3); /* lock inc dword [ebx] */
	cpu.gpr[GPR_RBX] = DATA;
	put32(DATA, 7);
	before = cpu;
	before_exchange = other_increments;
	ok(emulate(&cpu, NULL, &ops, NULL, &fault) == EMU_RETRY && get32(DATA) == 8,
	   "a locked increment that lost has not happened");
	ok(memcmp(&cpu, &before, sizeof(cpu)) == 0, "... and left no trace");
	ok(emulate(&cpu, NULL, &ops, NULL, &fault) == EMU_DONE && get32(DATA) == 9 &&
		   cpu.rip == CODE + 3,
	   "... and happens the next time");

	set_up("\xf0\x0f\xb1\x0b", 4); /* lock cmpxchg [ebx], ecx */
	cpu.gpr[GPR_RBX] = DATA, cpu.gpr[GPR_RAX] = 1;
	before = cpu;
	before_exchange = other_increments;
	ok(emulate(&cpu, NULL, &ops, NULL, &fault) == EMU_RETRY &&
		   memcmp(&cpu, &before, sizeof(cpu)) == 0,
	   "an unequal cmpxchg that lost leaves the accumulator");

	set_up("\xf3\xab", 2); /* rep stosd: two elements, then a page whose entry changes */
	cpu.gpr[GPR_RDI] = DEVICE + 0xff8, cpu.gpr[GPR_RCX] = 4;
	put32(TABLE + 0x1000 + 4 * (DEVICE / 0x1000 + 1), (DEVICE + 0x1000) | 7);
	before_exchange = other_never_stops;
	ok(emulate(&cpu, NULL, &ops, NULL, &fault) == EMU_DONE && device_writes == 2 &&
		   cpu.gpr[GPR_RCX] == 2 && cpu.gpr[GPR_RDI] == DEVICE + 0x1000 &&
		   cpu.rip == CODE && (cpu.rflags & RFLAGS_RF),
	   "a rep whose third element cannot be translated keeps two");
	before = cpu;
	ok(emulate(&cpu, NULL, &ops, NULL, &fault) == EMU_RETRY && device_writes == 2 &&
		   memcmp(&cpu, &before, sizeof(cpu)) == 0,
	   "... and when it begins there, nothing has happened");
	return tap_done();
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fuzzes instruction decoding and emulation: the input is a vCPU's state, its instruction and its
 * page tables. Decoding reads no more than it says and is the same with exactly those bytes;
 * emulation touches devices in natural sizes within a page, leaves the vCPU alone when it says so,
 * and moves RIP by the instruction's length or not at all.
 */
// links: arch/x86/emulate.c arch/x86/emulate_alu.c arch/x86/decode.c arch/x86/guest_walk.c
#include <stdlib.h>
#include <string.h>

#include "arch/x86/emulate.h"
#include "arch/x86/regs.h"
#include "lib/check.h"
#include "lib/util.h"
#include "mm/types.h"
#include "tests/host/guestmem_flat.h"
#include "vm/guestmem.h"

#define RAM_SIZE (64 * KIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the input decides, in this order; a short input leaves the rest zero. */
struct fuzz_input {
	uint8_t mode;
	uint8_t code[INSN_MAX_LENGTH];
	uint8_t cpl, io_size, nr_fetched, phys_bits, paging_flags, hint_flags;
	uint64_t gpr[GPR_COUNT];
	uint64_t rip, rflags, cr0, cr3, cr4, efer, hint_gpa;
	uint32_t pkru;
	struct {
		uint32_t base, limit;
		uint16_t attr;
	} seg[SEG_COUNT];
	uint64_t tables[64];
};

static struct guestmem gm;

static void check_device(uint64_t gpa, unsigned size)
{
	CHECK(is_pow2(size) && size <= 8 && (gpa & PAGE_MASK) + size <= PAGE_SIZE);
	CHECK(!guestmem_is_ram(&gm, ipa(gpa), size));
}

static uint64_t mmio_read(void *ctx, uint64_t gpa, unsigned size)
{
	(void)ctx;
	check_device(gpa, size);
	return gpa * 0x9e3779b97f4a7c15;
}

static void mmio_write(void *ctx, uint64_t gpa, unsigned size, uint64_t value)
{
	(void)ctx;
	check_device(gpa, size);
	CHECK(size == 8 || value >> (8 * size) == 0);
}

static uint32_t pio_read(void *ctx, uint16_t port, unsigned size)
{
	CHECK(size == *(uint8_t *)ctx);
	return port;
}

static void pio_write(void *ctx, uint16_t port, unsigned size, uint32_t value)
{
	(void)port;
	CHECK(size == *(uint8_t *)ctx && (size == 4 || value >> (8 * size) == 0));
}

static const struct emu_ops ops = {mmio_read, mmio_write, pio_read, pio_write};

static void check_decode(const uint8_t *code, size_t n, enum insn_mode mode)
{
	/* Exactly n bytes on the heap: the sanitizer sees one read too many. */
	uint8_t *exact = malloc(n ? n : 1);
	struct insn in, again;
	enum decode_result r;

	memcpy(exact, code, n);
	r = insn_decode(exact, n, mode, &in);
	CHECK(r != DECODE_OK || (in.op != INSN_OTHER && in.length >= 1));
	CHECK(r == DECODE_OK || r == DECODE_UNSUPPORTED || insn_length(exact, n, mode) == 0);
	if (in.length != 0) {
		CHECK(in.length <= n);
		CHECK(insn_decode(exact, in.length, mode, &again) == r);
		CHECK(memcmp(&in, &again, sizeof(in)) == 0);
		CHECK(insn_decode(exact, in.length - 1U, mode, &again) == DECODE_TRUNCATED);
	}
	free(exact);
}

static void set_cpu(struct emu_cpu *cpu, const struct fuzz_input *f)
{
	memset(cpu, 0, sizeof(*cpu));
	memcpy(cpu->gpr, f->gpr, sizeof(cpu->gpr));
	memcpy(cpu->fetched, f->code, sizeof(cpu->fetched));
	cpu->nr_fetched = f->nr_fetched;
	cpu->rip = f->rip;
	cpu->rflags = f->rflags;
	cpu->cpl = f->cpl & 3;
	cpu->io_size = f->io_size & 7;
	cpu->paging = (struct guest_paging){
		.cr0 = f->cr0,
		.cr3 = f->cr3 & (RAM_SIZE - 1),
		.cr4 = f->cr4,
		.efer = f->efer,
		.pkru = f->pkru,
		.phys_bits = (uint8_t)(32 + f->phys_bits % 21),
		.no_page_1g = f->paging_flags & 1,
		.amd = f->paging_flags & 2,
	};
	cpu->hint = (struct emu_hint){f->hint_flags & 1, f->hint_flags & 2, false, f->hint_gpa};
	for (unsigned i = 0; i < SEG_COUNT; i++)
		cpu->seg[i] = (struct emu_seg){
			.base = f->seg[i].base, .limit = f->seg[i].limit, .attr = f->seg[i].attr};
}

static void check_emulate(const struct fuzz_input *f)
{
	struct emu_cpu cpu, before;
	struct emu_fault fault;
	uint8_t buf[INSN_MAX_LENGTH];
	enum emu_result r;

	set_cpu(&cpu, f);
	CHECK(emu_fetch(&cpu, &gm, buf) <= INSN_MAX_LENGTH);
	before = cpu;
	r = emulate(&cpu, &gm, &ops, &cpu.io_size, &fault);
	CHECK(r == EMU_DONE || cpu.rip == before.rip);
	switch (r) {
	case EMU_DONE:
		CHECK(cpu.rip == before.rip ? (cpu.rflags & RFLAGS_RF) != 0
					    : (uint32_t)(cpu.rip - before.rip) <= INSN_MAX_LENGTH);
		break;
	case EMU_FAULT:
		CHECK(fault.vector == VEC_UD || fault.has_error);
		break;
	case EMU_UNSUPPORTED:
		CHECK(fault.why && fault.nr_bytes <= INSN_MAX_LENGTH);
		break;
	case EMU_RETRY:
		CHECK(memcmp(cpu.gpr, before.gpr, sizeof(cpu.gpr)) == 0 &&
		      cpu.rflags == before.rflags);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool ready;
	struct fuzz_input f = {0};
	char err[80];

	memcpy(&f, data, size < sizeof(f) ? size : sizeof(f));
	check_decode(f.code, f.mode / 3 % (INSN_MAX_LENGTH + 1U), (enum insn_mode)(f.mode % 3));
	if (!ready && (guestmem_init(&gm, err, sizeof(err)) != 0 ||
		       guestmem_add_ram(&gm, ipa(0), RAM_SIZE) != 0))
		abort();
	ready = true;
	/* The same tables everywhere: whatever an entry points to within RAM is one again. */
	for (uint64_t at = 0; at < RAM_SIZE; at += sizeof(f.tables))
		guestmem_write(&gm, ipa(at), f.tables, sizeof(f.tables));
	check_emulate(&f);
	return 0;
}

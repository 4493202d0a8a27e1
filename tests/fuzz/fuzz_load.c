/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fuzzes the kernel loaders. The first bytes of the input choose the guest and what comes along,
 * the rest is the kernel. Whatever it is: a refusal has a message, nothing is written where the
 * guest has no RAM, and what was loaded starts in RAM with its initrd and modules whole and apart.
 */
// links: vm/load/load.c vm/load/place.c vm/load/bzimage.c vm/load/multiboot1.c vm/load/elf.c
// links: lib/format.c lib/string.c tests/host/guestmem_flat.c
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "lib/check.h"
#include "lib/util.h"
#include "tests/host/guestmem_flat.h"
#include "vm/guestmem.h"
#include "lib/bytes.h"
#include "vm/load/load.h"

#define CONTROL_SIZE 4
#define NR_EXTRAS    3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct guestmem mem;
static struct e820_entry map[5];
static uint8_t extra_bytes[NR_EXTRAS][20000];

static unsigned add_entry(unsigned n, uint64_t base, uint64_t size, uint32_t type)
{
	map[n] = (struct e820_entry){base, size, type};
	if (type == E820_RAM)
		CHECK(guestmem_add_ram(&mem, ipa(base), align_up(size, PAGE_SIZE)) == 0);
	return n + 1;
}

static unsigned make_map(uint64_t size)
{
	unsigned n = add_entry(0, 0, 0x9fc00, E820_RAM);

	n = add_entry(n, 0xe0000, 0x20000, E820_RESERVED);
	n = add_entry(n, MIB, min_u64(size, 3 * GIB) - MIB, E820_RAM);
	if (size > 3 * GIB)
		n = add_entry(n, 4 * GIB, size - 3 * GIB, E820_RAM);
	return n;
}

static bool is_extra(uint64_t addr, uint64_t size, unsigned i)
{
	const uint8_t *p = guestmem_flat_at(&mem, addr, size);

	return p != NULL && memcmp(p, extra_bytes[i], size) == 0;
}

static void check_linux(const struct load_request *req, const struct vcpu_start *start)
{
	const uint8_t *zp = guestmem_flat_at(&mem, start->rsi, 4096);
	const char *cmdline;

	CHECK(zp != NULL && zp[0x1e8] == req->nr_e820 && zp[0x210] == 0xff);
	cmdline = (const char *)guestmem_flat_at(&mem, get_le32(zp + 0x228), 4096);
	CHECK(cmdline != NULL && strcmp(cmdline, req->cmdline) == 0);
	CHECK(guestmem_flat_at(&mem, start->cr3, 4096) != NULL);
	CHECK(guestmem_flat_at(&mem, start->gdt_base, 32) != NULL);
	CHECK(get_le32(zp + 0x214) + 0x200ULL == start->entry);
	if (req->initrd != NULL)
		CHECK(get_le32(zp + 0x21c) == req->initrd->size &&
		      is_extra(get_le32(zp + 0x218), req->initrd->size, 0));
}

static void check_multiboot(const struct load_request *req, const struct vcpu_start *start)
{
	const uint8_t *info = guestmem_flat_at(&mem, start->rbx, 116);
	const uint8_t *mods;

	CHECK(info != NULL && get_le32(info + 20) == req->nr_modules);
	CHECK(get_le32(info + 44) == req->nr_e820 * 24);
	CHECK(guestmem_flat_at(&mem, get_le32(info + 16), strlen(req->cmdline) + 1) != NULL);
	mods = guestmem_flat_at(&mem, get_le32(info + 24), req->nr_modules * 16);
	for (unsigned i = 0; i < req->nr_modules; i++) {
		uint32_t base = get_le32(mods + i * 16), end = get_le32(mods + i * 16 + 4);

		CHECK(end - base == req->modules[i].size && is_extra(base, end - base, i));
	}
}

/* Bits of `control`: 0-1 memory size, 2 an initrd, 3-4 modules, 5 1 GiB pages, 6 a long command
 * line. */
static void run(const uint8_t *control, const uint8_t *image, size_t size)
{
	static const uint64_t sizes[] = {2 * MIB, 48 * MIB, 300 * MIB, 5 * GIB};
	static char cmdline[3000];
	struct load_image extras[NR_EXTRAS];
	struct load_request req = {
		.kernel = {.name = "kernel", .data = image, .size = size},
		.initrd = (control[0] & 4) != 0 ? &extras[0] : NULL,
		.modules = extras,
		.nr_modules = control[0] >> 3 & 3,
		.cmdline = cmdline,
		.e820 = map,
		.rsdp = 0xe0000,
		.gib_pages = (control[0] & 32) != 0,
	};
	struct vcpu_start start;
	char err[200];
	int ret;

	for (unsigned i = 0; i < NR_EXTRAS; i++) {
		memset(extra_bytes[i], 0xe0 + (int)i, sizeof(extra_bytes[i]));
		extras[i] = (struct load_image){
			.name = "extra", .data = extra_bytes[i], .size = control[1 + i] * 77ULL};
	}
	memset(cmdline, 'c', sizeof(cmdline));
	cmdline[(control[0] & 64) != 0 ? sizeof(cmdline) - 1 : 20] = '\0';
	req.nr_e820 = make_map(sizes[control[0] & 3]);

	ret = load_kernel(&mem, &req, &start, err, sizeof(err));
	CHECK(ret != -EFAULT); /* the map is right: no place outside of RAM may be chosen */
	CHECK((ret == 0) == (err[0] == '\0'));
	if (ret != 0)
		return;
	CHECK(guestmem_flat_at(&mem, start.entry, 1) != NULL);
	if (start.mode == START_X86_LONG)
		check_linux(&req, &start);
	else
		check_multiboot(&req, &start);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char err[100];

	if (size < CONTROL_SIZE)
		return 0;
	CHECK(guestmem_init(&mem, err, sizeof(err)) == 0);
	run(data, data + CONTROL_SIZE, size - CONTROL_SIZE);
	guestmem_destroy(&mem);
	return 0;
}

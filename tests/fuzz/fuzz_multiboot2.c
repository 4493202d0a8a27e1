/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fuzzes what the boot loader hands over, and what is made of its memory map. Whatever the bytes:
 * the result points into itself only, no range wraps, and memory that we would use is RAM that
 * nobody else has.
 */
// links: boot/multiboot2.c boot/memory.c lib/format.c lib/string.c
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "boot/memory.h"
#include "boot/multiboot2.h"
#include "lib/check.h"
#include "lib/util.h"

#define INFO_BASE 0x200000ULL
#define LIMIT	  (1ULL << 46)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct boot_info info;
static struct boot_memory memory;

static void check_string(const char *s)
{
	uintptr_t at = (uintptr_t)s, from = (uintptr_t)info.strings;

	CHECK(s != NULL);
	if (s[0] == '\0')
		return; /* "" may be a literal */
	CHECK(at >= from && at < from + sizeof(info.strings));
	CHECK(memchr(s, '\0', from + sizeof(info.strings) - at) != NULL);
}

static void check_range(uint64_t base, uint64_t size)
{
	uint64_t end;

	CHECK(!__builtin_add_overflow(base, size, &end));
}

static void check_info(void)
{
	check_string(info.cmdline);
	check_string(info.loader);
	CHECK(info.nr_mem <= BOOT_MAX_RANGES && info.nr_modules <= BOOT_MAX_MODULES);
	CHECK(info.nr_sections <= BOOT_MAX_SECTIONS && info.nr_complaints <= BOOT_MAX_COMPLAINT);
	CHECK(info.rsdp_v1_size <= sizeof(info.rsdp_v1));
	CHECK(info.rsdp_v2_size <= sizeof(info.rsdp_v2));
	CHECK(info.strings_used <= sizeof(info.strings));
	for (size_t i = 0; i < info.nr_mem; i++) {
		CHECK(info.mem[i].range.size != 0);
		check_range(info.mem[i].range.base.v, info.mem[i].range.size);
	}
	for (size_t i = 0; i < info.nr_modules; i++) {
		check_string(info.modules[i].name);
		check_string(info.modules[i].args);
		CHECK(info.modules[i].data == NULL);
		check_range(info.modules[i].base.v, info.modules[i].size);
	}
	for (size_t i = 0; i < info.nr_complaints; i++)
		CHECK(info.complaints[i] != NULL && info.complaints[i][0] != '\0');
}

static void check_set(const struct range_set *s)
{
	CHECK(s->n <= RANGE_SET_MAX);
	for (size_t i = 0; i < s->n; i++) {
		CHECK(s->r[i].size != 0);
		CHECK(((s->r[i].base.v | s->r[i].size) & PAGE_MASK) == 0);
		check_range(s->r[i].base.v, s->r[i].size);
		CHECK(i == 0 || s->r[i - 1].base.v + s->r[i - 1].size < s->r[i].base.v);
	}
}

static bool overlaps(const struct mem_range *a, uint64_t base, uint64_t size)
{
	return size != 0 && a->base.v < base + size && base < a->base.v + a->size;
}

static void check_memory(void)
{
	check_set(&memory.ram);
	check_set(&memory.free);
	for (size_t i = 0; i < memory.free.n; i++) {
		const struct mem_range *r = &memory.free.r[i];

		CHECK(range_set_contains(&memory.ram, r->base.v, r->size));
		CHECK(r->base.v >= MIB && r->base.v + r->size <= LIMIT);
		CHECK(!overlaps(r, info.image.base.v, info.image.size));
		for (size_t j = 0; j < info.nr_modules; j++)
			CHECK(!overlaps(r, info.modules[j].base.v, info.modules[j].size));
		for (size_t j = 0; j < info.nr_mem; j++)
			CHECK(info.mem[j].type == BOOT_MEM_USABLE ||
			      !overlaps(r, info.mem[j].range.base.v, info.mem[j].range.size));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* A copy of exactly that size: the sanitizer sees a byte read beyond. */
	uint8_t *copy = malloc(size != 0 ? size : 1);

	memcpy(copy, data, size);
	memset(&info, 0xa5, sizeof(info));
	info.image = (struct mem_range){pa(16 * MIB), MIB};
	if (multiboot2_parse(copy, size, pa(INFO_BASE), &info) == 0) {
		memset(copy, 0xee, size); /* the result must not need it any more */
		check_info();
		boot_memory_build(&info, LIMIT, &memory);
		boot_memory_check_modules(&info, &memory);
		check_info();
		check_memory();
	}
	free(copy);
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Range sets against a map with a byte per page, and the memory map as RAM and free memory: nothing
 * that is occupied, reserved or below 1 MiB is ever free.
 */
// links: boot/memory.c

#include "boot/memory.h"
#include "lib/util.h"
#include "tests/tap.h"

#include <stdlib.h>

#define PAGES 4096

static struct range_set set;
static uint8_t model[PAGES];

static uint32_t random_state = 1;

static uint32_t random_below(uint32_t n)
{
	random_state = random_state * 1664525 + 1013904223;
	return (random_state >> 8) % n;
}

/* The set is in order, and holds what the model holds. */
static bool agrees(void)
{
	uint8_t seen[PAGES] = {0};

	for (size_t i = 0; i < set.n; i++) {
		uint64_t base = set.r[i].base.v, end = base + set.r[i].size;

		if (set.r[i].size == 0 || end > PAGES * PAGE_SIZE)
			return false;
		if (i && set.r[i - 1].base.v + set.r[i - 1].size >= base)
			return false;
		for (uint64_t p = base / PAGE_SIZE; p < end / PAGE_SIZE; p++)
			seen[p] = 1;
	}
	return memcmp(seen, model, sizeof(model)) == 0;
}

static void test_random(void)
{
	size_t bad = 0;

	for (unsigned i = 0; i < 20000; i++) {
		uint32_t first = random_below(PAGES), n = random_below(40);
		bool add = random_below(2);

		n = (uint32_t)min_u64(n, PAGES - first);
		if (add)
			range_set_add(&set, first * PAGE_SIZE, n * PAGE_SIZE);
		else
			range_set_remove(&set, first * PAGE_SIZE, n * PAGE_SIZE);
		memset(model + first, add, n);
		bad += !agrees();
		for (unsigned k = 0; k < 3; k++) {
			uint32_t at = random_below(PAGES), len = 1 + random_below(8);
			bool want = at + len <= PAGES;

			for (uint32_t p = at; want && p < at + len; p++)
				want = model[p];
			bad += range_set_contains(&set, at * PAGE_SIZE, len * PAGE_SIZE) != want;
		}
	}
	is_u64(bad, 0, "20000 random additions and removals");
	range_set_remove(&set, 0, PAGE_SIZE);
	model[0] = 0;
	for (unsigned i = 0; i < 200; i++) {
		uint64_t limit = random_below(PAGES) * PAGE_SIZE, want = 0;
		uint64_t got = range_set_take(&set, PAGE_SIZE, limit);

		for (uint64_t p = 0; p < limit / PAGE_SIZE; p++)
			if (model[p])
				want = p * PAGE_SIZE;
		if (want)
			model[want / PAGE_SIZE] = 0;
		bad += got != want || !agrees();
	}
	is_u64(bad, 0, "pages taken from the top below a limit");
}

static void test_full_set(void)
{
	memset(&set, 0, sizeof(set));
	for (uint64_t i = 0; i < RANGE_SET_MAX; i++)
		range_set_add(&set, i * 0x10000, 0x3000);
	is_u64(set.n, RANGE_SET_MAX, "a full set");
	ok(!range_set_add(&set, 1ULL << 40, 0x1000), "takes no range more");
	ok(range_set_add(&set, 0x3000, 0xd000), "but one that joins two");
	ok(range_set_add(&set, 1ULL << 40, 0x1000), "after which there is room");
	range_set_remove(&set, 0x21000, 0x1000);
	ok(set.n == RANGE_SET_MAX && range_set_contains(&set, 0x20000, 0x1000) &&
		   !range_set_contains(&set, 0x21000, 0x1000) &&
		   !range_set_contains(&set, 0x22000, 0x1000),
	   "a hole in a full set costs one of the remainders, never keeps what was to go");
}

/* ---- the memory map ---- */

static struct boot_info info;
static struct boot_memory mem;

static void add(uint64_t base, uint64_t size, enum boot_mem_type type)
{
	info.mem[info.nr_mem++] = (struct boot_mem){{pa(base), size}, type};
}

static void add_module(uint64_t base, size_t size)
{
	info.modules[info.nr_modules++] =
		(struct boot_module){.name = "m", .args = "", .base = pa(base), .size = size};
}

static void begin(void)
{
	memset(&info, 0, sizeof(info));
	add(0, 0x9fc00, BOOT_MEM_USABLE);
	add(0x100000, 0x7ff00000, BOOT_MEM_USABLE);
	info.image = (struct mem_range){pa(0x200000), 0x3f123};
	info.info_structure = (struct mem_range){pa(0x100f00), 0x200};
}

static bool is_free(uint64_t base, uint64_t size)
{
	return range_set_contains(&mem.free, base, size);
}

static bool touches_free(uint64_t base)
{
	return is_free(align_down(base, PAGE_SIZE), PAGE_SIZE);
}

static void test_occupied(void)
{
	begin();
	add_module(0x300000, 0x1001);
	add_module(0x5000, 0x10);
	info.sections[info.nr_sections++] =
		(struct boot_section){.type = 2, .addr = 0x400800, .size = 0x1000};
	info.sections[info.nr_sections++] =
		(struct boot_section){.type = 1, .flags = 2, .addr = 0x500000, .size = 0x1000};
	boot_memory_build(&info, 1ULL << 46, &mem);
	ok(!is_free(0, 1) && mem.free.r[0].base.v >= MIB, "nothing below 1 MiB is free");
	ok(range_set_contains(&mem.ram, 0x1000, 0x9e000) && !range_set_contains(&mem.ram, 0, 1),
	   "but it is RAM, except page 0 and the partial page at its end");
	ok(!touches_free(0x100f00) && !touches_free(0x1010ff) && is_free(0x102000, 0x1000),
	   "the information structure is taken out by whole pages");
	ok(!touches_free(0x200000) && !touches_free(0x23f122) && is_free(0x240000, 0x1000),
	   "so is the image");
	ok(!range_set_contains(&mem.ram, 0x23f000, 0x1000), "which is not in the direct map");
	ok(!touches_free(0x300000) && !touches_free(0x301000) && is_free(0x302000, 0x1000),
	   "so is a module");
	ok(!touches_free(0x400000) && !touches_free(0x401000) && is_free(0x402000, 0x1000),
	   "so is a section without an address of ours");
	ok(is_free(0x500000, 0x1000), "an allocated section's address is virtual: nothing to take");
	ok(mem.trampoline.v >= PAGE_SIZE && mem.trampoline.v < 0x90000 &&
		   mem.trampoline.v != 0x5000,
	   "the page to start other CPUs with is below 640 KiB and nobody's");
	is_u64(mem.reported, 0x9e000 + 0x7ff00000, "what firmware reports");
}

static void test_overlap(void)
{
	begin();
	add(0x10000800, 0x800, BOOT_MEM_RESERVED);
	add(0x7f000000, 1ULL << 51, BOOT_MEM_RESERVED);
	add(0x20000000, 0x1000, BOOT_MEM_ACPI_NVS);
	add(0x20002000, 0x1000, BOOT_MEM_BAD);
	add(0x20004000, 0x1000, BOOT_MEM_ACPI_RECLAIM);
	add(0x1000000, 0x1000000, BOOT_MEM_USABLE);
	boot_memory_build(&info, 1ULL << 46, &mem);
	ok(!touches_free(0x10000000) && is_free(0x10001000, 0x1000),
	   "reserved wins, by whole pages");
	ok(!touches_free(0x7f000000) && !touches_free(0x7fffffff) && is_free(0x7efff000, 0x1000),
	   "a reserved range far longer than memory");
	ok(!touches_free(0x20000000) && !touches_free(0x20002000) && !touches_free(0x20004000) &&
		   is_free(0x20001000, 0x1000) && is_free(0x20003000, 0x1000),
	   "NVS, bad memory and ACPI tables are not free");
	ok(is_free(0x1000000, 0x1000000), "usable twice is usable");

	begin();
	add(1ULL << 40, 1ULL << 40, BOOT_MEM_USABLE);
	add(UINT64_MAX - 0x1800, 0x1800, BOOT_MEM_RESERVED);
	add(0, UINT64_MAX, BOOT_MEM_USABLE);
	boot_memory_build(&info, 0x40000000, &mem);
	ok(is_free(0x3ffff000, 0x1000) && !is_free(0x40000000, 1) && mem.reported == 0x3ffff000,
	   "memory beyond the limit does not exist");
	begin();
	add(0, UINT64_MAX, BOOT_MEM_RESERVED);
	boot_memory_build(&info, 1ULL << 46, &mem);
	ok(mem.ram.n == 0 && mem.free.n == 0 && mem.trampoline.v == 0, "everything reserved");
}

static void test_modules(void)
{
	begin();
	add_module(0x300000, 0x1000);
	add_module(0x300fff, 0x10);	/* into the first */
	add_module(0x23f000, 0x1000);	/* into the image's last page */
	add_module(0x80000000, 0x1000); /* no RAM */
	add_module(0x7ffff000, 0x1001); /* half in RAM */
	add_module(0x101000, 0x10);	/* into the information structure */
	add_module(0x90000000, 0);	/* empty: no memory to be had */
	add_module(0x5000, 0x10);
	boot_memory_build(&info, 1ULL << 46, &mem);
	is_u64(boot_memory_check_modules(&info, &mem), 5, "modules that cannot be are dropped");
	ok(info.nr_modules == 3 && info.modules[0].base.v == 0x300000 &&
		   info.modules[1].size == 0 && info.modules[2].base.v == 0x5000,
	   "the others stay, in order");
}

int main(void)
{
	test_random();
	test_full_set();
	test_occupied();
	test_overlap();
	test_modules();
	return tap_done();
}

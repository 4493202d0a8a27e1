/* SPDX-License-Identifier: BSD-2-Clause */
/* The layout of a PC's memory. */
#include "vm/x86/memmap.h"

#include "lib/errno.h"
#include "lib/string.h"
#include "lib/util.h"
#include "mm/types.h"
#include "vm/dev/ioapic.h"
#include "vm/dev/lapic.h"

#define MEMORY_LIMIT (1ULL << 52) /* no x86 processor has more address bits */

static void add_slot(struct memmap *map, uint64_t base, uint64_t size)
{
	if (size != 0)
		map->slot[map->nr_slots++] = (struct memmap_slot){.base = base, .size = size};
}

static void add_e820(struct memmap *map, uint64_t base, uint64_t size, enum e820_type type)
{
	if (size != 0)
		map->e820[map->nr_e820++] =
			(struct e820_entry){.base = base, .size = size, .type = (uint32_t)type};
}

int memmap_build(uint64_t memory, struct memmap *map)
{
	uint64_t low_size;

	if (memory < MEMMAP_1M || !is_aligned(memory, PAGE_SIZE) || memory > MEMORY_LIMIT)
		return -EINVAL;
	memset(map, 0, sizeof(*map));
	map->low_end = min_u64(memory, MEMMAP_PCI_BASE);
	map->high_size = memory - map->low_end;
	low_size = map->low_end - MEMMAP_1M;

	add_slot(map, 0, MEMMAP_HOLE);
	/* No option ROMs, but kernels look for them byte by byte: zeroes cost no exits. */
	add_slot(map, MEMMAP_ROM, MEMMAP_1M - MEMMAP_ROM);
	add_slot(map, MEMMAP_1M, low_size);
	add_slot(map, MEMMAP_HIGH, map->high_size);

	add_e820(map, 0, MEMMAP_EBDA, E820_RAM);
	add_e820(map, MEMMAP_EBDA, MEMMAP_HOLE - MEMMAP_EBDA, E820_RESERVED);
	add_e820(map, MEMMAP_TABLES, MEMMAP_TABLES_SIZE, E820_RESERVED);
	add_e820(map, MEMMAP_1M, low_size, E820_RAM);
	add_e820(map, IOAPIC_BASE, IOAPIC_SIZE, E820_RESERVED);
	add_e820(map, LAPIC_BASE, LAPIC_SIZE, E820_RESERVED);
	add_e820(map, MEMMAP_HIGH, map->high_size, E820_RAM);
	return 0;
}

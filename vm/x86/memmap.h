/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a PC's memory is: one table from which the RAM slots, the E820 map, the CMOS sizes and the
 *PCI window all follow.
 *
 *	0		RAM, of which the last KiB below 0xa0000 is reserved as by every BIOS
 *	0xa0000		nothing (display)
 *	0xc0000		RAM, where a PC has its ROMs; the firmware tables from 0xe0000 on
 *	1 MiB		RAM, to 3 GiB at most
 *	3 GiB		PCI window, I/O APIC, local APICs, nothing
 *	4 GiB		the rest of RAM
 */
#ifndef SLUICE_VM_X86_MEMMAP_H
#define SLUICE_VM_X86_MEMMAP_H

#include <stddef.h>
#include <stdint.h>

#include "vm/load/load.h"

#define MEMMAP_EBDA	   0x9fc00ULL
#define MEMMAP_HOLE	   0xa0000ULL
#define MEMMAP_ROM	   0xc0000ULL /* from here to 1 MiB RAM-backed, as shadowed ROMs are */
#define MEMMAP_TABLES	   0xe0000ULL /* firmware tables, RAM-backed */
#define MEMMAP_TABLES_SIZE 0x20000ULL
#define MEMMAP_1M	   0x100000ULL
#define MEMMAP_PCI_BASE	   0xc0000000ULL /* RAM ends here */
#define MEMMAP_PCI_END	   0xfec00000ULL
#define MEMMAP_HIGH	   0x100000000ULL

#define MEMMAP_SLOTS 4
#define MEMMAP_E820  8

struct memmap_slot {
	uint64_t base, size;
};

struct memmap {
	unsigned nr_slots, nr_e820;
	struct memmap_slot slot[MEMMAP_SLOTS]; /* RAM, sorted, page-aligned */
	struct e820_entry e820[MEMMAP_E820];   /* sorted, disjoint */
	uint64_t low_end;		       /* end of RAM below 4 GiB */
	uint64_t high_size;		       /* RAM from 4 GiB */
};

/*
 * Lays out `memory` bytes. As on real machines, what would lie in the hole below 1 MiB is lost and
 * the rest keeps its address. -EINVAL when it is less than 1 MiB, not whole pages, or beyond 2^52.
 */
int memmap_build(uint64_t memory, struct memmap *map);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where things go in a guest's memory: the RAM of its E820 map minus what has been placed already.
 * Addresses are guest-physical, sizes bytes; alignments are powers of two.
 */
#ifndef SLUICE_VM_LOAD_PLACE_H
#define SLUICE_VM_LOAD_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vm/load/load.h"

#define PLACE_USED_MAX 64

struct place {
	const struct e820_entry *map; /* the caller's; lives as long as this */
	unsigned nr_map;
	unsigned nr_used;
	struct {
		uint64_t base, end;
	} used[PLACE_USED_MAX];
};

void place_init(struct place *p, const struct e820_entry *map, unsigned nr_map);

/*
 * Takes [base, base + size), size > 0. -EFAULT: not all of it is in one RAM entry; -EBUSY: overlaps
 * what was taken before; -ENOSPC: PLACE_USED_MAX pieces are taken.
 */
int place_take(struct place *p, uint64_t base, uint64_t size);

/*
 * Takes the lowest (highest) free place that begins at a multiple of `align`, not below `min`, and
 * ends at or below `limit`. -ENOMEM: there is none; -ENOSPC as above.
 */
int place_lowest(struct place *p, uint64_t size, uint64_t align, uint64_t min, uint64_t limit,
		 uint64_t *base);
int place_highest(struct place *p, uint64_t size, uint64_t align, uint64_t min, uint64_t limit,
		  uint64_t *base);

/* The RAM of the whole map. */
uint64_t place_ram_bytes(const struct place *p);

/* End of the RAM entry that holds `addr`; `addr` itself when none does. */
uint64_t place_ram_end(const struct place *p, uint64_t addr);

#endif

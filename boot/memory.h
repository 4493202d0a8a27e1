/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From the loader's memory map to what Sluice may use. Pure: sets of page-aligned, sorted, disjoint
 * ranges of machine memory.
 */
#ifndef SLUICE_BOOT_MEMORY_H
#define SLUICE_BOOT_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "boot/boot_info.h"
#include "mm/types.h"

#define RANGE_SET_MAX 1024

struct range_set {
	struct mem_range r[RANGE_SET_MAX]; /* ascending, disjoint, not touching, none empty */
	size_t n;
};

/* Joins [base, base + size) to the set. False when the set is full: the range is then not in it. */
bool range_set_add(struct range_set *s, uint64_t base, uint64_t size);

/*
 * Takes [base, base + size) out. Never fails: when a hole needs one range more than there is room
 * for, the smaller remainder is given up.
 */
void range_set_remove(struct range_set *s, uint64_t base, uint64_t size);

bool range_set_contains(const struct range_set *s, uint64_t base, uint64_t size);
uint64_t range_set_bytes(const struct range_set *s);

/*
 * Takes `size` bytes (a multiple of the page size) from the highest place below `limit` and returns
 * their address, page aligned; 0 when there is no such place (page 0 is never in a set of ours).
 */
uint64_t range_set_take(struct range_set *s, uint64_t size, uint64_t limit);

struct boot_memory {
	struct range_set ram; /* all RAM the firmware gave us, our image excepted: the direct map */
	struct range_set free; /* what of it nobody occupies: for the frame allocator */
	uint64_t reported;     /* bytes the firmware reports as usable */
	pa_t trampoline;       /* a free page below 1 MiB to start other CPUs with; 0: none */
};

/*
 * Builds both sets. Memory at or above `limit` (a page-aligned bound of physical addresses) does
 * not exist for us. The first MiB is RAM, so that a module there can be read, but never free:
 * firmware scribbles there (the BIOS data areas, SMM code, sleeping CPUs), and it is too small to
 * be missed.
 */
void boot_memory_build(const struct boot_info *info, uint64_t limit, struct boot_memory *out);

/*
 * Drops the modules that do not lie in RAM or overlap what is ours or each other, as a loader never
 * does; returns how many and makes the others' `data` NULL. The caller reports and maps.
 */
size_t boot_memory_check_modules(struct boot_info *info, const struct boot_memory *mem);

#endif

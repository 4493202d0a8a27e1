/* SPDX-License-Identifier: BSD-2-Clause */
/* Where things go in a guest's memory; a handful of ranges, searched one after the other. */
#include "vm/load/place.h"

#include "lib/errno.h"
#include "lib/util.h"

void place_init(struct place *p, const struct e820_entry *map, unsigned nr_map)
{
	p->map = map;
	p->nr_map = nr_map;
	p->nr_used = 0;
}

/* End of an entry of RAM; its base when it is something else or wraps, so that nothing fits. */
static uint64_t ram_end(const struct e820_entry *e)
{
	uint64_t end;

	if (e->type != E820_RAM || __builtin_add_overflow(e->base, e->size, &end))
		return e->base;
	return end;
}

/* Index of a taken piece that overlaps [base, end), or nr_used. */
static unsigned find_overlap(const struct place *p, uint64_t base, uint64_t end)
{
	unsigned i = 0;

	while (i < p->nr_used && (end <= p->used[i].base || p->used[i].end <= base))
		i++;
	return i;
}

static int record(struct place *p, uint64_t base, uint64_t size)
{
	if (p->nr_used == PLACE_USED_MAX)
		return -ENOSPC;
	p->used[p->nr_used].base = base;
	p->used[p->nr_used].end = base + size;
	p->nr_used++;
	return 0;
}

int place_take(struct place *p, uint64_t base, uint64_t size)
{
	uint64_t end;

	if (__builtin_add_overflow(base, size, &end))
		return -EFAULT;
	for (unsigned i = 0; i < p->nr_map; i++) {
		if (base < p->map[i].base || end > ram_end(&p->map[i]))
			continue;
		if (find_overlap(p, base, end) != p->nr_used)
			return -EBUSY;
		return record(p, base, size);
	}
	return -EFAULT;
}

/* The lowest place within [lo, hi); each step moves past one taken piece. */
static bool fit_low(const struct place *p, uint64_t size, uint64_t align, uint64_t lo, uint64_t hi,
		    uint64_t *base)
{
	for (;;) {
		uint64_t at, end;
		unsigned i;

		if (__builtin_add_overflow(lo, align - 1, &at))
			return false;
		at = align_down(at, align);
		if (__builtin_add_overflow(at, size, &end) || end > hi)
			return false;
		i = find_overlap(p, at, end);
		if (i == p->nr_used) {
			*base = at;
			return true;
		}
		lo = p->used[i].end;
	}
}

static bool fit_high(const struct place *p, uint64_t size, uint64_t align, uint64_t lo, uint64_t hi,
		     uint64_t *base)
{
	for (;;) {
		uint64_t at;
		unsigned i;

		if (hi < size)
			return false;
		at = align_down(hi - size, align);
		if (at < lo)
			return false;
		i = find_overlap(p, at, at + size);
		if (i == p->nr_used) {
			*base = at;
			return true;
		}
		hi = p->used[i].base;
	}
}

int place_lowest(struct place *p, uint64_t size, uint64_t align, uint64_t min, uint64_t limit,
		 uint64_t *base)
{
	for (unsigned i = 0; i < p->nr_map; i++) {
		uint64_t lo = max_u64(p->map[i].base, min);
		uint64_t hi = min_u64(ram_end(&p->map[i]), limit);

		if (fit_low(p, size, align, lo, hi, base))
			return record(p, *base, size);
	}
	return -ENOMEM;
}

int place_highest(struct place *p, uint64_t size, uint64_t align, uint64_t min, uint64_t limit,
		  uint64_t *base)
{
	for (unsigned i = p->nr_map; i-- > 0;) {
		uint64_t lo = max_u64(p->map[i].base, min);
		uint64_t hi = min_u64(ram_end(&p->map[i]), limit);

		if (fit_high(p, size, align, lo, hi, base))
			return record(p, *base, size);
	}
	return -ENOMEM;
}

uint64_t place_ram_bytes(const struct place *p)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < p->nr_map; i++)
		sum += ram_end(&p->map[i]) - p->map[i].base;
	return sum;
}

uint64_t place_ram_end(const struct place *p, uint64_t addr)
{
	for (unsigned i = 0; i < p->nr_map; i++) {
		if (addr >= p->map[i].base && addr < ram_end(&p->map[i]))
			return ram_end(&p->map[i]);
	}
	return addr;
}

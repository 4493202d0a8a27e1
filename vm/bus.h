/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A bus: which device answers at which address. A guest's port space is one bus and the
 * guest-physical space outside its RAM is another.
 *
 * Regions are added while the board is assembled and never change after that, so look-ups need no
 * lock and every vCPU may be in one at the same time. A device locks its own state.
 */
#ifndef SLUICE_VM_BUS_H
#define SLUICE_VM_BUS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * What a device does with an access. `off` is relative to the region's base; `size` is 1, 2, 4 or 8
 * bytes and the access lies within the region. The value is in the low `size` bytes; the bus clears
 * the rest of what `read` returns and of what `write` is given.
 */
struct io_ops {
	uint64_t (*read)(void *dev, uint64_t off, unsigned size);
	void (*write)(void *dev, uint64_t off, unsigned size, uint64_t val);
	/*
	 * The widest access the device decodes, 0 for any. A wider one reaches it as several,
	 * lowest address first, as an ISA bridge does it (`outw` to 0x70 writes index and data).
	 */
	unsigned max_size;
};

struct bus_region {
	uint64_t base;
	uint64_t size;
	const struct io_ops *ops;
	void *dev;
	const char *name;
};

#define BUS_REGIONS 32

struct bus {
	struct bus_region region[BUS_REGIONS]; /* sorted by base, disjoint */
	unsigned count;
};

void bus_init(struct bus *bus);

/*
 * Makes `dev` answer at [base, base + size). `ops`, `dev` and `name` are borrowed for the life of
 * the bus. -EINVAL when the range is empty or wraps, -EEXIST when it overlaps another, -ENOSPC when
 * full.
 */
int bus_add(struct bus *bus, uint64_t base, uint64_t size, const struct io_ops *ops, void *dev,
	    const char *name);

/* The region that holds `addr`, or NULL. */
const struct bus_region *bus_find(const struct bus *bus, uint64_t addr);

/*
 * A region's number, 0..BUS_REGIONS-1: constant once the last one was added. The functions below
 * with a number go to that region without a search when it holds the whole access, and are as the
 * others otherwise; any number will do.
 */
unsigned bus_region_id(const struct bus *bus, const struct bus_region *r);

/*
 * One access of 1, 2, 4 or 8 bytes. False when no byte of it is anybody's: a read then gives all
 * ones. An access that leaves a region is split into bytes, each going to whoever is there.
 */
bool bus_read(const struct bus *bus, uint64_t addr, unsigned size, uint64_t *val);
bool bus_write(const struct bus *bus, uint64_t addr, unsigned size, uint64_t val);
bool bus_read_region(const struct bus *bus, unsigned id, uint64_t addr, unsigned size,
		     uint64_t *val);
bool bus_write_region(const struct bus *bus, unsigned id, uint64_t addr, unsigned size,
		      uint64_t val);

#endif

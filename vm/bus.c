/* SPDX-License-Identifier: BSD-2-Clause */
/* Look-up of devices by address, and the splitting of accesses that one device cannot take whole.
 */
#include "vm/bus.h"

#include "lib/errno.h"
#include "lib/util.h"

void bus_init(struct bus *bus)
{
	bus->count = 0;
}

/* Index of the first region that ends above `addr`; bus->count when there is none. */
static unsigned bus_lower_bound(const struct bus *bus, uint64_t addr)
{
	unsigned lo = 0, hi = bus->count;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		const struct bus_region *r = &bus->region[mid];

		if (r->base + (r->size - 1) < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int bus_add(struct bus *bus, uint64_t base, uint64_t size, const struct io_ops *ops, void *dev,
	    const char *name)
{
	unsigned at;

	if (size == 0 || base + (size - 1) < base)
		return -EINVAL;
	if (bus->count == BUS_REGIONS)
		return -ENOSPC;
	at = bus_lower_bound(bus, base);
	if (at < bus->count && bus->region[at].base <= base + (size - 1))
		return -EEXIST;
	for (unsigned i = bus->count; i > at; i--)
		bus->region[i] = bus->region[i - 1];
	bus->region[at] = (struct bus_region){
		.base = base, .size = size, .ops = ops, .dev = dev, .name = name};
	bus->count++;
	return 0;
}

const struct bus_region *bus_find(const struct bus *bus, uint64_t addr)
{
	unsigned at = bus_lower_bound(bus, addr);

	if (at < bus->count && bus->region[at].base <= addr)
		return &bus->region[at];
	return NULL;
}

static uint64_t size_mask(unsigned size)
{
	return size >= 8 ? UINT64_MAX : BIT(8 * size) - 1;
}

/*
 * The widest piece of an access at `addr` that goes to one device at once: the whole when it lies
 * within region `r` (or misses every region) and the device decodes that width.
 */
static unsigned piece_size(const struct bus_region *r, uint64_t addr, unsigned size)
{
	if (r == NULL || r->size - (addr - r->base) < size)
		return 1;
	if (r->ops->max_size != 0 && r->ops->max_size < size)
		return r->ops->max_size;
	return size;
}

unsigned bus_region_id(const struct bus *bus, const struct bus_region *r)
{
	return (unsigned)(r - bus->region);
}

/* Region `id` when the access is its alone and in one piece. */
static const struct bus_region *whole_in(const struct bus *bus, unsigned id, uint64_t addr,
					 unsigned size)
{
	const struct bus_region *r = &bus->region[id];

	if (id >= bus->count || addr - r->base >= r->size || piece_size(r, addr, size) != size)
		return NULL;
	return r;
}

bool bus_read_region(const struct bus *bus, unsigned id, uint64_t addr, unsigned size,
		     uint64_t *val)
{
	const struct bus_region *r = id < BUS_REGIONS ? whole_in(bus, id, addr, size) : NULL;

	if (r == NULL)
		return bus_read(bus, addr, size, val);
	*val = r->ops->read(r->dev, addr - r->base, size) & size_mask(size);
	return true;
}

bool bus_write_region(const struct bus *bus, unsigned id, uint64_t addr, unsigned size,
		      uint64_t val)
{
	const struct bus_region *r = id < BUS_REGIONS ? whole_in(bus, id, addr, size) : NULL;

	if (r == NULL)
		return bus_write(bus, addr, size, val);
	r->ops->write(r->dev, addr - r->base, size, val & size_mask(size));
	return true;
}

bool bus_read(const struct bus *bus, uint64_t addr, unsigned size, uint64_t *val)
{
	bool claimed = false;

	*val = size_mask(size);
	for (unsigned done = 0; done < size;) {
		const struct bus_region *r = bus_find(bus, addr + done);
		unsigned n = piece_size(r, addr + done, size - done);

		if (r != NULL) {
			uint64_t got = r->ops->read(r->dev, addr + done - r->base, n);

			*val &= ~(size_mask(n) << (8 * done));
			*val |= (got & size_mask(n)) << (8 * done);
			claimed = true;
		}
		done += n;
	}
	return claimed;
}

bool bus_write(const struct bus *bus, uint64_t addr, unsigned size, uint64_t val)
{
	bool claimed = false;

	for (unsigned done = 0; done < size;) {
		const struct bus_region *r = bus_find(bus, addr + done);
		unsigned n = piece_size(r, addr + done, size - done);

		if (r != NULL) {
			r->ops->write(r->dev, addr + done - r->base, n,
				      val >> (8 * done) & size_mask(n));
			claimed = true;
		}
		done += n;
	}
	return claimed;
}

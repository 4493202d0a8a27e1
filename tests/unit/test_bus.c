/* SPDX-License-Identifier: BSD-2-Clause */
/* The bus: adding, finding, splitting; against a byte-by-byte reference. */
// links: vm/bus.c
#include "vm/bus.h"

#include <stdlib.h>

#include "lib/errno.h"
#include "tests/tap.h"

/* A device of plain bytes that records the accesses it gets. */
struct memory {
	uint8_t byte[64];
	unsigned accesses, widest;
	uint64_t last_off;
	uint64_t garbage; /* what it returns above the access's size: the bus must drop it */
};

static uint64_t memory_read(void *dev, uint64_t off, unsigned size)
{
	struct memory *m = dev;
	uint64_t val = 0;

	m->accesses++;
	m->widest = size > m->widest ? size : m->widest;
	m->last_off = off;
	for (unsigned i = 0; i < size; i++)
		val |= (uint64_t)m->byte[off + i] << (8 * i);
	return size < 8 ? val | m->garbage << (8 * size) : val;
}

static void memory_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct memory *m = dev;

	m->accesses++;
	m->widest = size > m->widest ? size : m->widest;
	if (size < 8 && val >> (8 * size) != 0)
		m->last_off = UINT64_MAX; /* the bus promised to clear it */
	else
		m->last_off = off;
	for (unsigned i = 0; i < size; i++)
		m->byte[off + i] = (uint8_t)(val >> (8 * i));
}

static const struct io_ops any_width = {.read = memory_read, .write = memory_write};
static const struct io_ops bytes_only = {.read = memory_read, .write = memory_write, .max_size = 1};
static const struct io_ops words = {.read = memory_read, .write = memory_write, .max_size = 2};

static void test_add(void)
{
	struct bus bus;
	static struct memory m;
	int ret = 0;

	bus_init(&bus);
	ok(bus_add(&bus, 0x100, 0, &any_width, &m, "e") == -EINVAL, "an empty region is refused");
	ok(bus_add(&bus, UINT64_MAX, 2, &any_width, &m, "w") == -EINVAL, "one that wraps too");
	ok(bus_add(&bus, 0x100, 0x10, &any_width, &m, "b") == 0, "first");
	ok(bus_add(&bus, 0x0f8, 0x8, &any_width, &m, "a") == 0, "adjoining below");
	ok(bus_add(&bus, 0x110, 0x8, &any_width, &m, "c") == 0, "adjoining above");
	ok(bus_add(&bus, 0x10f, 1, &any_width, &m, "x") == -EEXIST, "overlap with the last byte");
	ok(bus_add(&bus, 0x100, 1, &any_width, &m, "x") == -EEXIST, "overlap with the first");
	ok(bus_add(&bus, 0, 0x1000, &any_width, &m, "x") == -EEXIST, "overlap around all");
	ok(bus_add(&bus, 0xf0, 9, &any_width, &m, "x") == -EEXIST, "overlap from below");
	ok(bus_add(&bus, UINT64_MAX, 1, &any_width, &m, "top") == 0, "the very last address");
	is_str(bus_find(&bus, 0xff)->name, "a", "end of a");
	is_str(bus_find(&bus, 0x100)->name, "b", "begin of b");
	is_str(bus_find(&bus, 0x10f)->name, "b", "end of b");
	is_str(bus_find(&bus, 0x117)->name, "c", "end of c");
	is_str(bus_find(&bus, UINT64_MAX)->name, "top", "top");
	ok(bus_find(&bus, 0x118) == NULL && bus_find(&bus, 0xf7) == NULL, "gaps are nobody's");
	for (unsigned i = 0; ret == 0; i++)
		ret = bus_add(&bus, 0x10000 + 16ULL * i, 1, &any_width, &m, "fill");
	ok(ret == -ENOSPC && bus.count == BUS_REGIONS, "a full bus says so");
}

/* Two memories side by side, a hole, then one that takes words, at 0x10, 0x20, 0x38. */
static struct memory mem[3];

static uint8_t *reference(uint64_t addr)
{
	static uint8_t nobody;

	if (addr >= 0x10 && addr < 0x20)
		return &mem[0].byte[addr - 0x10];
	if (addr >= 0x20 && addr < 0x30)
		return &mem[1].byte[addr - 0x20];
	if (addr >= 0x38 && addr < 0x48)
		return &mem[2].byte[addr - 0x38];
	nobody = 0xff;
	return &nobody;
}

static bool claimed(uint64_t addr, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		if ((addr + i >= 0x10 && addr + i < 0x30) || (addr + i >= 0x38 && addr + i < 0x48))
			return true;
	return false;
}

static void test_every_access(void)
{
	struct bus bus;
	unsigned bad_reads = 0, bad_writes = 0, bad_claims = 0, n = 0;

	bus_init(&bus);
	bus_add(&bus, 0x20, 0x10, &any_width, &mem[1], "1");
	bus_add(&bus, 0x38, 0x10, &words, &mem[2], "2");
	bus_add(&bus, 0x10, 0x10, &bytes_only, &mem[0], "0");
	for (unsigned i = 0; i < 3; i++)
		mem[i].garbage = 0xdeadbeefcafe;
	for (uint64_t addr = 0; addr < 0x50; addr++) {
		for (unsigned size = 1; size <= 8; size *= 2, n++) {
			uint64_t val = 0x1122334455667788ULL * (n | 1), got, want = 0;

			bad_claims += bus_write(&bus, addr, size, val) != claimed(addr, size);
			for (unsigned i = 0; i < size; i++)
				if (claimed(addr + i, 1))
					bad_writes +=
						*reference(addr + i) != (uint8_t)(val >> (8 * i));
			bad_claims += bus_read(&bus, addr, size, &got) != claimed(addr, size);
			for (unsigned i = 0; i < size; i++)
				want |= (uint64_t)*reference(addr + i) << (8 * i);
			bad_reads += got != want;
		}
	}
	ok(bad_writes == 0, "each of %u writes reached its bytes", n);
	ok(bad_reads == 0, "each read gave its bytes, ones where nobody is, and nothing above");
	ok(bad_claims == 0, "claimed exactly when a byte of it is somebody's");
	ok(mem[0].widest == 1 && mem[2].widest == 2, "no device saw more than it takes");
	ok(mem[1].widest == 8, "one that takes any width saw the whole");
	for (unsigned i = 0; i < 3; i++)
		ok(mem[i].last_off != UINT64_MAX, "memory %u: values were cut to size", i);
}

static void test_split(void)
{
	struct bus bus;
	struct memory m = {.byte = {0}};
	uint64_t val;

	bus_init(&bus);
	bus_add(&bus, 0x70, 2, &bytes_only, &m, "rtc");
	bus_write(&bus, 0x70, 2, 0xab0b);
	ok(m.accesses == 2 && m.byte[0] == 0x0b && m.byte[1] == 0xab && m.last_off == 1,
	   "a word to byte ports: two accesses, the lower first");
	ok(bus_read(&bus, 0x6f, 4, &val), "a dword around it is claimed");
	is_u64(val, 0xffab0bff, "and shows ones on both sides");
	ok(!bus_read(&bus, 0x80, 4, &val) && val == 0xffffffff, "nobody: all ones of the size");
	ok(!bus_read(&bus, UINT64_MAX - 1, 4, &val), "an access that wraps hits nobody and ends");
}

int main(void)
{
	test_add();
	test_every_access();
	test_split();
	return tap_done();
}

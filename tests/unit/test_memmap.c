/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory layouts: every size gives a map that is sorted, disjoint and backed by RAM where it says
 * so. */
// links: vm/x86/memmap.c
#include "vm/x86/memmap.h"

#include "lib/errno.h"
#include "lib/util.h"
#include "tests/tap.h"

static bool sorted(const struct memmap *m)
{
	for (unsigned i = 0; i < m->nr_slots; i++)
		if (m->slot[i].size == 0 || !is_aligned(m->slot[i].base | m->slot[i].size, 4096) ||
		    (i > 0 && m->slot[i].base < m->slot[i - 1].base + m->slot[i - 1].size))
			return false;
	for (unsigned i = 0; i < m->nr_e820; i++)
		if (m->e820[i].size == 0 ||
		    (i > 0 && m->e820[i].base < m->e820[i - 1].base + m->e820[i - 1].size))
			return false;
	return true;
}

static bool in_slot(const struct memmap *m, uint64_t base, uint64_t size)
{
	for (unsigned i = 0; i < m->nr_slots; i++)
		if (base >= m->slot[i].base && base + size <= m->slot[i].base + m->slot[i].size)
			return true;
	return false;
}

/* RAM of the E820 map is backed; no slot reaches into a window of devices. */
static bool backed(const struct memmap *m)
{
	for (unsigned i = 0; i < m->nr_e820; i++)
		if (m->e820[i].type == E820_RAM && !in_slot(m, m->e820[i].base, m->e820[i].size))
			return false;
	for (unsigned i = 0; i < m->nr_slots; i++) {
		uint64_t base = m->slot[i].base, end = base + m->slot[i].size;

		if (base < MEMMAP_HIGH && end > MEMMAP_PCI_BASE)
			return false;
		if (base < MEMMAP_ROM && end > MEMMAP_HOLE)
			return false;
	}
	return in_slot(m, MEMMAP_ROM, MEMMAP_1M - MEMMAP_ROM);
}

static void test_sizes(void)
{
	unsigned wrong = 0, n = 0;
	struct memmap m;

	for (uint64_t size = MIB; size <= 1024 * GIB; size += size / 7 / 4096 * 4096 + 4096, n++) {
		uint64_t ram = 0;

		if (memmap_build(size, &m) != 0) {
			wrong++;
			continue;
		}
		for (unsigned i = 0; i < m.nr_slots; i++)
			ram += m.slot[i].size;
		/* all of it but the hole for the display */
		wrong += ram != size - (MEMMAP_ROM - MEMMAP_HOLE);
		wrong += !sorted(&m) || !backed(&m);
		wrong += m.low_end + m.high_size != size;
	}
	ok(wrong == 0, "%u sizes from 1 MiB to 1 TiB", n);
}

static void test_layout(void)
{
	struct memmap m;

	ok(memmap_build(512 * MIB, &m) == 0 && m.nr_slots == 3, "512 MiB: three slots");
	is_u64(m.e820[0].size, 0x9fc00, "conventional memory");
	ok(m.e820[1].base == 0x9fc00 && m.e820[1].type == E820_RESERVED, "EBDA");
	ok(m.e820[2].base == 0xe0000 && m.e820[2].size == 0x20000 &&
		   m.e820[2].type == E820_RESERVED,
	   "tables");
	ok(m.e820[3].base == MIB && m.e820[3].size == 511 * MIB, "the rest");
	ok(memmap_build(3 * GIB, &m) == 0 && m.high_size == 0 && m.low_end == 0xc0000000,
	   "3 GiB just fit below the window");
	ok(memmap_build(3 * GIB + 4096, &m) == 0 && m.slot[3].base == 4 * GIB &&
		   m.slot[3].size == 4096,
	   "one page more begins at 4 GiB");
	ok(memmap_build(8 * GIB, &m) == 0 && m.slot[3].size == 5 * GIB, "8 GiB");
	ok(memmap_build(MIB, &m) == 0 && m.nr_slots == 2, "1 MiB: nothing above");
}

static void test_refused(void)
{
	struct memmap m;

	ok(memmap_build(0, &m) == -EINVAL, "nothing");
	ok(memmap_build(MIB - 4096, &m) == -EINVAL, "less than 1 MiB");
	ok(memmap_build(64 * MIB + 1, &m) == -EINVAL, "not whole pages");
	ok(memmap_build((1ULL << 52) + 4096, &m) == -EINVAL, "more than can be addressed");
	ok(memmap_build(UINT64_MAX & ~4095ULL, &m) == -EINVAL, "a great deal more");
}

int main(void)
{
	test_sizes();
	test_layout();
	test_refused();
	return tap_done();
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory on arm64's tables: concatenated roots out of the promise, and without FWB the caches
 * kept out of the guest's way at each population and each access of ours. Caches are simulated: a
 * line that we wrote is dirty until it is cleaned, and the guest looks past them.
 */
// links: vm/guestmem.c vm/gcache.c stage2/stage2.c stage2/vmsav8.c tlbi/tags.c tlbi/space.c
// links: tlbi/agent.c tlbi/gather.c tlbi/broadcast.c tlbi/vmid.c mm/frames.c mm/reclaim.c
// links: mm/ledger.c lib/log.c lib/string.c
#include <stdlib.h>

#include "lib/check.h"
#include "lib/util.h"
#include "mm/ledger.h"
#include "tests/host/hw_host.h"
#include "tests/tap.h"
#include "tlbi/tags.h"
#include "vm/gcache.h"
#include "vm/guestmem.h"

static uint64_t cleaned_from, cleaned_to;
static unsigned cleanings;

static void on_cache(enum hw_cache_op op, pa_t at, uint64_t size)
{
	CHECK(op == HW_CACHE_CLEAN_INVALIDATE);
	cleaned_from = at.v;
	cleaned_to = at.v + size;
	cleanings++;
}

static bool cleaned(pa_t at, uint64_t size)
{
	bool was = cleanings == 1 && at.v >= cleaned_from && at.v + size <= cleaned_to;

	cleanings = 0;
	return was;
}

static struct guestmem gm;

static void setup(unsigned ipa_bits, bool fwb)
{
	struct mem_range r = {pa(GIB), 256 * MIB};
	char err[100];

	host_caps = (struct hw_mmu_caps){
		.tags = HW_TAGS_VMID,
		.nr_tags = 256,
		.ipa_bits = (uint8_t)ipa_bits,
		.max_leaf_level = 2,
		.fwb = fwb,
		.icache_coherent = true,
	};
	host_format = &stage2_vmsav8;
	host_on_cache = on_cache;
	tlbi_init();
	frames_init(&r, 1);
	CHECK(guestmem_init(&gm, err, sizeof(err)) == 0);
	CHECK(guestmem_add_ram(&gm, ipa(0), 64 * MIB) == 0);
	cleanings = 0;
}

static pa_t frame_of(uint64_t at)
{
	return stage2_lookup(&gm.s2, ipa(at)).pa;
}

static void test_widths(void)
{
	unsigned bad = 0;

	for (unsigned bits = 39; bits <= 48; bits++) {
		uint64_t total;

		setup(bits, true);
		total = frames_stat().total;
		bad += guestmem_fault(&gm, ipa(63 * MIB), GM_WRITE) != GM_RESOLVED;
		bad += guestmem_fault(&gm, ipa(0), GM_READ) != GM_RESOLVED;
		bad += guestmem_fault(&gm, ipa(64 * MIB), GM_READ) != GM_MMIO;
		guestmem_destroy(&gm);
		bad += frames_stat().free != total || frames_stat().reserved != 0;
	}
	is_u64(bad, 0, "39 to 48 bits: populated from the promise, all of it comes back");
}

static void test_accesses(void)
{
	uint64_t v = 5, expected = 5;
	struct gcache c = {0};
	pa_t a;

	setup(40, false);
	CHECK(guestmem_fault(&gm, ipa(2 * MIB + 5), GM_WRITE) == GM_RESOLVED);
	a = frame_of(2 * MIB);
	ok(cleaned(a, 2 * MIB), "a populated block is cleaned as it was cleared, whole and once");
	guestmem_write(&gm, ipa(2 * MIB + 64), &v, sizeof(v));
	ok(cleaned(pa(a.v + 64), 8), "what we write is cleaned: a guest without caches sees it");
	guestmem_read(&gm, ipa(2 * MIB + 128), &v, sizeof(v));
	ok(cleaned(pa(a.v + 128), 8),
	   "lines that hide what it stored are invalidated before we read");
	guestmem_zero(&gm, ipa(2 * MIB), 4096);
	ok(cleaned(a, 4096), "zeroing is writing");
	expected = 0;
	guestmem_cmpxchg(&gm, ipa(2 * MIB), 8, &expected, 7);
	is_u64(cleanings, 2, "compare-and-exchange is both");
	gcache_read(&c, &gm, ipa(2 * MIB), &v, 8);
	cleanings = 0;
	gcache_read(&c, &gm, ipa(2 * MIB), &v, 8);
	ok(v == 7 && cleaned(a, 8), "a window reads what is in memory");
	gcache_write(&c, &gm, ipa(2 * MIB + 8), &v, 8);
	cleanings = 0;
	gcache_write(&c, &gm, ipa(2 * MIB + 8), &v, 8);
	ok(cleaned(pa(a.v + 8), 8), "and writes to memory");
	guestmem_destroy(&gm);
	is_u64(cleanings, 0, "the end needs no cache maintenance");
	setup(40, true);
	guestmem_write(&gm, ipa(0), &v, 8);
	guestmem_read(&gm, ipa(0), &v, 8);
	is_u64(cleanings, 0, "with FWB there is none anywhere");
	guestmem_destroy(&gm);
}

int main(void)
{
	host_caps.tags = HW_TAGS_VMID;
	host_caps.nr_tags = 256;
	tlbi_init();
	CHECK(tlbi_pcpu_init(0) == 0);
	test_widths();
	test_accesses();
	return tap_done();
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * MMIO entries: what leaves one, what it dispatches to, and above all when it must not (I7): after
 * a change of the slots, during one, after the entry's narrow generation wrapped, and however an
 * update and an install interleave.
 */
// links: mm/ledger.c tlbi/broadcast.c tlbi/vmid.c
// links: vm/guestmem.c stage2/stage2.c stage2/npt.c tlbi/tags.c tlbi/space.c tlbi/agent.c
// links: tlbi/gather.c mm/frames.c mm/reclaim.c lib/log.c lib/string.c

#include "lib/check.h"
#include "lib/errno.h"
#include "lib/util.h"
#include "stage2/ops.h"
#include "tests/host/hw_host.h"
#include "tests/tap.h"
#include "tlbi/agent.h"
#include "tlbi/tags.h"
#include "vm/guestmem.h"

#define DEV  0xfec00000ULL
#define DEV2 0xfed00000ULL

static struct guestmem gm;
static struct s2_pool pool;
static char err[100];
static uint32_t region;

static void setup(uint64_t ram)
{
	struct mem_range r = {pa(GIB), 64 * MIB};

	host_cpu = 0;
	host_on_relax = NULL;
	host_on_atomic = NULL;
	tlbi_init();
	CHECK(frames_init(&r, 1) == 0);
	CHECK(guestmem_init(&gm, err, sizeof(err)) == 0);
	if (ram)
		CHECK(guestmem_add_ram(&gm, ipa(0), ram) == 0);
	CHECK(s2_pool_fill(&pool, 20) == 0);
}

static void teardown(const char *name)
{
	s2_pool_drain(&pool);
	guestmem_destroy(&gm);
	ok(frames_stat().free == frames_stat().total && frames_stat().reserved == 0,
	   "%s: all given back", name);
}

static struct s2_walk look(uint64_t at)
{
	struct s2_walk w;

	reader_enter(&gm.s2.space);
	w = stage2_lookup(&gm.s2, ipa(at));
	reader_exit();
	return w;
}

static int install(uint64_t at, uint32_t id, uint64_t gen)
{
	int e;

	reader_enter(&gm.s2.space);
	e = stage2_install_mmio(&gm.s2, ipa(at), id, gen, &pool);
	reader_exit();
	return e;
}

/* The region that an access to `at` goes to without a search, or GM_NO_REGION. */
static uint32_t hit(uint64_t at)
{
	uint32_t id = GM_NO_REGION;
	bool found;

	reader_enter(&gm.s2.space);
	found = stage2_mmio(&gm.s2, ipa(at), &id);
	reader_exit();
	return found ? id : GM_NO_REGION;
}

static void change_slots(void)
{
	TLBI_GATHER(g, &gm.s2.space);
	struct space_locked l = space_lock(&gm.s2.space);

	stage2_slots_begin(&gm.s2, l, &g);
	stage2_slots_end(&gm.s2, l);
	space_unlock(l, &g);
}

static unsigned slot_reads;

static void count_slot_reads(const void *p, bool write)
{
	(void)write;
	slot_reads += p == &gm.nr_slots || p == &gm.nr_devices;
}

static void test_dispatch(void)
{
	setup(MIB);
	CHECK(guestmem_add_device(&gm, ipa(DEV), 0x1000, 7) == 0);
	CHECK(guestmem_add_device(&gm, ipa(DEV2 + 0x10), 0x20, 9) == 0);
	host_on_atomic = count_slot_reads;
	slot_reads = 0;
	is_u64(guestmem_resolve(&gm, ipa(DEV + 0x123), GM_READ, &region), GM_MMIO, "a device");
	is_u64(region, 7, "whose region is known");
	ok(slot_reads > 0, "the first access searches");
	ok(look(DEV).kind == S2_MMIO && look(DEV).level == 0, "and leaves an entry");
	slot_reads = 0;
	is_u64(guestmem_resolve(&gm, ipa(DEV + 0xffc), GM_WRITE, &region), GM_MMIO, "again");
	is_u64(region, 7, "the same region");
	is_u64(slot_reads, 0, "from the entry: no search");
	is_u64(guestmem_resolve(&gm, ipa(DEV2), GM_READ, &region), GM_MMIO, "a small device");
	is_u64(region, 9, "has its whole page");
	is_u64(guestmem_resolve(&gm, ipa(DEV + 0x1000), GM_READ, &region), GM_MMIO, "nobody");
	ok(region == GM_NO_REGION && look(DEV + 0x1000).kind == S2_EMPTY,
	   "has no region and leaves nothing: a guest cannot spend our memory on holes");
	is_u64(guestmem_resolve(&gm, ipa(0), GM_READ, &region), GM_RESOLVED, "RAM");
	is_u64(region, GM_NO_REGION, "is no region");
	ok(guestmem_add_device(&gm, ipa(DEV), 0, 1) == -EINVAL &&
		   guestmem_add_device(&gm, ipa(UINT64_MAX - 5), 100, 1) == -EINVAL,
	   "senseless devices are refused");
	for (unsigned i = 2; i < GM_MAX_DEVICES; i++)
		CHECK(guestmem_add_device(&gm, ipa(DEV + i * MIB), 4, i) == 0);
	is_u64((uint64_t)-guestmem_add_device(&gm, ipa(GIB), 4, 1), ENOSPC, "devices are limited");
	is_u64(guestmem_resolve(&gm, ipa(DEV), GM_READ, &region), GM_MMIO, "after the changes");
	is_u64(region, 7, "found again");
	teardown("dispatch");
}

/* RAM where a device was, and the page of a device that a new slot covers. */
static void test_slots_change(void)
{
	setup(MIB);
	atomic_store64(&gm.s2.slots_gen, 100); /* far from a wrap */
	CHECK(guestmem_add_device(&gm, ipa(2 * MIB), 0x1000, 5) == 0);
	CHECK(guestmem_resolve(&gm, ipa(2 * MIB), GM_READ, &region) == GM_MMIO && region == 5);
	CHECK(guestmem_resolve(&gm, ipa(3 * MIB), GM_READ, &region) == GM_MMIO);
	is_u64(hit(2 * MIB), 5, "an entry");
	CHECK(guestmem_add_ram(&gm, ipa(2 * MIB), 2 * MIB) == 0);
	is_u64(hit(2 * MIB), GM_NO_REGION, "a new slot voids it (I7)");
	is_u64(look(2 * MIB).kind, S2_MMIO, "though it is still there");
	is_u64(guestmem_resolve(&gm, ipa(2 * MIB), GM_WRITE, &region), GM_RESOLVED, "RAM wins");
	ok(look(2 * MIB).kind == S2_LEAF && region == GM_NO_REGION, "in the same entry");
	is_u64((uint64_t)-install(2 * MIB, 5, stage2_slots_gen(&gm.s2)), EEXIST,
	       "no MMIO entry goes over a translation");
	ok(look(2 * MIB).kind == S2_LEAF, "which stays");
	teardown("slots");
}

static void test_generation(void)
{
	uint64_t gen, bits = gm.s2.fmt ? 0 : stage2_npt.gen_bits, mask = BIT(bits) - 1;
	unsigned wrong = 0, wrong_fill = 0;

	setup(0);
	gen = stage2_slots_gen(&gm.s2);
	ok(install(DEV, 1, gen) == 0, "an entry of this generation");
	is_u64((uint64_t)-install(DEV, 1, gen), EEXIST, "is there");
	change_slots();
	is_u64((uint64_t)-install(DEV + 0x1000, 2, gen), EAGAIN,
	       "a region that was found in older slots is not entered");
	ok(install(DEV, 3, stage2_slots_gen(&gm.s2)) == 0, "an older entry is replaced");
	is_u64(hit(DEV), 3, "by the new region");
	is_u64((uint64_t)-install(DEV, BIT(16), stage2_slots_gen(&gm.s2)), EINVAL,
	       "a region id that does not fit is not cut");
	/* Every entry made in one generation is dead in all later ones, across wraps. */
	for (unsigned i = 0; i < 8; i++) {
		atomic_store64(&gm.s2.slots_gen, (uint64_t)(i + 1) << bits | (mask - 2));
		gen = stage2_slots_gen(&gm.s2);
		for (unsigned n = 0; n < 6; n++) {
			uint64_t at = DEV + (i * 8 + n) * PAGE_SIZE;

			wrong_fill += install(at, n, stage2_slots_gen(&gm.s2)) != 0;
			wrong_fill += hit(at) != n;
			change_slots();
			for (uint64_t old = DEV; old <= at; old += PAGE_SIZE)
				wrong += hit(old) != GM_NO_REGION;
		}
		wrong += stage2_slots_gen(&gm.s2) != gen + 6;
	}
	is_u64(wrong_fill, 0, "entries match in their generation");
	is_u64(wrong, 0, "and in no other, over eight wraps (I7, I8)");
	/* The wrap zaps: the same low bits one turn later. */
	atomic_store64(&gm.s2.slots_gen, BIT(bits) * 20 + 5);
	CHECK(install(GIB, 4, stage2_slots_gen(&gm.s2)) == 0);
	atomic_store64(&gm.s2.slots_gen, BIT(bits) * 21 - 1);
	change_slots();
	is_u64(look(GIB).kind, S2_EMPTY, "a wrap zaps entries of all generations");
	atomic_store64(&gm.s2.slots_gen, BIT(bits) * 21 + 5);
	is_u64(hit(GIB), GM_NO_REGION, "so that the same bits do not match one turn later (I8)");
	teardown("generation");
}

/* ---- while an update is going on, at every step of it ---- */

static uint64_t sampled;
static unsigned tried, dispatched, entered;

static void try_during(const void *p, bool write)
{
	unsigned self = host_cpu;

	(void)p, (void)write;
	if (!(gm.s2.slots_gen.v & S2_SLOTS_CHANGING))
		return;
	host_on_atomic = NULL;
	tried++;
	host_cpu = 1;
	dispatched += hit(DEV) != GM_NO_REGION;
	entered += install(DEV + 0x1000, 2, stage2_slots_gen(&gm.s2)) == 0;
	entered += install(DEV + 0x2000, 2, sampled) == 0;
	host_cpu = self;
	host_on_atomic = try_during;
}

static void test_in_progress(void)
{
	setup(0);
	sampled = stage2_slots_gen(&gm.s2);
	CHECK(install(DEV, 1, sampled) == 0);
	host_on_atomic = try_during;
	change_slots();
	host_on_atomic = NULL;
	ok(tried >= 4, "an update has several steps");
	is_u64(dispatched, 0, "nothing matches during an update (I7)");
	is_u64(entered, 0, "nothing is entered during an update");
	teardown("in progress");
}

/* RAM is not populated by who looked at slots that are changing, or have changed since. */
static void change_once(const void *p, bool write)
{
	(void)write;
	if (p != &gm.nr_slots)
		return;
	host_on_atomic = NULL;
	change_slots();
}

static void test_populate_during(void)
{
	setup(MIB);
	atomic_or64(&gm.s2.slots_gen, S2_SLOTS_CHANGING);
	is_u64(guestmem_fault(&gm, ipa(0), GM_WRITE), GM_RETRY, "a fault waits for the update");
	ok(look(0).kind == S2_EMPTY, "nothing is populated during it");
	atomic_store64(&gm.s2.slots_gen, 50);
	host_on_atomic = change_once;
	is_u64(guestmem_fault(&gm, ipa(0), GM_WRITE), GM_RETRY, "the slots changed after a look");
	ok(look(0).kind == S2_EMPTY && guestmem_populated_pages(&gm) == 0, "nothing is populated");
	is_u64(guestmem_fault(&gm, ipa(0), GM_WRITE), GM_RESOLVED, "then it is");
	teardown("populate during an update");
}

/* A reader section that looked at the old slots holds the update up; then it installs. */
static unsigned turns;

static void late_install(void)
{
	if (++turns != 3)
		return;
	host_cpu = 1;
	entered = stage2_install_mmio(&gm.s2, ipa(DEV), 6, sampled, &pool) == 0;
	reader_exit();
	host_cpu = 0;
}

static void test_late_reader(void)
{
	uint64_t bits = stage2_npt.gen_bits;

	setup(0);
	atomic_store64(&gm.s2.slots_gen, BIT(bits) * 5 - 1);
	host_cpu = 1;
	reader_enter(&gm.s2.space);
	sampled = stage2_slots_gen(&gm.s2);
	host_cpu = 0;
	turns = 0;
	host_on_relax = late_install;
	change_slots();
	host_on_relax = NULL;
	ok(turns >= 3, "an update waits for readers of the old slots");
	ok(!entered && look(DEV).kind == S2_EMPTY,
	   "who come too late: nothing of theirs survives the wrap (I8)");
	teardown("late reader");
}

/* Present -> MMIO passes through empty, and that is owed. */
static void test_present_to_mmio(void)
{
	struct tlbi_vcpu vcpu;
	struct tlbi_enter_cmd cmd;

	setup(MIB);
	tlbi_vcpu_init(&vcpu);
	CHECK(guestmem_fault(&gm, ipa(0), GM_WRITE) == GM_RESOLVED);
	host_cpu = 2;
	tlbi_enter(2, &gm.s2.space, &vcpu, &cmd);
	host_cpu = 0;
	{
		TLBI_GATHER(g, &gm.s2.space);
		struct space_locked l = space_lock(&gm.s2.space);

		CHECK(stage2_unmap(&gm.s2, l, ipa(0), PAGE_SIZE, &pool, &g) == 0);
		space_unlock(l, &g);
		is_u64((uint64_t)-install(0, 1, stage2_slots_gen(&gm.s2)), EAGAIN,
		       "no MMIO entry while the old translation may be cached (I3)");
		ok(look(0).kind == S2_EMPTY && look(0).owed == g.epoch, "what is owed stays noted");
		host_cpu = 2;
		tlbi_exit(2, &vcpu, true);
		host_cpu = 0;
		ok(install(0, 1, stage2_slots_gen(&gm.s2)) == 0, "then it is entered");
		gather_sync(&g);
	}
	{
		TLBI_GATHER(g, &gm.s2.space);
		struct space_locked l = space_lock(&gm.s2.space);

		CHECK(stage2_unmap(&gm.s2, l, ipa(0), PAGE_SIZE, &pool, &g) == 0);
		space_unlock(l, &g);
		ok(g.state == GATHER_CLEAN && look(0).kind == S2_EMPTY,
		   "an MMIO entry goes for nothing: it was never cached");
	}
	teardown("present to MMIO");
}

/* No memory for tables: the device works, by search. */
static void test_no_memory(void)
{
	uint64_t before;

	setup(0);
	CHECK(guestmem_add_device(&gm, ipa(DEV), 4, 3) == 0);
	before = gm.reserve.pages;
	is_u64(before, 3, "tables for the entry are reserved");
	CHECK(guestmem_resolve(&gm, ipa(DEV), GM_READ, &region) == GM_MMIO);
	is_u64(gm.reserve.pages, 0, "used");
	CHECK(guestmem_resolve(&gm, ipa(DEV + 512 * GIB), GM_READ, &region) == GM_MMIO);
	is_u64(gm.reserve.pages, 0, "and no more than that");
	gm.devices[1] = (struct gm_device){ipa(2 * GIB), PAGE_SIZE, 8};
	gm.nr_devices.v = 2; /* not reserved for */
	while (frames_alloc(NULL, 0, &(pa_t){0}) == 0)
		;
	is_u64(guestmem_resolve(&gm, ipa(2 * GIB), GM_READ, &region), GM_MMIO,
	       "out of memory the device is there");
	ok(region == 8 && look(2 * GIB).kind == S2_EMPTY, "and found");
	host_discard();
}

int main(void)
{
	host_format = &stage2_npt;
	for (unsigned i = 0; i < 3; i++)
		CHECK(tlbi_pcpu_init(i) == 0);
	test_dispatch();
	test_slots_change();
	test_generation();
	test_in_progress();
	test_populate_during();
	test_late_reader();
	test_present_to_mmio();
	test_no_memory();
	return tap_done();
}

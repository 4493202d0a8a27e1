/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which pages were written: harvest by write permission and by the dirty mark, with a simulated
 * pCPU that has translations cached from before (I5), the accessed marks, collapse, and our own
 * stores (I6).
 */
// links: mm/ledger.c tlbi/broadcast.c tlbi/vmid.c
// links: vm/guestmem.c stage2/stage2.c stage2/npt.c tlbi/tags.c tlbi/space.c tlbi/agent.c
// links: tlbi/gather.c mm/frames.c mm/reclaim.c lib/log.c lib/string.c
#include <stdlib.h>

#include "lib/check.h"
#include "lib/errno.h"
#include "lib/util.h"
#include "stage2/ops.h"
#include "tests/host/hw_host.h"
#include "tests/tap.h"
#include "tlbi/agent.h"
#include "tlbi/tags.h"
#include "vm/guestmem.h"

#define PAGES 2048 /* 8 MiB of RAM */

static struct guestmem gm;
static struct s2_pool pool;
static char err[100];
static uint64_t map[PAGES / 64];

static uint64_t rnd(uint64_t below)
{
	return ((uint64_t)random() << 20 ^ (uint64_t)random()) % below;
}

static void setup(uint8_t level)
{
	struct mem_range r = {pa(GIB), 64 * MIB};

	host_cpu = 0;
	host_on_relax = NULL;
	tlbi_init();
	CHECK(frames_init(&r, 1) == 0);
	CHECK(guestmem_init(&gm, err, sizeof(err)) == 0);
	CHECK(guestmem_add_ram(&gm, ipa(0), PAGES * PAGE_SIZE) == 0);
	gm.max_level = level;
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

static bool logged(uint64_t at)
{
	return map[at / PAGE_SIZE / 64] >> (at / PAGE_SIZE % 64) & 1;
}

static unsigned count(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < PAGES; i++)
		n += logged(i * PAGE_SIZE);
	return n;
}

static int harvest(uint64_t at, uint64_t size, enum s2_harvest how, struct tlbi_gather *g)
{
	struct space_locked l = space_lock(&gm.s2.space);
	int e = stage2_harvest(&gm.s2, l, ipa(at), size, how, map, &pool, g);

	space_unlock(l, g);
	return e;
}

static void harvest_all(enum s2_harvest how)
{
	TLBI_GATHER(g, &gm.s2.space);

	memset(map, 0, sizeof(map));
	CHECK(harvest(0, PAGES * PAGE_SIZE, how, &g) == 0);
	gather_sync(&g);
}

static void populate(void)
{
	for (uint64_t at = 0; at < PAGES * PAGE_SIZE; at += s2_level_size(gm.max_level))
		CHECK(guestmem_fault(&gm, ipa(at), GM_WRITE) == GM_RESOLVED);
}

/* A store as the MMU does it: faults without permission, else sets the dirty mark. */
static void store(uint64_t at)
{
	if (!(look(at).attr & S2_W))
		CHECK(guestmem_fault(&gm, ipa(at), GM_WRITE) == GM_RESOLVED);
	CHECK(look(at).attr & S2_W);
	reader_enter(&gm.s2.space);
	CHECK(stage2_relax(&gm.s2, ipa(at), S2_DIRTY | S2_AGED) == 0);
	reader_exit();
}

static void test_harvest(enum s2_harvest how, const char *name)
{
	unsigned wrong = 0, wrong_after = 0;

	setup(0);
	populate();
	harvest_all(how);
	is_u64(count(), PAGES, "everything counts as written at first");
	harvest_all(how);
	is_u64(count(), 0, "nothing was written since");
	for (unsigned round = 0; round < 50; round++) {
		bool want[PAGES] = {0};

		for (uint64_t i = rnd(100); i; i--) {
			uint64_t page = rnd(PAGES);

			want[page] = true;
			if (rnd(2))
				store(page * PAGE_SIZE + rnd(PAGE_SIZE));
			else
				CHECK(guestmem_write(&gm, ipa(page * PAGE_SIZE + 8), "x", 1) == 0);
		}
		harvest_all(how);
		for (unsigned i = 0; i < PAGES; i++)
			wrong += logged(i * PAGE_SIZE) != want[i];
		harvest_all(how);
		wrong_after += count() != 0;
	}
	is_u64(wrong, 0,
	       "exactly what was written is in the next log, our own stores too (I5, I6)");
	is_u64(wrong_after, 0, "and in one log only");
	teardown(name);
}

static void test_ranges(void)
{
	unsigned wrong = 0;

	setup(1);
	populate();
	{
		TLBI_GATHER(g, &gm.s2.space);

		memset(map, 0, sizeof(map));
		CHECK(harvest(3 * PAGE_SIZE, 2 * MIB, S2_HARVEST_WRITABLE, &g) == 0);
		gather_sync(&g);
	}
	is_u64(count(), 512, "a range that cuts large leaves logs its own pages");
	ok(logged(0) && logged(511 * PAGE_SIZE) && !logged(512 * PAGE_SIZE),
	   "bit n is page n of the range");
	memset(map, 0, sizeof(map));
	ok(look(2 * PAGE_SIZE).attr & S2_W && !(look(3 * PAGE_SIZE).attr & S2_W),
	   "what lies outside keeps its state, so that the next log has it (I5)");
	for (unsigned i = 0; i < 300; i++) {
		uint64_t first = rnd(200), n = 1 + rnd(200);
		TLBI_GATHER(g, &gm.s2.space);

		memset(map, 0, sizeof(map));
		harvest_all(S2_HARVEST_WRITABLE);
		memset(map, 0, sizeof(map));
		for (unsigned p = 0; p < 400; p++)
			store(p * PAGE_SIZE);
		CHECK(harvest(first * PAGE_SIZE, n * PAGE_SIZE, S2_HARVEST_WRITABLE, &g) == 0);
		gather_sync(&g);
		for (unsigned p = 0; p < PAGES; p++)
			wrong += logged(p * PAGE_SIZE) != (p < n);
	}
	is_u64(wrong, 0, "ranges at every bit offset fill exactly their part of the log");
	teardown("ranges");
}

static void test_refusals(void)
{
	struct s2_pool none = {0};

	setup(1);
	populate();
	{
		TLBI_GATHER(g, &gm.s2.space);
		struct space_locked l = space_lock(&gm.s2.space);

		is_u64((uint64_t)-stage2_harvest(&gm.s2, l, ipa(0), PAGE_SIZE, S2_HARVEST_WRITABLE,
						 map, &none, &g),
		       ENOMEM, "no tables for a split");
		is_u64((uint64_t)-stage2_harvest(&gm.s2, l, ipa(5), PAGE_SIZE, S2_HARVEST_WRITABLE,
						 map, &pool, &g),
		       EINVAL, "an unaligned range");
		host_caps.accessed_dirty = false;
		is_u64((uint64_t)-stage2_harvest(&gm.s2, l, ipa(0), 2 * MIB, S2_HARVEST_MARKED, map,
						 &pool, &g),
		       EOPNOTSUPP, "marks that the machine does not keep");
		host_caps.accessed_dirty = true;
		ok(g.state == GATHER_CLEAN && look(0).level == 1 && look(0).attr & S2_W,
		   "nothing was done (I9)");
		space_unlock(l, &g);
	}
	teardown("refusals");
}

/* ---- a pCPU that has the old translation cached ---- */

static struct tlbi_vcpu vcpu;
static bool cached_writable;
static unsigned late_stores, turns;

static void enter(void)
{
	struct tlbi_enter_cmd cmd;

	host_cpu = 1;
	tlbi_enter(1, &gm.s2.space, &vcpu, &cmd);
	if (cmd.flush != TLBI_NONE || cmd.fresh)
		cached_writable = look(0).attr & S2_W; /* fills again */
	host_cpu = 0;
}

static void leave(void)
{
	host_cpu = 1;
	tlbi_exit(1, &vcpu, true);
	host_cpu = 0;
}

/* The guest goes on storing through what it has cached until it is kicked out. */
static void store_then_leave(void)
{
	CHECK(++turns < 1000);
	if (!agent_in_guest(1))
		return;
	late_stores += cached_writable;
	if (turns == 3 && host_kicks[1])
		leave();
}

static void begin(void)
{
	setup(0);
	populate();
	tlbi_vcpu_init(&vcpu);
	memset(host_kicks, 0, sizeof(host_kicks));
	late_stores = turns = 0;
	cached_writable = true;
	host_on_relax = store_then_leave;
	memset(map, 0, sizeof(map));
}

static void test_settles(enum s2_harvest how, bool defer, const char *name)
{
	TLBI_GATHER(g, &gm.s2.space);

	begin();
	enter();
	CHECK(harvest(0, PAGE_SIZE, how, &g) == 0);
	ok(logged(0) && agent_in_guest(1), "%s: logged while it is cached as written", name);
	if (defer)
		gather_defer(&g);
	else
		gather_sync(&g);
	ok(!agent_in_guest(1) && late_stores, "%s: late stores are in this log (I5)", name);
	late_stores = 0;
	enter();
	ok(how == S2_HARVEST_MARKED || !cached_writable, "%s: later ones fault (I5)", name);
	leave();
	teardown(name);
}

/*
 * The seed's condition. One harvest has taken the permission away and not settled. The next finds
 * a read-only entry, logs nothing, and must still flush before it says so.
 */
static void test_conditional(bool by_protect)
{
	TLBI_GATHER(first, &gm.s2.space);
	TLBI_GATHER(second, &gm.s2.space);
	struct space_locked l;

	begin();
	enter();
	CHECK(harvest(0, PAGE_SIZE, S2_HARVEST_WRITABLE, &first) == 0);
	memset(map, 0, sizeof(map));
	if (by_protect) {
		l = space_lock(&gm.s2.space);
		CHECK(stage2_protect(&gm.s2, l, ipa(0), PAGE_SIZE, S2_R | S2_X, &pool, &second) ==
		      0);
		space_unlock(l, &second);
	} else {
		CHECK(harvest(0, PAGE_SIZE, S2_HARVEST_WRITABLE, &second) == 0);
	}
	ok(!logged(0) && second.state == GATHER_ISSUED,
	   "a read-only entry that is not settled is owed (I5)");
	gather_defer(&second);
	ok(!agent_in_guest(1), "and not deferred: nobody can write when it returns");
	late_stores = 0;
	enter();
	ok(!cached_writable, "nor later");
	{
		TLBI_GATHER(third, &gm.s2.space);

		CHECK(harvest(0, PAGE_SIZE, S2_HARVEST_WRITABLE, &third) == 0);
		ok(third.state == GATHER_CLEAN, "once settled it costs nothing");
	}
	leave();
	gather_sync(&first);
	teardown("conditional flush");
}

/* Long harvests: batches with the lock given up in between, one flush at the end. */
static void test_batches(void)
{
	TLBI_GATHER(g, &gm.s2.space);
	uint64_t part[PAGES / 64], settled;

	begin();
	enter();
	for (unsigned i = 0; i < 8; i++) {
		struct space_locked l = space_lock(&gm.s2.space);

		memset(part, 0, sizeof(part));
		CHECK(stage2_harvest(&gm.s2, l, ipa(i * MIB), MIB, S2_HARVEST_WRITABLE, part, &pool,
				     &g) == 0);
		space_unlock(l, &g);
	}
	settled = space_epoch(&gm.s2.space);
	ok(agent_in_guest(1) && host_kicks[1] == 0, "eight batches disturb nobody");
	gather_sync(&g);
	ok(!agent_in_guest(1), "the end does, once");
	is_u64(host_kicks[1], 1, "one kick for 8 MiB");
	ok(!space_behind(&gm.s2.space, settled), "all of it is settled");
	teardown("batches");
}

/* ---- accessed marks ---- */

static void test_age(void)
{
	struct space_locked l;
	unsigned wrong = 0;

	setup(0);
	populate();
	for (unsigned round = 0; round < 20; round++) {
		TLBI_GATHER(g, &gm.s2.space);
		bool want[PAGES] = {0};

		for (unsigned i = round ? (unsigned)rnd(50) : PAGES; i--;) {
			uint64_t page = round ? rnd(PAGES) : i;

			want[page] = true;
			reader_enter(&gm.s2.space);
			CHECK(stage2_relax(&gm.s2, ipa(page * PAGE_SIZE), S2_AGED) == 0);
			reader_exit();
		}
		memset(map, 0, sizeof(map));
		l = space_lock(&gm.s2.space);
		CHECK(stage2_age(&gm.s2, l, ipa(0), PAGES * PAGE_SIZE, map) == 0);
		space_unlock(l, &g);
		for (unsigned i = 0; i < PAGES; i++)
			wrong += logged(i * PAGE_SIZE) != want[i];
		wrong += g.state != GATHER_CLEAN;
	}
	is_u64(wrong, 0, "what was used since, and nothing is owed for knowing");
	ok(look(0).attr & S2_W && look(0).attr & S2_DIRTY, "nothing else changed");
	teardown("age");
}

/* ---- collapse ---- */

static int collapse(uint64_t at, unsigned level)
{
	TLBI_GATHER(g, &gm.s2.space);
	struct space_locked l = space_lock(&gm.s2.space);
	int e = stage2_collapse(&gm.s2, l, ipa(at), level, &g);

	space_unlock(l, &g);
	gather_sync(&g);
	return e;
}

static void split(uint64_t at)
{
	TLBI_GATHER(g, &gm.s2.space);
	struct space_locked l;

	CHECK(s2_pool_fill(&pool, 4) == 0);
	l = space_lock(&gm.s2.space);
	CHECK(stage2_split(&gm.s2, l, ipa(at), 0, &pool, &g) == 0);
	space_unlock(l, &g);
	gather_sync(&g);
}

static void test_collapse(void)
{
	uint64_t before, tables;
	pa_t frame;

	setup(1);
	populate();
	before = frames_stat().free;
	tables = gm.s2.tables.v;
	frame = look(2 * MIB).pa;
	CHECK(guestmem_write(&gm, ipa(2 * MIB + 77), "abc", 3) == 0);
	split(2 * MIB);
	is_u64(gm.s2.tables.v, tables + 1, "split");
	harvest_all(S2_HARVEST_MARKED);
	store(2 * MIB + 5 * PAGE_SIZE);
	is_u64((uint64_t)-collapse(2 * MIB, 1), 0, "512 leaves of one block");
	ok(look(2 * MIB).level == 1 && look(2 * MIB).pa.v == frame.v, "are one leaf again");
	ok(gm.s2.tables.v == tables && frames_stat().free + pool.count == before + 20,
	   "the table is back");
	ok(look(2 * MIB).attr & S2_DIRTY, "dirty when any part was (I5)");
	is_u64(frames_refs(frame), 1, "the references are the leaf's now");
	is_u64((uint64_t)-collapse(2 * MIB, 1), 0, "a leaf needs nothing");
	harvest_all(S2_HARVEST_MARKED);
	split(2 * MIB);
	is_u64((uint64_t)-collapse(2 * MIB, 1), 0, "clean leaves");
	ok(!(look(2 * MIB).attr & S2_DIRTY), "make a clean leaf");
	split(2 * MIB);
	{
		TLBI_GATHER(g, &gm.s2.space);
		struct space_locked l = space_lock(&gm.s2.space);

		stage2_protect(&gm.s2, l, ipa(2 * MIB), PAGE_SIZE, S2_R, &pool, &g);
		space_unlock(l, &g);
		gather_sync(&g);
	}
	is_u64((uint64_t)-collapse(2 * MIB, 1), EBUSY, "unequal permissions are refused");
	{
		TLBI_GATHER(g, &gm.s2.space);
		struct space_locked l = space_lock(&gm.s2.space);

		stage2_unmap(&gm.s2, l, ipa(2 * MIB), PAGE_SIZE, &pool, &g);
		space_unlock(l, &g);
		gather_sync(&g);
	}
	is_u64((uint64_t)-collapse(2 * MIB, 1), EBUSY, "a hole is refused");
	CHECK(frames_alloc(NULL, 3, &(pa_t){0}) == 0); /* takes the frame that came back */
	CHECK(guestmem_fault(&gm, ipa(2 * MIB), GM_WRITE) == GM_RESOLVED);
	if (look(2 * MIB).pa.v != frame.v)
		is_u64((uint64_t)-collapse(2 * MIB, 1), EBUSY, "scattered frames are refused");
	is_u64((uint64_t)-collapse(2 * MIB + PAGE_SIZE, 1), EINVAL, "an unaligned address");
	is_u64((uint64_t)-collapse(0, 0), EINVAL, "level 0");
	is_u64((uint64_t)-collapse(0, 3), EINVAL, "a level without leaves");
	is_u64((uint64_t)-collapse(1024 * GIB, 1), EBUSY, "nothing there");
	s2_pool_drain(&pool);
	guestmem_destroy(&gm);
	is_u64(frames_stat().free, frames_stat().total - 8, "all given back");
}

/* A leaf gains a permission at each step of a collapse: nothing is lost, whoever wins. */
static unsigned step, when;
static bool gained;

static void gain(const void *p, bool write)
{
	(void)p, (void)write;
	if (step++ != when)
		return;
	host_on_atomic = NULL;
	host_cpu = 1;
	reader_enter(&gm.s2.space);
	gained = stage2_relax(&gm.s2, ipa(9 * PAGE_SIZE), S2_W | S2_DIRTY) == 0;
	reader_exit();
	host_cpu = 0;
	host_on_atomic = gain;
}

static void test_collapse_race(void)
{
	unsigned lost = 0, undone = 0, done = 0, after = 0;

	setup(1);
	populate();
	split(0);
	for (when = 0;; when++) {
		int e;

		harvest_all(S2_HARVEST_WRITABLE);
		step = 0;
		gained = false;
		host_on_atomic = gain;
		e = collapse(0, 1);
		host_on_atomic = NULL;
		if (step <= when)
			break;
		done += e == 0;
		undone += e == -EAGAIN || e == -EBUSY;
		after += !gained;
		lost += e == 0 && look(0).level != 1;
		lost += e != 0 && (look(0).level != 0 || look(8 * PAGE_SIZE).kind != S2_LEAF ||
				   look(511 * PAGE_SIZE).kind != S2_LEAF);
		lost += gained && !(look(9 * PAGE_SIZE).attr & S2_W);
		if (e == 0)
			split(0);
	}
	is_u64(lost, 0, "a permission gained during a collapse stays, the table too (I5, I9)");
	ok(undone && done && after,
	   "before, in between and after: %u undone, %u done, %u not gained", undone, done, after);
	teardown("collapse race");
}

int main(void)
{
	srandom(7);
	host_format = &stage2_npt;
	for (unsigned i = 0; i < 2; i++)
		CHECK(tlbi_pcpu_init(i) == 0);
	test_harvest(S2_HARVEST_WRITABLE, "write permission");
	test_harvest(S2_HARVEST_MARKED, "dirty mark");
	test_ranges();
	test_refusals();
	test_settles(S2_HARVEST_WRITABLE, false, "permission, sync");
	test_settles(S2_HARVEST_WRITABLE, true, "permission, defer");
	test_settles(S2_HARVEST_MARKED, false, "mark, sync");
	test_settles(S2_HARVEST_MARKED, true, "mark, defer");
	test_conditional(false);
	test_conditional(true);
	test_batches();
	test_age();
	test_collapse();
	test_collapse_race();
	return tap_done();
}

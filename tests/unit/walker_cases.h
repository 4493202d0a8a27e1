/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What holds for every format, for a format's test to include after its fmt_<name>.h: entries as
 * values (exhaustive over kinds, attributes and marks), then the walker: leaf choice against a
 * brute-force reference, random operations against a shadow map, out of memory at each allocation,
 * races.
 *
 * The test says before: FORMAT, the walker's unit; SPLIT_BREAKS, whether a leaf must be broken to
 * become a table; widened(perm), what permissions become when the format cannot express them.
 */
#ifndef SLUICE_TESTS_UNIT_WALKER_CASES_H
#define SLUICE_TESTS_UNIT_WALKER_CASES_H

#include <stdlib.h>

#include "lib/errno.h"
#include "mm/frames.h"
#include "stage2/ops.h"
#include "tests/host/hw_host.h"
#include "tests/tap.h"
#include "tlbi/agent.h"

#define SIZE(level) BIT(fmt_shift(level))
#define ROOT_FRAMES stage2_root_frames(&FORMAT)

static uint64_t rnd(uint64_t below)
{
	return ((uint64_t)random() << 20 ^ (uint64_t)random()) % below;
}

/* ---- entries as values ---- */

#define ALL_ATTR 32u /* S2_R to S2_NOREF */
#define SOME_PA	 (7 * SIZE(3))
#define OTHER_PA (5 * SIZE(3))

static s2_attr_t marks_of(unsigned n)
{
	return (n & 1 ? (s2_attr_t)S2_AGED : 0) | (n & 2 ? (s2_attr_t)S2_DIRTY : 0);
}

static void test_values(void)
{
	unsigned wrong = 0, wrong_perm = 0, wrong_marks = 0, wrong_split = 0;

	for (unsigned level = 0; level <= 2; level++)
		for (s2_attr_t a = 0; a < ALL_ATTR; a++) {
			pte_t e = fmt_leaf(pa(SOME_PA), level, a);
			s2_attr_t rest = a & ~(s2_attr_t)S2_RWX, got = fmt_attr(e, level);

			wrong += fmt_kind(e, level) != S2_LEAF ||
				 fmt_leaf_pa(e, level).v != SOME_PA ||
				 (got & ~(s2_attr_t)S2_MARKS) != (rest | widened(a & S2_RWX));
			for (s2_attr_t p = 0; p < 8; p++)
				wrong_perm += fmt_with_perm(e, p).v !=
					      fmt_leaf(pa(SOME_PA), level, rest | p).v;
			for (unsigned m = 0; m < 4; m++) {
				pte_t n = fmt_with_marks(e, marks_of(m));

				wrong_marks += (fmt_attr(n, level) ^ got) & ~(s2_attr_t)S2_MARKS ||
					       fmt_kind(n, level) != S2_LEAF ||
					       fmt_leaf_pa(n, level).v != SOME_PA ||
					       fmt_with_marks(n, got & S2_MARKS).v != e.v;
			}
			for (unsigned i = 0; level && i < SIZE(level) / SIZE(level - 1); i++)
				wrong_split +=
					fmt_split(e, level, i).v !=
					fmt_leaf(pa(SOME_PA + i * SIZE(level - 1)), level - 1, a).v;
		}
	is_u64(wrong, 0, "leaves read back as they were made");
	is_u64(wrong_perm, 0, "changing permissions changes nothing else");
	is_u64(wrong_marks, 0, "changing marks changes nothing else, and can be undone");
	is_u64(wrong_split, 0, "the parts of a split leaf translate as it did");
}

static void test_invalid(void)
{
	static const uint64_t epochs[] = {0, 1, 2, 511, BIT(32), BIT(52) - 1};
	unsigned wrong = 0, wrong_mmio = 0;

	is_u64(fmt_empty(0).v, 0, "a cleared frame is an empty table");
	for (unsigned level = 0; level <= 3; level++) {
		for (size_t i = 0; i < ARRAY_SIZE(epochs); i++)
			wrong += fmt_kind(fmt_empty(epochs[i]), level) != S2_EMPTY ||
				 fmt_owed(fmt_empty(epochs[i])) != epochs[i];
		wrong += fmt_kind(fmt_locked(), level) != S2_LOCKED;
		wrong += fmt_kind(fmt_frozen(), level) != S2_FROZEN;
		if (level) {
			wrong += fmt_kind(fmt_table(pa(GIB)), level) != S2_TABLE;
			wrong += fmt_table_pa(fmt_table(pa(0xfffffffff000))).v != 0xfffffffff000;
		}
	}
	is_u64(wrong, 0, "entries of each kind are told apart at each level");
	for (unsigned r = 0; r <= FMT_REGION_BITS; r++)
		for (unsigned g = 0; g <= FMT_GEN_BITS; g++) {
			uint32_t region = r ? 1u << (r - 1) : (uint32_t)BIT(FMT_REGION_BITS) - 1;
			uint32_t gen = g ? 1u << (g - 1) : (uint32_t)BIT(FMT_GEN_BITS) - 1;
			pte_t e = fmt_mmio(region, gen);

			wrong_mmio += fmt_kind(e, 0) != S2_MMIO || fmt_mmio_region(e) != region ||
				      fmt_mmio_gen(e) != gen;
		}
	is_u64(wrong_mmio, 0, "MMIO entries carry region and generation, every bit of them");
}

/* ---- break before make: every pair of entries ---- */

struct value {
	pte_t e;
	enum s2_kind kind;
	uint64_t pa;
	s2_attr_t attr; /* leaves */
};

static unsigned all_values(struct value *v, unsigned level)
{
	const uint64_t to[] = {SOME_PA, OTHER_PA};
	unsigned n = 0;

	v[n++] = (struct value){fmt_empty(0), S2_EMPTY, 0, 0};
	v[n++] = (struct value){fmt_empty(9), S2_EMPTY, 0, 0};
	v[n++] = (struct value){fmt_locked(), S2_LOCKED, 0, 0};
	v[n++] = (struct value){fmt_frozen(), S2_FROZEN, 0, 0};
	v[n++] = (struct value){fmt_mmio(1, 1), S2_MMIO, 0, 0};
	for (unsigned i = 0; i < 2; i++) {
		if (level)
			v[n++] = (struct value){fmt_table(pa(to[i])), S2_TABLE, to[i], 0};
		for (s2_attr_t a = 0; level < 3 && a < ALL_ATTR; a++)
			for (unsigned m = 0; m < 4; m++) {
				pte_t e =
					fmt_with_marks(fmt_leaf(pa(to[i]), level, a), marks_of(m));

				v[n++] = (struct value){e, S2_LEAF, to[i], a};
			}
	}
	return n;
}

/* The rule in words, once for all formats. */
static bool must_break(const struct value *old, const struct value *new)
{
	if (old->kind < S2_TABLE || new->kind < S2_TABLE)
		return false; /* nothing was cached, or nothing replaces it */
	if (old->kind == S2_LEAF && new->kind == S2_LEAF)
		return old->pa != new->pa || (old->attr ^ new->attr) & S2_DEVICE;
	if (old->kind == S2_LEAF)
		return SPLIT_BREAKS;
	return new->kind == S2_LEAF || old->pa != new->pa;
}

static void test_bbm(void)
{
	static struct value v[600];
	unsigned wrong = 0, pairs = 0;

	for (unsigned level = 0; level <= 3; level++) {
		unsigned n = all_values(v, level);

		for (unsigned i = 0; i < n; i++)
			for (unsigned j = 0; j < n; j++) {
				if (v[i].e.v == v[j].e.v)
					continue;
				pairs++;
				wrong += bbm_required(v[i].e, v[j].e, level) !=
					 must_break(&v[i], &v[j]);
			}
	}
	ok(wrong == 0, "break before make: %u of %u pairs of entries wrong", wrong, pairs);
}

/* ---- the walker ---- */

static struct stage2 s2;
static struct frames_reserve promise;
static struct s2_pool pool;

static void setup(uint64_t frames)
{
	struct mem_range r = {pa(MIB), 6 * GIB};

	frames_init(&r, 1);
	promise = (struct frames_reserve){0};
	pool = (struct s2_pool){.reserve = &promise};
	CHECK(frames_reserve(&promise, frames + stage2_root_frames(&FORMAT)) == 0);
	CHECK(stage2_init(&s2, &FORMAT, &promise) == 0);
}

static void teardown(void)
{
	TLBI_GATHER(g, &s2.space);
	struct space_locked l = space_lock(&s2.space);

	stage2_destroy(&s2, l, &g);
	space_unlock(l, &g);
	gather_defer(&g);
	s2_pool_drain(&pool);
	frames_unreserve(&promise);
	reclaim_poll(UINT64_MAX);
}

static int map(uint64_t at, uint64_t size, uint64_t to, s2_attr_t attr)
{
	TLBI_GATHER(g, &s2.space);
	struct space_locked l;
	int err;

	if (s2_pool_fill(&pool, (unsigned)stage2_map_tables(&s2, ipa(at), size, pa(to))) != 0)
		return -ENOMEM;
	l = space_lock(&s2.space);
	err = stage2_map(&s2, l, ipa(at), size, pa(to), attr, &pool, &g);
	space_unlock(l, &g);
	gather_sync(&g);
	return err;
}

static int change(uint64_t at, uint64_t size, int perm)
{
	TLBI_GATHER(g, &s2.space);
	struct space_locked l;
	int err;

	s2_pool_fill(&pool, 4);
	l = space_lock(&s2.space);
	if (perm < 0)
		err = stage2_unmap(&s2, l, ipa(at), size, &pool, &g);
	else
		err = stage2_protect(&s2, l, ipa(at), size, (s2_attr_t)perm, &pool, &g);
	space_unlock(l, &g);
	if (random() & 1)
		gather_sync(&g);
	else
		gather_defer(&g);
	return err;
}

/* Reference: try every level from the top, all conditions spelled out. */
static unsigned best_level(uint64_t at, uint64_t to, uint64_t left, unsigned max)
{
	for (unsigned level = 2; level > 0; level--) {
		uint64_t size = SIZE(level);

		if (level <= max && at % size == 0 && to % size == 0 && left >= size)
			return level;
	}
	return 0;
}

static void test_leaf_choice(void)
{
	unsigned wrong = 0, cases = 0, overdrawn = 0;
	const uint64_t edge[] = {
		0,	 PAGE_SIZE,	      SIZE(1) - PAGE_SIZE,
		SIZE(1), 3 * SIZE(1) / 2,     SIZE(2) - SIZE(1),
		SIZE(2), SIZE(2) + PAGE_SIZE,
	};

	setup(0);
	pool.reserve = NULL;
	for (unsigned max = 0; max <= 2; max++)
		for (size_t i = 0; i < ARRAY_SIZE(edge); i++)
			for (size_t j = 0; j < ARRAY_SIZE(edge); j++)
				for (size_t k = 1; k < ARRAY_SIZE(edge); k++) {
					uint64_t at = edge[i] + 4 * SIZE(2),
						 to = edge[j] + 64 * SIZE(2);
					uint64_t size = edge[k];

					if (max == 0 || (at ^ to) % SIZE(1))
						size = min_u64(size, 2 * SIZE(1));
					host_caps.max_leaf_level = (uint8_t)max;
					cases++;
					s2_pool_drain(&pool);
					wrong += atomic_load64(&s2.tables) != ROOT_FRAMES;
					wrong += map(at, size, to, S2_RWX | S2_NOREF) != 0;
					for (uint64_t o = 0; o < size;) {
						struct s2_walk w = stage2_lookup(&s2, ipa(at + o));
						unsigned want =
							best_level(at + o, to + o, size - o, max);

						wrong += w.kind != S2_LEAF || w.level != want ||
							 w.pa.v != to + o;
						o += SIZE(want);
					}
					overdrawn += atomic_load64(&s2.tables) - ROOT_FRAMES >
						     stage2_map_tables(&s2, ipa(at), size, pa(to));
					wrong += stage2_lookup(&s2, ipa(at + size)).kind == S2_LEAF;
					wrong += stage2_lookup(&s2, ipa(at - 1)).kind == S2_LEAF;
					wrong += change(0, stage2_limit(&s2), -1) != 0;
				}
	host_caps.max_leaf_level = 2;
	ok(cases > 1000, "%u mappings", cases);
	is_u64(wrong, 0, "each leaf is the largest that alignment, size and machine allow");
	is_u64(overdrawn, 0, "with no more tables than foretold");
	teardown();
}

/* ---- random operations against a shadow of each page ---- */

#define MAX_SPAN  (6 * 512u)
#define SPAN	  (unsigned)(6 * SIZE(1) / PAGE_SIZE) /* pages, around a boundary of level 2 */
#define SPAN_BASE (3 * SIZE(2) - 3 * SIZE(1))

static struct {
	uint64_t to; /* 0: not mapped */
	s2_attr_t perm;
} shadow[MAX_SPAN];

static uint32_t refs_want[MAX_SPAN];

static unsigned shadow_differs(void)
{
	unsigned wrong = 0;

	for (unsigned i = 0; i < SPAN; i++) {
		struct s2_walk w = stage2_lookup(&s2, ipa(SPAN_BASE + i * PAGE_SIZE + i % 4096));

		if (!shadow[i].to)
			wrong += w.kind != S2_EMPTY;
		else
			wrong += w.kind != S2_LEAF || w.pa.v != shadow[i].to + i % 4096 ||
				 (w.attr & S2_RWX) != widened(shadow[i].perm);
	}
	return wrong;
}

/* Leaves visited in order must be what lookup says, none left out. */
static uint64_t walk_next, walk_pages;

static void visit(void *ctx, ipa_t at, const struct s2_walk *w)
{
	unsigned *wrong = ctx;

	*wrong += at.v < walk_next || w->kind != S2_LEAF || at.v % SIZE(w->level) != 0;
	walk_next = at.v + SIZE(w->level);
	walk_pages += SIZE(w->level) / PAGE_SIZE;
}

static unsigned walk_differs(void)
{
	struct space_locked l = space_lock(&s2.space);
	TLBI_GATHER(g, &s2.space);
	unsigned wrong = 0;
	uint64_t pages = 0;

	walk_next = walk_pages = 0;
	stage2_walk(&s2, l, visit, &wrong);
	space_unlock(l, &g);
	for (unsigned i = 0; i < SPAN; i++)
		pages += shadow[i].to != 0;
	return wrong + (walk_pages != pages);
}

static void test_random(void)
{
	unsigned wrong = 0, wrong_walk = 0, wrong_refs = 0, unexpected = 0, large = 0, errs = 0;
	uint64_t free_before;
	pa_t block;

	setup(4000);
	memset(shadow, 0, sizeof(shadow));
	free_before = frames_stat().free;
	CHECK(frames_alloc(NULL, 12, &block) == 0); /* 16 MiB to map from */
	for (unsigned step = 0; step < 4000; step++) {
		unsigned align = rnd(3) ? 1 : (unsigned)(SIZE(1) / PAGE_SIZE), first, n;
		bool vacant = true;
		int err;

		first = (unsigned)rnd(SPAN) & ~(align - 1);
		n = (unsigned)(1 + rnd(rnd(2) ? 8 : 1500));
		n = (n + align - 1) & ~(align - 1);
		n = n < SPAN - first ? n : SPAN - first;
		for (unsigned i = first; i < first + n; i++)
			vacant = vacant && !shadow[i].to;
		if (rnd(5) < 3) {
			uint64_t to = block.v + (first + (rnd(3) ? 0 : rnd(1024))) * PAGE_SIZE;

			err = map(SPAN_BASE + first * PAGE_SIZE, n * PAGE_SIZE, to, S2_RWX);
			unexpected += err != (vacant ? 0 : -EEXIST);
			errs += err != 0;
			for (unsigned i = first; !err && i < first + n; i++) {
				shadow[i].to = to + (i - first) * PAGE_SIZE;
				shadow[i].perm = S2_RWX;
			}
		} else {
			int perm = rnd(2) ? -1 : (int)rnd(8);

			unexpected +=
				change(SPAN_BASE + first * PAGE_SIZE, n * PAGE_SIZE, perm) != 0;
			for (unsigned i = first; i < first + n; i++) {
				if (perm < 0)
					shadow[i].to = 0;
				else
					shadow[i].perm = (s2_attr_t)perm;
			}
		}
		if (step % 10 == 0) {
			wrong += shadow_differs();
			wrong_walk += walk_differs();
			large += stage2_lookup(&s2, ipa(SPAN_BASE + 2 * SIZE(1))).level == 1;
		}
		if (step % 100 == 0) {
			/* Each mapping holds one reference to each of its frames, reclaim none now.
			 */
			reclaim_poll(UINT64_MAX);
			memset(refs_want, 0, sizeof(refs_want));
			for (unsigned i = 0; i < SPAN; i++)
				if (shadow[i].to && (shadow[i].to - block.v) / PAGE_SIZE < SPAN)
					refs_want[(shadow[i].to - block.v) / PAGE_SIZE]++;
			for (unsigned i = 0; i < SPAN; i++)
				wrong_refs += frames_refs(pa(block.v + i * PAGE_SIZE)) !=
					      refs_want[i] + 1;
		}
	}
	is_u64(unexpected, 0, "4000 random operations end as they should");
	is_u64(wrong, 0, "every address translates as the shadow says");
	is_u64(wrong_walk, 0, "the walk visits what is mapped, once and in order");
	is_u64(wrong_refs, 0, "each leaf holds one reference to each of its frames");
	ok(large > 10 && errs > 100, "2M leaves (%u) and refusals (%u) were among them", large,
	   errs);
	change(0, stage2_limit(&s2), -1);
	is_u64(atomic_load64(&s2.tables), ROOT_FRAMES, "unmapping everything leaves the root only");
	frames_put(block, 12);
	s2_pool_drain(&pool);
	reclaim_poll(UINT64_MAX);
	is_u64(frames_stat().free, free_before, "no frame leaks");
	teardown();
	is_u64(frames_stat().free, free_before + ROOT_FRAMES, "the root comes back with the end");
}

/* ---- out of memory at each allocation ---- */

static void test_oom(void)
{
	unsigned changed = 0, leaked = 0, failed = 0, worst;
	uint64_t at = SIZE(fmt_root_level()) - SIZE(1);

	setup(0);
	worst = (unsigned)stage2_worst_tables(&s2, ipa(at), 2 * SIZE(1));
	is_u64(worst, 2 * fmt_root_level(), "across every boundary: two tables of each level");
	for (unsigned have = 0; have <= worst; have++) {
		struct frames_reserve r = {0};
		int err;

		frames_reserve(&r, have);
		pool = (struct s2_pool){.reserve = &r};
		err = map(at, 2 * SIZE(1), SIZE(2) + PAGE_SIZE, S2_RWX | S2_NOREF);
		failed += err == -ENOMEM;
		if (err)
			changed += stage2_lookup(&s2, ipa(at)).kind != S2_EMPTY ||
				   atomic_load64(&s2.tables) != ROOT_FRAMES;
		s2_pool_drain(&pool);
		leaked += err && r.pages != have;
		frames_unreserve(&r);
	}
	is_u64(failed, worst, "map fails until there are enough tables");
	is_u64(changed, 0, "a failed map leaves the tables as they were");
	is_u64(leaked, 0, "and the promise");
	is_u64(atomic_load64(&s2.tables), worst + ROOT_FRAMES, "then it takes exactly those");
	pool = (struct s2_pool){.reserve = &promise};
	teardown();
	is_u64(frames_stat().free, frames_stat().total, "all of it comes back");
}

static void test_split_oom(void)
{
	unsigned bad = 0;

	setup(20);
	map(4 * SIZE(2), 2 * SIZE(2), 8 * SIZE(2), S2_RWX | S2_NOREF);
	s2_pool_drain(&pool);
	is_u64(stage2_lookup(&s2, ipa(4 * SIZE(2))).level, 2, "a leaf of level 2");
	for (unsigned have = 0; have <= 4; have++) {
		TLBI_GATHER(g, &s2.space);
		struct space_locked l;
		int err;

		s2_pool_fill(&pool, have);
		l = space_lock(&s2.space);
		err = stage2_unmap(&s2, l, ipa(4 * SIZE(2) + PAGE_SIZE), SIZE(2), &pool, &g);
		space_unlock(l, &g);
		gather_sync(&g);
		bad += (err == 0) != (have == 4);
		if (err)
			bad += stage2_lookup(&s2, ipa(4 * SIZE(2))).level != 2;
	}
	is_u64(bad, 0,
	       "an unmap that cuts two leaves wants four tables and touches nothing before");
	is_u64(stage2_lookup(&s2, ipa(4 * SIZE(2))).kind == S2_LEAF &&
		       stage2_lookup(&s2, ipa(4 * SIZE(2) + PAGE_SIZE)).kind == S2_EMPTY &&
		       stage2_lookup(&s2, ipa(5 * SIZE(2))).kind == S2_EMPTY &&
		       stage2_lookup(&s2, ipa(5 * SIZE(2) + PAGE_SIZE)).kind == S2_LEAF,
	       1, "and cuts exactly");
	is_u64(atomic_load64(&s2.tables), ROOT_FRAMES + (fmt_root_level() - 2) + 4,
	       "tables: two each of the levels that were split");
	teardown();
}

/* ---- races, played by a hook on every shared access ---- */

static uint64_t intrude_at;
static unsigned intrude_after;

/* Another pCPU's fault fills a page of the range while stage2_map is at work. */
static void intrude(const void *p, bool write)
{
	static struct s2_pool theirs;

	(void)p;
	if (!write || --intrude_after)
		return;
	host_on_atomic = NULL;
	s2_pool_fill(&theirs, 3);
	host_cpu = 1;
	reader_enter(&s2.space);
	CHECK(stage2_install(&s2, ipa(intrude_at), 0, pa(40 * GIB), S2_R | S2_NOREF, &theirs) == 0);
	reader_exit();
	host_cpu = 0;
	s2_pool_drain(&theirs);
}

static void test_map_race(void)
{
	unsigned left = 0, wrong = 0;
	uint64_t size = 40 * PAGE_SIZE, before;
	pa_t block;

	setup(100);
	CHECK(frames_alloc(NULL, 6, &block) == 0);
	map(0, PAGE_SIZE, 40 * GIB, S2_R | S2_NOREF); /* the tables are there */
	s2_pool_fill(&pool, 3);
	before = frames_stat().free;
	for (unsigned at = 6; at < 40; at++) {
		TLBI_GATHER(g, &s2.space);
		struct space_locked l = space_lock(&s2.space);
		int err;

		intrude_at = (1 + at) * PAGE_SIZE;
		intrude_after = 5;
		host_on_atomic = intrude;
		err = stage2_map(&s2, l, ipa(PAGE_SIZE), size, block, S2_RWX, &pool, &g);
		host_on_atomic = NULL;
		space_unlock(l, &g);
		gather_sync(&g);
		wrong += err != -EEXIST || stage2_lookup(&s2, ipa(intrude_at)).pa.v != 40 * GIB;
		for (uint64_t o = PAGE_SIZE; o <= size; o += PAGE_SIZE)
			left += o != intrude_at && stage2_lookup(&s2, ipa(o)).kind != S2_EMPTY;
		change(intrude_at, PAGE_SIZE, -1);
		for (unsigned i = 0; i < 64; i++)
			left += frames_refs(pa(block.v + i * PAGE_SIZE)) != 1;
	}
	is_u64(wrong, 0, "a map that meets another's install gives way to it");
	is_u64(left, 0, "and undoes what it did (I9)");
	s2_pool_fill(&pool, 3);
	reclaim_poll(UINT64_MAX);
	is_u64(frames_stat().free, before - (pool.count - 3), "no frame leaks");
	teardown();
}

/* Dead tables hold nothing that a cached upper entry or a late install could use. */
static void test_frozen(void)
{
	unsigned depth = fmt_root_level();
	pa_t table[S2_MAX_LEVEL];
	unsigned alive = 0;

	setup(20);
	map(0, 8 * PAGE_SIZE, 40 * GIB, S2_RWX | S2_NOREF);
	table[0] = fmt_table_pa(pte(*(uint64_t *)hw_frame_ptr(s2.space.root)));
	for (unsigned i = 1; i < depth; i++)
		table[i] = fmt_table_pa(pte(*(uint64_t *)hw_frame_ptr(table[i - 1])));
	host_cpu = 1;
	reader_enter(&s2.space);
	host_cpu = 0;
	{
		TLBI_GATHER(g, &s2.space);
		struct space_locked l = space_lock(&s2.space);

		stage2_unmap(&s2, l, ipa(0), stage2_limit(&s2), &pool, &g);
		space_unlock(l, &g);
		gather_defer(&g);
	}
	for (unsigned i = 0; i < depth; i++)
		for (unsigned k = 0; k < SIZE(depth - i) / SIZE(depth - i - 1); k++) {
			const uint64_t *e = (uint64_t *)hw_frame_ptr(table[i]) + k;

			alive += fmt_kind(pte(*e), depth - 1 - i) != S2_FROZEN;
		}
	is_u64(alive, 0, "every entry of an unlinked table is frozen (I2)");
	is_u64(reclaim_pending(), depth, "while a reader holds the tables");
	host_cpu = 1;
	reader_exit();
	host_cpu = 0;
	is_u64(reclaim_poll(10), depth, "and only then they go");
	teardown();
}

static void test_arguments(void)
{
	struct space_locked l;
	TLBI_GATHER(g, &s2.space);
	unsigned bad = 0;

	setup(20);
	g.space = &s2.space;
	s2_pool_fill(&pool, 8);
	l = space_lock(&s2.space);
	bad += stage2_map(&s2, l, ipa(1), PAGE_SIZE, pa(0), S2_R, &pool, &g) != -EINVAL;
	bad += stage2_map(&s2, l, ipa(0), PAGE_SIZE + 1, pa(0), S2_R, &pool, &g) != -EINVAL;
	bad += stage2_map(&s2, l, ipa(0), 0, pa(0), S2_R, &pool, &g) != -EINVAL;
	bad += stage2_map(&s2, l, ipa(0), PAGE_SIZE, pa(5), S2_R, &pool, &g) != -EINVAL;
	bad += stage2_map(&s2, l, ipa(stage2_limit(&s2)), PAGE_SIZE, pa(0), S2_R, &pool, &g) !=
	       -EINVAL;
	bad += stage2_map(&s2, l, ipa(stage2_limit(&s2) - PAGE_SIZE), 2 * PAGE_SIZE, pa(0), S2_R,
			  &pool, &g) != -EINVAL;
	bad += stage2_unmap(&s2, l, ipa(UINT64_MAX & ~PAGE_MASK), PAGE_SIZE, &pool, &g) != -EINVAL;
	bad += stage2_protect(&s2, l, ipa(PAGE_SIZE), UINT64_MAX & ~PAGE_MASK, S2_R, &pool, &g) !=
	       -EINVAL;
	bad += stage2_split(&s2, l, ipa(stage2_limit(&s2)), 0, &pool, &g) != -EINVAL;
	space_unlock(l, &g);
	gather_sync(&g);
	bad += stage2_install(&s2, ipa(PAGE_SIZE), 1, pa(0), S2_R, &pool) != -EINVAL;
	bad += stage2_install(&s2, ipa(0), 3, pa(0), S2_R, &pool) != -EINVAL;
	is_u64(bad, 0, "unaligned, empty, wrapping and too high ranges are refused");
	is_u64(stage2_lookup(&s2, ipa(UINT64_MAX)).kind, S2_EMPTY, "nothing is mapped up there");
	teardown();
}

/* ---- another frame for a leaf ---- */

static unsigned locked_seen, order_wrong;
static pa_t old_frame;

static void watch_entry(const void *p, bool write)
{
	struct s2_walk w;

	(void)p;
	(void)write;
	host_on_atomic = NULL;
	w = stage2_lookup(&s2, ipa(0));
	if (w.kind == S2_LOCKED)
		locked_seen++;
	/* Old, then locked, then new; the old frame is held until then. */
	order_wrong += w.kind == S2_LEAF && w.pa.v == old_frame.v && locked_seen;
	order_wrong += w.kind != S2_LEAF && w.kind != S2_LOCKED;
	host_on_atomic = watch_entry;
}

static void test_replace(void)
{
	unsigned bad = 0;
	pa_t a, b;

	setup(20);
	CHECK(frames_alloc(NULL, 0, &a) == 0 && frames_alloc(NULL, 0, &b) == 0);
	map(0, PAGE_SIZE, a.v, S2_R);
	frames_put(a, 0); /* the map's alone */
	old_frame = a;
	locked_seen = order_wrong = 0;
	{
		TLBI_GATHER(g, &s2.space);
		struct space_locked l = space_lock(&s2.space);

		bad += stage2_replace(&s2, l, ipa(PAGE_SIZE), 0, b, S2_RWX, &g) != -ENOENT;
		bad += stage2_replace(&s2, l, ipa(0), 1, pa(SIZE(1)), S2_RWX, &g) != -ENOENT;
		bad += stage2_replace(&s2, l, ipa(1), 0, b, S2_RWX, &g) != -EINVAL;
		bad += stage2_replace(&s2, l, ipa(0), 3, pa(0), S2_RWX, &g) != -EINVAL;
		bad += g.state != GATHER_CLEAN;
		host_on_atomic = watch_entry;
		bad += stage2_replace(&s2, l, ipa(0), 0, b, S2_RWX, &g) != 0;
		host_on_atomic = NULL;
		bad += g.state != GATHER_COMPLETE;
		space_unlock(l, &g);
	}
	is_u64(bad, 0, "a leaf is replaced, and only a leaf");
	ok(locked_seen > 0 && !order_wrong, "it is locked in between (%u looks)", locked_seen);
	ok(stage2_lookup(&s2, ipa(0)).pa.v == b.v && stage2_lookup(&s2, ipa(0)).attr & S2_W,
	   "then it has the new frame");
	is_u64(frames_refs(a), 0, "the old one is free: everybody has passed");
	is_u64(frames_refs(b), 1, "the new one is the map's");
	teardown();
}

static void walker_cases(void)
{
	static const struct reclaim_agents agents = {agents_behind, agents_wait};

	srandom(2);
	reclaim_init(&agents);
	agent_init(1);
	test_values();
	test_invalid();
	test_bbm();
	test_leaf_choice();
	test_random();
	test_oom();
	test_split_oom();
	test_map_race();
	test_frozen();
	test_arguments();
	test_replace();
}

#endif

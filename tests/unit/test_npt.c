/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The NPT format bit by bit against the manual's layout, then the walker on it: leaf choice against
 * a brute-force reference, random operations against a shadow map, out of memory at each
 * allocation.
 */
// links: mm/ledger.c tlbi/broadcast.c tlbi/vmid.c
// links: stage2/stage2.c stage2/npt.c tlbi/space.c tlbi/agent.c tlbi/gather.c mm/frames.c
// links: mm/reclaim.c lib/log.c lib/string.c
#include <stdlib.h>

#include "lib/errno.h"
#include "mm/frames.h"
#include "stage2/fmt_npt.h"
#include "stage2/ops.h"
#include "tests/host/hw_host.h"
#include "tests/tap.h"
#include "tlbi/agent.h"

static uint64_t rnd(uint64_t below)
{
	return ((uint64_t)random() << 20 ^ (uint64_t)random()) % below;
}

/* ---- bits: APM vol 2, figures 5-20 to 5-27; written out, not taken from the header ---- */

static void test_leaf_bits(void)
{
	unsigned wrong = 0, wrong_back = 0, wrong_kind = 0;

	for (unsigned level = 0; level <= 2; level++)
		for (s2_attr_t attr = 0; attr < 32; attr++)
			for (unsigned bit = 12 + 9 * level; bit < 52; bit++) {
				uint64_t want = 1 | 1ULL << 2 | 1ULL << 5 | 1ULL << 6;
				pte_t e = fmt_leaf(pa(1ULL << bit), level, attr);
				s2_attr_t back = fmt_attr(e, level);

				want |= 1ULL << bit;
				want |= level ? 1ULL << 7 : 0;
				want |= attr & S2_W ? 2 : 0;
				want |= attr & S2_X ? 0 : 1ULL << 63;
				want |= attr & S2_DEVICE ? 0x18 : 0;
				want |= attr & S2_NOREF ? 1ULL << 52 : 0;
				wrong += e.v != want;
				wrong_kind += fmt_kind(e, level) != S2_LEAF;
				wrong_back += fmt_leaf_pa(e, level).v != 1ULL << bit ||
					      back != (attr | S2_R | S2_AGED | S2_DIRTY);
			}
	is_u64(wrong, 0, "leaves of each level, attribute and address bit are as the manual says");
	is_u64(wrong_kind, 0, "and are recognised");
	is_u64(wrong_back, 0, "and read back");
}

static void test_perm_bits(void)
{
	unsigned wrong = 0;

	for (unsigned level = 0; level <= 2; level++)
		for (s2_attr_t from = 0; from < 32; from++)
			for (s2_attr_t to = 0; to < 8; to++) {
				pte_t e = fmt_leaf(pa(GIB * 5), level, from);
				s2_attr_t rest = from & ~(s2_attr_t)S2_RWX;

				wrong += fmt_with_perm(e, to).v !=
					 fmt_leaf(pa(GIB * 5), level, rest | to).v;
			}
	is_u64(wrong, 0, "changing permissions changes nothing else");
}

static void test_split_bits(void)
{
	unsigned wrong = 0;

	for (unsigned level = 1; level <= 2; level++)
		for (s2_attr_t attr = 0; attr < 32; attr++)
			for (unsigned i = 0; i < 512; i++) {
				uint64_t part = PAGE_SIZE << (9 * (level - 1));
				pte_t e = fmt_leaf(pa(GIB * 7), level, attr);

				wrong += fmt_split(e, level, i).v !=
					 fmt_leaf(pa(GIB * 7 + i * part), level - 1, attr).v;
			}
	is_u64(wrong, 0, "the parts of a split leaf translate as it did");
}

static void test_invalid_bits(void)
{
	static const uint64_t epochs[] = {0, 1, 2, 511, BIT(32), BIT(52) - 1};
	unsigned wrong = 0, present = 0, wrong_mmio = 0;

	is_u64(fmt_empty(0).v, 0, "a cleared frame is an empty table");
	for (unsigned level = 0; level <= 3; level++) {
		for (size_t i = 0; i < ARRAY_SIZE(epochs); i++) {
			wrong += fmt_kind(fmt_empty(epochs[i]), level) != S2_EMPTY ||
				 fmt_owed(fmt_empty(epochs[i])) != epochs[i];
			present += (fmt_empty(epochs[i]).v & 1) != 0;
		}
		wrong += fmt_kind(fmt_locked(), level) != S2_LOCKED;
		wrong += fmt_kind(fmt_frozen(), level) != S2_FROZEN;
		wrong += fmt_kind(fmt_table(pa(GIB)), level) != (level ? S2_TABLE : S2_LEAF);
		present += ((fmt_locked().v | fmt_frozen().v) & 1) != 0;
	}
	is_u64(wrong, 0, "invalid entries are told apart at each level");
	is_u64(present, 0, "hardware faults on them");
	is_u64(fmt_table(pa(0xfffffffff000)).v, 0xfffffffff027, "a table entry: P, RW, US, A");
	for (unsigned bits = 48; bits <= 52; bits++)
		for (unsigned r = 0; r < 17; r++)
			for (unsigned g = 0; g < 21; g++) {
				uint32_t region = r ? 1u << (r - 1) : 0xffff;
				uint32_t gen = g ? 1u << (g - 1) : 0xfffff;
				pte_t e;

				host_caps.pa_bits = (uint8_t)bits;
				e = fmt_mmio(region, gen);
				wrong_mmio += fmt_kind(e, 0) != S2_MMIO ||
					      fmt_mmio_region(e) != region ||
					      fmt_mmio_gen(e) != gen || (e.v & 1) != (bits < 52) ||
					      (e.v >> 51 & 1) != (bits < 52);
			}
	host_caps.pa_bits = 48;
	is_u64(wrong_mmio, 0,
	       "MMIO entries carry region and generation, reserved bit where there is one");
}

/* Every pair of kinds of entry at each level: what must be broken first. */
static void test_bbm(void)
{
	unsigned wrong = 0;

	for (unsigned level = 0; level <= 3; level++) {
		pte_t e[] = {
			fmt_empty(0),
			fmt_empty(9),
			fmt_locked(),
			fmt_mmio(1, 1),
			level ? fmt_table(pa(GIB)) : fmt_empty(3),
			level ? fmt_table(pa(2 * GIB)) : fmt_empty(4),
			fmt_leaf(pa(GIB), level, S2_RWX),
			fmt_leaf(pa(GIB), level, S2_R),
			fmt_leaf(pa(2 * GIB), level, S2_RWX),
			fmt_leaf(pa(GIB), level, S2_RWX | S2_DEVICE),
		};
		/* Row: old; column: new; 1: break. Invalid on one side never; table to table or
		 * leaf, another frame or memory type always; split and permissions not. */
		static const char *want[] = {
			"0000000000", "0000000000", "0000000000", "0000000000", "0000111111",
			"0000111111", "0000000011", "0000000011", "0000001101", "0000001110",
		};

		for (unsigned i = 0; i < ARRAY_SIZE(e); i++)
			for (unsigned j = 0; j < ARRAY_SIZE(e); j++) {
				bool expect = want[i][j] == '1';

				if (level == 3 && (i >= 6 || j >= 6)) /* no leaves there */
					continue;
				if (level == 0 && (i == 4 || i == 5 || j == 4 || j == 5))
					expect = false;
				wrong += bbm_required(e[i], e[j], level) != expect;
			}
	}
	is_u64(wrong, 0, "break-before-make for each pair of entries");
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
	CHECK(frames_reserve(&promise, frames + 1) == 0);
	CHECK(stage2_init(&s2, &stage2_npt, &promise) == 0);
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
		uint64_t size = 1ULL << (12 + 9 * level);

		if (level <= max && at % size == 0 && to % size == 0 && left >= size)
			return level;
	}
	return 0;
}

static void test_leaf_choice(void)
{
	unsigned wrong = 0, cases = 0, overdrawn = 0;
	static const uint64_t edge[] = {
		0, 4 * KIB, MIB * 2 - 4 * KIB, 2 * MIB, 3 * MIB, GIB - 2 * MIB, GIB, GIB + 4 * KIB};

	setup(0);
	pool.reserve = NULL;
	for (unsigned max = 0; max <= 2; max++)
		for (size_t i = 0; i < ARRAY_SIZE(edge); i++)
			for (size_t j = 0; j < ARRAY_SIZE(edge); j++)
				for (size_t k = 1; k < ARRAY_SIZE(edge); k++) {
					uint64_t at = edge[i] + 4 * GIB, to = edge[j] + 512 * GIB;
					uint64_t size = edge[k];

					if (max == 0 || (at ^ to) % (2 * MIB))
						size = min_u64(size, 4 * MIB);
					host_caps.max_leaf_level = (uint8_t)max;
					cases++;
					s2_pool_drain(&pool);
					wrong += atomic_load64(&s2.tables) != 1;
					wrong += map(at, size, to, S2_RWX | S2_NOREF) != 0;
					for (uint64_t o = 0; o < size;) {
						struct s2_walk w = stage2_lookup(&s2, ipa(at + o));
						unsigned want =
							best_level(at + o, to + o, size - o, max);

						wrong += w.kind != S2_LEAF || w.level != want ||
							 w.pa.v != to + o;
						o += s2_level_size(want);
					}
					overdrawn += atomic_load64(&s2.tables) - 1 >
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

#define SPAN	  (6 * 512u) /* pages: 12 MiB around a 1 GiB boundary */
#define SPAN_BASE (3 * GIB - 6 * MIB)

static struct {
	uint64_t to; /* 0: not mapped */
	s2_attr_t perm;
} shadow[SPAN];

static uint32_t refs_want[SPAN];

static unsigned shadow_differs(void)
{
	unsigned wrong = 0;

	for (unsigned i = 0; i < SPAN; i++) {
		struct s2_walk w = stage2_lookup(&s2, ipa(SPAN_BASE + i * PAGE_SIZE + i % 4096));

		if (!shadow[i].to)
			wrong += w.kind != S2_EMPTY;
		else
			wrong += w.kind != S2_LEAF || w.pa.v != shadow[i].to + i % 4096 ||
				 (w.attr & S2_RWX) != (shadow[i].perm | S2_R);
	}
	return wrong;
}

/* Leaves visited in order must be what lookup says, none left out. */
static uint64_t walk_next, walk_pages;

static void visit(void *ctx, ipa_t at, const struct s2_walk *w)
{
	unsigned *wrong = ctx;

	*wrong += at.v < walk_next || w->kind != S2_LEAF || at.v % s2_level_size(w->level) != 0;
	walk_next = at.v + s2_level_size(w->level);
	walk_pages += s2_level_size(w->level) / PAGE_SIZE;
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
		unsigned align = rnd(3) ? 1 : 512, first, n;
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
			large += stage2_lookup(&s2, ipa(SPAN_BASE + 4 * MIB)).level == 1;
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
	is_u64(atomic_load64(&s2.tables), 1, "unmapping everything leaves the root only");
	frames_put(block, 12);
	s2_pool_drain(&pool);
	reclaim_poll(UINT64_MAX);
	is_u64(frames_stat().free, free_before, "no frame leaks");
	teardown();
	is_u64(frames_stat().free, free_before + 1, "the root comes back with the end");
}

/* ---- out of memory at each allocation ---- */

static void test_oom(void)
{
	unsigned changed = 0, leaked = 0, failed = 0, worst;
	uint64_t at = 511 * GIB + 1022 * MIB;

	setup(0);
	worst = (unsigned)stage2_worst_tables(&s2, ipa(at), 4 * MIB);
	is_u64(worst, 6, "4 MiB across every boundary: six tables");
	for (unsigned have = 0; have <= worst; have++) {
		struct frames_reserve r = {0};
		int err;

		frames_reserve(&r, have);
		pool = (struct s2_pool){.reserve = &r};
		err = map(at, 4 * MIB, GIB + 4 * KIB, S2_RWX | S2_NOREF);
		failed += err == -ENOMEM;
		if (err)
			changed += stage2_lookup(&s2, ipa(at)).kind != S2_EMPTY ||
				   atomic_load64(&s2.tables) != 1;
		s2_pool_drain(&pool);
		leaked += err && r.pages != have;
		frames_unreserve(&r);
	}
	is_u64(failed, worst, "map fails until there are enough tables");
	is_u64(changed, 0, "a failed map leaves the tables as they were");
	is_u64(leaked, 0, "and the promise");
	is_u64(atomic_load64(&s2.tables), worst + 1, "then it takes exactly those");
	pool = (struct s2_pool){.reserve = &promise};
	teardown();
	is_u64(frames_stat().free, frames_stat().total, "all of it comes back");
}

static void test_split_oom(void)
{
	unsigned bad = 0;

	setup(20);
	map(4 * GIB, 2 * GIB, 8 * GIB, S2_RWX | S2_NOREF);
	s2_pool_drain(&pool);
	is_u64(stage2_lookup(&s2, ipa(4 * GIB)).level, 2, "a 1 GiB leaf");
	for (unsigned have = 0; have <= 4; have++) {
		TLBI_GATHER(g, &s2.space);
		struct space_locked l;
		int err;

		s2_pool_fill(&pool, have);
		l = space_lock(&s2.space);
		err = stage2_unmap(&s2, l, ipa(4 * GIB + 4 * KIB), GIB, &pool, &g);
		space_unlock(l, &g);
		gather_sync(&g);
		bad += (err == 0) != (have == 4);
		if (err)
			bad += stage2_lookup(&s2, ipa(4 * GIB)).level != 2;
	}
	is_u64(bad, 0,
	       "an unmap that cuts two leaves wants four tables and touches nothing before");
	is_u64(stage2_lookup(&s2, ipa(4 * GIB)).kind == S2_LEAF &&
		       stage2_lookup(&s2, ipa(4 * GIB + 4 * KIB)).kind == S2_EMPTY &&
		       stage2_lookup(&s2, ipa(5 * GIB)).kind == S2_EMPTY &&
		       stage2_lookup(&s2, ipa(5 * GIB + 4 * KIB)).kind == S2_LEAF,
	       1, "and cuts exactly");
	is_u64(atomic_load64(&s2.tables), 6, "tables: root, PDP, two PD, two PT");
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
	pa_t table[3];
	unsigned alive = 0;

	setup(20);
	map(0, 8 * PAGE_SIZE, 40 * GIB, S2_RWX | S2_NOREF);
	table[0] = fmt_table_pa(pte(*(uint64_t *)hw_frame_ptr(s2.space.root)));
	for (unsigned i = 1; i < 3; i++)
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
	for (unsigned i = 0; i < 3; i++)
		for (unsigned k = 0; k < 512; k++) {
			const uint64_t *e = (uint64_t *)hw_frame_ptr(table[i]) + k;

			alive += fmt_kind(pte(*e), 2 - i) != S2_FROZEN;
		}
	is_u64(alive, 0, "every entry of an unlinked table is frozen (I2)");
	is_u64(reclaim_pending(), 3, "while a reader holds the tables");
	host_cpu = 1;
	reader_exit();
	host_cpu = 0;
	is_u64(reclaim_poll(10), 3, "and only then they go");
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
	bad += stage2_map(&s2, l, ipa(BIT(48)), PAGE_SIZE, pa(0), S2_R, &pool, &g) != -EINVAL;
	bad += stage2_map(&s2, l, ipa(BIT(48) - PAGE_SIZE), 2 * PAGE_SIZE, pa(0), S2_R, &pool,
			  &g) != -EINVAL;
	bad += stage2_unmap(&s2, l, ipa(UINT64_MAX & ~PAGE_MASK), PAGE_SIZE, &pool, &g) != -EINVAL;
	bad += stage2_protect(&s2, l, ipa(PAGE_SIZE), UINT64_MAX & ~PAGE_MASK, S2_R, &pool, &g) !=
	       -EINVAL;
	bad += stage2_split(&s2, l, ipa(BIT(48)), 0, &pool, &g) != -EINVAL;
	space_unlock(l, &g);
	gather_sync(&g);
	bad += stage2_install(&s2, ipa(PAGE_SIZE), 1, pa(0), S2_R, &pool) != -EINVAL;
	bad += stage2_install(&s2, ipa(0), 3, pa(0), S2_R, &pool) != -EINVAL;
	is_u64(bad, 0, "unaligned, empty, wrapping and too high ranges are refused");
	is_u64(stage2_lookup(&s2, ipa(UINT64_MAX)).kind, S2_EMPTY, "nothing is mapped up there");
	host_caps.ipa_bits = 40;
	is_u64(stage2_limit(&s2), BIT(40), "the machine's width limits the tables'");
	host_caps.ipa_bits = 48;
	teardown();
}

int main(void)
{
	static const struct reclaim_agents agents = {agents_behind, agents_wait};

	srandom(2);
	reclaim_init(&agents);
	agent_init(1);
	test_leaf_bits();
	test_perm_bits();
	test_split_bits();
	test_invalid_bits();
	test_bbm();
	test_leaf_choice();
	test_random();
	test_oom();
	test_split_oom();
	test_map_race();
	test_frozen();
	test_arguments();
	return tap_done();
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* What all formats share: arguments checked, tables in stock, ranges cut into leaves. See stage2.h.
 */
#include "stage2/stage2.h"

#include "arch/hw.h"
#include "lib/check.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "mm/ledger.h"
#include "stage2/ops.h"
#include "tlbi/agent.h"

/* ---- pool ---- */

void s2_pool_put(struct s2_pool *p, pa_t page)
{
	*(uint64_t *)hw_frame_ptr(page) = p->first.v;
	p->first = page;
	p->count++;
}

pa_t s2_pool_take(struct s2_pool *p)
{
	pa_t page = p->first;
	uint64_t *link = hw_frame_ptr(page);

	CHECK(p->count);
	p->first = pa(*link);
	p->count--;
	*link = 0;
	return page;
}

int s2_pool_fill(struct s2_pool *p, unsigned count)
{
	while (p->count < count) {
		pa_t page;

		if (frames_alloc(p->reserve, 0, &page) != 0)
			return -ENOMEM;
		memset(hw_frame_ptr(page), 0, PAGE_SIZE);
		s2_pool_put(p, page);
	}
	return 0;
}

void s2_pool_drain(struct s2_pool *p)
{
	while (p->count)
		frames_unalloc(p->reserve, s2_pool_take(p), 0);
}

/* ---- geometry ---- */

uint64_t stage2_leaf_size(const struct stage2 *s, unsigned level)
{
	return BIT(s->fmt->shift(level));
}

/* A leaf of the level has 1 << this many frames. */
static unsigned leaf_order(const struct stage2 *s, unsigned level)
{
	return s->fmt->shift(level) - PAGE_SHIFT;
}

static unsigned root_order(const struct stage2_format *fmt)
{
	unsigned order = 0;

	while (PAGE_SIZE << order < fmt->root_entries() * sizeof(uint64_t))
		order++;
	return order;
}

unsigned stage2_root_frames(const struct stage2_format *fmt)
{
	return 1u << root_order(fmt);
}

uint64_t stage2_limit(const struct stage2 *s)
{
	uint64_t limit = s->fmt->root_entries() * stage2_leaf_size(s, s->fmt->root_level());
	unsigned bits = hw_mmu_caps()->ipa_bits;

	return bits < 64 ? min_u64(limit, BIT(bits)) : limit;
}

unsigned stage2_max_leaf(const struct stage2 *s)
{
	return s->fmt->max_leaf();
}

static bool range_ok(const struct stage2 *s, ipa_t at, uint64_t size)
{
	return size > 0 && is_aligned(at.v, PAGE_SIZE) && is_aligned(size, PAGE_SIZE) &&
	       range_fits(at.v, size, stage2_limit(s));
}

/* Entries of `level` that the range touches: below each hangs at most one table. */
static uint64_t touched(const struct stage2 *s, ipa_t at, uint64_t size, unsigned level)
{
	uint64_t span = stage2_leaf_size(s, level);

	return (at.v + size - 1) / span - at.v / span + 1;
}

uint64_t stage2_worst_tables(const struct stage2 *s, ipa_t base, uint64_t size)
{
	uint64_t tables = 0;

	if (size == 0)
		return 0;
	for (unsigned level = 1; level <= s->fmt->root_level(); level++)
		tables += touched(s, base, size, level);
	return tables;
}

uint64_t stage2_map_tables(const struct stage2 *s, ipa_t at, uint64_t size, pa_t pa)
{
	uint64_t tables = 0;

	if (size == 0)
		return 0;
	for (unsigned level = 1; level <= s->fmt->root_level(); level++) {
		uint64_t span = stage2_leaf_size(s, level), cut;

		/* Where leaves of the level fit, tables hang only below the entries that the ends
		 * cut. */
		cut = (uint64_t)!is_aligned(at.v, span) + !is_aligned(at.v + size, span);
		if (level <= s->fmt->max_leaf() && is_aligned(at.v ^ pa.v, span))
			tables += min_u64(cut, touched(s, at, size, level));
		else
			tables += touched(s, at, size, level);
	}
	return tables;
}

/* Splits that an operation may have to make so that no leaf crosses the boundary `at`. */
static unsigned boundary_splits(const struct stage2 *s, uint64_t at)
{
	unsigned splits = 0;

	for (unsigned level = 1; level <= s->fmt->max_leaf(); level++)
		splits += !is_aligned(at, stage2_leaf_size(s, level));
	return splits;
}

static bool pool_holds(const struct s2_pool *pool, uint64_t count)
{
	return count == 0 || (pool && pool->count >= count);
}

/* ---- life ---- */

int stage2_init(struct stage2 *s, const struct stage2_format *fmt, struct frames_reserve *r)
{
	unsigned order = root_order(fmt);
	pa_t root;

	if (frames_alloc(r, order, &root) != 0)
		return -ENOMEM;
	memset(hw_frame_ptr(root), 0, PAGE_SIZE << order);
	*s = (struct stage2){.fmt = fmt, .tables = {BIT(order)}};
	/* Every guest sees a wrap while its board is assembled, not after a million changes. */
	atomic_store64(&s->slots_gen, BIT(fmt->gen_bits) - 3);
	space_init(&s->space, root);
	return 0;
}

void stage2_destroy(struct stage2 *s, struct space_locked l, struct tlbi_gather *g)
{
	CHECK(l.space == &s->space && g->space == &s->space);
	space_retire(l);
	s->fmt->destroy(s, g);
	CHECK(atomic_load64(&s->tables) == 0);
}

/* ---- operations ---- */

struct s2_walk stage2_lookup(const struct stage2 *s, ipa_t at)
{
	if (at.v >= stage2_limit(s))
		return (struct s2_walk){.kind = S2_EMPTY, .level = s->fmt->root_level()};
	return s->fmt->lookup(s, at);
}

/* The ledger knows before a guest can: what is mapped may be written past the caches from then on.
 */
static int install(struct stage2 *s, ipa_t at, unsigned level, pa_t pa, s2_attr_t attr,
		   struct s2_pool *pool)
{
	if (!(attr & (S2_NOREF | S2_DEVICE)))
		ledger_map(pa, leaf_order(s, level));
	return s->fmt->install(s, at, level, pa, attr, pool);
}

int stage2_install(struct stage2 *s, ipa_t at, unsigned level, pa_t pa, s2_attr_t attr,
		   struct s2_pool *pool)
{
	uint64_t size = stage2_leaf_size(s, level);

	if (level > s->fmt->max_leaf() || !is_aligned(at.v | pa.v, size) ||
	    !range_fits(at.v, size, stage2_limit(s)))
		return -EINVAL;
	return install(s, at, level, pa, attr, pool);
}

/* The largest leaf for what is left of a range. */
static unsigned leaf_level(const struct stage2 *s, uint64_t at, uint64_t pa, uint64_t left)
{
	unsigned level = s->fmt->max_leaf();

	while (level > 0 && (!is_aligned(at | pa, stage2_leaf_size(s, level)) ||
			     left < stage2_leaf_size(s, level)))
		level--;
	return level;
}

/*
 * Leaves of at most `*level`, which comes back as what they were, from `at` on and within `size`;
 * *bytes says how far. Under the lock: an entry that is not settled is waited for, first what this
 * very batch took away.
 */
static int map_leaves(struct stage2 *s, ipa_t at, unsigned *level, pa_t pa, uint64_t size,
		      s2_attr_t attr, struct s2_pool *pool, struct tlbi_gather *g, uint64_t *bytes)
{
	for (;;) {
		uint64_t leaf = stage2_leaf_size(s, *level);
		unsigned done = 1;
		int err;

		if (ledger_in_use()) /* which has to hear of each leaf before a guest can use it */
			err = install(s, at, *level, pa, attr, pool);
		else
			err = s->fmt->install_run(s, at, *level, pa, attr,
						  (unsigned)min_u64(size / leaf, UINT32_MAX), pool,
						  &done);
		if (err == -EAGAIN) {
			uint64_t owed = s->fmt->lookup(s, at).owed;

			gather_sync(g);
			space_wait(&s->space, owed);
		} else if (err == -EEXIST && *level > 0) {
			--*level; /* a table is there already */
		} else {
			*bytes = done * leaf;
			return err;
		}
	}
}

int stage2_map(struct stage2 *s, struct space_locked l, ipa_t at, uint64_t size, pa_t pa,
	       s2_attr_t attr, struct s2_pool *pool, struct tlbi_gather *g)
{
	uint64_t done = 0;
	bool counted = !(attr & S2_NOREF);

	CHECK(l.space == &s->space && g->space == &s->space);
	if (!range_ok(s, at, size) || !is_aligned(pa.v, PAGE_SIZE) || pa.v + size < pa.v)
		return -EINVAL;
	if (!pool_holds(pool, stage2_map_tables(s, at, size, pa)))
		return -ENOMEM;
	if (!s->fmt->vacant(s, at.v, at.v + size))
		return -EEXIST;
	while (done < size) {
		unsigned level = leaf_level(s, at.v + done, pa.v + done, size - done);
		uint64_t run;
		int err = map_leaves(s, (ipa_t){at.v + done}, &level, (pa_t){pa.v + done},
				     size - done, attr, pool, g, &run);

		if (err) {
			/* An install got in between. What is ours reaches up to here, no leaf
			 * beyond. */
			if (done)
				s->fmt->unmap(s, at.v, at.v + done, NULL, g);
			return err;
		}
		for (uint64_t end = done + run; done < end; done += stage2_leaf_size(s, level))
			if (counted)
				frames_get((pa_t){pa.v + done}, leaf_order(s, level));
	}
	return 0;
}

int stage2_unmap(struct stage2 *s, struct space_locked l, ipa_t at, uint64_t size,
		 struct s2_pool *pool, struct tlbi_gather *g)
{
	CHECK(l.space == &s->space && g->space == &s->space);
	if (!range_ok(s, at, size))
		return -EINVAL;
	if (!pool_holds(pool, boundary_splits(s, at.v) + boundary_splits(s, at.v + size)))
		return -ENOMEM;
	s->fmt->unmap(s, at.v, at.v + size, pool, g);
	gather_adopt(g, false);
	return 0;
}

int stage2_replace(struct stage2 *s, struct space_locked l, ipa_t at, unsigned level, pa_t pa,
		   s2_attr_t attr, struct tlbi_gather *g)
{
	uint64_t size;

	CHECK(l.space == &s->space && g->space == &s->space);
	if (level > s->fmt->max_leaf())
		return -EINVAL;
	size = stage2_leaf_size(s, level);
	if (!is_aligned(at.v | pa.v, size) || !range_fits(at.v, size, stage2_limit(s)))
		return -EINVAL;
	if (!(attr & (S2_NOREF | S2_DEVICE)))
		ledger_map(pa, leaf_order(s, level));
	return s->fmt->replace(s, at, level, pa, attr, g);
}

int stage2_protect(struct stage2 *s, struct space_locked l, ipa_t at, uint64_t size, s2_attr_t attr,
		   struct s2_pool *pool, struct tlbi_gather *g)
{
	CHECK(l.space == &s->space && g->space == &s->space);
	if (!range_ok(s, at, size))
		return -EINVAL;
	if (!pool_holds(pool, boundary_splits(s, at.v) + boundary_splits(s, at.v + size)))
		return -ENOMEM;
	s->fmt->protect(s, at.v, at.v + size, attr & S2_RWX, pool, g);
	gather_adopt(g, true);
	return 0;
}

int stage2_relax(struct stage2 *s, ipa_t at, s2_attr_t attr)
{
	return at.v < stage2_limit(s) ? s->fmt->relax(s, at, attr) : -ENOENT;
}

/* ---- dirty, accessed, collapse ---- */

int stage2_harvest(struct stage2 *s, struct space_locked l, ipa_t at, uint64_t size,
		   enum s2_harvest how, uint64_t *log, struct s2_pool *pool, struct tlbi_gather *g)
{
	CHECK(l.space == &s->space && g->space == &s->space);
	if (!range_ok(s, at, size))
		return -EINVAL;
	if (how == S2_HARVEST_MARKED && !hw_mmu_caps()->accessed_dirty)
		return -EOPNOTSUPP;
	if (!pool_holds(pool, boundary_splits(s, at.v) + boundary_splits(s, at.v + size)))
		return -ENOMEM;
	s->fmt->harvest(s, at.v, at.v + size, how, log, pool, g);
	gather_adopt(g, true);
	return 0;
}

int stage2_age(struct stage2 *s, struct space_locked l, ipa_t at, uint64_t size, uint64_t *log)
{
	CHECK(l.space == &s->space);
	if (!range_ok(s, at, size))
		return -EINVAL;
	s->fmt->age(s, at.v, at.v + size, log);
	return 0;
}

int stage2_collapse(struct stage2 *s, struct space_locked l, ipa_t at, unsigned level,
		    struct tlbi_gather *g)
{
	CHECK(l.space == &s->space && g->space == &s->space);
	if (level == 0 || level > s->fmt->max_leaf() ||
	    !is_aligned(at.v, stage2_leaf_size(s, level)) ||
	    !range_fits(at.v, stage2_leaf_size(s, level), stage2_limit(s)))
		return -EINVAL;
	return s->fmt->collapse(s, at, level, g);
}

/* ---- slots and MMIO ---- */

void stage2_slots_begin(struct stage2 *s, struct space_locked l, struct tlbi_gather *g)
{
	CHECK(l.space == &s->space && g->space == &s->space);
	CHECK(!(atomic_or64(&s->slots_gen, S2_SLOTS_CHANGING) & S2_SLOTS_CHANGING));
	/*
	 * Who sampled the generation before this may still install: an epoch that nothing was
	 * reduced in lets those readers pass. Later ones see the update.
	 */
	gather_leaf(g, ipa(0), stage2_limit(s), s->fmt->root_level(), GATHER_CHANGED);
	gather_sync(g);
}

void stage2_slots_end(struct stage2 *s, struct space_locked l)
{
	uint64_t gen = stage2_slots_gen(s);

	CHECK(l.space == &s->space && (gen & S2_SLOTS_CHANGING));
	gen = (gen & ~S2_SLOTS_CHANGING) + 1;
	if ((gen & (BIT(s->fmt->gen_bits) - 1)) == 0)
		s->fmt->zap_mmio(s);
	atomic_store64_rel(&s->slots_gen, gen);
}

int stage2_install_mmio(struct stage2 *s, ipa_t at, uint32_t region, uint64_t gen,
			struct s2_pool *pool)
{
	if (!is_aligned(at.v, PAGE_SIZE) || at.v >= stage2_limit(s))
		return -EINVAL;
	return s->fmt->install_mmio(s, at, region, gen, pool);
}

bool stage2_mmio_current(const struct stage2 *s, const struct s2_walk *w)
{
	uint64_t gen = stage2_slots_gen(s);

	return w->kind == S2_MMIO && !(gen & S2_SLOTS_CHANGING) &&
	       w->gen == (gen & (BIT(s->fmt->gen_bits) - 1));
}

bool stage2_mmio(const struct stage2 *s, ipa_t at, uint32_t *region)
{
	struct s2_walk w = stage2_lookup(s, at);

	if (!stage2_mmio_current(s, &w))
		return false;
	*region = w.region;
	return true;
}

int stage2_split(struct stage2 *s, struct space_locked l, ipa_t at, unsigned level,
		 struct s2_pool *pool, struct tlbi_gather *g)
{
	unsigned max_leaf = s->fmt->max_leaf();

	CHECK(l.space == &s->space && g->space == &s->space);
	if (at.v >= stage2_limit(s))
		return -EINVAL;
	if (!pool_holds(pool, level < max_leaf ? max_leaf - level : 0))
		return -ENOMEM;
	s->fmt->split(s, at, level, pool, g);
	return 0;
}

void stage2_walk(const struct stage2 *s, struct space_locked l, s2_visit_fn *fn, void *ctx)
{
	CHECK(l.space == &s->space);
	s->fmt->walk(s, fn, ctx);
}

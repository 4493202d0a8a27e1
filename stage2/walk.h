/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The walker, a template: a format's unit includes its fmt_<name>.h, then this, and exports FMT_OPS
 * with the operations for that format. Everything is inlined around the format's bits.
 *
 *     root (level 3)        table                table (level 0)
 *    +---------------+     +---------------+     +---------------+
 *    | empty, owed 7 |  +->| leaf 1G       |  +->| leaf 4K       |
 *    | table      ---|--+  | table      ---|--+  | empty         |
 *    +---------------+     +---------------+     +---------------+
 *
 * Who may do what:
 *  - install (any pCPU, reader section): empty -> table, empty -> leaf, by compare-and-swap.
 *  - install_mmio (the same): a vacant entry -> MMIO; an MMIO entry of an old generation is vacant.
 *  - relax (the same): a leaf gets permissions and marks, never loses any.
 *  - everybody else holds the space's lock: whatever is not vacant changes under it only. So under
 * the lock a table stays linked, and a leaf only gains: bits that hardware sets, or relax.
 *
 * An entry that loses its translation says in which epoch that will be settled (the next one: the
 * batch is open until the lock goes). install fills it only when every agent has passed that epoch;
 * an entry that was filled and emptied in between carries a later epoch, so a compare-and-swap
 * cannot be fooled.
 */
#include "arch/hw.h"
#include "lib/check.h"
#include "lib/errno.h"
#include "stage2/ops.h"
#include "stage2/pte.h"

/* ---- geometry: the format's alone ---- */

static inline uint64_t level_size(unsigned level)
{
	return BIT(fmt_shift(level));
}

static inline unsigned level_order(unsigned level)
{
	return fmt_shift(level) - PAGE_SHIFT;
}

/* Entries of a table whose entries are of `level`; only the root may be more than a frame. */
static inline unsigned table_entries(unsigned level)
{
	if (level == fmt_root_level())
		return fmt_root_entries();
	return 1u << (fmt_shift(level + 1) - fmt_shift(level));
}

/* Frames of such a table. */
static inline unsigned table_frames(unsigned level)
{
	return (unsigned)((table_entries(level) * sizeof(uint64_t) + PAGE_SIZE - 1) / PAGE_SIZE);
}

static inline pte_slot *table_slots(pa_t table)
{
	return hw_frame_ptr(table);
}

static inline unsigned slot_index(uint64_t at, unsigned level)
{
	return (unsigned)(at >> fmt_shift(level)) & (table_entries(level) - 1);
}

/* What an entry is emptied to: settled with the batch that is open. */
static inline pte_t empty_now(const struct stage2 *s)
{
	return fmt_empty(space_epoch(&s->space) + 1);
}

/* ---- lookup ---- */

static inline struct s2_walk describe(pte_t e, unsigned level, uint64_t at)
{
	struct s2_walk w = {.kind = fmt_kind(e, level), .level = level};

	switch (w.kind) {
	case S2_LEAF:
		w.pa = pa(fmt_leaf_pa(e, level).v + (at & (level_size(level) - 1)));
		w.attr = fmt_attr(e, level);
		break;
	case S2_EMPTY:
		w.owed = fmt_owed(e);
		break;
	case S2_MMIO:
		w.region = fmt_mmio_region(e);
		w.gen = fmt_mmio_gen(e);
		break;
	default:
		break;
	}
	return w;
}

/* The entry that ends the walk for `at`, its level and where it is. */
static inline pte_t walk_to(const struct stage2 *s, uint64_t at, unsigned *level, pte_slot **slot)
{
	pa_t table = s->space.root;
	pte_t e;

	for (*level = fmt_root_level();; --*level) {
		*slot = &table_slots(table)[slot_index(at, *level)];
		e = pte_read(*slot);
		if (fmt_kind(e, *level) != S2_TABLE)
			return e;
		table = fmt_table_pa(e);
	}
}

static inline pte_t walk_down(const struct stage2 *s, uint64_t at, unsigned *level)
{
	pte_slot *slot;

	return walk_to(s, at, level, &slot);
}

static struct s2_walk op_lookup(const struct stage2 *s, ipa_t at)
{
	unsigned level;
	pte_t e = walk_down(s, at.v, &level);

	return describe(e, level, at.v);
}

/* ---- install: the only one without the lock ---- */

/* 0: the empty entry may be filled; else the agents have been asked to pass. */
static inline int check_settled(struct stage2 *s, pte_t e)
{
	uint64_t owed = fmt_owed(e);

	if (!owed || !space_behind(&s->space, owed))
		return 0;
	space_force(&s->space, owed);
	return -EAGAIN;
}

/* Puts a new table into the empty entry *e of a level above 0. On -EAGAIN look at the entry again.
 */
static inline int link_table(struct stage2 *s, pte_slot *slot, pte_t e, struct s2_pool *pool)
{
	pa_t table;

	if (!pool || !pool->count)
		return -ENOMEM;
	table = s2_pool_take(pool);
	if (!pte_cas(slot, e, fmt_table(table))) {
		s2_pool_put(pool, table);
		return -EAGAIN;
	}
	atomic_add64(&s->tables, 1);
	return 0;
}

/* An MMIO entry of the generation that counts now; any other is as good as an empty one. */
static inline bool mmio_current(const struct stage2 *s, pte_t e)
{
	uint64_t gen = stage2_slots_gen(s);

	return !(gen & S2_SLOTS_CHANGING) && fmt_mmio_gen(e) == (gen & (BIT(FMT_GEN_BITS) - 1));
}

/*
 * 0: entry e may be filled. An MMIO entry was never cached, so nothing is owed for one (present ->
 * MMIO passes through empty).
 */
static inline int check_vacant(struct stage2 *s, pte_t e, enum s2_kind kind)
{
	switch (kind) {
	case S2_EMPTY:
		return check_settled(s, e);
	case S2_MMIO:
		return mmio_current(s, e) ? -EEXIST : 0;
	case S2_LOCKED:
	case S2_FROZEN:
		return -EAGAIN;
	default:
		return -EEXIST;
	}
}

/* Makes the vacant entry of `level` for `at` be `new`, a leaf or an MMIO entry; *where is it. */
static inline int fill_where(struct stage2 *s, uint64_t at, unsigned level, pte_t new,
			     struct s2_pool *pool, pte_slot **where)
{
	pa_t table = s->space.root;
	unsigned l = fmt_root_level();

	for (;;) {
		pte_slot *slot = &table_slots(table)[slot_index(at, l)];
		pte_t e = pte_read(slot);
		enum s2_kind kind = fmt_kind(e, l);
		int err;

		if (kind == S2_TABLE && l > level) {
			table = fmt_table_pa(e);
			l--;
			continue;
		}
		err = check_vacant(s, e, kind);
		if (err)
			return err;
		if (l > level) {
			err = link_table(s, slot, e, pool);
			if (err == -ENOMEM)
				return err;
		} else if (pte_cas(slot, e, new)) {
			hw_barrier(HW_BARRIER_ENTRIES);
			*where = slot;
			return 0;
		}
		/* linked, or lost a race: look again */
	}
}

static inline int fill(struct stage2 *s, uint64_t at, unsigned level, pte_t new,
		       struct s2_pool *pool)
{
	pte_slot *where;

	return fill_where(s, at, level, new, pool, &where);
}

/*
 * Up to `n` leaves of `level` from `at` on: the first as install does it, the next ones in the same
 * table without another walk, as long as their entries never held anything. How many: *done.
 */
static int op_install_run(struct stage2 *s, ipa_t at, unsigned level, pa_t pa, s2_attr_t attr,
			  unsigned n, struct s2_pool *pool, unsigned *done)
{
	unsigned i = 0, room = table_entries(level) - slot_index(at.v, level);
	pte_slot *slot;
	int err = fill_where(s, at.v, level, fmt_leaf(pa, level, attr), pool, &slot);

	if (!err) {
		n = n < room ? n : room;
		do {
			pa.v += level_size(level);
			i++;
		} while (i < n && pte_cas(&slot[i], fmt_empty(0), fmt_leaf(pa, level, attr)));
		hw_barrier(HW_BARRIER_ENTRIES);
	}
	*done = i;
	return err;
}

static int op_install(struct stage2 *s, ipa_t at, unsigned level, pa_t pa, s2_attr_t attr,
		      struct s2_pool *pool)
{
	return fill(s, at.v, level, fmt_leaf(pa, level, attr), pool);
}

static int op_install_mmio(struct stage2 *s, ipa_t at, uint32_t region, uint64_t gen,
			   struct s2_pool *pool)
{
	if (region >= BIT(FMT_REGION_BITS))
		return -EINVAL;
	/* Who looked at slots that have changed meanwhile looks again. */
	if ((gen & S2_SLOTS_CHANGING) || stage2_slots_gen(s) != gen)
		return -EAGAIN;
	return fill(s, at.v, 0, fmt_mmio(region, (uint32_t)(gen & (BIT(FMT_GEN_BITS) - 1))), pool);
}

/*
 * More permissions for a leaf, whatever else its entry says; marks what the access is going to be.
 * Lock-free as install: under the lock leaves are changed by compare-and-swap or exchange only.
 */
static int op_relax(struct stage2 *s, ipa_t at, s2_attr_t attr)
{
	unsigned level;
	pte_slot *slot;
	pte_t e = walk_to(s, at.v, &level, &slot), new;

	do {
		enum s2_kind kind = fmt_kind(e, level);

		if (kind != S2_LEAF)
			return kind == S2_EMPTY || kind == S2_MMIO ? -ENOENT : -EAGAIN;
		new = fmt_with_perm(e, (fmt_attr(e, level) | attr) & S2_RWX);
		new = fmt_with_marks(new, (fmt_attr(e, level) | attr) & S2_MARKS);
		if (new.v == e.v)
			return 0;
	} while (!pte_cas_seen(slot, &e, new));
	hw_barrier(HW_BARRIER_ENTRIES);
	return 0;
}

/* ---- range operations: the lock is held ---- */

/* One operation's constants, handed down the recursion. */
struct op {
	struct stage2 *s;
	struct s2_pool *pool;
	struct tlbi_gather *g;
	uint64_t start, end;
	s2_attr_t perm;	     /* protect */
	enum s2_harvest how; /* harvest and age */
	uint64_t *log;	     /* bit n: page n of the range */
	enum { DO_PROTECT, DO_HARVEST } what;
};

/* True when no address in [start, end) below this table is mapped. */
static bool table_vacant(const struct stage2 *s, pa_t table, unsigned level, uint64_t at,
			 uint64_t start, uint64_t end)
{
	uint64_t size = level_size(level);

	for (unsigned i = 0; i < table_entries(level); i++, at += size) {
		pte_t e;

		if (at + size <= start || at >= end)
			continue;
		e = pte_read(&table_slots(table)[i]);
		switch (fmt_kind(e, level)) {
		case S2_EMPTY:
			break;
		case S2_MMIO:
			if (mmio_current(s, e))
				return false;
			break;
		case S2_TABLE:
			if (!table_vacant(s, fmt_table_pa(e), level - 1, at, start, end))
				return false;
			break;
		default:
			return false;
		}
	}
	return true;
}

static bool op_vacant(const struct stage2 *s, uint64_t start, uint64_t end)
{
	return table_vacant(s, s->space.root, fmt_root_level(), 0, start, end);
}

/* Takes the leaf *e at `at`, just removed from its entry, off the map's account. */
static inline void leaf_gone(struct op *o, pte_t e, unsigned level, uint64_t at)
{
	gather_leaf(o->g, ipa(at), level_size(level), level, GATHER_ABSENT);
	if (!(fmt_attr(e, level) & S2_NOREF))
		gather_frame(o->g, fmt_leaf_pa(e, level), level_order(level),
			     fmt_attr(e, level) & S2_AGED);
}

/*
 * A table that was unlinked: freeze every entry, so that an install that is still in there fails
 * and walk caches that still point to it find nothing. What hung below dies with it.
 */
static void table_kill(struct op *o, pa_t table, unsigned level, uint64_t at)
{
	uint64_t size = level_size(level), start = at;

	for (unsigned i = 0; i < table_entries(level); i++, at += size) {
		pte_t e = pte_xchg(&table_slots(table)[i], fmt_frozen());

		switch (fmt_kind(e, level)) {
		case S2_TABLE:
			table_kill(o, fmt_table_pa(e), level - 1, at);
			break;
		case S2_LEAF:
			leaf_gone(o, e, level, at);
			break;
		case S2_EMPTY:
		case S2_MMIO:
			break;
		default:
			panic("entry %#llx in a table that just died", (unsigned long long)e.v);
		}
	}
	for (unsigned i = 0; i < table_frames(level); i++)
		gather_table(o->g, ipa(start), pa(table.v + i * PAGE_SIZE));
	atomic_add64(&o->s->tables, 0 - (uint64_t)table_frames(level));
}

/*
 * Replaces a leaf by a table of leaves that together say the same. Where the format wants it, the
 * leaf is broken first: locked, flushed, made. Hardware may set bits in the leaf until it is gone,
 * hence the loop.
 */
static void leaf_split(struct op *o, pte_slot *slot, pte_t e, unsigned level, uint64_t at)
{
	pa_t table = s2_pool_take(o->pool);
	bool broken = false;
	pte_t new = fmt_table(table);

	do {
		if (broken)
			e = pte_read(slot);
		for (unsigned i = 0; i < table_entries(level - 1); i++)
			pte_write(&table_slots(table)[i], fmt_split(e, level, i));
		broken = true;
	} while (!pte_cas(slot, e, bbm_required(e, new, level) ? fmt_locked() : new));
	gather_leaf(o->g, ipa(at), level_size(level), level, GATHER_CHANGED);
	if (bbm_required(e, new, level)) {
		gather_sync(o->g);
		CHECK(fmt_kind(pte_xchg(slot, new), level) == S2_LOCKED);
		hw_barrier(HW_BARRIER_ENTRIES);
	}
	atomic_add64(&o->s->tables, 1);
}

/*
 * Another frame for the leaf at `at`: break, sync, make on every architecture, for nobody may load
 * through the old translation once a store through the new one can be seen. Nobody else touches a
 * locked entry.
 */
static int op_replace(struct stage2 *s, ipa_t at, unsigned level, pa_t pa, s2_attr_t attr,
		      struct tlbi_gather *g)
{
	unsigned l;
	pte_slot *slot;
	pte_t e = walk_to(s, at.v, &l, &slot);

	if (fmt_kind(e, l) != S2_LEAF || l != level)
		return -ENOENT;
	while (!pte_cas_seen(slot, &e, fmt_locked()))
		;
	gather_leaf(g, at, level_size(level), level, GATHER_CHANGED);
	if (!(fmt_attr(e, level) & S2_NOREF))
		gather_frame(g, fmt_leaf_pa(e, level), level_order(level),
			     fmt_attr(e, level) & S2_AGED);
	gather_sync(g);
	CHECK(fmt_kind(pte_xchg(slot, fmt_leaf(pa, level, attr)), level) == S2_LOCKED);
	hw_barrier(HW_BARRIER_ENTRIES);
	return 0;
}

/* Entries of the lowest table at `at` that the range covers: whole ones, for it is of pages. */
static inline void covered(const struct op *o, uint64_t at, unsigned *first, unsigned *end)
{
	uint64_t n = (o->end - at) / level_size(0);

	*first = o->start > at ? (unsigned)((o->start - at) / level_size(0)) : 0;
	*end = n < table_entries(0) ? (unsigned)n : table_entries(0);
}

static void leaves_unmap(struct op *o, pa_t table, uint64_t at)
{
	pte_slot *slots = table_slots(table);
	unsigned i, end;

	for (covered(o, at, &i, &end); i < end; i++) {
		pte_t e = pte_read(&slots[i]);

		switch (fmt_kind(e, 0)) {
		case S2_LEAF:
			leaf_gone(o, pte_xchg(&slots[i], empty_now(o->s)), 0,
				  at + i * level_size(0));
			break;
		case S2_MMIO: /* never cached: nothing is owed. Lost: just filled, as any other */
			pte_cas(&slots[i], e, fmt_empty(0));
			break;
		default:
			CHECK(fmt_kind(e, 0) == S2_EMPTY);
			break;
		}
	}
}

static void table_unmap(struct op *o, pa_t table, unsigned level, uint64_t at)
{
	uint64_t size = level_size(level);

	if (level == 0) {
		leaves_unmap(o, table, at);
		return;
	}
	for (unsigned i = 0; i < table_entries(level) && at < o->end; i++, at += size) {
		pte_slot *slot = &table_slots(table)[i];
		bool whole = at >= o->start && at + size <= o->end;
		pte_t e;

		if (at + size <= o->start)
			continue;
		e = pte_read(slot);
		if (fmt_kind(e, level) == S2_LEAF && !whole) {
			leaf_split(o, slot, e, level, at);
			e = pte_read(slot);
		}
		switch (fmt_kind(e, level)) {
		case S2_LEAF:
			leaf_gone(o, pte_xchg(slot, empty_now(o->s)), level, at);
			break;
		case S2_TABLE:
			if (whole)
				pte_xchg(slot, empty_now(o->s));
			(whole ? table_kill : table_unmap)(o, fmt_table_pa(e), level - 1, at);
			break;
		default:
			CHECK(fmt_kind(e, level) == S2_EMPTY);
			break;
		}
	}
}

static void op_unmap(struct stage2 *s, uint64_t start, uint64_t end, struct s2_pool *pool,
		     struct tlbi_gather *g)
{
	struct op o = {.s = s, .pool = pool, .g = g, .start = start, .end = end};

	table_unmap(&o, s->space.root, fmt_root_level(), 0);
}

static inline void leaf_protect(struct op *o, pte_slot *slot, pte_t e, unsigned level, uint64_t at)
{
	pte_t new = fmt_with_perm(e, o->perm);

	if (new.v == e.v)
		return;
	while (!pte_cas(slot, e, new)) {
		e = pte_read(slot);
		new = fmt_with_perm(e, o->perm);
	}
	if (fmt_attr(e, level) & ~fmt_attr(new, level) & S2_RWX)
		gather_leaf(o->g, ipa(at), level_size(level), level, GATHER_CHANGED);
}

#include "stage2/track.h"

static void leaves_change(struct op *o, pa_t table, uint64_t at)
{
	pte_slot *slots = table_slots(table);
	unsigned i, end;

	for (covered(o, at, &i, &end); i < end; i++) {
		pte_t e = pte_read(&slots[i]);

		if (fmt_kind(e, 0) != S2_LEAF)
			continue;
		if (o->what == DO_PROTECT)
			leaf_protect(o, &slots[i], e, 0, at + i * level_size(0));
		else
			leaf_harvest(o, &slots[i], e, 0, at + i * level_size(0));
	}
}

static void table_change(struct op *o, pa_t table, unsigned level, uint64_t at)
{
	uint64_t size = level_size(level);
	unsigned i = 0;

	if (level == 0) {
		leaves_change(o, table, at);
		return;
	}
	if (o->start > at) {
		i = (unsigned)((o->start - at) / size);
		at += i * size;
	}
	for (; i < table_entries(level) && at < o->end; i++, at += size) {
		pte_slot *slot = &table_slots(table)[i];
		bool whole = at >= o->start && at + size <= o->end;
		pte_t e = pte_read(slot);

		if (fmt_kind(e, level) == S2_LEAF && !whole) {
			leaf_split(o, slot, e, level, at);
			e = pte_read(slot);
		}
		if (fmt_kind(e, level) == S2_TABLE)
			table_change(o, fmt_table_pa(e), level - 1, at);
		else if (fmt_kind(e, level) == S2_LEAF && o->what == DO_PROTECT)
			leaf_protect(o, slot, e, level, at);
		else if (fmt_kind(e, level) == S2_LEAF)
			leaf_harvest(o, slot, e, level, at);
	}
}

static void op_protect(struct stage2 *s, uint64_t start, uint64_t end, s2_attr_t perm,
		       struct s2_pool *pool, struct tlbi_gather *g)
{
	struct op o = {.s = s, .pool = pool, .g = g, .start = start, .end = end, .perm = perm};

	table_change(&o, s->space.root, fmt_root_level(), 0);
}

static void op_harvest(struct stage2 *s, uint64_t start, uint64_t end, enum s2_harvest how,
		       uint64_t *log, struct s2_pool *pool, struct tlbi_gather *g)
{
	struct op o = {.s = s, .pool = pool, .g = g, .start = start, .end = end};

	o.what = DO_HARVEST;
	o.how = how;
	o.log = log;
	table_change(&o, s->space.root, fmt_root_level(), 0);
}

static void op_split(struct stage2 *s, ipa_t at, unsigned level, struct s2_pool *pool,
		     struct tlbi_gather *g)
{
	struct op o = {.s = s, .pool = pool, .g = g};
	pa_t table = s->space.root;

	for (unsigned l = fmt_root_level(); l > level; l--) {
		pte_slot *slot = &table_slots(table)[slot_index(at.v, l)];
		pte_t e = pte_read(slot);

		if (fmt_kind(e, l) == S2_LEAF) {
			leaf_split(&o, slot, e, l, align_down(at.v, level_size(l)));
			e = pte_read(slot);
		}
		if (fmt_kind(e, l) != S2_TABLE)
			return;
		table = fmt_table_pa(e);
	}
}

static void table_walk(pa_t table, unsigned level, uint64_t at, s2_visit_fn *fn, void *ctx)
{
	for (unsigned i = 0; i < table_entries(level); i++, at += level_size(level)) {
		pte_t e = pte_read(&table_slots(table)[i]);
		struct s2_walk w = describe(e, level, at);

		if (w.kind == S2_TABLE)
			table_walk(fmt_table_pa(e), level - 1, at, fn, ctx);
		else if (w.kind == S2_LEAF || w.kind == S2_MMIO)
			fn(ctx, ipa(at), &w);
	}
}

static void op_walk(const struct stage2 *s, s2_visit_fn *fn, void *ctx)
{
	table_walk(s->space.root, fmt_root_level(), 0, fn, ctx);
}

static void op_destroy(struct stage2 *s, struct tlbi_gather *g)
{
	struct op o = {.s = s, .g = g};

	table_kill(&o, s->space.root, fmt_root_level(), 0);
}

#define FMT_OPS                                                                                    \
	.root_level = fmt_root_level, .root_entries = fmt_root_entries, .shift = fmt_shift,        \
	.max_leaf = fmt_max_leaf, .lookup = op_lookup, .install = op_install,                      \
	.install_run = op_install_run, .install_mmio = op_install_mmio, .zap_mmio = op_zap_mmio,   \
	.relax = op_relax, .vacant = op_vacant, .unmap = op_unmap, .replace = op_replace,          \
	.protect = op_protect, .harvest = op_harvest, .age = op_age, .split = op_split,            \
	.collapse = op_collapse, .walk = op_walk, .destroy = op_destroy, .gen_bits = FMT_GEN_BITS

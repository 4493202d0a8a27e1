/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Part of the walker's template (stage2/walk.h): which leaves were written or used, small leaves
 * back into a large one, and MMIO entries that go. The lock is held.
 *
 * Dirty by write protection: a leaf that may be written counts as written, and the harvest takes
 * the permission away; the next store faults and stage2_relax gives it back. Dirty by hardware: the
 * dirty mark says it, and the harvest clears that. Both are reductions: a translation that is
 * cached with the permission, or as dirty already, lets stores through unseen until it is flushed.
 */
#ifndef FMT_REGION_BITS
#error "part of stage2/walk.h, which a format's unit includes"
#endif

/* Sets the bits of pages [at, at + size) that lie in the range. */
static inline void log_pages(const struct op *o, uint64_t at, uint64_t size)
{
	uint64_t first = (max_u64(at, o->start) - o->start) / PAGE_SIZE;
	uint64_t end = (min_u64(at + size, o->end) - o->start) / PAGE_SIZE;

	if (end - first == 1) { /* a small leaf */
		o->log[first / 64] |= BIT(first % 64);
		return;
	}
	while (first < end) {
		uint64_t n = min_u64(end - first, 64 - first % 64);

		o->log[first / 64] |= (n == 64 ? UINT64_MAX : BIT(n) - 1) << first % 64;
		first += n;
	}
}

/* Constant masks on each side: the compiler then computes no attribute that is not asked for. */
static inline bool leaf_dirty(const struct op *o, pte_t e, unsigned level)
{
	if (o->how == S2_HARVEST_WRITABLE)
		return fmt_attr(e, level) & S2_W;
	return fmt_attr(e, level) & S2_DIRTY;
}

static inline pte_t leaf_cleaned(const struct op *o, pte_t e, unsigned level)
{
	if (o->how == S2_HARVEST_WRITABLE)
		return fmt_with_perm(e, fmt_attr(e, level) & (S2_R | S2_X));
	return fmt_with_marks(e, fmt_attr(e, level) & S2_AGED);
}

static inline void leaf_harvest(struct op *o, pte_slot *slot, pte_t e, unsigned level, uint64_t at)
{
	if (!leaf_dirty(o, e, level))
		return;
	/* Only ever gains: still dirty when the swap is lost. */
	while (!pte_cas_seen(slot, &e, leaf_cleaned(o, e, level)))
		;
	log_pages(o, at, level_size(level));
	gather_leaf(o->g, ipa(at), level_size(level), level, GATHER_CHANGED);
}

/*
 * Accessed marks. Clearing one takes nothing away: at worst a cached translation hides later uses
 * until something flushes it, and what this says is a hint to who looks for cold pages.
 */
static void table_age(struct op *o, pa_t table, unsigned level, uint64_t at)
{
	uint64_t size = level_size(level);

	for (unsigned i = 0; i < table_entries(level) && at < o->end; i++, at += size) {
		pte_slot *slot = &table_slots(table)[i];
		pte_t e;

		if (at + size <= o->start)
			continue;
		e = pte_read(slot);
		if (fmt_kind(e, level) == S2_TABLE) {
			table_age(o, fmt_table_pa(e), level - 1, at);
			continue;
		}
		if (fmt_kind(e, level) != S2_LEAF || !(fmt_attr(e, level) & S2_AGED))
			continue;
		while (!pte_cas_seen(slot, &e, fmt_with_marks(e, fmt_attr(e, level) & S2_DIRTY)))
			;
		log_pages(o, at, size);
	}
}

static void op_age(struct stage2 *s, uint64_t start, uint64_t end, uint64_t *log)
{
	struct op o = {.s = s, .start = start, .end = end, .log = log};

	table_age(&o, s->space.root, fmt_root_level(), 0);
}

/* ---- MMIO ---- */

static void table_zap_mmio(pa_t table, unsigned level)
{
	for (unsigned i = 0; i < table_entries(level); i++) {
		pte_slot *slot = &table_slots(table)[i];
		pte_t e = pte_read(slot);

		if (fmt_kind(e, level) == S2_TABLE)
			table_zap_mmio(fmt_table_pa(e), level - 1);
		else if (fmt_kind(e, level) == S2_MMIO)
			pte_cas(slot, e, fmt_empty(0)); /* lost: it is a leaf by now */
	}
}

static void op_zap_mmio(struct stage2 *s)
{
	table_zap_mmio(s->space.root, fmt_root_level());
}

/* ---- collapse ---- */

/* The leaf that says what all entries of the table say together; false when there is none. */
static bool table_as_leaf(pa_t table, unsigned level, pte_t *leaf)
{
	pte_t first = pte_read(&table_slots(table)[0]);
	s2_attr_t marks = 0, attr;
	uint64_t base;

	if (fmt_kind(first, level) != S2_LEAF)
		return false;
	base = fmt_leaf_pa(first, level).v;
	attr = fmt_attr(first, level) & ~(s2_attr_t)S2_MARKS;
	if (!is_aligned(base, level_size(level + 1)))
		return false;
	for (unsigned i = 0; i < table_entries(level); i++) {
		pte_t e = pte_read(&table_slots(table)[i]);

		if (fmt_kind(e, level) != S2_LEAF ||
		    fmt_leaf_pa(e, level).v != base + i * level_size(level) ||
		    (fmt_attr(e, level) & ~(s2_attr_t)S2_MARKS) != attr)
			return false;
		marks |= fmt_attr(e, level) & S2_MARKS;
	}
	*leaf = fmt_with_marks(fmt_leaf(pa(base), level + 1, attr), marks);
	return true;
}

/*
 * Freezes a table of leaves that is no longer linked: after that nothing gains in it. False when a
 * leaf gained a permission since it was looked at: then all is as it was.
 */
static bool freeze_leaves(pa_t table, unsigned level, pte_t *leaf)
{
	s2_attr_t perm = fmt_attr(*leaf, level + 1) & S2_RWX, marks = 0;
	pte_slot *slots = table_slots(table);
	unsigned i;

	for (i = 0; i < table_entries(level); i++) {
		pte_t e = pte_read(&slots[i]);

		if ((fmt_attr(e, level) & S2_RWX) != perm)
			break;
		while (!pte_cas_seen(&slots[i], &e, fmt_frozen()))
			;
		marks |= fmt_attr(e, level) & S2_MARKS;
		if ((fmt_attr(e, level) & S2_RWX) != perm) {
			pte_xchg(&slots[i], e);
			break;
		}
	}
	*leaf = fmt_with_marks(*leaf, (fmt_attr(*leaf, level + 1) & S2_MARKS) | marks);
	if (i == table_entries(level))
		return true;
	while (i-- > 0)
		pte_xchg(&slots[i], fmt_split(*leaf, level + 1, i));
	return false;
}

/* Break, flush, make: frames and permissions stay what they were, only the size changes. */
static int table_collapse(struct op *o, pte_slot *slot, pte_t e, unsigned level, uint64_t at)
{
	pa_t table = fmt_table_pa(e);
	pte_t leaf;

	if (!table_as_leaf(table, level - 1, &leaf))
		return -EBUSY;
	CHECK(pte_cas(slot, e, fmt_locked()));
	if (!freeze_leaves(table, level - 1, &leaf)) {
		CHECK(fmt_kind(pte_xchg(slot, e), level) == S2_LOCKED);
		return -EAGAIN;
	}
	gather_leaf(o->g, ipa(at), level_size(level), level - 1, GATHER_CHANGED);
	gather_table(o->g, ipa(at), table);
	atomic_add64(&o->s->tables, UINT64_MAX);
	gather_sync(o->g);
	CHECK(fmt_kind(pte_xchg(slot, leaf), level) == S2_LOCKED);
	hw_barrier(HW_BARRIER_ENTRIES);
	return 0;
}

static int op_collapse(struct stage2 *s, ipa_t at, unsigned level, struct tlbi_gather *g)
{
	struct op o = {.s = s, .g = g};
	pa_t table = s->space.root;

	for (unsigned l = fmt_root_level();; l--) {
		pte_slot *slot = &table_slots(table)[slot_index(at.v, l)];
		pte_t e = pte_read(slot);

		if (fmt_kind(e, l) != S2_TABLE)
			return fmt_kind(e, l) == S2_LEAF && l == level ? 0 : -EBUSY;
		if (l == level)
			return table_collapse(&o, slot, e, l, at.v);
		table = fmt_table_pa(e);
	}
}

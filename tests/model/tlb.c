/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The adversary's TLB. It does not choose what to cache: it holds everything that hardware may
 * hold, filled after every visible store to a table on the way to a probe, so from every
 * intermediate state; and keeps it until a command covers it. Whatever a real TLB could do wrong
 * with some part of that, it does wrong with the whole.
 *
 * Which entries a guest uses (entry_usable) and what a command covers, by architecture:
 *   NPT   everything carries the ASID alone (APM vol 2, 15.16.1, 15.25.6)
 *   EPT   nested leaves and table pointers carry the EP4TA; combined ones VPID and EP4TA
 *         (SDM vol 3, 29.4.2). INVVPID need not touch the former, INVEPT covers both.
 *   arm64 everything carries the VMID (Arm ARM D8.14)
 */
#include "tests/model/model.h"

#include <string.h>

#include "lib/check.h"
#include "lib/util.h"

/* A walk as far as it has come. */
struct walk {
	unsigned cpu;
	uint64_t probe;
	bool speculative;
	struct tlb_entry e; /* path, tags, staleness so far */
};

bool entry_usable(const struct tlb_entry *e, const struct context *c)
{
	switch (X->arch) {
	case ARCH_EPT:
		return e->root == c->root && (e->kind != E_COMBINED || e->tag == c->tag);
	default:
		return e->tag == c->tag;
	}
}

static uint64_t entry_address(const struct tlb_entry *e, uint64_t probe)
{
	return e->pa + (probe - e->ipa);
}

static bool entry_covers(const struct tlb_entry *e, uint64_t probe)
{
	return probe - e->ipa < s2_level_size(e->level);
}

static bool same_entry(const struct tlb_entry *a, const struct tlb_entry *b)
{
	return a->kind == b->kind && a->level == b->level && a->perm == b->perm &&
	       a->type == b->type && a->vcpu == b->vcpu && a->va == b->va && a->tag == b->tag &&
	       a->gen == b->gen && a->root == b->root && a->sid == b->sid && a->ipa == b->ipa &&
	       a->pa == b->pa && a->seq == b->seq && a->stale == b->stale &&
	       memcmp(a->path, b->path, sizeof(a->path)) == 0;
}

/* ---- I3 ---- */

static bool differ(const struct tlb_entry *a, const struct tlb_entry *b, uint64_t probe)
{
	if (entry_address(a, probe) != entry_address(b, probe) || a->type != b->type)
		return true;
	return X->arch == ARCH_ARM64 && a->level != b->level;
}

/* A translation of the probe is about to be cached: nobody may still use a different one. */
static void check_one_translation(const struct walk *w, const struct tlb_entry *new)
{
	checked(I3);
	for (unsigned c = 0; c < PCPUS; c++) {
		const struct fiber *f = &M.f[c];

		if (!f->ctx.active || f->ctx.sid != new->sid)
			continue;
		for (unsigned i = 0; i < f->tlb.n; i++) {
			const struct tlb_entry *e = &f->tlb.e[i];

			if (e->kind == E_LEAF && e->sid == new->sid &&entry_usable(e, &f->ctx) &&
			    entry_covers(e, w->probe) && differ(e, new, w->probe))
				violate(I3,
					"pCPU%u caches %#llx -> %#llx while pCPU%u may use -> "
					"%#llx",
					w->cpu, (unsigned long long)w->probe,
					(unsigned long long)entry_address(new, w->probe), c,
					(unsigned long long)entry_address(e, w->probe));
		}
	}
}

/* ---- fill ---- */

static void add(const struct walk *w, const struct tlb_entry *e)
{
	struct tlb *t = &M.f[w->cpu].tlb;

	for (unsigned i = 0; i < t->n; i++)
		if (same_entry(&t->e[i], e))
			return;
	if (e->kind == E_LEAF)
		check_one_translation(w, e);
	CHECK(t->n < MAX_ENTRIES);
	t->e[t->n++] = *e;
	if (w->speculative)
		rule_used(RULE_SPECULATIVE);
	if (X->tracing)
		trace_row((int)w->cpu, "    [TLB] caches %s %#llx -> %#llx tag %u%s",
			  e->kind == E_TABLE	  ? "table of"
			  : e->kind == E_COMBINED ? "combined"
						  : "leaf",
			  (unsigned long long)e->ipa, (unsigned long long)e->pa, e->tag,
			  e->stale ? " (stale)" : "");
}

/* The guest's pages that map to the probe, combined with the leaf w->e. */
static void add_combined(const struct walk *w)
{
	const struct context *ctx = &M.f[w->cpu].ctx;
	const struct guest_vcpu *v = &M.v[ctx->vcpu];
	struct tlb_entry e = w->e;

	e.kind = E_COMBINED;
	e.pa = entry_address(&w->e, w->probe);
	e.ipa = w->probe;
	e.level = 0;
	e.tag = ctx->tag;
	e.generation = ctx->generation;
	e.gen = M.frame_gen[frame_of(e.pa)];
	e.vcpu = ctx->vcpu;
	for (unsigned va = 0; va < NR_VAS; va++) {
		if (M.probe[v->va_to[va]] != w->probe)
			continue;
		e.va = (uint8_t)va;
		e.seq = v->va_seq[va];
		add(w, &e);
	}
}

static void add_leaf(struct walk *w, unsigned level)
{
	struct tlb_entry *e = &w->e;
	unsigned f = frame_of(entry_address(e, w->probe));

	e->kind = E_LEAF;
	e->level = (uint8_t)level;
	e->gen = M.frame_gen[f];
	if (!M.frame_used[f])
		violate(I1, "a table maps the free frame %#llx at %#llx",
			(unsigned long long)entry_address(e, w->probe),
			(unsigned long long)w->probe);
	add(w, e);
	add_combined(w);
}

static void descend(struct walk *w, uint64_t table, uint32_t gen, unsigned level);

static void step(struct walk *w, const uint64_t *slot, uint64_t value, unsigned level)
{
	struct decoded d = decode(value, level);
	struct tlb_entry before = w->e;

	if ((d.kind == D_LEAF || d.kind == D_TABLE) && frame_of(d.pa) >= MAX_FRAMES) {
		violate(I2, "an entry of level %u points to %#llx", level,
			(unsigned long long)d.pa);
		return;
	}
	w->e.path[level] = slot;
	w->e.value[level] = value;
	w->e.ipa = align_down(w->probe, s2_level_size(level));
	w->e.pa = d.pa;
	w->e.perm = d.perm;
	w->e.type = d.type;
	if (d.kind == D_LEAF) {
		add_leaf(w, level);
	} else if (d.kind == D_TABLE) {
		struct tlb_entry e = w->e;

		e.kind = E_TABLE;
		e.level = (uint8_t)level;
		e.gen = M.frame_gen[frame_of(d.pa)];
		add(w, &e);
		descend(w, d.pa, e.gen, level - 1);
	}
	w->e = before;
}

static void descend(struct walk *w, uint64_t table, uint32_t gen, unsigned level)
{
	unsigned f = frame_of(table), shift = PAGE_SHIFT + S2_LEVEL_BITS * level;
	const uint64_t *slot;

	checked(I2);
	if (f >= MAX_FRAMES || !M.frame_used[f] ||
	    M.frame_gen[f] != gen) { /* also in a dead table: it waits */
		violate(I2, "pCPU%u walks through %#llx, which is no table of the space any more",
			w->cpu, (unsigned long long)table);
		return;
	}
	slot = (const uint64_t *)(const void *)(arena + table) + (w->probe >> shift & 511);
	step(w, slot, *slot, level);
	for (unsigned i = 0; i < M.old_n; i++) {
		uint64_t stale = w->e.stale;

		if (M.old[i].slot != slot || M.old[i].value == *slot)
			continue;
		rule_used(RULE_OLD_STORE);
		if (!stale)
			w->e.stale = latest_epoch(M.f[w->cpu].ctx.space) + 1;
		step(w, slot, M.old[i].value, level);
		w->e.stale = stale;
	}
}

/* All walks that this pCPU may do now: from the root, and from each cached pointer to a table. */
static void fill_probe(struct walk *w)
{
	const struct context *ctx = &M.f[w->cpu].ctx;
	const struct tlb *t = &M.f[w->cpu].tlb;
	struct tlb_entry from_root = {
		.tag = ctx->tag,
		.root = ctx->root,
		.sid = ctx->sid,
		.generation = ctx->generation,
	};

	w->e = from_root;
	descend(w, ctx->root, ctx->root_gen, root_level());
	for (unsigned i = 0; i < t->n; i++) {
		const struct tlb_entry *e = &t->e[i];

		if (e->kind == E_COMBINED || !entry_usable(e, ctx) || !entry_covers(e, w->probe))
			continue;
		if (e->kind == E_LEAF) {
			w->e = *e;
			add_combined(w);
			continue;
		}
		if (e->stale)
			rule_used(RULE_DEAD_TABLE);
		w->e = *e;
		w->e.tag = ctx->tag;
		descend(w, e->pa, e->gen, e->level - 1u);
	}
}

void tlb_fill(unsigned cpu, bool speculative)
{
	struct walk w = {.cpu = cpu, .speculative = speculative};

	if (!M.f[cpu].ctx.active)
		return;
	if (!M.f[cpu].in_guest)
		rule_used(RULE_LATE_WALK);
	for (unsigned p = 0; p < M.nr_probes; p++) {
		w.probe = M.probe[p];
		fill_probe(&w);
	}
}

/* ---- what goes stale ---- */

static enum reduction reduced(uint64_t old, uint64_t new, unsigned level)
{
	struct decoded a = decode(old, level), b = decode(new, level);

	if (a.kind == D_TABLE)
		return b.kind == D_TABLE && b.pa == a.pa ? RED_NONE : RED_TABLE;
	if (b.kind == D_TABLE)
		return RED_SIZE;
	if (b.kind != D_LEAF)
		return RED_ABSENT;
	if (a.pa != b.pa)
		return RED_FRAME;
	if (a.type != b.type)
		return RED_TYPE;
	if (a.perm & ~b.perm)
		return RED_PERM;
	return a.dirty && !b.dirty ? RED_DIRTY : RED_NONE;
}

static void mark_stale(struct tlb_entry *e, enum reduction why)
{
	static const enum rule by_kind[] = {
		[E_LEAF] = RULE_STALE_LEAF,
		[E_COMBINED] = RULE_STALE_COMBINED,
		[E_TABLE] = RULE_WALK_CACHE,
	};
	rule_used(by_kind[e->kind]);
	e->why = (uint8_t)why;
	for (unsigned g = 0; g < ARRAY_SIZE(G); g++)
		if (G[g].s2.space.id == e->sid)
			e->stale = latest_epoch(&G[g].s2.space) + 1;
	if (!e->stale)
		e->stale = UINT64_MAX; /* of a space that is gone */
	else
		M.f[M.cur].owed = e->stale;
}

/* A store to a table became visible: entries that came from there, and new ones. */
void tlb_stored(const uint64_t *slot, uint64_t old, uint64_t new)
{
	(void)old;
	for (unsigned c = 0; c < PCPUS; c++) {
		struct tlb *t = &M.f[c].tlb;

		for (unsigned i = 0; i < t->n; i++) {
			struct tlb_entry *e = &t->e[i];

			for (unsigned l = e->kind == E_COMBINED ? 0 : e->level;
			     l <= MAX_LEVELS && !e->stale; l++) {
				enum reduction why;

				if (e->path[l] != slot)
					continue;
				why = reduced(e->value[l], new, l);
				if (why != RED_NONE)
					mark_stale(e, why);
			}
		}
	}
	for (unsigned c = 0; c < PCPUS; c++)
		tlb_fill(c, true);
}

/* ---- what goes away ---- */

void tlb_forget(unsigned cpu, bool (*covers)(const struct tlb_entry *e, uint64_t arg), uint64_t arg)
{
	struct tlb *t = &M.f[cpu].tlb;
	unsigned n = 0;

	if (X->knobs & KNOB_NO_FLUSH)
		return;
	for (unsigned i = 0; i < t->n; i++)
		if (!covers(&t->e[i], arg))
			t->e[n++] = t->e[i];
	memset(&t->e[n], 0, (t->n - n) * sizeof(t->e[0]));
	t->n = n;
}

bool covers_all(const struct tlb_entry *e, uint64_t arg)
{
	(void)e;
	(void)arg;
	return true;
}

bool covers_tag(const struct tlb_entry *e, uint64_t tag)
{
	return e->tag == tag;
}

/* INVEPT single-context. */
bool covers_root(const struct tlb_entry *e, uint64_t root)
{
	return e->root == root;
}

/* INVVPID all-context, single-context. */
bool covers_combined(const struct tlb_entry *e, uint64_t arg)
{
	(void)arg;
	return e->kind == E_COMBINED;
}

bool covers_combined_tag(const struct tlb_entry *e, uint64_t tag)
{
	return e->kind == E_COMBINED && e->tag == tag;
}

/* ---- arm64: commands, begun here, complete with a DSB ---- */

void tlbi_begin(const struct hw_tlbi_cmd *cmd)
{
	struct fiber *f = &M.f[M.cur];

	if (!M.running)
		return;
	CHECK(f->nr_cmds < MAX_CMDS);
	f->cmds[f->nr_cmds++] = *cmd;
}

static bool is_local(const struct hw_tlbi_cmd *c)
{
	return c->op == HW_TLBI_IPA_LOCAL || c->op == HW_TLBI_STAGE1_LOCAL;
}

/* Does the entry translate, or lie on the way to, an address in [at, at + size)? */
static bool entry_in(const struct tlb_entry *e, uint64_t at, uint64_t size)
{
	return e->ipa < at + size && at < e->ipa + s2_level_size(e->level);
}

/*
 * By address: stage-2 entries only, never combined ones (D8.14.5); with a level hint only leaves of
 * that level, and no table.
 */
static bool cmd_covers(const struct hw_tlbi_cmd *c, const struct tlb_entry *e)
{
	uint64_t size = PAGE_SIZE;

	if (c->op == HW_TLBI_EVERYTHING)
		return true;
	if (e->tag != c->tag)
		return false;
	switch (c->op) {
	case HW_TLBI_VMID:
		return true;
	case HW_TLBI_STAGE1:
	case HW_TLBI_STAGE1_LOCAL:
		return e->kind == E_COMBINED;
	case HW_TLBI_IPA_RANGE:
		size = ((uint64_t)c->num + 1) << (5 * c->scale + 1) << PAGE_SHIFT;
		break;
	default:
		break;
	}
	if (e->kind == E_COMBINED || !entry_in(e, c->ipa.v, size))
		return false;
	return c->level == HW_ANY_LEVEL || (e->kind == E_LEAF && e->level == c->level);
}

static void cmd_do(const struct hw_tlbi_cmd *c, unsigned cpu)
{
	struct tlb *t = &M.f[cpu].tlb;
	unsigned n = 0;

	if (X->knobs & KNOB_NO_FLUSH)
		return;
	for (unsigned i = 0; i < t->n; i++)
		if (!cmd_covers(c, &t->e[i]))
			t->e[n++] = t->e[i];
	memset(&t->e[n], 0, (t->n - n) * sizeof(t->e[0]));
	t->n = n;
}

/*
 * A command is known to have worked only here, where its DSB completes it; what it covers goes now,
 * and what a walker may still read is cached again at once (stale, when the stores that should
 * precede the command were not published).
 */
void tlbi_complete(bool local)
{
	struct fiber *f = &M.f[M.cur];
	unsigned n = 0;

	/* Without a DSB between they are not ordered: stage 1 may go first and be combined again
	 * from a stage-2 entry that is still there. */
	for (unsigned pass = 0; pass < 2; pass++) {
		for (unsigned i = 0; i < f->nr_cmds; i++) {
			const struct hw_tlbi_cmd *c = &f->cmds[i];
			bool stage1 = c->op == HW_TLBI_STAGE1 || c->op == HW_TLBI_STAGE1_LOCAL;

			if ((local && !is_local(c)) || stage1 != (pass == 0))
				continue;
			for (unsigned cpu = 0; cpu < PCPUS; cpu++)
				if (!is_local(c) || cpu == M.cur)
					cmd_do(c, cpu);
		}
		for (unsigned cpu = 0; cpu < PCPUS; cpu++)
			tlb_fill(cpu, true);
	}
	for (unsigned i = 0; i < f->nr_cmds; i++)
		if (local && !is_local(&f->cmds[i]))
			f->cmds[n++] = f->cmds[i];
	memset(&f->cmds[n], 0, (f->nr_cmds - n) * sizeof(f->cmds[0]));
	f->nr_cmds = n;
}

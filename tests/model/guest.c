/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guests: the world switch as the vCPU run loop does it, accesses that may use whatever the TLB
 * holds, and the guest's own invalidations, which reach only the pCPU where they execute (x86).
 */
#include "tests/model/model.h"

#include <string.h>

#include "lib/check.h"
#include "lib/util.h"

/* ---- entry and exit ---- */

static void world_switch(unsigned vcpu, const struct tlbi_enter_cmd *cmd)
{
	struct fiber *f = &M.f[M.cur];
	struct space *s = guestmem_space(M.v[vcpu].gm);

	yield("world switch", NULL, true);
	if (X->tracing)
		trace_row((int)M.cur, "  enters vCPU%u tag %u%s (space %llu at epoch %llu)", vcpu,
			  cmd->tag,
			  cmd->flush == TLBI_TAG   ? ", flushes the tag"
			  : cmd->flush == TLBI_ALL ? ", flushes everything"
						   : "",
			  (unsigned long long)s->id, (unsigned long long)s->epoch.v);
	if (cmd->flush == TLBI_TAG)
		tlb_forget(M.cur, covers_tag, cmd->tag);
	else if (cmd->flush == TLBI_ALL)
		tlb_forget(M.cur, covers_all, 0);
	f->in_guest = true;
	if (X->arch == ARCH_ARM64) { /* VTTBR was loaded on the way */
		f->ctx.vcpu = (uint8_t)vcpu;
		f->ctx.generation = 1;
		return;
	}
	f->ctx = (struct context){
		.active = true,
		.space = s,
		.sid = s->id,
		.root = s->root.v,
		.root_gen = M.frame_gen[frame_of(s->root.v)],
		.tag = cmd->tag,
		.generation = M.v[vcpu].tlb.note.generation,
		.vcpu = (uint8_t)vcpu,
	};
}

static void world_exit(void)
{
	struct fiber *f = &M.f[M.cur];

	yield("exit", NULL, false);
	if (X->tracing)
		trace_row((int)M.cur, "  exits");
	f->in_guest = false;
	/* x86: a walk does not outlive the exit. */
	if (X->arch != ARCH_ARM64)
		f->ctx.active = false;
}

/* False when the entry failed. */
static bool enter(unsigned vcpu)
{
	struct guest_vcpu *v = &M.v[vcpu];
	struct tlbi_enter_cmd cmd;
	const struct space *s = guestmem_space(v->gm);
	/* arm64: entry does not flush, whoever reclaims does, on all pCPUs. */
	uint64_t epoch = memory_load(X->arch == ARCH_ARM64 ? &s->settled.v : &s->epoch.v, 8);
	unsigned cpu = M.cur;

	/* arm64: the vCPU's EL1 registers are loaded before tlbi_enter flushes for it. */
	M.f[cpu].vcpu = M.f[cpu].ctx.vcpu = (uint8_t)vcpu;
	M.f[cpu].kicked = false; /* the main loop takes interrupts, then none until it is inside */
	tlbi_enter(cpu, guestmem_space(v->gm), &v->tlb, &cmd);
	if (v->failing_entry) {
		v->failing_entry = false;
		doing("the entry fails");
		tlbi_exit(cpu, &v->tlb, false);
		return false;
	}
	world_switch(vcpu, &cmd);
	check_entry(cpu, epoch);
	tlb_fill(cpu, false);
	return true;
}

static void leave(unsigned vcpu)
{
	world_exit();
	tlbi_exit(M.cur, &M.v[vcpu].tlb, true);
	tlbi_poll();
}

/* ---- accesses ---- */

#define FAULT UINT64_MAX

/* One way an access may go: by a cached translation, or by a walk. */
struct outcome {
	uint64_t frame; /* or FAULT */
	const struct tlb_entry *entry;
};

static unsigned outcome_add(struct outcome *o, unsigned n, struct outcome new)
{
	for (unsigned i = 0; i < n; i++)
		if (o[i].frame == new.frame)
			return n;
	if (n < 6)
		o[n++] = new;
	return n;
}

/* The entry in memory that a walk from `table` ends at. */
static uint64_t *walk_slot(uint64_t table, unsigned level, uint64_t probe, struct decoded *d)
{
	for (;; level--) {
		unsigned i = (unsigned)(probe >> (PAGE_SHIFT + S2_LEVEL_BITS * level)) & 511;
		uint64_t *slot = (uint64_t *)(void *)(arena + table) + i;

		*d = decode(*slot, level);
		if (d->kind == D_LEAF)
			d->pa += probe & (s2_level_size(level) - 1) & ~PAGE_MASK;
		if (d->kind != D_TABLE)
			return slot;
		table = d->pa;
	}
}

static void set_accessed(uint64_t *slot, bool write)
{
	uint64_t old = *slot, new = with_accessed(old, write);

	if (old == new)
		return;
	*slot = new;
	tlb_stored(slot, old, new);
}

/* Hardware marks the leaf as used, also through a cached pointer into a table that is dead. */
static void update_accessed(unsigned probe, bool write)
{
	struct fiber *f = &M.f[M.cur];
	struct decoded d;
	uint64_t *slot = walk_slot(f->ctx.root, root_level(), M.probe[probe], &d);

	if (d.kind == D_LEAF && (!write || (d.perm & S2_W)))
		set_accessed(slot, write);
	for (unsigned i = 0; i < f->tlb.n; i++) {
		const struct tlb_entry *e = &f->tlb.e[i];

		if (e->kind != E_TABLE || !e->stale || !entry_usable(e, &f->ctx) ||
		    M.probe[probe] - e->ipa >= s2_level_size(e->level))
			continue;
		rule_used(RULE_DEAD_AD);
		slot = walk_slot(e->pa, e->level - 1u, M.probe[probe], &d);
		if (d.kind == D_LEAF && (!write || (d.perm & S2_W)))
			set_accessed(slot, write);
	}
}

static struct outcome access_outcome(unsigned probe, bool write)
{
	const struct fiber *f = &M.f[M.cur];
	unsigned need = write ? S2_W : S2_R, n = 0;
	struct outcome o[6];
	struct decoded d;

	walk_slot(f->ctx.root, root_level(), M.probe[probe], &d);
	n = outcome_add(o, n,
			(struct outcome){d.kind == D_LEAF && (d.perm & need) ? d.pa : FAULT, NULL});
	for (unsigned i = 0; i < f->tlb.n; i++) {
		const struct tlb_entry *e = &f->tlb.e[i];

		if (e->kind != E_TABLE && entry_usable(e, &f->ctx) && (e->perm & need) &&
		    M.probe[probe] - e->ipa < s2_level_size(e->level))
			n = outcome_add(o, n,
					(struct outcome){e->pa + (M.probe[probe] - e->ipa), e});
	}
	return o[choose(n)];
}

/* True when the access is done, false when it faulted. */
static bool access(unsigned probe, bool write)
{
	struct outcome o = access_outcome(probe, write);

	if (X->tracing)
		trace_row((int)M.cur, "  guest %s %#llx: %s%#llx%s", write ? "writes" : "reads",
			  (unsigned long long)M.probe[probe],
			  o.frame == FAULT ? "faults " : "in frame ", (unsigned long long)o.frame,
			  o.entry && o.entry->stale ? ", by a stale translation" : "");
	if (o.frame == FAULT)
		return false;
	check_access(M.cur, probe, o.frame, write, o.entry);
	update_accessed(probe, write);
	if (write)
		*(uint64_t *)(void *)(arena + o.frame) = 0xdddddddddddddddeULL;
	return true;
}

/* ---- the guest's own translations ---- */

static bool covers_own_page(const struct tlb_entry *e, uint64_t arg)
{
	const struct context *ctx = &M.f[M.cur].ctx;

	return e->kind == E_COMBINED && entry_usable(e, ctx) && e->vcpu == ctx->vcpu &&
	       (arg == UINT64_MAX || e->va == arg);
}

static void forget_own(unsigned cpu, uint64_t va)
{
	unsigned knobs = X->knobs;

	X->knobs &= ~(unsigned)KNOB_NO_FLUSH; /* the guest's own flushes work */
	tlb_forget(cpu, covers_own_page, va);
	X->knobs = knobs;
}

static void own_invalidate(unsigned vcpu, unsigned va)
{
	struct guest_vcpu *v = &M.v[vcpu];

	for (unsigned i = 0; i < NR_VAS; i++)
		if (va == i || va == NR_VAS)
			v->va_seq[i] = ++v->map_seq;
	/* HCR_EL2.FB: a guest's local TLBI reaches every pCPU (D8.14.5.1). */
	for (unsigned c = 0; c < PCPUS; c++)
		if (c == M.cur || X->arch == ARCH_ARM64)
			forget_own(c, va == NR_VAS ? UINT64_MAX : va);
	if (X->tracing)
		trace_row((int)M.cur, "  guest invalidates its page %u here", va);
	tlb_fill(M.cur, false);
}

static bool act(unsigned vcpu, const struct act *a)
{
	struct guest_vcpu *v = &M.v[vcpu];

	switch (a->kind) {
	case ACT_READ:
		return access(a->arg, false);
	case ACT_WRITE:
		return access(a->arg, true);
	case ACT_INVLPG:
		own_invalidate(vcpu, a->arg);
		return true;
	case ACT_CR3:
		own_invalidate(vcpu, NR_VAS);
		return true;
	case ACT_MAP:
		v->va_to[a->arg] = (uint8_t)a->to;
		tlb_fill(M.cur, false);
		return true;
	default:
		return true;
	}
}

bool guest_populate(struct guestmem *gm, uint64_t at, unsigned access)
{
	for (;;) {
		enum gm_fault f = guestmem_fault(gm, ipa(at), access);

		if (f != GM_RETRY)
			return f == GM_RESOLVED;
		if (!M.running)
			continue;
		hw_relax();
	}
}

/* Runs the vCPU until it has done all of `acts`: the run loop of one pCPU. */
void guest_run(unsigned vcpu, const struct act *acts)
{
	struct fiber *f = &M.f[M.cur];
	unsigned kicks = 0;

	while (acts->kind != ACT_END) {
		bool faulted = false;
		unsigned probe = acts->arg;

		if (!enter(vcpu))
			continue;
		while (acts->kind != ACT_END && !faulted) {
			f->lingering = acts->kind == ACT_LINGER;
			yield("guest", NULL, false);
			f->lingering = false;
			/* Interrupts may be late: a guest gets on, else executions would not end.
			 */
			if (f->kicked && acts->kind != ACT_LINGER && ++kicks % 3 != 0)
				break;
			probe = acts->arg;
			faulted = !act(vcpu, acts);
			acts += !faulted;
		}
		leave(vcpu);
		if (faulted) {
			doing("fault at %#llx", (unsigned long long)M.probe[probe]);
			if (!guest_populate(M.v[vcpu].gm, M.probe[probe],
					    acts->kind == ACT_WRITE ? GM_WRITE : GM_READ))
				return; /* the guest would be ended here */
		}
	}
}

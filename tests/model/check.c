/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The invariants. Frames are followed by the linker's --wrap on the allocator's public functions,
 * settlement on the gather's; the production objects themselves are unchanged.
 */
#include "tests/model/model.h"

#include <string.h>

#include "lib/check.h"
#include "lib/errno.h"
#include "lib/util.h"
#include "mm/frames.h"
#include "mm/reclaim.h"
#include "tlbi/agent.h"

#define ULL(v) ((unsigned long long)(v))

/* ---- I1, I2, I6: who may reach a frame ---- */

static void check_context(unsigned cpu, uint64_t frame)
{
	const struct fiber *f = &M.f[cpu];

	if (!f->ctx.active)
		return;
	if (f->ctx.root == frame)
		violate(I2, "%#llx is given up while pCPU%u runs on it as root", ULL(frame), cpu);
	for (unsigned i = 0; i < f->tlb.n; i++) {
		const struct tlb_entry *e = &f->tlb.e[i];

		if (!entry_usable(e, &f->ctx))
			continue;
		if (e->kind == E_TABLE && e->pa == frame)
			violate(I2,
				"table %#llx is given up while pCPU%u caches a pointer to it "
				"(%#llx)",
				ULL(frame), cpu, ULL(e->ipa));
		if (e->kind != E_TABLE && frame - e->pa < s2_level_size(e->level))
			violate(I1, "frame %#llx is given up while pCPU%u caches %#llx -> %#llx",
				ULL(frame), cpu, ULL(e->ipa), ULL(e->pa));
	}
}

static void check_readers(unsigned cpu, uint64_t frame)
{
	const struct fiber *f = &M.f[cpu];

	for (unsigned i = 0; f->reading && i < f->nr_held; i++)
		if (f->held[i] == frame)
			violate(I6, "%#llx is given up while a reader on pCPU%u uses it",
				ULL(frame), cpu);
}

static void check_unreachable(uint64_t frame)
{
	checked(I1);
	checked(I2);
	checked(I6);
	for (unsigned c = 0; c < PCPUS; c++) {
		check_context(c, frame);
		if (c != M.cur)
			check_readers(c, frame);
	}
}

void check_reader_holds(uint64_t pa)
{
	struct fiber *f = &M.f[M.cur];

	if (frame_of(pa) >= MAX_FRAMES)
		return;
	for (unsigned i = 0; i < f->nr_held; i++)
		if (f->held[i] == pa)
			return;
	CHECK(f->nr_held < ARRAY_SIZE(f->held));
	f->held[f->nr_held++] = pa;
}

/* ---- frames ---- */

static void frames_taken(pa_t pa, unsigned order)
{
	for (uint64_t i = 0; i < BIT(order); i++) {
		unsigned f = frame_of(pa.v) + (unsigned)i;

		CHECK(!M.frame_used[f]);
		M.frame_used[f] = 1;
		M.frame_gen[f]++;
		check_unreachable(pa.v + i * PAGE_SIZE);
	}
}

static void frames_dropped(pa_t pa, unsigned order)
{
	for (uint64_t i = 0; i < BIT(order); i++) {
		unsigned f = frame_of(pa.v) + (unsigned)i;

		if (!M.frame_used[f]) {
			violate(I9, "a reference to the free frame %#llx is dropped",
				ULL(pa.v + i * PAGE_SIZE));
			continue;
		}
		if (--M.frame_used[f])
			continue;
		if (X->tracing && M.running && order == 0)
			trace_row((int)M.cur, "  frame %#llx is free", ULL(pa.v));
		check_unreachable(pa.v + i * PAGE_SIZE);
	}
}

/* Counts down to the allocation that is to fail. */
static bool fails_now(void)
{
	return M.running && M.fail_alloc && --M.fail_alloc == 0;
}

int __real_frames_alloc(struct frames_reserve *r, unsigned order, pa_t *out);
int __wrap_frames_alloc(struct frames_reserve *r, unsigned order, pa_t *out);
int __wrap_frames_alloc(struct frames_reserve *r, unsigned order, pa_t *out)
{
	int err = fails_now() ? -ENOMEM : __real_frames_alloc(r, order, out);

	if (err)
		return err;
	if (X->tracing && M.running)
		trace_row((int)M.cur, "  frame %#llx is handed out", ULL(out->v));
	frames_taken(*out, order);
	return 0;
}

int __real_frames_try_alloc(struct frames_reserve *r, unsigned order, pa_t *out);
int __wrap_frames_try_alloc(struct frames_reserve *r, unsigned order, pa_t *out);
int __wrap_frames_try_alloc(struct frames_reserve *r, unsigned order, pa_t *out)
{
	int err = fails_now() ? -ENOMEM : __real_frames_try_alloc(r, order, out);

	if (!err)
		frames_taken(*out, order);
	return err;
}

void __real_frames_get(pa_t pa, unsigned order);
void __wrap_frames_get(pa_t pa, unsigned order);
void __wrap_frames_get(pa_t pa, unsigned order)
{
	for (uint64_t i = 0; i < BIT(order); i++)
		M.frame_used[frame_of(pa.v) + i]++;
	__real_frames_get(pa, order);
}

void __real_frames_put(pa_t pa, unsigned order);
void __wrap_frames_put(pa_t pa, unsigned order);
void __wrap_frames_put(pa_t pa, unsigned order)
{
	frames_dropped(pa, order);
	__real_frames_put(pa, order);
}

void __real_frames_unalloc(struct frames_reserve *r, pa_t pa, unsigned order);
void __wrap_frames_unalloc(struct frames_reserve *r, pa_t pa, unsigned order);
void __wrap_frames_unalloc(struct frames_reserve *r, pa_t pa, unsigned order)
{
	frames_dropped(pa, order);
	__real_frames_unalloc(r, pa, order);
}

/* I9: everything comes back. */
void check_no_leak(void)
{
	struct frames_stat s;

	checked(I9);
	reclaim_force();
	s = frames_stat();
	if (s.free != M.free_at_boot || s.pending || s.reserved)
		violate(I9, "leak: %llu frames free of %llu, %llu pending, %llu promised",
			ULL(s.free), ULL(M.free_at_boot), ULL(s.pending), ULL(s.reserved));
}

/* ---- agents and readers ---- */

bool __real_agents_behind(uint64_t space, uint64_t epoch);
bool __wrap_agents_behind(uint64_t space, uint64_t epoch);
bool __wrap_agents_behind(uint64_t space, uint64_t epoch)
{
	return X->knobs & KNOB_NO_WAIT ? false : __real_agents_behind(space, epoch);
}

void __real_reader_enter(const struct space *s);
void __wrap_reader_enter(const struct space *s);
void __wrap_reader_enter(const struct space *s)
{
	__real_reader_enter(s);
	M.f[M.cur].reading = true;
}

void __real_reader_exit(void);
void __wrap_reader_exit(void);
void __wrap_reader_exit(void)
{
	struct fiber *f = &M.f[M.cur];

	f->reading = false;
	f->nr_held = 0;
	memset(f->held, 0, sizeof(f->held));
	__real_reader_exit();
}

/* ---- settlement: I10, and what was reduced decides what else it is ---- */

static enum invariant broken_by(enum reduction why)
{
	switch (why) {
	case RED_PERM:
	case RED_DIRTY:
		return I5;
	case RED_FRAME:
		return I12;
	default:
		return I10;
	}
}

/* The epoch has to have moved past what this pCPU's stores took away. */
static void check_issued(const struct space *s)
{
	struct fiber *f = &M.f[M.cur];

	checked(I10);
	if (f->owed > latest_epoch(s))
		violate(I10, "settled, but epoch %llu was never issued", ULL(f->owed));
	f->owed = 0;
}

static void check_settled(const struct space *s, uint64_t epoch)
{
	for (unsigned c = 0; c < PCPUS; c++) {
		const struct fiber *f = &M.f[c];

		for (unsigned i = 0; f->ctx.active && i < f->tlb.n; i++) {
			const struct tlb_entry *e = &f->tlb.e[i];

			if (!e->stale || e->stale > epoch || e->sid != s->id ||
			    !entry_usable(e, &f->ctx))
				continue;
			checked(broken_by(e->why));
			violate(broken_by(e->why),
				"gather_sync returned at epoch %llu, pCPU%u caches %#llx -> %#llx "
				"of epoch %llu",
				ULL(epoch), c, ULL(e->ipa), ULL(e->pa), ULL(e->stale));
		}
	}
}

void __real_gather_sync(struct tlbi_gather *g);
void __wrap_gather_sync(struct tlbi_gather *g);
void __wrap_gather_sync(struct tlbi_gather *g)
{
	bool owed = g->state == GATHER_OWED || g->state == GATHER_ISSUED;

	__real_gather_sync(g);
	if (!owed || !M.running)
		return;
	check_issued(g->space);
	checked(I5);
	checked(I12);
	check_settled(g->space, g->epoch);
	for (unsigned i = 0; i < ARRAY_SIZE(G); i++)
		if (&G[i].s2.space == g->space)
			M.synced[i] = max_u64(M.synced[i], g->epoch);
}

void __real_gather_defer(struct tlbi_gather *g);
void __wrap_gather_defer(struct tlbi_gather *g);
void __wrap_gather_defer(struct tlbi_gather *g)
{
	bool owed = g->state == GATHER_OWED || g->state == GATHER_ISSUED;

	__real_gather_defer(g);
	if (owed && M.running)
		check_issued(g->space);
}

/* ---- entry: I4, I8, I11 ---- */

static void check_tag_owner(unsigned cpu, const struct tlb_entry *e, const struct context *ctx)
{
	bool foreign = e->sid != ctx->sid || (e->kind == E_COMBINED && e->vcpu != ctx->vcpu);

	if (!foreign)
		return;
	if (e->generation != ctx->generation)
		violate(I8, "pCPU%u: tag %u came round again and still holds space %llu's %#llx",
			cpu, ctx->tag, ULL(e->sid), ULL(e->ipa));
	violate(I4,
		"pCPU%u enters vCPU%u on tag %u, which holds vCPU%u of space %llu: %#llx -> %#llx",
		cpu, ctx->vcpu, ctx->tag, e->vcpu, ULL(e->sid), ULL(e->ipa), ULL(e->pa));
}

static void check_tag_age(unsigned cpu, const struct tlb_entry *e, const struct context *ctx,
			  uint64_t epoch)
{
	unsigned f = frame_of(e->kind == E_COMBINED || e->kind == E_TABLE ? e->pa : e->pa);

	if (e->kind != E_LEAF || e->level == 0) {
		if (!M.frame_used[f] || M.frame_gen[f] != e->gen)
			violate(e->kind == E_TABLE ? I2 : I1,
				"pCPU%u enters with %#llx -> %#llx cached, a frame of somebody "
				"else",
				cpu, ULL(e->ipa), ULL(e->pa));
	}
	if (e->stale && e->stale <= epoch)
		violate(I4,
			"pCPU%u enters at epoch %llu with %#llx -> %#llx cached, gone since %llu",
			cpu, ULL(epoch), ULL(e->ipa), ULL(e->pa), ULL(e->stale));
	if (e->kind == E_COMBINED && e->vcpu == ctx->vcpu && e->seq < M.v[ctx->vcpu].va_seq[e->va])
		violate(I11, "pCPU%u enters vCPU%u whose page %u, invalidated elsewhere, is cached",
			cpu, ctx->vcpu, e->va);
}

/* Right after the world switch and its flush. `epoch` is from before tlbi_enter. */
void check_entry(unsigned cpu, uint64_t epoch)
{
	const struct fiber *f = &M.f[cpu];

	checked(I4);
	checked(I8);
	checked(I11);
	for (unsigned i = 0; i < f->tlb.n; i++) {
		const struct tlb_entry *e = &f->tlb.e[i];

		if (!entry_usable(e, &f->ctx))
			continue;
		check_tag_owner(cpu, e, &f->ctx);
		check_tag_age(cpu, e, &f->ctx, epoch);
	}
}

/* ---- accesses: I5, I12 ---- */

static void check_not_settled(unsigned cpu, const struct tlb_entry *e)
{
	for (unsigned i = 0; i < ARRAY_SIZE(G); i++)
		if (e && e->stale && G[i].s2.space.id == e->sid && e->stale <= M.synced[i])
			violate(broken_by(e->why),
				"pCPU%u uses %#llx -> %#llx, settled at epoch %llu", cpu,
				ULL(e->ipa), ULL(e->pa), ULL(e->stale));
}

static void check_only_frame(unsigned cpu, uint64_t probe, uint64_t frame)
{
	uint64_t sid = M.f[cpu].ctx.sid;

	for (unsigned c = 0; c < PCPUS; c++) {
		const struct fiber *f = &M.f[c];

		if (c == cpu || !f->ctx.active || f->ctx.sid != sid)
			continue;
		for (unsigned i = 0; i < f->tlb.n; i++) {
			const struct tlb_entry *e = &f->tlb.e[i];

			if (e->kind == E_TABLE || e->sid != sid || !entry_usable(e, &f->ctx) ||
			    probe - e->ipa >= s2_level_size(e->level) ||
			    e->pa + (probe - e->ipa) == frame)
				continue;
			violate(I12,
				"pCPU%u has written to %#llx in frame %#llx, pCPU%u may read frame "
				"%#llx",
				cpu, ULL(probe), ULL(frame), c, ULL(e->pa));
		}
	}
}

void check_access(unsigned cpu, unsigned probe, uint64_t frame, bool write,
		  const struct tlb_entry *e)
{
	checked(I5);
	check_not_settled(cpu, e);
	if (!M.frame_used[frame_of(frame)])
		violate(I1, "pCPU%u accesses the free frame %#llx", cpu, ULL(frame));
	if (!write)
		return;
	checked(I12);
	check_only_frame(cpu, M.probe[probe], frame);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* What is owed to hardware whose commands reach every pCPU. See tlbi/broadcast.h. */
#include "tlbi/broadcast.h"

#include "lib/check.h"
#include "lib/util.h"
#include "tlbi/encode.h"
#include "tlbi/vmid.h"

static const struct hw_mmu_caps *caps;
static bool in_use, by_page;
static enum tlbi_policy policy;
static struct tlbi_count counts[MAX_PCPUS]; /* each its pCPU's own */

static void resolve(void)
{
	by_page = in_use && (policy == TLBI_POLICY_PAGE ||
			     (policy == TLBI_POLICY_RANGE && !(caps->tlbi_range && caps->fwb)));
}

void broadcast_init(const struct hw_mmu_caps *c)
{
	caps = c;
	in_use = caps->tags == HW_TAGS_VMID;
	resolve();
}

void tlbi_set_policy(enum tlbi_policy p)
{
	policy = p;
	if (caps)
		resolve();
}

bool broadcast_in_use(void)
{
	return in_use;
}

bool broadcast_by_page(void)
{
	return by_page;
}

/* ---- commands ---- */

void broadcast_cmd(const struct hw_tlbi_cmd *cmd)
{
	struct tlbi_count *c = &counts[hw_cpu()];

	c->ipa += cmd->op == HW_TLBI_IPA;
	c->range += cmd->op == HW_TLBI_IPA_RANGE;
	c->stage1 += cmd->op == HW_TLBI_STAGE1;
	c->vmid += cmd->op == HW_TLBI_VMID;
	c->everything += cmd->op == HW_TLBI_EVERYTHING;
	c->local += cmd->op == HW_TLBI_IPA_LOCAL || cmd->op == HW_TLBI_STAGE1_LOCAL;
	hw_tlbi(cmd);
}

void broadcast_barrier(enum hw_barrier kind)
{
	struct tlbi_count *c = &counts[hw_cpu()];

	c->isb += kind == HW_BARRIER_CONTEXT;
	c->dsb += kind != HW_BARRIER_CONTEXT;
	hw_barrier(kind);
}

struct tlbi_count tlbi_count(void)
{
	struct tlbi_count sum = {0};

	for (unsigned i = 0; i < MAX_PCPUS; i++) {
		sum.ipa += counts[i].ipa;
		sum.range += counts[i].range;
		sum.stage1 += counts[i].stage1;
		sum.vmid += counts[i].vmid;
		sum.everything += counts[i].everything;
		sum.local += counts[i].local;
		sum.dsb += counts[i].dsb;
		sum.isb += counts[i].isb;
	}
	return sum;
}

static uint8_t hint(unsigned level)
{
	return caps->tlbi_ttl ? (uint8_t)level : HW_ANY_LEVEL;
}

static void forget_ipa(uint32_t vmid, ipa_t at, uint8_t level)
{
	broadcast_cmd(
		&(struct hw_tlbi_cmd){.op = HW_TLBI_IPA, .tag = vmid, .ipa = at, .level = level});
}

/*
 * Stage 2 is forgotten once the commands so far are complete. Only then stage 1, which includes
 * what is combined of both: a combined translation must not be made again from a stage-2 one that
 * is still there.
 */
static void finish(uint32_t vmid)
{
	broadcast_barrier(HW_BARRIER_TLBI);
	broadcast_cmd(&(struct hw_tlbi_cmd){.op = HW_TLBI_STAGE1, .tag = vmid});
	broadcast_barrier(HW_BARRIER_TLBI);
	broadcast_barrier(HW_BARRIER_CONTEXT);
}

/*
 * The space's VMID, or 0, for commands about an entry that was just changed. The entry goes first:
 * what is forgotten must not be read from it again. Also when no VMID is seen: a pCPU that gives
 * the space its first one meanwhile must not walk the old entry. Hence the full barrier, as in
 * broadcast_flush.
 */
static uint32_t vmid_published(struct space *s)
{
	if (s->dead)
		return 0; /* nobody enters it again: what is loaded is unloaded */
	broadcast_barrier(HW_BARRIER_ENTRIES);
	atomic_fence();
	return vmid_of(s);
}

void broadcast_leaf(struct space *s, ipa_t at, unsigned level)
{
	uint32_t vmid = vmid_published(s);

	if (!vmid)
		return;
	forget_ipa(vmid, at, hint(level));
	finish(vmid);
}

/* Stage 1 caches nothing of a stage-2 table; leaves below are settled on their own. */
void broadcast_table(struct space *s, ipa_t at)
{
	uint32_t vmid = vmid_published(s);

	if (!vmid)
		return;
	forget_ipa(vmid, at, HW_ANY_LEVEL);
	broadcast_barrier(HW_BARRIER_TLBI);
}

void tlbi_relaxed(struct space *s, ipa_t at)
{
	struct hw_tlbi_cmd cmd = {.op = HW_TLBI_IPA_LOCAL, .ipa = at, .level = HW_ANY_LEVEL};

	if (!in_use)
		return;
	cmd.tag = vmid_of(s);
	cmd.ipa.v = align_down(at.v, PAGE_SIZE);
	broadcast_cmd(&cmd);
	broadcast_barrier(HW_BARRIER_TLBI_LOCAL);
	cmd.op = HW_TLBI_STAGE1_LOCAL;
	broadcast_cmd(&cmd);
	broadcast_barrier(HW_BARRIER_TLBI_LOCAL);
	broadcast_barrier(HW_BARRIER_CONTEXT);
}

/* ---- what is owed ---- */

static bool joins(const struct tlbi_range *r, const struct tlbi_range *n)
{
	return r->levels == n->levels && n->start <= r->end && r->start <= n->end;
}

/* Adds a range; when there is no room the last one grows over it. */
static void add(struct tlbi_owed *o, const struct tlbi_range *n)
{
	struct tlbi_range *r = o->ranges;
	unsigned i = 0;

	while (i < o->n && !joins(&r[i], n))
		i++;
	if (i == TLBI_OWED_RANGES)
		i--;
	if (i == o->n) {
		r[o->n++] = *n;
		return;
	}
	r[i].start = min_u64(r[i].start, n->start);
	r[i].end = max_u64(r[i].end, n->end);
	r[i].levels |= n->levels;
}

uint64_t broadcast_issue(struct space *s, uint64_t start, uint64_t end, uint8_t levels)
{
	uint64_t epoch;

	spin_lock(&s->owed.lock);
	if (start < end && !s->dead)
		add(&s->owed, &(struct tlbi_range){start, end, levels});
	epoch = atomic_load64(&s->epoch) + 1;
	atomic_store64_rel(&s->epoch, epoch);
	/* Whoever took what was owed before held the lock until it was done. */
	if (s->owed.n == 0)
		atomic_store64_rel(&s->flushed, epoch);
	spin_unlock(&s->owed.lock);
	return epoch;
}

/* The level of all leaves of the range, or HW_ANY_LEVEL. */
static uint8_t common_level(const struct tlbi_range *r)
{
	return is_pow2(r->levels) ? (uint8_t)__builtin_ctz(r->levels) : HW_ANY_LEVEL;
}

/* Bytes from one operation to the next, when there is one for each leaf. */
static uint64_t step(const struct tlbi_range *r)
{
	CHECK(r->levels);
	return PAGE_SIZE << (9 * __builtin_ctz(r->levels));
}

static uint64_t ops_needed(const struct tlbi_range *r)
{
	uint64_t pages = (r->end - r->start) / PAGE_SIZE;

	/* One for each 2^21 pages, and one for each scale and the last page. */
	if (caps->tlbi_range)
		return pages / TLBI_RANGE_MAX_PAGES + 5;
	return (r->end - r->start) / step(r);
}

static void forget_range(uint32_t vmid, const struct tlbi_range *r)
{
	uint8_t common = common_level(r), level = common == HW_ANY_LEVEL ? common : hint(common);
	uint64_t at = r->start;

	while (at < r->end) {
		struct tlbi_piece p = tlbi_piece((r->end - at) / PAGE_SIZE);

		if (caps->tlbi_range && p.range && r->end - at > step(r)) {
			broadcast_cmd(&(struct hw_tlbi_cmd){
				.op = HW_TLBI_IPA_RANGE,
				.tag = vmid,
				.ipa = ipa(at),
				.level = level,
				.scale = p.scale,
				.num = p.num,
			});
			at += p.pages * PAGE_SIZE;
		} else {
			forget_ipa(vmid, ipa(at), level);
			at += step(r);
		}
	}
}

static void forget_owed(const struct tlbi_owed *o, uint32_t vmid)
{
	uint64_t ops = 0;

	for (unsigned i = 0; i < o->n; i++)
		ops += ops_needed(&o->ranges[i]);
	if (ops <= TLBI_MAX_OPS) {
		for (unsigned i = 0; i < o->n; i++)
			forget_range(vmid, &o->ranges[i]);
		finish(vmid);
	} else {
		broadcast_cmd(&(struct hw_tlbi_cmd){.op = HW_TLBI_VMID, .tag = vmid});
		broadcast_barrier(HW_BARRIER_TLBI);
		broadcast_barrier(HW_BARRIER_CONTEXT);
	}
}

bool broadcast_behind(const struct space *s, uint64_t epoch)
{
	return atomic_load64_acq(&s->flushed) < epoch;
}

void broadcast_flush(struct space *s, uint64_t epoch)
{
	uint64_t now;
	uint32_t vmid;

	if (!broadcast_behind(s, epoch))
		return;
	spin_lock(&s->owed.lock);
	now = atomic_load64(&s->epoch);
	/*
	 * The epoch moved before: order that before the look at the VMID, against vmid_enter, which
	 * publishes the VMID before anything is walked. A space without one was not walked before
	 * its entries changed, and one whose VMID changes now was flushed with all others.
	 */
	atomic_fence();
	vmid = vmid_of(s);
	if (s->owed.n && vmid && broadcast_behind(s, epoch))
		forget_owed(&s->owed, vmid);
	if (broadcast_behind(s, epoch)) {
		s->owed.n = 0;
		atomic_store64_rel(&s->flushed, now);
	}
	spin_unlock(&s->owed.lock);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Flush on reuse, end to end: spaces come and go without a flush, and neither their ASIDs or VPIDs
 * nor the frames of their roots and tables may bring anything of theirs back (I1, I2, I4, I8).
 *
 * A pCPU's TLB is played by the most forgetful-proof one there can be: at each entry it walks the
 * whole table of the guest and keeps every leaf and every paging-structure entry under every tag
 * that the architecture would use, and it drops only what a command names. SVM: all under the ASID
 * (APM vol 2, 15.16). VMX: guest-physical ones and table entries under the root, combined ones
 * under VPID and root (SDM vol 3, 29.4). Whatever it holds that an entry could use must belong to
 * the space that enters.
 */
// links: mm/ledger.c tlbi/broadcast.c tlbi/vmid.c
// links: tlbi/tags.c tlbi/space.c tlbi/agent.c tlbi/gather.c mm/frames.c mm/reclaim.c
// links: stage2/stage2.c stage2/npt.c stage2/ept.c lib/log.c lib/string.c
#include <stdlib.h>

#include "lib/check.h"
#include "lib/errno.h"
#include "lib/util.h"
#include "stage2/ops.h"
#include "tests/host/hw_host.h"
#include "tests/tap.h"
#include "tlbi/agent.h"
#include "tlbi/tags.h"

#define PCPUS  2
#define GUESTS 6
#define CACHED 4096
#define NO_TAG UINT32_MAX

/* One cached translation: of what, under which tags. */
struct cached {
	uint64_t space; /* whose it is */
	uint64_t root;	/* EP4TA; 0: not tagged by it */
	uint32_t tag;	/* NO_TAG: not tagged by one */
	bool table;	/* paging-structure entry: names a table */
	pa_t pa;
};

static struct tlb {
	struct cached c[CACHED];
	unsigned n;
} tlbs[PCPUS];

struct guest {
	bool alive;
	struct stage2 s2;
	struct s2_pool pool;
	struct tlbi_vcpu vcpu;
};

static struct guest guests[GUESTS];
static unsigned stale, stale_tables, skip_flush;
static uint64_t reused_roots, clean_entries, old_roots[64], nr_old_roots;

static void drop(struct tlb *t, uint64_t root, uint32_t tag)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < t->n; i++)
		if (!((root && t->c[i].root == root) || (tag != NO_TAG && t->c[i].tag == tag)))
			t->c[kept++] = t->c[i];
	t->n = kept;
}

/* VMX. INVVPID does not settle guest-physical entries, which have no VPID. */
static void on_tlbi(const struct hw_tlbi_cmd *cmd)
{
	struct tlb *t = &tlbs[host_cpu];
	unsigned kept = 0;

	if (skip_flush)
		return;
	if (cmd->op == HW_TLBI_ROOT)
		drop(t, cmd->root.v, NO_TAG);
	else if (cmd->op == HW_TLBI_TAG)
		drop(t, 0, cmd->tag);
	else {
		for (unsigned i = 0; i < t->n; i++)
			if (t->c[i].tag == NO_TAG)
				t->c[kept++] = t->c[i];
		t->n = kept;
	}
}

static void cache(struct tlb *t, struct cached c)
{
	for (unsigned i = 0; i < t->n; i++)
		if (memcmp(&t->c[i], &c, sizeof(c)) == 0)
			return;
	CHECK(t->n < CACHED);
	t->c[t->n++] = c;
}

/* By the bits of both formats: 51:12 address, bit 7 large; present is bit 0 (NPT), 2:0 (EPT). */
static void fill(struct tlb *t, struct cached like, pa_t table, unsigned level)
{
	const uint64_t *e = hw_frame_ptr(table);
	uint64_t present = host_caps.tags == HW_TAGS_ASID ? 1 : 7;

	for (unsigned i = 0; i < 512; i++) {
		if (!(e[i] & present))
			continue;
		like.pa = pa(e[i] & 0x000ffffffffff000ULL);
		like.table = level > 0 && !(e[i] & BIT(7));
		cache(t, like);
		if (like.table)
			fill(t, like, like.pa, level - 1);
	}
}

static bool in_tree(pa_t table, unsigned level, pa_t wanted)
{
	const uint64_t *e = hw_frame_ptr(table);
	uint64_t present = host_caps.tags == HW_TAGS_ASID ? 1 : 7;

	for (unsigned i = 0; i < 512; i++) {
		pa_t at = pa(e[i] & 0x000ffffffffff000ULL);

		if (!(e[i] & present))
			continue;
		if (at.v == wanted.v ||
		    (level > 0 && !(e[i] & BIT(7)) && in_tree(at, level - 1, wanted)))
			return true;
	}
	return false;
}

/* What the processor could use for this entry. */
static bool usable(const struct cached *c, uint64_t root, uint32_t tag)
{
	return (c->root == 0 || c->root == root) && (c->tag == NO_TAG || c->tag == tag);
}

static void enter(unsigned pcpu, struct guest *g)
{
	struct tlb *t = &tlbs[pcpu];
	struct tlbi_enter_cmd cmd;
	struct cached like = {.space = g->s2.space.id};

	host_cpu = pcpu;
	tlbi_enter(pcpu, &g->s2.space, &g->vcpu, &cmd);
	if (!skip_flush && cmd.flush == TLBI_ALL)
		t->n = 0;
	else if (!skip_flush && cmd.flush == TLBI_TAG)
		drop(t, 0, cmd.tag);
	for (unsigned i = 0; i < t->n; i++) {
		const struct cached *c = &t->c[i];

		if (!usable(c, g->s2.space.root.v, cmd.tag))
			continue;
		if (c->space != g->s2.space.id) {
			stale++;
			stale_tables += c->table;
		} else if (!in_tree(g->s2.space.root, 3, c->pa)) {
			stale++; /* its own, from before a batch that it is not behind any more */
		}
	}
	clean_entries += cmd.flush == TLBI_NONE && !cmd.fresh;
	if (host_caps.tags == HW_TAGS_ASID) {
		like.tag = cmd.tag;
		fill(t, like, g->s2.space.root, 3);
	} else {
		like.root = g->s2.space.root.v;
		like.tag = NO_TAG;
		fill(t, like, g->s2.space.root, 3);
		like.tag = cmd.tag;
		fill(t, like, g->s2.space.root, 3);
	}
}

static void leave(unsigned pcpu, struct guest *g)
{
	tlbi_exit(pcpu, &g->vcpu, true);
	host_cpu = 0;
}

static void map_page(struct guest *g, uint64_t at)
{
	pa_t p;
	int err;

	if (frames_alloc(NULL, 0, &p) != 0)
		return;
	CHECK(s2_pool_fill(&g->pool, 4) == 0);
	reader_enter(&g->s2.space);
	err = stage2_install(&g->s2, ipa(at), 0, p, S2_RWX, &g->pool);
	reader_exit();
	if (err)
		frames_put(p, 0);
}

static void unmap_pages(struct guest *g, uint64_t at, uint64_t size)
{
	TLBI_GATHER(gather, &g->s2.space);
	struct space_locked l = space_lock(&g->s2.space);

	CHECK(stage2_unmap(&g->s2, l, ipa(at), size, &g->pool, &gather) == 0);
	space_unlock(l, &gather);
	gather_defer(&gather);
}

static void create(struct guest *g)
{
	*g = (struct guest){.alive = true};
	CHECK(stage2_init(&g->s2, host_format, NULL) == 0);
	tlbi_vcpu_init(&g->vcpu);
	for (unsigned i = 0; i < nr_old_roots; i++)
		reused_roots += old_roots[i] == g->s2.space.root.v;
	map_page(g, 0);
}

/* Nothing is flushed: that is the point. */
static void destroy(struct guest *g)
{
	TLBI_GATHER(gather, &g->s2.space);
	struct space_locked l = space_lock(&g->s2.space);

	old_roots[nr_old_roots++ % 64] = g->s2.space.root.v;
	nr_old_roots = nr_old_roots > 64 ? 64 : nr_old_roots;
	stage2_destroy(&g->s2, l, &gather);
	space_unlock(l, &gather);
	gather_defer(&gather);
	s2_pool_drain(&g->pool);
	g->alive = false;
}

/* A guest's reset: another space, often with the same root frame and epoch, the same vCPU. */
static void reset(struct guest *g)
{
	struct tlbi_vcpu vcpu = g->vcpu;

	destroy(g);
	create(g);
	g->vcpu = vcpu;
}

static void step(void)
{
	struct guest *g = &guests[random() % GUESTS];
	unsigned pcpu = (unsigned)(random() % PCPUS);

	host_cpu = 0;
	if (!g->alive) {
		create(g);
		return;
	}
	switch (random() % 12) {
	case 0:
		destroy(g);
		break;
	case 5:
		reset(g);
		break;
	case 1:
		map_page(g, (uint64_t)(random() % 3) * GIB + (uint64_t)(random() % 4) * PAGE_SIZE);
		break;
	case 2:
		unmap_pages(g, 0, 2 * MIB);
		break;
	case 3:
		unmap_pages(g, GIB, GIB); /* tables die */
		break;
	case 4:
		tlbi_vcpu_paging_changed(&g->vcpu);
		break;
	default:
		enter(pcpu, g);
		leave(pcpu, g);
		break;
	}
}

static void run(enum hw_tags tags, uint32_t nr_tags, bool flush_by_tag, unsigned steps)
{
	struct mem_range r = {pa(GIB), 8 * MIB};

	host_caps.tags = tags;
	host_caps.nr_tags = nr_tags;
	host_caps.flush_by_tag = flush_by_tag;
	host_format = tags == HW_TAGS_ASID ? &stage2_npt : &stage2_ept;
	host_cpu = 0;
	memset(tlbs, 0, sizeof(tlbs));
	memset(guests, 0, sizeof(guests));
	tlbi_init();
	CHECK(frames_init(&r, 1) == 0);
	stale = stale_tables = 0;
	reused_roots = clean_entries = nr_old_roots = 0;
	host_on_tlbi = on_tlbi;
	for (unsigned i = 0; i < steps; i++)
		step();
	host_cpu = 0;
	for (unsigned i = 0; i < GUESTS; i++)
		if (guests[i].alive)
			destroy(&guests[i]);
	CHECK(frames_stat().free == frames_stat().total);
}

static void test_machine(const char *name, enum hw_tags tags, uint32_t nr_tags, bool flush_by_tag)
{
	struct tlbi_stat before = tlbi_stat(0), after;

	skip_flush = 0;
	run(tags, nr_tags, flush_by_tag, 20000);
	after = tlbi_stat(0);
	is_u64(stale, 0, name);
	ok(reused_roots > 100, "root frames came back %llu times (I2)",
	   (unsigned long long)reused_roots);
	ok(after.flush_all - before.flush_all > (nr_tags < 64 ? 100 : 0),
	   "tags ran out and everything was flushed %llu times (I8)",
	   (unsigned long long)(after.flush_all - before.flush_all));
	ok(clean_entries > 100, "and %llu entries flushed nothing",
	   (unsigned long long)clean_entries);
	skip_flush = 1;
	run(tags, nr_tags, flush_by_tag, 2000);
	ok(stale && stale_tables, "control without flushes: %u stale, %u of them name tables",
	   stale, stale_tables);
}

int main(void)
{
	srandom(11);
	host_format = &stage2_npt;
	for (unsigned i = 0; i < PCPUS; i++)
		CHECK(tlbi_pcpu_init(i) == 0);
	test_machine("SVM, 5 ASIDs, flush by ASID (I4)", HW_TAGS_ASID, 5, true);
	test_machine("SVM, 5 ASIDs, without (I4)", HW_TAGS_ASID, 5, false);
	test_machine("SVM, 2 ASIDs: one for all guests (I4)", HW_TAGS_ASID, 2, false);
	test_machine("VMX, 5 VPIDs (I4)", HW_TAGS_VPID, 5, true);
	return tap_done();
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the core's operations cost an entry: 1 GiB in leaves of each size, in each format. Tables
 * only (the leaves hold no references), then with frames that go through reclaim, then the commands
 * and kicks that each unmap policy needs for a GiB.
 */
#include "lib/check.h"
#include "lib/util.h"
#include "mm/frames.h"
#include "stage2/ops.h"
#include "tests/bench/bench.h"
#include "tlbi/agent.h"
#include "tlbi/broadcast.h"
#include "tlbi/tags.h"

#define MEMORY	  (512 * MIB)
#define GUEST	  GIB
#define RAM_PAGES 16384u /* 64 MiB with references */

static struct stage2 s2;
static struct s2_pool pool;
static struct tlbi_vcpu vcpu;
static uint64_t map[GUEST / PAGE_SIZE / 64];

static const char *const page_name[] = {"4K", "2M", "1G"};

static void setup(void)
{
	struct mem_range r = {pa(MIB), MEMORY};

	CHECK(frames_init(&r, 1) == 0);
	tlbi_init();
	pool = (struct s2_pool){0};
	CHECK(stage2_init(&s2, bench_format, NULL) == 0);
	CHECK(s2_pool_fill(&pool, 1200) == 0);
	tlbi_vcpu_init(&vcpu);
}

static void teardown(void)
{
	TLBI_GATHER(g, &s2.space);
	struct space_locked l = space_lock(&s2.space);

	stage2_destroy(&s2, l, &g);
	space_unlock(l, &g);
	gather_sync(&g);
	s2_pool_drain(&pool);
}

static void do_map(unsigned level)
{
	/* Misaligned by a smaller leaf, so that no larger one fits. */
	uint64_t pa_base = 64 * GIB + (level < 2 ? stage2_leaf_size(&s2, level) : 0);
	TLBI_GATHER(g, &s2.space);
	struct space_locked l = space_lock(&s2.space);

	CHECK(stage2_map(&s2, l, ipa(0), GUEST, pa(pa_base), S2_RWX | S2_NOREF, &pool, &g) == 0);
	space_unlock(l, &g);
	gather_sync(&g);
}

static void do_protect(s2_attr_t perm)
{
	TLBI_GATHER(g, &s2.space);
	struct space_locked l = space_lock(&s2.space);

	CHECK(stage2_protect(&s2, l, ipa(0), GUEST, perm, &pool, &g) == 0);
	space_unlock(l, &g);
	gather_sync(&g);
}

static void do_harvest(enum s2_harvest how)
{
	TLBI_GATHER(g, &s2.space);
	struct space_locked l = space_lock(&s2.space);

	CHECK(stage2_harvest(&s2, l, ipa(0), GUEST, how, map, &pool, &g) == 0);
	space_unlock(l, &g);
	gather_sync(&g);
}

static void do_unmap(uint64_t size, bool defer)
{
	TLBI_GATHER(g, &s2.space);
	struct space_locked l = space_lock(&s2.space);

	CHECK(stage2_unmap(&s2, l, ipa(0), size, &pool, &g) == 0);
	space_unlock(l, &g);
	if (defer)
		gather_defer(&g);
	else
		gather_sync(&g);
}

static void tables_only(unsigned level)
{
	const char *name = bench_format->name, *page = page_name[level];
	uint64_t entries;

	setup();
	entries = GUEST / stage2_leaf_size(&s2, level);
	bench_begin();
	do_map(level);
	bench_end(name, page, "map", entries);
	bench_begin();
	do_protect(S2_R | S2_X);
	bench_end(name, page, "protect", entries);
	do_protect(S2_RWX);
	bench_begin();
	do_harvest(S2_HARVEST_WRITABLE);
	bench_end(name, page, "harvest", entries);
	bench_begin();
	do_harvest(S2_HARVEST_WRITABLE);
	bench_end(name, page, "harvest-clean", entries);
	bench_begin();
	do_unmap(GUEST, false);
	bench_end(name, page, "unmap", entries);
	teardown();
}

/* Fault by fault, then away again: with frames, their references and reclaim. */
static void with_frames(void)
{
	static pa_t frame[RAM_PAGES];

	setup();
	for (unsigned i = 0; i < RAM_PAGES; i++)
		CHECK(frames_alloc(NULL, 0, &frame[i]) == 0);
	bench_begin();
	for (unsigned i = 0; i < RAM_PAGES; i++) {
		reader_enter(&s2.space);
		CHECK(stage2_install(&s2, ipa(i * PAGE_SIZE), 0, frame[i], S2_RWX, &pool) == 0);
		reader_exit();
	}
	bench_end(bench_format->name, "4K", "fault-install", RAM_PAGES);
	bench_begin();
	do_unmap(RAM_PAGES * PAGE_SIZE, false);
	bench_end(bench_format->name, "4K", "unmap-free", RAM_PAGES);
	teardown();
}

/* ---- a pCPU is in the guest meanwhile ---- */

static void leave(void)
{
	if (bench_kicks && agent_in_guest(1))
		tlbi_exit(1, &vcpu, true);
}

static void policy(const char *name, bool defer)
{
	struct tlbi_enter_cmd cmd;

	setup();
	do_map(0);
	tlbi_enter(1, &s2.space, &vcpu, &cmd);
	bench_on_relax = leave;
	bench_begin();
	do_unmap(GUEST, defer);
	bench_end(bench_format->name, "4K", name, GUEST / PAGE_SIZE);
	bench_on_relax = NULL;
	if (agent_in_guest(1))
		tlbi_exit(1, &vcpu, true);
	teardown();
}

/* An undisturbed entry and exit. */
static void entries(void)
{
	struct tlbi_enter_cmd cmd;

	setup();
	for (unsigned i = 0; i < 2; i++) {
		tlbi_enter(0, &s2.space, &vcpu, &cmd);
		tlbi_exit(0, &vcpu, true);
	}
	bench_begin();
	for (unsigned i = 0; i < 1000; i++) {
		tlbi_enter(0, &s2.space, &vcpu, &cmd);
		tlbi_exit(0, &vcpu, true);
	}
	bench_end(bench_format->name, "-", "re-entry", 1000);
	teardown();
}

void bench_core(void)
{
	static const struct {
		enum tlbi_policy policy;
		const char *name;
		bool range, fwb;
	} arm64[] = {
		{TLBI_POLICY_PAGE, "unmap-by-page", true, true},
		{TLBI_POLICY_RANGE, "unmap-by-range", true, true},
		{TLBI_POLICY_RANGE_NOFWB, "unmap-by-range-no-fwb", true, false},
		{TLBI_POLICY_RANGE_NOFWB, "unmap-no-range-ops", false, false},
	};

	CHECK(tlbi_pcpu_init(0) == 0 && tlbi_pcpu_init(1) == 0);
	for (unsigned level = 0; level <= 2; level++)
		tables_only(level);
	with_frames();
	entries();
	if (bench_caps.tags != HW_TAGS_VMID) {
		policy("unmap-sync", false);
		policy("unmap-defer", true);
		return;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(arm64); i++) {
		bench_caps.tlbi_range = arm64[i].range;
		bench_caps.fwb = arm64[i].fwb;
		tlbi_set_policy(arm64[i].policy);
		policy(arm64[i].name, false);
	}
}

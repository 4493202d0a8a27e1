/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Settling by broadcast (arm64), command by command: what each unmap policy asks the hardware for,
 * in which order, and that nothing is free before it is complete; the cacheability ledger with it.
 * hw_host's hooks write everything down as a line of text.
 */
// links: stage2/stage2.c stage2/vmsav8.c tlbi/tags.c tlbi/space.c tlbi/agent.c tlbi/gather.c
// links: tlbi/broadcast.c tlbi/vmid.c mm/frames.c mm/reclaim.c mm/ledger.c lib/log.c lib/string.c
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/check.h"
#include "lib/errno.h"
#include "mm/frames.h"
#include "mm/ledger.h"
#include "stage2/ops.h"
#include "tests/host/hw_host.h"
#include "tests/tap.h"
#include "tlbi/agent.h"
#include "tlbi/broadcast.h"
#include "tlbi/encode.h"
#include "tlbi/tags.h"
#include "tlbi/vmid.h"

static struct stage2 s2;
static struct tlbi_vcpu vcpu;
static struct s2_pool pool;

/* ---- what was asked for ---- */

static char text[1 << 16];
static size_t used;
static unsigned commands[HW_TLBI_NR_OPS];
static pa_t watched; /* a frame that must not be free while a command is owed */
static unsigned freed_early;
static uint64_t covered; /* bytes by IPA and by range */

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (used < sizeof(text) - 100)
		used += (size_t)vsnprintf(text + used, 100, fmt, ap);
	va_end(ap);
	if (watched.v && frames_refs(watched) == 0)
		freed_early++;
}

static void on_tlbi(const struct hw_tlbi_cmd *c)
{
	static const char *name[HW_TLBI_NR_OPS] = {
		[HW_TLBI_STAGE1] = "vmalle1is",
		[HW_TLBI_VMID] = "vmalls12e1is",
		[HW_TLBI_EVERYTHING] = "alle1is",
		[HW_TLBI_STAGE1_LOCAL] = "vmalle1",
	};

	CHECK(c->op == HW_TLBI_EVERYTHING || c->tag == vmid_of(&s2.space));
	commands[c->op]++;
	if (c->op == HW_TLBI_IPA || c->op == HW_TLBI_IPA_LOCAL) {
		say("%s %llx", c->op == HW_TLBI_IPA ? "ipas2e1is" : "ipas2e1",
		    (unsigned long long)c->ipa.v);
		covered += c->level == HW_ANY_LEVEL ? PAGE_SIZE : s2_level_size(c->level);
	} else if (c->op == HW_TLBI_IPA_RANGE) {
		uint64_t pages = (c->num + 1ULL) << (5 * c->scale + 1);

		say("ripas2e1is %llx+%llx", (unsigned long long)c->ipa.v,
		    (unsigned long long)(pages * PAGE_SIZE));
		covered += pages * PAGE_SIZE;
		CHECK(c->level == HW_ANY_LEVEL || c->ipa.v % s2_level_size(c->level) == 0);
	} else {
		say("%s", name[c->op]);
	}
	if (c->op >= HW_TLBI_IPA && c->op <= HW_TLBI_IPA_RANGE && c->level != HW_ANY_LEVEL)
		say(" L%u", c->level);
	say("; ");
}

static void on_barrier(enum hw_barrier kind)
{
	static const char *name[] = {"ishst", "nsh", "ish", "nsh", "isb", "ish"};

	say("%s; ", name[kind]);
}

static void on_cache(enum hw_cache_op op, pa_t at, uint64_t size)
{
	(void)at;
	say("%s %llx; ", op == HW_CACHE_INSTRUCTIONS ? "ic" : "civac", (unsigned long long)size);
}

static void quiet(void)
{
	used = 0;
	text[0] = 0;
	covered = 0;
	memset(commands, 0, sizeof(commands));
}

static void expect(const char *what, const char *want)
{
	ok(strcmp(text, want) == 0, "%s", what);
	if (strcmp(text, want) != 0)
		printf("#  got: %s\n# want: %s\n", text, want);
	quiet();
}

/* ---- the space ---- */

static void setup(enum tlbi_policy policy, bool range, bool fwb)
{
	struct mem_range r = {pa(GIB), 4 * GIB};
	struct tlbi_enter_cmd cmd;
	static bool again;

	host_caps = (struct hw_mmu_caps){
		.tags = HW_TAGS_VMID,
		.nr_tags = 256,
		.pa_bits = 48,
		.ipa_bits = 40,
		.max_leaf_level = 2,
		.tlbi_range = range,
		.tlbi_ttl = true,
		.fwb = fwb,
		.icache_coherent = true,
	};
	host_cpu = 0;
	watched = pa(0);
	host_on_tlbi = NULL;
	host_on_barrier = NULL;
	host_on_cache = NULL;
	tlbi_init();
	tlbi_set_policy(policy);
	frames_init(&r, 1);
	for (unsigned i = 0; i < 2; i++) {
		if (again)
			vmid_pcpu_init(i);
		else
			CHECK(tlbi_pcpu_init(i) == 0);
	}
	again = true;
	pool = (struct s2_pool){0};
	CHECK(stage2_init(&s2, &stage2_vmsav8, NULL) == 0);
	s2_pool_fill(&pool, 30);
	tlbi_vcpu_init(&vcpu);
	tlbi_enter(0, &s2.space, &vcpu, &cmd);
	tlbi_exit(0, &vcpu, true);
	host_on_tlbi = on_tlbi;
	host_on_barrier = on_barrier;
	host_on_cache = on_cache;
	freed_early = 0;
	quiet();
}

static pa_t take(unsigned order)
{
	pa_t pa;

	CHECK(frames_alloc(NULL, order, &pa) == 0);
	ledger_prepare(pa, order);
	return pa;
}

static void install(uint64_t at, unsigned level, pa_t to)
{
	int err;

	reader_enter(&s2.space);
	err = stage2_install(&s2, ipa(at), level, to, S2_RWX, &pool);
	reader_exit();
	CHECK(err == 0);
}

static void fill(uint64_t at, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		install(at + i * PAGE_SIZE, 0, take(0));
	quiet();
}

enum how { DEFER, SYNC };

static void unmap(uint64_t at, uint64_t size, enum how how)
{
	TLBI_GATHER(g, &s2.space);
	struct space_locked l = space_lock(&s2.space);

	CHECK(stage2_unmap(&s2, l, ipa(at), size, &pool, &g) == 0);
	space_unlock(l, &g);
	if (how == SYNC)
		gather_sync(&g);
	else
		gather_defer(&g);
}

static void enter(void)
{
	struct tlbi_enter_cmd cmd;

	tlbi_enter(0, &s2.space, &vcpu, &cmd);
	tlbi_exit(0, &vcpu, true);
}

/* ---- policies ---- */

#define FINISH "ish; vmalle1is; ish; isb; "

static void test_page(void)
{
	pa_t a;

	setup(TLBI_POLICY_PAGE, true, true);
	fill(0x200000, 3);
	a = stage2_lookup(&s2, ipa(0x200000)).pa;
	watched = a;
	unmap(0x200000, 2 * PAGE_SIZE, SYNC);
	expect("page: each leaf cleared, published, forgotten, stage 1 after stage 2",
	       "ishst; ipas2e1is 200000 L0; " FINISH "ishst; ipas2e1is 201000 L0; " FINISH
	       "ishst; ");
	is_u64(freed_early, 0, "the frame is not free before all of it is done");
	is_u64(frames_refs(a), 0, "then it is");
	watched = pa(0);
	unmap(0x202000, PAGE_SIZE, DEFER);
	expect("page: deferring changes nothing", "ishst; ipas2e1is 202000 L0; " FINISH "ishst; ");
	is_u64(reclaim_pending(), 0, "nothing waits");
	enter();
	expect("and an entry owes nothing", "nsh; ");
	setup(TLBI_POLICY_PAGE, true, false);
	fill(0x200000, 1);
	unmap(0x200000, PAGE_SIZE, SYNC);
	expect("page without FWB: cache maintenance when stage 1 is gone",
	       "ishst; ipas2e1is 200000 L0; " FINISH "civac 1000; ishst; ");
	setup(TLBI_POLICY_RANGE, true, false);
	fill(0x200000, 1);
	unmap(0x200000, PAGE_SIZE, SYNC);
	expect("range without FWB: as page",
	       "ishst; ipas2e1is 200000 L0; " FINISH "civac 1000; ishst; ");
}

static void test_range(void)
{
	pa_t a;

	setup(TLBI_POLICY_RANGE, true, true);
	fill(0x201000, 70);
	a = stage2_lookup(&s2, ipa(0x201000)).pa;
	watched = a;
	unmap(0x201000, 69 * PAGE_SIZE, SYNC);
	expect("range: one walk, then 64, 4 and 1 pages between the same barriers",
	       "ishst; ripas2e1is 201000+40000 L0; ripas2e1is 241000+4000 L0; ipas2e1is 245000 "
	       "L0; " FINISH);
	is_u64(freed_early, 0, "nothing is free while commands are given");
	is_u64(frames_refs(a), 0, "then it is");
	watched = pa(0);
	install(2 * GIB, 1, take(9));
	install(2 * GIB + 2 * MIB, 1, take(9));
	install(2 * GIB + 4 * MIB, 1, take(9));
	quiet();
	unmap(2 * GIB, 6 * MIB, SYNC);
	expect("2M leaves: one range, their level for a hint",
	       "ishst; ripas2e1is 80000000+600000 L1; " FINISH);
	install(2 * GIB, 1, take(9));
	fill(2 * GIB - PAGE_SIZE, 1);
	unmap(2 * GIB - PAGE_SIZE, 2 * MIB + PAGE_SIZE, SYNC);
	expect("mixed sizes: no hint",
	       "ishst; ripas2e1is 7ffff000+200000; ipas2e1is 801ff000; " FINISH);
}

/* Tables are flushed when they are unlinked, without a hint; leaves below go with the rest. */
static void test_tables(void)
{
	setup(TLBI_POLICY_RANGE, true, true);
	fill(0x200000, 2);
	unmap(0x200000, 2 * MIB, SYNC);
	expect("a table",
	       "ishst; ipas2e1is 200000; ish; ishst; ripas2e1is 200000+2000 L0; " FINISH);
	fill(0x200000, 1);
	unmap(0, GIB, SYNC);
	expect("a table in a table: the lower one first",
	       "ishst; ipas2e1is 200000; ish; ishst; ipas2e1is 0; ish; ishst; ipas2e1is 200000 "
	       "L0; " FINISH);
	unmap(0, GIB, SYNC);
	expect("nothing there: nothing to do", "");
}

/* 2^21 pages are one operation, and a range of any size is covered exactly. */
static void test_corner(void)
{
	uint64_t sizes[] = {8 * GIB, 8 * GIB - PAGE_SIZE, 8 * GIB + PAGE_SIZE, 24 * GIB};

	setup(TLBI_POLICY_AUTO, true, true);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint64_t at = 64 * GIB - (i & 1) * PAGE_SIZE;

		quiet();
		spin_lock(&s2.space.lock);
		broadcast_issue(&s2.space, at, at + sizes[i], 1);
		spin_unlock(&s2.space.lock);
		broadcast_flush(&s2.space, space_epoch(&s2.space));
		ok(covered == sizes[i] && commands[HW_TLBI_VMID] == 0 &&
			   commands[HW_TLBI_STAGE1] == 1,
		   "%llx bytes: covered exactly, in %u operations", (unsigned long long)sizes[i],
		   commands[HW_TLBI_IPA_RANGE] + commands[HW_TLBI_IPA]);
	}
	quiet();
	spin_lock(&s2.space.lock);
	broadcast_issue(&s2.space, 0, BIT(40), 1);
	spin_unlock(&s2.space.lock);
	broadcast_flush(&s2.space, space_epoch(&s2.space));
	expect("too many operations: the VMID, once", "vmalls12e1is; ish; isb; ");
}

static void test_counters(void)
{
	struct tlbi_count before, after;

	setup(TLBI_POLICY_PAGE, true, true);
	fill(0x200000, 3);
	before = tlbi_count();
	unmap(0x200000, 3 * PAGE_SIZE, SYNC);
	after = tlbi_count();
	ok(after.ipa - before.ipa == 3 && after.stage1 - before.stage1 == 3 &&
		   after.isb - before.isb == 3 && after.dsb - before.dsb == 10,
	   "page by page: 3 addresses, 3 times stage 1, 10 DSB, 3 ISB");
	setup(TLBI_POLICY_AUTO, true, true);
	fill(0x200000, 64);
	before = tlbi_count();
	unmap(0x200000, 64 * PAGE_SIZE, SYNC);
	tlbi_relaxed(&s2.space, ipa(0));
	after = tlbi_count();
	ok(after.range - before.range == 1 && after.ipa == before.ipa &&
		   after.dsb - before.dsb == 5 && after.stage1 - before.stage1 == 1 &&
		   after.local - before.local == 2 && after.vmid == before.vmid &&
		   after.everything == before.everything,
	   "by range: one, and 3 DSB; relaxing is local");
}

static void test_no_range(void)
{
	setup(TLBI_POLICY_AUTO, false, true);
	fill(0x200000, TLBI_MAX_OPS + 1);
	unmap(0x200000, TLBI_MAX_OPS * PAGE_SIZE, SYNC);
	ok(commands[HW_TLBI_IPA] == TLBI_MAX_OPS && commands[HW_TLBI_STAGE1] == 1 &&
		   covered == TLBI_MAX_OPS * PAGE_SIZE && !commands[HW_TLBI_VMID],
	   "without range operations: page by page up to the threshold");
	quiet();
	fill(0x200000, TLBI_MAX_OPS);
	unmap(0x200000, (TLBI_MAX_OPS + 1) * PAGE_SIZE, SYNC);
	expect("then the whole VMID", "ishst; vmalls12e1is; ish; isb; ");
	install(2 * GIB, 1, take(9));
	install(2 * GIB + 2 * MIB, 1, take(9));
	quiet();
	unmap(2 * GIB, 4 * MIB, SYNC);
	expect("one operation for each large leaf",
	       "ishst; ipas2e1is 80000000 L1; ipas2e1is 80200000 L1; " FINISH);
	host_caps.tlbi_ttl = false;
	fill(0x200000, 1);
	unmap(0x200000, PAGE_SIZE, SYNC);
	expect("no hint without FEAT_TTL", "ishst; ipas2e1is 200000; " FINISH);
}

/* Deferral collects; whoever needs it first settles all of it at once. */
static void test_deferral(void)
{
	uint64_t epoch;

	setup(TLBI_POLICY_AUTO, true, true);
	fill(0x200000, 40);
	for (unsigned i = 0; i < 10; i++)
		unmap(0x200000 + i * PAGE_SIZE, PAGE_SIZE, DEFER);
	expect("ten batches deferred: entries are published, no command",
	       "ishst; ishst; ishst; ishst; ishst; ishst; ishst; ishst; ishst; ishst; ");
	is_u64(reclaim_pending(), 10, "ten frames wait");
	is_u64(reclaim_poll(100), 0, "whoever polls");
	enter();
	expect("an entry settles them with one round",
	       "ripas2e1is 200000+a000 L0; " FINISH "nsh; ");
	is_u64(reclaim_poll(100), 10, "and the frames are free");
	enter();
	expect("the next entry owes nothing", "nsh; ");
	unmap(0x20a000, PAGE_SIZE, DEFER);
	quiet();
	is_u64(reclaim_force(), 1, "pressure settles too");
	expect("by command, without a kick", "ipas2e1is 20a000 L0; " FINISH);
	unmap(0x20b000, PAGE_SIZE, DEFER);
	unmap(0x20d000, PAGE_SIZE, DEFER);
	unmap(0x210000, PAGE_SIZE, SYNC);
	expect("a sync takes along what others deferred",
	       "ishst; ishst; ishst; ipas2e1is 20b000 L0; ipas2e1is 20d000 L0; ipas2e1is 210000 "
	       "L0; " FINISH);
	for (unsigned i = 0; i < 6; i++)
		unmap(0x212000 + 2 * i * PAGE_SIZE, PAGE_SIZE, DEFER);
	epoch = space_epoch(&s2.space);
	quiet();
	space_force(&s2.space, epoch);
	ok(commands[HW_TLBI_IPA] + commands[HW_TLBI_IPA_RANGE] <= 8 && covered >= 6 * PAGE_SIZE &&
		   !space_behind(&s2.space, epoch),
	   "more stretches than are kept apart: the last grows (%llx bytes)",
	   (unsigned long long)covered);
	quiet();
	space_force(&s2.space, epoch);
	expect("settled is settled", "");
}

/* An install on an address that is not settled gives the commands itself: hardware waits for none.
 */
static void test_refill(void)
{
	int err;

	setup(TLBI_POLICY_AUTO, true, true);
	fill(0x200000, 2);
	unmap(0x200000, PAGE_SIZE, DEFER);
	quiet();
	reader_enter(&s2.space);
	err = stage2_install(&s2, ipa(0x200000), 0, take(0), S2_RWX, &pool);
	is_u64((uint64_t)-err, EAGAIN, "not settled: the install has to come again");
	expect("but has settled it", "ipas2e1is 200000 L0; " FINISH);
	err = stage2_install(&s2, ipa(0x200000), 0, take(0), S2_RWX, &pool);
	reader_exit();
	is_u64((uint64_t)err, 0, "and succeeds then");
}

static void change(uint64_t at, uint64_t size, s2_attr_t perm, enum how how)
{
	TLBI_GATHER(g, &s2.space);
	struct space_locked l = space_lock(&s2.space);

	CHECK(stage2_protect(&s2, l, ipa(at), size, perm, &pool, &g) == 0);
	space_unlock(l, &g);
	if (how == SYNC)
		gather_sync(&g);
	else
		gather_defer(&g);
}

static void test_bbm(void)
{
	pa_t b;

	setup(TLBI_POLICY_AUTO, true, true);
	install(0x200000, 1, take(9));
	quiet();
	change(0x200000, PAGE_SIZE, S2_R, SYNC);
	expect("a block is split by break, sync, make, before its page is protected",
	       "ishst; ipas2e1is 200000 L1; " FINISH "ishst; ishst; ipas2e1is 200000 L0; " FINISH);
	b = take(0);
	quiet();
	watched = stage2_lookup(&s2, ipa(0x200000)).pa;
	{
		TLBI_GATHER(g, &s2.space);
		struct space_locked l = space_lock(&s2.space);

		CHECK(stage2_replace(&s2, l, ipa(0x200000), 0, b, S2_RWX, &g) == 0);
		space_unlock(l, &g);
	}
	expect("another frame: break, sync, make", "ishst; ipas2e1is 200000 L0; " FINISH "ishst; ");
	is_u64(freed_early, 1, "the old frame is free by the time the new entry is published");
	watched = pa(0);
	change(0x201000, PAGE_SIZE, S2_R, DEFER);
	expect("fewer permissions are never deferred", "ishst; ipas2e1is 201000 L0; " FINISH);
	change(0x201000, PAGE_SIZE, S2_RWX, DEFER);
	expect("more permissions owe no broadcast", "");
	tlbi_relaxed(&s2.space, ipa(0x201008));
	expect("but who faulted forgets his own", "ipas2e1 201000; nsh; vmalle1; nsh; isb; ");
}

/* A reader on another pCPU: commands do not make it pass. */
static unsigned turns;

static void end_reader(void)
{
	if (++turns == 3) {
		host_cpu = 1;
		reader_exit();
		host_cpu = 0;
	}
	CHECK(turns < 100);
}

static void test_readers(void)
{
	pa_t a;

	setup(TLBI_POLICY_AUTO, true, true);
	fill(0x200000, 1);
	a = stage2_lookup(&s2, ipa(0x200000)).pa;
	host_cpu = 1;
	reader_enter(&s2.space);
	host_cpu = 0;
	unmap(0x200000, PAGE_SIZE, DEFER);
	space_force(&s2.space, space_epoch(&s2.space));
	is_u64(reclaim_poll(100), 0, "flushed, but a reader may still look at the frame");
	host_on_relax = end_reader;
	turns = 0;
	is_u64(reclaim_force(), 1, "forcing waits for it");
	ok(turns >= 3 && frames_refs(a) == 0, "then the frame is free");
	host_on_relax = NULL;
}

/* A space that never ran: no hardware has anything of it. */
static void test_never_ran(void)
{
	struct stage2 other;
	pa_t a;

	setup(TLBI_POLICY_AUTO, true, true);
	CHECK(stage2_init(&other, &stage2_vmsav8, NULL) == 0);
	a = take(0);
	reader_enter(&other.space);
	CHECK(stage2_install(&other, ipa(0), 0, a, S2_RWX, &pool) == 0);
	reader_exit();
	quiet();
	for (unsigned i = 0; i < 2; i++) {
		TLBI_GATHER(g, &other.space);
		struct space_locked l = space_lock(&other.space);

		if (i == 0)
			CHECK(stage2_unmap(&other, l, ipa(0), PAGE_SIZE, &pool, &g) == 0);
		else
			stage2_destroy(&other, l, &g);
		space_unlock(l, &g);
		gather_sync(&g);
	}
	ok(!commands[HW_TLBI_IPA] && !commands[HW_TLBI_STAGE1],
	   "a space that never ran: no command");
	is_u64(frames_refs(a), 0, "its frames are free at once");
}

static void test_destroy(void)
{
	uint64_t total;

	setup(TLBI_POLICY_AUTO, true, true);
	total = frames_stat().free + pool.count + stage2_root_frames(&stage2_vmsav8);
	fill(0x200000, 600);
	{
		TLBI_GATHER(g, &s2.space);
		struct space_locked l = space_lock(&s2.space);

		stage2_destroy(&s2, l, &g);
		space_unlock(l, &g);
		gather_defer(&g);
	}
	expect("a dead space: no command at all", "ishst; ");
	ok(reclaim_pending() > 600, "its frames wait, for this pCPU has its root loaded");
	tlbi_idle();
	reclaim_poll(UINT64_MAX);
	is_u64(reclaim_pending(), 0, "and are free when it has not");
	s2_pool_drain(&pool);
	is_u64(frames_stat().free, total, "all of them");
}

/* ---- the ledger ---- */

static bool aborts(void (*fn)(void))
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		CHECK(freopen("/dev/null", "w", stderr));
		fn();
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void map_prepared(void)
{
	install(0, 0, take(0));
}

static void map_unprepared(void)
{
	pa_t a;

	CHECK(frames_alloc(NULL, 0, &a) == 0);
	install(0, 0, a);
}

static void map_written(void)
{
	pa_t a = take(0);

	ledger_wrote(a, 8);
	install(0, 0, a);
}

static void map_recycled(void)
{
	pa_t a = take(0), b;

	frames_put(a, 0);
	CHECK(frames_alloc(NULL, 0, &b) == 0 && a.v == b.v);
	install(0, 0, b);
}

static void test_ledger(void)
{
	pa_t a;

	setup(TLBI_POLICY_AUTO, true, false);
	ok(!aborts(map_prepared), "a frame that was cleaned may be mapped (control)");
	ok(aborts(map_unprepared), "one that was not stops the machine");
	ok(aborts(map_written), "nor one that we wrote since");
	ok(aborts(map_recycled), "nor one that came back to the allocator since");
	quiet();
	a = take(0);
	expect("cleaned before its first map", "civac 1000; ");
	install(0x200000, 0, a);
	ok(ledger_maybe_nc(a) && !ledger_clean(a), "mapped: maybe non-cacheable");
	quiet();
	ledger_wrote(pa(a.v + 16), 8);
	expect("our write to a mapped frame is cleaned at once", "civac 8; ");
	ledger_read(pa(a.v + 64), 100);
	expect("and our read finds what the guest stored past the caches", "civac 64; ");
	frames_get(a, 0);
	unmap(0x200000, PAGE_SIZE, SYNC);
	expect("unmapped without cache maintenance, by range without FWB",
	       "ishst; ipas2e1is 200000 L0; " FINISH);
	ledger_keep(a, 0);
	expect("kept: cleaned once, before the first read", "civac 1000; ");
	ledger_keep(a, 0);
	ledger_read(a, PAGE_SIZE);
	expect("and not again", "");
	install(0x200000, 0, a); /* with our second reference */
	expect("it may be mapped as it is", "ishst; ");
	unmap(0x200000, PAGE_SIZE, SYNC);
	is_u64(frames_refs(a), 0, "discarded");
	is_u64(ledger_stat().bytes, 2 * PAGE_SIZE + 8 + 100, "bytes are counted");
	setup(TLBI_POLICY_AUTO, true, true);
	a = take(0);
	ledger_wrote(a, PAGE_SIZE);
	ledger_read(a, PAGE_SIZE);
	install(0x200000, 0, a);
	unmap(0x200000, PAGE_SIZE, SYNC);
	is_u64(ledger_stat().ops, 0, "with FWB no cache maintenance at all");
	host_caps.icache_coherent = false;
	ledger_init(&host_caps);
	quiet();
	take(9);
	expect("but instruction caches, where they are not coherent", "ic 200000; ");
	is_u64(ledger_stat().exec_bytes, 2 * MIB, "counted apart");
	ledger_init(&host_caps);
	is_u64(ledger_stat().exec_bytes, 0, "from the start on");
}

/* AF clear: nobody was there, so caches and memory are as before the map. */
static void test_unused(void)
{
	pa_t a, b;

	setup(TLBI_POLICY_AUTO, true, false);
	host_caps.accessed_dirty = true;
	a = take(9);
	b = take(0);
	frames_get(a, 9);
	frames_get(b, 0);
	install(0x200000, 1, a);
	install(0x400000, 0, b);
	reader_enter(&s2.space);
	CHECK(stage2_relax(&s2, ipa(0x400000), S2_AGED) == 0); /* as hardware would */
	reader_exit();
	frames_put(a, 9); /* the map's alone */
	watched = pa(0);
	unmap(0x200000, 4 * MIB, DEFER);
	ok(ledger_clean(a) && ledger_clean(pa(a.v + 511 * PAGE_SIZE)),
	   "never accessed: still clean");
	is_u64(ledger_stat().spared, 2 * MIB, "spared, and counted");
	ok(ledger_maybe_nc(b), "accessed: not known until it is kept");
	space_force(&s2.space, space_epoch(&s2.space));
	reclaim_poll(UINT64_MAX);
	ok(frames_refs(a) == 0 && !ledger_clean(a), "free: nothing is known of it");
	is_u64(frames_refs(b), 1, "kept");
	install(0x200000, 0, b);
	frames_get(b, 0);
	install(0x600000, 0, b);
	unmap(0x200000, PAGE_SIZE, SYNC);
	ok(ledger_maybe_nc(b), "mapped elsewhere: unused here says nothing");
	ledger_init(&host_caps);
	is_u64(ledger_stat().spared, 0, "a new start counts from nothing");
}

int main(void)
{
	test_page();
	test_range();
	test_tables();
	test_corner();
	test_counters();
	test_no_range();
	test_deferral();
	test_refill();
	test_bbm();
	test_readers();
	test_never_ran();
	test_destroy();
	test_ledger();
	test_unused();
	return tap_done();
}

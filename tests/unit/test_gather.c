/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The gather's life, and what it protects: that nothing is freed or filled again while an agent may
 * still use what was there. Agents are simulated pCPUs in guest mode or in a reader section.
 */
// links: mm/ledger.c tlbi/broadcast.c tlbi/vmid.c
// links: tlbi/tags.c tlbi/space.c tlbi/agent.c tlbi/gather.c mm/frames.c mm/reclaim.c
// links: stage2/stage2.c stage2/npt.c lib/log.c lib/string.c
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/check.h"
#include "lib/errno.h"
#include "mm/frames.h"
#include "stage2/ops.h"
#include "tests/host/hw_host.h"
#include "tests/tap.h"
#include "tlbi/agent.h"
#include "tlbi/gather.h"
#include "tlbi/tags.h"

static struct stage2 s2;
static struct tlbi_vcpu vcpu;
static struct frames_reserve promise;
static struct s2_pool pool;

static void setup(void)
{
	struct mem_range r = {pa(MIB), 64 * MIB};

	host_cpu = 0;
	host_on_relax = NULL;
	memset(host_kicks, 0, sizeof(host_kicks));
	tlbi_init();
	frames_init(&r, 1);
	promise = (struct frames_reserve){0};
	pool = (struct s2_pool){0};
	CHECK(stage2_init(&s2, &stage2_npt, NULL) == 0);
	tlbi_vcpu_init(&vcpu);
	s2_pool_fill(&pool, 10);
}

static pa_t take(void)
{
	pa_t pa;

	CHECK(frames_alloc(NULL, 0, &pa) == 0);
	return pa;
}

static int install(uint64_t at, pa_t pa)
{
	int err;

	reader_enter(&s2.space);
	err = stage2_install(&s2, ipa(at), 0, pa, S2_RWX, &pool);
	reader_exit();
	return err;
}

static void enter(unsigned pcpu)
{
	struct tlbi_enter_cmd cmd;
	unsigned self = host_cpu;

	host_cpu = pcpu;
	tlbi_enter(pcpu, &s2.space, &vcpu, &cmd);
	host_cpu = self;
}

static void leave(unsigned pcpu)
{
	unsigned self = host_cpu;

	host_cpu = pcpu;
	tlbi_exit(pcpu, &vcpu, true);
	host_cpu = self;
}

static void unmap(uint64_t at, uint64_t size, bool sync)
{
	TLBI_GATHER(g, &s2.space);
	struct space_locked l = space_lock(&s2.space);

	CHECK(stage2_unmap(&s2, l, ipa(at), size, &pool, &g) == 0);
	space_unlock(l, &g);
	if (sync)
		gather_sync(&g);
	else
		gather_defer(&g);
}

/* What spinning pCPUs wait for: pCPU 1 obeys its kick. */
static unsigned turns;

static void leave_when_kicked(void)
{
	turns++;
	CHECK(turns < 1000);
	if (host_kicks[1] && agent_in_guest(1))
		leave(1);
}

static void end_reader(void)
{
	unsigned self = host_cpu;

	if (++turns == 3) {
		host_cpu = 1;
		reader_exit();
		host_cpu = self;
	}
	CHECK(turns < 1000);
}

/* Runs fn in a child: true when it died of abort(), which is what panic does. */
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

static void forget_owed(void)
{
	TLBI_GATHER(g, &s2.space);
	struct space_locked l = space_lock(&s2.space);

	gather_leaf(&g, ipa(0), PAGE_SIZE, 0, GATHER_ABSENT);
	(void)l;
}

static void forget_issued(void)
{
	TLBI_GATHER(g, &s2.space);
	struct space_locked l = space_lock(&s2.space);

	gather_leaf(&g, ipa(0), PAGE_SIZE, 0, GATHER_ABSENT);
	space_unlock(l, &g);
}

static void reduce_unlocked(void)
{
	TLBI_GATHER(g, &s2.space);

	gather_leaf(&g, ipa(0), PAGE_SIZE, 0, GATHER_ABSENT);
	gather_sync(&g);
}

static void lock_in_reader(void)
{
	TLBI_GATHER(g, &s2.space);

	reader_enter(&s2.space);
	space_unlock(space_lock(&s2.space), &g);
}

static void wait_in_reader(void)
{
	reader_enter(&s2.space);
	agents_wait(s2.space.id, UINT64_MAX);
}

static void read_twice(void)
{
	reader_enter(&s2.space);
	reader_enter(&s2.space);
}

static void harmless(void)
{
	TLBI_GATHER(g, &s2.space);
	struct space_locked l = space_lock(&s2.space);

	space_unlock(l, &g);
}

static void test_discipline(void)
{
	setup();
	ok(!aborts(harmless), "a gather that owes nothing may be dropped (control)");
	ok(aborts(forget_owed), "one that owes stops the machine (I10)");
	ok(aborts(forget_issued), "one that was issued but not settled as well (I10)");
	ok(aborts(reduce_unlocked), "nothing is reduced without the lock");
	ok(aborts(lock_in_reader), "no lock in a reader section");
	ok(aborts(wait_in_reader), "no waiting in a reader section");
	ok(aborts(read_twice), "reader sections do not nest");
}

/* A long walk: two batches, the lock given up in between, settled once. */
static void test_goes_on(void)
{
	pa_t a, b;

	setup();
	a = take();
	b = take();
	CHECK(install(0, a) == 0 && install(PAGE_SIZE, b) == 0);
	enter(1);
	{
		TLBI_GATHER(g, &s2.space);
		struct space_locked l = space_lock(&s2.space);
		uint64_t epoch;

		stage2_unmap(&s2, l, ipa(0), PAGE_SIZE, &pool, &g);
		space_unlock(l, &g);
		epoch = g.epoch;
		l = space_lock(&s2.space);
		stage2_unmap(&s2, l, ipa(PAGE_SIZE), PAGE_SIZE, &pool, &g);
		space_unlock(l, &g);
		is_u64(g.epoch, epoch + 1, "an issued gather goes on with the next epoch");
		ok(g.dead.pages == 2 && frames_refs(a) == 1 && frames_refs(b) == 1,
		   "and holds what died before (I1)");
		leave(1);
		enter(1);
		gather_sync(&g);
		ok(frames_refs(a) == 0 && frames_refs(b) == 0, "one settlement for both");
	}
	leave(1);
}

static unsigned kicked;

static void count_and_leave(void)
{
	kicked++;
	leave_when_kicked();
}

/*
 * Somebody else unmapped and did not settle. Who comes next finds nothing to do, and still may not
 * say that nobody uses the page.
 */
static void test_adopts(void)
{
	TLBI_GATHER(first, &s2.space);
	struct space_locked l;

	setup();
	CHECK(install(0, take()) == 0);
	enter(1);
	l = space_lock(&s2.space);
	CHECK(stage2_unmap(&s2, l, ipa(0), PAGE_SIZE, &pool, &first) == 0);
	space_unlock(l, &first);
	kicked = turns = 0;
	host_on_relax = count_and_leave;
	unmap(0, PAGE_SIZE, true);
	ok(kicked && !agent_in_guest(1), "an empty range is not a settled one (I1)");
	kicked = 0;
	enter(1);
	unmap(0, PAGE_SIZE, true);
	ok(!kicked && agent_in_guest(1), "a settled one costs nobody a kick");
	leave(1);
	gather_sync(&first);
	host_on_relax = NULL;
}

static void test_states(void)
{
	setup();

	TLBI_GATHER(g, &s2.space);
	uint64_t epoch = space_epoch(&s2.space);
	struct space_locked l = space_lock(&s2.space);

	gather_sync(&g);
	ok(g.state == GATHER_CLEAN && space_epoch(&s2.space) == epoch, "clean: nothing to settle");
	gather_leaf(&g, ipa(5 * PAGE_SIZE), PAGE_SIZE, 0, GATHER_ABSENT);
	gather_leaf(&g, ipa(4 * MIB), 2 * MIB, 1, GATHER_ABSENT);
	gather_leaf(&g, ipa(PAGE_SIZE), PAGE_SIZE, 0, GATHER_ABSENT);
	ok(g.state == GATHER_OWED && g.start == PAGE_SIZE && g.end == 6 * MIB && g.levels == 3 &&
		   !g.must_sync,
	   "owed: the hull and the levels");
	is_u64(space_epoch(&s2.space), epoch, "the epoch has not moved yet");
	space_unlock(l, &g);
	ok(g.state == GATHER_ISSUED, "issued with the lock");
	is_u64(space_epoch(&s2.space), epoch + 1, "the epoch moved, once for the batch");
	gather_issue(&g);
	is_u64(space_epoch(&s2.space), epoch + 1, "and not again");
	gather_defer(&g);
	ok(g.state == GATHER_COMPLETE, "complete");
	l = space_lock(&s2.space);
	gather_leaf(&g, ipa(0), PAGE_SIZE, 0, GATHER_CHANGED);
	ok(g.state == GATHER_OWED && g.must_sync && g.start == 0 && g.end == PAGE_SIZE,
	   "a settled gather can begin another batch, from nothing");
	gather_sync(&g);
	is_u64(space_epoch(&s2.space), epoch + 2, "sync under the lock issues first");
	space_unlock(l, &g);
}

static void test_guest_holds_frames(void)
{
	uint64_t before;
	pa_t a, b;

	setup();
	before = frames_stat().free;
	a = take();
	b = take();
	install(0, a);
	install(PAGE_SIZE, b);
	enter(1);
	unmap(0, PAGE_SIZE, false);
	is_u64(frames_refs(a), 1, "deferred: the frame stays while a guest may reach it (I1)");
	is_u64(host_kicks[1], 0, "and nobody is kicked");
	is_u64(reclaim_poll(100), 0, "reclaim finds it in use");
	leave(1);
	enter(1);
	is_u64(reclaim_poll(100), 1, "the guest came in again, flushed: reclaim frees it");
	is_u64(frames_refs(a), 0, "free");
	host_on_relax = leave_when_kicked;
	turns = 0;
	unmap(PAGE_SIZE, PAGE_SIZE, true);
	ok(host_kicks[1] == 1 && turns > 0 && !agent_in_guest(1), "sync kicks and waits");
	is_u64(frames_refs(b), 0, "and frees at once");
	unmap(0, stage2_limit(&s2), true);
	s2_pool_fill(&pool, 10);
	is_u64(frames_stat().free, before, "no frame leaks");
}

static void test_reader_holds_frames(void)
{
	pa_t a;

	setup();
	a = take();
	install(0, a);
	host_cpu = 1;
	reader_enter(&s2.space);
	host_cpu = 0;
	unmap(0, stage2_limit(&s2), false);
	is_u64(frames_refs(a), 1, "a reader section on another pCPU holds frames (I6)");
	is_u64(reclaim_pending(), 4, "and the three tables above (I2)");
	host_on_relax = end_reader;
	turns = 0;
	is_u64(reclaim_force(), 4, "forcing waits for the reader");
	ok(turns >= 3 && host_kicks[1] == 0, "which a kick would not hasten");
	is_u64(frames_refs(a), 0, "then all is free");
}

/* An address is not given another frame while its last one may be cached (I3, I12). */
static void test_refill(void)
{
	struct s2_walk w;
	pa_t a, b;

	setup();
	a = take();
	b = take();
	install(0, a);
	install(PAGE_SIZE, take());
	enter(1);
	unmap(0, PAGE_SIZE, false);
	w = stage2_lookup(&s2, ipa(0));
	ok(w.kind == S2_EMPTY && w.owed == space_epoch(&s2.space),
	   "an emptied entry says what is owed");
	is_u64((uint64_t)-install(0, b), EAGAIN, "filling it again has to wait");
	is_u64(host_kicks[1], 1, "and kicks the pCPU that is behind");
	is_u64((uint64_t)-install(PAGE_SIZE, b), EEXIST, "a mapped neighbour is just that");
	ok(install(2 * PAGE_SIZE, take()) == 0,
	   "an address that was never mapped is filled at once");
	leave(1);
	is_u64((uint64_t)install(0, b), 0, "when everybody has passed it is filled");
	is_u64(s2.space.settled.v, space_epoch(&s2.space), "and the next one need not ask again");

	/* While the batch is open nobody has its epoch yet: a pCPU that enters would not flush. */
	TLBI_GATHER(g, &s2.space);
	struct space_locked l = space_lock(&s2.space);

	CHECK(stage2_unmap(&s2, l, ipa(0), PAGE_SIZE, &pool, &g) == 0);
	ok(space_behind(&s2.space, space_epoch(&s2.space) + 1), "an epoch to come is not settled");
	is_u64((uint64_t)-install(0, a), EAGAIN, "an open batch is not settled, whoever is where");
	space_unlock(l, &g);
	gather_sync(&g);
	is_u64((uint64_t)install(0, take()), 0, "a synced one is");

	/* Unlinked tables: the parent's entry owes as well. */
	enter(1);
	unmap(0, 2 * MIB, false);
	ok(stage2_lookup(&s2, ipa(0)).level == 1, "a whole table is unlinked");
	is_u64((uint64_t)-install(0, take()), EAGAIN, "its place waits too");
	leave(1);
	is_u64((uint64_t)install(0, take()), 0, "and is filled later");
}

/* A map over what the same batch took away: break, sync, make. */
static void test_remap(void)
{
	pa_t a, b;
	int err;

	setup();
	a = take();
	b = take();
	install(0, a);
	enter(1);
	host_on_relax = leave_when_kicked;
	turns = 0;

	TLBI_GATHER(g, &s2.space);
	struct space_locked l = space_lock(&s2.space);

	CHECK(stage2_unmap(&s2, l, ipa(0), PAGE_SIZE, &pool, &g) == 0);
	err = stage2_map(&s2, l, ipa(0), PAGE_SIZE, b, S2_RWX, &pool, &g);
	space_unlock(l, &g);
	gather_sync(&g);
	ok(err == 0 && stage2_lookup(&s2, ipa(0)).pa.v == b.v, "replaced in one batch");
	ok(turns > 0 && host_kicks[1] == 1 && frames_refs(a) == 0, "with a sync in between (I3)");
}

static void protect(s2_attr_t perm, bool sync)
{
	TLBI_GATHER(g, &s2.space);
	struct space_locked l = space_lock(&s2.space);

	CHECK(stage2_protect(&s2, l, ipa(0), PAGE_SIZE, perm, &pool, &g) == 0);
	space_unlock(l, &g);
	if (sync)
		gather_sync(&g);
	else
		gather_defer(&g);
}

static void test_changes_sync(void)
{
	uint64_t epoch;

	setup();
	install(0, take());
	enter(1);
	host_on_relax = leave_when_kicked;
	turns = 0;
	epoch = space_epoch(&s2.space);
	protect(S2_RWX, true);
	is_u64(space_epoch(&s2.space), epoch, "setting the same permissions owes nothing");
	protect(S2_R, false);
	ok(turns > 0 && host_kicks[1] == 1, "fewer permissions are never deferred");
	enter(1);
	epoch = space_epoch(&s2.space);
	protect(S2_RWX, false);
	is_u64(space_epoch(&s2.space), epoch, "more permissions owe nothing on x86");
	leave(1);
}

/* One frame mapped in two spaces, unmapped in both while the first still waits. */
static void test_shared_frame(void)
{
	struct stage2 other;
	pa_t a;

	setup();
	CHECK(stage2_init(&other, &stage2_npt, NULL) == 0);
	a = take();
	frames_get(a, 0);
	install(0, a);
	reader_enter(&other.space);
	CHECK(stage2_install(&other, ipa(0), 0, a, S2_RWX, &pool) == 0);
	reader_exit();
	enter(1);
	unmap(0, PAGE_SIZE, false);
	is_u64(frames_refs(a), 2, "the first mapping waits");
	{
		TLBI_GATHER(g, &other.space);
		struct space_locked l = space_lock(&other.space);

		CHECK(stage2_unmap(&other, l, ipa(0), PAGE_SIZE, &pool, &g) == 0);
		ok(g.state == GATHER_COMPLETE, "the second is settled on the spot");
		space_unlock(l, &g);
		gather_defer(&g);
	}
	is_u64(frames_refs(a), 1, "and drops its reference");
	leave(1);
	reclaim_poll(10);
	is_u64(frames_refs(a), 0, "the first one's goes when its guest has left");
}

/* Pressure: dead frames come back when memory is short. */
static void test_pressure(void)
{
	uint64_t n = 0;
	pa_t pa;

	setup();
	for (uint64_t i = 0; i < 64; i++)
		install(i * PAGE_SIZE, take());
	enter(1);
	unmap(0, 64 * PAGE_SIZE, false);
	is_u64(reclaim_pending(), 64, "64 frames wait for a guest");
	while (frames_try_alloc(NULL, 0, &pa) == 0)
		n++;
	host_on_relax = leave_when_kicked;
	turns = 0;
	ok(frames_alloc(NULL, 0, &pa) == 0 && host_kicks[1] == 1,
	   "memory is short: the guest is kicked");
	is_u64(frames_stat().free, 63, "and all of them are free");
}

int main(void)
{
	host_caps.nr_tags = 100;
	setup();
	for (unsigned i = 0; i < 2; i++)
		CHECK(tlbi_pcpu_init(i) == 0);
	test_discipline();
	test_states();
	test_goes_on();
	test_adopts();
	test_guest_holds_frames();
	test_reader_holds_frames();
	test_refill();
	test_remap();
	test_changes_sync();
	test_shared_frame();
	test_pressure();
	return tap_done();
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When a gather lets go: not a turn before the last agent has left, and no later than it must. What
 * waits is looked at while it waits, not only afterwards.
 */
// links: tlbi/tags.c tlbi/space.c tlbi/agent.c tlbi/gather.c tlbi/broadcast.c tlbi/vmid.c
// links: mm/frames.c mm/reclaim.c mm/ledger.c stage2/stage2.c stage2/npt.c lib/log.c lib/string.c
#include "lib/check.h"
#include "lib/log.h"
#include "mm/frames.h"
#include "mm/reclaim.h"
#include "stage2/ops.h"
#include "tests/host/hw_host.h"
#include "tests/tap.h"
#include "tlbi/agent.h"
#include "tlbi/gather.h"
#include "tlbi/tags.h"

static struct stage2 one, two;
static struct s2_pool pool;
static pa_t frame, table;
static unsigned turns, early, messages;

static pa_t take(void)
{
	pa_t pa;

	CHECK(frames_alloc(NULL, 0, &pa) == 0);
	return pa;
}

static void install(struct stage2 *s, pa_t pa)
{
	reader_enter(&s->space);
	CHECK(stage2_install(s, ipa(0), 0, pa, S2_RWX, &pool) == 0);
	reader_exit();
}

static void enter(unsigned pcpu, struct stage2 *s)
{
	agent_guest_clean(pcpu, agent_guest_begin(pcpu, &s->space));
}

static void unmap(struct stage2 *s, uint64_t size, struct tlbi_gather *g)
{
	struct space_locked l = space_lock(&s->space);

	CHECK(stage2_unmap(s, l, ipa(0), size, &pool, g) == 0);
	space_unlock(l, g);
}

static void setup(void)
{
	struct mem_range r = {pa(MIB), 8 * MIB};

	host_on_relax = NULL;
	memset(host_kicks, 0, sizeof(host_kicks));
	turns = early = 0;
	tlbi_init(); /* an empty queue */
	CHECK(frames_init(&r, 1) == 0);
	pool = (struct s2_pool){0};
	CHECK(stage2_init(&one, &stage2_npt, NULL) == 0);
	CHECK(stage2_init(&two, &stage2_npt, NULL) == 0);
	CHECK(s2_pool_fill(&pool, 10) == 0);
	frame = take();
}

/* The guest that is waited for leaves in the third turn; until then nothing may be free. */
static void look_and_leave(void)
{
	turns++;
	early += frames_refs(frame) == 0 || (table.v && frames_refs(table) == 0);
	if (turns == 3)
		agent_guest_end(1);
	CHECK(turns < 100);
}

static void test_sync(void)
{
	setup();
	table = pool.first; /* the leaf's table: the last that is taken */
	install(&one, frame);
	enter(1, &one);

	TLBI_GATHER(g, &one.space);
	unmap(&one, 512 * GIB, &g);
	host_on_relax = look_and_leave;
	gather_sync(&g);
	ok(turns == 3 && early == 0, "sync frees nothing before the guest has left (I1, I2)");
	is_u64(frames_refs(frame), 0, "then the frame is free");
	is_u64(frames_refs(table), 0, "and the tables are");
	is_u64(host_kicks[1], 1, "for one kick");
	table.v = 0;
}

static void test_settled_once(void)
{
	setup();
	install(&one, frame);
	enter(1, &one);

	TLBI_GATHER(g, &one.space);
	unmap(&one, PAGE_SIZE, &g);
	gather_defer(&g);
	host_on_relax = look_and_leave;
	gather_sync(&g);
	ok(turns == 0 && host_kicks[1] == 0, "what was deferred is not waited for afterwards");
	is_u64(frames_refs(frame), 1, "it still waits in the queue (I1)");
	agent_guest_end(1);
	is_u64(reclaim_poll(1), 1, "until the guest leaves");
}

/*
 * The frame waits for space one already when two's mapping of it goes: that is settled on the spot.
 * Meanwhile one's guest leaves and reclaim drops one's reference; two's must still be there.
 */
static void look_two(void)
{
	turns++;
	if (turns == 1) {
		agent_guest_end(1);
		reclaim_poll(1);
	}
	early += frames_refs(frame) == 0;
	if (turns == 3)
		agent_guest_end(2);
	CHECK(turns < 100);
}

static void test_shared(void)
{
	setup();
	frames_get(frame, 0);
	install(&one, frame);
	install(&two, frame);
	enter(1, &one);
	enter(2, &two);

	TLBI_GATHER(g, &one.space);
	unmap(&one, PAGE_SIZE, &g);
	gather_defer(&g);

	TLBI_GATHER(h, &two.space);
	host_on_relax = look_two;
	unmap(&two, PAGE_SIZE, &h);
	gather_defer(&h);
	ok(turns == 3 && early == 0, "two mappings: each holds until its own guest left (I1)");
	is_u64(frames_refs(frame), 0, "then the frame is free");
}

/* What another batch still owes is taken over, under its epoch. */
static void test_adopt(void)
{
	uint64_t epoch;

	setup();
	install(&one, frame);
	enter(1, &one);
	{
		TLBI_GATHER(g, &one.space);
		unmap(&one, PAGE_SIZE, &g);
		gather_defer(&g);
	}
	epoch = space_epoch(&one.space);

	TLBI_GATHER(g, &one.space);
	struct space_locked l = space_lock(&one.space);

	gather_adopt(&g, false);
	ok(g.state == GATHER_ISSUED && g.epoch == epoch && !g.must_sync, "what is owed is adopted");
	gather_adopt(&g, true);
	ok(g.state == GATHER_ISSUED && g.epoch == epoch && g.must_sync, "and then waited for");
	space_unlock(l, &g);
	is_u64(space_epoch(&one.space), epoch, "without another epoch");
	host_on_relax = look_and_leave;
	frame = take();
	gather_defer(&g);
	ok(turns == 3 && !agent_in_guest(1), "deferring waits, as was asked (I10)");

	l = space_lock(&one.space);
	g = (struct tlbi_gather){.space = &one.space};
	gather_adopt(&g, true);
	is_u64(g.state, GATHER_CLEAN, "nothing is owed: nothing is adopted");
	gather_leaf(&g, ipa(0), PAGE_SIZE, 0, GATHER_ABSENT);
	gather_adopt(&g, true);
	ok(g.state == GATHER_OWED, "an open batch owes more than that already");
	space_unlock(l, &g);
	gather_sync(&g);
}

/* Both ways to settle issue first when the lock is still held. */
static void test_under_lock(void)
{
	uint64_t epoch;

	setup();
	install(&one, frame);
	enter(1, &one);
	epoch = space_epoch(&one.space);

	TLBI_GATHER(g, &one.space);
	struct space_locked l = space_lock(&one.space);

	CHECK(stage2_unmap(&one, l, ipa(0), PAGE_SIZE, &pool, &g) == 0);
	gather_defer(&g);
	is_u64(space_epoch(&one.space), epoch + 1, "deferring under the lock issues first");
	ok(g.state == GATHER_COMPLETE && reclaim_pending() == 1, "and queues (I10)");
	agent_guest_end(1);
	space_unlock(l, &g);
	frame = take();
	install(&one, frame);
	{
		TLBI_GATHER(h, &one.space);
		unmap(&one, PAGE_SIZE, &h);
		gather_defer(&h);
	}
	is_u64(reclaim_pending(), 0, "who defers releases what has passed meanwhile");
}

/* Something changed besides: the whole batch is settled at once, frames too. */
static void test_must_sync(void)
{
	setup();
	install(&one, frame);

	TLBI_GATHER(g, &one.space);
	struct space_locked l = space_lock(&one.space);

	CHECK(stage2_unmap(&one, l, ipa(0), PAGE_SIZE, &pool, &g) == 0);
	gather_leaf(&g, ipa(PAGE_SIZE), PAGE_SIZE, 0, GATHER_CHANGED);
	enter(1, &one);
	space_unlock(l, &g);
	host_on_relax = look_and_leave;
	gather_defer(&g);
	ok(turns == 3 && early == 0, "a change is waited for (I12)");
	ok(frames_refs(frame) == 0 && reclaim_pending() == 0, "and nothing is queued");
}

/* Another pCPU enters while one waits: it is clean and need not leave. */
static void one_enters_one_leaves(void)
{
	turns++;
	if (turns == 1)
		enter(2, &one);
	if (turns == 3)
		agent_guest_end(1);
	CHECK(turns < 100);
}

static void test_clean_stays(void)
{
	setup();
	install(&one, frame);
	enter(1, &one);

	TLBI_GATHER(g, &one.space);
	unmap(&one, PAGE_SIZE, &g);
	host_on_relax = one_enters_one_leaves;
	gather_sync(&g);
	ok(turns == 3 && agent_in_guest(2) && host_kicks[2] == 0,
	   "who enters after the epoch moved is not waited for");
	space_force(&one.space, space_epoch(&one.space));
	is_u64(host_kicks[2], 0, "nor kicked");
	agent_guest_end(2);
}

static void count(enum log_level level, const char *line, size_t len)
{
	(void)line;
	(void)len;
	messages += level == LOG_ERR;
}

static void test_reports(void)
{
	setup();
	install(&one, frame);
	enter(1, &one);
	log_set_sink(count);

	TLBI_GATHER(g, &one.space);
	unmap(&one, PAGE_SIZE, &g);
	host_on_relax = look_and_leave;
	gather_sync(&g);
	is_u64(messages, 0, "who answers in time is not reported");
	log_set_sink(NULL);
}

int main(void)
{
	host_caps.nr_tags = 100;
	tlbi_init();
	for (unsigned i = 0; i < 3; i++)
		CHECK(tlbi_pcpu_init(i) == 0);
	test_sync();
	test_settled_once();
	test_shared();
	test_adopt();
	test_under_lock();
	test_must_sync();
	test_clean_stays();
	test_reports();
	return tap_done();
}

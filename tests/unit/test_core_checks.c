/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Each CHECK of the core is there for a mistake of a caller or a broken state: here every one of
 * them sees its mistake, in a child that has to stop with that CHECK's words. What a CHECK does not
 * catch goes on as lost obligations (I10), freed frames in use (I1, I2) or wrapped counters (I8).
 */
// links: mm/ledger.c tlbi/broadcast.c tlbi/vmid.c
// links: tlbi/tags.c tlbi/space.c tlbi/agent.c tlbi/gather.c mm/frames.c mm/reclaim.c mm/kalloc.c
// links: stage2/stage2.c stage2/npt.c lib/log.c lib/string.c
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/check.h"
#include "lib/util.h"
#include "mm/frame.h"
#include "mm/frames.h"
#include "mm/kalloc.h"
#include "mm/reclaim.h"
#include "stage2/fmt_npt.h"
#include "stage2/ops.h"
#include "tests/host/hw_host.h"
#include "tests/tap.h"
#include "tlbi/agent.h"
#include "tlbi/gather.h"
#include "tlbi/tags.h"

#define OUTSIDE pa(4 * GIB) /* memory that the allocator does not own */

static struct stage2 s2, other;
static struct tlbi_vcpu vcpu;
static struct s2_pool pool;
static struct frames_reserve promise;
static struct reclaim_list dead;

static void setup(void)
{
	struct mem_range r = {pa(MIB), 64 * MIB};

	host_caps.nr_tags = 100;
	tlbi_init();
	CHECK(frames_init(&r, 1) == 0);
	CHECK(stage2_init(&s2, &stage2_npt, NULL) == 0);
	CHECK(stage2_init(&other, &stage2_npt, NULL) == 0);
	CHECK(tlbi_pcpu_init(0) == 0);
	tlbi_vcpu_init(&vcpu);
	CHECK(s2_pool_fill(&pool, 10) == 0);
	CHECK(frames_reserve(&promise, 8) == 0);
}

static pa_t take(unsigned order)
{
	pa_t pa;

	CHECK(frames_alloc(NULL, order, &pa) == 0);
	return pa;
}

/* Runs fn in a child: true when panic stopped it, with `words` in the message. */
static bool stops(void (*fn)(void), const char *words)
{
	char text[600] = "";
	int status, fd[2];
	size_t n = 0;
	ssize_t got;
	pid_t pid;

	fflush(stdout);
	CHECK(pipe(fd) == 0);
	pid = fork();
	if (pid == 0) {
		dup2(fd[1], 2);
		close(fd[0]);
		fn();
		_exit(0);
	}
	close(fd[1]);
	while ((got = read(fd[0], text + n, sizeof(text) - 1 - n)) > 0)
		n += (size_t)got;
	close(fd[0]);
	waitpid(pid, &status, 0);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strstr(text, words))
		return true;
	printf("# status %#x: %s\n", (unsigned)status, text);
	return false;
}

/* ---- frames ---- */

static void queue_foreign(void)
{
	reclaim_add(&dead, OUTSIDE, 0);
}

static void unreserve_twice(void)
{
	struct frames_reserve copy = promise;

	frames_unreserve(&promise);
	frames_unreserve(&copy);
}

static void put_free(void)
{
	pa_t pa = take(0);

	frames_put(pa, 0);
	frames_put(pa, 0);
}

static void get_free(void)
{
	pa_t pa = take(4);

	frames_put(pa, 4);
	frames_get(pa, 4);
}

static void get_unaligned(void)
{
	pa_t pa = take(0);

	for (unsigned i = 0; i < 8; i++)
		take(0);
	if (is_aligned(pa.v, 2 * PAGE_SIZE))
		pa.v += PAGE_SIZE;
	frames_get(pa, 1);
}

static void get_too_often(void)
{
	pa_t pa = take(0);

	frame_at(pa)->refs = UINT32_MAX - 1;
	frames_get(pa, 0);
	fputs("once more: ", stderr);
	frames_get(pa, 0);
}

static void get_foreign(void)
{
	frames_get(OUTSIDE, 0);
}

/* Many references can still be put one by one. */
static void put_many(void)
{
	pa_t pa = take(0);

	frame_at(pa)->refs = UINT32_MAX;
	frames_put(pa, 0);
	CHECK(!"put");
}

/* The host has no memory there, so its own CHECK tells that the range was taken. */
static void memory_at_the_end(void)
{
	struct mem_range r = {pa(BIT(52) - 16 * PAGE_SIZE), 16 * PAGE_SIZE};

	frames_init(&r, 1);
}

static void unalloc_foreign(void)
{
	frames_unalloc(NULL, OUTSIDE, 0);
}

static void unalloc_free(void)
{
	pa_t pa = take(3);

	frames_put(pa, 3);
	frame_at(pa)->refs = 1;
	frame_at(pa)->order = 3;
	frames_unalloc(NULL, pa, 3);
}

static void unalloc_part(void)
{
	frames_unalloc(NULL, take(1), 0);
}

static void unalloc_shared(void)
{
	pa_t pa = take(0);

	frames_get(pa, 0);
	frames_unalloc(NULL, pa, 0);
}

static void free_twice(void)
{
	void *a = kzalloc(64), *keep = kzalloc(64);

	frame_at(pa(hw_frame_pa(a).v & ~PAGE_MASK))->slab_used = 0;
	kfree(keep);
}

static void free_inside(void)
{
	kzalloc(64);
	kfree((char *)kzalloc(64) + 32);
}

static void free_inside_block(void)
{
	kfree((char *)kzalloc(3 * PAGE_SIZE) + 8);
}

static void free_inner_frame(void)
{
	kfree((char *)kzalloc(3 * PAGE_SIZE) + PAGE_SIZE);
}

static void test_frames(void)
{
	ok(stops(queue_foreign, "CHECK(f)"), "a frame that is not ours is never queued");
	ok(stops(unreserve_twice, "reserved_pages >="), "a promise is given back once (I8)");
	ok(stops(put_free, "f->state >= FRAME_USED"), "a free frame has no reference to put (I1)");
	ok(stops(get_free, "f->state >= FRAME_USED"), "nor does it get one (I1)");
	ok(stops(get_unaligned, "is_aligned(pfn"), "blocks are aligned to their size");
	ok(stops(get_too_often, "once more: "), "2^32 - 1 references to a frame are possible");
	ok(stops(get_too_often, "f->refs < UINT32_MAX"), "and counted to the last (I8)");
	ok(stops(put_many, "CHECK(!\"put\")"), "from there the way back is open");
	ok(stops(get_foreign, "belongs to no block"), "a frame that is not ours gets none");
	ok(stops(memory_at_the_end, "HOST_MEMORY"), "memory may reach to 2^52");
	ok(stops(unalloc_foreign, "CHECK(f &&"), "unalloc: not ours");
	ok(stops(unalloc_free, "CHECK(f &&"), "unalloc: free already (I1)");
	ok(stops(unalloc_part, "CHECK(f &&"), "unalloc: not the block that was allocated");
	ok(stops(unalloc_shared, "CHECK(f &&"), "unalloc: somebody else refers to it (I1)");
	ok(stops(free_twice, "slab_used > 0"), "kfree: more than was allocated");
	ok(stops(free_inside, "is_aligned(pa.v, BIT("), "kfree: the middle of an object");
	ok(stops(free_inside_block, "FRAME_USED && is_aligned"), "kfree: the middle of a frame");
	ok(stops(free_inner_frame, "FRAME_USED && is_aligned"), "kfree: the middle of a block");
}

/* ---- agents, gathers, spaces, tags ---- */

static void pcpu_too_many(void)
{
	agent_init(MAX_PCPUS);
}

static void read_twice(void)
{
	reader_enter(&s2.space);
	reader_enter(&s2.space);
}

static void enter_as_reader(void)
{
	reader_enter(&s2.space);
	agent_guest_begin(0, &s2.space);
}

static void enter_twice(void)
{
	agent_guest_begin(0, &s2.space);
	agent_guest_begin(0, &s2.space);
}

static void wait_as_reader(void)
{
	reader_enter(&s2.space);
	agents_wait(s2.space.id, 0);
}

static void wait_in_guest(void)
{
	agent_guest_begin(0, &s2.space);
	agents_wait(s2.space.id, 0);
}

static void lock_as_reader(void)
{
	reader_enter(&s2.space);
	space_lock(&s2.space);
}

static void test_agents(void)
{
	ok(stops(pcpu_too_many, "pcpu < "), "there are MAX_PCPUS agents");
	ok(stops(read_twice, "u->space) == 0"), "reader sections do not nest");
	ok(stops(enter_as_reader, "reader.space) == 0"), "no guest is entered in one");
	ok(stops(enter_twice, "u->space) == 0"), "a pCPU is in one guest");
	ok(stops(wait_as_reader, "!reader_active() &&"), "no waiting in a reader section");
	ok(stops(wait_in_guest, "!agent_in_guest("), "nor in guest mode");
	ok(stops(lock_as_reader, "!reader_active()"), "no space's lock in a reader section");
}

static void drop(enum gather_state state, bool with_frame)
{
	struct tlbi_gather g = {.space = &s2.space, .state = state};

	if (with_frame)
		reclaim_add(&g.dead, take(0), 0);
	gather_assert_settled(&g);
}

static void drop_owed(void)
{
	drop(GATHER_OWED, false);
}

static void drop_issued(void)
{
	drop(GATHER_ISSUED, false);
}

static void drop_frame(void)
{
	drop(GATHER_COMPLETE, true);
}

static void reduce_unlocked(void)
{
	struct tlbi_gather g = {.space = &s2.space};

	gather_leaf(&g, ipa(0), PAGE_SIZE, 0, GATHER_ABSENT);
}

static void frame_without_leaf(void)
{
	struct tlbi_gather g = {.space = &s2.space};

	space_lock(&s2.space);
	gather_frame(&g, take(0), 0, true);
}

static void table_twice(void)
{
	struct tlbi_gather g = {.space = &s2.space};
	pa_t table = take(0);

	space_lock(&s2.space);
	gather_table(&g, ipa(0), table);
	gather_table(&g, ipa(0), table);
}

static void issue_unlocked(void)
{
	struct tlbi_gather g = {.space = &s2.space, .state = GATHER_OWED};

	gather_issue(&g);
}

static void adopt_unlocked(void)
{
	struct tlbi_gather g = {.space = &s2.space};

	gather_adopt(&g, true);
}

static void unlock_other(void)
{
	struct tlbi_gather g = {.space = &other.space};

	space_unlock(space_lock(&s2.space), &g);
}

static void test_gathers(void)
{
	ok(stops(drop_owed, "g->state == "), "an owed gather is not dropped (I10)");
	ok(stops(drop_issued, "g->state == "), "nor an issued one (I10)");
	ok(stops(drop_frame, "!g->dead.first"), "nor one that still has frames (I9)");
	ok(stops(reduce_unlocked, "spin_is_locked(&g->"), "nothing is reduced without the lock");
	ok(stops(frame_without_leaf, "g->state == GATHER_OWED"), "a dead frame had a leaf");
	ok(stops(table_twice, "reclaim_add("), "a table dies once (I2)");
	ok(stops(issue_unlocked, "spin_is_locked(&s->"), "the epoch moves under the lock");
	ok(stops(adopt_unlocked, "spin_is_locked(&g->"), "what is owed is adopted under the lock");
	ok(stops(unlock_other, "g->space == locked.space"), "a gather belongs to one space (I10)");
}

static void one_tag(void)
{
	host_caps.nr_tags = 1;
	tlbi_init();
}

static void pcpu_twice(void)
{
	tlbi_pcpu_init(0);
}

static void tags_too_many(void)
{
	tlbi_pcpu_init(MAX_PCPUS);
}

static void test_tags(void)
{
	ok(stops(one_tag, "caps->nr_tags >= 2"), "a machine has a tag for guests (I4)");
	ok(stops(pcpu_twice, "!states[pcpu]"), "a pCPU's tags are set up once (I4)");
	ok(stops(tags_too_many, "!states[pcpu]"), "there are MAX_PCPUS sets of tags");
}

/* ---- tables ---- */

static struct tlbi_gather g_ours = {.space = &s2.space}, g_other = {.space = &other.space};

static void owed_too_far(void)
{
	fmt_empty(BIT(52) - 1);
	fputs("the last one: ", stderr);
	fmt_empty(BIT(52));
}

static void empty_pool(void)
{
	struct s2_pool none = {0};

	s2_pool_take(&none);
}

static void destroy_wrong(bool ours)
{
	stage2_destroy(&s2, space_lock(ours ? &s2.space : &other.space), ours ? &g_other : &g_ours);
}

static void map_wrong(bool ours)
{
	stage2_map(&s2, space_lock(ours ? &s2.space : &other.space), ipa(0), PAGE_SIZE, take(0),
		   S2_RWX, &pool, ours ? &g_other : &g_ours);
}

static void unmap_wrong(bool ours)
{
	stage2_unmap(&s2, space_lock(ours ? &s2.space : &other.space), ipa(0), PAGE_SIZE, &pool,
		     ours ? &g_other : &g_ours);
}

static void protect_wrong(bool ours)
{
	stage2_protect(&s2, space_lock(ours ? &s2.space : &other.space), ipa(0), PAGE_SIZE, S2_R,
		       &pool, ours ? &g_other : &g_ours);
}

static void split_wrong(bool ours)
{
	stage2_split(&s2, space_lock(ours ? &s2.space : &other.space), ipa(0), 0, &pool,
		     ours ? &g_other : &g_ours);
}

static void (*wrong)(bool ours);

static void wrong_lock(void)
{
	wrong(false);
}

static void wrong_gather(void)
{
	wrong(true);
}

static void walk_wrong(void)
{
	stage2_walk(&s2, space_lock(&other.space), NULL, NULL);
}

static void poke_root(pte_t e)
{
	((pte_t *)hw_frame_ptr(s2.space.root))[0] = e;
}

static void unmap_over(pte_t e)
{
	poke_root(e);
	stage2_unmap(&s2, space_lock(&s2.space), ipa(0), PAGE_SIZE, &pool, &g_ours);
}

static void unmap_locked(void)
{
	unmap_over(fmt_locked());
}

static void unmap_frozen(void)
{
	unmap_over(fmt_frozen());
}

static void destroy_locked(void)
{
	poke_root(fmt_locked());
	stage2_destroy(&s2, space_lock(&s2.space), &g_ours);
}

static void lose_table(void)
{
	atomic_add64(&s2.tables, 1);
	stage2_destroy(&s2, space_lock(&s2.space), &g_ours);
}

static void test_tables(void)
{
	static const struct {
		void (*fn)(bool);
		const char *name;
	} ops[] = {
		{destroy_wrong, "destroy"}, {map_wrong, "map"},	    {unmap_wrong, "unmap"},
		{protect_wrong, "protect"}, {split_wrong, "split"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		wrong = ops[i].fn;
		ok(stops(wrong_lock, "l.space == "), "%s asks for this space's lock", ops[i].name);
		ok(stops(wrong_gather, "g->space == &s->space"), "%s for this space's gather (I10)",
		   ops[i].name);
	}
	ok(stops(walk_wrong, "l.space == "), "walk asks for this space's lock");
	ok(stops(owed_too_far, "the last one: "), "an entry holds 52 bits of epoch");
	ok(stops(owed_too_far, "owed < "), "and no more, unnoticed (I8)");
	ok(stops(empty_pool, "p->count"), "an empty pool gives nothing");
	ok(stops(unmap_locked, "== S2_EMPTY"), "no break is open when the lock is taken (I3)");
	ok(stops(unmap_frozen, "== S2_EMPTY"), "no frozen entry is in a living table (I2)");
	ok(stops(destroy_locked, "in a table that just died"), "a dying table has no open break");
	ok(stops(lose_table, "s->tables) == 0"), "destroy counts its tables (I9)");
}

int main(void)
{
	setup();
	test_frames();
	test_agents();
	test_gathers();
	test_tags();
	test_tables();
	return tap_done();
}

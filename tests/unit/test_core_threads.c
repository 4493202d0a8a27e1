/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The core on real threads, a pCPU each: one changes the map, the others fault, run as guests, read
 * and allocate. Whoever gets a frame finds nothing of its former owner in it, and at the end
 * nothing is lost. tests/bad builds this with the thread sanitizer as well and with exact memory
 * orders: there a lock that is not taken, or an acquire or release that is missing, is a data race.
 */
// links: mm/ledger.c tlbi/broadcast.c tlbi/vmid.c
// links: tlbi/tags.c tlbi/space.c tlbi/agent.c tlbi/gather.c mm/frames.c mm/reclaim.c mm/kalloc.c
// links: stage2/stage2.c stage2/npt.c lib/log.c lib/string.c
// threads: yes
#include <pthread.h>

#include "lib/check.h"
#include "lib/errno.h"
#include "mm/frames.h"
#include "mm/kalloc.h"
#include "mm/reclaim.h"
#include "stage2/stage2.h"
#include "tests/host/hw_host.h"
#include "tests/tap.h"
#include "tlbi/agent.h"
#include "tlbi/gather.h"
#include "tlbi/tags.h"

#define GUESTS	 2u
#define CHANGES	 500u
#define PAGES	 24u /* guest-physical 4K pages in play, from 0 */
#define BIG_AT	 (16 * MIB)
#define BIG_SIZE (2 * MIB)

static struct stage2 s2;
static uint64_t total;
static atomic_u32 dirty, wrong, over;
static struct frames_stat at_start;

/* Every thread draws its own numbers. */
struct dice {
	uint64_t x;
};

static unsigned roll(struct dice *d, unsigned below)
{
	d->x ^= d->x << 13;
	d->x ^= d->x >> 7;
	d->x ^= d->x << 17;
	return (unsigned)(d->x % below);
}

static void mistake(atomic_u32 *what)
{
	atomic_add32(what, 1);
}

/* Each thread has words of its own in every frame, so that only owners of frames collide. */
static void use_frame(pa_t pa, unsigned thread, uint64_t stamp)
{
	uint64_t *word = (uint64_t *)hw_frame_ptr(pa) + 64 * thread + 64;

	if (*word && *word != stamp)
		mistake(&dirty);
	*word = stamp;
}

/* ---- allocation ---- */

static void play_frames(struct dice *d)
{
	struct frames_reserve r = {0};
	unsigned order = roll(d, 3);
	pa_t pa;

	if (roll(d, 2) && frames_reserve(&r, 8) != 0)
		return;
	if (frames_alloc(r.pages ? &r : NULL, order, &pa) == 0) {
		memset(hw_frame_ptr(pa), 0, PAGE_SIZE << order);
		if (roll(d, 2)) {
			frames_get(pa, order);
			if (frames_refs(pa) != 2)
				mistake(&wrong);
			for (unsigned i = 0; i < 1u << order; i++)
				frames_put((pa_t){pa.v + i * PAGE_SIZE}, 0);
			frames_put(pa, order);
		} else if (r.pages) {
			frames_unalloc(&r, pa, order);
		} else {
			frames_put(pa, order);
		}
	}
	frames_unreserve(&r);
	if (frames_stat().total != total)
		mistake(&wrong);
}

static void play_kalloc(struct dice *d)
{
	size_t n = roll(d, 4) ? 200u + roll(d, 400) : 5000u;
	char *a = kzalloc(n), *b = kzalloc(n);

	for (size_t i = 0; a && b && i < n; i += 40) {
		if (a[i] || b[i])
			mistake(&dirty);
		a[i] = b[i] = 1;
	}
	kfree(a);
	kfree(b);
}

/* ---- pCPUs 1 and up: faults, guests, readers ---- */

static void fault(struct dice *d, uint64_t at)
{
	struct s2_pool pool = {0};
	pa_t pa;

	if (frames_alloc(NULL, 0, &pa) != 0)
		return;
	memset(hw_frame_ptr(pa), 0, PAGE_SIZE);
	if (s2_pool_fill(&pool, 3) == 0) {
		int err;

		reader_enter(&s2.space);
		err = stage2_install(&s2, ipa(at), 0, pa, roll(d, 4) ? S2_RWX : S2_R, &pool);
		reader_exit();
		if (err == 0)
			pa.v = 0;
	}
	s2_pool_drain(&pool);
	if (pa.v)
		frames_unalloc(NULL, pa, 0);
}

/* The guest's walker: what it finds is used until the exit. */
static void run_guest(struct dice *d, unsigned thread, struct tlbi_vcpu *v)
{
	struct tlbi_enter_cmd cmd;

	tlbi_enter(thread, &s2.space, v, &cmd);
	for (unsigned n = 1 + roll(d, 3); n > 0; n--) {
		uint64_t at =
			roll(d, 8) ? roll(d, PAGES) * PAGE_SIZE : BIG_AT + roll(d, 512) * PAGE_SIZE;
		struct s2_walk w = stage2_lookup(&s2, ipa(at));

		if (w.kind == S2_LEAF)
			use_frame(w.pa, thread, at + 1);
	}
	tlbi_exit(thread, v, true);
}

static void read_guest(struct dice *d, unsigned thread)
{
	uint64_t at = roll(d, PAGES) * PAGE_SIZE;
	struct s2_walk w;

	reader_enter(&s2.space);
	w = stage2_lookup(&s2, ipa(at));
	if (w.kind == S2_LEAF)
		use_frame(w.pa, thread, at + 1);
	reader_exit();
}

static void *guest_thread(void *arg)
{
	unsigned thread = (unsigned)(uintptr_t)arg;
	struct dice d = {thread * 7919};
	struct tlbi_vcpu v;

	host_cpu = thread;
	tlbi_vcpu_init(&v);
	while (!atomic_load32(&over)) {
		fault(&d, roll(&d, PAGES) * PAGE_SIZE);
		run_guest(&d, thread, &v);
		read_guest(&d, thread);
		if (roll(&d, 4) == 0)
			play_frames(&d);
		if (roll(&d, 2) == 0)
			play_kalloc(&d);
		if (roll(&d, 16) == 0)
			reclaim_force();
	}
	return NULL;
}

/* ---- pCPU 0: changes the map ---- */

static void map_big(struct space_locked l, struct s2_pool *pool, struct tlbi_gather *g)
{
	pa_t pa;

	if (stage2_lookup(&s2, ipa(BIG_AT)).kind != S2_EMPTY || frames_alloc(NULL, 9, &pa) != 0)
		return;
	memset(hw_frame_ptr(pa), 0, BIG_SIZE);
	stage2_map(&s2, l, ipa(BIG_AT), BIG_SIZE, pa, S2_RWX, pool, g);
	frames_put(pa, 9); /* the map holds its own, or nothing was mapped */
}

static void change(struct dice *d)
{
	TLBI_GATHER(g, &s2.space);
	struct s2_pool pool = {0};
	uint64_t at = roll(d, PAGES) * PAGE_SIZE, size = (1 + roll(d, 4)) * PAGE_SIZE;
	uint64_t part = BIG_AT + roll(d, 512) * PAGE_SIZE;
	struct space_locked l;

	if (s2_pool_fill(&pool, 10) != 0) {
		s2_pool_drain(&pool);
		return;
	}
	l = space_lock(&s2.space);
	switch (roll(d, 8)) {
	case 0:
		map_big(l, &pool, &g);
		break;
	case 1:
		stage2_unmap(&s2, l, ipa(part), PAGE_SIZE, &pool, &g);
		break;
	case 2:
		stage2_unmap(&s2, l, ipa(BIG_AT), BIG_SIZE, &pool, &g);
		break;
	case 3:
		stage2_protect(&s2, l, ipa(at), size, roll(d, 2) ? S2_R : S2_RWX, &pool, &g);
		break;
	case 4:
		stage2_unmap(&s2, l, ipa(0), BIG_SIZE, &pool, &g);
		break;
	default:
		stage2_unmap(&s2, l, ipa(at), size, &pool, &g);
		break;
	}
	space_unlock(l, &g);
	if (roll(d, 2))
		gather_sync(&g);
	else
		gather_defer(&g);
	s2_pool_drain(&pool);
}

/* Whoever is kicked leaves on its own; the others go on meanwhile. */
static void change_all(void)
{
	struct dice d = {4711};

	for (unsigned n = 0; n < CHANGES; n++) {
		change(&d);
		play_frames(&d);
		if (reclaim_pending() > total)
			mistake(&wrong);
		if (roll(&d, 8) == 0)
			reclaim_force();
	}
	atomic_store32(&over, 1);
}

int main(void)
{
	struct mem_range r = {pa(MIB), 9 * MIB};
	pthread_t threads[GUESTS];

	host_caps.nr_tags = 4;
	tlbi_init();
	CHECK(frames_init(&r, 1) == 0);
	at_start = frames_stat();
	total = at_start.total;
	for (unsigned i = 0; i <= GUESTS; i++)
		CHECK(tlbi_pcpu_init(i) == 0);
	CHECK(stage2_init(&s2, &stage2_npt, NULL) == 0);
	for (unsigned i = 0; i < GUESTS; i++)
		CHECK(pthread_create(&threads[i], NULL, guest_thread, (void *)(uintptr_t)(i + 1)) ==
		      0);
	change_all();
	for (unsigned i = 0; i < GUESTS; i++)
		pthread_join(threads[i], NULL);
	{
		TLBI_GATHER(g, &s2.space);
		struct space_locked l = space_lock(&s2.space);

		stage2_destroy(&s2, l, &g);
		space_unlock(l, &g);
		gather_defer(&g);
	}
	reclaim_force();
	is_u64(atomic_load32(&dirty), 0,
	       "no frame or object comes with its former owner's data (I1)");
	is_u64(atomic_load32(&wrong), 0, "counts are right at any time");
	is_u64(frames_stat().reserved, 0, "no promise is left (I9)");
	is_u64(reclaim_pending(), 0, "nothing waits in the end (I10)");
	/* kalloc keeps no empty frame; the pCPUs' tags stay. */
	ok(at_start.free - frames_stat().free <= GUESTS + 1, "no frame leaks (I9)");
	return tap_done();
}

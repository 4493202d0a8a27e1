/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The edges of the allocator: maps at the ends of the address space and of the table of zones, what
 * descriptors cost and where they lie, promises that cannot be kept, references to parts, kalloc's
 * classes, and reclaim's order. Each was a mutant that nothing noticed.
 */
// links: mm/ledger.c
// links: mm/frames.c mm/reclaim.c mm/kalloc.c lib/log.c lib/string.c
#include <stdlib.h>

#include "lib/errno.h"
#include "lib/util.h"
#include "mm/frame.h"
#include "mm/frames.h"
#include "mm/kalloc.h"
#include "mm/reclaim.h"
#include "tests/host/hw_host.h"
#include "tests/tap.h"

#define ZONES 64u /* how many stretches the allocator keeps */

static bool behind_answer;
static unsigned asked, waited;

static bool behind(uint64_t space, uint64_t epoch)
{
	(void)space;
	(void)epoch;
	asked++;
	return behind_answer;
}

static void wait(uint64_t space, uint64_t epoch)
{
	(void)space;
	(void)epoch;
	waited++;
	behind_answer = false;
}

static const struct reclaim_agents agents = {behind, wait};

static void one_range(uint64_t base, uint64_t size)
{
	struct mem_range r = {pa(base), size};

	reclaim_init(&agents);
	behind_answer = false;
	host_discard();
	ok(frames_init(&r, 1) == 0, "memory at %#llx", (unsigned long long)base);
}

/* Frames that are handed out, by asking for each. */
static uint64_t owned(uint64_t base, uint64_t size)
{
	uint64_t n = 0;

	for (uint64_t at = base; at < base + size; at += PAGE_SIZE)
		n += frames_owns(pa(at));
	return n;
}

/* ---- maps ---- */

/* Leaves numbers on the stack that would pass for a range, whichever way they are read. */
static __attribute__((noinline)) uint64_t soil_stack(bool up)
{
	volatile uint64_t junk[256];

	for (unsigned i = 0; i < 256; i++)
		junk[i] = 256 + 16 * (up ? i : 255 - i);
	return junk[128];
}

static void test_ranges(void)
{
	struct mem_range beyond = {pa(BIT(53)), MIB};
	struct mem_range wraps = {pa(BIT(52) - MIB), 2 * MIB};
	struct mem_range lowest = {pa(0), 4 * PAGE_SIZE};
	struct mem_range two[2] = {{pa(MIB), MIB}, {pa(2 * MIB), MIB}};
	struct mem_range gap[2] = {{pa(MIB), MIB}, {pa(2 * MIB + PAGE_SIZE), MIB}};

	soil_stack(true);
	ok(frames_init(&beyond, 1) == -ENOMEM, "memory beyond 2^52 is not taken");
	soil_stack(false);
	ok(frames_init(&wraps, 1) == -ENOMEM, "nor what reaches beyond");
	ok(frames_init(&lowest, 1) == 0 && !frames_owns(pa(0)), "frame 0 is never handed out");
	ok(frames_init(two, 2) == 0, "ranges that touch");
	is_u64(frames_stat().overhead, 4, "are one stretch: 512 frames, 4 of descriptors");
	is_u64(frames_stat().total, 508, "the rest is for use");
	is_u64(frames_stat().free, 508, "and free");
	ok(frames_init(gap, 2) == 0 && frames_stat().overhead == 4, "a frame apart: two stretches");
	ok(!frames_owns(pa(2 * MIB)), "the frame between them is not ours");
	ok(!frames_owns(pa(MIB - PAGE_SIZE)) && !frames_owns(pa(3 * MIB + PAGE_SIZE)),
	   "nor those around");
}

static void test_descriptors(void)
{
	uint64_t used;

	one_range(GIB, GIB + 16 * MIB);
	is_u64(frames_stat().largest, BIT(18),
	       "descriptors lie at the less aligned end, the upper");
	used = owned(GIB, GIB + 16 * MIB);
	is_u64(used, frames_stat().total, "frames of descriptors are nobody's");
	ok(frames_owns(pa(GIB)) && !frames_owns(pa(2 * GIB + 16 * MIB - PAGE_SIZE)),
	   "those at the end");
	one_range(GIB - 16 * MIB, GIB + 16 * MIB);
	is_u64(frames_stat().largest, BIT(18), "or the lower");
	ok(!frames_owns(pa(GIB - 16 * MIB)) && frames_owns(pa(2 * GIB - PAGE_SIZE)), "here");
	one_range(MIB, 129 * PAGE_SIZE);
	is_u64(frames_stat().overhead, 1, "a page of descriptors is enough for 128 frames");
	one_range(MIB, 130 * PAGE_SIZE);
	is_u64(frames_stat().overhead, 2, "not for 129");
}

static void test_many_zones(void)
{
	struct mem_range r[ZONES + 1];
	uint64_t lost = 0;

	for (unsigned i = 0; i <= ZONES; i++)
		r[i] = (struct mem_range){pa((i + 1) * MIB), (i == 20 ? 8 : 16) * PAGE_SIZE};
	ok(frames_init(r, ZONES) == 0, "as many stretches as there is room for");
	for (unsigned i = 0; i < ZONES; i++)
		lost += owned(r[i].base.v, r[i].size) != r[i].size / PAGE_SIZE - 1;
	is_u64(lost, 0, "all are kept");
	ok(!frames_owns(pa(GIB)) && !frames_owns(pa((ZONES + 1) * MIB)), "and no more");
	ok(frames_init(r, ZONES + 1) == 0, "one more");
	lost = 0;
	for (unsigned i = 0; i <= ZONES; i++)
		lost += owned(r[i].base.v, r[i].size) != (i == 20 ? 0 : 15);
	is_u64(lost, 0, "the smallest is left out, wherever it is");
	r[ZONES].size = 4 * PAGE_SIZE;
	ok(frames_init(r, ZONES + 1) == 0 && owned(r[20].base.v, r[20].size) == 7 &&
		   owned(r[ZONES].base.v, r[ZONES].size) == 0,
	   "also when it comes last");
}

/* ---- promises ---- */

static void test_promises(void)
{
	struct frames_reserve r = {0}, s = {0};
	struct reclaim_list l = {0};
	uint64_t total;
	pa_t a, b;

	one_range(MIB, MIB);
	total = frames_stat().total;
	ok(frames_alloc(NULL, 0, &a) == 0 && frames_alloc(NULL, 0, &b) == 0, "two frames");
	reclaim_add(&l, a, 0);
	reclaim_queue(&l, 1, 1);
	is_u64(frames_stat().pending, 1, "one waits for reclaim");
	behind_answer = true;
	waited = 0;
	ok(frames_reserve(&r, total) == -ENOMEM && waited == 1,
	   "a promise that even reclaim cannot keep is refused (I9)");
	is_u64(frames_stat().free, total - 1, "what waited is free now");
	ok(r.pages == 0 && frames_stat().reserved == 0, "nothing is promised");
	ok(frames_reserve(&r, total - 1) == 0, "all of it can be");
	ok(frames_reserve(&r, 0) == 0 && r.pages == total - 1, "a promise of nothing always holds");
	ok(frames_reserve(&s, 1) == -ENOMEM, "nobody else gets one");
	ok(frames_try_alloc(&s, 0, &a) == -ENOMEM, "an empty promise is none");
	ok(frames_alloc(&r, FRAME_MAX_ORDER + 1, &a) == -ENOMEM, "there are no larger blocks");
	ok(frames_try_alloc(&r, 3, &a) == 0 && r.pages == total - 9, "eight are charged as eight");
	is_u64(frames_stat().reserved, total - 9, "in both books");
	frames_unalloc(&r, a, 3);
	ok(r.pages == total - 1 && frames_stat().reserved == total - 1, "and given back as eight");
	frames_unreserve(&r);
	ok(r.pages == 0 && frames_stat().reserved == 0, "a promise ends in both books");
	frames_unreserve(&r);
	is_u64(frames_stat().reserved, 0, "once");
	frames_put(b, 0);
	is_u64(frames_stat().free, total, "all free");
}

/* ---- references ---- */

static void test_references(void)
{
	pa_t block;

	one_range(4 * MIB, 4 * MIB);
	ok(frames_alloc(NULL, 4, &block) == 0, "16 frames");
	is_u64(frames_refs(pa(block.v + 5 * PAGE_SIZE)), 1, "each has the block's reference");
	frames_get(pa(block.v + 4 * PAGE_SIZE), 2);
	is_u64(frames_refs(pa(block.v + 3 * PAGE_SIZE)), 1, "a part gets one more: below it");
	is_u64(frames_refs(pa(block.v + 4 * PAGE_SIZE)), 2, "its first frame");
	is_u64(frames_refs(pa(block.v + 7 * PAGE_SIZE)), 2, "its last");
	is_u64(frames_refs(pa(block.v + 8 * PAGE_SIZE)), 1, "above it");
	frames_put(block, 4);
	is_u64(frames_refs(pa(block.v + 8 * PAGE_SIZE)), 0, "the block goes");
	is_u64(frames_refs(pa(block.v + 7 * PAGE_SIZE)), 1, "the part stays (I1)");
	frames_put(pa(block.v + 4 * PAGE_SIZE), 2);
	is_u64(frames_refs(pa(block.v + 7 * PAGE_SIZE)), 0, "until its own is put");
	is_u64(frames_refs(pa(GIB)), 0, "nobody refers to what is not ours");
	is_u64(frames_stat().free, frames_stat().total, "all free");

	one_range(GIB, GIB + 16 * MIB);
	ok(frames_alloc(NULL, FRAME_MAX_ORDER, &block) == 0, "the largest block there is");
	is_u64(frames_refs(pa(2 * GIB - PAGE_SIZE)), 1, "reaches to its last frame");
	frames_get(pa(2 * GIB - PAGE_SIZE), 0);
	is_u64(frames_refs(pa(2 * GIB - PAGE_SIZE)), 2, "which can be shared alone");
	frames_put(pa(2 * GIB - PAGE_SIZE), 0);
	frames_put(block, FRAME_MAX_ORDER);
	is_u64(frames_stat().largest, BIT(FRAME_MAX_ORDER), "and all of it merges again");
}

/* ---- kalloc ---- */

static void test_kalloc(void)
{
	static void *p[128];
	uint64_t free;
	unsigned bad = 0;

	one_range(MIB, MIB);
	free = frames_stat().free;
	for (size_t n = 1; n <= 2048; n++) {
		void *one = kzalloc(n), *two = kzalloc(n);
		size_t apart = (size_t)llabs((char *)one - (char *)two);
		size_t want = 32;

		while (want < n)
			want *= 2;
		bad += !one || !two || apart != want;
		kfree(one);
		kfree(two);
	}
	is_u64(bad, 0, "objects of 1 to 2048 bytes lie as far apart as their class says");
	for (unsigned i = 0; i < 128; i++)
		p[i] = kzalloc(32);
	is_u64(free - frames_stat().free, 1, "128 objects of 32 bytes fill a frame");
	kfree(kzalloc(33));
	p[0] = (kfree(p[0]), kzalloc(32));
	is_u64(free - frames_stat().free, 1, "a hole is filled first");
	for (unsigned i = 0; i < 128; i++)
		kfree(p[i]);
	is_u64(frames_stat().free, free, "an empty frame goes back");
	p[0] = kzalloc(2049);
	is_u64(free - frames_stat().free, 1, "2049 bytes take a frame");
	p[1] = kzalloc(PAGE_SIZE);
	is_u64(free - frames_stat().free, 2, "so does a page");
	p[2] = kzalloc(PAGE_SIZE + 1);
	is_u64(free - frames_stat().free, 4, "one more byte: two");
	for (unsigned i = 0; i < 3; i++)
		kfree(p[i]);
	kfree(NULL);
	is_u64(frames_stat().free, free, "all free");
}

/* A size that no memory could serve is refused at once: nobody is kicked out of a guest for it. */
static void test_absurd_sizes(void)
{
	struct reclaim_list l = {0};
	pa_t pa;

	one_range(MIB, MIB);
	frames_alloc(NULL, 0, &pa);
	reclaim_add(&l, pa, 0);
	reclaim_queue(&l, 1, 1);
	behind_answer = true;
	waited = 0;
	ok(!kzalloc(SIZE_MAX) && !kzalloc(2 * GIB) && waited == 0, "2 GiB: no block is that large");
	ok(!kzalloc(GIB) && waited == 1, "1 GiB: there might be one, when reclaim is done");
}

/* ---- reclaim ---- */

static void test_reclaim(void)
{
	struct reclaim_list l = {0};
	pa_t f[6];

	one_range(MIB, MIB);
	for (unsigned i = 0; i < 6; i++)
		frames_alloc(NULL, i == 5 ? 2 : 0, &f[i]);
	reclaim_queue(&l, 7, 1);
	ok(reclaim_poll(10) == 0 && reclaim_pending() == 0, "an empty batch is nothing");
	for (unsigned i = 0; i < 3; i++)
		reclaim_add(&l, f[i], 0);
	is_u64(l.pages, 3, "a batch of three frames");
	reclaim_queue(&l, 7, 1);
	ok(!l.first && !l.last && !l.pages, "queued: the list is empty");
	asked = 0;
	is_u64(reclaim_poll(2), 2, "a budget of two");
	is_u64(asked, 1, "asks once for the batch");
	is_u64(reclaim_pending(), 1, "one is left");
	reclaim_add(&l, f[3], 0);
	reclaim_queue(&l, 7, 2);
	reclaim_add(&l, f[4], 0);
	reclaim_queue(&l, 8, 2);
	asked = 0;
	is_u64(reclaim_poll(UINT64_MAX), 3, "three batches");
	is_u64(asked, 3, "another epoch or space is another question (I1)");
	is_u64(reclaim_pending(), 0, "none is left");
	reclaim_add(&l, f[5], 2);
	is_u64(l.pages, 4, "a block of four");
	reclaim_release(&l);
	ok(l.pages == 0 && !l.first && !l.last, "a settled batch is released at once");
	is_u64(frames_refs(f[5]), 0, "to the last frame");
	is_u64(frames_stat().free, frames_stat().total, "all free (I9)");
	is_u64(reclaim_force(), 0, "forcing nothing");
	reclaim_init(NULL);
	is_u64(reclaim_poll(1), 0, "before tlbi is up reclaim has nobody to ask");
}

/* Whoever gets the frame may queue it again at once, so its mark goes before the reference. */
static pa_t watched;
static unsigned marks, late;

static void on_atomic(const void *p, bool write)
{
	if (!write || p != &frame_at(watched)->dead_order)
		return;
	marks++;
	late += frame_at(watched)->refs == 0;
}

static void test_mark(void)
{
	struct reclaim_list l = {0};

	one_range(MIB, MIB);
	frames_alloc(NULL, 0, &watched);
	host_on_atomic = on_atomic;
	reclaim_add(&l, watched, 0);
	reclaim_release(&l);
	host_on_atomic = NULL;
	ok(marks == 2 && late == 0, "a frame that is free can be queued (I1)");
}

int main(void)
{
	test_ranges();
	test_descriptors();
	test_many_zones();
	test_promises();
	test_references();
	test_kalloc();
	test_absurd_sizes();
	test_reclaim();
	test_mark();
	return tap_done();
}

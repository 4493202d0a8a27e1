/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The frame allocator against a shadow that knows each frame: hostile memory maps, random
 * allocation, references to parts of blocks, promises, kzalloc, and reclaim with agents that the
 * test plays.
 */
// links: mm/ledger.c
// links: mm/frames.c mm/reclaim.c mm/kalloc.c lib/log.c lib/string.c
#include <stdlib.h>

#include "lib/errno.h"
#include "lib/util.h"
#include "mm/frames.h"
#include "mm/kalloc.h"
#include "mm/reclaim.h"
#include "tests/host/hw_host.h"
#include "tests/tap.h"

#define WINDOW 16384u /* frames that hostile maps are drawn in: 64 MiB */

static uint64_t rnd(uint64_t below)
{
	return ((uint64_t)random() << 20 ^ (uint64_t)random()) % below;
}

/* ---- memory maps ---- */

static bool covered[WINDOW + 1];

/* A frame counts when one range holds all of it; stretches of one frame cannot hold a descriptor.
 */
static uint64_t cover(const struct mem_range *r, size_t n)
{
	uint64_t frames = 0;

	memset(covered, 0, sizeof(covered));
	for (size_t i = 0; i < n; i++) {
		uint64_t end = r[i].base.v + r[i].size;

		if (end < r[i].base.v)
			continue;
		for (uint64_t f = 1; f < WINDOW; f++)
			if (f * PAGE_SIZE >= r[i].base.v && (f + 1) * PAGE_SIZE <= end)
				covered[f] = true;
	}
	for (uint64_t f = 1; f < WINDOW; f++) {
		bool alone = covered[f] && !covered[f + 1] && !covered[f - 1];

		if (alone)
			covered[f] = false;
		frames += covered[f];
	}
	return frames;
}

static struct mem_range hostile_range(void)
{
	struct mem_range r = {pa(rnd(WINDOW * PAGE_SIZE)), 0};

	switch (rnd(6)) {
	case 0:
		r.size = rnd(3 * PAGE_SIZE);
		break;
	case 1:
		r = (struct mem_range){pa(UINT64_MAX - rnd(PAGE_SIZE)), UINT64_MAX / 2};
		break;
	case 2:
		r.base.v &= ~PAGE_MASK;
		r.size = PAGE_SIZE * rnd(64);
		break;
	default:
		r.size = rnd(4 * MIB);
		break;
	}
	if (r.base.v < WINDOW * PAGE_SIZE)
		r.size = min_u64(r.size, WINDOW * PAGE_SIZE - r.base.v);
	return r;
}

/* Allocates every frame: each must be covered, owned once, and descriptors must survive scribbling.
 */
static bool drain_all(uint64_t total)
{
	static bool taken[WINDOW];
	uint64_t n = 0;
	pa_t pa;

	memset(taken, 0, sizeof(taken));
	while (frames_alloc(NULL, 0, &pa) == 0) {
		uint64_t f = pa.v >> PAGE_SHIFT;

		if (f >= WINDOW || !covered[f] || taken[f] || !frames_owns(pa))
			return false;
		taken[f] = true;
		memset(hw_frame_ptr(pa), 0xa5, PAGE_SIZE);
		n++;
	}
	for (uint64_t f = 0; f < WINDOW; f++)
		if (taken[f])
			frames_put((pa_t){f << PAGE_SHIFT}, 0);
	return n == total && frames_stat().free == total;
}

static void test_maps(void)
{
	unsigned wrong_total = 0, wrong_drain = 0, wrong_largest = 0;

	for (unsigned round = 0; round < 300; round++) {
		struct mem_range r[24];
		size_t n = (size_t)rnd(ARRAY_SIZE(r) + 1);
		struct frames_stat before;
		uint64_t frames;
		int err;

		for (size_t i = 0; i < n; i++)
			r[i] = hostile_range();
		frames = cover(r, n);
		err = frames_init(r, n);
		before = frames_stat();
		wrong_total += before.total + before.overhead != frames ||
			       (err == 0) != (before.total > 0) || before.free != before.total ||
			       before.overhead > frames / 128 + 24;
		wrong_drain += !drain_all(before.total);
		wrong_largest += frames_stat().largest != before.largest;
	}
	is_u64(wrong_total, 0,
	       "300 hostile maps: every covered frame is handed out or a descriptor");
	is_u64(wrong_drain, 0, "each frame is handed out once, none outside the map");
	is_u64(wrong_largest, 0, "freeing everything restores the largest block");

	struct mem_range many[200];

	for (size_t i = 0; i < 200; i++)
		many[i] = (struct mem_range){pa(PAGE_SIZE * (1 + 64 * (199 - i))),
					     PAGE_SIZE * (2 + i % 50)};
	ok(frames_init(many, 200) == 0, "200 stretches: more than there is room for");
	ok(frames_stat().total > 64 * 40, "the largest ones are kept (%u frames)",
	   (unsigned)frames_stat().total);
	is_u64(frames_init(NULL, 0) == -ENOMEM, 1, "no memory at all is refused");
	ok(frames_init(&(struct mem_range){pa(0), UINT64_MAX}, 1) == -ENOMEM,
	   "a range beyond physical memory is ignored");
}

static void test_blocks_survive(void)
{
	struct mem_range pc[] = {
		{pa(0), 640 * KIB}, {pa(MIB), 3 * GIB - MIB}, {pa(4 * GIB), 5 * GIB}};
	pa_t a, b, c;

	ok(frames_init(pc, 3) == 0, "a PC with 8 GiB");
	is_u64(frames_stat().largest, BIT(18), "1 GiB blocks exist");
	ok(frames_alloc(NULL, 18, &a) == 0 && frames_alloc(NULL, 18, &b) == 0 &&
		   frames_alloc(NULL, 18, &c) == 0 && a.v != b.v && a.v % GIB == 0 &&
		   b.v % GIB == 0,
	   "descriptors spoil one gigabyte of each stretch at most");
	ok(frames_alloc(NULL, 19, &a) == -ENOMEM, "2 GiB blocks do not");
}

/* ---- random allocation against a shadow ---- */

static uint32_t shadow[WINDOW]; /* references of each frame */

static uint64_t shadow_free(uint64_t total)
{
	uint64_t used = 0;

	for (unsigned f = 0; f < WINDOW; f++)
		used += shadow[f] != 0;
	return total - used;
}

static bool shadow_take(pa_t pa, unsigned order)
{
	uint64_t f = pa.v >> PAGE_SHIFT;

	if (pa.v % (PAGE_SIZE << order))
		return false;
	for (uint64_t i = f; i < f + BIT(order); i++)
		if (shadow[i]++ != 0)
			return false;
	return true;
}

static void test_random(void)
{
	struct mem_range r[] = {{pa(3 * PAGE_SIZE), 5 * MIB}, {pa(8 * MIB), 40 * MIB}};
	unsigned overlap = 0, miscount = 0, wrong_refs = 0;
	struct frames_stat start;

	frames_init(r, 2);
	start = frames_stat();
	memset(shadow, 0, sizeof(shadow));
	for (unsigned step = 0; step < 60000; step++) {
		uint64_t f = rnd(WINDOW);
		unsigned order = (unsigned)rnd(rnd(4) ? 3 : 11);
		bool all = true, owned = true;
		pa_t pa;

		f &= ~(BIT(order) - 1);
		for (uint64_t i = f; i < f + BIT(order) && i < WINDOW; i++) {
			all = all && shadow[i];
			owned = owned && shadow[i] < 3;
		}
		if (rnd(3) == 0) {
			if (frames_alloc(NULL, order, &pa) == 0)
				overlap += !shadow_take(pa, order);
		} else if (all && f + BIT(order) <= WINDOW) {
			/* Any aligned part of what is allocated, whatever blocks it came in. */
			bool get = owned && rnd(3) == 0;

			(get ? frames_get : frames_put)((pa_t){f << PAGE_SHIFT}, order);
			for (uint64_t i = f; i < f + BIT(order); i++)
				shadow[i] += get ? 1u : UINT32_MAX;
		}
		if (step % 64 == 0)
			miscount += frames_stat().free != shadow_free(start.total);
		wrong_refs += frames_refs((pa_t){f << PAGE_SHIFT}) != shadow[f];
	}
	is_u64(overlap, 0, "60000 random steps: no frame is handed out twice");
	is_u64(miscount, 0, "the free count is the shadow's");
	is_u64(wrong_refs, 0, "references of parts of blocks are the shadow's");
	for (uint64_t f = 0; f < WINDOW; f++)
		for (; shadow[f]; shadow[f]--)
			frames_put((pa_t){f << PAGE_SHIFT}, 0);
	is_u64(frames_stat().free, start.free, "no frame leaks");
	is_u64(frames_stat().largest, start.largest, "everything merges again");
}

/* ---- promises ---- */

static void test_promises(void)
{
	struct mem_range r = {pa(MIB), 4 * MIB};
	struct frames_reserve a = {0}, b = {0};
	uint64_t total, taken = 0;
	pa_t pa, list[2048];

	frames_init(&r, 1);
	total = frames_stat().total;
	is_u64((uint64_t)-frames_reserve(&a, total + 1), ENOMEM,
	       "more than there is is not promised");
	is_u64(a.pages, 0, "and nothing changed");
	ok(frames_reserve(&a, total - 10) == 0 && frames_reserve(&b, 10) == 0, "all is promised");
	ok(frames_alloc(NULL, 0, &pa) == -ENOMEM, "what is promised is not given to others");
	ok(frames_reserve(&b, 1) == -ENOMEM, "nor promised twice");
	while (a.pages && frames_alloc(&a, 0, &list[taken]) == 0)
		taken++;
	is_u64(taken, total - 10, "every promised frame can be had, one by one");
	ok(frames_alloc(&a, 0, &pa) == -ENOMEM, "and not one more");
	frames_unalloc(&a, list[--taken], 0);
	is_u64(a.pages, 1, "unalloc restores the promise");
	frames_unreserve(&a);
	frames_unreserve(&b);
	is_u64(frames_stat().reserved, 0, "no promise is left");
	is_u64(frames_stat().free, total - taken, "free is what was not taken");
	ok(frames_alloc(NULL, 0, &pa) == 0, "others are served again");
	frames_put(pa, 0);
	while (taken)
		frames_put(list[--taken], 0);
	is_u64(frames_stat().free, total, "all free again");
}

/* ---- kzalloc ---- */

static void test_kalloc(void)
{
	struct mem_range r = {pa(MIB), 16 * MIB};
	struct {
		unsigned char *p;
		size_t n;
		unsigned char fill;
	} obj[512] = {0};
	unsigned bad = 0, dirty = 0, unaligned = 0;
	uint64_t before;

	frames_init(&r, 1);
	before = frames_stat().free;
	for (unsigned step = 0; step < 40000; step++) {
		size_t i = (size_t)rnd(512);

		if (obj[i].p) {
			for (size_t k = 0; k < obj[i].n; k++)
				bad += obj[i].p[k] != obj[i].fill;
			kfree(obj[i].p);
			obj[i].p = NULL;
			continue;
		}
		obj[i].n = 1 + (size_t)rnd(rnd(8) ? 300 : 12000);
		obj[i].p = kzalloc(obj[i].n);
		if (!obj[i].p)
			continue;
		for (size_t k = 0; k < obj[i].n; k++)
			dirty += obj[i].p[k] != 0;
		if (obj[i].n >= PAGE_SIZE / 2 + 1)
			unaligned += hw_frame_pa(obj[i].p).v % PAGE_SIZE != 0;
		else
			unaligned += hw_frame_pa(obj[i].p).v % 32 != 0;
		obj[i].fill = (unsigned char)step;
		memset(obj[i].p, obj[i].fill, obj[i].n);
	}
	is_u64(bad, 0, "40000 random kzalloc and kfree: objects do not overlap");
	is_u64(dirty, 0, "objects are zeroed");
	is_u64(unaligned, 0, "and aligned");
	for (size_t i = 0; i < 512; i++)
		kfree(obj[i].p);
	is_u64(frames_stat().free, before, "no frame leaks");
	ok(!kzalloc(0) && !kzalloc(2 * GIB) && !kzalloc(SIZE_MAX), "absurd sizes are refused");
	ok(!kzalloc(32 * MIB), "more than there is is refused");
	is_u64(frames_stat().free, before, "refusals leave nothing behind");
	while (kzalloc(100))
		;
	ok(frames_stat().free == 0 && !kzalloc(5000), "memory can be used up, politely");
}

/* ---- reclaim ---- */

static uint64_t passed[4]; /* by space: epoch that everybody has passed */
static unsigned waits;

static bool test_behind(uint64_t space, uint64_t epoch)
{
	return passed[space] < epoch;
}

static void test_wait(uint64_t space, uint64_t epoch)
{
	waits++;
	passed[space] = max_u64(passed[space], epoch);
}

static pa_t take(unsigned order)
{
	pa_t pa = {0};

	ok(frames_alloc(NULL, order, &pa) == 0, "a block of order %u", order);
	return pa;
}

static void test_reclaim(void)
{
	static const struct reclaim_agents agents = {test_behind, test_wait};
	struct mem_range r = {pa(MIB), 4 * MIB};
	struct reclaim_list l = {0}, m = {0};
	struct frames_reserve promise = {0};
	uint64_t total;
	pa_t a, b, c;

	frames_init(&r, 1);
	reclaim_init(&agents);
	total = frames_stat().free;
	a = take(0);
	b = take(3);
	c = take(0);
	ok(reclaim_add(&l, a, 0) && reclaim_add(&l, b, 3), "two blocks die");
	ok(!reclaim_add(&m, a, 0), "a frame that waits cannot wait again");
	reclaim_queue(&l, 1, 7);
	ok(!l.first && reclaim_pending() == 9, "nine frames wait");
	ok(reclaim_add(&m, c, 0), "another one dies in another space");
	reclaim_queue(&m, 2, 3);
	passed[1] = 6;
	passed[2] = 9;
	is_u64(reclaim_poll(100), 0, "nothing comes back before its epoch has passed");
	is_u64(frames_stat().free, total - 10, "so nothing is free");
	passed[1] = 7;
	is_u64(reclaim_poll(1), 1, "the budget limits how much is released");
	is_u64(reclaim_poll(100), 9, "then the rest");
	is_u64(frames_stat().free, total, "all free");

	a = take(0);
	c = take(0);
	reclaim_add(&l, a, 0);
	reclaim_queue(&l, 1, 8);
	reclaim_add(&l, c, 0);
	reclaim_queue(&l, 1, 9);
	passed[1] = 8;
	is_u64(reclaim_poll(100), 1, "two batches of one space: each waits for its own epoch");
	passed[1] = 9;
	is_u64(reclaim_poll(100), 1, "the later one comes later");

	b = take(3);
	frames_get(b, 3);
	reclaim_add(&l, b, 3);
	reclaim_release(&l);
	is_u64(frames_refs(b), 1, "reclaim drops one reference, the other mapping's stays");
	reclaim_add(&l, b, 3);
	reclaim_queue(&l, 3, 5);
	waits = 0;
	is_u64((uint64_t)frames_reserve(&promise, total), 0, "a promise forces what waits");
	is_u64(waits, 1, "by one wait for the batch");
	frames_unreserve(&promise);
	while (frames_try_alloc(NULL, 0, &a) == 0)
		reclaim_add(&l, a, 0);
	passed[3] = 0;
	reclaim_queue(&l, 3, 6);
	ok(frames_try_alloc(NULL, 0, &a) == -ENOMEM, "try_alloc does not wait for dead frames");
	ok(frames_alloc(NULL, 0, &a) == 0, "alloc does");
	frames_put(a, 0);
	is_u64(frames_stat().free, total, "all free in the end");
}

int main(void)
{
	srandom(1);
	test_maps();
	test_blocks_survive();
	test_random();
	test_promises();
	test_kalloc();
	test_reclaim();
	return tap_done();
}

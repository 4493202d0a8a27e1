/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kzalloc: up to 2 KiB from frames cut into equal objects, a class per power of two; beyond that
 * whole blocks. Which one an address belongs to stands in its frame's descriptor, so objects need
 * no header.
 */
#include "mm/kalloc.h"

#include "arch/hw.h"
#include "lib/check.h"
#include "lib/spinlock.h"
#include "lib/string.h"
#include "lib/util.h"
#include "mm/frame.h"
#include "mm/frames.h"

#define MIN_SHIFT 5 /* 32 bytes */
#define MAX_SHIFT 11
#define CLASSES	  (MAX_SHIFT - MIN_SHIFT + 1)

static struct spinlock lock = SPINLOCK_INIT; /* not held while frames are allocated */
static struct frame *partial[CLASSES];	     /* frames with an object to give */

static unsigned objects_per_frame(unsigned c)
{
	return (unsigned)(PAGE_SIZE >> (c + MIN_SHIFT));
}

static void partial_add(struct frame *f, unsigned c)
{
	f->slab.prev = NULL;
	f->slab.next = partial[c];
	if (f->slab.next)
		f->slab.next->slab.prev = f;
	partial[c] = f;
}

static void partial_del(struct frame *f, unsigned c)
{
	if (f->slab.next)
		f->slab.next->slab.prev = f->slab.prev;
	if (f->slab.prev)
		f->slab.prev->slab.next = f->slab.next;
	else
		partial[c] = f->slab.next;
}

/* A new frame for class c, cut up: free objects are linked by their first word. */
static struct frame *frame_cut(unsigned c)
{
	pa_t pa;
	struct frame *f;
	char *base;

	if (frames_alloc(NULL, 0, &pa) != 0)
		return NULL;
	f = frame_at(pa);
	base = hw_frame_ptr(pa);
	f->slab.free = NULL;
	f->slab_used = 0;
	frame_set_state(f, FRAME_CUT + c);
	for (unsigned i = objects_per_frame(c); i-- > 0;) {
		void **object = (void **)(void *)(base + ((size_t)i << (c + MIN_SHIFT)));

		*object = f->slab.free;
		f->slab.free = object;
	}
	return f;
}

static void *small_alloc(unsigned c)
{
	struct frame *f, *fresh = NULL;
	void *p;

	spin_lock(&lock);
	if (!partial[c]) {
		spin_unlock(&lock);
		fresh = frame_cut(c);
		if (!fresh)
			return NULL;
		spin_lock(&lock);
		partial_add(fresh, c);
	}
	f = partial[c];
	p = f->slab.free;
	f->slab.free = *(void **)p;
	f->slab_used++;
	if (!f->slab.free)
		partial_del(f, c);
	spin_unlock(&lock);
	memset(p, 0, BIT(c + MIN_SHIFT));
	return p;
}

static void small_free(struct frame *f, unsigned c, void *p)
{
	bool empty;

	spin_lock(&lock);
	CHECK(f->slab_used > 0);
	if (!f->slab.free)
		partial_add(f, c);
	*(void **)p = f->slab.free;
	f->slab.free = p;
	empty = --f->slab_used == 0;
	if (empty)
		partial_del(f, c);
	spin_unlock(&lock);
	if (empty)
		frames_put(frame_pa(f), 0);
}

/* Smallest shift with n <= 1 << shift. */
static unsigned shift_for(size_t n)
{
	return n <= 1 ? 0 : 64u - (unsigned)__builtin_clzll((unsigned long long)(n - 1));
}

void *kzalloc(size_t n)
{
	unsigned shift = shift_for(n);
	pa_t pa;
	void *p;

	if (n == 0 || shift > PAGE_SHIFT + FRAME_MAX_ORDER)
		return NULL;
	if (shift <= MAX_SHIFT)
		return small_alloc(shift < MIN_SHIFT ? 0 : shift - MIN_SHIFT);
	if (shift < PAGE_SHIFT)
		shift = PAGE_SHIFT;
	if (frames_alloc(NULL, shift - PAGE_SHIFT, &pa) != 0)
		return NULL;
	p = hw_frame_ptr(pa);
	memset(p, 0, BIT(shift));
	return p;
}

void kfree(void *p)
{
	pa_t pa;
	struct frame *f;

	if (!p)
		return;
	pa = hw_frame_pa(p);
	f = frame_at((pa_t){pa.v & ~PAGE_MASK});
	if (f->state >= FRAME_CUT) {
		unsigned c = f->state - (unsigned)FRAME_CUT;

		CHECK(is_aligned(pa.v, BIT(c + MIN_SHIFT)));
		small_free(f, c, p);
	} else {
		CHECK(f->state == FRAME_USED && is_aligned(pa.v, PAGE_SIZE));
		frames_put(pa, f->order);
	}
}

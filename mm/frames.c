/* SPDX-License-Identifier: BSD-2-Clause */
/* The frame allocator: zones of usable memory, buddy blocks, references and promises. See
 * mm/frames.h. */
#include "mm/frames.h"

#include "arch/hw.h"
#include "lib/check.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/spinlock.h"
#include "lib/string.h"
#include "lib/util.h"
#include "mm/frame.h"
#include "mm/ledger.h"
#include "mm/reclaim.h"

/* More stretches of memory than any firmware reports; when there are more, the smallest are left
 * out. */
#define MAX_ZONES 64

#define PA_LIMIT BIT(52) /* architectural end of physical memory, both architectures */

#define FRAMES_PER_DESC_PAGE (PAGE_SIZE / sizeof(struct frame))

/* A stretch of usable memory with its descriptors. Addresses are frame numbers. */
struct zone {
	uint64_t start, end; /* all of it, descriptors included */
	uint64_t base;	     /* first frame that is handed out */
	uint64_t pages;	     /* how many */
	struct frame *desc;
};

static struct zone zones[MAX_ZONES]; /* ascending; constant after frames_init */
static size_t nr_zones;

static struct spinlock lock = SPINLOCK_INIT;
static struct frame *free_list[FRAME_MAX_ORDER + 1];
static uint64_t total_pages, free_pages, reserved_pages, desc_pages;

static struct zone *zone_of(uint64_t pfn)
{
	size_t lo = 0, hi = nr_zones;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (pfn >= zones[mid].end)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < nr_zones && pfn >= zones[lo].start ? &zones[lo] : NULL;
}

/* NULL when the frame is not one that is handed out. */
static struct frame *frame_find(uint64_t pfn)
{
	struct zone *z = zone_of(pfn);

	return z && pfn - z->base < z->pages ? &z->desc[pfn - z->base] : NULL;
}

struct frame *frame_at(pa_t pa)
{
	struct frame *f = frame_find(pa.v >> PAGE_SHIFT);

	CHECK(f);
	return f;
}

/* Descriptors lie inside their zone, so their own address tells which one that is. */
static uint64_t frame_pfn(const struct frame *f)
{
	const struct zone *z = zone_of(hw_frame_pa(f).v >> PAGE_SHIFT);

	return z->base + (uint64_t)(f - z->desc);
}

pa_t frame_pa(const struct frame *f)
{
	return pa(frame_pfn(f) << PAGE_SHIFT);
}

/* ---- free lists ---- */

static void list_add(struct frame *f, unsigned order)
{
	f->state = FRAME_FREE;
	f->order = (uint8_t)order;
	f->refs = 0;
	f->free.prev = NULL;
	f->free.next = free_list[order];
	if (f->free.next)
		f->free.next->free.prev = f;
	free_list[order] = f;
}

static void list_del(struct frame *f)
{
	if (f->free.next)
		f->free.next->free.prev = f->free.prev;
	if (f->free.prev)
		f->free.prev->free.next = f->free.next;
	else
		free_list[f->order] = f->free.next;
	f->state = FRAME_INNER;
}

/* Puts a block back and joins it with its free buddies. What the ledger knew of it ends here. */
static void block_free(uint64_t pfn, unsigned order)
{
	free_pages += BIT(order);
	if (ledger_in_use())
		for (uint64_t i = 0; i < BIT(order); i++)
			atomic_store8_rel(&frame_find(pfn)[i].ledger, LEDGER_UNKNOWN);
	frame_find(pfn)->state = FRAME_INNER;
	for (; order < FRAME_MAX_ORDER; order++) {
		struct frame *buddy = frame_find(pfn ^ BIT(order));

		if (!buddy || buddy->state != FRAME_FREE || buddy->order != order)
			break;
		list_del(buddy);
		pfn &= ~BIT(order);
	}
	list_add(frame_find(pfn), order);
}

/* A block of the order, cut from the smallest one that holds it; NULL when there is none. */
static struct frame *block_take(unsigned order)
{
	unsigned from = order;
	struct frame *f;

	while (from <= FRAME_MAX_ORDER && !free_list[from])
		from++;
	if (from > FRAME_MAX_ORDER)
		return NULL;
	f = free_list[from];
	list_del(f);
	while (from > order) {
		from--;
		list_add(f + BIT(from), from);
	}
	f->state = FRAME_USED;
	f->order = (uint8_t)order;
	f->refs = 1;
	free_pages -= BIT(order);
	return f;
}

/* ---- start ---- */

/* The frames that lie wholly in r, as [*start, *end); false when there are none. */
static bool whole_frames(const struct mem_range *r, uint64_t *start, uint64_t *end)
{
	if (r->base.v >= PA_LIMIT || r->size > PA_LIMIT - r->base.v)
		return false;
	*start = max_u64(1, align_up(r->base.v, PAGE_SIZE) >> PAGE_SHIFT);
	*end = (r->base.v + r->size) >> PAGE_SHIFT;
	return *start < *end;
}

/*
 * The lowest stretch at or above `from` that the ranges cover, with all that overlaps or touches it
 * joined. There is no memory yet to sort the ranges in, hence a scan for each.
 */
static bool next_stretch(const struct mem_range *r, size_t n, uint64_t from, struct zone *z)
{
	uint64_t start, end;
	bool grew = true;

	z->start = UINT64_MAX;
	for (size_t i = 0; i < n; i++)
		if (whole_frames(&r[i], &start, &end) && end > from)
			z->start = min_u64(z->start, max_u64(start, from));
	if (z->start == UINT64_MAX)
		return false;
	z->end = z->start;
	while (grew) {
		grew = false;
		for (size_t i = 0; i < n; i++) {
			if (!whole_frames(&r[i], &start, &end) || start > z->end || end <= z->end)
				continue;
			z->end = end;
			grew = true;
		}
	}
	return true;
}

/* Appends (stretches come in order); when the table is full, the smallest is dropped. */
static void zone_add(const struct zone *z)
{
	size_t least = 0;

	if (z->end - z->start < 2) /* no room for both a descriptor and a frame */
		return;
	if (nr_zones == MAX_ZONES) {
		for (size_t i = 1; i < nr_zones; i++)
			if (zones[i].end - zones[i].start < zones[least].end - zones[least].start)
				least = i;
		if (zones[least].end - zones[least].start >= z->end - z->start)
			return;
		for (size_t i = least; i + 1 < nr_zones; i++)
			zones[i] = zones[i + 1];
		nr_zones--;
	}
	zones[nr_zones++] = *z;
}

/* Descriptors go to the less aligned end, so that the largest blocks survive. */
static void zone_start(struct zone *z)
{
	uint64_t all = z->end - z->start;
	uint64_t desc = (all + FRAMES_PER_DESC_PAGE) / (FRAMES_PER_DESC_PAGE + 1);
	bool low = __builtin_ctzll(z->start) < __builtin_ctzll(z->end);

	z->pages = all - desc;
	z->base = low ? z->start + desc : z->start;
	z->desc = hw_frame_ptr(pa((low ? z->start : z->base + z->pages) << PAGE_SHIFT));
	memset(z->desc, 0, desc * PAGE_SIZE);
	desc_pages += desc;
	total_pages += z->pages;
	for (uint64_t pfn = z->base, end = z->base + z->pages; pfn < end;) {
		unsigned order = FRAME_MAX_ORDER;

		while (!is_aligned(pfn, BIT(order)) || BIT(order) > end - pfn)
			order--;
		list_add(&z->desc[pfn - z->base], order);
		free_pages += BIT(order);
		pfn += BIT(order);
	}
}

int frames_init(const struct mem_range *usable, size_t n)
{
	struct zone z = {0};

	nr_zones = 0;
	total_pages = free_pages = reserved_pages = desc_pages = 0;
	memset(free_list, 0, sizeof(free_list));
	while (next_stretch(usable, n, z.end, &z))
		zone_add(&z);
	for (size_t i = 0; i < nr_zones; i++)
		zone_start(&zones[i]);
	return free_pages ? 0 : -ENOMEM;
}

/* ---- promises and allocation ---- */

struct frames_stat frames_stat(void)
{
	struct frames_stat s = {.pending = reclaim_pending()};

	spin_lock(&lock);
	s.total = total_pages;
	s.free = free_pages;
	s.reserved = reserved_pages;
	s.overhead = desc_pages;
	for (unsigned order = 0; order <= FRAME_MAX_ORDER; order++)
		if (free_list[order])
			s.largest = BIT(order);
	spin_unlock(&lock);
	return s;
}

static bool unpromised(uint64_t pages)
{
	return free_pages >= reserved_pages && free_pages - reserved_pages >= pages;
}

static bool try_reserve(struct frames_reserve *r, uint64_t pages)
{
	bool fits;

	spin_lock(&lock);
	fits = unpromised(pages);
	if (fits) {
		reserved_pages += pages;
		r->pages += pages;
	}
	spin_unlock(&lock);
	return fits;
}

int frames_reserve(struct frames_reserve *r, uint64_t pages)
{
	if (try_reserve(r, pages))
		return 0;
	return reclaim_force() && try_reserve(r, pages) ? 0 : -ENOMEM;
}

void frames_unreserve(struct frames_reserve *r)
{
	spin_lock(&lock);
	CHECK(reserved_pages >= r->pages);
	reserved_pages -= r->pages;
	r->pages = 0;
	spin_unlock(&lock);
}

int frames_try_alloc(struct frames_reserve *r, unsigned order, pa_t *out)
{
	struct frame *f = NULL;

	if (order > FRAME_MAX_ORDER)
		return -ENOMEM;
	spin_lock(&lock);
	if (r ? r->pages >= BIT(order) : unpromised(BIT(order)))
		f = block_take(order);
	if (f) {
		*out = frame_pa(f);
		if (r) {
			r->pages -= BIT(order);
			reserved_pages -= BIT(order);
		}
	}
	spin_unlock(&lock);
	return f ? 0 : -ENOMEM;
}

int frames_alloc(struct frames_reserve *r, unsigned order, pa_t *out)
{
	if (frames_try_alloc(r, order, out) == 0)
		return 0;
	return reclaim_force() ? frames_try_alloc(r, order, out) : -ENOMEM;
}

/* ---- references ---- */

/* The block that holds an allocated frame. */
static struct frame *block_of(uint64_t pfn, uint64_t *first)
{
	for (unsigned order = 0; order <= FRAME_MAX_ORDER; order++) {
		struct frame *f = frame_find(pfn & ~(BIT(order) - 1));

		if (f && f->state != FRAME_INNER) {
			CHECK(f->state >= FRAME_USED && f->order >= order);
			*first = pfn & ~(BIT(order) - 1);
			return f;
		}
	}
	panic("frame %#llx belongs to no block", (unsigned long long)pfn);
}

/* Splits until a block begins at pfn that does not reach beyond 1 << order frames. */
static struct frame *block_carve(uint64_t pfn, unsigned order)
{
	uint64_t first;
	struct frame *f = block_of(pfn, &first);

	while (f->order > order) {
		struct frame *upper = f + BIT(--f->order);

		upper->state = FRAME_USED;
		upper->order = f->order;
		upper->refs = f->refs;
		if (pfn - first >= BIT(f->order)) {
			first += BIT(f->order);
			f = upper;
		}
	}
	CHECK(first == pfn);
	return f;
}

static void refs_add(pa_t pa, unsigned order, int delta)
{
	uint64_t pfn = pa.v >> PAGE_SHIFT, end = pfn + BIT(order);

	CHECK(is_aligned(pfn, BIT(order)));
	spin_lock(&lock);
	while (pfn < end) {
		struct frame *f = block_carve(pfn, order);
		uint64_t next = pfn + BIT(f->order);

		CHECK(delta < 0 || f->refs < UINT32_MAX);
		f->refs += (uint32_t)delta;
		if (f->refs == 0)
			block_free(pfn, f->order);
		pfn = next;
	}
	spin_unlock(&lock);
}

void frames_get(pa_t pa, unsigned order)
{
	refs_add(pa, order, 1);
}

void frames_put(pa_t pa, unsigned order)
{
	refs_add(pa, order, -1);
}

bool frames_exclusive(pa_t pa, unsigned order)
{
	uint64_t pfn = pa.v >> PAGE_SHIFT, end = pfn + BIT(order), first;
	bool exclusive = true;

	spin_lock(&lock);
	while (exclusive && pfn < end) {
		struct frame *f = block_of(pfn, &first);

		exclusive = f->refs == 1;
		pfn = first + BIT(f->order);
	}
	spin_unlock(&lock);
	return exclusive;
}

void frames_unalloc(struct frames_reserve *r, pa_t pa, unsigned order)
{
	struct frame *f;

	spin_lock(&lock);
	f = frame_find(pa.v >> PAGE_SHIFT);
	CHECK(f && f->state == FRAME_USED && f->order == order && f->refs == 1);
	f->refs = 0;
	block_free(pa.v >> PAGE_SHIFT, order);
	if (r) {
		r->pages += BIT(order);
		reserved_pages += BIT(order);
	}
	spin_unlock(&lock);
}

void frame_set_state(struct frame *f, unsigned state)
{
	spin_lock(&lock);
	f->state = (uint8_t)state;
	spin_unlock(&lock);
}

bool frames_owns(pa_t pa)
{
	return frame_find(pa.v >> PAGE_SHIFT);
}

uint32_t frames_refs(pa_t pa)
{
	uint64_t pfn = pa.v >> PAGE_SHIFT, first;
	uint32_t refs = 0;

	if (!frames_owns(pa))
		return 0;
	spin_lock(&lock);
	for (unsigned order = 0; order <= FRAME_MAX_ORDER; order++) {
		struct frame *f;

		first = pfn & ~(BIT(order) - 1);
		f = frame_find(first);
		if (f && f->state != FRAME_INNER) {
			refs = f->state == FRAME_FREE ? 0 : f->refs;
			break;
		}
	}
	spin_unlock(&lock);
	return refs;
}

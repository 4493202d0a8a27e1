/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest's memory: slots, population on fault, and the hypervisor's own accesses. See
 * vm/guestmem.h. */
#include "vm/guestmem.h"

#include "arch/hw.h"
#include "lib/check.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "mm/ledger.h"
#include "mm/reclaim.h"
#include "stage2/stage2.h"
#include "tlbi/agent.h"
#include "tlbi/broadcast.h"
#include "tlbi/gather.h"

/*
 * Faults populate 2 MiB at a time. 1 GiB has to be cleared in one go, with interrupts off: a pause
 * that other guests would notice, so that is for who asks for it (max_level).
 */
#define DEFAULT_LEVEL 1

/* The hypervisor copies at most this much in one reader section: reclaim waits for those. */
#define CHUNK (64 * KIB)

int guestmem_init(struct guestmem *gm, char *err, size_t err_size)
{
	*gm = (struct guestmem){.max_level = DEFAULT_LEVEL};
	if (frames_reserve(&gm->reserve, stage2_root_frames(hw_stage2_format())) != 0 ||
	    stage2_init(&gm->s2, hw_stage2_format(), &gm->reserve) != 0) {
		snprintf(err, err_size, "no memory for a page table");
		return -ENOMEM;
	}
	return 0;
}

/* ---- slots ---- */

static const struct gm_slot *slot_find(const struct guestmem *gm, ipa_t ipa)
{
	uint32_t n = atomic_load32_acq(&gm->nr_slots);

	for (uint32_t i = 0; i < n; i++)
		if (ipa.v - gm->slots[i].base.v < gm->slots[i].size)
			return &gm->slots[i];
	return NULL;
}

static bool slot_overlaps(const struct guestmem *gm, ipa_t base, uint64_t size)
{
	uint32_t n = atomic_load32_acq(&gm->nr_slots);

	for (uint32_t i = 0; i < n; i++)
		if (base.v < gm->slots[i].base.v + gm->slots[i].size &&
		    gm->slots[i].base.v < base.v + size)
			return true;
	return false;
}

/*
 * Slots and devices only ever get more, each complete before it is counted, so a look needs no
 * lock; what it found counts as long as the generation did not move.
 */
static void append(struct guestmem *gm, atomic_u32 *count)
{
	TLBI_GATHER(g, &gm->s2.space);
	struct space_locked l = space_lock(&gm->s2.space);

	stage2_slots_begin(&gm->s2, l, &g);
	atomic_store32_rel(count, atomic_load32(count) + 1);
	stage2_slots_end(&gm->s2, l);
	space_unlock(l, &g);
}

int guestmem_add_device(struct guestmem *gm, ipa_t base, uint64_t size, uint32_t region)
{
	uint32_t n = atomic_load32(&gm->nr_devices);
	uint64_t start = align_down(base.v, PAGE_SIZE);

	if (size == 0 || !range_fits(base.v, size, stage2_limit(&gm->s2)))
		return -EINVAL;
	if (n == GM_MAX_DEVICES)
		return -ENOSPC;
	size = align_up(base.v + size, PAGE_SIZE) - start;
	if (frames_reserve(&gm->reserve, stage2_worst_tables(&gm->s2, ipa(start), size)) != 0)
		return -ENOMEM;
	gm->devices[n] = (struct gm_device){ipa(start), size, region};
	append(gm, &gm->nr_devices);
	return 0;
}

static uint32_t device_find(const struct guestmem *gm, ipa_t ipa)
{
	uint32_t n = atomic_load32_acq(&gm->nr_devices);

	for (uint32_t i = 0; i < n; i++)
		if (ipa.v - gm->devices[i].base.v < gm->devices[i].size)
			return gm->devices[i].region;
	return GM_NO_REGION;
}

int guestmem_add_ram(struct guestmem *gm, ipa_t base, uint64_t size)
{
	uint32_t n = atomic_load32(&gm->nr_slots);
	uint64_t pages = size / PAGE_SIZE;

	if (size == 0 || !is_aligned(base.v | size, PAGE_SIZE) ||
	    !range_fits(base.v, size, stage2_limit(&gm->s2)) || slot_overlaps(gm, base, size))
		return -EINVAL;
	if (n == GM_MAX_SLOTS)
		return -ENOSPC;
	if (frames_reserve(&gm->reserve, pages + stage2_worst_tables(&gm->s2, base, size)) != 0)
		return -ENOMEM;
	gm->slots[n] = (struct gm_slot){base, size};
	gm->ram_bytes += size;
	append(gm, &gm->nr_slots);
	return 0;
}

bool guestmem_is_ram(const struct guestmem *gm, ipa_t ipa, uint64_t size)
{
	if (!range_fits(ipa.v, size, UINT64_MAX))
		return false;
	while (size) {
		const struct gm_slot *slot = slot_find(gm, ipa);
		uint64_t part;

		if (!slot)
			return false;
		part = min_u64(size, slot->base.v + slot->size - ipa.v);
		ipa.v += part;
		size -= part;
	}
	return true;
}

uint64_t guestmem_ram_bytes(const struct guestmem *gm)
{
	return gm->ram_bytes;
}

uint64_t guestmem_populated_pages(const struct guestmem *gm)
{
	return atomic_load64(&gm->populated);
}

struct space *guestmem_space(struct guestmem *gm)
{
	return &gm->s2.space;
}

pa_t guestmem_root(const struct guestmem *gm)
{
	return gm->s2.space.root;
}

/* ---- population ---- */

/* What the table says; for an MMIO entry of this generation also whose it is. */
static struct s2_walk look(struct guestmem *gm, ipa_t ipa, uint32_t *region)
{
	struct s2_walk w;

	reader_enter(&gm->s2.space);
	w = stage2_lookup(&gm->s2, ipa);
	*region = stage2_mmio_current(&gm->s2, &w) ? w.region : GM_NO_REGION;
	reader_exit();
	return w;
}

/* The largest leaf around `ipa` that lies in the slot, below what the fault allows. */
static unsigned fitting_level(const struct gm_slot *slot, ipa_t ipa, unsigned level)
{
	for (; level > 0; level--) {
		uint64_t size = s2_level_size(level), start = align_down(ipa.v, size);

		if (start >= slot->base.v && start + size <= slot->base.v + slot->size)
			break;
	}
	return level;
}

/* A cleared block from the promise, of at most *level, which comes back as what it is. */
static int take_block(struct guestmem *gm, unsigned *level, pa_t *pa)
{
	while (*level > 0 && frames_try_alloc(&gm->reserve, s2_level_order(*level), pa) != 0)
		--*level;
	if (*level == 0 && frames_alloc(&gm->reserve, 0, pa) != 0)
		return -ENOMEM;
	memset(hw_frame_ptr(*pa), 0, s2_level_size(*level));
	ledger_prepare(*pa, s2_level_order(*level));
	return 0;
}

/* Everything that may fail or wait comes first; in the reader section there is only the install. */
static int populate(struct guestmem *gm, ipa_t ipa, unsigned level, unsigned from_level,
		    uint64_t gen)
{
	struct s2_pool pool = {.reserve = &gm->reserve};
	pa_t pa;
	int err = take_block(gm, &level, &pa);

	if (err)
		return err;
	err = s2_pool_fill(&pool, from_level - level);
	if (!err) {
		ipa_t start = {align_down(ipa.v, s2_level_size(level))};

		reader_enter(&gm->s2.space);
		/* In the section: an update of the slots waits for it, or is seen by it. */
		err = !(gen & S2_SLOTS_CHANGING) && stage2_slots_gen(&gm->s2) == gen
			      ? stage2_install(&gm->s2, start, level, pa, S2_RWX, &pool)
			      : -EAGAIN;
		reader_exit();
		/* The tree changed since it was looked at: start over with another number of
		 * tables. */
		if (err == -ENOMEM)
			err = -EAGAIN;
	}
	s2_pool_drain(&pool);
	if (err)
		frames_unalloc(&gm->reserve, pa, s2_level_order(level));
	else
		atomic_add64(&gm->populated, BIT(s2_level_order(level)));
	return err;
}

static enum gm_fault fault_empty(struct guestmem *gm, ipa_t ipa, const struct gm_slot *slot,
				 const struct s2_walk *w, uint64_t gen)
{
	unsigned limit = gm->max_level, max_leaf = stage2_max_leaf(&gm->s2);

	limit = limit < max_leaf ? limit : max_leaf;
	limit = limit < w->level ? limit : w->level;
	if (w->kind == S2_EMPTY && w->owed && space_behind(&gm->s2.space, w->owed)) {
		space_force(&gm->s2.space, w->owed);
		return GM_RETRY;
	}
	switch (populate(gm, ipa, fitting_level(slot, ipa, limit), w->level, gen)) {
	case 0:
	case -EEXIST: /* somebody else was faster */
		return GM_RESOLVED;
	case -EAGAIN:
		return GM_RETRY;
	default:
		log_err("guest memory: the promise is used up at %#llx", (unsigned long long)ipa.v);
		return GM_ERROR;
	}
}

/*
 * The leaf allows it: a translation that was cached before it was relaxed, or another vCPU was
 * faster. It does not: all RAM may be written, so it is a page whose stores are being watched.
 */
static enum gm_fault fault_leaf(struct guestmem *gm, ipa_t ipa, unsigned access,
				const struct s2_walk *w)
{
	s2_attr_t attr = w->attr;
	int err = 0;

	if ((access & GM_EXEC) && !(attr & S2_X)) {
		log_err("guest memory: access %#x at %#llx is not allowed", access,
			(unsigned long long)ipa.v);
		return GM_ERROR;
	}
	if ((access & GM_WRITE) && !(attr & S2_W)) {
		reader_enter(&gm->s2.space);
		err = stage2_relax(&gm->s2, ipa, S2_W | S2_DIRTY);
		reader_exit();
	}
	if (err)
		return GM_RETRY;
	tlbi_relaxed(&gm->s2.space, ipa);
	return GM_RESOLVED;
}

/* Leaves the next access an entry. It is a short cut: when there is no memory for it, none is left.
 */
static void note_device(struct guestmem *gm, ipa_t ipa, uint32_t region, unsigned from_level,
			uint64_t gen)
{
	struct s2_pool pool = {.reserve = &gm->reserve};

	if (s2_pool_fill(&pool, from_level) == 0) {
		reader_enter(&gm->s2.space);
		(void)stage2_install_mmio(&gm->s2, (ipa_t){align_down(ipa.v, PAGE_SIZE)}, region,
					  gen, &pool);
		reader_exit();
	}
	s2_pool_drain(&pool);
}

enum gm_fault guestmem_resolve(struct guestmem *gm, ipa_t ipa, unsigned access, uint32_t *region)
{
	uint64_t gen = stage2_slots_gen(&gm->s2);
	const struct gm_slot *slot;
	struct s2_walk w;

	w = look(gm, ipa, region);
	if (*region != GM_NO_REGION)
		return GM_MMIO;
	if (w.kind == S2_LEAF)
		return fault_leaf(gm, ipa, access, &w);
	slot = slot_find(gm, ipa);
	if (!slot) {
		*region = device_find(gm, ipa);
		if (*region != GM_NO_REGION)
			note_device(gm, ipa, *region, w.level, gen);
		return GM_MMIO;
	}
	if (w.kind == S2_EMPTY || w.kind == S2_MMIO)
		return fault_empty(gm, ipa, slot, &w, gen);
	return GM_RETRY;
}

enum gm_fault guestmem_fault(struct guestmem *gm, ipa_t ipa, unsigned access)
{
	uint32_t region;

	return guestmem_resolve(gm, ipa, access, &region);
}

/* ---- the hypervisor's own accesses ---- */

/* What is done with a stretch of guest memory: p is NULL where nothing was populated (it reads as
 * zero). */
struct gm_op {
	enum { OP_READ, OP_WRITE, OP_ZERO, OP_CMPXCHG } op;
	unsigned size; /* OP_CMPXCHG */
	uint8_t *dst;
	const uint8_t *src;
	uint64_t *expected, desired;
	bool swapped;
};

static void stretch(struct gm_op *o, void *p, uint64_t n)
{
	switch (o->op) {
	case OP_READ:
		if (p)
			memcpy(o->dst, p, n);
		else
			memset(o->dst, 0, n);
		o->dst += n;
		break;
	case OP_WRITE:
		memcpy(p, o->src, n);
		o->src += n;
		break;
	case OP_ZERO:
		if (p)
			memset(p, 0, n);
		break;
	case OP_CMPXCHG:
		o->swapped = atomic_cas_bytes(p, o->size, o->expected, o->desired);
		break;
	}
}

/*
 * Our stores count as the guest's (I6): a leaf that is watched faults first, and where the dirty
 * mark tells, we set it, for no hardware does it for us. Before the store: a harvest that comes in
 * between waits for this reader section.
 */
static bool writable(struct guestmem *gm, ipa_t ipa, const struct s2_walk *w)
{
	if (!(w->attr & S2_W))
		return false;
	return (w->attr & S2_DIRTY) || stage2_relax(&gm->s2, ipa, S2_DIRTY) == 0;
}

/*
 * One step at `ipa`, at most n bytes: how many were dealt with, 0 when they have to be populated
 * first. The frame cannot be freed under us: the walk and the access are in one reader section.
 */
static uint64_t step(struct guestmem *gm, ipa_t ipa, uint64_t n, struct gm_op *o)
{
	uint64_t done = 0, left;
	struct s2_walk w;

	reader_enter(&gm->s2.space);
	w = stage2_lookup(&gm->s2, ipa);
	left = s2_level_size(w.level) - (ipa.v & (s2_level_size(w.level) - 1));
	if (w.kind == S2_LEAF && (o->op == OP_READ || writable(gm, ipa, &w))) {
		done = min_u64(min_u64(n, left), CHUNK);
		/* On machines where the guest can get past the caches: meet it in memory. */
		if (ledger_in_use() && (o->op == OP_READ || o->op == OP_CMPXCHG))
			ledger_read(w.pa, done);
		stretch(o, hw_frame_ptr(w.pa), done);
		if (ledger_in_use() && o->op != OP_READ)
			ledger_wrote(w.pa, done);
	} else if (w.kind == S2_EMPTY && (o->op == OP_READ || o->op == OP_ZERO)) {
		done = min_u64(n, left);
		stretch(o, NULL, done);
	}
	reader_exit();
	return done;
}

static int access_ram(struct guestmem *gm, ipa_t ipa, uint64_t n, struct gm_op *o)
{
	if (!guestmem_is_ram(gm, ipa, n))
		return -EFAULT;
	while (n) {
		uint64_t done = step(gm, ipa, n, o);
		enum gm_fault f = done ? GM_RESOLVED : guestmem_fault(gm, ipa, GM_WRITE);

		if (f == GM_RETRY)
			hw_relax();
		else if (f != GM_RESOLVED)
			return -EFAULT;
		ipa.v += done;
		n -= done;
	}
	return 0;
}

int guestmem_read(struct guestmem *gm, ipa_t ipa, void *dst, size_t n)
{
	return access_ram(gm, ipa, n, &(struct gm_op){.op = OP_READ, .dst = dst});
}

int guestmem_write(struct guestmem *gm, ipa_t ipa, const void *src, size_t n)
{
	return access_ram(gm, ipa, n, &(struct gm_op){.op = OP_WRITE, .src = src});
}

int guestmem_zero(struct guestmem *gm, ipa_t ipa, uint64_t n)
{
	return access_ram(gm, ipa, n, &(struct gm_op){.op = OP_ZERO});
}

int guestmem_cmpxchg(struct guestmem *gm, ipa_t ipa, unsigned size, uint64_t *expected,
		     uint64_t desired)
{
	struct gm_op o = {.op = OP_CMPXCHG, .size = size, .expected = expected, .desired = desired};
	int err;

	if (!is_pow2(size) || size > 8 || !is_aligned(ipa.v, size))
		return -EINVAL;
	err = access_ram(gm, ipa, size, &o);
	if (err)
		return err;
	return o.swapped ? 0 : -EAGAIN;
}

/* ---- the end ---- */

void guestmem_destroy(struct guestmem *gm)
{
	struct space *s = &gm->s2.space;

	if (!gm->s2.fmt)
		return;
	{
		TLBI_GATHER(g, s);
		struct space_locked l = space_lock(s);

		stage2_destroy(&gm->s2, l, &g);
		space_unlock(l, &g);
		gather_defer(&g);
	}
	/* Nobody can be behind a space that nobody enters, so all of it comes back here. */
	reclaim_poll(UINT64_MAX);
	frames_unreserve(&gm->reserve);
	*gm = (struct guestmem){0};
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* VMIDs, their generations, and which pCPU has which root loaded. See tlbi/vmid.h. */
#include "tlbi/vmid.h"

#include "arch/hw.h"
#include "lib/check.h"
#include "lib/string.h"
#include "lib/util.h"
#include "tlbi/broadcast.h"

/*
 * A VMID with its generation: number in 15:0, generation above. 48 bits of generation, at one
 * rollover a microsecond, wrap after nine years of nothing else; new_generation checks.
 */
#define NUMBER_BITS 16
#define NUMBER(v)   ((uint32_t)((v) & (BIT(NUMBER_BITS) - 1)))
#define GEN_ONE	    BIT(NUMBER_BITS)

#define ACTIVE_IDLE GEN_ONE /* number 0: nothing is loaded, and nothing need be kept */

struct vmid_pcpu {
	/*
	 * VMID in use. A new generation takes it away (0) and notes it in `reserved`; the pCPU
	 * finds that out when it enters next, and until then keeps the number that it runs on.
	 */
	atomic_u64 active;
	atomic_u64 leaving; /* while another one is loaded: the one before, or 0 */
	atomic_u64 loaded;  /* id of the space whose root is loaded, 0: none */
	atomic_u32 unload;  /* somebody asked for it */
	uint64_t vmid;	    /* that is loaded; this pCPU's own */
	uint64_t reserved;  /* under the lock */
} __attribute__((aligned(64)));

static struct spinlock lock = SPINLOCK_INIT; /* before a space's owed.lock; no other under it */
static struct vmid_pcpu pcpus[MAX_PCPUS];
static atomic_u32 nr_pcpus;
static uint32_t nr_vmids, cursor;
static atomic_u64 generation;
static uint64_t taken[BIT(NUMBER_BITS) / 64];
static struct space *living; /* that have a VMID */
static struct vmid_stat stat;

void vmid_init(uint32_t nr)
{
	CHECK(nr > 2 && nr <= BIT(NUMBER_BITS));
	memset(pcpus, 0, sizeof(pcpus));
	memset(taken, 0, sizeof(taken));
	nr_vmids = nr;
	cursor = 1; /* 0 is the hypervisor's: under it no guest runs */
	living = NULL;
	stat = (struct vmid_stat){0};
	atomic_store64(&generation, GEN_ONE);
	atomic_store32(&nr_pcpus, 0);
}

void vmid_pcpu_init(unsigned pcpu)
{
	uint32_t n = atomic_load32(&nr_pcpus);

	CHECK(pcpu < MAX_PCPUS);
	while (n <= pcpu && !atomic_cas32(&nr_pcpus, &n, pcpu + 1))
		;
	CHECK(2 * (atomic_load32(&nr_pcpus) + 1) <= nr_vmids);
}

static bool current(uint64_t v)
{
	return v && v - NUMBER(v) == atomic_load64_acq(&generation);
}

/* ---- generations: the lock is held ---- */

static bool take(uint32_t number)
{
	uint64_t *word = &taken[number / 64];
	bool free = !(*word & BIT(number % 64));

	*word |= BIT(number % 64);
	return free;
}

/* A number that is not taken, from the cursor on and not again from the start; 0: none. */
static uint32_t take_next(void)
{
	for (; cursor < nr_vmids; cursor++)
		if (take(cursor))
			return cursor++;
	return 0;
}

/*
 * Everything is flushed, so every number is free again, but for those that some pCPU has loaded:
 * it may fill the TLB under them right after the flush.
 */
static void new_generation(void)
{
	uint32_t n = atomic_load32_acq(&nr_pcpus);

	CHECK(atomic_load64(&generation) < UINT64_MAX - GEN_ONE);
	atomic_store64_rel(&generation, atomic_load64(&generation) + GEN_ONE);
	memset(taken, 0, sizeof(taken));
	for (uint32_t i = 0; i < n; i++) {
		struct vmid_pcpu *p = &pcpus[i];
		uint64_t v = atomic_xchg64(&p->active, 0);

		/* Gone already: it has not entered since the last time, and still has that one. */
		if (v)
			p->reserved = v;
		take(NUMBER(p->reserved));
		/* Read after `active`: see vmid_enter. */
		take(NUMBER(atomic_load64_acq(&p->leaving)));
	}
	cursor = 1;
	stat.rollovers++;
	stat.retired = 0;
	broadcast_barrier(HW_BARRIER_ENTRIES);
	broadcast_cmd(&(struct hw_tlbi_cmd){.op = HW_TLBI_EVERYTHING});
	broadcast_barrier(HW_BARRIER_TLBI);
	broadcast_barrier(HW_BARRIER_CONTEXT);
}

/* A space that some pCPU had loaded at the rollover keeps its number, on all of them. */
static bool keep_reserved(uint64_t old, uint64_t new)
{
	uint32_t n = atomic_load32_acq(&nr_pcpus);
	bool kept = false;

	for (uint32_t i = 0; i < n; i++) {
		if (pcpus[i].reserved != old)
			continue;
		pcpus[i].reserved = new;
		kept = true;
	}
	return kept;
}

static uint64_t assign(struct space *s)
{
	uint64_t old = atomic_load64(&s->vmid), gen = atomic_load64(&generation);
	uint32_t number = NUMBER(old);

	if (current(old))
		return old;
	CHECK(!s->dead);
	if (!old) {
		s->next_living = living;
		living = s;
	} else if (keep_reserved(old, gen | number) || take(number)) {
		atomic_store64_rel(&s->vmid, gen | number);
		return gen | number;
	}
	number = take_next();
	if (!number) {
		new_generation();
		gen = atomic_load64(&generation);
		/* It may be loaded elsewhere, even here. */
		if (old && keep_reserved(old, gen | NUMBER(old)))
			number = NUMBER(old);
		else
			number = take_next();
	}
	CHECK(number);
	stat.assigned++;
	atomic_store64_rel(&s->vmid, gen | number);
	return gen | number;
}

/* ---- what is loaded ---- */

static uint64_t activate(struct vmid_pcpu *p, struct space *s)
{
	uint64_t v = atomic_load64_acq(&s->vmid), active = atomic_load64(&p->active);

	/* A new generation that begins after the look makes the swap fail. */
	if (active && current(v) && atomic_cas64(&p->active, &active, v))
		return v;
	spin_lock(&lock);
	v = assign(s);
	atomic_store64(&p->active, v);
	spin_unlock(&lock);
	return v;
}

/*
 * From the moment that `active` names another VMID the old one, still loaded, is only kept by
 * `leaving`. It is written before, so who sees the new `active` sees it.
 */
static void load_root(struct vmid_pcpu *p, pa_t root, uint64_t v, uint64_t space)
{
	hw_load_root(root, NUMBER(v));
	p->vmid = v;
	/* No walk uses the old root any more: who looks for its readers may know now. */
	atomic_store64_rel(&p->loaded, space);
	atomic_store64_rel(&p->leaving, 0);
}

uint32_t vmid_enter(unsigned pcpu, struct space *s, bool *fresh)
{
	struct vmid_pcpu *p = &pcpus[pcpu];
	uint64_t v = atomic_load64(&s->vmid);

	*fresh = false;
	/* What is loaded stays: if its generation has ended, the number was kept for us. */
	if (p->vmid && p->vmid == v && atomic_load64(&p->loaded) == s->id &&
	    atomic_load64(&p->active) == v)
		return NUMBER(v);
	atomic_store64_rel(&p->leaving, p->vmid);
	v = activate(p, s);
	*fresh = true;
	load_root(p, s->root, v, s->id);
	return NUMBER(v);
}

void vmid_unload(unsigned pcpu)
{
	struct vmid_pcpu *p = &pcpus[pcpu];

	atomic_store32(&p->unload, 0);
	if (!p->vmid)
		return;
	atomic_store64_rel(&p->leaving, p->vmid);
	atomic_xchg64(&p->active, ACTIVE_IDLE);
	load_root(p, pa(0), 0, 0);
}

void vmid_poll(unsigned pcpu)
{
	if (atomic_load32_acq(&pcpus[pcpu].unload))
		vmid_unload(pcpu);
}

/* ---- life and death of spaces ---- */

void vmid_retire(struct space *s)
{
	struct space **at = &living;

	spin_lock(&lock);
	s->dead = true;
	while (*at && *at != s)
		at = &(*at)->next_living;
	if (*at) {
		*at = s->next_living;
		stat.retired += current(atomic_load64(&s->vmid));
	}
	spin_unlock(&lock);
}

static struct space *find(uint64_t id)
{
	struct space *s = living;

	while (s && s->id != id)
		s = s->next_living;
	return s;
}

static bool loaded_anywhere(uint64_t id)
{
	uint32_t n = atomic_load32_acq(&nr_pcpus);

	for (uint32_t i = 0; i < n; i++)
		if (atomic_load64_acq(&pcpus[i].loaded) == id)
			return true;
	return false;
}

bool vmid_behind(uint64_t space, uint64_t epoch)
{
	struct space *s;
	bool behind;

	spin_lock(&lock);
	s = find(space);
	behind = s ? broadcast_behind(s, epoch) : loaded_anywhere(space);
	spin_unlock(&lock);
	return behind;
}

static void ask_unload(uint64_t id)
{
	uint32_t n = atomic_load32_acq(&nr_pcpus), self = hw_cpu();

	for (uint32_t i = 0; i < n; i++) {
		if (atomic_load64_acq(&pcpus[i].loaded) != id)
			continue;
		if (i == self)
			vmid_unload(i);
		else if (!atomic_xchg32(&pcpus[i].unload, 1))
			hw_kick(i);
	}
}

void vmid_pass(uint64_t space, uint64_t epoch)
{
	struct space *s;

	spin_lock(&lock);
	s = find(space);
	if (s) /* under the lock, so that it cannot die meanwhile */
		broadcast_flush(s, epoch);
	spin_unlock(&lock);
	if (!s)
		ask_unload(space);
}

struct vmid_stat vmid_stat(void)
{
	struct vmid_stat copy;

	spin_lock(&lock);
	copy = stat;
	spin_unlock(&lock);
	return copy;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The simulated machine below arch/hw.h and lib/atomic.h. Each pCPU has a store buffer. x86: first
 * in, first out; a locked operation, a fence and the world switch empty it. arm64: a relaxed store
 * may overtake another address's, a release store waits for all before it; a read-modify-write here
 * is acquire and release, and its own store is visible at once (weaker orders of loads are not
 * modelled, see README.md).
 */
#include "tests/model/model.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/atomic.h"
#include "lib/check.h"
#include "lib/log.h"
#include "lib/util.h"
#include "mm/frames.h"
#include "stage2/ops.h"

#define ARENA_AT ((void *)0x600000000000ULL) /* fixed, so that schedules repeat */

char *arena;

static struct hw_mmu_caps caps;
static const struct stage2_format *format;

void machine_init(void)
{
	arena = mmap(ARENA_AT, MAX_FRAMES * PAGE_SIZE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	CHECK(arena == ARENA_AT);
}

void machine_boot(const struct scenario *s, enum arch arch)
{
	struct mem_range usable = {pa(PAGE_SIZE), 0};

	caps = (struct hw_mmu_caps){
		.tags = arch == ARCH_NPT   ? HW_TAGS_ASID
			: arch == ARCH_EPT ? HW_TAGS_VPID
					   : HW_TAGS_VMID,
		.nr_tags = s->nr_tags ? s->nr_tags : 64,
		.flush_by_tag = !s->no_flush_by_tag,
		.pa_bits = 48,
		.ipa_bits = 48,
		.max_leaf_level = s->max_leaf,
		.accessed_dirty = true,
		.tlbi_range = !s->no_range,
		.tlbi_ttl = true,
		.fwb = true, /* the cacheability ledger is not modelled */
		.icache_coherent = arch != ARCH_ARM64,
	};
	format = arch == ARCH_NPT ? &stage2_npt : arch == ARCH_EPT ? &stage2_ept : &stage2_vmsav8;
	memset(arena, 0, MAX_FRAMES * PAGE_SIZE);
	usable.size = ((s->frames ? s->frames : 48) - 1) * PAGE_SIZE;
	CHECK(frames_init(&usable, 1) == 0);
	tlbi_init();
	for (unsigned c = 0; c < PCPUS; c++) {
		CHECK(tlbi_pcpu_init(c) == 0);
		M.f[c].changed = true;
	}
	M.free_at_boot = frames_stat().free;
}

unsigned frame_of(uint64_t pa)
{
	return (unsigned)(pa >> PAGE_SHIFT);
}

/* ---- memory ---- */

static bool in_arena(const void *p)
{
	return (const char *)p >= arena && (const char *)p < arena + MAX_FRAMES * PAGE_SIZE;
}

/* An entry on the way to an address that somebody uses. */
static bool on_probe_path(const void *p, unsigned size)
{
	unsigned i = (unsigned)((uintptr_t)p >> 3 & 511);

	return size == 8 && in_arena(p) && (M.relevant[i / 64] >> (i % 64) & 1);
}

static bool scheduled(const void *p, unsigned size, bool write)
{
	return M.running && (on_probe_path(p, size) || address_shared(p, write));
}

uint64_t memory_load(const void *p, unsigned size)
{
	uint64_t v = 0;

	memcpy(&v, p, size);
	return v;
}

/* A loop that spins is worth another turn only when something that it reads has changed. */
static void wake_spinners(unsigned cpu, const void *p)
{
	for (unsigned c = 0; c < PCPUS; c++) {
		struct fiber *f = &M.f[c];

		if (c == cpu)
			continue;
		f->grace = 0;
		f->written = true;
		f->changed |= f->nr_read > MAX_READ;
		for (unsigned i = 0; i < f->nr_read && i < MAX_READ; i++)
			f->changed |= f->read[i] == p;
	}
}

static void note_read(const void *p)
{
	struct fiber *f = &M.f[M.cur];

	for (unsigned i = 0; i < f->nr_read && i < MAX_READ; i++)
		if (f->read[i] == p)
			return;
	if (f->nr_read < MAX_READ)
		f->read[f->nr_read] = p;
	if (f->nr_read <= MAX_READ)
		f->nr_read++;
}

/* Becomes visible to everybody now. */
static void memory_store(unsigned cpu, void *p, unsigned size, uint64_t v)
{
	uint64_t old = memory_load(p, size);

	memcpy(p, &v, size);
	if (old != v)
		wake_spinners(cpu, p);
	if (M.running && on_probe_path(p, size)) {
		if (X->arch == ARCH_ARM64 && M.old_n < ARRAY_SIZE(M.old)) {
			M.old[M.old_n].slot = p;
			M.old[M.old_n].value = old;
			M.old[M.old_n++].cpu = cpu;
		}
		tlb_stored(p, old, v);
	}
}

/* ---- store buffers ---- */

static bool overlaps(const struct pending_store *s, const void *p, unsigned size)
{
	return (const char *)p < (const char *)s->p + s->size &&
	       (const char *)s->p < (const char *)p + size;
}

bool store_may_drain(unsigned cpu, unsigned index)
{
	const struct fiber *f = &M.f[cpu];

	if (index == 0)
		return true;
	if (X->arch != ARCH_ARM64 || f->stores[index].release)
		return false;
	for (unsigned i = 0; i < index; i++)
		if (overlaps(&f->stores[i], f->stores[index].p, f->stores[index].size))
			return false;
	return true;
}

void store_drain(unsigned cpu, unsigned index)
{
	struct fiber *f = &M.f[cpu];
	struct pending_store s = f->stores[index];

	f->nr_stores--;
	for (unsigned i = index; i < f->nr_stores; i++)
		f->stores[i] = f->stores[i + 1];
	f->stores[f->nr_stores] = (struct pending_store){0};
	memory_store(cpu, s.p, s.size, s.v);
}

void store_drain_all(unsigned cpu)
{
	while (M.f[cpu].nr_stores)
		store_drain(cpu, 0);
}

/* The epoch that the pCPU which holds the space's lock has given last. */
uint64_t latest_epoch(const struct space *s)
{
	uint64_t epoch = memory_load(&s->epoch.v, 8);

	for (unsigned c = 0; c < PCPUS; c++)
		for (unsigned i = 0; i < M.f[c].nr_stores; i++)
			if (M.f[c].stores[i].p == &s->epoch.v)
				epoch = max_u64(epoch, M.f[c].stores[i].v);
	return epoch;
}

/* ---- lib/atomic.h ---- */

static void log_access(const char *what, const void *pc, const void *p, uint64_t v)
{
	char name[80];

	if (X->tracing && M.running)
		trace_row((int)M.cur, "  %s: %s %s = %#llx", function_name(pc), what,
			  address_name(p, name, sizeof(name)), (unsigned long long)v);
}

#define CALLER __builtin_return_address(0)

/* What a load sees: this pCPU's own stores first. */
static uint64_t load(const void *p, unsigned size)
{
	const struct fiber *f = &M.f[M.cur];

	for (unsigned i = f->nr_stores; i-- > 0;)
		if (f->stores[i].p == p && f->stores[i].size == size)
			return f->stores[i].v;
	for (unsigned c = 0; c < PCPUS; c++)
		for (unsigned i = 0; i < M.f[c].nr_stores; i++)
			if (c != M.cur && M.f[c].stores[i].p == p)
				rule_used(RULE_STORE_DELAYED);
	return memory_load(p, size);
}

/* A reader section holds on to what it finds in a table. */
static void note_reader(const void *p, unsigned size, uint64_t v)
{
	if (M.running && M.f[M.cur].reading && size == 8 && in_arena(p) && (v & 1))
		check_reader_holds(v & 0x000ffffffffff000ULL);
}

uint64_t host_atomic_load(const void *p, unsigned size, int order)
{
	bool point = scheduled(p, size, false);
	uint64_t v;

	(void)order;
	if (point)
		yield("load", p, false);
	v = load(p, size);
	if (point)
		log_access("reads", CALLER, p, v);
	if (M.running)
		note_read(p);
	note_reader(p, size, v);
	return v;
}

void host_atomic_store(void *p, unsigned size, uint64_t v, int order)
{
	struct fiber *f = &M.f[M.cur];

	if (!scheduled(p, size, true)) {
		memory_store(M.cur, p, size, v);
		return;
	}
	if (f->nr_stores == MAX_STORES) {
		yield("store buffer full", p, false);
		if (f->nr_stores == MAX_STORES)
			store_drain(M.cur, 0);
	}
	log_access("stores", CALLER, p, v);
	f->stores[f->nr_stores++] = (struct pending_store){
		.p = p,
		.v = v,
		.size = (uint8_t)size,
		.release = order != __ATOMIC_RELAXED,
	};
}

/* Before a read-modify-write: earlier stores are visible first. */
static bool rmw(void *p, unsigned size, const char *what)
{
	bool point = scheduled(p, size, true);

	if (point)
		yield(what, p, true);
	return point;
}

uint64_t host_atomic_xchg(void *p, unsigned size, uint64_t v)
{
	bool point = rmw(p, size, "exchange");
	uint64_t old = memory_load(p, size);

	if (point)
		log_access("exchanges", CALLER, p, v);
	memory_store(M.cur, p, size, v);
	return old;
}

bool host_atomic_cas(void *p, unsigned size, uint64_t *expected, uint64_t desired)
{
	bool point = rmw(p, size, "compare-and-swap");
	uint64_t old = memory_load(p, size);

	if (old != *expected) {
		if (point)
			log_access("fails to swap", CALLER, p, old);
		*expected = old;
		return false;
	}
	if (point)
		log_access("swaps in", CALLER, p, desired);
	memory_store(M.cur, p, size, desired);
	return true;
}

#define RMW(name, op)                                                                              \
	uint64_t host_atomic_##name(void *p, unsigned size, uint64_t v)                            \
	{                                                                                          \
		bool point = rmw(p, size, #name);                                                  \
		uint64_t old = memory_load(p, size);                                               \
                                                                                                   \
		if (point)                                                                         \
			log_access(#name "s to", CALLER, p, old op v);                             \
		memory_store(M.cur, p, size, old op v);                                            \
		return old;                                                                        \
	}

RMW(add, +)
RMW(or, |)
RMW(and, &)

void host_atomic_fence(void)
{
	if (M.running && M.f[M.cur].nr_stores)
		yield("fence", NULL, true);
}

/* ---- arch/hw.h ---- */

unsigned hw_cpu(void)
{
	return M.cur;
}

void *hw_frame_ptr(pa_t pa)
{
	CHECK(pa.v < MAX_FRAMES * PAGE_SIZE);
	return arena + pa.v;
}

pa_t hw_frame_pa(const void *p)
{
	CHECK(in_arena(p));
	return pa((uint64_t)((const char *)p - arena));
}

/* Did this pCPU store to the entry of old value `i` after the store that made it old. */
static bool overwritten_here(unsigned i)
{
	for (unsigned later = i; later < M.old_n; later++)
		if (M.old[later].slot == M.old[i].slot && M.old[later].cpu == M.cur)
			return true;
	return false;
}

/*
 * arm64: what this pCPU stored before is what walkers see from now on, and nothing older: another
 * pCPU's earlier store to the same entry comes before ours in coherence order, whether it has had
 * its DSB or not.
 */
static void publish_entries(void)
{
	unsigned n = 0;

	store_drain_all(M.cur);
	for (unsigned i = 0; i < M.old_n; i++)
		if (!overwritten_here(i))
			M.old[n++] = M.old[i];
	memset(&M.old[n], 0, (M.old_n - n) * sizeof(M.old[0]));
	M.old_n = n;
}

static const char *const barrier_name[] = {
	[HW_BARRIER_ENTRIES] = "DSB ISHST", [HW_BARRIER_EXIT] = "DSB NSH after the exit",
	[HW_BARRIER_TLBI] = "DSB ISH",	    [HW_BARRIER_TLBI_LOCAL] = "DSB NSH",
	[HW_BARRIER_CONTEXT] = "ISB",	    [HW_BARRIER_DESCHEDULE] = "DSB ISH, descheduled",
};

void hw_barrier(enum hw_barrier kind)
{
	if (!M.running || X->arch != ARCH_ARM64)
		return;
	yield("barrier", NULL, true);
	if (X->tracing)
		trace_row((int)M.cur, "  %s", barrier_name[kind]);
	/* Every DSB that covers stores publishes entries, and completes what was begun before. */
	if (kind == HW_BARRIER_ENTRIES || kind == HW_BARRIER_TLBI || kind == HW_BARRIER_DESCHEDULE)
		publish_entries();
	if (kind == HW_BARRIER_TLBI || kind == HW_BARRIER_DESCHEDULE)
		tlbi_complete(false);
	if (kind == HW_BARRIER_TLBI_LOCAL)
		tlbi_complete(true);
}

static const char *const tlbi_name[HW_TLBI_NR_OPS] = {
	[HW_TLBI_ROOT] = "INVEPT single-context",   [HW_TLBI_TAG] = "INVVPID single-context",
	[HW_TLBI_ALL_TAGS] = "INVVPID all-context", [HW_TLBI_IPA] = "TLBI IPAS2E1IS",
	[HW_TLBI_IPA_RANGE] = "TLBI RIPAS2E1IS",    [HW_TLBI_STAGE1] = "TLBI VMALLE1IS",
	[HW_TLBI_VMID] = "TLBI VMALLS12E1IS",	    [HW_TLBI_EVERYTHING] = "TLBI ALLE1IS",
	[HW_TLBI_IPA_LOCAL] = "TLBI IPAS2E1",	    [HW_TLBI_STAGE1_LOCAL] = "TLBI VMALLE1",
};

void hw_tlbi(const struct hw_tlbi_cmd *cmd)
{
	if (X->tracing && M.running)
		trace_row((int)M.cur, "  %s tag %u root %#llx ipa %#llx", tlbi_name[cmd->op],
			  cmd->tag, (unsigned long long)cmd->root.v,
			  (unsigned long long)cmd->ipa.v);
	switch (cmd->op) {
	case HW_TLBI_ROOT:
		tlb_forget(M.cur, covers_root, cmd->root.v);
		break;
	case HW_TLBI_TAG:
		tlb_forget(M.cur, covers_combined_tag, cmd->tag);
		break;
	case HW_TLBI_ALL_TAGS:
		tlb_forget(M.cur, covers_combined, 0);
		break;
	default:
		tlbi_begin(cmd);
		break;
	}
}

/* arm64. Nothing of the old root is walked when this returns; the TLB keeps what it has. */
void hw_load_root(pa_t root, uint32_t tag)
{
	struct context *ctx = &M.f[M.cur].ctx;

	if (M.running) {
		yield("load root", NULL, true);
		publish_entries();
	}
	if (X->tracing && M.running)
		trace_row((int)M.cur, "  VTTBR = root %#llx VMID %u", (unsigned long long)root.v,
			  tag);
	*ctx = (struct context){0};
	if (tag == 0)
		return;
	*ctx = (struct context){
		.active = true,
		.root = root.v,
		.root_gen = M.frame_gen[frame_of(root.v)],
		.tag = tag,
		.vcpu = M.f[M.cur].vcpu,
	};
	for (unsigned g = 0; g < ARRAY_SIZE(G); g++) {
		if (G[g].s2.space.root.v != root.v)
			continue;
		ctx->space = &G[g].s2.space;
		ctx->sid = G[g].s2.space.id;
	}
	tlb_fill(M.cur, false);
}

void hw_cache(enum hw_cache_op op, pa_t at, uint64_t size)
{
	(void)op;
	(void)at;
	(void)size;
}

void hw_kick(unsigned pcpu)
{
	yield("kick", NULL, false);
	if (X->tracing && M.running)
		trace_row((int)M.cur, "  kicks pCPU%u", pcpu);
	M.f[pcpu].kicked = true;
}

const struct hw_mmu_caps *hw_mmu_caps(void)
{
	return &caps;
}

const struct stage2_format *hw_stage2_format(void)
{
	return format;
}

void log_msg(enum log_level level, const char *fmt, ...)
{
	va_list ap;
	char text[200];

	(void)level;
	if (!X->tracing)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	trace_row((int)M.cur, "  log: %s", text);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* arch/hw.h and the instrumented half of lib/atomic.h for host tests. See hw_host.h. */
#include "tests/host/hw_host.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "lib/atomic.h"
#include "lib/check.h"

struct hw_mmu_caps host_caps = {
	.tags = HW_TAGS_ASID,
	.nr_tags = 16,
	.flush_by_tag = true,
	.pa_bits = 48,
	.ipa_bits = 48,
	.max_leaf_level = 2,
	.accessed_dirty = true,
	.icache_coherent = true,
};
const struct stage2_format *host_format;
_Thread_local unsigned host_cpu;
unsigned host_kicks[MAX_PCPUS];
void (*host_on_tlbi)(const struct hw_tlbi_cmd *cmd);
void (*host_on_barrier)(enum hw_barrier kind);
void (*host_on_load)(pa_t root, uint32_t tag);
void (*host_on_cache)(enum hw_cache_op op, pa_t at, uint64_t size);
void (*host_on_relax)(void);
void (*host_on_atomic)(const void *p, bool write);

static char *arena(void)
{
	static char *base;

	if (!base) {
		base = mmap(NULL, HOST_MEMORY, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		CHECK(base != MAP_FAILED);
	}
	return base;
}

void host_discard(void)
{
	CHECK(madvise(arena(), HOST_MEMORY, MADV_DONTNEED) == 0);
}

unsigned hw_cpu(void)
{
	return host_cpu;
}

void *hw_frame_ptr(pa_t pa)
{
	CHECK(pa.v < HOST_MEMORY);
	return arena() + pa.v;
}

pa_t hw_frame_pa(const void *p)
{
	uint64_t offset = (uint64_t)((const char *)p - arena());

	CHECK(offset < HOST_MEMORY);
	return pa(offset);
}

void hw_relax(void)
{
	if (host_on_relax)
		host_on_relax();
	else
		sched_yield();
}

void hw_barrier(enum hw_barrier kind)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (host_on_barrier)
		host_on_barrier(kind);
}

void hw_load_root(pa_t root, uint32_t tag)
{
	if (host_on_load)
		host_on_load(root, tag);
}

void hw_cache(enum hw_cache_op op, pa_t at, uint64_t size)
{
	if (host_on_cache)
		host_on_cache(op, at, size);
}

void hw_tlbi(const struct hw_tlbi_cmd *cmd)
{
	if (host_on_tlbi)
		host_on_tlbi(cmd);
}

void hw_kick(unsigned pcpu)
{
	__atomic_fetch_add(&host_kicks[pcpu], 1, __ATOMIC_RELAXED);
}

const struct hw_mmu_caps *hw_mmu_caps(void)
{
	return &host_caps;
}

const struct stage2_format *hw_stage2_format(void)
{
	return host_format;
}

/* ---- lib/atomic.h ---- */

static void seen(const void *p, bool write)
{
	if (host_on_atomic)
		host_on_atomic(p, write);
}

/* Everything is sequentially consistent here; the model is where weak orders are tried. */
#define BY_SIZE(size, what)                                                                        \
	switch (size) {                                                                            \
	case 1:                                                                                    \
		what(uint8_t);                                                                     \
	case 2:                                                                                    \
		what(uint16_t);                                                                    \
	case 4:                                                                                    \
		what(uint32_t);                                                                    \
	default:                                                                                   \
		what(uint64_t);                                                                    \
	}

uint64_t host_atomic_load(const void *p, unsigned size, int order)
{
	(void)order;
	seen(p, false);
#define LOAD(T) return __atomic_load_n((const T *)p, __ATOMIC_SEQ_CST)
	BY_SIZE(size, LOAD)
}

void host_atomic_store(void *p, unsigned size, uint64_t v, int order)
{
	(void)order;
	seen(p, true);
#define STORE(T)                                                                                   \
	__atomic_store_n((T *)p, (T)v, __ATOMIC_SEQ_CST);                                          \
	return
	BY_SIZE(size, STORE)
}

uint64_t host_atomic_xchg(void *p, unsigned size, uint64_t v)
{
	seen(p, true);
#define XCHG(T) return __atomic_exchange_n((T *)p, (T)v, __ATOMIC_SEQ_CST)
	BY_SIZE(size, XCHG)
}

bool host_atomic_cas(void *p, unsigned size, uint64_t *expected, uint64_t desired)
{
	seen(p, true);
#define CAS(T)                                                                                     \
	{                                                                                          \
		T e = (T)*expected;                                                                \
		bool done = __atomic_compare_exchange_n((T *)p, &e, (T)desired, false,             \
							__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);       \
		*expected = e;                                                                     \
		return done;                                                                       \
	}
	BY_SIZE(size, CAS)
}

uint64_t host_atomic_add(void *p, unsigned size, uint64_t v)
{
	seen(p, true);
#define ADD(T) return __atomic_fetch_add((T *)p, (T)v, __ATOMIC_SEQ_CST)
	BY_SIZE(size, ADD)
}

uint64_t host_atomic_or(void *p, unsigned size, uint64_t v)
{
	seen(p, true);
#define OR(T) return __atomic_fetch_or((T *)p, (T)v, __ATOMIC_SEQ_CST)
	BY_SIZE(size, OR)
}

uint64_t host_atomic_and(void *p, unsigned size, uint64_t v)
{
	seen(p, true);
#define AND(T) return __atomic_fetch_and((T *)p, (T)v, __ATOMIC_SEQ_CST)
	BY_SIZE(size, AND)
}

void host_atomic_fence(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

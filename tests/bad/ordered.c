/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/atomic.h for the build with the thread sanitizer: every access has the order that it asks
 * for, no more, so that an order that is too weak is a data race there. Takes the place of the
 * sequentially consistent ones of tests/host/hw_host.c.
 */
#include <stdbool.h>
#include <stdint.h>

uint64_t host_atomic_load(const void *p, unsigned size, int order);
void host_atomic_store(void *p, unsigned size, uint64_t v, int order);
uint64_t host_atomic_xchg(void *p, unsigned size, uint64_t v);
bool host_atomic_cas(void *p, unsigned size, uint64_t *expected, uint64_t desired);
uint64_t host_atomic_add(void *p, unsigned size, uint64_t v);
uint64_t host_atomic_or(void *p, unsigned size, uint64_t v);
uint64_t host_atomic_and(void *p, unsigned size, uint64_t v);
void host_atomic_fence(void);

extern void (*host_on_atomic)(const void *p, bool write);

static void seen(const void *p, bool write)
{
	if (host_on_atomic)
		host_on_atomic(p, write);
}

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
	seen(p, false);
#define LOAD(T)                                                                                    \
	return order == __ATOMIC_ACQUIRE ? __atomic_load_n((const T *)p, __ATOMIC_ACQUIRE)         \
					 : __atomic_load_n((const T *)p, __ATOMIC_RELAXED)
	BY_SIZE(size, LOAD)
}

void host_atomic_store(void *p, unsigned size, uint64_t v, int order)
{
	seen(p, true);
#define STORE(T)                                                                                   \
	if (order == __ATOMIC_RELEASE)                                                             \
		__atomic_store_n((T *)p, (T)v, __ATOMIC_RELEASE);                                  \
	else                                                                                       \
		__atomic_store_n((T *)p, (T)v, __ATOMIC_RELAXED);                                  \
	return
	BY_SIZE(size, STORE)
}

uint64_t host_atomic_xchg(void *p, unsigned size, uint64_t v)
{
	seen(p, true);
#define XCHG(T) return __atomic_exchange_n((T *)p, (T)v, __ATOMIC_ACQ_REL)
	BY_SIZE(size, XCHG)
}

bool host_atomic_cas(void *p, unsigned size, uint64_t *expected, uint64_t desired)
{
	seen(p, true);
#define CAS(T)                                                                                     \
	{                                                                                          \
		T e = (T)*expected;                                                                \
		bool done = __atomic_compare_exchange_n((T *)p, &e, (T)desired, false,             \
							__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);       \
		*expected = e;                                                                     \
		return done;                                                                       \
	}
	BY_SIZE(size, CAS)
}

uint64_t host_atomic_add(void *p, unsigned size, uint64_t v)
{
	seen(p, true);
#define ADD(T) return __atomic_fetch_add((T *)p, (T)v, __ATOMIC_ACQ_REL)
	BY_SIZE(size, ADD)
}

uint64_t host_atomic_or(void *p, unsigned size, uint64_t v)
{
	seen(p, true);
#define OR(T) return __atomic_fetch_or((T *)p, (T)v, __ATOMIC_ACQ_REL)
	BY_SIZE(size, OR)
}

uint64_t host_atomic_and(void *p, unsigned size, uint64_t v)
{
	seen(p, true);
#define AND(T) return __atomic_fetch_and((T *)p, (T)v, __ATOMIC_ACQ_REL)
	BY_SIZE(size, AND)
}

void host_atomic_fence(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

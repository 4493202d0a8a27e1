/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one place of atomics. Everything that two pCPUs may touch without a lock is an atomic_u32 or
 * an atomic_u64, and every access says its ordering. Orders are C11's: acq = acquire, rel =
 * release, no suffix on a read-modify-write = both; plain load and store are relaxed.
 *
 * In a hosted build each access is a call into the test harness, which may count it, reorder it or
 * switch to another simulated pCPU there; in the hypervisor it is the compiler's builtin.
 */
#ifndef SLUICE_LIB_ATOMIC_H
#define SLUICE_LIB_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
	uint8_t v;
} atomic_u8;

typedef struct {
	uint32_t v;
} atomic_u32;

typedef struct {
	uint64_t v;
} atomic_u64;

/* An instruction each, so inline where code is small rather than fast, too. */
#define ATOMIC_INLINE static inline __attribute__((always_inline))

#if __STDC_HOSTED__
/* Provided by the harness; size is 1, 2, 4 or 8 bytes, p naturally aligned. */
uint64_t host_atomic_load(const void *p, unsigned size, int order);
void host_atomic_store(void *p, unsigned size, uint64_t v, int order);
uint64_t host_atomic_xchg(void *p, unsigned size, uint64_t v);
bool host_atomic_cas(void *p, unsigned size, uint64_t *expected, uint64_t desired);
uint64_t host_atomic_add(void *p, unsigned size, uint64_t v);
uint64_t host_atomic_or(void *p, unsigned size, uint64_t v);
uint64_t host_atomic_and(void *p, unsigned size, uint64_t v);
void host_atomic_fence(void);

#define ATOMIC_LOAD(T, p, order)     ((T)host_atomic_load((p), sizeof(T), (order)))
#define ATOMIC_STORE(T, p, v, order) host_atomic_store((p), sizeof(T), (v), (order))
#define ATOMIC_XCHG(T, p, v)	     ((T)host_atomic_xchg((p), sizeof(T), (v)))
#define ATOMIC_ADD(T, p, v)	     ((T)host_atomic_add((p), sizeof(T), (v)))
#define ATOMIC_OR(T, p, v)	     ((T)host_atomic_or((p), sizeof(T), (v)))
#define ATOMIC_AND(T, p, v)	     ((T)host_atomic_and((p), sizeof(T), (v)))
#define ATOMIC_FENCE()		     host_atomic_fence()
#define ATOMIC_CAS(T, p, expected, desired)                                                        \
	({                                                                                         \
		uint64_t seen_ = *(expected);                                                      \
		bool ok_ = host_atomic_cas((p), sizeof(T), &seen_, (desired));                     \
		*(expected) = (T)seen_;                                                            \
		ok_;                                                                               \
	})
#else
#define ATOMIC_LOAD(T, p, order)     __atomic_load_n((p), (order))
#define ATOMIC_STORE(T, p, v, order) __atomic_store_n((p), (v), (order))
#define ATOMIC_XCHG(T, p, v)	     __atomic_exchange_n((p), (v), __ATOMIC_ACQ_REL)
#define ATOMIC_ADD(T, p, v)	     __atomic_fetch_add((p), (v), __ATOMIC_ACQ_REL)
#define ATOMIC_OR(T, p, v)	     __atomic_fetch_or((p), (v), __ATOMIC_ACQ_REL)
#define ATOMIC_AND(T, p, v)	     __atomic_fetch_and((p), (v), __ATOMIC_ACQ_REL)
#define ATOMIC_FENCE()		     __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define ATOMIC_CAS(T, p, expected, desired)                                                        \
	__atomic_compare_exchange_n((p), (expected), (desired), false, __ATOMIC_ACQ_REL,           \
				    __ATOMIC_ACQUIRE)
#endif

/*
 * Orders all earlier loads and stores of this pCPU before all later ones, as other pCPUs'
 * *software* sees them. What hardware table walkers see is ordered by hw_barrier().
 */
ATOMIC_INLINE void atomic_fence(void)
{
	ATOMIC_FENCE();
}

ATOMIC_INLINE uint8_t atomic_load8(const atomic_u8 *a)
{
	return ATOMIC_LOAD(uint8_t, &a->v, __ATOMIC_RELAXED);
}

ATOMIC_INLINE void atomic_store8_rel(atomic_u8 *a, uint8_t v)
{
	ATOMIC_STORE(uint8_t, &a->v, v, __ATOMIC_RELEASE);
}

/* True when *a was *expected and is now `desired`; else *expected is what was found. */
ATOMIC_INLINE bool atomic_cas8(atomic_u8 *a, uint8_t *expected, uint8_t desired)
{
	return ATOMIC_CAS(uint8_t, &a->v, expected, desired);
}

ATOMIC_INLINE uint32_t atomic_load32(const atomic_u32 *a)
{
	return ATOMIC_LOAD(uint32_t, &a->v, __ATOMIC_RELAXED);
}

ATOMIC_INLINE uint32_t atomic_load32_acq(const atomic_u32 *a)
{
	return ATOMIC_LOAD(uint32_t, &a->v, __ATOMIC_ACQUIRE);
}

ATOMIC_INLINE void atomic_store32(atomic_u32 *a, uint32_t v)
{
	ATOMIC_STORE(uint32_t, &a->v, v, __ATOMIC_RELAXED);
}

ATOMIC_INLINE void atomic_store32_rel(atomic_u32 *a, uint32_t v)
{
	ATOMIC_STORE(uint32_t, &a->v, v, __ATOMIC_RELEASE);
}

/* Read-modify-writes return the old value. */
ATOMIC_INLINE uint32_t atomic_add32(atomic_u32 *a, uint32_t v)
{
	return ATOMIC_ADD(uint32_t, &a->v, v);
}

ATOMIC_INLINE uint32_t atomic_or32(atomic_u32 *a, uint32_t v)
{
	return ATOMIC_OR(uint32_t, &a->v, v);
}

ATOMIC_INLINE uint32_t atomic_and32(atomic_u32 *a, uint32_t v)
{
	return ATOMIC_AND(uint32_t, &a->v, v);
}

ATOMIC_INLINE uint32_t atomic_xchg32(atomic_u32 *a, uint32_t v)
{
	return ATOMIC_XCHG(uint32_t, &a->v, v);
}

ATOMIC_INLINE bool atomic_cas32(atomic_u32 *a, uint32_t *expected, uint32_t desired)
{
	return ATOMIC_CAS(uint32_t, &a->v, expected, desired);
}

ATOMIC_INLINE uint64_t atomic_load64(const atomic_u64 *a)
{
	return ATOMIC_LOAD(uint64_t, &a->v, __ATOMIC_RELAXED);
}

ATOMIC_INLINE uint64_t atomic_load64_acq(const atomic_u64 *a)
{
	return ATOMIC_LOAD(uint64_t, &a->v, __ATOMIC_ACQUIRE);
}

ATOMIC_INLINE void atomic_store64(atomic_u64 *a, uint64_t v)
{
	ATOMIC_STORE(uint64_t, &a->v, v, __ATOMIC_RELAXED);
}

ATOMIC_INLINE void atomic_store64_rel(atomic_u64 *a, uint64_t v)
{
	ATOMIC_STORE(uint64_t, &a->v, v, __ATOMIC_RELEASE);
}

ATOMIC_INLINE uint64_t atomic_add64(atomic_u64 *a, uint64_t v)
{
	return ATOMIC_ADD(uint64_t, &a->v, v);
}

ATOMIC_INLINE uint64_t atomic_or64(atomic_u64 *a, uint64_t v)
{
	return ATOMIC_OR(uint64_t, &a->v, v);
}

ATOMIC_INLINE uint64_t atomic_xchg64(atomic_u64 *a, uint64_t v)
{
	return ATOMIC_XCHG(uint64_t, &a->v, v);
}

ATOMIC_INLINE bool atomic_cas64(atomic_u64 *a, uint64_t *expected, uint64_t desired)
{
	return ATOMIC_CAS(uint64_t, &a->v, expected, desired);
}

/*
 * Compare-and-swap of 1, 2, 4 or 8 naturally aligned bytes that are not ours to give a type: guest
 * memory. True when they were *expected; else *expected is what was found.
 */
ATOMIC_INLINE bool atomic_cas_bytes(void *p, unsigned size, uint64_t *expected, uint64_t desired)
{
	uint8_t e8 = (uint8_t)*expected;
	uint16_t e16 = (uint16_t)*expected;
	uint32_t e32 = (uint32_t)*expected;
	bool ok;

	switch (size) {
	case 1:
		ok = ATOMIC_CAS(uint8_t, (uint8_t *)p, &e8, (uint8_t)desired);
		*expected = e8;
		return ok;
	case 2:
		ok = ATOMIC_CAS(uint16_t, (uint16_t *)p, &e16, (uint16_t)desired);
		*expected = e16;
		return ok;
	case 4:
		ok = ATOMIC_CAS(uint32_t, (uint32_t *)p, &e32, (uint32_t)desired);
		*expected = e32;
		return ok;
	default:
		return ATOMIC_CAS(uint64_t, (uint64_t *)p, expected, desired);
	}
}

#endif

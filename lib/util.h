/* SPDX-License-Identifier: BSD-2-Clause */
/* Small things everybody needs: sizes, alignment, containers, bit positions. */
#ifndef SLUICE_LIB_UTIL_H
#define SLUICE_LIB_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n)	      (1ULL << (n))
#define KIB	      1024ULL
#define MIB	      (1024ULL * KIB)
#define GIB	      (1024ULL * MIB)

/* The structure of type `type` whose field `member` is at `ptr`. */
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* `align` is a power of two. The caller makes sure that align_up cannot wrap. */
static inline uint64_t align_down(uint64_t v, uint64_t align)
{
	return v & ~(align - 1);
}

static inline uint64_t align_up(uint64_t v, uint64_t align)
{
	return (v + align - 1) & ~(align - 1);
}

static inline bool is_aligned(uint64_t v, uint64_t align)
{
	return (v & (align - 1)) == 0;
}

static inline bool is_pow2(uint64_t v)
{
	return v != 0 && (v & (v - 1)) == 0;
}

/* True when [base, base + size) does not wrap and lies within [0, limit). */
static inline bool range_fits(uint64_t base, uint64_t size, uint64_t limit)
{
	return size <= limit && base <= limit - size;
}

/* floor(a * b / c) without losing the upper half of the product; the result must fit 64 bits. */
static inline uint64_t mul_div_u64(uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t hi = 0, lo = 0, rem = 0, quot = 0;

	/* Schoolbook product, then long division bit by bit: no library call for 128-bit division.
	 */
	uint64_t al = (uint32_t)a, ah = a >> 32, bl = (uint32_t)b, bh = b >> 32;
	uint64_t mid = ah * bl + (al * bl >> 32);
	uint64_t mid2 = al * bh + (uint32_t)mid;

	lo = mid2 << 32 | (uint32_t)(al * bl);
	hi = ah * bh + (mid >> 32) + (mid2 >> 32);
	if (hi == 0)
		return lo / c;
	for (int i = 127; i >= 0; i--) {
		bool carry = rem >> 63;

		rem = rem << 1 | ((i >= 64 ? hi >> (i - 64) : lo >> i) & 1);
		quot <<= 1;
		if (carry || rem >= c) {
			rem -= c;
			quot |= 1;
		}
	}
	return quot;
}

#endif

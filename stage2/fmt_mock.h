/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A format that no machine has, for tests: it differs from every real one wherever the walker might
 * have got used to what they share. Levels of unequal width, a root of two frames, no bit where
 * anybody has it, permissions and marks upside down, small leaves with a leaf bit, addresses that
 * are not in place, and break-before-make for everything but permissions and marks.
 *
 *   level  bits  entry maps   leaves
 *   3      10    8 GiB        no
 *   2      6     128 MiB      yes
 *   1      8     512 KiB      yes
 *   0      7     4 KiB        yes
 */
#ifndef SLUICE_STAGE2_FMT_MOCK_H
#define SLUICE_STAGE2_FMT_MOCK_H

#include "arch/hw.h"
#include "lib/check.h"
#include "lib/util.h"
#include "stage2/fmt.h"

#define MOCK_RO	       BIT(6) /* not writable */
#define MOCK_X	       BIT(1)
#define MOCK_LEAF      BIT(2)
#define MOCK_PFN_SHIFT 8 /* 40 bits of frame number */
#define MOCK_PFN_MASK  ((BIT(40) - 1) << MOCK_PFN_SHIFT)
#define MOCK_COLD      BIT(57) /* not accessed */
#define MOCK_CLEAN     BIT(58) /* not dirty */
#define MOCK_DEVICE    BIT(59)
#define MOCK_NOREF     BIT(60)
#define MOCK_VALID     BIT(63)

/* Invalid: type in 62:60. */
#define MOCK_SW_SHIFT  60
#define MOCK_SW_MASK   (7ULL << MOCK_SW_SHIFT)
#define MOCK_SW_LOCKED (5ULL << MOCK_SW_SHIFT)
#define MOCK_SW_FROZEN (1ULL << MOCK_SW_SHIFT)
#define MOCK_SW_MMIO   (6ULL << MOCK_SW_SHIFT)

#define MOCK_OWED_SHIFT 3

#define FMT_REGION_BITS	  9
#define FMT_GEN_BITS	  5 /* wraps soon */
#define MOCK_REGION_SHIFT 40
#define MOCK_GEN_SHIFT	  1

#define MOCK_ROOT_ENTRIES 1024u

_Static_assert(MOCK_ROOT_ENTRIES * sizeof(uint64_t) == 2 * PAGE_SIZE, "the root is two frames");
_Static_assert(MOCK_PFN_SHIFT + 40 <= 57, "the frame number is apart from the flags");
_Static_assert(MOCK_OWED_SHIFT + 52 <= MOCK_SW_SHIFT, "the epoch is apart from the type");

static inline unsigned fmt_shift(unsigned level)
{
	static const uint8_t shift[] = {PAGE_SHIFT, 19, 27, 33, 43};

	return shift[level];
}

static inline unsigned fmt_root_level(void)
{
	return 3;
}

static inline unsigned fmt_root_entries(void)
{
	return MOCK_ROOT_ENTRIES;
}

static inline unsigned fmt_max_leaf(void)
{
	return hw_mmu_caps()->max_leaf_level < 2 ? hw_mmu_caps()->max_leaf_level : 2;
}

static inline enum s2_kind fmt_kind(pte_t e, unsigned level)
{
	(void)level;
	if (e.v & MOCK_VALID)
		return e.v & MOCK_LEAF ? S2_LEAF : S2_TABLE;
	switch (e.v & MOCK_SW_MASK) {
	case MOCK_SW_LOCKED:
		return S2_LOCKED;
	case MOCK_SW_FROZEN:
		return S2_FROZEN;
	case MOCK_SW_MMIO:
		return S2_MMIO;
	default:
		return S2_EMPTY;
	}
}

static inline pte_t fmt_table(pa_t table)
{
	return pte(MOCK_VALID | table.v >> PAGE_SHIFT << MOCK_PFN_SHIFT);
}

static inline pa_t fmt_table_pa(pte_t e)
{
	return pa((e.v & MOCK_PFN_MASK) >> MOCK_PFN_SHIFT << PAGE_SHIFT);
}

static inline pte_t fmt_with_perm(pte_t e, s2_attr_t perm)
{
	uint64_t v = e.v & ~(MOCK_RO | MOCK_X);

	v |= perm & S2_W ? 0 : MOCK_RO;
	v |= perm & S2_X ? MOCK_X : 0;
	return pte(v);
}

static inline pte_t fmt_with_marks(pte_t e, s2_attr_t marks)
{
	uint64_t v = e.v & ~(MOCK_COLD | MOCK_CLEAN);

	return pte(v | (marks & S2_AGED ? 0 : MOCK_COLD) | (marks & S2_DIRTY ? 0 : MOCK_CLEAN));
}

static inline pte_t fmt_leaf(pa_t pa, unsigned level, s2_attr_t attr)
{
	uint64_t v = MOCK_VALID | MOCK_LEAF | pa.v >> PAGE_SHIFT << MOCK_PFN_SHIFT;

	(void)level;
	v |= attr & S2_DEVICE ? MOCK_DEVICE : 0;
	v |= attr & S2_NOREF ? MOCK_NOREF : 0;
	return fmt_with_perm(pte(v), attr);
}

static inline pa_t fmt_leaf_pa(pte_t e, unsigned level)
{
	(void)level;
	return fmt_table_pa(e);
}

static inline s2_attr_t fmt_attr(pte_t e, unsigned level)
{
	s2_attr_t attr = S2_R;

	(void)level;
	attr |= e.v & MOCK_RO ? 0 : (s2_attr_t)S2_W;
	attr |= e.v & MOCK_X ? (s2_attr_t)S2_X : 0;
	attr |= e.v & MOCK_DEVICE ? (s2_attr_t)S2_DEVICE : 0;
	attr |= e.v & MOCK_NOREF ? (s2_attr_t)S2_NOREF : 0;
	attr |= e.v & MOCK_COLD ? 0 : (s2_attr_t)S2_AGED;
	attr |= e.v & MOCK_CLEAN ? 0 : (s2_attr_t)S2_DIRTY;
	return attr;
}

static inline pte_t fmt_split(pte_t e, unsigned level, unsigned index)
{
	return pte(e.v + (index * BIT(fmt_shift(level - 1)) >> PAGE_SHIFT << MOCK_PFN_SHIFT));
}

static inline bool bbm_required(pte_t old, pte_t new, unsigned level)
{
	uint64_t free = MOCK_RO | MOCK_X | MOCK_COLD | MOCK_CLEAN | MOCK_NOREF;

	(void)level;
	return (old.v & new.v &MOCK_VALID) && ((old.v ^ new.v) & ~free) != 0;
}

static inline pte_t fmt_empty(uint64_t owed)
{
	CHECK(owed < BIT(52));
	return pte(owed << MOCK_OWED_SHIFT);
}

static inline uint64_t fmt_owed(pte_t e)
{
	return e.v >> MOCK_OWED_SHIFT;
}

static inline pte_t fmt_locked(void)
{
	return pte(MOCK_SW_LOCKED);
}

static inline pte_t fmt_frozen(void)
{
	return pte(MOCK_SW_FROZEN);
}

static inline pte_t fmt_mmio(uint32_t region, uint32_t gen)
{
	uint64_t v = MOCK_SW_MMIO;

	v |= (region & (BIT(FMT_REGION_BITS) - 1)) << MOCK_REGION_SHIFT;
	return pte(v | (gen & (BIT(FMT_GEN_BITS) - 1)) << MOCK_GEN_SHIFT);
}

static inline uint32_t fmt_mmio_region(pte_t e)
{
	return (uint32_t)(e.v >> MOCK_REGION_SHIFT & (BIT(FMT_REGION_BITS) - 1));
}

static inline uint32_t fmt_mmio_gen(pte_t e)
{
	return (uint32_t)(e.v >> MOCK_GEN_SHIFT & (BIT(FMT_GEN_BITS) - 1));
}

#endif

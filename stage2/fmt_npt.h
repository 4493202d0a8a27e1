/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * AMD nested page tables: long-mode page tables, walked for guest-physical addresses.
 * AMD APM vol 2: 5.3 (long-mode translation, entry formats), 5.4.1 (fields), 15.25 (nested paging).
 *
 *   our level  APM's name                      entry maps
 *   3          page map level 4 (PML4)         512 GiB (table only)
 *   2          page directory pointer (PDP)    1 GiB
 *   1          page directory (PD)             2 MiB
 *   0          page table (PT)                 4 KiB
 *
 * Every access of a guest is a user access here (15.25.5), hence US everywhere.
 */
#ifndef SLUICE_STAGE2_FMT_NPT_H
#define SLUICE_STAGE2_FMT_NPT_H

#include "arch/hw.h"
#include "lib/check.h"
#include "lib/util.h"
#include "stage2/fmt.h"

#define NPT_P	  BIT(0) /* present */
#define NPT_RW	  BIT(1) /* writable */
#define NPT_US	  BIT(2) /* user */
#define NPT_PWT	  BIT(3) /* with PCD: PAT index 3, uncacheable in the host's power-on PAT (7.8.2) */
#define NPT_PCD	  BIT(4)
#define NPT_A	  BIT(5)  /* accessed */
#define NPT_D	  BIT(6)  /* dirty; leaves only */
#define NPT_PS	  BIT(7)  /* large page, levels 1 and 2; level 0: PAT */
#define NPT_NOREF BIT(52) /* software: the leaf holds no reference to its frames */
#define NPT_NX	  BIT(63) /* no execute; the host runs with EFER.NXE */
#define NPT_ADDR  0x000ffffffffff000ULL

/*
 * Invalid entries: software's bits 11:9 say which. All but MMIO have P clear, so hardware looks at
 * nothing else. MMIO has P and address bit 51 set where that is a reserved bit: such a fault tells
 * itself apart (EXITINFO1 bit 3, 15.25.6).
 */
#define NPT_SW_SHIFT  9
#define NPT_SW_MASK   (7ULL << NPT_SW_SHIFT)
#define NPT_SW_EMPTY  (0ULL << NPT_SW_SHIFT)
#define NPT_SW_LOCKED (1ULL << NPT_SW_SHIFT)
#define NPT_SW_FROZEN (2ULL << NPT_SW_SHIFT)
#define NPT_SW_MMIO   (3ULL << NPT_SW_SHIFT)
#define NPT_RSVD      BIT(51)

#define NPT_OWED_SHIFT 12 /* S2_EMPTY: 52 bits of epoch */

#define FMT_REGION_BITS	 16
#define FMT_GEN_BITS	 20
#define NPT_REGION_SHIFT 12
#define NPT_GEN_SHIFT	 28

#define NPT_ENTRIES 512u

_Static_assert(NPT_ENTRIES * sizeof(uint64_t) == PAGE_SIZE, "a table is a frame");
_Static_assert(1u << S2_LEVEL_BITS == NPT_ENTRIES, "each level translates nine bits");
_Static_assert(NPT_ADDR == ((BIT(52) - 1) & ~PAGE_MASK),
	       "addresses have at most 52 bits (APM 5.3)");
_Static_assert(NPT_GEN_SHIFT >= NPT_REGION_SHIFT + FMT_REGION_BITS,
	       "the payload's fields are apart");
_Static_assert(NPT_GEN_SHIFT + FMT_GEN_BITS <= 51, "the payload stays clear of the reserved bit");

static inline unsigned fmt_shift(unsigned level)
{
	return PAGE_SHIFT + S2_LEVEL_BITS * level;
}

static inline unsigned fmt_root_level(void)
{
	return 3;
}

static inline unsigned fmt_root_entries(void)
{
	return NPT_ENTRIES;
}

static inline unsigned fmt_max_leaf(void)
{
	return hw_mmu_caps()->max_leaf_level < 2 ? hw_mmu_caps()->max_leaf_level : 2;
}

static inline enum s2_kind fmt_kind(pte_t e, unsigned level)
{
	switch (e.v & NPT_SW_MASK) {
	case NPT_SW_LOCKED:
		return S2_LOCKED;
	case NPT_SW_FROZEN:
		return S2_FROZEN;
	case NPT_SW_MMIO:
		return S2_MMIO;
	default:
		break;
	}
	if (!(e.v & NPT_P))
		return S2_EMPTY;
	return level == 0 || (e.v & NPT_PS) ? S2_LEAF : S2_TABLE;
}

static inline pte_t fmt_table(pa_t table)
{
	return pte(table.v | NPT_P | NPT_RW | NPT_US | NPT_A);
}

static inline pa_t fmt_table_pa(pte_t e)
{
	return pa(e.v & NPT_ADDR);
}

static inline pte_t fmt_with_perm(pte_t e, s2_attr_t perm)
{
	uint64_t v = e.v & ~(NPT_RW | NPT_NX);

	return pte(v | (perm & S2_W ? NPT_RW : 0) | (perm & S2_X ? 0 : NPT_NX));
}

static inline pte_t fmt_with_marks(pte_t e, s2_attr_t marks)
{
	uint64_t v = e.v & ~(NPT_A | NPT_D);

	return pte(v | (marks & S2_AGED ? NPT_A : 0) | (marks & S2_DIRTY ? NPT_D : 0));
}

/*
 * Accessed and dirty are set from the start, as right after a harvest that nobody has made yet:
 * hardware need not come back to set them (a locked access to the table each).
 */
static inline pte_t fmt_leaf(pa_t pa, unsigned level, s2_attr_t attr)
{
	uint64_t v = pa.v | NPT_P | NPT_US | NPT_A | NPT_D;

	v |= level > 0 ? NPT_PS : 0;
	v |= attr & S2_DEVICE ? NPT_PWT | NPT_PCD : 0;
	v |= attr & S2_NOREF ? NPT_NOREF : 0;
	return fmt_with_perm(pte(v), attr);
}

/* Bit 12 of a large leaf is its PAT bit, which we never set; the rest below the size is zero. */
static inline pa_t fmt_leaf_pa(pte_t e, unsigned level)
{
	return pa(e.v & NPT_ADDR & ~(s2_level_size(level) - 1));
}

static inline s2_attr_t fmt_attr(pte_t e, unsigned level)
{
	s2_attr_t attr = S2_R;

	(void)level;
	attr |= e.v & NPT_RW ? (s2_attr_t)S2_W : 0;
	attr |= e.v & NPT_NX ? 0 : (s2_attr_t)S2_X;
	attr |= e.v & NPT_PCD ? (s2_attr_t)S2_DEVICE : 0;
	attr |= e.v & NPT_NOREF ? (s2_attr_t)S2_NOREF : 0;
	attr |= e.v & NPT_A ? (s2_attr_t)S2_AGED : 0;
	attr |= e.v & NPT_D ? (s2_attr_t)S2_DIRTY : 0;
	return attr;
}

static inline pte_t fmt_split(pte_t e, unsigned level, unsigned index)
{
	uint64_t v = e.v + index * s2_level_size(level - 1);

	return pte(level == 1 ? v & ~NPT_PS : v);
}

/*
 * Two large and small translations of one address may be cached at once as long as they agree
 * (5.5.2), so a split needs no break. Another frame or memory type does.
 */
static inline bool bbm_required(pte_t old, pte_t new, unsigned level)
{
	enum s2_kind was = fmt_kind(old, level), is = fmt_kind(new, level);

	if (was == S2_LEAF && is == S2_LEAF)
		return ((old.v ^ new.v) & (NPT_ADDR | NPT_PWT | NPT_PCD)) != 0;
	return was == S2_TABLE && (is == S2_TABLE || is == S2_LEAF);
}

/* An epoch that does not fit would settle too early. At a batch a microsecond that is 142 years
 * away. */
static inline pte_t fmt_empty(uint64_t owed)
{
	CHECK(owed < BIT(64 - NPT_OWED_SHIFT));
	return pte(NPT_SW_EMPTY | owed << NPT_OWED_SHIFT);
}

static inline uint64_t fmt_owed(pte_t e)
{
	return e.v >> NPT_OWED_SHIFT;
}

static inline pte_t fmt_locked(void)
{
	return pte(NPT_SW_LOCKED);
}

static inline pte_t fmt_frozen(void)
{
	return pte(NPT_SW_FROZEN);
}

static inline pte_t fmt_mmio(uint32_t region, uint32_t gen)
{
	uint64_t v = NPT_SW_MMIO;

	v |= (region & (BIT(FMT_REGION_BITS) - 1)) << NPT_REGION_SHIFT;
	v |= (gen & (BIT(FMT_GEN_BITS) - 1)) << NPT_GEN_SHIFT;
	if (hw_mmu_caps()->pa_bits <= 51)
		v |= NPT_P | NPT_RW | NPT_US | NPT_RSVD;
	return pte(v);
}

static inline uint32_t fmt_mmio_region(pte_t e)
{
	return (uint32_t)(e.v >> NPT_REGION_SHIFT & (BIT(FMT_REGION_BITS) - 1));
}

static inline uint32_t fmt_mmio_gen(pte_t e)
{
	return (uint32_t)(e.v >> NPT_GEN_SHIFT & (BIT(FMT_GEN_BITS) - 1));
}

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Intel extended page tables, four levels. Intel SDM vol 3: 29.3.2 (translation mechanism, tables
 * 29-1 to 29-7: entry formats), 29.3.3 (violations and misconfigurations), 29.3.7 (memory types).
 *
 *   our level  SDM's name   entry maps
 *   3          EPT PML4E    512 GiB (table only)
 *   2          EPT PDPTE    1 GiB
 *   1          EPT PDE      2 MiB
 *   0          EPT PTE      4 KiB
 *
 * An entry is present when any of its bits 2:0 is set. Unlike in the CPU's own tables each of them
 * is a permission, which makes room for combinations that no access may meet: misconfigurations.
 */
#ifndef SLUICE_STAGE2_FMT_EPT_H
#define SLUICE_STAGE2_FMT_EPT_H

#include "arch/hw.h"
#include "lib/check.h"
#include "lib/util.h"
#include "stage2/fmt.h"

#define EPT_R	       BIT(0)
#define EPT_W	       BIT(1)
#define EPT_X	       BIT(2)
#define EPT_RWX	       (EPT_R | EPT_W | EPT_X)
#define EPT_TYPE_SHIFT 3 /* leaves: memory type, 3 bits; tables: reserved, zero */
#define EPT_TYPE_MASK  (7ULL << EPT_TYPE_SHIFT)
#define EPT_TYPE_UC    (0ULL << EPT_TYPE_SHIFT)
#define EPT_TYPE_WB    (6ULL << EPT_TYPE_SHIFT)
#define EPT_IPAT       BIT(6)  /* leaves: ignore the guest's PAT; never set, it may choose */
#define EPT_PS	       BIT(7)  /* leaf at levels 1 and 2 */
#define EPT_A	       BIT(8)  /* accessed; ignored unless EPTP bit 6 is set */
#define EPT_D	       BIT(9)  /* dirty; leaves only; the same */
#define EPT_NOREF      BIT(52) /* software (56:52 are ignored): the leaf holds no reference */
#define EPT_ADDR       0x000ffffffffff000ULL

/* Invalid entries: bits 2:0 clear (hardware looks at nothing else) and software's type in 11:9. */
#define EPT_SW_SHIFT  9
#define EPT_SW_MASK   (7ULL << EPT_SW_SHIFT)
#define EPT_SW_EMPTY  (0ULL << EPT_SW_SHIFT)
#define EPT_SW_LOCKED (1ULL << EPT_SW_SHIFT)
#define EPT_SW_FROZEN (2ULL << EPT_SW_SHIFT)

/*
 * MMIO: write and execute without read, a misconfiguration on every CPU (29.3.3.1). Its exit has
 * a reason of its own (49), and such an entry is never cached.
 */
#define EPT_MMIO (EPT_W | EPT_X)

#define EPT_OWED_SHIFT 12 /* S2_EMPTY: 52 bits of epoch */

#define FMT_REGION_BITS	 16
#define FMT_GEN_BITS	 20
#define EPT_REGION_SHIFT 12
#define EPT_GEN_SHIFT	 28

#define EPT_ENTRIES 512u

_Static_assert(EPT_ENTRIES * sizeof(uint64_t) == PAGE_SIZE, "a table is a frame");
_Static_assert(1u << S2_LEVEL_BITS == EPT_ENTRIES, "each level translates nine bits (29.3.2)");
_Static_assert(EPT_ADDR == ((BIT(52) - 1) & ~PAGE_MASK), "addresses have at most 52 bits");
_Static_assert(EPT_GEN_SHIFT >= EPT_REGION_SHIFT + FMT_REGION_BITS,
	       "the payload's fields are apart");
_Static_assert(EPT_GEN_SHIFT + FMT_GEN_BITS <= 64, "the payload fits");
_Static_assert((EPT_SW_MASK & EPT_RWX) == 0, "the type does not make an entry present");

/*
 * The EPT pointer for VMCS field 201Ah and for INVEPT (table 25-9): write-back, a walk of four
 * tables, accessed and dirty bits when the machine has them.
 */
static inline uint64_t ept_pointer(pa_t root, bool accessed_dirty)
{
	return root.v | (accessed_dirty ? BIT(6) : 0) | 3 << 3 | 6;
}

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
	return EPT_ENTRIES;
}

static inline unsigned fmt_max_leaf(void)
{
	return hw_mmu_caps()->max_leaf_level < 2 ? hw_mmu_caps()->max_leaf_level : 2;
}

static inline enum s2_kind fmt_kind(pte_t e, unsigned level)
{
	if ((e.v & EPT_RWX) == EPT_MMIO)
		return S2_MMIO;
	if (e.v & EPT_RWX)
		return level == 0 || (e.v & EPT_PS) ? S2_LEAF : S2_TABLE;
	switch (e.v & EPT_SW_MASK) {
	case EPT_SW_LOCKED:
		return S2_LOCKED;
	case EPT_SW_FROZEN:
		return S2_FROZEN;
	default:
		return S2_EMPTY;
	}
}

static inline pte_t fmt_table(pa_t table)
{
	return pte(table.v | EPT_RWX | EPT_A);
}

static inline pa_t fmt_table_pa(pte_t e)
{
	return pa(e.v & EPT_ADDR);
}

/*
 * Write without read is a misconfiguration, execute without read where the CPU has no execute-only
 * translations, and no permission at all would be an invalid entry: those are widened by read.
 */
static inline pte_t fmt_with_perm(pte_t e, s2_attr_t perm)
{
	uint64_t v = e.v & ~EPT_RWX;
	bool read = (perm & S2_RWX) != S2_X || !hw_mmu_caps()->exec_only;

	v |= read ? EPT_R : 0;
	v |= perm & S2_W ? EPT_W : 0;
	return pte(v | (perm & S2_X ? EPT_X : 0));
}

/* Where hardware does not keep the bits they stay set, as fmt_leaf makes them. */
static inline pte_t fmt_with_marks(pte_t e, s2_attr_t marks)
{
	uint64_t v = e.v & ~(EPT_A | EPT_D);

	if (!hw_mmu_caps()->accessed_dirty)
		return e;
	return pte(v | (marks & S2_AGED ? EPT_A : 0) | (marks & S2_DIRTY ? EPT_D : 0));
}

/* Accessed and dirty are set from the start: hardware need not come back to set them. */
static inline pte_t fmt_leaf(pa_t pa, unsigned level, s2_attr_t attr)
{
	uint64_t v = pa.v | EPT_A | EPT_D;

	v |= level > 0 ? EPT_PS : 0;
	v |= attr & S2_DEVICE ? EPT_TYPE_UC : EPT_TYPE_WB;
	v |= attr & S2_NOREF ? EPT_NOREF : 0;
	return fmt_with_perm(pte(v), attr);
}

static inline pa_t fmt_leaf_pa(pte_t e, unsigned level)
{
	return pa(e.v & EPT_ADDR & ~(BIT(fmt_shift(level)) - 1));
}

static inline s2_attr_t fmt_attr(pte_t e, unsigned level)
{
	s2_attr_t attr = 0;

	(void)level;
	attr |= e.v & EPT_R ? (s2_attr_t)S2_R : 0;
	attr |= e.v & EPT_W ? (s2_attr_t)S2_W : 0;
	attr |= e.v & EPT_X ? (s2_attr_t)S2_X : 0;
	attr |= (e.v & EPT_TYPE_MASK) == EPT_TYPE_UC ? (s2_attr_t)S2_DEVICE : 0;
	attr |= e.v & EPT_NOREF ? (s2_attr_t)S2_NOREF : 0;
	attr |= e.v & EPT_A ? (s2_attr_t)S2_AGED : 0;
	attr |= e.v & EPT_D ? (s2_attr_t)S2_DIRTY : 0;
	return attr;
}

static inline pte_t fmt_split(pte_t e, unsigned level, unsigned index)
{
	uint64_t v = e.v + index * BIT(fmt_shift(level - 1));

	return pte(level == 1 ? v & ~EPT_PS : v);
}

/*
 * Large and small translations of one address may be cached at once as long as they agree, so a
 * split needs no break; another frame or memory type does (29.4.3.1: what software must see to
 * before it reuses an address).
 */
static inline bool bbm_required(pte_t old, pte_t new, unsigned level)
{
	enum s2_kind was = fmt_kind(old, level), is = fmt_kind(new, level);

	if (was == S2_LEAF && is == S2_LEAF)
		return ((old.v ^ new.v) & (EPT_ADDR | EPT_TYPE_MASK | EPT_IPAT)) != 0;
	return was == S2_TABLE && (is == S2_TABLE || is == S2_LEAF);
}

/* An epoch that does not fit would settle too early. At a batch a microsecond that is 142 years
 * away. */
static inline pte_t fmt_empty(uint64_t owed)
{
	CHECK(owed < BIT(64 - EPT_OWED_SHIFT));
	return pte(EPT_SW_EMPTY | owed << EPT_OWED_SHIFT);
}

static inline uint64_t fmt_owed(pte_t e)
{
	return e.v >> EPT_OWED_SHIFT;
}

static inline pte_t fmt_locked(void)
{
	return pte(EPT_SW_LOCKED);
}

static inline pte_t fmt_frozen(void)
{
	return pte(EPT_SW_FROZEN);
}

static inline pte_t fmt_mmio(uint32_t region, uint32_t gen)
{
	uint64_t v = EPT_MMIO;

	v |= (region & (BIT(FMT_REGION_BITS) - 1)) << EPT_REGION_SHIFT;
	return pte(v | (gen & (BIT(FMT_GEN_BITS) - 1)) << EPT_GEN_SHIFT);
}

static inline uint32_t fmt_mmio_region(pte_t e)
{
	return (uint32_t)(e.v >> EPT_REGION_SHIFT & (BIT(FMT_REGION_BITS) - 1));
}

static inline uint32_t fmt_mmio_gen(pte_t e)
{
	return (uint32_t)(e.v >> EPT_GEN_SHIFT & (BIT(FMT_GEN_BITS) - 1));
}

#endif

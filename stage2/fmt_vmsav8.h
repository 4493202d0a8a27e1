/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VMSAv8-64 stage 2, 4 KiB granule, guest-physical addresses of up to 48 bits. Arm ARM (DDI 0487):
 * D8.2 (translation process, concatenated tables), D8.3 (descriptor formats), D8.4 (permissions),
 * D8.6 (memory types), D8.16 (break-before-make).
 *
 *   our level  Arm's level  entry maps
 *   3          0            512 GiB (table only)
 *   2          1            1 GiB (block)
 *   1          2            2 MiB (block)
 *   0          3            4 KiB (page)
 *
 * Up to 43 bits the walk starts at Arm's level 1, with up to 16 tables of that level one after the
 * other (D8.2.2.1): one level less to walk. From 44 bits on it starts at level 0.
 */
#ifndef SLUICE_STAGE2_FMT_VMSAV8_H
#define SLUICE_STAGE2_FMT_VMSAV8_H

#include "arch/hw.h"
#include "lib/check.h"
#include "lib/util.h"
#include "stage2/fmt.h"

#define V8_VALID	 BIT(0)
#define V8_TABLE	 BIT(1) /* above level 0: table, not block; level 0: page, always set */
#define V8_MEMATTR_SHIFT 2
#define V8_MEMATTR_MASK	 (0xfULL << V8_MEMATTR_SHIFT)
#define V8_S2AP_R	 BIT(6)
#define V8_S2AP_W	 BIT(7)	      /* with DBM and VTCR_EL2.HD: hardware sets it at a store */
#define V8_SH_INNER	 (3ULL << 8)  /* SH[1:0] */
#define V8_AF		 BIT(10)      /* accessed; clear: never cached (D8.5.1) */
#define V8_DBM		 BIT(51)      /* hardware may set S2AP_W */
#define V8_CONTIGUOUS	 BIT(52)      /* never set: its entries would have to change as one */
#define V8_XN		 (2ULL << 53) /* XN[1:0] = 0b10: no execution; 0b00: all (FEAT_XNX) */
#define V8_XN_MASK	 (3ULL << 53)
#define V8_NOREF	 BIT(55) /* software (58:55): the leaf holds no reference */
#define V8_ADDR		 0x0000fffffffff000ULL

/*
 * MemAttr[3:0]. Without FWB it is combined with the guest's type, and the stricter one wins:
 * write-back leaves the choice to the guest. With FWB (D8.6.6) 0b0110 makes it write-back whatever
 * the guest says.
 */
#define V8_ATTR_WB     (0xfULL << V8_MEMATTR_SHIFT)
#define V8_ATTR_WB_FWB (0x6ULL << V8_MEMATTR_SHIFT)
#define V8_ATTR_DEVICE (0x1ULL << V8_MEMATTR_SHIFT) /* Device-nGnRE, with and without FWB */

/* Invalid entries: bit 0 clear, hardware looks at nothing else; software's type in 4:2. */
#define V8_SW_SHIFT  2
#define V8_SW_MASK   (7ULL << V8_SW_SHIFT)
#define V8_SW_EMPTY  (0ULL << V8_SW_SHIFT)
#define V8_SW_LOCKED (1ULL << V8_SW_SHIFT)
#define V8_SW_FROZEN (2ULL << V8_SW_SHIFT)
#define V8_SW_MMIO   (3ULL << V8_SW_SHIFT)

#define V8_OWED_SHIFT 12 /* S2_EMPTY: 52 bits of epoch */

#define FMT_REGION_BITS 16
#define FMT_GEN_BITS	20
#define V8_REGION_SHIFT 12
#define V8_GEN_SHIFT	28

#define V8_ENTRIES    512u
#define V8_MAX_CONCAT 16u /* tables at the start of a walk (D8.2.2.1) */

_Static_assert(V8_ENTRIES * sizeof(uint64_t) == PAGE_SIZE, "a table is a granule");
_Static_assert(1u << S2_LEVEL_BITS == V8_ENTRIES, "each level resolves nine bits (D8.2)");
_Static_assert(V8_ADDR == ((BIT(48) - 1) & ~PAGE_MASK), "output addresses have 48 bits");
_Static_assert(V8_GEN_SHIFT >= V8_REGION_SHIFT + FMT_REGION_BITS, "the payload's fields are apart");
_Static_assert(V8_GEN_SHIFT + FMT_GEN_BITS <= 64, "the payload fits");
_Static_assert((V8_SW_MASK & V8_VALID) == 0, "the type does not make an entry valid");
_Static_assert(PAGE_SHIFT + 3 * S2_LEVEL_BITS + 4 == 43 && V8_MAX_CONCAT == 1u << 4,
	       "16 tables of level 2 translate 43 bits");

/* Bits of guest-physical address that the tables translate. */
static inline unsigned v8_ipa_bits(void)
{
	unsigned bits = hw_mmu_caps()->ipa_bits;

	return bits > 48 ? 48 : bits;
}

static inline unsigned fmt_shift(unsigned level)
{
	return PAGE_SHIFT + S2_LEVEL_BITS * level;
}

static inline unsigned fmt_root_level(void)
{
	return v8_ipa_bits() > 43 ? 3 : 2;
}

static inline unsigned fmt_root_entries(void)
{
	return 1u << (v8_ipa_bits() - fmt_shift(fmt_root_level()));
}

/* VTCR_EL2.T0SZ and SL0 (4 KiB granule: 1 starts at Arm's level 1, 2 at level 0) for these tables.
 */
static inline unsigned v8_t0sz(void)
{
	return 64 - v8_ipa_bits();
}

static inline unsigned v8_sl0(void)
{
	return fmt_root_level() - 1;
}

static inline unsigned fmt_max_leaf(void)
{
	return hw_mmu_caps()->max_leaf_level < 2 ? hw_mmu_caps()->max_leaf_level : 2;
}

static inline enum s2_kind fmt_kind(pte_t e, unsigned level)
{
	if (e.v & V8_VALID)
		return level > 0 && (e.v & V8_TABLE) ? S2_TABLE : S2_LEAF;
	switch (e.v & V8_SW_MASK) {
	case V8_SW_LOCKED:
		return S2_LOCKED;
	case V8_SW_FROZEN:
		return S2_FROZEN;
	case V8_SW_MMIO:
		return S2_MMIO;
	default:
		return S2_EMPTY;
	}
}

static inline pte_t fmt_table(pa_t table)
{
	return pte(table.v | V8_VALID | V8_TABLE);
}

static inline pa_t fmt_table_pa(pte_t e)
{
	return pa(e.v & V8_ADDR);
}

static inline bool v8_writable(pte_t e)
{
	return e.v & (V8_S2AP_W | V8_DBM);
}

/*
 * Writable where hardware keeps dirty bits means DBM, and S2AP_W says dirty: a leaf that becomes
 * writable is dirty from the start, one that stays writable keeps what it was. Write and execute
 * are only given together with read.
 */
static inline pte_t fmt_with_perm(pte_t e, s2_attr_t perm)
{
	uint64_t v = e.v & ~(V8_S2AP_R | V8_S2AP_W | V8_DBM | V8_XN_MASK);

	v |= perm & S2_RWX ? V8_S2AP_R : 0;
	if (perm & S2_W) {
		v |= v8_writable(e) ? e.v & V8_S2AP_W : V8_S2AP_W;
		v |= hw_mmu_caps()->accessed_dirty ? V8_DBM : 0;
	}
	return pte(v | (perm & S2_X ? 0 : V8_XN));
}

/* Where hardware does not keep the marks they stay as fmt_leaf makes them: set. */
static inline pte_t fmt_with_marks(pte_t e, s2_attr_t marks)
{
	uint64_t v = e.v & ~V8_AF;

	if (!hw_mmu_caps()->accessed_dirty)
		return e;
	if (e.v & V8_DBM)
		v = (v & ~V8_S2AP_W) | (marks & S2_DIRTY ? V8_S2AP_W : 0);
	return pte(v | (marks & S2_AGED ? V8_AF : 0));
}

/*
 * Accessed is clear at first where hardware sets it and caches need maintenance: what nobody
 * touched needs none (mm/ledger.h). Everywhere else it is set, and spares that walk an update.
 */
static inline pte_t fmt_leaf(pa_t pa, unsigned level, s2_attr_t attr)
{
	const struct hw_mmu_caps *caps = hw_mmu_caps();
	uint64_t v = pa.v | V8_VALID | V8_SH_INNER;

	v |= level > 0 ? 0 : V8_TABLE;
	v |= caps->accessed_dirty && !caps->fwb ? 0 : V8_AF;
	if (attr & S2_DEVICE)
		v |= V8_ATTR_DEVICE;
	else
		v |= caps->fwb ? V8_ATTR_WB_FWB : V8_ATTR_WB;
	v |= attr & S2_NOREF ? V8_NOREF : 0;
	return fmt_with_perm(pte(v), attr);
}

static inline pa_t fmt_leaf_pa(pte_t e, unsigned level)
{
	return pa(e.v & V8_ADDR & ~(BIT(fmt_shift(level)) - 1));
}

static inline s2_attr_t fmt_attr(pte_t e, unsigned level)
{
	s2_attr_t attr = 0;

	(void)level;
	attr |= e.v & V8_S2AP_R ? (s2_attr_t)S2_R : 0;
	attr |= v8_writable(e) ? (s2_attr_t)S2_W : 0;
	attr |= e.v & V8_XN ? 0 : (s2_attr_t)S2_X;
	attr |= (e.v & V8_MEMATTR_MASK) == V8_ATTR_DEVICE ? (s2_attr_t)S2_DEVICE : 0;
	attr |= e.v & V8_NOREF ? (s2_attr_t)S2_NOREF : 0;
	attr |= e.v & V8_AF ? (s2_attr_t)S2_AGED : 0;
	attr |= e.v & V8_S2AP_W ? (s2_attr_t)S2_DIRTY : 0;
	return attr;
}

static inline pte_t fmt_split(pte_t e, unsigned level, unsigned index)
{
	uint64_t v = e.v + index * BIT(fmt_shift(level - 1));

	return pte(level == 1 ? v | V8_TABLE : v);
}

/*
 * Both valid, and different in more than permissions, marks and software's bits: another output
 * address, memory type, shareability, or size (block to table, table to block, another table). A
 * TLB that holds both may answer with either, a mixture, or a conflict abort (D8.16.1). FEAT_BBM's
 * levels 1 and 2 are not used: they still allow the abort.
 */
static inline bool bbm_required(pte_t old, pte_t new, unsigned level)
{
	uint64_t free = V8_S2AP_R | V8_S2AP_W | V8_DBM | V8_XN_MASK | V8_AF | V8_NOREF;

	(void)level;
	return (old.v & new.v &V8_VALID) && ((old.v ^ new.v) & ~free) != 0;
}

/* An epoch that does not fit would settle too early. At a batch a microsecond that is 142 years
 * away. */
static inline pte_t fmt_empty(uint64_t owed)
{
	CHECK(owed < BIT(64 - V8_OWED_SHIFT));
	return pte(V8_SW_EMPTY | owed << V8_OWED_SHIFT);
}

static inline uint64_t fmt_owed(pte_t e)
{
	return e.v >> V8_OWED_SHIFT;
}

static inline pte_t fmt_locked(void)
{
	return pte(V8_SW_LOCKED);
}

static inline pte_t fmt_frozen(void)
{
	return pte(V8_SW_FROZEN);
}

static inline pte_t fmt_mmio(uint32_t region, uint32_t gen)
{
	uint64_t v = V8_SW_MMIO;

	v |= (region & (BIT(FMT_REGION_BITS) - 1)) << V8_REGION_SHIFT;
	return pte(v | (gen & (BIT(FMT_GEN_BITS) - 1)) << V8_GEN_SHIFT);
}

static inline uint32_t fmt_mmio_region(pte_t e)
{
	return (uint32_t)(e.v >> V8_REGION_SHIFT & (BIT(FMT_REGION_BITS) - 1));
}

static inline uint32_t fmt_mmio_gen(pte_t e)
{
	return (uint32_t)(e.v >> V8_GEN_SHIFT & (BIT(FMT_GEN_BITS) - 1));
}

#endif

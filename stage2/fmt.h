/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a format provides to the walker: prototypes of every hook, so that a format that gets one
 * wrong does not compile. A format's unit includes its fmt_<name>.h (which includes this) and then
 * walk.h. Formats hold bits only: no loops over tables, no locks, no memory.
 */
#ifndef SLUICE_STAGE2_FMT_H
#define SLUICE_STAGE2_FMT_H

#include <stdbool.h>
#include <stdint.h>

#include "mm/types.h"
#include "stage2/stage2.h"

/*
 * Geometry. An entry of `level` translates 1 << fmt_shift(level) bytes; level 0 is always a page.
 * A table is a frame or less, except the root, which may be several (concatenated) frames.
 */
static inline unsigned fmt_shift(unsigned level);
static inline unsigned fmt_root_level(void); /* entries of the root table are of this level */
static inline unsigned fmt_root_entries(void);
static inline unsigned fmt_max_leaf(void); /* the highest level that may hold leaves here */

static inline enum s2_kind fmt_kind(pte_t e, unsigned level);

/* Tables and leaves. Attributes a format cannot express are widened to what it can. */
static inline pte_t fmt_table(pa_t table);
static inline pa_t fmt_table_pa(pte_t e);
static inline pte_t fmt_leaf(pa_t pa, unsigned level, s2_attr_t attr);
static inline pa_t fmt_leaf_pa(pte_t e, unsigned level);
static inline s2_attr_t fmt_attr(pte_t e, unsigned level); /* with S2_AGED and S2_DIRTY */

/* The leaf `e` with permissions `perm` (S2_RWX) and all else as it was. */
static inline pte_t fmt_with_perm(pte_t e, s2_attr_t perm);

/*
 * The leaf `e` with marks (S2_AGED, S2_DIRTY) exactly `marks` and all else as it was. A mark that
 * the format or the machine does not keep stays as fmt_leaf sets it.
 */
static inline pte_t fmt_with_marks(pte_t e, s2_attr_t marks);

/* Part `index` of the leaf `e` of `level` as a leaf of level - 1. */
static inline pte_t fmt_split(pte_t e, unsigned level, unsigned index);

/*
 * True when `old` must be broken (made invalid and flushed) before `new` takes its place: when the
 * two could be cached at once and disagree in a way that the hardware does not define.
 */
static inline bool bbm_required(pte_t old, pte_t new, unsigned level);

/* The invalid entries. */
static inline pte_t
fmt_empty(uint64_t owed); /* fmt_empty(0) is all zeroes: a cleared frame is empty */
static inline uint64_t fmt_owed(pte_t e);
static inline pte_t fmt_locked(void);
static inline pte_t fmt_frozen(void);
static inline pte_t fmt_mmio(uint32_t region,
			     uint32_t gen); /* cut to FMT_REGION_BITS, FMT_GEN_BITS */
static inline uint32_t fmt_mmio_region(pte_t e);
static inline uint32_t fmt_mmio_gen(pte_t e);

#endif

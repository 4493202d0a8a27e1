/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Access to entries. Live ones change only through pte_cas and pte_xchg, for hardware may set
 * accessed and dirty bits in them at any time; pte_write is for tables that nobody else can see
 * yet.
 */
#ifndef SLUICE_STAGE2_PTE_H
#define SLUICE_STAGE2_PTE_H

#include <stdbool.h>

#include "lib/atomic.h"
#include "mm/types.h"

typedef atomic_u64 pte_slot;

/* Acquire: what the entry points to was written before the entry was. */
static inline pte_t pte_read(const pte_slot *slot)
{
	return pte(atomic_load64_acq(slot));
}

/* True when the slot held `old` and now holds `new`. */
static inline bool pte_cas(pte_slot *slot, pte_t old, pte_t new)
{
	return atomic_cas64(slot, &old.v, new.v);
}

/* As pte_cas; when it is lost *old is what was found instead. */
static inline bool pte_cas_seen(pte_slot *slot, pte_t *old, pte_t new)
{
	return atomic_cas64(slot, &old->v, new.v);
}

static inline pte_t pte_xchg(pte_slot *slot, pte_t new)
{
	return pte(atomic_xchg64(slot, new.v));
}

static inline void pte_write(pte_slot *slot, pte_t new)
{
	atomic_store64(slot, new.v);
}

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The cacheability ledger: which frames the point of coherency (PoC) and the caches may disagree
 * about, so that cache maintenance happens once, where it is needed.
 *
 * A guest's memory type is the weaker of what it and we say, unless FEAT_S2FWB forces write-back.
 * So without FWB a mapped frame is *maybe non-cacheable*: the guest may read and write memory past
 * the caches, by an alias that we do not see, until the break of its mapping is complete. And what
 * we write stays in the caches, past which such a guest reads.
 *
 *   a frame             before its next map         before our next read
 *   never mapped        was written by us: clean    -
 *   given up, discarded cleared by us: clean        (never read before it is written)
 *   given up, kept      as it is                    clean and invalidate, once
 *   given up, unused    as it was before            -
 *   mapped              (a second map: as it is)    clean and invalidate, each time
 *
 * Unmapping does no maintenance. "Clean" is to the PoC and invalidates too: a line left over would
 * hide what the guest stores past it, or be written back over it.
 *
 * With FWB or on x86 the ledger is off and all of this costs a test of a flag. Instruction caches
 * that are not coherent (CTR_EL0.DIC clear) are maintained with or without it, when a frame is
 * prepared.
 *
 * Frames are named as in mm/frames.h; the caller holds a reference. Functions on one frame may race
 * with each other only as its accesses may.
 */
#ifndef SLUICE_MM_LEDGER_H
#define SLUICE_MM_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "mm/types.h"

struct hw_mmu_caps;

void ledger_init(const struct hw_mmu_caps *caps);

/* Guests can get past the caches on this machine. Others spare themselves the calls. */
extern bool ledger_on; /* written by ledger_init only */

static inline bool ledger_in_use(void)
{
	return ledger_on;
}

/* We have just written all of the frames, that nobody has mapped: makes them fit to be. */
void ledger_prepare(pa_t pa, unsigned order);

/*
 * They are about to be mapped as memory; called before the entry is published. Frames that were
 * neither prepared nor kept nor are mapped elsewhere stop the machine.
 */
void ledger_map(pa_t pa, unsigned order);

/*
 * A mapping's reference is about to be given up. Not `used`: nothing was accessed through it (the
 * accessed flag is clear), so if it was the only reference, the frames are as before the map.
 * `now`: cache maintenance at once, as the policy page by page does to be compared with.
 */
void ledger_unmap(pa_t pa, unsigned order, bool used, bool now);

/*
 * The frames were unmapped, the break is complete, and they are kept: for a snapshot, a copy, a
 * device. Before the first read; afterwards they may be read, and mapped again, as they are.
 */
void ledger_keep(pa_t pa, unsigned order);

/*
 * Our own accesses to [at, at + size) of one frame or block, mapped or not: before a read, after a
 * write. The guest may go on while we do.
 */
void ledger_read(pa_t at, uint64_t size);
void ledger_wrote(pa_t at, uint64_t size);

/* What was done since ledger_init. */
struct ledger_stat {
	uint64_t ops, bytes; /* clean and invalidate */
	uint64_t exec_bytes; /* instruction cache */
	uint64_t spared;     /* bytes that went without, because nobody had used them */
};

struct ledger_stat ledger_stat(void);

/* For tests: the frame may be mapped as it is; a guest may be writing past the caches. */
bool ledger_clean(pa_t pa);
bool ledger_maybe_nc(pa_t pa);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Settling where commands reach every pCPU (arm64). A pCPU's leaving guest mode proves nothing
 * there: walks for the guest may begin at EL2 as long as the root is loaded. So a batch of a living
 * space is always settled by commands and a barrier, however late; what waits is collected per
 * space, and one round of commands serves all batches that were issued before.
 *
 *   page      every leaf at once, as it is removed
 *   range     at the end of the walk, if the hardware has range operations and write-back is forced
 *             (FEAT_TLBIRANGE, FEAT_S2FWB); by page otherwise
 *   range-nofwb, auto  at the end of the walk always: mm/ledger.h takes care of the caches
 *
 * Dead tables are flushed at once under every policy. Without range operations what is owed goes
 * page by page up to a threshold, and as everything of the VMID beyond.
 */
#ifndef SLUICE_TLBI_BROADCAST_H
#define SLUICE_TLBI_BROADCAST_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/hw.h"
#include "mm/types.h"
#include "tlbi/space.h"

enum tlbi_policy { TLBI_POLICY_AUTO, TLBI_POLICY_PAGE, TLBI_POLICY_RANGE, TLBI_POLICY_RANGE_NOFWB };

/* More operations than this, and forgetting the whole VMID is cheaper. */
#define TLBI_MAX_OPS 64

/* The hypervisor's command line `unmap=`; before the first guest. */
void tlbi_set_policy(enum tlbi_policy policy);

/* True on a machine whose commands are broadcast. The other functions are for those only. */
bool broadcast_in_use(void);
void broadcast_init(const struct hw_mmu_caps *caps);

/* True when every leaf is settled as it goes: broadcast_leaf then, nothing with broadcast_issue. */
bool broadcast_by_page(void);

/* The leaf of `level` at `at` was just changed: no pCPU uses what it said when this returns. */
void broadcast_leaf(struct space *s, ipa_t at, unsigned level);

/* A table that translated from `at` on was just unlinked: no pCPU's walk goes through it. */
void broadcast_table(struct space *s, ipa_t at);

/*
 * Moves the space's epoch and adds [start, end) to what is owed; `levels`: bit n, leaves of level
 * n. Nothing when start >= end. Space lock held, entries published. Returns the epoch.
 */
uint64_t broadcast_issue(struct space *s, uint64_t start, uint64_t end, uint8_t levels);

/* True while something that a batch up to `epoch` took away may be used by hardware. */
bool broadcast_behind(const struct space *s, uint64_t epoch);

/* Settles every batch up to `epoch` (that was issued) as far as hardware goes. Waits for nobody. */
void broadcast_flush(struct space *s, uint64_t epoch);

/*
 * This pCPU met a fault at `at` although the entry allows the access: more permissions do not
 * replace what is cached, which may fault for ever. Everywhere: nothing on x86.
 */
void tlbi_relaxed(struct space *s, ipa_t at);

/* Operations since boot, of all pCPUs. */
struct tlbi_count {
	uint64_t ipa, range, stage1, vmid, everything; /* broadcast */
	uint64_t local;
	uint64_t dsb, isb;
};

struct tlbi_count tlbi_count(void);

/* Commands and barriers, counted. */
void broadcast_cmd(const struct hw_tlbi_cmd *cmd);
void broadcast_barrier(enum hw_barrier kind);

#endif

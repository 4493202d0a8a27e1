/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VMIDs (arm64): one tag per space for the whole machine, 8 or 16 bits wide. When they are used up,
 * a new generation begins: everything is flushed once, and only the VMIDs that some pCPU has loaded
 * keep their number. A dead space's VMID is never handed out before that flush, so that nothing
 * needs to be flushed when a space dies.
 *
 * A pCPU that has a root loaded may walk it at any time, in guest mode or not.
 */
#ifndef SLUICE_TLBI_VMID_H
#define SLUICE_TLBI_VMID_H

#include <stdbool.h>
#include <stdint.h>

#include "tlbi/space.h"

/* `nr`: VMIDs 1..nr-1 may be handed out. Forgets what was before: at start, and for tests. */
void vmid_init(uint32_t nr);

/* `pcpu` takes part from now on. There must be more VMIDs than two for each pCPU. */
void vmid_pcpu_init(unsigned pcpu);

/* Number of the space's VMID; 0: it has none, and no pCPU ever walked its tables. */
static inline uint32_t vmid_of(const struct space *s)
{
	return (uint32_t)(atomic_load64_acq(&s->vmid) & 0xffff);
}

/*
 * Makes `s` the space that `pcpu`, which calls this, has loaded, with a VMID of now. Returns its
 * number; *fresh when another root or VMID was loaded before.
 */
uint32_t vmid_enter(unsigned pcpu, struct space *s, bool *fresh);

/* Loads no root on `pcpu`, which calls this and is not in guest mode. */
void vmid_unload(unsigned pcpu);

/* Unloads if somebody asked this pCPU to. */
void vmid_poll(unsigned pcpu);

/* The space is dead: nobody enters it any more. Its VMID rests until the next generation. */
void vmid_retire(struct space *s);

/*
 * By id, for reclaim. behind: hardware may still use what a batch of space id `space` up to `epoch`
 * took away: commands are owed to a living space, or some pCPU has a dead one loaded. pass: gives
 * the commands, or asks those pCPUs to unload, without waiting for them.
 */
bool vmid_behind(uint64_t space, uint64_t epoch);
void vmid_pass(uint64_t space, uint64_t epoch);

struct vmid_stat {
	uint64_t assigned, rollovers;
	uint32_t retired; /* of dead spaces in this generation */
};

struct vmid_stat vmid_stat(void);

#endif

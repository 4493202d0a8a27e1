/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Agents: whatever may use a translation. Today the pCPUs, each of them twice: in guest mode, and
 * as a reader, when the hypervisor itself walks tables without a lock or accesses guest memory. On
 * arm64 guest mode is no measure (tlbi/broadcast.h): there all pCPUs pass together, by command.
 *
 * Both follow the same rule. The agent publishes the space, a full barrier, then samples the epoch
 * and publishes that. The requester moves the epoch, a full barrier, then looks at the agents. So
 * either the agent sees the new epoch, or the requester sees the agent.
 */
#ifndef SLUICE_TLBI_AGENT_H
#define SLUICE_TLBI_AGENT_H

#include <stdbool.h>
#include <stdint.h>

#include "tlbi/space.h"

void agent_init(unsigned pcpu); /* the pCPU counts from now on */

/* True when some agent may still use what a batch of space id `space` up to `epoch` took away. */
bool agents_behind(uint64_t space, uint64_t epoch);

/* The same for reader sections only. */
bool readers_behind(uint64_t space, uint64_t epoch);

/*
 * Kicks the pCPUs that are in guest mode and behind; one kick serves all who ask. Does not wait.
 * arm64: gives the commands that are owed, or kicks pCPUs that have a dead space's root loaded.
 */
void agents_force(uint64_t space, uint64_t epoch);

/* Forces, then waits until nobody is behind. Not in a reader section or guest mode. */
void agents_wait(uint64_t space, uint64_t epoch);

/*
 * A reader section of this pCPU: what is found in the tables of `s` stays allocated until it ends.
 * Short, not nested; takes no lock but the allocator's, waits for nothing.
 */
void reader_enter(const struct space *s);
void reader_exit(void);
bool reader_active(void); /* on this pCPU; for assertions */

/*
 * Guest mode, for tlbi_enter and tlbi_exit. begin publishes that `pcpu` uses `s` and returns the
 * epoch that a flush from now on makes it clean to; clean says that the flush is done (or certain:
 * nothing of the guest runs before it).
 */
uint64_t agent_guest_begin(unsigned pcpu, const struct space *s);
void agent_guest_clean(unsigned pcpu, uint64_t epoch);
void agent_guest_end(unsigned pcpu);
bool agent_in_guest(unsigned pcpu);

/* How many kicks `pcpu` sent, and how many it could spare. */
void agent_count_kicks(unsigned pcpu, uint64_t *kicks, uint64_t *coalesced);

#endif

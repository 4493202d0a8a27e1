/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Agents: whatever may use a translation. Today the pCPUs, each of them twice: in guest mode, and
 * as a reader, when the hypervisor itself walks tables without a lock or accesses guest memory.
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

/* Nobody is behind: every translation that a batch up to `epoch` took away is out of reach. */
bool agents_behind(uint64_t space, uint64_t epoch);

/* Kicks the pCPUs that are in guest mode and behind, each at most once per entry. Does not wait. */
void agents_force(uint64_t space, uint64_t epoch);

/* Forces, then waits until nobody is behind. Not in a reader section or guest mode. */
void agents_wait(uint64_t space, uint64_t epoch);

/*
 * A reader section of this pCPU: what is found in the tables of `s` stays allocated until it ends.
 * Short, not nested; takes no lock, allocates nothing, waits for nothing.
 */
void reader_enter(const struct space *s);
void reader_exit(void);

#endif

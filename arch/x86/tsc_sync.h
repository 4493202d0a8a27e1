/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Do the time-stamp counters of two CPUs tell one time? machine_now() and the guests' TSCs rest on
 * it.
 */
#ifndef SLUICE_ARCH_X86_TSC_SYNC_H
#define SLUICE_ARCH_X86_TSC_SYNC_H

#include <stdint.h>

/*
 * Both halves run at the same time, once for each CPU that starts: one on the boot CPU, the other
 * on the new one, whose counter is moved when it disagrees and can be moved.
 *
 * The boot CPU's half returns by how many ticks time was seen to go backwards between the two in
 * the end: 0 when it never did. *moved says by how much the new CPU's counter was moved before.
 * UINT64_MAX: the new CPU stopped answering. It must then be reset and tsc_sync_abandon() called
 * before the next comparison.
 */
uint64_t tsc_sync_boot(int64_t *moved);
void tsc_sync_abandon(void);
void tsc_sync_other(void);

#endif

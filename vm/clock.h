/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A VM's stoppable clock: nanoseconds during which the guest was running. Everything a guest can
 * read as time (TSC offset, device timers, the paravirtual clock) comes from it, so a paused guest
 * does not see the pause.
 *
 * Written only while no vCPU of the VM runs; read without a lock by all of them.
 */
#ifndef SLUICE_VM_CLOCK_H
#define SLUICE_VM_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define VCLOCK_NEVER UINT64_MAX /* a deadline that does not come */

struct vclock {
	uint64_t base;	/* running: host time at which this clock would have shown 0 (mod 2^64) */
	uint64_t shown; /* stopped: what it shows */
	bool running;
};

/* Stopped at 0. */
void vclock_reset(struct vclock *c);

/* Goes on from where it stopped; no-op while it runs, as is vclock_stop while it does not. */
void vclock_start(struct vclock *c);
void vclock_stop(struct vclock *c);

/* Nanoseconds since vclock_reset, stops not counted. */
uint64_t vclock_now(const struct vclock *c);

/*
 * The host time (machine_now) at which the clock will show `vm_ns`: a deadline for timer_arm. 0
 * when that has been before the host's own time began. VCLOCK_NEVER while the clock stands (who
 * waits asks again when it starts), for VCLOCK_NEVER and for what lies beyond 64 bits.
 */
uint64_t vclock_to_host(const struct vclock *c, uint64_t vm_ns);

/* What the clock showed, or will show, at host time `host_ns`; 0 for times before its beginning. */
uint64_t vclock_from_host(const struct vclock *c, uint64_t host_ns);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A machine for tests of devices: its clock stands until the test moves it, and then timers fire at
 * their exact nanosecond. Link vm/clock.c and vm/timer.c with it.
 */
#ifndef SLUICE_TESTS_HOST_DEVRIG_H
#define SLUICE_TESTS_HOST_DEVRIG_H

#include <stdbool.h>
#include <stdint.h>

#include "vm/clock.h"
#include "vm/dev/irq.h"

/* The VM's clock, started at 0. */
extern struct vclock rig_clock;

/* ns since 1970 that machine_wallclock() gives when the machine's clock is at 0. */
extern uint64_t rig_wallclock;

/* Machine and VM clocks to 0, no timer armed. */
void rig_reset(void);

/* Moves the machine's clock on by `ns`, running every timer that comes due on the way. */
void rig_advance(uint64_t ns);

/* Moves the clock without running timers: a pCPU that is late. rig_advance(0) then catches up. */
void rig_skip(uint64_t ns);

/* The time of the next armed timer, machine ns; UINT64_MAX without one. */
uint64_t rig_next_timer(void);

/* How often timers have fired since rig_reset. */
extern unsigned rig_timers_run;

/* A line that records what happens to it. */
struct rig_line {
	bool level;
	unsigned rises, falls;
};

struct irq_line rig_line(struct rig_line *l);

#endif

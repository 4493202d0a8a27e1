/* SPDX-License-Identifier: BSD-2-Clause */
/* The last words: reports that need no lock, no memory and as little of the machine as possible. */
#ifndef SLUICE_ARCH_X86_PANIC_H
#define SLUICE_ARCH_X86_PANIC_H

#include <stdint.h>

struct trap_frame;

/* One line straight to the console. */
__attribute__((format(printf, 1, 2))) void report(const char *fmt, ...);

/* The callers from `rip` on, following saved frame pointers from `rbp`, with symbols. */
void report_backtrace(uint64_t rip, uint64_t rbp);

/*
 * Called first by everything that reports the end. False when this CPU was already at it: then the
 * report itself has failed, and the caller just stops.
 */
_Bool panic_begin(void);

/* Says that it is over and stops. */
_Noreturn void panic_end(void);

#endif

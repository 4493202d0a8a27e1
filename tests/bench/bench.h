/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The core's bench in two halves: core.c is built like the hypervisor (freestanding, so that
 * atomics are the compiler's and not the harness's), host.c is the program around it.
 */
#ifndef SLUICE_TESTS_BENCH_BENCH_H
#define SLUICE_TESTS_BENCH_BENCH_H

#include <stdint.h>

#include "arch/hw.h"

/* core.c */
void bench_core(void);
extern struct hw_mmu_caps bench_caps;
extern const struct stage2_format *bench_format;

/* host.c: what core.c calls. Instructions between begin and end, and the commands in between, are
 * one figure of `entries` entries. */
void bench_begin(void);
void bench_end(const char *format, const char *page, const char *what, uint64_t entries);
extern uint64_t bench_commands, bench_barriers, bench_kicks;
extern void (*bench_on_relax)(void);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* Starting the other CPUs; what vm/ calls is machine_start_cpus() of arch/machine.h. */
#ifndef SLUICE_ARCH_X86_SMP_H
#define SLUICE_ARCH_X86_SMP_H

#include <stdbool.h>

#include "mm/types.h"

struct machine_cpu;

/* The page below 1 MiB that CPUs may be started in; 0: there is none, they are left alone. */
void smp_init(pa_t trampoline, struct machine_cpu *cpus, unsigned nr_cpus);

/* The others leave their guests or their sleep for good: a CPU has stopped in panic. */
void smp_stop_others(void);
bool smp_stopping(void); /* asked by the NMI handler */

#endif

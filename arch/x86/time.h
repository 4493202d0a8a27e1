/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Time from the TSC: machine_now() and machine_timer_set() of arch/machine.h, and what the
 * virtualisation half and the drivers need besides.
 */
#ifndef SLUICE_ARCH_X86_TIME_H
#define SLUICE_ARCH_X86_TIME_H

#include <stdbool.h>
#include <stdint.h>
#include "boot/acpi.h"

/* From here on machine_now() counts; before calibration it stays 0. Early in boot. */
void time_start(void);

/*
 * Measures the TSC, sets the local APIC's timer up and reads the real-time clock. Needs the local
 * APIC and about 20 ms. Panics when the machine has no clock to measure against.
 */
void time_init(const struct acpi_info *acpi);

/* The timer of another CPU; needs its local APIC. */
void time_init_cpu(void);

uint64_t time_tsc_hz(void);
uint64_t time_tsc_at_zero(void); /* the TSC when machine_now() was 0 */
bool time_tsc_invariant(void);	 /* runs at one rate in all power states (CPUID 8000_0007 EDX[8]) */
const char *time_source(void);	 /* what the TSC was measured against */
const char *time_timer_name(void);

/* Handler of VEC_TIMER. */
void time_interrupt(void);

/* Has this CPU's timer look at the UART every UART_POLL_PERIOD, for UARTs without an interrupt. */
void time_poll_console(bool on);

/* Busy waiting, for hardware that wants it during boot and power-off. */
void time_delay_us(uint32_t us);

#endif

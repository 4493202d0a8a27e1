/* SPDX-License-Identifier: BSD-2-Clause */
/* The local APIC of the CPU that calls (SDM 3A chapter 10), and the I/O APICs of the machine. */
#ifndef SLUICE_ARCH_X86_APIC_H
#define SLUICE_ARCH_X86_APIC_H

#include <stdbool.h>
#include <stdint.h>
#include "boot/acpi.h"

/* ---- local APIC ---- */

/* Chooses the mode, maps the registers, then does apic_init_cpu(). Panics when there is no local
 * APIC. */
void apic_init(const struct acpi_info *acpi);

/* Enables this CPU's: everything in the vector table masked except NMI pins and errors. */
void apic_init_cpu(void);

uint32_t apic_id(void); /* of this CPU */
bool apic_is_x2apic(void);
void apic_eoi(void);
void apic_error_interrupt(void); /* handler of VEC_APIC_ERROR */

/* Inter-processor interrupts. They return as soon as the local APIC has taken the message. */
void apic_send_ipi(uint32_t to, uint8_t vector);
void apic_send_nmi(uint32_t to);
void apic_send_init(uint32_t to);
void apic_send_startup(uint32_t to, uint8_t page); /* starts at page << 12, below 1 MiB */

/* ---- its timer; arch/x86/time.c decides what it counts ---- */

enum apic_timer_mode { APIC_TIMER_ONE_SHOT, APIC_TIMER_TSC_DEADLINE };

void apic_timer_init(enum apic_timer_mode mode);
/* One-shot: counts down at the rate that calibration finds; 0 stops. */
void apic_timer_start(uint32_t count);
uint32_t apic_timer_remaining(void);
/* TSC-deadline: fires when the counter reaches it; 0 disarms. */
void apic_timer_deadline(uint64_t tsc);

/* ---- 8259s and I/O APICs ---- */

/* Moves the 8259s' vectors out of the exceptions' way and masks everything. */
void pic_disable(void);

/* Maps the I/O APICs and masks all their pins. Returns how many can be used. */
unsigned ioapic_init(const struct acpi_info *acpi);

/* Routes an ISA interrupt, overrides considered, to this CPU. -ENODEV when no I/O APIC has it. */
int ioapic_route_isa(uint8_t irq, uint8_t vector);
void ioapic_mask_isa(uint8_t irq);

#endif

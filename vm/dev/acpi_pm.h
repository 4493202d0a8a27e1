/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The fixed hardware of ACPI (ACPI 6.5, 4.8.3): PM1a event and control registers, the power
 * management timer, the system control interrupt. There is no SMI command port, so the machine is
 * in ACPI mode from the beginning and SCI_EN stays set.
 */
#ifndef SLUICE_VM_DEV_ACPI_PM_H
#define SLUICE_VM_DEV_ACPI_PM_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/spinlock.h"
#include "vm/bus.h"
#include "vm/dev/irq.h"
#include "vm/dev/vtimer.h"

#define ACPI_PM_BASE	      0x600 /* what the FADT says */
#define ACPI_PM_PORTS	      12
#define ACPI_PM1_EVENT	      0 /* offsets from the base: status and enable, 2 bytes each */
#define ACPI_PM1_CONTROL      4
#define ACPI_PM_TIMER	      8
#define ACPI_PM_TIMER_HZ      3579545ULL
#define ACPI_SLP_TYP_S5	      5 /* what \_S5 of the DSDT says */
#define ACPI_PM_STATE_VERSION 1

struct acpi_pm_state {
	uint32_t version;    /* ACPI_PM_STATE_VERSION */
	uint16_t status;     /* PM1_STS */
	uint16_t enable;     /* PM1_EN */
	uint16_t control;    /* PM1_CNT without SLP_EN, which reads as zero */
	uint64_t half_turns; /* turns of the timer's top bit up to which `status` is right */
};

struct acpi_pm {
	struct spinlock lock;
	struct acpi_pm_state s;
	struct irq_line sci;
	struct vtimer timer;	      /* the top bit turns and TMR_EN is set */
	void (*power_off)(void *ctx); /* the guest entered S5; called with the lock held */
	void *ctx;
};

/* `clock` and `ctx` are borrowed, `sci` is copied. acpi_pm_reset must follow. */
void acpi_pm_init(struct acpi_pm *pm, const struct vclock *clock, const struct irq_line *sci,
		  void (*power_off)(void *ctx), void *ctx);
void acpi_pm_reset(struct acpi_pm *pm);

/* The VM's clock was stopped / started. */
void acpi_pm_pause(struct acpi_pm *pm);
void acpi_pm_resume(struct acpi_pm *pm);

/* Somebody pressed the power button. */
void acpi_pm_power_button(struct acpi_pm *pm);

/* ACPI_PM_PORTS ports. */
extern const struct io_ops acpi_pm_ops;

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What Sluice takes from the host's ACPI tables (ACPI Specification 6.4): processors and interrupt
 * controllers (MADT), power and the PM timer (FADT), the way into S5 (DSDT), the console (SPCR).
 *
 * The tables are reached through a callback only, so that a test can hand over any memory. Every
 * table is bounded and summed before it is believed; one that is not right is left out and
 * complained of.
 */
#ifndef SLUICE_BOOT_ACPI_H
#define SLUICE_BOOT_ACPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "mm/types.h"

#define ACPI_MAX_CPUS	   256
#define ACPI_MAX_IOAPICS   16
#define ACPI_MAX_OVERRIDES 32
#define ACPI_MAX_NMIS	   32
#define ACPI_MAX_COMPLAINT 12

#define ACPI_TABLE_MAX (16U << 20) /* a longer table is taken for broken */

/* How to reach physical memory. */
struct acpi_memory {
	/* `size` > 0 bytes at `pa`, readable from then on; NULL when there is no such memory. */
	const void *(*map)(void *ctx, pa_t pa, size_t size);
	void *ctx;
};

/* A register anywhere (Generic Address Structure, 5.2.3.2). address 0: there is none. */
struct acpi_register {
	uint8_t space; /* ACPI_SPACE_* */
	uint8_t bits;
	uint64_t address;
};

#define ACPI_SPACE_MEMORY 0
#define ACPI_SPACE_IO	  1
#define ACPI_SPACE_PCI	  2 /* address: device << 32 | function << 16 | offset, on bus 0 */

struct acpi_cpu {
	uint32_t apic_id;
	uint32_t uid; /* the processor's name in the namespace, which NMI entries refer to */
	bool enabled; /* false: may be brought online by firmware later */
};

struct acpi_ioapic {
	pa_t base;
	uint32_t gsi_base; /* its pin 0 */
	uint8_t id;
};

/* An ISA interrupt that is not GSI n, edge, active high (5.2.12.5). */
struct acpi_override {
	uint8_t irq;
	uint32_t gsi;
	bool active_low, level;
};

/* A local APIC pin that carries NMI (5.2.12.7, 5.2.12.13). */
struct acpi_lapic_nmi {
	uint32_t uid; /* ACPI_NMI_ALL: every processor */
	uint8_t lint; /* 0 or 1 */
	bool active_low, level;
};

#define ACPI_NMI_ALL UINT32_MAX

struct acpi_spcr {
	bool present;
	uint8_t type; /* 0 and 1: 16550; others see the DBG2 table's list */
	struct acpi_register base;
	bool has_irq;
	uint8_t irq;   /* ISA interrupt */
	uint32_t baud; /* 0: as firmware left it */
};

struct acpi_info {
	bool madt, fadt; /* those tables were there and sound */

	pa_t lapic; /* 0: the MADT does not say */
	struct acpi_cpu cpus[ACPI_MAX_CPUS];
	size_t nr_cpus;
	size_t nr_cpus_ignored; /* beyond ACPI_MAX_CPUS */
	struct acpi_ioapic ioapics[ACPI_MAX_IOAPICS];
	size_t nr_ioapics;
	struct acpi_override overrides[ACPI_MAX_OVERRIDES];
	size_t nr_overrides;
	struct acpi_lapic_nmi nmis[ACPI_MAX_NMIS];
	size_t nr_nmis;

	struct acpi_register pm1a_control, pm1b_control;
	struct acpi_register pm_timer;
	bool pm_timer_32; /* it counts 32 bits, else 24 */
	struct acpi_register reset;
	uint8_t reset_value;
	struct acpi_register sleep_control; /* instead of PM1 when hardware_reduced */
	bool hardware_reduced;
	uint32_t smi_command; /* port; 0: none */
	uint8_t acpi_enable;  /* value that switches to ACPI mode */
	uint8_t century;      /* CMOS register with the century, 0: none */
	bool no_cmos_rtc;
	bool s5; /* the next two are known */
	uint8_t s5_type_a, s5_type_b;

	struct acpi_spcr spcr;

	const char *complaints[ACPI_MAX_COMPLAINT]; /* static texts */
	size_t nr_complaints;
};

/*
 * Reads the tables from a root pointer of 20 (version 1) or 36 bytes. 0; -ENOENT when the pointer
 * is none (checksum, signature), -EINVAL when neither XSDT nor RSDT can be used. *out is
 * overwritten in all cases.
 */
int acpi_parse(const void *rsdp, size_t size, const struct acpi_memory *mem, struct acpi_info *out);

/*
 * Looks for a root pointer where a BIOS keeps it (5.2.5.1): the extended BIOS data area and the
 * last 128 KiB below 1 MiB. Copies up to 36 bytes; returns how many, 0 when there is none.
 */
size_t acpi_find_rsdp(const struct acpi_memory *mem, uint8_t rsdp[36]);

#endif

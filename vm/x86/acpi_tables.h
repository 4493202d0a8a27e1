/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ACPI tables of a guest: RSDP, XSDT, FADT, FACS, MADT, DSDT (ACPI 6.5, chapter 5). Built into
 * a buffer that the caller copies to guest memory; the tables point at each other, so they must
 * land at the address they were built for.
 */
#ifndef SLUICE_VM_X86_ACPI_TABLES_H
#define SLUICE_VM_X86_ACPI_TABLES_H

#include <stddef.h>
#include <stdint.h>

#define ACPI_TABLES_MAX 4096 /* bytes that suffice for all of them */

/*
 * Builds the tables for a guest with CPUs 0..nr_vcpus-1 (their APIC IDs), all enabled. `base` is
 * the guest-physical address of buf[0], a multiple of 64 in the range 0xe0000-0xfffff where kernels
 * that get no pointer search; the RSDP is at `base` itself. Returns the bytes used, or -ENOSPC.
 */
int acpi_tables_build(void *buf, size_t size, uint64_t base, unsigned nr_vcpus);

#endif

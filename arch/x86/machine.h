/* SPDX-License-Identifier: BSD-2-Clause */
/* The machine as boot/ brings it up; what vm/ sees of it afterwards is arch/machine.h. */
#ifndef SLUICE_ARCH_X86_MACHINE_H
#define SLUICE_ARCH_X86_MACHINE_H

#include <stdint.h>
#include "boot/acpi.h"
#include "mm/types.h"

/*
 * Interrupts, time and power, then the facts of machine_info(). Needs paging and the frame
 * allocator. The three strings and numbers go into machine_info() as they are; `acpi` stays where
 * it is; `trampoline` is the page below 1 MiB to start other CPUs in, or 0.
 */
void machine_init(const struct acpi_info *acpi, const char *firmware, const char *loader,
		  uint64_t ram_bytes, pa_t trampoline);

#endif

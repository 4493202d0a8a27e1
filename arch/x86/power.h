/* SPDX-License-Identifier: BSD-2-Clause */
/* Switching the machine off and resetting it: machine_poweroff() and machine_reboot() of
 * arch/machine.h. */
#ifndef SLUICE_ARCH_X86_POWER_H
#define SLUICE_ARCH_X86_POWER_H

#include "boot/acpi.h"

/* Maps what the two need. `acpi` stays where it is. */
void power_init(const struct acpi_info *acpi);

#endif

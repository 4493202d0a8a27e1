/* SPDX-License-Identifier: BSD-2-Clause */
/* The C side of the entry. */
#ifndef SLUICE_BOOT_MAIN_H
#define SLUICE_BOOT_MAIN_H

#include <stdint.h>

#define SLUICE_VERSION "0.1"

/*
 * Called by boot/x86/entry.asm on the boot CPU: the physical addresses of the loader's information
 * structure and of our image; the tables of entry.asm are loaded, interrupts off.
 */
_Noreturn void boot_main(uint32_t info_at, uint32_t image_base);

#endif

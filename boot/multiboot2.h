/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The multiboot2 information structure (Multiboot2 Specification 2.0, section 3) as struct
 * boot_info. Pure: reads only the bytes it is given, so that a test can feed it anything.
 */
#ifndef SLUICE_BOOT_MULTIBOOT2_H
#define SLUICE_BOOT_MULTIBOOT2_H

#include <stddef.h>
#include <stdint.h>
#include "boot/boot_info.h"

#define MULTIBOOT2_LOADER_MAGIC 0x36d76289U /* in EAX at entry */
#define MULTIBOOT2_INFO_MAX	(16U << 20) /* larger structures are taken for broken */

/*
 * Parses the structure at `info`, of which `avail` bytes may be read; `base` is its physical
 * address. `out` is overwritten as a whole, `out->image` excepted, which the caller knows and
 * fills. 0; -EINVAL when it cannot be a multiboot2 structure at all; -E2BIG when the memory map
 * holds more reserved ranges than we can remember, so that no memory can be trusted. Lesser damage
 * is dropped and noted in out->complaints.
 */
int multiboot2_parse(const void *info, size_t avail, pa_t base, struct boot_info *out);

#endif

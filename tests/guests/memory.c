/* SPDX-License-Identifier: BSD-2-Clause */
/* Writes and reads back every page of RAM in the memory map, page 0 included; nothing is RAM
 * beyond. */
#include "guest.h"

static uint32_t failures;

static void each_page(uint32_t base, uint32_t length, bool write)
{
	uint32_t end = (base + length) & ~0xfffu;

	for (uint32_t page = (base + 0xfff) & ~0xfffu; page < end; page += 0x1000) {
		if (page >= 0x100000 && page < (uint32_t)image_end)
			continue;
		for (uint32_t offset = 0x80; offset < 0x1000; offset += 0xf00) {
			volatile uint32_t *word = mem32(page + offset);

			if (write)
				*word = page ^ offset ^ 0x5eedf00d;
			else if (*word != (page ^ offset ^ 0x5eedf00d))
				failures++;
		}
	}
}

uint32_t guest_main(const struct multiboot_info *info)
{
	struct multiboot_mmap map[16];
	unsigned n = 0;
	uint32_t top = 0;

	/* The map itself lies in memory that is about to be written. */
	for (uint32_t at = info->mmap_addr; at < info->mmap_addr + info->mmap_length && n < 16;) {
		map[n] = *(const struct multiboot_mmap *)at;
		at += map[n++].size + 4;
	}
	for (int write = 1; write >= 0; write--)
		for (unsigned i = 0; i < n; i++)
			if (map[i].type == 1 && !map[i].base_high)
				each_page(map[i].base_low, map[i].length_low, write);
	for (unsigned i = 0; i < n; i++)
		if (map[i].type == 1 && !map[i].base_high &&
		    map[i].base_low + map[i].length_low > top)
			top = map[i].base_low + map[i].length_low;
	top = (top + 0xfff) & ~0xfffu;
	*mem32(top) = 0x12345678;
	say("memory: top %x, beyond it %x, %u failures\n", top, *mem32(top), failures);
	return failures != 0 || *mem32(top) != 0xffffffff;
}

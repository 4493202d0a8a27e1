/* SPDX-License-Identifier: BSD-2-Clause */
/* Prints what the boot loader handed over: command line, memory map, modules and their checksums.
 */
#include "guest.h"

static uint32_t checksum(uint32_t from, uint32_t to)
{
	uint32_t sum = 5381;

	for (; from < to; from++)
		sum = sum * 33 + *(volatile uint8_t *)from;
	return sum;
}

uint32_t guest_main(const struct multiboot_info *info)
{
	const struct multiboot_module *module = (const void *)info->mods_addr;
	uint32_t at = info->mmap_addr;

	say("magic %x flags %x lower %u upper %u\n", boot_magic, info->flags, info->mem_lower,
	    info->mem_upper);
	say("loader [%s]\n", info->flags & 0x200 ? (const char *)info->boot_loader_name : "");
	say("cmdline [%s]\n", info->flags & 4 ? (const char *)info->cmdline : "");
	while (info->flags & 0x40 && at < info->mmap_addr + info->mmap_length) {
		const struct multiboot_mmap *m = (const void *)at;

		say("map %x%s%x + %x%s%x type %u\n", m->base_high, ":", m->base_low, m->length_high,
		    ":", m->length_low, m->type);
		at += m->size + 4;
	}
	for (uint32_t i = 0; i < info->mods_count; i++, module++)
		say("module %u [%s] %u bytes, checksum %x, aligned %s\n", i,
		    (const char *)module->string, module->end - module->start,
		    checksum(module->start, module->end), module->start & 0xfff ? "no" : "yes");
	say("end of info\n");
	return boot_magic == BOOT_MAGIC ? 0 : 1;
}

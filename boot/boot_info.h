/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the boot loader told us, copied out of its own structures: after boot_info is filled, the
 * loader's information structure may be overwritten. Strings live in `strings`, so the whole is one
 * block of plain data without a pointer into foreign memory, except `data` of a module.
 *
 * Everything in here came from outside. A parser has bounded it (no range wraps, strings end),
 * nobody has vouched for it.
 */
#ifndef SLUICE_BOOT_BOOT_INFO_H
#define SLUICE_BOOT_BOOT_INFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "mm/types.h"

#define BOOT_MAX_RANGES                                                                            \
	512 /* stretches of the memory map; UEFI firmware hands out a few hundred                  \
	     */
#define BOOT_MAX_MODULES   64	/* boot modules */
#define BOOT_MAX_SECTIONS  64	/* sections of our own ELF file */
#define BOOT_STRINGS_SIZE  8192 /* all strings together */
#define BOOT_MAX_COMPLAINT 8	/* remembered complaints about the loader's data */

enum boot_mem_type {
	BOOT_MEM_USABLE,       /* free RAM */
	BOOT_MEM_ACPI_RECLAIM, /* RAM with ACPI tables */
	BOOT_MEM_ACPI_NVS,     /* RAM that firmware keeps for itself */
	BOOT_MEM_BAD,	       /* RAM that does not work */
	BOOT_MEM_RESERVED,     /* everything else, unknown types included */
};

struct boot_mem {
	struct mem_range range; /* size > 0, does not wrap; ranges may overlap one another */
	enum boot_mem_type type;
};

struct boot_module {
	const char *name; /* first word of the module's string, "" when there is none */
	const char *args; /* the rest of the string, "" when there is none */
	pa_t base;	  /* page aligned */
	size_t size;	  /* bytes, may be 0 */
	const void
		*data; /* in the direct map; NULL until the boot code has checked that it is RAM */
};

/* A section of our own ELF file as loaded; sections that occupy no memory are left out. */
struct boot_section {
	uint32_t type; /* SHT_* */
	uint64_t flags;
	uint64_t addr; /* allocated sections: virtual; others: physical, where the loader put it */
	uint64_t size;
	uint64_t entsize;
	uint32_t link;	/* index into the loader's section table, compare with `index` */
	uint32_t index; /* of this section in the loader's table */
};

struct boot_framebuffer {
	bool present;
	pa_t base;
	uint32_t pitch, width, height; /* bytes per line, pixels, pixels */
	uint8_t bpp;
	uint8_t type; /* multiboot2: 0 indexed, 1 direct RGB, 2 EGA text */
};

struct boot_info {
	const char *cmdline; /* without the file name; "" when there is none */
	const char *loader;  /* "" when it did not say */

	struct boot_mem mem[BOOT_MAX_RANGES];
	size_t nr_mem;

	struct boot_module modules[BOOT_MAX_MODULES];
	size_t nr_modules;

	struct boot_section sections[BOOT_MAX_SECTIONS];
	size_t nr_sections;

	bool uefi; /* firmware is UEFI: an EFI tag was among the others */

	/* Copies of the ACPI root pointers the loader found: size 0 when there is none. */
	uint8_t rsdp_v1[20];
	size_t rsdp_v1_size;
	uint8_t rsdp_v2[36];
	size_t rsdp_v2_size;

	struct boot_framebuffer framebuffer;

	struct mem_range info_structure; /* where the loader's structure lies */
	struct mem_range image;		 /* where our image lies, .bss included */

	/* What was wrong with the loader's data, for the log: texts with static lifetime. */
	const char *complaints[BOOT_MAX_COMPLAINT];
	size_t nr_complaints;

	char strings[BOOT_STRINGS_SIZE];
	size_t strings_used;
};

#endif

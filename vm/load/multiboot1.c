/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Multiboot kernels, version 1 (Multiboot Specification 0.6.96): ELF32 executables, or raw images
 * that give their load addresses in the header. The section numbers in the comments are those of
 * the specification.
 */
#include "lib/errno.h"
#include "lib/string.h"
#include "lib/util.h"
#include "mm/types.h"
#include "lib/bytes.h"
#include "vm/load/elf.h"
#include "vm/load/loader.h"

/* The header (3.1) */
#define HEADER_SEARCH	8192 /* it lies within these first bytes, 4-byte aligned */
#define HEADER_MAGIC	0x1badb002u
#define HEADER_SIZE	12 /* magic, flags, checksum */
#define HEADER_SIZE_RAW 32 /* with the five addresses */

#define FLAG_ALIGN_MODULES 0x00000001u /* modules on page boundaries: ours always are */
#define FLAG_MEMORY_INFO   0x00000002u /* memory sizes and map: always given */
#define FLAG_VIDEO_MODE	   0x00000004u
#define FLAGS_REQUIRED	   0x0000ffffu /* a loader that does not know one of these must refuse */
#define FLAG_ADDRESSES	   0x00010000u

/* What the kernel finds (3.2, 3.3) */
#define BOOT_MAGIC	  0x2badb002u
#define INFO_SIZE	  116
#define INFO_MEMORY	  0x001u
#define INFO_CMDLINE	  0x004u
#define INFO_MODULES	  0x008u
#define INFO_MMAP	  0x040u
#define INFO_LOADER_NAME  0x200u
#define MODULE_ENTRY_SIZE 16
#define MMAP_ENTRY_SIZE	  24 /* 4 for the size field, which does not count itself, and 20 */

static const char loader_name[] = "Sluice";

struct multiboot {
	const uint8_t *header;
	size_t header_at; /* offset in the file */
	uint32_t flags;
	uint64_t entry;
	uint64_t end; /* of the kernel in guest memory */
	uint64_t mod_base[LOAD_MODULES_MAX];

	/* The boot information, one block: struct, module list, memory map, strings. */
	uint64_t info, info_size;
	uint64_t mods, mmap, strings;
};

/* Finds the header; false when there is none. */
static bool find_header(const uint8_t *data, size_t size, struct multiboot *mb)
{
	for (size_t at = 0; at + HEADER_SIZE <= min_u64(size, HEADER_SEARCH); at += 4) {
		const uint8_t *h = data + at;

		if (get_le32(h) != HEADER_MAGIC ||
		    (uint32_t)(get_le32(h) + get_le32(h + 4) + get_le32(h + 8)) != 0)
			continue;
		mb->header = h;
		mb->header_at = at;
		mb->flags = get_le32(h + 4);
		return true;
	}
	return false;
}

bool multiboot1_identify(const uint8_t *data, size_t size)
{
	struct multiboot mb;

	return find_header(data, size, &mb);
}

static int check_flags(struct loader *l, const struct multiboot *mb)
{
	const struct load_image *k = &l->req->kernel;
	uint32_t unknown = mb->flags & FLAGS_REQUIRED & ~(FLAG_ALIGN_MODULES | FLAG_MEMORY_INFO);

	if (unknown == 0)
		return 0;
	if (unknown == FLAG_VIDEO_MODE)
		return load_fail(l, k, -EOPNOTSUPP,
				 "its multiboot header asks for a video mode, there is no display");
	return load_fail(l, k, -EOPNOTSUPP,
			 "its multiboot header asks for features that are not known (flags 0x%x)",
			 unknown);
}

/*
 * 3.1.3: the header says where it is itself in memory; from that follows which part of the file
 * goes where. These addresses win over an ELF header.
 */
static int load_raw(struct loader *l, struct multiboot *mb)
{
	const struct load_image *k = &l->req->kernel;
	uint64_t header_addr, load_addr, load_end, bss_end, at, size;
	int err;

	if (mb->header_at + HEADER_SIZE_RAW > min_u64(k->size, HEADER_SEARCH))
		return load_fail(l, k, -EINVAL, "is cut short within its multiboot header");
	header_addr = get_le32(mb->header + 12);
	load_addr = get_le32(mb->header + 16);
	load_end = get_le32(mb->header + 20);
	bss_end = get_le32(mb->header + 24);
	mb->entry = get_le32(mb->header + 28);
	if (header_addr < load_addr || header_addr - load_addr > mb->header_at)
		return load_fail(l, k, -EINVAL,
				 "the addresses in its multiboot header begin before "
				 "the file does");
	at = mb->header_at - (header_addr - load_addr);
	size = load_end != 0 ? load_end - load_addr : k->size - at;
	if ((load_end != 0 && load_end <= load_addr) || !range_fits(at, size, k->size))
		return load_fail(l, k, -EINVAL,
				 "the addresses in its multiboot header reach beyond the file");
	mb->end = load_addr + size;
	if (bss_end != 0 && bss_end < mb->end)
		return load_fail(l, k, -EINVAL,
				 "its multiboot header ends the bss before the data");
	mb->end = max_u64(mb->end, bss_end);
	if (mb->end > LOAD_4G)
		return load_fail(l, k, -EINVAL, "its multiboot header reaches above 4 GiB");
	if (mb->entry < load_addr || mb->entry >= mb->end)
		return load_fail(l, k, -EINVAL, "its entry point 0x%llx is outside of it",
				 (unsigned long long)mb->entry);
	if (place_take(&l->place, load_addr, mb->end - load_addr) != 0)
		return load_fail(l, k, -ENOMEM,
				 "does not fit: it is %llu MiB at 0x%llx, the guest has %llu MiB",
				 load_mib(mb->end - load_addr), (unsigned long long)load_addr,
				 load_ram_mib(l));
	err = load_write(l, load_addr, (const uint8_t *)k->data + at, size);
	if (err == 0)
		err = load_zero(l, load_addr + size, mb->end - load_addr - size);
	return err;
}

/* Modules go above the kernel, each on pages of its own, in their order. */
static int load_modules(struct loader *l, struct multiboot *mb)
{
	for (unsigned i = 0; i < l->req->nr_modules; i++) {
		const struct load_image *m = &l->req->modules[i];
		uint64_t room = align_up(max_u64(m->size, 1), PAGE_SIZE);
		int err;

		if (place_lowest(&l->place, room, PAGE_SIZE, max_u64(mb->end, LOAD_HIGH_BASE),
				 LOAD_4G, &mb->mod_base[i]) != 0)
			return load_fail(
				l, m, -ENOMEM,
				"needs %llu MiB beside the kernel and below 4 GiB, the guest "
				"has %llu MiB",
				load_mib(room), load_ram_mib(l));
		err = load_write(l, mb->mod_base[i], m->data, m->size);
		if (err != 0)
			return err;
	}
	return 0;
}

static const char *or_empty(const char *s)
{
	return s != NULL ? s : "";
}

/* With the blank between, and the NUL. */
static uint64_t words_size(const char *name, const char *args)
{
	return strlen(name) + (args[0] != '\0') + strlen(args) + 1;
}

/* "NAME ARGS" at *at, which moves past it. */
static int put_words(struct loader *l, uint64_t *at, const char *name, const char *args)
{
	int err = load_write(l, *at, name, strlen(name) + 1);

	if (err == 0 && args[0] != '\0')
		err = load_write(l, *at + strlen(name), " ", 1);
	if (err == 0 && args[0] != '\0')
		err = load_write(l, *at + strlen(name) + 1, args, strlen(args) + 1);
	*at += words_size(name, args);
	return err;
}

/* The boot information goes to the top of conventional memory, where kernels do not expect to be
 * alone. */
static int place_info(struct loader *l, struct multiboot *mb)
{
	const struct load_request *req = l->req;
	uint64_t mods_size = (uint64_t)req->nr_modules * MODULE_ENTRY_SIZE;
	uint64_t mmap_size = (uint64_t)req->nr_e820 * MMAP_ENTRY_SIZE;

	mb->info_size = align_up(INFO_SIZE, 16) + mods_size + mmap_size + sizeof(loader_name) +
			words_size(req->kernel.name, req->cmdline);
	for (unsigned i = 0; i < req->nr_modules; i++)
		mb->info_size += words_size(req->modules[i].name, or_empty(req->modules[i].args));
	if (place_highest(&l->place, mb->info_size, PAGE_SIZE, PAGE_SIZE, LOAD_LOW_LIMIT,
			  &mb->info) != 0 &&
	    place_lowest(&l->place, mb->info_size, PAGE_SIZE, LOAD_HIGH_BASE, LOAD_4G, &mb->info) !=
		    0)
		return load_fail(l, &req->kernel, -ENOMEM,
				 "no room for %llu bytes of boot information",
				 (unsigned long long)mb->info_size);
	mb->mods = mb->info + align_up(INFO_SIZE, 16);
	mb->mmap = mb->mods + mods_size;
	mb->strings = mb->mmap + mmap_size;
	return 0;
}

static int write_modules(struct loader *l, const struct multiboot *mb, uint64_t *strings)
{
	int err = 0;

	for (unsigned i = 0; i < l->req->nr_modules && err == 0; i++) {
		const struct load_image *m = &l->req->modules[i];
		uint8_t raw[MODULE_ENTRY_SIZE] = {0};

		put_le32(raw, (uint32_t)mb->mod_base[i]);
		put_le32(raw + 4, (uint32_t)(mb->mod_base[i] + m->size));
		put_le32(raw + 8, (uint32_t)*strings);
		err = load_write(l, mb->mods + i * MODULE_ENTRY_SIZE, raw, sizeof(raw));
		if (err == 0)
			err = put_words(l, strings, m->name, or_empty(m->args));
	}
	return err;
}

static int write_mmap(struct loader *l, const struct multiboot *mb)
{
	int err = 0;

	for (unsigned i = 0; i < l->req->nr_e820 && err == 0; i++) {
		const struct e820_entry *e = &l->req->e820[i];
		uint8_t raw[MMAP_ENTRY_SIZE];

		put_le32(raw, MMAP_ENTRY_SIZE - 4);
		put_le64(raw + 4, e->base);
		put_le64(raw + 12, e->size);
		put_le32(raw + 20, e->type);
		err = load_write(l, mb->mmap + i * MMAP_ENTRY_SIZE, raw, sizeof(raw));
	}
	return err;
}

/* 3.3. Everything is filled in although flags say what is valid: not every kernel looks at them. */
static int write_info(struct loader *l, const struct multiboot *mb)
{
	const struct load_request *req = l->req;
	uint64_t low = min_u64(place_ram_end(&l->place, 0), LOAD_LOW_LIMIT);
	uint64_t high = place_ram_end(&l->place, LOAD_HIGH_BASE) - LOAD_HIGH_BASE;
	uint64_t strings = mb->strings;
	uint8_t raw[INFO_SIZE] = {0};
	int err;

	put_le32(raw, INFO_MEMORY | INFO_CMDLINE | INFO_MODULES | INFO_MMAP | INFO_LOADER_NAME);
	put_le32(raw + 4, (uint32_t)(low / KIB));
	put_le32(raw + 8, (uint32_t)min_u64(high / KIB, UINT32_MAX));
	put_le32(raw + 20, req->nr_modules);
	put_le32(raw + 24, (uint32_t)mb->mods);
	put_le32(raw + 44, req->nr_e820 * MMAP_ENTRY_SIZE);
	put_le32(raw + 48, (uint32_t)mb->mmap);
	put_le32(raw + 16, (uint32_t)strings);
	err = put_words(l, &strings, req->kernel.name, req->cmdline);
	put_le32(raw + 64, (uint32_t)strings);
	if (err == 0)
		err = put_words(l, &strings, loader_name, "");
	if (err == 0)
		err = load_write(l, mb->info, raw, sizeof(raw));
	if (err == 0)
		err = write_modules(l, mb, &strings);
	if (err == 0)
		err = write_mmap(l, mb);
	return err;
}

int multiboot1_load(struct loader *l, struct vcpu_start *out)
{
	const struct load_image *k = &l->req->kernel;
	struct multiboot mb = {0};
	int err;

	if (!find_header(k->data, k->size, &mb))
		return load_fail(l, k, -ENOEXEC, "has no multiboot header");
	if (l->req->initrd != NULL)
		return load_fail(l, k, -EINVAL,
				 "is a multiboot kernel, which takes modules and no initrd");
	err = check_flags(l, &mb);
	if (err == 0)
		err = (mb.flags & FLAG_ADDRESSES) != 0 ? load_raw(l, &mb)
						       : elf_load32(l, &mb.entry, &mb.end);
	if (err == 0)
		err = place_info(l, &mb);
	if (err == 0)
		err = load_modules(l, &mb);
	if (err == 0)
		err = write_info(l, &mb);
	out->mode =
		START_X86_PROTECTED; /* 3.2; no table: a kernel loads its own before it uses one */
	out->entry = mb.entry;
	out->cs = 0x10;
	out->ds = 0x18;
	out->rax = BOOT_MAGIC;
	out->rbx = mb.info;
	return err;
}

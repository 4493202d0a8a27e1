/* SPDX-License-Identifier: BSD-2-Clause */
/* Parser of the multiboot2 information structure. Every length in it is taken for a lie. */
#include "boot/multiboot2.h"

#include "lib/bytes.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "lib/util.h"

/* Tag types, section 3.6 */
enum {
	TAG_END,
	TAG_CMDLINE,
	TAG_LOADER,
	TAG_MODULE,
	TAG_MMAP = 6,
	TAG_FRAMEBUFFER = 8,
	TAG_ELF_SECTIONS,
	TAG_EFI32 = 11,
	TAG_EFI64,
	TAG_ACPI_OLD = 14,
	TAG_ACPI_NEW,
	TAG_EFI_MMAP = 17,
	TAG_EFI_BOOT_SERVICES,
	TAG_EFI32_HANDLE,
	TAG_EFI64_HANDLE,
};

#define TAG_HEADER 8 /* type, size */

/* What EFI calls memory that is ours once boot services are gone (UEFI 2.9, table 7-10). */
enum {
	EFI_LOADER_CODE = 1,
	EFI_BOOT_SERVICES_DATA = 4,
	EFI_CONVENTIONAL = 7,
	EFI_UNUSABLE,
	EFI_ACPI_RECLAIM,
	EFI_ACPI_NVS,
};
#define EFI_MEMORY_RUNTIME BIT(63)

#define ELF64_SHDR_SIZE 64
#define SHT_NULL	0

/* One tag: `at` points at its first byte, `size` bytes of it are there, header included. */
struct tag {
	const uint8_t *at;
	uint32_t type;
	size_t size;
};

static void complain(struct boot_info *out, const char *text)
{
	for (size_t i = 0; i < out->nr_complaints; i++)
		if (out->complaints[i] == text)
			return;
	if (out->nr_complaints < BOOT_MAX_COMPLAINT)
		out->complaints[out->nr_complaints++] = text;
}

/* Control characters would let a loader's string drive the operator's terminal. */
static char printable(uint8_t c)
{
	return c == '\t' ? ' ' : c < 0x20 || c == 0x7f ? '?' : (char)c;
}

/* Copies s[0..n) or up to its terminator; "" when there is no room left. */
static const char *keep_string(struct boot_info *out, const uint8_t *s, size_t n)
{
	size_t len = strnlen((const char *)s, n);
	char *copy;

	if (len >= BOOT_STRINGS_SIZE - out->strings_used) {
		complain(out, "strings: too long, one was dropped");
		return "";
	}
	copy = &out->strings[out->strings_used];
	for (size_t i = 0; i < len; i++)
		copy[i] = printable(s[i]);
	copy[len] = '\0';
	out->strings_used += len + 1;
	return copy;
}

static const char *tag_string(struct boot_info *out, const struct tag *t, size_t at)
{
	if (t->size <= at)
		return "";
	if (memchr(t->at + at, '\0', t->size - at) == NULL)
		complain(out, "strings: one does not end within its tag");
	return keep_string(out, t->at + at, t->size - at);
}

/* ---- memory map ---- */

static bool known_mem(const struct boot_info *out, uint64_t base, uint64_t size,
		      enum boot_mem_type type)
{
	for (size_t i = 0; i < out->nr_mem; i++)
		if (out->mem[i].type == type && out->mem[i].range.base.v == base &&
		    out->mem[i].range.size == size)
			return true;
	return false;
}

/* Adds a range, joined to the one before when they touch: firmware likes to split. */
static int add_mem(struct boot_info *out, uint64_t base, uint64_t size, enum boot_mem_type type)
{
	struct boot_mem *last = out->nr_mem ? &out->mem[out->nr_mem - 1] : NULL;

	if (size > UINT64_MAX - base) {
		complain(out, "memory map: a range wraps around, taken as reserved");
		size = UINT64_MAX - base;
		type = BOOT_MEM_RESERVED;
	}
	if (known_mem(out, base, size, type)) /* the two maps say much the same */
		return 0;
	if (size == 0)
		return 0;
	if (last && last->type == type && last->range.base.v + last->range.size == base) {
		last->range.size += size;
		return 0;
	}
	if (out->nr_mem < BOOT_MAX_RANGES) {
		out->mem[out->nr_mem++] = (struct boot_mem){{pa(base), size}, type};
		return 0;
	}
	if (type != BOOT_MEM_USABLE)
		return -E2BIG;
	complain(out, "memory map: too many ranges, some memory is not used");
	return 0;
}

static enum boot_mem_type mmap_type(uint32_t type)
{
	switch (type) {
	case 1:
		return BOOT_MEM_USABLE;
	case 3:
		return BOOT_MEM_ACPI_RECLAIM;
	case 4:
		return BOOT_MEM_ACPI_NVS;
	case 5:
		return BOOT_MEM_BAD;
	default:
		return BOOT_MEM_RESERVED;
	}
}

/* Section 3.6.8: entry_size, entry_version, then base, length, type, reserved. */
static int parse_mmap(struct boot_info *out, const struct tag *t)
{
	const size_t first = 16;
	size_t step;

	if (t->size < first || (step = get_le32(t->at + 8)) < 24 || step % 8 != 0) {
		complain(out, "memory map: entries of an unknown size");
		return 0;
	}
	for (size_t at = first; t->size - at >= step; at += step) {
		const uint8_t *e = t->at + at;
		int r = add_mem(out, get_le64(e), get_le64(e + 8), mmap_type(get_le32(e + 16)));

		if (r)
			return r;
	}
	return 0;
}

static enum boot_mem_type efi_type(uint32_t type, uint64_t attributes)
{
	if (attributes & EFI_MEMORY_RUNTIME)
		return BOOT_MEM_RESERVED;
	if ((type >= EFI_LOADER_CODE && type <= EFI_BOOT_SERVICES_DATA) || type == EFI_CONVENTIONAL)
		return BOOT_MEM_USABLE;
	if (type == EFI_ACPI_RECLAIM)
		return BOOT_MEM_ACPI_RECLAIM;
	if (type == EFI_ACPI_NVS)
		return BOOT_MEM_ACPI_NVS;
	return type == EFI_UNUSABLE ? BOOT_MEM_BAD : BOOT_MEM_RESERVED;
}

/*
 * Section 3.6.18: descriptor size, version, then EFI descriptors. When the loader's own map is
 * there as well, this one may only take memory away.
 */
static int parse_efi_mmap(struct boot_info *out, const struct tag *t)
{
	bool only_memory = out->nr_mem == 0;
	const size_t first = 16;
	size_t step;

	if (t->size < first || (step = get_le32(t->at + 8)) < 40 || step % 8 != 0) {
		complain(out, "EFI memory map: entries of an unknown size");
		return 0;
	}
	for (size_t at = first; t->size - at >= step; at += step) {
		const uint8_t *e = t->at + at;
		uint64_t pages = get_le64(e + 24);
		enum boot_mem_type type = efi_type(get_le32(e), get_le64(e + 32));
		int r;

		if (type == BOOT_MEM_USABLE && !only_memory)
			continue;
		if (pages > UINT64_MAX >> PAGE_SHIFT)
			pages = UINT64_MAX >> PAGE_SHIFT;
		r = add_mem(out, get_le64(e + 8), pages << PAGE_SHIFT, type);
		if (r)
			return r;
	}
	return 0;
}

/* ---- the other tags ---- */

/* Section 3.6.6: start, end, string. The first word of the string is the name. */
static void parse_module(struct boot_info *out, const struct tag *t)
{
	struct boot_module *m = &out->modules[out->nr_modules];
	uint32_t start, end;
	size_t used = out->strings_used;
	char *s;

	if (t->size < 16 || (end = get_le32(t->at + 12)) < (start = get_le32(t->at + 8))) {
		complain(out, "modules: one with impossible bounds was dropped");
		return;
	}
	if (out->nr_modules == BOOT_MAX_MODULES) {
		complain(out, "modules: too many, the rest was dropped");
		return;
	}
	*m = (struct boot_module){.name = tag_string(out, t, 16), .args = ""};
	m->base = pa(start);
	m->size = end - start;
	out->nr_modules++;
	if (used == out->strings_used)
		return;
	s = strchr(&out->strings[used], ' ');
	if (s) {
		*s++ = '\0';
		while (*s == ' ')
			s++;
		m->args = s;
	}
}

/* Section 3.6.7; the section headers are Elf64_Shdr, ours being an ELF64 file. */
static void parse_sections(struct boot_info *out, const struct tag *t)
{
	const size_t first = 20;
	size_t count;

	if (t->size < first || get_le32(t->at + 12) != ELF64_SHDR_SIZE) {
		complain(out, "ELF sections: not those of a 64-bit file");
		return;
	}
	count = min_u64(get_le32(t->at + 8), (t->size - first) / ELF64_SHDR_SIZE);
	if (count != get_le32(t->at + 8))
		complain(out, "ELF sections: fewer than announced");
	for (size_t i = 0; i < count; i++) {
		const uint8_t *h = t->at + first + i * ELF64_SHDR_SIZE;
		struct boot_section s = {
			.type = get_le32(h + 4),
			.flags = get_le64(h + 8),
			.addr = get_le64(h + 16),
			.size = get_le64(h + 32),
			.link = get_le32(h + 40),
			.entsize = get_le64(h + 56),
			.index = (uint32_t)i,
		};

		if (s.type == SHT_NULL || s.addr == 0 || s.size == 0)
			continue;
		if (s.size > UINT64_MAX - s.addr || out->nr_sections == BOOT_MAX_SECTIONS) {
			complain(out, "ELF sections: too many or too large, some were dropped");
			continue;
		}
		out->sections[out->nr_sections++] = s;
	}
}

static void parse_framebuffer(struct boot_info *out, const struct tag *t)
{
	if (t->size < 30) {
		complain(out, "framebuffer: tag is too short");
		return;
	}
	out->framebuffer = (struct boot_framebuffer){
		.present = true,
		.base = pa(get_le64(t->at + 8)),
		.pitch = get_le32(t->at + 16),
		.width = get_le32(t->at + 20),
		.height = get_le32(t->at + 24),
		.bpp = t->at[28],
		.type = t->at[29],
	};
}

static size_t copy_rsdp(struct boot_info *out, const struct tag *t, uint8_t *dst, size_t size)
{
	if (t->size < TAG_HEADER + size) {
		complain(out, "ACPI: root pointer is too short");
		return 0;
	}
	memcpy(dst, t->at + TAG_HEADER, size);
	return size;
}

static int parse_tag(struct boot_info *out, const struct tag *t)
{
	switch (t->type) {
	case TAG_CMDLINE:
		out->cmdline = tag_string(out, t, TAG_HEADER);
		break;
	case TAG_LOADER:
		out->loader = tag_string(out, t, TAG_HEADER);
		break;
	case TAG_MODULE:
		parse_module(out, t);
		break;
	case TAG_MMAP:
		return parse_mmap(out, t);
	case TAG_FRAMEBUFFER:
		parse_framebuffer(out, t);
		break;
	case TAG_ELF_SECTIONS:
		parse_sections(out, t);
		break;
	case TAG_ACPI_OLD:
		out->rsdp_v1_size = copy_rsdp(out, t, out->rsdp_v1, sizeof(out->rsdp_v1));
		break;
	case TAG_ACPI_NEW:
		out->rsdp_v2_size = copy_rsdp(out, t, out->rsdp_v2, sizeof(out->rsdp_v2));
		break;
	case TAG_EFI_BOOT_SERVICES:
		complain(out, "EFI boot services were left running");
		out->uefi = true;
		break;
	case TAG_EFI32:
	case TAG_EFI64:
	case TAG_EFI32_HANDLE:
	case TAG_EFI64_HANDLE:
	case TAG_EFI_MMAP: /* its ranges: second pass */
		out->uefi = true;
		break;
	}
	return 0;
}

/*
 * Finds the tag at *at and moves *at past it. False at the end of the tags, be it their end tag,
 * the end of the structure or damage.
 */
static bool next_tag(struct boot_info *out, const uint8_t *info, size_t total, size_t *at,
		     struct tag *t)
{
	if (total - *at < TAG_HEADER) {
		complain(out, "tags: the end tag is missing");
		return false;
	}
	t->at = info + *at;
	t->type = get_le32(t->at);
	t->size = get_le32(t->at + 4);
	if (t->type == TAG_END)
		return false;
	if (t->size < TAG_HEADER || t->size > total - *at) {
		complain(out, "tags: one has an impossible size, the rest was dropped");
		return false;
	}
	*at = min_u64(align_up(*at + t->size, 8), total);
	return true;
}

int multiboot2_parse(const void *info, size_t avail, pa_t base, struct boot_info *out)
{
	const struct mem_range image = out->image;
	struct tag t;
	size_t total, at;
	int r = 0;

	memset(out, 0, sizeof(*out));
	out->image = image;
	out->cmdline = out->loader = "";
	if (avail < 8)
		return -EINVAL;
	total = get_le32(info);
	if (total < 8 || total > avail || total > MULTIBOOT2_INFO_MAX)
		return -EINVAL;
	out->info_structure = (struct mem_range){base, total};

	for (at = 8; r == 0 && next_tag(out, info, total, &at, &t);)
		r = parse_tag(out, &t);
	for (at = 8; r == 0 && next_tag(out, info, total, &at, &t);)
		if (t.type == TAG_EFI_MMAP)
			r = parse_efi_mmap(out, &t);
	return r;
}

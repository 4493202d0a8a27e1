/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The multiboot2 parser: a sound structure is read as it is, and no damage makes it read past the
 * end, loop, or hand out something unbounded. Every structure is parsed from a heap block of its
 * exact size, so that the sanitizer sees one byte too many.
 */
// links: boot/multiboot2.c

#include "boot/multiboot2.h"
#include "lib/errno.h"
#include "lib/util.h"
#include "tests/tap.h"

#include <stdlib.h>

#define INFO_MAX (64 * 1024)

static uint8_t info[INFO_MAX];
static size_t used;
static struct boot_info out;

/* ---- building a structure ---- */

static void begin(void)
{
	memset(info, 0xee, sizeof(info));
	used = 8;
}

static void bytes(const void *p, size_t n)
{
	if (n > sizeof(info) - used)
		abort();
	memcpy(info + used, p, n);
	used += n;
}

static void u32(uint32_t v)
{
	bytes(&v, 4);
}

static void u64(uint64_t v)
{
	bytes(&v, 8);
}

static size_t tag_begin(uint32_t type)
{
	while (used % 8)
		used++;
	u32(type);
	u32(0);
	return used - 8;
}

static void tag_end(size_t at)
{
	uint32_t size = (uint32_t)(used - at);

	memcpy(info + at + 4, &size, 4);
}

static void string_tag(uint32_t type, const char *s)
{
	size_t at = tag_begin(type);

	bytes(s, strlen(s) + 1);
	tag_end(at);
}

static void module_tag(uint32_t start, uint32_t end, const char *s)
{
	size_t at = tag_begin(3);

	u32(start);
	u32(end);
	bytes(s, strlen(s) + 1);
	tag_end(at);
}

static void mmap_entry(uint64_t base, uint64_t size, uint32_t type)
{
	u64(base);
	u64(size);
	u32(type);
	u32(0);
}

static size_t mmap_begin(uint32_t entry_size)
{
	size_t at = tag_begin(6);

	u32(entry_size);
	u32(0);
	return at;
}

static void efi_entry(uint32_t type, uint64_t base, uint64_t pages, uint64_t attributes)
{
	u32(type);
	u32(0);
	u64(base);
	u64(0);
	u64(pages);
	u64(attributes);
	u64(0); /* firmware's descriptors are longer than the structure */
}

static size_t efi_begin(uint32_t entry_size)
{
	size_t at = tag_begin(17);

	u32(entry_size);
	u32(1);
	return at;
}

static void section(uint32_t type, uint64_t flags, uint64_t addr, uint64_t size, uint32_t link)
{
	u32(1);
	u32(type);
	u64(flags);
	u64(addr);
	u64(0);
	u64(size);
	u32(link);
	u32(0);
	u64(1);
	u64(24);
}

static void finish(void)
{
	uint32_t total;

	tag_end(tag_begin(0));
	total = (uint32_t)used;
	memcpy(info, &total, 4);
	memset(info + 4, 0, 4);
}

/* Parses the first n bytes of the structure as it stands. */
static int parse(size_t n)
{
	uint8_t *copy = malloc(n ? n : 1);
	int r;

	if (!copy)
		abort();
	memcpy(copy, info, n);
	r = multiboot2_parse(copy, n, pa(0x9000), &out);
	free(copy); /* what `out` still points to would be seen by the sanitizer */
	return r;
}

/* ---- what must hold whatever came in ---- */

static bool good_string(const char *s)
{
	if (s && *s == '\0')
		return true;
	if (s < out.strings || s >= out.strings + sizeof(out.strings))
		return false;
	return memchr(s, '\0', (size_t)(out.strings + sizeof(out.strings) - s)) != NULL;
}

static bool is_sane(void)
{
	if (out.nr_mem > BOOT_MAX_RANGES || out.nr_modules > BOOT_MAX_MODULES ||
	    out.nr_sections > BOOT_MAX_SECTIONS || out.nr_complaints > BOOT_MAX_COMPLAINT ||
	    out.strings_used > BOOT_STRINGS_SIZE)
		return false;
	if (!good_string(out.cmdline) || !good_string(out.loader))
		return false;
	for (size_t i = 0; i < out.nr_mem; i++)
		if (out.mem[i].range.size == 0 ||
		    out.mem[i].range.size > UINT64_MAX - out.mem[i].range.base.v ||
		    out.mem[i].type > BOOT_MEM_RESERVED)
			return false;
	for (size_t i = 0; i < out.nr_modules; i++)
		if (!good_string(out.modules[i].name) || !good_string(out.modules[i].args) ||
		    out.modules[i].size > UINT32_MAX - out.modules[i].base.v)
			return false;
	for (size_t i = 0; i < out.nr_sections; i++)
		if (out.sections[i].size > UINT64_MAX - out.sections[i].addr)
			return false;
	for (size_t i = 0; i < out.strings_used; i++)
		if (out.strings[i] && ((uint8_t)out.strings[i] < 0x20 || out.strings[i] == 0x7f))
			return false;
	return (out.rsdp_v1_size == 0 || out.rsdp_v1_size == sizeof(out.rsdp_v1)) &&
	       (out.rsdp_v2_size == 0 || out.rsdp_v2_size == sizeof(out.rsdp_v2));
}

static bool complained(const char *start)
{
	for (size_t i = 0; i < out.nr_complaints; i++)
		if (strncmp(out.complaints[i], start, strlen(start)) == 0)
			return true;
	return false;
}

/* One of everything. */
static void build_full(void)
{
	uint8_t rsdp[36];
	size_t at;

	for (size_t i = 0; i < sizeof(rsdp); i++)
		rsdp[i] = (uint8_t)i;
	begin();
	string_tag(1, "console=com1  after=poweroff");
	string_tag(2, "GRUB 2.06");
	module_tag(0x5000, 0x5123, "guests.conf");
	module_tag(0x800000, 0x900000, "vmlinuz   one two");
	module_tag(0xa00000, 0xa00000, "");
	at = mmap_begin(24);
	mmap_entry(0, 0x9fc00, 1);
	mmap_entry(0x100000, 0x700000, 1);
	mmap_entry(0x800000, 0x100000, 1);
	mmap_entry(0x900000, 0x1000, 3);
	mmap_entry(0x901000, 0x1000, 4);
	mmap_entry(0x902000, 0x1000, 5);
	mmap_entry(0x903000, 0x1000, 0x14);
	mmap_entry(0x904000, 0, 1);
	tag_end(at);
	at = tag_begin(8);
	u64(0xe0000000);
	u32(4096);
	u32(1024);
	u32(768);
	bytes("\x20\x01\x00\x00", 4);
	tag_end(at);
	at = tag_begin(9);
	u32(4);
	u32(64);
	u32(3);
	section(0, 0, 0, 0, 0);
	section(1, 6, 0xffffffff80000000, 0x4000, 0);
	section(2, 0, 0x240000, 0x600, 3);
	section(3, 0, 0x241000, 0x300, 0);
	tag_end(at);
	at = tag_begin(14);
	bytes(rsdp, 20);
	tag_end(at);
	at = tag_begin(15);
	bytes(rsdp, 36);
	tag_end(at);
	at = efi_begin(48);
	efi_entry(7, 0x100000, 0x100, 0);
	efi_entry(7, 0x200000, 0x10, 1ULL << 63); /* runtime services live here */
	efi_entry(3, 0x300000, 0x10, 0);
	efi_entry(9, 0x900000, 1, 0); /* known already */
	efi_entry(0, 0xfec00000, 1, 0);
	tag_end(at);
	string_tag(0x7777, "unknown tags are skipped");
	finish();
}

static void check_mem(size_t i, uint64_t base, uint64_t size, enum boot_mem_type type)
{
	const struct boot_mem *m = &out.mem[i];

	ok(i < out.nr_mem && m->range.base.v == base && m->range.size == size && m->type == type,
	   "memory range %zu is %#" PRIx64 "+%#" PRIx64, i, base, size);
}

static void test_full(void)
{
	build_full();
	out.image = (struct mem_range){pa(0x200000), 0x5000};
	is_u64((uint64_t)parse(used), 0, "a sound structure is accepted");
	ok(is_sane(), "and its result is bounded");
	is_u64(out.nr_complaints, 0, "nothing to complain of");
	is_str(out.cmdline, "console=com1  after=poweroff", "command line");
	is_str(out.loader, "GRUB 2.06", "loader's name");
	is_u64(out.nr_modules, 3, "modules");
	is_str(out.modules[0].name, "guests.conf", "first module's name");
	is_str(out.modules[0].args, "", "it has no arguments");
	is_u64(out.modules[0].base.v, 0x5000, "its address");
	is_u64(out.modules[0].size, 0x123, "its size");
	is_str(out.modules[1].name, "vmlinuz", "second module's name is the first word");
	is_str(out.modules[1].args, "one two", "its arguments are the rest");
	is_str(out.modules[2].name, "", "a module without a string");
	is_u64(out.modules[2].size, 0, "an empty module");
	is_u64(out.nr_mem, 8, "memory ranges: neighbours joined, empty and doubled ones left out");
	check_mem(0, 0, 0x9fc00, BOOT_MEM_USABLE);
	check_mem(1, 0x100000, 0x800000, BOOT_MEM_USABLE);
	check_mem(2, 0x900000, 0x1000, BOOT_MEM_ACPI_RECLAIM);
	check_mem(3, 0x901000, 0x1000, BOOT_MEM_ACPI_NVS);
	check_mem(4, 0x902000, 0x1000, BOOT_MEM_BAD);
	check_mem(5, 0x903000, 0x1000, BOOT_MEM_RESERVED);
	check_mem(6, 0x200000, 0x10000, BOOT_MEM_RESERVED);
	check_mem(7, 0xfec00000, 0x1000, BOOT_MEM_RESERVED);
	ok(out.framebuffer.present && out.framebuffer.base.v == 0xe0000000 &&
		   out.framebuffer.pitch == 4096 && out.framebuffer.width == 1024 &&
		   out.framebuffer.height == 768 && out.framebuffer.bpp == 32 &&
		   out.framebuffer.type == 1,
	   "framebuffer");
	is_u64(out.nr_sections, 3, "ELF sections, the null one left out");
	ok(out.sections[1].type == 2 && out.sections[1].link == out.sections[2].index &&
		   out.sections[1].addr == 0x240000 && out.sections[1].size == 0x600,
	   "the symbol table names its strings");
	ok(out.rsdp_v1_size == 20 && out.rsdp_v1[19] == 19, "old root pointer");
	ok(out.rsdp_v2_size == 36 && out.rsdp_v2[35] == 35, "new root pointer");
	ok(out.uefi, "firmware is UEFI");
	is_u64(out.info_structure.base.v, 0x9000, "where the structure lies");
	is_u64(out.info_structure.size, used, "its size");
	is_u64(out.image.base.v, 0x200000, "the image's place is the caller's");
}

/* EFI's map alone is a memory map, too. */
static void test_efi_only(void)
{
	size_t at;

	begin();
	at = efi_begin(48);
	efi_entry(1, 0x100000, 1, 0);
	efi_entry(4, 0x101000, 1, 0);
	efi_entry(7, 0x200000, 1, 0);
	efi_entry(5, 0x300000, 1, 0);
	efi_entry(10, 0x400000, UINT64_MAX, 0);
	efi_entry(8, 0x500000, 1, 0);
	efi_entry(14, 0x600000, 1, 0);
	tag_end(at);
	finish();
	parse(used);
	is_u64(out.nr_mem, 6, "EFI map alone: ranges");
	check_mem(0, 0x100000, 0x2000, BOOT_MEM_USABLE);
	check_mem(1, 0x200000, 0x1000, BOOT_MEM_USABLE);
	check_mem(2, 0x300000, 0x1000, BOOT_MEM_RESERVED);
	check_mem(3, 0x400000, UINT64_MAX - 0x400000, BOOT_MEM_RESERVED);
	check_mem(4, 0x500000, 0x1000, BOOT_MEM_BAD);
	check_mem(5, 0x600000, 0x1000, BOOT_MEM_RESERVED);
}

static void test_not_a_structure(void)
{
	uint32_t total;

	build_full();
	is_u64((uint64_t)-parse(0), EINVAL, "no byte at all is refused");
	is_u64((uint64_t)-parse(7), EINVAL, "seven bytes are refused");
	is_u64((uint64_t)-parse(used - 1), EINVAL, "a total size past the end is refused");
	total = 7;
	memcpy(info, &total, 4);
	is_u64((uint64_t)-parse(used), EINVAL, "a total size without a header is refused");
	total = UINT32_MAX;
	memcpy(info, &total, 4);
	is_u64((uint64_t)-parse(used), EINVAL, "a total size of 4 GiB is refused");
}

/* The structure cut anywhere, with a total size that agrees. */
static void test_truncated(void)
{
	size_t full, bad = 0;

	build_full();
	full = used;
	for (uint32_t n = 8; n < full; n++) {
		memcpy(info, &n, 4);
		bad += parse(n) != 0 || !is_sane() || out.nr_complaints == 0;
	}
	is_u64(bad, 0, "cut anywhere: what is left is read, and somebody complains");
}

static void test_mutated(void)
{
	size_t bad = 0, noticed = 0;

	build_full();
	for (size_t i = 0; i < used; i++) {
		uint8_t was = info[i];

		for (unsigned v = 0; v < 256; v++) {
			int r;

			info[i] = (uint8_t)v;
			r = parse(used);
			bad += (r != 0 && r != -EINVAL && r != -E2BIG) || !is_sane();
			noticed += r != 0 || out.nr_complaints != 0;
		}
		info[i] = was;
	}
	is_u64(bad, 0, "every byte by every other value: the result stays bounded");
	ok(noticed > 1000, "and damage is noticed (%zu times)", noticed);
}

static void test_tag_sizes(void)
{
	static const uint32_t sizes[] = {0, 1, 7, 0x7fffffff, 0xfffffff0, UINT32_MAX};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t at;

		begin();
		string_tag(1, "before");
		at = tag_begin(2);
		bytes("x", 2);
		tag_end(at);
		memcpy(info + at + 4, &sizes[i], 4);
		finish();
		ok(parse(used) == 0 && is_sane() && complained("tags:") &&
			   strcmp(out.cmdline, "before") == 0 && *out.loader == '\0',
		   "a tag of size %#x ends the list, what came before stays", sizes[i]);
	}
	/* Each known tag with nothing but its header. */
	for (uint32_t type = 1; type <= 21; type++) {
		begin();
		tag_end(tag_begin(type));
		finish();
		ok(parse(used) == 0 && is_sane() && out.nr_mem == 0 && out.nr_modules == 0,
		   "tag %u without contents", type);
	}
}

static void test_strings(void)
{
	static char big[BOOT_STRINGS_SIZE + 100];
	size_t at;

	begin();
	at = tag_begin(1);
	bytes("unterminated", 12);
	tag_end(at);
	at = tag_begin(3);
	u32(0x1000);
	u32(0x2000);
	bytes("mod", 3);
	tag_end(at);
	string_tag(2, "a\x1b[2Jb\tc");
	finish();
	parse(used);
	is_str(out.cmdline, "unterminated", "an unterminated string ends with its tag");
	is_str(out.modules[0].name, "mod", "so does a module's");
	ok(complained("strings:"), "which is complained of");
	is_str(out.loader, "a?[2Jb c", "control characters do not reach the terminal");

	memset(big, 'x', sizeof(big) - 1);
	begin();
	string_tag(2, "first");
	string_tag(1, big);
	module_tag(0x1000, 0x2000, "kept");
	finish();
	parse(used);
	ok(is_sane() && *out.cmdline == '\0' && complained("strings: too long"),
	   "a string beyond the room for it is dropped");
	is_str(out.loader, "first", "the one before it is not");
	is_str(out.modules[0].name, "kept", "nor is one behind it that fits");
	big[BOOT_STRINGS_SIZE - 1] = '\0';
	begin();
	string_tag(1, big);
	finish();
	parse(used);
	is_u64(strlen(out.cmdline), BOOT_STRINGS_SIZE - 1, "the longest string that fits");
}

static void test_memory_map(void)
{
	size_t at;

	for (uint32_t step = 0; step < 64; step++) {
		bool legal = step >= 24 && step % 8 == 0;

		begin();
		at = mmap_begin(step);
		for (unsigned i = 0; i < 3; i++) {
			mmap_entry(0x100000 * (i + 1), 0x1000, 1);
			for (uint32_t pad = 24; pad < step; pad++)
				bytes("", 1);
		}
		tag_end(at);
		finish();
		parse(used);
		ok(is_sane() && out.nr_mem == (legal ? 3U : 0U) &&
			   complained("memory map") == !legal,
		   "memory map with entries of %u bytes", step);
	}
	begin();
	at = mmap_begin(24);
	mmap_entry(0x1000, UINT64_MAX, 1);
	mmap_entry(UINT64_MAX, 1, 1);
	mmap_entry(0, UINT64_MAX, 1);
	tag_end(at);
	finish();
	parse(used);
	check_mem(0, 0x1000, UINT64_MAX - 0x1000, BOOT_MEM_RESERVED);
	ok(complained("memory map: a range wraps"), "ranges that wrap are complained of");
	check_mem(1, 0, UINT64_MAX, BOOT_MEM_USABLE);
	is_u64(out.nr_mem, 2, "one that begins at the last byte is nothing");

	for (unsigned type = 1; type <= 2; type++) {
		begin();
		at = mmap_begin(24);
		for (unsigned i = 0; i <= BOOT_MAX_RANGES; i++)
			mmap_entry(0x10000ULL * i, 0x1000, type);
		tag_end(at);
		finish();
		is_u64((uint64_t)-parse(used), type == 1 ? 0 : E2BIG,
		       type == 1 ? "usable ranges beyond the table are left out"
				 : "reserved ranges beyond the table are refused");
		is_u64(out.nr_mem, BOOT_MAX_RANGES, "the table is full then");
	}
}

static void test_modules(void)
{
	begin();
	module_tag(0x2000, 0x1fff, "backwards");
	module_tag(0, UINT32_MAX, "everything");
	finish();
	parse(used);
	ok(out.nr_modules == 1 && complained("modules:"), "a module that ends before it begins");
	is_u64(out.modules[0].size, UINT32_MAX, "a module of 4 GiB is kept: others judge it");

	begin();
	for (unsigned i = 0; i < BOOT_MAX_MODULES + 3; i++)
		module_tag(0x1000 * i, 0x1000 * i + 1, "m");
	finish();
	parse(used);
	ok(out.nr_modules == BOOT_MAX_MODULES && complained("modules: too many") && is_sane(),
	   "more modules than there is room for");
}

static void test_sections(void)
{
	size_t at;

	begin();
	at = tag_begin(9);
	u32(UINT32_MAX);
	u32(64);
	u32(0);
	section(1, 2, 0x1000, 0x1000, 0);
	section(1, 2, UINT64_MAX - 5, 100, 0);
	tag_end(at);
	finish();
	parse(used);
	ok(out.nr_sections == 1 && is_sane() && complained("ELF sections: fewer"),
	   "more sections announced than there are");
	begin();
	at = tag_begin(9);
	u32(1);
	u32(40);
	u32(0);
	section(1, 2, 0x1000, 0x1000, 0);
	tag_end(at);
	finish();
	parse(used);
	ok(out.nr_sections == 0 && complained("ELF sections: not"), "sections of a 32-bit file");
}

int main(void)
{
	test_full();
	test_efi_only();
	test_not_a_structure();
	test_truncated();
	test_mutated();
	test_tag_sizes();
	test_strings();
	test_memory_map();
	test_modules();
	test_sections();
	return tap_done();
}

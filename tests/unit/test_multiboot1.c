/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Multiboot kernels, ELF and raw: what lies where in guest memory, what the kernel is told, and
 * what is refused. The kernels are made up here.
 */
// links: vm/load/load.c vm/load/place.c vm/load/bzimage.c vm/load/multiboot1.c vm/load/elf.c
// links: lib/format.c lib/string.c tests/host/guestmem_flat.c
#include <errno.h>
#include <stdlib.h>

#include "lib/util.h"
#include "tests/host/guestmem_flat.h"
#include "tests/tap.h"
#include "vm/guestmem.h"
#include "lib/bytes.h"
#include "vm/load/load.h"

#define KERNEL_SIZE 0x3000
#define HEADER_AT   0x1000 /* of the multiboot header in the file */
#define TEXT_AT	    0x1000
#define TEXT_SIZE   0x1234
#define TEXT_ADDR   (4 * MIB)
#define DATA_AT	    0x2400
#define DATA_SIZE   0x100
#define DATA_ADDR   (5 * MIB + 0x10)
#define DATA_MEM    (12 * MIB) /* with the bss */
#define END_ADDR    (DATA_ADDR + DATA_MEM)

static uint8_t kernel[KERNEL_SIZE];
static struct guestmem mem;
static struct e820_entry map[LOAD_E820_MAX];
static struct load_request req;
static struct vcpu_start start;
static char err[256];

static void set_header(size_t offset, uint32_t flags)
{
	put_le32(kernel + offset, 0x1badb002);
	put_le32(kernel + offset + 4, flags);
	put_le32(kernel + offset + 8, (uint32_t) - (0x1badb002 + flags));
}

static uint8_t *phdr(unsigned i)
{
	return kernel + 52 + i * 32;
}

static void set_phdr(unsigned i, uint32_t type, uint64_t offset, uint64_t vaddr, uint64_t paddr,
		     uint64_t filesz, uint64_t memsz)
{
	put_le32(phdr(i), type);
	put_le32(phdr(i) + 4, (uint32_t)offset);
	put_le32(phdr(i) + 8, (uint32_t)vaddr);
	put_le32(phdr(i) + 12, (uint32_t)paddr);
	put_le32(phdr(i) + 16, (uint32_t)filesz);
	put_le32(phdr(i) + 20, (uint32_t)memsz);
}

static void make_elf(void)
{
	for (size_t i = 0; i < sizeof(kernel); i++)
		kernel[i] = (uint8_t)(i * 11 + i / 256 + 1);
	memset(kernel, 0, 0x200);
	memcpy(kernel,
	       "\x7f"
	       "ELF\1\1\1",
	       7);
	put_le16(kernel + 16, 2); /* ET_EXEC */
	put_le16(kernel + 18, 3); /* EM_386 */
	put_le32(kernel + 24, TEXT_ADDR + 0x20);
	put_le32(kernel + 28, 52);
	put_le16(kernel + 42, 32);
	put_le16(kernel + 44, 3);
	set_phdr(0, 1, TEXT_AT, TEXT_ADDR, TEXT_ADDR, TEXT_SIZE, TEXT_SIZE);
	set_phdr(1, 1, DATA_AT, DATA_ADDR, DATA_ADDR, DATA_SIZE, DATA_MEM);
	set_phdr(2, 0x6474e551, 0xffffff00, 0, 0, 0, 0); /* PT_GNU_STACK: not looked at */
	set_header(HEADER_AT, 3);
}

/* The same as a raw image: the file from 0x800 on goes to 2 MiB. */
static void make_raw(void)
{
	make_elf();
	memset(kernel, 0xcc, 0x200);
	set_header(HEADER_AT, 0x00010003);
	put_le32(kernel + HEADER_AT + 12, 2 * MIB + 0x800);
	put_le32(kernel + HEADER_AT + 16, 2 * MIB);
	put_le32(kernel + HEADER_AT + 20, 2 * MIB + 0x1800);
	put_le32(kernel + HEADER_AT + 24, 3 * MIB);
	put_le32(kernel + HEADER_AT + 28, 2 * MIB + 0x900);
}

static void add_entry(uint64_t base, uint64_t size, uint32_t type)
{
	map[req.nr_e820++] = (struct e820_entry){base, size, type};
	if (type == E820_RAM)
		guestmem_add_ram(&mem, ipa(base), align_up(size, PAGE_SIZE));
}

static void make_guest(uint64_t size)
{
	memset(&req, 0, sizeof(req));
	guestmem_init(&mem, err, sizeof(err));
	add_entry(0, 0x9fc00, E820_RAM);
	add_entry(0xe0000, 0x20000, E820_RESERVED);
	add_entry(MIB, size - MIB, E820_RAM);
	req.kernel =
		(struct load_image){.name = "tsc.flat", .data = kernel, .size = sizeof(kernel)};
	req.cmdline = "";
	req.e820 = map;
}

static uint8_t *at(uint64_t addr, uint64_t size)
{
	uint8_t *p = guestmem_flat_at(&mem, addr, size);

	if (p == NULL) {
		printf("Bail out! no memory at %#" PRIx64 "\n", addr);
		exit(1);
	}
	return p;
}

static int load(void)
{
	return load_kernel(&mem, &req, &start, err, sizeof(err));
}

static const char *string_at(uint64_t addr)
{
	return (const char *)at(addr, 64);
}

static void check_registers(uint64_t entry)
{
	is_u64(start.mode, START_X86_PROTECTED, "32-bit protected mode");
	is_u64(start.entry, entry, "entry point");
	is_u64(start.rax, 0x2badb002, "EAX");
	ok(start.rbx != 0 && start.rbx < 0xa0000 && start.rbx % 4 == 0,
	   "EBX: information in low memory");
	ok(start.cs == 0x10 && start.ds == 0x18 && start.cr3 == 0 && start.gdt_limit == 0,
	   "flat segments, no paging");
}

static void check_mmap(const uint8_t *info)
{
	const uint8_t *e = at(get_le32(info + 48), get_le32(info + 44));

	is_u64(get_le32(info + 44), req.nr_e820 * 24, "length of the memory map");
	for (unsigned i = 0; i < req.nr_e820; i++, e += 24) {
		ok(get_le32(e) == 20 && get_le64(e + 4) == map[i].base &&
			   get_le64(e + 12) == map[i].size && get_le32(e + 20) == map[i].type,
		   "memory map entry %u", i);
	}
}

static void test_elf(void)
{
	const uint8_t *info;

	make_elf();
	make_guest(64 * MIB);
	memset(at(END_ADDR - 8, 9), 0xff, 9);
	is_u64((uint64_t)load(), 0, "loads");
	is_str(err, "", "no message");
	check_registers(TEXT_ADDR + 0x20);
	ok(memcmp(at(TEXT_ADDR, TEXT_SIZE), kernel + TEXT_AT, TEXT_SIZE) == 0, "text");
	ok(memcmp(at(DATA_ADDR, DATA_SIZE), kernel + DATA_AT, DATA_SIZE) == 0, "data");
	ok(guestmem_flat_is_zero(&mem, DATA_ADDR + DATA_SIZE, DATA_MEM - DATA_SIZE), "bss");
	is_u64(at(END_ADDR, 1)[0], 0xff, "and no more");
	info = at(start.rbx, 116);
	is_u64(get_le32(info), 0x24d, "flags");
	is_u64(get_le32(info + 4), 0x9fc00 / 1024, "mem_lower");
	is_u64(get_le32(info + 8), 63 * 1024, "mem_upper");
	is_str(string_at(get_le32(info + 16)), "tsc.flat", "command line is the name alone");
	is_u64(get_le32(info + 20), 0, "no modules");
	is_str(string_at(get_le32(info + 64)), "Sluice", "boot loader name");
	check_mmap(info);
	ok(get_le32(info + 12) == 0 && get_le32(info + 28) == 0 && get_le32(info + 52) == 0,
	   "no boot device, symbols, drives");
	guestmem_destroy(&mem);
}

static void test_modules(void)
{
	static uint8_t first[5000], second[1];
	struct load_image mods[3] = {
		{.name = "env", .args = "a=1 b", .data = first, .size = sizeof(first)},
		{.name = "two", .data = second, .size = sizeof(second)},
		{.name = "empty", .args = "", .data = NULL, .size = 0},
	};
	static const char *const strings[] = {"env a=1 b", "two", "empty"};
	uint64_t free_from = END_ADDR;
	const uint8_t *info, *m;

	memset(first, 0x11, sizeof(first));
	memset(second, 0x22, sizeof(second));
	make_elf();
	make_guest(64 * MIB);
	req.modules = mods;
	req.nr_modules = 3;
	req.cmdline = "NR_CPUS=1 x";
	is_u64((uint64_t)load(), 0, "loads with modules");
	info = at(start.rbx, 116);
	is_str(string_at(get_le32(info + 16)), "tsc.flat NR_CPUS=1 x", "command line");
	is_u64(get_le32(info + 20), 3, "number of modules");
	check_mmap(info);
	m = at(get_le32(info + 24), 3 * 16);
	for (unsigned i = 0; i < 3; i++, m += 16) {
		uint64_t base = get_le32(m), end = get_le32(m + 4);

		ok(is_aligned(base, PAGE_SIZE) && base >= free_from, "module %u on its own page",
		   i);
		is_u64(end - base, mods[i].size, "its size");
		ok(i == 2 || memcmp(at(base, end - base), mods[i].data, mods[i].size) == 0,
		   "its bytes");
		is_str(string_at(get_le32(m + 8)), strings[i], "its string");
		is_u64(get_le32(m + 12), 0, "reserved");
		free_from = end;
	}
	guestmem_destroy(&mem);

	make_guest(18 * MIB);
	mods[0].size = 2 * MIB; /* never read: it does not fit */
	req.modules = mods;
	req.nr_modules = 1;
	is_u64((uint64_t)-load(), ENOMEM, "a module that does not fit");
	is_str(err, "env: needs 2 MiB beside the kernel and below 4 GiB, the guest has 18 MiB",
	       "message");
	req.nr_modules = LOAD_MODULES_MAX + 1;
	is_u64((uint64_t)-load(), E2BIG, "too many modules");
	req.nr_modules = 0;
	req.initrd = mods;
	is_u64((uint64_t)-load(), EINVAL, "an initrd");
	is_str(err, "tsc.flat: is a multiboot kernel, which takes modules and no initrd",
	       "message");
	guestmem_destroy(&mem);
}

/* The information goes as high as it fits: 3072 bytes of conventional memory are in its last page.
 */
static void test_info_size(void)
{
	static uint8_t text[1] = {1};
	static char cmdline[4000];
	struct load_image mod = {.name = "m", .args = "ab", .data = text, .size = 1};
	size_t others = 128 + 72 + sizeof("Sluice") + sizeof("tsc.flat ");

	make_elf();
	memset(cmdline, 'x', sizeof(cmdline) - 1);
	for (unsigned mods = 0; mods < 2; mods++) {
		for (unsigned more = 0; more < 2; more++) {
			size_t len = 0xc00 - others - mods * (16 + sizeof("m ab")) + more;
			const char *got;

			make_guest(64 * MIB);
			memset(cmdline, 'x', sizeof(cmdline) - 1);
			cmdline[len] = '\0';
			req.cmdline = cmdline;
			req.modules = &mod;
			req.nr_modules = mods;
			is_u64((uint64_t)load(), 0, "a long command line");
			is_u64(start.rbx, more ? 0x9e000 : 0x9f000, "as high as it fits");
			got = (const char *)at(get_le32(at(start.rbx + 16, 4)), len + 10);
			ok(strncmp(got, "tsc.flat x", 10) == 0 && strcmp(got + 9, cmdline) == 0,
			   "and is whole");
			guestmem_destroy(&mem);
		}
	}
}

static void test_raw(void)
{
	make_raw();
	make_guest(64 * MIB);
	memset(at(2 * MIB + 0x1800, MIB), 0xff, MIB - 0x1800 + 1);
	is_u64((uint64_t)load(), 0, "raw image loads");
	check_registers(2 * MIB + 0x900);
	ok(memcmp(at(2 * MIB, 0x1800), kernel + 0x800, 0x1800) == 0, "its bytes");
	ok(guestmem_flat_is_zero(&mem, 2 * MIB + 0x1800, MIB - 0x1800), "its bss");
	is_u64(at(3 * MIB, 1)[0], 0xff, "and no more");
	guestmem_destroy(&mem);

	put_le32(kernel + HEADER_AT + 24, 2 * MIB + 0x1800);
	make_guest(64 * MIB);
	is_u64((uint64_t)load(), 0, "a bss of no bytes");
	guestmem_destroy(&mem);

	put_le32(kernel + HEADER_AT + 20, 0);
	put_le32(kernel + HEADER_AT + 24, 0);
	make_guest(64 * MIB);
	is_u64((uint64_t)load(), 0, "load_end 0: up to the end of the file");
	ok(memcmp(at(2 * MIB, KERNEL_SIZE - 0x800), kernel + 0x800, KERNEL_SIZE - 0x800) == 0,
	   "its bytes");
	guestmem_destroy(&mem);

	make_elf();
	kernel[4] = 2; /* ELF64, but with addresses of its own */
	set_header(HEADER_AT, 0x00010003);
	put_le32(kernel + HEADER_AT + 12, 2 * MIB + HEADER_AT);
	put_le32(kernel + HEADER_AT + 16, 2 * MIB);
	put_le32(kernel + HEADER_AT + 20, 0);
	put_le32(kernel + HEADER_AT + 24, 0);
	put_le32(kernel + HEADER_AT + 28, 2 * MIB + 0x1020);
	make_guest(64 * MIB);
	is_u64((uint64_t)load(), 0, "addresses in the header win over an ELF header");
	ok(start.entry == 2 * MIB + 0x1020 && at(2 * MIB, 4)[0] == 0x7f, "loaded as a raw image");
	guestmem_destroy(&mem);
}

static void loads(const char *name, uint64_t entry)
{
	make_guest(64 * MIB);
	ok(load() == 0, "%s (%s)", name, err);
	is_u64(start.entry, entry, name);
	guestmem_destroy(&mem);
	make_elf();
}

static void test_variants(void)
{
	make_elf();
	kernel[HEADER_AT] = 0;
	set_header(8192 - 12, 0);
	loads("header at the very end of where it may be", TEXT_ADDR + 0x20);

	put_le32(kernel + 24, 0xc0000020);
	put_le32(phdr(0) + 8, 0xc0000000);
	loads("linked high: the entry point is translated", TEXT_ADDR + 0x20);

	put_le32(phdr(0) + 8, 0xc0000000);
	put_le32(phdr(1) + 8, 0xc0100000);
	loads("linked high, physical entry point", TEXT_ADDR + 0x20);

	set_phdr(2, 1, 0x1000, 0x8000, 0x8000, 0x100, 0x100);
	loads("a segment in low memory", TEXT_ADDR + 0x20);

	set_phdr(2, 1, 0x1000, 0x1000, 0x1000, 0, 0x9ec00);
	loads("low memory full: the information goes above", TEXT_ADDR + 0x20);

	set_phdr(2, 1, 0xfffffff0, 0xfffff000, 0xfffff000, 0, 0);
	loads("an empty segment anywhere", TEXT_ADDR + 0x20);

	set_header(HEADER_AT, 0x00020000);
	loads("an unknown optional flag", TEXT_ADDR + 0x20);

	put_le32(kernel + 8, 0x1badb002);
	loads("a header with a wrong checksum is skipped", TEXT_ADDR + 0x20);
}

static void refused(int code, const char *want)
{
	int got;

	make_guest(64 * MIB);
	got = load();
	ok(got == code, "%s: %d", want, got);
	ok(strncmp(err, "tsc.flat: ", 10) == 0 && strcmp(err + 10, want) == 0, "says: %s", err);
	guestmem_destroy(&mem);
	make_elf();
}

static void test_bad_elf(void)
{
	make_elf();
	set_header(HEADER_AT, 4);
	refused(-EOPNOTSUPP, "its multiboot header asks for a video mode, there is no display");
	set_header(HEADER_AT, 0x8003);
	refused(-EOPNOTSUPP,
		"its multiboot header asks for features that are not known (flags 0x8000)");
	kernel[4] = 2;
	refused(-ENOEXEC,
		"is a 64-bit ELF file, multiboot enters in 32-bit mode: expected a 32-bit "
		"one, or load addresses in its multiboot header (flag 16)");
	put_le16(kernel + 18, 40);
	refused(-ENOEXEC, "is not an ELF file for 32-bit x86");
	kernel[5] = 2;
	refused(-ENOEXEC, "is not an ELF file for 32-bit x86");
	put_le16(kernel + 16, 3);
	refused(-ENOEXEC, "is ELF, but not an executable (type 3)");
	kernel[0] = 0;
	refused(-ENOEXEC, "has a multiboot header but is neither ELF nor gives its own load "
			  "addresses (flag 16)");
	put_le16(kernel + 44, 0);
	refused(-EINVAL, "has no program headers");
	put_le16(kernel + 42, 56);
	refused(-EINVAL, "has no program headers");
	put_le16(kernel + 44, 0xffff);
	refused(-EINVAL, "has program headers beyond the end of the file");
	put_le32(kernel + 28, 0xffffffe0);
	refused(-EINVAL, "has program headers beyond the end of the file");
	put_le32(phdr(0), 6);
	put_le32(phdr(1), 6);
	refused(-EINVAL, "has no segment to load");
	put_le32(phdr(0) + 4, 0xfffffff0);
	refused(-EINVAL, "segment 0 lies beyond the end of the file");
	put_le32(phdr(0) + 4, KERNEL_SIZE - TEXT_SIZE + 1);
	refused(-EINVAL, "segment 0 lies beyond the end of the file");
	put_le32(phdr(0) + 20, TEXT_SIZE - 1);
	refused(-EINVAL, "segment 0 lies beyond the end of the file");
	put_le32(phdr(1) + 20, 0xffffffff);
	refused(-EINVAL, "segment 1 ends above 4 GiB");
	put_le32(phdr(1) + 12, TEXT_ADDR + TEXT_SIZE - 1);
	refused(-EINVAL, "segment 1 overlaps another one");
	put_le32(phdr(1) + 12, 0x9f000);
	refused(-ENOMEM,
		"segment 1 does not fit: it is 12289 KiB at 0x9f000, the guest has 64 MiB");
	put_le32(phdr(1) + 12, (uint32_t)(64 * MIB - DATA_MEM + 1));
	refused(-ENOMEM,
		"segment 1 does not fit: it is 12289 KiB at 0x3400001, the guest has 64 MiB");
	put_le32(kernel + 24, TEXT_ADDR + TEXT_SIZE);
	refused(-EINVAL, "its entry point 0x401234 is in none of its segments");
	put_le16(kernel + 44, 40);
	for (unsigned i = 0; i < 40; i++)
		set_phdr(i, 1, 0, 0, 8 * MIB + i, 0, 1);
	refused(-EINVAL, "has more than 32 segments");
}

/* A raw image with one of the header's words changed. */
static void refused_raw(size_t offset, uint64_t value, int code, const char *want)
{
	make_raw();
	put_le32(kernel + HEADER_AT + offset, (uint32_t)value);
	refused(code, want);
}

static void test_bad_raw(void)
{
	refused_raw(12, 2 * MIB - 1, -EINVAL,
		    "the addresses in its multiboot header begin before the file does");
	refused_raw(12, 2 * MIB + 0x1001, -EINVAL,
		    "the addresses in its multiboot header begin before the file does");
	refused_raw(20, 2 * MIB, -EINVAL,
		    "the addresses in its multiboot header reach beyond the file");
	refused_raw(20, 1, -EINVAL, "the addresses in its multiboot header reach beyond the file");
	refused_raw(20, 2 * MIB + 0x2801, -EINVAL,
		    "the addresses in its multiboot header reach beyond the file");
	refused_raw(24, 2 * MIB + 0x17ff, -EINVAL,
		    "its multiboot header ends the bss before the data");
	refused_raw(28, 3 * MIB, -EINVAL, "its entry point 0x300000 is outside of it");
	refused_raw(28, 2 * MIB - 1, -EINVAL, "its entry point 0x1fffff is outside of it");
	refused_raw(24, 0xf0000000, -ENOMEM,
		    "does not fit: it is 3838 MiB at 0x200000, the guest has 64 MiB");
	make_raw();
	put_le32(kernel + HEADER_AT + 12, 0xfffff800);
	put_le32(kernel + HEADER_AT + 16, 0xfffff000);
	put_le32(kernel + HEADER_AT + 20, 0);
	put_le32(kernel + HEADER_AT + 24, 0);
	refused(-EINVAL, "its multiboot header reaches above 4 GiB");

	make_raw();
	memset(kernel + HEADER_AT, 0, 12);
	set_header(8192 - 28, 0x00010003);
	refused(-EINVAL, "is cut short within its multiboot header");

	make_elf();
	memset(kernel + HEADER_AT, 0, 12);
	set_header(8192 - 8, 3); /* one word too far */
	refused(-ENOEXEC,
		"is an ELF file without a multiboot header: expected a Linux bzImage or a "
		"multiboot kernel");
	memset(kernel + HEADER_AT, 0, 12);
	set_header(HEADER_AT + 2, 3);
	refused(-ENOEXEC,
		"is an ELF file without a multiboot header: expected a Linux bzImage or a "
		"multiboot kernel");
}

/* Every word of the headers set to values that break arithmetic: no crash, and a message if
 * refused. */
static void test_hostile_words(void)
{
	static const uint32_t values[] = {0, 1, 0x7fffffff, 0x80000000, 0xfffff000, 0xffffffff};
	unsigned silent = 0;

	for (unsigned raw = 0; raw < 2; raw++) {
		for (size_t word = 0; word < 0x100; word += 2) {
			for (size_t v = 0; v < ARRAY_SIZE(values); v++) {
				make_elf();
				if (raw)
					make_raw();
				put_le32(kernel + (raw ? HEADER_AT : 0) + word, values[v]);
				make_guest(64 * MIB);
				silent += load() != 0 && err[0] == '\0';
				guestmem_destroy(&mem);
			}
		}
	}
	is_u64(silent, 0, "hostile header words: every refusal has a message");
}

int main(void)
{
	test_elf();
	test_modules();
	test_info_size();
	test_raw();
	test_variants();
	test_bad_elf();
	test_bad_raw();
	test_hostile_words();
	return tap_done();
}

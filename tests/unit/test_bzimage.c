/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Linux bzImages: what lies where in guest memory afterwards, and what is refused. The kernel is
 * made up here, a header with some code; a real one is loaded as well when the build has fetched
 * it.
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

#define SETUP_SECTS 3
#define CODE_AT	    ((SETUP_SECTS + 1) * 512)
#define CODE_SIZE   0x4560			/* a multiple of 16 */
#define KERNEL_SIZE (CODE_AT + CODE_SIZE + 100) /* a signature behind, as distributions append */
#define INIT_SIZE   (10 * MIB + 0x3000)
#define PREF	    (16 * MIB)
#define RSDP	    0xe0010ULL

static uint8_t kernel[KERNEL_SIZE];
static struct guestmem mem;
static struct e820_entry map[LOAD_E820_MAX];
static struct load_request req;
static struct vcpu_start start;
static char err[256];

static void make_kernel(void)
{
	for (size_t i = 0; i < sizeof(kernel); i++)
		kernel[i] = (uint8_t)(i * 7 + i / 256 + 1);
	memset(kernel + 0x1f1, 0, 0x100);
	kernel[0x1f1] = SETUP_SECTS;
	put_le32(kernel + 0x1f4, CODE_SIZE / 16);
	put_le16(kernel + 0x1fe, 0xaa55);
	kernel[0x200] = 0xeb;
	kernel[0x201] = 0x6a;
	memcpy(kernel + 0x202, "HdrS", 4);
	put_le16(kernel + 0x206, 0x20f);
	kernel[0x211] = 0x81 | 0x02;
	put_le32(kernel + 0x214, 0x100000);
	put_le16(kernel + 0x224, 0x1234);
	put_le32(kernel + 0x22c, 0x7fffffff);
	put_le32(kernel + 0x230, 2 * MIB);
	kernel[0x234] = 1;
	kernel[0x235] = 21;
	put_le16(kernel + 0x236, 0x3f);
	put_le32(kernel + 0x238, 2047);
	put_le64(kernel + 0x250, 0xdead);
	put_le64(kernel + 0x258, PREF);
	put_le32(kernel + 0x260, INIT_SIZE);
	put_le32(kernel + 0x264, 0x190);
	put_le32(kernel + 0x268, 0xabcdef01); /* kernel_info_offset, 2.15 */
}

static void add_entry(uint64_t base, uint64_t size, uint32_t type)
{
	map[req.nr_e820++] = (struct e820_entry){base, size, type};
	if (type == E820_RAM)
		guestmem_add_ram(&mem, ipa(base), align_up(size, PAGE_SIZE));
}

/* A guest of `size` bytes as the PC board makes it, and a request for the kernel above. */
static void make_guest(uint64_t size)
{
	memset(&req, 0, sizeof(req));
	guestmem_init(&mem, err, sizeof(err));
	add_entry(0, 0x9fc00, E820_RAM);
	add_entry(0xe0000, 0x20000, E820_RESERVED);
	add_entry(MIB, min_u64(size, 3 * GIB) - MIB, E820_RAM);
	if (size > 3 * GIB)
		add_entry(4 * GIB, size - 3 * GIB, E820_RAM);
	req.kernel = (struct load_image){.name = "vmlinuz", .data = kernel, .size = sizeof(kernel)};
	req.cmdline = "console=ttyS0";
	req.e820 = map;
	req.rsdp = RSDP;
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

/* Translates `va` through the tables at CR3 as hardware would; UINT64_MAX when it is not mapped. */
static uint64_t translate(uint64_t va)
{
	uint64_t table = start.cr3;

	for (int shift = 39; shift >= 12; shift -= 9) {
		uint64_t e = get_le64(at(table + (va >> shift & 511) * 8, 8));

		if ((e & 3) != 3)
			return UINT64_MAX;
		if (shift == 12 || (e & 0x80) != 0)
			return (e & ~0xfffULL & ~(BIT(shift) - 1)) + (va & (BIT(shift) - 1));
		table = e & ~0xfffULL;
	}
	return UINT64_MAX;
}

static bool identity_mapped(uint64_t base, uint64_t end)
{
	for (uint64_t va = base; va < end; va += 2 * MIB) {
		if (translate(va) != va)
			return false;
	}
	return translate(end - 1) == end - 1 && translate(end) == UINT64_MAX;
}

static void check_zero_page(const uint8_t *zp, uint64_t load_at)
{
	is_u64(get_le64(zp + 0x70), RSDP, "ACPI root pointer");
	is_u64(zp[0x1e8], req.nr_e820, "number of E820 entries");
	for (unsigned i = 0; i < req.nr_e820; i++) {
		const uint8_t *e = zp + 0x2d0 + i * 20;

		ok(get_le64(e) == map[i].base && get_le64(e + 8) == map[i].size &&
			   get_le32(e + 16) == map[i].type,
		   "E820 entry %u", i);
	}
	is_u64(zp[0x1ef], 0, "sentinel");
	is_u64(zp[0x210], 0xff, "type of loader");
	is_u64(zp[0x211], 0x01, "loadflags");
	is_u64(get_le16(zp + 0x1fa), 0xffff, "video mode normal");
	is_u64(get_le32(zp + 0x214), load_at, "code32_start");
	is_u64(get_le64(zp + 0x250), 0, "no setup_data");
	is_u64(get_le32(zp + 0x268), 0xabcdef01, "fields of a later version are copied");
	ok(memcmp(zp + 0x258, kernel + 0x258, 0x14) == 0, "what we only read is copied");
	ok(zp[0x26c] == 0 && zp[0x1f0] == 0, "no more of the file than the header is copied");
	is_str((const char *)at(get_le32(zp + 0x228), 64), req.cmdline, "command line");
	for (unsigned i = 0; i < 0x70; i++) {
		if (zp[i] != 0)
			ok(false, "screen_info byte %u", i);
	}
}

static void check_start(void)
{
	const uint8_t *gdt;

	is_u64(start.mode, START_X86_LONG, "mode");
	is_u64(start.cs, 0x10, "__BOOT_CS");
	is_u64(start.ds, 0x18, "__BOOT_DS");
	is_u64(start.gdt_limit, 31, "GDT limit");
	gdt = at(start.gdt_base, 32);
	is_u64(get_le64(gdt + 0x10), 0x00af9b000000ffff, "code segment");
	is_u64(get_le64(gdt + 0x18), 0x00cf93000000ffff, "data segment");
	ok(start.rsi >= 0x10000 && start.gdt_base >= 0x10000 && start.cr3 >= 0x10000 &&
		   start.rsi < 0x80000 && start.gdt_base < 0x80000 && start.cr3 < 0x80000,
	   "away from both ends of conventional memory");
	ok(start.stack == 0 && start.rax == 0 && start.rbx == 0 && start.rdi == 0,
	   "the other registers are zero");
}

static void test_load(void)
{
	static uint8_t disk[3 * PAGE_SIZE + 5];
	struct load_image initrd = {.name = "initrd.img", .data = disk, .size = sizeof(disk)};
	const uint8_t *zp;

	memset(disk, 0x5a, sizeof(disk));
	make_kernel();
	make_guest(256 * MIB);
	req.initrd = &initrd;
	is_u64((uint64_t)load(), 0, "loads");
	is_str(err, "", "no message");
	is_u64(start.entry, PREF + 0x200, "entry point at the preferred address");
	ok(memcmp(at(PREF, CODE_SIZE), kernel + CODE_AT, CODE_SIZE) == 0, "code");
	ok(guestmem_flat_is_zero(&mem, PREF + CODE_SIZE, 4096), "nothing behind the code");
	zp = at(start.rsi, 4096);
	check_zero_page(zp, PREF);
	is_u64(get_le32(zp + 0x218), 256 * MIB - 4 * PAGE_SIZE, "initrd as high as it goes");
	is_u64(get_le32(zp + 0x21c), sizeof(disk), "initrd size");
	ok(memcmp(at(get_le32(zp + 0x218), sizeof(disk)), disk, sizeof(disk)) == 0, "initrd");
	check_start();
	ok(identity_mapped(0, 4 * GIB), "4 GiB identity mapped, no more");
	guestmem_destroy(&mem);

	make_guest(256 * MIB);
	req.gib_pages = true;
	is_u64((uint64_t)load(), 0, "loads with 1 GiB pages");
	ok(identity_mapped(0, 4 * GIB), "4 GiB identity mapped by 1 GiB pages");
	ok((get_le64(at((get_le64(at(start.cr3, 8)) & ~0xfffULL), 8)) & 0x80) != 0,
	   "the second level is large");
	zp = at(start.rsi, 4096);
	ok(get_le32(zp + 0x218) == 0 && get_le32(zp + 0x21c) == 0, "no initrd");
	guestmem_destroy(&mem);
}

/* Small and large guests: the kernel moves, the initrd stays below its limits. */
static void test_placement(void)
{
	static uint8_t disk[PAGE_SIZE];
	struct load_image initrd = {.name = "initrd.img", .data = disk, .size = sizeof(disk)};

	make_kernel();
	make_guest(16 * MIB);
	is_u64((uint64_t)load(), 0, "a guest below the preferred address");
	is_u64(start.entry, 2 * MIB + 0x200, "lowest aligned place");
	is_u64(get_le32(at(start.rsi + 0x214, 4)), 2 * MIB, "code32_start follows");
	guestmem_destroy(&mem);

	put_le32(kernel + 0x230, 16 * MIB);
	make_guest(16 * MIB);
	is_u64((uint64_t)load(), 0, "alignment that does not fit, with a lesser minimum");
	is_u64(start.entry, 4 * MIB + 0x200, "the largest alignment that fits");
	is_u64(get_le32(at(start.rsi + 0x230, 4)), 4 * MIB, "and the header says so");
	guestmem_destroy(&mem);

	put_le64(kernel + 0x258, 17 * MIB);
	make_guest(64 * MIB);
	is_u64((uint64_t)load(), 0, "preferred address against the alignment");
	is_u64(start.entry, 16 * MIB + 0x200, "alignment wins");
	guestmem_destroy(&mem);

	make_kernel();
	kernel[0x234] = 0;
	put_le64(kernel + 0x258, 17 * MIB);
	make_guest(64 * MIB);
	is_u64((uint64_t)load(), 0, "a kernel that cannot be moved");
	is_u64(start.entry, 17 * MIB + 0x200, "goes where it wants");
	guestmem_destroy(&mem);

	make_kernel();
	make_guest(6 * GIB);
	req.initrd = &initrd;
	is_u64((uint64_t)load(), 0, "6 GiB");
	is_u64(get_le32(at(start.rsi + 0x218, 4)), 2 * GIB - PAGE_SIZE, "initrd_addr_max obeyed");
	is_u64(at(start.rsi, 4096)[0x1e8], 4, "RAM above 4 GiB is in the map");
	guestmem_destroy(&mem);

	put_le32(kernel + 0x22c, 0xffffffff);
	make_guest(6 * GIB);
	req.initrd = &initrd;
	is_u64((uint64_t)load(), 0, "6 GiB, no limit by the kernel");
	is_u64(get_le32(at(start.rsi + 0x218, 4)), 3 * GIB - PAGE_SIZE, "below 3 GiB");
	guestmem_destroy(&mem);

	put_le32(kernel + 0x22c, PREF + INIT_SIZE + PAGE_SIZE - 1);
	make_guest(64 * MIB);
	req.initrd = &initrd;
	is_u64((uint64_t)load(), 0, "room for one page between kernel and limit");
	is_u64(get_le32(at(start.rsi + 0x218, 4)), PREF + INIT_SIZE,
	       "the last byte allowed is used");
	guestmem_destroy(&mem);

	put_le32(kernel + 0x22c, PREF + INIT_SIZE + PAGE_SIZE - 2);
	make_guest(64 * MIB);
	req.initrd = &initrd;
	is_u64((uint64_t)load(), 0, "one byte less");
	is_u64(get_le32(at(start.rsi + 0x218, 4)), PREF - PAGE_SIZE, "below the kernel");
	guestmem_destroy(&mem);
}

/* What is just within the limits. */
static void test_extremes(void)
{
	static const struct {
		unsigned offset, value;
		const char *name;
	} changes[] = {
		{0x206, 0x20c, "the oldest version"},
		{0x200, 0x66eb, "the shortest header"},
		{0x200, 0x7feb, "the longest header"},
		{0x235, 0x3f1f, "the largest minimal alignment"},
		{0x236, 1, "no flag but 64-bit"},
		{0x238, 13, "the shortest command line"},
	};
	static uint8_t disk[11 * MIB];
	struct load_image initrd = {.name = "initrd.img", .data = disk, .size = sizeof(disk)};

	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		make_kernel();
		put_le16(kernel + changes[i].offset, (uint16_t)changes[i].value);
		make_guest(64 * MIB);
		ok(load() == 0, "%s (%s)", changes[i].name, err);
		guestmem_destroy(&mem);
	}
	make_kernel();
	put_le32(kernel + 0x230, 4096);
	make_guest(64 * MIB);
	ok(load() == 0, "the smallest alignment (%s)", err);
	guestmem_destroy(&mem);

	make_kernel();
	put_le32(kernel + 0x22c, PREF + INIT_SIZE - 1);
	make_guest(64 * MIB);
	req.initrd = &initrd;
	ok(load() == 0, "an initrd larger than the kernel (%s)", err);
	is_u64(get_le32(at(start.rsi + 0x218, 4)), PREF - 11 * MIB, "does not reach into it");
	guestmem_destroy(&mem);
}

/* After `make_kernel` and a change: what load_kernel must say in a guest of `size`. */
static void refused_in(uint64_t size, int code, const char *want)
{
	int got;

	make_guest(size);
	got = load();
	ok(got == code, "%s: %d", want, got);
	is_str(err, want, want);
	guestmem_destroy(&mem);
	make_kernel();
}

static void refused(int code, const char *want)
{
	refused_in(64 * MIB, code, want);
}

static void test_refusals(void)
{
	make_kernel();
	put_le16(kernel + 0x206, 0x20b);
	refused(-EOPNOTSUPP,
		"vmlinuz: boot protocol 2.11 is too old: expected 2.12 or later (Linux "
		"3.8)");
	put_le16(kernel + 0x236, 0x3e);
	refused(-EOPNOTSUPP, "vmlinuz: is a 32-bit Linux kernel: expected a 64-bit one");
	kernel[0x211] = 0x80;
	refused(-EOPNOTSUPP, "vmlinuz: is a zImage: expected a bzImage");
	kernel[0x201] = 0x65;
	refused(-EINVAL, "vmlinuz: its setup header has an impossible length");
	kernel[0x201] = 0x80;
	refused(-EINVAL, "vmlinuz: its setup header has an impossible length");
	kernel[0x200] = 0xe9;
	refused(-EINVAL, "vmlinuz: its setup header has an impossible length");
	put_le32(kernel + 0x1f4, 0x20);
	refused(-EINVAL, "vmlinuz: has no 64-bit entry point: 512 bytes of code");
	put_le32(kernel + 0x1f4, CODE_SIZE / 16 + 7);
	refused(-EINVAL, "vmlinuz: is cut short: its header says 19920 bytes, the file has 19908");
	put_le32(kernel + 0x1f4, 0xffffffff);
	refused(-EINVAL,
		"vmlinuz: is cut short: its header says 68719478768 bytes, the file has 19908");
	kernel[0x1f1] = 255;
	refused(-EINVAL, "vmlinuz: is cut short: its header says 148832 bytes, the file has 19908");
	put_le32(kernel + 0x230, 3 * MIB);
	refused(-EINVAL, "vmlinuz: its setup header has an impossible alignment");
	put_le32(kernel + 0x230, 0);
	refused(-EINVAL, "vmlinuz: its setup header has an impossible alignment");
	kernel[0x235] = 64;
	refused(-EINVAL, "vmlinuz: its setup header has an impossible alignment");
	refused_in(
		8 * MIB, -ENOMEM,
		"vmlinuz: needs 11 MiB in one piece between 1 MiB and 4 GiB, the guest has 8 MiB");
	put_le32(kernel + 0x260, 0xffffffff);
	refused(-ENOMEM, "vmlinuz: needs 4096 MiB in one piece between 1 MiB and 4 GiB, the guest "
			 "has 64 MiB");
	kernel[0x234] = 0;
	refused_in(
		16 * MIB, -ENOMEM,
		"vmlinuz: needs 11 MiB at 0x1000000, below 4 GiB, and cannot be moved; the guest "
		"has 16 MiB");
	kernel[0x234] = 0;
	put_le64(kernel + 0x258, UINT64_MAX - 5);
	refused(-ENOMEM, "vmlinuz: needs 11 MiB at 0xfffffffffffffffa, below 4 GiB, and cannot be "
			 "moved; the guest has 64 MiB");
	put_le32(kernel + 0x238, 12);
	refused(-E2BIG, "vmlinuz: the command line has 13 characters, this kernel takes 12");
}

static void test_bad_companions(void)
{
	static uint8_t disk[PAGE_SIZE];
	static char cmdline[5000];
	struct load_image extra = {.name = "extra", .data = disk, .size = sizeof(disk)};

	make_kernel();
	make_guest(64 * MIB);
	req.modules = &extra;
	req.nr_modules = 1;
	is_u64((uint64_t)-load(), EINVAL, "modules with Linux");
	is_str(err, "vmlinuz: is a Linux kernel, which takes an initrd and no modules", "message");

	req.nr_modules = 0;
	req.initrd = &extra;
	extra.size = 0;
	is_u64((uint64_t)-load(), EINVAL, "an empty initrd");
	is_str(err, "extra: is empty: expected an initrd", "message");

	extra.size = 40 * MIB; /* never read: it does not fit */
	is_u64((uint64_t)-load(), ENOMEM, "an initrd that does not fit");
	is_str(err,
	       "extra: needs 40 MiB beside the kernel and below 2048 MiB, the guest has 64 MiB",
	       "message");

	req.initrd = NULL;
	put_le32(kernel + 0x238, 0xffffffff);
	memset(cmdline, 'x', sizeof(cmdline) - 1);
	req.cmdline = cmdline;
	is_u64((uint64_t)-load(), E2BIG, "a command line beyond its page");
	is_str(err, "vmlinuz: the command line has 4999 characters, this kernel takes 4095",
	       "message");
	cmdline[4095] = '\0';
	is_u64((uint64_t)load(), 0, "a command line that fills its page");
	is_u64(strlen((const char *)at(get_le32(at(start.rsi + 0x228, 4)), 4096)), 4095,
	       "all of it is there");
	guestmem_destroy(&mem);

	make_guest(64 * MIB);
	map[0].size = 0x10000;
	is_u64((uint64_t)-load(), ENOMEM, "no low memory");
	is_str(err, "the guest has no RAM at 0x10000", "message");
	map[0].size = 0x9fc00;
	map[2].size = 512 * MIB;
	put_le64(kernel + 0x258, 128 * MIB);
	is_u64((uint64_t)-load(), EFAULT, "a map that promises RAM which is not there");
	is_str(err, "no guest memory at 0x8000000, where the memory map has RAM", "message");
	req.nr_e820 = LOAD_E820_MAX + 1;
	is_u64((uint64_t)-load(), E2BIG, "a map that is too long");
	guestmem_destroy(&mem);
}

static void not_a_kernel(const void *data, size_t size, const char *want)
{
	uint8_t *copy = malloc(size != 0 ? size : 1);

	memcpy(copy, data, size);
	make_guest(64 * MIB);
	req.kernel.data = copy;
	req.kernel.size = size;
	is_u64((uint64_t)-load(), ENOEXEC, want);
	ok(strncmp(err, "vmlinuz: ", 9) == 0 && strcmp(err + 9, want) == 0, "says: %s", err);
	guestmem_destroy(&mem);
	free(copy);
}

static void test_other_files(void)
{
	uint8_t file[1024] = {0};

	not_a_kernel(file, 0, "is empty");
	not_a_kernel(file, 1, "is not a kernel: expected a Linux bzImage or a multiboot kernel");
	not_a_kernel("\x1f\x8b\x08", 3, "is a gzip file: unpack it first");
	not_a_kernel("\xfd"
		     "7zXZ",
		     6, "is an xz file: unpack it first");
	not_a_kernel("\x28\xb5\x2f\xfd", 4, "is a zstd file: unpack it first");
	not_a_kernel("070701", 6, "is a cpio archive: an initrd, not a kernel");
	memcpy(file + 56, "ARM\x64", 4);
	not_a_kernel(file, 64, "is an arm64 kernel, this machine is x86");
	not_a_kernel(file, 59, "is not a kernel: expected a Linux bzImage or a multiboot kernel");
	put_le16(file + 510, 0xaa55);
	memset(file, 0, 64);
	not_a_kernel(file, 512, "is a boot sector or a Linux kernel older than 2.0, not a bzImage");
	memcpy(file,
	       "\x7f"
	       "ELF\2\1\1",
	       7);
	put_le16(file + 18, 62);
	not_a_kernel(file, 512,
		     "is an ELF file without a multiboot header: expected a Linux bzImage or a "
		     "multiboot kernel");
	put_le16(file + 18, 183);
	not_a_kernel(file, 512, "is an ELF file for arm64, this machine is x86");
	put_le32(file + 64, 0xe85250d6);
	put_le32(file + 72, 24);
	put_le32(file + 76, (uint32_t) - (0xe85250d6 + 24));
	not_a_kernel(file, 512,
		     "has a multiboot2 header only: multiboot2 kernels are not supported");
}

/* No prefix of a kernel is loaded, and none makes the loader read beyond it. */
static void test_every_prefix(void)
{
	bool all = true;

	make_kernel();
	for (size_t n = 0; n < CODE_AT + CODE_SIZE; n += n < 0x300 ? 1 : 333) {
		uint8_t *copy = malloc(n != 0 ? n : 1);

		memcpy(copy, kernel, n);
		make_guest(64 * MIB);
		req.kernel.data = copy;
		req.kernel.size = n;
		all = all && load() != 0 && err[0] != '\0';
		guestmem_destroy(&mem);
		free(copy);
	}
	ok(all, "every prefix of a kernel is refused with a message");
}

/* The kernel that goes on the ISO, or the one that the environment names. */
static void test_real_kernel(void)
{
	const char *path = getenv("SLUICE_VMLINUZ");
	FILE *f = fopen(path != NULL ? path : "build/guest/vmlinuz", "rb");
	static uint8_t bytes[64 << 20];
	uint64_t size;

	if (f == NULL) {
		skip("a distribution's kernel", "none was fetched; SLUICE_VMLINUZ can name one");
		return;
	}
	size = fread(bytes, 1, sizeof(bytes), f);
	fclose(f);
	make_guest(512 * MIB);
	req.kernel.data = bytes;
	req.kernel.size = size;
	ok(load_identify(bytes, size) == LOAD_BZIMAGE, "a distribution's kernel is a bzImage");
	ok(load() == 0, "and loads (%s)", err);
	is_u64(start.entry, get_le64(bytes + 0x258) + 0x200, "at its preferred address");
	ok(start.rsi != 0 && memcmp(at(start.rsi + 0x236, 4), bytes + 0x236, 4) == 0 &&
		   memcmp(at(start.rsi + 0x258, 0x14), bytes + 0x258, 0x14) == 0,
	   "its header is in the zero page");
	guestmem_destroy(&mem);
}

int main(void)
{
	test_load();
	test_placement();
	test_extremes();
	test_refusals();
	test_bad_companions();
	test_other_files();
	test_every_prefix();
	test_real_kernel();
	return tap_done();
}

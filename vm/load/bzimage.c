/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Linux on x86: a bzImage entered through the 64-bit boot protocol. The sections named in the
 * comments are those of the kernel's Documentation/arch/x86/boot.rst and zero-page.rst.
 *
 * What the kernel reads before it has tables of its own lies at fixed places in low memory, which
 * E820 calls RAM. That is safe: a 64-bit kernel copies the zero page and the command line and
 * builds its own page tables and GDT before its allocator is up, and until then it uses [load, load
 * + init_size) and, for the switch of paging levels, the two topmost pages of conventional memory
 * only.
 */
#include "lib/errno.h"
#include "lib/string.h"
#include "lib/util.h"
#include "mm/types.h"
#include "lib/bytes.h"
#include "vm/load/loader.h"

/* Low memory, guest-physical. */
#define LOW_BASE     0x10000ULL
#define ZERO_PAGE    LOW_BASE
#define GDT	     (LOW_BASE + 0x1000)
#define CMDLINE	     (LOW_BASE + 0x2000)
#define CMDLINE_ROOM PAGE_SIZE
#define PAGE_TABLES  (LOW_BASE + 0x3000) /* PML4, PDPT, four page directories */
#define NR_PAGE_DIRS 4			 /* one GiB each */
#define LOW_SIZE     (0x3000 + (2 + NR_PAGE_DIRS) * PAGE_SIZE)

/* Setup header: offsets in the file and in the zero page ("The Real-Mode Kernel Header"). */
#define HDR_SETUP_SECTS	     0x1f1
#define HDR_SYSSIZE	     0x1f4 /* in units of 16 bytes */
#define HDR_VID_MODE	     0x1fa
#define HDR_BOOT_FLAG	     0x1fe
#define HDR_JUMP	     0x200
#define HDR_MAGIC	     0x202
#define HDR_VERSION	     0x206
#define HDR_TYPE_OF_LOADER   0x210
#define HDR_LOADFLAGS	     0x211
#define HDR_CODE32_START     0x214
#define HDR_RAMDISK_IMAGE    0x218
#define HDR_RAMDISK_SIZE     0x21c
#define HDR_HEAP_END_PTR     0x224
#define HDR_CMD_LINE_PTR     0x228
#define HDR_INITRD_ADDR_MAX  0x22c
#define HDR_KERNEL_ALIGNMENT 0x230
#define HDR_RELOCATABLE	     0x234
#define HDR_MIN_ALIGNMENT    0x235
#define HDR_XLOADFLAGS	     0x236
#define HDR_CMDLINE_SIZE     0x238
#define HDR_HARDWARE_SUBARCH 0x23c
#define HDR_SETUP_DATA	     0x250
#define HDR_PREF_ADDRESS     0x258
#define HDR_INIT_SIZE	     0x260
#define HDR_END_2_12	     0x268 /* what version 2.12 has at least */
#define HDR_END_MAX	     0x281 /* the jump reaches no further, "The kernel_info" */

#define BOOT_FLAG	 0xaa55
#define HDRS		 0x53726448u /* "HdrS" */
#define VERSION_MIN	 0x020c	     /* 2.12: xloadflags */
#define LOADED_HIGH	 0x01
#define XLF_KERNEL_64	 0x0001
#define LOADER_UNDEFINED 0xff
#define VID_MODE_NORMAL	 0xffff
#define JMP_SHORT	 0xeb

/* The rest of the zero page (zero-page.rst). */
#define ZP_ACPI_RSDP_ADDR 0x070
#define ZP_E820_ENTRIES	  0x1e8
#define ZP_E820_TABLE	  0x2d0
#define E820_ENTRY_SIZE	  20

/*
 * Below the hole for devices, whatever the kernel would take: ramdisk_image has 32 bits, and no
 * board has RAM between here and 4 GiB.
 */
#define INITRD_LIMIT (3 * GIB)

/* Page table entries, SDM vol 3, 4.5.4. Accessed and dirty are set: no walk needs to write them. */
#define PTE_TABLE 0x023ULL /* present, writable, accessed */
#define PTE_LARGE 0x0e3ULL /* present, writable, accessed, dirty, page size */
#define PTES	  512

struct bzimage {
	const uint8_t *data;
	uint64_t payload_at, payload_size; /* the protected-mode kernel in the file */
	uint64_t header_end;		   /* of the setup header, offset in the file */
	uint64_t pref_address, init_size, alignment, min_alignment;
	uint64_t initrd_addr_max; /* the highest byte an initrd may occupy */
	uint64_t cmdline_size;	  /* characters, without the NUL */
	bool relocatable;

	uint64_t load; /* where it goes */
	uint64_t initrd;
};

bool bzimage_identify(const uint8_t *data, size_t size)
{
	return size >= HDR_VERSION + 2 && get_le16(data + HDR_BOOT_FLAG) == BOOT_FLAG &&
	       get_le32(data + HDR_MAGIC) == HDRS;
}

static int check_version(struct loader *l)
{
	const struct load_image *k = &l->req->kernel;
	const uint8_t *d = k->data;
	unsigned version = get_le16(d + HDR_VERSION);

	if (version < VERSION_MIN)
		return load_fail(
			l, k, -EOPNOTSUPP,
			"boot protocol %u.%02u is too old: expected 2.12 or later (Linux 3.8)",
			version >> 8, version & 0xff);
	if (k->size < HDR_END_MAX)
		return load_fail(l, k, -EINVAL, "is cut short within its setup header");
	if ((get_le16(d + HDR_XLOADFLAGS) & XLF_KERNEL_64) == 0)
		return load_fail(l, k, -EOPNOTSUPP,
				 "is a 32-bit Linux kernel: expected a 64-bit one");
	if ((d[HDR_LOADFLAGS] & LOADED_HIGH) == 0)
		return load_fail(l, k, -EOPNOTSUPP, "is a zImage: expected a bzImage");
	return 0;
}

/* Reads the setup header into *b; what it says is consistent afterwards. */
static int parse_header(struct loader *l, struct bzimage *b)
{
	const struct load_image *k = &l->req->kernel;
	const uint8_t *d = k->data;
	unsigned sects = d[HDR_SETUP_SECTS] != 0 ? d[HDR_SETUP_SECTS] : 4;

	b->data = d;
	b->header_end = HDR_MAGIC + (uint64_t)d[HDR_JUMP + 1];
	if (d[HDR_JUMP] != JMP_SHORT || b->header_end < HDR_END_2_12 || b->header_end > HDR_END_MAX)
		return load_fail(l, k, -EINVAL, "its setup header has an impossible length");
	b->payload_at = (sects + 1) * 512;
	b->payload_size = get_le32(d + HDR_SYSSIZE) * 16ULL;
	if (b->payload_size <= HDR_JUMP)
		return load_fail(l, k, -EINVAL, "has no 64-bit entry point: %llu bytes of code",
				 (unsigned long long)b->payload_size);
	if (!range_fits(b->payload_at, b->payload_size, k->size))
		return load_fail(l, k, -EINVAL,
				 "is cut short: its header says %llu bytes, the file has %zu",
				 (unsigned long long)(b->payload_at + b->payload_size), k->size);
	b->pref_address = get_le64(d + HDR_PREF_ADDRESS);
	b->init_size = max_u64(get_le32(d + HDR_INIT_SIZE), b->payload_size);
	b->alignment = get_le32(d + HDR_KERNEL_ALIGNMENT);
	b->relocatable = d[HDR_RELOCATABLE] != 0;
	if (!is_pow2(b->alignment) || b->alignment < PAGE_SIZE || d[HDR_MIN_ALIGNMENT] > 31)
		return load_fail(l, k, -EINVAL, "its setup header has an impossible alignment");
	b->min_alignment = b->alignment;
	if (d[HDR_MIN_ALIGNMENT] != 0)
		b->min_alignment = min_u64(b->alignment, BIT(d[HDR_MIN_ALIGNMENT]));
	b->initrd_addr_max = get_le32(d + HDR_INITRD_ADDR_MAX);
	b->cmdline_size = get_le32(d + HDR_CMDLINE_SIZE);
	return 0;
}

/*
 * "pref_address", "min_alignment": the preferred address when it is free, else as low as a
 * relocatable kernel fits, with a lesser alignment rather than not at all.
 */
static int place_kernel(struct loader *l, struct bzimage *b)
{
	const struct load_image *k = &l->req->kernel;
	unsigned long long needs = load_mib(b->init_size);
	unsigned long long has = load_ram_mib(l);
	uint64_t align = b->alignment;

	b->load = b->pref_address;
	if (b->pref_address >= LOAD_HIGH_BASE &&
	    range_fits(b->pref_address, b->init_size, LOAD_4G) &&
	    (!b->relocatable || is_aligned(b->pref_address, b->alignment)) &&
	    place_take(&l->place, b->pref_address, b->init_size) == 0)
		return 0;
	if (!b->relocatable)
		return load_fail(l, k, -ENOMEM,
				 "needs %llu MiB at 0x%llx, below 4 GiB, and cannot be moved; the "
				 "guest has %llu MiB",
				 needs, (unsigned long long)b->pref_address, has);
	for (; align >= b->min_alignment; align /= 2) {
		if (place_lowest(&l->place, b->init_size, align, LOAD_HIGH_BASE, LOAD_4G,
				 &b->load) == 0) {
			b->alignment = align;
			return 0;
		}
	}
	return load_fail(l, k, -ENOMEM,
			 "needs %llu MiB in one piece between 1 MiB and 4 GiB, the guest has "
			 "%llu MiB",
			 needs, has);
}

static int place_initrd(struct loader *l, struct bzimage *b)
{
	const struct load_image *rd = l->req->initrd;
	uint64_t limit = min_u64(b->initrd_addr_max + 1, INITRD_LIMIT);

	if (rd == NULL)
		return 0;
	if (rd->size == 0)
		return load_fail(l, rd, -EINVAL, "is empty: expected an initrd");
	if (place_highest(&l->place, rd->size, PAGE_SIZE, LOAD_HIGH_BASE, limit, &b->initrd) != 0)
		return load_fail(l, rd, -ENOMEM,
				 "needs %llu MiB beside the kernel and below %llu MiB, the guest "
				 "has %llu MiB",
				 load_mib(rd->size), (unsigned long long)(limit / MIB),
				 load_ram_mib(l));
	return load_write(l, b->initrd, rd->data, rd->size);
}

static int write_cmdline(struct loader *l, const struct bzimage *b)
{
	size_t len = strlen(l->req->cmdline);

	if (len > b->cmdline_size || len >= CMDLINE_ROOM)
		return load_fail(l, &l->req->kernel, -E2BIG,
				 "the command line has %zu characters, this kernel takes %llu", len,
				 (unsigned long long)min_u64(b->cmdline_size, CMDLINE_ROOM - 1));
	return load_write(l, CMDLINE, l->req->cmdline, len + 1);
}

/* The header as the kernel brought it, with our answers in the fields marked write and modify. */
static int write_setup_header(struct loader *l, const struct bzimage *b)
{
	uint8_t h[HDR_END_MAX];
	const struct load_image *rd = l->req->initrd;

	memcpy(h + HDR_SETUP_SECTS, b->data + HDR_SETUP_SECTS, b->header_end - HDR_SETUP_SECTS);
	put_le16(h + HDR_VID_MODE, VID_MODE_NORMAL);
	h[HDR_TYPE_OF_LOADER] = LOADER_UNDEFINED;
	h[HDR_LOADFLAGS] = LOADED_HIGH; /* no heap for real-mode code that does not run */
	put_le32(h + HDR_CODE32_START, (uint32_t)b->load);
	put_le32(h + HDR_RAMDISK_IMAGE, (uint32_t)b->initrd);
	put_le32(h + HDR_RAMDISK_SIZE, rd != NULL ? (uint32_t)rd->size : 0);
	put_le16(h + HDR_HEAP_END_PTR, 0);
	put_le32(h + HDR_CMD_LINE_PTR, CMDLINE);
	put_le32(h + HDR_KERNEL_ALIGNMENT, (uint32_t)b->alignment);
	put_le32(h + HDR_HARDWARE_SUBARCH, 0);
	put_le64(h + HDR_SETUP_DATA, 0);
	return load_write(l, ZERO_PAGE + HDR_SETUP_SECTS, h + HDR_SETUP_SECTS,
			  b->header_end - HDR_SETUP_SECTS);
}

static int write_e820(struct loader *l)
{
	uint8_t count =
		(uint8_t)l->req->nr_e820; /* LOAD_E820_MAX is far below the 128 there is room for */
	int err = load_write(l, ZERO_PAGE + ZP_E820_ENTRIES, &count, 1);

	for (unsigned i = 0; i < count && err == 0; i++) {
		const struct e820_entry *e = &l->req->e820[i];
		uint8_t raw[E820_ENTRY_SIZE];

		put_le64(raw, e->base);
		put_le64(raw + 8, e->size);
		put_le32(raw + 16, e->type);
		err = load_write(l, ZERO_PAGE + ZP_E820_TABLE + i * E820_ENTRY_SIZE, raw,
				 sizeof(raw));
	}
	return err;
}

static int write_zero_page(struct loader *l, const struct bzimage *b)
{
	uint8_t rsdp[8];
	int err = load_zero(l, ZERO_PAGE, PAGE_SIZE);

	put_le64(rsdp, l->req->rsdp);
	if (err == 0)
		err = write_setup_header(l, b);
	if (err == 0)
		err = load_write(l, ZERO_PAGE + ZP_ACPI_RSDP_ADDR, rsdp, sizeof(rsdp));
	if (err == 0)
		err = write_e820(l);
	return err;
}

/* "64-bit Boot Protocol": __BOOT_CS 0x10, __BOOT_DS 0x18, both flat. Accessed is set in both. */
static int write_gdt(struct loader *l, struct vcpu_start *out)
{
	static const uint64_t gdt[] = {
		0, 0, 0x00af9b000000ffff, /* 64-bit code, execute/read */
		0x00cf93000000ffff,	  /* data, read/write */
	};

	out->cs = 0x10;
	out->ds = 0x18;
	out->gdt_base = GDT;
	out->gdt_limit = sizeof(gdt) - 1;
	return load_write(l, GDT, gdt, sizeof(gdt));
}

/* Entries [0, n) of the table at `gpa`: first, first + step, ... */
static int write_entries(struct loader *l, uint64_t gpa, unsigned n, uint64_t first, uint64_t step)
{
	uint8_t chunk[64 * 8];
	int err = 0;

	for (unsigned i = 0; i < n && err == 0; i += 64) {
		unsigned in_chunk = n - i < 64 ? n - i : 64;

		for (unsigned j = 0; j < in_chunk; j++)
			put_le64(chunk + j * 8, first + (i + j) * step);
		err = load_write(l, gpa + i * 8, chunk, in_chunk * 8);
	}
	return err;
}

/* Identity map of the first 4 GiB: everything that we place is in there. */
static int write_page_tables(struct loader *l, struct vcpu_start *out)
{
	uint64_t pml4 = PAGE_TABLES, pdpt = pml4 + PAGE_SIZE, dirs = pdpt + PAGE_SIZE;
	int err = load_zero(l, PAGE_TABLES, (2 + NR_PAGE_DIRS) * PAGE_SIZE);

	out->cr3 = pml4;
	if (err == 0)
		err = write_entries(l, pml4, 1, pdpt | PTE_TABLE, 0);
	if (err != 0)
		return err;
	if (l->req->gib_pages)
		return write_entries(l, pdpt, NR_PAGE_DIRS, PTE_LARGE, GIB);
	err = write_entries(l, pdpt, NR_PAGE_DIRS, dirs | PTE_TABLE, PAGE_SIZE);
	if (err == 0) /* the directories follow each other, and so do their 2 MiB pages */
		err = write_entries(l, dirs, NR_PAGE_DIRS * PTES, PTE_LARGE, 2 * MIB);
	return err;
}

int bzimage_load(struct loader *l, struct vcpu_start *out)
{
	struct bzimage b = {0};
	int err = check_version(l);

	if (err == 0)
		err = parse_header(l, &b);
	if (err != 0)
		return err;
	if (l->req->nr_modules != 0)
		return load_fail(l, &l->req->kernel, -EINVAL,
				 "is a Linux kernel, which takes an initrd and no modules");
	if (place_take(&l->place, LOW_BASE, LOW_SIZE) != 0)
		return load_fail(l, NULL, -ENOMEM, "the guest has no RAM at 0x%llx", LOW_BASE);
	err = place_kernel(l, &b);
	if (err == 0)
		err = place_initrd(l, &b);
	if (err == 0)
		err = write_cmdline(l, &b);
	if (err == 0)
		err = load_write(l, b.load, b.data + b.payload_at, b.payload_size);
	if (err == 0)
		err = write_zero_page(l, &b);
	if (err == 0)
		err = write_gdt(l, out);
	if (err == 0)
		err = write_page_tables(l, out);
	out->mode = START_X86_LONG;
	out->entry = b.load + 0x200;
	out->rsi = ZERO_PAGE;
	return err;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Tells kernels apart by their content and hands each to the loader of its format. */
#include "vm/load/load.h"

#include "lib/errno.h"
#include "lib/format.h"
#include "lib/string.h"
#include "lib/util.h"
#include "mm/types.h"
#include "vm/guestmem.h"
#include "lib/bytes.h"
#include "vm/load/elf.h"
#include "vm/load/loader.h"

#define MULTIBOOT2_HEADER_MAGIC 0xe85250d6u
#define MULTIBOOT2_SEARCH	32768u /* multiboot2 1.6, 3.1: the header is within these bytes */

enum load_format load_identify(const void *data, size_t size)
{
	if (bzimage_identify(data, size))
		return LOAD_BZIMAGE;
	if (multiboot1_identify(data, size))
		return LOAD_MULTIBOOT1;
	return LOAD_UNKNOWN;
}

const char *load_format_name(enum load_format format)
{
	switch (format) {
	case LOAD_BZIMAGE:
		return "Linux bzImage";
	case LOAD_MULTIBOOT1:
		return "multiboot kernel";
	case LOAD_UNKNOWN:
		break;
	}
	return "unknown";
}

int load_fail(struct loader *l, const struct load_image *image, int code, const char *fmt, ...)
{
	size_t used = 0;
	va_list ap;

	if (l->err_size == 0)
		return code;
	if (image != NULL)
		str_append(l->err, l->err_size, &used, "%s: ", image->name);
	va_start(ap, fmt);
	vsnprintf(l->err + used, l->err_size - used, fmt, ap);
	va_end(ap);
	return code;
}

int load_write(struct loader *l, uint64_t gpa, const void *src, uint64_t n)
{
	if (guestmem_write(l->gm, ipa(gpa), src, (size_t)n) != 0)
		return load_fail(l, NULL, -EFAULT,
				 "no guest memory at 0x%llx, where the memory map has RAM",
				 (unsigned long long)gpa);
	return 0;
}

int load_zero(struct loader *l, uint64_t gpa, uint64_t n)
{
	if (guestmem_zero(l->gm, ipa(gpa), n) != 0)
		return load_fail(l, NULL, -EFAULT,
				 "no guest memory at 0x%llx, where the memory map has RAM",
				 (unsigned long long)gpa);
	return 0;
}

unsigned long long load_mib(uint64_t bytes)
{
	return bytes / MIB + (bytes % MIB != 0);
}

/* Rounded up, the map gives back what the guests file says: only the hole below 1 MiB is missing.
 */
unsigned long long load_ram_mib(const struct loader *l)
{
	return load_mib(place_ram_bytes(&l->place));
}

static bool has_multiboot2_header(const uint8_t *data, size_t size)
{
	for (size_t at = 0; at + 16 <= size && at < MULTIBOOT2_SEARCH; at += 8) {
		/* Four words that add up to zero: magic, architecture, length, checksum. */
		uint32_t sum = get_le32(data + at) + get_le32(data + at + 4) +
			       get_le32(data + at + 8) + get_le32(data + at + 12);

		if (get_le32(data + at) == MULTIBOOT2_HEADER_MAGIC && sum == 0)
			return true;
	}
	return false;
}

/* What a file that no loader takes looks like: people hand over the wrong one of two, mostly. */
static const char *describe_unknown(const uint8_t *data, size_t size)
{
	if (size == 0)
		return "is empty";
	if (size >= 2 && data[0] == 0x1f && data[1] == 0x8b)
		return "is a gzip file: unpack it first";
	if (size >= 6 && memcmp(data,
				"\xfd"
				"7zXZ",
				6) == 0)
		return "is an xz file: unpack it first";
	if (size >= 4 && get_le32(data) == 0xfd2fb528)
		return "is a zstd file: unpack it first";
	if (size >= 64 && memcmp(data + 56, "ARM\x64", 4) == 0)
		return "is an arm64 kernel, this machine is x86";
	if (has_multiboot2_header(data, size))
		return "has a multiboot2 header only: multiboot2 kernels are not supported";
	if (elf_identify(data, size))
		return elf_describe(data, size);
	if (size >= 6 && (memcmp(data, "070701", 6) == 0 || memcmp(data, "070702", 6) == 0))
		return "is a cpio archive: an initrd, not a kernel";
	if (size >= 512 && get_le16(data + 510) == 0xaa55)
		return "is a boot sector or a Linux kernel older than 2.0, not a bzImage";
	return "is not a kernel: expected a Linux bzImage or a multiboot kernel";
}

int load_kernel(struct guestmem *gm, const struct load_request *req, struct vcpu_start *out,
		char *err, size_t err_size)
{
	struct loader l = {.gm = gm, .req = req, .err = err, .err_size = err_size};

	memset(out, 0, sizeof(*out));
	if (err_size != 0)
		err[0] = '\0';
	if (req->nr_e820 > LOAD_E820_MAX)
		return load_fail(&l, NULL, -E2BIG, "the memory map has %u entries, at most %d fit",
				 req->nr_e820, LOAD_E820_MAX);
	if (req->nr_modules > LOAD_MODULES_MAX)
		return load_fail(&l, NULL, -E2BIG, "%u modules, expected at most %d",
				 req->nr_modules, LOAD_MODULES_MAX);
	place_init(&l.place, req->e820, req->nr_e820);
	switch (load_identify(req->kernel.data, req->kernel.size)) {
	case LOAD_BZIMAGE:
		return bzimage_load(&l, out);
	case LOAD_MULTIBOOT1:
		return multiboot1_load(&l, out);
	case LOAD_UNKNOWN:
		break;
	}
	return load_fail(&l, &req->kernel, -ENOEXEC, "%s",
			 describe_unknown(req->kernel.data, req->kernel.size));
}

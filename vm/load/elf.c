/* SPDX-License-Identifier: BSD-2-Clause */
/* ELF executables as kernels. Every field is hostile: bounds are checked in 64 bits before any use.
 */
#include "vm/load/elf.h"

#include "lib/errno.h"
#include "lib/string.h"
#include "lib/util.h"
#include "lib/bytes.h"
#include "vm/load/loader.h"

/* e_ident */
#define EI_CLASS   4
#define EI_DATA	   5
#define ELFCLASS32 1
#define ELFCLASS64 2
#define ELFDATA_LE 1

#define ET_EXEC	   2
#define EM_386	   3
#define EM_X86_64  62
#define EM_AARCH64 183

#define EHDR_MIN    20 /* up to e_machine, the same in both classes */
#define EHDR32_SIZE 52
#define PHDR32_SIZE 32
#define PT_LOAD	    1

#define SEGMENTS_MAX 32 /* leaves room in struct place for modules and boot information */

struct segment {
	uint32_t type;
	uint64_t offset, filesz; /* in the file */
	uint64_t vaddr, paddr, memsz;
};

bool elf_identify(const void *data, size_t size)
{
	return size >= EHDR_MIN && memcmp(data,
					  "\x7f"
					  "ELF",
					  4) == 0;
}

static uint16_t elf_machine(const uint8_t *data)
{
	return get_le16(data + 18);
}

const char *elf_describe(const void *data, size_t size)
{
	const uint8_t *d = data;

	(void)size; /* elf_identify saw that the header is there */
	if (elf_machine(d) == EM_AARCH64)
		return "is an ELF file for arm64, this machine is x86";
	if (elf_machine(d) != EM_386 && elf_machine(d) != EM_X86_64)
		return "is an ELF file for another architecture, this machine is x86";
	return "is an ELF file without a multiboot header: expected a Linux bzImage or a multiboot "
	       "kernel";
}

/* Refuses what is not a 32-bit x86 executable with program headers inside the file. */
static int check_header(struct loader *l)
{
	const struct load_image *k = &l->req->kernel;
	const uint8_t *d = k->data;
	uint64_t phoff, phnum;

	if (!elf_identify(d, k->size))
		return load_fail(l, k, -ENOEXEC,
				 "has a multiboot header but is neither ELF nor gives its own load "
				 "addresses (flag 16)");
	if (d[EI_CLASS] == ELFCLASS64)
		return load_fail(
			l, k, -ENOEXEC,
			"is a 64-bit ELF file, multiboot enters in 32-bit mode: expected a "
			"32-bit one, or load addresses in its multiboot header (flag 16)");
	if (d[EI_CLASS] != ELFCLASS32 || d[EI_DATA] != ELFDATA_LE || elf_machine(d) != EM_386)
		return load_fail(l, k, -ENOEXEC, "is not an ELF file for 32-bit x86");
	if (k->size < EHDR32_SIZE)
		return load_fail(l, k, -EINVAL, "is cut short within its ELF header");
	if (get_le16(d + 16) != ET_EXEC)
		return load_fail(l, k, -ENOEXEC, "is ELF, but not an executable (type %u)",
				 get_le16(d + 16));
	phoff = get_le32(d + 28);
	phnum = get_le16(d + 44);
	if (phnum == 0 || get_le16(d + 42) != PHDR32_SIZE)
		return load_fail(l, k, -EINVAL, "has no program headers");
	if (!range_fits(phoff, phnum * PHDR32_SIZE, k->size))
		return load_fail(l, k, -EINVAL, "has program headers beyond the end of the file");
	return 0;
}

static struct segment get_segment(const struct loader *l, unsigned i)
{
	const uint8_t *d = l->req->kernel.data;
	const uint8_t *ph = d + get_le32(d + 28) + (size_t)i * PHDR32_SIZE;

	return (struct segment){
		.type = get_le32(ph),
		.offset = get_le32(ph + 4),
		.vaddr = get_le32(ph + 8),
		.paddr = get_le32(ph + 12),
		.filesz = get_le32(ph + 16),
		.memsz = get_le32(ph + 20),
	};
}

static int load_segment(struct loader *l, unsigned i, const struct segment *s)
{
	const struct load_image *k = &l->req->kernel;
	int err;

	if (s->filesz > s->memsz || !range_fits(s->offset, s->filesz, k->size))
		return load_fail(l, k, -EINVAL, "segment %u lies beyond the end of the file", i);
	if (!range_fits(s->paddr, s->memsz, LOAD_4G))
		return load_fail(l, k, -EINVAL, "segment %u ends above 4 GiB", i);
	err = place_take(&l->place, s->paddr, s->memsz);
	if (err == -EBUSY)
		return load_fail(l, k, -EINVAL, "segment %u overlaps another one", i);
	if (err != 0)
		return load_fail(l, k, -ENOMEM,
				 "segment %u does not fit: it is %llu KiB at 0x%llx, the guest has "
				 "%llu MiB",
				 i, (unsigned long long)(s->memsz / KIB + 1),
				 (unsigned long long)s->paddr, load_ram_mib(l));
	err = load_write(l, s->paddr, (const uint8_t *)k->data + s->offset, s->filesz);
	if (err == 0)
		err = load_zero(l, s->paddr + s->filesz, s->memsz - s->filesz);
	return err;
}

/*
 * Where e_entry is in physical memory. It is a virtual address by the ABI, but kernels linked high
 * often give the physical one; both are accepted, the virtual reading first.
 */
static bool resolve_entry(const struct segment *s, uint64_t e_entry, uint64_t *entry, bool *sure)
{
	if (e_entry >= s->vaddr && e_entry - s->vaddr < s->memsz) {
		*entry = s->paddr + (e_entry - s->vaddr);
		*sure = true;
		return true;
	}
	if (e_entry >= s->paddr && e_entry - s->paddr < s->memsz) {
		*entry = e_entry;
		return true;
	}
	return false;
}

int elf_load32(struct loader *l, uint64_t *entry, uint64_t *end)
{
	const struct load_image *k = &l->req->kernel;
	bool found = false, sure = false;
	unsigned loaded = 0, phnum;
	uint64_t e_entry;
	int err = check_header(l);

	if (err != 0)
		return err;
	e_entry = get_le32((const uint8_t *)k->data + 24);
	phnum = get_le16((const uint8_t *)k->data + 44);
	*end = 0;
	for (unsigned i = 0; i < phnum; i++) {
		struct segment s = get_segment(l, i);

		if (s.type != PT_LOAD || s.memsz == 0)
			continue;
		if (++loaded > SEGMENTS_MAX)
			return load_fail(l, k, -EINVAL, "has more than %d segments", SEGMENTS_MAX);
		err = load_segment(l, i, &s);
		if (err != 0)
			return err;
		*end = max_u64(*end, s.paddr + s.memsz);
		if (!sure && resolve_entry(&s, e_entry, entry, &sure))
			found = true;
	}
	if (loaded == 0)
		return load_fail(l, k, -EINVAL, "has no segment to load");
	if (!found)
		return load_fail(l, k, -EINVAL, "its entry point 0x%llx is in none of its segments",
				 (unsigned long long)e_entry);
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory on the host without frames or tables: each slot is one block of zeroed memory. For
 * tests of what uses guest memory; slots may not be crossed within one access, as their ends are
 * not adjacent here. Untouched memory costs nothing (it is mapped, not populated).
 *
 * State is kept beside struct guestmem, found by its address, so that one embedded in another
 * object works as well.
 */
#include "tests/host/guestmem_flat.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/check.h"
#include "lib/errno.h"
#include "lib/util.h"
#include "vm/guestmem.h"

#define FLAT_GUESTS 16

struct flat {
	struct guestmem *gm; /* NULL: free */
	unsigned nr_slots;
	struct {
		uint64_t base, size;
		uint8_t *bytes;
	} slots[GM_MAX_SLOTS];
};

static struct flat flats[FLAT_GUESTS];

static struct flat *flat_of(const struct guestmem *gm)
{
	for (unsigned i = 0; i < FLAT_GUESTS; i++) {
		if (flats[i].gm == gm)
			return &flats[i];
	}
	return NULL;
}

int guestmem_init(struct guestmem *gm, char *err, size_t err_size)
{
	struct flat *f = flat_of(NULL);

	CHECK(flat_of(gm) == NULL); /* a destroy is missing */
	if (f == NULL) {
		snprintf(err, err_size, "no more than %d flat guests", FLAT_GUESTS);
		return -ENOMEM;
	}
	memset(gm, 0, sizeof(*gm));
	f->gm = gm;
	f->nr_slots = 0;
	return 0;
}

int guestmem_add_ram(struct guestmem *gm, ipa_t base, uint64_t size)
{
	struct flat *f = flat_of(gm);
	uint8_t *bytes;
	uint64_t end;

	CHECK(f != NULL);
	if (size == 0 || ((base.v | size) & PAGE_MASK) != 0 ||
	    __builtin_add_overflow(base.v, size, &end))
		return -EINVAL;
	if (f->nr_slots == GM_MAX_SLOTS)
		return -ENOSPC;
	for (unsigned i = 0; i < f->nr_slots; i++) {
		if (base.v < f->slots[i].base + f->slots[i].size && f->slots[i].base < end)
			return -EINVAL;
	}
	bytes = mmap(NULL, size, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (bytes == MAP_FAILED)
		return -ENOMEM;
	f->slots[f->nr_slots].base = base.v;
	f->slots[f->nr_slots].size = size;
	f->slots[f->nr_slots].bytes = bytes;
	f->nr_slots++;
	gm->ram_bytes += size;
	return 0;
}

uint8_t *guestmem_flat_at(struct guestmem *gm, uint64_t addr, uint64_t size)
{
	struct flat *f = flat_of(gm);

	CHECK(f != NULL);
	for (unsigned i = 0; i < f->nr_slots; i++) {
		if (addr >= f->slots[i].base &&
		    range_fits(addr - f->slots[i].base, size, f->slots[i].size))
			return f->slots[i].bytes + (addr - f->slots[i].base);
	}
	return NULL;
}

bool guestmem_flat_is_zero(struct guestmem *gm, uint64_t addr, uint64_t size)
{
	const uint8_t *p = guestmem_flat_at(gm, addr, size);

	if (p == NULL)
		return false;
	for (uint64_t i = 0; i < size; i++) {
		if (p[i] != 0)
			return false;
	}
	return true;
}

enum gm_fault guestmem_fault(struct guestmem *gm, ipa_t ipa, unsigned access)
{
	(void)access;
	return guestmem_flat_at(gm, ipa.v, 1) != NULL ? GM_RESOLVED : GM_MMIO;
}

enum gm_fault guestmem_resolve(struct guestmem *gm, ipa_t ipa, unsigned access, uint32_t *region)
{
	*region = GM_NO_REGION;
	return guestmem_fault(gm, ipa, access);
}

int guestmem_add_device(struct guestmem *gm, ipa_t base, uint64_t size, uint32_t region)
{
	(void)gm, (void)base, (void)size, (void)region;
	return 0;
}

int guestmem_read(struct guestmem *gm, ipa_t ipa, void *dst, size_t n)
{
	const uint8_t *p = guestmem_flat_at(gm, ipa.v, n);

	if (n == 0)
		return 0;
	if (p == NULL)
		return -EFAULT;
	memcpy(dst, p, n);
	return 0;
}

int guestmem_write(struct guestmem *gm, ipa_t ipa, const void *src, size_t n)
{
	uint8_t *p = guestmem_flat_at(gm, ipa.v, n);

	if (n == 0)
		return 0;
	if (p == NULL)
		return -EFAULT;
	memcpy(p, src, n);
	return 0;
}

int guestmem_zero(struct guestmem *gm, ipa_t ipa, uint64_t n)
{
	uint8_t *p = guestmem_flat_at(gm, ipa.v, n);
	uint64_t head = min_u64(n, -(uintptr_t)p & PAGE_MASK);
	uint64_t pages = align_down(n - head, PAGE_SIZE);

	if (n == 0)
		return 0;
	if (p == NULL)
		return -EFAULT;
	memset(p, 0, head);
	/* Whole pages go back to the host, which gives zeroed ones for them when they are touched.
	 */
	if (pages != 0)
		CHECK(madvise(p + head, pages, MADV_DONTNEED) == 0);
	memset(p + head + pages, 0, n - head - pages);
	return 0;
}

int guestmem_cmpxchg(struct guestmem *gm, ipa_t ipa, unsigned size, uint64_t *expected,
		     uint64_t desired)
{
	uint8_t *p = guestmem_flat_at(gm, ipa.v, size);
	uint64_t found = 0;

	if ((size != 1 && size != 2 && size != 4 && size != 8) || (ipa.v & (size - 1)) != 0)
		return -EINVAL;
	if (p == NULL)
		return -EFAULT;
	memcpy(&found, p, size); /* the host's tests are single-threaded, and little-endian */
	if (found != *expected) {
		*expected = found;
		return -EAGAIN;
	}
	memcpy(p, &desired, size);
	return 0;
}

bool guestmem_is_ram(const struct guestmem *gm, ipa_t ipa, uint64_t size)
{
	return guestmem_flat_at(flat_of(gm)->gm, ipa.v, size) != NULL;
}

uint64_t guestmem_ram_bytes(const struct guestmem *gm)
{
	return gm->ram_bytes;
}

/* Flat memory has no notion of it; enough for a line of a report. */
uint64_t guestmem_populated_pages(const struct guestmem *gm)
{
	return gm->ram_bytes / PAGE_SIZE;
}

void guestmem_destroy(struct guestmem *gm)
{
	struct flat *f = flat_of(gm);

	CHECK(f != NULL);
	for (unsigned i = 0; i < f->nr_slots; i++)
		CHECK(munmap(f->slots[i].bytes, f->slots[i].size) == 0);
	f->gm = NULL;
}

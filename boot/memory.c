/* SPDX-License-Identifier: BSD-2-Clause */
/* Range sets, and the loader's memory map as RAM and free memory. */
#include "boot/memory.h"

#include "lib/string.h"
#include "lib/util.h"

#define LOW_MEMORY MIB
#define PHYS_TOP   BIT(52) /* no x86 physical address is higher (SDM 3A 4.1.4) */
#define SHF_ALLOC  2

static uint64_t range_end(const struct mem_range *r)
{
	return r->base.v + r->size;
}

static void delete_range(struct range_set *s, size_t i)
{
	s->n--;
	memmove(&s->r[i], &s->r[i + 1], (s->n - i) * sizeof(s->r[0]));
}

static bool insert_range(struct range_set *s, size_t i, uint64_t base, uint64_t end)
{
	if (s->n == RANGE_SET_MAX)
		return false;
	memmove(&s->r[i + 1], &s->r[i], (s->n - i) * sizeof(s->r[0]));
	s->r[i] = (struct mem_range){pa(base), end - base};
	s->n++;
	return true;
}

bool range_set_add(struct range_set *s, uint64_t base, uint64_t size)
{
	uint64_t end = base + size;
	size_t i = 0;

	if (size == 0)
		return true;
	while (i < s->n && range_end(&s->r[i]) < base)
		i++;
	while (i < s->n && s->r[i].base.v <= end) {
		base = min_u64(base, s->r[i].base.v);
		end = max_u64(end, range_end(&s->r[i]));
		delete_range(s, i);
	}
	return insert_range(s, i, base, end);
}

void range_set_remove(struct range_set *s, uint64_t base, uint64_t size)
{
	uint64_t end = base + size;

	for (size_t i = 0; i < s->n;) {
		uint64_t b = s->r[i].base.v, e = range_end(&s->r[i]);

		if (size == 0 || e <= base || b >= end) {
			i++;
			continue;
		}
		delete_range(s, i);
		uint64_t low = b < base ? base - b : 0, high = e > end ? e - end : 0;

		if (low && high && s->n + 2 > RANGE_SET_MAX) {
			low = low >= high ? low : 0;
			high = low ? 0 : high;
		}
		if (low)
			insert_range(s, i++, b, base);
		if (high)
			insert_range(s, i++, end, e);
	}
}

bool range_set_contains(const struct range_set *s, uint64_t base, uint64_t size)
{
	for (size_t i = 0; i < s->n; i++)
		if (base >= s->r[i].base.v && range_fits(base - s->r[i].base.v, size, s->r[i].size))
			return true;
	return false;
}

uint64_t range_set_bytes(const struct range_set *s)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < s->n; i++)
		sum += s->r[i].size;
	return sum;
}

uint64_t range_set_take(struct range_set *s, uint64_t size, uint64_t limit)
{
	for (size_t i = s->n; i-- > 0;) {
		uint64_t end = min_u64(range_end(&s->r[i]), limit);

		if (end <= s->r[i].base.v || end - s->r[i].base.v < size)
			continue;
		range_set_remove(s, end - size, size);
		return end - size;
	}
	return 0;
}

/* Takes away every page that the range touches. */
static void remove_pages(struct range_set *s, uint64_t base, uint64_t size)
{
	uint64_t end;

	if (size == 0 || base >= PHYS_TOP)
		return;
	end = align_up(base + min_u64(size, PHYS_TOP - base), PAGE_SIZE);
	base = align_down(base, PAGE_SIZE);
	range_set_remove(s, base, end - base);
}

/* Usable ranges by whole pages, less every page that some other entry of the map claims. */
static void build_ram(const struct boot_info *info, uint64_t limit, struct boot_memory *out)
{
	for (size_t i = 0; i < info->nr_mem; i++) {
		const struct mem_range *r = &info->mem[i].range;
		uint64_t base = r->base.v, end = min_u64(range_end(r), limit);

		if (info->mem[i].type != BOOT_MEM_USABLE || base >= limit)
			continue;
		base = align_up(base, PAGE_SIZE);
		end = align_down(end, PAGE_SIZE);
		if (base < end)
			range_set_add(&out->ram, base, end - base);
	}
	for (size_t i = 0; i < info->nr_mem; i++)
		if (info->mem[i].type != BOOT_MEM_USABLE)
			remove_pages(&out->ram, info->mem[i].range.base.v, info->mem[i].range.size);
	range_set_remove(&out->ram, 0, PAGE_SIZE);
	out->reported = range_set_bytes(&out->ram);
	remove_pages(&out->ram, info->image.base.v, info->image.size);
}

/* Everything the loader left in RAM. */
static void remove_occupied(const struct boot_info *info, struct range_set *s)
{
	remove_pages(s, info->info_structure.base.v, info->info_structure.size);
	for (size_t i = 0; i < info->nr_modules; i++)
		remove_pages(s, info->modules[i].base.v, info->modules[i].size);
	for (size_t i = 0; i < info->nr_sections; i++)
		if (!(info->sections[i].flags & SHF_ALLOC))
			remove_pages(s, info->sections[i].addr, info->sections[i].size);
}

void boot_memory_build(const struct boot_info *info, uint64_t limit, struct boot_memory *out)
{
	memset(out, 0, sizeof(*out));
	build_ram(info, limit, out);
	out->free = out->ram;
	remove_occupied(info, &out->free);
	/* Below 640 KiB, away from the BIOS data areas at either end. */
	out->trampoline = pa(range_set_take(&out->free, PAGE_SIZE, 0x90000));
	range_set_remove(&out->free, 0, LOW_MEMORY);
}

static bool overlaps(const struct mem_range *a, uint64_t base, uint64_t size)
{
	return size && a->size && base < range_end(a) && a->base.v < base + size;
}

size_t boot_memory_check_modules(struct boot_info *info, const struct boot_memory *mem)
{
	size_t kept = 0, dropped;

	for (size_t i = 0; i < info->nr_modules; i++) {
		struct boot_module *m = &info->modules[i];
		bool good = m->size == 0 || range_set_contains(&mem->ram, m->base.v, m->size);

		good = good && !overlaps(&info->info_structure, m->base.v, m->size);
		for (size_t k = 0; good && k < kept; k++) {
			struct mem_range other = {info->modules[k].base, info->modules[k].size};

			good = !overlaps(&other, m->base.v, m->size);
		}
		m->data = NULL;
		if (good)
			info->modules[kept++] = *m;
	}
	dropped = info->nr_modules - kept;
	info->nr_modules = kept;
	return dropped;
}

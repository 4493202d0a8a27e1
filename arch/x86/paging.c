/* SPDX-License-Identifier: BSD-2-Clause */
/* The hypervisor's own page tables: four levels, built once, extended by windows (SDM 3A 4.5). */
#include "arch/x86/paging.h"

#include "arch/x86/cpu.h"
#include "arch/x86/percpu.h"
#include "lib/check.h"
#include "lib/string.h"
#include "lib/util.h"
#include "mm/frames.h"

#define P_PRESENT  BIT(0)
#define P_WRITABLE BIT(1)
#define P_PWT	   BIT(3)
#define P_PCD	   BIT(4)
#define P_ACCESSED BIT(5)
#define P_DIRTY	   BIT(6)
#define P_LARGE	   BIT(7)
#define P_GLOBAL   BIT(8)
#define P_NX	   BIT(63)
#define P_ADDRESS  0x000ffffffffff000ULL

/* Accessed and dirty are set from the start: the CPU has no reason to write to our tables. */
#define P_LEAF	     (P_PRESENT | P_ACCESSED | P_DIRTY | P_GLOBAL)
#define PROT_TEXT    P_LEAF
#define PROT_CONST   (P_LEAF | P_NX)
#define PROT_DATA    (P_LEAF | P_NX | P_WRITABLE)
#define PROT_DEVICE  (P_LEAF | P_NX | P_WRITABLE | P_PCD | P_PWT) /* PAT 3: UC, see PAT_VALUE */
#define TABLE_ACCESS (P_PRESENT | P_WRITABLE | P_ACCESSED)

#define LEVEL_SHIFT(level) (PAGE_SHIFT + 9 * (level)) /* level 0: 4K, 1: 2M, 2: 1G, 3: root */

static uint64_t *root;
static pa_t root_pa;
static struct mem_range image;
static struct boot_memory *early; /* where tables come from until the frame allocator runs */
static uint64_t window_next = WINDOW_BASE;

pa_t image_pa(const void *va)
{
	return pa((uint64_t)(uintptr_t)va - IMAGE_BASE + image.base.v);
}

pa_t paging_root(void)
{
	return root_pa;
}

uint64_t paging_limit(void)
{
	struct cpuid size = cpuid_checked(0x80000008, 0);
	unsigned bits = size.eax & 0xff;

	return min_u64(BIT(bits >= 32 && bits <= 52 ? bits : 36), DIRECT_MAP_SIZE);
}

/* A cleared page for a table; false when there is no memory. */
static bool new_table(pa_t *out)
{
	if (early) {
		out->v = range_set_take(&early->free, PAGE_SIZE, 4 * GIB);
		if (out->v == 0)
			return false;
	} else if (frames_alloc(NULL, 0, out)) {
		return false;
	}
	memset(direct_map(*out), 0, PAGE_SIZE);
	return true;
}

/* The entry of `level` for `va`, with the tables above it made as needed; NULL without memory. */
static uint64_t *walk(uint64_t va, unsigned level)
{
	uint64_t *table = root;

	for (unsigned l = 3;; l--) {
		uint64_t *e = &table[va >> LEVEL_SHIFT(l) & 511];
		pa_t next;

		if (l == level)
			return e;
		if (!(*e & P_PRESENT)) {
			if (!new_table(&next))
				return NULL;
			*e = next.v | TABLE_ACCESS;
		}
		CHECK(!(*e & P_LARGE));
		table = direct_map(pa(*e & P_ADDRESS));
	}
}

static unsigned leaf_level(uint64_t va, uint64_t p, uint64_t size, unsigned max_level)
{
	unsigned level = max_level;

	while (level &&
	       (!is_aligned(va | p, BIT(LEVEL_SHIFT(level))) || size < BIT(LEVEL_SHIFT(level))))
		level--;
	return level;
}

/* Maps page-aligned ranges that are not mapped yet, by leaves up to max_level. */
static bool map(uint64_t va, uint64_t p, uint64_t size, uint64_t prot, unsigned max_level)
{
	while (size) {
		unsigned level = leaf_level(va, p, size, max_level);
		uint64_t step = BIT(LEVEL_SHIFT(level));
		uint64_t *e = walk(va, level);

		if (e == NULL)
			return false;
		CHECK(!(*e & P_PRESENT));
		*e = p | prot | (level ? P_LARGE : 0);
		va += step;
		p += step;
		size -= step;
	}
	return true;
}

static bool map_image_part(const void *from, const void *to, uint64_t prot)
{
	uint64_t va = (uint64_t)(uintptr_t)from;
	uint64_t end = align_up((uint64_t)(uintptr_t)to, PAGE_SIZE);

	return map(va, image_pa(from).v, end - va, prot, 0);
}

/* An overflowing stack is to fault, not to run into the next one. The boot CPU's are in the image.
 */
static void unmap_guards(const struct percpu_stacks *s)
{
	const uint8_t *guards[] = {s->guard_main, s->guard_nmi, s->guard_df, s->guard_mc};

	for (size_t i = 0; i < ARRAY_SIZE(guards); i++) {
		uint64_t *e = walk((uint64_t)(uintptr_t)guards[i], 0);

		CHECK(e && *e & P_PRESENT);
		*e = 0;
	}
}

static bool map_image(void)
{
	return map_image_part(image_start, text_end, PROT_TEXT) &&
	       map_image_part(rodata_start, rodata_end, PROT_CONST) &&
	       map_image_part(data_start, image_end, PROT_DATA);
}

static bool map_ram(const struct range_set *ram)
{
	unsigned max_level = cpuid_checked(0x80000001, 0).edx & BIT(26) ? 2 : 1;

	for (size_t i = 0; i < ram->n; i++)
		if (!map(DIRECT_MAP_BASE + ram->r[i].base.v, ram->r[i].base.v, ram->r[i].size,
			 PROT_DATA, max_level))
			return false;
	return true;
}

void paging_load(void)
{
	write_cr3(root_pa.v);
	cpu_init_control();
}

void paging_init(struct mem_range image_range, struct boot_memory *mem)
{
	bool good;

	image = image_range;
	early = mem;
	good = new_table(&root_pa);
	if (good) {
		root = direct_map(root_pa);
		good = map_image() && map_ram(&mem->ram);
	}
	if (!good)
		panic("no memory below 4 GiB for page tables");
	unmap_guards(&boot_stacks);
	early = NULL;
	/* Global entries of the early tables do not exist, so the write to CR3 drops all of them.
	 */
	paging_load();
}

static void *map_window(pa_t p, size_t size, uint64_t prot)
{
	uint64_t first = align_down(p.v, PAGE_SIZE), length, va = window_next;

	if (size == 0 || !range_fits(p.v, size, paging_limit()))
		return NULL;
	length = align_up(p.v + size, PAGE_SIZE) - first;
	/* One page stays free between windows. */
	if (!range_fits(va - WINDOW_BASE, length + PAGE_SIZE, WINDOW_SIZE))
		return NULL;
	window_next = va + length + PAGE_SIZE; /* given up when tables run out half way */
	if (!map(va, first, length, prot, 0))
		return NULL;
	return (void *)(uintptr_t)(va + (p.v - first));
}

volatile void *paging_map_device(pa_t p, size_t size)
{
	return map_window(p, size, PROT_DEVICE);
}

const void *paging_map_firmware(pa_t p, size_t size)
{
	return map_window(p, size, PROT_CONST);
}

/* The four stacks, each above its guard, which no frame is given. */
struct percpu_stacks *paging_map_stacks(void)
{
	static const struct {
		size_t at, size;
	} parts[] = {
		{offsetof(struct percpu_stacks, main), STACK_MAIN_SIZE},
		{offsetof(struct percpu_stacks, nmi), STACK_IST_SIZE},
		{offsetof(struct percpu_stacks, df), STACK_IST_SIZE},
		{offsetof(struct percpu_stacks, mc), STACK_IST_SIZE},
	};
	uint64_t va = window_next;

	if (!range_fits(va - WINDOW_BASE, sizeof(struct percpu_stacks), WINDOW_SIZE))
		return NULL;
	window_next = va + sizeof(struct percpu_stacks); /* given up when frames run out half way */
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		for (size_t at = 0; at < parts[i].size; at += PAGE_SIZE) {
			pa_t frame;

			if (frames_alloc(NULL, 0, &frame) ||
			    !map(va + parts[i].at + at, frame.v, PAGE_SIZE, PROT_DATA, 0))
				return NULL;
		}
	}
	return (struct percpu_stacks *)(uintptr_t)va;
}

bool paging_map_trampoline(pa_t page)
{
	return map(page.v, page.v, PAGE_SIZE, PROT_TEXT & ~P_GLOBAL, 0);
}

void paging_unmap_trampoline(pa_t page)
{
	*walk(page.v, 0) = 0;
	paging_forget_trampoline();
}

/* Its entry is the only one that is not global: a write to CR3 drops it. */
void paging_forget_trampoline(void)
{
	write_cr3(root_pa.v);
}

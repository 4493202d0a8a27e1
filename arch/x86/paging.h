/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hypervisor's own address space, the same on every CPU:
 *
 *	0xffff800000000000  direct map: all RAM at its physical address, writable, no-execute; our
 *image is left out of it, so that no second, writable view of the code exists 0xffffff0000000000
 *windows onto devices (uncached) and firmware tables (read-only) 0xffffffff80000000  the image by 4
 *KiB pages: text RX, constants R, data RW; stack guards absent
 *
 * Everything below 0xffff800000000000 is unmapped, but for the page that CPUs start in while they
 *do.
 */
#ifndef SLUICE_ARCH_X86_PAGING_H
#define SLUICE_ARCH_X86_PAGING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "boot/memory.h"
#include "mm/types.h"

struct percpu_stacks;

#define DIRECT_MAP_BASE 0xffff800000000000ULL
#define DIRECT_MAP_SIZE BIT(46) /* what one could map; RAM beyond it is not used */
#define WINDOW_BASE	0xffffff0000000000ULL
#define WINDOW_SIZE	BIT(39)
#define IMAGE_BASE	0xffffffff80000000ULL

/* Physical memory in the direct map. Before paging_init: anything below 4 GiB; afterwards RAM only.
 */
static inline void *direct_map(pa_t p)
{
	return (void *)(uintptr_t)(DIRECT_MAP_BASE + p.v);
}

static inline pa_t direct_map_pa(const void *va)
{
	return pa((uint64_t)(uintptr_t)va - DIRECT_MAP_BASE);
}

/* The physical address of something in the image (code, constant, static object). */
pa_t image_pa(const void *va);

/*
 * Builds the page tables from memory it takes out of mem->free, loads them on this CPU and sets its
 * control registers. `image` is where the loader put us. Panics when memory does not suffice.
 */
void paging_init(struct mem_range image, struct boot_memory *mem);

/* Loads the same tables on another CPU. */
void paging_load(void);

/* Physical address of the root table, for a CPU that is being started. */
pa_t paging_root(void);

/*
 * Windows, for ever. `size` > 0; any alignment. NULL when tables or window space run out, or the
 * address is beyond what the CPU has. Need the frame allocator. Not locked: boot CPU, before others
 * run.
 */
volatile void *paging_map_device(pa_t p, size_t size); /* uncached, RW */
const void *paging_map_firmware(pa_t p, size_t size);  /* cached, R */

/*
 * Stacks of another CPU, their guards not mapped; for ever. NULL without memory. As the windows:
 * boot CPU only.
 */
struct percpu_stacks *paging_map_stacks(void);

/*
 * The page below 1 MiB that CPUs start in, at its own address: read-only and executable, and only
 * while they start. A CPU that came that way forgets it when it is unmapped. False without memory.
 */
bool paging_map_trampoline(pa_t page);
void paging_unmap_trampoline(pa_t page);
void paging_forget_trampoline(void); /* on the CPU that calls */

/* One past the highest physical address that this CPU and the direct map can reach. */
uint64_t paging_limit(void);

/* Bounds of the image's executable part, for back traces. */
extern const char image_start[], text_end[], rodata_start[], rodata_end[], data_start[],
	image_end[];

#endif

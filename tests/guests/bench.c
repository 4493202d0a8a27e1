/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an exit costs: reads the time-stamp counter around many of each kind. Under QEMU with
 * -icount shift=0 the counter counts instructions, the hypervisor's included; elsewhere it counts
 * cycles. First without paging, then in compatibility mode over 4-level tables with 2 MiB pages, as
 * a 64-bit kernel has them. Prints lines "bench: NAME PAGING TICKS-PER-EXIT".
 */
#include "guest.h"

#define LAPIC_TPR 0xfee00080u
#define IOAPIC	  0xfec00000u
#define HOLE	  0xd0000000u
#define FRESH	  0x1000000u /* RAM that nobody has touched */
#define LARGE	  0x200000u

#define EXITS	  1000u
#define FAULTS	  16u
#define EFER	  0xc0000080u
#define EFER_LME  0x100u
#define CR4_PAE	  0x20u
#define CR0_PG	  0x80000000u
#define PTE_TABLE 3u	/* present, writable */
#define PTE_LARGE 0x83u /* and a large page */

static uint64_t pml4[512] __attribute__((aligned(4096)));
static uint64_t pdpt[512] __attribute__((aligned(4096)));
static uint64_t pd[4][512] __attribute__((aligned(4096)));

static uint32_t ticks(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return low;
}

static void do_nothing(void)
{
	__asm__ volatile("" : : : "memory");
}

static void do_cpuid(void)
{
	uint32_t a = 0, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
}

static void do_hypercall(void)
{
	uint32_t a = 0;

	__asm__ volatile("vmmcall" : "+a"(a) : : "memory");
}

static void do_port_none(void)
{
	(void)in8(0x80);
}

static void do_port_device(void)
{
	(void)in8(0x21);
}

static void do_lapic(void)
{
	(void)*mem32(LAPIC_TPR);
}

static void do_ioapic(void)
{
	(void)*mem32(IOAPIC);
}

static void do_hole(void)
{
	(void)*mem32(HOLE);
}

static uint32_t loop(void (*fn)(void), uint32_t count)
{
	uint32_t begin = ticks();

	for (uint32_t i = 0; i < count; i++)
		fn();
	return ticks() - begin;
}

/* The first use of each kind is not counted: it is a figure of its own where it differs. */
static void measure(const char *name, const char *paging, void (*fn)(void))
{
	uint32_t empty = loop(do_nothing, EXITS), first = loop(fn, 1), many = loop(fn, EXITS);

	say("bench: %s-first %s %u\n", name, paging, first - loop(do_nothing, 1));
	say("bench: %s %s %u\n", name, paging, (many - empty) / EXITS);
}

static void measure_all(const char *paging)
{
	measure("cpuid", paging, do_cpuid);
	measure("hypercall", paging, do_hypercall);
	measure("port-none", paging, do_port_none);
	measure("port-device", paging, do_port_device);
	measure("mmio-lapic", paging, do_lapic);
	measure("mmio-ioapic", paging, do_ioapic);
	measure("mmio-hole", paging, do_hole);
}

/* Each fault populates and clears 2 MiB. */
static void measure_faults(const char *paging, uint32_t at)
{
	uint32_t begin = ticks();

	for (uint32_t i = 0; i < FAULTS; i++)
		*mem32(at + i * LARGE) = 1;
	say("bench: fault-2m %s %u\n", paging, (ticks() - begin) / FAULTS);
}

static void enable_paging(void)
{
	uint32_t low, high, cr;

	pml4[0] = (uint32_t)pdpt | PTE_TABLE;
	for (uint32_t i = 0; i < 4; i++) {
		pdpt[i] = (uint32_t)pd[i] | PTE_TABLE;
		for (uint32_t k = 0; k < 512; k++)
			pd[i][k] = (uint64_t)(i * 512 + k) * LARGE | PTE_LARGE;
	}
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr));
	__asm__ volatile("mov %0, %%cr4" : : "r"(cr | CR4_PAE));
	__asm__ volatile("mov %0, %%cr3" : : "r"(pml4) : "memory");
	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(EFER));
	__asm__ volatile("wrmsr" : : "c"(EFER), "a"(low | EFER_LME), "d"(high));
	__asm__ volatile("mov %%cr0, %0" : "=r"(cr));
	__asm__ volatile("mov %0, %%cr0; jmp 1f; 1:" : : "r"(cr | CR0_PG) : "memory");
}

uint32_t guest_main(const struct multiboot_info *info)
{
	(void)info;
	measure_all("unpaged");
	measure_faults("unpaged", FRESH);
	enable_paging();
	measure_all("paged");
	measure_faults("paged", FRESH + FAULTS * LARGE);
	return 0;
}

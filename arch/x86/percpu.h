/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Per-CPU data. The GS base of every CPU points at its own struct percpu from its first C
 * instruction on; after leaving a guest the virtualisation half restores it before anything else
 * uses it.
 */
#ifndef SLUICE_ARCH_X86_PERCPU_H
#define SLUICE_ARCH_X86_PERCPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STACK_MAIN_SIZE 16384 /* the one stack of a CPU */
#define STACK_IST_SIZE	8192  /* one each for NMI, double fault and machine check */

/*
 * The stacks of one CPU, page aligned. The guard pages are not mapped: an overflow faults, and the
 * double-fault stack is there to report it. Stacks grow down, each into the guard below it.
 */
struct percpu_stacks {
	uint8_t guard_main[4096];
	uint8_t main[STACK_MAIN_SIZE];
	uint8_t guard_nmi[4096];
	uint8_t nmi[STACK_IST_SIZE];
	uint8_t guard_df[4096];
	uint8_t df[STACK_IST_SIZE];
	uint8_t guard_mc[4096];
	uint8_t mc[STACK_IST_SIZE];
} __attribute__((aligned(4096)));

/* The 64-bit task state segment (SDM 3A figure 8-11), no I/O bitmap. */
struct tss {
	uint32_t reserved0;
	uint64_t rsp[3];
	uint64_t reserved1;
	uint64_t ist[7]; /* [0] NMI, [1] double fault, [2] machine check */
	uint64_t reserved2;
	uint16_t reserved3;
	uint16_t iomap;
} __attribute__((packed));

#define IST_NMI 1
#define IST_DF	2
#define IST_MC	3

struct percpu {
	struct percpu *self; /* first: `mov %gs:0, reg` gives the address */
	uint32_t index;	     /* 0..MAX_PCPUS-1, the boot CPU is 0 */
	uint32_t apic_id;
	struct percpu_stacks *stacks;
	struct tss *tss; /* = &tss_storage; kept apart so that C never takes a packed member */
	uint64_t timer_deadline; /* ns the vm side asked for, MACHINE_NEVER when disarmed */
	uint64_t poll_deadline;	 /* ns of the next look at a polled console, or MACHINE_NEVER */
	uint64_t timer_armed;	 /* ns the hardware is set to, MACHINE_NEVER when it is not */

	/* Oddities: handlers count, percpu_log_oddities() tells. */
	uint32_t nmi_count, nmi_logged;		  /* NMIs that nobody claimed */
	uint32_t spurious_count, spurious_logged; /* interrupts without a source */
	uint32_t apic_errors, apic_errors_logged; /* bits of the error status register */
	void *virt;				  /* the virtualisation half's own per-CPU state */

	uint64_t gdt[5]; /* null, code, data, TSS (two entries) */
	struct tss tss_storage __attribute__((aligned(16)));
};

static inline struct percpu *this_cpu(void)
{
	struct percpu *p;

	__asm__ volatile("movq %%gs:0, %0" : "=r"(p));
	return p;
}

/* The CPU with that index, NULL when it has never been set up. */
struct percpu *percpu_of(unsigned index);

/*
 * Fills a CPU's struct and makes it known as `index`; percpu_load, on that CPU, loads its GDT, TSS
 * and GS base. The boot CPU's lives in the image, others' come from kzalloc when they are started.
 */
void percpu_init(struct percpu *p, struct percpu_stacks *stacks, unsigned index, uint32_t apic_id);
void percpu_load(struct percpu *p);

/* Logs what handlers have noted on this CPU since the last call. Cheap when there is nothing. */
void percpu_log_oddities(void);

extern struct percpu boot_percpu;	 /* the boot CPU's */
extern struct percpu_stacks boot_stacks; /* entry.asm starts on boot_stacks.main */

#endif

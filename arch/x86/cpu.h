/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * x86 instructions that C has no words for, and the names of the registers and bits that boot, the
 * machine half and the virtualisation half share. Numbers: Intel SDM vol. 3 and 4, AMD APM vol. 2.
 */
#ifndef SLUICE_ARCH_X86_CPU_H
#define SLUICE_ARCH_X86_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "arch/x86/regs.h"
#include "lib/util.h"

/* ---- model-specific registers ---- */

#define MSR_TSC		   0x10U
#define MSR_APIC_BASE	   0x1bU
#define MSR_TSC_ADJUST	   0x3bU
#define MSR_SPEC_CTRL	   0x48U
#define MSR_PRED_CMD	   0x49U
#define MSR_MTRR_CAP	   0xfeU
#define MSR_SYSENTER_CS	   0x174U
#define MSR_SYSENTER_ESP   0x175U
#define MSR_SYSENTER_EIP   0x176U
#define MSR_MCG_CAP	   0x179U
#define MSR_MCG_STATUS	   0x17aU
#define MSR_DEBUGCTL	   0x1d9U
#define MSR_PAT		   0x277U
#define MSR_MTRR_DEF_TYPE  0x2ffU
#define MSR_MC0_CTL	   0x400U /* bank n: + 4 * n; STATUS + 1, ADDR + 2, MISC + 3 */
#define MSR_TSC_DEADLINE   0x6e0U
#define MSR_X2APIC	   0x800U /* register at offset o of the page: 0x800 + (o >> 4) */
#define MSR_XSS		   0xda0U
#define MSR_EFER	   0xc0000080U
#define MSR_STAR	   0xc0000081U
#define MSR_LSTAR	   0xc0000082U
#define MSR_CSTAR	   0xc0000083U
#define MSR_SFMASK	   0xc0000084U
#define MSR_FS_BASE	   0xc0000100U
#define MSR_GS_BASE	   0xc0000101U
#define MSR_KERNEL_GS_BASE 0xc0000102U
#define MSR_TSC_AUX	   0xc0000103U
#define MSR_VM_CR	   0xc0010114U
#define MSR_VM_HSAVE_PA	   0xc0010117U

/*
 * What every CPU's PAT holds while Sluice runs, the power-on value: index 0 WB, 1 WT, 2 UC-, 3 UC.
 * With SVM this is also the table that nested page tables index.
 */
#define PAT_VALUE 0x0007040600070406ULL

/* ---- segment selectors of our GDT (arch/x86/gdt.c) ---- */

#define SEL_CODE 0x08
#define SEL_DATA 0x10
#define SEL_TSS	 0x18 /* 16 bytes */

static inline uint64_t read_cr0(void)
{
	uint64_t v;

	__asm__ volatile("mov %%cr0, %0" : "=r"(v)::"memory");
	return v;
}

static inline void write_cr0(uint64_t v)
{
	__asm__ volatile("mov %0, %%cr0" ::"r"(v) : "memory");
}

static inline uint64_t read_cr2(void)
{
	uint64_t v;

	__asm__ volatile("mov %%cr2, %0" : "=r"(v)::"memory");
	return v;
}

static inline void write_cr2(uint64_t v)
{
	__asm__ volatile("mov %0, %%cr2" ::"r"(v) : "memory");
}

static inline uint64_t read_cr3(void)
{
	uint64_t v;

	__asm__ volatile("mov %%cr3, %0" : "=r"(v)::"memory");
	return v;
}

static inline void write_cr3(uint64_t v)
{
	__asm__ volatile("mov %0, %%cr3" ::"r"(v) : "memory");
}

static inline uint64_t read_cr4(void)
{
	uint64_t v;

	__asm__ volatile("mov %%cr4, %0" : "=r"(v)::"memory");
	return v;
}

static inline void write_cr4(uint64_t v)
{
	__asm__ volatile("mov %0, %%cr4" ::"r"(v) : "memory");
}

/* n is a constant 0..3, 6 or 7. */
#define READ_DR(n)                                                                                 \
	({                                                                                         \
		uint64_t dr_value_;                                                                \
		__asm__ volatile("mov %%db" #n ", %0" : "=r"(dr_value_)::"memory");                \
		dr_value_;                                                                         \
	})
#define WRITE_DR(n, v) __asm__ volatile("mov %0, %%db" #n ::"r"((uint64_t)(v)) : "memory")

static inline uint64_t read_rflags(void)
{
	uint64_t v;

	__asm__ volatile("pushfq; pop %0" : "=r"(v)::"memory");
	return v;
}

static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr) : "memory");
	return (uint64_t)hi << 32 | lo;
}

static inline void wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}

/*
 * A pair of 32-bit offsets, each relative to its own place: an instruction that may fault, and
 * where to go on when it did. The trap handler searches the section (arch/x86/traps.c).
 */
#define FIXUP(insn, target)                                                                        \
	".pushsection .fixups, \"a\"\n\t.balign 4\n\t"                                             \
	".long " insn " - .\n\t.long " target " - .\n\t.popsection\n\t"

/* As rdmsr/wrmsr, but false when the CPU raises an exception instead: for probing. */
static inline bool rdmsr_safe(uint32_t msr, uint64_t *v)
{
	uint32_t lo = 0, hi = 0, bad = 1;

	__asm__ volatile("1: rdmsr\n\txor %2, %2\n2:\n\t" FIXUP("1b", "2b")
			 : "+a"(lo), "+d"(hi), "+&r"(bad)
			 : "c"(msr)
			 : "memory", "cc");
	*v = bad ? 0 : (uint64_t)hi << 32 | lo;
	return !bad;
}

static inline bool wrmsr_safe(uint32_t msr, uint64_t v)
{
	uint32_t bad = 1;

	__asm__ volatile("1: wrmsr\n\txor %0, %0\n2:\n\t" FIXUP("1b", "2b")
			 : "+&r"(bad)
			 : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32))
			 : "memory", "cc");
	return !bad;
}

struct cpuid {
	uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid_count(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid r;

	__asm__ volatile("cpuid"
			 : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
			 : "a"(leaf), "c"(subleaf));
	return r;
}

static inline struct cpuid cpuid(uint32_t leaf)
{
	return cpuid_count(leaf, 0);
}

/* All zero for a leaf beyond what the CPU has (Intel returns another leaf's data there). */
static inline struct cpuid cpuid_checked(uint32_t leaf, uint32_t subleaf)
{
	if (cpuid(leaf & 0xffff0000U).eax < leaf)
		return (struct cpuid){0};
	return cpuid_count(leaf, subleaf);
}

static inline uint64_t xgetbv(uint32_t reg)
{
	uint32_t lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(reg));
	return (uint64_t)hi << 32 | lo;
}

static inline void xsetbv(uint32_t reg, uint64_t v)
{
	__asm__ volatile("xsetbv" ::"c"(reg), "a"((uint32_t)v), "d"((uint32_t)(v >> 32))
			 : "memory");
}

static inline uint8_t in8(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline uint16_t in16(uint16_t port)
{
	uint16_t v;

	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline uint32_t in32(uint16_t port)
{
	uint32_t v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline void out8(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port) : "memory");
}

static inline void out16(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" ::"a"(v), "Nd"(port) : "memory");
}

static inline void out32(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" ::"a"(v), "Nd"(port) : "memory");
}

static inline uint32_t mmio_read32(const volatile void *p)
{
	uint32_t v;

	__asm__ volatile("movl %1, %0" : "=r"(v) : "m"(*(const volatile uint32_t *)p) : "memory");
	return v;
}

static inline void mmio_write32(volatile void *p, uint32_t v)
{
	__asm__ volatile("movl %1, %0" : "=m"(*(volatile uint32_t *)p) : "r"(v) : "memory");
}

/* Not ordered with the instructions around it; see rdtsc_ordered. */
static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

/* After all earlier loads have completed (LFENCE is dispatch serialising where it matters). */
static inline uint64_t rdtsc_ordered(void)
{
	uint32_t lo, hi;

	__asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi)::"memory");
	return (uint64_t)hi << 32 | lo;
}

static inline void invlpg(const void *va)
{
	__asm__ volatile("invlpg (%0)" ::"r"(va) : "memory");
}

static inline void cpu_relax(void)
{
	__asm__ volatile("pause" ::: "memory");
}

static inline void interrupts_off(void)
{
	__asm__ volatile("cli" ::: "memory");
}

/* The one-instruction shadow of STI ends with the NOP: pending interrupts are taken before CLI. */
static inline void interrupts_window(void)
{
	__asm__ volatile("sti; nop; cli" ::: "memory");
}

/* STI's shadow covers HLT, so nothing can slip in between and be slept over. */
static inline void interrupts_wait(void)
{
	__asm__ volatile("sti; hlt; cli" ::: "memory");
}

/*
 * Brings CR0, CR4, EFER and PAT of this CPU to the values Sluice runs with (CR4: PAE, PGE, MCE,
 * OSFXSR, OSXMMEXCPT and, where CPUID has them, SMEP, SMAP, UMIP, FSGSBASE, OSXSAVE; EFER: LME,
 * NXE). Called once per CPU, after its page tables are loaded. XCR0 is left to the virtualisation
 * half.
 */
void cpu_init_control(void);

/* True for an AMD-style CPU (AMD, Hygon), false for Intel and others. */
bool cpu_is_amd(void);

#endif

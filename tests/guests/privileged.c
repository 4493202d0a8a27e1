/* SPDX-License-Identifier: BSD-2-Clause */
/* Privileged instructions and control register values that a guest must not get far with. */
#include "guest.h"

#define UD 6
#define GP 13

static uint32_t failures;

static void expect(const char *what, void (*fn)(uint32_t), uint32_t arg, int want)
{
	int got = attempt(fn, arg);

	if (got == want)
		return;
	failures++;
	say("privileged: %s (%x): exception %x, want %x\n", what, arg, (uint32_t)got,
	    (uint32_t)want);
}

#define INSTRUCTION(name, code)                                                                    \
	static void name(uint32_t arg)                                                             \
	{                                                                                          \
		__asm__ volatile(code : : "a"(arg), "c"(arg), "d"(0) : "memory", "ebx");           \
	}

INSTRUCTION(do_vmrun, "vmrun")
INSTRUCTION(do_vmload, "vmload")
INSTRUCTION(do_vmsave, "vmsave")
INSTRUCTION(do_stgi, "stgi")
INSTRUCTION(do_clgi, "clgi")
INSTRUCTION(do_invlpga, "invlpga")
INSTRUCTION(do_skinit, "skinit")
INSTRUCTION(do_vmxon, "movl $0, 0x600000; vmxon 0x600000")
INSTRUCTION(do_cr0, "mov %%eax, %%cr0")
INSTRUCTION(do_cr4, "mov %%eax, %%cr4")
INSTRUCTION(do_xsetbv, "xor %%ecx, %%ecx; xsetbv")
INSTRUCTION(do_cpuid, "cpuid")
INSTRUCTION(do_wbinvd, "wbinvd")
INSTRUCTION(do_rdtsc, "rdtsc")
INSTRUCTION(do_invd, "invd")
INSTRUCTION(do_hypercall, "vmmcall")

static uint32_t cr4(void)
{
	uint32_t value;

	__asm__ volatile("mov %%cr4, %0" : "=r"(value));
	return value;
}

static uint32_t random(void)
{
	static uint32_t x = 2463534242u; /* Marsaglia's xorshift */

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return x;
}

static void write_efer(uint32_t value)
{
	__asm__ volatile("wrmsr" : : "a"(value), "d"(0), "c"(0xc0000080));
}

INSTRUCTION(do_cr3, "mov %%eax, %%cr3")
INSTRUCTION(do_dr6, "mov %%eax, %%dr6")

/*
 * Any values that the processor takes, in any combination: it must also take them at the next
 * VMRUN, which has rules of its own (AMD APM 2, 15.5.1). Paging stays off, so that we go on.
 */
static void combinations(void)
{
	uint32_t old = cr4();

	for (unsigned i = 0; i < 3000; i++) {
		attempt(do_cr0, (random() & random() & 0x7fffffff) | 0x11);
		attempt(do_cr4, random() & random());
		attempt(do_cr4, cr4() ^ 1u << random() % 32);
		attempt(write_efer, random() & random() & random());
		attempt(write_efer, 1u << random() % 32);
		attempt(do_cr3, random());
		attempt(do_dr6, random());
		expect("cpuid", do_cpuid, 0, -1);
	}
	attempt(do_dr6, 0);
	expect("cr3 back", do_cr3, 0, -1);
	expect("efer back", write_efer, 0, -1);
	expect("cr4 back", do_cr4, old, -1);
	expect("cr0 back", do_cr0, 0x11, -1);
}

uint32_t guest_main(const struct multiboot_info *info)
{
	(void)info;
	say("privileged: going\n");
	/* No SVM in CPUID, EFER.SVME is out of reach: #UD (AMD APM 3). */
	expect("vmrun", do_vmrun, 0x1000, UD);
	expect("vmload", do_vmload, 0x1000, UD);
	expect("vmsave", do_vmsave, 0x1000, UD);
	expect("stgi", do_stgi, 0, UD);
	expect("clgi", do_clgi, 0, UD);
	expect("invlpga", do_invlpga, 0x1000, UD);
	expect("skinit", do_skinit, 0, UD);
	expect("vmxon", do_vmxon, 0, UD);
	/* Hidden and reserved bits of CR4: 13 VMXE, 14 SMXE, 15, 19, 24 and up. */
	for (unsigned bit = 24; bit < 32; bit++)
		expect("cr4", do_cr4, cr4() | 1u << bit, GP);
	expect("cr4.VMXE", do_cr4, cr4() | 1u << 13, GP);
	expect("cr4.SMXE", do_cr4, cr4() | 1u << 14, GP);
	expect("cr4.MCE set", do_cr4, cr4() | 1u << 6, -1);
	expect("cr4.MCE clear", do_cr4, cr4() & ~(1u << 6), -1);
	if (cr4() & 1u << 6) {
		failures++;
		say("privileged: the guest sees the host's CR4.MCE\n");
	}
	expect("cr0 PG without PE", do_cr0, 0x80000010, GP);
	expect("cr0 NW without CD", do_cr0, 0x20000011, GP);
	expect("cr0 CD", do_cr0, 0x40000011, -1);
	expect("cr0 back", do_cr0, 0x00000011, -1);
	expect("xsetbv without OSXSAVE", do_xsetbv, 1, UD);
	expect("wbinvd", do_wbinvd, 0, -1);
	expect("invd", do_invd, 0, -1);
	expect("rdtsc", do_rdtsc, 0, -1);
	for (uint32_t leaf = 0; leaf < 0x100; leaf++) {
		expect("cpuid", do_cpuid, leaf, -1);
		expect("cpuid", do_cpuid, 0x40000000u + leaf, -1);
		expect("cpuid", do_cpuid, 0x80000000u + leaf, -1);
	}
	combinations();
	expect("hypercall", do_hypercall, 0xffffffff, -1);
	say("privileged: done, %u failures\n", failures);
	return failures != 0;
}

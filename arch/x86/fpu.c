/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Extended state. The hypervisor is compiled without FPU and vector instructions, so a guest's
 * registers simply stay in place across exits and are saved when another vCPU needs them: all
 * components that XCR0 can enable (AVX, AVX-512 and PKRU included), whatever the guest's own XCR0
 * says at the moment. XSAVE: Intel SDM vol 1, chapter 13; AMD APM vol 4, 1.5.
 */
#include "arch/x86/cpu.h"
#include "arch/x86/vcpu.h"

#include "lib/errno.h"
#include "lib/string.h"
#include "mm/kalloc.h"

#define FXSAVE_SIZE  512
#define FCW_RESET    0x037f /* as FNINIT and kernels expect; power-on's 0x0040 is INIT-only */
#define MXCSR_RESET  0x1f80
#define MXCSR_OFFSET 24

/* With XSAVE: everything the guest could enable. 0: no XSAVE, FXSAVE it is. */
static uint64_t components(void)
{
	return guest_xcr0_mask();
}

static size_t area_size(void)
{
	struct cpuid d;
	size_t size = 576; /* legacy region and header (SDM vol 1, 13.4) */

	if (!components())
		return FXSAVE_SIZE;
	for (unsigned i = 2; i < 63; i++) {
		if (!(components() & BIT(i)))
			continue;
		d = cpuid_count(0xd, i);
		if ((size_t)d.ebx + d.eax > size)
			size = (size_t)d.ebx + d.eax;
	}
	return size;
}

int fpu_create(struct vcpu_arch *a)
{
	a->fpu = kzalloc(area_size());
	return a->fpu ? 0 : -ENOMEM;
}

void fpu_destroy(struct vcpu_arch *a)
{
	kfree(a->fpu);
	a->fpu = NULL;
}

void fpu_reset(struct vcpu_arch *a)
{
	uint16_t fcw = FCW_RESET;
	uint32_t mxcsr = MXCSR_RESET;

	/* XSTATE_BV = 0 loads the initial state of every component; MXCSR comes from memory always.
	 */
	memset(a->fpu, 0, area_size());
	memcpy(a->fpu, &fcw, sizeof(fcw));
	memcpy((char *)a->fpu + MXCSR_OFFSET, &mxcsr, sizeof(mxcsr));
	a->xcr0 = BIT(0);
}

void fpu_save(struct vcpu_arch *a)
{
	uint64_t all = components();

	if (!all) {
		__asm__ volatile("fxsave64 %0" : "=m"(*(char(*)[FXSAVE_SIZE])a->fpu));
		return;
	}
	/* QEMU 7.2 ignores the XSETBV intercept: what counts is what is in the register. */
	a->xcr0 = xgetbv(0) & all;
	xsetbv(0, all);
	__asm__ volatile("xsave64 (%0)" ::"r"(a->fpu), "a"((uint32_t)all),
			 "d"((uint32_t)(all >> 32))
			 : "memory");
}

/*
 * Older AMD processors restore the addresses of the last x87 instruction and its operand only when
 * an exception is pending (CPUID 80000008h EBX bit 2 clear): the last guest's would stay to be
 * read.
 */
static void forget_x87_pointers(void)
{
	__asm__ volatile("fninit");
}

void fpu_load(struct vcpu_arch *a)
{
	uint64_t all = components();

	if (!all) {
		forget_x87_pointers();
		__asm__ volatile("fxrstor64 %0" ::"m"(*(char(*)[FXSAVE_SIZE])a->fpu));
		return;
	}
	xsetbv(0, all);
	forget_x87_pointers();
	__asm__ volatile("xrstor64 (%0)" ::"r"(a->fpu), "a"((uint32_t)all),
			 "d"((uint32_t)(all >> 32))
			 : "memory");
	xsetbv(0, a->xcr0);
}

void fpu_set_xcr0(struct vcpu_arch *a, uint64_t value)
{
	a->xcr0 = value;
	xsetbv(0, value);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Control registers of one CPU, and who made it. */
#include "arch/x86/cpu.h"

#include "lib/string.h"

static bool vendor_is_amd(void)
{
	struct cpuid id = cpuid(0);
	char vendor[12];

	memcpy(vendor, &id.ebx, 4);
	memcpy(vendor + 4, &id.edx, 4);
	memcpy(vendor + 8, &id.ecx, 4);
	return memcmp(vendor, "AuthenticAMD", 12) == 0 || memcmp(vendor, "HygonGenuine", 12) == 0;
}

/* Asked at exits; CPUID serialises, and under another hypervisor it is an exit itself. */
bool cpu_is_amd(void)
{
	static enum { UNKNOWN, AMD, OTHER } vendor;

	if (vendor == UNKNOWN)
		vendor = vendor_is_amd() ? AMD : OTHER;
	return vendor == AMD;
}

/* SDM 3A 2.5 for the bits, volume 2 "CPUID" for where they are announced. */
static uint64_t cr4_value(void)
{
	struct cpuid basic = cpuid_checked(1, 0), ext = cpuid_checked(7, 0);
	uint64_t cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT;

	if (basic.edx & BIT(7))
		cr4 |= CR4_MCE; /* without it a machine check shuts the machine down */
	if (basic.edx & BIT(13))
		cr4 |= CR4_PGE;
	if (basic.ecx & BIT(26))
		cr4 |= CR4_OSXSAVE;
	if (ext.ebx & BIT(0))
		cr4 |= CR4_FSGSBASE;
	if (ext.ebx & BIT(7))
		cr4 |= CR4_SMEP;
	if (ext.ebx & BIT(20))
		cr4 |= CR4_SMAP;
	if (ext.ecx & BIT(2))
		cr4 |= CR4_UMIP;
	return cr4;
}

void cpu_init_control(void)
{
	write_cr0(CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG);
	write_cr4(cr4_value());
	wrmsr(MSR_EFER, (rdmsr(MSR_EFER) & ~EFER_SCE) | EFER_NXE);
	if (cpuid_checked(1, 0).edx & BIT(16))
		wrmsr(MSR_PAT, PAT_VALUE);
}

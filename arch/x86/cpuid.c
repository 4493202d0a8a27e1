/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What CPUID tells a guest: the host's answer through an allow-list, so that a feature is visible
 * only when somebody has decided how it is switched, trapped or harmless. Leaves: AMD APM vol 3
 * appendix E, Intel SDM vol 2A CPUID. Paravirtual leaves: Linux
 * Documentation/virt/kvm/x86/cpuid.rst.
 */
#include "arch/x86/cpu.h"
#include "arch/x86/vcpu.h"

#include "vm/dev/lapic.h"
#include "vm/vcpu.h"
#include "vm/vm.h"
#include "vm/x86/pc.h"

#define LEAF_KVM      0x40000000u
#define LEAF_KVM_FEAT 0x40000001u
#define LEAF_SLUICE   0x40000100u

#define KVM_CLOCKSOURCE	       BIT(0) /* MSRs 11h, 12h */
#define KVM_NOP_IO_DELAY       BIT(1) /* writes to port 80h are not needed as a delay */
#define KVM_CLOCKSOURCE2       BIT(3) /* MSRs 4b564d00h, 4b564d01h */
#define KVM_CLOCKSOURCE_STABLE BIT(24)

/* clang-format off */
#define F1_ECX ( \
	BIT(0)  /* SSE3 */ | BIT(1)  /* PCLMULQDQ */ | BIT(9)  /* SSSE3 */ | BIT(12) /* FMA */ | \
	BIT(13) /* CMPXCHG16B */ | BIT(17) /* PCID */ | BIT(19) /* SSE4.1 */ | BIT(20) /* SSE4.2 */ | \
	BIT(22) /* MOVBE */ | BIT(23) /* POPCNT */ | BIT(25) /* AES */ | BIT(26) /* XSAVE */ | \
	BIT(28) /* AVX */ | BIT(29) /* F16C */ | BIT(30) /* RDRAND */)
#define F1_ECX_X2APIC	    BIT(21) /* emulated */
#define F1_ECX_TSC_DEADLINE BIT(24) /* emulated */
#define F1_ECX_OSXSAVE	    BIT(27) /* follows CR4 */
#define F1_ECX_HYPERVISOR   BIT(31)

#define F1_EDX ( \
	BIT(0)  /* FPU */ | BIT(1)  /* VME */ | BIT(2)  /* DE */ | BIT(3)  /* PSE */ | BIT(4)  /* TSC */ | \
	BIT(5)  /* MSR */ | BIT(6)  /* PAE */ | BIT(7)  /* MCE */ | BIT(8)  /* CX8 */ | \
	BIT(11) /* SEP */ | BIT(12) /* MTRR */ | BIT(13) /* PGE */ | BIT(14) /* MCA */ | \
	BIT(15) /* CMOV */ | BIT(16) /* PAT */ | BIT(17) /* PSE36 */ | BIT(19) /* CLFSH */ | \
	BIT(23) /* MMX */ | BIT(24) /* FXSR */ | BIT(25) /* SSE */ | BIT(26) /* SSE2 */)
#define F1_EDX_APIC BIT(9)  /* follows APIC_BASE */
#define F1_EDX_HTT  BIT(28) /* more than one logical processor */

#define F7_EBX ( \
	BIT(0)  /* FSGSBASE */ | BIT(3)  /* BMI1 */ | BIT(5)  /* AVX2 */ | BIT(6)  /* FDP_EXCPTN_ONLY */ | \
	BIT(7)  /* SMEP */ | BIT(8)  /* BMI2 */ | BIT(9)  /* ERMS */ | BIT(10) /* INVPCID */ | \
	BIT(13) /* ZERO_FCS_FDS */ | BIT(16) /* AVX512F */ | BIT(17) /* AVX512DQ */ | BIT(18) /* RDSEED */ | \
	BIT(19) /* ADX */ | BIT(20) /* SMAP */ | BIT(21) /* AVX512_IFMA */ | BIT(23) /* CLFLUSHOPT */ | \
	BIT(24) /* CLWB */ | BIT(28) /* AVX512CD */ | BIT(29) /* SHA */ | BIT(30) /* AVX512BW */ | \
	BIT(31) /* AVX512VL */)
#define F7_ECX ( \
	BIT(1)  /* AVX512_VBMI */ | BIT(2)  /* UMIP */ | BIT(3)  /* PKU */ | BIT(6)  /* AVX512_VBMI2 */ | \
	BIT(8)  /* GFNI */ | BIT(9)  /* VAES */ | BIT(10) /* VPCLMULQDQ */ | BIT(11) /* AVX512_VNNI */ | \
	BIT(12) /* AVX512_BITALG */ | BIT(14) /* AVX512_VPOPCNTDQ */ | BIT(22) /* RDPID */)
#define F7_ECX_OSPKE BIT(4) /* follows CR4 */
#define F7_EDX (BIT(4) /* FSRM */ | BIT(8) /* AVX512_VP2INTERSECT */)
#define F7_1_EAX (BIT(4) /* AVX_VNNI */ | BIT(5) /* AVX512_BF16 */)

#define XCR0_X87    BIT(0)
#define XCR0_SSE    BIT(1)
#define XCR0_AVX    BIT(2)
#define XCR0_AVX512 (BIT(5) | BIT(6) | BIT(7))
#define XCR0_PKRU   BIT(9)
#define FD_1_EAX (BIT(0) /* XSAVEOPT */ | BIT(1) /* XSAVEC */ | BIT(2) /* XGETBV1 */) /* not XSAVES: XSS */

#define F81_ECX ( \
	BIT(0)  /* LAHF64 */ | BIT(4)  /* CR8 by LOCK MOV CR0 */ | BIT(5)  /* ABM */ | BIT(6)  /* SSE4A */ | \
	BIT(7)  /* misaligned SSE */ | BIT(8)  /* PREFETCHW */ | BIT(11) /* XOP */ | BIT(16) /* FMA4 */ | \
	BIT(21) /* TBM */)
#define F81_EDX ( \
	(F1_EDX & 0x0183f3ffu) | BIT(11) /* SYSCALL */ | BIT(20) /* NX */ | BIT(22) /* MMXEXT */ | \
	BIT(25) /* FFXSR */ | BIT(26) /* 1G pages */ | BIT(27) /* RDTSCP */ | BIT(29) /* LM */ | \
	BIT(30) /* 3DNow+ */ | BIT(31) /* 3DNow */)
#define F87_EDX BIT(8) /* invariant TSC */
#define F88_EBX (BIT(0) /* CLZERO */ | BIT(2) /* XSAVEERPTR */ | BIT(9) /* WBNOINVD */)
/* clang-format on */

/* The host's answers to the leaves that decide about control registers, read once. */
static struct {
	struct cpuid l1, l7, x1, x8;
	uint64_t xcr0;
	uint64_t cr4, efer;
} host;

static uint64_t cr4_bits(void)
{
	uint32_t c = host.l1.ecx, d = host.l1.edx, b7 = host.l7.ebx, c7 = host.l7.ecx;
	uint64_t bits = CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_PCE | CR4_TSD;

	bits |= d & BIT(1) ? CR4_VME | CR4_PVI : 0;
	bits |= d & BIT(2) ? CR4_DE : 0;
	bits |= d & BIT(3) ? CR4_PSE : 0;
	bits |= d & BIT(6) ? CR4_PAE : 0;
	bits |= d & BIT(13) ? CR4_PGE : 0;
	bits |= c & BIT(17) ? CR4_PCIDE : 0;
	bits |= c & BIT(26) ? CR4_OSXSAVE : 0;
	bits |= b7 & BIT(0) ? CR4_FSGSBASE : 0;
	bits |= b7 & BIT(7) ? CR4_SMEP : 0;
	bits |= b7 & BIT(20) ? CR4_SMAP : 0;
	bits |= c7 & BIT(2) ? CR4_UMIP : 0;
	bits |= c7 & BIT(3) ? CR4_PKE : 0;
	return bits;
}

void guest_cpuid_init(void)
{
	uint32_t d1 = 0;

	host.l1 = cpuid(1);
	host.l1.ecx &= (uint32_t)F1_ECX;
	host.l1.edx &= (uint32_t)F1_EDX;
	host.l7 = cpuid_checked(7, 0);
	host.l7.ebx &= (uint32_t)F7_EBX;
	host.l7.ecx &= (uint32_t)F7_ECX;
	host.l7.edx &= (uint32_t)F7_EDX;
	host.x1 = cpuid_checked(0x80000001u, 0);
	host.x1.ecx &= (uint32_t)F81_ECX;
	d1 = host.x1.edx &= (uint32_t)F81_EDX;
	host.x8 = cpuid_checked(0x80000008u, 0);
	if (host.l1.ecx & BIT(26)) {
		struct cpuid d = cpuid_checked(0xd, 0);
		uint64_t have = (uint64_t)d.edx << 32 | d.eax;

		host.xcr0 = have & (XCR0_X87 | XCR0_SSE | XCR0_AVX);
		if ((have & XCR0_AVX512) == XCR0_AVX512 && (have & XCR0_AVX))
			host.xcr0 |= XCR0_AVX512;
		if (host.l7.ecx & BIT(3))
			host.xcr0 |= have & XCR0_PKRU;
	}
	host.cr4 = cr4_bits();
	host.efer = EFER_SCE | EFER_LME | EFER_LMA;
	host.efer |= d1 & BIT(20) ? EFER_NXE : 0;
	host.efer |= d1 & BIT(25) ? EFER_FFXSR : 0;
}

uint64_t guest_cr4_mask(void)
{
	return host.cr4;
}

uint64_t guest_efer_mask(void)
{
	return host.efer;
}

uint64_t guest_xcr0_mask(void)
{
	return host.xcr0;
}

unsigned guest_phys_bits(void)
{
	unsigned bits = host.x8.eax & 0xff;

	return bits >= 36 && bits <= 52 ? bits : 36;
}

/* Bits that follow the vCPU's own state rather than the processor. */
static struct cpuid leaf_features(const struct vcpu_arch *a)
{
	struct cpuid r = host.l1;
	uint32_t id = a->vcpu->id, nr = a->vcpu->vm->nr_vcpus;

	r.ecx |= (uint32_t)(F1_ECX_X2APIC | F1_ECX_TSC_DEADLINE | F1_ECX_HYPERVISOR);
	if (a->cr4 & CR4_OSXSAVE)
		r.ecx |= (uint32_t)F1_ECX_OSXSAVE;
	if (lapic_enabled(pc_lapic(a->vcpu)))
		r.edx |= (uint32_t)F1_EDX_APIC;
	if (nr > 1)
		r.edx |= (uint32_t)F1_EDX_HTT;
	r.ebx = (r.ebx & 0x0000ffffu) | (nr & 0xff) << 16 | id << 24;
	return r;
}

static struct cpuid leaf_structured(const struct vcpu_arch *a, uint32_t subleaf)
{
	struct cpuid r = {0};

	if (subleaf == 0) {
		r = host.l7;
		r.eax = 1;
		if (a->cr4 & CR4_PKE)
			r.ecx |= (uint32_t)F7_ECX_OSPKE;
	} else if (subleaf == 1) {
		r.eax = cpuid_checked(7, 1).eax & (uint32_t)F7_1_EAX;
	}
	return r;
}

/*
 * XSAVE sizes. The processor computes EBX of subleaf 0 from XCR0, which is the guest's while one of
 * its vCPUs is loaded. Components that the guest cannot enable read as absent.
 */
static struct cpuid leaf_xsave(uint32_t subleaf)
{
	struct cpuid r = cpuid_checked(0xd, subleaf);
	uint32_t size = 576; /* legacy region and header */

	if (!host.xcr0)
		return (struct cpuid){0};
	if (subleaf == 0) {
		for (unsigned i = 2; i < 63; i++) {
			struct cpuid c;

			if (!(host.xcr0 & BIT(i)))
				continue;
			c = cpuid_count(0xd, i);
			size = c.ebx + c.eax > size ? c.ebx + c.eax : size;
		}
		r.eax = (uint32_t)host.xcr0;
		r.edx = (uint32_t)(host.xcr0 >> 32);
		r.ecx = size;
		return r;
	}
	if (subleaf == 1) /* EBX: size of the compacted format for XCR0; XSS is always 0 */
		return (struct cpuid){.eax = r.eax & (uint32_t)FD_1_EAX, .ebx = r.ebx};
	if (subleaf >= 63 || !(host.xcr0 & BIT(subleaf)))
		return (struct cpuid){0};
	return r;
}

/* One thread per core, all vCPUs in one package: Intel's leaf 0Bh, which Linux reads on AMD as
 * well. */
static struct cpuid leaf_topology(const struct vcpu_arch *a, uint32_t subleaf)
{
	uint32_t nr = a->vcpu->vm->nr_vcpus, shift = 0;
	struct cpuid r = {.ecx = subleaf, .edx = a->vcpu->id};

	while (1u << shift < nr)
		shift++;
	if (subleaf == 0) {
		r.ebx = 1;
		r.ecx |= 1 << 8; /* level type: thread */
	} else if (subleaf == 1) {
		r.eax = shift;
		r.ebx = nr;
		r.ecx |= 2 << 8; /* level type: core */
	}
	return r;
}

static struct cpuid leaf_paravirtual(uint32_t leaf)
{
	static const char kvm[12] = {'K', 'V', 'M', 'K', 'V', 'M', 'K', 'V', 'M'};
	static const char sluice[12] = {'S', 'l', 'u', 'i', 'c', 'e', 'S', 'l', 'u', 'i', 'c', 'e'};
	struct cpuid r = {0};

	if (leaf == LEAF_KVM || leaf == LEAF_SLUICE) {
		const char *name = leaf == LEAF_KVM ? kvm : sluice;

		r.eax = leaf == LEAF_KVM ? LEAF_KVM_FEAT : LEAF_SLUICE;
		__builtin_memcpy(&r.ebx, name, 4);
		__builtin_memcpy(&r.ecx, name + 4, 4);
		__builtin_memcpy(&r.edx, name + 8, 4);
	} else if (leaf == LEAF_KVM_FEAT) {
		r.eax = (uint32_t)(KVM_CLOCKSOURCE | KVM_NOP_IO_DELAY | KVM_CLOCKSOURCE2 |
				   KVM_CLOCKSOURCE_STABLE);
	}
	return r;
}

static struct cpuid leaf_basic(const struct vcpu_arch *a, uint32_t leaf, uint32_t subleaf)
{
	struct cpuid r;

	switch (leaf) {
	case 0:
		r = cpuid(0);
		r.eax = r.eax > 0xd ? 0xd : r.eax;
		return r;
	case 1:
		return leaf_features(a);
	case 2:
		return cpuid_checked(2, 0); /* cache descriptors (Intel) */
	case 4:				    /* caches (Intel): shared by one core */
		r = cpuid_checked(4, subleaf);
		r.eax &= 0x3fffu;
		return r;
	case 7:
		return leaf_structured(a, subleaf);
	case 0xb:
		return leaf_topology(a, subleaf);
	case 0xd:
		return leaf_xsave(subleaf);
	default: /* 5 MWAIT, 6 thermal, 0Ah performance counters, ...: absent */
		return (struct cpuid){0};
	}
}

static struct cpuid leaf_extended(const struct vcpu_arch *a, uint32_t leaf)
{
	uint32_t nr = a->vcpu->vm->nr_vcpus;
	struct cpuid r;

	switch (leaf) {
	case 0x80000000u:
		r = cpuid(leaf);
		r.eax = r.eax > 0x80000008u ? 0x80000008u : r.eax;
		return r;
	case 0x80000001u:
		r = cpuid_checked(leaf, 0);
		r.ecx = host.x1.ecx;
		r.edx = host.x1.edx;
		if (lapic_enabled(pc_lapic(a->vcpu)))
			r.edx |= (uint32_t)F1_EDX_APIC;
		return r;
	case 0x80000002u: /* processor name */
	case 0x80000003u:
	case 0x80000004u:
	case 0x80000005u: /* L1 */
	case 0x80000006u: /* L2, L3 */
		return cpuid_checked(leaf, 0);
	case 0x80000007u:
		return (struct cpuid){.edx = cpuid_checked(leaf, 0).edx & (uint32_t)F87_EDX};
	case 0x80000008u:
		r = host.x8;
		r.eax = 48u << 8 | guest_phys_bits(); /* four-level paging: LA57 is not offered */
		r.ebx &= (uint32_t)F88_EBX;
		r.ecx = nr - 1;
		r.edx = 0;
		return r;
	default:
		return (struct cpuid){0};
	}
}

struct cpuid guest_cpuid(const struct vcpu_arch *a, uint32_t leaf, uint32_t subleaf)
{
	if (leaf >= 0x80000000u)
		return leaf_extended(a, leaf);
	if (leaf >= LEAF_KVM)
		return leaf_paravirtual(leaf);
	return leaf_basic(a, leaf, subleaf);
}

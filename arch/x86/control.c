/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest writes to CR0, CR4, EFER and XCR0: which values are legal, and what follows from them.
 * Rules: AMD APM vol 2, 3.1.1, 3.1.3, 3.1.7 and 14.6; Intel SDM vol 3, 2.5 and 4.1.2; XCR0: SDM vol
 * 1, 13.3.
 *
 * On hardware these writes flush the guest's own translations; done by us they do not (the VMCB has
 * new values, the TLB knows nothing of it), so every change that matters moves the vCPU's run
 * sequence.
 */
#include "arch/x86/cpu.h"
#include "arch/x86/vcpu.h"

#include "tlbi/tags.h"
#include "vm/vcpu.h"

#define CR0_DEFINED                                                                                \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | \
	 CR0_PG)
#define CR0_TRANSLATION (CR0_PG | CR0_WP | CR0_PE)
#define CR4_TRANSLATION                                                                            \
	(CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_PKE | CR4_LA57)

static void changed(struct vcpu_arch *a, bool translation)
{
	virt->write_control(a);
	if (translation)
		tlbi_vcpu_paging_changed(&a->vcpu->tlb);
}

static bool code_segment_is_long(const struct vcpu_arch *a)
{
	struct emu_cpu cpu;

	virt->read_state(a, &cpu);
	return cpu.seg[SEG_CS].attr & BIT(9);
}

/* Switching paging on or off is switching long mode on or off when EFER.LME is set. */
static bool paging_switch_legal(const struct vcpu_arch *a, bool on)
{
	if (on && a->efer & EFER_LME)
		return a->cr4 & CR4_PAE && !code_segment_is_long(a);
	if (!on && a->efer & EFER_LMA)
		return !(a->cr4 & CR4_PCIDE) && !code_segment_is_long(a);
	return true;
}

bool control_write_cr0(struct vcpu_arch *a, uint64_t value)
{
	uint64_t old = a->cr0;

	if (value >> 32)
		return false;
	value = (value & CR0_DEFINED) | CR0_ET; /* other bits are ignored */
	if ((value & CR0_PG && !(value & CR0_PE)) || (value & CR0_NW && !(value & CR0_CD)))
		return false;
	if ((value ^ old) & CR0_PG) {
		if (!paging_switch_legal(a, value & CR0_PG))
			return false;
		if (value & CR0_PG && a->efer & EFER_LME)
			a->efer |= EFER_LMA;
		else
			a->efer &= ~EFER_LMA;
	}
	a->cr0 = value;
	changed(a, (value ^ old) & CR0_TRANSLATION);
	return true;
}

bool control_write_cr4(struct vcpu_arch *a, uint64_t value)
{
	uint64_t old = a->cr4;
	struct emu_cpu cpu;

	if (value & ~guest_cr4_mask())
		return false;
	if (a->efer & EFER_LMA && !(value & CR4_PAE))
		return false;
	if (value & CR4_PCIDE && !(old & CR4_PCIDE)) {
		virt->read_state(a, &cpu);
		if (!(a->efer & EFER_LMA) || cpu.paging.cr3 & 0xfff)
			return false;
	}
	a->cr4 = value;
	changed(a, (value ^ old) & CR4_TRANSLATION);
	return true;
}

bool control_write_efer(struct vcpu_arch *a, uint64_t value)
{
	uint64_t old = a->efer;

	if (value & ~guest_efer_mask())
		return false;
	value = (value & ~EFER_LMA) | (old & EFER_LMA); /* LMA is hardware's: writes are ignored */
	if ((value ^ old) & EFER_LME && a->cr0 & CR0_PG)
		return false;
	a->efer = value;
	changed(a, (value ^ old) & (EFER_NXE | EFER_LME));
	return true;
}

bool control_write_xcr0(struct vcpu_arch *a, uint64_t value)
{
	uint64_t avx512 = BIT(5) | BIT(6) | BIT(7);

	if (!(value & BIT(0)) || value & ~guest_xcr0_mask())
		return false;
	if (value & BIT(2) && !(value & BIT(1))) /* AVX needs SSE */
		return false;
	if (value & avx512 && ((value & avx512) != avx512 || !(value & BIT(2))))
		return false;
	fpu_set_xcr0(a, value);
	return true;
}

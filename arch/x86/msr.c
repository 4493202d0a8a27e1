/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The MSRs a guest may read and write, by name; every other raises #GP. None of these touches the
 * machine's own MSR of the same number, save TSC_AUX, which is switched with the vCPU.
 * Numbers and meanings: AMD APM vol 2 appendix A, AMD BKDG/PPR for C001xxxx, Intel SDM vol 4.
 */
#include "arch/x86/cpu.h"
#include "arch/x86/vcpu.h"

#include "lib/errno.h"
#include "lib/string.h"
#include "vm/dev/lapic.h"
#include "vm/vcpu.h"
#include "vm/x86/pc.h"

#define MSR_BIOS_SIGN_ID     0x8bu
#define MSR_MISC_ENABLE	     0x1a0u
#define MSR_LAST_BRANCH_FROM 0x1dbu /* ..1deh: last branch and last exception, from and to */
#define MSR_LAST_INT_TO	     0x1deu
#define MSR_MTRR_VAR	     0x200u
#define MSR_SYSCFG	     0xc0010010u
#define MSR_HWCR	     0xc0010015u
#define MSR_NB_CFG	     0xc001001fu
#define MSR_INT_PENDING	     0xc0010055u
#define MSR_LS_CFG	     0xc0011020u
#define MSR_IC_CFG	     0xc0011021u
#define MSR_DC_CFG	     0xc0011022u
#define MSR_DE_CFG	     0xc0011029u
#define MSR_BU_CFG2	     0xc001102au

#define HWCR_TSC_FREQ_SEL BIT(24) /* the TSC counts at a constant rate */
#define DE_CFG_LFENCE_SER BIT(1)  /* LFENCE serialises dispatch */
#define MISC_FAST_STRINGS BIT(0)
#define MTRR_CAP_VALUE	  (MTRR_VARIABLE | BIT(8) /* fixed */ | BIT(10) /* WC */)
#define MTRR_DEF_RESET	  (BIT(11) | 6) /* on, everything write-back: what firmware leaves */

/* Numbers of the fixed-range MTRRs (APM vol 2, 7.7.2), in the order of msr_values.mtrr_fix. */
static const uint16_t mtrr_fixed[MTRR_FIXED] = {
	0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f,
};

void guest_msr_reset(struct vcpu_arch *a)
{
	memset(&a->msr, 0, sizeof(a->msr));
	a->msr.pat = PAT_VALUE;
	a->msr.mtrr_def = MTRR_DEF_RESET;
	a->msr.hwcr = HWCR_TSC_FREQ_SEL;
	for (unsigned i = 0; i < MTRR_FIXED; i++)
		a->msr.mtrr_fix[i] = 0x0606060606060606ULL;
}

/* UC, WC, WT, WP, WB; PAT also has UC-. */
static bool memory_type_valid(uint8_t type, bool pat)
{
	return type <= 7 && type != 2 && type != 3 && (pat || type != 7);
}

static bool all_types_valid(uint64_t value, bool pat)
{
	for (unsigned i = 0; i < 8; i++)
		if (!memory_type_valid((uint8_t)(value >> i * 8), pat))
			return false;
	return true;
}

/* The stored value of an MTRR or PAT, NULL when `index` is neither. */
static uint64_t *memory_type_register(struct vcpu_arch *a, uint32_t index)
{
	if (index == MSR_PAT)
		return &a->msr.pat;
	if (index == MSR_MTRR_DEF_TYPE)
		return &a->msr.mtrr_def;
	if (index - MSR_MTRR_VAR < 2 * MTRR_VARIABLE)
		return &a->msr.mtrr_var[index - MSR_MTRR_VAR];
	for (unsigned i = 0; i < MTRR_FIXED; i++)
		if (index == mtrr_fixed[i])
			return &a->msr.mtrr_fix[i];
	return NULL;
}

/*
 * MTRRs are kept for the guest to read back and do nothing: RAM is write-back by the nested tables'
 * PAT, devices are emulated.
 */
static int memory_type_write(struct vcpu_arch *a, uint32_t index, uint64_t value)
{
	uint64_t address_mask = (BIT(guest_phys_bits()) - 1) & ~0xfffULL;
	bool ok;

	if (index == MSR_PAT)
		ok = all_types_valid(value, true);
	else if (index == MSR_MTRR_DEF_TYPE)
		ok = !(value & ~0xcffULL) && memory_type_valid((uint8_t)value, false);
	else if (index - MSR_MTRR_VAR >= 2 * MTRR_VARIABLE)
		ok = all_types_valid(value, false);
	else if (index & 1) /* mask */
		ok = !(value & ~(address_mask | BIT(11)));
	else
		ok = !(value & ~(address_mask | 0xff)) && memory_type_valid((uint8_t)value, false);
	if (!ok)
		return -EINVAL;
	*memory_type_register(a, index) = value;
	if (index == MSR_PAT)
		virt->write_control(a);
	return 0;
}

/* Chipset and errata registers that kernels for AMD processors read without being asked to. */
static int amd_read(const struct vcpu_arch *a, uint32_t index, uint64_t *value)
{
	switch (index) {
	case MSR_HWCR:
		*value = a->msr.hwcr;
		return 0;
	case MSR_DE_CFG:
		*value = DE_CFG_LFENCE_SER;
		return 0;
	case MSR_SYSCFG:
	case MSR_NB_CFG:
	case MSR_INT_PENDING:
	case MSR_LS_CFG:
	case MSR_IC_CFG:
	case MSR_DC_CFG:
	case MSR_BU_CFG2:
		*value = 0;
		return 0;
	default:
		return -EINVAL;
	}
}

int guest_rdmsr(struct vcpu_arch *a, uint32_t index, uint64_t *value)
{
	uint64_t *type = memory_type_register(a, index);

	if (lapic_msr_mine(index))
		return lapic_msr_read(pc_lapic(a->vcpu), index, value);
	if (type) {
		*value = *type;
		return 0;
	}
	switch (index) {
	case MSR_TSC:
		*value = guest_tsc(a);
		return 0;
	case MSR_EFER:
		*value = a->efer;
		return 0;
	case MSR_TSC_AUX:
		*value = a->msr.tsc_aux;
		return 0;
	case MSR_MTRR_CAP:
		*value = MTRR_CAP_VALUE;
		return 0;
	case MSR_MISC_ENABLE:
		*value = MISC_FAST_STRINGS;
		return 0;
	case MSR_DEBUGCTL:
		*value = a->msr.debugctl;
		return 0;
	case MSR_BIOS_SIGN_ID: /* microcode revision: unknown */
	case MSR_MCG_CAP:      /* no machine check banks */
	case MSR_MCG_STATUS:
		*value = 0;
		return 0;
	case MSR_KVM_SYSTEM_TIME_OLD:
	case MSR_KVM_SYSTEM_TIME:
		*value = a->msr.kvm_system_time;
		return 0;
	case MSR_KVM_WALL_CLOCK_OLD:
	case MSR_KVM_WALL_CLOCK:
		*value = a->msr.kvm_wall_clock;
		return 0;
	default:
		if (index - MSR_LAST_BRANCH_FROM <= MSR_LAST_INT_TO - MSR_LAST_BRANCH_FROM) {
			*value = 0;
			return 0;
		}
		return amd_read(a, index, value);
	}
}

/* What was reckoned with the old TSC: the paravirtual clock and the LAPIC's deadline. */
static void write_tsc(struct vcpu_arch *a, uint64_t value)
{
	a->tsc_offset = value - rdtsc();
	virt->write_tsc_offset(a);
	kvmclock_refresh(a);
	lapic_resume(pc_lapic(a->vcpu));
}

static int write_tsc_aux(struct vcpu_arch *a, uint64_t value)
{
	if (value >> 32 || !(guest_cpuid(a, 0x80000001u, 0).edx & BIT(27)))
		return -EINVAL;
	a->msr.tsc_aux = value;
	wrmsr(MSR_TSC_AUX, value);
	return 0;
}

int guest_wrmsr(struct vcpu_arch *a, uint32_t index, uint64_t value)
{
	if (lapic_msr_mine(index))
		return lapic_msr_write(pc_lapic(a->vcpu), index, value);
	if (memory_type_register(a, index))
		return memory_type_write(a, index, value);
	switch (index) {
	case MSR_TSC:
		write_tsc(a, value);
		return 0;
	case MSR_EFER:
		return control_write_efer(a, value) ? 0 : -EINVAL;
	case MSR_TSC_AUX:
		return write_tsc_aux(a, value);
	case MSR_DEBUGCTL: /* last-branch recording is not offered; the bits read back as 0 */
		return value & ~0x7fULL ? -EINVAL : 0;
	case MSR_BIOS_SIGN_ID:
	case MSR_MISC_ENABLE:
	case MSR_MCG_STATUS:
		return 0; /* writes are ignored */
	case MSR_HWCR:
		if (value >> 32)
			return -EINVAL;
		a->msr.hwcr = value | HWCR_TSC_FREQ_SEL;
		return 0;
	case MSR_KVM_SYSTEM_TIME_OLD:
	case MSR_KVM_SYSTEM_TIME:
	case MSR_KVM_WALL_CLOCK_OLD:
	case MSR_KVM_WALL_CLOCK:
		return kvmclock_write(a, index, value);
	case MSR_SYSCFG:
	case MSR_NB_CFG:
	case MSR_INT_PENDING:
	case MSR_LS_CFG:
	case MSR_IC_CFG:
	case MSR_DC_CFG:
	case MSR_DE_CFG:
	case MSR_BU_CFG2:
		return 0; /* errata switches of a processor that is not the guest's */
	default:
		return -EINVAL;
	}
}

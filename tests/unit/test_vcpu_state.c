/* SPDX-License-Identifier: BSD-2-Clause */
// links: arch/x86/control.c arch/x86/msr.c arch/x86/kvmclock.c vm/clock.c lib/string.c
/*
 * Guest writes to CR0, CR4, EFER, XCR0 and MSRs: which are legal, what follows, and that a refused
 * one changes nothing. Fakes stand for the extension, CPUID, the local APIC and the machine.
 */
#include "arch/machine.h"
#include "arch/x86/cpu.h"
#include "arch/x86/vcpu.h"
#include "lib/errno.h"
#include "lib/util.h"
#include "tests/host/guestmem_flat.h"
#include "tests/tap.h"
#include "vm/dev/lapic.h"
#include "vm/guestmem.h"
#include "vm/vcpu.h"
#include "vm/vm.h"
#include "vm/x86/pc.h"

#define CR4_OFFERED                                                                                \
	(CR4_PAE | CR4_PGE | CR4_PSE | CR4_MCE | CR4_OSXSAVE | CR4_PCIDE | CR4_SMEP | CR4_FSGSBASE)
#define PHYS_BITS 40
#define HWCR	  0xc0010015u
#define RECORD	  0x2000ULL

static struct vm vm;
static struct vcpu vcpu;
static struct vcpu_arch a;
static struct vcpu_arch before;
static uint64_t now_ns, cr3;
static bool long_code;
static unsigned controls_written, paging_changes, timers_updated;

/* --- fakes --- */

static void fake_read_state(const struct vcpu_arch *v, struct emu_cpu *cpu)
{
	*cpu = (struct emu_cpu){0};
	cpu->seg[SEG_CS].attr = long_code ? BIT(9) : 0;
	cpu->paging.cr3 = cr3;
	cpu->paging.cr0 = v->cr0;
}

static void fake_write_control(struct vcpu_arch *v)
{
	(void)v;
	controls_written++;
}

static void fake_write_tsc_offset(struct vcpu_arch *v)
{
	(void)v;
}

static const struct virt_ops ops = {.read_state = fake_read_state,
				    .write_control = fake_write_control,
				    .write_tsc_offset = fake_write_tsc_offset};
const struct virt_ops *virt = &ops;

uint64_t guest_cr4_mask(void)
{
	return CR4_OFFERED;
}

uint64_t guest_efer_mask(void)
{
	return EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
}

uint64_t guest_xcr0_mask(void)
{
	return 0x2e7;
}

unsigned guest_phys_bits(void)
{
	return PHYS_BITS;
}

struct cpuid guest_cpuid(const struct vcpu_arch *v, uint32_t leaf, uint32_t subleaf)
{
	(void)v, (void)leaf, (void)subleaf;
	return (struct cpuid){0}; /* no RDTSCP: TSC_AUX cannot be written from here */
}

void fpu_set_xcr0(struct vcpu_arch *v, uint64_t value)
{
	v->xcr0 = value;
}

void tlbi_vcpu_paging_changed(struct tlbi_vcpu *v)
{
	(void)v;
	paging_changes++;
}

struct lapic *pc_lapic(struct vcpu *v)
{
	(void)v;
	return NULL;
}

bool lapic_msr_mine(uint32_t msr)
{
	return msr == 0x1b || msr == MSR_TSC_DEADLINE || msr - 0x800 < 0x100;
}

int lapic_msr_read(struct lapic *apic, uint32_t msr, uint64_t *value)
{
	(void)apic;
	*value = msr;
	return 0;
}

int lapic_msr_write(struct lapic *apic, uint32_t msr, uint64_t value)
{
	(void)apic, (void)msr, (void)value;
	return 0;
}

void lapic_resume(struct lapic *apic)
{
	(void)apic;
	timers_updated++;
}

uint64_t machine_now(void)
{
	return now_ns;
}

uint64_t machine_wallclock(void)
{
	return 1000000000ULL * 1000 + now_ns;
}

const struct machine_info *machine_info(void)
{
	static const struct machine_info info = {.tsc_hz = 1000000000ULL};

	return &info;
}

/* --- helpers --- */

static void start(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	a = (struct vcpu_arch){.vcpu = &vcpu, .cr0 = cr0, .cr4 = cr4, .efer = efer, .xcr0 = 1};
	guest_msr_reset(&a);
	vcpu.vm = &vm;
	vcpu.arch = &a;
	vm.vcpus[0] = &vcpu;
	before = a;
	long_code = false;
	cr3 = 0;
	controls_written = paging_changes = 0;
}

static void protected_mode(void)
{
	start(CR0_PE | CR0_ET | CR0_NE, 0, 0);
}

static void long_mode(void)
{
	start(CR0_PE | CR0_ET | CR0_NE | CR0_PG | CR0_WP, CR4_PAE, EFER_LME | EFER_LMA);
	long_code = true;
}

static void refused(bool legal, const char *what)
{
	ok(!legal && memcmp(&a, &before, sizeof(a)) == 0 && !controls_written && !paging_changes,
	   "refused, nothing changed: %s", what);
}

static void accepted(bool legal, bool translation, const char *what)
{
	ok(legal && controls_written == 1 && paging_changes == translation, "accepted: %s", what);
}

/* --- CR0 --- */

static void test_cr0(void)
{
	protected_mode();
	refused(control_write_cr0(&a, CR0_PG), "CR0.PG without PE");
	refused(control_write_cr0(&a, CR0_PE | CR0_NW), "CR0.NW without CD");
	refused(control_write_cr0(&a, CR0_PE | BIT(32)), "CR0 bit 32");
	refused(control_write_cr0(&a, CR0_PE | BIT(63)), "CR0 bit 63");
	accepted(control_write_cr0(&a, CR0_PE | CR0_CD | CR0_NW), false, "CR0.CD and NW");
	is_u64(a.cr0, CR0_PE | CR0_CD | CR0_NW | CR0_ET, "ET stays, CD and NW are the guest's");
	protected_mode();
	accepted(control_write_cr0(&a, CR0_PE | 0x1fa2ffc0ULL), false, "undefined bits of CR0");
	is_u64(a.cr0, CR0_PE | CR0_ET, "they are ignored");
	protected_mode();
	accepted(control_write_cr0(&a, a.cr0 | CR0_PG), true, "32-bit paging");
	is_u64(a.efer, 0, "which is not long mode");
	protected_mode();
	accepted(control_write_cr0(&a, a.cr0 | CR0_WP), true, "CR0.WP");
	protected_mode();
	accepted(control_write_cr0(&a, a.cr0 | CR0_TS), false, "CR0.TS flushes nothing");
}

static void test_long_mode_switch(void)
{
	protected_mode();
	before.efer = a.efer = EFER_LME;
	refused(control_write_cr0(&a, a.cr0 | CR0_PG), "long mode without PAE");
	before.cr4 = a.cr4 = CR4_PAE;
	long_code = true;
	refused(control_write_cr0(&a, a.cr0 | CR0_PG), "long mode with CS.L");
	long_code = false;
	accepted(control_write_cr0(&a, a.cr0 | CR0_PG), true, "long mode");
	is_u64(a.efer, EFER_LME | EFER_LMA, "LMA follows");

	long_mode();
	refused(control_write_cr0(&a, a.cr0 & ~CR0_PG), "paging off in 64-bit mode");
	refused(control_write_cr0(&a, a.cr0 & ~CR0_PE), "PE off with paging on");
	long_code = false;
	before.cr4 = a.cr4 = CR4_PAE | CR4_PCIDE;
	refused(control_write_cr0(&a, a.cr0 & ~CR0_PG), "paging off with PCIDE");
	before.cr4 = a.cr4 = CR4_PAE;
	accepted(control_write_cr0(&a, a.cr0 & ~CR0_PG), true, "paging off in compatibility mode");
	is_u64(a.efer, EFER_LME, "LMA goes, LME stays");
}

/* --- CR4, EFER, XCR0 --- */

static void test_cr4(void)
{
	for (unsigned bit = 0; bit < 64; bit++) {
		protected_mode();
		if (!(CR4_OFFERED & BIT(bit)))
			refused(control_write_cr4(&a, BIT(bit)), "CR4 bit that is not offered");
	}
	protected_mode();
	refused(control_write_cr4(&a, CR4_PCIDE), "PCIDE outside long mode");
	accepted(control_write_cr4(&a, CR4_PAE), true, "CR4.PAE");
	long_mode();
	refused(control_write_cr4(&a, 0), "PAE off in long mode");
	cr3 = 0x1005;
	refused(control_write_cr4(&a, CR4_PAE | CR4_PCIDE), "PCIDE with a PCID in CR3");
	cr3 = 0x1000;
	accepted(control_write_cr4(&a, CR4_PAE | CR4_PCIDE), true, "PCIDE");
	cr3 = 0x1005;
	controls_written = paging_changes = 0;
	accepted(control_write_cr4(&a, CR4_PAE | CR4_PCIDE | CR4_SMEP), true, "SMEP, PCIDE on");
	controls_written = paging_changes = 0;
	accepted(control_write_cr4(&a, CR4_PAE), true, "PCIDE and SMEP off");
	long_mode();
	accepted(control_write_cr4(&a, CR4_PAE | CR4_OSXSAVE | CR4_FSGSBASE | CR4_MCE), false,
		 "bits without a part in translation");
}

static void test_efer(void)
{
	for (unsigned bit = 0; bit < 64; bit++) {
		protected_mode();
		if (!(guest_efer_mask() & BIT(bit)))
			refused(control_write_efer(&a, BIT(bit)), "EFER bit that is not offered");
	}
	protected_mode();
	accepted(control_write_efer(&a, EFER_LMA | EFER_SCE), false, "EFER.LMA and SCE");
	is_u64(a.efer, EFER_SCE, "LMA is not written");
	long_mode();
	refused(control_write_efer(&a, 0), "LME off with paging on");
	accepted(control_write_efer(&a, EFER_LME | EFER_NXE), true, "EFER.NXE");
	is_u64(a.efer, EFER_LME | EFER_LMA | EFER_NXE, "LMA stays");
	start(CR0_PE | CR0_PG, CR4_PAE, 0);
	before = a;
	refused(control_write_efer(&a, EFER_LME), "LME on with paging on");
}

/* The rules of SDM vol 1, 13.3, over all values of the bits that are offered and some others. */
static bool xcr0_legal(uint64_t v)
{
	uint64_t avx512 = v & 0xe0;

	if ((v & ~0x2e7ULL) || !(v & 1) || ((v & 4) && !(v & 2)))
		return false;
	return avx512 == 0 || (avx512 == 0xe0 && (v & 4));
}

static void test_xcr0(void)
{
	unsigned wrong = 0;

	for (uint64_t v = 0; v < 1024; v++) {
		protected_mode();
		if (control_write_xcr0(&a, v) != xcr0_legal(v) || a.xcr0 != (xcr0_legal(v) ? v : 1))
			wrong++;
	}
	is_u64(wrong, 0, "XCR0: all values of ten bits");
	ok(!control_write_xcr0(&a, BIT(63) | 1) && !control_write_xcr0(&a, BIT(62) | 1),
	   "XCR0: high bits");
}

/* --- MSRs --- */

static void test_memory_types(void)
{
	unsigned wrong = 0;

	for (uint64_t type = 0; type < 256; type++)
		for (unsigned i = 0; i < 8; i++) {
			bool known = type <= 7 && type != 2 && type != 3;
			uint64_t others = 0x0606060606060606ULL & ~(0xffULL << i * 8);
			uint64_t v = others | type << i * 8;

			protected_mode();
			wrong += (guest_wrmsr(&a, MSR_PAT, v) == 0) != known;
			wrong += a.msr.pat != (known ? v : PAT_VALUE);
			wrong += (guest_wrmsr(&a, 0x250, v) == 0) != (known && type != 7);
		}
	is_u64(wrong, 0, "PAT and fixed MTRRs: every type in every place");
	protected_mode();
	is_u64((uint64_t)guest_wrmsr(&a, MSR_PAT, PAT_VALUE), 0, "PAT");
	is_u64(controls_written, 1, "the hardware's copy follows");
	ok(guest_wrmsr(&a, 0x200, BIT(PHYS_BITS)) && !guest_wrmsr(&a, 0x200, BIT(39) | 6),
	   "MTRR base: beyond the physical address or not");
	ok(guest_wrmsr(&a, 0x20f, BIT(PHYS_BITS)) && guest_wrmsr(&a, 0x20f, BIT(10)) &&
		   !guest_wrmsr(&a, 0x20f, BIT(39) | BIT(11)),
	   "MTRR mask: the last pair");
	ok(guest_wrmsr(&a, 0x210, 0), "there is no ninth pair");
	ok(guest_wrmsr(&a, MSR_MTRR_DEF_TYPE, BIT(8)) && guest_wrmsr(&a, MSR_MTRR_DEF_TYPE, 2) &&
		   !guest_wrmsr(&a, MSR_MTRR_DEF_TYPE, 0xc06),
	   "MTRR default type");
}

/* Whatever is refused changes nothing, and nothing can be written that cannot be read. */
static void test_sweep(void)
{
	static const uint32_t bases[] = {0, 0x40000000, 0x4b564d00, 0xc0000000, 0xc0010000};
	static const uint64_t values[] = {0, 1, BIT(32), 0x5555555500000000ULL, UINT64_MAX};
	unsigned changed = 0, silent = 0;
	uint64_t v;

	for (unsigned b = 0; b < ARRAY_SIZE(bases); b++)
		for (uint32_t msr = bases[b]; msr < bases[b] + 0x2000; msr++)
			for (unsigned i = 0; i < ARRAY_SIZE(values); i++) {
				protected_mode();
				if (guest_wrmsr(&a, msr, values[i]))
					changed += memcmp(&a, &before, sizeof(a)) != 0;
				else
					silent += guest_rdmsr(&a, msr, &v) != 0;
			}
	is_u64(changed, 0, "no refused write changes anything");
	is_u64(silent, 0, "what can be written can be read");
	protected_mode();
	ok(guest_wrmsr(&a, HWCR, BIT(32)) && a.msr.hwcr == before.msr.hwcr, "HWCR's upper half");
}

/* --- the clock --- */

static uint64_t record(unsigned at, unsigned size)
{
	uint64_t v = 0;

	memcpy(&v, guestmem_flat_at(&vm.mem, RECORD + at, size), size);
	return v;
}

static void test_clock(void)
{
	char err[100];
	uint64_t tsc, stamp;

	ok(guestmem_init(&vm.mem, err, sizeof(err)) == 0 &&
		   guestmem_add_ram(&vm.mem, ipa(0), 1 * MIB) == 0,
	   "memory");
	vclock_reset(&vm.clock);
	vclock_start(&vm.clock);
	protected_mode();
	guest_tsc_start(&a);
	now_ns = 5000;
	ok(guest_wrmsr(&a, MSR_KVM_SYSTEM_TIME, BIT(40) | 1) == -EINVAL &&
		   guest_wrmsr(&a, MSR_KVM_SYSTEM_TIME, (1 * MIB - 16) | 1) == -EINVAL &&
		   a.msr.kvm_system_time == 0,
	   "no record where there is no memory");
	is_u64((uint64_t)guest_wrmsr(&a, MSR_KVM_SYSTEM_TIME, RECORD | 1), 0, "record");
	ok(record(0, 4) % 2 == 0 && record(0, 4) != 0, "even version");
	is_u64(record(16, 8), 5000, "the VM's time");
	is_u64(record(29, 1), 1, "stable");
	/* 1 GHz: ns = (ticks << shift) * mul >> 32 */
	is_u64(record(24, 4) >> (32 - 1 - (int8_t)record(28, 1)) >> 1, 1, "one tick, one ns");

	stamp = record(0, 4);
	now_ns = 7000;
	timers_updated = 0;
	is_u64((uint64_t)guest_wrmsr(&a, MSR_TSC, 1ULL << 40), 0, "TSC");
	tsc = guest_tsc(&a);
	ok(tsc >= 1ULL << 40 && tsc < 1ULL << 41, "it goes on from there");
	ok(record(8, 8) >= 1ULL << 40 && record(8, 8) <= tsc, "the record has the new TSC");
	is_u64(record(16, 8), 7000, "for the same time");
	ok(record(0, 4) > stamp && record(0, 4) % 2 == 0, "the version has moved");
	is_u64(timers_updated, 1, "the deadline is looked at again");
	is_u64((uint64_t)guest_wrmsr(&a, MSR_KVM_WALL_CLOCK, RECORD + 2), (uint64_t)-EINVAL,
	       "a wall clock at an odd place");
}

int main(void)
{
	test_cr0();
	test_long_mode_switch();
	test_cr4();
	test_efer();
	test_xcr0();
	test_memory_types();
	test_clock();
	test_sweep();
	guestmem_destroy(&vm.mem);
	return tap_done();
}

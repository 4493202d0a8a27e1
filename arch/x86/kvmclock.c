/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's time-stamp counter and the paravirtual clock that explains it: a record in guest
 * memory from which the kernel computes the VM's time. Layout and MSRs: Linux
 * Documentation/virt/kvm/x86/msr.rst.
 *
 * The record changes only when the guest writes its TSC: one rate, one offset for all vCPUs of the
 * VM. That is what the STABLE flag promises; a guest that gives its vCPUs different TSCs has broken
 * it.
 */
#include "arch/machine.h"
#include "arch/x86/cpu.h"
#include "arch/x86/vcpu.h"

#include "lib/errno.h"
#include "vm/clock.h"
#include "vm/guestmem.h"
#include "vm/vcpu.h"
#include "vm/vm.h"

#define NS_PER_S	       1000000000ULL
#define KVM_CLOCK_ENABLED      BIT(0)
#define PVCLOCK_TSC_STABLE_BIT BIT(0)

struct pvclock_time {
	uint32_t version; /* odd while being written */
	uint32_t pad0;
	uint64_t tsc_timestamp;
	uint64_t system_time; /* ns at tsc_timestamp */
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags;
	uint8_t pad[2];
};
_Static_assert(sizeof(struct pvclock_time) == 32, "msr.rst");

struct pvclock_wall {
	uint32_t version;
	uint32_t sec, nsec; /* UTC when the VM's clock showed 0 */
};
_Static_assert(sizeof(struct pvclock_wall) == 12, "msr.rst");

uint64_t guest_tsc(const struct vcpu_arch *a)
{
	return rdtsc() + a->tsc_offset;
}

void guest_tsc_start(struct vcpu_arch *a)
{
	const struct vm *vm = a->vcpu->vm;
	const struct vcpu *first = vm->vcpus[0];

	if (a->vcpu->id != 0 && first && first->arch) {
		a->tsc_offset = first->arch->tsc_offset; /* one TSC for the whole VM */
		return;
	}
	a->tsc_offset =
		mul_div_u64(vclock_now(&vm->clock), machine_info()->tsc_hz, NS_PER_S) - rdtsc();
}

/* ns = ((delta << shift) * mul) >> 32, with mul as large as 32 bits allow; shift may be negative.
 */
static void tsc_scale(uint64_t hz, uint32_t *mul, int8_t *shift)
{
	int8_t s = 0;

	while (hz > 2 * NS_PER_S) {
		hz >>= 1;
		s--;
	}
	while (hz <= NS_PER_S) {
		hz <<= 1;
		s++;
	}
	*mul = (uint32_t)((NS_PER_S << 32) / hz);
	*shift = s;
}

/* -EFAULT when there is no memory. Whoever reads the record meanwhile sees an odd version. */
static int write_system_time(struct vcpu_arch *a, ipa_t at)
{
	struct guestmem *gm = &a->vcpu->vm->mem;
	struct pvclock_time t = {
		.tsc_timestamp = guest_tsc(a),
		.system_time = vclock_now(&a->vcpu->vm->clock),
		.flags = PVCLOCK_TSC_STABLE_BIT,
	};

	int err = guestmem_read(gm, at, &t.version, sizeof(t.version));

	t.version |= 1;
	tsc_scale(machine_info()->tsc_hz, &t.tsc_to_system_mul, &t.tsc_shift);
	if (!err)
		err = guestmem_write(gm, at, &t, sizeof(t));
	t.version++;
	return err ? err : guestmem_write(gm, at, &t.version, sizeof(t.version));
}

static int write_wall_clock(struct vcpu_arch *a, ipa_t at)
{
	uint64_t ns = machine_wallclock() - vclock_now(&a->vcpu->vm->clock);
	struct pvclock_wall w = {
		.version = 2,
		.sec = (uint32_t)(ns / NS_PER_S),
		.nsec = (uint32_t)(ns % NS_PER_S),
	};

	return guestmem_write(&a->vcpu->vm->mem, at, &w, sizeof(w));
}

int kvmclock_write(struct vcpu_arch *a, uint32_t index, uint64_t value)
{
	bool wall = index == MSR_KVM_WALL_CLOCK || index == MSR_KVM_WALL_CLOCK_OLD;
	int err = 0;

	if (wall)
		err = value & 3 ? -EINVAL : write_wall_clock(a, ipa(value));
	else if (value & KVM_CLOCK_ENABLED)
		err = write_system_time(a, ipa(value & ~3ULL));
	if (err)
		return -EINVAL; /* unaligned, or no memory there */
	*(wall ? &a->msr.kvm_wall_clock : &a->msr.kvm_system_time) = value;
	return 0;
}

void kvmclock_refresh(struct vcpu_arch *a)
{
	uint64_t value = a->msr.kvm_system_time;

	if (value & KVM_CLOCK_ENABLED)
		write_system_time(a, ipa(value & ~3ULL)); /* there was memory when it was set */
}

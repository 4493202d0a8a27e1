/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What happens at an exit, whichever extension reported it. Every handler leaves the vCPU ready for
 * the next entry: it has moved RIP past the instruction, or made an exception pending, or stopped
 * the VM.
 */
#include "arch/vcpu.h"
#include "arch/x86/cpu.h"
#include "arch/x86/vcpu.h"

#include "lib/format.h"
#include "lib/util.h"
#include "vm/dev/lapic.h"
#include "vm/guestmem.h"
#include "vm/vcpu.h"
#include "vm/vm.h"
#include "vm/x86/pc.h"

#define KVM_ENOSYS 1000 /* what KVM answers to a hypercall it does not know */

/* --- exceptions ----------------------------------------------------------------------------------
 */

void vcpu_raise(struct vcpu_arch *a, uint8_t vector)
{
	a->exception = (struct emu_fault){.vector = vector};
	a->exception_pending = true;
}

void vcpu_raise_error(struct vcpu_arch *a, uint8_t vector, uint32_t error)
{
	a->exception = (struct emu_fault){.vector = vector, .has_error = true, .error = error};
	a->exception_pending = true;
}

static void raise_gp(struct vcpu_arch *a)
{
	vcpu_raise_error(a, VEC_GP, 0);
}

void vcpu_skip(struct vcpu_arch *a, uint64_t next_rip)
{
	virt->advance(a, next_rip);
	a->rflags &= ~RFLAGS_RF;
	if (a->rflags & RFLAGS_TF)
		virt->step_trap(a);
}

/* --- instructions --------------------------------------------------------------------------------
 */

void vcpu_read_state(const struct vcpu_arch *a, struct emu_cpu *cpu)
{
	*cpu = (struct emu_cpu){0};
	virt->read_state(a, cpu);
	for (unsigned i = 0; i < GPR_COUNT; i++)
		cpu->gpr[i] = a->gpr[i];
	cpu->rip = a->rip;
	cpu->rflags = a->rflags;
	cpu->paging.windows = a->windows;
	cpu->paging.phys_bits = (uint8_t)guest_phys_bits();
	cpu->paging.amd = cpu_is_amd();
	cpu->paging.no_page_1g = !(guest_cpuid(a, 0x80000001u, 0).edx & BIT(26));
	if (a->cr4 & CR4_PKE)
		__asm__ volatile("rdpkru" : "=a"(cpu->paging.pkru) : "c"(0) : "edx");
}

unsigned vcpu_insn_length(struct vcpu_arch *a)
{
	uint8_t bytes[INSN_MAX_LENGTH];
	struct emu_cpu cpu;
	unsigned n;

	vcpu_read_state(a, &cpu);
	n = emu_fetch(&cpu, &a->vcpu->vm->mem, bytes);
	return insn_length(bytes, n, emu_mode(&cpu));
}

void exit_cpuid(struct vcpu_arch *a, uint64_t next_rip)
{
	struct cpuid r = guest_cpuid(a, (uint32_t)a->gpr[GPR_RAX], (uint32_t)a->gpr[GPR_RCX]);

	a->vcpu->exits[EXIT_CPUID]++;
	a->gpr[GPR_RAX] = r.eax;
	a->gpr[GPR_RBX] = r.ebx;
	a->gpr[GPR_RCX] = r.ecx;
	a->gpr[GPR_RDX] = r.edx;
	vcpu_skip(a, next_rip);
}

void exit_rdmsr(struct vcpu_arch *a, uint64_t next_rip)
{
	uint64_t value;

	a->vcpu->exits[EXIT_MSR_READ]++;
	if (guest_rdmsr(a, (uint32_t)a->gpr[GPR_RCX], &value)) {
		raise_gp(a);
		return;
	}
	a->gpr[GPR_RAX] = (uint32_t)value;
	a->gpr[GPR_RDX] = value >> 32;
	vcpu_skip(a, next_rip);
}

void exit_wrmsr(struct vcpu_arch *a, uint64_t next_rip)
{
	uint64_t value = a->gpr[GPR_RDX] << 32 | (uint32_t)a->gpr[GPR_RAX];

	a->vcpu->exits[EXIT_MSR_WRITE]++;
	if (guest_wrmsr(a, (uint32_t)a->gpr[GPR_RCX], value))
		raise_gp(a);
	else
		vcpu_skip(a, next_rip);
}

/* The intercept comes before the processor's own checks: ring 3 gets here, too. */
void exit_xsetbv(struct vcpu_arch *a, uint64_t next_rip)
{
	uint64_t value = a->gpr[GPR_RDX] << 32 | (uint32_t)a->gpr[GPR_RAX];
	struct emu_cpu cpu;

	a->vcpu->exits[EXIT_XSETBV]++;
	virt->read_state(a, &cpu);
	if (!(a->cr4 & CR4_OSXSAVE))
		vcpu_raise(a, VEC_UD);
	else if (cpu.cpl != 0 || (uint32_t)a->gpr[GPR_RCX] != 0 || !control_write_xcr0(a, value))
		raise_gp(a);
	else
		vcpu_skip(a, next_rip);
}

/* KVM's leaves are there for its clock; it has hypercalls, we have none. */
void exit_hypercall(struct vcpu_arch *a, uint64_t next_rip)
{
	a->vcpu->exits[EXIT_HYPERCALL]++;
	a->gpr[GPR_RAX] = (uint64_t)-KVM_ENOSYS;
	vcpu_skip(a, next_rip);
}

/* --- ports ---------------------------------------------------------------------------------------
 */

void exit_port(struct vcpu_arch *a, uint16_t port, unsigned size, bool in, uint64_t next_rip)
{
	uint64_t mask = size >= 4 ? UINT32_MAX : BIT(size * 8) - 1;
	uint64_t value;

	a->vcpu->exits[EXIT_PORT]++;
	vcpu_skip(a, next_rip);
	if (!in) {
		pc_pio_write(a->vcpu, port, size, (uint32_t)(a->gpr[GPR_RAX] & mask));
		return;
	}
	value = pc_pio_read(a->vcpu, port, size) & mask;
	if (size >= 4) /* a 32-bit result clears the upper half, smaller ones leave it */
		a->gpr[GPR_RAX] = value;
	else
		a->gpr[GPR_RAX] = (a->gpr[GPR_RAX] & ~mask) | value;
}

/* --- emulation -----------------------------------------------------------------------------------
 */

/* An instruction may touch other devices' pages as well; those are searched for. */
static uint32_t region_of(const struct vcpu_arch *a, uint64_t gpa)
{
	return align_down(gpa, PAGE_SIZE) == a->device.page ? a->device.region : GM_NO_REGION;
}

static uint64_t emu_mmio_read(void *ctx, uint64_t gpa, unsigned size)
{
	struct vcpu_arch *a = ctx;
	uint64_t value;

	/* nobody there: all ones */
	pc_region_read(a->vcpu, region_of(a, gpa), gpa, size, &value);
	return value;
}

static void emu_mmio_write(void *ctx, uint64_t gpa, unsigned size, uint64_t value)
{
	struct vcpu_arch *a = ctx;

	pc_region_write(a->vcpu, region_of(a, gpa), gpa, size, value);
}

static uint32_t emu_pio_read(void *ctx, uint16_t port, unsigned size)
{
	struct vcpu_arch *a = ctx;

	return (uint32_t)pc_pio_read(a->vcpu, port, size);
}

static void emu_pio_write(void *ctx, uint16_t port, unsigned size, uint32_t value)
{
	struct vcpu_arch *a = ctx;

	pc_pio_write(a->vcpu, port, size, value);
}

static void stop_unsupported(struct vcpu_arch *a, const struct emu_fault *f, uint64_t gpa)
{
	char bytes[3 * INSN_MAX_LENGTH + 1] = "";
	size_t used = 0;

	for (unsigned i = 0; i < f->nr_bytes; i++)
		str_append(bytes, sizeof(bytes), &used, " %02x", f->bytes[i]);
	vm_stop(a->vcpu->vm, VM_CAUSE_KILLED, 0,
		"%s: instruction%s at rip 0x%llx, device address 0x%llx",
		f->why ? f->why : "cannot emulate", bytes, (unsigned long long)a->rip,
		(unsigned long long)gpa);
}

static void take_registers(struct vcpu_arch *a, const struct emu_cpu *cpu)
{
	for (unsigned i = 0; i < GPR_COUNT; i++)
		a->gpr[i] = cpu->gpr[i];
	a->rflags = cpu->rflags;
}

/* LMSW: the low four bits of CR0, but PE can only be set (APM vol 3): no such value is illegal. */
static void lmsw(struct vcpu_arch *a, uint16_t value)
{
	uint64_t old = a->cr0;

	control_write_cr0(a, (old & ~0xfULL) | (value & 0xf) | (old & CR0_PE));
}

/* Executes the instruction at RIP in software; `gpa` is for the report. */
static void emulate_one(struct vcpu_arch *a, struct emu_cpu *cpu, uint64_t gpa)
{
	static const struct emu_ops ops = {
		.mmio_read = emu_mmio_read,
		.mmio_write = emu_mmio_write,
		.pio_read = emu_pio_read,
		.pio_write = emu_pio_write,
	};
	struct emu_fault fault = {0};

	switch (emulate(cpu, &a->vcpu->vm->mem, &ops, a, &fault)) {
	case EMU_DONE: /* RIP stays on a rep string instruction that is not finished */
		take_registers(a, cpu);
		virt->advance(a, cpu->rip);
		if (cpu->msw_loaded)
			lmsw(a, cpu->msw);
		if (cpu->step_trap)
			virt->step_trap(a);
		break;
	case EMU_FAULT:
		take_registers(a, cpu);
		a->exception = fault;
		a->exception_pending = true;
		break;
	case EMU_UNSUPPORTED:
		/* A process of the guest must not be able to end it. */
		if (cpu->cpl == 3)
			vcpu_raise(a, VEC_UD);
		else
			stop_unsupported(a, &fault, gpa);
		break;
	case EMU_RETRY:
		break;
	}
}

void exit_port_string(struct vcpu_arch *a, unsigned size)
{
	struct emu_cpu cpu;

	a->vcpu->exits[EXIT_PORT]++;
	vcpu_read_state(a, &cpu);
	cpu.io_size = (uint8_t)size;
	a->device.region = GM_NO_REGION;
	emulate_one(a, &cpu, 0);
}

static void emulate_mmio(struct vcpu_arch *a, const struct stage2_fault *f)
{
	struct emu_cpu cpu;

	vcpu_read_state(a, &cpu);
	for (unsigned i = 0; i < f->insn_len && i < INSN_MAX_LENGTH; i++)
		cpu.fetched[i] = f->insn[i];
	cpu.nr_fetched = (uint8_t)(f->insn ? f->insn_len : 0);
	cpu.hint = (struct emu_hint){
		.valid = f->final,
		.write = f->write,
		.device = a->device.region != GM_NO_REGION,
		.gpa = f->gpa,
	};
	emulate_one(a, &cpu, f->gpa);
}

void exit_stage2(struct vcpu_arch *a, const struct stage2_fault *f)
{
	struct vm *vm = a->vcpu->vm;
	unsigned access = f->fetch ? GM_EXEC : f->write ? GM_WRITE : GM_READ;

	a->device.page = align_down(f->gpa, PAGE_SIZE);
	switch (guestmem_resolve(&vm->mem, ipa(f->gpa), access, &a->device.region)) {
	case GM_RESOLVED:
	case GM_RETRY:
		a->vcpu->exits[EXIT_MEMORY]++;
		break;
	case GM_MMIO:
		a->vcpu->exits[EXIT_MMIO]++;
		if (f->fetch)
			vm_stop(vm, VM_CAUSE_KILLED, 0,
				"executes at 0x%llx, where there is no memory (rip 0x%llx)",
				(unsigned long long)f->gpa, (unsigned long long)a->rip);
		else if (!f->final)
			vm_stop(vm, VM_CAUSE_KILLED, 0,
				"its page tables lie at 0x%llx, where there is no memory (rip "
				"0x%llx)",
				(unsigned long long)f->gpa, (unsigned long long)a->rip);
		else if (f->in_delivery)
			vm_stop(vm, VM_CAUSE_KILLED, 0,
				"an event went through 0x%llx, where there is no memory (rip "
				"0x%llx)",
				(unsigned long long)f->gpa, (unsigned long long)a->rip);
		else
			emulate_mmio(a, f);
		break;
	case GM_ERROR:
		vm_stop(vm, VM_CAUSE_KILLED, 0, "its memory at 0x%llx could not be provided",
			(unsigned long long)f->gpa);
		break;
	}
}

/* --- control registers ---------------------------------------------------------------------------
 */

static bool write_cr(struct vcpu_arch *a, unsigned cr, uint64_t value)
{
	switch (cr) {
	case 0:
		return control_write_cr0(a, value);
	case 4:
		return control_write_cr4(a, value);
	case 8:
		if (value & ~0xfULL)
			return false;
		lapic_set_tpr(pc_lapic(a->vcpu), (uint8_t)(value << 4));
		return true;
	default:
		return false;
	}
}

static uint64_t read_cr(const struct vcpu_arch *a, unsigned cr)
{
	return cr == 0 ? a->cr0 : cr == 4 ? a->cr4 : (uint64_t)lapic_tpr(pc_lapic(a->vcpu)) >> 4;
}

/* MOV to and from CR0, CR4 and CR8, and CLTS: false for #GP. */
static bool access_cr(struct vcpu_arch *a, const struct insn *insn)
{
	uint64_t v;

	if (insn->op == INSN_CLTS)
		return control_write_cr0(a, a->cr0 & ~CR0_TS);
	if (insn->dst.kind == OPND_CR) {
		v = a->gpr[insn->src.reg];
		return write_cr(a, insn->dst.reg, insn->src.size == 8 ? v : (uint32_t)v);
	}
	v = read_cr(a, insn->src.reg);
	a->gpr[insn->dst.reg] = insn->dst.size == 8 ? v : (uint32_t)v;
	return true;
}

static bool uses_trapped_cr(const struct insn *insn)
{
	const struct insn_opnd *cr = insn->dst.kind == OPND_CR ? &insn->dst : &insn->src;

	if (insn->op == INSN_MOV_CR)
		return cr->reg == 0 || cr->reg == 4 || cr->reg == 8;
	return insn->op == INSN_CLTS || insn->op == INSN_SMSW || insn->op == INSN_LMSW;
}

/*
 * The instruction is read from memory a second time, and what is there now need not be what the
 * processor has checked: another vCPU may have changed it. So ring 3 gets no more than SMSW, which
 * is anybody's.
 */
void exit_system_insn(struct vcpu_arch *a)
{
	uint8_t bytes[INSN_MAX_LENGTH];
	struct emu_cpu cpu;
	struct insn insn;
	unsigned n;

	a->vcpu->exits[EXIT_CR]++;
	vcpu_read_state(a, &cpu);
	n = emu_fetch(&cpu, &a->vcpu->vm->mem, bytes);
	if (insn_decode(bytes, n, emu_mode(&cpu), &insn) != DECODE_OK || !uses_trapped_cr(&insn))
		return; /* execute what is there now */
	if (insn.op == INSN_SMSW || insn.op == INSN_LMSW)
		emulate_one(a, &cpu, 0);
	else if (cpu.cpl == 0 && access_cr(a, &insn))
		vcpu_skip(a, a->rip + insn.length);
	else
		raise_gp(a);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The x86 vCPU: creation, reset, the run loop and what it injects. Implements arch/vcpu.h over the
 * extension in `virt`.
 */
#include "arch/vcpu.h"
#include "arch/hw.h"
#include "arch/machine.h"
#include "arch/x86/cpu.h"
#include "arch/x86/vcpu.h"

#include "lib/check.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "lib/util.h"
#include "mm/kalloc.h"
#include "tlbi/tags.h"
#include "vm/clock.h"
#include "vm/dev/lapic.h"
#include "vm/gcache.h"
#include "vm/guestmem.h"
#include "vm/pcpu.h"
#include "vm/start.h"
#include "vm/vcpu.h"
#include "vm/vm.h"
#include "vm/x86/pc.h"

#define NS_PER_S 1000000000ULL

_Static_assert(EXIT_CAUSES <= VCPU_EXIT_COUNTERS, "counters");

const struct virt_ops *virt;

/* The vCPU whose FPU, DR0-3 and TSC_AUX are in the registers of each pCPU; written by that pCPU
 * only. */
static struct vcpu_arch *loaded[MAX_PCPUS];

/* Whose guest each pCPU ran last: the id of its space, which is never used again. */
static uint64_t trained_by[MAX_PCPUS];

static bool have_rdtscp, have_ibpb;

/*
 * PKE lets the hypervisor read a guest's PKRU, which stays in its register; it restricts user pages
 * only, and the hypervisor has none.
 */
static void enable_protection_keys(void)
{
	if (cpuid_checked(7, 0).ecx & BIT(3))
		write_cr4(read_cr4() | CR4_PKE);
}

const char *arch_virt_init(void)
{
	const char *why = svm_ops.cpu_init();

	if (why)
		return why;
	enable_protection_keys();
	if (virt)
		return NULL;
	virt = &svm_ops;
	guest_cpuid_init();
	have_rdtscp = cpuid_checked(0x80000001u, 0).edx & BIT(27);
	have_ibpb = cpuid_checked(0x80000008u, 0).ebx & BIT(12);
	return NULL;
}

const char *arch_virt_describe(void)
{
	return virt ? virt->describe() : "none";
}

const char *arch_vcpu_exit_name(unsigned i)
{
	static const char *const names[EXIT_CAUSES] = {
		[EXIT_INTERRUPT] = "interrupt",
		[EXIT_NMI] = "nmi",
		[EXIT_CPUID] = "cpuid",
		[EXIT_MSR_READ] = "msr-read",
		[EXIT_MSR_WRITE] = "msr-write",
		[EXIT_PORT] = "port",
		[EXIT_HLT] = "hlt",
		[EXIT_MEMORY] = "memory",
		[EXIT_MMIO] = "mmio",
		[EXIT_WINDOW] = "window",
		[EXIT_CR] = "control-register",
		[EXIT_DR] = "debug-register",
		[EXIT_EXCEPTION] = "exception",
		[EXIT_XSETBV] = "xsetbv",
		[EXIT_HYPERCALL] = "hypercall",
		[EXIT_OTHER] = "other",
	};

	return i < EXIT_CAUSES ? names[i] : NULL;
}

/* --- what is in this pCPU's registers ------------------------------------------------------------
 */

static void save_debug_registers(struct vcpu_arch *a)
{
	a->dr[0] = READ_DR(0);
	a->dr[1] = READ_DR(1);
	a->dr[2] = READ_DR(2);
	a->dr[3] = READ_DR(3);
}

static void load_debug_registers(const struct vcpu_arch *a)
{
	WRITE_DR(0, a->dr[0]);
	WRITE_DR(1, a->dr[1]);
	WRITE_DR(2, a->dr[2]);
	WRITE_DR(3, a->dr[3]);
}

static void unload(struct vcpu_arch *a, unsigned pcpu)
{
	fpu_save(a);
	if (a->dr_used)
		save_debug_registers(a);
	loaded[pcpu] = NULL;
}

static void load(struct vcpu_arch *a, unsigned pcpu)
{
	uint64_t space = guestmem_space(&a->vcpu->vm->mem)->id;

	if (loaded[pcpu] == a)
		return;
	CHECK(!loaded[pcpu]);
	/* What this guest trained must not steer another one's speculation (APM vol 2, 3.2.9). */
	if (have_ibpb && trained_by[pcpu] != space)
		wrmsr(MSR_PRED_CMD, 1);
	trained_by[pcpu] = space;
	if (a->vcpu->ran_on != pcpu)
		lapic_resume(pc_lapic(a->vcpu)); /* its timer moves here */
	a->vcpu->ran_on = pcpu;
	fpu_load(a);
	if (a->dr_used)
		load_debug_registers(a);
	if (have_rdtscp)
		wrmsr(MSR_TSC_AUX, a->msr.tsc_aux);
	loaded[pcpu] = a;
}

void arch_vcpu_put(struct vcpu *v)
{
	if (v->arch && loaded[hw_cpu()] == v->arch)
		unload(v->arch, hw_cpu());
}

/* --- life ----------------------------------------------------------------------------------------
 */

int arch_vcpu_create(struct vcpu *v)
{
	struct vcpu_arch *a = kzalloc(sizeof(*a));

	if (!a)
		return -ENOMEM;
	a->vcpu = v;
	a->windows = kzalloc(GUEST_WINDOWS * sizeof(*a->windows));
	if (!a->windows || fpu_create(a) || virt->create(a)) {
		fpu_destroy(a);
		kfree(a->windows);
		kfree(a);
		return -ENOMEM;
	}
	v->arch = a;
	return 0;
}

void arch_vcpu_destroy(struct vcpu *v)
{
	struct vcpu_arch *a = v->arch;

	if (!a)
		return;
	if (loaded[hw_cpu()] == a)
		loaded[hw_cpu()] = NULL; /* the registers hold nothing that anybody wants */
	virt->destroy(a);
	fpu_destroy(a);
	kfree(a->windows);
	kfree(a);
	v->arch = NULL;
}

/* Registers as at power-on or INIT; APM vol 2, table 14-1. FPU, MSRs and the like are the caller's.
 */
static void reset_registers(struct vcpu_arch *a, const struct vcpu_start *start)
{
	bool long_mode = start->mode == START_X86_LONG;

	memset(a->gpr, 0, sizeof(a->gpr));
	a->gpr[GPR_RAX] = start->rax;
	a->gpr[GPR_RBX] = start->rbx;
	a->gpr[GPR_RCX] = start->rcx;
	a->gpr[GPR_RDX] = start->rdx;
	a->gpr[GPR_RSI] = start->rsi;
	a->gpr[GPR_RDI] = start->rdi;
	a->gpr[GPR_RSP] = start->stack;
	a->rip = start->mode == START_X86_REAL ? start->entry & 0xfff : start->entry;
	a->rflags = RFLAGS_ONE;
	a->cr0 = CR0_ET | CR0_NE;
	if (start->mode != START_X86_REAL)
		a->cr0 |= CR0_PE;
	if (long_mode)
		a->cr0 |= CR0_PG | CR0_WP | CR0_AM | CR0_MP;
	a->cr4 = long_mode ? CR4_PAE : 0;
	a->efer = long_mode ? EFER_LME | EFER_LMA : 0;
	a->exception_pending = false;
	a->halted = false;
	a->waiting_for_sipi = false;
	virt->reset(a, start);
	tlbi_vcpu_paging_changed(&a->vcpu->tlb);
}

void arch_vcpu_start(struct vcpu *v, const struct vcpu_start *start)
{
	static const struct vcpu_start real = {.mode = START_X86_REAL};
	struct vcpu_arch *a = v->arch;

	if (loaded[hw_cpu()] == a)
		loaded[hw_cpu()] = NULL;
	atomic_store32(&a->requests, 0);
	a->dr_used = false;
	memset(a->dr, 0, sizeof(a->dr));
	fpu_reset(a);
	guest_msr_reset(a);
	guest_tsc_start(a);
	reset_registers(a, start ? start : &real);
	a->waiting_for_sipi = !start;
}

uint64_t arch_vcpu_pc(const struct vcpu *v)
{
	return v->arch->rip;
}

/* --- requests from outside -----------------------------------------------------------------------
 */

static void request(void *vcpu, uint32_t bits)
{
	struct vcpu *v = vcpu;

	atomic_or32(&v->arch->requests, bits);
	vcpu_kick(v);
}

static void op_kick(void *vcpu)
{
	vcpu_kick(vcpu);
}

static void op_nmi(void *vcpu)
{
	request(vcpu, VCPU_REQ_NMI);
}

static void op_init(void *vcpu)
{
	request(vcpu, VCPU_REQ_INIT);
}

static void op_sipi(void *vcpu, uint8_t vector)
{
	struct vcpu *v = vcpu;
	uint32_t old = atomic_load32(&v->arch->requests), new;

	/* The last vector wins until the first SIPI is taken. In one step: the vCPU may be taking
	 * it now. */
	do {
		new = (old & ~(0xffu << VCPU_REQ_SIPI_SHIFT)) | VCPU_REQ_SIPI |
		      (uint32_t)vector << VCPU_REQ_SIPI_SHIFT;
	} while (!atomic_cas32(&v->arch->requests, &old, new));
	vcpu_kick(v);
}

static uint64_t op_tsc_now(void *vcpu)
{
	struct vcpu *v = vcpu;

	return guest_tsc(v->arch);
}

static uint64_t op_tsc_to_host(void *vcpu, uint64_t tsc)
{
	struct vcpu *v = vcpu;
	uint64_t now = guest_tsc(v->arch), ns;

	if (!v->vm->clock.running)
		return TIMER_NEVER;
	if (tsc <= now)
		return 0;
	if ((tsc - now) / machine_info()->tsc_hz >= UINT64_MAX / NS_PER_S / 2)
		return TIMER_NEVER;
	ns = mul_div_u64(tsc - now, NS_PER_S, machine_info()->tsc_hz);
	return machine_now() + ns + 1;
}

const struct lapic_ops *arch_lapic_ops(void)
{
	static const struct lapic_ops ops = {
		.kick = op_kick,
		.nmi = op_nmi,
		.init = op_init,
		.sipi = op_sipi,
		.tsc_now = op_tsc_now,
		.tsc_to_host = op_tsc_to_host,
	};

	return &ops;
}

unsigned arch_guest_phys_bits(void)
{
	return guest_phys_bits();
}

/*
 * The bootstrap processor does not wait for a SIPI: it starts the firmware, which starts the
 * machine anew (APM vol 2, 14.1.3).
 */
static void take_init(struct vcpu_arch *a)
{
	static const struct vcpu_start real = {.mode = START_X86_REAL};

	if (a->vcpu->id == 0) {
		vm_stop(a->vcpu->vm, VM_CAUSE_RESET, 0, NULL);
		return;
	}
	reset_registers(a, &real);
	lapic_reset(pc_lapic(a->vcpu), LAPIC_RESET_INIT);
	a->waiting_for_sipi = true;
}

static void take_sipi(struct vcpu_arch *a, uint8_t vector)
{
	struct vcpu_start real = {.mode = START_X86_REAL, .entry = (uint64_t)vector << 12};

	if (!a->waiting_for_sipi)
		return;
	reset_registers(a, &real);
}

static void take_requests(struct vcpu_arch *a)
{
	uint32_t req = atomic_load32_acq(&a->requests);

	if (req == 0)
		return;
	/* An NMI stays requested until it can be injected. */
	req = atomic_and32(&a->requests, VCPU_REQ_NMI);
	if (req & VCPU_REQ_INIT)
		take_init(a);
	if (req & VCPU_REQ_SIPI)
		take_sipi(a, (uint8_t)(req >> VCPU_REQ_SIPI_SHIFT));
}

/* --- events --------------------------------------------------------------------------------------
 */

/* The external interrupt that would be next: from the 8259s when LINT0 lets it through, or the
 * LAPIC. */
static bool interrupt_pending(struct vcpu_arch *a)
{
	return pc_pic_pending(a->vcpu) || lapic_pending(pc_lapic(a->vcpu)) >= 0;
}

static void inject_interrupt(struct vcpu_arch *a)
{
	struct lapic *apic = pc_lapic(a->vcpu);
	int vector = pc_pic_ack(a->vcpu);

	if (vector < 0) {
		vector = lapic_pending(apic);
		if (vector < 0)
			return;
		lapic_ack(apic, vector);
	}
	virt->inject(a, EVENT_INTERRUPT, (uint8_t)vector, false, 0);
}

/* A request that only the task priority holds back: worth an exit when the guest lowers CR8. */
static bool blocked_by_tpr(struct lapic *apic)
{
	int irr = lapic_highest_irr(apic), isr;

	if (irr < 0 || irr >> 4 > lapic_tpr(apic) >> 4)
		return false;
	isr = lapic_highest_isr(apic);
	return isr < 0 || irr >> 4 > isr >> 4;
}

/*
 * At most one event enters with the guest, in the order of the SDM (vol 3, table 6-2): what was
 * being delivered, an exception of our making, an NMI, an interrupt. For what must wait a window is
 * opened.
 */
static void prepare_events(struct vcpu_arch *a)
{
	bool nmi = atomic_load32(&a->requests) & VCPU_REQ_NMI, interrupt;

	if (!virt->injecting(a) && a->exception_pending) {
		if (a->exception.vector == VEC_PF)
			virt->write_cr2(a, a->exception.cr2);
		virt->inject(a, EVENT_EXCEPTION, a->exception.vector, a->exception.has_error,
			     a->exception.error);
		a->exception_pending = false;
	}
	if (nmi && !virt->injecting(a) && virt->can_inject(a, EVENT_NMI)) {
		atomic_and32(&a->requests, ~VCPU_REQ_NMI);
		virt->inject(a, EVENT_NMI, VEC_NMI, false, 0);
		nmi = false;
	}
	interrupt = interrupt_pending(a);
	if (interrupt && !virt->injecting(a) && virt->can_inject(a, EVENT_INTERRUPT)) {
		inject_interrupt(a);
		interrupt = interrupt_pending(a);
	}
	virt->want_window(a, interrupt, nmi);
	virt->set_tpr(a, lapic_tpr(pc_lapic(a->vcpu)), blocked_by_tpr(pc_lapic(a->vcpu)));
}

/* The guest moves CR8 without an exit: bring the LAPIC's TPR up to date. */
static void sync_tpr(struct vcpu_arch *a)
{
	struct lapic *apic = pc_lapic(a->vcpu);
	uint8_t class = virt->tpr_class(a);

	if (lapic_tpr(apic) >> 4 != class)
		lapic_set_tpr(apic, (uint8_t)(class << 4));
}

bool arch_vcpu_has_event(const struct vcpu *v)
{
	struct vcpu_arch *a = v->arch;
	uint32_t req = atomic_load32_acq(&a->requests);

	if (vm_stopping(v->vm))
		return true;
	if (a->waiting_for_sipi)
		return req & (VCPU_REQ_SIPI | VCPU_REQ_INIT);
	if (req & VCPU_REQ_INIT || a->exception_pending || virt->injecting(a))
		return true;
	if (req & VCPU_REQ_NMI && virt->can_inject(a, EVENT_NMI)) /* HLT in an NMI handler */
		return true;
	return virt->can_inject(a, EVENT_INTERRUPT) && interrupt_pending(a);
}

/* --- the run loop --------------------------------------------------------------------------------
 */

/*
 * One entry and exit: true when there is an exit to handle, be it that the state was refused. False
 * when there is work outside and no entry was tried.
 */
static bool enter_once(struct vcpu_arch *a, unsigned pcpu)
{
	struct tlbi_enter_cmd tag;
	bool entered;

	prepare_events(a);
	tlbi_enter(pcpu, guestmem_space(&a->vcpu->vm->mem), &a->vcpu->tlb, &tag);
	/* From here on whoever wants this pCPU kicks it; whoever raised work before is seen now. */
	if (pcpu_work_pending() || vm_stopping(a->vcpu->vm)) {
		tlbi_exit(pcpu, &a->vcpu->tlb, false);
		return false;
	}
	entered = virt->run(a, &tag);
	tlbi_exit(pcpu, &a->vcpu->tlb, entered);
	if (entered)
		sync_tpr(a);
	return true;
}

enum vcpu_run arch_vcpu_run(struct vcpu *v)
{
	struct vcpu_arch *a = v->arch;
	unsigned pcpu = hw_cpu();

	load(a, pcpu);
	for (;;) {
		if (vm_stopping(v->vm))
			return VCPU_RUN_STOPPED;
		if (pcpu_work_pending())
			return VCPU_RUN_WORK;
		take_requests(a);
		if (a->halted || a->waiting_for_sipi) {
			if (!arch_vcpu_has_event(v))
				return VCPU_RUN_HALTED;
			a->halted = false;
			continue;
		}
		if (enter_once(a, pcpu) && virt->handle_exit(a) == EXIT_HALT)
			a->halted = !arch_vcpu_has_event(v);
	}
}

/* --- reports -------------------------------------------------------------------------------------
 */

size_t arch_vcpu_report(const struct vcpu *v, char *buf, size_t n)
{
	static const char *const names[GPR_COUNT] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
						     "rsi", "rdi", "r8",  "r9",	 "r10", "r11",
						     "r12", "r13", "r14", "r15"};
	static const char *const segs[SEG_COUNT] = {"es", "cs", "ss", "ds", "fs", "gs"};
	const struct vcpu_arch *a = v->arch;
	struct emu_cpu cpu;
	size_t used = 0;

	vcpu_read_state(a, &cpu);
	str_append(buf, n, &used, "rip %016llx  rflags %08llx  cpl %u  %s\n",
		   (unsigned long long)a->rip, (unsigned long long)a->rflags, cpu.cpl,
		   a->waiting_for_sipi ? "waits for SIPI"
		   : a->halted	       ? "halted"
				       : "active");
	for (unsigned i = 0; i < GPR_COUNT; i++)
		str_append(buf, n, &used, "%-3s %016llx%s", names[i], (unsigned long long)a->gpr[i],
			   i % 3 == 2 ? "\n" : "  ");
	str_append(buf, n, &used, "\ncr0 %08llx  cr3 %016llx  cr4 %08llx  efer %04llx\n",
		   (unsigned long long)cpu.paging.cr0, (unsigned long long)cpu.paging.cr3,
		   (unsigned long long)cpu.paging.cr4, (unsigned long long)cpu.paging.efer);
	for (unsigned i = 0; i < SEG_COUNT; i++)
		str_append(buf, n, &used, "%s %04x %llx+%x %03x%s", segs[i], cpu.seg[i].selector,
			   (unsigned long long)cpu.seg[i].base, cpu.seg[i].limit, cpu.seg[i].attr,
			   i % 3 == 2 ? "\n" : "  ");
	return used;
}

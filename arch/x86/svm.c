/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * AMD SVM: detection, the VMCB, entry, and the translation of its exits into those of exits.c.
 * AMD64 APM volume 2 (24593), chapter 15.
 *
 * What is intercepted, and why:
 *	INTR NMI INIT		the machine's own interrupts belong to the hypervisor
 *	CR0 (selective) CR4	CR4.MCE stays on for the host, hidden features raise #GP, paging
 *mode changes move the run sequence. Reads only while the guest's view differs CPUID MSR IOIO
 *emulated machine. MSRs that the VMCB switches are not trapped HLT			an idle
 *guest gives the CPU back DR			until first use, then DR0-3 are switched with the
 *vCPU XSETBV			XCR0 must stay within what is offered
 *	#DB #AC			delivered by microcode without end in a crafted guest
 *(CVE-2015-5307, -8104) #MC SHUTDOWN		machine check is the host's; a triple fault ends the
 *guest, not the machine INVD WBINVD		would throw away or write back the host's caches
 *	VMRUN ... SKINIT	SVM is not offered; INVLPGA CLGI STGI would act on the host
 *	MONITOR MWAIT RDPMC RDPRU  not offered: #UD or #GP as without the feature
 * Never: CR2, CR3, CR8 (but see want_tpr), page faults, INVLPG, RDTSC, PUSHF, IRET (but see NMIs),
 *PAUSE.
 */
#include "arch/x86/vmcb.h"

#include "arch/hw.h"
#include "arch/machine.h"
#include "arch/vcpu.h"
#include "arch/x86/cpu.h"
#include "arch/x86/percpu.h"
#include "arch/x86/svm.h"
#include "arch/x86/vcpu.h"

#include "lib/check.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/string.h"
#include "mm/kalloc.h"
#include "vm/guestmem.h"
#include "vm/start.h"
#include "vm/vcpu.h"
#include "vm/vm.h"

#define VM_CR_SVMDIS BIT(4) /* 15.30.1 */

#define DR7_GD	    BIT(13)
#define EFER_AIBRSE BIT(21) /* 3.1.7 */

#define INTERCEPT_MISC1                                                                            \
	(SVM_INTERCEPT_INTR | SVM_INTERCEPT_NMI | SVM_INTERCEPT_INIT | SVM_INTERCEPT_CR0_SEL |     \
	 SVM_INTERCEPT_RDPMC | SVM_INTERCEPT_CPUID | SVM_INTERCEPT_INVD | SVM_INTERCEPT_HLT |      \
	 SVM_INTERCEPT_INVLPGA | SVM_INTERCEPT_IOIO | SVM_INTERCEPT_MSR | SVM_INTERCEPT_FERR |     \
	 SVM_INTERCEPT_SHUTDOWN)
#define INTERCEPT_MISC2                                                                            \
	(SVM_INTERCEPT_VMRUN | SVM_INTERCEPT_VMMCALL | SVM_INTERCEPT_VMLOAD |                      \
	 SVM_INTERCEPT_VMSAVE | SVM_INTERCEPT_STGI | SVM_INTERCEPT_CLGI | SVM_INTERCEPT_SKINIT |   \
	 SVM_INTERCEPT_WBINVD | SVM_INTERCEPT_MONITOR | SVM_INTERCEPT_MWAIT |                      \
	 SVM_INTERCEPT_XSETBV | SVM_INTERCEPT_RDPRU)

#define MSRPM_SIZE 8192	 /* two bits an MSR, three ranges of 8192 (15.11) */
#define IOPM_SIZE  12288 /* a bit a port and a little more (15.10.1) */

#define PAGE_BYTES 4096

/* world switch, svm_enter.asm */
void svm_enter(uint64_t *gpr, uint64_t vmcb_pa, uint64_t host_pa);

/* Of this machine, from CPUID 8000000A; the same on all pCPUs. */
static struct {
	bool nrip, decode, flush_by_asid;
	uint32_t nr_asids;
	uint8_t *msrpm, *iopm;
} svm;

struct svm_pcpu {
	uint64_t host_pa; /* VMSAVE area: what VMLOAD brings back after an exit */
	uint64_t hsave_pa;
};

static struct svm_pcpu *this_svm(void)
{
	return this_cpu()->virt;
}

/* --- detection and set-up ------------------------------------------------------------------------
 */

bool svm_present(void)
{
	return cpuid_checked(0x80000001u, 0).ecx & BIT(2);
}

uint32_t svm_nr_asids(void)
{
	return cpuid_checked(0x8000000au, 0).ebx;
}

bool svm_has_flush_by_asid(void)
{
	return cpuid_checked(0x8000000au, 0).edx & BIT(6);
}

/* Bit pair of an MSR in the permission map: bit 0 intercepts reads, bit 1 writes. */
static void msrpm_allow(uint32_t msr, bool read, bool write)
{
	uint32_t slot, bit;

	if (msr < 0x2000)
		slot = msr;
	else if (msr - 0xc0000000u < 0x2000)
		slot = msr - 0xc0000000u + 0x2000;
	else
		slot = msr - 0xc0010000u + 0x4000;
	bit = slot * 2 % 8;
	if (read)
		svm.msrpm[slot / 4] &= (uint8_t) ~(1u << bit);
	if (write)
		svm.msrpm[slot / 4] &= (uint8_t) ~(2u << bit);
}

static int build_permission_maps(void)
{
	/* Switched by VMLOAD and VMSAVE or by VMRUN itself. */
	static const uint32_t own[] = {
		MSR_STAR,	  MSR_LSTAR,	    MSR_CSTAR,		MSR_SFMASK,
		MSR_FS_BASE,	  MSR_GS_BASE,	    MSR_KERNEL_GS_BASE, MSR_SYSENTER_CS,
		MSR_SYSENTER_ESP, MSR_SYSENTER_EIP,
	};

	svm.msrpm = kzalloc(MSRPM_SIZE);
	svm.iopm = kzalloc(4 * PAGE_BYTES);
	if (!svm.msrpm || !svm.iopm)
		return -ENOMEM;
	memset(svm.msrpm, 0xff, MSRPM_SIZE);
	memset(svm.iopm, 0xff, IOPM_SIZE);
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		msrpm_allow(own[i], true, true);
	msrpm_allow(MSR_TSC, true, false); /* hardware adds TSC_OFFSET (15.30.5) */
	return 0;
}

static const char *why_not_svm(void)
{
	uint64_t vm_cr;

	if (!svm_present())
		return "this CPU has no SVM (CPUID 80000001h ECX bit 2)";
	if (rdmsr_safe(MSR_VM_CR, &vm_cr) && vm_cr & VM_CR_SVMDIS)
		return "SVM is disabled by firmware (VM_CR.SVMDIS): enable it in the BIOS setup";
	if (!(cpuid_checked(0x8000000au, 0).edx & BIT(0)))
		return "this CPU has SVM but no nested paging (CPUID 8000000Ah EDX bit 0)";
	if (svm_nr_asids() < 2)
		return "this CPU has SVM but no address space identifier for guests";
	return NULL;
}

static const char *svm_cpu_init(void)
{
	const char *why = why_not_svm();
	struct svm_pcpu *p;
	void *host, *hsave;
	uint64_t efer;
	uint32_t edx;

	if (why)
		return why;
	if (!svm.msrpm && build_permission_maps())
		return "not enough memory for SVM's permission maps";
	edx = cpuid_checked(0x8000000au, 0).edx;
	svm.nrip = edx & BIT(3);
	svm.flush_by_asid = edx & BIT(6);
	svm.decode = edx & BIT(7);
	svm.nr_asids = svm_nr_asids();
	p = kzalloc(sizeof(*p));
	host = kzalloc(PAGE_BYTES);
	hsave = kzalloc(PAGE_BYTES);
	if (!p || !host || !hsave)
		return "not enough memory for SVM's host state";
	p->host_pa = hw_frame_pa(host).v;
	p->hsave_pa = hw_frame_pa(hsave).v;
	efer = rdmsr(MSR_EFER) | EFER_SVME;
	/* Automatic IBRS, where there is: what guests trained does not steer the hypervisor's
	 * indirect branches. */
	if (cpuid_checked(0x80000021u, 0).eax & BIT(8))
		efer |= EFER_AIBRSE;
	wrmsr(MSR_EFER, efer);
	wrmsr(MSR_VM_HSAVE_PA, p->hsave_pa);
	__asm__ volatile("vmsave %0" ::"a"(p->host_pa) : "memory");
	this_cpu()->virt = p;
	return NULL;
}

static const char *svm_describe(void)
{
	static char text[96];

	snprintf(text, sizeof(text), "SVM, nested paging, %u ASIDs%s%s%s", svm.nr_asids,
		 svm.nrip ? ", nrip-save" : "", svm.decode ? ", decode assists" : "",
		 svm.flush_by_asid ? ", flush-by-ASID" : "");
	return text;
}

static int svm_create(struct vcpu_arch *a)
{
	a->svm.vmcb = kzalloc(PAGE_BYTES);
	if (!a->svm.vmcb)
		return -ENOMEM;
	a->svm.vmcb_pa = hw_frame_pa(a->svm.vmcb).v;
	return 0;
}

static void svm_destroy(struct vcpu_arch *a)
{
	kfree(a->svm.vmcb);
	a->svm.vmcb = NULL;
}

/* --- state ---------------------------------------------------------------------------------------
 */

static void touched(struct vcpu_arch *a, uint32_t clean_bit)
{
	a->svm.vmcb->control.clean &= ~clean_bit;
}

/*
 * The VMCB's control registers from the guest's view. CR0.CD and NW stay off: a guest must not slow
 * the machine down; its RAM is coherent without. Reads are intercepted exactly while hardware would
 * show something else than what the guest wrote.
 *
 * EFER.LME waits for CR0.PG, whose change we see: it means nothing before, and QEMU 7.2 does not
 * bring back the host's CR0 after a guest with LME and without CR4.PAE: the hypervisor would go on
 * without paging.
 */
static void svm_write_control(struct vcpu_arch *a)
{
	struct vmcb *v = a->svm.vmcb;

	v->save.cr0 = a->cr0 & ~(CR0_CD | CR0_NW);
	v->save.cr4 = a->cr4 | CR4_MCE;
	v->save.efer = a->efer | EFER_SVME;
	if (!(a->efer & EFER_LMA))
		v->save.efer &= ~EFER_LME;
	v->save.g_pat = a->msr.pat;
	v->control.cr_read &= (uint16_t) ~(BIT(0) | BIT(4));
	v->control.cr_write &= (uint16_t)~BIT(0);
	if (v->save.cr0 != a->cr0) {
		v->control.cr_read |= BIT(0);
		v->control.cr_write |= BIT(0);
	}
	if (v->save.cr4 != a->cr4)
		v->control.cr_read |= BIT(4);
	touched(a, SVM_CLEAN_CRX | SVM_CLEAN_INTERCEPTS | SVM_CLEAN_NP);
}

static void svm_write_cr2(struct vcpu_arch *a, uint64_t value)
{
	a->svm.vmcb->save.cr2 = value;
	touched(a, SVM_CLEAN_CR2);
}

static void svm_write_tsc_offset(struct vcpu_arch *a)
{
	a->svm.vmcb->control.tsc_offset = a->tsc_offset;
	touched(a, SVM_CLEAN_INTERCEPTS);
}

static void svm_pass_debug_registers(struct vcpu_arch *a, bool pass)
{
	a->svm.vmcb->control.dr_read = pass ? 0 : 0xffff;
	a->svm.vmcb->control.dr_write = pass ? 0 : 0xffff;
	touched(a, SVM_CLEAN_INTERCEPTS);
}

static struct vmcb_seg segment(uint16_t selector, uint64_t base, uint32_t limit, unsigned attrib)
{
	return (struct vmcb_seg){
		.selector = selector, .attrib = (uint16_t)attrib, .limit = limit, .base = base};
}

static void reset_segments(struct vmcb_save *s, const struct vcpu_start *start)
{
	unsigned code = ATTR_P | ATTR_S | ATTR_TYPE_CODE, data = ATTR_P | ATTR_S | ATTR_TYPE_DATA;
	uint32_t limit = 0xffff;
	uint64_t cs_base = 0;

	switch (start->mode) {
	case START_X86_LONG:
		code |= ATTR_L | ATTR_G;
		data |= ATTR_DB | ATTR_G;
		limit = UINT32_MAX;
		break;
	case START_X86_PROTECTED:
		code |= ATTR_DB | ATTR_G;
		data |= ATTR_DB | ATTR_G;
		limit = UINT32_MAX;
		break;
	default: /* real mode: CS base from the entry */
		cs_base = start->entry & 0xff000;
		break;
	}
	s->cs = segment(start->mode == START_X86_REAL ? (uint16_t)(cs_base >> 4) : start->cs,
			cs_base, limit, code);
	s->ds = s->es = s->ss = s->fs = s->gs = segment(start->ds, 0, limit, data);
	s->gdtr = segment(0, start->gdt_base, start->gdt_limit ? start->gdt_limit : 0xffff, 0);
	s->idtr = segment(0, 0, 0xffff, 0);
	s->ldtr = segment(0, 0, 0xffff, ATTR_P | ATTR_TYPE_LDT);
	s->tr = segment(0, 0, 0xffff, ATTR_P | ATTR_TYPE_TSS);
	s->cpl = 0;
}

/* Power-on values: APM vol 2, table 14-1. */
static void svm_reset(struct vcpu_arch *a, const struct vcpu_start *start)
{
	struct vmcb_control *c = &a->svm.vmcb->control;
	struct vmcb_save *s = &a->svm.vmcb->save;

	memset(a->svm.vmcb, 0, sizeof(*a->svm.vmcb));
	c->misc1 = INTERCEPT_MISC1;
	c->misc2 = INTERCEPT_MISC2;
	c->exceptions = 1u << VEC_DB | 1u << VEC_AC | 1u << VEC_MC;
	c->cr_write = 1u << 4;
	c->iopm_base = hw_frame_pa(svm.iopm).v;
	c->msrpm_base = hw_frame_pa(svm.msrpm).v;
	c->int_ctl = SVM_V_INTR_MASKING;
	c->np_enable = SVM_NP_ENABLE;
	c->ncr3 = guestmem_root(&a->vcpu->vm->mem).v;
	reset_segments(s, start);
	s->cr3 = start->mode == START_X86_LONG ? start->cr3 : 0;
	s->dr6 = 0xffff0ff0;
	s->dr7 = 0x400;
	svm_write_control(a);
	svm_write_tsc_offset(a);
	svm_pass_debug_registers(a, a->dr_used);
	a->svm.nmi_blocked = false;
}

static struct emu_seg emu_segment(const struct vmcb_seg *s)
{
	return (struct emu_seg){
		.base = s->base, .limit = s->limit, .selector = s->selector, .attr = s->attrib};
}

static void svm_read_state(const struct vcpu_arch *a, struct emu_cpu *cpu)
{
	const struct vmcb_save *s = &a->svm.vmcb->save;

	cpu->seg[SEG_ES] = emu_segment(&s->es);
	cpu->seg[SEG_CS] = emu_segment(&s->cs);
	cpu->seg[SEG_SS] = emu_segment(&s->ss);
	cpu->seg[SEG_DS] = emu_segment(&s->ds);
	cpu->seg[SEG_FS] = emu_segment(&s->fs);
	cpu->seg[SEG_GS] = emu_segment(&s->gs);
	cpu->cpl = s->cpl;
	cpu->paging.cr0 = a->cr0;
	cpu->paging.cr3 = s->cr3;
	cpu->paging.cr4 = a->cr4;
	cpu->paging.efer = a->efer;
}

static void svm_advance(struct vcpu_arch *a, uint64_t rip)
{
	bool long_mode = a->efer & EFER_LMA && a->svm.vmcb->save.cs.attrib & ATTR_L;

	a->rip = long_mode ? rip : (uint32_t)rip;
	a->svm.vmcb->control.int_shadow = 0;
}

static void svm_step_trap(struct vcpu_arch *a)
{
	a->svm.vmcb->save.dr6 |= BIT(14); /* BS */
	touched(a, SVM_CLEAN_DRX);
	vcpu_raise(a, VEC_DB);
}

/* --- events --------------------------------------------------------------------------------------
 */

static bool svm_can_inject(const struct vcpu_arch *a, enum event_kind kind)
{
	bool shadow = a->svm.vmcb->control.int_shadow & SVM_INT_SHADOW;

	switch (kind) {
	case EVENT_INTERRUPT:
		return a->rflags & RFLAGS_IF && !shadow;
	case EVENT_NMI:
		return !a->svm.nmi_blocked && !shadow;
	default:
		return true;
	}
}

static bool svm_injecting(const struct vcpu_arch *a)
{
	return a->svm.vmcb->control.event_inj & SVM_EVENT_VALID;
}

static void set_iret_intercept(struct vcpu_arch *a, bool on)
{
	uint32_t *misc1 = &a->svm.vmcb->control.misc1;

	*misc1 = on ? *misc1 | SVM_INTERCEPT_IRET : *misc1 & ~SVM_INTERCEPT_IRET;
	touched(a, SVM_CLEAN_INTERCEPTS);
}

static void svm_inject(struct vcpu_arch *a, enum event_kind kind, uint8_t vector, bool has_error,
		       uint32_t error)
{
	static const uint32_t type[] = {
		[EVENT_INTERRUPT] = SVM_EVENT_INTR,
		[EVENT_NMI] = SVM_EVENT_NMI,
		[EVENT_EXCEPTION] = SVM_EVENT_EXCEPTION,
	};
	struct vmcb_control *c = &a->svm.vmcb->control;

	/* Delivery by the processor clears GD, so that the handler may read DR6; injection does
	 * not (15.20). */
	if (kind == EVENT_EXCEPTION && vector == VEC_DB) {
		a->svm.vmcb->save.dr7 &= ~DR7_GD;
		touched(a, SVM_CLEAN_DRX);
	}
	c->event_inj =
		SVM_EVENT_VALID | type[kind] | vector | (has_error ? SVM_EVENT_HAS_ERROR : 0);
	c->event_error = error;
	if (kind == EVENT_NMI) {
		a->svm.nmi_blocked = true;
		set_iret_intercept(a, true);
	}
}

/*
 * The interrupt window: a virtual interrupt that is never delivered, because the VINTR intercept
 * exits when it could be (15.21.4). The NMI window is the IRET intercept, which is set while NMIs
 * are blocked; an NMI held back by an interrupt shadow waits for the interrupt window.
 */
static void svm_want_window(struct vcpu_arch *a, bool interrupt, bool nmi)
{
	struct vmcb_control *c = &a->svm.vmcb->control;
	bool want = interrupt || (nmi && !a->svm.nmi_blocked);
	bool have = c->int_ctl & SVM_V_IRQ;

	if (want == have)
		return;
	if (want) {
		c->int_ctl |= SVM_V_IRQ | SVM_V_IGN_TPR;
		c->misc1 |= SVM_INTERCEPT_VINTR;
	} else {
		c->int_ctl &= ~(SVM_V_IRQ | SVM_V_IGN_TPR);
		c->misc1 &= ~SVM_INTERCEPT_VINTR;
	}
	touched(a, SVM_CLEAN_TPR | SVM_CLEAN_INTERCEPTS);
}

/* CR8 writes are trapped only while an interrupt waits for the TPR to fall. */
static void svm_set_tpr(struct vcpu_arch *a, uint8_t tpr, bool trap_lower)
{
	struct vmcb_control *c = &a->svm.vmcb->control;
	uint32_t int_ctl = (c->int_ctl & ~SVM_V_TPR_MASK) | tpr >> 4;
	uint16_t cr_write = (uint16_t)(trap_lower ? c->cr_write | BIT(8) : c->cr_write & ~BIT(8));

	if (int_ctl != c->int_ctl) {
		c->int_ctl = int_ctl;
		touched(a, SVM_CLEAN_TPR);
	}
	if (cr_write != c->cr_write) {
		c->cr_write = cr_write;
		touched(a, SVM_CLEAN_INTERCEPTS);
	}
}

static uint8_t svm_tpr_class(const struct vcpu_arch *a)
{
	return a->svm.vmcb->control.int_ctl & SVM_V_TPR_MASK;
}

/*
 * An exit in the middle of delivering an event: it goes back in (15.7.2). A software interrupt is
 * not injected but executed again: RIP is still on it, and without next-RIP save injection would
 * push the wrong address.
 */
static void reinject(struct vcpu_arch *a)
{
	struct vmcb_control *c = &a->svm.vmcb->control;
	uint32_t info = c->exit_int_info, type = info & SVM_EVENT_TYPE_MASK;
	uint32_t vector = info & SVM_EVENT_VECTOR;

	c->event_inj = 0;
	if (!(info & SVM_EVENT_VALID) || type == SVM_EVENT_SOFT_INT)
		return;
	if (type == SVM_EVENT_EXCEPTION && (vector == VEC_BP || vector == VEC_OF))
		return;
	c->event_inj = info;
	c->event_error = c->exit_int_error;
}

/* --- entry ---------------------------------------------------------------------------------------
 */

static bool svm_run(struct vcpu_arch *a, const struct tlbi_enter_cmd *tag)
{
	struct vmcb_control *c = &a->svm.vmcb->control;
	struct vmcb_save *s = &a->svm.vmcb->save;

	if (tag->fresh)
		c->clean = 0; /* another pCPU, or another address space: nothing cached holds */
	if (c->asid != tag->tag) {
		c->asid = tag->tag;
		touched(a, SVM_CLEAN_ASID);
	}
	c->tlb_control = tag->flush == TLBI_NONE  ? SVM_TLB_NOTHING
			 : tag->flush == TLBI_TAG ? SVM_TLB_FLUSH_ASID
						  : SVM_TLB_FLUSH_ALL;
	s->rax = a->gpr[GPR_RAX];
	s->rsp = a->gpr[GPR_RSP];
	s->rip = a->rip;
	s->rflags = a->rflags | RFLAGS_ONE;
	svm_enter(a->gpr, a->svm.vmcb_pa, this_svm()->host_pa);
	if ((uint32_t)c->exit_code == SVM_EXIT_INVALID)
		return false; /* the save area may hold the host's state (15.5.1) */
	c->clean = SVM_CLEAN_ALL;
	a->gpr[GPR_RAX] = s->rax;
	a->gpr[GPR_RSP] = s->rsp;
	a->rip = s->rip;
	a->rflags = s->rflags;
	/* TS and MP change without an exit. */
	a->cr0 = (a->cr0 & ~(CR0_TS | CR0_MP)) | (s->cr0 & (CR0_TS | CR0_MP));
	reinject(a);
	return true;
}

/* --- exits ---------------------------------------------------------------------------------------
 */

/* RIP after the instruction that exited. An instruction that cannot be read again is simply
 * retried. */
static uint64_t next_rip(struct vcpu_arch *a)
{
	if (svm.nrip && a->svm.vmcb->control.next_rip)
		return a->svm.vmcb->control.next_rip;
	return a->rip + vcpu_insn_length(a);
}

static void exit_ioio(struct vcpu_arch *a)
{
	const struct vmcb_control *c = &a->svm.vmcb->control;
	uint32_t info = (uint32_t)c->exit_info1;
	unsigned size = info >> SVM_IOIO_SIZE_SHIFT & 7;

	if (info & SVM_IOIO_STR)
		exit_port_string(a, size);
	else
		exit_port(a, (uint16_t)(info >> SVM_IOIO_PORT_SHIFT), size, info & SVM_IOIO_IN,
			  c->exit_info2);
}

static void exit_npf(struct vcpu_arch *a)
{
	const struct vmcb_control *c = &a->svm.vmcb->control;
	unsigned len = c->insn_len & 0xf;
	struct stage2_fault f = {
		.gpa = c->exit_info2,
		.write = c->exit_info1 & SVM_NPF_WRITE,
		.fetch = c->exit_info1 & SVM_NPF_FETCH,
		.final = c->exit_info1 & SVM_NPF_FINAL,
		.in_delivery = c->exit_int_info & SVM_EVENT_VALID,
		.insn = svm.decode && len ? c->insn : NULL,
		.insn_len = len,
	};

	exit_stage2(a, &f);
}

/* IRET of an NMI handler: NMIs may come again, but not before the IRET itself has executed. */
static void exit_iret(struct vcpu_arch *a)
{
	set_iret_intercept(a, false);
	a->svm.nmi_blocked = false;
	a->svm.vmcb->control.int_shadow |= SVM_INT_SHADOW; /* ends after the IRET */
}

/*
 * Three exceptions in a row. A guest that asks for a reset this way loads an empty IDT first (Linux
 * reboot=t, kexec); anything else has crashed.
 */
static void exit_shutdown(struct vcpu_arch *a)
{
	if (a->svm.vmcb->save.idtr.limit == 0)
		vm_stop(a->vcpu->vm, VM_CAUSE_RESET, 0, NULL);
	else
		vm_stop(a->vcpu->vm, VM_CAUSE_KILLED, 0, "triple fault at rip 0x%llx",
			(unsigned long long)a->rip);
}

static void exit_unknown(struct vcpu_arch *a)
{
	const struct vmcb_control *c = &a->svm.vmcb->control;

	if ((uint32_t)c->exit_code == SVM_EXIT_INVALID)
		vm_stop(a->vcpu->vm, VM_CAUSE_KILLED, 0,
			"its state was refused by VMRUN (cr0 %llx cr3 %llx cr4 %llx efer %llx)",
			(unsigned long long)a->cr0, (unsigned long long)a->svm.vmcb->save.cr3,
			(unsigned long long)a->cr4, (unsigned long long)a->efer);
	else
		vm_stop(a->vcpu->vm, VM_CAUSE_KILLED, 0,
			"unhandled SVM exit 0x%llx (info %llx, %llx) at rip 0x%llx",
			(unsigned long long)c->exit_code, (unsigned long long)c->exit_info1,
			(unsigned long long)c->exit_info2, (unsigned long long)a->rip);
}

static void exit_exception(struct vcpu_arch *a, uint8_t vector)
{
	a->vcpu->exits[EXIT_EXCEPTION]++;
	if (vector == VEC_MC)
		__asm__ volatile("int %0" ::"i"(VEC_MC)); /* the host's handler reports it */
	else if (vector == VEC_AC)
		vcpu_raise_error(a, VEC_AC, (uint32_t)a->svm.vmcb->control.exit_info1);
	else
		vcpu_raise(a, vector);
}

static void exit_debug_register(struct vcpu_arch *a)
{
	a->vcpu->exits[EXIT_DR]++;
	a->dr_used = true;
	for (unsigned i = 0; i < 4; i++)
		a->dr[i] = 0;
	WRITE_DR(0, 0);
	WRITE_DR(1, 0);
	WRITE_DR(2, 0);
	WRITE_DR(3, 0);
	svm_pass_debug_registers(a, true); /* and the instruction runs again */
}

/* Exits that end in an exception because what they use is not offered. */
static enum exit_action exit_not_offered(struct vcpu_arch *a, uint8_t vector)
{
	a->vcpu->exits[EXIT_OTHER]++;
	if (vector == VEC_GP)
		vcpu_raise_error(a, VEC_GP, 0);
	else
		vcpu_raise(a, vector);
	return EXIT_RESUME;
}

static enum exit_action exit_rare(struct vcpu_arch *a, uint32_t code)
{
	switch (code) {
	case SVM_EXIT_EXCP_DB:
	case SVM_EXIT_EXCP_AC:
	case SVM_EXIT_EXCP_MC:
		exit_exception(a, (uint8_t)(code - 0x40));
		return EXIT_RESUME;
	case SVM_EXIT_IRET:
		a->vcpu->exits[EXIT_WINDOW]++;
		exit_iret(a);
		return EXIT_RESUME;
	case SVM_EXIT_INVD: /* nothing that a guest sees is incoherent: nothing to do */
	case SVM_EXIT_WBINVD:
		a->vcpu->exits[EXIT_OTHER]++;
		vcpu_skip(a, next_rip(a));
		return EXIT_RESUME;
	case SVM_EXIT_SHUTDOWN:
		exit_shutdown(a);
		return EXIT_RESUME;
	case SVM_EXIT_FERR_FREEZE: /* CR0.NE = 0 and a pending x87 error: the PC's IRQ 13, which no
				      guest of ours is told of; #MF says the same */
		return exit_not_offered(a, VEC_MF);
	case SVM_EXIT_RDPMC:
		return exit_not_offered(a, VEC_GP);
	case SVM_EXIT_INIT:
		a->vcpu->exits[EXIT_OTHER]++;
		return EXIT_RESUME;
	case SVM_EXIT_INVLPGA:
	case SVM_EXIT_VMRUN:
	case SVM_EXIT_VMLOAD:
	case SVM_EXIT_VMSAVE:
	case SVM_EXIT_STGI:
	case SVM_EXIT_CLGI:
	case SVM_EXIT_SKINIT:
	case SVM_EXIT_MONITOR:
	case SVM_EXIT_MWAIT:
	case SVM_EXIT_MWAIT_ARMED:
	case SVM_EXIT_RDPRU:
		return exit_not_offered(a, VEC_UD);
	default:
		exit_unknown(a);
		return EXIT_RESUME;
	}
}

static enum exit_action svm_handle_exit(struct vcpu_arch *a)
{
	const struct vmcb_control *c = &a->svm.vmcb->control;
	uint32_t code = (uint32_t)c->exit_code;

	switch (code) {
	case SVM_EXIT_INTR:
		a->vcpu->exits[EXIT_INTERRUPT]++;
		machine_take_interrupts();
		return EXIT_RESUME;
	case SVM_EXIT_NMI:
		a->vcpu->exits[EXIT_NMI]++;
		return EXIT_RESUME; /* svm_enter has taken it */
	case SVM_EXIT_VINTR:
		a->vcpu->exits[EXIT_WINDOW]++;
		svm_want_window(a, false, false);
		return EXIT_RESUME;
	case SVM_EXIT_CPUID:
		exit_cpuid(a, next_rip(a));
		return EXIT_RESUME;
	case SVM_EXIT_MSR:
		if (c->exit_info1)
			exit_wrmsr(a, next_rip(a));
		else
			exit_rdmsr(a, next_rip(a));
		return EXIT_RESUME;
	case SVM_EXIT_IOIO:
		exit_ioio(a);
		return EXIT_RESUME;
	case SVM_EXIT_NPF:
		exit_npf(a);
		return EXIT_RESUME;
	case SVM_EXIT_HLT:
		a->vcpu->exits[EXIT_HLT]++;
		vcpu_skip(a, next_rip(a));
		return EXIT_HALT;
	case SVM_EXIT_XSETBV:
		exit_xsetbv(a, next_rip(a));
		return EXIT_RESUME;
	case SVM_EXIT_VMMCALL:
		exit_hypercall(a, next_rip(a));
		return EXIT_RESUME;
	default:
		break;
	}
	if (code <= 0x1f || code == SVM_EXIT_CR0_SEL_WRITE) {
		exit_system_insn(a);
		return EXIT_RESUME;
	}
	if (code <= 0x3f) {
		exit_debug_register(a);
		return EXIT_RESUME;
	}
	return exit_rare(a, code);
}

const struct virt_ops svm_ops = {
	.cpu_init = svm_cpu_init,
	.describe = svm_describe,
	.create = svm_create,
	.destroy = svm_destroy,
	.reset = svm_reset,
	.run = svm_run,
	.handle_exit = svm_handle_exit,
	.read_state = svm_read_state,
	.write_control = svm_write_control,
	.write_tsc_offset = svm_write_tsc_offset,
	.pass_debug_registers = svm_pass_debug_registers,
	.write_cr2 = svm_write_cr2,
	.can_inject = svm_can_inject,
	.injecting = svm_injecting,
	.inject = svm_inject,
	.want_window = svm_want_window,
	.advance = svm_advance,
	.step_trap = svm_step_trap,
	.set_tpr = svm_set_tpr,
	.tpr_class = svm_tpr_class,
};

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The x86 virtual CPU behind arch/vcpu.h: what SVM and (later) VMX share. The state that hardware
 * keeps for itself (segments, CR3, ...) stays with the extension and is read through `struct
 * virt_ops`.
 *
 * Everything here belongs to the pCPU that runs the vCPU, except the `atomic_u32 requests`, which
 * any pCPU may set.
 */
#ifndef SLUICE_ARCH_X86_VCPU_H
#define SLUICE_ARCH_X86_VCPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86/emulate.h"
#include "lib/atomic.h"
#include "tlbi/tags.h"

struct vcpu;
struct vcpu_start;
struct vmcb;

/* Exit counters, `info` shows them. Order: vcpu_exit_names in vcpu.c. */
enum exit_cause {
	EXIT_INTERRUPT, /* of the machine */
	EXIT_NMI,
	EXIT_CPUID,
	EXIT_MSR_READ,
	EXIT_MSR_WRITE,
	EXIT_PORT,
	EXIT_HLT,
	EXIT_MEMORY, /* stage-2 fault on RAM */
	EXIT_MMIO,   /* stage-2 fault on a device */
	EXIT_WINDOW, /* interrupt or NMI window */
	EXIT_CR,
	EXIT_DR,
	EXIT_EXCEPTION,
	EXIT_XSETBV,
	EXIT_HYPERCALL,
	EXIT_OTHER,
	EXIT_CAUSES
};

/* vcpu_arch.requests */
#define VCPU_REQ_NMI	    (1u << 0)
#define VCPU_REQ_INIT	    (1u << 1)
#define VCPU_REQ_SIPI	    (1u << 2) /* vector in bits 15:8 */
#define VCPU_REQ_SIPI_SHIFT 8

/* MSRs that exist only as values: nothing in hardware follows them. */
#define MTRR_VARIABLE 8 /* pairs */
#define MTRR_FIXED    11
struct msr_values {
	uint64_t pat;
	uint64_t tsc_aux;
	uint64_t mtrr_def;
	uint64_t mtrr_var[2 * MTRR_VARIABLE];
	uint64_t mtrr_fix[MTRR_FIXED];
	uint64_t hwcr;
	uint64_t debugctl;
	uint64_t kvm_system_time; /* as written; bit 0: enabled */
	uint64_t kvm_wall_clock;
};

/* SVM's own part (svm.c). */
struct svm_vcpu {
	struct vmcb *vmcb;
	uint64_t vmcb_pa;
	bool nmi_blocked; /* an NMI was injected and no IRET seen since */
};

struct vcpu_arch {
	struct vcpu *vcpu;
	/* Copied from and to hardware around each run. gpr by enum x86_gpr. */
	uint64_t gpr[GPR_COUNT];
	uint64_t rip, rflags;

	/*
	 * As the guest believes them. Bits that hardware keeps different values of: CR0.CD and NW
	 * (off for real), CR4.MCE (on for real), EFER.SVME (on for real). CR0.TS and MP change
	 * without an exit and are brought up to date at each.
	 */
	uint64_t cr0, cr4, efer;

	struct emu_fault
		exception; /* to be injected when exception_pending; not EMU_UNSUPPORTED's use */
	bool exception_pending;
	bool waiting_for_sipi;
	bool halted;	     /* HLT executed and nothing has woken it */
	atomic_u32 requests; /* VCPU_REQ_*, from other pCPUs too */

	uint64_t xcr0;
	void *fpu;	/* XSAVE area, 64-byte aligned */
	uint64_t dr[4]; /* DR0-3 while not on a pCPU */
	bool dr_used; /* the guest has touched a debug register: DR0-3 are switched, not trapped */
	uint64_t
		tsc_offset; /* guest TSC = TSC + offset, mod 2^64; the same for all vCPUs of a VM */
	struct msr_values msr;

	/* While a device access is emulated: whose page the hardware reported (guestmem_resolve).
	 */
	struct {
		uint64_t page;
		uint32_t region;
	} device;

	struct gcache *windows; /* GUEST_WINDOWS, onto the guest's page tables and code */

	struct svm_vcpu svm;
};

/* What the exit handler tells the run loop. */
enum exit_action {
	EXIT_RESUME, /* enter again */
	EXIT_HALT,   /* HLT: leave unless an event is pending */
};

/* Kinds of events that an extension can inject. */
enum event_kind { EVENT_INTERRUPT, EVENT_NMI, EVENT_EXCEPTION };

/* One per extension: SVM today. Called once per exit or less, never in a loop. */
struct virt_ops {
	const char *(*cpu_init)(void); /* NULL or why not */
	const char *(*describe)(void);
	int (*create)(struct vcpu_arch *a);
	void (*destroy)(struct vcpu_arch *a);
	/* Power-on state with RIP, RFLAGS and gpr[] taken from *a, segments and CRs as `start`
	 * says. */
	void (*reset)(struct vcpu_arch *a, const struct vcpu_start *start);
	/* Enters the guest and returns at its exit. Interrupts off; the tag is in *tag. False when
	 * the processor refused the state: then nothing was flushed either. */
	bool (*run)(struct vcpu_arch *a, const struct tlbi_enter_cmd *tag);
	enum exit_action (*handle_exit)(struct vcpu_arch *a);
	/* Fills segments, CPL and paging state; gpr, rip, rflags, hint and fetched bytes are the
	 * caller's. */
	void (*read_state)(const struct vcpu_arch *a, struct emu_cpu *cpu);
	/* CR0, CR4, EFER or PAT in *a changed: bring hardware's copies in line. */
	void (*write_control)(struct vcpu_arch *a);
	void (*write_tsc_offset)(struct vcpu_arch *a);
	void (*pass_debug_registers)(struct vcpu_arch *a,
				     bool pass); /* stop or start trapping them */
	void (*write_cr2)(struct vcpu_arch *a, uint64_t value);
	/* Can the event be taken at the next entry. */
	bool (*can_inject)(const struct vcpu_arch *a, enum event_kind kind);
	bool (*injecting)(const struct vcpu_arch *a); /* the next entry delivers an event already */
	void (*inject)(struct vcpu_arch *a, enum event_kind kind, uint8_t vector, bool has_error,
		       uint32_t error);
	/* Ask for an exit when an interrupt, or an NMI, can be taken. */
	void (*want_window)(struct vcpu_arch *a, bool interrupt, bool nmi);
	/* RIP moves on and the interrupt shadow ends: an instruction was done for the guest. */
	void (*advance)(struct vcpu_arch *a, uint64_t rip);
	void (*step_trap)(struct vcpu_arch *a); /* #DB with DR6.BS becomes pending */
	void (*set_tpr)(struct vcpu_arch *a, uint8_t tpr, bool trap_lower); /* CR8 = tpr[7:4] */
	uint8_t (*tpr_class)(const struct vcpu_arch *a);		    /* CR8 */
};

extern const struct virt_ops svm_ops;
extern const struct virt_ops *virt; /* the one this machine has; set by arch_virt_init */

/* --- exits.c: what both extensions do at an exit; each skips the instruction itself -------------
 */

void exit_cpuid(struct vcpu_arch *a, uint64_t next_rip);
void exit_rdmsr(struct vcpu_arch *a, uint64_t next_rip);
void exit_wrmsr(struct vcpu_arch *a, uint64_t next_rip);
void exit_xsetbv(struct vcpu_arch *a, uint64_t next_rip);
void exit_hypercall(struct vcpu_arch *a, uint64_t next_rip);
void exit_port(struct vcpu_arch *a, uint16_t port, unsigned size, bool in, uint64_t next_rip);
void exit_port_string(struct vcpu_arch *a, unsigned size);
/* CR0, CR4, CR8 and DR accesses, decoded from memory. */
void exit_system_insn(struct vcpu_arch *a);

struct stage2_fault {
	uint64_t gpa;
	bool write, fetch;
	bool final;	     /* on the final address, not on a page table of the guest's */
	bool in_delivery;    /* of an event: the address is in a descriptor table or on a stack */
	const uint8_t *insn; /* decode assists, or NULL */
	unsigned insn_len;
};
void exit_stage2(struct vcpu_arch *a, const struct stage2_fault *f);

/* The instruction that exited has been done for the guest: on to `next_rip`. */
void vcpu_skip(struct vcpu_arch *a, uint64_t next_rip);

/* Makes `vector` pending; it is delivered at the next entry. #PF sets CR2 as well. */
void vcpu_raise(struct vcpu_arch *a, uint8_t vector);
void vcpu_raise_error(struct vcpu_arch *a, uint8_t vector, uint32_t error);

/* Length of the instruction at RIP, for processors that do not tell. 0: not readable or not valid.
 */
unsigned vcpu_insn_length(struct vcpu_arch *a);
void vcpu_read_state(const struct vcpu_arch *a, struct emu_cpu *cpu);

/* --- control.c: CR0, CR4, EFER, XCR0 as guests may set them. false: #GP --------------------------
 */

bool control_write_cr0(struct vcpu_arch *a, uint64_t value);
bool control_write_cr4(struct vcpu_arch *a, uint64_t value);
bool control_write_efer(struct vcpu_arch *a, uint64_t value);
bool control_write_xcr0(struct vcpu_arch *a, uint64_t value);

/* --- cpuid.c ------------------------------------------------------------------------------------
 */

struct cpuid;
void guest_cpuid_init(void); /* once: what the host has */
struct cpuid guest_cpuid(const struct vcpu_arch *a, uint32_t leaf, uint32_t subleaf);
uint64_t guest_cr4_mask(void); /* bits a guest may set */
uint64_t guest_efer_mask(void);
uint64_t guest_xcr0_mask(void);
unsigned guest_phys_bits(void);

/* --- msr.c: 0 or -EINVAL (#GP) -------------------------------------------------------------------
 */

int guest_rdmsr(struct vcpu_arch *a, uint32_t index, uint64_t *value);
int guest_wrmsr(struct vcpu_arch *a, uint32_t index, uint64_t value);
void guest_msr_reset(struct vcpu_arch *a);

/* --- fpu.c
 * ---------------------------------------------------------------------------------------- */

int fpu_create(struct vcpu_arch *a);
void fpu_destroy(struct vcpu_arch *a);
void fpu_reset(struct vcpu_arch *a); /* power-on contents */
void fpu_save(struct vcpu_arch *a);
void fpu_load(struct vcpu_arch *a);
void fpu_set_xcr0(struct vcpu_arch *a, uint64_t value); /* a legal value; the vCPU is loaded */

/* --- kvmclock.c: the paravirtual clock
 * ------------------------------------------------------------ */

#define MSR_KVM_WALL_CLOCK_OLD	0x11u
#define MSR_KVM_SYSTEM_TIME_OLD 0x12u
#define MSR_KVM_WALL_CLOCK	0x4b564d00u
#define MSR_KVM_SYSTEM_TIME	0x4b564d01u

/* 0, or -EINVAL (#GP). */
int kvmclock_write(struct vcpu_arch *a, uint32_t index, uint64_t value);
void kvmclock_refresh(struct vcpu_arch *a); /* the guest's TSC has jumped */
uint64_t guest_tsc(const struct vcpu_arch *a);
void guest_tsc_start(struct vcpu_arch *a); /* the TSC shows the VM's clock, from 0 */

#endif

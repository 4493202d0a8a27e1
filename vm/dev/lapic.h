/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The local APIC of a vCPU and the bus between the local APICs of a VM (Intel SDM vol 3 chapter
 * "Advanced Programmable Interrupt Controller"; AMD APM vol 2 chapter 16).
 *
 * Who may call what. A local APIC belongs to the pCPU that runs its vCPU, or holds it while it does
 * not run: every function that takes a struct lapic is for that owner, unless it says "any pCPU".
 * What others send arrives by lapic_bus and lapic_lint, which only touch the atomic fields (irr,
 * tmr, errors, pins, work) and then kick. They read of a foreign local APIC its `route` word only.
 * No lock anywhere.
 *
 * Properties a guest sees: version 0x14 with six LVT entries; the APIC ID is read-only; the base
 * can be relocated (ask lapic_claims; RAM of the guest wins over the register page); lowest
 * priority goes to the lowest task priority, turn by turn among equals; IPIs are edge-triggered
 * whatever ICR bit 15 says; vectors below 16 raise the ESR bits and are not delivered; SMI is
 * ignored. The timer's input clock is LAPIC_TIMER_HZ of the VM's clock, before the divider.
 */
#ifndef SLUICE_VM_DEV_LAPIC_H
#define SLUICE_VM_DEV_LAPIC_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/atomic.h"
#include "vm/clock.h"
#include "vm/dev/irq.h"
#include "vm/timer.h"

#define LAPIC_BASE	    0xfee00000ULL /* guest-physical, at power-on */
#define LAPIC_SIZE	    0x1000ULL
#define LAPIC_TIMER_HZ	    1000000000ULL /* one tick is one nanosecond of the VM's clock */
#define LAPIC_BUS_MAX	    64		  /* local APICs of a VM */
#define LAPIC_STATE_VERSION 1

#define LAPIC_MSR_BASE	       0x1bU  /* IA32_APIC_BASE */
#define LAPIC_MSR_TSC_DEADLINE 0x6e0U /* IA32_TSC_DEADLINE */
#define LAPIC_MSR_X2APIC       0x800U /* first of LAPIC_MSR_X2APIC_COUNT x2APIC registers */
#define LAPIC_MSR_X2APIC_COUNT 0x100U

#define LAPIC_BASE_BSP	  (1ULL << 8)
#define LAPIC_BASE_X2APIC (1ULL << 10)
#define LAPIC_BASE_ENABLE (1ULL << 11)

/* Delivery modes of ICR, LVT, redirection entries and MSI data. */
enum lapic_delivery {
	LAPIC_FIXED = 0,
	LAPIC_LOWEST = 1,
	LAPIC_SMI = 2,
	LAPIC_NMI = 4,
	LAPIC_INIT = 5,
	LAPIC_STARTUP = 6,
	LAPIC_EXTINT = 7,
};

/* LVT entries, in the order of struct lapic_state.lvt. */
enum lapic_lvt {
	LAPIC_LVT_TIMER,
	LAPIC_LVT_THERMAL,
	LAPIC_LVT_PERF,
	LAPIC_LVT_LINT0,
	LAPIC_LVT_LINT1,
	LAPIC_LVT_ERROR,
	LAPIC_LVT_COUNT,
};

/*
 * What the local APIC asks of its vCPU. All may be called on any pCPU, under the lock of a device
 * or of the I/O APIC, and must not call back into it: they leave a mark at the vCPU and wake it.
 */
struct lapic_ops {
	/* Something may have become deliverable: look at lapic_pending before the next entry. */
	void (*kick)(void *vcpu);
	void (*nmi)(void *vcpu);
	/* The vCPU is to enter wait-for-SIPI, and to call lapic_reset(LAPIC_RESET_INIT) for itself.
	 */
	void (*init)(void *vcpu);
	/* Starts at vector << 12 if it waits for SIPI, otherwise nothing. */
	void (*sipi)(void *vcpu, uint8_t vector);
	/* The guest's TSC now, and the host time (machine_now, rounded up) at which it reaches
	 * `tsc`: 0 or past when it has, TIMER_NEVER while the VM's clock stands. Called by the
	 * owner only. NULL both when LAPIC_HAS_TSC_DEADLINE is not set. */
	uint64_t (*tsc_now)(void *vcpu);
	uint64_t (*tsc_to_host)(void *vcpu, uint64_t tsc);
};

/* Guest-visible state. Plain data; the atomic words have the layout of their plain types. */
struct lapic_state {
	uint32_t version; /* LAPIC_STATE_VERSION */
	uint32_t id;	  /* x2APIC ID; the xAPIC ID is its low byte */
	uint64_t base;	  /* IA32_APIC_BASE */
	uint32_t tpr, ldr, dfr, svr;
	uint32_t esr;	   /* as last latched by a write */
	atomic_u32 errors; /* detected since */
	uint64_t icr;	   /* upper half in xAPIC mode: destination in bits 56-63 */
	uint32_t lvt[LAPIC_LVT_COUNT];
	uint32_t isr[8];
	atomic_u32 irr[8];
	atomic_u32 tmr[8];
	atomic_u32 pins; /* levels at LINT0 (bit 0) and LINT1 (bit 1) */
	atomic_u32 work; /* LAPIC_WORK_*, arrived and not yet looked at by the owner */
	uint32_t initial_count, divide;
	uint64_t timer_expiry; /* VM ns at which the count reaches 0; TIMER_NEVER: not counting */
	uint64_t tsc_deadline; /* guest TSC; 0: disarmed */
};

#define LAPIC_WORK_TIMER      0x01U /* the host timer fired */
#define LAPIC_WORK_ERROR      0x02U /* an error interrupt is owed */
#define LAPIC_WORK_LINT0_EDGE 0x04U /* the pin rose */
#define LAPIC_WORK_LINT1_EDGE 0x08U
#define LAPIC_WORK_EXTINT     0x10U /* an ExtINT message arrived; stays until acknowledged */

struct lapic_bus;

#define LAPIC_HAS_X2APIC       0x1U /* what CPUID tells the guest must agree */
#define LAPIC_HAS_TSC_DEADLINE 0x2U

struct lapic_config {
	struct lapic_bus *bus;
	const struct lapic_ops *ops;
	void *vcpu;		    /* handed to ops */
	const struct vclock *clock; /* of the VM */
	uint32_t id;		    /* APIC ID, unique in the VM */
	unsigned phys_bits;	    /* the guest's physical address width, 36..52 */
	unsigned features;	    /* LAPIC_HAS_* */
	bool bsp;
};

struct lapic {
	struct lapic_state s;
	struct lapic_config c;
	atomic_u64 route;   /* what a sender needs to know, derived from s */
	struct timer timer; /* host timer of whichever timer mode is on */
};

/* The local APICs of a VM. Members are added before any vCPU runs and stay. */
struct lapic_bus {
	struct lapic *apic[LAPIC_BUS_MAX];
	unsigned count;
	atomic_u32 turn;			/* lowest priority: where the next search begins */
	void (*eoi)(void *ctx, uint8_t vector); /* a level-triggered vector has ended: ioapic_eoi */
	void *eoi_ctx;
};

/* A message on the bus. */
struct lapic_msg {
	uint32_t dest;
	bool wide; /* dest is an x2APIC destination (32 bits), else xAPIC (8 bits, 0xff is
		      everybody) */
	bool logical;
	bool level; /* trigger mode: sets TMR, so that its EOI is broadcast */
	enum lapic_delivery mode;
	uint8_t vector;
};

void lapic_bus_init(struct lapic_bus *bus);

/*
 * Any pCPU. Delivers to every local APIC that matches, or to one of them in lowest-priority mode.
 * Returns how many accepted; 0 when nobody is there or willing.
 */
unsigned lapic_bus_send(struct lapic_bus *bus, const struct lapic_msg *msg);

/* Any pCPU. Sends what the MSI message says; false when its address is not in 0xfeexxxxx. */
bool lapic_bus_msi(struct lapic_bus *bus, const struct msi_msg *msi);

/*
 * `config` is copied, what it points to is borrowed. Joins the bus and is as after power-on.
 * -EINVAL for a width, ID or feature that cannot be, -EEXIST when the ID is taken, -ENOSPC when the
 * bus is full.
 */
int lapic_init(struct lapic *apic, const struct lapic_config *config);

/* Power-on also restores IA32_APIC_BASE; INIT keeps it (x2APIC mode included). Both stop the timer,
 * mask all LVT entries and forget what was pending. */
enum lapic_reset_kind { LAPIC_RESET_POWER_ON, LAPIC_RESET_INIT };
void lapic_reset(struct lapic *apic, enum lapic_reset_kind kind);

/*
 * What PC firmware leaves behind on the boot processor: enabled, LINT0 = ExtINT, LINT1 = NMI, so
 * that 8259 interrupts arrive though the kernel knows no APIC (MultiProcessor
 * Specification 3.6.2.2).
 */
void lapic_virtual_wire(struct lapic *apic);

/* Stops the host timer: before the vCPU goes away, or while the VM's clock stands. lapic_resume
 * arms it anew from the state: after the clock went on, or the vCPU moved to this pCPU. */
void lapic_suspend(struct lapic *apic);
void lapic_resume(struct lapic *apic);

/* --- the vCPU's run loop --- */

/* The vector to inject now (16-255), or -1: the highest request above the processor priority. Deals
 * with what has arrived first, which may call ops for this vCPU (an NMI by LINT1, say). */
int lapic_pending(struct lapic *apic);

/* The highest request whatever the priorities are, or -1; the highest in service, or -1. */
int lapic_highest_irr(struct lapic *apic);
int lapic_highest_isr(const struct lapic *apic);

/* The processor takes `vector` (as returned by lapic_pending): IRR -> ISR. */
void lapic_ack(struct lapic *apic, int vector);

/* End of interrupt, as a write to the EOI register. */
void lapic_eoi(struct lapic *apic);

/* CR8 and TPR are one: CR8 = TPR >> 4. */
uint8_t lapic_tpr(const struct lapic *apic);
void lapic_set_tpr(struct lapic *apic, uint8_t tpr);
uint8_t lapic_ppr(const struct lapic *apic);

/*
 * Would this vCPU take an interrupt from the 8259 now: the local APIC is disabled (LINT0 is then
 * the INTR pin), LINT0 is an unmasked ExtINT entry, or an ExtINT message has come. Whether there is
 * one, i8259_intr knows; after i8259_ack call lapic_extint_taken.
 */
bool lapic_accepts_extint(const struct lapic *apic);
void lapic_extint_taken(struct lapic *apic);

/* IA32_APIC_BASE bit 11: CPUID.1:EDX.APIC follows it. */
bool lapic_enabled(const struct lapic *apic);
bool lapic_x2apic(const struct lapic *apic);

/* --- inputs, any pCPU --- */

/* The level at LINT0 or LINT1 (pin 0 or 1) has this value; the form of irq_line.set, ctx is the
 * struct lapic. What it does is up to the LVT entry. */
void lapic_lint(void *ctx, unsigned pin, bool level);
void lapic_lint0(struct lapic *apic, bool level);
void lapic_lint1(struct lapic *apic, bool level);

/* An NMI for this vCPU, not by way of LINT1. */
void lapic_nmi(struct lapic *apic);

/* A thermal or performance-counter event: raises that LVT entry. By the owner. */
void lapic_local_event(struct lapic *apic, enum lapic_lvt lvt);

/* --- registers --- */

/* Is `gpa` in the register page: xAPIC mode and the page where the guest put it. */
bool lapic_claims(const struct lapic *apic, uint64_t gpa);

/*
 * Registers by memory access, `off` from the page's base (only its low 12 bits count). Reads must
 * lie in the first four bytes of a 16-byte slot, writes be aligned 32-bit ones (SDM vol 3 "Local
 * APIC Registers"); other reads give 0 and other writes are ignored. A slot that holds no register
 * sets ESR bit 7. Outside xAPIC mode reads give all ones and writes are ignored.
 */
uint64_t lapic_mmio_read(struct lapic *apic, uint64_t off, unsigned size);
void lapic_mmio_write(struct lapic *apic, uint64_t off, unsigned size, uint64_t val);

/* The MSRs that are the local APIC's: LAPIC_MSR_*. */
bool lapic_msr_mine(uint32_t msr);

/*
 * 0, or -EINVAL where the processor raises #GP: an MSR that is not mine or not there in this mode
 * or configuration, reserved bits, a read of a write-only or write of a read-only register, an
 * illegal change of mode.
 */
int lapic_msr_read(struct lapic *apic, uint32_t msr, uint64_t *val);
int lapic_msr_write(struct lapic *apic, uint32_t msr, uint64_t val);

/* --- snapshots --- */

/* A copy of the guest-visible state, the timer brought up to now. The vCPU does not run. */
void lapic_save(struct lapic *apic, struct lapic_state *out);

/* The opposite; arms the timer. -EINVAL, nothing changed, for a version, ID or value that cannot
 * be. */
int lapic_load(struct lapic *apic, const struct lapic_state *in);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The whole hardware interface of the core (mm, tlbi, stage2): data in, data out. Each architecture
 * implements it in arch/<a>/hw_<a>.c; the host tests in tests/host/hw_host.c. At most 20 functions.
 *
 * Commands are semantic: they say what must be forgotten; the encoding is the architecture's.
 */
#ifndef SLUICE_ARCH_HW_H
#define SLUICE_ARCH_HW_H

#include <stdbool.h>
#include <stdint.h>

#include "mm/types.h"

#define MAX_PCPUS 256

struct stage2_format;

/* How this machine tags translations, see tlbi/tags.h. */
enum hw_tags {
	HW_TAGS_ASID, /* SVM: a tag per vCPU that covers guest and nested translations alike */
	HW_TAGS_VPID, /* VMX: nested translations by root (EP4TA), guest ones by VPID as well */
};

/* What the core must know of the machine's MMU. Constant once hw_mmu_caps() was called first. */
struct hw_mmu_caps {
	enum hw_tags tags;
	uint32_t nr_tags;  /* tags 0..nr_tags-1 exist; 0 is never handed out. SVM: CPUID 8000_000A
			      EBX */
	bool flush_by_tag; /* SVM: TLB_CONTROL 3 exists (8000_000A EDX[6]); the others: true */
	uint8_t pa_bits;   /* width of a machine-physical address */
	uint8_t ipa_bits;  /* widest guest-physical address the tables can translate */
	uint8_t max_leaf_level; /* 0: 4K leaves only, 1: 2M, 2: 1G as well */
	bool exec_only;		/* EPT: leaves that execute but do not read */
	bool accessed_dirty;	/* hardware sets accessed and dirty bits in the tables */
};

enum hw_barrier {
	/*
	 * Entries written before are seen by every pCPU's table walker that starts after the
	 * barrier's successor in program order. x86: walkers are coherent with stores in order,
	 * compiler only (SDM vol 3 5.10.4.4; APM vol 2 5.5.2); arm64: DSB ISHST.
	 */
	HW_BARRIER_ENTRIES,
	/* arm64: walks that this pCPU began for the guest have ended (DSB NSH); x86: nothing, a
	 * walk does not outlive the exit. */
	HW_BARRIER_EXIT,
};

enum hw_tlbi_op {
	/* VMX, this pCPU only. SVM flushes with the next VMRUN, see struct tlbi_enter_cmd. */
	HW_TLBI_ROOT,	  /* nested and combined translations of `root`: INVEPT single-context */
	HW_TLBI_TAG,	  /* guest and combined translations of `tag`: INVVPID single-context */
	HW_TLBI_ALL_TAGS, /* of every tag: INVVPID all-context */
};

struct hw_tlbi_cmd {
	enum hw_tlbi_op op;
	uint32_t tag; /* HW_TLBI_TAG */
	pa_t root;    /* HW_TLBI_ROOT */
};

/* Index of this pCPU, 0..MAX_PCPUS-1. */
unsigned hw_cpu(void);

/* The hypervisor's address of machine memory: valid for every byte of the ranges given to
 * frames_init. */
void *hw_frame_ptr(pa_t pa);
pa_t hw_frame_pa(const void *p); /* its inverse */

/* Tells the pCPU that it spins (PAUSE, YIELD). */
void hw_relax(void);

void hw_barrier(enum hw_barrier kind);

/* Carries a command out. When it returns, nothing that it covers is used any more. */
void hw_tlbi(const struct hw_tlbi_cmd *cmd);

/*
 * Makes `pcpu` leave guest mode soon; returns at once. Ordered after this pCPU's earlier stores. An
 * interrupt that stays pending until the target is in guest mode or takes interrupts, so that a
 * kick sent while it is about to enter is not lost.
 */
void hw_kick(unsigned pcpu);

const struct hw_mmu_caps *hw_mmu_caps(void);

/* The table format that guests of this machine use: &stage2_npt, &stage2_ept or &stage2_vmsav8. */
const struct stage2_format *hw_stage2_format(void);

#endif

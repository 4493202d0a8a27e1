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
	HW_TAGS_VMID, /* arm64: one tag per space on all pCPUs, commands reach every pCPU */
};

/* What the core must know of the machine's MMU. Constant once hw_mmu_caps() was called first. */
struct hw_mmu_caps {
	enum hw_tags tags;
	uint32_t nr_tags;  /* tags 0..nr_tags-1 exist; 0 is never handed out. SVM: CPUID 8000_000A
			      EBX; arm64: 256, or 65536 with VTCR_EL2.VS */
	bool flush_by_tag; /* SVM: TLB_CONTROL 3 exists (8000_000A EDX[6]); the others: true */
	uint8_t pa_bits;   /* width of a machine-physical address */
	uint8_t ipa_bits;  /* widest guest-physical address the tables can translate */
	uint8_t max_leaf_level; /* 0: 4K leaves only, 1: 2M, 2: 1G as well */
	bool exec_only;		/* EPT: leaves that execute but do not read */
	bool accessed_dirty;	/* hardware sets accessed and dirty bits in the tables (arm64:
				   FEAT_HAFDBS, VTCR_EL2.HA and HD on) */
	/* arm64 only, false on x86. */
	bool tlbi_range; /* FEAT_TLBIRANGE: HW_TLBI_IPA_RANGE exists */
	bool tlbi_ttl;	 /* FEAT_TTL: level hints are heeded */
	bool fwb; /* FEAT_S2FWB, HCR_EL2.FWB on: what is mapped as memory is always write-back */
	/* Also true on x86, where caches are coherent with instruction fetch. */
	bool icache_coherent; /* CTR_EL0.DIC: new instructions need no instruction cache maintenance
			       */
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
	/* arm64 only from here on. What commands cover is used by no pCPU any more: the commands
	 * that this one gave before are complete (DSB ISH). */
	HW_BARRIER_TLBI,
	/* The same for this pCPU's own translations: completes the commands named LOCAL (DSB NSH).
	 */
	HW_BARRIER_TLBI_LOCAL,
	/* What this pCPU executes next sees it, too (ISB). */
	HW_BARRIER_CONTEXT,
	/* Stores and commands of the guest that ran here are complete before it may run elsewhere
	 * (DSB ISH). */
	HW_BARRIER_DESCHEDULE,
};

enum hw_tlbi_op {
	/* VMX, this pCPU only. SVM flushes with the next VMRUN, see struct tlbi_enter_cmd. */
	HW_TLBI_ROOT,	  /* nested and combined translations of `root`: INVEPT single-context */
	HW_TLBI_TAG,	  /* guest and combined translations of `tag`: INVVPID single-context */
	HW_TLBI_ALL_TAGS, /* of every tag: INVVPID all-context */
	/*
	 * arm64, every pCPU, complete only after HW_BARRIER_TLBI. "Stage 1" is what a guest's
	 * virtual addresses translate to, combined translations included: no command finds those
	 * by guest-physical address.
	 */
	HW_TLBI_IPA, /* stage 2 of one address of `tag`, and the tables on its way unless a level
			is given: IPAS2E1IS */
	HW_TLBI_IPA_RANGE,  /* stage 2 of a range of `tag`: RIPAS2E1IS; needs caps.tlbi_range */
	HW_TLBI_STAGE1,	    /* all of stage 1 of `tag`: VMALLE1IS */
	HW_TLBI_VMID,	    /* everything of `tag`: VMALLS12E1IS */
	HW_TLBI_EVERYTHING, /* of every tag: ALLE1IS */
	/* arm64, this pCPU only, complete only after HW_BARRIER_TLBI_LOCAL. */
	HW_TLBI_IPA_LOCAL,    /* IPAS2E1 */
	HW_TLBI_STAGE1_LOCAL, /* VMALLE1 */
	HW_TLBI_NR_OPS,
};

/* No claim about the level: `level` of a command. */
#define HW_ANY_LEVEL 0xff

/*
 * arm64 commands act on the VMID that VTTBR_EL2 names. While it issues one for a tag that is not
 * loaded the architecture pairs that tag with an empty root, so that no walk of this pCPU can fill
 * the TLB for a space that is not loaded here.
 */
struct hw_tlbi_cmd {
	enum hw_tlbi_op op;
	uint32_t tag; /* HW_TLBI_TAG, and every one of arm64 but EVERYTHING */
	pa_t root;    /* HW_TLBI_ROOT */
	ipa_t ipa;    /* HW_TLBI_IPA*: aligned to the leaf of `level`, if one is given */
	/* Hint: the translation is a leaf of this level (counted from the leaves), and no table on
	 * its way has changed; or HW_ANY_LEVEL. */
	uint8_t level;
	uint8_t scale, num; /* HW_TLBI_IPA_RANGE: (num + 1) << (5 * scale + 1) pages; 0..3, 0..31 */
};

enum hw_cache_op {
	HW_CACHE_CLEAN_INVALIDATE, /* data, to the point of coherency (DC CIVAC, DSB SY) */
	HW_CACHE_INSTRUCTIONS,	   /* instruction fetch sees what was written: DC CVAU unless
				      CTR_EL0.IDC,     DSB ISH, IC IVAU or IALLUIS, DSB ISH */
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
 * arm64: this pCPU's stage-2 root and VMID from now on (VTTBR_EL2); tag 0 with root 0: none, an
 * empty root under the VMID that no guest has. This pCPU's earlier stores are visible to every
 * other before a walk can use the new root (DSB ISH first); when it returns, no walk uses the old
 * one any more (ISB, DSB NSH; Arm ARM D8.1.5, out-of-context translation regimes). Not on x86.
 */
void hw_load_root(pa_t root, uint32_t tag);

/* Cache maintenance of [at, at + size), complete when it returns. Nothing on x86. */
void hw_cache(enum hw_cache_op op, pa_t at, uint64_t size);

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

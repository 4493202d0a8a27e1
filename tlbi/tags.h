/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which tag a vCPU runs on, and what must be flushed before it does.
 *
 * A re-entry of the vCPU that ran here last, with nothing reduced meanwhile, costs no flush and no
 * lock. On SVM and VMX tags are per pCPU and belong to one (space, vCPU, root) until the pCPU runs
 * out of them: then everything is flushed and every tag is void. On arm64 a tag belongs to a space,
 * on all pCPUs alike (tlbi/vmid.h). A dead space needs no flush: nobody gets its tags before.
 */
#ifndef SLUICE_TLBI_TAGS_H
#define SLUICE_TLBI_TAGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/atomic.h"
#include "tlbi/space.h"

/* What a vCPU remembers of its last entry. Only the pCPU that runs the vCPU touches `note`. */
struct tlbi_vcpu {
	/*
	 * The run sequence: moves when the hypervisor changed the vCPU's paging state. (Moving to
	 * another pCPU has the same effect: the note does not fit there.) A tag noted with an older
	 * one holds guest translations that the guest may believe to be gone.
	 */
	atomic_u64 run_seq;
	uint64_t id; /* never used again */
	struct tlbi_note {
		uint64_t space;	     /* 0: the note is void */
		uint64_t root;	     /* machine address */
		uint64_t generation; /* of the pCPU's tags */
		uint64_t epoch;	     /* sampled before the flush that cleaned the tag */
		uint64_t run_seq;
		uint32_t pcpu;
		uint32_t tag;
	} note;
};

enum tlbi_flush {
	TLBI_NONE, /* SVM TLB_CONTROL 0 */
	TLBI_TAG,  /* everything of this tag: TLB_CONTROL 3 */
	TLBI_ALL,  /* everything of every tag of this pCPU: TLB_CONTROL 1 */
};

/* What the entry must do. VMX and arm64 have flushed already: flush is TLBI_NONE there. */
struct tlbi_enter_cmd {
	uint32_t tag;
	enum tlbi_flush flush;
	bool fresh; /* tag, root or pCPU differ from this vCPU's last entry: VMCB clean bits do not
		       hold */
};

void tlbi_vcpu_init(struct tlbi_vcpu *v);

/* The hypervisor changed CR0, CR3, CR4 or EFER of the vCPU, or reset it. Any pCPU. */
void tlbi_vcpu_paging_changed(struct tlbi_vcpu *v);

/* Once at start, after kzalloc works and hw_mmu_caps() is final. */
void tlbi_init(void);

/* Once per pCPU before its first tlbi_enter or reader section, by any pCPU; 0 or -ENOMEM. */
int tlbi_pcpu_init(unsigned pcpu);

/*
 * The last thing before the world switch, interrupts off, on `pcpu`: from here on the pCPU counts
 * as in guest mode in `s`. The caller carries *out out and enters; interrupts that arrive from now
 * on (a kick) make the guest exit at once. No lock may be taken until tlbi_exit.
 */
void tlbi_enter(unsigned pcpu, struct space *s, struct tlbi_vcpu *v, struct tlbi_enter_cmd *out);

/*
 * The first thing after the exit. `entered` is false when the guest was not entered after all
 * (VMRUN refused the state; the caller thought better of it): then the flush that tlbi_enter asked
 * for counts as not done.
 */
void tlbi_exit(unsigned pcpu, struct tlbi_vcpu *v, bool entered);

/*
 * On this pCPU, interrupts off, not in guest mode; for arm64, nothing elsewhere.
 *
 * descheduled: the vCPU that ran here last may run on another pCPU next: what it stored and the
 * maintenance that it began are complete first.
 * poll: somebody may have asked (by a kick) that this pCPU let go of a dead space. Whenever work is
 * looked for.
 * idle: no guest will run here for a while; nothing of one stays loaded.
 */
void tlbi_descheduled(void);
void tlbi_poll(void);
void tlbi_idle(void);

/* Counters of one pCPU since boot. */
struct tlbi_stat {
	uint64_t entries;
	uint64_t clean;	       /* entries without any flush or new tag */
	uint64_t flush_tag;    /* entries or commands that flushed one tag */
	uint64_t flush_root;   /* one root (VMX) */
	uint64_t flush_stage1; /* guest translations of a space on this pCPU (arm64) */
	uint64_t flush_all;
	uint64_t new_tag;
	uint64_t kicks;	    /* sent by this pCPU */
	uint64_t coalesced; /* kicks that another one made unnecessary */
};

struct tlbi_stat tlbi_stat(unsigned pcpu);

#endif

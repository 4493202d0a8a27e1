/* SPDX-License-Identifier: BSD-2-Clause */
/* Tags of SVM, VMX and arm64: what tlbi_enter flushes and what it may skip. See tlbi/tags.h. */
#include "tlbi/tags.h"

#include "arch/hw.h"
#include "lib/check.h"
#include "lib/errno.h"
#include "lib/util.h"
#include "mm/kalloc.h"
#include "mm/ledger.h"
#include "mm/reclaim.h"
#include "tlbi/agent.h"
#include "tlbi/broadcast.h"
#include "tlbi/vmid.h"

#define ROOT_SLOTS 16 /* spaces whose nested translations a pCPU keeps apart (VMX) */
#define RAN_SLOTS  16 /* spaces whose last vCPU a pCPU remembers (arm64) */

/* Nested translations of `root` belong to `space` and hold nothing older than `epoch`. */
struct root_slot {
	uint64_t space; /* 0: unused */
	uint64_t root;
	uint64_t epoch;
};

/* Guest translations that this pCPU holds for `space` are of `vcpu`, since `run_seq`. */
struct ran_slot {
	uint64_t space; /* 0: unused */
	uint64_t vcpu, run_seq;
};

/* One pCPU's; nobody else touches it (tlbi_stat reads counters). */
struct tag_state {
	uint64_t generation; /* of tags; a note with another one is void */
	uint32_t next_tag;   /* the lowest not handed out in this generation */
	bool owe_all;	     /* nothing may be entered before everything is flushed */
	unsigned victim;     /* slot that is given away next */
	struct root_slot roots[ROOT_SLOTS];
	struct ran_slot ran[RAN_SLOTS];
	struct tlbi_stat stat;
};

static struct tag_state *states[MAX_PCPUS];
static atomic_u64 last_vcpu;
static const struct hw_mmu_caps *caps;

void tlbi_init(void)
{
	static const struct reclaim_agents agents = {agents_behind, agents_wait};

	caps = hw_mmu_caps();
	CHECK(caps->nr_tags >= 2);
	reclaim_init(&agents);
	broadcast_init(caps);
	ledger_init(caps);
	if (broadcast_in_use())
		vmid_init(caps->nr_tags);
}

int tlbi_pcpu_init(unsigned pcpu)
{
	struct tag_state *t;

	CHECK(pcpu < MAX_PCPUS && !states[pcpu]);
	t = kzalloc(sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->generation = 1;
	t->next_tag = 1;
	t->owe_all = true; /* firmware or another hypervisor may have left translations behind */
	states[pcpu] = t;
	agent_init(pcpu);
	if (broadcast_in_use())
		vmid_pcpu_init(pcpu);
	return 0;
}

void tlbi_vcpu_init(struct tlbi_vcpu *v)
{
	*v = (struct tlbi_vcpu){.run_seq = {1}, .id = atomic_add64(&last_vcpu, 1) + 1};
}

void tlbi_vcpu_paging_changed(struct tlbi_vcpu *v)
{
	atomic_add64(&v->run_seq, 1);
}

/*
 * A tag that nothing was cached under since the last flush of everything. When there is none left,
 * everything is flushed at this entry and all tags are free again: the generation voids every note.
 */
static uint32_t tag_take(struct tag_state *t)
{
	if (t->next_tag >= caps->nr_tags) {
		t->generation++;
		t->next_tag = 1;
		t->owe_all = true;
	}
	t->stat.new_tag++;
	return t->next_tag++;
}

/* The note was made on this pCPU, for this space, and its tag was not taken away since. */
static bool note_holds(const struct tlbi_note *n, const struct tag_state *t, unsigned pcpu,
		       const struct space *s)
{
	return n->space == s->id && n->pcpu == pcpu && n->generation == t->generation;
}

/*
 * SVM: the ASID covers guest and nested translations and whatever hangs on nCR3, so a change of any
 * of them makes the tag dirty; another root always takes a new one (APM vol 2, 15.16 and 15.25).
 */
static void enter_asid(struct tag_state *t, const struct tlbi_note *old, struct tlbi_note *note,
		       bool holds, struct tlbi_enter_cmd *out)
{
	bool same = holds && old->root == note->root;
	bool clean = same && old->epoch == note->epoch && old->run_seq == note->run_seq;

	if (same && !clean && caps->flush_by_tag) {
		out->flush = TLBI_TAG;
	} else if (!clean) {
		note->tag = tag_take(t);
		note->generation = t->generation;
	}
	if (t->owe_all)
		out->flush = TLBI_ALL;
	out->tag = note->tag;
	t->stat.flush_tag += out->flush == TLBI_TAG;
	t->stat.flush_all += out->flush == TLBI_ALL;
	t->stat.clean += clean && out->flush == TLBI_NONE;
}

/* VMX: makes this pCPU's nested translations of the root clean up to `epoch`. True: they were. */
static bool settle_root(struct tag_state *t, const struct space *s, uint64_t epoch)
{
	struct root_slot *slot = NULL;

	for (unsigned i = 0; i < ROOT_SLOTS; i++)
		if (t->roots[i].space == s->id && t->roots[i].root == s->root.v)
			slot = &t->roots[i];
	if (slot && slot->epoch >= epoch)
		return true;
	/*
	 * Unknown: the root's frame may have been another space's root. A slot that is given away
	 * needs no flush for the same reason: its space is unknown when it comes back.
	 */
	if (!slot) {
		slot = &t->roots[t->victim];
		t->victim = (t->victim + 1) % ROOT_SLOTS;
	}
	hw_tlbi(&(struct hw_tlbi_cmd){.op = HW_TLBI_ROOT, .root = s->root});
	t->stat.flush_root++;
	*slot = (struct root_slot){.space = s->id, .root = s->root.v, .epoch = epoch};
	return false;
}

/*
 * VMX: two tags, settled apart. Guest translations carry the VPID, nested ones the root, combined
 * ones both (SDM vol 3, 29.4): a new VPID does not hide nested translations, INVVPID does not
 * settle them.
 */
static void enter_vpid(struct tag_state *t, const struct space *s, const struct tlbi_note *old,
		       struct tlbi_note *note, bool holds, struct tlbi_enter_cmd *out)
{
	bool clean = holds && old->run_seq == note->run_seq;

	if (!holds) {
		note->tag = tag_take(t);
		note->generation = t->generation;
	}
	if (t->owe_all) {
		hw_tlbi(&(struct hw_tlbi_cmd){.op = HW_TLBI_ALL_TAGS});
		t->stat.flush_all++;
		t->owe_all = false;
	} else if (holds && !clean) {
		hw_tlbi(&(struct hw_tlbi_cmd){.op = HW_TLBI_TAG, .tag = note->tag});
		t->stat.flush_tag++;
	}
	out->tag = note->tag;
	if (settle_root(t, s, note->epoch) && clean)
		t->stat.clean++;
}

/*
 * arm64: guest translations of the vCPU that ran in this space here last. Of another one they are
 * wrong (two vCPUs may use one ASID for different things, and CnP is 0 because of that); of this
 * one they are right wherever it was meanwhile, for its own maintenance reaches every pCPU
 * (HCR_EL2.FB), but not after the hypervisor changed its paging state. True: they may stay.
 */
static bool settle_ran(struct tag_state *t, const struct space *s, const struct tlbi_vcpu *v,
		       uint64_t run_seq)
{
	struct ran_slot *slot = NULL;

	for (unsigned i = 0; i < RAN_SLOTS; i++)
		if (t->ran[i].space == s->id)
			slot = &t->ran[i];
	if (slot && slot->vcpu == v->id && slot->run_seq == run_seq)
		return true;
	if (!slot) {
		slot = &t->ran[t->victim];
		t->victim = (t->victim + 1) % RAN_SLOTS;
	}
	broadcast_cmd(&(struct hw_tlbi_cmd){.op = HW_TLBI_STAGE1_LOCAL, .tag = vmid_of(s)});
	broadcast_barrier(HW_BARRIER_TLBI_LOCAL);
	t->stat.flush_stage1++;
	*slot = (struct ran_slot){s->id, v->id, run_seq};
	return false;
}

/*
 * arm64: everything that may take a lock comes before guest mode, so what was sampled there may be
 * old by then: then once more. Commands reach this pCPU in guest mode as well, so a batch that is
 * issued later is its requester's business.
 */
static void enter_vmid(struct tag_state *t, unsigned pcpu, struct space *s, struct tlbi_vcpu *v,
		       struct tlbi_enter_cmd *out)
{
	uint64_t run_seq, epoch;
	bool loaded, clean;

	if (t->owe_all) {
		broadcast_cmd(&(struct hw_tlbi_cmd){.op = HW_TLBI_EVERYTHING});
		broadcast_barrier(HW_BARRIER_TLBI);
		t->stat.flush_all++;
		t->owe_all = false;
	}
	for (;;) {
		clean = !broadcast_behind(s, space_epoch(s));
		broadcast_flush(s, space_epoch(s));
		out->tag = vmid_enter(pcpu, s, &loaded);
		run_seq = atomic_load64_acq(&v->run_seq);
		clean &= settle_ran(t, s, v, run_seq) && !loaded;
		epoch = agent_guest_begin(pcpu, s);
		if (!broadcast_behind(s, epoch))
			break;
		agent_guest_end(pcpu);
	}
	out->fresh = v->note.space != s->id || v->note.pcpu != pcpu || v->note.tag != out->tag;
	v->note = (struct tlbi_note){
		.space = s->id,
		.root = s->root.v,
		.epoch = epoch,
		.run_seq = run_seq,
		.pcpu = pcpu,
		.tag = out->tag,
	};
	t->stat.entries++;
	t->stat.clean += clean;
	t->stat.new_tag += loaded;
	agent_guest_clean(pcpu, epoch);
}

void tlbi_enter(unsigned pcpu, struct space *s, struct tlbi_vcpu *v, struct tlbi_enter_cmd *out)
{
	struct tag_state *t = states[pcpu];
	struct tlbi_note old = v->note;
	struct tlbi_note note = {
		.space = s->id,
		.pcpu = pcpu,
		.generation = old.generation,
		.tag = old.tag,
		.root = s->root.v,
	};
	bool holds = note_holds(&old, t, pcpu, s);

	if (caps->tags == HW_TAGS_VMID) {
		*out = (struct tlbi_enter_cmd){.flush = TLBI_NONE};
		enter_vmid(t, pcpu, s, v, out);
		return;
	}
	/* Both sampled before any flush: what moves meanwhile is owed next time. */
	note.run_seq = atomic_load64_acq(&v->run_seq);
	note.epoch = agent_guest_begin(pcpu, s);
	*out = (struct tlbi_enter_cmd){.flush = TLBI_NONE};
	if (caps->tags == HW_TAGS_ASID)
		enter_asid(t, &old, &note, holds, out);
	else
		enter_vpid(t, s, &old, &note, holds, out);
	out->fresh = !holds || old.tag != note.tag || old.generation != note.generation ||
		     old.root != note.root;
	t->stat.entries++;
	v->note = note;
	agent_guest_clean(pcpu, note.epoch);
}

void tlbi_exit(unsigned pcpu, struct tlbi_vcpu *v, bool entered)
{
	agent_guest_end(pcpu);
	if (caps->tags == HW_TAGS_VMID)
		return;
	/*
	 * SVM flushes in VMRUN itself: one that did not happen flushed nothing. A void note takes a
	 * new tag, and a flush of everything stays owed.
	 */
	if (entered)
		states[pcpu]->owe_all = false;
	else
		v->note.space = 0;
}

void tlbi_descheduled(void)
{
	if (broadcast_in_use())
		broadcast_barrier(HW_BARRIER_DESCHEDULE);
}

void tlbi_poll(void)
{
	if (broadcast_in_use())
		vmid_poll(hw_cpu());
}

void tlbi_idle(void)
{
	if (broadcast_in_use())
		vmid_unload(hw_cpu());
}

struct tlbi_stat tlbi_stat(unsigned pcpu)
{
	struct tlbi_stat stat = {0};

	if (pcpu < MAX_PCPUS && states[pcpu]) {
		stat = states[pcpu]->stat;
		agent_count_kicks(pcpu, &stat.kicks, &stat.coalesced);
	}
	return stat;
}

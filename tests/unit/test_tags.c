/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tags before a hardware that remembers everything: simulated pCPUs whose TLBs keep what was cached
 * under each tag and root until a command covers it. Random entries, reductions, paging changes,
 * migrations, dead spaces and reused root frames; no entry may find anything stale (I4, I11). The
 * same runs again with a hardware that ignores flushes, which must be noticed: else the test is
 * blind.
 */
// links: mm/ledger.c tlbi/broadcast.c tlbi/vmid.c
// links: tlbi/tags.c tlbi/space.c tlbi/agent.c tlbi/gather.c mm/frames.c mm/reclaim.c
// links: lib/log.c lib/string.c
#include <stdlib.h>

#include "lib/check.h"
#include "lib/util.h"
#include "tests/host/hw_host.h"
#include "tests/tap.h"
#include "tlbi/agent.h"
#include "tlbi/gather.h"
#include "tlbi/tags.h"

#define PCPUS  3u
#define SPACES 5u
#define VCPUS  7u
#define TAGS   7u /* 1..6 can be handed out: fewer than there are vCPUs */
#define ROOTS  7u /* frames that spaces take turns to use as root */

static unsigned rnd(unsigned below)
{
	return (unsigned)random() % below;
}

/* Something cached. guest: whose translations; 0: nothing. */
struct cached {
	uint64_t guest, run; /* which vCPU, in which of its runs between paging changes and moves */
	uint64_t space, epoch;
};

struct tlb {
	struct cached asid[TAGS];	     /* SVM: guest and nested at once */
	struct cached vpid[TAGS];	     /* VMX: guest */
	struct cached root[ROOTS];	     /* VMX: nested */
	struct cached combined[TAGS][ROOTS]; /* VMX: both */
};

static struct guest_cpu {
	struct tlbi_vcpu tlb;
	uint64_t id, run;
	unsigned space, pcpu;
} vcpus[VCPUS];

static struct tlb tlbs[MAX_PCPUS];
static struct space spaces[SPACES];
static unsigned first_pcpu; /* each scenario has pCPUs of its own */
static bool deaf;	    /* the control: flushes do nothing */
static unsigned stale, used;

static unsigned root_index(pa_t root)
{
	return (unsigned)(root.v / PAGE_SIZE) - 1;
}

static void forget(struct cached *c)
{
	if (!deaf)
		c->guest = 0;
}

static void on_tlbi(const struct hw_tlbi_cmd *cmd)
{
	struct tlb *t = &tlbs[host_cpu];
	unsigned r = root_index(cmd->root);

	if (cmd->op == HW_TLBI_ROOT) {
		forget(&t->root[r]);
		for (unsigned i = 0; i < TAGS; i++)
			forget(&t->combined[i][r]);
		return;
	}
	for (unsigned i = 0; i < TAGS; i++) {
		if (cmd->op == HW_TLBI_TAG && cmd->tag != i)
			continue;
		forget(&t->vpid[i]);
		for (unsigned j = 0; j < ROOTS; j++)
			forget(&t->combined[i][j]);
	}
}

/* The guest uses what is cached, which must be its own and of now, and caches it anew. */
static void use(struct cached *c, const struct cached *now, bool guest, bool nested)
{
	used += c->guest != 0;
	if (c->guest && guest)
		stale += c->guest != now->guest || c->run != now->run;
	if (c->guest && nested)
		stale += c->space != now->space || c->epoch < now->epoch;
	*c = *now;
}

static void vmrun(const struct tlbi_enter_cmd *cmd, const struct space *s, const struct cached *now)
{
	struct tlb *t = &tlbs[host_cpu];
	unsigned r = root_index(s->root);

	CHECK(cmd->tag > 0 && cmd->tag < host_caps.nr_tags);
	if (host_caps.tags == HW_TAGS_VPID) {
		CHECK(cmd->flush == TLBI_NONE);
		use(&t->vpid[cmd->tag], now, true, false);
		use(&t->root[r], now, false, true);
		use(&t->combined[cmd->tag][r], now, true, true);
		return;
	}
	CHECK(host_caps.flush_by_tag || cmd->flush != TLBI_TAG);
	for (unsigned i = 0; i < TAGS; i++)
		if (cmd->flush == TLBI_ALL || (cmd->flush == TLBI_TAG && cmd->tag == i))
			forget(&t->asid[i]);
	use(&t->asid[cmd->tag], now, true, true);
}

static struct tlbi_enter_cmd run(struct guest_cpu *v, unsigned pcpu, bool refused)
{
	struct space *s = &spaces[v->space];
	struct tlbi_enter_cmd cmd;
	struct cached now;

	host_cpu = pcpu;
	v->run += v->pcpu != pcpu;
	v->pcpu = pcpu;
	now = (struct cached){v->id, v->run, s->id, space_epoch(s)};
	tlbi_enter(pcpu, s, &v->tlb, &cmd);
	if (!refused)
		vmrun(&cmd, s, &now);
	tlbi_exit(pcpu, &v->tlb, !refused);
	return cmd;
}

static void reduce(struct space *s)
{
	TLBI_GATHER(g, s);
	struct space_locked l = space_lock(s);

	gather_leaf(&g, ipa(0), PAGE_SIZE, 0, GATHER_ABSENT);
	space_unlock(l, &g);
	gather_defer(&g);
}

static void paging_changed(struct guest_cpu *v)
{
	tlbi_vcpu_paging_changed(&v->tlb);
	v->run++;
}

/* A new vCPU in the place of an old one. */
static void create(struct guest_cpu *v, unsigned space)
{
	static uint64_t ids;

	*v = (struct guest_cpu){.id = ++ids, .space = space, .pcpu = first_pcpu};
	tlbi_vcpu_init(&v->tlb);
}

/* A new space in the place of a dead one; its root is a frame that no living space has. */
static void reincarnate(struct space *s)
{
	unsigned r = rnd(ROOTS);
	bool taken = true;

	while (taken) {
		taken = false;
		r = (r + 1) % ROOTS;
		for (unsigned i = 0; i < SPACES; i++)
			taken = taken ||
				(&spaces[i] != s && spaces[i].root.v == (r + 1) * PAGE_SIZE);
	}
	space_init(s, pa((r + 1) * PAGE_SIZE));
}

static void start(enum hw_tags tags, bool by_tag, uint32_t nr_tags)
{
	static unsigned next_pcpu;

	host_caps.tags = tags;
	host_caps.flush_by_tag = by_tag;
	host_caps.nr_tags = nr_tags;
	host_on_tlbi = on_tlbi;
	stale = used = 0;
	first_pcpu = next_pcpu;
	next_pcpu += PCPUS;
	tlbi_init();
	memset(spaces, 0, sizeof(spaces));
	for (unsigned i = 0; i < PCPUS; i++) {
		/* Whoever ran before left translations under every tag and root. */
		memset(&tlbs[first_pcpu + i], 0x7f, sizeof(tlbs[0]));
		CHECK(tlbi_pcpu_init(first_pcpu + i) == 0);
	}
	for (unsigned i = 0; i < SPACES; i++)
		reincarnate(&spaces[i]);
	for (unsigned i = 0; i < VCPUS; i++)
		create(&vcpus[i], i % SPACES);
}

static struct tlbi_stat total(void)
{
	struct tlbi_stat sum = {0};

	for (unsigned i = 0; i < PCPUS; i++) {
		struct tlbi_stat s = tlbi_stat(first_pcpu + i);

		sum.entries += s.entries;
		sum.clean += s.clean;
		sum.flush_tag += s.flush_tag;
		sum.flush_root += s.flush_root;
		sum.flush_all += s.flush_all;
		sum.new_tag += s.new_tag;
	}
	return sum;
}

/* ---- random play ---- */

static void step(void)
{
	struct guest_cpu *v = &vcpus[rnd(VCPUS)];
	unsigned s = rnd(SPACES);

	switch (rnd(40)) {
	case 0:
	case 1:
	case 2:
		reduce(&spaces[s]);
		break;
	case 3:
	case 4:
		paging_changed(v);
		break;
	case 5:
		reincarnate(&spaces[s]);
		break;
	case 6:
		create(v, s);
		break;
	default:
		run(v, rnd(4) ? v->pcpu : first_pcpu + rnd(PCPUS), rnd(12) == 0);
		break;
	}
}

static void play(const char *name, enum hw_tags tags, bool by_tag)
{
	struct tlbi_stat t;

	deaf = false;
	start(tags, by_tag, TAGS);
	for (unsigned i = 0; i < 60000; i++)
		step();
	t = total();
	ok(stale == 0, "%s: nothing stale in 60000 steps, %u translations used again", name, used);
	ok(t.clean > 1000 && used > 1000, "%s: %u of %u entries needed no flush", name,
	   (unsigned)t.clean, (unsigned)t.entries);
	printf("# %s: tag %u, root %u, all %u, new tags %u\n", name, (unsigned)t.flush_tag,
	       (unsigned)t.flush_root, (unsigned)t.flush_all, (unsigned)t.new_tag);
	deaf = true;
	start(tags, by_tag, TAGS);
	for (unsigned i = 0; i < 2000; i++)
		step();
	ok(stale > 100, "%s: control: without flushes %u stale uses are seen", name, stale);
	deaf = false;
}

/* ---- what exactly is asked for ---- */

static unsigned commands[3];

static void count(const struct hw_tlbi_cmd *cmd)
{
	commands[cmd->op]++;
}

static void expect(const char *what, struct tlbi_enter_cmd got, enum tlbi_flush flush, bool fresh)
{
	ok(got.flush == flush && got.fresh == fresh, "%s: flush %u, fresh %d", what, got.flush,
	   got.fresh);
}

static void test_asid(void)
{
	struct guest_cpu *a = &vcpus[0], *b = &vcpus[SPACES]; /* two of one space */
	unsigned tag;

	start(HW_TAGS_ASID, true, TAGS);
	expect("first entry ever, refused", run(a, first_pcpu, true), TLBI_ALL, true);
	expect("first entry ever", run(a, first_pcpu, false), TLBI_ALL, true);
	expect("undisturbed re-entry", run(a, first_pcpu, false), TLBI_NONE, false);
	tag = a->tlb.note.tag;
	expect("sibling", run(b, first_pcpu, false), TLBI_NONE, true);
	ok(b->tlb.note.tag != tag, "siblings have tags of their own");
	expect("re-entry after the sibling", run(a, first_pcpu, false), TLBI_NONE, false);
	reduce(&spaces[1]);
	expect("another space was reduced", run(a, first_pcpu, false), TLBI_NONE, false);
	reduce(&spaces[0]);
	expect("own space was reduced", run(a, first_pcpu, false), TLBI_TAG, false);
	expect("once", run(a, first_pcpu, false), TLBI_NONE, false);
	expect("the sibling as well", run(b, first_pcpu, false), TLBI_TAG, false);
	paging_changed(a);
	expect("paging changed", run(a, first_pcpu, false), TLBI_TAG, false);
	expect("not the sibling's", run(b, first_pcpu, false), TLBI_NONE, false);
	expect("moved", run(a, first_pcpu + 1, false), TLBI_ALL, true);
	expect("and back", run(a, first_pcpu, false), TLBI_NONE, true);
	ok(a->tlb.note.tag != tag, "with a tag that nothing is cached under");
	reduce(&spaces[0]);
	expect("reduced, entry refused", run(a, first_pcpu, true), TLBI_TAG, false);
	expect("then the flush is still owed", run(a, first_pcpu, false), TLBI_NONE, true);
	spaces[0].root = pa(ROOTS * PAGE_SIZE);
	expect("another root", run(a, first_pcpu, false), TLBI_NONE, true);
	expect("tags are used up", run(&vcpus[1], first_pcpu, true), TLBI_ALL, true);
	expect("entry refused: still everything", run(&vcpus[2], first_pcpu, false), TLBI_ALL,
	       true);
	expect("which voids the others", run(b, first_pcpu, false), TLBI_NONE, true);
	is_u64(stale, 0, "nothing stale on the way");

	start(HW_TAGS_ASID, false, TAGS);
	run(a, first_pcpu, false);
	tag = a->tlb.note.tag;
	reduce(&spaces[0]);
	expect("no flush by ASID: a new one", run(a, first_pcpu, false), TLBI_NONE, true);
	ok(a->tlb.note.tag != tag, "indeed");
	start(HW_TAGS_ASID, false, 2);
	run(a, first_pcpu, false);
	expect("one tag only: everything at each change", run(b, first_pcpu, false), TLBI_ALL,
	       true);
	expect("but not at a re-entry", run(b, first_pcpu, false), TLBI_NONE, false);
}

static void expect_vmx(const char *what, struct guest_cpu *v, unsigned root, unsigned tag,
		       unsigned all)
{
	memset(commands, 0, sizeof(commands));
	run(v, first_pcpu, false);
	ok(commands[HW_TLBI_ROOT] == root && commands[HW_TLBI_TAG] == tag &&
		   commands[HW_TLBI_ALL_TAGS] == all,
	   "%s: INVEPT %u, INVVPID %u, all %u", what, commands[HW_TLBI_ROOT], commands[HW_TLBI_TAG],
	   commands[HW_TLBI_ALL_TAGS]);
}

static void test_vpid(void)
{
	struct guest_cpu *a = &vcpus[0], *b = &vcpus[SPACES], *c = &vcpus[1];

	start(HW_TAGS_VPID, true, TAGS);
	host_on_tlbi = count;
	expect_vmx("first entry ever", a, 1, 0, 1);
	expect_vmx("undisturbed re-entry", a, 0, 0, 0);
	expect_vmx("sibling", b, 0, 0, 0);
	expect_vmx("another space", c, 1, 0, 0);
	expect_vmx("back", a, 0, 0, 0);
	reduce(&spaces[0]);
	expect_vmx("reduced", a, 1, 0, 0);
	expect_vmx("settled for the sibling too", b, 0, 0, 0);
	paging_changed(b);
	expect_vmx("paging changed", b, 0, 1, 0);
	run(b, first_pcpu + 1, false);
	expect_vmx("moved and back: a new VPID, nested translations stay", b, 0, 0, 0);
	space_init(&spaces[0], spaces[0].root);
	expect_vmx("same root frame, new space", a, 1, 0, 0);
	run(b, first_pcpu, false);
	expect_vmx("VPIDs used up", c, 0, 0, 0);
}

/* Another pCPU's view: kicks only who is in guest mode and behind, once. */
static void test_kicks(void)
{
	struct tlbi_enter_cmd cmd;
	unsigned c0, c1;

	start(HW_TAGS_ASID, true, TAGS);
	c0 = first_pcpu;
	c1 = first_pcpu + 1;
	memset(host_kicks, 0, sizeof(host_kicks));
	host_cpu = c1;
	tlbi_enter(c1, &spaces[0], &vcpus[0].tlb, &cmd);
	host_cpu = c0;
	ok(!agents_behind(spaces[0].id, space_epoch(&spaces[0])), "who entered now is not behind");
	reduce(&spaces[1]);
	ok(!agents_behind(spaces[1].id, space_epoch(&spaces[1])), "who runs another space is not");
	reduce(&spaces[0]);
	ok(agents_behind(spaces[0].id, space_epoch(&spaces[0])), "who entered before a batch is");
	is_u64(host_kicks[c1], 0, "deferral kicks nobody");
	space_force(&spaces[0], space_epoch(&spaces[0]));
	space_force(&spaces[0], space_epoch(&spaces[0]));
	is_u64(host_kicks[c1], 1, "two requests, one kick");
	is_u64(host_kicks[c0], 0, "who is not in the guest is not kicked");
	is_u64(tlbi_stat(c0).coalesced, 1, "and the other is counted as spared");
	tlbi_exit(c1, &vcpus[0].tlb, true);
	ok(!agents_behind(spaces[0].id, space_epoch(&spaces[0])), "who left is not behind");
	host_cpu = c1;
	tlbi_enter(c1, &spaces[0], &vcpus[0].tlb, &cmd);
	host_cpu = c0;
	ok(!agents_behind(spaces[0].id, space_epoch(&spaces[0])) && cmd.flush == TLBI_TAG,
	   "re-entry flushes and counts as passed");
	reduce(&spaces[0]);
	space_force(&spaces[0], space_epoch(&spaces[0]));
	is_u64(host_kicks[c1], 2, "the next stay in the guest can be kicked again");
	tlbi_exit(c1, &vcpus[0].tlb, true);
}

int main(void)
{
	srandom(3);
	test_asid();
	test_vpid();
	test_kicks();
	play("SVM", HW_TAGS_ASID, true);
	play("SVM without flush by ASID", HW_TAGS_ASID, false);
	play("VMX", HW_TAGS_VPID, true);
	return tap_done();
}

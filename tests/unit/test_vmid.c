/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VMIDs before a TLB that fills at any time: simulated pCPUs cache under the VMID and root that
 * they have loaded, in guest mode or not, until a command covers it. Spaces come and go, batches
 * are deferred, VMIDs run out; nobody may meet another space's translations, or what a batch took
 * away before he entered (I4), and no frame is free while a pCPU could reach it (I1, I2). Deaf to
 * commands, the same must fail.
 */
// links: tlbi/tags.c tlbi/space.c tlbi/agent.c tlbi/gather.c tlbi/broadcast.c tlbi/vmid.c
// links: mm/frames.c mm/reclaim.c mm/ledger.c lib/log.c lib/string.c
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/check.h"
#include "lib/util.h"
#include "mm/reclaim.h"
#include "tests/host/hw_host.h"
#include "tests/tap.h"
#include "tlbi/agent.h"
#include "tlbi/broadcast.h"
#include "tlbi/gather.h"
#include "tlbi/tags.h"
#include "tlbi/vmid.h"

#define PCPUS  3u
#define SPACES 6u
#define VCPUS  9u
#define NR     11u /* VMIDs 1 to 10: at a rollover up to six are kept */

static unsigned rnd(unsigned below)
{
	return (unsigned)random() % below;
}

/* What a pCPU holds under a VMID. */
struct held {
	uint64_t space, epoch; /* stage 2: filled when the space was at this epoch */
	uint64_t vcpu, run;    /* stage 1 */
};

static struct pcpu {
	struct held tlb[NR];
	uint32_t vmid; /* loaded */
	struct space *space;
} pcpus[PCPUS];

static struct guest_cpu {
	struct tlbi_vcpu tlb;
	uint64_t run;
	unsigned space, pcpu;
} vcpus[VCPUS];

static struct space spaces[SPACES], *loading;
static bool deaf;
static unsigned stale, filled, commands[HW_TLBI_NR_OPS];

/* The walker may fill at any time from what is loaded. */
static void speculate(unsigned cpu)
{
	struct pcpu *p = &pcpus[cpu];

	if (!p->vmid || p->tlb[p->vmid].space)
		return;
	filled++;
	p->tlb[p->vmid].space = p->space->id;
	p->tlb[p->vmid].epoch = space_epoch(p->space);
}

static void on_load(pa_t root, uint32_t tag)
{
	struct pcpu *p = &pcpus[host_cpu];

	speculate(host_cpu);
	CHECK((root.v == 0) == (tag == 0) && tag < NR);
	p->vmid = tag;
	p->space = tag ? loading : NULL;
}

static void forget(struct held *h, bool stage1, bool stage2)
{
	if (deaf)
		return;
	if (stage1)
		h->vcpu = 0;
	if (stage2)
		h->space = 0;
}

static void on_tlbi(const struct hw_tlbi_cmd *cmd)
{
	bool all = cmd->op == HW_TLBI_EVERYTHING, local = cmd->op == HW_TLBI_STAGE1_LOCAL;
	bool stage1 = all || local || cmd->op == HW_TLBI_VMID || cmd->op == HW_TLBI_STAGE1;
	bool stage2 = all || cmd->op == HW_TLBI_VMID || cmd->op == HW_TLBI_IPA;

	commands[cmd->op]++;
	for (unsigned i = 0; i < PCPUS; i++) {
		if (local && i != host_cpu)
			continue;
		for (unsigned v = 1; v < NR; v++)
			if (all || v == cmd->tag)
				forget(&pcpus[i].tlb[v], stage1, stage2);
		/* It may come back at once, from the tables as they are now. */
		speculate(i);
	}
}

static void run(struct guest_cpu *v, unsigned pcpu)
{
	struct space *s = &spaces[v->space];
	struct tlbi_enter_cmd cmd;
	struct held *h;

	host_cpu = pcpu;
	loading = s;
	v->pcpu = pcpu;
	tlbi_enter(host_cpu, s, &v->tlb, &cmd);
	CHECK(cmd.flush == TLBI_NONE && cmd.tag == pcpus[pcpu].vmid && pcpus[pcpu].space == s);
	h = &pcpus[pcpu].tlb[cmd.tag];
	stale += h->space && (h->space != s->id || h->epoch < space_epoch(s));
	stale += h->vcpu && (h->vcpu != v->tlb.id || h->run != v->run);
	*h = (struct held){s->id, space_epoch(s), v->tlb.id, v->run};
	tlbi_exit(host_cpu, &v->tlb, true);
}

static void reduce(struct space *s, bool sync)
{
	TLBI_GATHER(g, s);
	struct space_locked l = space_lock(s);

	gather_leaf(&g, ipa(0), PAGE_SIZE, 0, GATHER_ABSENT);
	space_unlock(l, &g);
	if (sync)
		gather_sync(&g);
	else
		gather_defer(&g);
	for (unsigned i = 0; sync && i < PCPUS; i++)
		for (unsigned v = 1; v < NR; v++)
			stale += pcpus[i].tlb[v].space == s->id && pcpus[i].vmid == v &&
				 pcpus[i].tlb[v].epoch < g.epoch;
}

static void create(struct guest_cpu *v, unsigned space)
{
	*v = (struct guest_cpu){.space = space};
	tlbi_vcpu_init(&v->tlb);
}

/* A new space in the place of a dead one, once no pCPU walks that. */
static void reincarnate(struct space *s)
{
	uint64_t id = s->id;

	if (id) {
		TLBI_GATHER(g, s);
		struct space_locked l = space_lock(s);

		space_retire(l);
		gather_leaf(&g, ipa(0), PAGE_SIZE, 0, GATHER_ABSENT);
		space_unlock(l, &g);
		gather_defer(&g);
		agents_wait(id, g.epoch);
		for (unsigned i = 0; i < PCPUS; i++)
			stale += pcpus[i].space == s; /* its tables are free by now */
	}
	space_init(s, pa((uint64_t)(s - spaces + 1) * PAGE_SIZE));
	for (unsigned i = 0; i < VCPUS; i++)
		if (&spaces[vcpus[i].space] == s)
			create(&vcpus[i], vcpus[i].space);
}

/* Other pCPUs serve their kicks while this one waits. */
static void serve(void)
{
	unsigned self = host_cpu;

	for (unsigned i = 0; i < PCPUS; i++) {
		host_cpu = i;
		if (host_kicks[host_cpu] && host_cpu != self) {
			host_kicks[host_cpu] = 0;
			tlbi_poll();
		}
	}
	host_cpu = self;
}

static void start(uint32_t nr)
{
	static bool again;

	host_caps = (struct hw_mmu_caps){.tags = HW_TAGS_VMID, .nr_tags = nr, .fwb = true};
	host_on_tlbi = on_tlbi;
	host_on_load = on_load;
	host_on_relax = serve;
	stale = filled = 0;
	memset(commands, 0, sizeof(commands));
	memset(pcpus, 0, sizeof(pcpus));
	memset(spaces, 0, sizeof(spaces));
	host_cpu = 0;
	tlbi_init();
	for (unsigned i = 0; i < PCPUS; i++) {
		if (again)
			vmid_pcpu_init(i);
		else
			CHECK(tlbi_pcpu_init(i) == 0);
		/* Firmware's, before the first entry of each pCPU. */
		for (unsigned v = 1; !again && v < NR; v++)
			pcpus[i].tlb[v] = (struct held){UINT64_MAX, 0, UINT64_MAX, 0};
	}
	again = true;
	for (unsigned i = 0; i < SPACES; i++)
		reincarnate(&spaces[i]);
	for (unsigned i = 0; i < VCPUS; i++)
		create(&vcpus[i], i % SPACES);
}

static void step(void)
{
	struct guest_cpu *v = &vcpus[rnd(VCPUS)];
	struct space *s = &spaces[rnd(SPACES)];

	host_cpu = rnd(PCPUS);
	speculate(rnd(PCPUS));
	switch (rnd(30)) {
	case 0:
	case 1:
		reduce(s, false);
		break;
	case 2:
		reduce(s, true);
		break;
	case 3:
		tlbi_vcpu_paging_changed(&v->tlb);
		v->run++;
		break;
	case 4:
		reincarnate(s);
		break;
	case 5:
		tlbi_idle();
		break;
	default:
		run(v, rnd(4) ? v->pcpu : rnd(PCPUS));
		break;
	}
}

static void test_play(void)
{
	struct vmid_stat st;

	start(NR);
	for (unsigned i = 0; i < 60000; i++)
		step();
	st = vmid_stat();
	is_u64(stale, 0, "nothing stale in 60000 steps");
	ok(st.rollovers > 100 && filled > 1000 && commands[HW_TLBI_EVERYTHING] >= st.rollovers,
	   "%u rollovers, %u speculative fills", (unsigned)st.rollovers, filled);
	ok(commands[HW_TLBI_STAGE1_LOCAL] > 1000 && commands[HW_TLBI_IPA] > 1000,
	   "siblings %u, pages %u", commands[HW_TLBI_STAGE1_LOCAL], commands[HW_TLBI_IPA]);
	deaf = true;
	start(NR);
	for (unsigned i = 0; i < 3000; i++)
		step();
	ok(stale > 100, "control: deaf to commands, %u stale uses", stale);
	deaf = false;
}

/* ---- what exactly is asked for ---- */

static void expect(const char *what, unsigned v, unsigned pcpu, unsigned stage1, unsigned all,
		   bool same_vmid)
{
	uint32_t before = vmid_of(&spaces[vcpus[v].space]);

	memset(commands, 0, sizeof(commands));
	run(&vcpus[v], pcpu);
	ok(commands[HW_TLBI_STAGE1_LOCAL] == stage1 && commands[HW_TLBI_EVERYTHING] == all &&
		   (before == vmid_of(&spaces[vcpus[v].space])) == same_vmid,
	   "%s: local %u, all %u, VMID %u -> %u", what, commands[HW_TLBI_STAGE1_LOCAL],
	   commands[HW_TLBI_EVERYTHING], before, vmid_of(&spaces[vcpus[v].space]));
}

static void test_entries(void)
{
	start(NR);
	expect("first entry on a pCPU, ever", 0, 0, 1, 1, false);
	expect("undisturbed re-entry", 0, 0, 0, 0, true);
	expect("a sibling vCPU", SPACES, 0, 1, 0, true);
	expect("back", 0, 0, 1, 0, true);
	expect("another space", 1, 0, 1, 0, false);
	expect("back: what is its own stays", 0, 0, 0, 0, true);
	expect("another pCPU", 0, 1, 1, 1, true);
	expect("back: its maintenance has reached this one (I11)", 0, 0, 0, 0, true);
	tlbi_vcpu_paging_changed(&vcpus[0].tlb);
	vcpus[0].run++;
	expect("the hypervisor changed its paging state", 0, 0, 1, 0, true);
	expect("and there as well", 0, 1, 1, 0, true);
	is_u64(stale, 0, "nothing stale on the way");
}

/* A rollover keeps what is loaded, in guest mode or not, and nothing else. */
static void test_rollover(void)
{
	uint32_t a, b;
	struct vmid_stat st;

	start(NR);
	run(&vcpus[0], 0);
	run(&vcpus[1], 1);
	run(&vcpus[2], 2);
	memset(commands, 0, sizeof(commands));
	a = vmid_of(&spaces[0]);
	b = vmid_of(&spaces[1]);
	while (vmid_stat().rollovers == 0) {
		reincarnate(&spaces[3]);
		run(&vcpus[3], 2);
	}
	ok(commands[HW_TLBI_EVERYTHING] == 1, "a rollover flushes everything once");
	ok(vmid_of(&spaces[3]) != a && vmid_of(&spaces[3]) != b, "what is loaded keeps its VMID");
	memset(commands, 0, sizeof(commands));
	run(&vcpus[0], 0);
	run(&vcpus[1], 1);
	ok(vmid_of(&spaces[0]) == a && vmid_of(&spaces[1]) == b, "also when it enters again");
	is_u64(commands[HW_TLBI_EVERYTHING] + commands[HW_TLBI_STAGE1_LOCAL], 0, "without a flush");
	run(&vcpus[0], 2);
	is_u64(vmid_of(&spaces[0]), a, "and on another pCPU");
	st = vmid_stat();
	reincarnate(&spaces[1]);
	is_u64(vmid_stat().retired, st.retired + 1, "a dead space's VMID is retired");
	for (unsigned i = 0; i < 40 && vmid_stat().rollovers == st.rollovers; i++) {
		reincarnate(&spaces[4]);
		run(&vcpus[4], 2);
		if (vmid_stat().rollovers == st.rollovers)
			stale += vmid_of(&spaces[4]) == b;
	}
	ok(stale == 0 && vmid_stat().rollovers > st.rollovers, "until the next rollover");
	is_u64(vmid_stat().retired, 0, "which ends the retirement of all");
}

static void test_dead(void)
{
	uint64_t id, epoch;

	start(NR);
	run(&vcpus[0], 1);
	run(&vcpus[0], 2);
	host_cpu = 0;
	memset(commands, 0, sizeof(commands));
	memset(host_kicks, 0, sizeof(host_kicks));
	id = spaces[0].id;
	{
		TLBI_GATHER(g, &spaces[0]);
		struct space_locked l = space_lock(&spaces[0]);

		space_retire(l);
		gather_leaf(&g, ipa(0), GIB, 2, GATHER_ABSENT);
		space_unlock(l, &g);
		gather_defer(&g);
		epoch = g.epoch;
	}
	ok(agents_behind(id, epoch), "a dead space's frames wait while its root is loaded");
	run(&vcpus[1], 1);
	ok(agents_behind(id, epoch), "on any pCPU");
	host_cpu = 0;
	agents_force(id, epoch);
	agents_force(id, epoch);
	ok(host_kicks[2] == 1 && host_kicks[1] == 0, "who has it loaded is kicked, once");
	host_cpu = 2;
	tlbi_poll();
	ok(!agents_behind(id, epoch) && pcpus[2].vmid == 0, "and unloads it");
	tlbi_poll();
	memset(commands + HW_TLBI_STAGE1_LOCAL, 0, sizeof(commands[0]));
	is_u64(commands[HW_TLBI_IPA] + commands[HW_TLBI_IPA_RANGE] + commands[HW_TLBI_VMID] +
		       commands[HW_TLBI_STAGE1],
	       0, "no command is given for a dead space");
}

/* What a switch leaves is still walked until the new root is loaded, whatever happens meanwhile. */
static uint32_t left;
static unsigned clashes;

static void rollover_during_load(pa_t root, uint32_t tag)
{
	uint64_t before = vmid_stat().rollovers;
	struct space *mine = loading;

	host_on_load = on_load;
	host_cpu = 1;
	for (unsigned i = 0; i < 3 * NR; i++) {
		reincarnate(&spaces[4]);
		run(&vcpus[4], 1);
		clashes += vmid_of(&spaces[4]) == left || vmid_of(&spaces[4]) == tag;
	}
	host_cpu = 0;
	loading = mine;
	CHECK(vmid_stat().rollovers >= before + 2);
	on_load(root, tag);
}

static void test_switch(void)
{
	start(NR);
	run(&vcpus[0], 0);
	run(&vcpus[1], 0);
	left = vmid_of(&spaces[1]);
	clashes = 0;
	host_on_load = rollover_during_load;
	run(&vcpus[0], 0);
	is_u64(clashes, 0,
	       "rollovers during a switch keep the VMID that is left and the next one (I4)");
	run(&vcpus[0], 0);
	is_u64(stale, 0, "nothing stale after it");
	for (unsigned i = 0; i < 3 * NR && !clashes; i++) {
		reincarnate(&spaces[4]);
		run(&vcpus[4], 1);
		clashes = vmid_of(&spaces[4]) == left;
	}
	ok(clashes, "what was left can be handed out again, later");
	host_cpu = 0;
	tlbi_idle();
	left = vmid_of(&spaces[0]);
	for (clashes = 0; clashes == 0;) {
		reincarnate(&spaces[4]);
		run(&vcpus[4], 1);
		clashes = vmid_of(&spaces[4]) == left;
		CHECK(vmid_stat().rollovers < 100);
	}
	ok(clashes, "so can the VMID of a pCPU that has become idle");
}

static bool aborts(void (*fn)(void))
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		CHECK(freopen("/dev/null", "w", stderr));
		fn();
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void eight_bits(void)
{
	vmid_init(256);
}

static void too_few(void)
{
	vmid_init(2);
}

static void too_many(void)
{
	vmid_init(65537);
}

static void sixteen_bits(void)
{
	vmid_init(65536);
}

static void enough_pcpus(void)
{
	vmid_init(256);
	vmid_pcpu_init(126);
}

static void many_pcpus(void)
{
	vmid_init(256);
	vmid_pcpu_init(127);
}

static void enter_dead(void)
{
	spaces[5].dead = true;
	run(&vcpus[5], 0);
}

static void test_start(void)
{
	uint64_t id;

	start(NR);
	for (unsigned i = 0; i < SPACES; i++)
		run(&vcpus[i], 0);
	id = spaces[SPACES - 1].id;
	start(NR);
	ok(!agents_behind(id, UINT64_MAX), "a new start forgets what was loaded");
	for (unsigned i = 0; i < SPACES; i++) {
		run(&vcpus[i], 0);
		is_u64(vmid_of(&spaces[i]), i + 1, "VMIDs are handed out in order, 0 never");
	}
	is_u64(vmid_stat().assigned, SPACES, "and counted");
	ok(!aborts(eight_bits) && !aborts(sixteen_bits), "8 and 16 bits");
	ok(aborts(too_few) && aborts(too_many), "nothing else");
	ok(!aborts(enough_pcpus) && aborts(many_pcpus), "more than two VMIDs for each pCPU");
	reincarnate(&spaces[5]);
	ok(aborts(enter_dead), "nobody enters a dead space");
}

int main(void)
{
	srandom(4);
	test_entries();
	test_start();
	test_switch();
	test_rollover();
	test_dead();
	test_play();
	return tap_done();
}

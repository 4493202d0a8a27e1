/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What entries cost, counted to the last flush: the counters that `tlb` shows are right, every root
 * slot is used before one is given away, and a tag, root or paging change is paid for once.
 */
// links: tlbi/tags.c tlbi/space.c tlbi/agent.c tlbi/gather.c tlbi/broadcast.c tlbi/vmid.c
// links: mm/frames.c mm/reclaim.c mm/ledger.c lib/log.c lib/string.c
#include "lib/check.h"
#include "tests/host/hw_host.h"
#include "tests/tap.h"
#include "tlbi/agent.h"
#include "tlbi/tags.h"

#define SPACES 17u /* one more than a pCPU has root slots */

static struct space spaces[SPACES];
static struct tlbi_vcpu vcpus[SPACES];
static unsigned pcpu, commands[8];
static struct tlbi_stat last;

static void on_tlbi(const struct hw_tlbi_cmd *cmd)
{
	commands[cmd->op]++;
}

static void start(enum hw_tags tags, bool by_tag, uint32_t nr_tags)
{
	static unsigned next;

	host_caps.tags = tags;
	host_caps.flush_by_tag = by_tag;
	host_caps.nr_tags = nr_tags;
	host_on_tlbi = on_tlbi;
	tlbi_init();
	pcpu = next++;
	CHECK(tlbi_pcpu_init(pcpu) == 0);
	for (unsigned i = 0; i < SPACES; i++) {
		space_init(&spaces[i], pa((i + 1) * PAGE_SIZE));
		tlbi_vcpu_init(&vcpus[i]);
	}
	last = tlbi_stat(pcpu);
	memset(commands, 0, sizeof(commands));
}

static struct tlbi_enter_cmd run(unsigned i, bool entered)
{
	struct tlbi_enter_cmd cmd;

	host_cpu = pcpu;
	tlbi_enter(pcpu, &spaces[i], &vcpus[i], &cmd);
	tlbi_exit(pcpu, &vcpus[i], entered);
	host_cpu = 0;
	return cmd;
}

static void reduce(unsigned i)
{
	atomic_add64(&spaces[i].epoch, 1);
}

/* What was counted since the last call: clean, tag, root, all, new tags. */
static void counted(const char *what, unsigned clean, unsigned tag, unsigned root, unsigned all,
		    unsigned new_tag)
{
	struct tlbi_stat s = tlbi_stat(pcpu);

	ok(s.clean - last.clean == clean && s.flush_tag - last.flush_tag == tag &&
		   s.flush_root - last.flush_root == root && s.flush_all - last.flush_all == all &&
		   s.new_tag - last.new_tag == new_tag,
	   "%s: clean %u, tag %u, root %u, all %u, new %u", what, (unsigned)(s.clean - last.clean),
	   (unsigned)(s.flush_tag - last.flush_tag), (unsigned)(s.flush_root - last.flush_root),
	   (unsigned)(s.flush_all - last.flush_all), (unsigned)(s.new_tag - last.new_tag));
	last = s;
}

static void test_asid_counts(void)
{
	start(HW_TAGS_ASID, true, 4);
	run(0, true);
	counted("SVM, first entry", 0, 0, 0, 1, 1);
	run(0, true);
	counted("again", 1, 0, 0, 0, 0);
	reduce(0);
	run(0, true);
	counted("reduced", 0, 1, 0, 0, 0);
	tlbi_vcpu_paging_changed(&vcpus[0]);
	run(0, true);
	counted("paging changed", 0, 1, 0, 0, 0);
	run(1, true);
	counted("another vCPU", 0, 0, 0, 0, 1);
	run(2, true);
	run(3, true);
	counted("the third takes the last tag, the fourth all", 0, 0, 0, 1, 2);
	is_u64(run(3, false).tag, 1, "tags begin at 1");
	counted("a clean entry that fails", 1, 0, 0, 0, 0);
	run(3, true);
	counted("has to be paid for", 0, 0, 0, 0, 1);
	is_u64(tlbi_stat(pcpu).entries, 9, "entries, the failed one as well");
	is_u64(tlbi_stat(MAX_PCPUS).entries, 0, "no such pCPU");
	is_u64(tlbi_stat(MAX_PCPUS - 1).entries, 0, "one that never started");
}

static void test_vpid_counts(void)
{
	struct tlbi_enter_cmd cmd;
	struct tlbi_vcpu sibling;

	start(HW_TAGS_VPID, true, 100);
	run(0, false);
	counted("VMX, a first entry that fails", 0, 0, 1, 1, 1);
	run(0, true);
	counted("has flushed all the same", 0, 0, 0, 0, 1);
	start(HW_TAGS_VPID, true, 100);
	run(0, true);
	counted("VMX, first entry", 0, 0, 1, 1, 1);
	run(0, true);
	counted("again", 1, 0, 0, 0, 0);
	reduce(0);
	run(0, true);
	counted("reduced", 0, 0, 1, 0, 0);
	tlbi_vcpu_paging_changed(&vcpus[0]);
	run(0, true);
	counted("paging changed", 0, 1, 0, 0, 0);
	tlbi_vcpu_init(&sibling);
	host_cpu = pcpu;
	tlbi_enter(pcpu, &spaces[0], &sibling, &cmd);
	tlbi_exit(pcpu, &sibling, true);
	host_cpu = 0;
	counted("a sibling's first entry: its own tag, the root is clean", 0, 0, 0, 0, 1);
	spaces[0].root = pa(100 * PAGE_SIZE);
	run(0, true);
	ok(commands[HW_TLBI_ROOT] == 3 && commands[HW_TLBI_TAG] == 1 &&
		   commands[HW_TLBI_ALL_TAGS] == 1,
	   "another root frame is flushed before its first use (I4)");
	last = tlbi_stat(pcpu);
	run(0, true);
	counted("once", 1, 0, 0, 0, 0);
}

/* Sixteen spaces take turns without a flush; a seventeenth costs one of them its slot. */
static void test_root_slots(void)
{
	start(HW_TAGS_VPID, true, 100);
	for (unsigned i = 0; i < 16; i++)
		run(i, true);
	counted("sixteen spaces", 0, 0, 16, 1, 16);
	for (unsigned i = 0; i < 16; i++)
		run(i, true);
	counted("each finds its slot again", 16, 0, 0, 0, 0);
	run(16, true);
	counted("a seventeenth", 0, 0, 1, 0, 1);
	for (unsigned i = 1; i < 16; i++)
		run(i, true);
	counted("takes the oldest one's: the others stay", 15, 0, 0, 0, 0);
	run(0, true);
	counted("which is flushed when it comes back (I4)", 0, 0, 1, 0, 0);
}

int main(void)
{
	test_asid_counts();
	test_vpid_counts();
	test_root_slots();
	return tap_done();
}

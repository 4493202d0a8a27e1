/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Small configurations: two pCPUs, one or two spaces, two or three operations each. Every scenario
 * begins with guests set up and ends with everything given back, to the last frame.
 */
#include "tests/model/model.h"

#include <stdarg.h>
#include <string.h>

#include "lib/check.h"
#include "lib/errno.h"
#include "lib/util.h"
#include "mm/reclaim.h"
#include "tlbi/agent.h"

struct guestmem G[2];

#define RAM_PAGES 8

/* Pages of the RAM that guests use. P1 and P2 share a table, P3 has one of its own. */
#define P1 0x1000ULL
#define P2 0x2000ULL
#define P3 0x201000ULL

#define ALL_ARCHS (BIT(ARCH_NPT) | BIT(ARCH_EPT) | BIT(ARCH_ARM64))
#define NPT_ONLY  BIT(ARCH_NPT)

/* ---- setup ---- */

static void probe_add(uint64_t at)
{
	for (unsigned level = 0; level <= root_level(); level++) {
		unsigned i = (unsigned)(at >> (PAGE_SHIFT + S2_LEVEL_BITS * level)) & 511;

		M.relevant[i / 64] |= BIT(i % 64);
	}
	M.probe[M.nr_probes++] = at;
}

static void space_new(struct guestmem *gm)
{
	char err[80];

	CHECK(guestmem_init(gm, err, sizeof(err)) == 0);
	CHECK(guestmem_add_ram(gm, ipa(0), RAM_PAGES * PAGE_SIZE) == 0);
	gm->max_level = 0;
}

static void vcpu_new(unsigned i, struct guestmem *gm)
{
	M.v[i] = (struct guest_vcpu){.gm = gm, .va_to = {0, 1}, .va_seq = {1, 1}, .map_seq = 1};
	tlbi_vcpu_init(&M.v[i].tlb);
}

/* One space, two vCPUs, both probes populated. */
static void setup_one(void)
{
	probe_add(P1);
	probe_add(P2);
	space_new(&G[0]);
	vcpu_new(0, &G[0]);
	vcpu_new(1, &G[0]);
	CHECK(guest_populate(&G[0], P1, GM_READ) && guest_populate(&G[0], P2, GM_READ));
}

/* As setup_one, and vCPUs 2 and 3 in a second space. */
static void setup_two(void)
{
	setup_one();
	space_new(&G[1]);
	vcpu_new(2, &G[1]);
	vcpu_new(3, &G[1]);
	CHECK(guest_populate(&G[1], P1, GM_READ));
}

static void finish_all(void)
{
	/* arm64: pCPUs that look for work let go of what is loaded. */
	for (unsigned c = 0; c < PCPUS; c++) {
		M.cur = c;
		tlbi_idle();
		M.f[c].ctx.active = false;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(G); i++)
		guestmem_destroy(&G[i]);
	check_no_leak();
}

/* ---- operations ---- */

enum settle { SYNC, DEFER };

static void unmap(struct guestmem *gm, uint64_t at, uint64_t size, enum settle how)
{
	struct s2_pool pool = {.reserve = &gm->reserve};

	doing("unmap %#llx+%#llx, %s", (unsigned long long)at, (unsigned long long)size,
	      how == SYNC ? "sync" : "defer");
	{
		TLBI_GATHER(g, &gm->s2.space);
		struct space_locked l = space_lock(&gm->s2.space);

		CHECK(stage2_unmap(&gm->s2, l, ipa(at), size, &pool, &g) == 0);
		space_unlock(l, &g);
		if (how == SYNC)
			gather_sync(&g);
		else
			gather_defer(&g);
	}
}

static void protect(struct guestmem *gm, uint64_t at, s2_attr_t perm)
{
	struct s2_pool pool = {.reserve = &gm->reserve};

	doing("protect %#llx, sync", (unsigned long long)at);
	{
		TLBI_GATHER(g, &gm->s2.space);
		struct space_locked l = space_lock(&gm->s2.space);

		CHECK(stage2_protect(&gm->s2, l, ipa(at), PAGE_SIZE, perm, &pool, &g) == 0);
		space_unlock(l, &g);
		gather_sync(&g);
	}
}

/* Gives the page at `at` a frame of its own: protect, sync, copy; break, sync, make. */
static void copy_on_write(struct guestmem *gm, uint64_t at)
{
	struct s2_walk w;
	pa_t copy;

	protect(gm, at, S2_R);
	doing("copy %#llx and replace its frame", (unsigned long long)at);
	CHECK(frames_alloc(&gm->reserve, 0, &copy) == 0);
	{
		TLBI_GATHER(g, &gm->s2.space);
		struct space_locked l = space_lock(&gm->s2.space);

		w = stage2_lookup(&gm->s2, ipa(at));
		CHECK(w.kind == S2_LEAF);
		memcpy(hw_frame_ptr(copy), hw_frame_ptr(w.pa), PAGE_SIZE);
		CHECK(stage2_replace(&gm->s2, l, ipa(at), 0, copy, S2_RWX, &g) == 0);
		space_unlock(l, &g);
		gather_sync(&g);
	}
}

static void populate(struct guestmem *gm, uint64_t at)
{
	doing("populate %#llx of the space", (unsigned long long)at);
	CHECK(guest_populate(gm, at, GM_READ));
}

static void guest(unsigned vcpu, const struct act *acts)
{
	doing("run vCPU%u", vcpu);
	guest_run(vcpu, acts);
}

/* Hand-over between the scripts. */
static bool turn0(void)
{
	return M.turn[0];
}

static bool turn1(void)
{
	return M.turn[1];
}

static void pass(unsigned turn)
{
	yield("hand over", NULL, true);
	M.turn[turn] = true;
}

/* ---- scripts ---- */

static const struct act read_p1[] = {{ACT_READ, 0, 0}, {ACT_END, 0, 0}};
static const struct act write_p1[] = {{ACT_WRITE, 0, 0}, {ACT_END, 0, 0}};
static const struct act write_p1_p1[] = {{ACT_WRITE, 0, 0}, {ACT_WRITE, 0, 0}, {ACT_END, 0, 0}};
static const struct act read_p1_p2[] = {{ACT_READ, 0, 0}, {ACT_READ, 1, 0}, {ACT_END, 0, 0}};
static const struct act linger[] = {{ACT_READ, 0, 0}, {ACT_LINGER, 0, 0}, {ACT_END, 0, 0}};

/* A guest runs while its page is unmapped, deferred, and the frame given to another space. */
static void guest0_twice(void)
{
	guest(0, read_p1_p2);
	guest(0, write_p1);
}

static void defer_and_reuse(void)
{
	unmap(&G[0], P1, PAGE_SIZE, DEFER);
	reclaim_poll(16);
	populate(&G[1], P2);
}

static void sync_and_reuse(void)
{
	unmap(&G[0], P1, PAGE_SIZE, SYNC);
	populate(&G[1], P2);
}

/* The guest stays inside until it is kicked. */
static void guest0_lingers(void)
{
	guest(0, linger);
	guest(0, read_p1);
}

static void unmap_then_run1(void)
{
	unmap(&G[0], P1, PAGE_SIZE, SYNC);
	guest(1, write_p1);
}

/* vCPU 0 moves from pCPU 0 to pCPU 1 and back; it changes its own tables on the way. */
static const struct act remap_here[] = {
	{ACT_READ, 0, 0}, {ACT_MAP, 0, 1}, {ACT_INVLPG, 0, 0}, {ACT_READ, 0, 0}, {ACT_END, 0, 0}};
static const struct act reload_cr3[] = {
	{ACT_MAP, 1, 0}, {ACT_CR3, 0, 0}, {ACT_READ, 1, 0}, {ACT_END, 0, 0}};

static void migrate_0(void)
{
	guest(0, read_p1_p2);
	tlbi_descheduled();
	pass(0);
	wait_until(turn1, "waits for vCPU 0");
	guest(0, read_p1);
}

static void migrate_1(void)
{
	guest(1, read_p1);
	wait_until(turn0, "waits for vCPU 0");
	guest(0, remap_here);
	guest(0, reload_cr3);
	tlbi_descheduled();
	pass(1);
}

/* As migrate, while the page is unmapped on the way. */
static void migrate_unmap_1(void)
{
	wait_until(turn0, "waits for vCPU 0");
	unmap(&G[0], P1, PAGE_SIZE, DEFER);
	guest(0, remap_here);
	tlbi_descheduled();
	pass(1);
}

/* Both vCPUs of a space on one pCPU, in turn. */
static void siblings_0(void)
{
	guest(0, read_p1);
	guest(1, remap_here);
	guest(0, read_p1);
}

static void protect_and_log(void)
{
	protect(&G[0], P1, S2_R);
}

static void writes_twice(void)
{
	guest(0, write_p1_p1);
	guest(1, read_p1);
}

static void reads_then_cow(void)
{
	copy_on_write(&G[0], P1);
	guest(1, write_p1);
}

/* Tables: the range of a whole level-0 table goes, and its frame becomes another space's. */
static void unmap_table_and_reuse(void)
{
	unmap(&G[0], 0, 512 * PAGE_SIZE, DEFER);
	reclaim_poll(16);
	populate(&G[1], P1);
}

static void setup_table(void)
{
	setup_one();
	space_new(&G[1]);
	vcpu_new(2, &G[1]);
}

static void unmap_table_sync(void)
{
	unmap(&G[0], 0, 512 * PAGE_SIZE, SYNC);
	populate(&G[1], P1);
}

/* A space ends and the next one gets its root's frame, on the same pCPU. */
static void next_space_0(void)
{
	guest(0, read_p1);
	doing("destroy the space, make another");
	tlbi_idle();
	guestmem_destroy(&G[0]);
	space_new(&G[0]);
	vcpu_new(0, &G[0]);
	guest(0, read_p1_p2);
}

static void other_space_1(void)
{
	guest(2, read_p1);
	guest(2, write_p1);
}

/* More vCPUs than tags. */
static void rollover_0(void)
{
	guest(0, read_p1);
	guest(1, read_p1);
	guest(2, read_p1);
	guest(0, read_p1_p2);
}

static void rollover_1(void)
{
	unmap(&G[0], P1, PAGE_SIZE, DEFER);
}

/* The hypervisor reads guest memory while it is unmapped and given away. */
static void hypervisor_reads(void)
{
	uint64_t v;

	doing("guestmem_read %#llx", (unsigned long long)P1);
	CHECK(guestmem_read(&G[0], ipa(P1), &v, sizeof(v)) == 0);
	doing("guestmem_write %#llx", (unsigned long long)P2);
	CHECK(guestmem_write(&G[0], ipa(P2), &v, sizeof(v)) == 0);
}

/* Two faults of neighbours, nothing populated: both want the same tables. */
static void setup_empty(void)
{
	probe_add(P1);
	probe_add(P2);
	space_new(&G[0]);
	vcpu_new(0, &G[0]);
	vcpu_new(1, &G[0]);
}

static void fault_0(void)
{
	guest(0, read_p1);
}

static void fault_1(void)
{
	populate(&G[0], P2);
	unmap(&G[0], P2, PAGE_SIZE, DEFER);
}

static void fault_same_1(void)
{
	guest(1, write_p1);
}

/* Install into a table that is being taken away. */
static void fault_in_table(void)
{
	populate(&G[0], P2);
}

static void take_table(void)
{
	unmap(&G[0], 0, 512 * PAGE_SIZE, DEFER);
	guest(1, read_p1);
}

/* The hypervisor changes a vCPU's paging state between two entries. */
static void paging_0(void)
{
	struct guest_vcpu *v = &M.v[0];

	guest(0, read_p1_p2);
	doing("emulates a load of CR3 for vCPU0");
	v->va_to[0] = 1;
	for (unsigned i = 0; i < NR_VAS; i++)
		v->va_seq[i] = ++v->map_seq;
	tlbi_vcpu_paging_changed(&v->tlb);
	guest(0, read_p1_p2);
}

/* An entry that the hardware refuses flushes nothing. */
static void refused_0(void)
{
	guest(0, read_p1);
	M.v[0].failing_entry = true;
	guest(0, read_p1_p2);
}

/* ---- scripts that do wrong, so that a check is known to see it ---- */

static void drops_gather(void)
{
	TLBI_GATHER(g, &G[0].s2.space);
	struct space_locked l = space_lock(&G[0].s2.space);

	doing("unmap %#llx, and forget the gather", (unsigned long long)P1);
	CHECK(stage2_unmap(&G[0].s2, l, ipa(P1), PAGE_SIZE, NULL, &g) == 0);
	space_unlock(l, &g);
}

static void leaks_frame(void)
{
	pa_t pa;

	CHECK(frames_alloc(NULL, 0, &pa) == 0);
}

/* ---- the list ---- */

#define SCENARIO(n, archs_, setup_, c0, c1, text, ...)                                             \
	{                                                                                          \
		.name = (n), .about = (text), .archs = (archs_), .setup = (setup_),                \
		.cpu = {(c0), (c1)}, .finish = finish_all, __VA_ARGS__                             \
	}

const struct scenario scenarios[] = {
	SCENARIO("defer", ALL_ARCHS, setup_two, guest0_twice, defer_and_reuse,
		 "a page goes with gather_defer, its frame to another space"),
	SCENARIO("sync", ALL_ARCHS, setup_two, guest0_twice, sync_and_reuse,
		 "a page goes with gather_sync, its frame to another space"),
	SCENARIO("kick", ALL_ARCHS, setup_one, guest0_lingers, unmap_then_run1,
		 "a guest that stays inside until it is kicked"),
	SCENARIO("migrate", ALL_ARCHS, setup_one, migrate_0, migrate_1,
		 "a vCPU moves to the other pCPU and back, with INVLPG and CR3 there"),
	SCENARIO("migrate-unmap", ALL_ARCHS, setup_one, migrate_0, migrate_unmap_1,
		 "the same, and a page is unmapped on the way"),
	SCENARIO("siblings", ALL_ARCHS, setup_one, siblings_0, protect_and_log,
		 "two vCPUs of a space on one pCPU in turn, a page write-protected meanwhile"),
	SCENARIO("protect", ALL_ARCHS, setup_one, writes_twice, protect_and_log,
		 "write protection against a writer"),
	SCENARIO("cow", ALL_ARCHS, setup_one, guest0_twice, reads_then_cow,
		 "a frame is replaced: break, sync, make"),
	SCENARIO("table", ALL_ARCHS, setup_table, guest0_twice, unmap_table_and_reuse,
		 "a whole table goes with gather_defer, its frame to another space"),
	SCENARIO("table-sync", ALL_ARCHS, setup_table, guest0_twice, unmap_table_sync,
		 "a whole table goes with gather_sync"),
	SCENARIO("next-space", ALL_ARCHS, setup_two, next_space_0, other_space_1,
		 "a space ends and the next one gets its frames and root"),
	SCENARIO("rollover", NPT_ONLY | BIT(ARCH_EPT), setup_two, rollover_0, rollover_1,
		 "more vCPUs than tags", .nr_tags = 3),
	SCENARIO("no-flush-by-tag", NPT_ONLY, setup_two, rollover_0, rollover_1,
		 "the same without flush-by-ASID", .nr_tags = 3, .no_flush_by_tag = true),
	SCENARIO("reader", ALL_ARCHS, setup_two, hypervisor_reads, defer_and_reuse,
		 "the hypervisor's own access against unmap and reuse"),
	SCENARIO("faults", ALL_ARCHS, setup_empty, fault_0, fault_1,
		 "two faults want the same tables"),
	SCENARIO("same-fault", ALL_ARCHS, setup_empty, fault_0, fault_same_1,
		 "two vCPUs fault on one page"),
	SCENARIO("dying-table", ALL_ARCHS, setup_one, fault_in_table, take_table,
		 "a fault installs into a table that is being taken away"),
	SCENARIO("paging", ALL_ARCHS, setup_one, paging_0, protect_and_log,
		 "the hypervisor changes a vCPU's paging state"),
	SCENARIO("refused", ALL_ARCHS, setup_one, refused_0, protect_and_log,
		 "an entry that the hardware refuses"),
	SCENARIO("pages", BIT(ARCH_ARM64), setup_two, guest0_twice, defer_and_reuse,
		 "defer, without range operations", .no_range = true),
	SCENARIO("pages-sync", BIT(ARCH_ARM64), setup_table, guest0_twice, unmap_table_sync,
		 "a table and its pages go, without range operations", .no_range = true),
	SCENARIO("bad-drop", ALL_ARCHS, setup_one, guest0_twice, drops_gather,
		 "a gather is dropped", .bad = I10),
	SCENARIO("bad-leak", ALL_ARCHS, setup_one, guest0_twice, leaks_frame, "a frame is leaked",
		 .bad = I9),
};

const unsigned nr_scenarios = ARRAY_SIZE(scenarios);

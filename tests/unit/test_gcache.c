/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Windows onto guest memory: what makes one invalid (unmapping, RW -> R, slots, a reset), with the
 * event injected at every shared access of a use and of a refresh (I1, I5, I6).
 */
// links: mm/ledger.c tlbi/broadcast.c tlbi/vmid.c
// links: vm/gcache.c vm/guestmem.c stage2/stage2.c stage2/npt.c tlbi/tags.c tlbi/space.c
// links: tlbi/agent.c tlbi/gather.c mm/frames.c mm/reclaim.c lib/log.c lib/string.c
#include "vm/gcache.h"

#include "lib/check.h"
#include "lib/errno.h"
#include "lib/util.h"
#include "stage2/ops.h"
#include "tests/host/hw_host.h"
#include "tests/tap.h"
#include "tlbi/agent.h"
#include "tlbi/tags.h"
#include "vm/guestmem.h"

#define AT 0x5000ULL

static struct guestmem gm;
static struct s2_pool pool;
static struct gcache win;
static char err[100];
static unsigned walks; /* look-ups of the root: what a window spares */

static void count_walks(const void *p, bool write)
{
	walks += !write && p == (char *)hw_frame_ptr(gm.s2.space.root);
}

static void setup(void)
{
	struct mem_range r = {pa(GIB), 64 * MIB};

	host_cpu = 0;
	host_on_relax = NULL;
	tlbi_init();
	CHECK(frames_init(&r, 1) == 0);
	CHECK(guestmem_init(&gm, err, sizeof(err)) == 0);
	CHECK(guestmem_add_ram(&gm, ipa(0), MIB) == 0);
	CHECK(s2_pool_fill(&pool, 8) == 0);
	win = (struct gcache){0};
}

static void teardown(const char *name)
{
	host_on_atomic = NULL;
	s2_pool_drain(&pool);
	guestmem_destroy(&gm);
	ok(frames_stat().free == frames_stat().total && frames_stat().reserved == 0,
	   "%s: all given back", name);
}

static pa_t frame_of(uint64_t at)
{
	struct s2_walk w;

	reader_enter(&gm.s2.space);
	w = stage2_lookup(&gm.s2, ipa(at));
	reader_exit();
	return w.kind == S2_LEAF ? w.pa : pa(0);
}

static void test_use(void)
{
	uint32_t v = 0x11223344, got = 0;
	uint8_t big[3 * PAGE_SIZE];
	struct gcache other = {0};

	setup();
	host_on_atomic = count_walks;
	walks = 0;
	ok(gcache_read(&win, &gm, ipa(AT + 4), &got, 4) == 0 && got == 0 && frame_of(AT).v == 0,
	   "what was never populated reads as zero and stays so");
	ok(gcache_write(&win, &gm, ipa(AT + 4), &v, 4) == 0, "a write populates");
	ok(gcache_read(&win, &gm, ipa(AT + 4), &got, 4) == 0 && got == v, "and is read back");
	CHECK(gcache_write(&win, &gm, ipa(AT), &v, 4) == 0);
	walks = 0;
	for (unsigned i = 0; i < 100; i++) {
		CHECK(gcache_write(&win, &gm, ipa(AT + i), &i, 1) == 0);
		CHECK(gcache_read(&win, &gm, ipa(AT + i), &got, 1) == 0 && (uint8_t)got == i);
	}
	is_u64(walks, 0, "two hundred accesses through the window walk nothing");
	CHECK(gcache_read(&other, &gm, ipa(AT), &got, 4) == 0);
	walks = 0;
	CHECK(gcache_write(&other, &gm, ipa(AT), &v, 4) == 0);
	ok(walks > 0 && other.writable, "a window for reading is refreshed for a write");
	memset(big, 0x5a, sizeof(big));
	ok(gcache_write(&win, &gm, ipa(AT + 100), big, sizeof(big)) == 0, "across pages");
	memset(big, 0, sizeof(big));
	ok(gcache_read(&win, &gm, ipa(AT + 100), big, sizeof(big)) == 0 && big[0] == 0x5a &&
		   big[sizeof(big) - 1] == 0x5a,
	   "by the long way");
	ok(gcache_read(&win, &gm, ipa(MIB), &got, 1) == -EFAULT &&
		   gcache_write(&win, &gm, ipa(MIB - 2), &v, 4) == -EFAULT &&
		   gcache_read(&win, &gm, ipa(UINT64_MAX - 1), &got, 4) == -EFAULT,
	   "outside RAM nothing is done");
	teardown("use");
}

static void reduce(bool unmap)
{
	TLBI_GATHER(g, &gm.s2.space);
	struct space_locked l = space_lock(&gm.s2.space);

	if (unmap)
		CHECK(stage2_unmap(&gm.s2, l, ipa(AT), PAGE_SIZE, &pool, &g) == 0);
	else
		CHECK(stage2_protect(&gm.s2, l, ipa(AT), PAGE_SIZE, S2_R | S2_X, &pool, &g) == 0);
	space_unlock(l, &g);
	gather_defer(&g);
}

static void test_try(void)
{
	uint32_t v = 7, got;

	setup();
	ok(gcache_try_write(&win, &gm, ipa(AT), &v, 4) == -EAGAIN && frame_of(AT).v == 0,
	   "a try populates nothing");
	CHECK(gcache_write(&win, &gm, ipa(AT), &v, 4) == 0);
	CHECK(gcache_write(&win, &gm, ipa(AT), &v, 4) == 0);
	v = 8;
	ok(gcache_try_write(&win, &gm, ipa(AT + 8), &v, 4) == 0 &&
		   gcache_try_read(&win, &gm, ipa(AT + 8), &got, 4) == 0 && got == 8,
	   "a valid window serves it");
	ok(gcache_try_read(&win, &gm, ipa(AT + PAGE_SIZE), &got, 4) == -EAGAIN, "another page");
	ok(gcache_try_read(&win, &gm, ipa(AT + PAGE_SIZE - 2), &got, 4) == -EAGAIN, "a crossing");
	reader_enter(&gm.s2.space);
	ok(gcache_try_read(&win, &gm, ipa(AT), &got, 4) == -EAGAIN,
	   "an interrupt in a reader section is sent away");
	reader_exit();
	reduce(false);
	ok(gcache_try_write(&win, &gm, ipa(AT), &v, 4) == -EAGAIN, "RW -> R: no store (I6)");
	ok(gcache_write(&win, &gm, ipa(AT), &v, 4) == 0, "the long way faults, as the guest does");
	CHECK(gcache_write(&win, &gm, ipa(AT), &v, 4) == 0);
	ok(gcache_try_write(&win, &gm, ipa(AT), &v, 4) == 0, "and the window is for writing again");
	reduce(true);
	ok(gcache_try_read(&win, &gm, ipa(AT), &got, 4) == -EAGAIN, "unmapped: no access (I1)");
	CHECK(gcache_write(&win, &gm, ipa(AT), &v, 4) == 0);
	CHECK(gcache_write(&win, &gm, ipa(AT), &v, 4) == 0);
	CHECK(guestmem_add_ram(&gm, ipa(2 * MIB), MIB) == 0);
	ok(gcache_try_read(&win, &gm, ipa(AT), &got, 4) == -EAGAIN,
	   "the slots changed: look again");
	CHECK(gcache_read(&win, &gm, ipa(AT), &got, 4) == 0);
	s2_pool_drain(&pool);
	guestmem_destroy(&gm);
	CHECK(guestmem_init(&gm, err, sizeof(err)) == 0);
	CHECK(guestmem_add_ram(&gm, ipa(0), MIB) == 0);
	ok(gcache_try_read(&win, &gm, ipa(AT), &got, 4) == -EAGAIN &&
		   gcache_read(&win, &gm, ipa(AT), &got, 4) == 0 && got == 0,
	   "a window onto memory before a reset shows nothing of it");
	teardown("try");
}

/* ---- an event on another pCPU at each shared access ---- */

static unsigned step, when, bad;
static bool unmaps, happened, settled_early;
static pa_t old;
static struct tlbi_gather pending;
static bool settled, held;
static uint32_t snapshot;

static uint32_t *word(pa_t frame)
{
	return hw_frame_ptr(frame);
}

/* Nobody can reach the old translation: another owner has the frame, or the log is read. */
static void settle(void)
{
	pa_t p;

	gather_sync(&pending);
	settled = true;
	snapshot = *word(old);
	if (!unmaps)
		return;
	CHECK(frames_alloc(NULL, 0, &p) == 0);
	held = p.v == old.v;
	if (held)
		*word(old) = snapshot = 0xeeeeeeee;
	else
		frames_put(p, 0);
}

/*
 * Unmaps or protects AT. If the window's user is in its reader section, the batch must not count as
 * settled; if not, it is settled on the spot, and the user must notice.
 */
static void event(const void *p, bool write)
{
	unsigned self = host_cpu;
	struct space_locked l;

	(void)p, (void)write;
	if (step++ != when)
		return;
	host_on_atomic = NULL;
	host_cpu = 1;
	if (!spin_is_locked(&gm.s2.space.lock)) {
		bool inside;

		host_cpu = self;
		inside = reader_active();
		host_cpu = 1;
		l = space_lock(&gm.s2.space);
		if (unmaps)
			CHECK(stage2_unmap(&gm.s2, l, ipa(AT), PAGE_SIZE, &pool, &pending) == 0);
		else
			CHECK(stage2_protect(&gm.s2, l, ipa(AT), PAGE_SIZE, S2_R, &pool,
					     &pending) == 0);
		space_unlock(l, &pending);
		happened = pending.state == GATHER_ISSUED;
		settled_early = happened && inside && !space_behind(&gm.s2.space, pending.epoch);
		if (happened && !inside)
			settle();
	}
	host_cpu = self;
}

/* After the access: a store that was not refused is in the page that is mapped, or was in time. */
static void check_after(void)
{
	bad += settled_early;
	if (!happened)
		return;
	/* Now that nobody is in a section: what the window is worth afterwards. */
	if (!settled) {
		settle();
		(void)gcache_try_write(&win, &gm, ipa(AT), &(uint32_t){0x77}, 4);
	}
	if (held || !unmaps) {
		struct s2_walk w;

		reader_enter(&gm.s2.space);
		w = stage2_lookup(&gm.s2, ipa(AT));
		reader_exit();
		bad += *word(old) != snapshot && (unmaps || !(w.attr & S2_W));
	}
}

static void test_races(bool unmap, bool warm, const char *name)
{
	uint32_t v = 1;
	unsigned hits = 0, settles = 0;

	bad = 0;
	unmaps = unmap;
	for (when = 0;; when++) {
		setup();
		CHECK(guestmem_write(&gm, ipa(AT), &v, 4) == 0);
		old = frame_of(AT);
		if (warm)
			CHECK(gcache_write(&win, &gm, ipa(AT), &v, 4) == 0);
		pending = (struct tlbi_gather){.space = &gm.s2.space};
		step = 0;
		happened = settled_early = settled = held = false;
		host_on_atomic = event;
		v = 0x1000 + when;
		CHECK(gcache_write(&win, &gm, ipa(AT), &v, 4) == 0);
		host_on_atomic = NULL;
		check_after();
		hits += happened;
		if (!happened && step <= when)
			break;
		gather_sync(&pending);
		if (unmap) {
			uint32_t got;

			CHECK(guestmem_read(&gm, ipa(AT), &got, 4) == 0);
			bad += got != 0 && got != v;
		}
		settles += settled && (held || !unmap);
		if (held)
			frames_put(old, 0);
		s2_pool_drain(&pool);
		guestmem_destroy(&gm);
	}
	ok(hits > 5 && settles, "%s: the event came at %u places, settled at once at %u", name,
	   hits, settles);
	is_u64(bad, 0, "and no store went where it was no longer allowed (I1, I5, I6)");
	gather_sync(&pending);
	teardown(name);
}

int main(void)
{
	host_format = &stage2_npt;
	for (unsigned i = 0; i < 2; i++)
		CHECK(tlbi_pcpu_init(i) == 0);
	test_use();
	test_try();
	test_races(true, true, "unmapped under a window in use");
	test_races(true, false, "unmapped under a refresh");
	test_races(false, true, "protected under a window in use");
	test_races(false, false, "protected under a refresh");
	return tap_done();
}

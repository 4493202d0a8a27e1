/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory: slots, what a fault populates, the hypervisor's accesses against a shadow copy, out
 * of memory at each allocation, exact accounting at the end, and threads that fault, write and
 * unmap at once.
 */
// links: mm/ledger.c tlbi/broadcast.c tlbi/vmid.c
// links: vm/guestmem.c stage2/stage2.c stage2/npt.c tlbi/tags.c tlbi/space.c tlbi/agent.c
// links: tlbi/gather.c mm/frames.c mm/reclaim.c lib/log.c lib/string.c
#include "vm/guestmem.h"

#include <pthread.h>
#include <stdlib.h>

#include "lib/check.h"
#include "lib/errno.h"
#include "lib/util.h"
#include "tests/host/hw_host.h"
#include "tests/tap.h"
#include "tlbi/agent.h"
#include "tlbi/tags.h"

static struct guestmem gm;
static char err[100];

static uint64_t rnd(uint64_t below)
{
	return ((uint64_t)random() << 20 ^ (uint64_t)random()) % below;
}

static void memory(uint64_t bytes)
{
	struct mem_range r = {pa(GIB), bytes};

	host_cpu = 0;
	host_on_relax = NULL;
	tlbi_init();
	CHECK(frames_init(&r, 1) == 0);
}

static struct s2_walk look(uint64_t at)
{
	struct s2_walk w;

	reader_enter(&gm.s2.space);
	w = stage2_lookup(&gm.s2, ipa(at));
	reader_exit();
	return w;
}

static void test_slots(void)
{
	unsigned bad = 0;
	uint64_t before;

	memory(64 * MIB);
	before = frames_stat().free;
	ok(guestmem_init(&gm, err, sizeof(err)) == 0, "an empty guest");
	bad += guestmem_add_ram(&gm, ipa(0), 0) != -EINVAL;
	bad += guestmem_add_ram(&gm, ipa(0), 100) != -EINVAL;
	bad += guestmem_add_ram(&gm, ipa(100), PAGE_SIZE) != -EINVAL;
	bad += guestmem_add_ram(&gm, ipa(BIT(48)), PAGE_SIZE) != -EINVAL;
	bad += guestmem_add_ram(&gm, ipa(BIT(48) - PAGE_SIZE), 2 * PAGE_SIZE) != -EINVAL;
	bad += guestmem_add_ram(&gm, ipa(UINT64_MAX & ~PAGE_MASK), PAGE_SIZE) != -EINVAL;
	bad += guestmem_add_ram(&gm, ipa(0), 64 * MIB) != -ENOMEM;
	is_u64(bad, 0, "bad and unaffordable slots are refused");
	is_u64(gm.reserve.pages, 0, "and promise nothing");
	ok(guestmem_add_ram(&gm, ipa(0), 640 * KIB) == 0, "low memory");
	ok(guestmem_add_ram(&gm, ipa(MIB), 3 * MIB) == 0, "high memory");
	bad += guestmem_add_ram(&gm, ipa(636 * KIB), 8 * KIB) != -EINVAL;
	bad += guestmem_add_ram(&gm, ipa(0), 8 * MIB) != -EINVAL;
	bad += guestmem_add_ram(&gm, ipa(2 * MIB), PAGE_SIZE) != -EINVAL;
	is_u64(bad, 0, "overlaps are refused");
	ok(guestmem_add_ram(&gm, ipa(4 * MIB), MIB) == 0, "an adjoining slot");
	is_u64(guestmem_ram_bytes(&gm), 640 * KIB + 4 * MIB, "RAM is the sum");
	ok(guestmem_is_ram(&gm, ipa(3 * MIB + 5), MIB + 9) &&
		   guestmem_is_ram(&gm, ipa(0), 640 * KIB) &&
		   !guestmem_is_ram(&gm, ipa(0), 640 * KIB + 1) &&
		   !guestmem_is_ram(&gm, ipa(5 * MIB - 1), 2) &&
		   !guestmem_is_ram(&gm, ipa(UINT64_MAX - 3), 8) &&
		   guestmem_is_ram(&gm, ipa(5 * MIB - 1), 1),
	   "what is RAM and what is not, across slots and to the byte");
	for (unsigned i = 3; i < GM_MAX_SLOTS; i++)
		CHECK(guestmem_add_ram(&gm, ipa(GIB + i * MIB), PAGE_SIZE) == 0);
	ok(guestmem_add_ram(&gm, ipa(2 * GIB), PAGE_SIZE) == -ENOSPC, "slots are limited");
	is_u64(frames_stat().free, before - 1, "nothing but the root is taken yet");
	guestmem_destroy(&gm);
	ok(frames_stat().free == before && frames_stat().reserved == 0, "all given back");
	guestmem_destroy(&gm);
	ok(true, "destroying twice is harmless");
}

static void test_fault(void)
{
	memory(256 * MIB);
	guestmem_init(&gm, err, sizeof(err));
	guestmem_add_ram(&gm, ipa(0), 640 * KIB);
	guestmem_add_ram(&gm, ipa(MIB), 15 * MIB);
	ok(guestmem_fault(&gm, ipa(0xa0000), GM_READ) == GM_MMIO &&
		   guestmem_fault(&gm, ipa(UINT64_MAX), GM_WRITE) == GM_MMIO &&
		   guestmem_fault(&gm, ipa(0xfee00000), GM_WRITE) == GM_MMIO,
	   "what is not RAM belongs to a device");
	is_u64(guestmem_populated_pages(&gm), 0, "and populates nothing");
	is_u64(guestmem_fault(&gm, ipa(0x1234), GM_READ), GM_RESOLVED, "low memory");
	ok(look(0x1000).level == 0 && look(0x2000).kind == S2_EMPTY, "a slot smaller than 2M: 4K");
	is_u64(guestmem_fault(&gm, ipa(MIB + 1), GM_EXEC), GM_RESOLVED, "the first megabyte above");
	ok(look(MIB).level == 0, "the slot does not hold all of that 2M: 4K");
	is_u64(guestmem_fault(&gm, ipa(2 * MIB + 12345), GM_WRITE), GM_RESOLVED, "then 2M");
	ok(look(4 * MIB - 1).level == 1 && look(4 * MIB).kind == S2_EMPTY, "exactly one leaf");
	is_u64(guestmem_populated_pages(&gm), 2 + 512, "populated");
	is_u64(guestmem_fault(&gm, ipa(2 * MIB), GM_WRITE), GM_RESOLVED, "a spurious fault");
	is_u64(guestmem_populated_pages(&gm), 2 + 512, "populates nothing");
	gm.max_level = 0;
	is_u64(guestmem_fault(&gm, ipa(6 * MIB), GM_READ), GM_RESOLVED, "4K on request");
	gm.max_level = 1;
	is_u64(guestmem_fault(&gm, ipa(6 * MIB + PAGE_SIZE), GM_READ), GM_RESOLVED,
	       "its neighbour");
	ok(look(6 * MIB + PAGE_SIZE).level == 0, "where a finer table is, 4K it is");
	gm.max_level = 2;
	is_u64(guestmem_fault(&gm, ipa(8 * MIB), GM_READ), GM_RESOLVED, "1G allowed but too large");
	ok(look(8 * MIB).level == 1, "2M");
	guestmem_destroy(&gm);
	is_u64(frames_stat().free, frames_stat().total, "all given back");

	memory(4 * GIB);
	guestmem_init(&gm, err, sizeof(err));
	CHECK(guestmem_add_ram(&gm, ipa(GIB), 2 * GIB) == 0);
	gm.max_level = 2;
	is_u64(guestmem_fault(&gm, ipa(GIB + 77), GM_READ), GM_RESOLVED, "a large guest");
	ok(look(2 * GIB - 1).level == 2, "1G when it is asked for");
	host_caps.max_leaf_level = 1;
	is_u64(guestmem_fault(&gm, ipa(2 * GIB), GM_READ), GM_RESOLVED,
	       "a machine without 1G leaves");
	is_u64(look(2 * GIB).level, 1, "2M there");
	host_caps.max_leaf_level = 2;
	guestmem_destroy(&gm);
	host_discard();
	is_u64(frames_stat().free, frames_stat().total, "all given back");
}

/* Frames that were somebody else's are zero for the guest. */
static void test_cleared(void)
{
	unsigned dirty = 0;
	uint64_t taken = 0;
	pa_t *list = calloc(20000, sizeof(*list));
	uint8_t buf[PAGE_SIZE];

	memory(64 * MIB);
	while (frames_alloc(NULL, 0, &list[taken]) == 0)
		memset(hw_frame_ptr(list[taken++]), 0xee, PAGE_SIZE);
	while (taken)
		frames_put(list[--taken], 0);
	guestmem_init(&gm, err, sizeof(err));
	guestmem_add_ram(&gm, ipa(0), 32 * MIB);
	for (unsigned i = 0; i < 32 * MIB / PAGE_SIZE; i++) {
		gm.max_level = i < 1024 ? 0 : 1;
		CHECK(guestmem_fault(&gm, ipa(i * PAGE_SIZE), GM_READ) == GM_RESOLVED);
		guestmem_read(&gm, ipa(i * PAGE_SIZE), buf, sizeof(buf));
		for (unsigned k = 0; k < PAGE_SIZE; k++)
			dirty += buf[k] != 0;
	}
	is_u64(dirty, 0, "frames are cleared before the guest sees them");
	guestmem_destroy(&gm);
	free(list);
}

/* Memory in single frames only: faults fall back to 4K and still cannot fail. */
static void test_fragmented(void)
{
	unsigned failed = 0, n = 0;
	pa_t *list = calloc(20000, sizeof(*list));

	memory(64 * MIB);
	while (frames_alloc(NULL, 0, &list[n]) == 0)
		n++;
	for (unsigned i = 0; i < n; i++)
		if (list[i].v / PAGE_SIZE % 2)
			frames_put(list[i], 0);
	is_u64(frames_stat().largest, 1, "no two free frames adjoin");
	guestmem_init(&gm, err, sizeof(err));
	ok(guestmem_add_ram(&gm, ipa(0), 30 * MIB) == 0, "30 MiB are promised");
	for (uint64_t at = 0; at < 30 * MIB; at += PAGE_SIZE)
		failed += guestmem_fault(&gm, ipa(at), GM_WRITE) != GM_RESOLVED;
	is_u64(failed, 0, "and every fault is served");
	is_u64(guestmem_populated_pages(&gm), 30 * MIB / PAGE_SIZE, "all of it");
	guestmem_destroy(&gm);
	for (unsigned i = 0; i < n; i++)
		if (list[i].v / PAGE_SIZE % 2 == 0)
			frames_put(list[i], 0);
	is_u64(frames_stat().free, frames_stat().total, "all given back");
	free(list);
}

/* ---- accesses against a shadow ---- */

#define RAM (6 * MIB)

/* Every look at a table is in a reader section: else the table may be freed meanwhile (I2, I6). */
static unsigned unprotected, looks;

static void watch(const void *p, bool write)
{
	const char *arena = hw_frame_ptr(pa(0));
	bool table = (const char *)p >= arena && (const char *)p < arena + HOST_MEMORY;

	(void)write;
	if (!table)
		return;
	host_on_atomic = NULL;
	looks++;
	unprotected += !reader_active();
	host_on_atomic = watch;
}

static void test_access(void)
{
	static uint8_t shadow[RAM], buf[300000];
	unsigned wrong = 0, refused = 0;
	uint8_t probe[16] = {0};

	memory(64 * MIB);
	guestmem_init(&gm, err, sizeof(err));
	guestmem_add_ram(&gm, ipa(0), 640 * KIB);
	guestmem_add_ram(&gm, ipa(640 * KIB), RAM - 640 * KIB);
	memset(shadow, 0, sizeof(shadow));
	host_on_atomic = watch;
	for (unsigned step = 0; step < 3000; step++) {
		uint64_t at = rnd(RAM), n = 1 + rnd(rnd(3) ? 40 : sizeof(buf));

		n = min_u64(n, RAM - at);
		gm.max_level = (uint8_t)rnd(2);
		switch (rnd(4)) {
		case 0:
			for (uint64_t i = 0; i < n; i++)
				buf[i] = (uint8_t)(step + i);
			wrong += guestmem_write(&gm, ipa(at), buf, n) != 0;
			memcpy(shadow + at, buf, n);
			break;
		case 1:
			wrong += guestmem_zero(&gm, ipa(at), n) != 0;
			memset(shadow + at, 0, n);
			break;
		case 2: {
			unsigned size = 1u << rnd(4);
			uint64_t old = 0, seen, new = rnd(UINT64_MAX);
			int r;

			at &= ~(uint64_t)(size - 1);
			memcpy(&old, shadow + at, size);
			seen = rnd(3) ? old : old ^ 1;
			r = guestmem_cmpxchg(&gm, ipa(at), size, &seen, new);
			wrong += seen != old;
			if (r == 0)
				memcpy(shadow + at, &new, size);
			else
				wrong += r != -EAGAIN;
			break;
		}
		default:
			wrong += guestmem_read(&gm, ipa(at), buf, n) != 0;
			wrong += memcmp(buf, shadow + at, n) != 0;
			break;
		}
	}
	host_on_atomic = NULL;
	ok(unprotected == 0 && looks > 10000, "tables are read in reader sections, %u times",
	   looks);
	is_u64(wrong, 0, "3000 random reads, writes, zeroings and exchanges agree with the shadow");
	refused += guestmem_read(&gm, ipa(RAM - 8), probe, 9) == -EFAULT;
	refused += guestmem_write(&gm, ipa(RAM - 8), probe, 9) == -EFAULT;
	refused += guestmem_write(&gm, ipa(UINT64_MAX - 3), probe, 8) == -EFAULT;
	refused += guestmem_zero(&gm, ipa(5), UINT64_MAX) == -EFAULT;
	refused += guestmem_cmpxchg(&gm, ipa(RAM), 8, &(uint64_t){0}, 0) == -EFAULT;
	refused += guestmem_cmpxchg(&gm, ipa(4), 8, &(uint64_t){0}, 0) == -EINVAL;
	refused += guestmem_cmpxchg(&gm, ipa(0), 3, &(uint64_t){0}, 0) == -EINVAL;
	refused += guestmem_cmpxchg(&gm, ipa(0), 16, &(uint64_t){0}, 0) == -EINVAL;
	is_u64(refused, 8, "accesses outside, unaligned or odd-sized are refused");
	ok(guestmem_read(&gm, ipa(RAM), probe, 0) == 0, "an empty access touches nothing");
	guestmem_read(&gm, ipa(RAM - 8), buf, 8);
	ok(memcmp(buf, shadow + RAM - 8, 8) == 0, "a refused write wrote nothing");
	guestmem_destroy(&gm);
	is_u64(frames_stat().free, frames_stat().total, "all given back");
}

static void test_reads_do_not_populate(void)
{
	uint8_t buf[100];

	memory(64 * MIB);
	guestmem_init(&gm, err, sizeof(err));
	guestmem_add_ram(&gm, ipa(0), 4 * MIB);
	memset(buf, 1, sizeof(buf));
	ok(guestmem_read(&gm, ipa(5000), buf, sizeof(buf)) == 0 && buf[0] == 0 && buf[99] == 0,
	   "what was never touched reads as zero");
	ok(guestmem_zero(&gm, ipa(0), 4 * MIB) == 0, "and can be zeroed");
	is_u64(guestmem_populated_pages(&gm), 0, "without being populated");
	guestmem_destroy(&gm);
}

/* ---- out of memory ---- */

static void test_oom(void)
{
	unsigned wrong = 0, leaked = 0, inits = 0;

	/* The promise cut short after k frames, as no guest can: each allocation fails in turn. */
	for (uint64_t k = 0; k < 6; k++) {
		uint64_t total, have;

		memory(64 * MIB);
		total = frames_stat().free;
		guestmem_init(&gm, err, sizeof(err));
		guestmem_add_ram(&gm, ipa(GIB - MIB), 3 * MIB);
		frames_unreserve(&gm.reserve);
		frames_reserve(&gm.reserve, k);
		gm.max_level = 0;
		have = frames_stat().free;
		/* A leaf and three tables. */
		wrong += guestmem_fault(&gm, ipa(GIB - MIB), GM_WRITE) !=
			 (k >= 4 ? GM_RESOLVED : GM_ERROR);
		if (k < 4)
			leaked += frames_stat().free != have || gm.reserve.pages != k ||
				  look(GIB - MIB).kind != S2_EMPTY ||
				  guestmem_populated_pages(&gm) != 0;
		guestmem_destroy(&gm);
		leaked += frames_stat().free != total || frames_stat().reserved != 0;
	}
	is_u64(wrong, 0, "a broken promise fails the fault");
	is_u64(leaked, 0, "and changes nothing");

	/* guestmem_init and add_ram with 0, 1, 2 ... frames left. */
	for (uint64_t left = 0; left < 4; left++) {
		struct frames_reserve rest = {0};
		uint64_t before;

		memory(MIB);
		frames_reserve(&rest, frames_stat().free - left);
		before = frames_stat().free;
		if (guestmem_init(&gm, err, sizeof(err)) == 0) {
			inits++;
			wrong += guestmem_add_ram(&gm, ipa(0), PAGE_SIZE) != -ENOMEM;
			guestmem_destroy(&gm);
		} else {
			wrong += strstr(err, "memory") == NULL;
		}
		leaked += frames_stat().free != before ||
			  frames_stat().reserved != frames_stat().free - left;
		frames_unreserve(&rest);
	}
	is_u64(inits, 3, "a guest needs a frame for its root, and says so");
	is_u64(wrong + leaked, 0, "refusals leave no trace");
}

/* ---- a dead space ---- */

static void test_end(void)
{
	struct tlbi_vcpu v;
	struct tlbi_enter_cmd cmd;
	struct tlbi_stat before;

	memory(64 * MIB);
	guestmem_init(&gm, err, sizeof(err));
	guestmem_add_ram(&gm, ipa(0), 8 * MIB);
	guestmem_zero(&gm, ipa(0), 8 * MIB);
	guestmem_write(&gm, ipa(0), "x", 1);
	tlbi_vcpu_init(&v);
	tlbi_enter(0, guestmem_space(&gm), &v, &cmd);
	tlbi_exit(0, &v, true);
	before = tlbi_stat(0);
	guestmem_destroy(&gm);
	ok(tlbi_stat(0).kicks == before.kicks && tlbi_stat(0).flush_all == before.flush_all &&
		   tlbi_stat(0).flush_tag == before.flush_tag,
	   "the end of a space flushes nothing and kicks nobody");
	is_u64(frames_stat().free, frames_stat().total, "and gives all back at once");
	guestmem_init(&gm, err, sizeof(err));
	tlbi_enter(0, guestmem_space(&gm), &v, &cmd);
	ok(cmd.fresh, "the next space's first entry takes a new tag");
	tlbi_exit(0, &v, true);
	guestmem_destroy(&gm);
}

/* ---- threads ---- */

#define THREADS	  3u
#define MT_RAM	  (16 * MIB)
#define MT_ROUNDS 4000u

static atomic_u32 running, bad_data, bad_fault;
static uint64_t last[THREADS + 1][1024]; /* written by each thread to each place */

/* Each thread owns every THREADS-th word; what it reads is what it wrote, or zero after an unmap.
 */
static void *worker(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg, seed = me;
	host_cpu = me;
	for (unsigned i = 0; i < MT_ROUNDS; i++) {
		unsigned slot = (unsigned)rand_r(&seed) % 1024;
		uint64_t at = slot * (MT_RAM / 1024) + 8 * me, v = 0;
		enum gm_fault f;

		if (guestmem_read(&gm, ipa(at), &v, 8) != 0 || (v && v != last[me][slot]))
			atomic_add32(&bad_data, 1);
		v = (uint64_t)me << 56 | i | 1;
		if (guestmem_write(&gm, ipa(at), &v, 8) != 0)
			atomic_add32(&bad_data, 1);
		last[me][slot] = v;
		f = guestmem_fault(&gm, ipa((unsigned)rand_r(&seed) % MT_RAM), GM_WRITE);
		if (f != GM_RESOLVED && f != GM_RETRY)
			atomic_add32(&bad_fault, 1);
	}
	atomic_add32(&running, UINT32_MAX);
	return NULL;
}

static void test_threads(void)
{
	pthread_t t[THREADS];
	unsigned unmaps = 0, seed = 5;
	struct s2_pool pool = {0};

	memory(256 * MIB);
	guestmem_init(&gm, err, sizeof(err));
	guestmem_add_ram(&gm, ipa(0), MT_RAM);
	CHECK(frames_reserve(&gm.reserve, 48000) == 0); /* what is unmapped is not promised again */
	atomic_store32(&running, THREADS);
	for (unsigned i = 0; i < THREADS; i++)
		CHECK(pthread_create(&t[i], NULL, worker, (void *)(uintptr_t)(i + 1)) == 0);
	while (atomic_load32_acq(&running) && unmaps < 300) {
		uint64_t at = (unsigned)rand_r(&seed) % MT_RAM & ~PAGE_MASK;
		uint64_t size = PAGE_SIZE * (1 + (unsigned)rand_r(&seed) % 40);
		TLBI_GATHER(g, &gm.s2.space);
		struct space_locked l;

		s2_pool_fill(&pool, 4);
		l = space_lock(&gm.s2.space);
		CHECK(stage2_unmap(&gm.s2, l, ipa(at), min_u64(size, MT_RAM - at), &pool, &g) == 0);
		space_unlock(l, &g);
		if (unmaps++ % 2)
			gather_sync(&g);
		else
			gather_defer(&g);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	ok(unmaps > 20, "%u unmaps while %u threads fault, read and write", unmaps, THREADS);
	is_u64(atomic_load32(&bad_data), 0, "each reads what it wrote, or zero");
	is_u64(atomic_load32(&bad_fault), 0, "every fault is resolved or to be retried");
	s2_pool_drain(&pool);
	guestmem_destroy(&gm);
	reclaim_poll(UINT64_MAX);
	is_u64(frames_stat().free, frames_stat().total, "no frame leaks");
}

int main(void)
{
	srandom(4);
	host_format = &stage2_npt;
	memory(64 * MIB);
	for (unsigned i = 0; i <= THREADS; i++)
		CHECK(tlbi_pcpu_init(i) == 0);
	test_slots();
	test_fault();
	test_cleared();
	test_fragmented();
	test_access();
	test_reads_do_not_populate();
	test_oom();
	test_end();
	test_threads();
	return tap_done();
}

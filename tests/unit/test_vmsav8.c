/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The walker on VMSAv8-64 stage-2 tables (tests/unit/walker_cases.h)
 * at every width of guest-physical addresses, and the format bit by bit against the manual.
 */
// links: stage2/stage2.c stage2/vmsav8.c tlbi/space.c tlbi/agent.c tlbi/gather.c tlbi/broadcast.c
// links: tlbi/vmid.c mm/frames.c mm/reclaim.c mm/ledger.c lib/log.c lib/string.c
#include "stage2/fmt_vmsav8.h"

#define FORMAT	     stage2_vmsav8
#define SPLIT_BREAKS true

/* Write and execute come with read; nothing at all can be said. */
static s2_attr_t widened(s2_attr_t perm)
{
	return perm ? perm | S2_R : 0;
}

#include "tests/unit/walker_cases.h"

/* Arm ARM D8.3.1.2 and D8.3.2; written out, not taken from the header. */
static uint64_t descriptor(s2_attr_t attr, unsigned level, uint64_t to, bool fwb, bool hafdbs)
{
	uint64_t d = to | 1 | (level ? 0 : 2) | 3ULL << 8;

	if (attr & S2_DEVICE)
		d |= 1ULL << 2;
	else
		d |= fwb ? 6ULL << 2 : 15ULL << 2;
	d |= hafdbs && !fwb ? 0 : 1ULL << 10;
	d |= attr & S2_RWX ? 1ULL << 6 : 0;
	d |= attr & S2_W ? 1ULL << 7 : 0;
	d |= attr & S2_W && hafdbs ? 1ULL << 51 : 0;
	d |= attr & S2_X ? 0 : 1ULL << 54;
	return d | (attr & S2_NOREF ? 1ULL << 55 : 0);
}

static void test_leaf_bits(void)
{
	unsigned wrong = 0, contiguous = 0;

	for (unsigned caps = 0; caps < 4; caps++)
		for (unsigned level = 0; level <= 2; level++)
			for (s2_attr_t attr = 0; attr < 32; attr++)
				for (unsigned bit = 12 + 9 * level; bit < 48; bit++) {
					pte_t e;

					host_caps.fwb = caps & 1;
					host_caps.accessed_dirty = caps & 2;
					e = fmt_leaf(pa(1ULL << bit), level, attr);
					wrong += e.v != descriptor(attr, level, 1ULL << bit,
								   caps & 1, caps & 2);
					contiguous += e.v >> 52 & 1;
				}
	is_u64(wrong, 0, "leaves of each level, attribute, address bit and feature");
	is_u64(contiguous, 0, "the contiguous bit is never set");
	is_u64(fmt_table(pa(0xfffffffff000)).v, 0xfffffffff003, "a table descriptor");
}

static void test_invalid_bits(void)
{
	unsigned valid = 0;

	for (uint64_t owed = 1; owed < BIT(52); owed = owed * 2 + 1)
		valid += (fmt_empty(owed).v & 1) != 0;
	valid += ((fmt_locked().v | fmt_frozen().v) & 1) != 0;
	for (uint32_t i = 0; i < 20; i++)
		valid += (fmt_mmio(1u << i % 16, 1u << i).v & 1) != 0;
	is_u64(valid, 0, "no invalid entry has bit 0");
}

/* Hardware's dirty bit: DBM makes it writable, S2AP[1] says that it was written. */
static void test_dirty(void)
{
	const uint64_t ap_w = 1ULL << 7, dbm = 1ULL << 51;
	pte_t e, c;

	host_caps.accessed_dirty = true;
	e = fmt_leaf(pa(GIB), 0, S2_RWX);
	c = fmt_with_marks(e, 0);
	ok((c.v & (ap_w | dbm)) == dbm && fmt_attr(c, 0) == S2_RWX, "clean, but may be written");
	is_u64(fmt_with_perm(c, S2_R | S2_W).v & (ap_w | dbm), dbm, "clean stays clean");
	is_u64(fmt_with_perm(c, S2_R).v & (ap_w | dbm), 0, "read-only: hardware may not set it");
	is_u64(fmt_with_perm(fmt_with_perm(c, S2_R), S2_RWX).v & (ap_w | dbm), ap_w | dbm,
	       "writable again: dirty from the start");
	ok(!bbm_required(e, c, 0) && !bbm_required(e, pte(c.v & ~dbm), 0),
	   "none of it needs a break");
	host_caps.accessed_dirty = false;
	e = fmt_leaf(pa(GIB), 0, S2_RWX);
	ok(fmt_with_marks(e, 0).v == e.v && !(e.v & dbm), "no DBM where hardware would ignore it");
	ok(fmt_attr(e, 0) & S2_AGED, "and no access flag faults");
}

/* D8.2.2: where the walk starts and how many tables lie side by side. */
static void test_geometry(void)
{
	unsigned wrong = 0, unusable = 0;

	for (unsigned bits = 39; bits <= 48; bits++) {
		unsigned entries = bits <= 43 ? 1u << (bits - 30) : 1u << (bits - 39), frames;
		uint64_t top = BIT(bits) - PAGE_SIZE;

		host_caps.ipa_bits = (uint8_t)bits;
		frames = entries > 512 ? entries / 512 : 1;
		wrong += fmt_root_entries() != entries || fmt_root_level() != (bits <= 43 ? 2 : 3);
		wrong += v8_t0sz() != 64 - bits || v8_sl0() != (bits <= 43 ? 1 : 2);
		wrong += stage2_root_frames(&stage2_vmsav8) != frames;
		setup(20);
		wrong += stage2_limit(&s2) != BIT(bits) ||
			 s2.space.root.v % (frames * PAGE_SIZE) != 0;
		unusable += map(top, PAGE_SIZE, GIB, S2_RWX | S2_NOREF) != 0;
		unusable += map(0, PAGE_SIZE, 2 * GIB, S2_RWX | S2_NOREF) != 0;
		unusable += stage2_lookup(&s2, ipa(top)).pa.v != GIB;
		unusable += stage2_lookup(&s2, ipa(0)).pa.v != 2 * GIB;
		unusable += stage2_lookup(&s2, ipa(BIT(bits))).kind != S2_EMPTY;
		unusable += change(top, PAGE_SIZE, -1) != 0;
		unusable += stage2_lookup(&s2, ipa(top)).kind != S2_EMPTY;
		teardown();
		unusable += frames_stat().free != frames_stat().total;
	}
	host_caps.ipa_bits = 48;
	is_u64(wrong, 0, "start level and concatenated tables for 39 to 48 bits");
	is_u64(unusable, 0, "the first and the last page can be mapped, and all comes back");
}

int main(void)
{
	static const uint8_t widths[] = {48, 44, 43, 42, 40, 39};

	for (size_t i = 0; i < ARRAY_SIZE(widths); i++) {
		host_caps.ipa_bits = widths[i];
		host_caps.fwb = i & 1;
		host_caps.accessed_dirty = i & 2;
		walker_cases();
	}
	host_caps.ipa_bits = 48;
	test_leaf_bits();
	test_invalid_bits();
	test_dirty();
	test_geometry();
	return tap_done();
}

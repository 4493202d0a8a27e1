/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The walker on AMD nested page tables (tests/unit/walker_cases.h), and the format bit by bit
 * against the manual's layout.
 */
// links: mm/ledger.c tlbi/broadcast.c tlbi/vmid.c
// links: stage2/stage2.c stage2/npt.c tlbi/space.c tlbi/agent.c tlbi/gather.c mm/frames.c
// links: mm/reclaim.c lib/log.c lib/string.c
#include "stage2/fmt_npt.h"

#define FORMAT	     stage2_npt
#define SPLIT_BREAKS false /* 5.5.2: large and small may be cached at once while they agree */

/* Whatever is present can be read. */
static s2_attr_t widened(s2_attr_t perm)
{
	return perm | S2_R;
}

#include "tests/unit/walker_cases.h"

/* ---- bits: APM vol 2, figures 5-20 to 5-27; written out, not taken from the header ---- */

static void test_leaf_bits(void)
{
	unsigned wrong = 0, wrong_back = 0, wrong_kind = 0;

	for (unsigned level = 0; level <= 2; level++)
		for (s2_attr_t attr = 0; attr < 32; attr++)
			for (unsigned bit = 12 + 9 * level; bit < 52; bit++) {
				uint64_t want = 1 | 1ULL << 2 | 1ULL << 5 | 1ULL << 6;
				pte_t e = fmt_leaf(pa(1ULL << bit), level, attr);
				s2_attr_t back = fmt_attr(e, level);

				want |= 1ULL << bit;
				want |= level ? 1ULL << 7 : 0;
				want |= attr & S2_W ? 2 : 0;
				want |= attr & S2_X ? 0 : 1ULL << 63;
				want |= attr & S2_DEVICE ? 0x18 : 0;
				want |= attr & S2_NOREF ? 1ULL << 52 : 0;
				wrong += e.v != want;
				wrong_kind += fmt_kind(e, level) != S2_LEAF;
				wrong_back += fmt_leaf_pa(e, level).v != 1ULL << bit ||
					      back != (attr | S2_R | S2_AGED | S2_DIRTY);
			}
	is_u64(wrong, 0, "leaves of each level, attribute and address bit are as the manual says");
	is_u64(wrong_kind, 0, "and are recognised");
	is_u64(wrong_back, 0, "and read back");
}

static void test_invalid_bits(void)
{
	static const uint64_t epochs[] = {0, 1, 2, 511, BIT(32), BIT(52) - 1};
	unsigned wrong = 0, present = 0, wrong_mmio = 0;

	is_u64(fmt_empty(0).v, 0, "a cleared frame is an empty table");
	for (unsigned level = 0; level <= 3; level++) {
		for (size_t i = 0; i < ARRAY_SIZE(epochs); i++) {
			wrong += fmt_kind(fmt_empty(epochs[i]), level) != S2_EMPTY ||
				 fmt_owed(fmt_empty(epochs[i])) != epochs[i];
			present += (fmt_empty(epochs[i]).v & 1) != 0;
		}
		wrong += fmt_kind(fmt_locked(), level) != S2_LOCKED;
		wrong += fmt_kind(fmt_frozen(), level) != S2_FROZEN;
		wrong += fmt_kind(fmt_table(pa(GIB)), level) != (level ? S2_TABLE : S2_LEAF);
		present += ((fmt_locked().v | fmt_frozen().v) & 1) != 0;
	}
	is_u64(wrong, 0, "invalid entries are told apart at each level");
	is_u64(present, 0, "hardware faults on them");
	is_u64(fmt_table(pa(0xfffffffff000)).v, 0xfffffffff027, "a table entry: P, RW, US, A");
	for (unsigned bits = 48; bits <= 52; bits++)
		for (unsigned r = 0; r < 17; r++)
			for (unsigned g = 0; g < 21; g++) {
				uint32_t region = r ? 1u << (r - 1) : 0xffff;
				uint32_t gen = g ? 1u << (g - 1) : 0xfffff;
				pte_t e;

				host_caps.pa_bits = (uint8_t)bits;
				e = fmt_mmio(region, gen);
				wrong_mmio += fmt_kind(e, 0) != S2_MMIO ||
					      fmt_mmio_region(e) != region ||
					      fmt_mmio_gen(e) != gen || (e.v & 1) != (bits < 52) ||
					      (e.v >> 51 & 1) != (bits < 52);
			}
	host_caps.pa_bits = 48;
	is_u64(wrong_mmio, 0,
	       "MMIO entries carry region and generation, reserved bit where there is one");
}

static void test_width(void)
{
	setup(0);
	host_caps.ipa_bits = 40;
	is_u64(stage2_limit(&s2), BIT(40), "the machine's width limits the tables'");
	host_caps.ipa_bits = 48;
	teardown();
}

int main(void)
{
	walker_cases();
	test_leaf_bits();
	test_invalid_bits();
	test_width();
	return tap_done();
}

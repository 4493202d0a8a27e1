/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The walker on Intel extended page tables (tests/unit/walker_cases.h)
 * and the format bit by bit against the manual's tables.
 */
// links: stage2/stage2.c stage2/ept.c tlbi/space.c tlbi/agent.c tlbi/gather.c tlbi/broadcast.c
// links: tlbi/vmid.c mm/frames.c mm/reclaim.c mm/ledger.c lib/log.c lib/string.c
#include "stage2/fmt_ept.h"

#define FORMAT	     stage2_ept
#define SPLIT_BREAKS false

/* Read comes with everything, but for execute-only where the CPU has that. */
static s2_attr_t widened(s2_attr_t perm)
{
	return perm == S2_X && hw_mmu_caps()->exec_only ? perm : perm | S2_R;
}

#include "tests/unit/walker_cases.h"

/* SDM vol 3, tables 29-5 to 29-7; written out, not taken from the header. */
static void test_leaf_bits(void)
{
	unsigned wrong = 0, misconfigured = 0;

	for (unsigned only = 0; only < 2; only++)
		for (unsigned level = 0; level <= 2; level++)
			for (s2_attr_t attr = 0; attr < 32; attr++)
				for (unsigned bit = 12 + 9 * level; bit < 52; bit++) {
					uint64_t want = 1ULL << bit | 1 << 8 | 1 << 9, rwx;

					host_caps.exec_only = only;
					rwx = attr & 6;
					if (!((attr & 7) == 4 && only))
						rwx |= 1;
					want |= rwx | (level ? 1 << 7 : 0);
					want |= attr & S2_DEVICE ? 0 : 6 << 3;
					want |= attr & S2_NOREF ? 1ULL << 52 : 0;
					wrong += fmt_leaf(pa(1ULL << bit), level, attr).v != want;
					/* 29.3.3.1: write without read; execute-only unless it
					 * exists; memory types 2, 3, 7. */
					misconfigured +=
						rwx == 2 || rwx == 6 || (rwx == 4 && !only);
				}
	host_caps.exec_only = false;
	is_u64(wrong, 0, "leaves of each level, attribute and address bit are as the manual says");
	is_u64(misconfigured, 0, "none is a misconfiguration");
	is_u64(fmt_table(pa(0xfffffffff000)).v, 0xfffffffff107, "a table entry: RWX, A, 6:3 clear");
}

static void test_invalid_bits(void)
{
	unsigned present = 0, mmio = 0;

	for (uint64_t owed = 1; owed < BIT(52); owed = owed * 2 + 1)
		present += (fmt_empty(owed).v & 7) != 0;
	present += ((fmt_locked().v | fmt_frozen().v) & 7) != 0;
	is_u64(present, 0, "empty, locked and frozen are not present");
	for (uint32_t i = 0; i < 20; i++)
		mmio += (fmt_mmio(1u << i % 16, 1u << i).v & 7) != 6;
	is_u64(mmio, 0, "MMIO is 110b, a misconfiguration on every CPU");
	is_u64(ept_pointer(pa(0x123000), true), 0x12305e, "EPTP: write-back, four levels, A/D");
	is_u64(ept_pointer(pa(0x123000), false), 0x12301e, "EPTP without A/D");
}

/* Without accessed and dirty bits nothing depends on them, and nothing seems unused. */
static void test_no_marks(void)
{
	pte_t e;

	host_caps.accessed_dirty = false;
	e = fmt_leaf(pa(GIB), 1, S2_RWX);
	ok(fmt_with_marks(e, 0).v == e.v && (fmt_attr(e, 1) & S2_MARKS) == S2_MARKS,
	   "marks that the machine does not keep stay set");
	host_caps.accessed_dirty = true;
}

int main(void)
{
	walker_cases();
	host_caps.exec_only = true;
	walker_cases();
	host_caps.exec_only = false;
	test_leaf_bits();
	test_invalid_bits();
	test_no_marks();
	return tap_done();
}

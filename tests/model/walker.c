/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How hardware reads a stage-2 entry. Written from the manuals and apart from stage2/fmt_*.h on
 * purpose: a bit that the production format gets wrong must not be wrong here as well.
 *
 *   NPT   AMD APM vol 2, 5.3 (long-mode entries), 5.4.1 (fields), 15.25.5 (nested walks)
 *   EPT   Intel SDM vol 3, 29.3.2 (tables 29-1 to 29-6), 29.3.3.1 (misconfigurations)
 *   arm64 Arm ARM D8.3 (descriptors), D8.3.1 (stage 2)
 */
#include "tests/model/model.h"

#include "lib/util.h"

#define ADDRESS(e) ((e)&0x000ffffffffff000ULL)

static struct decoded decode_npt(uint64_t e, unsigned level)
{
	struct decoded d = {.kind = D_INVALID};
	bool large = level > 0 && (e & BIT(7));

	if (!(e & BIT(0)))
		return d;
	/* Addresses wider than this machine's 48 bits, and a large page at the top, are reserved.
	 */
	if ((e & 0x000f000000000000ULL) || (level == 3 && large)) {
		d.kind = D_RESERVED;
		return d;
	}
	d.kind = level == 0 || large ? D_LEAF : D_TABLE;
	d.perm = (uint8_t)(S2_R | (e & BIT(1) ? S2_W : 0) | (e & BIT(63) ? 0 : S2_X));
	if (!(e & BIT(2))) /* a guest's accesses are user accesses */
		d.perm = 0;
	d.type = (uint8_t)(e >> 3 & 3);
	d.pa = d.kind == D_LEAF ? ADDRESS(e) & ~(s2_level_size(level) - 1) : ADDRESS(e);
	d.accessed = e & BIT(5);
	d.dirty = e & BIT(6);
	return d;
}

static struct decoded decode_ept(uint64_t e, unsigned level)
{
	struct decoded d = {.kind = D_INVALID};
	bool large = level > 0 && (e & BIT(7));
	unsigned rwx = e & 7;

	if (rwx == 0)
		return d;
	/* 010, 110: writable but not readable; reserved memory types; large page at the top. */
	if (rwx == 2 || rwx == 6 || (level == 3 && (e & 0xf8)) || (e & 0x000f000000000000ULL)) {
		d.kind = D_RESERVED;
		return d;
	}
	d.kind = level == 0 || large ? D_LEAF : D_TABLE;
	d.perm = (uint8_t)((rwx & 1 ? S2_R : 0) | (rwx & 2 ? S2_W : 0) | (rwx & 4 ? S2_X : 0));
	d.type = d.kind == D_LEAF ? (uint8_t)(e >> 3 & 15) : 0;
	if (d.kind == D_LEAF && ((d.type & 7) == 2 || (d.type & 7) == 3 || (d.type & 7) == 7))
		d.kind = D_RESERVED;
	d.pa = d.kind == D_LEAF ? ADDRESS(e) & ~(s2_level_size(level) - 1) : ADDRESS(e);
	d.accessed = e & BIT(8);
	d.dirty = e & BIT(9);
	return d;
}

static struct decoded decode_arm64(uint64_t e, unsigned level)
{
	struct decoded d = {.kind = D_INVALID};
	bool leaf = level == 0 ? (e & 3) == 3 : (e & 3) == 1;

	if (!(e & 1) || (level == 0 && !leaf))
		return d;
	if (leaf && level > 2) {
		d.kind = D_RESERVED;
		return d;
	}
	d.kind = leaf ? D_LEAF : D_TABLE;
	d.pa = e & 0x0000fffffffff000ULL;
	d.perm = S2_RWX;
	if (!leaf)
		return d;
	d.pa &= ~(s2_level_size(level) - 1);
	d.perm = (uint8_t)((e & BIT(6) ? S2_R : 0) | (e & BIT(7) ? S2_W : 0) |
			   (e & BIT(54) ? 0 : S2_X));
	d.type = (uint8_t)(e >> 2 & 15);
	d.accessed = e & BIT(10);
	d.dirty = (e & BIT(51)) && (e & BIT(7));
	return d;
}

struct decoded decode(uint64_t entry, unsigned level)
{
	switch (X->arch) {
	case ARCH_NPT:
		return decode_npt(entry, level);
	case ARCH_EPT:
		return decode_ept(entry, level);
	default:
		return decode_arm64(entry, level);
	}
}

/* The entry after hardware used it. */
uint64_t with_accessed(uint64_t entry, bool dirty)
{
	switch (X->arch) {
	case ARCH_NPT:
		return entry | BIT(5) | (dirty ? BIT(6) : 0);
	case ARCH_EPT:
		return entry | BIT(8) | (dirty ? BIT(9) : 0);
	default:
		return entry | BIT(10);
	}
}

unsigned root_level(void)
{
	return 3;
}

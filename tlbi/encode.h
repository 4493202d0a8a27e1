/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How commands look to the hardware: operands and descriptors as pure functions. The core says what
 * must be forgotten (arch/hw.h), arch/<a>/hw_<a>.c puts these numbers into instructions, and tests
 * take them apart on the host.
 */
#ifndef SLUICE_TLBI_ENCODE_H
#define SLUICE_TLBI_ENCODE_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/hw.h"
#include "lib/check.h"
#include "lib/util.h"
#include "mm/types.h"
#include "tlbi/tags.h"

/* ---- VMX: INVEPT and INVVPID take a type and a descriptor of 16 bytes (SDM vol 3, 31.3) ---- */

enum invept_type { INVEPT_SINGLE = 1, INVEPT_GLOBAL = 2 };

enum invvpid_type {
	INVVPID_ADDRESS = 0,
	INVVPID_SINGLE = 1,
	INVVPID_ALL = 2,
	INVVPID_SINGLE_KEEP_GLOBALS = 3,
};

struct inv_descriptor {
	uint64_t lo, hi;
};

/* eptp: the whole pointer as in the VMCS; bits 127:64 must be zero. */
static inline struct inv_descriptor invept_descriptor(uint64_t eptp)
{
	return (struct inv_descriptor){eptp, 0};
}

/* Bits 63:16 must be zero; `linear` counts for INVVPID_ADDRESS only and must be canonical. */
static inline struct inv_descriptor invvpid_descriptor(uint16_t vpid, uint64_t linear)
{
	return (struct inv_descriptor){vpid, linear};
}

/* ---- SVM: VMCB offset 058h, bits 39:32 (APM vol 2, 15.16.1) ---- */

static inline uint8_t svm_tlb_control(enum tlbi_flush flush)
{
	switch (flush) {
	case TLBI_NONE:
		return 0;
	case TLBI_TAG:
		return 3;
	default:
		return 1;
	}
}

/* ---- SVM: INVLPGB (APM vol 3), followed by TLBSYNC ---- */

#define INVLPGB_VA     BIT(0) /* an address is given; else every address */
#define INVLPGB_PCID   BIT(1)
#define INVLPGB_ASID   BIT(2)
#define INVLPGB_GLOBAL BIT(3) /* global translations as well */
#define INVLPGB_FINAL  BIT(4) /* leaves only, not what caches tables */
#define INVLPGB_NESTED BIT(5) /* nested translations as well */

struct invlpgb {
	uint64_t rax;
	uint32_t ecx, edx;
};

/* Everything of a guest's ASID on every pCPU, nested translations included. */
static inline struct invlpgb invlpgb_asid(uint16_t asid)
{
	return (struct invlpgb){
		.rax = INVLPGB_ASID | INVLPGB_GLOBAL | INVLPGB_NESTED,
		.edx = asid,
	};
}

/*
 * `count` pages from `at` (guest-linear) on: 1 to 1 + CPUID 8000_0008 EDX[15:0], each 4 KiB, or
 * 2 MiB with `large` (ECX[31]). ECX holds how many more than one.
 */
static inline struct invlpgb invlpgb_range(uint16_t asid, va_t at, uint32_t count, bool large)
{
	CHECK(count >= 1 && count <= BIT(16) && is_aligned(at.v, PAGE_SIZE));
	return (struct invlpgb){
		.rax = at.v | INVLPGB_VA | INVLPGB_ASID | INVLPGB_GLOBAL,
		.ecx = (count - 1) | (large ? 1u << 31 : 0),
		.edx = asid,
	};
}

/* ---- arm64, 4 KiB granule (Arm ARM C5.5; operands of TLBI IPAS2E1IS and TLBI RIPAS2E1IS) ---- */

/* Arm counts levels from the root's end: its level 3 is the page. 0 where there is no hint. */
static inline uint64_t arm64_ttl(uint8_t level)
{
	return level <= 2 ? 3u - level : 0;
}

/* IPAS2E1(IS): TTL[47:44] = granule (0b01: 4 KiB) and level, IPA[51:12] in 39:0. */
static inline uint64_t arm64_ipas2e1(ipa_t at, uint8_t level)
{
	uint64_t ttl = arm64_ttl(level);

	return (ttl ? (1ULL << 2 | ttl) << 44 : 0) | (at.v >> 12 & (BIT(40) - 1));
}

/*
 * RIPAS2E1IS: TG[47:46] = 0b01, SCALE[45:44], NUM[43:39], TTL[38:37], BaseADDR[36:0] = IPA[48:12].
 * With a level the base must be aligned to a leaf of it: else nothing need be forgotten.
 */
static inline uint64_t arm64_ripas2e1(ipa_t at, uint8_t scale, uint8_t num, uint8_t level)
{
	CHECK(scale <= 3 && num <= 31);
	return 1ULL << 46 | (uint64_t)scale << 44 | (uint64_t)num << 39 | arm64_ttl(level) << 37 |
	       (at.v >> 12 & (BIT(37) - 1));
}

/* ---- ranges in as few operations as there are ---- */

#define TLBI_RANGE_MAX_PAGES BIT(21) /* of one operation: scale 3, num 31 */

/* One operation at the beginning of what is left. */
struct tlbi_piece {
	uint64_t pages;
	bool range; /* else one page, which no range operation can say */
	uint8_t scale, num;
};

/*
 * The largest piece of `left` > 0 pages, biggest scale first: a scale comes back only beyond 2^21
 * pages, and an odd last page comes last.
 *
 * A range of whole leaves is cut between leaves only, as arm64_ripas2e1's hint asks: pieces of 2^11
 * and 2^16 pages are multiples of 2 MiB, and of 2 MiB leaves fewer than four are left then, which
 * are one piece. 1 GiB leaves never go below scale 3.
 */
static inline struct tlbi_piece tlbi_piece(uint64_t left)
{
	struct tlbi_piece p = {.pages = 1};

	CHECK(left);
	if (left == 1)
		return p;
	p.range = true;
	while (p.scale < 3 && left >> (5 * (p.scale + 1) + 1))
		p.scale++;
	p.num = (uint8_t)(min_u64(left >> (5 * p.scale + 1), 32) - 1);
	p.pages = (uint64_t)(p.num + 1) << (5 * p.scale + 1);
	return p;
}

#endif
